//! Who wrote a part of a notice, and whether an approval still counts.
//!
//! Whoever wrote a part of what a notice says may not approve it: the person who drafted or changed the notice, who made the
//! policy that drafted it, who wrote the report that it contains, or who saved its template while it was a draft.

use diesel::prelude::*;

use super::row::Row;
use crate::audit::{Action, Tx};
use crate::auth::{self, Role};
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

/// Returns what the actor wrote of a notice. Returns `None` if the actor wrote nothing and so may approve it.
pub(super) fn wrote(conn: &mut Conn, row: &Row, actor: &str) -> Result<Option<&'static str>> {
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

/// Returns why the approval of a draft is not valid any more. Returns `None` if it is valid or if there is no
/// approval.
pub(super) fn void(conn: &mut Conn, row: &Row) -> Result<Option<&'static str>> {
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
