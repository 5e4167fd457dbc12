//! Whose status page it is, and the addresses of its parts.

use sha2::{Digest, Sha256};

use crate::base::language::Language;
use crate::brand::Shown;

/// Whose status page it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The name of the company.
    pub company: String,
    /// The base of the public addresses, without a slash at the end.
    pub public_url: String,
}

impl Site {
    /// Returns the same with the name of the brand, if it has one.
    pub fn with_brand(&self, brand: &Shown) -> Site {
        Site {
            company: brand.name.clone().unwrap_or_else(|| self.company.clone()),
            ..self.clone()
        }
    }

    /// Returns the address of the page.
    pub fn home(&self) -> String {
        format!("{}/status", self.public_url)
    }

    /// Returns the permanent address of an incident.
    pub fn incident(&self, number: i64) -> String {
        format!("{}/status/incidents/{number}", self.public_url)
    }

    /// Returns the host of the public addresses, which names the things of a feed.
    pub fn authority(&self) -> String {
        let url = url::Url::parse(&self.public_url).ok();
        let host = url.as_ref().and_then(url::Url::host_str);
        host.unwrap_or("localhost").to_owned()
    }

    /// Returns a tag URI (RFC 4151). It names a thing of a feed and never changes.
    pub fn tag(&self, specific: &str) -> String {
        format!("tag:{},2026:{specific}", self.authority())
    }

    /// Returns the ID of the page for readers of the JSON.
    pub fn id(&self) -> String {
        short_id(&self.public_url)
    }
}

/// Returns a short ID that follows from a text.
pub fn short_id(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the path of the page in a language.
pub fn home(language: Language) -> String {
    format!("/status/{language}")
}

pub use crate::status::incident_path as incident;

/// Returns the path of the page of a component in a language.
pub fn component(language: Language, id: &str) -> String {
    format!("/status/{language}/components/{id}")
}
