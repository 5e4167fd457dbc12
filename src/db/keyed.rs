//! Rows by their keys, many at a time. They are read by the position of a column, not by its name: of a hundred thousand
//! rows the search for names takes longer than the database.
//!
//! Must never happen here: somebody's words in the text of a statement; only keys of ours stand there.

use std::fmt::Write as _;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::dsl::sql;
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};
use diesel::sqlite::Sqlite;

use super::Conn;
use crate::base::error::Result;

/// Keys in one query.
pub(crate) const CHUNK: usize = 5_000;
/// Of a table that has fewer rows than this for each key that is wanted, all of it is read: rows in a row cost less than
/// a search for each key.
const WHOLE: i64 = 3;
/// Keys below which a table is not looked at as a whole.
const MANY: usize = 1_000;

/// A text of a row, in one piece of memory of its own size.
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

/// Keys of ours, written into a statement: nothing to inject, and no limit of parameters.
pub(crate) fn list(keys: &[i64]) -> String {
    let mut text = String::with_capacity(keys.len() * 8);
    for (index, key) in keys.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        // A text takes what is written.
        let _ = write!(text, "{key}");
    }
    text
}

/// What is read of the rows of many keys.
pub(crate) struct Keyed<'a> {
    /// In the order of the tuple.
    pub columns: &'a str,
    /// The table, with its short name.
    pub table: &'a str,
    /// What is joined to it, if anything.
    pub joined: &'a str,
    /// The column that a key is compared with.
    pub on: &'a str,
    /// What else must hold; or `TRUE`.
    pub condition: &'a str,
}

impl Keyed<'_> {
    /// For SQLite: each key is looked up as it is read. A list behind `IN` would be made a table first, and functions that
    /// yield rows cost more than the search for them. No key may stand there twice.
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
            // A text takes what is written.
            let _ = write!(text, "{comma}({key})");
        }
        let _ = write!(
            text,
            ") k CROSS JOIN {table}{joined} WHERE {on} = k.column1 AND {condition}"
        );
        text
    }

    /// For PostgreSQL, up to the list of keys, which is a parameter.
    pub fn by_list(&self) -> String {
        format!("{} AND {} = ANY(", self.whole(), self.on)
    }

    /// Of the whole table.
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

/// Loads the columns of these SQL types by a statement: tuples, in its order.
macro_rules! load {
    ($conn:expr, $types:ty, $statement:expr) => {{
        let statement: &str = &$statement;
        $crate::db::dialect::on_backend!(&mut *$conn, c => diesel::dsl::sql::<$types>(statement).load(c)?)
    }};
}
pub(crate) use load;

/// The same for the rows of these keys. They come in no order.
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

/// About how many rows a table of ours has.
///
/// # Errors
/// What the database answers.
fn about_rows(conn: &mut Conn, table: &str) -> Result<i64> {
    Ok(match conn {
        // The newest row's number: nothing is ever deleted.
        Conn::Sqlite(conn) => {
            sql::<BigInt>(&format!("SELECT COALESCE(MAX(rowid), 0) FROM {table}")).get_result(conn)?
        }
        // As of the last look; before the first there is none, and then it is taken for large.
        Conn::Pg(conn) => sql::<BigInt>(&format!(
            "SELECT CASE WHEN reltuples < 0 THEN 9223372036854775807 ELSE CAST(reltuples AS BIGINT) END \
             FROM pg_class WHERE oid = '{table}'::regclass"
        ))
        .get_result(conn)?,
    })
}

/// Whether so much of a table is wanted that all of it should be read.
///
/// # Errors
/// What the database answers.
pub(crate) fn is_most(conn: &mut Conn, table: &str, keys: &[i64]) -> Result<bool> {
    Ok(keys.len() >= MANY && about_rows(conn, table)? / WHOLE <= keys.len() as i64)
}

/// Who has a role on something: the key of that, the key of the person, and the role, of those rows of `query` that are
/// of one of `keys` (none given: all), and whose column `role` is one of `roles` (none given: any).
///
/// # Errors
/// What the database answers.
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
                // The usual rule has one; to look each up among several takes a table.
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
