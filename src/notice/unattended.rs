//! Notices that nobody looks at before they go: drafted, planned, judged and queued in one transaction, through the same
//! plan as a person's preview and send. What is judged is what is frozen: nothing can change between the two.
//!
//! Must never happen here: a way to send that leaves out the plan, or a rule of when to send (that is the caller's).

use super::draft::{check_new, check_phase, insert, new_row};
use super::plan::{Plan, Sending, plan};
use super::send::freeze;
use super::{NewNotice, add_author, locked};
use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;

/// A notice that was written, and sent unless something held it back.
pub struct Written {
    /// The notice.
    pub id: NoticeId,
    /// Who would get what, or does.
    pub plan: Plan,
    /// Why it stays a draft; none: it was queued.
    pub held: Option<String>,
}

/// Drafts a notice, shows the judge who would get what, and queues it unless the judge says why not. `authors` are the
/// tokens that wrote its text: they may not approve it.
///
/// # Errors
/// `NotFound`; `Invalid`, field by field; what the judge answers; `Forbidden` where the plan needs a second person and the
/// judge let it pass. Then nothing is stored.
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
    insert(tx, &row)?;
    for author in authors {
        add_author(tx, &row.id, author)?;
    }
    let row = locked(tx, &row.id)?;
    let plan = plan(tx.conn, &row, sending)?;
    let held = judge(tx.conn, &plan)?;
    if held.is_none() {
        freeze(tx, &row, &plan, sending)?;
    }
    Ok(Written {
        id: row.id,
        plan,
        held,
    })
}

/// Who would get what if `author` wrote this notice now. Stores nothing.
///
/// # Errors
/// `NotFound`; `Invalid`, field by field.
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
