//! Discards a draft. Its text, its values and its approvals are deleted. The audit trail keeps who wrote, approved and discarded it.
//!
//! A notice that was sent is never discarded, and the ID of a discarded draft is never used again. The database refuses both.

use diesel::prelude::*;
use serde_json::json;

use super::row::locked;
use super::state::require_draft;
use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::db::schema::{
    answer_reminders as r, automation_recovery_runs as rr, automation_runs as ar, discarded_notices as dn,
    maintenance_notices as m, notice_approvals as a, notice_authors as w, notice_corrections as c,
    notice_values as v, notices as n,
};

/// Discards a draft.
///
/// # Errors
/// `NotFound` if the notice does not exist, `Conflict` if it is not a draft any more.
pub fn discard(tx: &mut Tx<'_>, id: &NoticeId) -> Result<()> {
    let row = locked(tx, id)?;
    require_draft(&row)?;
    diesel::insert_into(dn::table)
        .values((
            dn::notice_id.eq(id.as_str()),
            dn::incident_id.eq(row.incident_id.as_str()),
            dn::at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    diesel::delete(v::table.filter(v::notice_id.eq(id.as_str()))).execute(tx.conn)?;
    diesel::delete(w::table.filter(w::notice_id.eq(id.as_str()))).execute(tx.conn)?;
    diesel::delete(a::table.filter(a::notice_id.eq(id.as_str()))).execute(tx.conn)?;
    diesel::delete(c::table.filter(c::notice_id.eq(id.as_str()))).execute(tx.conn)?;
    diesel::delete(m::table.find(id.as_str())).execute(tx.conn)?;
    diesel::delete(r::table.filter(r::notice_id.eq(id.as_str()))).execute(tx.conn)?;
    // The decision of the policy that drafted it stays.
    diesel::update(ar::table.filter(ar::notice_id.eq(id.as_str())))
        .set(ar::notice_id.eq(None::<String>))
        .execute(tx.conn)?;
    diesel::update(rr::table.filter(rr::incident_id.eq(row.incident_id.as_str())))
        .filter(rr::notice_id.eq(id.as_str()))
        .set(rr::notice_id.eq(None::<String>))
        .execute(tx.conn)?;
    diesel::delete(n::table.find(id.as_str())).execute(tx.conn)?;
    tx.record(
        Event::new(Action::NoticeDiscarded, "notice", id.as_str())
            .incident(&row.incident_id)
            .before(json!({
                "phase": row.phase, "subject": row.subject, "headline": row.headline, "message": row.message,
                "customer_action": row.action()?, "translations": row.translations()?, "audience": row.rule()?, "catch_up_of": row.catch_up_of,
                "next_update_due_at": row.next_update_due_at,
            })),
    );
    Ok(())
}
