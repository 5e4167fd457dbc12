//! Encrypts secrets before they are stored, if a key is set. Without a key they are stored as they are.
//!
//! A sealed text is `sealed:v1:KEY_ID:BASE64`, with AES-256-GCM and a random nonce. It is bound to the column and the row, so that a
//! text of one row does not open in another. The ID of the key is a part of its hash, so that a wrong key is told from a damaged text.
//!
//! The keys belong to the process, because rows are read on connections that do not know the settings. They are set once at the start,
//! before the first row is read.

use std::sync::{PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest, Sha256};

use crate::base::error::{Error, Result};
use crate::base::text::hex;

/// What a sealed text begins with.
const PREFIX: &str = "sealed:v1:";
/// The smallest length of a key in the settings, in characters.
pub const SHORTEST_KEY: usize = 32;

/// A key with its ID.
struct Key {
    id: String,
    key: LessSafeKey,
}

impl Key {
    fn new(text: &str) -> Result<Key> {
        let bytes = Sha256::digest([b"candor encryption ".as_slice(), text.as_bytes()].concat());
        let id = hex(&Sha256::digest([b"candor key id ".as_slice(), &bytes].concat())[..4]);
        let key = UnboundKey::new(&AES_256_GCM, &bytes)
            .map_err(|_| Error::internal("an encryption key is not usable"))?;
        Ok(Key {
            id,
            key: LessSafeKey::new(key),
        })
    }
}

/// The keys of this process.
#[derive(Default)]
struct Keyring {
    /// The key that seals. `None`: nothing is sealed.
    current: Option<Key>,
    /// Keys that only open.
    old: Vec<Key>,
}

static KEYS: RwLock<Option<Keyring>> = RwLock::new(None);

/// Sets the keys of this process. `current` seals and opens, and the keys in `old` only open.
///
/// # Errors
/// `Internal` if a key cannot be used.
pub fn set_keys(current: Option<&str>, old: &[String]) -> Result<()> {
    let keyring = Keyring {
        current: current.map(Key::new).transpose()?,
        old: old.iter().map(|text| Key::new(text)).collect::<Result<_>>()?,
    };
    *KEYS.write().unwrap_or_else(PoisonError::into_inner) = Some(keyring);
    Ok(())
}

/// Returns whether this process seals what it stores.
pub fn is_on() -> bool {
    let keys = KEYS.read().unwrap_or_else(PoisonError::into_inner);
    keys.as_ref().is_some_and(|keys| keys.current.is_some())
}

/// Returns the text as it is stored. `place` is its column and row.
///
/// # Errors
/// `Internal` if it cannot be encrypted.
pub fn seal(text: &str, place: &str) -> Result<String> {
    let keys = KEYS.read().unwrap_or_else(PoisonError::into_inner);
    let Some(current) = keys.as_ref().and_then(|keys| keys.current.as_ref()) else {
        return Ok(text.to_owned());
    };
    let mut nonce = [0_u8; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(|error| Error::internal(error.to_string()))?;
    let mut bytes = text.as_bytes().to_vec();
    current
        .key
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place.as_bytes()),
            &mut bytes,
        )
        .map_err(|_| Error::internal("a secret could not be encrypted"))?;
    let whole = [nonce.as_slice(), &bytes].concat();
    Ok(format!(
        "{PREFIX}{}:{}",
        current.id,
        STANDARD_NO_PAD.encode(whole)
    ))
}

/// Returns the text of what is stored. A text that is not sealed is returned as it is.
///
/// # Errors
/// `Internal` if the process has not the key, or if the text is damaged or belongs to another place.
pub fn open(stored: &str, place: &str) -> Result<String> {
    let Some(rest) = stored.strip_prefix(PREFIX) else {
        return Ok(stored.to_owned());
    };
    let damaged = || Error::internal(format!("the encrypted secret of {place} is damaged"));
    let (id, text) = rest.split_once(':').ok_or_else(damaged)?;
    let mut bytes = STANDARD_NO_PAD.decode(text).map_err(|_| damaged())?;
    if bytes.len() < NONCE_LEN {
        return Err(damaged());
    }
    let mut sealed = bytes.split_off(NONCE_LEN);
    let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| damaged())?;
    let keys = KEYS.read().unwrap_or_else(PoisonError::into_inner);
    let key = keys
        .as_ref()
        .and_then(|keys| keys.current.iter().chain(&keys.old).find(|key| key.id == id))
        .ok_or_else(|| Error::internal(missing(id)))?;
    let opened = key
        .key
        .open_in_place(nonce, Aad::from(place.as_bytes()), &mut sealed)
        .map_err(|_| damaged())?;
    String::from_utf8(opened.to_vec()).map_err(|_| damaged())
}

/// Returns the sentence for a key that this process has not.
fn missing(id: &str) -> String {
    format!(
        "a secret is encrypted with the key {id}, which is neither CANDOR_ENCRYPTION_KEY nor CANDOR_ENCRYPTION_KEY_OLD"
    )
}

/// Returns whether a stored text is as this process would store it now.
pub fn is_current(stored: &str) -> bool {
    let keys = KEYS.read().unwrap_or_else(PoisonError::into_inner);
    let sealed = stored.strip_prefix(PREFIX);
    match (keys.as_ref().and_then(|keys| keys.current.as_ref()), sealed) {
        (Some(current), Some(rest)) => rest.split(':').next() == Some(current.id.as_str()),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, because the keys belong to the process.
    #[test]
    fn a_secret_opens_only_with_its_key_and_in_its_place() {
        let (first, second) = ("a".repeat(32), "b".repeat(32));
        assert_eq!(seal("plain", "t.c/1").unwrap(), "plain");
        assert!(is_current("plain") && !is_on());
        set_keys(Some(&first), &[]).unwrap();
        let sealed = seal("whsec_1", "t.c/1").unwrap();
        assert!(sealed.starts_with(PREFIX) && !sealed.contains("whsec"));
        assert_ne!(sealed, seal("whsec_1", "t.c/1").unwrap());
        assert_eq!(open(&sealed, "t.c/1").unwrap(), "whsec_1");
        assert!(open(&sealed, "t.c/2").is_err());
        assert!(is_current(&sealed) && !is_current("plain"));
        assert_eq!(open("plain", "t.c/1").unwrap(), "plain");
        set_keys(Some(&second), &[]).unwrap();
        assert!(open(&sealed, "t.c/1").is_err());
        set_keys(Some(&second), std::slice::from_ref(&first)).unwrap();
        assert_eq!(open(&sealed, "t.c/1").unwrap(), "whsec_1");
        assert!(!is_current(&sealed));
        let damaged = format!("{}A", &sealed[..sealed.len() - 1]);
        assert!(open(&damaged, "t.c/1").is_err() || damaged == sealed);
        set_keys(None, &[]).unwrap();
        assert!(open(&sealed, "t.c/1").is_err());
    }
}
