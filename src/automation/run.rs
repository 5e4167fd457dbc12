//! The runs of policies. A run is created when an incident is opened or reopened, is executed once for each
//! episode, and is stored with its result.
//!
//! The position on the audit trail moves in the same transaction. So work that a crash interrupts is done
//! after the restart, and finished work is not done again. An incident that fails is postponed and tried
//! again, so that it does not delay the others.
//!
//! An episode has at most one run. A policy writes no notice if somebody has already written one in the
//! episode, even if it was a draft that was discarded.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde::Serialize;
use serde_json::json;

use super::limits::{self, LATEST};
use super::policy::{self, Policy, PolicyAction, PolicyPhase};
use crate::audit::follow::{self, Followed};
use crate::audit::{Action, Actor, Event, Tx};
use crate::base::count::counted;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId, PolicyId};
use crate::base::time::Timestamp;
use crate::db::dialect::{self, Lock};
use crate::db::schema::{automation_runs as r, discarded_notices as dn, incidents as i, notices as n};
use crate::db::{Conn, Db, FixedText};
use crate::incident::{self, Incident, Status, timeline};
use crate::notice::{self, Sending, unattended};

/// The name of the subscriber to the audit trail.
pub(super) const SUBSCRIBER: &str = "automation";
/// The audit events that begin a run.
pub(super) const BEGINS: [Action; 2] = [Action::IncidentOpened, Action::IncidentReopened];
/// The number of attempts for an incident that fails.
const ATTEMPTS: i64 = 5;
/// The wait after a failure. It doubles with each further failure.
const AGAIN: Duration = Duration::from_secs(2);

word_enum! {
    /// The outcome of a run.
    Outcome, "an outcome" {
        /// The policy decided to do nothing.
        Nothing = "nothing",
        /// A notice was drafted.
        Drafted = "drafted",
        /// A notice was sent.
        Sent = "sent",
        /// The policy could not be executed.
        Failed = "failed",
    }
}

/// What a policy did about an incident.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = AutomationRun)]
pub struct Run {
    /// The ID of the incident that the run is about.
    pub incident: IncidentId,
    /// The episode of the incident: 1, or a higher number after a reopening.
    pub episode: i64,
    /// What the policy is about: a detection when the incident opens, or recoveries. An incident has at most one run about a detection in
    /// each episode, and any number of runs about recoveries.
    pub phase: PolicyPhase,
    /// The policy. It can be deleted.
    pub policy: PolicyId,
    /// The name of the policy at that time.
    pub policy_name: String,
    /// The action of the policy at that time.
    pub action: PolicyAction,
    /// The outcome. Null while the run waits.
    pub outcome: Option<Outcome>,
    /// Why the policy did not do more.
    pub reason: Option<String>,
    /// The notice that the policy wrote.
    pub notice: Option<NoticeId>,
    /// When the incident was opened or reopened. For a recovery, when evidence came in.
    pub opened_at: Timestamp,
    /// When the policy acts or acted.
    pub due_at: Timestamp,
    /// When the policy acted. Null while the run waits.
    pub decided_at: Option<Timestamp>,
    /// Who holds the run, so that the policy does not act. Null if nobody does.
    pub held_by: Option<String>,
    /// Since when the run is held.
    pub held_at: Option<Timestamp>,
    /// The place among the runs of an episode. A detection is the first one.
    #[serde(skip)]
    pub(crate) place: i64,
}

#[derive(Clone, Insertable, Queryable)]
#[diesel(table_name = r)]
#[diesel(treat_none_as_default_value = false)]
struct AutomationRunRow {
    incident_id: IncidentId,
    policy_id: PolicyId,
    policy_name: String,
    action: String,
    state: String,
    outcome: Option<String>,
    reason: Option<String>,
    notice_id: Option<NoticeId>,
    opened_at: Timestamp,
    due_at: Timestamp,
    attempts: i64,
    decided_at: Option<Timestamp>,
    episode: i64,
    held_by: Option<String>,
    held_at: Option<Timestamp>,
}

impl AutomationRunRow {
    fn view(self) -> Result<Run> {
        Ok(Run {
            incident: self.incident_id,
            episode: self.episode,
            phase: PolicyPhase::Detection,
            policy: self.policy_id,
            policy_name: self.policy_name,
            action: PolicyAction::parse(&self.action).map_err(Error::internal)?,
            outcome: self
                .outcome
                .as_deref()
                .map(Outcome::parse)
                .transpose()
                .map_err(Error::internal)?,
            reason: self.reason,
            notice: self.notice_id,
            opened_at: self.opened_at,
            due_at: self.due_at,
            decided_at: self.decided_at,
            held_by: self.held_by,
            held_at: self.held_at,
            place: 0,
        })
    }
}

