//! Policies about recoveries: a notice to those whose affected resources are all restored, as evidence comes in.
//!
//! Evidence makes an incident due, after the wait of the policy and not sooner than its interval after the last notice. When it is due,
//! the same plan is made, judged and frozen as when a person sends a recovery. So each person hears it once, whoever sends it. A draft
//! of a recovery that waits for a person is not overtaken, and a policy is never the first to write about an incident.

use std::time::Duration;

use diesel::prelude::*;
use serde_json::json;

use super::ACTOR;
use super::policy::{self, Policy, PolicyAction, PolicyPhase};
use super::recovery_run::{self, DueRow, due};
use super::run::{Outcome, Step, mismatch, opener};
use crate::audit::follow::{self, Followed};
use crate::audit::{Action, Actor, Event, Tx};
use crate::base::count::counted;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::dialect::{self, Lock, on_backend};
use crate::db::schema::automation_recoveries as r;
use crate::db::{Conn, Db};
use crate::incident::{self, timeline};
use crate::notice::{self, Sending, unattended};

/// The name of the subscriber to the audit trail.
const SUBSCRIBER: &str = "automation.recovery";
/// The audit events after which more can be restored.
const EVIDENCE: [Action; 2] = [Action::RecoveryObserved, Action::AttestationConfirmed];
/// The number of attempts for an incident that fails.
const ATTEMPTS: i64 = 5;
/// The wait after a failure. It doubles with each further failure.
const AGAIN: Duration = Duration::from_secs(2);

/// The next work of the policies.
enum NextWork {
    Evidence(Followed),
    Due(DueRow),
}

/// Returns whether there may be work. It takes no lock.
pub(super) fn has_work(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    Ok(due(conn, now)?.is_some() || follow::any(conn, SUBSCRIBER, &EVIDENCE)?)
}

/// Moves the cursor over events that start no policy, if there are many of them.
pub(super) async fn skip(db: &Db, actor: &Actor) -> Result<()> {
    follow::skip(db, actor, SUBSCRIBER, &EVIDENCE).await
}

fn next(tx: &mut Tx<'_>) -> Result<Option<NextWork>> {
    let at = follow::hold(tx.conn, SUBSCRIBER)?;
    if let Some(evidence) = follow::behind(tx.conn, at, &EVIDENCE, 1)?.pop() {
        return Ok(Some(NextWork::Evidence(evidence)));
    }
    Ok(due(tx.conn, tx.now)?.map(NextWork::Due))
}

/// Does the next work completely.
///
/// # Errors
/// The error of the work. Nothing is stored then.
pub(super) fn step(tx: &mut Tx<'_>, sending: &Sending) -> Result<Step> {
    match next(tx)? {
        None => Ok(Step::Idle),
        Some(NextWork::Evidence(evidence)) => {
            follow::advance(tx.conn, SUBSCRIBER, evidence.seq)?;
            if let Some(incident) = &evidence.incident {
                expect(tx, incident)?;
            }
            Ok(Step::Done)
        }
        Some(NextWork::Due(row)) => act(tx, &row.incident_id, sending),
    }
}

/// Returns the first policy about recoveries that applies to an incident.
fn policy_for(conn: &mut Conn, id: &IncidentId) -> Result<Option<Policy>> {
    let policies = policy::tried(conn, PolicyPhase::Recovery)?;
    if policies.is_empty() {
        return Ok(None);
    }
    let (incident, opener) = (incident::get(conn, id)?, opener(conn, id)?);
    Ok(policies
        .into_iter()
        .find(|policy| mismatch(policy, &incident, &opener).is_none()))
}

