//! The runs of a source. A source has at most one active run. A process holds it with a lease that it renews
//! while it works, and every run ends with a final state.

use std::time::Duration;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::applying;
pub use super::changes::{Changes, Example, KindChanges, RunError};
use super::stored::existing;
use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::{RunId, SourceId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::{self, Lock};
use crate::db::schema::{directory_runs as dr, directory_sources as s, directory_staged};
use crate::work::Lease;

/// How long a run stays with its process without a renewal of the lease.
pub(super) const LEASE: Duration = Duration::from_secs(90);

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RunState)]
pub enum State {
    /// The run waits for a process.
    Queued,
    /// The source is being read.
    Reading,
    /// The rows are being compared with the directory.
    Comparing,
    /// The changes are being stored.
    Applying,
    /// The run would archive too many entries and stored nothing. An operator must confirm it.
    NeedsConfirmation,
    /// The run is complete.
    Done,
    /// The run stored nothing. See `errors`.
    Failed,
    /// The run waited for a confirmation, and a newer run began.
    Superseded,
    /// An operator refused what the run would change. It stored nothing.
    Refused,
}

const ALL: [(State, &str); 9] = [
    (State::Queued, "queued"),
    (State::Reading, "reading"),
    (State::Comparing, "comparing"),
    (State::Applying, "applying"),
    (State::NeedsConfirmation, "needs_confirmation"),
    (State::Done, "done"),
    (State::Failed, "failed"),
    (State::Superseded, "superseded"),
    (State::Refused, "refused"),
];

/// The states of a run that a process is working on.
const HELD: [&str; 3] = ["reading", "comparing", "applying"];
/// The state of a trial run from its beginning to its end. It stores nothing.
const TRIAL: &str = "trial";

impl State {
    /// Returns the state as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        ALL.iter()
            .find(|(state, _)| *state == self)
            .map_or("failed", |(_, word)| *word)
    }

    fn parse(text: &str) -> Result<Self> {
        ALL.iter()
            .find(|(_, word)| *word == text)
            .map(|(state, _)| *state)
            .ok_or_else(|| Error::internal("a run of an unknown state"))
    }

    /// Returns whether the run has ended or waits for an operator.
    pub fn over(self) -> bool {
        !matches!(
            self,
            State::Queued | State::Reading | State::Comparing | State::Applying
        )
    }
}

/// Why a run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody requested the run.
    Request,
    /// The scheduled time had come.
    Schedule,
}

impl Cause {
    fn as_str(self) -> &'static str {
        match self {
            Cause::Request => "request",
            Cause::Schedule => "schedule",
        }
    }
}

/// The progress of a run within its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Progress {
    /// The number of rows that are done.
    pub done: i64,
    /// The number of rows in all. 0 while it is not known.
    pub total: i64,
}

/// A run of a source.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Run {
    /// The ID of the run.
    pub id: RunId,
    /// The ID of the source that the run reads.
    pub source: SourceId,
    /// The state of the run.
    pub state: State,
    /// Why the run began: `request` or `schedule`.
    pub cause: String,
    /// Who requested the run.
    pub requested_by: String,
    /// Who confirmed that the run may archive this many entries.
    pub confirmed_by: Option<String>,
    /// The progress within the state.
    pub progress: Progress,
    /// The changes of the run. Null until they are known.
    pub changes: Option<Changes>,
    /// Why the run failed or needs a confirmation.
    pub errors: Vec<RunError>,
    /// When the run was requested.
    pub created_at: Timestamp,
    /// When the run began.
    pub started_at: Option<Timestamp>,
    /// When the run ended.
    pub finished_at: Option<Timestamp>,
}

