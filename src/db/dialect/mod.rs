//! The only place that matches on the backend: the few statements that truly differ, and
//! [`on_backend!`] for those that diesel can build for each database but not for the enum of both.
//!
//! Must never happen here: a rule of the domain.

mod batches;
mod queue;

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

pub use batches::{LatestAlert, RepeatRow, StagedRow, latest_alerts, own_staged, repeat_alerts, stage};
pub use queue::{
    AttemptRow, ClaimedRow, Due, End, FOLLOWED, RecipientRow, claim, due, end_claim, give_back_others, heard,
    held, insert_attempts, is_due, listen, recipients, renew, tell_followers, tell_workers,
};

use super::connection::{self, Pages};
use super::{Conn, Fix, copy};
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;

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

/// Begins a part of a transaction that can be undone by itself.
///
/// # Errors
/// What the database answers.
pub fn savepoint(conn: &mut Conn) -> Result<()> {
    <Conn as Connection>::TransactionManager::begin_transaction(conn)?;
    Ok(())
}

/// Ends the part that was begun last, and keeps it.
///
/// # Errors
/// What the database answers.
pub fn release(conn: &mut Conn) -> Result<()> {
    commit(conn)
}

/// Undoes the part that was begun last.
///
/// # Errors
/// What the database answers.
pub fn undo(conn: &mut Conn) -> Result<()> {
    <Conn as Connection>::TransactionManager::rollback_transaction(conn)?;
    Ok(())
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
    /// One source of the directory: its runs.
    Source,
    /// One reader of the audit trail.
    Cursor,
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
        Lock::Source => "SELECT 1 FROM directory_sources WHERE id = $1 FOR NO KEY UPDATE",
        Lock::Cursor => "SELECT 1 FROM trail_cursors WHERE name = $1 FOR NO KEY UPDATE",
    };
    diesel::sql_query(statement)
        .bind::<Text, _>(id)
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Keeps the shape of the directory still while parents and owners are checked. Imports and single
/// changes take it; reading does not wait for it.
pub fn lock_directory(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    // Any constant will do, as long as nothing else of Candor's uses it.
    diesel::sql_query("SELECT pg_advisory_xact_lock(727001)")
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// How much of its file a writing connection to SQLite keeps in memory from now on. PostgreSQL has a memory of its own.
///
/// # Errors
/// What the database answers.
pub fn keep_pages(conn: &mut Conn, pages: Pages) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => connection::keep_pages(conn, pages)?,
        Conn::Pg(_) => {}
    }
    Ok(())
}

/// A label of the account `a`, to be compared with a value: `{name}` is to become the parameter with its name.
/// Accounts keep their labels as JSON.
pub fn account_label(conn: &Conn) -> String {
    match conn {
        Conn::Sqlite(_) => "(SELECT e.value FROM json_each(a.labels) e WHERE e.key = {name})",
        Conn::Pg(_) => "(a.labels::json ->> {name})",
    }
    .to_owned()
}

