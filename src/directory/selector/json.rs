//! The JSON form of a selector. It is parsed by hand, so that every error names its place and a field that
//! occurs twice is an error.
//!
//! An unknown field, a null and an empty list are errors and are never ignored.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::tree::{MAX_DEPTH, Part, Place, Spot, Test, Window};
use crate::base::error::FieldError;
use crate::base::id::ExternalId;
use crate::base::time::Timestamp;
use crate::directory::ResourceRef;

/// A JSON value. Its objects keep every field, even one that occurs twice.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// The value `null`, which a selector never allows.
    Null,
    /// The value `true` or `false`.
    Bool(bool),
    /// A number, whose value does not matter.
    Number,
    /// A string, after its escapes were decoded.
    Text(String),
    /// An array, with its items in their order.
    List(Vec<Json>),
    /// An object, with the names and values of its fields in their order.
    Object(Vec<(String, Json)>),
}

impl Json {
    fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "true or false",
            Json::Number => "a number",
            Json::Text(_) => "a string",
            Json::List(_) => "an array",
            Json::Object(_) => "an object",
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_none<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
                Ok(Json::Number)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
                Ok(Json::Number)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
                Ok(Json::Number)
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Json, E> {
                Ok(Json::Text(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Json::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
                let mut object = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    object.push(entry);
                }
                Ok(Json::Object(object))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Escapes a name for a JSON pointer.
fn step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn place(pointer: &str) -> Place {
    Place::Pointer(pointer.to_owned())
}

pub(super) fn wrong(errors: &mut Vec<FieldError>, pointer: &str, detail: impl Into<String>) {
    errors.push(FieldError::at(pointer, detail));
}

/// Returns the fields of a selector at `pointer`: the pointer, the name and the value of each. A field that is null or
/// given twice is an error. `possible` lists the fields for the error about an empty selector.
pub(super) fn fields<'a>(
    pointer: &str,
    given: &'a Json,
    errors: &mut Vec<FieldError>,
    possible: &str,
) -> Vec<(String, &'a str, &'a Json)> {
    let fields = match given {
        Json::Object(fields) => fields,
        other => {
            wrong(
                errors,
                pointer,
                format!("is {}; it must be an object", other.kind()),
            );
            return Vec::new();
        }
    };
    if fields.is_empty() {
        wrong(errors, pointer, format!("must not be empty; give {possible}"));
    }
    let mut found = Vec::with_capacity(fields.len());
    for (index, (name, value)) in fields.iter().enumerate() {
        let at = format!("{pointer}/{}", step(name));
        if fields[..index].iter().any(|(earlier, _)| earlier == name) {
            wrong(errors, &at, "is given twice");
        } else if *value == Json::Null {
            wrong(errors, &at, "must not be null; leave it out or give a value");
        } else {
            found.push((at, name.as_str(), value));
        }
    }
    found
}

/// Parses the condition at `pointer`. Errors are added to `errors`.
pub(super) fn part(pointer: &str, given: &Json, errors: &mut Vec<FieldError>, depth: usize) -> Option<Part> {
    if depth > MAX_DEPTH {
        wrong(
            errors,
            pointer,
            format!("is nested deeper than {MAX_DEPTH} levels"),
        );
        return None;
    }
    let possible = "type, labels, under, accounts, account_labels, created or changed";
    let mut parts = Vec::new();
    for (at, name, value) in fields(pointer, given, errors, possible) {
        match name {
            "type" => parts.extend(word(&at, value, errors).map(Part::Type)),
            "labels" => labels(&at, value, errors, &mut parts, Part::Label),
            "account_labels" => labels(&at, value, errors, &mut parts, Part::AccountLabel),
            "under" => parts.extend(under(&at, value, errors)),
            "accounts" => parts.extend(accounts(&at, value, errors)),
            "created" => parts.extend(window(&at, value, errors).map(Part::Created)),
            "changed" => parts.extend(window(&at, value, errors).map(Part::Changed)),
            "and" => parts.extend(several(&at, value, errors, depth).map(Part::all)),
            "or" => parts.extend(several(&at, value, errors, depth).map(Part::any)),
            "not" => parts.extend(
                part(&at, value, errors, depth + 1)
                    .map(|inner| Part::Not(Spot::new(Box::new(inner), place(&at)))),
            ),
            _ => wrong(
                errors,
                &at,
                "is not a field of a selector; the fields are type, labels, under, accounts, account_labels, created, \
                 changed, and, or, not",
            ),
        }
    }
    (!parts.is_empty()).then(|| Part::all(parts))
}

fn text<'a>(pointer: &str, value: &'a Json, errors: &mut Vec<FieldError>) -> Option<&'a str> {
    match value {
        Json::Text(text) => Some(text),
        other => {
            wrong(
                errors,
                pointer,
                format!("is {}; it must be a string", other.kind()),
            );
            None
        }
    }
}

