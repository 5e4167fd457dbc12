//! Writes many rows of the directory, or finds or creates their keys, in one statement. The text of the
//! statement does not depend on the number of rows. PostgreSQL gets one list for each column, and SQLite gets
//! a list of lists.
//!
//! One call must not contain the same row twice. A row is never replaced by a delete and an insert.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::query_builder::SqlQuery;
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::Conn;

/// Returns the query with which SQLite reads the rows: the positions of a list, and then the time as often as the rows
/// have it.
fn places(columns: usize, times: usize) -> String {
    let places: Vec<String> = (0..columns)
        .map(|place| format!("list ->> '$[{place}]'"))
        .chain(std::iter::repeat_n("$1".to_owned(), times))
        .collect();
    // SQLite numbers parameters in the order in which they first appear.
    let list = if times > 0 { "$2" } else { "$1" };
    // Binary JSON is used, because `json_each` would turn each inner list into text, which every column would
    // parse again. The limit prevents SQLite from creating the inner list again for each column.
    format!(
        "SELECT {} FROM (SELECT value AS list FROM jsonb_each({list}) LIMIT -1) WHERE TRUE",
        places.join(", ")
    )
}

/// Returns a statement for SQLite. `head` is the insert, `columns` is the number of columns without the two
/// times, and `tail` says what happens on a conflict.
fn of_lists(head: &str, columns: usize, tail: &str) -> SqlQuery {
    diesel::sql_query(format!("{head} {} {tail}", places(columns, 2)))
}

/// An account to write. `labels` is JSON.
#[allow(missing_docs)]
pub(crate) struct NewAccount<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub locale: Option<&'a str>,
    pub time_zone: Option<&'a str>,
    pub labels: String,
}

/// Inserts or updates accounts. Archived accounts become active again.
///
/// # Errors
/// An error of the database.
pub(crate) fn accounts(conn: &mut Conn, now: Timestamp, rows: &[NewAccount<'_>]) -> Result<()> {
    const HEAD: &str = "INSERT INTO accounts (id, name, locale, time_zone, labels, created_at, updated_at)";
    const TAIL: &str = "ON CONFLICT (id) DO UPDATE SET name = excluded.name, locale = excluded.locale, \
        time_zone = excluded.time_zone, labels = excluded.labels, gone_at = NULL, updated_at = excluded.updated_at";
    match conn {
        Conn::Sqlite(conn) => {
            let lists: Vec<_> = rows
                .iter()
                .map(|row| (row.id, row.name, row.locale, row.time_zone, &row.labels))
                .collect();
            of_lists(HEAD, 5, TAIL)
                .bind::<BigInt, _>(now)
                .bind::<Text, _>(serde_json::to_string(&lists)?)
                .execute(conn)?;
        }
        Conn::Pg(conn) => {
            diesel::sql_query(format!(
                "{HEAD} SELECT n.*, $6, $6 FROM UNNEST($1, $2, $3, $4, $5) AS n {TAIL}"
            ))
            .bind::<Array<Text>, _>(column(rows, |row| row.id))
            .bind::<Array<Text>, _>(column(rows, |row| row.name))
            .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.locale))
            .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.time_zone))
            .bind::<Array<Text>, _>(column(rows, |row| row.labels.as_str()))
            .bind::<BigInt, _>(now)
            .execute(conn)?;
        }
    }
    Ok(())
}

/// The columns of a person who is inserted or updated.
#[allow(missing_docs)]
pub(crate) struct NewPerson<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub email: &'a str,
    pub locale: Option<&'a str>,
    pub time_zone: Option<&'a str>,
}

