//! The findings that are the reasons why resources or people are affected.

use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::{Conn, bulk};

/// Stores the findings of affected resources: their key, and the finding as JSON.
///
/// # Errors
/// An error of the database.
pub(crate) fn of_resources(conn: &mut Conn, incident: &IncidentId, rows: &[(i64, String)]) -> Result<()> {
    let of = ("incident_resources", "resource_key");
    bulk::set_findings(conn, of, incident.as_str(), rows)
}

/// Stores the findings of people who are named directly: their key, and the finding as JSON.
///
/// # Errors
/// An error of the database.
pub(crate) fn of_people(conn: &mut Conn, incident: &IncidentId, rows: &[(i64, String)]) -> Result<()> {
    bulk::set_findings(conn, ("incident_people", "person_key"), incident.as_str(), rows)
}
