//! Sends a draft at once if it is for one person and nobody else, for example after the address of that person was corrected.
//!
//! The plan, the limits and the approvals are those of every other notice. A draft that is for more people stays a draft, because
//! somebody must read it first.

use super::draft::check_phase;
use super::limits;
use super::plan::{Sending, is_missing, plan};
use super::row::{locked, row};
use super::send::freeze;
use super::state::require_draft;
use crate::audit::Tx;
use crate::base::count::counted;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::db::Conn;

/// What became of a draft that should go to one person.
pub enum ToOne {
    /// It was frozen and queued, exactly as it was planned in this transaction.
    Queued,
    /// It stays a draft. The text says why.
    Draft(String),
    /// It is not for this person.
    NotForThem,
}

/// Queues a draft if its only recipient is this person.
///
/// # Errors
/// `NotFound` if the notice does not exist. `Conflict` if it is not a draft, or if its phase does not fit the incident.
pub fn send_to_one(tx: &mut Tx<'_>, id: &NoticeId, person: &str, sending: &Sending) -> Result<ToOne> {
    let row = locked(tx, id)?;
    require_draft(&row)?;
    check_phase(tx.conn, &row.incident_id, row.phase()?)?;
    let plan = plan(tx.conn, &row, sending)?;
    // What others send at the same time counts too.
    limits::hold(tx.conn)?;
    let (mut theirs, mut people) = (false, 0);
    for packed in plan.recipients.iter() {
        let head = packed.head()?;
        people += head.people.len();
        theirs |= head.people.iter().any(|one| one == person);
    }
    if !theirs {
        return Ok(ToOne::NotForThem);
    }
    if people > 1 || !plan.endpoints.is_empty() {
        return Ok(ToOne::Draft(format!(
            "it goes to {} and {}, because others have not got it either; read the draft and send it",
            counted(people, "person", "people"),
            counted(plan.endpoints.len(), "system of accounts", "systems of accounts")
        )));
    }
    if let Some(missing) = plan.missing_values.warning() {
        return Ok(ToOne::Draft(missing));
    }
    match freeze(tx, &row, &plan, sending) {
        Ok(()) => Ok(ToOne::Queued),
        Err(Error::Coded(_, inner)) if matches!(*inner, Error::Forbidden(_)) => {
            Ok(ToOne::Draft(inner.to_string()))
        }
        Err(Error::Forbidden(detail)) => Ok(ToOne::Draft(detail)),
        Err(error) => Err(error),
    }
}

/// Returns whether a catch-up of this notice would go to this person.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn would_catch_up(conn: &mut Conn, id: &NoticeId, person: &str) -> Result<bool> {
    let row = row(conn, id)?;
    is_missing(conn, &row, person)
}
