//! Which notices are corrections: they tell people that the incident does not affect them, after another notice reached them.

use std::collections::HashMap;

use diesel::prelude::*;
use serde_json::json;

use super::reminders;
use super::row::{CustomerAction, Row, row};
use super::state::NoticeState;
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{notice_corrections as c, notice_waves as w, notices as n};
use crate::incident::lineage;
use crate::notice::template::Phase;

/// Returns those of the notices that are corrections, each with the notice that it corrects.
pub(super) fn among(conn: &mut Conn, notices: &[&str]) -> Result<HashMap<String, NoticeId>> {
    let mut found = HashMap::new();
    for chunk in notices.chunks(500) {
        let rows: Vec<(String, NoticeId)> = c::table
            .filter(c::notice_id.eq_any(chunk))
            .select((c::notice_id, c::corrects))
            .load(conn)?;
        found.extend(rows);
    }
    Ok(found)
}

/// Returns the notice that this one corrects, if it is a correction.
pub(super) fn corrected_by(conn: &mut Conn, correction: &NoticeId) -> Result<Option<NoticeId>> {
    Ok(among(conn, &[correction.as_str()])?.remove(correction.as_str()))
}

/// Returns whether a correction of any notice of the incident was sent after this notice. People of its list may have got the
/// correction, and the notice would say the opposite.
pub(super) fn was_one_sent_since(conn: &mut Conn, row: &Row) -> Result<bool> {
    let incidents = lineage::ids_with_merged(conn, &row.incident_id)?;
    let sent: Vec<(NoticeId, Option<Timestamp>)> = n::table
        .filter(n::incident_id.eq_any(incidents))
        .filter(n::phase.eq(Phase::Correction.as_str()))
        .filter(n::state.ne(NoticeState::Draft))
        .select((n::id, n::queued_at))
        .load(conn)?;
    Ok(sent
        .iter()
        .any(|(id, queued_at)| row.was_queued_before(id, *queued_at)))
}

impl Row {
    /// Returns whether this notice was queued before another one of its incident. Of two notices that were queued at the same
    /// time, the one that was drafted earlier is before the other. A draft is before none.
    pub(super) fn was_queued_before(&self, other: &NoticeId, queued_at: Option<Timestamp>) -> bool {
        self.queued_at.is_some() && (self.queued_at, &self.id) < (queued_at, other)
    }

    /// Checks that deliveries of the notice may be sent again although notices were sent since.
    ///
    /// # Errors
    /// `Conflict` if a correction was sent after the notice.
    pub(crate) fn check_not_corrected_since(&self, conn: &mut Conn) -> Result<()> {
        match was_one_sent_since(conn, self)? {
            true => Err(Error::Conflict(
                "a correction was sent since; draft a catch-up of the notice, which goes to those who are affected now".to_owned(),
            )),
            false => Ok(()),
        }
    }
}

/// Checks that a draft may be sent as far as corrections are concerned. The caller has locked the incident.
///
/// # Errors
/// `Conflict` if it is a correction and its notice cannot be corrected now, or if another notice of the incident has a further wave,
/// which could reach people after their correction.
pub(super) fn check_sendable(conn: &mut Conn, draft: &Row) -> Result<()> {
    let Some(wrong) = corrected_by(conn, &draft.id)? else {
        return Ok(());
    };
    if let Some(why) = why_not(conn, &draft.incident_id, &wrong)? {
        return Err(Error::Conflict(format!(
            "the notice that this one corrects {why}"
        )));
    }
    let incidents = lineage::ids_with_merged(conn, &draft.incident_id)?;
    let in_waves: Option<String> = n::table
        .inner_join(w::table.on(w::notice_id.eq(n::id)))
        .filter(n::incident_id.eq_any(incidents))
        .filter(n::state.eq_any([NoticeState::Queued, NoticeState::Sending]))
        .filter(n::expand_cursor.lt(n::recipients + n::endpoints))
        .select(n::phase)
        .first(conn)
        .optional()?;
    match in_waves {
        Some(phase) => Err(Error::Conflict(format!(
            "a further wave of the {phase} notice of this incident is still to come; stop it first"
        ))),
        None => Ok(()),
    }
}

/// Checks the parts of a new notice that depend on whether it is a correction.
pub(super) fn check_parts(
    errors: &mut Vec<FieldError>,
    phase: Phase,
    corrects: Option<&NoticeId>,
    has_audience: bool,
    action: Option<&CustomerAction>,
) {
    if phase != Phase::Correction {
        if corrects.is_some() {
            let detail = "must be left out: only the phase correction corrects another notice";
            errors.push(FieldError::at("/corrects", detail));
        }
        return;
    }
    if corrects.is_none() {
        let detail = "is missing; write the ID of the notice that the correction is about";
        errors.push(FieldError::at("/corrects", detail));
    }
    check_unchangeable(errors, has_audience, action);
}

/// Checks what a correction cannot have, neither when it is drafted nor later.
pub(super) fn check_unchangeable(
    errors: &mut Vec<FieldError>,
    has_audience: bool,
    action: Option<&CustomerAction>,
) {
    if has_audience {
        let detail = "must be left out: a correction is for the people whom the corrected notice reached and the incident does \
                      not affect";
        errors.push(FieldError::at("/audience", detail));
    }
    if action.is_some_and(|action| action.required) {
        let detail = "must be false: a correction says that its readers need to do nothing";
        errors.push(FieldError::at("/customer_action/required", detail));
    }
}

/// Returns why a notice cannot be corrected within this incident, or `None` if it can.
pub(super) fn why_not(conn: &mut Conn, incident: &IncidentId, wrong: &NoticeId) -> Result<Option<String>> {
    // A notice of an incident that was merged into this one can be corrected here.
    let incidents = lineage::ids_with_merged(conn, incident)?;
    let wrong: Row = match row(conn, wrong) {
        Ok(found) if incidents.contains(&found.incident_id) => found,
        Ok(_) => return Ok(Some("is a notice of another incident".to_owned())),
        Err(Error::NotFound(_)) => return Ok(Some("is not the ID of a notice".to_owned())),
        Err(other) => return Err(other),
    };
    let state = wrong.state()?;
    Ok(if !state.is_over() {
        Some(format!(
            "is {state}; only a notice that was sent or stopped can be corrected"
        ))
    } else if wrong.phase()? == Phase::Correction {
        Some("is a correction itself".to_owned())
    } else if reminders::is_one(conn, &wrong.id)? {
        Some("is a reminder; correct the notice that asked its recipients".to_owned())
    } else {
        None
    })
}

/// Makes a draft a correction of another notice. It stays one.
///
/// # Errors
/// `Invalid` if that notice cannot be corrected.
pub(super) fn mark(tx: &mut Tx<'_>, draft: &Row, wrong: &NoticeId) -> Result<()> {
    if let Some(detail) = why_not(tx.conn, &draft.incident_id, wrong)? {
        return Err(Error::invalid("/corrects", detail));
    }
    diesel::insert_into(c::table)
        .values((
            c::notice_id.eq(draft.id.as_str()),
            c::corrects.eq(wrong.as_str()),
            c::created_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::NoticeCorrects, "notice", draft.id.as_str())
            .incident(&draft.incident_id)
            .after(json!({"corrects": wrong})),
    );
    Ok(())
}
