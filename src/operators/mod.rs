//! Notifies our own people on call, by email and by webhook.
//!
//! ```text
//! the audit trail, and the time ─► notify ─► a message for each operator and channel ─► outbox ─► mail | webhook
//! ```
//!
//! Messages have a separate table, separate workers and a separate connection. They never go through the
//! queue of customer deliveries and are never counted there. Their outcome changes nothing about an incident.
//!
//! A customer is never a recipient of a message. An address or the URL of a webhook is never in a log or in
//! the audit trail. Two processes never send the same message.

mod answers;
pub mod contact;
mod decide;
mod letter;
mod mail;
pub mod message;
pub mod notify;
pub mod outbox;
pub mod overdue;
pub mod promises;
pub mod report;
pub mod syncs;
pub mod test_mail;
pub mod test_message;
pub mod webhook;
pub mod worker;

pub use contact::{NewOperator, Operator, OperatorPatch, Webhook, WebhookKind};
pub use message::{Facts, OperatorEvent, Rendered};
pub use outbox::Message;

/// The name of the actor in the audit trail.
pub const ACTOR: &str = "operators";
