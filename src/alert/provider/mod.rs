//! Mail providers that report by hook what became of mails, and how each proves that a request is its own. Always over
//! the raw bytes, in constant time where a secret is compared.
//!
//! Must never happen here: a signature that is passed over as it is missing, or an outside address that is asked before
//! it is known to be Amazon's.

pub mod fetch;
pub mod sns;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::base::time::Timestamp;

/// Integrations of these sources take what mail providers report, and no alerts.
pub const SOURCES: [&str; 4] = ["aws_ses", "mailgun", "postmark", "sendgrid"];

/// How old a signature of Mailgun may be, in seconds. It sends again for eight hours what was not taken; within this
/// time each of its tokens counts for one body.
const MAILGUN_AGE: i64 = 12 * 3600;
/// How far ahead a sender's clock may be, in seconds.
const AHEAD: i64 = 300;

/// What comes before the point in the public key of SendGrid: a SubjectPublicKeyInfo for P-256, whose length is fixed.
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Whether an integration of this source takes reports of mails.
pub fn is_one(source: &str) -> bool {
    SOURCES.contains(&source)
}

/// Checks that a secret is what the provider gives for its signatures.
///
/// # Errors
/// A sentence for the caller, which does not repeat it.
pub fn check_secret(source: &str, secret: &str) -> Result<(), String> {
    match source {
        "aws_ses" if !sns::is_topic(secret) => Err(
            "must be the ARN of the SNS topic, such as arn:aws:sns:eu-west-1:123456789012:bounces: Amazon signs with \
             a certificate of its own, and only this topic is taken"
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

/// Checks SendGrid's signed event webhook: ECDSA over the timestamp and the body. The timestamp needs no check of its
/// own: a request that comes again holds events that were taken already, whenever that is.
///
/// # Errors
/// Why it does not hold, for the audit trail.
pub fn sendgrid(
    key: &str,
    signature: Option<&str>,
    timestamp: Option<&str>,
    body: &[u8],
) -> Result<(), &'static str> {
    let (Some(signature), Some(timestamp)) = (signature, timestamp) else {
        return Err("X-Twilio-Email-Event-Webhook-Signature or -Timestamp is missing");
    };
    let point = p256(key).ok_or("the integration's key is not one of P-256")?;
    let signature = STANDARD
        .decode(signature.trim())
        .map_err(|_| "the signature is not base64")?;
    let signed = [timestamp.as_bytes(), body].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(&signed, &signature)
        .map_err(|_| "the signature does not hold")
}

/// Checks Postmark's requests, which are not signed: the secret is the password of basic authentication in the URL or of
/// the webhook's settings, a bearer token, or the header `X-Candor-Token`.
///
/// # Errors
/// Why it does not hold, for the audit trail.
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
            _ => Err("the Authorization header does not hold the secret"),
        };
    }
    match token {
        Some(token) if equal(token.trim().as_bytes()) => Ok(()),
        Some(_) => Err("X-Candor-Token does not hold the secret"),
        None => Err("no Authorization or X-Candor-Token header with the secret"),
    }
}

/// The part of Mailgun's requests that is signed. The events beside it are not.
#[derive(Clone, Debug, Deserialize)]
pub struct MailgunSignature {
    /// Seconds since 1970.
    pub timestamp: String,
    /// Fifty random characters, once for each request.
    pub token: String,
    /// HMAC-SHA256 of both, in hexadecimal.
    pub signature: String,
}

/// Checks Mailgun's signature. It covers the token alone, so the caller has to see to it that a token counts for one body.
///
/// # Errors
/// Why it does not hold, for the audit trail.
pub fn mailgun(key: &str, given: Option<&MailgunSignature>, now: Timestamp) -> Result<(), &'static str> {
    let given = given.ok_or("the body holds no signature")?;
    // HMAC takes a key of any length.
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
        return Err("the signature does not hold");
    }
    let at: i64 = given
        .timestamp
        .parse()
        .map_err(|_| "the signature's timestamp is not a number")?;
    let age = (now.as_micros() / 1_000_000).saturating_sub(at);
    if !(-AHEAD..=MAILGUN_AGE).contains(&age) {
        return Err("the signature's timestamp is too far from the present");
    }
    if given.token.is_empty() || given.token.len() > 200 || given.token.chars().any(char::is_control) {
        return Err("the signature's token is not one of Mailgun");
    }
    Ok(())
}
