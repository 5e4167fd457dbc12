//! Signed notes (C2SP `signed-note`): a text, and below it the signatures of keys that have names.
//!
//! Candor signs its checkpoints with Ed25519. Anybody verifies them with the verifier key, a public text `NAME+HASH+KEY`.
//!
//! - The private key never appears in an error, in a log or in an event.
//! - A note that was changed in any byte does not open.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::checkpoint::{Checkpoint, check_origin};
use crate::base::error::{Error, Result};

/// The byte that stands for Ed25519 in keys and in their hashes.
const ED25519_BYTE: u8 = 0x01;
/// The beginning of a private key as text.
const PRIVATE: &str = "PRIVATE+KEY+";
/// The largest length of a note in bytes. A note of Candor has less than 600.
const MAX_NOTE: usize = 64 * 1024;

/// The public part of a key: it verifies notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: [u8; 32],
}

/// A key that signs notes.
#[derive(Clone)]
pub struct SigningKey {
    verifier: VerifierKey,
    pair: Arc<Ed25519KeyPair>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The private part is not shown.
        write!(formatter, "SigningKey({})", self.verifier)
    }
}

impl VerifierKey {
    /// Returns the name of the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the hash of the name and of the key, by which a signature says which key made it.
    pub fn hash(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', ED25519_BYTE])
            .chain_update(self.key)
            .finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// Reads a verifier key, `NAME+HASH+KEY`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> std::result::Result<VerifierKey, String> {
        // The base64 text of the key may contain a plus sign, so only the first two separate.
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("must be NAME+HASH+KEY".to_owned());
        };
        check_origin(name)?;
        let key = key_bytes(key)?;
        let verifier = VerifierKey {
            name: name.to_owned(),
            key,
        };
        if hash_text(verifier.hash()) != hash {
            return Err("the hash does not belong to this name and key".to_owned());
        }
        Ok(verifier)
    }

    /// Verifies a note and returns its text, which ends with a line break.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn open<'a>(&self, note: &'a str) -> std::result::Result<&'a str, String> {
        if note.len() > MAX_NOTE {
            return Err(format!("the note is longer than {MAX_NOTE} bytes"));
        }
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err("the note contains a control character".to_owned());
        }
        let end = note
            .rfind("\n\n")
            .ok_or("the note has no empty line before its signatures")?;
        let (text, signatures) = (&note[..=end], &note[end + 2..]);
        if signatures.is_empty() || !signatures.ends_with('\n') {
            return Err("the note has no signature".to_owned());
        }
        for line in signatures.lines() {
            let (name, signature) = line
                .strip_prefix("— ")
                .and_then(|line| line.split_once(' '))
                .ok_or("a line below the text is not a signature")?;
            let bytes = STANDARD
                .decode(signature)
                .map_err(|_| "a signature is not base64")?;
            let Some((hash, signature)) = bytes.split_first_chunk::<4>() else {
                return Err("a signature is too short".to_owned());
            };
            // A note may have signatures of other keys too, for example of witnesses.
            if name != self.name || *hash != self.hash() {
                continue;
            }
            return UnparsedPublicKey::new(&ED25519, &self.key)
                .verify(text.as_bytes(), signature)
                .map(|()| text)
                .map_err(|_| "the signature does not match the text".to_owned());
        }
        Err(format!("the note has no signature of the key {}", self.name))
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}+{}+{}",
            self.name,
            hash_text(self.hash()),
            key_text(&self.key)
        )
    }
}

impl SigningKey {
    /// Creates a new key with this name.
    ///
    /// # Errors
    /// `Invalid` if the name cannot stand in a note, `Internal` if the machine has no random numbers.
    pub fn generate(name: &str) -> Result<SigningKey> {
        let mut seed = [0_u8; 32];
        getrandom::fill(&mut seed).map_err(|error| Error::internal(error.to_string()))?;
        SigningKey::from_seed(name, &seed).map_err(|reason| Error::invalid("origin", reason))
    }

