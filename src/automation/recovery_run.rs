//! What the policies about recoveries will do and did: the incidents that wait for their time, and the runs that were decided.
//!
//! An incident waits at most once. While somebody holds it, the policy does nothing, and further evidence changes nothing.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::policy::{PolicyAction, PolicyPhase};
use super::run::{Outcome, Run};
use crate::audit::Tx;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId, PolicyId};
use crate::base::time::Timestamp;
use crate::db::schema::{
    automation_recoveries as w, automation_recovery_runs as d, incidents as i, notices as n,
};
use crate::db::{Conn, FixedText};
use crate::incident;
use crate::notice::NoticeState;
use crate::notice::template::Phase;

/// The condition of the partial index on incidents that are due, with the same text.
const IS_DUE: &str = "automation_recoveries.due_at IS NOT NULL";

/// An incident of which evidence came in while a policy about recoveries applied to it.
#[derive(Clone, Insertable, Queryable)]
#[diesel(table_name = w)]
#[diesel(treat_none_as_default_value = false)]
pub(super) struct DueRow {
    pub incident_id: IncidentId,
    pub policy_id: PolicyId,
    pub policy_name: String,
    /// `None`: it waits for further evidence.
    pub due_at: Option<Timestamp>,
    /// When a policy last sent or drafted a notice.
    pub last_at: Option<Timestamp>,
    pub attempts: i64,
    pub action: String,
    /// When evidence made it due.
    pub expected_at: Option<Timestamp>,
    pub held_by: Option<String>,
    pub held_at: Option<Timestamp>,
}

impl DueRow {
    /// Returns the run that waits. `None` if nothing is due.
    fn view(self, episode: i64) -> Result<Option<Run>> {
        let Some(due_at) = self.due_at else {
            return Ok(None);
        };
        Ok(Some(Run {
            incident: self.incident_id,
            episode,
            phase: PolicyPhase::Recovery,
            policy: self.policy_id,
            policy_name: self.policy_name,
            action: PolicyAction::parse(&self.action).map_err(Error::internal)?,
            outcome: None,
            reason: None,
            notice: None,
            opened_at: self.expected_at.unwrap_or(due_at),
            due_at,
            decided_at: None,
            held_by: self.held_by,
            held_at: self.held_at,
            // It comes before the runs that were decided.
            place: i64::MAX,
        }))
    }
}

#[derive(Insertable, Queryable)]
#[diesel(table_name = d)]
#[diesel(treat_none_as_default_value = false)]
struct DecidedRow {
    incident_id: IncidentId,
    number: i64,
    episode: i64,
    policy_id: PolicyId,
    policy_name: String,
    action: String,
    outcome: String,
    reason: Option<String>,
    notice_id: Option<NoticeId>,
    opened_at: Timestamp,
    due_at: Timestamp,
    decided_at: Timestamp,
}

impl DecidedRow {
    fn view(self) -> Result<Run> {
        Ok(Run {
            incident: self.incident_id,
            episode: self.episode,
            phase: PolicyPhase::Recovery,
            policy: self.policy_id,
            policy_name: self.policy_name,
            action: PolicyAction::parse(&self.action).map_err(Error::internal)?,
            outcome: Some(Outcome::parse(&self.outcome).map_err(Error::internal)?),
            reason: self.reason,
            notice: self.notice_id,
            opened_at: self.opened_at,
            due_at: self.due_at,
            decided_at: Some(self.decided_at),
            held_by: None,
            held_at: None,
            place: self.number,
        })
    }
}

/// Returns the incident that is due first and that nobody holds.
pub(super) fn due(conn: &mut Conn, now: Timestamp) -> Result<Option<DueRow>> {
    Ok(w::table
        .filter(sql::<Bool>(IS_DUE))
        .filter(w::due_at.le(now))
        .filter(w::held_by.is_null())
        .order((w::due_at, w::incident_id))
        .limit(1)
        .fixed()
        .get_result(conn)
        .optional()?)
}

/// Returns what is known about an incident.
pub(super) fn row(conn: &mut Conn, id: &IncidentId) -> Result<Option<DueRow>> {
    Ok(w::table.find(id.as_str()).first(conn).optional()?)
}

/// Stores what a policy did about an incident that was due.
pub(super) fn remember(
    tx: &mut Tx<'_>,
    row: &DueRow,
    outcome: Outcome,
    reason: Option<&str>,
    notice: Option<&NoticeId>,
) -> Result<()> {
    let id = &row.incident_id;
    let last: Option<i64> = d::table
        .filter(d::incident_id.eq(id.as_str()))
        .select(diesel::dsl::max(d::number))
        .first(tx.conn)?;
    let decided = DecidedRow {
        incident_id: id.clone(),
        number: last.unwrap_or(0) + 1,
        episode: incident::episode_of(tx.conn, id)?,
        policy_id: row.policy_id.clone(),
        policy_name: row.policy_name.clone(),
        action: row.action.clone(),
        outcome: outcome.as_str().to_owned(),
        reason: reason.map(str::to_owned),
        notice_id: notice.cloned(),
        opened_at: row.expected_at.or(row.due_at).unwrap_or(tx.now),
        due_at: row.due_at.unwrap_or(tx.now),
        decided_at: tx.now,
    };
    diesel::insert_into(d::table).values(&decided).execute(tx.conn)?;
    Ok(())
}

