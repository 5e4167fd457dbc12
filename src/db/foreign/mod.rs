//! Databases of others, which are read and never written: where a directory may come from.
//!
//! Rows come out as JSON, a page at a time in the order of their key, within one read-only transaction. What a database
//! says of an error is repeated in one line, without the password.
//!
//! What a source may take in memory is bounded: a row by [`MAX_ROW`], a page by [`MAX_PAGE`]. A database that holds Candor's own
//! tables is refused, and so is a role that may read files of the database's machine or run programs there.
//!
//! Must never happen here: a statement that writes (the connection itself refuses it), a type of a client library in a
//! signature, or a password in an error.

mod mysql;
mod postgres;
mod sqlite;

use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

use crate::base::text::one_line;

/// How long a server may take to answer the connection.
const CONNECT: Duration = Duration::from_secs(10);

/// The largest row, in bytes of its values. A larger one ends the reading.
const MAX_ROW: usize = 1024 * 1024;
/// Bytes of values after which a page ends, however few rows it has.
const MAX_PAGE: usize = 8 * 1024 * 1024;
/// Tables that only Candor has together. Where a source's user can read them, the source is Candor's own database or a copy of it.
const OWN_TABLES: [&str; 4] = [
    "audit_head",
    "directory_sources",
    "directory_origins",
    "trail_cursors",
];
/// Why such a database is refused.
const OWN: &str = "holds Candor's own tables: a source must not be Candor's own database or a copy of it";
/// The parameter of a URL that says that there is no password on purpose.
const PASSWORDLESS: &str = "passwordless";

/// A row, by column.
pub type Row = Map<String, Value>;

/// Which kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
    /// A SQLite file.
    Sqlite,
}

/// How many rows a query has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// All of them.
    pub rows: u64,
    /// Those of which no column of the key is null.
    pub keyed: u64,
}

/// Some rows of a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The rows, in the order of the key.
    pub rows: Vec<Row>,
    /// Whether there may be more rows behind them.
    pub more: bool,
}

/// Collects the rows of a page, and ends it where it has enough bytes.
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

    /// Takes a row that is `bytes` long. Answers whether the page takes another one.
    fn take(&mut self, row: Row, bytes: usize) -> bool {
        self.page.rows.push(row);
        self.bytes += bytes;
        self.page.more = self.page.rows.len() >= self.limit || self.bytes >= MAX_PAGE;
        !self.page.more
    }
}

/// The error of a row that is too large.
fn too_large() -> String {
    format!(
        "a row is larger than {} KiB, the most that Candor reads of one row",
        MAX_ROW / 1024
    )
}

/// One read-only transaction with one view of the data.
pub trait Reader: Send {
    /// What is wrong with the rights of the user that the source signs in as, in sentences.
    fn warnings(&self) -> Vec<String>;

    /// How many rows the query has, and how many of them a key.
    ///
    /// # Errors
    /// What the database says, in one line.
    fn count(&mut self, query: &str, key: &[&str]) -> Result<Counted, String>;

    /// The rows after a key of which no column is null, in the order of the key.
    ///
    /// # Errors
    /// What the database says, in one line.
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
    /// A sentence for the caller that does not repeat the URL.
    pub fn check(self, url: &str) -> Result<(), String> {
        if url.chars().any(char::is_control) {
            return Err("holds a control character".to_owned());
        }
        match self {
            Engine::Postgres => postgres::check(url),
            Engine::Mysql => mysql::check(url),
            Engine::Sqlite => sqlite::check(url),
        }
    }

    /// Connects, and begins the transaction. No statement may take longer than `patience`.
    ///
    /// # Errors
    /// What the database says, in one line without the password.
    pub fn open(self, url: &str, patience: Duration) -> Result<Box<dyn Reader>, String> {
        self.check(url)?;
        let opened: Result<Box<dyn Reader>, String> = match self {
            Engine::Postgres => {
                postgres::Reader::open(url, patience).map(|reader| Box::new(reader) as Box<dyn Reader>)
            }
            Engine::Mysql => {
                mysql::Reader::open(url, patience).map(|reader| Box::new(reader) as Box<dyn Reader>)
            }
            Engine::Sqlite => {
                sqlite::Reader::open(url, patience).map(|reader| Box::new(reader) as Box<dyn Reader>)
            }
        };
        opened.map_err(|reason| without_password(url, &reason))
    }
}