/// Inserts or updates people. Archived people become active again.
///
/// # Errors
/// An error of the database.
pub(crate) fn people(conn: &mut Conn, now: Timestamp, rows: &[NewPerson<'_>]) -> Result<()> {
    const HEAD: &str = "INSERT INTO people (id, name, email, locale, time_zone, created_at, updated_at)";
    const TAIL: &str = "ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, \
        locale = excluded.locale, time_zone = excluded.time_zone, gone_at = NULL, updated_at = excluded.updated_at";
    match conn {
        Conn::Sqlite(conn) => {
            let lists: Vec<_> = rows
                .iter()
                .map(|row| (row.id, row.name, row.email, row.locale, row.time_zone))
                .collect();
            of_lists(HEAD, 5, TAIL)
                .bind::<BigInt, _>(now)
                .bind::<Text, _>(serde_json::to_string(&lists)?)
                .execute(conn)?;
        }
        Conn::Pg(conn) => {
            diesel::sql_query(format!(
                "{HEAD} SELECT n.*, $6, $6 FROM UNNEST($1, $2, $3, $4, $5) AS n {TAIL}"
            ))
            .bind::<Array<Text>, _>(column(rows, |row| row.id))
            .bind::<Array<Text>, _>(column(rows, |row| row.name))
            .bind::<Array<Text>, _>(column(rows, |row| row.email))
            .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.locale))
            .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.time_zone))
            .bind::<BigInt, _>(now)
            .execute(conn)?;
        }
    }
    Ok(())
}

/// A resource to write, with its key.
#[allow(missing_docs)]
pub(crate) struct NewResource<'a> {
    pub key: i64,
    pub type_: &'a str,
    pub id: &'a str,
    pub name: Option<&'a str>,
    pub account_key: Option<i64>,
    pub parent_key: Option<i64>,
}

/// Creates keys for new resources. Nobody else gets these keys, so the resources can refer to each other
/// before they are stored.
///
/// # Errors
/// An error of the database.
pub(crate) fn new_resource_keys(conn: &mut Conn, count: usize) -> Result<Vec<i64>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let count = i64::try_from(count).map_err(Error::internal)?;
    Ok(match conn {
        // No other connection writes at the same time, and a row with such a key increases the sequence.
        Conn::Sqlite(conn) => {
            let last: i64 = sql::<BigInt>(
                "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'resources'), 0)",
            )
            .get_result(conn)?;
            (last + 1..=last + count).collect()
        }
        // OFFSET prevents PostgreSQL from looking up the name of the sequence for each row.
        Conn::Pg(conn) => sql::<BigInt>(
            "SELECT nextval(s.name) FROM \
             (SELECT CAST(pg_get_serial_sequence('resources', 'key') AS regclass) AS name OFFSET 0) s, generate_series(1, ",
        )
        .bind::<BigInt, _>(count)
        .sql(")")
        .load(conn)?,
    })
}

/// Writes new resources in any order. A parent may come after its child.
///
/// # Errors
/// An error of the database.
pub(crate) fn new_resources(conn: &mut Conn, now: Timestamp, rows: &[NewResource<'_>]) -> Result<()> {
    write_resources(conn, now, rows, "")
}

/// Writes resources that exist or existed. Archived resources become active again. Their parents must exist.
///
/// # Errors
/// An error of the database.
pub(crate) fn known_resources(conn: &mut Conn, now: Timestamp, rows: &[NewResource<'_>]) -> Result<()> {
    const TAIL: &str = "ON CONFLICT (key) DO UPDATE SET name = excluded.name, account_key = excluded.account_key, \
        parent_key = excluded.parent_key, gone_at = NULL, updated_at = excluded.updated_at";
    write_resources(conn, now, rows, TAIL)
}

fn write_resources(conn: &mut Conn, now: Timestamp, rows: &[NewResource<'_>], tail: &str) -> Result<()> {
    const HEAD: &str =
        "INSERT INTO resources (key, type, id, name, account_key, parent_key, created_at, updated_at)";
    if rows.is_empty() {
        return Ok(());
    }
    match conn {
        Conn::Sqlite(conn) => {
            let lists: Vec<_> = rows
                .iter()
                .map(|row| {
                    (
                        row.key,
                        row.type_,
                        row.id,
                        row.name,
                        row.account_key,
                        row.parent_key,
                    )
                })
                .collect();
            of_lists(HEAD, 6, tail)
                .bind::<BigInt, _>(now)
                .bind::<Text, _>(serde_json::to_string(&lists)?)
                .execute(conn)?;
        }
        Conn::Pg(conn) => {
            diesel::sql_query(format!(
                "{HEAD} SELECT n.*, $7, $7 FROM UNNEST($1, $2, $3, $4, $5, $6) AS n {tail}"
            ))
            .bind::<Array<BigInt>, _>(column(rows, |row| row.key))
            .bind::<Array<Text>, _>(column(rows, |row| row.type_))
            .bind::<Array<Text>, _>(column(rows, |row| row.id))
            .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.name))
            .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.account_key))
            .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.parent_key))
            .bind::<BigInt, _>(now)
            .execute(conn)?;
        }
    }
    Ok(())
}

