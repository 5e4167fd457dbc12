//! The record of the backups that Candor makes by itself: what was asked for, what was made, and what the restore drill found.
//!
//! A backup is `queued`, then `running`, and ends as `done` or `failed`. It is claimed with a lease, so that the backup of a process that
//! died fails and does not stay in the way.

use diesel::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::BackupId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::backups as b;

word_enum! {
    /// The state of a backup.
    BackupState, "a state of a backup" {
        /// A process has yet to begin with it.
        Queued = "queued",
        /// It is being written.
        Running = "running",
        /// The file is complete.
        Done = "done",
        /// There is no file.
        Failed = "failed",
    }
}

word_enum! {
    /// Why a backup is made.
    #[schema(as = BackupCause)]
    Cause, "a cause of a backup" {
        /// A time of the schedule has come.
        Schedule = "schedule",
        /// Somebody asked for it.
        Request = "request",
    }
}

word_enum! {
    /// What the restore drill of a backup found.
    #[schema(as = BackupCheckState)]
    CheckState, "a state of a check" {
        /// No drill was made, or it was interrupted.
        None = "none",
        /// A process has yet to begin with it.
        Queued = "queued",
        /// The backup is being restored into a temporary place.
        Running = "running",
        /// The backup was restored, and its audit trail is intact.
        Good = "good",
        /// The backup cannot be restored, or its audit trail is not intact.
        Bad = "bad",
    }
}

/// A backup, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Backup {
    /// The ID of the backup.
    pub id: BackupId,
    /// The state of the backup: `queued`, `running`, `done` or `failed`.
    pub state: BackupState,
    /// Why it is made.
    pub cause: Cause,
    /// Who asked for it.
    pub requested_by: String,
    /// When it was asked for, or when the schedule wanted it.
    pub requested_at: Timestamp,
    /// When a process began to write it.
    pub started_at: Option<Timestamp>,
    /// When it was complete or failed.
    pub finished_at: Option<Timestamp>,
    /// The name of the file in the folder of backups. Null until it is complete.
    pub file: Option<String>,
    /// The size of the file in bytes.
    pub bytes: Option<i64>,
    /// The number of the last audit event that it contains.
    pub events: Option<i64>,
    /// Why the backup failed. Null if it did not fail.
    pub error: Option<String>,
    /// When the retention removed the file.
    pub removed_at: Option<Timestamp>,
    /// What the restore drill found.
    pub check: CheckState,
    /// When the drill ended.
    pub checked_at: Option<Timestamp>,
    /// What is wrong with the backup, or why the drill was interrupted.
    pub check_error: Option<String>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = b)]
struct Row {
    id: BackupId,
    state: String,
    cause: String,
    requested_by: String,
    requested_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    file: Option<String>,
    bytes: Option<i64>,
    events: Option<i64>,
    error: Option<String>,
    removed_at: Option<Timestamp>,
    check_state: String,
    checked_at: Option<Timestamp>,
    check_error: Option<String>,
}

impl Row {
    fn view(self) -> Result<Backup> {
        Ok(Backup {
            id: self.id,
            state: BackupState::parse(&self.state).map_err(Error::internal)?,
            cause: Cause::parse(&self.cause).map_err(Error::internal)?,
            requested_by: self.requested_by,
            requested_at: self.requested_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            file: self.file,
            bytes: self.bytes,
            events: self.events,
            error: self.error,
            removed_at: self.removed_at,
            check: CheckState::parse(&self.check_state).map_err(Error::internal)?,
            checked_at: self.checked_at,
            check_error: self.check_error,
        })
    }
}

/// Returns the backups before the given ID, newest first.
///
/// # Errors
/// An error of the database.
pub fn list(conn: &mut Conn, before: Option<&str>, limit: i64) -> Result<Vec<Backup>> {
    let mut query = b::table
        .order(b::id.desc())
        .limit(limit)
        .select(Row::as_select())
        .into_boxed::<crate::db::Backend>();
    if let Some(before) = before {
        query = query.filter(b::id.lt(before));
    }
    query.load::<Row>(conn)?.into_iter().map(Row::view).collect()
}

/// Returns a backup.
///
/// # Errors
/// `NotFound` if there is none with this ID.
pub fn get(conn: &mut Conn, id: &BackupId) -> Result<Backup> {
    b::table
        .find(id.as_str())
        .select(Row::as_select())
        .first::<Row>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound("a backup with this ID".to_owned()))?
        .view()
}

/// How the backups stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The backup that ended last.
    pub last: Option<Backup>,
    /// The last complete backup.
    pub last_good: Option<Backup>,
    /// The last backup that a drill restored.
    pub last_drill: Option<Backup>,
    /// The backup whose drill ended last, good or bad.
    pub last_check: Option<Backup>,
}

