//! The stored approvals of notices, and which of them count.
//!
//! An approval is for one notice and one digest. It counts until it expires, until the list or the text changes, until the notice is
//! edited, until its token is revoked, and only if its person wrote no part of the notice and does not send it. Break glass by
//! an admin stands for all approvals. Nothing is changed or removed: what ends an approval is found when it is asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use diesel::prelude::*;
use serde::Serialize;

use super::authors::wrote;
use super::limits;
use super::row::{Row, row};
use crate::audit::{Action, Tx};
use crate::auth::{self, Holder, Role};
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{approved_notices as s, audit_events as e, notice_approvals as a};

word_enum! {
    /// What stands for the consent of other people.
    ApprovalKind, "a kind of approval" {
        /// A person approved the list and the text.
        Approval = "approval",
        /// An admin used break glass, which stands for all approvals.
        BreakGlass = "break_glass",
    }
}

/// The kind of a row after which no earlier approval of the notice counts.
const VOID: &str = "void";

/// An approval of a notice, and whether it counts.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = NoticeApproval)]
pub struct Approval {
    /// The ID of the approval.
    pub id: i64,
    /// Whether a person approved the notice, or an admin used break glass.
    pub kind: ApprovalKind,
    /// The digest of the list and the text that were approved.
    pub digest: String,
    /// The ID of the token.
    pub token: String,
    /// The name of the token.
    pub name: String,
    /// The person who uses the token.
    pub person: String,
    /// The role of the token.
    pub role: Role,
    /// Why the admin used break glass.
    pub reason: Option<String>,
    /// When it was given.
    pub at: Timestamp,
    /// When the approval expires. It does not count from this time on.
    pub expires_at: Timestamp,
    /// Whether it counts now. For a notice that was sent: whether it counted when the notice was sent.
    pub valid: bool,
    /// Why it does not count.
    pub why_not: Option<String>,
}

/// A stored row. `digest`, `role` and `expires_at` are null only for the kind `void`.
#[derive(Clone, Queryable)]
pub(super) struct ApprovalRow {
    pub id: i64,
    pub notice_id: NoticeId,
    pub kind: String,
    pub digest: Option<String>,
    pub token_id: String,
    pub token_name: String,
    pub person: String,
    pub role: Option<String>,
    pub reason: Option<String>,
    pub at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

/// An approval together with what makes its person one person.
pub(super) struct Judged {
    pub approval: Approval,
    key: String,
}

/// For what and when approvals are judged.
#[derive(Clone, Copy, Default)]
pub(super) struct Asked<'a> {
    /// The digest that is to be sent. Without it, approvals of any digest count.
    pub digest: Option<&'a str>,
    /// The time. Without it, no approval has expired.
    pub at: Option<Timestamp>,
    /// Who sends the notice.
    pub sender: Option<&'a str>,
    /// Whether the notice was already sent at this time, so that later changes do not matter.
    pub is_sent: bool,
}

/// Whether the approvals that count are enough.
#[derive(Clone, Debug, Default)]
pub(super) struct Consent {
    /// The number of different people whose approvals count.
    pub people: usize,
    /// The number of people who must still approve.
    pub missing: usize,
    /// What stands for the consent. `None` if it is not enough.
    pub kind: Option<ApprovalKind>,
    /// The token of the last approval that counts.
    pub by: Option<String>,
    /// Until when the approvals are enough.
    pub until: Option<Timestamp>,
}

/// What a new approval is for.
pub(super) struct Given<'a> {
    pub kind: ApprovalKind,
    pub digest: &'a str,
    pub reason: Option<&'a str>,
    pub expires_at: Timestamp,
}

/// Returns the stored rows of notices, oldest first.
pub(super) fn rows(conn: &mut Conn, notices: &[&str]) -> Result<Vec<ApprovalRow>> {
    let mut found = Vec::new();
    for chunk in notices.chunks(500) {
        let rows: Vec<ApprovalRow> = a::table
            .filter(a::notice_id.eq_any(chunk))
            .order(a::id)
            .load(conn)?;
        found.extend(rows);
    }
    Ok(found)
}