fn word(pointer: &str, value: &Json, errors: &mut Vec<FieldError>) -> Option<Spot<ExternalId>> {
    let text = text(pointer, value, errors)?;
    match ExternalId::parse(text) {
        Ok(word) => Some(Spot::new(word, place(pointer))),
        Err(detail) => {
            wrong(errors, pointer, detail);
            None
        }
    }
}

fn list<'a>(pointer: &str, value: &'a Json, errors: &mut Vec<FieldError>) -> Option<&'a [Json]> {
    match value {
        Json::List(items) if items.is_empty() => {
            wrong(errors, pointer, "is an empty list");
            None
        }
        Json::List(items) => Some(items),
        other => {
            wrong(errors, pointer, format!("is {}; it must be a list", other.kind()));
            None
        }
    }
}

fn object<'a>(pointer: &str, value: &'a Json, errors: &mut Vec<FieldError>) -> Option<&'a [(String, Json)]> {
    match value {
        Json::Object(fields) => {
            for (index, (name, _)) in fields.iter().enumerate() {
                if fields[..index].iter().any(|(earlier, _)| earlier == name) {
                    wrong(errors, &format!("{pointer}/{}", step(name)), "is given twice");
                    return None;
                }
            }
            Some(fields)
        }
        other => {
            wrong(
                errors,
                pointer,
                format!("is {}; it must be an object", other.kind()),
            );
            None
        }
    }
}

fn several(pointer: &str, value: &Json, errors: &mut Vec<FieldError>, depth: usize) -> Option<Vec<Part>> {
    let items = list(pointer, value, errors)?;
    let parts: Vec<Part> = items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| part(&format!("{pointer}/{index}"), item, errors, depth + 1))
        .collect();
    // If one part was not understood, it has an error. The other parts alone would have another meaning.
    (parts.len() == items.len()).then_some(parts)
}

fn accounts(pointer: &str, value: &Json, errors: &mut Vec<FieldError>) -> Option<Part> {
    words(pointer, value, errors).map(Part::Accounts)
}

/// Parses a list of IDs or names. The result is never empty.
pub(super) fn words(
    pointer: &str,
    value: &Json,
    errors: &mut Vec<FieldError>,
) -> Option<Vec<Spot<ExternalId>>> {
    let items = list(pointer, value, errors)?;
    let words: Vec<Spot<ExternalId>> = items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| word(&format!("{pointer}/{index}"), item, errors))
        .collect();
    (!words.is_empty()).then_some(words)
}

/// Parses tests of labels. `part` makes a condition of each.
pub(super) fn labels<P>(
    pointer: &str,
    value: &Json,
    errors: &mut Vec<FieldError>,
    parts: &mut Vec<P>,
    part: impl Fn(Spot<String>, Test) -> P,
) {
    let Some(fields) = object(pointer, value, errors) else {
        return;
    };
    if fields.is_empty() {
        wrong(errors, pointer, "must not be empty; give a label or leave it out");
    }
    for (name, value) in fields {
        let at = format!("{pointer}/{}", step(name));
        if let Err(detail) = ExternalId::parse(name) {
            wrong(errors, &at, format!("the label's name {detail}"));
        } else if let Some(test) = test(&at, value, errors) {
            parts.push(part(Spot::new(name.clone(), place(&at)), test));
        }
    }
}

