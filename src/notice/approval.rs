//! The approval by a second person: who may approve a notice, and whether an approval is still valid when the
//! notice is sent.
//!
//! Nobody may approve a notice if they wrote a part of it. This includes the person who drafted or changed
//! it, who made the policy that drafted it, who wrote the report in it, and who saved its template while it
//! was a draft.

use diesel::prelude::*;
use serde_json::json;

use super::plan::{Plan, Sending, plan};
use super::send::changed;
use super::{Digest, Notice, Row, get, locked, require_draft};
use crate::audit::{Action, Event, Tx};
use crate::auth::{self, Role};
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{audit_events as e, notice_authors as a, notices as n};
use crate::notice::template::Phase;

/// Records that an actor wrote a part of a notice.
///
/// # Errors
/// An error of the database.
pub fn add_author(tx: &mut Tx<'_>, notice: &NoticeId, actor: &str) -> Result<()> {
    // SQLite refuses an author who is there, before it looks at what to do about the conflict.
    let there: i64 = a::table
        .find((notice.as_str(), actor))
        .count()
        .get_result(tx.conn)?;
    if there > 0 {
        return Ok(());
    }
    on_backend!(&mut *tx.conn, c => diesel::insert_into(a::table)
        .values((a::notice_id.eq(notice.as_str()), a::actor_id.eq(actor), a::at.eq(tx.now)))
        .on_conflict((a::notice_id, a::actor_id))
        .do_nothing()
        .execute(c))?;
    Ok(())
}

/// Copies the authors of `from` to `to`, which repeats its text.
pub(super) fn inherit_authors(tx: &mut Tx<'_>, from: &NoticeId, to: &NoticeId) -> Result<()> {
    let authors: Vec<String> = a::table
        .filter(a::notice_id.eq(from.as_str()))
        .select(a::actor_id)
        .load(tx.conn)?;
    for author in authors {
        add_author(tx, to, &author)?;
    }
    Ok(())
}

/// Returns what the actor wrote of a notice. Returns `None` if the actor wrote nothing and so may approve it.
fn wrote(conn: &mut Conn, row: &Row, actor: &str) -> Result<Option<&'static str>> {
    let authored: i64 = a::table.find((row.id.as_str(), actor)).count().get_result(conn)?;
    if authored > 0 || row.drafted_by == actor {
        return Ok(Some("drafted or changed the notice"));
    }
    let did = |conn: &mut Conn, action: Action, subject: &str, since: Timestamp| -> Result<bool> {
        let events: i64 = e::table
            .filter(e::subject_id.eq(subject))
            .filter(e::action.eq(action.as_str()))
            .filter(e::actor_id.eq(actor))
            .filter(e::at.ge(since))
            .count()
            .get_result(conn)?;
        Ok(events > 0)
    };
    let ever = Timestamp::from_micros(0);
    if row.phase()? == Phase::Report && did(conn, Action::ReportWritten, row.incident_id.as_str(), ever)? {
        return Ok(Some("wrote the report that the notice contains"));
    }
    for action in [Action::TemplateSaved, Action::TemplateReset] {
        if did(conn, action, &row.phase, row.created_at)? {
            return Ok(Some("changed the template after the notice was drafted"));
        }
    }
    Ok(None)
}

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

/// Returns why the approval of a draft is not valid any more. Returns `None` if it is valid or if there is no
/// approval.
fn void(conn: &mut Conn, row: &Row) -> Result<Option<&'static str>> {
    let Some(approver) = &row.approved_by else {
        return Ok(None);
    };
    if !auth::holds(conn, approver, Role::Approver)? {
        return Ok(Some(
            "the token that approved it was revoked or is no longer allowed to approve",
        ));
    }
    Ok(wrote(conn, row, approver)?.map(|_| "the person who approved it changed a part of it later"))
}

/// Returns whether a draft has a valid approval. It may be for another digest than the current one.
pub(super) fn counts(conn: &mut Conn, row: &Row) -> Result<bool> {
    Ok(row.approved_by.is_some() && void(conn, row)?.is_none())
}

/// Returns whether exactly this digest was approved and the approval is still valid.
pub(super) fn approved(conn: &mut Conn, row: &Row, digest: &str) -> Result<bool> {
    Ok(row.approved_digest.as_deref() == Some(digest) && counts(conn, row)?)
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
