//! Planned maintenance, as the public reads it.

use serde::Serialize;

use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::maintenance;

/// The largest number of maintenances that are public.
const MOST: i64 = 200;

word_enum! {
    /// The state of a planned maintenance.
    #[schema(as = PublicMaintenanceState)]
    MaintenanceState, "a state of a maintenance" {
        /// It has not begun.
        Scheduled = "scheduled",
        /// It is being done.
        InProgress = "in_progress",
        /// The planned end of the maintenance has passed.
        Completed = "completed",
    }
}

/// A planned maintenance. It is never an incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Maintenance {
    /// The ID of the maintenance.
    pub id: String,
    /// The title that the public reads.
    pub title: String,
    /// The message that the public reads.
    pub message: String,
    /// When the maintenance begins, by plan.
    pub starts_at: Timestamp,
    /// When the maintenance ends, by plan.
    pub ends_at: Timestamp,
    /// Whether it has begun. An operator can begin it before its time.
    pub begun: bool,
    /// The IDs of the components that it affects.
    pub components: Vec<String>,
    /// When it was announced.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Maintenance {
    /// Returns the state at a time.
    pub fn state(&self, now: Timestamp) -> MaintenanceState {
        match now {
            now if now < self.starts_at && !self.begun => MaintenanceState::Scheduled,
            now if now < self.ends_at => MaintenanceState::InProgress,
            _ => MaintenanceState::Completed,
        }
    }
}

/// Returns the maintenances that the public reads: those that are going on or still to come, if they name a component. The others are
/// only for the customers whom they affect.
///
/// # Errors
/// An error of the database.
pub(super) fn public(conn: &mut Conn) -> Result<Vec<Maintenance>> {
    let planned = maintenance::current_and_upcoming(conn, MOST)?;
    let public = planned.into_iter().filter(|one| !one.components.is_empty());
    Ok(public
        .map(|one| Maintenance {
            id: one.id.to_string(),
            begun: one.state == maintenance::MaintenanceState::InProgress,
            title: one.title,
            message: one.message,
            starts_at: one.starts_at,
            ends_at: one.ends_at,
            components: one.components,
            created_at: one.created_at,
            updated_at: one.updated_at,
        })
        .collect())
}
