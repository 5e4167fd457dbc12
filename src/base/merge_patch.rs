//! JSON merge patches (RFC 7396): a field that is left out does not change, and null removes a field.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::{Error, Result, misfit};

/// Returns a thing with the changes of a patch.
///
/// # Errors
/// `Invalid` if the patch is no object, is empty, or does not fit the thing.
pub fn patched<T: Serialize + DeserializeOwned>(before: &T, patch: &Value) -> Result<T> {
    let Value::Object(fields) = patch else {
        return Err(Error::invalid("", "must be an object"));
    };
    if fields.is_empty() {
        return Err(Error::invalid("", "must have at least one field to change"));
    }
    let mut after = serde_json::to_value(before)?;
    lay_over(&mut after, patch);
    serde_path_to_error::deserialize(after).map_err(|error| misfit(&error))
}

fn lay_over(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    if let Value::Object(target) = target {
        for (name, value) in fields {
            if value.is_null() {
                target.remove(name);
            } else {
                lay_over(target.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
    }
}
