//! Whether an incident has recovery states, and how many of its affected resources are not recovered.

use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::select;

use super::state::State;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::Conn;
use crate::db::schema::{incident_resources as ir, recovery_states as s};

/// Returns whether the incident has recovery states.
///
/// # Errors
/// An error of the database.
pub fn in_use(conn: &mut Conn, incident: &IncidentId) -> Result<bool> {
    let of_incident = s::table.filter(s::incident_id.eq(incident.as_str()));
    Ok(select(exists(of_incident)).get_result(conn)?)
}

/// Returns the number of affected resources that are not recovered. A resource without a state counts as impaired.
///
/// # Errors
/// An error of the database.
pub(super) fn count_not_recovered(conn: &mut Conn, incident: &IncidentId) -> Result<i64> {
    Ok(ir::table
        .left_join(
            s::table.on(s::incident_id
                .eq(ir::incident_id)
                .and(s::resource_key.eq(ir::resource_key))),
        )
        .filter(ir::incident_id.eq(incident.as_str()))
        .filter(ir::removed_at.is_null())
        .filter(s::state.is_null().or(s::state.ne(State::Recovered.as_str())))
        .count()
        .get_result(conn)?)
}
