//! Selectors: which resources are meant. They contain conditions on type, label, ancestor, account or time of
//! change, combined with `and`, `or` and `not`. They are written as JSON ([`json`]) or as a line of text
//! ([`text`]). Both forms give the same tree.
//!
//! A selector never means more than it says. An unknown name, an empty list, a `not` without a positive
//! condition beside it, and a selector that finds nothing are errors. None of these is ignored because
//! another part matches.

mod evaluate;
mod json;
mod text;

use serde::{Deserialize, Serialize};

use super::ResourceRef;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::ExternalId;
use crate::base::time::Timestamp;

pub use json::Json;

/// The largest number of parts and values in one selector.
pub const MAX_PARTS: usize = 500;
/// The deepest nesting.
pub const MAX_DEPTH: usize = 24;
/// The longest text form, in characters.
pub const MAX_TEXT: usize = 20_000;

/// The place where a part was written, for errors.
#[derive(Clone, Debug)]
pub enum Place {
    /// A JSON pointer.
    Pointer(String),
    /// A character in a line of text.
    Character {
        /// The JSON pointer of the text.
        pointer: String,
        /// The index of the character, from 1.
        at: usize,
    },
}

impl Place {
    /// Makes an error about this part.
    pub fn error(&self, detail: impl std::fmt::Display) -> FieldError {
        match self {
            Place::Pointer(pointer) => FieldError::at(pointer, detail.to_string()),
            Place::Character { pointer, at } => FieldError::at(pointer, format!("character {at}: {detail}")),
        }
    }
}

/// A value with the place where it was written. Two of them are equal if their values are equal.
#[derive(Clone, Debug)]
pub struct Spot<T> {
    /// The value.
    pub value: T,
    /// Where the value was written.
    pub place: Place,
}

impl<T> Spot<T> {
    fn new(value: T, place: Place) -> Self {
        Spot { value, place }
    }
}

impl<T: PartialEq> PartialEq for Spot<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// A condition on the value of a label.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// The label has this value.
    Is(Spot<String>),
    /// The label has one of these values, two or more.
    In(Vec<Spot<String>>),
    /// The label exists, with any value.
    Exists,
}

/// A time window. One of its ends can be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The beginning of the window, which belongs to it. If not set, the window has no beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// The end of the window, which does not belong to it. If not set, the window has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

impl Window {
    fn check(self) -> Result<(), String> {
        match (self.from, self.to) {
            (None, None) => Err("has no time; give from, to, or both".to_owned()),
            (Some(from), Some(to)) if from >= to => Err(format!(
                "must end after it begins; it begins at {from} and ends at {to}"
            )),
            _ => Ok(()),
        }
    }
}

/// One condition on a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// The resource has this type.
    Type(Spot<ExternalId>),
    /// The resource has this label.
    Label(Spot<String>, Test),
    /// The resource is below this one, at any depth.
    Under(Spot<ResourceRef>),
    /// The resource belongs to one of these accounts, which is set on itself or on its nearest ancestor.
    Accounts(Vec<Spot<ExternalId>>),
    /// The resource belongs to an account with this label.
    AccountLabel(Spot<String>, Test),
    /// The resource was created in the directory in this window.
    Created(Spot<Window>),
    /// The resource was created, written, moved, or given to another account in this window.
    Changed(Spot<Window>),
    /// All of these conditions match, two or more.
    All(Vec<Part>),
    /// At least one of these conditions matches, two or more.
    Any(Vec<Part>),
    /// This condition does not match. A positive condition must stand beside it.
    Not(Spot<Box<Part>>),
}

