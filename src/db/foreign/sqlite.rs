//! Reads an SQLite file of others.
//!
//! - A file is never created or written.
//! - A query cannot open another file, and no file of the kernel or of a device is opened.
//! - Every statement has a time limit, and every value has a size limit.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde_json::Value;

use super::reader::{Collector, Counted, MAX_ROW, Page, Row, too_large};
use super::statement::{count_statement, page_statement};
use super::{Halt, own};

/// A read-only transaction on an SQLite file, which reads a source of the directory.
pub(super) struct Reader {
    conn: Connection,
    patience: Duration,
    /// The time at which the running statement has taken too long.
    until: Arc<Mutex<Instant>>,
}

/// The number of steps of SQLite's virtual machine between two checks of the time. They take at most some
/// milliseconds.
const STEPS: i32 = 10_000;

/// The largest number of columns of a result or of a table in a query.
const MAX_COLUMNS: i32 = 500;

/// Decides what a query may do. It may select. It may not open another file or change a setting.
fn allowed(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Function { function_name }
            if !["load_extension", "readfile", "writefile", "edit"]
                .iter()
                .any(|name| function_name.eq_ignore_ascii_case(name)) =>
        {
            Authorization::Allow
        }
        _ => Authorization::Deny,
    }
}

/// Returns whether all tables of Candor exist in the file.
fn is_candors(conn: &Connection) -> Result<bool, rusqlite::Error> {
    let names = own::literals(&own::MARKS);
    let found: i64 = conn.query_row(
        &format!("SELECT COUNT(*) FROM sqlite_schema WHERE name IN ({names})"),
        (),
        |row| row.get(0),
    )?;
    Ok(found == own::MARKS.len() as i64)
}

fn value(name: &str, cell: ValueRef<'_>) -> Result<Value, String> {
    match cell {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(number) => Ok(Value::from(number)),
        ValueRef::Real(number) => Ok(Value::from(number)),
        ValueRef::Text(text) => std::str::from_utf8(text)
            .map(Value::from)
            .map_err(|_| format!("{name}: is not UTF-8")),
        ValueRef::Blob(_) => Err(format!("{name}: is binary; select it as text")),
    }
}

fn path(url: &str) -> Result<&str, String> {
    match url.strip_prefix("sqlite://") {
        Some(path) if path.starts_with('/') && !path.contains('?') => Ok(path),
        _ => Err("must be sqlite:///PATH with an absolute path and nothing after it".to_owned()),
    }
}

pub(super) fn check(url: &str) -> Result<(), String> {
    path(url).map(drop)
}

fn error_text(error: &rusqlite::Error) -> String {
    match error {
        _ if error.sqlite_error_code() == Some(ErrorCode::TooBig) => {
            format!(
                "a value or a row is larger than {} KiB, the most that Candor reads",
                MAX_ROW / 1024
            )
        }
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    }
}

/// Folders whose files the kernel makes up when they are read. They describe this process and this machine.
const OF_THE_KERNEL: [&str; 2] = ["/proc", "/sys"];

/// Checks what SQLite would not: it takes every file without content for an empty database, and it would wait for
/// ever at a pipe. SQLite itself refuses a file whose content is not a database.
///
/// The file is not opened here: closing it would release the locks that SQLite holds on it in this process.
fn is_plain(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path)
        .map_err(|_| "there is no such file on the machine that Candor runs on".to_owned())?;
    let real = fs::canonicalize(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() || OF_THE_KERNEL.iter().any(|folder| real.starts_with(folder)) {
        return Err("is not a regular file that holds an SQLite database".to_owned());
    }
    if metadata.len() == 0 {
        return Err("is an empty file, and no SQLite database".to_owned());
    }
    Ok(())
}

impl Reader {
    pub(super) fn open(url: &str, patience: Duration, halt: &Halt) -> Result<Self, String> {
        let path = path(url)?;
        is_plain(Path::new(path))?;
        // Only one thread uses the connection, so SQLite needs no mutex.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).map_err(|error| error_text(&error))?;
        conn.execute_batch(
            "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA busy_timeout = 10000; BEGIN;",
        )
        .map_err(|error| error_text(&error))?;
        if is_candors(&conn).map_err(|error| error_text(&error))? {
            return Err(own::REFUSED.to_owned());
        }
        for (limit, most) in [
            (Limit::SQLITE_LIMIT_LENGTH, MAX_ROW as i32),
            (Limit::SQLITE_LIMIT_COLUMN, MAX_COLUMNS),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
        ] {
            conn.set_limit(limit, most).map_err(|error| error_text(&error))?;
        }
        conn.authorizer(Some(allowed))
            .map_err(|error| error_text(&error))?;
        let until = Arc::new(Mutex::new(Instant::now() + patience));
        let limit = until.clone();
        let halt = halt.clone();
        let too_long =
            move || halt.is_set() || Instant::now() > *limit.lock().unwrap_or_else(PoisonError::into_inner);
        conn.progress_handler(STEPS, Some(too_long))
            .map_err(|error| error_text(&error))?;
        Ok(Reader {
            conn,
            patience,
            until,
        })
    }

