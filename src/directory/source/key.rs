//! The key of a row of a source.

/// The key under which rows without a key are staged. Other keys are JSON arrays, so none of them is equal to
/// it.
pub(super) const NO_KEY: &str = "#null";

/// Returns the parts of a key.
pub(super) fn words(key: &str) -> Vec<String> {
    serde_json::from_str(key).unwrap_or_default()
}
