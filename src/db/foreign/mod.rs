//! Databases of others, which are read and never written: where a directory may come from.
//!
//! Rows come out as JSON, a page at a time in the order of their key, within one read-only transaction. What a database
//! says of an error is repeated in one line, without the password.
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

/// One read-only transaction with one view of the data.
pub trait Reader: Send {
    /// How many rows the query has, and how many of them a key.
    ///
    /// # Errors
    /// What the database says, in one line.
    fn count(&mut self, query: &str, key: &[&str]) -> Result<Counted, String>;

    /// The rows after a key, in the order of the key.
    ///
    /// # Errors
    /// What the database says, in one line.
    fn page(
        &mut self,
        query: &str,
        key: &[&str],
        after: Option<&[Value]>,
        limit: usize,
    ) -> Result<Vec<Row>, String>;
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
    let columns = columns.join(", ");
    let condition = match after {
        None => String::new(),
        Some(last) => {
            let last = last.iter().map(literal).collect::<Result<Vec<_>, _>>()?;
            format!("WHERE ({columns}) > ({})", last.join(", "))
        }
    };
    // The line break ends a comment that the query may end with.
    Ok(format!(
        "SELECT * FROM (\n{query}\n) AS q {condition} ORDER BY {columns} LIMIT {limit}"
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
    fn a_key_is_quoted() {
        let after = [Value::from("it's"), Value::from(7)];
        let statement = page_statement("SELECT 1 -- all", &["type", "id"], Some(&after), 5).unwrap();
        assert_eq!(
            statement,
            "SELECT * FROM (\nSELECT 1 -- all\n) AS q WHERE (q.\"type\", q.\"id\") > ('it''s', 7) \
             ORDER BY q.\"type\", q.\"id\" LIMIT 5"
        );
        assert!(literal(&Value::from("a\0b")).is_err());
    }
}
