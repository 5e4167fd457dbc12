//! Transactions and savepoints, which differ between the two databases.

use diesel::Connection;
use diesel::connection::{AnsiTransactionManager, TransactionManager};

use crate::base::error::Result;
use crate::db::Conn;

/// Begins a transaction that writes. SQLite takes the write lock at once, because a deferred transaction that
/// has read cannot start to write while another one writes.
pub(in crate::db) fn begin_write(conn: &mut Conn) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN IMMEDIATE")?,
        Conn::Pg(conn) => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN")?,
    }
    Ok(())
}

/// Begins a transaction that only reads and always sees the same state.
pub(in crate::db) fn begin_read(conn: &mut Conn) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN")?,
        Conn::Pg(conn) => AnsiTransactionManager::begin_transaction_sql(
            conn,
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        )?,
    }
    Ok(())
}

/// Runs `work` in one write transaction, which is rolled back if `work` fails.
pub(in crate::db) fn in_transaction<T>(
    conn: &mut Conn,
    work: impl FnOnce(&mut Conn) -> Result<T>,
) -> Result<T> {
    begin_write(conn)?;
    match work(conn) {
        Ok(value) => {
            commit(conn)?;
            Ok(value)
        }
        Err(error) => {
            roll_back(conn);
            Err(error)
        }
    }
}

pub(in crate::db) fn commit(conn: &mut Conn) -> Result<()> {
    <Conn as Connection>::TransactionManager::commit_transaction(conn)?;
    Ok(())
}

/// Rolls a transaction back. If this fails, the pool drops the connection.
pub(in crate::db) fn roll_back(conn: &mut Conn) {
    if let Err(error) = <Conn as Connection>::TransactionManager::rollback_transaction(conn) {
        tracing::debug!(%error, "rollback failed; the connection is dropped");
    }
}

/// Begins a part of a transaction that can be rolled back separately.
///
/// # Errors
/// An error of the database.
pub fn savepoint(conn: &mut Conn) -> Result<()> {
    <Conn as Connection>::TransactionManager::begin_transaction(conn)?;
    Ok(())
}

/// Ends the part that was begun last and keeps its changes.
///
/// # Errors
/// An error of the database.
pub fn release(conn: &mut Conn) -> Result<()> {
    commit(conn)
}

/// Rolls back the part that was begun last.
///
/// # Errors
/// An error of the database.
pub fn undo(conn: &mut Conn) -> Result<()> {
    <Conn as Connection>::TransactionManager::rollback_transaction(conn)?;
    Ok(())
}
