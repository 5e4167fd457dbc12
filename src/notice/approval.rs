//! The second person: who may approve a notice, and whether an approval still counts when the notice is sent.
//!
//! Whoever ever wrote a part of what a notice says may not approve it: who drafted or changed it, who made the policy that
//! drafted it, who wrote the report that it holds, and who saved its template while it was a draft.

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

/// Remembers that somebody wrote a part of a notice.
///
/// # Errors
/// Database errors.
pub fn add_author(tx: &mut Tx<'_>, notice: &NoticeId, actor: &str) -> Result<()> {
    on_backend!(&mut *tx.conn, c => diesel::insert_into(a::table)
        .values((a::notice_id.eq(notice.as_str()), a::actor_id.eq(actor), a::at.eq(tx.now)))
        .on_conflict((a::notice_id, a::actor_id))
        .do_nothing()
        .execute(c))?;
    Ok(())
}

/// Whoever wrote a part of `from` wrote a part of `to`, which repeats its text.
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

/// What the actor wrote of a notice; none: nothing, and they may approve it.
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
        return Ok(Some("wrote the report that the notice holds"));
    }
    for action in [Action::TemplateSaved, Action::TemplateReset] {
        if did(conn, action, &row.phase, row.created_at)? {
            return Ok(Some("changed the template after the notice was drafted"));
        }
    }
    Ok(None)
}

/// Approves exactly what the digest says.
///
/// # Errors
/// `Forbidden` for whoever wrote a part of it; `Conflict` where it is no draft, or the digest is not the present one.
pub fn approve(tx: &mut Tx<'_>, id: &NoticeId, digest: &Digest, sending: &Sending) -> Result<Notice> {
    let row = locked(tx, id)?;
    require_draft(&row)?;
    let actor = tx.actor.id().to_owned();
    if let Some(what) = wrote(tx.conn, &row, &actor)? {
        return Err(
            Error::Forbidden(format!("a second person must approve: this token {what}"))
                .code(Code::OwnApproval),
        );
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

/// Why the approval of a draft counts no more; none: it counts, or there is none.
fn void(conn: &mut Conn, row: &Row) -> Result<Option<&'static str>> {
    let Some(approver) = &row.approved_by else {
        return Ok(None);
    };
    if !auth::holds(conn, approver, Role::Approver)? {
        return Ok(Some(
            "the token that approved it was revoked or may not approve any more",
        ));
    }
    Ok(wrote(conn, row, approver)?.map(|_| "whoever approved it wrote a part of it since"))
}

/// Whether somebody approved a draft and the approval still counts, whatever it was for.
pub(super) fn counts(conn: &mut Conn, row: &Row) -> Result<bool> {
    Ok(row.approved_by.is_some() && void(conn, row)?.is_none())
}

/// Whether exactly this was approved, and the approval still counts.
pub(super) fn approved(conn: &mut Conn, row: &Row, digest: &str) -> Result<bool> {
    Ok(row.approved_digest.as_deref() == Some(digest) && counts(conn, row)?)
}

/// What is counted against the limit: the people and the accounts' own systems.
pub(super) fn counted(plan: &Plan) -> usize {
    plan.recipients.len() + plan.endpoints.len()
}

impl Plan {
    /// Why a second person must approve it; none: nobody has to.
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
                "{all} {what}{systems} are more than {}: a second person must approve",
                sending.max_audience
            )
        })
    }
}

/// Checks that what is to be sent was approved, where it has to be.
///
/// # Errors
/// `Forbidden` with the reason.
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
