//! Computes what a policy would do about an incident. Nothing is done and nothing is stored.

use serde::Serialize;

use super::ACTOR;
use super::policy::{self, PolicyAction, PolicyPhase};
use super::run::{Outcome, mismatch, opener};
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, PolicyId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::incident;
use crate::notice::{Sending, unattended};

/// What a policy would do if the incident were opened now.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = PolicyTrial)]
pub struct Trial {
    /// Whether the policy applies to this incident.
    pub fits: bool,
    /// Why the policy does not apply.
    pub mismatch: Option<String>,
    /// The outcome. It is `nothing` if the policy does not apply to the incident.
    pub outcome: Outcome,
    /// Why the policy would not do more.
    pub reason: Option<String>,
    /// The number of people who would be notified.
    pub recipients: usize,
    /// The warnings that a person would see.
    pub warnings: Vec<String>,
}

/// Computes what a policy would do. Whether an earlier policy would come first is not checked.
///
/// # Errors
/// `NotFound` if the policy or the incident does not exist. `Invalid` if its notice can no longer be written.
pub fn attempt(
    conn: &mut Conn,
    id: &PolicyId,
    incident: &IncidentId,
    sending: &Sending,
    now: Timestamp,
) -> Result<Trial> {
    let policy = policy::get(conn, id)?;
    let subject = incident::get(conn, incident)?;
    let opener = opener(conn, incident)?;
    let mismatch = mismatch(&policy, &subject, &opener).map(str::to_owned);
    let fits = mismatch.is_none();
    let nothing = |reason: &str| Trial {
        fits,
        mismatch: mismatch.clone(),
        outcome: Outcome::Nothing,
        reason: Some(reason.to_owned()),
        recipients: 0,
        warnings: Vec::new(),
    };
    if let Some(reason) = &mismatch {
        return Ok(nothing(reason));
    }
    if policy.says.action == PolicyAction::Nothing {
        return Ok(nothing("the policy does nothing"));
    }
    if !policy.says.enabled {
        return Ok(nothing("the policy is not enabled"));
    }
    if policy.says.phase == PolicyPhase::Recovery && !crate::incident::recovery::in_use(conn, incident)? {
        return Ok(nothing("the incident has no recovery states"));
    }
    let words = policy
        .says
        .notice()
        .ok_or_else(|| Error::internal("a policy that drafts a notice has no message"))?;
    let plan = unattended::planned(conn, ACTOR, incident, &words, sending, now)?;
    if policy.says.phase == PolicyPhase::Recovery && plan.recipients.is_empty() && plan.endpoints.is_empty() {
        return Ok(nothing(
            "nobody whose affected resources are all restored is left to notify",
        ));
    }
    let reason = match (&policy.says.limits, policy.says.action) {
        (Some(limits), PolicyAction::Send) => limits.judge(conn, incident, &plan, sending, now)?,
        _ => Some("the policy only creates drafts".to_owned()),
    };
    Ok(Trial {
        fits,
        mismatch,
        outcome: match reason {
            None => Outcome::Sent,
            Some(_) => Outcome::Drafted,
        },
        reason,
        recipients: plan.recipients.len(),
        warnings: plan.warnings,
    })
}
