//! The tree of conditions to which both forms of a selector are parsed.

use serde::{Deserialize, Serialize};

use crate::base::error::{FieldError, Result};
use crate::base::id::ExternalId;
use crate::base::time::Timestamp;
use crate::directory::ResourceRef;

/// The largest number of parts and values in one selector.
pub const MAX_PARTS: usize = 500;
/// The largest depth of nested conditions.
pub const MAX_DEPTH: usize = 24;
/// The longest text form, in characters.
pub const MAX_TEXT: usize = 20_000;

/// The place where a part was written, for errors.
#[derive(Clone, Debug)]
pub enum Place {
    /// The JSON pointer of a part in the JSON form.
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
    /// The value itself, without its place.
    pub value: T,
    /// Where the value was written.
    pub place: Place,
}

impl<T> Spot<T> {
    pub(super) fn new(value: T, place: Place) -> Self {
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
    pub(super) fn check(self) -> Result<(), String> {
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
    /// This condition does not match. It must be combined with a positive condition.
    Not(Spot<Box<Part>>),
}

impl Part {
    /// Combines one or more parts that must all match.
    pub(super) fn all(parts: Vec<Part>) -> Part {
        Part::joined(parts, Part::All, |part| match part {
            Part::All(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// Combines one or more parts of which at least one must match.
    pub(super) fn any(parts: Vec<Part>) -> Part {
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
    pub(super) fn stands(&self, errors: &mut Vec<FieldError>) {
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

    pub(super) fn parts(&self) -> usize {
        1 + match self {
            Part::All(parts) | Part::Any(parts) => parts.iter().map(Part::parts).sum(),
            Part::Not(inner) => inner.value.parts(),
            Part::Accounts(accounts) => accounts.len(),
            Part::Label(_, Test::In(values)) | Part::AccountLabel(_, Test::In(values)) => values.len(),
            _ => 0,
        }
    }

    pub(super) fn depth(&self) -> usize {
        1 + match self {
            Part::All(parts) | Part::Any(parts) => parts.iter().map(Part::depth).max().unwrap_or(0),
            Part::Not(inner) => inner.value.depth(),
            _ => 0,
        }
    }
}

impl PartialEq for Place {
    /// Two places are always equal, so that selectors are equal wherever they were written.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
