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

use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;

/// The headers that are signed if the email has them. From is listed twice, so that a second From header that
/// is added later breaks the signature.
const SIGNED: [&str; 14] = [
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
];
/// The length at which the base64 text of a signature is folded.
const FOLD: usize = 70;

enum Key {
    Ed25519(Box<Ed25519KeyPair>),
    Rsa(Box<RsaKeyPair>),
}

struct Named {
    selector: String,
    key: Key,
}

/// Signs emails for one domain.
#[derive(Clone)]
pub struct Signer {
    domain: String,
    keys: Arc<Vec<Named>>,
}

impl Signer {
    /// Loads the keys of a setting such as `SELECTOR:FILE`, separated by commas. Each file contains a private
    /// key in PEM (PKCS#8, or PKCS#1 for RSA). The public key of each must be published at
    /// `SELECTOR._domainkey.DOMAIN`.
    ///
    /// # Errors
    /// A sentence that names the selector. It never contains any part of the key.
    pub fn load(setting: &str, domain: &str) -> std::result::Result<Signer, String> {
        let mut keys = Vec::new();
        for entry in setting.split(',').map(str::trim) {
            let (selector, file) = entry
                .split_once(':')
                .filter(|(selector, file)| is_selector(selector) && !file.is_empty())
                .ok_or("must be SELECTOR:FILE, such as candor:/etc/candor/dkim.pem")?;
            let key = read_key(Path::new(file)).map_err(|reason| format!("{selector}: {reason}"))?;
            keys.push(Named {
                selector: selector.to_owned(),
                key,
            });
        }
        Ok(Signer {
            domain: domain.to_owned(),
            keys: Arc::new(keys),
        })
    }

    /// Returns whether signing takes only some microseconds, which is true for Ed25519 and not for RSA.
    pub fn is_quick(&self) -> bool {
        self.keys.iter().all(|named| matches!(named.key, Key::Ed25519(_)))
    }

    /// Adds a signature for each key in front of the message. The message must have CRLF as line ends.
    ///
    /// # Errors
    /// `Internal` if the message has no headers or if signing fails.
    pub fn sign(&self, message: &mut String, at: Timestamp) -> Result<()> {
        let (head, body) = message
            .split_once("\r\n\r\n")
            .ok_or_else(|| Error::internal("a mail without headers cannot be signed"))?;
        let body_hash = STANDARD.encode(hash_body(body));
        let headers = headers(head);
        let mut covered = String::with_capacity(2_048);
        let mut names: Vec<&str> = Vec::new();
        let mut used: Vec<usize> = Vec::new();
        for name in SIGNED {
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
        let mut signatures = String::new();
        for named in self.keys.iter() {
            let algorithm = match named.key {
                Key::Ed25519(_) => "ed25519-sha256",
                Key::Rsa(_) => "rsa-sha256",
            };
            let value = format!(
                "v=1; a={algorithm}; c=relaxed/relaxed; d={};\r\n\ts={}; t={seconds};\r\n\th={};\r\n\tbh={body_hash};\r\n\tb=",
                self.domain,
                named.selector,
                names.replacen(":list-unsubscribe:", ":\r\n\tlist-unsubscribe:", 1),
            );
            let mut data = covered.clone();
            relaxed_header("DKIM-Signature", &value, &mut data);
            let signature = sign(&named.key, data.as_bytes())?;
            signatures.push_str("DKIM-Signature: ");
            signatures.push_str(&value);
            fold(&STANDARD.encode(signature), &mut signatures);
            signatures.push_str("\r\n");
        }
        message.insert_str(0, &signatures);
        Ok(())
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