/// Takes in what was reported of mails one body after another: two that name the same deliveries in another order would
/// wait for each other.
pub fn lock_feedback(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query("SELECT pg_advisory_xact_lock(727002)")
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Takes alerts in one transaction after another: a group may span integrations, and two at once must not open two
/// incidents of it.
///
/// # Errors
/// What the database answers.
pub fn lock_intake(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query("SELECT pg_advisory_xact_lock(727014)")
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Locks the end of the audit chain and reads its number, its hash and the time of the last event: the last lock that a
/// transaction takes.
pub fn audit_head(conn: &mut Conn) -> Result<(i64, String, Timestamp)> {
    #[derive(QueryableByName)]
    struct Head {
        #[diesel(sql_type = BigInt)]
        at: Timestamp,
        #[diesel(sql_type = BigInt)]
        seq: i64,
        #[diesel(sql_type = Text)]
        hash: String,
    }
    let statement = match conn {
        Conn::Sqlite(_) => "SELECT seq, hash, at FROM audit_head",
        Conn::Pg(_) => "SELECT seq, hash, at FROM audit_head FOR UPDATE",
    };
    let head: Head = diesel::sql_query(statement).fixed().get_result(conn)?;
    Ok((head.seq, head.hash, head.at))
}

/// Makes PostgreSQL look at tables that have just grown a great deal. Its own daemon does that within minutes; until
/// then it takes them for nearly empty, and joins them row by row: an audience of 40,000 never came to an end.
/// SQLite plans by its indexes here, and needs no such help.
///
/// # Errors
/// What the database answers.
pub fn analyze(conn: &mut Conn, tables: &[&str]) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query(format!("ANALYZE {}", tables.join(", "))).execute(conn)?;
    Ok(())
}

/// Locks messages to operators that are due by a way, and that no other worker is claiming.
///
/// # Errors
/// What the database answers.
pub fn due_messages(conn: &mut Conn, channel: &str, now: Timestamp, limit: i64) -> Result<Vec<String>> {
    #[derive(QueryableByName)]
    struct Id {
        #[diesel(sql_type = Text)]
        id: String,
    }
    let lock = match conn {
        Conn::Sqlite(_) => "",
        Conn::Pg(_) => "FOR UPDATE SKIP LOCKED",
    };
    let rows: Vec<Id> = diesel::sql_query(format!(
        "SELECT id FROM operator_messages WHERE state = 'pending' AND channel = $1 AND next_attempt_at <= $2 \
         ORDER BY next_attempt_at, id LIMIT $3 {lock}"
    ))
    .bind::<Text, _>(channel)
    .bind::<BigInt, _>(now)
    .bind::<BigInt, _>(limit)
    .load(conn)?;
    Ok(rows.into_iter().map(|row| row.id).collect())
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

/// Replaces all that Candor keeps in a PostgreSQL database by what a file holds, in one transaction.
///
/// # Errors
/// What either database answers; then nothing is replaced.
pub fn replace_from_file(conn: &mut Conn, file: &mut Conn) -> Result<()> {
    let (Conn::Pg(target), Conn::Sqlite(file)) = (conn, file) else {
        return Err(copy::mismatch());
    };
    AnsiTransactionManager::begin_transaction_sql(target, "BEGIN")?;
    let replaced = copy::clear_postgres(target, file)
        .and_then(|()| super::migrate::migrate_within(target))
        .and_then(|()| copy::into_postgres(file, target));
    match replaced {
        Ok(()) => AnsiTransactionManager::commit_transaction(target)?,
        Err(error) => {
            // The first error says what is wrong. If it cannot be undone either, the end of the connection undoes it.
            let _ = AnsiTransactionManager::rollback_transaction(target);
            return Err(error);
        }
    }
    Ok(())
}

/// Lets one process after another do what the start of a process does once.
///
/// # Errors
/// What the database answers.
pub fn lock_start(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query("SELECT pg_advisory_xact_lock(727004)").execute(conn)?;
    Ok(())
}

/// Whether another process that is alive serves with the admin token of this hash. An embedded database has one process.
///
/// # Errors
/// What the database answers.
pub fn serves_with(conn: &mut Conn, hash: &str) -> Result<bool> {
    match conn {
        Conn::Sqlite(_) => Ok(false),
        Conn::Pg(conn) => Ok(connection::serves_with(conn, hash)?),
    }
}

/// Brings an embedded database into its one file and keeps everybody else from it until the connection ends.
///
/// # Errors
/// `Unavailable` where a process is connected to it.
pub fn seize(conn: &mut Conn) -> Result<()> {
    use diesel::connection::SimpleConnection;
    let Conn::Sqlite(conn) = conn else { return Ok(()) };
    // Only a connection that is alone can give up the log.
    let seized = conn
        .batch_execute("PRAGMA busy_timeout = 2000; PRAGMA wal_checkpoint(TRUNCATE);")
        .and_then(|()| conn.batch_execute("PRAGMA journal_mode = DELETE;"))
        .and_then(|()| conn.batch_execute("BEGIN EXCLUSIVE;"));
    match seized {
        Err(error) if connection::is_locked(&error) => Err(Error::Unavailable(
            "a process of Candor is connected to the database: stop every serve, worker and command first"
                .to_owned(),
        )),
        done => Ok(done?),
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
