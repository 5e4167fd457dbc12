//! The directory: accounts, people, resources, and the roles of people on them.
//!
//! IDs are the caller's own. An entry is never deleted but archived: its history stays, and nobody is
//! notified because of it any more. An archived entry that is written again becomes active again.
//!
//! Parents never form a cycle. A resource never belongs to another account than its parent. A deletion never
//! widens an audience.

pub mod account;
pub mod choices;
pub mod contact;
pub mod dependants;
pub mod endpoint;
pub mod erased;
pub(crate) mod forget;
mod gather;
pub mod import;
pub mod line;
pub mod member;
pub mod numbers;
pub mod partial;
pub mod person;
pub mod resource;
pub mod selector;
pub mod source;
mod write;

use serde::{Deserialize, Serialize};

use crate::base::id::ExternalId;
use crate::base::mailbox::{self, Mailbox};

/// A resource, identified by its type and ID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceRef {
    /// The type of the resource, for example `project`.
    #[serde(rename = "type")]
    pub type_: ExternalId,
    /// The ID of the resource. It is unique among the resources of the same type.
    pub id: ExternalId,
}

impl std::fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.type_, self.id)
    }
}

/// Whether archived entries are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archived {
    /// Archived entries are left out.
    Hidden,
    /// Archived entries are included, with their `gone_at`.
    Shown,
}

/// Checks that an address can be stored: it must be one mailbox that an email can be sent to
/// ([`Mailbox::parse`]).
///
/// # Errors
/// A sentence for the caller that says what is wrong.
pub fn check_address(address: &str) -> Result<(), String> {
    Mailbox::parse(address).map(drop)
}

/// Returns the form in which two spellings of one mailbox are equal ([`mailbox::key_of`]).
pub fn normal_address(address: &str) -> String {
    mailbox::key_of(address)
}

/// Returns the address as it is stored and sent to. A text that is not an address does not change: it was
/// checked before, or it is empty.
pub(crate) fn stored_address(address: &str) -> String {
    Mailbox::parse(address).map_or_else(|_| address.trim().to_owned(), |mailbox| mailbox.address())
}

/// Returns the domain of an address in lower case. Deliveries are shared fairly between domains.
pub fn address_domain(address: &str) -> String {
    mailbox::key_of(address)
        .rsplit_once('@')
        .map(|(_, domain)| domain.to_owned())
        .unwrap_or_default()
}

/// Returns a hash of an address for the audit trail. It shows whether an address changed without containing
/// the address.
pub(crate) fn address_mark(address: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(normal_address(address).as_bytes());
    format!("sha256:{}", &crate::base::text::hex(&digest)[..16])
}
