//! The lines of an import: the five kinds, and how they are read from JSON and written to it.
//!
//! An unknown field is an error. There is only one way to write a line.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::account::AccountInput;
use super::person::PersonInput;
use super::resource::ResourceInput;
use super::{ResourceRef, stored_address};
use crate::base::check::Check;
use crate::base::check::Labels;
use crate::base::error::{Error, FieldError, misfit};
use crate::base::id::ExternalId;

/// The kind of a line.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// The line contains an account.
    Account,
    /// The line contains a person.
    Person,
    /// The line contains a resource.
    Resource,
    /// A member of an account.
    Member,
    /// A collaborator on a resource.
    Collaborator,
}

impl LineKind {
    /// All kinds. A line refers only to lines of its own kind or of an earlier kind in this list.
    pub const ALL: [LineKind; 5] = [
        LineKind::Account,
        LineKind::Person,
        LineKind::Resource,
        LineKind::Member,
        LineKind::Collaborator,
    ];

    /// Returns the kind as it is written in a line.
    pub fn as_str(self) -> &'static str {
        match self {
            LineKind::Account => "account",
            LineKind::Person => "person",
            LineKind::Resource => "resource",
            LineKind::Member => "member",
            LineKind::Collaborator => "collaborator",
        }
    }

    /// Returns the plural, as in the counts of an import.
    pub fn plural(self) -> &'static str {
        match self {
            LineKind::Account => "accounts",
            LineKind::Person => "people",
            LineKind::Resource => "resources",
            LineKind::Member => "members",
            LineKind::Collaborator => "collaborators",
        }
    }

    /// Parses a kind.
    ///
    /// # Errors
    /// A sentence for the caller with the kinds that exist.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| "must be account, person, resource, member or collaborator".to_owned())
    }

    /// Returns the index of the kind, as it is stored.
    pub(super) fn number(self) -> i64 {
        self as i64
    }

    pub(super) fn of_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// A line of an import.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Line {
    Account(AccountLine),
    Person(PersonLine),
    Resource(ResourceLine),
    Member(MemberLine),
    Collaborator(CollaboratorLine),
}

/// The kind of a line. It is read first and separately, because serde's tagged enums do not say which field
/// is wrong.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
}

