//! Lists in pages: an opaque cursor, a limit, and one more row than asked for to know whether there is more.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::IntoParams;

use crate::base::error::{Error, Result};

/// A page of a list.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Give it back as `cursor` for the next page; null at the end.
    pub next_cursor: Option<String>,
}

/// `limit` of a list: 1 to 500.
#[derive(Clone, Copy, Debug)]
pub struct Limit(pub i64);

impl Default for Limit {
    fn default() -> Self {
        Limit(50)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let limit = i64::deserialize(deserializer)?;
        if (1..=500).contains(&limit) {
            Ok(Limit(limit))
        } else {
            Err(serde::de::Error::custom("must be a number from 1 to 500"))
        }
    }
}

impl Limit {
    /// Rows to read: one more than asked for.
    pub fn probe(self) -> i64 {
        self.0 + 1
    }
}

/// The page of up to `limit` rows out of those read with [`Limit::probe`]; `key` makes the cursor of a row.
pub fn page<T, K: Serialize>(mut items: Vec<T>, limit: Limit, key: impl Fn(&T) -> K) -> Page<T> {
    let more = items.len() as i64 > limit.0;
    items.truncate(limit.0 as usize);
    let next_cursor = items.last().filter(|_| more).map(|last| encode(&key(last)));
    Page { items, next_cursor }
}

fn encode(key: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

/// The key in a cursor.
///
/// # Errors
/// `Invalid` where it is not one that a list gave out.
pub fn cursor<K: DeserializeOwned>(text: Option<&str>) -> Result<Option<K>> {
    let Some(text) = text else { return Ok(None) };
    URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .filter(|value| !holds_control(value))
        .and_then(|value| serde_json::from_value(value).ok())
        .map(Some)
        .ok_or_else(|| Error::invalid("?cursor", "is not a cursor of this list"))
}

/// No key holds a control character, and PostgreSQL takes no NUL.
fn holds_control(value: &Value) -> bool {
    match value {
        Value::String(text) => text.chars().any(char::is_control),
        Value::Array(items) => items.iter().any(holds_control),
        _ => false,
    }
}

/// How to page through a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// Rows at most, 1 to 500; 50 if not given.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}
