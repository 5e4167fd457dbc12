//! Databases of others, from which a directory is read. They are never written.
//!
//! Rows are returned as JSON, in pages that are ordered by the key, within one read-only transaction. An
//! error of the database is repeated in one line without the password.
//!
//! The memory for a source is limited: a row by `reader::MAX_ROW` and a page by `reader::MAX_PAGE`. A database with
//! Candor's own tables is refused. So is a role that may read files or run programs on the machine of the
//! database.
//!
//! - No statement can write, because the connection itself refuses it.
//! - No signature contains a type of a client library.
//! - No error contains a password.

mod address;
mod halt;
mod mysql;
mod own;
mod postgres;
mod reader;
mod sqlite;
mod statement;

use std::time::Duration;

use serde_json::Value;

pub use address::shown_url;
use address::without_password;
use halt::Interrupt;
pub use halt::{Halt, Limit};
pub use reader::{Counted, Page, Reader, Row};

/// The kind of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A PostgreSQL database.
    Postgres,
    /// A MySQL or MariaDB database.
    Mysql,
    /// A SQLite file on the machine that Candor runs on.
    Sqlite,
}

impl Engine {
    /// Checks a URL without connecting.
    ///
    /// # Errors
    /// A sentence for the caller, which does not repeat the URL.
    pub fn check(self, url: &str) -> Result<(), String> {
        if url.chars().any(char::is_control) {
            return Err("contains a control character".to_owned());
        }
        match self {
            Engine::Postgres => postgres::check(url),
            Engine::Mysql => mysql::check(url),
            Engine::Sqlite => sqlite::check(url),
        }
    }

    /// Connects and begins the transaction. No statement may take longer than `patience`, and `halt` ends the
    /// statement that runs.
    ///
    /// # Errors
    /// The error of the database, in one line and without the password. The reason of `halt` if it is set.
    pub fn open(self, url: &str, patience: Duration, halt: &Halt) -> Result<Box<dyn Reader>, String> {
        self.check(url)?;
        halt.check()?;
        match self.reader(url, patience, halt) {
            Ok(reader) => Ok(Box::new(Halted {
                reader,
                interrupt: halt.interrupt(),
                halt: halt.clone(),
                url: url.to_owned(),
            })),
            Err(reason) => {
                halt.closed(halt.interrupt().as_ref());
                Err(halt.reason().unwrap_or_else(|| without_password(url, &reason)))
            }
        }
    }
}

impl Engine {
    fn reader(self, url: &str, patience: Duration, halt: &Halt) -> Result<Box<dyn Reader>, String> {
        match self {
            Engine::Postgres => Ok(Box::new(postgres::Reader::open(url, patience, halt)?)),
            Engine::Mysql => Ok(Box::new(mysql::Reader::open(url, patience, halt)?)),
            Engine::Sqlite => Ok(Box::new(sqlite::Reader::open(url, patience, halt)?)),
        }
    }
}

/// A reader that begins no statement after its reading was ended, and says why it ended.
struct Halted {
    reader: Box<dyn Reader>,
    interrupt: Option<Interrupt>,
    halt: Halt,
    url: String,
}

impl Drop for Halted {
    fn drop(&mut self) {
        self.halt.closed(self.interrupt.as_ref());
    }
}

impl Halted {
    fn run<T>(&mut self, work: impl FnOnce(&mut dyn Reader) -> Result<T, String>) -> Result<T, String> {
        self.halt.check()?;
        // What a database says of a statement that was cancelled is not the reason.
        work(self.reader.as_mut()).map_err(|said| {
            self.halt
                .reason()
                .unwrap_or_else(|| without_password(&self.url, &said))
        })
    }
}

impl Reader for Halted {
    fn warnings(&self) -> Vec<String> {
        self.reader.warnings()
    }

    fn count(&mut self, query: &str, key: &[&str]) -> Result<Counted, String> {
        self.run(|reader| reader.count(query, key))
    }

    fn page(
        &mut self,
        query: &str,
        key: &[&str],
        after: Option<&[Value]>,
        limit: usize,
    ) -> Result<Page, String> {
        self.run(|reader| reader.page(query, key, after, limit))
    }
}
