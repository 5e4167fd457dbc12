//! Undoes a merge: an incident gets back what was its own, and what came since stays where it is.

use diesel::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::locks::{lock, shown};
use super::moved::Moved;
use super::{links, rows};
use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{incident_merges as m, incidents as i};
use crate::incident::lineage;
use crate::incident::stored::{Incident, Status, get};
use crate::incident::timeline;

/// The result of the undo of a merge.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Unmerged {
    /// The incident, with the status that it had before the merge.
    pub incident: Incident,
    /// The incident that it was merged into.
    pub from: IncidentId,
    /// What is its own again. The notices are those that were sent before the merge.
    pub moved: Moved,
}

/// An incident that is merged into another one.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct MergedHere {
    /// The incident that is merged. Its status is `merged`.
    pub incident: Incident,
    /// When it was merged.
    pub merged_at: Timestamp,
    /// The name of who merged it.
    pub merged_by: String,
    /// Why, if somebody wrote it.
    pub reason: Option<String>,
}

/// Returns the incidents that are merged directly into this one, the last one first.
///
/// # Errors
/// An error of the database.
pub fn into_this(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<MergedHere>> {
    let rows: Vec<(IncidentId, Timestamp, String, Option<String>)> = m::table
        .filter(m::into_id.eq(incident.as_str()))
        .order((m::merged_at.desc(), m::incident_id.desc()))
        .select((m::incident_id, m::merged_at, m::merged_by, m::reason))
        .load(conn)?;
    rows.into_iter()
        .map(|(id, merged_at, merged_by, reason)| {
            Ok(MergedHere {
                incident: get(conn, &id)?,
                merged_at,
                merged_by,
                reason,
            })
        })
        .collect()
}

/// Returns the incidents that this one is part of: the one that it is merged into, the one that that is merged into, and so on.
fn above(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<IncidentId>> {
    let mut above = Vec::new();
    let mut at = incident.clone();
    while let Some(into) = lineage::merged_into(conn, &at)? {
        above.push(into.clone());
        at = into;
    }
    Ok(above)
}

/// Undoes the merge of an incident. If the incident that it was merged into is merged itself, that merge stays.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Conflict` with the code `not_merged` if it is not merged.
pub fn unmerge(tx: &mut Tx<'_>, incident: &IncidentId) -> Result<Unmerged> {
    get(tx.conn, incident)?;
    // A merge that was not committed when the incidents were read is waited for, and then they are read again.
    let parents = loop {
        let parents = above(tx.conn, incident)?;
        let all: Vec<&IncidentId> = std::iter::once(incident).chain(&parents).collect();
        lock(tx.conn, &all)?;
        if above(tx.conn, incident)? == parents {
            break parents;
        }
    };
    let before = get(tx.conn, incident)?;
    let (Some(parent), Some(root)) = (parents.first(), parents.last()) else {
        return Err(
            Error::Conflict(format!("incident #{} is not merged", before.number)).code(Code::NotMerged),
        );
    };
    type Row = (String, Option<Timestamp>, Option<Timestamp>);
    let (status, resolved_at, into_started_at): Row = m::table
        .find(incident.as_str())
        .select((m::status_before, m::resolved_at, m::into_started_at))
        .first(tx.conn)?;
    let status = Status::parse(&status).map_err(Error::internal)?;
    let own = lineage::ids_with_merged(tx.conn, incident)?;
    links::give_back(tx.conn, incident, &own, root)?;
    diesel::delete(m::table.find(incident.as_str())).execute(tx.conn)?;
    diesel::update(i::table.find(incident.as_str()))
        .set((
            i::status.eq(status.as_str()),
            i::resolved_at.eq(resolved_at),
            i::merged_into.eq(None::<&str>),
            i::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    for one in &parents {
        rows::release(tx, one)?;
    }
    links::recount(tx.conn, &[incident, root])?;
    narrow(tx, &before, parent, into_started_at)?;
    let parent_number = shown(tx.conn, parent)?;
    let text = format!("The merge into {parent_number} was undone");
    timeline::note(tx, incident, timeline::Kind::Note, tx.now, &text)?;
    let text = format!(
        "The merge of #{} \u{201c}{}\u{201d} was undone",
        before.number, before.title
    );
    timeline::note(tx, root, timeline::Kind::Note, tx.now, &text)?;
    let moved = links::count(tx.conn, incident)?;
    tx.record(
        Event::new(Action::IncidentUnmerged, "incident", incident.as_str())
            .incident(incident)
            .before(json!({"into": parent}))
            .after(json!({"status": status, "resolved_at": resolved_at, "moved": moved})),
    );
    tx.record(
        Event::new(Action::IncidentGaveBack, "incident", parent.as_str())
            .incident(parent)
            .after(json!({"incident": incident, "number": before.number, "moved": moved})),
    );
    Ok(Unmerged {
        incident: get(tx.conn, incident)?,
        from: parent.clone(),
        moved,
    })
}

/// Moves the start of the other incident forward again, if the merge moved it back and nothing has changed it since.
fn narrow(
    tx: &mut Tx<'_>,
    incident: &Incident,
    parent: &IncidentId,
    before: Option<Timestamp>,
) -> Result<()> {
    let Some(before) = before else { return Ok(()) };
    diesel::update(
        i::table
            .find(parent.as_str())
            .filter(i::started_at.eq(incident.started_at)),
    )
    .set((i::started_at.eq(before), i::updated_at.eq(tx.now)))
    .execute(tx.conn)?;
    Ok(())
}
