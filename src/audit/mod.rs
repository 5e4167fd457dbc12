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
pub mod follow;
pub mod frozen;
pub mod idempotency;
mod position;
mod trail;
mod verify;
mod write;

pub use action::Action;
pub use position::{TrailPosition, position};
pub use trail::{ActorView, EventView, Filter, SubjectView, list, page};
pub use verify::{Verification, record_attempts, verify};
pub use write::{Actor, Event, Tx};
