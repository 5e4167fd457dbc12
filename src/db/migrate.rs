//! Brings the schema up to date: the same migrations, by the same names, in both databases.
//!
//! Must never happen here: a migration that an older binary beside it cannot live with
//! (expand first, contract in a later release).

use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{Conn, Db};
use crate::base::error::{Error, Result};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Applies the migrations that are missing and answers their names.
///
/// # Errors
/// `Internal` where a migration fails; it is rolled back as a whole.
pub async fn migrate(db: &Db) -> Result<Vec<String>> {
    db.bare(migrate_conn).await
}

/// The same on one connection.
///
/// # Errors
/// `Internal` where a migration fails; it is rolled back as a whole.
pub(crate) fn migrate_conn(conn: &mut Conn) -> Result<Vec<String>> {
    let applied = match conn {
        Conn::Sqlite(conn) => run(conn, SQLITE),
        Conn::Pg(conn) => {
            use diesel::RunQueryDsl;
            // Several processes may start at once on one database.
            diesel::sql_query("SELECT pg_advisory_lock(727000)").execute(conn)?;
            let applied = run(conn, POSTGRES);
            diesel::sql_query("SELECT pg_advisory_unlock(727000)").execute(conn)?;
            applied
        }
    };
    applied.map_err(Error::Internal)
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
