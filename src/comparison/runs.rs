//! The runs of a comparison. A comparison has at most one active run. A process holds it with a lease, and each step
//! stores its findings and its position in one transaction, so that another process can go on after a crash.

use std::time::Duration;

use diesel::prelude::*;
use serde::Serialize;

use super::kind::Counts;
use super::listings;
use crate::base::code::Code;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::ComparisonId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::comparison_runs as cr;
use crate::work::Lease;

/// How long a run stays with its process without a step.
pub(super) const LEASE: Duration = Duration::from_secs(60);

word_enum! {
    /// The state of a run.
    #[schema(as = ComparisonRunState)]
    RunState, "the state of a run" {
        /// It waits for a process.
        Queued = "queued",
        /// The listings are being compared.
        Comparing = "comparing",
        /// The evidence for resources that became affected through this comparison is being stored.
        Settling = "settling",
        /// The run is complete, and its counts are final.
        Done = "done",
    }
}

/// A run, with its inputs and its result.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = ComparisonRun)]
pub struct Run {
    /// The number of the run, from 1.
    pub number: i64,
    /// How far the run is.
    pub state: RunState,
    /// The counts. While the run is active, they are those of the rows so far.
    pub counts: Counts,
    /// The hashes of both listings.
    pub inputs: Inputs,
    /// When what the observed listing says was observed.
    pub observed_at: Timestamp,
    /// Who asked for the run.
    pub requested_by: String,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When a process began with the run. Null while the run waits for a process.
    pub started_at: Option<Timestamp>,
    /// When it was complete.
    pub finished_at: Option<Timestamp>,
    /// The number of rows of both listings that were compared.
    pub rows_done: i64,
    /// The number of rows of both listings.
    pub rows: i64,
    #[serde(skip)]
    pub(super) id: i64,
}

/// The SHA-256 hashes of the listings as they were sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ComparisonInputs)]
pub struct Inputs {
    /// The hash of the expected listing.
    pub expected: String,
    /// The hash of the observed listing.
    pub observed: String,
}

#[derive(Clone, Queryable, Selectable)]
#[diesel(table_name = cr)]
pub(super) struct RunRow {
    pub id: i64,
    pub comparison_id: String,
    pub number: i64,
    pub state: String,
    pub expected_listing: i64,
    pub observed_listing: i64,
    pub requested_by: String,
    pub requested_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub cursor_key: Option<Vec<u8>>,
    pub settled_after: i64,
    pub done: i64,
    pub counts: String,
}

impl RunRow {
    pub(super) fn state(&self) -> Result<RunState> {
        RunState::parse(&self.state).map_err(Error::internal)
    }

    pub(super) fn comparison(&self) -> Result<ComparisonId> {
        ComparisonId::parse(&self.comparison_id).map_err(Error::internal)
    }

    fn view(self, conn: &mut Conn) -> Result<Run> {
        let expected = listings::get(conn, self.expected_listing)?;
        let observed = listings::get(conn, self.observed_listing)?;
        Ok(Run {
            number: self.number,
            state: self.state()?,
            counts: serde_json::from_str(&self.counts)?,
            inputs: Inputs {
                expected: expected.sha256,
                observed: observed.sha256,
            },
            observed_at: observed.observed_at,
            requested_by: self.requested_by,
            requested_at: self.requested_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            rows_done: self.done,
            rows: expected.rows + observed.rows,
            id: self.id,
        })
    }
}

