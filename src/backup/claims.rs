//! What a process of the service does with the rows: it claims what waits, renews its lease, and stores how the work ended. Only the
//! holder of the lease stores an end.

use diesel::prelude::*;
use serde_json::json;

use super::check::Drill;
use super::copy::Written;
use super::history::{BackupState, Cause, CheckState};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::BackupId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::backups as b;
use crate::work::Lease;

/// A backup or a drill that this process has claimed.
#[derive(Clone, Debug)]
pub(super) struct Claimed {
    pub id: BackupId,
    pub lease: Lease,
    pub work: Work,
}

/// The work that was claimed: to write a backup, or to check one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// To write a backup.
    Write(Cause),
    /// To check the backup with this file.
    Check(String),
}

/// Returns whether something waits for a process, or was left by one that died.
pub(super) fn any_waiting(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    let busy = [CheckState::Queued.as_str(), CheckState::Running.as_str()];
    let waiting: i64 = b::table
        .filter(b::active.is_not_null().or(b::check_state.eq_any(busy)))
        .filter(b::lease_until.le(now))
        .count()
        .get_result(conn)?;
    Ok(waiting > 0)
}

/// Ends what processes left that died: their backups fail, and their drills are interrupted.
pub(super) fn end_abandoned(tx: &mut Tx<'_>) -> Result<()> {
    let why = "the process that made it ended before it was complete";
    let lost: Vec<BackupId> = b::table
        .filter(b::state.eq(BackupState::Running.as_str()))
        .filter(b::lease_until.le(tx.now))
        .select(b::id)
        .load(tx.conn)?;
    for id in lost {
        failed(tx, &id, why)?;
    }
    let lost: Vec<BackupId> = b::table
        .filter(b::check_state.eq(CheckState::Running.as_str()))
        .filter(b::lease_until.le(tx.now))
        .select(b::id)
        .load(tx.conn)?;
    for id in lost {
        interrupted(tx, &id)?;
    }
    Ok(())
}

/// Claims what waits, a backup before a drill.
pub(super) fn claim(conn: &mut Conn, now: Timestamp, lease: Lease) -> Result<Option<Claimed>> {
    let queued: Option<(BackupId, String)> = b::table
        .filter(b::state.eq(BackupState::Queued.as_str()))
        .filter(b::active.is_not_null())
        .select((b::id, b::cause))
        .first(conn)
        .optional()?;
    if let Some((id, cause)) = queued {
        let row = b::table
            .find(id.as_str())
            .filter(b::state.eq(BackupState::Queued.as_str()));
        let taken = diesel::update(row)
            .set((
                b::state.eq(BackupState::Running.as_str()),
                b::started_at.eq(Some(now)),
                b::lease.eq(Some(lease.id())),
                b::lease_until.eq(lease.until(now)),
            ))
            .execute(conn)?;
        let work = Work::Write(Cause::parse(&cause).map_err(Error::internal)?);
        return Ok((taken > 0).then_some(Claimed { id, lease, work }));
    }
    let queued: Option<(BackupId, Option<String>)> = b::table
        .filter(b::check_state.eq(CheckState::Queued.as_str()))
        .order(b::id)
        .select((b::id, b::file))
        .first(conn)
        .optional()?;
    let Some((id, file)) = queued else { return Ok(None) };
    let row = b::table
        .find(id.as_str())
        .filter(b::check_state.eq(CheckState::Queued.as_str()));
    let taken = diesel::update(row)
        .set((
            b::check_state.eq(CheckState::Running.as_str()),
            b::lease.eq(Some(lease.id())),
            b::lease_until.eq(lease.until(now)),
        ))
        .execute(conn)?;
    let work = Work::Check(file.unwrap_or_default());
    Ok((taken > 0).then_some(Claimed { id, lease, work }))
}

/// Renews a lease. Returns false if another process has ended the work.
pub(super) fn renew(conn: &mut Conn, claimed: &Claimed, now: Timestamp) -> Result<bool> {
    let held = diesel::update(
        b::table
            .find(claimed.id.as_str())
            .filter(b::lease.eq(claimed.lease.id())),
    )
    .set(b::lease_until.eq(claimed.lease.until(now)))
    .execute(conn)?;
    Ok(held > 0)
}