#[derive(Clone, Queryable)]
pub(super) struct RunRow {
    pub id: RunId,
    pub source_id: SourceId,
    pub state: String,
    pub cause: String,
    pub requested_by: String,
    pub confirmed_by: Option<String>,
    pub done: i64,
    pub total: i64,
    pub changes: Option<String>,
    pub errors: Option<String>,
    pub _lease: Option<String>,
    pub _lease_until: Timestamp,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

impl RunRow {
    fn view(self) -> Result<Run> {
        let state = State::parse(&self.state)?;
        // The count of this process is newer than the stored one.
        let done = match state {
            State::Applying => applying::done(&self.id).map_or(self.done, |done| done as i64),
            _ => self.done,
        };
        Ok(Run {
            state,
            changes: self.changes.as_deref().map(serde_json::from_str).transpose()?,
            errors: match &self.errors {
                Some(errors) => serde_json::from_str(errors)?,
                None => Vec::new(),
            },
            progress: Progress {
                done,
                total: self.total,
            },
            id: self.id,
            source: self.source_id,
            cause: self.cause,
            requested_by: self.requested_by,
            confirmed_by: self.confirmed_by,
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
        })
    }
}

/// Returns the run of a source that has not ended.
pub fn active(conn: &mut Conn, source: &SourceId) -> Result<Option<RunId>> {
    Ok(dr::table
        .filter(dr::source_id.eq(source.as_str()))
        .filter(dr::state.eq_any(HELD).or(dr::state.eq(State::Queued.as_str())))
        .select(dr::id)
        .first(conn)
        .optional()?)
}

/// Ends the active run of a source, and its trials, because the source is deleted. The process that works on
/// them notices it and cancels its statement. A run that is being stored continues. Returns the run that was
/// ended.
pub(super) fn end_of_deleted(conn: &mut Conn, source: &SourceId, now: Timestamp) -> Result<Option<String>> {
    const ENDED: [&str; 3] = ["queued", "reading", "comparing"];
    let of_source = || dr::table.filter(dr::source_id.eq(source.as_str()));
    let trials: Vec<String> = of_source()
        .filter(dr::state.eq(TRIAL))
        .select(dr::id)
        .load(conn)?;
    for id in trials {
        forget(conn, &id)?;
    }
    let active: Vec<String> = of_source()
        .filter(dr::state.eq_any(ENDED))
        .select(dr::id)
        .load(conn)?;
    let error = RunError::plain("the source was deleted while it was being read");
    let mut cancelled = None;
    for id in active {
        // Once more with the condition: the process may have begun to store the run a moment ago.
        let ended = diesel::update(dr::table.find(&id).filter(dr::state.eq_any(ENDED)))
            .set((
                dr::state.eq(State::Failed.as_str()),
                dr::lease.eq(None::<String>),
                dr::errors.eq(Some(serde_json::to_string(&[&error])?)),
                dr::finished_at.eq(Some(now)),
            ))
            .execute(conn)?;
        if ended > 0 {
            diesel::delete(directory_staged::table.filter(directory_staged::run_id.eq(&id))).execute(conn)?;
            cancelled = Some(id);
        }
    }
    Ok(cancelled)
}

/// Ends the run of a source that waits for a confirmation.
pub(super) fn supersede(conn: &mut Conn, source: &SourceId, now: Timestamp) -> Result<()> {
    let Some(id) = waiting(conn, source)? else {
        return Ok(());
    };
    diesel::delete(directory_staged::table.filter(directory_staged::run_id.eq(&id))).execute(conn)?;
    diesel::update(dr::table.find(&id))
        .set((
            dr::state.eq(State::Superseded.as_str()),
            dr::finished_at.eq(Some(now)),
        ))
        .execute(conn)?;
    Ok(())
}

/// Queues a run.
///
/// # Errors
/// `NotFound` if the source does not exist. `Conflict` if the source is already being read, or is a service.
pub fn request(tx: &mut Tx<'_>, source: &SourceId, cause: Cause) -> Result<Run> {
    dialect::lock(tx.conn, Lock::Source, source.as_str())?;
    let row = existing(tx.conn, source)?;
    if row.kind()?.engine().is_none() {
        return Err(Error::Conflict(
            "a source of the kind http has no sync, because Candor asks it about single IDs".to_owned(),
        ));
    }
    if let Some(run) = active(tx.conn, source)? {
        return Err(
            Error::Conflict(format!("the source is already being read by the run {run}"))
                .code(Code::RunInProgress),
        );
    }
    supersede(tx.conn, source, tx.now)?;
    let id = RunId::new(tx.now);
    diesel::insert_into(dr::table)
        .values((
            dr::id.eq(id.as_str()),
            dr::source_id.eq(source.as_str()),
            dr::state.eq(State::Queued.as_str()),
            dr::cause.eq(cause.as_str()),
            dr::requested_by.eq(tx.actor.name()),
            dr::done.eq(0),
            dr::total.eq(0),
            dr::lease_until.eq(tx.now),
            dr::created_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::SyncRequested, "source", source.as_str())
            .after(json!({"run": id, "cause": cause.as_str()})),
    );
    get(tx.conn, source, &id)
}

/// Confirms a run that would archive many entries, so that it continues.
///
/// # Errors
/// `NotFound` if the run does not exist. `Conflict` if it does not wait for a confirmation.
pub fn confirm(tx: &mut Tx<'_>, source: &SourceId, id: &RunId) -> Result<Run> {
    dialect::lock(tx.conn, Lock::Source, source.as_str())?;
    existing(tx.conn, source)?;
    let before = get(tx.conn, source, id)?;
    if before.state != State::NeedsConfirmation {
        return Err(Error::Conflict(format!(
            "the run does not wait for a confirmation; its state is {}",
            before.state.as_str()
        )));
    }
    diesel::update(dr::table.find(id.as_str()))
        .set((
            dr::state.eq(State::Queued.as_str()),
            dr::confirmed_by.eq(Some(tx.actor.name())),
            dr::finished_at.eq(None::<Timestamp>),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::SyncConfirmed, "source", source.as_str())
            .after(json!({"run": id, "gone": before.changes.map(|changes| changes.gone())})),
    );
    get(tx.conn, source, id)
}

/// Refuses a run that would archive many entries. It stores nothing, and the source is read again at its next time.
///
/// # Errors
/// `NotFound` if the run does not exist. `Conflict` if it does not wait for a confirmation.
pub fn refuse(tx: &mut Tx<'_>, source: &SourceId, id: &RunId) -> Result<Run> {
    dialect::lock(tx.conn, Lock::Source, source.as_str())?;
    existing(tx.conn, source)?;
    let before = get(tx.conn, source, id)?;
    if before.state != State::NeedsConfirmation {
        return Err(Error::Conflict(format!(
            "the run does not wait for a confirmation; its state is {}",
            before.state.as_str()
        )));
    }
    diesel::delete(directory_staged::table.filter(directory_staged::run_id.eq(id.as_str())))
        .execute(tx.conn)?;
    diesel::update(dr::table.find(id.as_str()))
        .set((
            dr::state.eq(State::Refused.as_str()),
            dr::finished_at.eq(Some(tx.now)),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::SyncRefused, "source", source.as_str())
            .after(json!({"run": id, "gone": before.changes.map(|changes| changes.gone())})),
    );
    get(tx.conn, source, id)
}

/// Returns a run of a source.
///
/// # Errors
/// `NotFound` if the source has no such run.
pub fn get(conn: &mut Conn, source: &SourceId, id: &RunId) -> Result<Run> {
    dr::table
        .find(id.as_str())
        .filter(dr::source_id.eq(source.as_str()))
        .filter(dr::state.ne(TRIAL))
        .first::<RunRow>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("run {id}")))?
        .view()
}

