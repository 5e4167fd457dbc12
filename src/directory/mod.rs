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

/// What an address must look like before it is stored: one mailbox, which lettre can put on an envelope.
///
/// # Errors
/// A sentence for the caller.
pub fn check_address(address: &str) -> Result<(), String> {
    if address.chars().any(char::is_control) {
        return Err("holds a control character, such as a line break".to_owned());
    }
    if address.len() > 254 {
        return Err("is longer than 254 characters".to_owned());
    }
    match address.parse::<lettre::Address>() {
        Ok(_) => Ok(()),
        Err(_) => Err("is not an e-mail address such as ann@example.com".to_owned()),
    }
}

/// The form in which two spellings of one mailbox are equal. The part before the @ is case-sensitive by
/// RFC 5321, but no provider in use treats it so, and two mails to one person are worse.
pub fn normal_address(address: &str) -> String {
    address.trim().to_lowercase()
}

/// The domain of an address, in lower case: deliveries are fair between domains.
pub fn address_domain(address: &str) -> String {
    address
        .rsplit_once('@')
        .map(|(_, domain)| domain.trim().to_lowercase())
        .unwrap_or_default()
}

/// For the audit trail: tells whether an address changed without holding it.
pub(crate) fn address_mark(address: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(normal_address(address).as_bytes());
    format!("sha256:{}", &crate::base::text::hex(&digest)[..16])
}