    /// Makes the key from its private bytes.
    fn from_seed(name: &str, seed: &[u8; 32]) -> std::result::Result<SigningKey, String> {
        check_origin(name)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed)
            .map_err(|_| "the private key is not one of Ed25519".to_owned())?;
        let key = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| "the private key is not one of Ed25519".to_owned())?;
        let verifier = VerifierKey {
            name: name.to_owned(),
            key,
        };
        Ok(SigningKey {
            verifier,
            pair: Arc::new(pair),
        })
    }

    /// Reads a private key, `PRIVATE+KEY+NAME+HASH+KEY`, as [`SigningKey::private_text`] writes it.
    ///
    /// # Errors
    /// A sentence that says what is wrong. It never contains a part of the key.
    pub fn parse(text: &str) -> std::result::Result<SigningKey, String> {
        let shape = "must be PRIVATE+KEY+NAME+HASH+KEY, as 'candor audit key' writes it";
        let rest = text.trim().strip_prefix(PRIVATE).ok_or(shape)?;
        let mut parts = rest.splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(shape.to_owned());
        };
        let key = SigningKey::from_seed(name, &key_bytes(key)?)?;
        if hash_text(key.verifier.hash()) != hash {
            return Err("the hash does not belong to this name and key".to_owned());
        }
        Ok(key)
    }

    /// Returns the private key as text. Whoever has it can sign checkpoints in the name of this installation.
    ///
    /// # Errors
    /// `Internal` if the key does not give its private part.
    pub fn private_text(&self) -> Result<String> {
        let seed = self.seed()?;
        let hash = hash_text(self.verifier.hash());
        Ok(format!(
            "{PRIVATE}{}+{hash}+{}",
            self.verifier.name,
            key_text(&seed)
        ))
    }

    fn seed(&self) -> Result<[u8; 32]> {
        let fault = || Error::internal("the key does not give its private part");
        let seed = self.pair.seed().map_err(|_| fault())?;
        let bytes: Curve25519SeedBin<'static> = seed.as_be_bytes().map_err(|_| fault())?;
        bytes.as_ref().try_into().map_err(|_| fault())
    }

    /// Returns the same key under another name.
    ///
    /// # Errors
    /// `Invalid` if the name cannot stand in a note.
    pub fn named(&self, name: &str) -> Result<SigningKey> {
        SigningKey::from_seed(name, &self.seed()?).map_err(|reason| Error::invalid("origin", reason))
    }

    /// Returns the public part of the key.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Returns the name of the key, which is the origin of its checkpoints.
    pub fn origin(&self) -> &str {
        &self.verifier.name
    }
}

/// Returns the checkpoint as a signed note.
pub fn signed(checkpoint: &Checkpoint, key: &SigningKey) -> String {
    let text = checkpoint.text();
    let signature = key.pair.sign(text.as_bytes());
    let bytes = [&key.verifier.hash(), signature.as_ref()].concat();
    format!("{text}\n— {} {}\n", key.verifier.name, STANDARD.encode(bytes))
}

fn hash_text(hash: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(hash))
}

fn key_text(key: &[u8; 32]) -> String {
    STANDARD.encode([&[ED25519_BYTE], key.as_slice()].concat())
}

fn key_bytes(text: &str) -> std::result::Result<[u8; 32], String> {
    let bytes = STANDARD.decode(text).map_err(|_| "the key is not base64")?;
    match bytes.split_first() {
        Some((&ED25519_BYTE, key)) => key
            .try_into()
            .map_err(|_| "the key does not have 32 bytes".to_owned()),
        _ => Err("the key is not one of Ed25519".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Go package `golang.org/x/mod/sumdb/note`.
    const PUBLISHED: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const PUBLISHED_PRIVATE: &str =
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const PUBLISHED_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn notes_and_keys_of_others_are_read() {
        let key = VerifierKey::parse(PUBLISHED).unwrap();
        assert_eq!(key.to_string(), PUBLISHED);
        let text = key.open(PUBLISHED_NOTE).unwrap();
        assert!(text.ends_with("your problem is.\n"), "{text}");
        let private = SigningKey::parse(PUBLISHED_PRIVATE).unwrap();
        assert_eq!(private.verifier().to_string(), PUBLISHED);
        assert_eq!(private.private_text().unwrap(), PUBLISHED_PRIVATE);
    }

    #[test]
    fn a_changed_note_does_not_open() {
        let key = SigningKey::generate("candor.example.com").unwrap();
        let checkpoint = Checkpoint {
            origin: "candor.example.com".to_owned(),
            size: 7,
            root: [5; 32],
        };
        let note = signed(&checkpoint, &key);
        let text = key.verifier().open(&note).unwrap();
        assert_eq!(Checkpoint::parse(text).unwrap(), checkpoint);
        for (at, byte) in note.bytes().enumerate() {
            let mut changed = note.clone().into_bytes();
            changed[at] = if byte == b'A' { b'B' } else { b'A' };
            // A change within the dash leaves no valid text.
            let Ok(changed) = String::from_utf8(changed) else {
                continue;
            };
            assert!(key.verifier().open(&changed).is_err(), "byte {at}: {changed}");
        }
        let other = SigningKey::generate("candor.example.com").unwrap();
        assert!(other.verifier().open(&note).is_err());
        assert!(
            key.named("elsewhere.example.com")
                .unwrap()
                .verifier()
                .open(&note)
                .is_err()
        );
    }
}
