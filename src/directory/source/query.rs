//! The rows of one query of a source's database, as lines of JSON. A comparison reads a listing from it.
//!
//! The database is read as a sync reads it: in a read-only transaction, in pages that are ordered by the key, within a time
//! limit. So the key must have a different value in each row.

use std::collections::VecDeque;
use std::io::{self, Read};

use serde_json::Value;

use super::reading::TIMEOUT;
use super::stored::by_name;
use crate::base::error::{Error, Result};
use crate::db::Conn;
use crate::db::foreign::{Engine, Halt, Limit, Reader};

/// The number of rows that are read at a time.
const PAGE: usize = 1_000;
/// The longest query, in bytes.
const MAX_QUERY: usize = 64 * 1024;

/// A query of a source that was checked, and the database that it is for. It contains a password, so it does not implement
/// `Debug`.
#[derive(Clone)]
pub struct SourceQuery {
    engine: Engine,
    url: String,
    query: String,
    key: String,
}

/// Checks a query. `source` is the name of the source, and `key` the column of the result that identifies a row.
///
/// # Errors
/// `Invalid` with the pointers `/source`, `/sql` and `/key` if there is no such source, if it is a service, or if the query or
/// the key cannot be used.
pub fn prepare(conn: &mut Conn, source: &str, query: &str, key: &str) -> Result<SourceQuery> {
    let row = by_name(conn, source)?
        .ok_or_else(|| Error::invalid("/source", "is not the name of a source of the directory"))?;
    let engine = row.kind()?.engine().ok_or_else(|| {
        Error::invalid(
            "/source",
            "is a service, and only the database of a source can be queried",
        )
    })?;
    let query = query.trim().trim_end_matches(';');
    if query.is_empty() || query.len() > MAX_QUERY {
        return Err(Error::invalid(
            "/sql",
            format!("must be a query of at most {MAX_QUERY} bytes"),
        ));
    }
    if query.contains('\0') {
        return Err(Error::invalid("/sql", "contains a NUL character"));
    }
    // The name of the key becomes a part of the statement.
    if key.is_empty() || key.contains(['"', '`', '\\']) || key.chars().any(char::is_control) {
        return Err(Error::invalid(
            "/key",
            "must be the name of a column without quotation marks and backslashes, because the query is ordered by it",
        ));
    }
    Ok(SourceQuery {
        engine,
        url: row.url.unwrap_or_default(),
        query: query.to_owned(),
        key: key.to_owned(),
    })
}

impl SourceQuery {
    /// Begins to read the rows as lines of JSON. The reading connects, and blocks. Nothing is read before the first byte is
    /// asked for.
    ///
    /// Errors of the reading are `Invalid` with the pointer `/sql`, as the inner error of an [`io::Error`].
    pub fn lines(self, limit: Limit) -> QueryLines {
        QueryLines {
            query: self,
            halt: Halt::within(limit),
            state: State::Closed,
            lines: VecDeque::new(),
        }
    }
}

enum State {
    Closed,
    Open {
        reader: Box<dyn Reader>,
        after: Option<Value>,
        read: u64,
        expected: u64,
    },
    Over,
}

/// The rows of a query, as lines of JSON.
pub struct QueryLines {
    query: SourceQuery,
    halt: Halt,
    state: State,
    /// The lines that were read and not yet taken.
    lines: VecDeque<u8>,
}

impl QueryLines {
    /// Returns what ends the reading from another thread.
    pub fn halt(&self) -> Halt {
        self.halt.clone()
    }

    /// Reads the next page.
    fn fill(&mut self) -> Result<(), String> {
        let key = [self.query.key.as_str()];
        match std::mem::replace(&mut self.state, State::Over) {
            State::Over => Ok(()),
            State::Closed => {
                let mut reader = self.query.engine.open(&self.query.url, TIMEOUT, &self.halt)?;
                let counted = reader.count(&self.query.query, &key)?;
                // Each of them is a line that cannot be read.
                for _ in counted.keyed..counted.rows {
                    self.lines.extend(b"{}\n");
                }
                self.state = State::Open {
                    reader,
                    after: None,
                    read: 0,
                    expected: counted.keyed,
                };
                Ok(())
            }
            State::Open {
                mut reader,
                after,
                mut read,
                expected,
            } => {
                let from = after.as_ref().map(std::slice::from_ref);
                let page = reader.page(&self.query.query, &key, from, PAGE)?;
                let last = page.rows.last().and_then(|row| row.get(&self.query.key)).cloned();
                for row in &page.rows {
                    let line = serde_json::to_vec(row).map_err(|error| error.to_string())?;
                    self.lines.extend(line);
                    self.lines.push_back(b'\n');
                }
                read += page.rows.len() as u64;
                let unique = || {
                    format!(
                        "the query has {expected} rows with the key '{}', but {read} were read in its order: each row needs a \
                         different value",
                        self.query.key
                    )
                };
                if read > expected || (last.is_some() && last == after) {
                    return Err(unique());
                }
                if page.more && last.is_some() {
                    self.state = State::Open {
                        reader,
                        after: last,
                        read,
                        expected,
                    };
                } else if read != expected {
                    return Err(unique());
                }
                Ok(())
            }
        }
    }
}

impl Read for QueryLines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.lines.is_empty() && !matches!(self.state, State::Over) {
            self.fill()
                .map_err(|reason| io::Error::other(Error::invalid("/sql", reason)))?;
        }
        self.lines.read(buffer)
    }
}
