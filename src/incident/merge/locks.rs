//! The locks of a change of several incidents.

use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::{Conn, dialect};
use crate::incident::stored::number;

/// Takes the locks for a change of several incidents: first the one of intake, so that no alert is placed meanwhile, and then those of
/// the incidents.
pub(super) fn lock(conn: &mut Conn, incidents: &[&IncidentId]) -> Result<()> {
    dialect::lock_intake(conn)?;
    let ids: Vec<&str> = incidents.iter().map(|id| id.as_str()).collect();
    dialect::lock_whole_incidents(conn, &ids)
}

/// Returns the number of an incident, as pages and messages show it.
pub(super) fn shown(conn: &mut Conn, incident: &IncidentId) -> Result<String> {
    Ok(format!("#{}", number(conn, incident)?))
}
