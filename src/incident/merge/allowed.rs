//! Which incidents can be merged, and which episode the notices of a merged incident count for.

use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::select;

use super::locks::shown;
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::db::Conn;
use crate::db::schema::{delivery_counts as dc, notices as n};
use crate::incident::lineage;
use crate::incident::stored::{Incident, Status};

fn refused(detail: String) -> Error {
    Error::Conflict(detail).code(Code::MergeRefused)
}

/// Checks that an incident can be merged into another one.
///
/// # Errors
/// `Conflict` with the reason and its code.
pub(super) fn check(conn: &mut Conn, from: &Incident, into: &Incident) -> Result<()> {
    let (a, b) = (from.number, into.number);
    if into.id.is_of_maintenance() {
        return Err(refused(format!(
            "incident #{a} cannot be merged into a planned maintenance"
        )));
    }
    if from.id == into.id {
        return Err(refused(format!("incident #{a} cannot be merged into itself")));
    }
    lineage::check_not_merged(conn, &from.id)?;
    if into.status == Status::Merged {
        let root = lineage::root(conn, &into.id)?;
        if root == from.id {
            return Err(refused(format!(
                "incident #{b} is merged into #{a}, so #{a} cannot be merged into #{b}; undo that merge first"
            )));
        }
        let root = shown(conn, &root)?;
        return Err(Error::Conflict(format!(
            "incident #{b} is merged itself; merge #{a} into {root}, where #{b} is now"
        ))
        .code(Code::Merged));
    }
    if from.drill != into.drill {
        let (drill, real) = if from.drill { (a, b) } else { (b, a) };
        return Err(refused(format!(
            "incident #{drill} is a drill and #{real} is not; a drill notifies no customer, so they cannot be one"
        )));
    }
    if into.status == Status::Resolved && from.status.is_open() {
        return Err(refused(format!(
            "incident #{b} is resolved and #{a} is not; reopen #{b} first, or merge #{b} into #{a}"
        )));
    }
    let sending: Option<String> = n::table
        .filter(n::incident_id.eq(from.id.as_str()))
        .filter(n::state.eq_any(["queued", "sending"]))
        .select(n::phase)
        .first(conn)
        .optional()?;
    if let Some(phase) = sending {
        return Err(refused(format!(
            "the {phase} of incident #{a} is still being sent; wait until it is sent, or stop it, and then merge"
        )));
    }
    Ok(())
}

/// Returns by how much the episodes of a merged incident differ from those of the other one. The current episodes are the same one, so
/// whoever was notified in one of them counts as notified.
///
/// If the incident is over, customers were told so, and the other incident goes on, then its current episode counts as the one before:
/// these people must hear that it is not over.
///
/// # Errors
/// An error of the database.
pub(super) fn episode_shift(conn: &mut Conn, from: &Incident, into: &Incident) -> Result<i64> {
    let same = into.episode - from.episode;
    if from.status != Status::Resolved || !into.status.is_open() {
        return Ok(same);
    }
    let reached = dc::table
        .filter(dc::notice_id.eq(n::id))
        .filter(dc::state.eq_any(["sent", "bounced"]))
        .filter(dc::count.gt(0));
    let told = n::table
        .filter(n::incident_id.eq(from.id.as_str()))
        .filter(n::episode.eq(from.episode))
        .filter(n::phase.eq_any(["resolution", "report"]))
        .filter(exists(reached));
    let told: bool = select(exists(told)).get_result(conn)?;
    Ok(if told { same - 1 } else { same })
}
