//! The only place that matches on the backend: the few statements that truly differ, and
//! [`on_backend!`] for those that diesel can build for each database but not for the enum of both.
//!
//! Must never happen here: a rule of the domain.

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::{Conn, copy};
use crate::error::Result;

/// Runs the same diesel expression against whichever database it is (batch inserts, `ON CONFLICT`).
macro_rules! on_backend {
    ($conn:expr, $inner:ident => $body:expr) => {
        match $conn {
            $crate::db::Conn::Sqlite($inner) => $body,
            $crate::db::Conn::Pg($inner) => $body,
        }
    };
}
pub(crate) use on_backend;

/// Begins a transaction that will write. SQLite takes the write lock at once: a deferred
/// transaction that reads first cannot be upgraded while another one writes.
pub(super) fn begin_write(conn: &mut Conn) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN IMMEDIATE")?,
        Conn::Pg(conn) => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN")?,
    }
    Ok(())
}

/// Begins a transaction that only reads and sees one state throughout.
pub(super) fn begin_read(conn: &mut Conn) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN")?,
        Conn::Pg(conn) => AnsiTransactionManager::begin_transaction_sql(
            conn,
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        )?,
    }
    Ok(())
}

pub(super) fn commit(conn: &mut Conn) -> Result<()> {
    <Conn as Connection>::TransactionManager::commit_transaction(conn)?;
    Ok(())
}

/// Rolls back; where that fails the connection is thrown away by the pool.
pub(super) fn roll_back(conn: &mut Conn) {
    if let Err(error) = <Conn as Connection>::TransactionManager::rollback_transaction(conn) {
        tracing::debug!(%error, "rollback failed; the connection is dropped");
    }
}

/// A table whose rows are locked by id.
#[derive(Clone, Copy, Debug)]
pub enum Lock {
    /// One incident: its status, its affected resources, its notices.
    Incident,
    /// One notice: its state.
    Notice,
    /// One integration: its alerts are taken in one request after another.
    Integration,
}

/// Waits for and takes the row's lock until the transaction ends. SQLite has one writer, so holds it already.
/// NO KEY: rows that refer to this one by a foreign key may still be written, or two transactions that lock in
/// turn an incident and its notice could wait for each other.
pub fn lock(conn: &mut Conn, what: Lock, id: &str) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    let statement = match what {
        Lock::Incident => "SELECT 1 FROM incidents WHERE id = $1 FOR NO KEY UPDATE",
        Lock::Notice => "SELECT 1 FROM notices WHERE id = $1 FOR NO KEY UPDATE",
        Lock::Integration => "SELECT 1 FROM integrations WHERE id = $1 FOR NO KEY UPDATE",
    };
    diesel::sql_query(statement).bind::<Text, _>(id).execute(conn)?;
    Ok(())
}

/// Keeps the shape of the directory still while parents and owners are checked. Imports and single
/// changes take it; reading does not wait for it.
pub fn lock_directory(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    // Any constant will do, as long as nothing else of Candor's uses it.
    diesel::sql_query("SELECT pg_advisory_xact_lock(727001)").execute(conn)?;
    Ok(())
}

/// Takes in what was reported of mails one body after another: two that name the same deliveries in another order would
/// wait for each other.
pub fn lock_feedback(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query("SELECT pg_advisory_xact_lock(727002)").execute(conn)?;
    Ok(())
}

/// Locks the end of the audit chain and reads it: the last lock that a transaction takes.
pub fn audit_head(conn: &mut Conn) -> Result<(i64, String)> {
    #[derive(QueryableByName)]
    struct Head {
        #[diesel(sql_type = BigInt)]
        seq: i64,
        #[diesel(sql_type = Text)]
        hash: String,
    }
    let statement = match conn {
        Conn::Sqlite(_) => "SELECT seq, hash FROM audit_head",
        Conn::Pg(_) => "SELECT seq, hash FROM audit_head FOR UPDATE",
    };
    let head: Head = diesel::sql_query(statement).get_result(conn)?;
    Ok((head.seq, head.hash))
}

/// Which pending deliveries to claim: those due, oldest first, none that another worker is claiming.
pub fn claimable(conn: &Conn) -> &'static str {
    match conn {
        Conn::Sqlite(_) => {
            "SELECT id FROM deliveries WHERE state = 'pending' AND next_attempt_at <= $1 \
             ORDER BY next_attempt_at, id LIMIT $2"
        }
        Conn::Pg(_) => {
            "SELECT id FROM deliveries WHERE state = 'pending' AND next_attempt_at <= $1 \
             ORDER BY next_attempt_at, id LIMIT $2 FOR UPDATE SKIP LOCKED"
        }
    }
}

/// Writes a consistent copy to a new file: an embedded database, whichever kind this one is. `fresh` opens and
/// migrates that file where the rows have to be carried over.
///
/// # Errors
/// What either database answers.
pub fn copy_to_file(conn: &mut Conn, file: &str, fresh: impl FnOnce() -> Result<Conn>) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => {
            diesel::sql_query("VACUUM INTO $1")
                .bind::<Text, _>(file)
                .execute(conn)?;
            Ok(())
        }
        Conn::Pg(source) => match fresh()? {
            Conn::Sqlite(mut file) => copy::from_postgres(source, &mut file),
            Conn::Pg(_) => Err(copy::mismatch()),
        },
    }
}

/// Takes Candor's tables out of a PostgreSQL database; `file` says which they are.
///
/// # Errors
/// What the database answers.
pub fn clear(conn: &mut Conn, file: &mut Conn) -> Result<()> {
    match (conn, file) {
        (Conn::Pg(target), Conn::Sqlite(file)) => copy::clear_postgres(target, file),
        _ => Err(copy::mismatch()),
    }
}

/// Fills a PostgreSQL database that was just migrated from a file.
///
/// # Errors
/// What either database answers.
pub fn fill_from_file(conn: &mut Conn, file: &mut Conn) -> Result<()> {
    match (conn, file) {
        (Conn::Pg(target), Conn::Sqlite(file)) => copy::into_postgres(file, target),
        _ => Err(copy::mismatch()),
    }
}

/// Brings everything of an embedded database into its one file, so that the file can be moved.
pub fn fold_log(conn: &mut Conn) -> Result<()> {
    use diesel::connection::SimpleConnection;
    if let Conn::Sqlite(conn) = conn {
        conn.batch_execute("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;")?;
    }
    Ok(())
}
