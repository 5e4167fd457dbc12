//! What a merge does, in words.

use crate::base::error::{Error, Result};
use crate::db::Conn;
use crate::http::admin::filled::Wrong;
use crate::http::admin::view::count;
use crate::http::ids::IncidentName;
use crate::incident::merge::Moved;
use crate::incident::{self, Incident};

/// Returns what a merge assigns to the other incident, and what it does not.
pub(super) fn moves(moved: &Moved) -> Vec<String> {
    let parts = [
        (moved.alerts, "alert", "alerts"),
        (moved.affected, "affected resource", "affected resources"),
        (
            moved.people,
            "person who is named directly",
            "people who are named directly",
        ),
        (moved.timeline, "timeline entry", "timeline entries"),
        (moved.next_steps, "next step", "next steps"),
        (
            moved.comparisons,
            "comparison of listings",
            "comparisons of listings",
        ),
        (
            moved.notices,
            "notice that was sent: whoever got it counts as notified",
            "notices that were sent: whoever got them counts as notified",
        ),
        (
            moved.drafts_left,
            "draft stays behind, and cannot be sent while the incident is merged",
            "drafts stay behind, and cannot be sent while the incident is merged",
        ),
    ];
    parts
        .into_iter()
        .filter(|(n, ..)| *n > 0)
        .map(|(n, one, many)| count(usize::try_from(n).unwrap_or_default(), one, many))
        .collect()
}

/// Returns the incident that a field names by its number, with or without `#`, or by its ID.
///
/// # Errors
/// `Invalid` at the field, if there is no such incident.
pub(super) fn named(conn: &mut Conn, field: &str, text: &str) -> Result<Incident> {
    let text = text.trim().trim_start_matches('#');
    let name = match text.parse() {
        Ok(number) => Some(IncidentName::Number(number)),
        Err(_) => crate::base::id::IncidentId::parse(text)
            .ok()
            .map(IncidentName::Id),
    };
    let found = match name {
        Some(IncidentName::Number(number)) => incident::by_number(conn, number),
        Some(IncidentName::Id(id)) => incident::get(conn, &id),
        None => Err(Error::NotFound(String::new())),
    };
    found.map_err(|error| match error {
        Error::NotFound(_) => Error::invalid(
            format!("/{field}"),
            "must be the number of an incident, such as 46",
        ),
        other => other,
    })
}

/// Returns the reasons of an error about the input.
///
/// # Errors
/// The error itself, if it is about something else.
pub(super) fn reasons(error: Error) -> Result<Vec<String>> {
    let mut wrong = Wrong::of(error)?;
    let mut reasons = Vec::new();
    for field in ["/into", "/from", "/reason", "/alerts", "/resources", "/title"] {
        reasons.extend(wrong.at(field));
    }
    reasons.extend(wrong.rest());
    Ok(reasons)
}
