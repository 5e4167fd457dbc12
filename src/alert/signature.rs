//! Verifies that the sender of a hook request knows the secret of the integration. The check covers the raw
//! bytes, and secrets are compared in constant time.
//!
//! Every source can send the secret itself in `Authorization` or `X-Candor-Token`, because most senders
//! cannot sign. The senders that sign each do it in their own way. If the signature covers a time, an old
//! request is rejected.
//!
//! A wrong proof is always rejected, even if the request contains another one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::source::proof::{Proven, equal, holds};
use super::source::{Request, Source};
use crate::base::time::Timestamp;

/// Verifies a request with a secret.
///
/// # Errors
/// The reason why the request is not valid, for the audit trail. The sender learns only that it is not valid.
pub fn check(source: &Source, secret: &str, request: &Request, now: Timestamp) -> Proven {
    if let Some(authorization) = request.header("authorization") {
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
        return holds(
            given.is_some_and(|given| equal(&given, secret.as_bytes())),
            "the Authorization header does not contain the secret",
        );
    }
    if let Some(token) = request.header("x-candor-token") {
        return holds(
            equal(token.trim().as_bytes(), secret.as_bytes()),
            "X-Candor-Token does not contain the secret",
        );
    }
    match source.verify {
        Some(verify) => verify(secret, request, now),
        None => Err("no Authorization or X-Candor-Token header with the secret"),
    }
}
