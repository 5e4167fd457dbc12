//! Computes the audience of an incident: the people that its affected resources lead to, each with every
//! reason.
//!
//! A resource belongs to the account that is set on itself or on its nearest ancestor. Its people are the
//! owners of that account and the collaborators on the resource or on any ancestor, unless a rule names other
//! roles. An archived ancestor ends the path. An archived account has no people. In addition, the users who
//! hit the error and the people who are named directly are in the audience, whatever the rule
//! is. The preview and the send use the same
//! computation. `graph` reads the affected resources and their ancestors, and this module computes the
//! people. The audience can also be computed for an earlier time.
//!
//! Nobody is in the audience because of an account that owns nothing affected, and nobody is left out without
//! being listed.

mod at;
mod count;
mod difference;
mod endpoints;
mod events;
mod explain;
mod graph;
mod person;
mod places;
mod reason;
mod resolve;
mod roles;
mod rule;
mod step;

pub use at::At;
pub use count::{FoundPeople, SelectorCount, count, count_keys, count_people};
pub use difference::{Change, Changed, Difference, DifferenceCounts, Outline, compare, difference};
pub use explain::{Explained, Who, explain};
pub use step::{Step, StepAbout};

pub(crate) use endpoints::{EndpointRow, endpoints};
pub use person::PersonRef;
pub use reason::{Progress, Reason, Reasons, Way};
pub use resolve::{Addressee, Audience, Counts, Unreachable, resolve, resolve_by};
pub use rule::{Collaborators, OWNER, Rule};
