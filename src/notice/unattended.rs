//! Notices that are sent without a person. They are drafted, planned, judged and queued in one transaction,
//! with the same plan as a preview and a send by a person. So exactly what was judged is frozen, and nothing
//! can change in between.
//!
//! Nothing is sent here without a plan. This module does not decide when to send. The caller does.

use super::add_author;
use super::draft::{NewNotice, check_new, check_phase, new_row};
use super::limits;
use super::placeholder;
use super::plan::{Plan, Sending, plan};
use super::row::locked;
use super::send::freeze;
use super::state::insert_draft;
use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;

/// A notice that was written, and was queued unless there was a reason against it.
pub struct Written {
    /// The ID of the notice.
    pub id: NoticeId,
    /// The plan of the notice: who would get or gets what.
    pub plan: Plan,
    /// Why the notice stays a draft. `None` if it was queued.
    pub held: Option<String>,
}

/// Drafts a notice, passes its plan to `judge`, and queues it unless `judge` returns a reason against it.
/// `authors` are the IDs of the tokens that wrote its text. They may not approve it.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` with each wrong field. The error of `judge`.
/// `Forbidden` if the plan needs an approval and `judge` returned no reason. In all cases nothing is stored.
pub fn write(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    new: &NewNotice,
    authors: &[String],
    sending: &Sending,
    judge: impl FnOnce(&mut Conn, &Plan) -> Result<Option<String>>,
) -> Result<Written> {
    check_new(tx.conn, new)?;
    check_phase(tx.conn, incident, new.phase)?;
    let author = tx.actor.id().to_owned();
    let row = new_row(tx.conn, &author, tx.now, incident, new)?;
    insert_draft(tx, &row)?;
    for author in authors {
        add_author(tx, &row.id, author)?;
    }
    let row = locked(tx, &row.id)?;
    let plan = plan(tx.conn, &row, sending)?;
    // What others send at the same time counts too.
    limits::hold(tx.conn)?;
    let held = judge(tx.conn, &plan)?
        .or_else(|| plan.missing_values.warning())
        .or_else(|| placeholder::warning(&plan.content))
        .or_else(|| plan.claims_too_much());
    if held.is_none() {
        freeze(tx, &row, &plan, sending)?;
    }
    Ok(Written {
        id: row.id,
        plan,
        held,
    })
}

/// Returns the plan of this notice if `author` wrote it now. Nothing is stored.
///
/// # Errors
/// `NotFound` if the incident does not exist, `Invalid` with each wrong field.
pub fn planned(
    conn: &mut Conn,
    author: &str,
    incident: &IncidentId,
    new: &NewNotice,
    sending: &Sending,
    now: Timestamp,
) -> Result<Plan> {
    check_new(conn, new)?;
    check_phase(conn, incident, new.phase)?;
    let row = new_row(conn, author, now, incident, new)?;
    plan(conn, &row, sending)
}
