//! DKIM signatures (RFC 6376, with Ed25519 from RFC 8463). They let the recipient's server verify who sent an
//! email and that nobody changed it.
//!
//! Both canonicalisations are `relaxed`. The signature covers the headers that a reader sees, the headers
//! that make the thread, and both unsubscribe headers, as RFC 8058 requires. `aws-lc-rs` makes the
//! signatures. Ed25519 takes some microseconds. RSA-2048 takes about a millisecond or more, so these emails
//! are made on blocking threads. With several keys an email gets several signatures, because some servers do
//! not support Ed25519 yet.
//!
//! No private key ever appears in an error or a log.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;

/// The headers that are signed if the email has them. From is listed twice, so that a second From header that
/// is added later breaks the signature.
const SIGNED: [&str; 15] = [
    "From",
    "From",
    "Reply-To",
    "To",
    "Date",
    "Message-ID",
    "Subject",
    "References",
    "In-Reply-To",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
    "Candor-Audit",
];
/// The length at which the base64 text of a signature is folded.
const FOLD: usize = 70;

enum Key {
    Ed25519(Box<Ed25519KeyPair>),
    Rsa(Box<RsaKeyPair>),
}

/// What the signatures of a process look like, without its keys. The signature headers of an email that was sent can be written again
/// from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signing {
    /// The domain that signs.
    pub domain: String,
    /// The names of the headers that a signature covers if the email has them.
    pub headers: Vec<String>,
    /// The keys, in the order of their signatures.
    pub keys: Vec<SigningKey>,
}

/// A key of a [`Signing`], without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// The selector, where the public key is published.
    pub selector: String,
    /// The algorithm, as a signature header names it.
    pub algorithm: String,
}

/// Signs emails for one domain.
#[derive(Clone)]
pub struct Signer {
    signing: Arc<Signing>,
    keys: Arc<Vec<Key>>,
}

impl Signer {
    /// Loads the keys of a setting such as `SELECTOR:FILE`, separated by commas. Each file contains a private
    /// key in PEM (PKCS#8, or PKCS#1 for RSA). The public key of each must be published at
    /// `SELECTOR._domainkey.DOMAIN`.
    ///
    /// # Errors
    /// A sentence that names the selector. It never contains any part of the key.
    pub fn load(setting: &str, domain: &str) -> std::result::Result<Signer, String> {
        let (mut keys, mut named) = (Vec::new(), Vec::new());
        for entry in setting.split(',').map(str::trim) {
            let (selector, file) = entry
                .split_once(':')
                .filter(|(selector, file)| is_selector(selector) && !file.is_empty())
                .ok_or("must be SELECTOR:FILE, such as candor:/etc/candor/dkim.pem")?;
            let key = read_key(Path::new(file)).map_err(|reason| format!("{selector}: {reason}"))?;
            named.push(SigningKey {
                selector: selector.to_owned(),
                algorithm: key.algorithm().to_owned(),
            });
            keys.push(key);
        }
        Ok(Signer {
            signing: Arc::new(Signing {
                domain: domain.to_owned(),
                headers: SIGNED.map(str::to_owned).to_vec(),
                keys: named,
            }),
            keys: Arc::new(keys),
        })
    }

    /// Returns what the signatures look like.
    pub fn signing(&self) -> &Signing {
        &self.signing
    }

    /// Returns whether signing takes only some microseconds, which is true for Ed25519 and not for RSA.
    pub fn is_quick(&self) -> bool {
        self.keys.iter().all(|key| matches!(key, Key::Ed25519(_)))
    }

    /// Adds a signature for each key in front of the message, and returns the signatures. The message must have CRLF as line ends.
    ///
    /// # Errors
    /// `Internal` if the message has no headers or if signing fails.
    pub fn sign(&self, message: &mut String, at: Timestamp) -> Result<Vec<Vec<u8>>> {
        let mut keys = self.keys.iter();
        add(message, at, &self.signing, |data| {
            let key = keys
                .next()
                .ok_or_else(|| Error::internal("a key for a signature is missing"))?;
            sign(key, data)
        })
    }
}

/// Adds signatures that were made before to the same message as before.
///
/// # Errors
/// `Internal` if the message has no headers, or if a signature is missing.
pub fn add_again(
    message: &mut String,
    at: Timestamp,
    signing: &Signing,
    signatures: Vec<Vec<u8>>,
) -> Result<()> {
    let mut signatures = signatures.into_iter();
    add(message, at, signing, |_| {
        signatures
            .next()
            .ok_or_else(|| Error::internal("a signature of the email is missing"))
    })
    .map(drop)
}