/// Returns the runs of a comparison before a number, newest first.
pub(super) fn list(
    conn: &mut Conn,
    comparison: &ComparisonId,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Run>> {
    let rows: Vec<RunRow> = cr::table
        .filter(cr::comparison_id.eq(comparison.as_str()))
        .filter(cr::number.lt(before.unwrap_or(i64::MAX)))
        .order(cr::number.desc())
        .limit(limit)
        .select(RunRow::as_select())
        .load(conn)?;
    rows.into_iter().map(|row| row.view(conn)).collect()
}

/// Returns a run by its number.
///
/// # Errors
/// `NotFound` if there is no such run.
pub(super) fn get(conn: &mut Conn, comparison: &ComparisonId, number: i64) -> Result<Run> {
    let row: Option<RunRow> = cr::table
        .filter(cr::comparison_id.eq(comparison.as_str()))
        .filter(cr::number.eq(number))
        .select(RunRow::as_select())
        .first(conn)
        .optional()?;
    row.ok_or_else(|| Error::NotFound(format!("run {number} of the comparison")))?
        .view(conn)
}

/// Checks that a comparison has no active run.
///
/// # Errors
/// `Conflict` with the code `run_in_progress` if a run is active.
pub(super) fn check_idle(conn: &mut Conn, comparison: &ComparisonId) -> Result<()> {
    let active: i64 = cr::table
        .filter(cr::comparison_id.eq(comparison.as_str()))
        .filter(cr::finished_at.is_null())
        .count()
        .get_result(conn)?;
    match active {
        0 => Ok(()),
        _ => Err(Error::Conflict(
            "a run of this comparison is in progress; wait until it has ended".to_owned(),
        )
        .code(Code::RunInProgress)),
    }
}

/// Queues a run over these listings. The caller has checked that none is active.
pub(super) fn queue(
    conn: &mut Conn,
    comparison: &ComparisonId,
    (expected, observed): (&listings::Listing, &listings::Listing),
    by: &str,
    now: Timestamp,
) -> Result<i64> {
    let last: Option<i64> = cr::table
        .filter(cr::comparison_id.eq(comparison.as_str()))
        .select(diesel::dsl::max(cr::number))
        .first(conn)?;
    let number = last.unwrap_or(0) + 1;
    let counts = Counts {
        expected: expected.rows.unsigned_abs(),
        observed: observed.rows.unsigned_abs(),
        ..Counts::default()
    };
    diesel::insert_into(cr::table)
        .values((
            cr::comparison_id.eq(comparison.as_str()),
            cr::number.eq(number),
            cr::state.eq(RunState::Queued.as_str()),
            cr::expected_listing.eq(expected.id),
            cr::observed_listing.eq(observed.id),
            cr::requested_by.eq(by),
            cr::requested_at.eq(now),
            cr::settled_after.eq(0_i64),
            cr::done.eq(0_i64),
            cr::counts.eq(serde_json::to_string(&counts)?),
            cr::lease_until.eq(now),
        ))
        .execute(conn)?;
    Ok(number)
}

/// A run that this process is working on.
#[derive(Clone)]
pub(super) struct Claimed {
    pub row: RunRow,
    pub counts: Counts,
    lease: Lease,
}

/// Returns whether a run waits for a process.
pub(super) fn any_waiting(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    Ok(next(conn, now)?.is_some())
}

fn next(conn: &mut Conn, now: Timestamp) -> Result<Option<i64>> {
    Ok(cr::table
        .filter(cr::finished_at.is_null())
        .filter(cr::lease_until.le(now))
        .order(cr::id)
        .select(cr::id)
        .first(conn)
        .optional()?)
}

/// Claims the oldest run that waits. A run of a process that has ended goes on where it was.
pub(super) fn claim(conn: &mut Conn, now: Timestamp, lease: Lease) -> Result<Option<Claimed>> {
    let Some(id) = next(conn, now)? else {
        return Ok(None);
    };
    let taken = diesel::update(
        cr::table
            .find(id)
            .filter(cr::finished_at.is_null())
            .filter(cr::lease_until.le(now)),
    )
    .set((
        cr::lease.eq(Some(lease.id())),
        cr::lease_until.eq(lease.until(now)),
    ))
    .execute(conn)?;
    if taken == 0 {
        return Ok(None);
    }
    let row: RunRow = cr::table.find(id).select(RunRow::as_select()).first(conn)?;
    if row.started_at.is_none() {
        diesel::update(cr::table.find(id))
            .set(cr::started_at.eq(Some(now)))
            .execute(conn)?;
    }
    Ok(Some(Claimed {
        counts: serde_json::from_str(&row.counts)?,
        row,
        lease,
    }))
}

/// Lets runs of processes that have ended be claimed at once. No other process may be running.
pub(super) fn release_all(conn: &mut Conn, now: Timestamp) -> Result<()> {
    diesel::update(cr::table.filter(cr::finished_at.is_null()))
        .set((cr::lease.eq(None::<String>), cr::lease_until.eq(now)))
        .execute(conn)?;
    Ok(())
}

impl Claimed {
    /// Stores where the run is, and renews the lease.
    ///
    /// # Errors
    /// `Conflict` if another process has claimed the run.
    pub(super) fn report(&self, conn: &mut Conn, state: RunState, now: Timestamp) -> Result<()> {
        let row = &self.row;
        let held = diesel::update(
            cr::table
                .find(row.id)
                .filter(cr::lease.eq(self.lease.id()))
                .filter(cr::finished_at.is_null()),
        )
        .set((
            cr::state.eq(state.as_str()),
            cr::cursor_key.eq(row.cursor_key.as_deref()),
            cr::settled_after.eq(row.settled_after),
            cr::done.eq(row.done),
            cr::counts.eq(serde_json::to_string(&self.counts)?),
            cr::lease_until.eq(self.lease.until(now)),
            cr::finished_at.eq((state == RunState::Done).then_some(now)),
        ))
        .execute(conn)?;
        match held {
            0 => Err(Error::Conflict("another process has taken the run".to_owned())),
            _ => Ok(()),
        }
    }

    /// Gives the run back, so that another process goes on with it.
    pub(super) fn give_back(&self, conn: &mut Conn, now: Timestamp) -> Result<()> {
        diesel::update(cr::table.find(self.row.id).filter(cr::lease.eq(self.lease.id())))
            .set((cr::lease.eq(None::<String>), cr::lease_until.eq(now)))
            .execute(conn)?;
        Ok(())
    }
}
