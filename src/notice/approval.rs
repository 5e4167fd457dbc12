//! The approval by other people: who may approve a notice, and whether it has enough approvals when it is sent.
//!
//! Nobody may approve a notice if they wrote a part of it or send it. This includes the person who drafted or changed
//! it, who made the policy that drafted it, who wrote the report in it, and who saved its template while it
//! was a draft. All tokens of a person are this person.

use diesel::prelude::*;
use serde_json::json;

use super::Digest;
use super::above::{self, Exceeded};
use super::approvals::{self, Approval, ApprovalKind, Asked, Consent, Given, Judged};
use super::authors::wrote;
use super::digest::changed;
use super::limits::{self, Limits};
use super::plan::{Plan, Sending, plan};
use super::row::{Row, locked, row};
use super::state::require_draft;
use super::view::{Notice, get};
use crate::audit::{Action, Event, Tx};
use crate::auth;
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::notices as n;

/// Approves exactly the recipients and texts of this digest.
///
/// # Errors
/// `NotFound` if the notice does not exist. `Forbidden` if the person wrote a part of it. `Conflict` if it is
/// not a draft, if the digest is not the current one, or if something of a recipient of a resolution is not restored.
pub fn approve(tx: &mut Tx<'_>, id: &NoticeId, digest: &Digest, sending: &Sending) -> Result<Notice> {
    let row = locked(tx, id)?;
    require_draft(&row)?;
    let actor = tx.actor.id().to_owned();
    let tokens = auth::tokens_of_person(tx.conn, &actor)?;
    if let Some(what) = wrote(tx.conn, &row, &tokens, None)? {
        return Err(Error::Forbidden(format!(
            "another person must approve this notice, because the person who uses this token {what}"
        ))
        .code(Code::OwnApproval));
    }
    let plan = current(tx.conn, &row, digest, sending)?;
    let limits = limits::read(tx.conn, sending)?;
    let given = Given {
        kind: ApprovalKind::Approval,
        digest: &plan.digest,
        reason: None,
        expires_at: tx.now.plus(limits.approval_valid_for()?),
    };
    approvals::give(tx, id, &given)?;
    note_consent(tx, &row, &plan, &limits)?;
    tx.record(
        Event::new(Action::NoticeApproved, "notice", id.as_str())
            .incident(&row.incident_id)
            .after(json!({"digest": plan.digest, "recipients": plan.recipients.len()})),
    );
    get(tx.conn, id)
}

/// Returns the plan of a draft, if it has this digest and claims nothing that is not true.
///
/// # Errors
/// `Conflict` if the digest is not the current one, or if something of a recipient of a resolution is not restored.
pub(super) fn current(conn: &mut Conn, row: &Row, digest: &Digest, sending: &Sending) -> Result<Plan> {
    let plan = plan(conn, row, sending)?;
    if plan.digest != digest.digest {
        return Err(changed());
    }
    plan.require_no_false_claim()?;
    Ok(plan)
}

