//! Reads rows by many keys. The values are read by the position of the column and not by its name. For
//! 100,000 rows, looking up the names takes longer than the query.
//!
//! The text of a statement contains only Candor's own keys and never texts of a caller.

use std::fmt::Write as _;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::dsl::sql;
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};
use diesel::sqlite::Sqlite;

use crate::base::error::Result;
use crate::db::Conn;

/// The number of keys in one query.
pub(crate) const CHUNK: usize = 5_000;
/// A table is read as a whole if it has fewer rows than this for each wanted key, because reading consecutive
/// rows is cheaper than searching each key.
const WHOLE: i64 = 3;
/// For fewer keys than this, a table is never read as a whole.
const MANY: usize = 1_000;

/// A text of a row, in a memory block of exactly its size.
#[derive(Debug, FromSqlRow)]
#[diesel(sql_type = Text)]
pub(crate) struct Word(pub Box<str>);

impl FromSql<Text, Sqlite> for Word {
    fn from_sql(mut value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Word(value.read_text().into()))
    }
}
impl FromSql<Text, Pg> for Word {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Word(std::str::from_utf8(value.as_bytes())?.into()))
    }
}

/// Returns Candor's own keys as text for a statement. Keys are numbers, so nothing can be injected, and there
/// is no limit for parameters.
pub(crate) fn list(keys: &[i64]) -> String {
    let mut text = String::with_capacity(keys.len() * 8);
    for (index, key) in keys.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        // Writing into a `String` never fails.
        let _ = write!(text, "{key}");
    }
    text
}

/// A query for the rows of many keys.
pub(crate) struct Keyed<'a> {
    /// The columns, in the order of the tuple.
    pub columns: &'a str,
    /// The table, with its alias.
    pub table: &'a str,
    /// The joined tables, if there are any.
    pub joined: &'a str,
    /// The column that the keys are compared with.
    pub on: &'a str,
    /// The further condition, or `TRUE`.
    pub condition: &'a str,
}

impl Keyed<'_> {
    /// Returns the statement for SQLite, which looks up each key as it reads it. With `IN`, SQLite would
    /// first make a table of the list, and functions that return rows are slower than the lookup itself. No
    /// key may appear twice.
    pub fn by_values(&self, keys: &[i64]) -> String {
        let Keyed {
            columns,
            table,
            joined,
            on,
            condition,
        } = self;
        let mut text = format!("SELECT {columns} FROM (VALUES ");
        text.reserve(keys.len() * 10 + 200);
        for (index, key) in keys.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            // Writing into a `String` never fails.
            let _ = write!(text, "{comma}({key})");
        }
        let _ = write!(
            text,
            ") k CROSS JOIN {table}{joined} WHERE {on} = k.column1 AND {condition}"
        );
        text
    }

    /// Returns the statement for PostgreSQL up to the list of keys, which is a parameter.
    pub fn by_list(&self) -> String {
        format!("{} AND {} = ANY(", self.whole(), self.on)
    }

    /// Returns the statement for the whole table.
    pub fn whole(&self) -> String {
        let Keyed {
            columns,
            table,
            joined,
            condition,
            ..
        } = self;
        format!("SELECT {columns} FROM {table}{joined} WHERE {condition}")
    }
}

/// Loads columns with these SQL types by a statement, as tuples in the order of the statement.
macro_rules! load {
    ($conn:expr, $types:ty, $statement:expr) => {{
        let statement: &str = &$statement;
        $crate::db::dialect::on_backend!(&mut *$conn, c => diesel::dsl::sql::<$types>(statement).load(c)?)
    }};
}
pub(crate) use load;

