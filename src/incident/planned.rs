//! The row behind a planned maintenance. Affected resources, notices and deliveries hang on an incident, and all of their rules apply to
//! a maintenance too. So a maintenance has a row like an incident, which is none:
//!
//! - Its number is negative. Lists, searches and counts of incidents read positive numbers only.
//! - It is never open, so nothing waits for it: no alert, no policy, no operator.
//! - Its ID is a UUID of version 8, which no path of an incident accepts.

use diesel::prelude::*;

use super::stored::{IncidentRow, Severity, Status};
use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::schema::incidents as i;

/// Returns the number of an incident for its readers. Returns `None` for the row behind a planned maintenance.
pub fn incident_number(number: i64) -> Option<i64> {
    (number > 0).then_some(number)
}

/// Creates the row behind the maintenance with this number.
///
/// # Errors
/// An error of the database.
pub fn create(tx: &mut Tx<'_>, number: i64, title: &str) -> Result<IncidentId> {
    let id = IncidentId::of_maintenance(tx.now);
    let row = IncidentRow {
        id: id.clone(),
        number: -number,
        title: title.to_owned(),
        severity: Severity::Minor.as_str().to_owned(),
        status: Status::Resolved.as_str().to_owned(),
        summary: None,
        time_zone: None,
        started_at: tx.now,
        detected_at: tx.now,
        // Without this time, it is not among what was resolved lately.
        resolved_at: None,
        created_at: tx.now,
        updated_at: tx.now,
        earlier_id: None,
        alerts_received: 0,
        alert_count: 0,
        episode: 1,
        drill: false,
        headline: None,
        owner: None,
        merged_into: None,
    };
    diesel::insert_into(i::table).values(&row).execute(tx.conn)?;
    Ok(id)
}
