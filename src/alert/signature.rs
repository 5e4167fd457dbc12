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
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::source::request::TOKENS;
use super::source::{Request, pagerduty, statuscake};
use crate::base::time::Timestamp;

/// The largest age of a signed request, in seconds.
const TOLERANCE: u64 = 300;

/// Sources whose senders can put a secret only into the URL.
const BY_QUERY: [&str; 11] = [
    "azure_monitor",
    "cloudevents",
    "freshping",
    "freshstatus",
    "gcp_monitoring",
    "healthchecks",
    "pingdom",
    "statuscake",
    "statuspage",
    "updown",
    "uptimerobot",
];

type Proven = Result<(), &'static str>;

fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC accepts a key of any length.
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(never) => unreachable!("{never}"),
    };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn holds(yes: bool, otherwise: &'static str) -> Proven {
    if yes { Ok(()) } else { Err(otherwise) }
}

/// Returns whether a time in seconds is close enough to now. None if the text is not a number.
fn fresh(seconds: &str, now: Timestamp) -> Option<bool> {
    let sent: i64 = seconds.trim().parse().ok()?;
    Some((now.as_micros() / 1_000_000).abs_diff(sent) <= TOLERANCE)
}

/// Verifies a request with a secret.
///
/// # Errors
/// The reason why the request is not valid, for the audit trail. The sender learns only that it is not valid.
pub fn check(source: &str, secret: &str, request: &Request, now: Timestamp) -> Proven {
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
    match source {
        "generic" => ours(secret, request, now),
        "cloudevents" if request.header("webhook-signature").is_some() => ours(secret, request, now),
        "cloudevents" if request.header("x-candor-signature").is_some() => ours(secret, request, now),
        "grafana" => grafana(secret, request, now),
        "pagerduty" => pagerduty(secret, request),
        "sentry" => sentry(secret, request),
        "statuscake"
            if statuscake::token(request).is_some_and(|token| equal(token.as_bytes(), secret.as_bytes())) =>
        {
            Ok(())
        }
        _ if BY_QUERY.contains(&source) => in_query(secret, request),
        _ => Err("no Authorization or X-Candor-Token header with the secret"),
    }
}

fn in_query(secret: &str, request: &Request) -> Proven {
    let given = request
        .params()
        .filter(|(name, _)| TOKENS.contains(&name.as_str()));
    let found = given.fold(false, |found, (_, value)| {
        found | equal(value.as_bytes(), secret.as_bytes())
    });
    holds(found, "neither a header nor the query contains the secret")
}

/// Verifies a signature of Standard Webhooks, or a signature over the body in Candor's own header.
fn ours(secret: &str, request: &Request, now: Timestamp) -> Proven {
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

fn hex(secret: &str, parts: &[&[u8]]) -> String {
    crate::base::text::hex(&hmac(secret.as_bytes(), parts))
}

/// Verifies a hexadecimal signature over the body. The client secret is hexadecimal too, and its text is used
/// as the key.
fn sentry(secret: &str, request: &Request) -> Proven {
    let given = request
        .header("sentry-hook-signature")
        .or_else(|| request.header("sentry-app-signature"))
        .ok_or("Sentry-Hook-Signature is missing")?;
    let given = given.trim().to_ascii_lowercase();
    let expected = hex(secret, &[&request.body]);
    holds(
        equal(given.as_bytes(), expected.as_bytes()),
        "Sentry-Hook-Signature is not valid",
    )
}

/// Verifies `v1=HEX` over the body. There are several signatures while the secret of PagerDuty is replaced. A
/// sender of the Events API sends its key instead of a signature.
fn pagerduty(secret: &str, request: &Request) -> Proven {
    let Some(signatures) = request.header("x-pagerduty-signature") else {
        return match pagerduty::routing_key(&request.body) {
            Some(key) => holds(
                equal(key.as_bytes(), secret.as_bytes()),
                "the routing key is not the secret",
            ),
            None => Err("X-PagerDuty-Signature is missing"),
        };
    };
    let expected = hex(secret, &[&request.body]);
    let found = signatures
        .split(',')
        .filter_map(|signature| signature.trim().strip_prefix("v1="))
        .fold(false, |found, signature| {
            found | equal(signature.to_ascii_lowercase().as_bytes(), expected.as_bytes())
        });
    holds(found, "X-PagerDuty-Signature is not valid")
}

/// Verifies a hexadecimal signature over the body, or over `TIME:BODY`. Both headers can be renamed in
/// Grafana, so every header is tried whose name contains "signature" or "timestamp".
fn grafana(secret: &str, request: &Request, now: Timestamp) -> Proven {
    let named = |word: &'static str| {
        request
            .headers
            .iter()
            .filter(move |(name, _)| name.contains(word))
            .map(|(_, value)| value.trim())
    };
    let signatures: Vec<String> = named("signature").map(str::to_ascii_lowercase).collect();
    if signatures.is_empty() {
        return Err("X-Grafana-Alerting-Signature is missing");
    }
    let signed_by = |parts: &[&[u8]]| {
        let expected = hex(secret, parts);
        signatures.iter().fold(false, |found, signature| {
            found | equal(signature.as_bytes(), expected.as_bytes())
        })
    };
    for time in named("timestamp") {
        if signed_by(&[time.as_bytes(), b":", &request.body]) {
            return holds(
                fresh(time, now) == Some(true),
                "the timestamp is too far from the present time",
            );
        }
    }
    holds(
        signed_by(&[&request.body]),
        "X-Grafana-Alerting-Signature is not valid",
    )
}