/// Returns how the backups stand.
///
/// # Errors
/// An error of the database.
pub fn standing(conn: &mut Conn) -> Result<Standing> {
    let ended = |conn: &mut Conn, state: Option<BackupState>| -> Result<Option<Backup>> {
        let mut query = b::table
            .filter(b::finished_at.is_not_null())
            .order((b::finished_at.desc(), b::id.desc()))
            .select(Row::as_select())
            .into_boxed::<crate::db::Backend>();
        if let Some(state) = state {
            query = query.filter(b::state.eq(state.as_str()));
        }
        query.first::<Row>(conn).optional()?.map(Row::view).transpose()
    };
    let checked = |conn: &mut Conn, only: &[&str]| -> Result<Option<Backup>> {
        b::table
            .filter(b::check_state.eq_any(only))
            .order((b::checked_at.desc(), b::id.desc()))
            .select(Row::as_select())
            .first::<Row>(conn)
            .optional()?
            .map(Row::view)
            .transpose()
    };
    let (good, bad) = (CheckState::Good.as_str(), CheckState::Bad.as_str());
    Ok(Standing {
        last: ended(conn, None)?,
        last_good: ended(conn, Some(BackupState::Done))?,
        last_drill: checked(conn, &[good])?,
        last_check: checked(conn, &[good, bad])?,
    })
}

/// Stores a backup that is to be made. Returns None if one is queued or being made, or if the schedule's time already has one.
fn insert(
    conn: &mut Conn,
    (cause, due): (Cause, Option<Timestamp>),
    by: &str,
    now: Timestamp,
) -> Result<Option<BackupId>> {
    let id = BackupId::new(now);
    let row = (
        b::id.eq(id.as_str()),
        b::state.eq(BackupState::Queued.as_str()),
        b::cause.eq(cause.as_str()),
        b::active.eq(Some(1_i64)),
        b::due_at.eq(due),
        b::requested_by.eq(by),
        b::requested_at.eq(now),
        b::check_state.eq(CheckState::None.as_str()),
        b::lease_until.eq(now),
    );
    let stored = on_backend!(conn, c => diesel::insert_into(b::table).values(row).on_conflict_do_nothing().execute(c))?;
    Ok((stored > 0).then_some(id))
}

/// Asks for a backup now.
///
/// # Errors
/// `Conflict` with the code `run_in_progress` if a backup is queued or being made.
pub fn request(tx: &mut Tx<'_>) -> Result<Backup> {
    let by = tx.actor.name().to_owned();
    let Some(id) = insert(tx.conn, (Cause::Request, None), &by, tx.now)? else {
        let detail = "a backup is already being made; wait until it has ended";
        return Err(Error::Conflict(detail.to_owned()).code(Code::RunInProgress));
    };
    tx.record(
        Event::new(Action::BackupRequested, "backup", id.as_str()).after(json!({"cause": Cause::Request})),
    );
    get(tx.conn, &id)
}

/// Asks for the restore drill of a complete backup.
///
/// # Errors
/// `NotFound` if there is no such backup. `Conflict` if it has no file, or if its drill is already queued.
pub fn request_check(tx: &mut Tx<'_>, id: &BackupId) -> Result<Backup> {
    let backup = get(tx.conn, id)?;
    if backup.state != BackupState::Done || backup.removed_at.is_some() {
        return Err(Error::Conflict(
            "the backup has no file that could be checked".to_owned(),
        ));
    }
    if !queue_check(tx.conn, id, tx.now)? {
        let detail = "the check of this backup has already begun; wait until it has ended";
        return Err(Error::Conflict(detail.to_owned()).code(Code::RunInProgress));
    }
    tx.record(Event::new(Action::BackupRequested, "backup", id.as_str()).after(json!({"check": true})));
    get(tx.conn, id)
}

/// Queues the drill of a backup. Returns false if it is queued or running.
pub(super) fn queue_check(conn: &mut Conn, id: &BackupId, now: Timestamp) -> Result<bool> {
    let idle = [
        CheckState::None.as_str(),
        CheckState::Good.as_str(),
        CheckState::Bad.as_str(),
    ];
    let queued = diesel::update(b::table.find(id.as_str()).filter(b::check_state.eq_any(idle)))
        .set((
            b::check_state.eq(CheckState::Queued.as_str()),
            b::lease_until.eq(now),
        ))
        .execute(conn)?;
    Ok(queued > 0)
}

/// Stores the backup that the schedule wants. Returns its ID, or None if another process has done so, or if a backup is being made.
pub(super) fn queue_due(conn: &mut Conn, due: Timestamp, now: Timestamp) -> Result<Option<BackupId>> {
    insert(conn, (Cause::Schedule, Some(due)), "schedule", now)
}

/// When the schedule was served last: the time of the schedule, and whether that backup failed and when.
pub(super) fn last_due(conn: &mut Conn) -> Result<Option<(Timestamp, Option<Timestamp>)>> {
    let last: Option<(Option<Timestamp>, String, Option<Timestamp>)> = b::table
        .filter(b::due_at.is_not_null())
        .order(b::due_at.desc())
        .select((b::due_at, b::state, b::finished_at))
        .first(conn)
        .optional()?;
    Ok(last.and_then(|(due, state, finished)| {
        let failed = (state == BackupState::Failed.as_str())
            .then_some(finished)
            .flatten();
        Some((due?, failed))
    }))
}