/// Returns the runs of a source, newest first, before the given ID.
///
/// # Errors
/// `NotFound` if the source does not exist.
pub fn list(conn: &mut Conn, source: &SourceId, before: Option<&str>, limit: i64) -> Result<Vec<Run>> {
    super::stored::get(conn, source)?;
    let mut query = dr::table
        .filter(dr::source_id.eq(source.as_str()))
        .filter(dr::state.ne(TRIAL))
        .into_boxed::<crate::db::Backend>();
    if let Some(before) = before {
        query = query.filter(dr::id.lt(before));
    }
    query
        .order(dr::id.desc())
        .limit(limit)
        .load::<RunRow>(conn)?
        .into_iter()
        .map(RunRow::view)
        .collect()
}

/// Returns the newest run of a source.
pub(super) fn latest(conn: &mut Conn, source: &SourceId) -> Result<Option<Run>> {
    Ok(list(conn, source, None, 1)?.pop())
}

/// A run that this process is working on.
#[derive(Clone)]
pub struct Claimed {
    pub(super) run: RunId,
    pub(super) source: super::stored::SourceRow,
    pub(super) lease: Lease,
    pub(super) confirmed: bool,
    /// Whether this is a trial, which stores nothing.
    pub(super) trial: bool,
    pub(super) started_at: Timestamp,
}

