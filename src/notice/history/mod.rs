//! What was told to somebody: every notice that was sent to a person, to an account or to an address, with what became of it.
//!
//! A row is a place in the frozen list of a notice, so a recipient whose email is not queued yet has a row too. What it says is
//! read from the frozen list and from the delivery, never from the directory: the address is the one that the email went to, and
//! an archived person keeps the history. Of the directory, only the memberships of an account are read, as they were when each
//! notice was queued.
//!
//! Invariants:
//! - A list is read in pages, the notice that was drafted last first. No page reads more than it needs: the place of a row in its
//!   index is its cursor.
//! - An index only finds rows. Whether a row is about a person is decided by the people of the frozen list.
//! - A draft tells nobody anything, so it has no rows.

mod answers;
mod corrected;
pub mod csv;
mod details;
mod entry;
mod keys;
mod list;
mod members;
mod rows;
mod told;

pub use entry::{HistoryAnswer, HistoryCorrection, HistoryEntry, HistoryIncident, Place};
pub use keys::{newest_incidents, newest_of_person};
pub use list::{Told, Wanted, list};
pub use told::{Tally, ToldNotice, tally, told};
