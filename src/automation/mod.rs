//! Automation: policies, and what they did about each incident that was opened.
//!
//! ```text
//! incident.opened ─► the first policy that matches ─► nothing | a draft | a detection, within the policy's limits
//! evidence ─► the first policy about recoveries that matches ─► a draft | a recovery to those whose affected resources are all restored
//! ```
//!
//! A [`worker`] subscribes to the audit trail and decides once about each episode of an incident. A policy
//! sends in the same way as a person: with a draft, a plan of who gets what, a digest, and a frozen list. If
//! a person would have to judge something, the notice stays a draft.
//!
//! An email is sent only by a policy that an admin wrote, and it never contains a text from an alert. The
//! timeline names the policy for everything that was done.

mod hold;
pub mod limits;
pub mod policy;
mod recovery;
pub mod recovery_run;
pub mod run;
pub mod runs;
pub mod trial;
pub mod worker;

pub use hold::{hold, release};
pub use policy::{NewPolicy, Policy, PolicyAction, PolicyPhase};
pub use run::{Outcome, Run};
pub use trial::{Trial, attempt};

/// The name of the actor in the audit trail.
pub const ACTOR: &str = "automation";
