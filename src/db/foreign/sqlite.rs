//! Reads a SQLite file of others.
//!
//! Must never happen here: a file that is made or written.

use diesel::connection::SimpleConnection;
use diesel::deserialize::{self, FromSql};
use diesel::prelude::*;
use diesel::row::{Field, NamedRow};
use diesel::sql_types::{BigInt, Double, Text};
use diesel::sqlite::{Sqlite, SqliteConnection, SqliteType};
use serde_json::Value;

use super::{Counted, Row, count_statement, page_statement};

/// A read-only transaction.
pub(super) struct Reader(SqliteConnection);

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
    #[diesel(sql_type = BigInt)]
    keyed: i64,
}

/// A row whose columns are known when it comes.
struct Any(Row);

impl QueryableByName<Sqlite> for Any {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> deserialize::Result<Self> {
        let mut values = Row::new();
        for index in 0..row.field_count() {
            let field = diesel::row::Row::get(row, index).ok_or("a column is missing")?;
            let name = field.field_name().unwrap_or_default().to_owned();
            let value = match field.value() {
                None => Value::Null,
                Some(value) => match value.value_type() {
                    None => Value::Null,
                    Some(SqliteType::Binary) => {
                        return Err(format!("{name}: is binary; select it as text").into());
                    }
                    Some(SqliteType::Text) => {
                        Value::from(<String as FromSql<Text, Sqlite>>::from_sql(value)?)
                    }
                    Some(SqliteType::Float | SqliteType::Double) => {
                        Value::from(<f64 as FromSql<Double, Sqlite>>::from_sql(value)?)
                    }
                    Some(SqliteType::SmallInt | SqliteType::Integer | SqliteType::Long) => {
                        Value::from(<i64 as FromSql<BigInt, Sqlite>>::from_sql(value)?)
                    }
                },
            };
            values.insert(name, value);
        }
        Ok(Any(values))
    }
}

fn path(url: &str) -> Result<&str, String> {
    match url.strip_prefix("sqlite://") {
        Some(path) if path.starts_with('/') && !path.contains('?') => Ok(path),
        _ => Err("must be sqlite:///PATH with a whole path and nothing behind it".to_owned()),
    }
}

pub(super) fn check(url: &str) -> Result<(), String> {
    path(url).map(drop)
}

/// The path as SQLite reads it in a URI.
fn escaped(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

fn said(error: &diesel::result::Error) -> String {
    match error {
        diesel::result::Error::DatabaseError(_, info) => info.message().to_owned(),
        other => other.to_string(),
    }
}

fn connect(path: &str) -> Result<SqliteConnection, String> {
    if !std::path::Path::new(path).is_file() {
        return Err("there is no such file on the machine that Candor runs on".to_owned());
    }
    let mut conn = SqliteConnection::establish(&format!("file:{}?mode=ro", escaped(path)))
        .map_err(|error| error.to_string())?;
    conn.batch_execute("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA busy_timeout = 10000;")
        .map_err(|error| said(&error))?;
    Ok(conn)
}

impl Reader {
    pub(super) fn open(url: &str) -> Result<Self, String> {
        let mut conn = connect(path(url)?)?;
        conn.batch_execute("BEGIN").map_err(|error| said(&error))?;
        Ok(Reader(conn))
    }
}

impl super::Reader for Reader {
    fn count(&mut self, query: &str, key: &[&str]) -> Result<Counted, String> {
        let count: Count = diesel::sql_query(count_statement(query, key, '"'))
            .get_result(&mut self.0)
            .map_err(|error| said(&error))?;
        Ok(Counted {
            rows: count.n.unsigned_abs(),
            keyed: count.keyed.unsigned_abs(),
        })
    }

    fn page(
        &mut self,
        query: &str,
        key: &[&str],
        after: Option<&[Value]>,
        limit: usize,
    ) -> Result<Vec<Row>, String> {
        let statement = page_statement(query, key, after, limit)?;
        let rows: Vec<Any> = diesel::sql_query(statement)
            .load(&mut self.0)
            .map_err(|error| said(&error))?;
        Ok(rows.into_iter().map(|Any(row)| row).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::foreign::Reader as _;

    #[test]
    fn the_file_itself_refuses_to_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a shop #1.db");
        let mut owner = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        owner
            .batch_execute("CREATE TABLE t (id INTEGER, name TEXT); INSERT INTO t VALUES (1, 'a'), (2, NULL)")
            .unwrap();
        let url = format!("sqlite://{}", path.display());
        let mut reader = Reader::open(&url).unwrap();
        let refused = reader.0.batch_execute("DELETE FROM t").unwrap_err().to_string();
        assert!(refused.contains("readonly"), "{refused}");
        // Not even where the connection would let it.
        let refused = reader
            .0
            .batch_execute("PRAGMA query_only = OFF; DELETE FROM t")
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
            Value::from(rows[0].clone()),
            serde_json::json!({"id": 2, "name": null})
        );
        assert!(Reader::open("sqlite:///nowhere/x.db").is_err());
    }
}
