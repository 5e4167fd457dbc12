//! Migrates the schema. Both databases have the same migrations with the same names.
//!
//! An older binary must be able to run next to every migration, so first add, and remove only in a later
//! release.

use super::{Conn, Db, carry_over, dialect};
use crate::base::error::Result;

/// Applies the missing migrations and returns their names.
///
/// # Errors
/// `Internal` if a migration fails. It is rolled back completely.
pub async fn migrate(db: &Db) -> Result<Vec<String>> {
    db.bare(migrate_conn).await
}

/// Applies the missing migrations on one connection and returns their names.
///
/// # Errors
/// `Internal` if a migration fails. It is rolled back completely.
pub(crate) fn migrate_conn(conn: &mut Conn) -> Result<Vec<String>> {
    let applied = dialect::apply(conn)?;
    // This takes its own write transaction, in which it checks again.
    carry_over::addresses(conn)?;
    Ok(applied)
}
