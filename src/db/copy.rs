//! Copies every table between PostgreSQL and an SQLite file, as JSON rows. So a backup is one file in one
//! format, from both databases.
//!
//! The tables and columns are read from the SQLite schema, so that a new migration needs no change here.
//!
//! No table is left out, and a table is never in memory as a whole.

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;

use crate::base::error::{Error, Result};

/// The number of rows that are copied at once.
const STEP: i64 = 500;
/// A table with one row that a migration created. The row is changed and never deleted.
const HEAD: &str = "audit_head";
/// The table that triggers of other tables write, so it is copied last. Migrations created some of its rows.
const COUNTERS: &str = "counters";
/// The table whose rows refer to each other in any order.
const TREE: &str = "resources";

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
}

#[derive(QueryableByName)]
struct CopiedRow {
    #[diesel(sql_type = BigInt)]
    place: i64,
    #[diesel(sql_type = Text)]
    row: String,
}

/// Returns the tables. A table comes after the tables that it refers to, and after those whose triggers write it.
fn tables(file: &mut SqliteConnection) -> Result<Vec<String>> {
    let names: Vec<Name> = diesel::sql_query(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
         AND name <> '__diesel_schema_migrations' ORDER BY name = $1, rowid",
    )
    .bind::<Text, _>(COUNTERS)
    .load(file)?;
    Ok(names.into_iter().map(|table| table.name).collect())
}

fn columns(file: &mut SqliteConnection, table: &str) -> Result<Vec<Column>> {
    Ok(
        diesel::sql_query("SELECT name, type AS kind FROM pragma_table_info($1) ORDER BY cid")
            .bind::<Text, _>(table)
            .load(file)?,
    )
}

