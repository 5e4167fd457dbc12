//! Merges one incident into another one.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::locks::lock;
use super::moved::Moved;
use super::{allowed, links, rows};
use crate::audit::{Action, Event, Tx};
use crate::base::check::{Check, check_text};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{incident_merges as m, incidents as i, notices as n};
use crate::incident::stored::{Incident, Status, get};
use crate::incident::{timeline, window};

/// A request to merge an incident into another one.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// The ID of the incident that it is merged into.
    pub into: IncidentId,
    /// Why. It is shown on the timelines. Customers do not see it.
    #[serde(default)]
    pub reason: Option<String>,
    /// If true, nothing changes, and the answer says what would.
    #[serde(default)]
    pub dry_run: bool,
}

/// The result of a merge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Merged {
    /// The ID of the incident that it is merged into.
    pub into: IncidentId,
    /// What counts for that incident from now on.
    pub moved: Moved,
    /// Whether nothing was changed.
    pub dry_run: bool,
}

/// Returns what a merge would do, and changes nothing.
///
/// # Errors
/// The same as for [`merge`].
pub fn preview(conn: &mut Conn, from: &IncidentId, into: &IncidentId) -> Result<Merged> {
    let (from, into) = (get(conn, from)?, target(conn, into)?);
    allowed::check(conn, &from, &into)?;
    Ok(Merged {
        moved: links::count(conn, &from.id)?,
        into: into.id,
        dry_run: true,
    })
}

/// Merges an incident into another one.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if the other one does not exist or the reason is not valid. `Conflict` with
/// the code `merged` if one of them is merged already, and with `merge_refused` if they cannot be merged: it is the same incident, one
/// is a drill, the other one is resolved and this one is not, or a notice of this one is being sent.
pub fn merge(tx: &mut Tx<'_>, from: &IncidentId, into: &IncidentId, reason: Option<&str>) -> Result<Merged> {
    let reason = check_reason(reason)?;
    let (from, into) = (get(tx.conn, from)?.id, target(tx.conn, into)?.id);
    lock(tx.conn, &[&from, &into])?;
    // What was read before the lock may have changed.
    let (from, into) = (get(tx.conn, &from)?, get(tx.conn, &into)?);
    allowed::check(tx.conn, &from, &into)?;
    let moved = links::count(tx.conn, &from.id)?;
    let shift = allowed::episode_shift(tx.conn, &from, &into)?;
    links::assign(tx.conn, &from.id, &into.id)?;
    rows::take(tx, &from, &into)?;
    links::recount(tx.conn, &[&from.id, &into.id])?;
    window::widen(tx, &into.id, from.started_at)?;
    let widened = get(tx.conn, &into.id)?.started_at != into.started_at;
    diesel::update(i::table.find(from.id.as_str()))
        .set((
            i::status.eq(Status::Merged.as_str()),
            i::resolved_at.eq(None::<Timestamp>),
            i::merged_into.eq(Some(into.id.as_str())),
            i::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    diesel::insert_into(m::table)
        .values((
            m::incident_id.eq(from.id.as_str()),
            m::into_id.eq(into.id.as_str()),
            m::merged_at.eq(tx.now),
            m::merged_by.eq(tx.actor.name()),
            m::reason.eq(reason),
            m::status_before.eq(from.status.as_str()),
            m::resolved_at.eq(from.resolved_at),
            m::into_started_at.eq(widened.then_some(into.started_at)),
            m::episode_shift.eq(shift),
        ))
        .execute(tx.conn)?;
    say(tx, &from, &into, reason, moved)?;
    Ok(Merged {
        into: into.id,
        moved,
        dry_run: false,
    })
}

/// Writes the merge on both timelines and in the audit trail.
fn say(tx: &mut Tx<'_>, from: &Incident, into: &Incident, reason: Option<&str>, moved: Moved) -> Result<()> {
    let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let text = format!("Merged into #{}{why}", into.number);
    timeline::note(tx, &from.id, timeline::Kind::Note, tx.now, &text)?;
    let text = format!(
        "#{} \u{201c}{}\u{201d} was merged into this incident{why}",
        from.number, from.title
    );
    timeline::note(tx, &into.id, timeline::Kind::Note, tx.now, &text)?;
    if let Some(at) = promised(tx.conn, &from.id)?.filter(|at| *at > tx.now) {
        let text = format!(
            "The customers of #{} were promised the next update until {at}",
            from.number
        );
        timeline::note(tx, &into.id, timeline::Kind::Note, tx.now, &text)?;
    }
    let before = json!({"status": from.status, "resolved_at": from.resolved_at});
    tx.record(
        Event::new(Action::IncidentMerged, "incident", from.id.as_str())
            .incident(&from.id)
            .before(before)
            .after(json!({"into": into.id, "number": into.number, "reason": reason, "moved": moved})),
    );
    tx.record(
        Event::new(Action::IncidentTookMerged, "incident", into.id.as_str())
            .incident(&into.id)
            .after(json!({"merged": from.id, "number": from.number, "reason": reason, "moved": moved})),
    );
    Ok(())
}

/// Returns when the last notice of an incident promised the next update.
fn promised(conn: &mut Conn, incident: &IncidentId) -> Result<Option<Timestamp>> {
    let last: Option<Option<Timestamp>> = n::table
        .filter(n::incident_id.eq(incident.as_str()))
        .filter(n::queued_at.is_not_null())
        .order((n::queued_at.desc(), n::id.desc()))
        .select(n::next_update_due_at)
        .first(conn)
        .optional()?;
    Ok(last.flatten())
}

/// Returns the reason without white space around it. An empty one is none.
fn check_reason(reason: Option<&str>) -> Result<Option<&str>> {
    let mut check = Check::default();
    if let Some(reason) = reason {
        check_text(&mut check.errors, "/reason", reason);
    }
    check.finish()?;
    Ok(reason.map(str::trim).filter(|reason| !reason.is_empty()))
}

/// Returns the incident that another one is to be merged into.
fn target(conn: &mut Conn, into: &IncidentId) -> Result<Incident> {
    get(conn, into).map_err(|error| match error {
        Error::NotFound(_) => Error::invalid("/into", "is not the ID of an incident"),
        other => other,
    })
}
