//! The approval by a second person: who may approve a notice, and whether an approval is still valid when the
//! notice is sent.
//!
//! Nobody may approve a notice if they wrote a part of it. This includes the person who drafted or changed
//! it, who made the policy that drafted it, who wrote the report in it, and who saved its template while it
//! was a draft.

use diesel::prelude::*;
use serde_json::json;

use super::Digest;
use super::authors::{approved, void, wrote};
use super::digest::changed;
use super::plan::{Plan, Sending, plan};
use super::row::{Row, locked};
use super::state::require_draft;
use super::view::{Notice, get};
use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::db::Conn;
use crate::db::schema::notices as n;

/// Approves exactly the recipients and texts of this digest.
///
/// # Errors
/// `NotFound` if the notice does not exist. `Forbidden` if the actor wrote a part of it. `Conflict` if it is
/// not a draft, or if the digest is not the current one.
pub fn approve(tx: &mut Tx<'_>, id: &NoticeId, digest: &Digest, sending: &Sending) -> Result<Notice> {
    let row = locked(tx, id)?;
    require_draft(&row)?;
    let actor = tx.actor.id().to_owned();
    if let Some(what) = wrote(tx.conn, &row, &actor)? {
        return Err(Error::Forbidden(format!(
            "another person must approve this notice, because this token {what}"
        ))
        .code(Code::OwnApproval));
    }
    let plan = plan(tx.conn, &row, sending)?;
    if plan.digest != digest.digest {
        return Err(changed());
    }
    diesel::update(n::table.find(id.as_str()))
        .set((
            n::approved_by.eq(Some(&actor)),
            n::approved_digest.eq(Some(&plan.digest)),
            n::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::NoticeApproved, "notice", id.as_str())
            .incident(&row.incident_id)
            .after(json!({"digest": plan.digest, "recipients": plan.recipients.len()})),
    );
    get(tx.conn, id)
}

/// Returns the number that the limit applies to: people and endpoints.
pub(super) fn counted(plan: &Plan) -> usize {
    plan.recipients.len() + plan.endpoints.len()
}

impl Plan {
    /// Returns why a second person must approve the plan. Returns `None` if no approval is needed.
    pub fn above(&self, sending: &Sending) -> Option<String> {
        let all = counted(self);
        (all > sending.max_audience).then(|| {
            let systems = match self.endpoints.len() {
                0 => String::new(),
                1 => format!(" ({} people and 1 system of accounts)", self.recipients.len()),
                n => format!(" ({} people and {n} systems of accounts)", self.recipients.len()),
            };
            let what = if systems.is_empty() {
                "people"
            } else {
                "recipients"
            };
            format!(
                "{all} {what}{systems} are above the limit of {}: a second person must approve",
                sending.max_audience
            )
        })
    }
}

/// Checks that the plan was approved, if it needs an approval.
///
/// # Errors
/// `Forbidden` with the reason, if an approval is needed and missing.
pub(super) fn require(conn: &mut Conn, row: &Row, plan: &Plan, sending: &Sending) -> Result<()> {
    let Some(above) = plan.above(sending) else {
        return Ok(());
    };
    if approved(conn, row, &plan.digest)? {
        return Ok(());
    }
    let reason = match void(conn, row)? {
        Some(void) => format!("{above} exactly this list and text, and {void}"),
        None => format!("{above} exactly this list and text"),
    };
    Err(Error::Forbidden(reason).code(Code::ApprovalRequired))
}