/// Stores on the notice who approved it, as soon as the approvals are enough. Older versions of Candor that run at the same time read
/// only this. So they send nothing that needs further approvals.
pub(super) fn note_consent(tx: &mut Tx<'_>, row: &Row, plan: &Plan, limits: &Limits) -> Result<()> {
    let (_, consent) = judged(tx.conn, row, &plan.digest, limits, (tx.now, None))?;
    let by = consent.by;
    let digest = by.as_ref().map(|_| plan.digest.as_str());
    diesel::update(n::table.find(row.id.as_str()))
        .set((
            n::approved_by.eq(&by),
            n::approved_digest.eq(digest),
            n::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Judges the approvals of a draft for a digest, at a time and for a sender.
pub(super) fn judged(
    conn: &mut Conn,
    row: &Row,
    digest: &str,
    limits: &Limits,
    (now, sender): (Timestamp, Option<&str>),
) -> Result<(Vec<Judged>, Consent)> {
    let rows = approvals::rows(conn, &[row.id.as_str()])?;
    let asked = Asked {
        digest: Some(digest),
        at: Some(now),
        sender,
        is_sent: false,
    };
    let judged = approvals::judge(conn, row, &rows, asked)?;
    let consent = approvals::consent(&judged, limits.approvals());
    Ok((judged, consent))
}

/// Which limits a draft is above, and how far its approvals are.
pub(super) struct Needed {
    pub exceeded: Vec<Exceeded>,
    pub approvals: usize,
    pub consent: Consent,
}

/// Returns what the plan of a draft needs before it can be sent.
pub(super) fn needed(
    conn: &mut Conn,
    row: &Row,
    plan: &Plan,
    sending: &Sending,
    now: Timestamp,
) -> Result<Needed> {
    let limits = limits::read(conn, sending)?;
    let (_, consent) = judged(conn, row, &plan.digest, &limits, (now, None))?;
    Ok(Needed {
        exceeded: above::exceeded(conn, &row.incident_id, plan, &limits, now)?,
        approvals: limits.approvals(),
        consent,
    })
}

/// Checks that the plan has the approvals that it needs, and returns the notice with who approved it. If it has none, it must be
/// below every limit, together with what others send at the same time.
///
/// The caller has locked the incident and the notice.
///
/// # Errors
/// `Forbidden` with the reason, if an approval is needed and missing.
pub(super) fn require(tx: &mut Tx<'_>, row: &Row, plan: &Plan, sending: &Sending) -> Result<Row> {
    let sender = tx.actor.id().to_owned();
    let asked = (tx.now, Some(sender.as_str()));
    let known = limits::read(tx.conn, sending)?;
    let (_, consent) = judged(tx.conn, row, &plan.digest, &known, asked)?;
    if let Some(kind) = consent.kind {
        approvals::record_sent(tx, &row.id, kind)?;
        return with_approval(tx, row, consent.by, &plan.digest);
    }
    limits::hold(tx.conn)?;
    // The limits may have changed before the lock was taken.
    let limits = limits::read(tx.conn, sending)?;
    let exceeded = above::exceeded(tx.conn, &row.incident_id, plan, &limits, tx.now)?;
    let Some(above) = above::sentence(&exceeded, plan, limits.approvals()) else {
        return with_approval(tx, row, None, &plan.digest);
    };
    let (judged, consent) = judged(tx.conn, row, &plan.digest, &limits, asked)?;
    let mut reason = format!("{above} exactly this list and text");
    if consent.people > 0 {
        let approved = if consent.people == 1 {
            "1 person has"
        } else {
            "others have"
        };
        reason.push_str(&format!(
            ", and so far {approved} approved it, so {} more must",
            consent.missing
        ));
    }
    let void = judged
        .iter()
        .rev()
        .find_map(|one| one.approval.why_not.as_deref());
    if let Some(void) = void {
        reason.push_str(&format!(", and an earlier approval does not count: {void}"));
    } else if judged.is_empty() && row.approved_by.is_some() {
        reason
            .push_str(", and an approval from an earlier version of Candor does not count: approve it again");
    }
    Err(Error::Forbidden(reason).code(Code::ApprovalRequired))
}

/// Stores who approved what is sent. An approval that does not count is removed from the notice, not from the approvals.
fn with_approval(tx: &mut Tx<'_>, row: &Row, by: Option<String>, digest: &str) -> Result<Row> {
    let approved = Row {
        approved_digest: by.as_ref().map(|_| digest.to_owned()),
        approved_by: by,
        ..row.clone()
    };
    if approved.approved_by != row.approved_by || approved.approved_digest != row.approved_digest {
        diesel::update(n::table.find(row.id.as_str()))
            .set((
                n::approved_by.eq(&approved.approved_by),
                n::approved_digest.eq(&approved.approved_digest),
            ))
            .execute(tx.conn)?;
    }
    Ok(approved)
}

/// Returns all approvals of a notice, oldest first, each with whether it counts now or, if the notice was sent, counted then.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn list(conn: &mut Conn, id: &NoticeId, sending: &Sending, now: Timestamp) -> Result<Vec<Approval>> {
    let draft = row(conn, id)?;
    if !draft.state()?.is_draft() {
        return approvals::of_sent(conn, id);
    }
    if approvals::rows(conn, &[id.as_str()])?.is_empty() {
        return Ok(Vec::new());
    }
    let digest = plan(conn, &draft, sending)?.digest;
    list_for(conn, id, &digest, now)
}

/// Returns all approvals of a draft, oldest first, each with whether it counts now for this digest.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn list_for(conn: &mut Conn, id: &NoticeId, digest: &str, now: Timestamp) -> Result<Vec<Approval>> {
    let draft = row(conn, id)?;
    let rows = approvals::rows(conn, &[id.as_str()])?;
    let asked = Asked {
        digest: Some(digest),
        at: Some(now),
        ..Asked::default()
    };
    let judged = approvals::judge(conn, &draft, &rows, asked)?;
    Ok(judged.into_iter().map(|one| one.approval).collect())
}

/// Returns what a person wrote of a draft, as the end of a sentence: "drafted or changed the notice". `None` if the person may
/// approve it. `token` is a token of the person.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn own_part(conn: &mut Conn, id: &NoticeId, token: &str) -> Result<Option<&'static str>> {
    let row = row(conn, id)?;
    let tokens = auth::tokens_of_person(conn, token)?;
    wrote(conn, &row, &tokens, None)
}