/// The state of a run that waits until its policy acts. On SQLite, the condition of its index must be a literal.
pub(super) const WAITING: &str = "automation_runs.state = 'waiting'";
/// The state of a run that somebody holds.
pub(super) const HELD: &str = "automation_runs.state = 'held'";

/// Returns the runs that have not acted and that will do something: those that somebody holds, and those that wait, the next one
/// first. A run about an incident that is over or that began again is left out, and so is a run that [`is_preempted`].
///
/// # Errors
/// An error of the database.
pub fn upcoming(conn: &mut Conn, limit: i64) -> Result<Vec<Run>> {
    let held: Vec<AutomationRunRow> = r::table
        .inner_join(i::table.on(i::id.eq(r::incident_id).and(i::episode.eq(r::episode))))
        .filter(sql::<Bool>(HELD))
        .filter(sql::<Bool>(incident::OPEN))
        .select(r::all_columns)
        .order((r::incident_id.desc(), r::episode.desc()))
        .limit(limit)
        .load(conn)?;
    let waiting: Vec<AutomationRunRow> = r::table
        .inner_join(i::table.on(i::id.eq(r::incident_id).and(i::episode.eq(r::episode))))
        .filter(sql::<Bool>(WAITING))
        .filter(sql::<Bool>(incident::OPEN))
        .select(r::all_columns)
        .order((r::due_at, r::incident_id))
        .limit(limit)
        .load(conn)?;
    let mut runs = Vec::new();
    for row in held.into_iter().chain(waiting) {
        let run = row.view()?;
        if !is_preempted(conn, &run)? {
            runs.push(run);
        }
    }
    Ok(runs)
}

/// Returns whether the policy does nothing any more, because the incident is over or began again.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn is_over(conn: &mut Conn, run: &Run) -> Result<bool> {
    let incident = incident::get(conn, &run.incident)?;
    Ok(!incident.status.is_open() || incident.episode != run.episode)
}

/// Returns whether a person acted before the policy, so that the policy does nothing.
///
/// # Errors
/// An error of the database.
pub fn is_preempted(conn: &mut Conn, run: &Run) -> Result<bool> {
    somebody_acted(conn, &run.incident, run.episode, run.opened_at)
}

/// Returns whether somebody wrote a notice in the episode that began at this time. A draft that was discarded counts too: whoever
/// discards it decides that nobody is notified.
fn somebody_acted(conn: &mut Conn, id: &IncidentId, episode: i64, opened_at: Timestamp) -> Result<bool> {
    let written: Option<NoticeId> = n::table
        .filter(n::incident_id.eq(id.as_str()))
        .filter(n::episode.eq(episode))
        .select(n::id)
        .first(conn)
        .optional()?;
    if written.is_some() {
        return Ok(true);
    }
    let discarded: Option<NoticeId> = dn::table
        .filter(dn::incident_id.eq(id.as_str()))
        .filter(dn::at.ge(opened_at))
        .select(dn::notice_id)
        .first(conn)
        .optional()?;
    Ok(discarded.is_some())
}

/// Returns the newest run about a detection of an incident, or None if no policy applied to it.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn of_incident(conn: &mut Conn, id: &IncidentId) -> Result<Option<Run>> {
    incident::get(conn, id)?;
    let row: Option<AutomationRunRow> = r::table
        .filter(r::incident_id.eq(id.as_str()))
        .order(r::episode.desc())
        .first(conn)
        .optional()?;
    row.map(AutomationRunRow::view).transpose()
}

/// Returns the runs about detections before the given incident and episode, with the newest incident first.
pub(super) fn list(conn: &mut Conn, before: Option<(&str, i64)>, limit: i64) -> Result<Vec<Run>> {
    let mut query = r::table.into_boxed::<crate::db::Backend>();
    if let Some((incident, episode)) = before {
        let earlier_episode = r::incident_id.eq(incident).and(r::episode.lt(episode));
        query = query.filter(r::incident_id.lt(incident).or(earlier_episode));
    }
    // IDs of incidents sort by time.
    let rows: Vec<AutomationRunRow> = query
        .order((r::incident_id.desc(), r::episode.desc()))
        .limit(limit)
        .load(conn)?;
    rows.into_iter().map(AutomationRunRow::view).collect()
}

