//! Planned maintenance, as the public reads it.

use serde::Serialize;

use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;

word_enum! {
    /// The state of a planned maintenance.
    MaintenanceState, "a state of a maintenance" {
        /// It has not begun.
        Scheduled = "scheduled",
        /// It is being done.
        InProgress = "in_progress",
        /// It is over.
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
    /// When it begins.
    pub starts_at: Timestamp,
    /// When it ends.
    pub ends_at: Timestamp,
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
            now if now < self.starts_at => MaintenanceState::Scheduled,
            now if now < self.ends_at => MaintenanceState::InProgress,
            _ => MaintenanceState::Completed,
        }
    }
}

/// Returns the public maintenances that are not over for long. There is no table of them yet, so there are none: what stores
/// maintenances is read here.
///
/// # Errors
/// An error of the database.
pub(super) fn public(_conn: &mut Conn) -> Result<Vec<Maintenance>> {
    Ok(Vec::new())
}