/// Writes labels of resources that are new or have another value now: key, name, value. The database keeps the values that ended.
///
/// # Errors
/// An error of the database.
pub(crate) fn labels(conn: &mut Conn, now: Timestamp, rows: &[(i64, &str, &str)]) -> Result<()> {
    const HEAD: &str = "INSERT INTO resource_labels (resource_key, name, value, since)";
    const TAIL: &str =
        "ON CONFLICT (resource_key, name) DO UPDATE SET value = excluded.value, since = excluded.since";
    if rows.is_empty() {
        return Ok(());
    }
    match conn {
        Conn::Sqlite(conn) => {
            diesel::sql_query(format!("{HEAD} {} {TAIL}", places(3, 1)))
                .bind::<BigInt, _>(now)
                .bind::<Text, _>(serde_json::to_string(rows)?)
                .execute(conn)?;
        }
        Conn::Pg(conn) => {
            diesel::sql_query(format!(
                "{HEAD} SELECT n.*, $4 FROM UNNEST($1, $2, $3) AS n {TAIL}"
            ))
            .bind::<Array<BigInt>, _>(column(rows, |row| row.0))
            .bind::<Array<Text>, _>(column(rows, |row| row.1))
            .bind::<Array<Text>, _>(column(rows, |row| row.2))
            .bind::<BigInt, _>(now)
            .execute(conn)?;
        }
    }
    Ok(())
}

/// Deletes labels of resources: key and name. The database keeps their values. The resources must be written before, because the
/// time of that write is when the labels ended.
///
/// # Errors
/// An error of the database.
pub(crate) fn end_labels(conn: &mut Conn, rows: &[(i64, String)]) -> Result<()> {
    const HEAD: &str = "DELETE FROM resource_labels WHERE (resource_key, name) IN";
    if rows.is_empty() {
        return Ok(());
    }
    match conn {
        Conn::Sqlite(conn) => {
            diesel::sql_query(format!("{HEAD} ({})", places(2, 0)))
                .bind::<Text, _>(serde_json::to_string(rows)?)
                .execute(conn)?;
        }
        Conn::Pg(conn) => {
            diesel::sql_query(format!("{HEAD} (SELECT * FROM UNNEST($1, $2))"))
                .bind::<Array<BigInt>, _>(column(rows, |row| row.0))
                .bind::<Array<Text>, _>(column(rows, |row| row.1.as_str()))
                .execute(conn)?;
        }
    }
    Ok(())
}

/// Inserts or updates members: account, person, role. Archived members become active again.
///
/// # Errors
/// An error of the database.
pub(crate) fn members(conn: &mut Conn, now: Timestamp, rows: &[(i64, i64, &str)]) -> Result<()> {
    held(conn, now, ("members", "account_key"), rows)
}

/// Inserts or updates collaborators: resource, person, role. Archived collaborators become active again.
///
/// # Errors
/// An error of the database.
pub(crate) fn collaborators(conn: &mut Conn, now: Timestamp, rows: &[(i64, i64, &str)]) -> Result<()> {
    held(conn, now, ("collaborators", "resource_key"), rows)
}

