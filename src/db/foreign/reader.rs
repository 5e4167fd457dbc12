//! What every kind of database has in common: the trait of a reader, the rows and pages that it returns, and its limits.

use std::time::Duration;

use serde_json::{Map, Value};

/// How long connecting to a server may take.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// The largest size of a row, in bytes of its values. A larger row is an error.
pub(super) const MAX_ROW: usize = 1024 * 1024;
/// A page ends when its values have at least this many bytes, even if it has few rows.
const MAX_PAGE: usize = 8 * 1024 * 1024;

/// The values of a row, by column.
pub type Row = Map<String, Value>;

/// The numbers of rows of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The number of all rows.
    pub rows: u64,
    /// The number of rows in which no column of the key is null.
    pub keyed: u64,
}

/// A page of rows of a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The rows, ordered by the key.
    pub rows: Vec<Row>,
    /// Whether there may be more rows after this page.
    pub more: bool,
}

/// Collects the rows of a page, and ends the page when it has enough rows or bytes.
pub(super) struct Collector {
    pub(super) page: Page,
    pub(super) limit: usize,
    bytes: usize,
}

impl Collector {
    pub(super) fn new(limit: usize) -> Self {
        Collector {
            page: Page::default(),
            limit,
            bytes: 0,
        }
    }

    /// Adds a row with this number of bytes. Returns whether the page can take another row.
    pub(super) fn take(&mut self, row: Row, bytes: usize) -> bool {
        self.page.rows.push(row);
        self.bytes += bytes;
        self.page.more = self.page.rows.len() >= self.limit || self.bytes >= MAX_PAGE;
        !self.page.more
    }
}

/// Returns the error for a row that is too large.
pub(super) fn too_large() -> String {
    format!(
        "a row is larger than {} KiB, the most that Candor reads of one row",
        MAX_ROW / 1024
    )
}

/// A read-only transaction with one consistent view of the data.
pub trait Reader: Send {
    /// Returns warnings about the rights of the user of the source, as sentences.
    fn warnings(&self) -> Vec<String>;

    /// Counts the rows of the query, and the rows that have a key.
    ///
    /// # Errors
    /// The error of the database, in one line.
    fn count(&mut self, query: &str, key: &[&str]) -> Result<Counted, String>;

    /// Returns the rows after a key, ordered by the key. Rows with a null in the key are left out.
    ///
    /// # Errors
    /// The error of the database, in one line.
    fn page(
        &mut self,
        query: &str,
        key: &[&str],
        after: Option<&[Value]>,
        limit: usize,
    ) -> Result<Page, String>;
}
