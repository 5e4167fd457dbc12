//! What is read from a listing: rows in a normal form, and lines that cannot be read.

use crate::base::time::Timestamp;

/// One row of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The line at which the row begins, from 1. In a JSON array it is the line of the element.
    pub line: u64,
    /// The value of the key column, exactly as it is written. It is not empty and has at most 2,048 bytes.
    pub key: String,
    /// The value of the column that names the resource or the person.
    pub id: Option<String>,
    /// The normalised values of the compared columns, in their order. `None` where the listing has no value.
    /// Values that cannot be read are marked, see [`value`](super::value).
    pub values: Vec<Option<String>>,
    /// Whether the listing says that the entry was deleted.
    pub gone: bool,
    /// When the entry was written, if the listing says so.
    pub written_at: Option<Timestamp>,
}

/// What was read.
///
/// A line whose key can be read but one of whose values cannot is both: first `Rejected`, which is counted and shown, and
/// then a `Row` whose value is marked. Without the row, a comparison would call the entry missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A row whose key can be read. A value of it that cannot be read is marked.
    Row(Row),
    /// A line that cannot be read, or cannot be read completely.
    Rejected {
        /// The line, from 1.
        line: u64,
        /// The reason, as a part of a sentence about the line.
        detail: String,
    },
}