impl Part {
    /// Combines one or more parts that must all match.
    fn all(parts: Vec<Part>) -> Part {
        Part::joined(parts, Part::All, |part| match part {
            Part::All(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// Combines one or more parts of which at least one must match.
    fn any(parts: Vec<Part>) -> Part {
        Part::joined(parts, Part::Any, |part| match part {
            Part::Any(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// Flattens nested lists and lists of one part, so that equal meanings have an equal form.
    fn joined(
        parts: Vec<Part>,
        list: impl Fn(Vec<Part>) -> Part,
        inner: impl Fn(Part) -> Result<Vec<Part>, Part>,
    ) -> Part {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match inner(part) {
                Ok(parts) => flat.extend(parts),
                Err(part) => flat.push(part),
            }
        }
        match flat.pop() {
            Some(only) if flat.is_empty() => only,
            Some(last) => {
                flat.push(last);
                list(flat)
            }
            None => list(flat),
        }
    }

    /// Returns whether the part contains a positive condition. Adds an error for each `not` that stands
    /// alone.
    fn positive(&self, errors: &mut Vec<FieldError>) -> bool {
        match self {
            Part::Not(inner) => {
                inner.value.stands(errors);
                false
            }
            Part::All(parts) => {
                let each: Vec<bool> = parts.iter().map(|part| part.positive(errors)).collect();
                each.contains(&true)
            }
            Part::Any(parts) => {
                for part in parts {
                    part.stands(errors);
                }
                true
            }
            _ => true,
        }
    }

    /// Adds an error if the part contains no positive condition.
    fn stands(&self, errors: &mut Vec<FieldError>) {
        if self.positive(errors) {
            return;
        }
        let first = match self {
            Part::All(parts) => parts.first(),
            other => Some(other),
        };
        if let Some(Part::Not(inner)) = first {
            errors.push(inner.place.error(
                "a not must be combined with another condition, because alone it would match everything else",
            ));
        }
    }

    fn parts(&self) -> usize {
        1 + match self {
            Part::All(parts) | Part::Any(parts) => parts.iter().map(Part::parts).sum(),
            Part::Not(inner) => inner.value.parts(),
            Part::Accounts(accounts) => accounts.len(),
            Part::Label(_, Test::In(values)) | Part::AccountLabel(_, Test::In(values)) => values.len(),
            _ => 0,
        }
    }

    fn depth(&self) -> usize {
        1 + match self {
            Part::All(parts) | Part::Any(parts) => parts.iter().map(Part::depth).max().unwrap_or(0),
            Part::Not(inner) => inner.value.depth(),
            _ => 0,
        }
    }
}

/// A parsed selector. [`Selector::count`] checks whether the directory knows its names.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    root: Part,
    place: Place,
}

impl PartialEq for Place {
    /// Two places are always equal, so that selectors are equal wherever they were written.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Selector {
    /// Parses the selector at `pointer` of a request, which is an object or the text form.
    ///
    /// # Errors
    /// `Invalid` with one error for each wrong part.
    pub fn parse(pointer: &str, given: &Json) -> Result<Self> {
        match given {
            Json::Text(line) => Selector::parse_text(pointer, line),
            other => {
                let mut errors = Vec::new();
                let root = json::part(pointer, other, &mut errors, 0);
                Selector::checked(pointer, root, errors)
            }
        }
    }

    /// Parses the text form at `pointer` of a request.
    ///
    /// # Errors
    /// `Invalid` with the character of the error.
    pub fn parse_text(pointer: &str, line: &str) -> Result<Self> {
        match text::parse(pointer, line) {
            Ok(root) => Selector::checked(pointer, Some(root), Vec::new()),
            Err(error) => Err(Error::fields(vec![error])),
        }
    }

    fn checked(pointer: &str, root: Option<Part>, mut errors: Vec<FieldError>) -> Result<Self> {
        if let Some(root) = &root
            && errors.is_empty()
        {
            root.stands(&mut errors);
            if root.parts() > MAX_PARTS {
                errors.push(FieldError::at(
                    pointer,
                    format!("has more than {MAX_PARTS} parts and values"),
                ));
            }
            if root.depth() > MAX_DEPTH {
                errors.push(FieldError::at(
                    pointer,
                    format!("is nested deeper than {MAX_DEPTH} levels"),
                ));
            }
        }
        match root {
            Some(root) if errors.is_empty() => Ok(Selector {
                root,
                place: Place::Pointer(pointer.to_owned()),
            }),
            _ => Err(Error::fields(errors)),
        }
    }

    /// Returns the JSON form. It parses to an equal selector.
    pub fn to_json(&self) -> serde_json::Value {
        json::value(&self.root)
    }
}

impl std::fmt::Display for Selector {
    /// Writes the text form. It parses to an equal selector.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&text::line(&self.root))
    }
}

/// A selector: an object whose fields must all match, or a line of text.
#[derive(utoipa::ToSchema)]
#[schema(as = Selector)]
#[allow(dead_code)]
pub enum SelectorSchema {
    /// A line of text, for example `type:file provider:s3 under:project/42 account:acme
    /// changed:2026-01-01T00:00Z..2026-01-02T00:00Z not(tier:free)`. All parts must match. `or` and
    /// parentheses combine parts. `label:*` matches any value, `label:a,b` matches one of several values, and
    /// `account.label:value` matches a label of the account.
    #[schema(title = "Text")]
    Text(String),
    /// An object. All of its fields must match.
    #[schema(title = "Object")]
    Object(Box<SelectorObject>),
}

/// The fields of a selector. All fields that are given must match.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)]
pub struct SelectorObject {
    /// The resource has this type.
    #[schema(rename = "type")]
    type_: Option<String>,
    /// The resource has these labels: `"value"`, `{"in": ["a", "b"]}`, or `{"exists": true}`.
    #[schema(value_type = Option<Object>)]
    labels: Option<()>,
    /// The resource is below this one, at any depth.
    under: Option<ResourceRef>,
    /// The resource belongs to one of these accounts.
    accounts: Option<Vec<String>>,
    /// The resource belongs to an account with these labels, in the same form as `labels`.
    #[schema(value_type = Option<Object>)]
    account_labels: Option<()>,
    /// The resource was created in the directory in this window.
    created: Option<Window>,
    /// The resource was created, written, moved, or given to another account in this window.
    changed: Option<Window>,
    /// All of these selectors match.
    #[schema(value_type = Option<Vec<Object>>)]
    and: Option<()>,
    /// At least one of these selectors matches.
    #[schema(value_type = Option<Vec<Object>>)]
    or: Option<()>,
    /// This selector does not match. A positive condition must stand beside it.
    #[schema(value_type = Option<Object>)]
    not: Option<()>,
}