/// The actor who opened or reopened an incident.
#[derive(Clone, Debug)]
pub(super) struct Opener {
    pub kind: String,
    pub id: String,
}

/// Returns why a policy does not apply to an incident, or None if it applies.
pub(super) fn mismatch(policy: &Policy, incident: &Incident, opener: &Opener) -> Option<&'static str> {
    if opener.kind == "token" && policy.says.phase == PolicyPhase::Detection {
        return Some("a person opened or reopened the incident, and this person decides what is sent");
    }
    let says = &policy.says;
    if let Some(integrations) = &says.integrations
        && !(opener.kind == "integration" && integrations.iter().any(|id| id.as_str() == opener.id))
    {
        return Some("the incident was not opened or reopened by one of its integrations");
    }
    if let Some(severities) = &says.severities
        && !severities.contains(&incident.severity)
    {
        return Some("the incident has another severity");
    }
    None
}

/// Returns who opened an incident or last reopened it, from the audit trail.
pub(super) fn opener(conn: &mut Conn, id: &IncidentId) -> Result<Opener> {
    use crate::db::schema::audit_events as e;
    let (kind, id): (String, String) = e::table
        .filter(e::subject_id.eq(id.as_str()))
        .filter(e::action.eq_any(BEGINS.map(Action::as_str)))
        .order(e::seq.desc())
        .select((e::actor_kind, e::actor_id))
        .first(conn)?;
    Ok(Opener { kind, id })
}

/// The next work of the policies.
enum NextWork {
    /// A waiting run that is due.
    Due(AutomationRunRow),
    /// An incident that was opened or reopened.
    Opened(Followed),
}

/// Returns whether there may be work. It takes no lock.
pub(super) fn has_work(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    Ok(due(conn, now)?.is_some() || follow::any(conn, SUBSCRIBER, &BEGINS)?)
}

/// Moves the cursor over events that start no policy, if there are many of them.
pub(super) async fn skip(db: &Db, actor: &Actor) -> Result<()> {
    follow::skip(db, actor, SUBSCRIBER, &BEGINS).await
}

fn due(conn: &mut Conn, now: Timestamp) -> Result<Option<AutomationRunRow>> {
    Ok(r::table
        .filter(sql::<Bool>(WAITING))
        .filter(r::due_at.le(now))
        .order((r::due_at, r::incident_id))
        .limit(1)
        .fixed()
        .get_result(conn)
        .optional()?)
}

fn next(tx: &mut Tx<'_>) -> Result<Option<NextWork>> {
    let at = follow::hold(tx.conn, SUBSCRIBER)?;
    // New incidents come first, so that they do not wait for postponed ones.
    if let Some(opened) = follow::behind(tx.conn, at, &BEGINS, 1)?.pop() {
        return Ok(Some(NextWork::Opened(opened)));
    }
    Ok(due(tx.conn, tx.now)?.map(NextWork::Due))
}

/// The result of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There was nothing to do.
    Idle,
    /// One piece of work was done, and no notice was queued.
    Done,
    /// A notice was queued, and these earlier resolutions were stopped because of it.
    Queued(Vec<NoticeId>),
}

/// Does the next work completely.
///
/// # Errors
/// The error of the work. Nothing is stored then.
pub(super) fn step(tx: &mut Tx<'_>, sending: &Sending) -> Result<Step> {
    let row = match next(tx)? {
        None => return Ok(Step::Idle),
        Some(NextWork::Due(row)) => row,
        Some(NextWork::Opened(opened)) => {
            follow::advance(tx.conn, SUBSCRIBER, opened.seq)?;
            let Some((row, policy)) = chosen(tx, &opened)? else {
                return Ok(Step::Done);
            };
            diesel::insert_into(r::table).values(&row).execute(tx.conn)?;
            if row.due_at > tx.now {
                let text = format!(
                    "Policy “{}” acts automatically at {}",
                    policy.says.name, row.due_at
                );
                timeline::note(tx, &row.incident_id, timeline::Kind::Note, tx.now, &text)?;
                tx.record(
                    Event::new(Action::AutomationWaits, "policy", row.policy_id.as_str())
                        .incident(&row.incident_id)
                        .after(
                            json!({"policy": row.policy_name, "action": row.action, "due_at": row.due_at}),
                        ),
                );
                return Ok(Step::Done);
            }
            row
        }
    };
    act(tx, &row, sending)
}