/// Returns the run of an incident that waits or is held. `None` if no policy about recoveries waits.
///
/// # Errors
/// An error of the database.
pub fn waiting(conn: &mut Conn, id: &IncidentId) -> Result<Option<Run>> {
    let Some(row) = row(conn, id)? else {
        return Ok(None);
    };
    let episode = incident::episode_of(conn, id)?;
    row.view(episode)
}

/// Returns the run of an incident that waits, or else the last one that was decided.
///
/// # Errors
/// An error of the database.
pub fn of_incident(conn: &mut Conn, id: &IncidentId) -> Result<Option<Run>> {
    if let Some(run) = waiting(conn, id)? {
        return Ok(Some(run));
    }
    let last: Option<DecidedRow> = d::table
        .filter(d::incident_id.eq(id.as_str()))
        .order(d::number.desc())
        .first(conn)
        .optional()?;
    last.map(DecidedRow::view).transpose()
}

/// Returns the runs that wait or are held and that will do something, the next one first.
///
/// # Errors
/// An error of the database.
pub fn upcoming(conn: &mut Conn, limit: i64) -> Result<Vec<Run>> {
    let rows: Vec<(DueRow, i64)> = w::table
        .inner_join(i::table.on(i::id.eq(w::incident_id)))
        .filter(sql::<Bool>(IS_DUE))
        .select((w::all_columns, i::episode))
        .order((w::due_at, w::incident_id))
        .limit(limit)
        .load(conn)?;
    let mut runs = Vec::new();
    for (row, episode) in rows {
        if let Some(run) = row.view(episode)?
            && !is_preempted(conn, &run.incident)?
        {
            runs.push(run);
        }
    }
    Ok(runs)
}

/// Returns the runs before a place, the newest incident first: those that wait, and then those that were decided.
pub(super) fn list(conn: &mut Conn, before: Option<(&str, i64, i64)>, limit: i64) -> Result<Vec<Run>> {
    let mut waits = w::table
        .inner_join(i::table.on(i::id.eq(w::incident_id)))
        .filter(sql::<Bool>(IS_DUE))
        .select((w::all_columns, i::episode))
        .into_boxed::<crate::db::Backend>();
    let mut decided = d::table.into_boxed::<crate::db::Backend>();
    if let Some((incident, episode, place)) = before {
        let same = w::incident_id.eq(incident.to_owned());
        waits = waits.filter(
            w::incident_id
                .lt(incident.to_owned())
                .or(same.and(i::episode.lt(episode))),
        );
        let earlier = d::episode
            .lt(episode)
            .or(d::episode.eq(episode).and(d::number.lt(place)));
        decided = decided.filter(
            d::incident_id
                .lt(incident.to_owned())
                .or(d::incident_id.eq(incident.to_owned()).and(earlier)),
        );
    }
    let waits: Vec<(DueRow, i64)> = waits.order(w::incident_id.desc()).limit(limit).load(conn)?;
    let decided: Vec<DecidedRow> = decided
        .order((d::incident_id.desc(), d::number.desc()))
        .limit(limit)
        .load(conn)?;
    let mut runs = Vec::new();
    for (row, episode) in waits {
        runs.extend(row.view(episode)?);
    }
    for row in decided {
        runs.push(row.view()?);
    }
    Ok(runs)
}

/// Returns whether a policy would do nothing now: nobody was notified about the incident yet, or the draft of a recovery waits for a
/// person.
///
/// # Errors
/// An error of the database.
pub fn is_preempted(conn: &mut Conn, id: &IncidentId) -> Result<bool> {
    // A merged incident sends nothing more. Its states count for the other one.
    let merged = incident::lineage::merged_into(conn, id)?.is_some();
    Ok(merged || !was_anybody_told(conn, id)? || waits_for_a_person(conn, id)?)
}

/// Returns whether a notice was sent in the current episode of an incident, or of one that is merged into it. Nobody reads first
/// that something is restored.
fn was_anybody_told(conn: &mut Conn, id: &IncidentId) -> Result<bool> {
    let episode = incident::episode_of(conn, id)?;
    for of in incident::lineage::counted_for(conn, id)? {
        let sent: Option<NoticeId> = n::table
            .filter(n::incident_id.eq(of.id.as_str()))
            .filter(n::episode.eq(episode - of.shift))
            .filter(n::state.ne(NoticeState::Draft))
            .filter(n::phase.ne(Phase::Correction.as_str()))
            .select(n::id)
            .first(conn)
            .optional()?;
        if sent.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether a draft of a recovery waits for a person, who decides about it first.
fn waits_for_a_person(conn: &mut Conn, id: &IncidentId) -> Result<bool> {
    let draft: Option<NoticeId> = n::table
        .filter(n::incident_id.eq(id.as_str()))
        .filter(n::phase.eq(Phase::Recovery.as_str()))
        .filter(n::state.eq(NoticeState::Draft))
        .select(n::id)
        .first(conn)
        .optional()?;
    Ok(draft.is_some())
}
