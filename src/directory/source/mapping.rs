//! Turns a row with columns into an import line: which columns each kind has, and what is wrong with a row.
//!
//! An unknown column is an error. The text of an error never contains a value, because it can be an email
//! address.

use serde_json::{Map, Value};

use crate::base::id::ExternalId;
use crate::directory::line::{self, Line, LineKind};

/// An error in one column of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The name of the field. Empty if the error is about the whole row.
    pub field: String,
    /// What is wrong with the column, as a sentence.
    pub detail: String,
}

fn wrong(field: impl Into<String>, detail: impl Into<String>) -> Vec<Wrong> {
    vec![Wrong {
        field: field.into(),
        detail: detail.into(),
    }]
}

/// Returns the fields of a kind, without `label_NAME`.
pub fn fields(kind: LineKind) -> &'static [&'static str] {
    match kind {
        LineKind::Account => &["id", "name", "locale", "time_zone", "labels"],
        LineKind::Person => &["id", "name", "email", "locale", "time_zone"],
        LineKind::Resource => &[
            "type",
            "id",
            "name",
            "account",
            "parent_type",
            "parent_id",
            "labels",
        ],
        LineKind::Member => &["account", "person", "role"],
        LineKind::Collaborator => &["resource_type", "resource_id", "person", "role"],
    }
}

/// Returns the columns that identify a row of a kind. A query is read in their order.
pub fn key(kind: LineKind) -> &'static [&'static str] {
    match kind {
        LineKind::Account | LineKind::Person => &["id"],
        LineKind::Resource => &["type", "id"],
        LineKind::Member => &["account", "person"],
        LineKind::Collaborator => &["resource_type", "resource_id", "person"],
    }
}

/// Returns the key of a row, if each of its values is a valid ID.
pub(super) fn key_of(kind: LineKind, row: &Map<String, Value>) -> Option<Vec<String>> {
    key(kind)
        .iter()
        .map(|column| {
            let word = text(column, row.get(*column)?).ok()??;
            ExternalId::parse(&word).ok().map(ExternalId::into_string)
        })
        .collect()
}

/// Returns the name in `label_NAME`, if the kind has labels.
fn label(kind: LineKind, field: &str) -> Option<&str> {
    matches!(kind, LineKind::Account | LineKind::Resource)
        .then(|| field.strip_prefix("label_"))
        .flatten()
        .filter(|name| !name.is_empty())
}

/// Checks that the kind has this field.
///
/// # Errors
/// A sentence with the names of its fields.
pub fn check_field(kind: LineKind, field: &str) -> Result<(), String> {
    if fields(kind).contains(&field) || label(kind, field).is_some() {
        return Ok(());
    }
    let labels = if fields(kind).contains(&"labels") {
        " and label_NAME"
    } else {
        ""
    };
    Err(format!(
        "is not a field of {}; the fields are {}{labels}",
        kind.as_str(),
        fields(kind).join(", ")
    ))
}

/// Returns a value as text. Numbers and booleans are written as text, and a null is None.
fn text(field: &str, value: &Value) -> Result<Option<String>, Vec<Wrong>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Bool(truth) => Ok(Some(truth.to_string())),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(Some(number.to_string())),
        Value::Number(_) => Err(wrong(field, "is a number with a fraction; give it as text")),
        Value::Array(_) | Value::Object(_) => Err(wrong(field, "is JSON; give it as text")),
    }
}

fn labels(value: &Value, into: &mut Map<String, Value>) -> Result<(), Vec<Wrong>> {
    let parsed;
    let object = match value {
        Value::Null => return Ok(()),
        Value::Object(object) => object,
        Value::String(json) => {
            parsed = serde_json::from_str::<Value>(json).unwrap_or_default();
            parsed
                .as_object()
                .ok_or_else(|| wrong("labels", "is not a JSON object of names and values"))?
        }
        _ => return Err(wrong("labels", "is not a JSON object of names and values")),
    };
    for (name, value) in object {
        if let Some(text) = text("labels", value)? {
            into.insert(name.clone(), Value::from(text));
        }
    }
    Ok(())
}

/// Removes spaces around addresses. Line breaks in names are replaced when the line is parsed.
fn tidy(field: &str, text: String) -> String {
    if field == "email" {
        return text.trim_matches(' ').to_owned();
    }
    text
}

/// Combines `NAME_type` and `NAME_id` into one reference.
fn reference(row: &mut Map<String, Value>, name: &str) -> Result<(), Vec<Wrong>> {
    let (type_, id) = (format!("{name}_type"), format!("{name}_id"));
    match (row.remove(&type_), row.remove(&id)) {
        (None, None) => Ok(()),
        (Some(type_), Some(id)) => {
            row.insert(
                name.to_owned(),
                Value::Object(Map::from_iter([
                    ("type".to_owned(), type_),
                    ("id".to_owned(), id),
                ])),
            );
            Ok(())
        }
        (None, Some(_)) => Err(wrong(
            type_,
            format!("is missing or null, although {id} is given"),
        )),
        (Some(_), None) => Err(wrong(
            id,
            format!("is missing or null, although {type_} is given"),
        )),
    }
}