fn test(pointer: &str, value: &Json, errors: &mut Vec<FieldError>) -> Option<Test> {
    let fields = match value {
        Json::Text(value) => return Some(Test::Is(Spot::new(value.clone(), place(pointer)))),
        Json::Object(_) => object(pointer, value, errors)?,
        other => {
            let detail = format!(
                "is {}; it must be a value, {{\"in\": [values]}} or {{\"exists\": true}}",
                other.kind()
            );
            wrong(errors, pointer, detail);
            return None;
        }
    };
    match fields {
        [(name, value)] if name == "in" => {
            let at = format!("{pointer}/in");
            let items = list(&at, value, errors)?;
            let mut values: Vec<Spot<String>> = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let at = format!("{at}/{index}");
                let value = text(&at, item, errors)?;
                values.push(Spot::new(value.to_owned(), place(&at)));
            }
            Some(one_of(values))
        }
        [(name, Json::Bool(true))] if name == "exists" => Some(Test::Exists),
        [(name, _)] if name == "exists" => {
            let detail = "must be true; a selector over resources finds what has no such label by a not around this condition";
            wrong(errors, &format!("{pointer}/exists"), detail);
            None
        }
        _ => {
            wrong(
                errors,
                pointer,
                "must be a value, {\"in\": [values]} or {\"exists\": true}",
            );
            None
        }
    }
}

/// Makes a test for a list of values. A list of one value is a test for that value.
pub(super) fn one_of(mut values: Vec<Spot<String>>) -> Test {
    match values.pop() {
        Some(only) if values.is_empty() => Test::Is(only),
        Some(last) => {
            values.push(last);
            Test::In(values)
        }
        None => Test::In(values),
    }
}

fn under(pointer: &str, value: &Json, errors: &mut Vec<FieldError>) -> Option<Part> {
    let fields = object(pointer, value, errors)?;
    let mut found = (None, None);
    for (name, value) in fields {
        let at = format!("{pointer}/{}", step(name));
        match name.as_str() {
            "type" => found.0 = Some(word(&at, value, errors)?.value),
            "id" => found.1 = Some(word(&at, value, errors)?.value),
            _ => {
                wrong(
                    errors,
                    &at,
                    "is not a field of a resource; the fields are type and id",
                );
                return None;
            }
        }
    }
    match found {
        (Some(type_), Some(id)) => Some(Part::Under(Spot::new(ResourceRef { type_, id }, place(pointer)))),
        (None, _) => {
            wrong(errors, &format!("{pointer}/type"), "is missing");
            None
        }
        _ => {
            wrong(errors, &format!("{pointer}/id"), "is missing");
            None
        }
    }
}

fn window(pointer: &str, value: &Json, errors: &mut Vec<FieldError>) -> Option<Spot<Window>> {
    let fields = object(pointer, value, errors)?;
    let mut window = Window { from: None, to: None };
    for (name, value) in fields {
        let at = format!("{pointer}/{}", step(name));
        let side = match name.as_str() {
            "from" => &mut window.from,
            "to" => &mut window.to,
            _ => {
                wrong(
                    errors,
                    &at,
                    "is not a field of a time range; the fields are from and to",
                );
                return None;
            }
        };
        match Timestamp::parse(text(&at, value, errors)?) {
            Ok(time) => *side = Some(time),
            Err(detail) => {
                wrong(errors, &at, detail);
                return None;
            }
        }
    }
    match window.check() {
        Ok(()) => Some(Spot::new(window, place(pointer))),
        Err(detail) => {
            wrong(errors, pointer, detail);
            None
        }
    }
}

/// Returns the JSON form of a condition.
pub(super) fn value(part: &Part) -> Value {
    let each = |parts: &[Part]| parts.iter().map(value).collect::<Vec<_>>();
    match part {
        Part::Type(type_) => json!({"type": type_.value}),
        Part::Label(name, test) => json!({"labels": {name.value.as_str(): test_value(test)}}),
        Part::AccountLabel(name, test) => json!({"account_labels": {name.value.as_str(): test_value(test)}}),
        Part::Under(at) => json!({"under": at.value}),
        Part::Accounts(accounts) => {
            json!({"accounts": accounts.iter().map(|account| &account.value).collect::<Vec<_>>()})
        }
        Part::Created(window) => json!({"created": window.value}),
        Part::Changed(window) => json!({"changed": window.value}),
        Part::All(parts) => json!({"and": each(parts)}),
        Part::Any(parts) => json!({"or": each(parts)}),
        Part::Not(inner) => json!({"not": value(&inner.value)}),
    }
}

pub(super) fn test_value(test: &Test) -> Value {
    match test {
        Test::Is(value) => json!(value.value),
        Test::In(values) => json!({"in": values.iter().map(|value| &value.value).collect::<Vec<_>>()}),
        Test::Exists => json!({"exists": true}),
    }
}
