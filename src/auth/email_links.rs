//! The links that each email to a customer contains, with their signatures. Whoever has the signatures can write the same links
//! again without the secret key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The length of a signature, in bytes.
pub(super) const SIGNATURE: usize = 18;
/// The length of all signatures, in bytes.
pub const LINK_SIGNATURES: usize = 2 * SIGNATURE;

/// The page of a link with which the recipient opts out.
pub(super) const UNSUBSCRIBE: &str = "unsubscribe";
/// The page of a link with which the recipient answers.
pub(super) const ANSWERS: &str = "answers";
/// The page of a link with which the recipient opens their own page. It has the signature of the link for answers.
pub(super) const MINE: &str = "mine/link";

/// The page of a link in an email to a subscriber of the status page, with which the person confirms or ends the subscription.
pub(super) const SUBSCRIPTION: &str = "status/subscription";

/// The links of one email.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailLinks {
    /// The link with which the recipient opts out.
    pub unsubscribe: String,
    /// The link with which the recipient answers, without the chosen answer.
    pub answers: String,
    /// The link with which the recipient opens their own page.
    pub mine: String,
    /// The signature of the first link and then of the second.
    pub signatures: [u8; LINK_SIGNATURES],
}

impl EmailLinks {
    /// Writes the links of a delivery below `public_url` with these signatures.
    pub fn with(public_url: &str, delivery: i64, signatures: [u8; LINK_SIGNATURES]) -> Self {
        let (unsubscribe, answers) = signatures.split_at(SIGNATURE);
        EmailLinks {
            unsubscribe: link(public_url, UNSUBSCRIBE, delivery, unsubscribe),
            answers: link(public_url, ANSWERS, delivery, answers),
            mine: link(public_url, MINE, delivery, answers),
            signatures,
        }
    }
}

/// Writes the link to a page for the recipient of a delivery.
pub(super) fn link(public_url: &str, page: &str, delivery: i64, signature: &[u8]) -> String {
    format!(
        "{public_url}/{page}/{delivery}.{}",
        URL_SAFE_NO_PAD.encode(signature)
    )
}

/// Returns the text that the signature of a link covers.
pub(super) fn signed(page: &str, delivery: i64) -> String {
    format!("{page}:{delivery}")
}
