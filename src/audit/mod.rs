//! The audit trail: who did what to which subject, when, and the state before and after. It is append-only,
//! and each event contains the hash of the event before.
//!
//! A change is made with a [`Tx`], which only [`Db::write`] provides. The events of a change are appended by
//! the last statements of its transaction. So no change is without its event, and the end of the chain is
//! locked only for a moment.
//!
//! - An error while an event is appended is never ignored. It fails the change.
//! - An event never contains an address or a secret.
//! - An event is never written outside the transaction of its change.

mod action;
pub mod anchors;
mod attempts;
pub mod checkpoint;
pub mod erased;
pub mod follow;
pub mod frozen;
pub mod idempotency;
pub mod key;
pub mod lineage;
pub mod mailed;
pub mod merkle;
pub mod note;
mod position;
pub mod proof;
pub mod row_tree;
pub mod tile_path;
pub mod tiles;
pub mod time_stamp;
mod trail;
mod verify;
mod walk;
mod whole;
mod write;

pub use action::Action;
pub use attempts::attempt_lines;
pub use position::{
    Everywhere, TrailPosition, everywhere, last_at, last_of, position, position_in, positions_in,
};
pub use trail::{ActorView, EventView, Filter, SubjectView, list, page};
pub use verify::record_attempts;
pub use whole::{Verification, Verified, verify, verify_with};
pub use write::{Actor, Event, Tx};