/// Returns the run of an incident, if a policy applies to it and it has no run yet.
fn chosen(tx: &mut Tx<'_>, opened: &Followed) -> Result<Option<(AutomationRunRow, Policy)>> {
    let Some(id) = &opened.incident else {
        return Ok(None);
    };
    // The event of an opening has no episode number. It begins the first episode.
    let said = opened.after.as_ref().and_then(|after| after["episode"].as_i64());
    let episode = said.unwrap_or(1);
    let had: i64 = r::table
        .find((id.as_str(), episode))
        .count()
        .get_result(tx.conn)?;
    let policies = policy::tried(tx.conn, PolicyPhase::Detection)?;
    if had > 0 || policies.is_empty() {
        return Ok(None);
    }
    let incident = incident::get(tx.conn, id)?;
    let opener = Opener {
        kind: opened.actor_kind.clone(),
        id: opened.actor_id.clone(),
    };
    let first = policies
        .into_iter()
        .find(|policy| mismatch(policy, &incident, &opener).is_none());
    Ok(first.map(|policy| {
        // The times on the audit trail never go back. After the clock was set back, the event can be in the
        // future.
        let opened_at = opened.at.min(tx.now);
        let row = AutomationRunRow {
            incident_id: id.clone(),
            policy_id: policy.id.clone(),
            policy_name: policy.says.name.clone(),
            action: policy.says.action.as_str().to_owned(),
            state: "waiting".to_owned(),
            outcome: None,
            reason: None,
            notice_id: None,
            opened_at,
            due_at: opened_at.plus(Duration::from_secs(u64::from(policy.says.wait_seconds))),
            attempts: 0,
            decided_at: None,
            episode,
            held_by: None,
            held_at: None,
        };
        (row, policy)
    }))
}

/// The decision about an incident.
struct Decision {
    outcome: Outcome,
    reason: Option<String>,
    notice: Option<NoticeId>,
    /// The text for the timeline, or None if nothing needs to be written.
    text: Option<String>,
}

impl Decision {
    fn nothing(reason: &str, said: bool) -> Decision {
        Decision {
            outcome: Outcome::Nothing,
            reason: Some(reason.to_owned()),
            notice: None,
            text: said.then(|| format!("nothing is sent automatically: {reason}")),
        }
    }
}

fn act(tx: &mut Tx<'_>, row: &AutomationRunRow, sending: &Sending) -> Result<Step> {
    dialect::lock(tx.conn, Lock::Incident, row.incident_id.as_str())?;
    // Somebody may have held the run since it was read, because that takes only the lock of the incident.
    let state: String = r::table
        .find((row.incident_id.as_str(), row.episode))
        .select(r::state)
        .first(tx.conn)?;
    if state != "waiting" {
        return Ok(Step::Done);
    }
    let decision = decide(tx, row, sending)?;
    conclude(tx, row, &decision)?;
    Ok(match decision.outcome {
        Outcome::Sent => Step::Queued(match &decision.notice {
            Some(notice) => notice::stopped_before(tx.conn, notice)?,
            None => Vec::new(),
        }),
        _ => Step::Done,
    })
}