/// Loads the rows with these keys, as tuples. The rows are in no order.
macro_rules! load_keyed {
    ($conn:expr, $types:ty, $query:expr, $keys:expr) => {{
        let (query, keys): (&$crate::db::keyed::Keyed<'_>, &[i64]) = (&$query, $keys);
        match &mut *$conn {
            $crate::db::Conn::Sqlite(c) => diesel::dsl::sql::<$types>(&query.by_values(keys)).load(c)?,
            $crate::db::Conn::Pg(c) => diesel::dsl::sql::<$types>(&query.by_list())
                .bind::<diesel::sql_types::Array<diesel::sql_types::BigInt>, _>(keys)
                .sql(")")
                .load(c)?,
        }
    }};
}
pub(crate) use load_keyed;

/// Returns the approximate number of rows of one of Candor's tables.
///
/// # Errors
/// An error of the database.
fn about_rows(conn: &mut Conn, table: &str) -> Result<i64> {
    Ok(match conn {
        // The number of the newest row is used, because rows are never deleted.
        Conn::Sqlite(conn) => {
            sql::<BigInt>(&format!("SELECT COALESCE(MAX(rowid), 0) FROM {table}")).get_result(conn)?
        }
        // The number is from the last statistics. If there are none yet, the table counts as large.
        Conn::Pg(conn) => sql::<BigInt>(&format!(
            "SELECT CASE WHEN reltuples < 0 THEN 9223372036854775807 ELSE CAST(reltuples AS BIGINT) END \
             FROM pg_class WHERE oid = '{table}'::regclass"
        ))
        .get_result(conn)?,
    })
}

/// Returns whether so many rows of a table are wanted that the whole table should be read.
///
/// # Errors
/// An error of the database.
pub(crate) fn is_most(conn: &mut Conn, table: &str, keys: &[i64]) -> Result<bool> {
    Ok(keys.len() >= MANY && about_rows(conn, table)? / WHOLE <= keys.len() as i64)
}

/// Returns who has a role on what: the key of the account or resource, the key of the person, and the role.
/// Only the rows of `query` with one of `keys` are returned (all rows if `None`), and only those whose column
/// `role` is one of `roles` (any role if `None`).
///
/// # Errors
/// An error of the database.
pub(crate) fn held(
    conn: &mut Conn,
    query: &Keyed<'_>,
    keys: Option<&[i64]>,
    (role, roles): (&str, Option<&[&str]>),
) -> Result<Vec<(i64, i64, Word)>> {
    type Columns = (BigInt, BigInt, Text);
    Ok(match conn {
        Conn::Sqlite(conn) => {
            let text = match keys {
                Some(keys) => query.by_values(keys),
                None => query.whole(),
            };
            match roles {
                // The default rule has three roles, those of contacts included, and a rule without contacts has one. For any other
                // number SQLite needs a table.
                Some([one, two, three]) => sql::<Columns>(&format!("{text} AND {role} IN ("))
                    .bind::<Text, _>(*one)
                    .sql(", ")
                    .bind::<Text, _>(*two)
                    .sql(", ")
                    .bind::<Text, _>(*three)
                    .sql(")")
                    .load(conn)?,
                Some([one]) => sql::<Columns>(&format!("{text} AND {role} = "))
                    .bind::<Text, _>(*one)
                    .load(conn)?,
                Some(roles) => sql::<Columns>(&format!("{text} AND {role} IN (SELECT value FROM json_each("))
                    .bind::<Text, _>(serde_json::to_string(roles)?)
                    .sql("))")
                    .load(conn)?,
                None => sql::<Columns>(&text).load(conn)?,
            }
        }
        Conn::Pg(conn) => match (keys, roles) {
            (Some(keys), Some(roles)) => sql::<Columns>(&query.by_list())
                .bind::<Array<BigInt>, _>(keys)
                .sql(&format!(") AND {role} = ANY("))
                .bind::<Array<Text>, _>(roles)
                .sql(")")
                .load(conn)?,
            (Some(keys), None) => sql::<Columns>(&query.by_list())
                .bind::<Array<BigInt>, _>(keys)
                .sql(")")
                .load(conn)?,
            (None, Some(roles)) => sql::<Columns>(&format!("{} AND {role} = ANY(", query.whole()))
                .bind::<Array<Text>, _>(roles)
                .sql(")")
                .load(conn)?,
            (None, None) => sql::<Columns>(&query.whole()).load(conn)?,
        },
    })
}
