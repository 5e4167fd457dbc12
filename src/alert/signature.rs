//! Whether a hook's request was made by somebody who knows the integration's secret. Over the raw bytes, in constant time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::time::Timestamp;

/// The parts of a request that can prove something.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    /// `Authorization`.
    pub authorization: Option<String>,
    /// `webhook-id` of Standard Webhooks.
    pub webhook_id: Option<String>,
    /// `webhook-timestamp`: seconds since 1970.
    pub webhook_timestamp: Option<String>,
    /// `webhook-signature`: `v1,BASE64`, several separated by spaces.
    pub webhook_signature: Option<String>,
    /// `X-Candor-Signature`: `sha256=HEX` over the body.
    pub candor_signature: Option<String>,
}

/// How old a signed request may be, in seconds.
const TOLERANCE: u64 = 300;

fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC takes a key of any length.
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(never) => unreachable!("{never}"),
    };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

impl Proof {
    /// Checks the request against the secret.
    ///
    /// # Errors
    /// Why it does not hold, for the audit trail; the sender is told only that it does not.
    pub fn check(&self, secret: &str, signs: bool, body: &[u8], now: Timestamp) -> Result<(), &'static str> {
        if let Some(authorization) = &self.authorization {
            let given = match authorization.split_once(' ') {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                    Some(token.trim().as_bytes().to_vec())
                }
                Some((scheme, encoded)) if scheme.eq_ignore_ascii_case("basic") => STANDARD
                    .decode(encoded.trim())
                    .ok()
                    .and_then(|pair| pair.splitn(2, |byte| *byte == b':').nth(1).map(<[u8]>::to_vec)),
                _ => None,
            };
            return match given {
                Some(given) if equal(&given, secret.as_bytes()) => Ok(()),
                _ => Err("the Authorization header does not hold the secret"),
            };
        }
        if !signs {
            return Err("no Authorization header with the secret");
        }
        if let Some(signatures) = &self.webhook_signature {
            let (Some(id), Some(timestamp)) = (&self.webhook_id, &self.webhook_timestamp) else {
                return Err("webhook-id or webhook-timestamp is missing");
            };
            let sent: i64 = timestamp
                .parse()
                .map_err(|_| "webhook-timestamp is not a number")?;
            if (now.as_micros() / 1_000_000).abs_diff(sent) > TOLERANCE {
                return Err("webhook-timestamp is too far from the present");
            }
            let key = match secret.strip_prefix("whsec_") {
                Some(encoded) => STANDARD
                    .decode(encoded)
                    .map_err(|_| "the secret is not base64 after whsec_")?,
                None => secret.as_bytes().to_vec(),
            };
            let expected = STANDARD.encode(hmac(
                &key,
                &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body],
            ));
            let holds = signatures
                .split_whitespace()
                .filter_map(|signature| signature.strip_prefix("v1,"))
                .fold(false, |holds, signature| {
                    holds | equal(signature.as_bytes(), expected.as_bytes())
                });
            return if holds {
                Ok(())
            } else {
                Err("webhook-signature does not hold")
            };
        }
        if let Some(signature) = &self.candor_signature {
            let expected = format!("sha256={}", crate::audit::hex(&hmac(secret.as_bytes(), &[body])));
            return if equal(
                signature.trim().to_ascii_lowercase().as_bytes(),
                expected.as_bytes(),
            ) {
                Ok(())
            } else {
                Err("X-Candor-Signature does not hold")
            };
        }
        Err("no signature")
    }
}
