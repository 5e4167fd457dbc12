//! Random secrets and numbers.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::{Error, Result};

/// Returns 32 random bytes of the operating system, as text without special characters.
///
/// # Errors
/// `Internal` if the operating system has no random bytes.
pub fn random_secret() -> Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Returns a random number from 1 to 2^53 - 1, which every reader of JSON keeps exactly.
///
/// # Errors
/// `Internal` if the operating system has no random bytes.
pub fn random_number() -> Result<i64> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(error.to_string()))?;
    let number = i64::from_le_bytes(bytes) & ((1 << 53) - 1);
    Ok(number.max(1))
}
