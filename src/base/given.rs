//! Fields of a change that can be removed: a null removes the value, and a field that is left out keeps it.

use serde::{Deserialize, Deserializer};

/// Distinguishes a null from a field that is left out. Use it with `#[serde(default, deserialize_with = "given")]`.
///
/// # Errors
/// An error if the value cannot be deserialized.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