/// Makes an incident due, because there is new evidence about it. If it is due already, its time does not change.
fn expect(tx: &mut Tx<'_>, id: &IncidentId) -> Result<()> {
    let Some(policy) = policy_for(tx.conn, id)? else {
        return Ok(());
    };
    if policy.says.action == PolicyAction::Nothing {
        return Ok(());
    }
    let before = recovery_run::row(tx.conn, id)?;
    let last_at = before.as_ref().and_then(|row| row.last_at);
    let waited = tx.now.plus(seconds(policy.says.wait_seconds));
    let every = seconds(policy.says.every_minutes.unwrap_or_default().saturating_mul(60));
    let waits = before.filter(|row| row.due_at.is_some());
    let expected_at = waits.as_ref().and_then(|row| row.expected_at).unwrap_or(tx.now);
    let due_at = waits
        .and_then(|row| row.due_at)
        .unwrap_or_else(|| last_at.map_or(waited, |last| waited.max(last.plus(every))));
    let row = DueRow {
        incident_id: id.clone(),
        policy_id: policy.id,
        policy_name: policy.says.name,
        due_at: Some(due_at),
        last_at,
        attempts: 0,
        action: policy.says.action.as_str().to_owned(),
        expected_at: Some(expected_at),
        held_by: None,
        held_at: None,
    };
    on_backend!(&mut *tx.conn, c => diesel::insert_into(r::table)
        .values(&row)
        .on_conflict(r::incident_id)
        .do_update()
        .set((
            r::policy_id.eq(&row.policy_id),
            r::policy_name.eq(&row.policy_name),
            r::due_at.eq(row.due_at),
            r::action.eq(&row.action),
            r::expected_at.eq(row.expected_at),
        ))
        .execute(c))?;
    Ok(())
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

/// What a policy did about an incident that was due.
enum Decision {
    /// There is nothing to tell, or somebody else tells it.
    Quiet,
    /// Nothing was written, and the timeline says why.
    Failed(String),
    /// A notice was written. It was queued unless there is a reason.
    Written {
        notice: NoticeId,
        people: usize,
        held: Option<String>,
        doubts: Vec<String>,
    },
}

fn act(tx: &mut Tx<'_>, id: &IncidentId, sending: &Sending) -> Result<Step> {
    dialect::lock(tx.conn, Lock::Incident, id.as_str())?;
    // Somebody may have held it since it was found, because that takes only the lock of the incident.
    let now = tx.now;
    let row = recovery_run::row(tx.conn, id)?
        .filter(|row| row.held_by.is_none() && row.due_at.is_some_and(|at| at <= now));
    let Some(row) = &row else {
        return Ok(Step::Done);
    };
    let decision = decide(tx, row, sending)?;
    let last_at = match &decision {
        Decision::Written { .. } => Some(tx.now),
        Decision::Quiet | Decision::Failed(_) => row.last_at,
    };
    diesel::update(r::table.find(id.as_str()))
        .set((
            r::due_at.eq(None::<Timestamp>),
            r::expected_at.eq(None::<Timestamp>),
            r::last_at.eq(last_at),
            r::attempts.eq(0),
        ))
        .execute(tx.conn)?;
    let (outcome, reason, notice, text) = match decision {
        Decision::Quiet => return Ok(Step::Done),
        Decision::Failed(reason) => {
            let text = format!("nothing is sent automatically: {reason}");
            (Outcome::Failed, Some(reason), None, text)
        }
        Decision::Written {
            notice,
            people,
            held,
            doubts,
        } => {
            let people = counted(people, "person", "people");
            let doubts: String = doubts.iter().map(|doubt| format!("; {doubt}")).collect();
            let (outcome, text) = match &held {
                None => (
                    Outcome::Sent,
                    format!("a recovery notice to {people} is being sent automatically{doubts}"),
                ),
                Some(reason) => (
                    Outcome::Drafted,
                    format!("a recovery notice to {people} was drafted and not sent: {reason}{doubts}"),
                ),
            };
            (outcome, held, Some(notice), text)
        }
    };
    let text = format!("Policy “{}”: {text}", row.policy_name);
    timeline::note(tx, id, timeline::Kind::Note, tx.now, &text)?;
    recovery_run::remember(tx, row, outcome, reason.as_deref(), notice.as_ref())?;
    tx.record(
        Event::new(Action::AutomationDecided, "policy", row.policy_id.as_str())
            .incident(id)
            .after(json!({
                "policy": row.policy_name, "phase": PolicyPhase::Recovery, "outcome": outcome, "reason": reason,
                "notice": notice,
            })),
    );
    Ok(match outcome {
        Outcome::Sent => Step::Queued(Vec::new()),
        _ => Step::Done,
    })
}

fn decide(tx: &mut Tx<'_>, row: &DueRow, sending: &Sending) -> Result<Decision> {
    let id = &row.incident_id;
    let policy = match policy::get(tx.conn, &row.policy_id) {
        Ok(policy) if policy.says.enabled && policy.says.phase == PolicyPhase::Recovery => policy,
        Ok(_) | Err(Error::NotFound(_)) => return Ok(Decision::Quiet),
        Err(error) => return Err(error),
    };
    let says = &policy.says;
    if says.action == PolicyAction::Nothing || recovery_run::is_preempted(tx.conn, id)? {
        return Ok(Decision::Quiet);
    }
    let words = says
        .notice()
        .ok_or_else(|| Error::internal("a policy that drafts a notice has no message"))?;
    // A role can have lost its last person since the policy was written. Nothing is stored yet.
    if let Err(error) = notice::check_new(tx.conn, &words) {
        return match error {
            Error::Invalid { detail, .. } => Ok(Decision::Failed(format!(
                "its notice is no longer valid: {detail}"
            ))),
            error => Err(error),
        };
    }
    if !crate::incident::recovery::in_use(tx.conn, id)? {
        return Ok(Decision::Quiet);
    }
    let planned = unattended::planned(tx.conn, ACTOR, id, &words, sending, tx.now)?;
    if planned.recipients.is_empty() && planned.endpoints.is_empty() {
        return Ok(Decision::Quiet);
    }
    drop(planned);
    let (limits, now, sends) = (says.limits.clone(), tx.now, says.action == PolicyAction::Send);
    let authors = policy::authors(tx.conn, &row.policy_id)?;
    let written = unattended::write(tx, id, &words, &authors, sending, |conn, plan| match limits {
        _ if !sends => Ok(Some("the policy only creates drafts".to_owned())),
        Some(limits) => limits.judge(conn, id, plan, sending, now),
        None => Err(Error::internal("a policy that sends without limits")),
    })?;
    Ok(Decision::Written {
        notice: written.id,
        people: written.plan.recipients.len(),
        held: written.held,
        doubts: written.plan.warnings,
    })
}

/// Postpones the incident that [`step`] failed at, so that the others are not delayed. After the last attempt it waits for further
/// evidence, and the timeline says so.
pub(super) fn set_aside(tx: &mut Tx<'_>) -> Result<()> {
    let row = match next(tx)? {
        None => return Ok(()),
        Some(NextWork::Evidence(evidence)) => return follow::advance(tx.conn, SUBSCRIBER, evidence.seq),
        Some(NextWork::Due(row)) => row,
    };
    let attempts = row.attempts + 1;
    let due_at = match attempts >= ATTEMPTS {
        true => None,
        false => {
            let wait = AGAIN * 2_u32.pow(attempts.unsigned_abs() as u32);
            row.due_at.map(|due| due.max(tx.now.plus(wait)))
        }
    };
    diesel::update(r::table.find(row.incident_id.as_str()))
        .set((
            r::expected_at.eq(row.expected_at.filter(|_| due_at.is_some())),
            r::attempts.eq(if due_at.is_some() { attempts } else { 0 }),
            r::due_at.eq(due_at),
        ))
        .execute(tx.conn)?;
    if due_at.is_none() {
        let text = format!(
            "Policy “{}”: nothing is sent automatically: it failed repeatedly; the log contains the reason",
            row.policy_name
        );
        timeline::note(tx, &row.incident_id, timeline::Kind::Note, tx.now, &text)?;
    }
    Ok(())
}
