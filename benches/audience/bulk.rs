//! Measures how long the database alone needs for the rows of an import. The same rows are copied into an
//! empty database with the same schema, in one transaction. PostgreSQL reads them from files with `COPY`.
//! SQLite reads them from the other database file with `INSERT … SELECT`.
//!
//! The measurement fails if a row is missing in the copy on SQLite. On PostgreSQL it fails if `psql` reports
//! an error.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::support::candor::Database;
use super::support::postgres::Server;
use super::support::process::run;
use super::support::{Context, Result};

/// The tables that an import fills. Each table comes after the tables that it refers to.
const TABLES: [&str; 6] = [
    "accounts",
    "people",
    "resources",
    "resource_labels",
    "members",
    "collaborators",
];

/// Copies the rows of an imported database into a new one, and returns the seconds that this took.
///
/// # Errors
/// The reason why it failed, for example that the tool `psql` is missing or that the database refused a
/// statement.
pub fn seconds(scratch: &Path, server: Option<&Server>, from: &Database<'_>) -> Result<f64> {
    let into = Database::empty(scratch, server)?;
    into.migrate()?;
    match server {
        None => sqlite(from, &into),
        Some(_) => postgres(scratch, from, &into),
    }
}

fn sqlite(from: &Database<'_>, into: &Database<'_>) -> Result<f64> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        rows: i64,
    }
    let mut connection =
        SqliteConnection::establish(&into.file().display().to_string()).context("the database")?;
    connection
        .batch_execute(&format!(
            "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-65536; ATTACH '{}' AS other",
            from.file().display()
        ))
        .context("ATTACH of the other database")?;
    let statements: String = TABLES
        .iter()
        .map(|table| format!("INSERT INTO main.{table} SELECT * FROM other.{table};"))
        .collect();
    let started = Instant::now();
    connection
        .batch_execute(&format!("BEGIN IMMEDIATE; {statements} COMMIT"))
        .context("the bulk insert")?;
    let seconds = started.elapsed().as_secs_f64();
    for table in TABLES {
        let count: Count = diesel::sql_query(format!(
            "SELECT (SELECT COUNT(*) FROM main.{table}) - (SELECT COUNT(*) FROM other.{table}) AS rows"
        ))
        .get_result(&mut connection)
        .context(table)?;
        if count.rows != 0 {
            return Err(format!("{table}: {} rows are missing", -count.rows));
        }
    }
    Ok(seconds)
}

fn postgres(scratch: &Path, from: &Database<'_>, into: &Database<'_>) -> Result<f64> {
    let folder = tempfile::tempdir_in(scratch).context("a folder")?;
    let psql = |database: &Database<'_>, direction: &str| -> Result<f64> {
        let mut command = Command::new("psql");
        command
            .args(["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1"])
            .arg(database.postgres_url()?);
        for table in TABLES {
            let file = folder.path().join(table);
            command
                .arg("-c")
                .arg(format!("\\copy {table} {direction} '{}'", file.display()));
        }
        let started = Instant::now();
        run(&mut command).context("psql (Debian: postgresql-client)")?;
        Ok(started.elapsed().as_secs_f64())
    };
    psql(from, "TO")?;
    psql(into, "FROM")
}