fn decide(tx: &mut Tx<'_>, row: &AutomationRunRow, sending: &Sending) -> Result<Decision> {
    let id = &row.incident_id;
    let policy = match policy::get(tx.conn, &row.policy_id) {
        Ok(policy) if policy.says.enabled => policy,
        Ok(_) | Err(Error::NotFound(_)) => {
            return Ok(Decision::nothing(
                "the policy was deleted or disabled before it acted",
                true,
            ));
        }
        Err(error) => return Err(error),
    };
    let says = &policy.says;
    if says.action == PolicyAction::Nothing {
        return Ok(Decision::nothing("the policy does nothing", false));
    }
    let subject = incident::get(tx.conn, id)?;
    if subject.episode > row.episode {
        return Ok(Decision::nothing(
            "the incident was resolved and reopened before the policy acted",
            true,
        ));
    }
    match subject.status {
        Status::Investigating | Status::Identified | Status::Monitoring => {}
        Status::Resolved => {
            return Ok(Decision::nothing("the incident is already resolved", true));
        }
        Status::Merged => {
            let why = "the incident was merged into another one before the policy acted";
            return Ok(Decision::nothing(why, true));
        }
    }
    if somebody_acted(tx.conn, id, row.episode, row.opened_at)? {
        return Ok(Decision::nothing("a person has already written a notice", true));
    }
    let words = says
        .notice()
        .ok_or_else(|| Error::internal("a policy that drafts a notice has no message"))?;
    // A role can have lost its last person since the policy was written. Nothing is stored yet.
    if let Err(error) = notice::check_new(tx.conn, &words) {
        return match error {
            Error::Invalid { detail, .. } => Ok(failed(&format!("its notice is no longer valid: {detail}"))),
            error => Err(error),
        };
    }
    let (limits, now, late) = (
        says.limits.clone(),
        tx.now,
        tx.now.seconds_since(row.due_at) > LATEST.as_secs() as i64,
    );
    let sends = says.action == PolicyAction::Send;
    let authors = policy::authors(tx.conn, &row.policy_id)?;
    let written = unattended::write(tx, id, &words, &authors, sending, |conn, plan| match limits {
        _ if !sends => Ok(Some("the policy only creates drafts".to_owned())),
        _ if late => Ok(Some(
            "it was due more than 15 minutes ago, so a person must decide".to_owned(),
        )),
        Some(limits) => limits.judge(conn, id, plan, sending, now),
        None => Err(Error::internal("a policy that sends without limits")),
    })?;
    let mut doubts = written.plan.warnings.join("; ");
    if !doubts.is_empty() {
        doubts.insert_str(0, "; ");
    }
    let text = match &written.held {
        None => {
            limits::remember(tx, id, row.episode, &written.plan)?;
            let people = counted(written.plan.recipients.len(), "person", "people");
            format!("a detection notice to {people} is being sent automatically{doubts}")
        }
        Some(_) if !sends => format!("a detection notice was drafted{doubts}"),
        Some(reason) => format!("a detection notice was drafted and not sent: {reason}{doubts}"),
    };
    Ok(Decision {
        outcome: match written.held {
            None => Outcome::Sent,
            Some(_) => Outcome::Drafted,
        },
        reason: written.held.filter(|_| sends),
        notice: Some(written.id),
        text: Some(text),
    })
}

fn failed(reason: &str) -> Decision {
    Decision {
        outcome: Outcome::Failed,
        reason: Some(reason.to_owned()),
        notice: None,
        text: Some(format!("nothing is sent automatically: {reason}")),
    }
}

fn conclude(tx: &mut Tx<'_>, row: &AutomationRunRow, decision: &Decision) -> Result<()> {
    let id = &row.incident_id;
    diesel::update(r::table.find((id.as_str(), row.episode)))
        .set((
            r::state.eq("done"),
            r::outcome.eq(Some(decision.outcome.as_str())),
            r::reason.eq(&decision.reason),
            r::notice_id.eq(&decision.notice),
            r::decided_at.eq(Some(tx.now)),
        ))
        .execute(tx.conn)?;
    if let Some(text) = &decision.text {
        let text = format!("Policy “{}”: {text}", row.policy_name);
        timeline::note(tx, id, timeline::Kind::Note, tx.now, &text)?;
    }
    tx.record(
        Event::new(Action::AutomationDecided, "policy", row.policy_id.as_str())
            .incident(id)
            .after(json!({
                "policy": row.policy_name, "action": row.action, "outcome": decision.outcome,
                "reason": decision.reason, "notice": decision.notice, "episode": row.episode,
            })),
    );
    Ok(())
}

/// Postpones the incident that [`step`] failed at, so that the others are not delayed. It is tried again
/// later. After the last attempt it is given up, and the timeline says so.
pub(super) fn set_aside(tx: &mut Tx<'_>) -> Result<()> {
    let row = match next(tx)? {
        None => return Ok(()),
        Some(NextWork::Opened(opened)) => {
            follow::advance(tx.conn, SUBSCRIBER, opened.seq)?;
            let Some((row, _)) = chosen(tx, &opened)? else {
                return Ok(());
            };
            diesel::insert_into(r::table).values(&row).execute(tx.conn)?;
            row
        }
        Some(NextWork::Due(row)) => row,
    };
    let attempts = row.attempts + 1;
    if attempts >= ATTEMPTS {
        return conclude(
            tx,
            &row,
            &failed("it failed repeatedly; the log contains the reason"),
        );
    }
    let wait = AGAIN * 2_u32.pow(attempts.unsigned_abs() as u32);
    diesel::update(r::table.find((row.incident_id.as_str(), row.episode)))
        .set((
            r::attempts.eq(attempts),
            r::due_at.eq(row.due_at.max(tx.now.plus(wait))),
        ))
        .execute(tx.conn)?;
    Ok(())
}
