//! What a source of alerts is: its name, how its requests are parsed, how its senders prove who they are, and by which HTTP
//! methods they send. Each source defines this once, in its own file.

use super::batch::{Batch, Refusal};
use super::mapping::Mapping;
use super::proof::Proven;
use super::request::Request;
use crate::base::time::Timestamp;

/// Parses a request into alerts. Only the source `generic` uses the mapping of its integration.
type Parse = fn(&Request, Option<&Mapping>) -> Result<Batch, Refusal>;

/// Verifies that a request knows the secret of its integration, in the way of this source. The error is the reason for the
/// audit trail.
type Verify = fn(&str, &Request, Timestamp) -> Proven;

/// One source of alerts.
pub struct Source {
    /// The name of the source, which an integration stores.
    pub name: &'static str,
    /// Parses a request into alerts, or returns the reason why the request is not in the format of the source.
    pub(super) parse: Parse,
    /// Verifies a request that has none of the headers that every source accepts. None if the senders have no other way.
    pub(in crate::alert) verify: Option<Verify>,
    /// Whether senders use GET and put the fields into the query.
    pub by_get: bool,
    /// Whether a body can name resources itself, without a rule.
    pub names_resources: bool,
    /// Whether the messages are signed by Amazon SNS, if a secret is the ARN of a topic.
    pub signed_by_amazon: bool,
    /// Whether the sender asks with OPTIONS for permission before it sends.
    pub asks_first: bool,
    /// Returns the secret that a sender repeats in its request. It is not stored.
    pub key: fn(&Request) -> Option<String>,
}

impl Source {
    /// Defines a source whose senders send POST or PUT, and can prove who they are only with a header.
    pub(super) const fn new(name: &'static str, parse: Parse) -> Self {
        Source {
            name,
            parse,
            verify: None,
            by_get: false,
            names_resources: false,
            signed_by_amazon: false,
            asks_first: false,
            key: |_| None,
        }
    }

    /// Returns the HTTP methods that a hook of this source accepts, for the header `Allow`.
    pub fn methods(&self) -> &'static str {
        if self.by_get {
            "GET, HEAD, POST, PUT"
        } else {
            "POST, PUT"
        }
    }
}
