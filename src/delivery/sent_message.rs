//! What is recorded about an email that an attempt handed over, so that the same bytes can be written again later.
//!
//! It contains what the frozen data and the [context](super::sending_context) do not: the date of the attempt, and what only a secret
//! key could make. The hash decides whether bytes that are written again are the ones that were sent.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::auth::LINK_SIGNATURES;
use crate::base::time::Timestamp;
use crate::db::dialect::AttemptMail;

/// What is recorded about the email of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentMessage {
    /// The ID of the context that the email was written in.
    context: i64,
    /// The time of its Date header.
    date: Timestamp,
    /// The SHA-256 of its bytes.
    #[serde(with = "in_base64")]
    hash: Vec<u8>,
    /// The signatures of its links, and then each signature of DKIM after its length.
    #[serde(with = "in_base64")]
    signatures: Vec<u8>,
}

impl SentMessage {
    /// Records an email with the signatures of its links and of DKIM.
    pub fn new(
        context: i64,
        date: Timestamp,
        message: &str,
        links: &[u8; LINK_SIGNATURES],
        dkim: &[Vec<u8>],
    ) -> Self {
        let mut signatures = links.to_vec();
        for signature in dkim {
            // The largest RSA key that is accepted makes a signature of 1,024 bytes.
            let length = u16::try_from(signature.len()).unwrap_or(u16::MAX);
            signatures.extend_from_slice(&length.to_be_bytes());
            signatures.extend_from_slice(signature);
        }
        SentMessage {
            context,
            date,
            hash: hash(message.as_bytes()),
            signatures,
        }
    }

    /// Returns the data as it is stored with its attempt.
    pub fn stored(&self) -> AttemptMail<'_> {
        AttemptMail {
            hash: &self.hash,
            context: self.context,
            date: self.date,
            signatures: &self.signatures,
        }
    }
}

/// Returns the SHA-256 of the bytes of an email.
pub fn hash(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

/// Splits stored signatures into those of the links and those of DKIM. Returns `None` if they are not complete.
pub fn split(stored: &[u8]) -> Option<([u8; LINK_SIGNATURES], Vec<Vec<u8>>)> {
    let (links, mut rest) = stored.split_first_chunk::<LINK_SIGNATURES>()?;
    let mut dkim = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let (signature, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        dkim.push(signature.to_vec());
        rest = behind;
    }
    Some((*links, dkim))
}

mod in_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_split_as_they_were_joined() {
        let links: [u8; LINK_SIGNATURES] = std::array::from_fn(|at| at as u8);
        for dkim in [
            Vec::new(),
            vec![vec![7; 64]],
            vec![vec![7; 64], vec![9; 256], Vec::new()],
        ] {
            let sent = SentMessage::new(1, Timestamp::from_micros(5), "a", &links, &dkim);
            assert_eq!(split(&sent.signatures), Some((links, dkim.clone())));
            let text = serde_json::to_string(&sent).unwrap();
            assert_eq!(serde_json::from_str::<SentMessage>(&text).unwrap(), sent);
        }
        assert_eq!(split(&[0; LINK_SIGNATURES - 1]), None);
        assert_eq!(split(&[0xff; LINK_SIGNATURES + 5]), None);
    }
}