fn quoted(columns: &[Column]) -> String {
    columns
        .iter()
        .map(|column| format!("\"{}\"", column.name))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Fills a new SQLite database from PostgreSQL. It runs within a transaction of PostgreSQL.
///
/// # Errors
/// An error of one of the databases.
pub(super) fn from_postgres(source: &mut PgConnection, file: &mut SqliteConnection) -> Result<()> {
    file.batch_execute("PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE;")?;
    for table in tables(file)? {
        if table == COUNTERS {
            file.batch_execute("DELETE FROM counters;")?;
        }
        let columns = columns(file, &table)?;
        source.batch_execute(&format!(
            "DECLARE copied NO SCROLL CURSOR FOR SELECT CAST(0 AS BIGINT) AS place, row_to_json(t)::text AS row FROM {table} t"
        ))?;
        loop {
            let rows: Vec<CopiedRow> = diesel::sql_query(format!("FETCH {STEP} FROM copied")).load(source)?;
            if rows.is_empty() {
                break;
            }
            into_file(file, &table, &columns, &rows)?;
        }
        source.batch_execute("CLOSE copied")?;
    }
    file.batch_execute("COMMIT; PRAGMA foreign_keys = ON;")?;
    Ok(())
}

fn into_file(file: &mut SqliteConnection, table: &str, columns: &[Column], rows: &[CopiedRow]) -> Result<()> {
    let values: Vec<String> = columns
        .iter()
        .map(|column| {
            let value = format!("json_extract(value, '$.{}')", column.name);
            // PostgreSQL writes bytes as `\x` and hexadecimal digits.
            if column.kind == "BLOB" {
                format!("unhex(substr({value}, 3))")
            } else {
                value
            }
        })
        .collect();
    let statement = if table == HEAD {
        "UPDATE audit_head SET seq = json_extract(h.value, '$.seq'), hash = json_extract(h.value, '$.hash'), \
         at = COALESCE(json_extract(h.value, '$.at'), 0) FROM json_each($1) AS h WHERE json_extract(h.value, '$.seq') > audit_head.seq"
            .to_owned()
    } else {
        format!(
            "INSERT INTO {table} ({}) SELECT {} FROM json_each($1)",
            quoted(columns),
            values.join(", ")
        )
    };
    diesel::sql_query(statement)
        .bind::<Text, _>(array(rows))
        .execute(file)?;
    Ok(())
}

fn array(rows: &[CopiedRow]) -> String {
    let rows: Vec<&str> = rows.iter().map(|row| row.row.as_str()).collect();
    format!("[{}]", rows.join(","))
}

/// Removes Candor's own tables from a PostgreSQL database, and nothing else. It runs within a transaction of
/// PostgreSQL.
///
/// # Errors
/// An error of one of the databases.
pub(super) fn clear_postgres(target: &mut PgConnection, file: &mut SqliteConnection) -> Result<()> {
    for table in tables(file)?.iter().rev() {
        target.batch_execute(&format!("DROP TABLE IF EXISTS {table} CASCADE"))?;
    }
    target.batch_execute(
        "DROP TABLE IF EXISTS __diesel_schema_migrations; DROP FUNCTION IF EXISTS candor_refuse, \
         candor_account_history, candor_person_history, candor_resource_history, candor_member_history, \
         candor_collaborator_history, candor_conditions_changed",
    )?;
    Ok(())
}

/// Fills a new PostgreSQL database from an SQLite database. It runs within a transaction of PostgreSQL.
///
/// # Errors
/// An error of one of the databases.
pub(super) fn into_postgres(file: &mut SqliteConnection, target: &mut PgConnection) -> Result<()> {
    for table in tables(file)? {
        if table == COUNTERS {
            target.batch_execute("DELETE FROM counters;")?;
        }
        let columns = columns(file, &table)?;
        pages(file, &table, &columns, |rows| {
            into_table(target, &table, &columns, rows)
        })?;
        if table == TREE {
            // All parents exist now. The trigger is disabled, because setting the parents is not a change
            // that belongs into the history.
            target.batch_execute(&format!("ALTER TABLE {TREE} DISABLE TRIGGER {TREE}_history"))?;
            pages(file, &table, &columns, |rows| {
                diesel::sql_query(format!(
                    "UPDATE {TREE} SET parent_key = s.parent_key FROM json_populate_recordset(NULL::{TREE}, $1::json) s \
                     WHERE {TREE}.key = s.key AND s.parent_key IS NOT NULL"
                ))
                .bind::<Text, _>(array(rows))
                .execute(target)?;
                Ok(())
            })?;
            target.batch_execute(&format!("ALTER TABLE {TREE} ENABLE TRIGGER {TREE}_history"))?;
        }
    }
    let counted: Vec<CopiedRow> = diesel::sql_query(
        "SELECT CAST(0 AS BIGINT) AS place, json_build_array(table_name, column_name)::text AS row \
         FROM information_schema.columns WHERE table_schema = current_schema() AND is_identity = 'YES'",
    )
    .load(target)?;
    for row in counted {
        let (table, column): (String, String) = serde_json::from_str(&row.row)?;
        target.batch_execute(&format!(
            "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), COALESCE(MAX({column}), 1), \
             MAX({column}) IS NOT NULL) FROM {table}"
        ))?;
    }
    Ok(())
}

fn pages(
    file: &mut SqliteConnection,
    table: &str,
    columns: &[Column],
    mut take: impl FnMut(&[CopiedRow]) -> Result<()>,
) -> Result<()> {
    let fields: Vec<String> = columns
        .iter()
        .map(|column| {
            let name = &column.name;
            match column.kind.as_str() {
                "BLOB" => format!(
                    "'{name}', CASE WHEN \"{name}\" IS NULL THEN NULL ELSE '\\x' || hex(\"{name}\") END"
                ),
                _ => format!("'{name}', \"{name}\""),
            }
        })
        .collect();
    let statement = format!(
        "SELECT rowid AS place, json_object({}) AS row FROM {table} WHERE rowid > $1 ORDER BY rowid LIMIT {STEP}",
        fields.join(", ")
    );
    let mut last = i64::MIN;
    loop {
        let rows: Vec<CopiedRow> = diesel::sql_query(&statement).bind::<BigInt, _>(last).load(file)?;
        match rows.last() {
            Some(row) => last = row.place,
            None => return Ok(()),
        }
        take(&rows)?;
    }
}

fn into_table(target: &mut PgConnection, table: &str, columns: &[Column], rows: &[CopiedRow]) -> Result<()> {
    let statement = match table {
        HEAD => format!(
            "UPDATE {HEAD} SET seq = s.seq, hash = s.hash, at = COALESCE(s.at, 0) FROM json_populate_recordset(NULL::{HEAD}, $1::json) s \
             WHERE s.seq > {HEAD}.seq"
        ),
        _ => {
            let values: Vec<String> = columns
                .iter()
                .map(|column| match column.name.as_str() {
                    "parent_key" if table == TREE => "NULL".to_owned(),
                    name => format!("s.\"{name}\""),
                })
                .collect();
            format!(
                "INSERT INTO {table} ({}) SELECT {} FROM json_populate_recordset(NULL::{table}, $1::json) s",
                quoted(columns),
                values.join(", ")
            )
        }
    };
    diesel::sql_query(statement)
        .bind::<Text, _>(array(rows))
        .execute(target)?;
    Ok(())
}

/// Returns the error for a copy between two databases of the same kind.
pub(super) fn mismatch() -> Error {
    Error::internal("a copy goes between PostgreSQL and an embedded file")
}
