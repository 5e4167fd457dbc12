//! Lists in pages: an opaque cursor, a limit, and one additional row that shows whether there are more.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::schema::{Array, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::base::error::{Error, Result};

/// A page of a list.
#[derive(Serialize)]
pub struct Page<T> {
    /// The rows on this page.
    pub items: Vec<T>,
    /// Send this value as `cursor` to get the next page. Null on the last page.
    pub next_cursor: Option<String>,
}

impl<T: ToSchema> PartialSchema for Page<T> {
    fn schema() -> RefOr<Schema> {
        let items = Array::new(Ref::from_schema_name(T::name()));
        let cursor = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some(
                "Send this value as `cursor` to get the next page. Null on the last page.",
            ));
        ObjectBuilder::new()
            .description(Some("A page of a list."))
            .property("items", items)
            .required("items")
            .property("next_cursor", cursor)
            .into()
    }
}

// The derived implementation gives all pages one name, and repeats the schema of the rows in each.
impl<T: ToSchema> ToSchema for Page<T> {
    fn name() -> Cow<'static, str> {
        format!("Page_{}", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
        schemas.push((T::name().into_owned(), T::schema()));
    }
}

/// The `limit` of a list, from 1 to 500.
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
    /// Returns the number of rows to read, which is one more than requested.
    pub fn probe(self) -> i64 {
        self.0 + 1
    }
}

/// Makes a page of up to `limit` rows from those that were read with [`Limit::probe`]. `key` makes the cursor
/// of a row.
pub fn page<T, K: Serialize>(mut items: Vec<T>, limit: Limit, key: impl Fn(&T) -> K) -> Page<T> {
    let more = items.len() as i64 > limit.0;
    items.truncate(limit.0 as usize);
    let next_cursor = items.last().filter(|_| more).map(|last| encode(&key(last)));
    Page { items, next_cursor }
}

/// Makes a page of these rows. `next` is the key at which the next page begins, if there is one.
pub fn page_until<T, K: Serialize>(items: Vec<T>, next: Option<&K>) -> Page<T> {
    let next_cursor = next.map(|key| encode(key));
    Page { items, next_cursor }
}

/// Makes the cursor of a place in a list.
pub fn encode(key: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

/// Returns the key in a cursor.
///
/// # Errors
/// `Invalid` if no list has returned this cursor.
pub fn cursor<K: DeserializeOwned>(text: Option<&str>) -> Result<Option<K>> {
    let Some(text) = text else { return Ok(None) };
    URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .filter(|value| !holds_control(value))
        .and_then(|value| serde_json::from_value(value).ok())
        .map(Some)
        .ok_or_else(|| Error::invalid("?cursor", "is not a valid cursor of this list"))
}

/// Returns whether a key contains a control character. No real key does, and PostgreSQL refuses NUL.
fn holds_control(value: &Value) -> bool {
    match value {
        Value::String(text) => text.chars().any(char::is_control),
        Value::Array(items) => items.iter().any(holds_control),
        _ => false,
    }
}

/// The paging parameters of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// The largest number of rows, from 1 to 500. The default is 50.
    #[serde(default)]
    #[param(value_type = Option<i64>)]
    pub limit: Limit,
    /// The `next_cursor` of the previous page.
    pub cursor: Option<String>,
}
