//! The time until which a notice promises the next update.
//!
//! A notice never promises a time that has passed, and a notice that says that the incident is over promises nothing.

use super::row::Row;
use crate::base::error::{Error, FieldError, Result};
use crate::base::time::Timestamp;
use crate::notice::template::Phase;

/// The field of the API.
const FIELD: &str = "/next_update_due_at";

/// Checks the promise of a draft.
pub(super) fn check(errors: &mut Vec<FieldError>, phase: Phase, due: Option<Timestamp>, now: Timestamp) {
    let Some(due) = due else { return };
    if !matches!(phase, Phase::Detection | Phase::Update) {
        errors.push(FieldError::at(
            FIELD,
            format!("must be left out: a {phase} notice promises no next update"),
        ));
    } else if due <= now {
        errors.push(FieldError::at(
            FIELD,
            format!("must be in the future; the time of this server is {now}"),
        ));
    }
}

/// Checks that the promise of a notice that is being sent is still about the future.
///
/// # Errors
/// `Invalid` if the time has passed.
pub(super) fn require_ahead(row: &Row, now: Timestamp) -> Result<()> {
    match passed(row, now) {
        Some(why) => Err(Error::invalid(FIELD, why)),
        None => Ok(()),
    }
}

/// Returns the warning of a preview about a promise that cannot be kept any more.
pub(super) fn warning(row: &Row, now: Timestamp) -> Option<String> {
    passed(row, now).map(|why| format!("the next update {why}"))
}

fn passed(row: &Row, now: Timestamp) -> Option<String> {
    row.next_update_due_at.filter(|due| *due <= now).map(|due| {
        format!("is promised by {due}, which has passed: change the time or remove it, and preview the notice again")
    })
}