/// Stores an approval by the actor.
///
/// # Errors
/// `Forbidden` if the actor is no token.
pub(super) fn give(tx: &mut Tx<'_>, notice: &NoticeId, given: &Given<'_>) -> Result<()> {
    let token = tx.actor.id().to_owned();
    let holder = auth::holders(tx.conn, &[&token])?
        .remove(&token)
        .ok_or_else(|| Error::Forbidden("only a person with a token can approve a notice".to_owned()))?;
    diesel::insert_into(a::table)
        .values((
            a::notice_id.eq(notice.as_str()),
            a::kind.eq(given.kind.as_str()),
            a::digest.eq(Some(given.digest)),
            a::token_id.eq(&token),
            a::token_name.eq(&holder.name),
            a::person.eq(&holder.person),
            a::role.eq(Some(&holder.role)),
            a::reason.eq(given.reason),
            a::at.eq(tx.now),
            a::expires_at.eq(Some(given.expires_at)),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Ends all approvals of a notice, because the actor changed it. Otherwise they would count again if the notice were changed
/// back.
///
/// # Errors
/// An error of the database.
pub(super) fn end_all(tx: &mut Tx<'_>, notice: &NoticeId) -> Result<()> {
    let rows = rows(tx.conn, &[notice.as_str()])?;
    if rows.last().is_none_or(|last| last.kind == VOID) {
        return Ok(());
    }
    let token = tx.actor.id().to_owned();
    let holder = auth::holders(tx.conn, &[&token])?.remove(&token);
    let name = tx.actor.name().to_owned();
    diesel::insert_into(a::table)
        .values((
            a::notice_id.eq(notice.as_str()),
            a::kind.eq(VOID),
            a::token_id.eq(&token),
            a::person.eq(holder.map_or_else(|| name.clone(), |holder| holder.person)),
            a::token_name.eq(name),
            a::at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Judges the approvals of a notice, oldest first.
///
/// # Errors
/// `Internal` if a stored row is damaged.
pub(super) fn judge(
    conn: &mut Conn,
    notice: &Row,
    rows: &[ApprovalRow],
    asked: Asked<'_>,
) -> Result<Vec<Judged>> {
    let voided = rows.iter().rposition(|row| row.kind == VOID);
    let tokens: BTreeSet<&str> = rows.iter().map(|row| row.token_id.as_str()).collect();
    let holders = auth::holders(conn, &tokens.into_iter().collect::<Vec<_>>())?;
    let sender = match asked.sender {
        Some(sender) => auth::tokens_of_person(conn, sender)?,
        None => Vec::new(),
    };
    let mut wrote_by: BTreeMap<&str, bool> = BTreeMap::new();
    let mut judged = Vec::new();
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.kind != VOID) {
        let damaged = || Error::internal(format!("the approval {} is damaged", row.id));
        let approval = Approval {
            id: row.id,
            kind: ApprovalKind::parse(&row.kind).map_err(Error::internal)?,
            digest: row.digest.clone().ok_or_else(damaged)?,
            token: row.token_id.clone(),
            name: row.token_name.clone(),
            person: row.person.clone(),
            role: Role::parse(row.role.as_deref().unwrap_or_default()).map_err(Error::internal)?,
            reason: row.reason.clone(),
            at: row.at,
            expires_at: row.expires_at.ok_or_else(damaged)?,
            valid: false,
            why_not: None,
        };
        let holder = holders.get(&row.token_id);
        let mut why_not = if voided.is_some_and(|last| index < last) {
            Some("the notice was changed after it".to_owned())
        } else {
            ended(&approval, holder, asked)
        };
        if why_not.is_none() && approval.kind == ApprovalKind::Approval {
            if sender.contains(&row.token_id) {
                why_not = Some("whoever sends a notice cannot be one of those who approve it".to_owned());
            } else {
                let is_author = match wrote_by.get(row.token_id.as_str()) {
                    Some(known) => *known,
                    None => {
                        let until = asked.at.filter(|_| asked.is_sent);
                        let tokens = auth::tokens_of_person(conn, &row.token_id)?;
                        let is_author = wrote(conn, notice, &tokens, until)?.is_some();
                        wrote_by.insert(&row.token_id, is_author);
                        is_author
                    }
                };
                why_not =
                    is_author.then(|| "the person who approved it changed a part of it later".to_owned());
            }
        }
        let key = holder.map_or_else(|| row.token_id.clone(), |holder| holder.key.clone());
        judged.push(Judged {
            approval: Approval {
                valid: why_not.is_none(),
                why_not,
                ..approval
            },
            key,
        });
    }
    Ok(judged)
}

/// Returns why an approval has ended, whoever wrote or sends the notice.
fn ended(approval: &Approval, holder: Option<&Holder>, asked: Asked<'_>) -> Option<String> {
    if asked.digest.is_some_and(|digest| digest != approval.digest) {
        return Some("it is for another list or another text".to_owned());
    }
    if asked.at.is_some_and(|at| at >= approval.expires_at) {
        return Some(format!("it expired at {}", approval.expires_at));
    }
    let needed = match approval.kind {
        ApprovalKind::Approval => Role::Approver,
        ApprovalKind::BreakGlass => Role::Admin,
    };
    let counts = holder.is_some_and(|holder| {
        let is_revoked = match (holder.revoked_at, asked.at.filter(|_| asked.is_sent)) {
            (Some(revoked), Some(sent)) => revoked <= sent,
            (revoked, _) => revoked.is_some(),
        };
        !is_revoked && Role::parse(&holder.role).is_ok_and(|role| role.covers(needed))
    });
    (!counts).then(|| "the token that approved it was revoked or is no longer allowed to approve".to_owned())
}

/// Returns whether the approvals that count are enough. All of them must be for the same digest.
pub(super) fn consent(judged: &[Judged], needed: usize) -> Consent {
    let mut last_of: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let (mut glass, mut by): (Option<Timestamp>, Option<&Approval>) = (None, None);
    for one in judged.iter().filter(|one| one.approval.valid) {
        let until = one.approval.expires_at;
        match one.approval.kind {
            ApprovalKind::BreakGlass => glass = Some(glass.map_or(until, |known| known.max(until))),
            ApprovalKind::Approval => {
                let known = last_of.entry(&one.key).or_insert(until);
                *known = (*known).max(until);
            }
        }
        by = Some(&one.approval);
    }
    let people = last_of.len();
    let mut ends: Vec<Timestamp> = last_of.into_values().collect();
    ends.sort_unstable();
    // With more approvals than needed, the first ones may expire.
    let approved_until = (people >= needed)
        .then(|| ends.get(people - needed).copied())
        .flatten();
    let kind = match (approved_until, glass) {
        (Some(_), _) => Some(ApprovalKind::Approval),
        (None, Some(_)) => Some(ApprovalKind::BreakGlass),
        (None, None) => None,
    };
    let missing = match kind {
        Some(_) => 0,
        None => needed.saturating_sub(people),
    };
    Consent {
        people,
        missing,
        kind,
        by: by
            .filter(|_| kind.is_some())
            .map(|approval| approval.token.clone()),
        until: approved_until.max(glass),
    }
}

/// The approvals of several notices, which are read together.
pub(super) struct Consents {
    rows: Vec<ApprovalRow>,
    sent: HashMap<String, ApprovalKind>,
}

impl Consents {
    /// Reads the approvals of the drafts, and how the others were sent.
    pub(super) fn read(conn: &mut Conn, notices: &[Row]) -> Result<Consents> {
        let (mut drafts, mut others) = (Vec::new(), Vec::new());
        for notice in notices {
            match notice.state()?.is_draft() {
                true => drafts.push(notice.id.as_str()),
                false if notice.approved_by.is_some() => others.push(notice.id.as_str()),
                false => {}
            }
        }
        let mut sent = HashMap::new();
        for chunk in others.chunks(500) {
            let kinds: Vec<(String, String)> = s::table
                .filter(s::notice_id.eq_any(chunk))
                .select((s::notice_id, s::kind))
                .load(conn)?;
            for (notice, kind) in kinds {
                sent.insert(notice, ApprovalKind::parse(&kind).map_err(Error::internal)?);
            }
        }
        Ok(Consents {
            rows: rows(conn, &drafts)?,
            sent,
        })
    }

    /// Returns whether a notice has enough approvals, as far as this is known without the plan and the time. Those of a draft may
    /// be for another digest than the current one, and `until` says when they expire.
    pub(super) fn of(&self, conn: &mut Conn, notice: &Row) -> Result<Consent> {
        if !notice.state()?.is_draft() {
            // A notice of an older version of Candor has no row.
            let by = notice.approved_by.as_ref().map(|_| ApprovalKind::Approval);
            return Ok(Consent {
                kind: self.sent.get(notice.id.as_str()).copied().or(by),
                ..Consent::default()
            });
        }
        let of_notice = self.rows.iter().filter(|row| row.notice_id == notice.id);
        let rows: Vec<ApprovalRow> = of_notice.cloned().collect();
        let latest = rows.iter().rev().find(|row| row.kind != VOID);
        let Some(digest) = latest.and_then(|row| row.digest.as_deref()) else {
            return Ok(Consent::default());
        };
        let needed = limits::approvals_needed(conn)?;
        let asked = Asked {
            digest: Some(digest),
            ..Asked::default()
        };
        Ok(consent(&judge(conn, notice, &rows, asked)?, needed))
    }
}

/// Records that a notice is sent with consent, so that it does not count against the limits of later notices.
pub(super) fn record_sent(tx: &mut Tx<'_>, notice: &NoticeId, kind: ApprovalKind) -> Result<()> {
    diesel::insert_into(s::table)
        .values((
            s::notice_id.eq(notice.as_str()),
            s::kind.eq(kind.as_str()),
            s::at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Returns all approvals of a notice that was sent, oldest first, each with whether it counted when the notice was sent.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub(super) fn of_sent(conn: &mut Conn, id: &NoticeId) -> Result<Vec<Approval>> {
    let notice = row(conn, id)?;
    let rows = rows(conn, &[id.as_str()])?;
    let sender: Option<String> = e::table
        .filter(e::subject_id.eq(id.as_str()))
        .filter(e::action.eq(Action::NoticeQueued.as_str()))
        .order(e::seq.desc())
        .select(e::actor_id)
        .first(conn)
        .optional()?;
    let asked = Asked {
        digest: notice.digest.as_deref(),
        at: notice.queued_at,
        sender: sender.as_deref(),
        is_sent: true,
    };
    let judged = judge(conn, &notice, &rows, asked)?;
    Ok(judged.into_iter().map(|one| one.approval).collect())
}
