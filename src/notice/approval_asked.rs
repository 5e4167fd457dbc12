//! Asks other people to approve a draft. Operators are notified, and the page of the notice shows what changed since.

use diesel::prelude::*;
use serde_json::{Value, json};

use super::approval::{current, needed};
use super::digest::Digest;
use super::row::locked;
use super::send::require_sendable;
use super::sending::Sending;
use super::state::require_draft;
use super::view::{Notice, get};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::audit_events as e;

/// When other people were last asked to approve a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalAsked {
    /// When other people were last asked to approve the notice.
    pub at: Timestamp,
    /// The name of the token.
    pub by: String,
    /// The digest of the list and the text that were to be approved.
    pub digest: String,
}

/// Asks other people to approve exactly this list and text. Asking again for the same digest changes nothing.
///
/// # Errors
/// `NotFound` if the notice does not exist. `Conflict` if it is not a draft, if the digest is not the current one, or if no approval is
/// missing. `Invalid` if something else than an approval keeps it from being sent.
pub fn ask(tx: &mut Tx<'_>, id: &NoticeId, digest: &Digest, sending: &Sending) -> Result<Notice> {
    let row = locked(tx, id)?;
    require_draft(&row)?;
    let plan = current(tx.conn, &row, digest, sending)?;
    require_sendable(&row, &plan, tx.now)?;
    let needed = needed(tx.conn, &row, &plan, sending, tx.now)?;
    if needed.exceeded.is_empty() {
        return Err(Error::Conflict(
            "the notice needs no approval; it can be sent".to_owned(),
        ));
    }
    if needed.consent.kind.is_some() {
        return Err(Error::Conflict(
            "the notice is approved already; it can be sent".to_owned(),
        ));
    }
    if last(tx.conn, id)?.is_none_or(|asked| asked.digest != plan.digest) {
        let missing = needed.approvals.saturating_sub(needed.consent.people);
        tx.record(
            Event::new(Action::NoticeApprovalAsked, "notice", id.as_str())
                .incident(&row.incident_id)
                .after(json!({
                    "digest": plan.digest, "recipients": plan.recipients.len(), "phase": row.phase, "missing": missing,
                    "by": tx.actor.name(),
                })),
        );
    }
    get(tx.conn, id)
}

/// Returns when other people were last asked to approve a notice. `None` if they were not asked.
///
/// # Errors
/// An error of the database.
pub fn last(conn: &mut Conn, id: &NoticeId) -> Result<Option<ApprovalAsked>> {
    let found: Option<(Timestamp, String, Option<String>)> = e::table
        .filter(e::subject_id.eq(id.as_str()))
        .filter(e::action.eq(Action::NoticeApprovalAsked.as_str()))
        .order(e::seq.desc())
        .select((e::at, e::actor_name, e::after_json))
        .first(conn)
        .optional()?;
    let Some((at, by, after)) = found else {
        return Ok(None);
    };
    let after: Value = serde_json::from_str(after.as_deref().unwrap_or("{}"))?;
    let digest = after["digest"].as_str().unwrap_or_default().to_owned();
    Ok(Some(ApprovalAsked { at, by, digest }))
}
