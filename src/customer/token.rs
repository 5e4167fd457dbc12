//! The tokens that the backend of a product signs for its users: JSON Web Tokens (RFC 7519) with HS256 and nothing else. This module
//! does no I/O.
//!
//! A token is read in two steps. [`Unproven::read`] only reads it, so that the key can be looked up that it names. [`Unproven::prove`]
//! checks the signature first and the times after it. The reasons of a refusal never leave this module, so that a forger learns nothing.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

use crate::base::id::ExternalId;
use crate::base::time::Timestamp;

/// The longest token that is read, in bytes.
const LONGEST: usize = 4_096;
/// The longest time from now until a token expires, in seconds.
const LIFETIME: f64 = 3_600.0;
/// By how many seconds the clock of the product may differ from that of Candor.
const ALLOWANCE: f64 = 60.0;

/// The header of a token. Fields that are not here, such as `kid`, decide nothing and are ignored.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
    /// A list of extensions that must be understood. None is, so a token with any is refused.
    #[serde(default)]
    crit: Option<Value>,
}

/// The claims of a token. Others are ignored.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    iat: Option<f64>,
    #[serde(default)]
    aud: Option<Value>,
}

/// A token that was read, and whose signature was not checked yet.
pub struct Unproven<'a> {
    claims: Claims,
    signed: &'a str,
    signature: Vec<u8>,
}

/// What a token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The ID of the person.
    pub person: ExternalId,
    /// When the token expires.
    pub expires_at: Timestamp,
}

impl<'a> Unproven<'a> {
    /// Reads a token. `None` if it is not a token of the only form that is accepted.
    pub fn read(text: &'a str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let part = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let header: Header = serde_json::from_slice(&part(header)?).ok()?;
        let typed = header.typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
        if header.alg != "HS256" || !typed || header.crit.is_some() {
            return None;
        }
        Some(Unproven {
            claims: serde_json::from_slice(&part(claims)?).ok()?,
            signed,
            signature: part(signature)?,
        })
    }

    /// Returns the ID of the key that the token names. It proves nothing.
    pub fn key(&self) -> &str {
        &self.claims.iss
    }

    /// Checks the signature in constant time, and then the times, the audience and the person. `None` if anything is wrong.
    pub fn prove(&self, secret: &str, audience: &str, at: Timestamp) -> Option<Proven> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
        mac.update(self.signed.as_bytes());
        mac.verify_slice(&self.signature).ok()?;
        let claims = &self.claims;
        let now = at.as_micros() as f64 / 1e6;
        let current = claims.exp.is_finite()
            && now < claims.exp + ALLOWANCE
            && claims.exp <= now + LIFETIME + ALLOWANCE
            && [claims.nbf, claims.iat]
                .into_iter()
                .flatten()
                .all(|at| at <= now + ALLOWANCE);
        let for_us = match &claims.aud {
            None => true,
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(all)) => all.iter().any(|one| one == audience),
            Some(_) => false,
        };
        if !current || !for_us {
            return None;
        }
        Some(Proven {
            person: ExternalId::parse(&claims.sub).ok()?,
            expires_at: at.plus(Duration::from_secs_f64(claims.exp + ALLOWANCE - now)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECRET: &str = "feed_a-secret-of-a-product";
    const AUDIENCE: &str = "https://candor.example.com";

    fn sign(header: &Value, claims: &Value, secret: &str) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    fn proven(token: &str) -> Option<Proven> {
        let now = Timestamp::parse("2024-03-14T07:00:00Z").unwrap();
        Unproven::read(token)?.prove(SECRET, AUDIENCE, now)
    }

    #[test]
    fn only_one_form_of_a_token_is_accepted() {
        let now = Timestamp::parse("2024-03-14T07:00:00Z").unwrap().as_micros() / 1_000_000;
        let hs256 = json!({"alg": "HS256", "typ": "JWT"});
        let good = json!({"iss": "k", "sub": "ann", "exp": now + 600});
        let token = sign(&hs256, &good, SECRET);
        assert_eq!(proven(&token).unwrap().person.as_str(), "ann");
        for header in [
            json!({"alg": "HS256"}),
            json!({"alg": "HS256", "typ": "jwt", "kid": "k"}),
        ] {
            assert!(proven(&sign(&header, &good, SECRET)).is_some(), "{header}");
        }
        for header in [
            json!({"alg": "none", "typ": "JWT"}),
            json!({"alg": "hs256"}),
            json!({"alg": "HS512"}),
            json!({"alg": "RS256"}),
            json!({"typ": "JWT"}),
            json!({"alg": ["HS256"]}),
            json!({"alg": "HS256", "typ": "JWE"}),
            json!({"alg": "HS256", "crit": ["exp"]}),
            json!({"alg": "HS256", "crit": []}),
        ] {
            assert!(proven(&sign(&header, &good, SECRET)).is_none(), "{header}");
        }
        let with = |field: &str, value: Value| {
            let mut claims = good.clone();
            claims[field] = value;
            claims
        };
        for claims in [
            with("exp", json!(now - 59)),
            with("exp", json!(now + 3_660)),
            with("exp", json!(now as f64 + 0.5)),
            with("nbf", json!(now + 59)),
            with("iat", json!(now - 9_999)),
            with("aud", json!(AUDIENCE)),
            with("aud", json!(["other", AUDIENCE])),
            with("other", json!({"ignored": true})),
        ] {
            assert!(proven(&sign(&hs256, &claims, SECRET)).is_some(), "{claims}");
        }
        for claims in [
            with("exp", json!(now - 60)),
            with("exp", json!(now + 3_662)),
            with("exp", json!(now.to_string())),
            with("exp", Value::Null),
            with("exp", json!(1e300)),
            with("exp", json!(-1e300)),
            with("nbf", json!(now + 62)),
            with("iat", json!(now + 62)),
            with("aud", json!("https://other.example.com")),
            with("aud", json!([])),
            with("aud", json!(7)),
            with("sub", json!("")),
            with("sub", json!("a\u{0}b")),
            with("sub", json!("x".repeat(201))),
            with("sub", json!(["ann"])),
            json!({"iss": "k", "sub": "ann"}),
            json!({"sub": "ann", "exp": now + 600}),
            json!([1]),
        ] {
            assert!(proven(&sign(&hs256, &claims, SECRET)).is_none(), "{claims}");
        }
        assert!(proven(&sign(&hs256, &good, "another secret")).is_none());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let other = URL_SAFE_NO_PAD.encode(with("sub", json!("bob")).to_string());
        let header = signed.split_once('.').unwrap().0;
        for forged in [
            signed.to_owned(),
            format!("{signed}."),
            format!("{token}="),
            format!("{token}.x"),
            format!(" {token}"),
            format!("{header}.{other}.{signature}"),
            format!("{signed}.{}", &signature[..20]),
            String::new(),
            "..".to_owned(),
            "x".repeat(5_000),
        ] {
            assert!(proven(&forged).is_none(), "{forged}");
        }
        let long = with("padding", json!("x".repeat(4_096)));
        assert!(proven(&sign(&hs256, &long, SECRET)).is_none());
    }
}
