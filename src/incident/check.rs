//! Checks of the fields of a request that opens or changes an incident or its timeline.

use crate::base::error::{Error, FieldError, Result};
use crate::base::time::Timestamp;

/// The longest title, in characters.
const MAX_TITLE: usize = 300;

pub(super) fn check_title(errors: &mut Vec<FieldError>, title: &str) {
    if title.trim().is_empty() {
        errors.push(FieldError::at("/title", "must not be empty"));
    }
    if title.chars().count() > MAX_TITLE {
        errors.push(FieldError::at(
            "/title",
            format!("is longer than {MAX_TITLE} characters"),
        ));
    }
    if title.chars().any(char::is_control) {
        errors.push(FieldError::at(
            "/title",
            "contains a control character, such as a line break",
        ));
    }
}

/// The longest name of an owner, in characters.
const MAX_OWNER: usize = 120;

pub(super) fn check_owner(errors: &mut Vec<FieldError>, owner: Option<&str>) {
    let Some(owner) = owner else { return };
    if owner.trim().is_empty() {
        errors.push(FieldError::at(
            "/owner",
            "must not be empty; null removes the owner",
        ));
    }
    if owner.chars().count() > MAX_OWNER {
        errors.push(FieldError::at(
            "/owner",
            format!("is longer than {MAX_OWNER} characters"),
        ));
    }
    if owner.chars().any(char::is_control) {
        errors.push(FieldError::at(
            "/owner",
            "contains a control character, such as a line break",
        ));
    }
}

pub(super) fn check_past(errors: &mut Vec<FieldError>, pointer: &str, at: Option<Timestamp>, now: Timestamp) {
    // One minute of tolerance, because clocks differ.
    if at.is_some_and(|at| at > now.plus(std::time::Duration::from_secs(60))) {
        errors.push(FieldError::at(
            pointer,
            format!("must not be in the future; the time of this server is {now}"),
        ));
    }
}

pub(super) fn finish(errors: Vec<FieldError>) -> Result<()> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::fields(errors))
    }
}

/// Checks that an incident does not end before it began.
pub(super) fn check_order(
    started_at: Timestamp,
    resolved_at: Option<Timestamp>,
    pointer: &str,
) -> Result<()> {
    match resolved_at {
        Some(resolved_at) if resolved_at < started_at => Err(Error::invalid(
            pointer,
            format!(
                "the incident would end at {resolved_at}, before its start at {started_at}; change the other time first"
            ),
        )),
        _ => Ok(()),
    }
}
