//! Our own people on call: who hears what of it, by mail and by webhook.
//!
//! ```text
//! the audit trail, and the time ─► notify ─► a message for each operator and way ─► outbox ─► mail | webhook
//! ```
//!
//! Messages have a table, workers and a connection of their own. They never go through the customers' queue, never count
//! among customers' deliveries, and what becomes of them changes nothing about an incident.
//!
//! Must never happen here: a customer as the recipient, an address or a webhook's URL in a log or on the trail, or a
//! message that is sent by two processes.

pub mod contact;
pub mod mail;
pub mod message;
pub mod notify;
pub mod outbox;
pub mod overdue;
pub mod syncs;
pub mod webhook;
pub mod worker;

pub use contact::{NewOperator, Operator, OperatorPatch, Webhook, WebhookKind};
pub use message::{Facts, OperatorEvent, Rendered};
pub use outbox::Message;

/// Who acts.
pub const ACTOR: &str = "operators";
