//! Holds what a policy will do about one incident, a detection or a recovery, and releases it. While a run is held, the policy does nothing.

use diesel::prelude::*;
use serde_json::json;

use super::policy::PolicyPhase;
use super::recovery_run;
use super::run::{self, Run};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::db::dialect::{self, Lock};
use crate::db::schema::{automation_recoveries as w, automation_runs as r};
use crate::incident::timeline;

/// Returns the run of an incident that has not acted: about the detection, or else about a recovery. The incident is locked, so the policy
/// does not act until the transaction ends.
fn open(tx: &mut Tx<'_>, id: &IncidentId) -> Result<Run> {
    dialect::lock(tx.conn, Lock::Incident, id.as_str())?;
    let detection = run::of_incident(tx.conn, id)?;
    let waits = detection.as_ref().filter(|run| run.decided_at.is_none());
    let acts = match waits {
        Some(run) => !run::is_over(tx.conn, run)? && !run::is_preempted(tx.conn, run)?,
        None => false,
    };
    if !acts && let Some(run) = recovery_run::waiting(tx.conn, id)? {
        return Ok(run);
    }
    match detection {
        Some(run) if run.decided_at.is_none() => {
            // A run that is held can always be released.
            match run.held_by.is_some() || !run::is_over(tx.conn, &run)? {
                true => Ok(run),
                false => Err(Error::Conflict(format!(
                    "policy “{}” does nothing any more, because the incident was resolved",
                    run.policy_name
                ))),
            }
        }
        Some(run) => Err(Error::Conflict(format!(
            "policy “{}” has already acted about this incident",
            run.policy_name
        ))),
        None => Err(Error::Conflict(
            "no policy waits to act about this incident".to_owned(),
        )),
    }
}

/// Stores the time, the state and the holder of a run.
fn put(tx: &mut Tx<'_>, run: &Run) -> Result<()> {
    let id = run.incident.as_str();
    match run.phase {
        PolicyPhase::Detection => diesel::update(r::table.find((id, run.episode)))
            .set((
                r::state.eq(if run.held_by.is_some() { "held" } else { "waiting" }),
                r::due_at.eq(run.due_at),
                r::held_by.eq(&run.held_by),
                r::held_at.eq(run.held_at),
            ))
            .execute(tx.conn)?,
        PolicyPhase::Recovery => diesel::update(w::table.find(id))
            .set((
                w::due_at.eq(Some(run.due_at)),
                w::held_by.eq(&run.held_by),
                w::held_at.eq(run.held_at),
            ))
            .execute(tx.conn)?,
    };
    Ok(())
}

fn store(tx: &mut Tx<'_>, run: &Run, action: Action, text: &str) -> Result<()> {
    timeline::note(tx, &run.incident, timeline::Kind::Note, tx.now, text)?;
    tx.record(
        Event::new(action, "policy", run.policy.as_str())
            .incident(&run.incident)
            .after(json!({
                "policy": run.policy_name, "phase": run.phase, "action": run.action, "episode": run.episode, "due_at": run.due_at,
                "held_by": run.held_by,
            })),
    );
    Ok(())
}

/// Holds the policy that waits to act about an incident.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Conflict` if no policy waits, if it is held already, or if it would do nothing because
/// the incident is over or began again.
pub fn hold(tx: &mut Tx<'_>, id: &IncidentId) -> Result<Run> {
    let mut run = open(tx, id)?;
    if let Some(by) = &run.held_by {
        return Err(Error::Conflict(format!(
            "policy “{}” is already held, by {by}",
            run.policy_name
        )));
    }
    run.held_by = Some(tx.actor.name().to_owned());
    run.held_at = Some(tx.now);
    put(tx, &run)?;
    let text = format!(
        "Policy “{}” is held: it does nothing until somebody releases it",
        run.policy_name
    );
    store(tx, &run, Action::AutomationHeld, &text)?;
    Ok(run)
}

/// Releases the policy that is held. If its time has passed, it acts now, within its limits.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Conflict` if no policy is held.
pub fn release(tx: &mut Tx<'_>, id: &IncidentId) -> Result<Run> {
    let mut run = open(tx, id)?;
    if run.held_by.is_none() {
        return Err(Error::Conflict(format!(
            "policy “{}” is not held",
            run.policy_name
        )));
    }
    (run.held_by, run.held_at) = (None, None);
    // The person who releases it decides that it acts now. It must not count as late.
    run.due_at = run.due_at.max(tx.now);
    put(tx, &run)?;
    let text = format!(
        "Policy “{}” is released: it acts automatically at {}",
        run.policy_name, run.due_at
    );
    store(tx, &run, Action::AutomationReleased, &text)?;
    Ok(run)
}
