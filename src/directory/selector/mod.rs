//! Selectors: which resources are meant, said by type, label, place, account or time of change, and by `and`, `or`
//! and `not` of these. Written as JSON ([`json`]) or as a line of text ([`text`]); both give the same tree.
//!
//! Must never happen here: a selector that means more than it says. A name that nothing has, an empty list, a
//! `not` without anything positive beside it, and a selector that matches nothing are errors, and none of them is
//! passed over because another part matches.

mod evaluate;
mod json;
mod text;

use serde::{Deserialize, Serialize};

use super::ResourceRef;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::ExternalId;
use crate::base::time::Timestamp;

pub use json::Json;

/// Parts of one selector at most, and values of one part.
pub const MAX_PARTS: usize = 500;
/// Deepest nesting.
pub const MAX_DEPTH: usize = 24;
/// Longest text form, in characters.
pub const MAX_TEXT: usize = 20_000;

/// Where a part was written, to name it in an error.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a JSON document.
    Pointer(String),
    /// In a line of text that stands at `pointer`: its first character is 1.
    Character {
        /// Where the text is.
        pointer: String,
        /// Which character of it.
        at: usize,
    },
}

impl Place {
    /// An error about this part.
    pub fn error(&self, detail: impl std::fmt::Display) -> FieldError {
        match self {
            Place::Pointer(pointer) => FieldError::at(pointer, detail.to_string()),
            Place::Character { pointer, at } => FieldError::at(pointer, format!("character {at}: {detail}")),
        }
    }
}

/// A value, and where it was written. Equal where the values are.
#[derive(Clone, Debug)]
pub struct Spot<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
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

/// What a label must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// This value.
    Is(Spot<String>),
    /// One of these, two or more.
    In(Vec<Spot<String>>),
    /// Any.
    Exists,
}

/// A time window: from `from` on, before `to`; one of them may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// From this time on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

impl Window {
    fn check(self) -> Result<(), String> {
        match (self.from, self.to) {
            (None, None) => Err("names no time; give from, to, or both".to_owned()),
            (Some(from), Some(to)) if from >= to => {
                Err(format!("ends at {to}, not after it begins ({from})"))
            }
            _ => Ok(()),
        }
    }
}

/// One condition on a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Of this type.
    Type(Spot<ExternalId>),
    /// With this label.
    Label(Spot<String>, Test),
    /// Below this resource, at any depth.
    Under(Spot<ResourceRef>),
    /// Of one of these accounts, by the account on it or on its nearest ancestor.
    Accounts(Vec<Spot<ExternalId>>),
    /// Of an account with this label.
    AccountLabel(Spot<String>, Test),
    /// First put into the directory in this window.
    Created(Spot<Window>),
    /// Put, moved, or given to another account in this window, or first put.
    Changed(Spot<Window>),
    /// All of these, two or more.
    All(Vec<Part>),
    /// Any of these, two or more.
    Any(Vec<Part>),
    /// Not this; somewhere beside it stands what it is taken from.
    Not(Spot<Box<Part>>),
}

impl Part {
    /// All of `parts`, of which there is one at least.
    fn all(parts: Vec<Part>) -> Part {
        Part::joined(parts, Part::All, |part| match part {
            Part::All(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// Any of `parts`, of which there is one at least.
    fn any(parts: Vec<Part>) -> Part {
        Part::joined(parts, Part::Any, |part| match part {
            Part::Any(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// One form for one meaning: nothing nested that need not be, no list of one.
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

    /// Whether it says by itself what is meant; adds an error for each `not` that stands alone.
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

    /// Adds an error where nothing positive is in it.
    fn stands(&self, errors: &mut Vec<FieldError>) {
        if self.positive(errors) {
            return;
        }
        let first = match self {
            Part::All(parts) => parts.first(),
            other => Some(other),
        };
        if let Some(Part::Not(inner)) = first {
            errors.push(
                inner.place.error(
                    "a not needs something positive beside it: by itself it would mean everything else",
                ),
            );
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

/// A selector that was understood. Whether the directory knows what it names is another question: [`Selector::check`].
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    root: Part,
    place: Place,
}

impl PartialEq for Place {
    /// Two selectors are equal wherever they were written.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Selector {
    /// Parses what stands at `pointer` of a request: an object, or the text form.
    ///
    /// # Errors
    /// `Invalid`, each wrong part with its place.
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

    /// Parses the text form, which stands at `pointer`.
    ///
    /// # Errors
    /// `Invalid`, with the character at which it goes wrong.
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

    /// The JSON form; it parses to an equal selector.
    pub fn to_json(&self) -> serde_json::Value {
        json::value(&self.root)
    }
}

impl std::fmt::Display for Selector {
    /// The text form; it parses to an equal selector.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&text::line(&self.root))
    }
}

/// A selector as callers write it: as an object, whose fields must all hold, or as a line of text.
#[derive(utoipa::ToSchema)]
#[schema(as = Selector)]
#[allow(dead_code)]
pub enum SelectorSchema {
    /// `type:file provider:s3 under:project/42 account:acme changed:2026-01-01T00:00Z..2026-01-02T00:00Z not(tier:free)`.
    /// Parts beside each other must all hold; `or` and parentheses group; `label:*` asks for any value, `label:a,b`
    /// for one of several, `account.label:value` for a label of the account.
    #[schema(title = "Text")]
    Text(String),
    /// Every field that is given must hold.
    #[schema(title = "Object")]
    Object(Box<SelectorObject>),
}

/// The fields of a selector. All that are given must hold.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)]
pub struct SelectorObject {
    /// Of this type.
    #[schema(rename = "type")]
    type_: Option<String>,
    /// With these labels: `"value"`, `{"in": ["a", "b"]}`, or `{"exists": true}`.
    #[schema(value_type = Option<Object>)]
    labels: Option<()>,
    /// Below this resource, at any depth.
    under: Option<ResourceRef>,
    /// Of one of these accounts.
    accounts: Option<Vec<String>>,
    /// Of accounts with these labels, said as `labels` are.
    #[schema(value_type = Option<Object>)]
    account_labels: Option<()>,
    /// First put into the directory in this window.
    created: Option<Window>,
    /// Put, moved, or given to another account in this window.
    changed: Option<Window>,
    /// All of these selectors.
    #[schema(value_type = Option<Vec<Object>>)]
    and: Option<()>,
    /// Any of these selectors.
    #[schema(value_type = Option<Vec<Object>>)]
    or: Option<()>,
    /// Not this selector; something positive must stand beside it.
    #[schema(value_type = Option<Object>)]
    not: Option<()>,
}
