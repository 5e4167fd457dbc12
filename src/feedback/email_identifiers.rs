//! Finds what identifies an email of Candor in a report: its bounce address, its links for opting out and for answers,
//! its Message-ID.
//!
//! A bounce address and a link contain a code that only this instance can make and that only the recipient's
//! side has seen. So they prove that the report is about this email. A Message-ID can be guessed from another
//! one of the same notice.

use std::sync::LazyLock;

use regex::Regex;

use crate::auth::Links;
use crate::delivery::verp::Verp;

/// The largest number of identifiers of each kind that are read. A report is about one email, but a text can
/// contain any number of identifiers.
const MAX: usize = 20;

/// The keys that verify which email a report is about.
#[derive(Clone)]
pub struct Keys {
    /// The key that verifies the links of an email.
    pub links: Links,
    /// The key that verifies bounce addresses. `None` if emails have no bounce addresses of their own.
    pub verp: Option<Verp>,
}

/// The identifiers that were found, in their order in the report. They are not verified yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmailIdentifiers {
    /// Addresses in the form that [`Verp`] makes.
    pub bounce_addresses: Vec<String>,
    /// The parts of links after `/unsubscribe/`, `/answers/` and `/status/subscription/`.
    pub links: Vec<String>,
    /// Message-IDs in the form that Candor makes, without angle brackets.
    pub message_ids: Vec<String>,
}

struct Patterns {
    bounce_address: Regex,
    link: Regex,
    message_id: Regex,
}

static PATTERNS: LazyLock<Option<Patterns>> = LazyLock::new(|| {
    Some(Patterns {
        bounce_address: Regex::new(
            r"[A-Za-z0-9._%-]{1,64}\+[0-9]{1,19}\.[0-9A-Fa-f]{20}@[\p{L}\p{M}\p{N}.-]+",
        )
        .ok()?,
        link: Regex::new(r"/(?:unsubscribe|answers|status/subscription)/([0-9]{1,19}\.[A-Za-z0-9_-]{24})")
            .ok()?,
        message_id: Regex::new(
            r"[0-9]{1,16}\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}@[\p{L}\p{M}\p{N}.-]+",
        )
        .ok()?,
    })
});

impl EmailIdentifiers {
    /// Adds the identifiers in a text.
    pub fn find(&mut self, text: &str) {
        let Some(patterns) = PATTERNS.as_ref() else { return };
        let add = |identifiers: &mut Vec<String>, identifier: &str| {
            if identifiers.len() < MAX && !identifiers.iter().any(|other| other == identifier) {
                identifiers.push(identifier.to_owned());
            }
        };
        for found in patterns.bounce_address.find_iter(text) {
            add(&mut self.bounce_addresses, found.as_str());
        }
        for found in patterns.link.captures_iter(text) {
            if let Some(identifier) = found.get(1) {
                add(&mut self.links, identifier.as_str());
            }
        }
        for found in patterns.message_id.find_iter(text) {
            add(&mut self.message_ids, found.as_str());
        }
    }

    /// Returns the identifiers in all texts of a JSON value.
    pub fn in_json(value: &serde_json::Value) -> EmailIdentifiers {
        let mut identifiers = EmailIdentifiers::default();
        identifiers.walk(value);
        identifiers
    }

    fn walk(&mut self, value: &serde_json::Value) {
        match value {
            serde_json::Value::String(text) => self.find(text),
            serde_json::Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            serde_json::Value::Object(fields) => fields.values().for_each(|field| self.walk(field)),
            _ => {}
        }
    }
}