    /// Runs a statement, which must end within `patience`.
    fn run<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Failed>) -> Result<T, String> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + self.patience;
        work(&self.conn).map_err(|failed| match failed {
            Failed::Value(reason) => reason,
            Failed::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
                format!("the statement took longer than {} s", self.patience.as_secs_f64())
            }
            Failed::Sqlite(error) => error_text(&error),
        })
    }
}

enum Failed {
    Sqlite(rusqlite::Error),
    Value(String),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Failed::Sqlite(error)
    }
}

impl super::reader::Reader for Reader {
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    fn count(&mut self, query: &str, key: &[&str]) -> Result<Counted, String> {
        let statement = count_statement(query, key, '"');
        let (rows, keyed): (i64, i64) =
            self.run(|conn| Ok(conn.query_row(&statement, (), |row| Ok((row.get(0)?, row.get(1)?)))?))?;
        Ok(Counted {
            rows: rows.unsigned_abs(),
            keyed: keyed.unsigned_abs(),
        })
    }

    fn page(
        &mut self,
        query: &str,
        key: &[&str],
        after: Option<&[Value]>,
        limit: usize,
    ) -> Result<Page, String> {
        let statement = page_statement(query, key, after, limit)?;
        self.run(|conn| {
            let mut statement = conn.prepare(&statement)?;
            let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
            let mut rows = statement.query(())?;
            let mut page = Collector::new(limit);
            while let Some(row) = rows.next()? {
                let mut values = Row::new();
                let mut bytes = 0;
                for (index, name) in names.iter().enumerate() {
                    let cell = row.get_ref(index)?;
                    bytes += match cell {
                        ValueRef::Text(text) | ValueRef::Blob(text) => text.len(),
                        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
                    };
                    if bytes > MAX_ROW {
                        return Err(Failed::Value(too_large()));
                    }
                    values.insert(name.clone(), value(name, cell).map_err(Failed::Value)?);
                }
                if !page.take(values, bytes) {
                    break;
                }
            }
            Ok(page.page)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::foreign::reader::Reader as _;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn halt() -> Halt {
        Halt::within(crate::db::foreign::Limit {
            most: TIMEOUT,
            setting: "CANDOR_TEST",
        })
    }

    #[test]
    fn the_file_itself_refuses_to_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a shop #1.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t (id INTEGER, name TEXT); INSERT INTO t VALUES (1, 'a'), (2, NULL)")
            .unwrap();
        let url = format!("sqlite://{}", path.display());
        let mut reader = Reader::open(&url, TIMEOUT, &halt()).unwrap();
        let refused = reader
            .conn
            .execute_batch("DELETE FROM t")
            .unwrap_err()
            .to_string();
        assert!(refused.contains("not authorized"), "{refused}");
        // The file itself must refuse writing, even if the connection allows it.
        let nobody: Option<fn(AuthContext<'_>) -> Authorization> = None;
        reader.conn.authorizer(nobody).unwrap();
        let refused = reader
            .conn
            .execute_batch("PRAGMA query_only = OFF; DELETE FROM t")
            .unwrap_err();
        assert!(refused.to_string().contains("readonly"), "{refused}");
        assert_eq!(
            reader.count("SELECT * FROM t", &["name"]).unwrap(),
            Counted { rows: 2, keyed: 1 }
        );
        let rows = reader
            .page("SELECT * FROM t", &["id"], Some(&[Value::from(1)]), 10)
            .unwrap();
        assert_eq!(
            Value::from(rows.rows[0].clone()),
            serde_json::json!({"id": 2, "name": null})
        );
        assert!(Reader::open("sqlite:///nowhere/x.db", TIMEOUT, &halt()).is_err());
    }

    #[test]
    fn a_query_that_never_ends_is_ended() {
        const ENDLESS: &str = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) \
                               SELECT id FROM n WHERE id < 0";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1)")
            .unwrap();
        let url = format!("sqlite://{}", path.display());
        let mut reader = Reader::open(&url, Duration::from_millis(100), &halt()).unwrap();
        let counted = reader.count(ENDLESS, &["id"]).unwrap_err();
        assert_eq!(counted, "the statement took longer than 0.1 s");
        let page = reader.page(ENDLESS, &["id"], None, 10).unwrap_err();
        assert_eq!(page, counted);
        // The next statement has its own time limit.
        assert_eq!(
            reader.count("SELECT * FROM t", &["id"]).unwrap(),
            Counted { rows: 1, keyed: 1 }
        );
    }
}
