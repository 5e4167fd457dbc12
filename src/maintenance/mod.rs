//! Planned maintenance: what is planned when, which resources it affects, and how far it is. Customers hear of it by notices
//! ([`crate::notice::planned`]). It is no incident, and it keeps no alert from opening one: that is what a maintenance window does.
//!
//! `check` checks what is asked for, `stored` reads and writes the maintenances, and `runner` begins and ends them by the clock.

mod check;
pub mod runner;
mod stored;

pub use check::{Cancel, ChangeAffected, Move, NewMaintenance, Said};
pub use stored::{
    Maintenance, MaintenanceState, begin, cancel, change_affected, count, create, current_and_upcoming,
    finish, get, list, locked, reschedule,
};
