//! Backups: one consistent file, which is written while the service runs. It is always an SQLite database, even if it was made
//! from PostgreSQL. So a backup can be inspected, and it can move a service from one database to the other.
//!
//! `copy` writes and restores a file, `check` is the restore drill, `settings` says where, when and how many, `history` is the
//! record of what was made, `claims` is what a process does with it, and `runner` is the service that makes backups by the schedule or because somebody asked.
//!
//! - An incomplete backup never has the name of a complete one.
//! - There is never more than one backup being made, also with several processes.
//! - The newest good backup is never removed by the retention.
//! - A backup that fails, and a drill that fails, is a fault on the page Now until a later one succeeds.

mod check;
mod claims;
mod copy;
mod history;
mod retention;
mod runner;
pub mod settings;

pub use check::{Drill, check};
pub use copy::{Written, backup, restore};
pub use history::{
    Backup, BackupState, Cause, CheckState, Standing, get, list, request, request_check, standing,
};
pub use retention::newest;
pub use runner::Backups;
pub use settings::{BackupSettings, Keep};
