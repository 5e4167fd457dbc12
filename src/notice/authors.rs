//! Who wrote a part of a notice.
//!
//! Whoever wrote a part of what a notice says may not approve it: the person who drafted or changed the notice, who made the
//! policy that drafted it, who wrote the report that it contains, or who saved its template while it was a draft.

use diesel::prelude::*;
use serde_json::Value;

use super::row::Row;
use crate::audit::{Action, Tx};
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{audit_events as e, notice_authors as a};
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

/// Returns what these tokens, which are those of one person, wrote of a notice until a time. Returns `None` if they wrote nothing,
/// so that the person may approve it. Without a time, everything counts.
pub(super) fn wrote(
    conn: &mut Conn,
    row: &Row,
    tokens: &[String],
    until: Option<Timestamp>,
) -> Result<Option<&'static str>> {
    let authored: i64 = a::table
        .filter(a::notice_id.eq(row.id.as_str()))
        .filter(a::actor_id.eq_any(tokens))
        .count()
        .get_result(conn)?;
    if authored > 0 || tokens.contains(&row.drafted_by) {
        return Ok(Some("drafted or changed the notice"));
    }
    let until = until.unwrap_or(Timestamp::from_micros(i64::MAX));
    let did = |conn: &mut Conn, action: Action, subject: &str, since: Timestamp| -> Result<bool> {
        let events: i64 = e::table
            .filter(e::subject_id.eq(subject))
            .filter(e::action.eq(action.as_str()))
            .filter(e::actor_id.eq_any(tokens))
            .filter(e::at.ge(since))
            .filter(e::at.le(until))
            .count()
            .get_result(conn)?;
        Ok(events > 0)
    };
    let ever = Timestamp::from_micros(0);
    if row.phase()? == Phase::Report && did(conn, Action::ReportWritten, row.incident_id.as_str(), ever)? {
        return Ok(Some("wrote the report that the notice contains"));
    }
    // The headline of the incident is in the subject of a notice that has none of its own.
    if row.headline.is_none() {
        let changes: Vec<(Option<String>, Option<String>)> = e::table
            .filter(e::subject_id.eq(row.incident_id.as_str()))
            .filter(e::action.eq(Action::IncidentChanged.as_str()))
            .filter(e::actor_id.eq_any(tokens))
            .filter(e::at.le(until))
            .select((e::before_json, e::after_json))
            .load(conn)?;
        for (before, after) in changes {
            let headline = |document: Option<String>| -> Result<Value> {
                let document: Value = document
                    .as_deref()
                    .map(serde_json::from_str)
                    .transpose()?
                    .unwrap_or_default();
                Ok(document["headline"].clone())
            };
            if headline(before)? != headline(after)? {
                return Ok(Some("wrote the headline of the incident"));
            }
        }
    }
    for action in [Action::TemplateSaved, Action::TemplateReset] {
        if did(conn, action, &row.phase, row.created_at)? {
            return Ok(Some("changed the template after the notice was drafted"));
        }
    }
    Ok(None)
}
