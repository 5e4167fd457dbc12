//! The only place that matches on the kind of database. It contains the few statements that differ, and
//! [`on_backend!`] for expressions that diesel can build for each database but not for the enum of both.
//!
//! This module contains no rule of the domain.

mod batches;
pub(crate) mod bulk;
pub(crate) mod comparison;
pub(crate) mod keyed;
pub(crate) mod many;
mod migrations;
mod queue;
pub(crate) mod recovery;
mod scrub;
pub mod search;
mod sizes;
mod transaction;

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

pub use batches::{LatestAlert, RepeatRow, StagedRow, latest_alerts, own_staged, repeat_alerts, stage};
pub(super) use migrations::apply;
pub use queue::{
    AttemptMail, AttemptRow, ClaimedRow, Due, End, FOLLOWED, RecipientRow, claim, due, end_claim,
    give_back_others, heard, held, insert_attempts, is_due, listen, recipients, renew, tell_followers,
    tell_workers,
};
pub use scrub::scrub_free_space;
pub use sizes::{TableSize, applied_migrations, backup_hint, database_size, table_sizes};
pub(super) use transaction::{begin_read, begin_write, commit, in_transaction, roll_back};
pub use transaction::{release, savepoint, undo};

use super::connection::{self, Pages};
use super::{Conn, DatabaseUrl, FixedText, copy};
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;

/// Runs the same diesel expression on either database (for batch inserts and `ON CONFLICT`).
macro_rules! on_backend {
    ($conn:expr, $inner:ident => $body:expr) => {
        match $conn {
            $crate::db::Conn::Sqlite($inner) => $body,
            $crate::db::Conn::Pg($inner) => $body,
        }
    };
}
pub(crate) use on_backend;

/// Returns whether several processes may serve this database at the same time.
pub fn is_shared(url: &DatabaseUrl) -> bool {
    match url {
        DatabaseUrl::Sqlite(_) => false,
        DatabaseUrl::Postgres(_) => true,
    }
}

/// Returns whether a copy of the whole database can be taken within a read transaction. SQLite copies a file outside of
/// any transaction.
pub fn copies_while_it_reads(url: &DatabaseUrl) -> bool {
    match url {
        DatabaseUrl::Sqlite(_) => false,
        DatabaseUrl::Postgres(_) => true,
    }
}

/// A table whose rows are locked by ID.
#[derive(Clone, Copy, Debug)]
pub enum Lock {
    /// An incident, with its status, its affected resources and its notices.
    Incident,
    /// A notice, with its state.
    Notice,
    /// An integration. Its requests are handled one after another.
    Integration,
    /// A source of the directory, with its runs.
    Source,
    /// The cursor of a subscriber of the audit trail.
    Cursor,
    /// A person of the directory.
    Person,
    /// A comparison, with its listings and its runs.
    Comparison,
}

/// Waits for the lock of a row and holds it until the transaction ends. SQLite has one writer, so the lock is
/// already held. NO KEY allows other transactions to write rows that refer to this one by a foreign key.
/// Without it, two transactions that lock an incident and its notice one after the other could deadlock.
pub fn lock(conn: &mut Conn, what: Lock, id: &str) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    let statement = match what {
        Lock::Incident => "SELECT 1 FROM incidents WHERE id = $1 FOR NO KEY UPDATE",
        Lock::Notice => "SELECT 1 FROM notices WHERE id = $1 FOR NO KEY UPDATE",
        Lock::Integration => "SELECT 1 FROM integrations WHERE id = $1 FOR NO KEY UPDATE",
        Lock::Source => "SELECT 1 FROM directory_sources WHERE id = $1 FOR NO KEY UPDATE",
        Lock::Cursor => "SELECT 1 FROM trail_cursors WHERE name = $1 FOR NO KEY UPDATE",
        Lock::Comparison => "SELECT 1 FROM comparisons WHERE id = $1 FOR NO KEY UPDATE",
        Lock::Person => "SELECT 1 FROM people WHERE id = $1 FOR NO KEY UPDATE",
    };
    diesel::sql_query(statement)
        .bind::<Text, _>(id)
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Waits until nobody writes anything that refers to these incidents, and keeps it so until the transaction ends. This is
/// stronger than [`lock`]: a row with a foreign key to one of them cannot be inserted meanwhile. SQLite has one writer.
///
/// # Errors
/// An error of the database.
pub fn lock_whole_incidents(conn: &mut Conn, ids: &[&str]) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    // The order of the locks is the same in every transaction.
    diesel::sql_query("SELECT id FROM incidents WHERE id = ANY($1) ORDER BY id FOR UPDATE")
        .bind::<diesel::sql_types::Array<Text>, _>(ids)
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Returns those of the incidents that are merged into another one, with that one. On PostgreSQL it waits for a transaction
/// that is merging one of them.
///
/// # Errors
/// An error of the database.
pub fn merged_among(conn: &mut Conn, ids: &[&str]) -> Result<Vec<(String, String)>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        id: String,
        #[diesel(sql_type = diesel::sql_types::Nullable<Text>)]
        merged_into: Option<String>,
    }
    let rows: Vec<Row> = match conn {
        Conn::Sqlite(conn) => diesel::sql_query(
            "SELECT id, merged_into FROM incidents WHERE id IN (SELECT value FROM json_each($1)) \
             AND merged_into IS NOT NULL ORDER BY id",
        )
        .bind::<Text, _>(serde_json::to_string(ids)?)
        .fixed()
        .load(conn)?,
        // Every row is locked and then looked at, so that the answer is about the state after the wait.
        Conn::Pg(conn) => diesel::sql_query(
            "SELECT id, merged_into FROM incidents WHERE id = ANY($1) ORDER BY id FOR KEY SHARE",
        )
        .bind::<diesel::sql_types::Array<Text>, _>(ids)
        .fixed()
        .load(conn)?,
    };
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((row.id, row.merged_into?)))
        .collect())
}

