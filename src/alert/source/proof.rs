//! The ways in which the senders of several sources prove that they know the secret, and what the others are made of.
//!
//! Secrets are compared in constant time, and signatures cover the raw bytes. If a signature covers a time, an old request is
//! rejected.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::request::{Request, TOKENS};
use crate::base::time::Timestamp;

/// The largest age of a signed request, in seconds.
const TOLERANCE: u64 = 300;

/// The result of a check: the reason for the audit trail if the request is not valid. The sender learns only that it is not.
pub(in crate::alert) type Proven = Result<(), &'static str>;

/// Compares two values in constant time.
pub(in crate::alert) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Returns the HMAC-SHA256 of these parts.
pub(in crate::alert) fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC accepts a key of any length.
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(never) => unreachable!("{never}"),
    };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// Returns success, or the reason.
pub(in crate::alert) fn holds(yes: bool, otherwise: &'static str) -> Proven {
    if yes { Ok(()) } else { Err(otherwise) }
}

/// Returns whether a time in seconds is close enough to now. None if the text is not a number.
pub(in crate::alert) fn fresh(seconds: &str, now: Timestamp) -> Option<bool> {
    let sent: i64 = seconds.trim().parse().ok()?;
    Some((now.as_micros() / 1_000_000).abs_diff(sent) <= TOLERANCE)
}

/// Verifies a secret in the query, for senders that can put it only into the URL.
pub(in crate::alert) fn in_query(secret: &str, request: &Request, _: Timestamp) -> Proven {
    let given = request
        .params()
        .filter(|(name, _)| TOKENS.contains(&name.as_str()));
    let found = given.fold(false, |found, (_, value)| {
        found | equal(value.as_bytes(), secret.as_bytes())
    });
    holds(found, "neither a header nor the query contains the secret")
}

/// Verifies a signature of Standard Webhooks, or a signature over the body in Candor's own header.
pub(in crate::alert) fn signed(secret: &str, request: &Request, now: Timestamp) -> Proven {
    if let Some(signatures) = request.header("webhook-signature") {
        let (Some(id), Some(timestamp)) = (request.header("webhook-id"), request.header("webhook-timestamp"))
        else {
            return Err("webhook-id or webhook-timestamp is missing");
        };
        match fresh(timestamp, now) {
            Some(true) => {}
            Some(false) => return Err("webhook-timestamp is too far from the present time"),
            None => return Err("webhook-timestamp is not a number"),
        }
        let key = match secret.strip_prefix("whsec_") {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map_err(|_| "the secret is not base64 after whsec_")?,
            None => secret.as_bytes().to_vec(),
        };
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &request.body];
        let expected = STANDARD.encode(hmac(&key, &signed));
        let found = signatures
            .split_whitespace()
            .filter_map(|signature| signature.strip_prefix("v1,"))
            .fold(false, |found, signature| {
                found | equal(signature.as_bytes(), expected.as_bytes())
            });
        return holds(found, "webhook-signature is not valid");
    }
    let Some(signature) = request.header("x-candor-signature") else {
        return Err("the request has no signature");
    };
    let expected = format!("sha256={}", hex(secret, &[&request.body]));
    let given = signature.trim().to_ascii_lowercase();
    holds(
        equal(given.as_bytes(), expected.as_bytes()),
        "X-Candor-Signature is not valid",
    )
}

/// Returns the hexadecimal HMAC-SHA256 of these parts.
pub(in crate::alert) fn hex(secret: &str, parts: &[&[u8]]) -> String {
    crate::base::text::hex(&hmac(secret.as_bytes(), parts))
}