/// Turns a row into an import line.
///
/// # Errors
/// The columns whose values are missing or wrong, each with the reason.
pub(crate) fn line<'a>(
    kind: LineKind,
    cells: impl IntoIterator<Item = (&'a str, &'a Value)>,
) -> Result<Line, Vec<Wrong>> {
    let mut row = Map::new();
    let mut found = Map::new();
    for (field, value) in cells {
        if let Err(detail) = check_field(kind, field) {
            return Err(wrong(field, detail));
        }
        if field == "labels" {
            labels(value, &mut found)?;
        } else if let Some(text) = text(field, value)? {
            let text = tidy(field, text);
            match label(kind, field) {
                Some(name) => found.insert(name.to_owned(), Value::from(text)),
                None => row.insert(field.to_owned(), Value::from(text)),
            };
        }
    }
    reference(&mut row, "parent")?;
    reference(&mut row, "resource")?;
    if !found.is_empty() {
        row.insert("labels".to_owned(), Value::Object(found));
    }
    // A person without an address is shown as unreachable.
    if kind == LineKind::Person && !row.contains_key("email") {
        row.insert("email".to_owned(), Value::from(""));
    }
    row.insert("kind".to_owned(), Value::from(kind.as_str()));
    let json = Value::Object(row).to_string();
    let line = line::parse(json.as_bytes()).map_err(|reason| named(kind, &reason))?;
    let errors: Vec<Wrong> = line
        .wrong()
        .into_iter()
        .map(|error| Wrong {
            field: column(
                error
                    .pointer
                    .as_deref()
                    .unwrap_or_default()
                    .trim_start_matches('/'),
            ),
            detail: error.detail,
        })
        .collect();
    if errors.is_empty() { Ok(line) } else { Err(errors) }
}

/// Returns the column for a path, for example `parent_id` for `parent.id`.
fn column(path: &str) -> String {
    match path.split_once(['.', '/']) {
        Some((first @ ("parent" | "resource"), rest)) => format!("{first}_{rest}"),
        Some((first, _)) => first.to_owned(),
        None => path.to_owned(),
    }
}

/// Translates an error of the line parser into an error about a column.
fn named(kind: LineKind, reason: &str) -> Vec<Wrong> {
    if let Some(name) = reason.strip_suffix(": is missing") {
        let field = if name == "resource" { "resource_id" } else { name };
        return wrong(field, "is missing or null");
    }
    match reason.split_once(": ") {
        Some((path, detail)) if check_field(kind, &column(path)).is_ok() => wrong(column(path), detail),
        _ => wrong("", reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(kind: LineKind, row: Value) -> Result<String, (String, String)> {
        let row = row.as_object().unwrap().clone();
        line(kind, row.iter().map(|(name, value)| (name.as_str(), value)))
            .map(|line| line.to_json())
            .map_err(|all| (all[0].field.clone(), all[0].detail.clone()))
    }

    #[test]
    fn a_row_becomes_a_line() {
        let row = json!({"type": "file", "id": 7, "name": null, "account": 12, "parent_type": "folder", "parent_id": "f",
            "labels": "{\"a\": 1, \"b\": null}", "label_tier": "pro"});
        assert_eq!(
            made(LineKind::Resource, row).unwrap(),
            r#"{"kind":"resource","type":"file","id":"7","account":"12","parent":{"type":"folder","id":"f"},"labels":{"a":"1","tier":"pro"}}"#
        );
        let row = json!({"id": 1, "name": "Ann", "email": null});
        assert_eq!(
            made(LineKind::Person, row).unwrap(),
            r#"{"kind":"person","id":"1","name":"Ann","email":""}"#
        );
    }

    #[test]
    fn what_is_wrong_is_named_by_its_column() {
        let field = |kind, row| made(kind, row).unwrap_err().0;
        assert_eq!(field(LineKind::Account, json!({"id": "a", "nmae": "A"})), "nmae");
        assert_eq!(field(LineKind::Account, json!({"id": "a", "name": null})), "name");
        assert_eq!(field(LineKind::Account, json!({"id": 1.5, "name": "A"})), "id");
        assert_eq!(
            field(
                LineKind::Person,
                json!({"id": "a", "name": "A", "email": "ann at home"})
            ),
            "email"
        );
        assert_eq!(
            field(
                LineKind::Resource,
                json!({"type": "t", "id": "a", "parent_id": "b"})
            ),
            "parent_type"
        );
        assert_eq!(
            field(
                LineKind::Collaborator,
                json!({"resource_type": "t", "resource_id": "", "person": "p", "role": "r"})
            ),
            "resource_id"
        );
        assert_eq!(
            field(
                LineKind::Member,
                json!({"account": "t", "person": "p", "role": ""})
            ),
            "role"
        );
        assert_eq!(
            field(
                LineKind::Resource,
                json!({"type": "t", "id": "a", "labels": "[1]"})
            ),
            "labels"
        );
    }
}