/// The URL as it may be shown: `***` in the place of the password and of every parameter's value.
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

/// The URL without the parameter that says that there is no password on purpose, where there is one.
///
/// # Errors
/// A sentence where the user or the password is missing: the client library would sign in as the user that Candor runs as.
fn with_credentials(url: &Url) -> Result<Url, String> {
    let mut on_purpose = false;
    let mut user = !url.username().is_empty();
    let mut password = url.password().is_some_and(|password| !password.is_empty());
    for (name, value) in url.query_pairs() {
        match &*name {
            PASSWORDLESS if value == "yes" => on_purpose = true,
            PASSWORDLESS => return Err(format!("its parameter {PASSWORDLESS} must be `yes`")),
            "user" => user |= !value.is_empty(),
            "password" => password |= !value.is_empty(),
            _ => {}
        }
    }
    if !user {
        return Err("names no user; Candor would sign in as the user that it runs as".to_owned());
    }
    if !password && !on_purpose {
        return Err(format!(
            "has no password; give the user one, or add {PASSWORDLESS}=yes where the database asks for none"
        ));
    }
    // The rest as it was written: libpq takes a plus sign for itself, and not for a blank.
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

/// A server may repeat what it was given.
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

/// A value of a key as a literal, for the engines that give it the type of what it is compared with.
fn literal(value: &Value) -> Result<String, String> {
    match value {
        Value::Number(number) => Ok(number.to_string()),
        Value::String(text) if text.contains('\0') => Err("a key holds a NUL character".to_owned()),
        Value::String(text) => Ok(format!("'{}'", text.replace('\'', "''"))),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err("a key is neither a text nor a number".to_owned())
        }
    }
}

/// The page's statement where rows can be compared as a whole: the query, continued after the last key.
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
    // The line break ends a comment that the query may end with.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(
            shown_url("postgres://reader:s3cr%40t@db.example:5432/shop?sslmode=disable"),
            "postgres://reader:***@db.example:5432/shop?sslmode=***"
        );
        assert_eq!(
            shown_url("sqlite:///var/lib/shop.db"),
            "sqlite:///var/lib/shop.db"
        );
        assert_eq!(shown_url("host=db password=s3cret"), "***");
        assert_eq!(
            without_password("mysql://u:s3cr%40t@db/x", "no:\n s3cr@t or s3cr%40t"),
            "no: *** or ***"
        );
    }

    #[test]
    fn a_url_without_a_password_needs_a_word() {
        let checked = |text: &str| with_credentials(&Url::parse(text).unwrap()).map(|url| url.to_string());
        for refused in [
            "postgres:///candor",
            "postgres://db.example/shop",
            "postgres://reader@db.example/shop",
            "postgres://reader:@db.example/shop",
            "mysql://:secret@db.example/shop",
            "postgres:///shop?host=/run/postgresql&user=reader",
            "postgres://reader@db.example/shop?passwordless=no",
            "postgres:///shop?passwordless=yes",
        ] {
            assert!(checked(refused).is_err(), "{refused}");
        }
        for (given, used) in [
            (
                "postgres://reader:x@db.example/shop",
                "postgres://reader:x@db.example/shop",
            ),
            (
                "postgres://reader@db.example/shop?passwordless=yes&sslmode=disable",
                "postgres://reader@db.example/shop?sslmode=disable",
            ),
            (
                "mysql://reader@db.example/shop?passwordless=yes",
                "mysql://reader@db.example/shop",
            ),
        ] {
            assert_eq!(checked(given).unwrap(), used);
        }
    }

    #[test]
    fn a_key_is_quoted() {
        let after = [Value::from("it's"), Value::from(7)];
        let statement = page_statement("SELECT 1 -- all", &["type", "id"], Some(&after), 5).unwrap();
        assert_eq!(
            statement,
            "SELECT * FROM (\nSELECT 1 -- all\n) AS q WHERE q.\"type\" IS NOT NULL AND q.\"id\" IS NOT NULL \
             AND (q.\"type\", q.\"id\") > ('it''s', 7) \
             ORDER BY q.\"type\", q.\"id\" LIMIT 5"
        );
        assert!(literal(&Value::from("a\0b")).is_err());
    }
}
