//! Applies the migrations: each database has its own folder, its own lock, and its own rules for a transaction that changes
//! the schema.

use std::time::Duration;

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::transaction::in_transaction;
use crate::base::error::{Error, Result};
use crate::db::Conn;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// How long a process waits for another one that migrates.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Applies the missing migrations and returns their names.
///
/// # Errors
/// `Internal` if a migration fails. It is rolled back completely.
pub(in crate::db) fn apply(conn: &mut Conn) -> Result<Vec<String>> {
    // Several processes may start at the same time on one database. One of them migrates it, and the others
    // wait.
    match conn {
        Conn::Sqlite(sqlite) => {
            // Usually there is nothing to do, and then no lock is needed.
            if !sqlite.has_pending_migration(SQLITE).map_err(Error::Internal)? {
                return Ok(Vec::new());
            }
            sqlite.batch_execute(&format!("PRAGMA busy_timeout = {};", TIMEOUT.as_millis()))?;
            let applied = in_transaction(conn, |conn| {
                let applied = match conn {
                    Conn::Sqlite(conn) => run(conn, SQLITE),
                    Conn::Pg(conn) => run(conn, POSTGRES),
                };
                applied.map_err(Error::Internal)
            });
            conn.batch_execute("PRAGMA busy_timeout = 10000;")?;
            applied
        }
        Conn::Pg(conn) => {
            conn.batch_execute(&format!(
                "SET lock_timeout = {}; SELECT pg_advisory_lock(727000); SET lock_timeout = '10s';",
                TIMEOUT.as_millis()
            ))?;
            let applied = run(conn, POSTGRES).map_err(Error::Internal);
            conn.batch_execute("SELECT pg_advisory_unlock(727000)")?;
            applied
        }
    }
}

/// Applies the missing migrations as a part of a transaction that has begun.
///
/// # Errors
/// `Internal` if a migration fails.
pub(super) fn migrate_within(conn: &mut PgConnection) -> Result<()> {
    run(conn, POSTGRES).map_err(Error::Internal)?;
    Ok(())
}

type Applied = std::result::Result<Vec<String>, Box<dyn std::error::Error + Send + Sync>>;

fn run<DB: diesel::backend::Backend>(
    conn: &mut impl MigrationHarness<DB>,
    migrations: EmbeddedMigrations,
) -> Applied {
    Ok(conn
        .run_pending_migrations(migrations)?
        .iter()
        .map(ToString::to_string)
        .collect())
}
