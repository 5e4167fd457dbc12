//! Rows by their keys, many at a time. They are read by the position of a column, not by its name: of a hundred thousand
//! rows the search for names takes longer than the database.
//!
//! Must never happen here: somebody's words in the text of a statement; only keys of ours stand there.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};

use super::Conn;
use crate::error::Result;

/// Keys in one query.
pub(crate) const CHUNK: usize = 5_000;

/// Keys of ours, written into a statement: nothing to inject, and no limit of parameters.
pub(crate) fn list(keys: &[i64]) -> String {
    let mut text = String::with_capacity(keys.len() * 8);
    for (index, key) in keys.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&key.to_string());
    }
    text
}

/// Loads the columns of these SQL types by a statement: tuples, in its order.
macro_rules! load {
    ($conn:expr, $types:ty, $statement:expr) => {{
        let statement: &str = &$statement;
        $crate::db::dialect::on_backend!(&mut *$conn, c => diesel::dsl::sql::<$types>(statement).load(c)?)
    }};
}
pub(crate) use load;

/// The same for the rows whose column `on` is one of the keys; `$statement` ends where a condition may stand, behind
/// `WHERE` or `AND`. They come in no order.
macro_rules! load_keyed {
    ($conn:expr, $types:ty, $statement:expr, $on:expr, $keys:expr) => {{
        let (statement, on, keys): (&str, &str, &[i64]) = (&$statement, $on, $keys);
        match &mut *$conn {
            // Literals: a function that yields rows costs more than reading them.
            $crate::db::Conn::Sqlite(c) => {
                let list = $crate::db::keyed::list(keys);
                diesel::dsl::sql::<$types>(&format!("{statement} {on} IN ({list})")).load(c)?
            }
            $crate::db::Conn::Pg(c) => diesel::dsl::sql::<$types>(&format!("{statement} {on} = ANY("))
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
pub(crate) fn about_rows(conn: &mut Conn, table: &str) -> Result<i64> {
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

/// Who has a role on something: the key of that, the key of the person, and the role, of those rows of `select` (which
/// ends behind a condition) whose column `on` is one of `keys` (none given: all), and whose column `role` is one of
/// `roles` (none given: any).
///
/// # Errors
/// What the database answers.
pub(crate) fn held(
    conn: &mut Conn,
    select: &str,
    (on, keys): (&str, Option<&[i64]>),
    (role, roles): (&str, Option<&[&str]>),
) -> Result<Vec<(i64, i64, String)>> {
    type Columns = (BigInt, BigInt, Text);
    Ok(match conn {
        Conn::Sqlite(conn) => {
            let among = keys
                .map(|keys| format!(" AND {on} IN ({})", list(keys)))
                .unwrap_or_default();
            match roles {
                Some(roles) => sql::<Columns>(&format!(
                    "{select}{among} AND {role} IN (SELECT value FROM json_each("
                ))
                .bind::<Text, _>(serde_json::to_string(roles)?)
                .sql("))")
                .load(conn)?,
                None => sql::<Columns>(&format!("{select}{among}")).load(conn)?,
            }
        }
        Conn::Pg(conn) => {
            let among = match keys {
                Some(_) => format!("{on} = ANY("),
                None => "(TRUE OR 0 = ANY(".to_owned(),
            };
            let end = if keys.is_some() { ")" } else { "))" };
            let query = sql::<Columns>(&format!("{select} AND {among}"))
                .bind::<Array<BigInt>, _>(keys.unwrap_or_default())
                .sql(end);
            match roles {
                Some(roles) => query
                    .sql(&format!(" AND {role} = ANY("))
                    .bind::<Array<Text>, _>(roles)
                    .sql(")")
                    .load(conn)?,
                None => query.load(conn)?,
            }
        }
    })
}
