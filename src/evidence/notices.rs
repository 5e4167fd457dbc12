//! The notices of a file: their frozen texts exactly as they were hashed, who wrote, approved and sent them, and what their events say.

use std::collections::HashMap;

use diesel::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::scope::Scope;
use crate::audit::Action;
use crate::audit::frozen::FrozenNotice;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{audit_events as e, notices as n, templates as t};
use crate::notice::compose::Content;
use crate::notice::{self, Notice, NoticeState, Sending};

/// Somebody who approved a notice, or used break glass instead.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ApprovedBy {
    pub kind: String,
    pub name: String,
    pub role: String,
    pub at: Timestamp,
    pub counted: bool,
}

/// A notice that was sent.
pub(super) struct Sent {
    pub notice: Notice,
    /// The texts exactly as they were hashed, as one JSON object.
    pub line: Vec<u8>,
    pub content: Content,
    pub drafted_by: Option<String>,
    pub sent_by: Option<String>,
    pub approvals: Vec<ApprovedBy>,
    /// The number of the event that contains the digest.
    pub event: Option<i64>,
    /// The root over the texts and the recipients. Notices of earlier versions have none.
    pub root: Option<String>,
}

/// What a file says about a notice.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    id: &'a NoticeId,
    incident: &'a str,
    phase: &'a str,
    state: &'a str,
    queued_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    drafted_by: Option<&'a str>,
    sent_by: Option<&'a str>,
    approvals: &'a [ApprovedBy],
    corrects: Option<&'a NoticeId>,
    catch_up_of: Option<&'a NoticeId>,
    recipients: i64,
    /// The number of recipients whose data was erased since. With any of them, the digest cannot be computed any more.
    erased: u64,
    message: &'a str,
    event: Option<i64>,
    /// What of the list is in the file `recipients/ID.ndjson`: `whole` or `part`.
    list: &'a str,
}

impl Shown<'_> {
    /// Returns the row about a correction. `None` if the notice is not one.
    pub fn correction(&self) -> Option<Vec<Value>> {
        let corrects = self.corrects?;
        Some(vec![
            json!(self.id),
            json!(corrects),
            json!(self.queued_at),
            json!((self.list == WHOLE).then_some(self.recipients)),
            json!(self.message),
        ])
    }
}

impl Sent {
    /// Returns what the file says about the notice.
    pub fn shown(&self, erased: u64, whole: bool) -> Shown<'_> {
        Shown {
            id: &self.notice.id,
            incident: self.notice.incident.as_str(),
            phase: self.notice.phase.as_str(),
            state: self.notice.state.as_str(),
            queued_at: self.notice.queued_at,
            finished_at: self.notice.finished_at,
            drafted_by: self.drafted_by.as_deref(),
            sent_by: self.sent_by.as_deref(),
            approvals: &self.approvals,
            corrects: self.notice.corrects.as_ref(),
            catch_up_of: self.notice.catch_up_of.as_ref(),
            recipients: self.notice.recipients,
            erased,
            message: &self.content.message,
            event: self.event,
            list: if whole { WHOLE } else { PART },
        }
    }
}

/// The file has the whole list of the notice.
const WHOLE: &str = "whole";
/// The file has some lines of the list.
const PART: &str = "part";
/// The number of notices that are read at once.
const STEP: i64 = 100;

/// Returns the notices of the incidents that were queued, in the order in which they were.
///
/// # Errors
/// An error of the database.
pub(super) fn sent(conn: &mut Conn, scope: &Scope, sending: &Sending, now: Timestamp) -> Result<Vec<Sent>> {
    let mut found = Vec::new();
    for incident in &scope.incidents {
        let mut after: Option<String> = None;
        loop {
            let notices = notice::list(conn, incident, after.as_deref(), STEP)?;
            let Some(last) = notices.last() else { break };
            after = Some(last.id.to_string());
            for notice in notices {
                if notice.state != NoticeState::Draft {
                    found.extend(one(conn, notice, sending, now)?);
                }
            }
        }
    }
    found.sort_by(|a, b| (a.notice.queued_at, &a.notice.id).cmp(&(b.notice.queued_at, &b.notice.id)));
    Ok(found)
}

type Texts = (Option<String>, Option<String>, Option<String>);

fn one(conn: &mut Conn, notice: Notice, sending: &Sending, now: Timestamp) -> Result<Option<Sent>> {
    let (digest, template, frozen): Texts = n::table
        .find(notice.id.as_str())
        .select((n::digest, n::template_id, n::frozen))
        .first(conn)?;
    let (Some(digest), Some(template), Some(frozen)) = (digest, template, frozen) else {
        return Ok(None);
    };
    let (subject, text, html, languages): (String, String, String, Option<String>) = t::table
        .find(&template)
        .select((t::subject, t::body_text, t::body_html, t::languages))
        .first(conn)?;
    let line = serde_json::to_vec(&FrozenNotice {
        id: notice.id.as_str(),
        digest: &digest,
        content: &frozen,
        template: &template,
        subject: &subject,
        text: &text,
        html: &html,
        languages: languages.as_deref(),
    })?;
    let content: Content = serde_json::from_str(&frozen)?;
    let mut events = events(conn, &notice.id)?;
    let drafted_by = events.remove(Action::NoticeDrafted.as_str()).map(|event| event.1);
    let queued = events.remove(Action::NoticeQueued.as_str());
    let approvals = notice::list_approvals(conn, &notice.id, sending, now)?
        .into_iter()
        .map(|one| ApprovedBy {
            kind: one.kind.as_str().to_owned(),
            name: one.name,
            role: one.role.as_str().to_owned(),
            at: one.at,
            counted: one.valid,
        })
        .collect();
    let root = queued.as_ref().and_then(|(_, _, after)| {
        let after: Value = serde_json::from_str(after.as_deref()?).ok()?;
        Some(after["frozen_root"].as_str()?.to_owned())
    });
    Ok(Some(Sent {
        notice,
        line,
        content,
        drafted_by,
        event: queued.as_ref().map(|event| event.0),
        sent_by: queued.map(|event| event.1),
        approvals,
        root,
    }))
}

type EventParts = (i64, String, Option<String>);

/// Returns the number, the actor and the content of the last event of each kind about a notice.
fn events(conn: &mut Conn, notice: &NoticeId) -> Result<HashMap<String, EventParts>> {
    let wanted = [Action::NoticeDrafted.as_str(), Action::NoticeQueued.as_str()];
    let rows: Vec<(String, i64, String, Option<String>)> = e::table
        .filter(e::subject_id.eq(notice.as_str()))
        .filter(e::action.eq_any(wanted))
        .order(e::seq)
        .select((e::action, e::seq, e::actor_name, e::after_json))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(action, seq, actor, after)| (action, (seq, actor, after)))
        .collect())
}