/// Returns whether a run waits for a process.
pub fn any_waiting(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    Ok(next(conn, now, None)?.is_some())
}

fn next(conn: &mut Conn, now: Timestamp, wanted: Option<&RunId>) -> Result<Option<RunId>> {
    let free = dr::state
        .eq(State::Queued.as_str())
        .or(dr::state.eq_any(HELD).and(dr::lease_until.lt(now)));
    let mut query = dr::table.filter(free).into_boxed::<crate::db::Backend>();
    if let Some(id) = wanted {
        query = query.filter(dr::id.eq(id.as_str()));
    }
    Ok(query.order(dr::id).select(dr::id).first(conn).optional()?)
}

/// Claims the oldest run that waits, or the wanted one. A run of a process that died starts again from the
/// beginning.
pub fn claim(
    conn: &mut Conn,
    now: Timestamp,
    lease: Lease,
    wanted: Option<&RunId>,
) -> Result<Option<Claimed>> {
    let Some(id) = next(conn, now, wanted)? else {
        return Ok(None);
    };
    let free = dr::state
        .eq(State::Queued.as_str())
        .or(dr::state.eq_any(HELD).and(dr::lease_until.lt(now)));
    let taken = diesel::update(dr::table.find(id.as_str()).filter(free))
        .set((
            dr::state.eq(State::Reading.as_str()),
            dr::lease.eq(Some(lease.id())),
            dr::lease_until.eq(lease.until(now)),
            dr::done.eq(0),
            dr::total.eq(0),
        ))
        .execute(conn)?;
    if taken == 0 {
        return Ok(None);
    }
    let row: RunRow = dr::table.find(id.as_str()).first(conn)?;
    // A confirmed run continues with the rows that it has read, so its start time does not change.
    let confirmed = row.confirmed_by.is_some();
    let started_at = row.started_at.filter(|_| confirmed).unwrap_or(now);
    if !confirmed {
        diesel::update(dr::table.find(id.as_str()))
            .set(dr::started_at.eq(Some(now)))
            .execute(conn)?;
        diesel::delete(directory_staged::table.filter(directory_staged::run_id.eq(id.as_str())))
            .execute(conn)?;
    }
    let source = s::table.find(row.source_id.as_str()).first(conn)?;
    Ok(Some(Claimed {
        run: id,
        source,
        lease,
        confirmed,
        trial: false,
        started_at,
    }))
}

/// Begins a trial run, which stores nothing and is in no list. [`end_trial`] deletes it. This function
/// deletes trial runs of processes that died.
///
/// # Errors
/// `NotFound` if the source does not exist. `Conflict` if it is a service.
pub(super) fn begin_trial(
    conn: &mut Conn,
    now: Timestamp,
    source: &SourceId,
    lease: Lease,
    by: &str,
) -> Result<Claimed> {
    let source = existing(conn, source)?;
    if source.kind()?.engine().is_none() {
        return Err(Error::Conflict(
            "a test of a source of the kind http needs references to ask about".to_owned(),
        ));
    }
    let dead: Vec<String> = dr::table
        .filter(dr::state.eq(TRIAL))
        .filter(dr::lease_until.lt(now))
        .select(dr::id)
        .load(conn)?;
    for id in dead {
        forget(conn, &id)?;
    }
    let run = RunId::new(now);
    diesel::insert_into(dr::table)
        .values((
            dr::id.eq(run.as_str()),
            dr::source_id.eq(source.id.as_str()),
            dr::state.eq(TRIAL),
            dr::cause.eq(Cause::Request.as_str()),
            dr::requested_by.eq(by),
            dr::done.eq(0),
            dr::total.eq(0),
            dr::lease.eq(Some(lease.id())),
            dr::lease_until.eq(lease.until(now)),
            dr::created_at.eq(now),
        ))
        .execute(conn)?;
    Ok(Claimed {
        run,
        source,
        lease,
        confirmed: false,
        trial: true,
        started_at: now,
    })
}

