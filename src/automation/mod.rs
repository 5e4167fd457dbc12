//! What happens without a person: policies, and what they did about each incident that opened.
//!
//! ```text
//! incident.opened ─► the first policy that fits ─► nothing | a draft | a detection, within the policy's limits
//! ```
//!
//! A [`worker`] follows the audit trail and decides once about each incident. A policy sends by the same way as a person:
//! a draft, a plan of who gets what, a digest, a frozen list; and whatever a person would have to judge keeps it a draft.
//!
//! Must never happen here: a mail without a policy that an admin wrote, a text that came from an alert, a second decision
//! about one incident, or something done of which the timeline does not say by which policy.

pub mod limits;
pub mod policy;
pub mod run;
pub mod trial;
pub mod worker;

pub use policy::{NewPolicy, Policy, PolicyAction};
pub use run::{Outcome, Run};
pub use trial::{Trial, attempt};

/// Who acts.
pub const ACTOR: &str = "automation";