/// Adds a signature for each key in front of the message. `sign` returns the signature of the next key over the given bytes.
fn add(
    message: &mut String,
    at: Timestamp,
    signing: &Signing,
    mut sign: impl FnMut(&[u8]) -> Result<Vec<u8>>,
) -> Result<Vec<Vec<u8>>> {
    let (head, body) = message
        .split_once("\r\n\r\n")
        .ok_or_else(|| Error::internal("a mail without headers cannot be signed"))?;
    let body_hash = STANDARD.encode(hash_body(body));
    let headers = headers(head);
    let mut covered = String::with_capacity(2_048);
    let mut names: Vec<&str> = Vec::new();
    let mut used: Vec<usize> = Vec::new();
    for name in &signing.headers {
        let found = headers
            .iter()
            .enumerate()
            .rev()
            .find(|(at, (known, _))| known.eq_ignore_ascii_case(name) && !used.contains(at));
        match found {
            Some((at, (_, value))) => {
                used.push(at);
                names.push(name);
                relaxed_header(name, value, &mut covered);
                covered.push_str("\r\n");
            }
            // A header that is listed but absent must not be added later.
            None if name == "From" => names.push(name),
            None => {}
        }
    }
    let names = names.join(":").to_ascii_lowercase();
    let (seconds, _) = at.unix();
    let mut header = String::new();
    let mut signatures = Vec::with_capacity(signing.keys.len());
    for key in &signing.keys {
        let value = format!(
            "v=1; a={}; c=relaxed/relaxed; d={};\r\n\ts={}; t={seconds};\r\n\th={};\r\n\tbh={body_hash};\r\n\tb=",
            key.algorithm,
            signing.domain,
            key.selector,
            names
                .replacen(":list-unsubscribe:", ":\r\n\tlist-unsubscribe:", 1)
                .replacen(":mime-version:", ":\r\n\tmime-version:", 1),
        );
        let mut data = covered.clone();
        relaxed_header("DKIM-Signature", &value, &mut data);
        let signature = sign(data.as_bytes())?;
        header.push_str("DKIM-Signature: ");
        header.push_str(&value);
        fold(&STANDARD.encode(&signature), &mut header);
        header.push_str("\r\n");
        signatures.push(signature);
    }
    message.insert_str(0, &header);
    Ok(signatures)
}

impl Key {
    /// Returns the algorithm, as a signature header names it.
    fn algorithm(&self) -> &'static str {
        match self {
            Key::Ed25519(_) => "ed25519-sha256",
            Key::Rsa(_) => "rsa-sha256",
        }
    }
}

fn is_selector(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn read_key(file: &Path) -> std::result::Result<Key, String> {
    let pem = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let wrong = || {
        format!(
            "{} contains no usable private key (PEM, with Ed25519 or with RSA of 2048 bits or more)",
            file.display()
        )
    };
    match PrivateKeyDer::from_pem_slice(&pem).map_err(|_| wrong())? {
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der())
            .map(|key| Key::Rsa(Box::new(key)))
            .map_err(|_| wrong()),
        PrivateKeyDer::Pkcs8(key) => {
            let der = key.secret_pkcs8_der();
            // The unchecked function is needed because openssl leaves out the public key that the check
            // compares with.
            if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
                return Ok(Key::Ed25519(Box::new(key)));
            }
            RsaKeyPair::from_pkcs8(der)
                .map(|key| Key::Rsa(Box::new(key)))
                .map_err(|_| wrong())
        }
        _ => Err(wrong()),
    }
}

fn sign(key: &Key, data: &[u8]) -> Result<Vec<u8>> {
    match key {
        Key::Ed25519(key) => {
            let hash = aws_lc_rs::digest::digest(&SHA256, data);
            Ok(key.sign(hash.as_ref()).as_ref().to_vec())
        }
        Key::Rsa(key) => {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature)
                .map_err(|_| Error::internal("a mail could not be signed"))?;
            Ok(signature)
        }
    }
}

/// Returns the headers with their values, unchanged and including line folds.
fn headers(head: &str) -> Vec<(&str, &str)> {
    let mut headers = Vec::new();
    let mut rest = head;
    while !rest.is_empty() {
        let mut end = 0;
        loop {
            match rest[end..].find("\r\n") {
                Some(at) => {
                    end += at;
                    if rest[end + 2..].starts_with([' ', '\t']) {
                        end += 2;
                        continue;
                    }
                }
                None => end = rest.len(),
            }
            break;
        }
        if let Some((name, value)) = rest[..end].split_once(':') {
            headers.push((name, value));
        }
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    headers
}

/// Writes a header as RFC 6376, section 3.4.2 requires: the name in lower case, the value unfolded, each run
/// of white space as one space, and no white space at the ends.
fn relaxed_header(name: &str, value: &str, text: &mut String) {
    text.push_str(&name.to_ascii_lowercase());
    text.push(':');
    let mut first = true;
    for word in value
        .split([' ', '\t', '\r', '\n'])
        .filter(|word| !word.is_empty())
    {
        if !first {
            text.push(' ');
        }
        text.push_str(word);
        first = false;
    }
}

/// Hashes the body as RFC 6376, section 3.4.4 requires: no white space at the ends of lines, each run of
/// white space as one space, and no empty lines at the end.
fn hash_body(body: &str) -> aws_lc_rs::digest::Digest {
    let mut hash = Context::new(&SHA256);
    let mut empty = 0;
    let mut line_of = String::new();
    for line in body.split_terminator("\r\n") {
        let line = line.trim_end_matches([' ', '\t']);
        if line.is_empty() {
            empty += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty) {
            hash.update(b"\r\n");
        }
        if line.contains("  ") || line.contains('\t') {
            line_of.clear();
            let mut before = 'x';
            for character in line.chars() {
                let white = matches!(character, ' ' | '\t');
                if !white {
                    line_of.push(character);
                } else if !matches!(before, ' ' | '\t') {
                    line_of.push(' ');
                }
                before = character;
            }
            hash.update(line_of.as_bytes());
        } else {
            hash.update(line.as_bytes());
        }
        hash.update(b"\r\n");
    }
    hash.finish()
}

/// Writes a long base64 text over several lines of a header.
fn fold(text: &str, header: &mut String) {
    let mut rest = text;
    while rest.len() > FOLD {
        let (line, next) = rest.split_at(FOLD);
        header.push_str(line);
        header.push_str("\r\n\t");
        rest = next;
    }
    header.push_str(rest);
}