/// Fields that are not set are not written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountLine {
    #[serde(rename = "kind", skip_serializing)]
    pub _kind: IgnoredAny,
    pub id: ExternalId,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonLine {
    #[serde(rename = "kind", skip_serializing)]
    pub _kind: IgnoredAny,
    pub id: ExternalId,
    pub name: String,
    pub email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceLine {
    #[serde(rename = "kind", skip_serializing)]
    pub _kind: IgnoredAny,
    #[serde(rename = "type")]
    pub type_: ExternalId,
    pub id: ExternalId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<ExternalId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<ResourceRef>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberLine {
    #[serde(rename = "kind", skip_serializing)]
    pub _kind: IgnoredAny,
    pub account: ExternalId,
    pub person: ExternalId,
    pub role: ExternalId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CollaboratorLine {
    #[serde(rename = "kind", skip_serializing)]
    pub _kind: IgnoredAny,
    pub resource: ResourceRef,
    pub person: ExternalId,
    pub role: ExternalId,
}

impl AccountLine {
    pub fn split(self) -> (ExternalId, AccountInput) {
        let input = AccountInput {
            name: self.name,
            locale: self.locale,
            time_zone: self.time_zone,
            labels: self.labels,
        };
        (self.id, input)
    }
}

impl PersonLine {
    pub fn split(self) -> (ExternalId, PersonInput) {
        let input = PersonInput {
            name: self.name,
            email: self.email,
            locale: self.locale,
            time_zone: self.time_zone,
        };
        (self.id, input)
    }
}

impl ResourceLine {
    pub fn split(self) -> (ResourceRef, ResourceInput) {
        let at = ResourceRef {
            type_: self.type_,
            id: self.id,
        };
        let input = ResourceInput {
            name: self.name,
            account: self.account,
            parent: self.parent,
            labels: self.labels,
        };
        (at, input)
    }
}

impl Line {
    pub fn kind(&self) -> LineKind {
        match self {
            Line::Account(_) => LineKind::Account,
            Line::Person(_) => LineKind::Person,
            Line::Resource(_) => LineKind::Resource,
            Line::Member(_) => LineKind::Member,
            Line::Collaborator(_) => LineKind::Collaborator,
        }
    }

    /// Returns the key as a JSON array. Two lines about the same entry have the same key.
    pub fn key(&self) -> String {
        key(&match self {
            Line::Account(line) => vec![line.id.as_str()],
            Line::Person(line) => vec![line.id.as_str()],
            Line::Resource(line) => vec![line.type_.as_str(), line.id.as_str()],
            Line::Member(line) => vec![line.account.as_str(), line.person.as_str()],
            Line::Collaborator(line) => vec![
                line.resource.type_.as_str(),
                line.resource.id.as_str(),
                line.person.as_str(),
            ],
        })
    }

    /// Returns the key of the parent of a resource.
    pub fn parent_key(&self) -> Option<String> {
        match self {
            Line::Resource(line) => line.parent.as_ref().map(resource_key),
            _ => None,
        }
    }

    /// Returns the line as JSON. There is only one way to write it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns an error for each field with a wrong value.
    pub fn wrong(&self) -> Vec<FieldError> {
        let mut check = Check::default();
        match self.clone() {
            Line::Account(line) => line.split().1.check(&mut check),
            Line::Person(line) => line.split().1.check(&mut check),
            Line::Resource(line) => line.split().1.check(&mut check),
            Line::Member(_) | Line::Collaborator(_) => {}
        }
        check.errors
    }
}

/// Makes a key from its parts.
pub(crate) fn key(words: &[&str]) -> String {
    serde_json::to_string(words).unwrap_or_default()
}

/// Returns the key of a resource.
pub(crate) fn resource_key(at: &ResourceRef) -> String {
    key(&[at.type_.as_str(), at.id.as_str()])
}

/// Parses a line.
///
/// # Errors
/// A sentence that begins with the name of the wrong field, if there is one.
pub(crate) fn parse(bytes: &[u8]) -> Result<Line, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    // serde accepts an array for a struct, so check that this is an object.
    if !text.trim_start().starts_with('{') {
        return Err("is not a JSON object".to_owned());
    }
    let Kind { kind } = typed(text)?;
    match kind.as_ref() {
        "account" => typed(text).map(|line: AccountLine| {
            Line::Account(AccountLine {
                name: on_one_line(line.name),
                labels: labels_on_one_line(line.labels),
                ..line
            })
        }),
        // Normalise the address as it is stored, so that another spelling of the same mailbox is not a
        // change.
        "person" => typed(text).map(|line: PersonLine| {
            Line::Person(PersonLine {
                email: stored_address(&line.email),
                name: on_one_line(line.name),
                ..line
            })
        }),
        "resource" => typed(text).map(|line: ResourceLine| {
            Line::Resource(ResourceLine {
                name: line.name.map(on_one_line),
                labels: labels_on_one_line(line.labels),
                ..line
            })
        }),
        "member" => typed(text).map(Line::Member),
        "collaborator" => typed(text).map(Line::Collaborator),
        other => {
            let other: String = other.chars().take(40).collect();
            Err(format!(
                "kind: '{other}' is not account, person, resource, member or collaborator"
            ))
        }
    }
}

/// Replaces each line break in a name or in the value of a label by a space, because such a text has one line
/// everywhere. Other systems store such names, for example from a field with several lines.
fn on_one_line(text: String) -> String {
    if !text.contains(['\n', '\r']) {
        return text;
    }
    let lines = text
        .split(['\n', '\r'])
        .map(str::trim)
        .filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

fn labels_on_one_line(labels: Labels) -> Labels {
    if !labels.values().any(|value| value.contains(['\n', '\r'])) {
        return labels;
    }
    let labels = labels.into_iter();
    labels.map(|(name, value)| (name, on_one_line(value))).collect()
}

/// Parses a line. An error names the wrong field.
fn typed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let line: T =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| match broken(text) {
            Some(detail) => detail,
            None => in_field(misfit(&error)),
        })?;
    deserializer
        .end()
        .map_err(|_| "is more than one JSON object; write each object on a line of its own".to_owned())?;
    Ok(line)
}

/// Says where a line stops being JSON. None if it is JSON, and its fields are wrong.
fn broken(text: &str) -> Option<String> {
    let error = serde_json::from_str::<IgnoredAny>(text).err()?;
    Some(match error.classify() {
        serde_json::error::Category::Eof => {
            "is not JSON: the line ends before its object is closed; write each object on one line".to_owned()
        }
        _ if error.to_string().starts_with("trailing characters") => {
            "is more than one JSON object; write each object on a line of its own".to_owned()
        }
        _ => format!(
            "is not JSON: there is a mistake at character {}, for example a missing comma or quote",
            error.column()
        ),
    })
}

/// Returns the sentence of an error about one field, which begins with the name of the field.
fn in_field(error: Error) -> String {
    match error {
        Error::Invalid { errors, .. } => match errors.into_iter().next() {
            Some(FieldError {
                pointer: Some(pointer),
                detail,
                ..
            }) if !pointer.is_empty() => {
                format!("{}: {detail}", pointer.trim_start_matches('/').replace('/', "."))
            }
            Some(error) => error.detail,
            None => "is not a line of an import".to_owned(),
        },
        other => other.to_string(),
    }
}
