//! Which notices are corrections: they tell people that the incident does not affect them, after another notice reached them.

use std::collections::HashMap;

use diesel::prelude::*;
use serde_json::json;

use super::reminders;
use super::row::{CustomerAction, Row, row};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::db::Conn;
use crate::db::schema::notice_corrections as c;
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
    let wrong: Row = match row(conn, wrong) {
        Ok(found) if found.incident_id == *incident => found,
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
