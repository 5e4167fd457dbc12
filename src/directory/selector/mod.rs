//! Selectors: which resources are meant. They contain conditions on type, label, ancestor, account or time of
//! change, combined with `and`, `or` and `not`. They are written as JSON ([`json`]) or as a line of text
//! ([`text`]). Both forms give the same tree.
//!
//! A selector never finds more than its text says. An unknown name, an empty list, a `not` without a positive
//! condition, and a selector that finds nothing are errors. None of these is ignored because
//! another part matches.

mod evaluate;
mod json;
mod people;
mod text;
mod tree;
mod view;

use super::ResourceRef;
use crate::base::error::{Error, FieldError, Result};
use crate::base::time::Timestamp;
use crate::db::Conn;
use view::View;

pub use json::Json;
pub use people::{PeopleSelector, PeopleSelectorSchema};
pub use tree::{MAX_DEPTH, MAX_PARTS, MAX_TEXT, Part, Place, Spot, Test, Window};

/// Checks that a time is given only together with a selector.
///
/// # Errors
/// `Invalid` at `/as_of` if a time is given without a selector.
pub fn check_as_of(as_of: Option<Timestamp>, has_selector: bool) -> Result<()> {
    match as_of {
        Some(_) if !has_selector => Err(Error::invalid("/as_of", "is only for a selector; leave it out")),
        _ => Ok(()),
    }
}

/// A parsed selector. [`Selector::count`] checks whether the directory knows its names.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    root: Part,
    place: Place,
    view: View,
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
                view: View::Now,
            }),
            _ => Err(Error::fields(errors)),
        }
    }

    /// Evaluates the selector as of a time, with the labels, the parents and the accounts that the directory knew then. `None` means now.
    ///
    /// # Errors
    /// `Invalid` at `/as_of` if the time is in the future, or before the history of the directory begins.
    pub fn at(self, conn: &mut Conn, as_of: Option<Timestamp>, now: Timestamp) -> Result<Self> {
        let view = View::of(conn, as_of, now)?;
        Ok(Selector { view, ..self })
    }

    /// Returns the time as of which the selector is evaluated. `None` means now.
    pub fn as_of(&self) -> Option<Timestamp> {
        self.view.as_of()
    }

    /// Returns the text form, followed by the time if it is not now, for people.
    pub fn described(&self) -> String {
        format!("{self}{}", self.view.suffix())
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
    /// This selector does not match. It must be combined with a positive condition.
    #[schema(value_type = Option<Object>)]
    not: Option<()>,
}
