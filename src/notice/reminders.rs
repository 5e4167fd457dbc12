//! Which notices are reminders: they are only for people who were asked for an answer and have not given one.

use std::collections::HashSet;

use diesel::prelude::*;

use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{answer_reminders as r, notices as n};

/// Returns those of the notices that are reminders.
pub(super) fn among(conn: &mut Conn, notices: &[&str]) -> Result<HashSet<String>> {
    let mut found = HashSet::new();
    for chunk in notices.chunks(500) {
        let ids: Vec<String> = r::table
            .filter(r::notice_id.eq_any(chunk))
            .select(r::notice_id)
            .load(conn)?;
        found.extend(ids);
    }
    Ok(found)
}

/// Returns the reminders of an incident that were sent after a time.
pub(super) fn sent_since(
    conn: &mut Conn,
    incident: &IncidentId,
    since: Timestamp,
) -> Result<HashSet<String>> {
    let incidents = crate::incident::lineage::ids_with_merged(conn, incident)?;
    let sent: Vec<String> = n::table
        .filter(n::incident_id.eq_any(incidents))
        .filter(n::queued_at.gt(since))
        .select(n::id)
        .load(conn)?;
    let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
    among(conn, &sent)
}

/// Returns whether the notice is a reminder.
pub(super) fn is_one(conn: &mut Conn, notice: &NoticeId) -> Result<bool> {
    Ok(!among(conn, &[notice.as_str()])?.is_empty())
}

/// Makes a draft a reminder. It stays one.
pub(super) fn mark(tx: &mut Tx<'_>, notice: &NoticeId) -> Result<()> {
    diesel::insert_into(r::table)
        .values((r::notice_id.eq(notice.as_str()), r::created_at.eq(tx.now)))
        .execute(tx.conn)?;
    Ok(())
}
