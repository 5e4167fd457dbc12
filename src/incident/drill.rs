//! Drills: incidents that are worked on as in earnest, while every email goes only to the addresses for drills.
//!
//! Whether an incident is a drill is decided when it is opened, and never changes. A drill gets no alerts, and its report is
//! not published.

use diesel::prelude::*;

use super::NewIncident;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::db::Conn;
use crate::db::schema::incidents as i;

/// Checks that a new incident may be opened. `to` are the addresses for drills.
///
/// # Errors
/// `Invalid` if it is a drill and there are no addresses for drills.
pub fn check(new: &NewIncident, to: &[String]) -> Result<()> {
    if new.drill && to.is_empty() {
        let detail = "a drill needs addresses that its emails go to: set CANDOR_DRILL_TO";
        return Err(Error::invalid("/drill", detail));
    }
    Ok(())
}

/// Returns those of the incidents that are drills.
///
/// # Errors
/// An error of the database.
pub fn among(conn: &mut Conn, incidents: &[&str]) -> Result<Vec<IncidentId>> {
    let mut drills = Vec::new();
    for chunk in incidents.chunks(500) {
        let found: Vec<IncidentId> = i::table
            .filter(i::id.eq_any(chunk))
            .filter(i::drill.eq(true))
            .select(i::id)
            .load(conn)?;
        drills.extend(found);
    }
    Ok(drills)
}
