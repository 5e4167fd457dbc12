//! Databases of others, from which a directory is read. They are never written.
//!
//! Rows are returned as JSON, in pages that are ordered by the key, within one read-only transaction. An
//! error of the database is repeated in one line without the password.
//!
//! The memory for a source is limited: a row by [`MAX_ROW`] and a page by [`MAX_PAGE`]. A database with
//! Candor's own tables is refused. So is a role that may read files or run programs on the machine of the
//! database.
//!
//! - No statement can write, because the connection itself refuses it.
//! - No signature contains a type of a client library.
//! - No error contains a password.

mod halt;
mod mysql;
mod own;
mod postgres;
mod sqlite;

use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

use halt::Interrupt;
pub use halt::{Halt, Limit};

use crate::base::text::one_line;

/// How long connecting to a server may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The largest size of a row, in bytes of its values. A larger row is an error.
const MAX_ROW: usize = 1024 * 1024;
/// A page ends when its values have at least this many bytes, even if it has few rows.
const MAX_PAGE: usize = 8 * 1024 * 1024;
/// The URL parameter that says that the password is missing on purpose.
const PASSWORDLESS: &str = "passwordless";

/// The values of a row, by column.
pub type Row = Map<String, Value>;

/// The kind of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A PostgreSQL database.
    Postgres,
    /// A MySQL or MariaDB database.
    Mysql,
    /// An SQLite file.
    Sqlite,
}

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
struct Collector {
    page: Page,
    limit: usize,
    bytes: usize,
}

impl Collector {
    fn new(limit: usize) -> Self {
        Collector {
            page: Page::default(),
            limit,
            bytes: 0,
        }
    }

    /// Adds a row with this number of bytes. Returns whether the page can take another row.
    fn take(&mut self, row: Row, bytes: usize) -> bool {
        self.page.rows.push(row);
        self.bytes += bytes;
        self.page.more = self.page.rows.len() >= self.limit || self.bytes >= MAX_PAGE;
        !self.page.more
    }
}

/// Returns the error for a row that is too large.
fn too_large() -> String {
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
        let opened: Result<Box<dyn Reader>, String> =
            match self {
                Engine::Postgres => postgres::Reader::open(url, patience, halt)
                    .map(|reader| Box::new(reader) as Box<dyn Reader>),
                Engine::Mysql => {
                    mysql::Reader::open(url, patience, halt).map(|reader| Box::new(reader) as Box<dyn Reader>)
                }
                Engine::Sqlite => sqlite::Reader::open(url, patience, halt)
                    .map(|reader| Box::new(reader) as Box<dyn Reader>),
            };
        match opened {
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

/// Returns the URL in a form that may be shown. The password and the value of every parameter are replaced
/// with `***`.
pub fn shown_url(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        return "***".to_owned();
    };
    if parsed.password().is_some() && parsed.set_password(Some("***")).is_err() {
        return "***".to_owned();
    }
    if parsed.query().is_some() {
        let names: Vec<String> = parsed.query_pairs().map(|(name, _)| name.into_owned()).collect();
        let masked: Vec<String> = names.iter().map(|name| format!("{name}=***")).collect();
        parsed.set_query(Some(&masked.join("&")));
    }
    parsed.to_string()
}

/// Returns the URL without the parameter that says that the password is missing on purpose.
///
/// # Errors
/// A sentence, if the user or the password is missing. Without them, the client library would sign in as the
/// operating system user of Candor.
fn with_credentials(url: &Url) -> Result<Url, String> {
    let mut on_purpose = false;
    let mut user = !url.username().is_empty();
    let mut password = url.password().is_some_and(|password| !password.is_empty());
    for (name, value) in url.query_pairs() {
        match &*name {
            PASSWORDLESS if value == "yes" => on_purpose = true,
            PASSWORDLESS => {
                return Err(format!(
                    "has the parameter {PASSWORDLESS}, whose only allowed value is `yes`"
                ));
            }
            "user" => user |= !value.is_empty(),
            "password" => password |= !value.is_empty(),
            _ => {}
        }
    }
    if !user {
        return Err("has no user; without one, Candor would sign in as the user that it runs as".to_owned());
    }
    if !password && !on_purpose {
        return Err(format!(
            "has no password; give the user one, or add {PASSWORDLESS}=yes where the database asks for none"
        ));
    }
    // The rest of the query stays unchanged, because in libpq a plus sign does not mean a space.
    let rest: Vec<&str> = url
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|part| !part.is_empty() && part.split('=').next() != Some(PASSWORDLESS))
        .collect();
    let rest = rest.join("&");
    let mut url = url.clone();
    url.set_query((!rest.is_empty()).then_some(&rest));
    Ok(url)
}

/// Removes the password from an error, because a server may repeat what it got.
fn without_password(url: &str, reason: &str) -> String {
    let mut reason = one_line(reason, 600);
    let secrets = Url::parse(url).ok().and_then(|parsed| {
        let written = parsed.password()?.to_owned();
        let meant = percent_decoded(&written);
        Some([written, meant])
    });
    for secret in secrets.iter().flatten().filter(|secret| !secret.is_empty()) {
        reason = reason.replace(secret.as_str(), "***");
    }
    reason
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns a value of a key as a literal, for databases that give a literal the type of the column that it is
/// compared with.
fn literal(value: &Value) -> Result<String, String> {
    match value {
        Value::Number(number) => Ok(number.to_string()),
        Value::String(text) if text.contains('\0') => Err("a key contains a NUL character".to_owned()),
        Value::String(text) => Ok(format!("'{}'", text.replace('\'', "''"))),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err("a key is neither a text nor a number".to_owned())
        }
    }
}

/// Returns the statement of a page that continues after the last key, for databases that can compare whole
/// rows.
fn page_statement(
    query: &str,
    key: &[&str],
    after: Option<&[Value]>,
    limit: usize,
) -> Result<String, String> {
    let columns: Vec<String> = key.iter().map(|column| format!("q.\"{column}\"")).collect();
    let mut conditions: Vec<String> = columns
        .iter()
        .map(|column| format!("{column} IS NOT NULL"))
        .collect();
    let columns = columns.join(", ");
    if let Some(last) = after {
        let last = last.iter().map(literal).collect::<Result<Vec<_>, _>>()?;
        conditions.push(format!("({columns}) > ({})", last.join(", ")));
    }
    let condition = conditions.join(" AND ");
    // The line break ends a comment at the end of the query.
    Ok(format!(
        "SELECT * FROM (\n{query}\n) AS q WHERE {condition} ORDER BY {columns} LIMIT {limit}"
    ))
}

fn count_statement(query: &str, key: &[&str], quote: char) -> String {
    let there: Vec<String> = key
        .iter()
        .map(|column| format!("q.{quote}{column}{quote} IS NOT NULL"))
        .collect();
    format!(
        "SELECT COUNT(*) AS n, COUNT(CASE WHEN {} THEN 1 END) AS keyed FROM (\n{query}\n) AS q",
        there.join(" AND ")
    )
}
