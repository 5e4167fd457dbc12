//! The frame of background work. A [`Service`] does one step at a time. The [`Supervisor`] starts services, wakes them,
//! stops them, and gives each of them a tracing span, metrics, and one log line when it begins to fail and one when it works
//! again.
//!
//! What is due is always stored in the database. A step therefore takes no input and may be repeated, several processes may
//! run the same service, and a wake-up that is lost only delays the work until the next poll.

pub mod backoff;
mod lease;
pub mod retry_after;
mod service;
mod stats;
mod supervisor;

pub use lease::Lease;
pub use service::{Next, Service, Stop, Wake};
pub use stats::{ServiceStanding, WorkStats};
pub use supervisor::{Part, Supervisor};
