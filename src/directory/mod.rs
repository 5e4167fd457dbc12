//! Who owns what: accounts, people, resources and who has which role on them.
//!
//! Ids are the caller's own. Deleting marks a row as gone: history keeps it, nothing is told to or through
//! it any more, and putting it again revives it.
//!
//! Must never happen here: a cycle of parents, a resource below a resource of another account, or a deletion
//! that makes an audience wider.

pub mod account;
pub mod endpoint;
mod gather;
pub mod import;
pub mod line;
pub mod member;
pub mod person;
pub mod resource;
pub mod selector;
pub mod source;
mod write;

use serde::{Deserialize, Serialize};

use crate::base::id::ExternalId;
use crate::base::mailbox::{self, Mailbox};

/// A resource named by its type and id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceRef {
    /// Its type, e.g. `project`.
    #[serde(rename = "type")]
    pub type_: ExternalId,
    /// Its id among those of its type.
    pub id: ExternalId,
}

impl std::fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.type_, self.id)
    }
}

/// Whether rows that are gone are wanted too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Only what is there.
    Hidden,
    /// Everything, with its `gone_at`.
    Shown,
}

/// Whether an address can be stored: one mailbox that a mail can be sent to ([`Mailbox::parse`]).
///
/// # Errors
/// A sentence for the caller.
pub fn check_address(address: &str) -> Result<(), String> {
    Mailbox::parse(address).map(drop)
}

/// The form in which two spellings of one mailbox are equal ([`mailbox::key_of`]).
pub fn normal_address(address: &str) -> String {
    mailbox::key_of(address)
}

/// The address to send to, as it is stored. What is no address stays as it is: it was checked before, or it is empty.
pub(crate) fn stored_address(address: &str) -> String {
    Mailbox::parse(address).map_or_else(|_| address.trim().to_owned(), |mailbox| mailbox.address())
}

/// The domain of an address, in lower case: deliveries are fair between domains.
pub fn address_domain(address: &str) -> String {
    mailbox::key_of(address)
        .rsplit_once('@')
        .map(|(_, domain)| domain.to_owned())
        .unwrap_or_default()
}

/// For the audit trail: tells whether an address changed without holding it.
pub(crate) fn address_mark(address: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(normal_address(address).as_bytes());
    format!("sha256:{}", &crate::base::text::hex(&digest)[..16])
}
