//! Evidence: one file about an incident that convinces somebody who has no access to Candor. It contains what happened, who was
//! notified of what, when and why, the emails as they were sent, and the audit events with the proofs that they are in the trail.
//!
//! ```text
//! data, emails, page ─► manifest ─► event evidence.exported ─► checkpoint, events and proofs
//! ```
//!
//! The manifest holds the hash of each file and the hashes of the events, and the event holds the hash of the manifest. The checkpoint
//! covers the event. So nobody can change the data, the manifest and the events together without a new checkpoint.
//!
//! - A file about one person or one account contains nothing about anybody else ([`scope`]). An inclusion proof shows that an event, a
//!   recipient or an attempt is part of what was recorded, and shows nothing of the rest.
//! - A part that cannot be proven is named as such. Nothing is left out silently.
//! - The files are read from one view of the database, and they are never held in memory as a whole.
//! - [`verify`] uses no database. `docs/verify_evidence.py` does the same in another language.

mod affected;
mod answers;
mod attempts;
mod bundle;
mod emails;
mod erasures;
mod events;
mod export;
mod facts;
mod frozen_rows;
mod notices;
mod recipients;
mod scope;
mod stamps;
mod summary;
mod summary_page;
mod table;
pub mod verify;

pub use export::{Exported, export};
pub use scope::{NotifiedOf, Request, incidents_of_account, incidents_of_person};
