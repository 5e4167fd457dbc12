//! The parts of an incident's page that explain why a person is affected or not, and who owned the affected
//! resources at the start of the incident.
//!
//! The answers are always the same as those of the API.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::view::{When, count, grouped, person_path};
use crate::audience::{self, At, Audience, Change, Difference, Explained, Rule, Who};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;

/// The number of people who are listed. The rest is only counted.
const MAX: usize = 10;

/// Explains the place of the person with this ID, or of everybody with this address. The result is empty if
/// the directory has no such person.
///
/// # Errors
/// An error of the database.
pub fn explained(conn: &mut Conn, incident: &IncidentId, who: &str) -> Result<Vec<Explained>> {
    for who in [Who::Person(who.to_owned()), Who::Address(who.to_owned())] {
        match audience::explain(conn, incident, &who, &Rule::default()) {
            Err(Error::NotFound(_)) => {}
            other => return other,
        }
    }
    Ok(Vec::new())
}

/// Returns the form, and the explanation if a person was asked about.
pub fn section(asked: Option<&str>, explained: &[Explained], path: &str) -> Value {
    json!({
        "path": path,
        "asked": asked,
        "nobody": asked.is_some() && explained.is_empty(),
        "people": explained.iter().map(|one| json!({
            "name": one.person.name,
            "id": one.person.id,
            "path": person_path(&one.person.id),
            "email": one.person.email,
            "in_audience": one.in_audience,
            "reachable": one.reachable,
            "rule": one.rule,
            "steps": one.steps.iter().map(|step| json!({
                "ok": step.ok, "about": step.about, "detail": step.detail,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

/// Compares the current audience with the audience at the start of the incident.
///
/// # Errors
/// An error of the database.
pub fn since(
    conn: &mut Conn,
    incident: &IncidentId,
    started: Timestamp,
    now: &Audience,
) -> Result<Difference> {
    let then = audience::resolve_by(conn, incident, &Rule::default(), At::Then(started))?;
    Ok(audience::compare(&then, now))
}

/// Returns the people who owned affected resources at the start and do not own them now, and the reverse.
pub fn since_section(difference: &Difference, started: Timestamp, zone: Option<&TimeZone>) -> Value {
    let of = |change: Change| {
        let people = difference.people.iter().filter(move |one| one.change == change);
        people
            .take(MAX)
            .map(|one| json!({"name": one.person.name, "path": person_path(&one.person.id)}))
            .collect::<Vec<_>>()
    };
    let counts = difference.counts;
    json!({
        "started": When::new(started, zone),
        "any": counts.removed > 0,
        "removed_title": count(
            counts.removed,
            "person was affected when the incident started, but no longer is",
            "people were affected when the incident started, but no longer are",
        ),
        "removed": of(Change::Removed),
        "removed_more": counts.removed.saturating_sub(MAX),
        "added": grouped(counts.added as i64),
        "changed": grouped(counts.changed as i64),
        "others": counts.added + counts.changed > 0,
        "not_known": (counts.not_known_then > 0).then(|| count(
            counts.not_known_then,
            "affected resource was not in the directory then",
            "affected resources were not in the directory then",
        )),
    })
}
