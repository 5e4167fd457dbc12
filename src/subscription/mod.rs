//! Emails about posts on the status page, for everybody who subscribed to them on the page.
//!
//! ```text
//! the public page ─► subscribing ─► an email that asks to confirm ┐
//! a new post ─► posting ─► one email for each subscriber ─────────┴► outbox ─► sending, with mail and letter ─► the relay
//! ```
//!
//! - An address gets posts only after the button behind the link in an email was pressed (double opt-in).
//! - The public page answers the same for an address that is subscribed, for one that is not, and for one that gets no emails.
//! - An address that is suppressed because of a bounce or a complaint gets no email. A person who opted out of optional notices gets
//!   posts only if the subscription was confirmed after that.
//! - A post is sent to an address at most once. If it is not known whether the mail server has the email, it is not sent again.
//! - No address is in the audit trail or in a log.
//!
//! These emails are apart from notices: they have a table, a worker and a connection of their own, so they never delay a notice, and
//! nobody counts as notified by them.

mod letter;
pub mod mail;
pub mod outbox;
pub mod posting;
pub mod sending;
pub mod subscriber;
pub mod subscribing;

pub use subscriber::Subscriber;

/// The name of the actor in the audit trail.
pub const ACTOR: &str = "status page";
