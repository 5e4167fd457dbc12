//! Verifies the requests of mail providers, which report what happened to emails. Each provider proves in its
//! own way who sent a request. The check always covers the raw bytes, and secrets are compared in constant
//! time.
//!
//! A missing signature is never accepted. Candor requests no external URL before the URL is known to be one
//! of Amazon.

pub mod fetch;
pub mod sns;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::base::time::Timestamp;

/// Integrations with these sources accept the reports of mail providers, and no alerts.
pub const SOURCES: [&str; 4] = ["aws_ses", "mailgun", "postmark", "sendgrid"];

/// The largest age of a Mailgun signature, in seconds. Mailgun retries for eight hours. Within this time,
/// each token is accepted for one body only.
const MAILGUN_AGE: i64 = 12 * 3600;
/// How far, in seconds, a sender's clock may be ahead.
const AHEAD: i64 = 300;

/// The bytes before the point in a public key of SendGrid: a SubjectPublicKeyInfo for P-256, which has a
/// fixed length.
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Returns whether an integration with this source accepts reports about emails.
pub fn is_one(source: &str) -> bool {
    SOURCES.contains(&source)
}

/// Checks that a secret has the form that the provider uses.
///
/// # Errors
/// A sentence for the caller. It does not contain the secret.
pub fn check_secret(source: &str, secret: &str) -> Result<(), String> {
    match source {
        "aws_ses" if !sns::is_topic(secret) => Err(
            "must be the ARN of the SNS topic, such as arn:aws:sns:eu-west-1:123456789012:bounces: Amazon SNS \
            signs with its own certificate, and Candor accepts only this topic"
                .to_owned(),
        ),
        "sendgrid" if p256(secret).is_none() => {
            Err("must be the verification key of the signed event webhook, in base64".to_owned())
        }
        _ => Ok(()),
    }
}

fn p256(key: &str) -> Option<Vec<u8>> {
    let der = STANDARD.decode(key.trim()).ok()?;
    let point = der.strip_prefix(&P256)?;
    (point.len() == 65 && point[0] == 4).then(|| point.to_vec())
}

/// Verifies SendGrid's signed event webhook: ECDSA over the timestamp and the body. The age of the timestamp
/// is not checked, because a repeated request contains events that are already stored and have no effect.
///
/// # Errors
/// The reason why the signature is not valid, for the audit trail.
pub fn sendgrid(
    key: &str,
    signature: Option<&str>,
    timestamp: Option<&str>,
    body: &[u8],
) -> Result<(), &'static str> {
    let (Some(signature), Some(timestamp)) = (signature, timestamp) else {
        return Err("X-Twilio-Email-Event-Webhook-Signature or -Timestamp is missing");
    };
    let point = p256(key).ok_or("the key of the integration is not a P-256 key")?;
    let signature = STANDARD
        .decode(signature.trim())
        .map_err(|_| "the signature is not base64")?;
    let signed = [timestamp.as_bytes(), body].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(&signed, &signature)
        .map_err(|_| "the signature is not valid")
}

/// Verifies Postmark's requests, which are not signed. The secret is one of these: the password of basic
/// authentication, in the URL or in the settings of the webhook; a bearer token; or the header
/// `X-Candor-Token`.
///
/// # Errors
/// The reason why the request is not valid, for the audit trail.
pub fn postmark(secret: &str, authorization: Option<&str>, token: Option<&str>) -> Result<(), &'static str> {
    let equal = |given: &[u8]| -> bool { given.ct_eq(secret.as_bytes()).into() };
    if let Some(authorization) = authorization {
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
            Some(given) if equal(&given) => Ok(()),
            _ => Err("the Authorization header does not contain the secret"),
        };
    }
    match token {
        Some(token) if equal(token.trim().as_bytes()) => Ok(()),
        Some(_) => Err("X-Candor-Token does not contain the secret"),
        None => Err("no Authorization or X-Candor-Token header with the secret"),
    }
}

/// The signed part of a Mailgun request. The events in the request are not signed.
#[derive(Clone, Debug)]
pub struct MailgunSignature {
    /// When Mailgun made the signature, in seconds since 1970.
    pub timestamp: String,
    /// Fifty random characters, different for each request.
    pub token: String,
    /// HMAC-SHA256 of the timestamp and the token, in hexadecimal.
    pub signature: String,
}

/// Verifies Mailgun's signature. The signature covers only the timestamp and the token, so the caller must
/// ensure that each token is accepted for one body only.
///
/// # Errors
/// The reason why the signature is not valid, for the audit trail.
pub fn mailgun(key: &str, given: Option<&MailgunSignature>, now: Timestamp) -> Result<(), &'static str> {
    let given = given.ok_or("the body contains no signature")?;
    // HMAC accepts a key of any length.
    let mut mac = match Hmac::<Sha256>::new_from_slice(key.as_bytes()) {
        Ok(mac) => mac,
        Err(never) => unreachable!("{never}"),
    };
    mac.update(given.timestamp.as_bytes());
    mac.update(given.token.as_bytes());
    let expected = crate::base::text::hex(&mac.finalize().into_bytes());
    let holds: bool = expected
        .as_bytes()
        .ct_eq(given.signature.to_ascii_lowercase().as_bytes())
        .into();
    if !holds {
        return Err("the signature is not valid");
    }
    let at: i64 = given
        .timestamp
        .parse()
        .map_err(|_| "the timestamp of the signature is not a number")?;
    let age = (now.as_micros() / 1_000_000).saturating_sub(at);
    if !(-AHEAD..=MAILGUN_AGE).contains(&age) {
        return Err("the timestamp of the signature is too far from the present time");
    }
    if given.token.is_empty() || given.token.len() > 200 || given.token.chars().any(char::is_control) {
        return Err("the token of the signature is not a token of Mailgun");
    }
    Ok(())
}
