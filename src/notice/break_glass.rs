//! Break glass: an admin sends without the approvals that a notice needs, because nobody else can be reached in time. It stands
//! for all approvals of one notice and one digest until it expires, and it may be used by an author.
//!
//! It is never silent: it is in the audit trail, on the timeline of the incident and on its pages, and operators are notified. It
//! can be rehearsed, so that people know it before they need it.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::approval::{current, note_consent};
use super::approvals::{self, ApprovalKind, Given};
use super::corrections;
use super::digest::Digest;
use super::draft::check_phase;
use super::limits;
use super::row::locked;
use super::send::require_sendable;
use super::sending::Sending;
use super::state::require_draft;
use super::view::{Notice, get};
use crate::audit::{Action, Event, Tx};
use crate::base::check::check_text;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::audit_events as e;
use crate::incident::timeline;

/// The shortest reason, in characters.
const SHORTEST: usize = 10;

/// What an admin says to send a notice without its approvals.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakGlass {
    /// The digest that the preview returned.
    pub digest: String,
    /// Why the notice cannot wait for an approval: at least 10 characters.
    pub reason: String,
}

/// What an admin says about a rehearsal.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    /// Why it is rehearsed, and with whom: at least 10 characters.
    pub reason: String,
}

/// A use or a rehearsal of break glass.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct GlassBroken {
    /// When break glass was used or rehearsed.
    pub at: Timestamp,
    /// The name of the token.
    pub by: String,
    /// Why it was used or rehearsed.
    pub reason: String,
    /// The notice. Null for a rehearsal.
    pub notice: Option<NoticeId>,
    /// The incident of the notice. Null for a rehearsal.
    pub incident: Option<IncidentId>,
}

/// When break glass was last used and last rehearsed.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct BreakGlassState {
    /// The last use. Null if it was never used.
    pub last_used: Option<GlassBroken>,
    /// The last rehearsal. Null if it was never rehearsed.
    pub last_rehearsed: Option<GlassBroken>,
}

fn checked(reason: &str) -> Result<String> {
    let reason = reason.trim();
    let mut errors = Vec::new();
    if reason.chars().count() < SHORTEST {
        let detail = format!("must have at least {SHORTEST} characters, and say why the notice cannot wait");
        errors.push(FieldError::at("/reason", detail));
    }
    check_text(&mut errors, "/reason", reason);
    if errors.is_empty() {
        Ok(reason.to_owned())
    } else {
        Err(Error::fields(errors))
    }
}

/// Stands for all approvals of this digest of a draft, until it expires like an approval.
///
/// # Errors
/// `NotFound` if the notice does not exist. `Invalid` if the reason is too short, or if something else than an approval keeps the
/// notice from being sent. `Conflict` if the notice is not a draft, if the digest is not the current one, or if the notice cannot be
/// sent now.
pub fn break_glass(tx: &mut Tx<'_>, id: &NoticeId, said: &BreakGlass, sending: &Sending) -> Result<Notice> {
    let reason = checked(&said.reason)?;
    let row = locked(tx, id)?;
    require_draft(&row)?;
    let digest = Digest {
        digest: said.digest.clone(),
    };
    let plan = current(tx.conn, &row, &digest, sending)?;
    // Otherwise break glass would be used up, and still nothing could be sent.
    check_phase(tx.conn, &row.incident_id, row.phase()?)?;
    corrections::check_sendable(tx.conn, &row)?;
    if plan.recipients.is_empty() && plan.endpoints.is_empty() {
        return Err(Error::invalid("", "the notice has no recipients"));
    }
    require_sendable(&row, &plan, tx.now)?;
    let limits = limits::read(tx.conn, sending)?;
    let expires_at = tx.now.plus(limits.approval_valid_for()?);
    let given = Given {
        kind: ApprovalKind::BreakGlass,
        digest: &plan.digest,
        reason: Some(&reason),
        expires_at,
    };
    approvals::give(tx, id, &given)?;
    note_consent(tx, &row, &plan, &limits)?;
    let text = format!(
        "Break glass: {} allowed the {} notice to be sent without approval until {}. Reason: {reason}",
        tx.actor.name(),
        row.phase,
        expires_at.for_people(None)
    );
    timeline::note(tx, &row.incident_id, timeline::Kind::Note, tx.now, &text)?;
    tx.record(
        Event::new(Action::BreakGlassUsed, "notice", id.as_str())
            .incident(&row.incident_id)
            .after(json!({
                "digest": plan.digest, "recipients": plan.recipients.len(), "endpoints": plan.endpoints.len(), "phase": row.phase,
                "reason": reason, "expires_at": expires_at, "by": tx.actor.name(),
            })),
    );
    get(tx.conn, id)
}

/// Records that break glass was rehearsed. Nothing else happens.
///
/// # Errors
/// `Invalid` if the reason is too short.
pub fn rehearse(tx: &mut Tx<'_>, said: &Rehearsal) -> Result<GlassBroken> {
    let reason = checked(&said.reason)?;
    tx.record(
        Event::new(Action::BreakGlassRehearsed, "break_glass", "rehearsal").after(json!({"reason": reason})),
    );
    Ok(GlassBroken {
        at: tx.now,
        by: tx.actor.name().to_owned(),
        reason,
        notice: None,
        incident: None,
    })
}

type EventRow = (Timestamp, String, String, Option<String>, Option<String>);

fn last(conn: &mut Conn, action: Action) -> Result<Option<GlassBroken>> {
    let found: Option<EventRow> = e::table
        .filter(e::action.eq(action.as_str()))
        .order(e::seq.desc())
        .select((e::at, e::actor_name, e::subject_id, e::incident_id, e::after_json))
        .first(conn)
        .optional()?;
    let Some((at, by, subject, incident, after)) = found else {
        return Ok(None);
    };
    let after: Value = after
        .as_deref()
        .map(serde_json::from_str)
        .transpose()?
        .unwrap_or_default();
    let incident = incident.map(|id| IncidentId::parse(&id)).transpose();
    Ok(Some(GlassBroken {
        at,
        by,
        reason: after["reason"].as_str().unwrap_or_default().to_owned(),
        notice: NoticeId::parse(&subject).ok(),
        incident: incident.map_err(Error::internal)?,
    }))
}

/// Returns when break glass was last used and last rehearsed.
///
/// # Errors
/// An error of the database.
pub fn state(conn: &mut Conn) -> Result<BreakGlassState> {
    Ok(BreakGlassState {
        last_used: last(conn, Action::BreakGlassUsed)?,
        last_rehearsed: last(conn, Action::BreakGlassRehearsed)?,
    })
}