/// Deletes a trial run.
pub(super) fn end_trial(conn: &mut Conn, claimed: &Claimed) -> Result<()> {
    forget(conn, claimed.run.as_str())
}

fn forget(conn: &mut Conn, id: &str) -> Result<()> {
    diesel::delete(directory_staged::table.filter(directory_staged::run_id.eq(id))).execute(conn)?;
    diesel::delete(dr::table.find(id).filter(dr::state.eq(TRIAL))).execute(conn)?;
    Ok(())
}

impl Claimed {
    /// Returns the ID of the run.
    pub fn id(&self) -> &RunId {
        &self.run
    }

    /// Returns whether this process still holds the run. It does not if the source was deleted.
    pub(super) fn is_held(&self, conn: &mut Conn) -> Result<bool> {
        let lease: Option<Option<String>> = dr::table
            .find(self.run.as_str())
            .select(dr::lease)
            .first(conn)
            .optional()?;
        Ok(lease.flatten().as_deref() == Some(self.lease.id()))
    }

    /// Renews the lease, and stores the state and the progress. Fails with `Conflict` if another process has
    /// claimed the run.
    pub(super) fn report(
        &self,
        conn: &mut Conn,
        now: Timestamp,
        state: State,
        done: u64,
        total: u64,
    ) -> Result<()> {
        let (held, state) = if self.trial {
            (vec![TRIAL], TRIAL)
        } else {
            (HELD.to_vec(), state.as_str())
        };
        let held = diesel::update(
            dr::table
                .find(self.run.as_str())
                .filter(dr::lease.eq(self.lease.id()))
                .filter(dr::state.eq_any(held)),
        )
        .set((
            dr::state.eq(state),
            dr::lease_until.eq(self.lease.until(now)),
            dr::done.eq(done as i64),
            dr::total.eq(total as i64),
        ))
        .execute(conn)?;
        if held == 0 {
            return Err(Error::Conflict("another process has taken the run".to_owned()));
        }
        Ok(())
    }

    /// Gives the run back. The process that claims it next starts it again from the beginning.
    pub(super) fn give_back(&self, conn: &mut Conn) -> Result<()> {
        diesel::update(
            dr::table
                .find(self.run.as_str())
                .filter(dr::lease.eq(self.lease.id()))
                .filter(dr::state.eq_any(HELD)),
        )
        .set((dr::state.eq(State::Queued.as_str()), dr::lease.eq(None::<String>)))
        .execute(conn)?;
        Ok(())
    }

    /// Ends the run, or lets it wait for a confirmation. In the second case the rows that were read stay.
    pub(super) fn end(
        &self,
        tx: &mut Tx<'_>,
        state: State,
        changes: Option<&Changes>,
        errors: &[RunError],
    ) -> Result<()> {
        let held = diesel::update(
            dr::table
                .find(self.run.as_str())
                .filter(dr::lease.eq(self.lease.id()))
                .filter(dr::state.eq_any(HELD)),
        )
        .set((
            dr::state.eq(state.as_str()),
            dr::lease.eq(None::<String>),
            dr::changes.eq(changes.map(serde_json::to_string).transpose()?),
            dr::errors.eq((!errors.is_empty())
                .then(|| serde_json::to_string(errors))
                .transpose()?),
            dr::finished_at.eq(Some(tx.now)),
        ))
        .execute(tx.conn)?;
        if held == 0 {
            return Err(Error::Conflict("another process has taken the run".to_owned()));
        }
        if state != State::NeedsConfirmation {
            diesel::delete(directory_staged::table.filter(directory_staged::run_id.eq(self.run.as_str())))
                .execute(tx.conn)?;
        }
        Ok(())
    }
}

/// Returns the ID of the run that waits for a confirmation.
pub(super) fn waiting(conn: &mut Conn, id: &SourceId) -> Result<Option<String>> {
    Ok(dr::table
        .filter(dr::source_id.eq(id.as_str()))
        .filter(dr::state.eq(State::NeedsConfirmation.as_str()))
        .order(dr::id.desc())
        .select(dr::id)
        .first(conn)
        .optional()?)
}