/// Prevents changes of the structure of the directory while parents and owners are checked. Imports and
/// single changes take this lock. Reading does not wait for it.
pub fn lock_directory(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    // The address step after a migration (`carry_over`) takes this lock too. No other lock of Candor may have this
    // number.
    diesel::sql_query("SELECT pg_advisory_xact_lock(727001)")
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Prevents that two transactions change the saved templates of notices at once, because each change gets the next number of its
/// phase. Reading does not wait for it.
///
/// # Errors
/// An error of the database.
pub fn lock_templates(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    // No other lock of Candor may have this number.
    diesel::sql_query("SELECT pg_advisory_xact_lock(727016)")
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Makes erasures run one after another, in all processes.
///
/// # Errors
/// An error of the database.
pub fn lock_erasures(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    // No other lock of Candor may have this number.
    diesel::sql_query("SELECT pg_advisory_xact_lock(727040)")
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Sets how much of the file a writing SQLite connection keeps in memory. PostgreSQL has its own memory
/// settings.
///
/// # Errors
/// An error of the database.
pub fn keep_pages(conn: &mut Conn, pages: Pages) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => connection::keep_pages(conn, pages)?,
        Conn::Pg(_) => {}
    }
    Ok(())
}

/// Returns the expression for a label of the account `a`. The caller replaces `{name}` with the parameter for
/// the name of the label. The labels of accounts are stored as JSON.
pub fn account_label(conn: &Conn) -> String {
    match conn {
        Conn::Sqlite(_) => "(SELECT e.value FROM json_each(a.labels) e WHERE e.key = {name})",
        Conn::Pg(_) => "(a.labels::json ->> {name})",
    }
    .to_owned()
}

/// Makes the bodies of feedback reports be handled one after another. Two bodies that name the same
/// deliveries in another order could otherwise deadlock.
pub fn lock_feedback(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query("SELECT pg_advisory_xact_lock(727002)")
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Makes transactions that store alerts run one after another. A group may contain alerts of several
/// integrations, and two transactions at the same time must not open two incidents for it.
///
/// # Errors
/// An error of the database.
pub fn lock_intake(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query("SELECT pg_advisory_xact_lock(727014)")
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Makes sends without an approval run one after another, because each of them counts what the others sent. The lock is taken
/// after those of an incident and a notice.
///
/// # Errors
/// An error of the database.
pub fn lock_limits(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query("SELECT pg_advisory_xact_lock(727015)")
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Makes processes that store tiles of the audit trail do it one after another. Writers of events do not wait for it.
///
/// # Errors
/// An error of the database.
pub fn lock_tiles(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    // No other lock of Candor may have this number.
    diesel::sql_query("SELECT pg_advisory_xact_lock(727030)")
        .fixed()
        .execute(conn)?;
    Ok(())
}

/// Locks the end of the audit chain and returns its number, its hash and the time of the last event. This is
/// the last lock that a transaction takes.
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

/// Makes PostgreSQL compute statistics of tables that have just grown a lot. PostgreSQL does this by itself
/// only after some minutes. Until then it assumes that the tables are nearly empty and joins them row by row,
/// so that the query for an audience of 40,000 people did not finish. SQLite needs no statistics for these
/// queries.
///
/// # Errors
/// An error of the database.
pub fn analyze(conn: &mut Conn, tables: &[&str]) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query(format!("ANALYZE {}", tables.join(", "))).execute(conn)?;
    Ok(())
}

/// Locks messages to operators that are due on a channel and that no other worker is claiming.
///
/// # Errors
/// An error of the database.
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

/// Locks an email to a subscriber of the status page that is due. Emails that ask to confirm come first: somebody waits for them.
///
/// # Errors
/// An error of the database.
pub fn due_status_mail(conn: &mut Conn, now: Timestamp) -> Result<Option<i64>> {
    #[derive(QueryableByName)]
    struct Id {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    let lock = match conn {
        Conn::Sqlite(_) => "",
        Conn::Pg(_) => "FOR UPDATE SKIP LOCKED",
    };
    for which in ["AND post_id IS NULL", ""] {
        let row: Option<Id> = diesel::sql_query(format!(
            "SELECT id FROM status_mails WHERE state = 'pending' {which} AND next_attempt_at <= $1 \
             ORDER BY next_attempt_at, id LIMIT 1 {lock}"
        ))
        .bind::<BigInt, _>(now)
        .get_result(conn)
        .optional()?;
        if row.is_some() {
            return Ok(row.map(|row| row.id));
        }
    }
    Ok(None)
}

/// Writes a consistent copy to a new SQLite file, from either database. `fresh` opens and migrates this file
/// if the rows must be copied from PostgreSQL.
///
/// # Errors
/// An error of one of the databases.
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

/// Replaces all data of Candor in a PostgreSQL database with the data of a file, in one transaction.
///
/// # Errors
/// An error of one of the databases. Then nothing is replaced.
pub fn replace_from_file(conn: &mut Conn, file: &mut Conn) -> Result<()> {
    let (Conn::Pg(target), Conn::Sqlite(file)) = (conn, file) else {
        return Err(copy::mismatch());
    };
    AnsiTransactionManager::begin_transaction_sql(target, "BEGIN")?;
    let replaced = copy::clear_postgres(target, file)
        .and_then(|()| migrations::migrate_within(target))
        .and_then(|()| copy::into_postgres(file, target));
    match replaced {
        Ok(()) => AnsiTransactionManager::commit_transaction(target)?,
        Err(error) => {
            // The first error is the useful one. If the rollback fails too, the server rolls back when the
            // connection ends.
            let _ = AnsiTransactionManager::rollback_transaction(target);
            return Err(error);
        }
    }
    Ok(())
}

/// Makes processes do the work of their start one after another.
///
/// # Errors
/// An error of the database.
pub fn lock_start(conn: &mut Conn) -> Result<()> {
    let Conn::Pg(conn) = conn else { return Ok(()) };
    diesel::sql_query("SELECT pg_advisory_xact_lock(727004)").execute(conn)?;
    Ok(())
}

/// Returns whether another running process serves with the admin token of this hash. With SQLite there is
/// only one process.
///
/// # Errors
/// An error of the database.
pub fn serves_with(conn: &mut Conn, hash: &str) -> Result<bool> {
    match conn {
        Conn::Sqlite(_) => Ok(false),
        Conn::Pg(conn) => Ok(connection::serves_with(conn, hash)?),
    }
}

/// Writes everything of an SQLite database into its one file, and keeps other connections away until this
/// connection ends.
///
/// # Errors
/// `Unavailable` if a process is connected to the database.
pub fn seize(conn: &mut Conn) -> Result<()> {
    use diesel::connection::SimpleConnection;
    let Conn::Sqlite(conn) = conn else { return Ok(()) };
    // Only a connection without others can switch off the write-ahead log.
    let seized = conn
        .batch_execute("PRAGMA busy_timeout = 2000; PRAGMA wal_checkpoint(TRUNCATE);")
        .and_then(|()| conn.batch_execute("PRAGMA journal_mode = DELETE;"))
        .and_then(|()| conn.batch_execute("BEGIN EXCLUSIVE;"));
    match seized {
        Err(error) if connection::is_locked(&error) => Err(Error::Unavailable(
            "a process of Candor is still connected to the database; stop every serve, worker and command first"
                .to_owned(),
        )),
        done => Ok(done?),
    }
}

/// Writes everything of an SQLite database into its one file, so that the file can be moved.
pub fn fold_log(conn: &mut Conn) -> Result<()> {
    use diesel::connection::SimpleConnection;
    if let Conn::Sqlite(conn) = conn {
        conn.batch_execute("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;")?;
    }
    Ok(())
}

/// Returns what is wrong with the structure of an SQLite file: its pages, its indexes and its foreign keys. None if nothing is.
/// PostgreSQL checks its own files.
///
/// # Errors
/// An error of the database.
pub fn damage(conn: &mut Conn) -> Result<Option<String>> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Text)]
        fault: String,
    }
    let Conn::Sqlite(conn) = conn else { return Ok(None) };
    let pages: Vec<Found> = diesel::sql_query(
        "SELECT integrity_check AS fault FROM pragma_integrity_check WHERE integrity_check <> 'ok' LIMIT 1",
    )
    .load(conn)?;
    let keys: Vec<Found> = diesel::sql_query(
        "SELECT 'a row of ' || \"table\" || ' refers to a row of ' || parent || ' that does not exist' AS fault \
         FROM pragma_foreign_key_check LIMIT 1",
    )
    .load(conn)?;
    Ok(pages.into_iter().chain(keys).next().map(|found| found.fault))
}