/// Stores that a backup is complete.
///
/// # Errors
/// `Conflict` if another process has ended it, because this process was silent for too long.
pub(super) fn done(tx: &mut Tx<'_>, claimed: &Claimed, file: &str, written: Written) -> Result<()> {
    let bytes = i64::try_from(written.bytes).unwrap_or(i64::MAX);
    let held = diesel::update(
        b::table
            .find(claimed.id.as_str())
            .filter(b::lease.eq(claimed.lease.id()))
            .filter(b::state.eq(BackupState::Running.as_str())),
    )
    .set((
        b::state.eq(BackupState::Done.as_str()),
        b::active.eq(None::<i64>),
        b::finished_at.eq(Some(tx.now)),
        b::file.eq(Some(file)),
        b::bytes.eq(Some(bytes)),
        b::events.eq(Some(written.events)),
        b::lease.eq(None::<String>),
    ))
    .execute(tx.conn)?;
    if held == 0 {
        return Err(Error::Conflict(
            "another process has ended this backup".to_owned(),
        ));
    }
    tx.record(
        Event::new(Action::BackupMade, "backup", claimed.id.as_str())
            .after(json!({"file": file, "bytes": bytes, "events": written.events})),
    );
    Ok(())
}

/// Stores that a backup failed.
pub(super) fn failed(tx: &mut Tx<'_>, id: &BackupId, why: &str) -> Result<()> {
    let ended = diesel::update(b::table.find(id.as_str()).filter(b::active.is_not_null()))
        .set((
            b::state.eq(BackupState::Failed.as_str()),
            b::active.eq(None::<i64>),
            b::finished_at.eq(Some(tx.now)),
            b::error.eq(Some(why)),
            b::lease.eq(None::<String>),
        ))
        .execute(tx.conn)?;
    if ended > 0 {
        tx.record(Event::new(Action::BackupFailed, "backup", id.as_str()).after(json!({"error": why})));
    }
    Ok(())
}

/// Stores what a drill found.
pub(super) fn checked(
    tx: &mut Tx<'_>,
    claimed: &Claimed,
    found: &std::result::Result<Drill, String>,
) -> Result<()> {
    let state = match found {
        Ok(_) => CheckState::Good,
        Err(_) => CheckState::Bad,
    };
    let held = diesel::update(
        b::table
            .find(claimed.id.as_str())
            .filter(b::lease.eq(claimed.lease.id()))
            .filter(b::check_state.eq(CheckState::Running.as_str())),
    )
    .set((
        b::check_state.eq(state.as_str()),
        b::checked_at.eq(Some(tx.now)),
        b::check_error.eq(found.as_ref().err()),
        b::lease.eq(None::<String>),
    ))
    .execute(tx.conn)?;
    if held > 0 {
        let event = match found {
            Ok(drill) => Event::new(Action::BackupChecked, "backup", claimed.id.as_str()).after(json!({
                "events": drill.events, "accounts": drill.accounts, "people": drill.people, "incidents": drill.incidents,
            })),
            Err(fault) => {
                Event::new(Action::BackupCheckFailed, "backup", claimed.id.as_str()).after(json!({"error": fault}))
            }
        };
        tx.record(event);
    }
    Ok(())
}

/// Stores that a drill was interrupted. It says nothing about the backup.
pub(super) fn interrupted(tx: &mut Tx<'_>, id: &BackupId) -> Result<()> {
    let ended = diesel::update(
        b::table
            .find(id.as_str())
            .filter(b::check_state.eq(CheckState::Running.as_str())),
    )
    .set((
        b::check_state.eq(CheckState::None.as_str()),
        b::check_error.eq(Some("the check was interrupted, because its process ended")),
        b::lease.eq(None::<String>),
    ))
    .execute(tx.conn)?;
    if ended > 0 {
        let event = Event::new(Action::BackupCheckFailed, "backup", id.as_str());
        tx.record(event.after(json!({"interrupted": true})));
    }
    Ok(())
}

/// Stores that the retention removed files.
pub(super) fn removed(tx: &mut Tx<'_>, files: &[String]) -> Result<()> {
    for file in files {
        diesel::update(b::table.filter(b::file.eq(file)))
            .set(b::removed_at.eq(Some(tx.now)))
            .execute(tx.conn)?;
        tx.record(Event::new(Action::BackupRemoved, "file", file.as_str()));
    }
    Ok(())
}

/// Lets everything that a process had claimed be ended at once. No other process may be running.
pub(super) fn release_all(conn: &mut Conn, now: Timestamp) -> Result<()> {
    diesel::update(b::table.filter(b::lease.is_not_null()))
        .set((b::lease.eq(None::<String>), b::lease_until.eq(now)))
        .execute(conn)?;
    Ok(())
}