fn held(conn: &mut Conn, now: Timestamp, (table, on): (&str, &str), rows: &[(i64, i64, &str)]) -> Result<()> {
    let head = format!("INSERT INTO {table} ({on}, person_key, role, created_at, updated_at)");
    let tail = format!(
        "ON CONFLICT ({on}, person_key) DO UPDATE SET role = excluded.role, gone_at = NULL, \
         updated_at = excluded.updated_at"
    );
    match conn {
        Conn::Sqlite(conn) => {
            of_lists(&head, 3, &tail)
                .bind::<BigInt, _>(now)
                .bind::<Text, _>(serde_json::to_string(rows)?)
                .execute(conn)?;
        }
        Conn::Pg(conn) => {
            diesel::sql_query(format!(
                "{head} SELECT n.*, $4, $4 FROM UNNEST($1, $2, $3) AS n {tail}"
            ))
            .bind::<Array<BigInt>, _>(column(rows, |row| row.0))
            .bind::<Array<BigInt>, _>(column(rows, |row| row.1))
            .bind::<Array<Text>, _>(column(rows, |row| row.2))
            .bind::<BigInt, _>(now)
            .execute(conn)?;
        }
    }
    Ok(())
}

/// Sets the finding of affected resources or people: their key, and the finding as JSON. `table` and `key` are the table and its
/// column with the key.
///
/// # Errors
/// An error of the database.
pub(crate) fn set_findings(
    conn: &mut Conn,
    (table, key): (&str, &str),
    incident: &str,
    rows: &[(i64, String)],
) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => {
            diesel::sql_query(format!(
                "UPDATE {table} SET finding = n.finding FROM ( \
                     SELECT list ->> '$[0]' AS key, list ->> '$[1]' AS finding \
                     FROM (SELECT value AS list FROM jsonb_each($1) LIMIT -1)) AS n \
                 WHERE {table}.incident_id = $2 AND {table}.{key} = n.key"
            ))
            .bind::<Text, _>(serde_json::to_string(rows)?)
            .bind::<Text, _>(incident)
            .execute(conn)?;
        }
        Conn::Pg(conn) => {
            diesel::sql_query(format!(
                "UPDATE {table} SET finding = n.finding FROM UNNEST($1, $2) AS n(key, finding) \
                 WHERE {table}.incident_id = $3 AND {table}.{key} = n.key"
            ))
            .bind::<Array<BigInt>, _>(column(rows, |row| row.0))
            .bind::<Array<Text>, _>(column(rows, |row| row.1.as_str()))
            .bind::<Text, _>(incident)
            .execute(conn)?;
        }
    }
    Ok(())
}

fn column<'a, R, V>(rows: &'a [R], of: impl Fn(&'a R) -> V) -> Vec<V> {
    rows.iter().map(of).collect()
}

/// The rows whose keys are looked up.
#[derive(Clone, Copy)]
pub(crate) struct Named<'a> {
    /// The name of the table.
    pub table: &'static str,
    /// The type, for tables whose IDs are unique only within a type.
    pub type_: Option<&'a str>,
    /// Whether archived rows are included.
    pub gone: bool,
}

/// Returns the keys of the rows with one of these IDs. Each ID must appear only once in the list.
///
/// # Errors
/// An error of the database.
pub(crate) fn keys(conn: &mut Conn, named: Named<'_>, ids: &[&str]) -> Result<Vec<(String, i64)>> {
    type Columns = (Text, BigInt);
    let Named { table, type_, gone } = named;
    let there = if gone { "" } else { " AND t.gone_at IS NULL" };
    // Without a type, this condition is always true.
    let of_type = if type_.is_some() { "t.type" } else { "''" };
    let type_ = type_.unwrap_or_default();
    Ok(match conn {
        // The join follows the order of the list. With `IN`, SQLite would first make a table of the list.
        Conn::Sqlite(conn) => sql::<Columns>("SELECT t.id, t.key FROM json_each(")
            .bind::<Text, _>(serde_json::to_string(ids)?)
            .sql(&format!(
                ") i CROSS JOIN {table} t WHERE t.id = i.value{there} AND {of_type} = "
            ))
            .bind::<Text, _>(type_)
            .load(conn)?,
        Conn::Pg(conn) => sql::<Columns>(&format!("SELECT t.id, t.key FROM {table} t WHERE t.id = ANY("))
            .bind::<Array<Text>, _>(ids)
            .sql(&format!("){there} AND {of_type} = "))
            .bind::<Text, _>(type_)
            .load(conn)?,
    })
}
