//! The start time of an incident. Alerts move it back, until an operator sets it. After that, no alert
//! changes it.

use diesel::dsl::{exists, not};
use diesel::prelude::*;
use serde_json::json;

use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::dialect::on_backend;
use crate::db::schema::{incident_starts as s, incidents as i};

/// Marks the start time as set by an operator. From then on, no alert moves it.
pub fn hold(tx: &mut Tx<'_>, id: &IncidentId) -> Result<()> {
    on_backend!(&mut *tx.conn, c => diesel::insert_into(s::table)
        .values((s::incident_id.eq(id.as_str()), s::set_at.eq(tx.now)))
        .on_conflict(s::incident_id)
        .do_nothing()
        .execute(c))?;
    Ok(())
}

/// Moves the start time back to `at`, unless it is already as early or an operator has set it.
pub(crate) fn widen(tx: &mut Tx<'_>, id: &IncidentId, at: Timestamp) -> Result<()> {
    let by_hand = s::table.filter(s::incident_id.eq(id.as_str()));
    let later: Option<Timestamp> = i::table
        .filter(i::id.eq(id.as_str()))
        .filter(i::started_at.gt(at))
        .filter(not(exists(by_hand)))
        .select(i::started_at)
        .first(tx.conn)
        .optional()?;
    let Some(before) = later else { return Ok(()) };
    diesel::update(i::table.find(id.as_str()))
        .set((i::started_at.eq(at), i::updated_at.eq(tx.now)))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::IncidentChanged, "incident", id.as_str())
            .incident(id)
            .before(json!({"started_at": before}))
            .after(json!({"started_at": at})),
    );
    Ok(())
}
