//! What a comparison compares: the formats of both listings, the key, the compared columns, and how a row names a
//! resource or a person. It is checked as a whole when the comparison is created, and it does not change afterwards, so
//! that a stored result always says how it came about.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::side::Side;
use crate::base::error::{Error, FieldError, Result};
use crate::base::time::{Timestamp, duration};
use crate::db::Conn;
use crate::directory::resource;
use crate::listing::{self, Column, ColumnKind, Layout, Wanted};

/// The largest length of the name of a column, in characters.
const MAX_COLUMN: usize = 200;
/// The largest number of compared columns.
const MAX_COMPARED: usize = 16;
/// The largest length of the name of a comparison, in characters.
const MAX_NAME: usize = 200;

/// A comparison that is to be created. Its definition cannot be changed afterwards.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewComparison {
    /// The name, for the people who work on the incident.
    pub name: String,
    /// How a row of a listing names a resource or a person of the directory.
    pub resource: Target,
    /// The column whose value identifies a row. Rows of both listings with the same value belong together. Values are
    /// compared byte by byte.
    pub key: String,
    /// The columns that are compared. Without any, only the keys are compared.
    #[serde(default)]
    pub compare: Vec<Compared>,
    /// The format of the listing of what should be there.
    pub expected: Layout,
    /// The format of the listing of what is there.
    pub observed: Layout,
    /// Compares only the expected rows that were written in this time. `expected` must then have `written_at`.
    #[serde(default)]
    pub window: Option<Window>,
    /// How much times may differ and still count as equal, as an ISO 8601 duration such as `PT2S`. The default is zero.
    #[serde(default)]
    pub tolerance: Option<String>,
}

/// How a row names a resource or a person: by the ID of a resource, by a label of resources, or by the ID of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ComparisonTarget)]
pub struct Target {
    /// The type of the resources.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// The column with the ID of the resource, or with the value of the label. The default is the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The label whose value is in the column. Without it, the column contains the ID of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The column with the ID of a person. The listings are then about people, and nothing else may be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
}

/// A compared column: its name, or its name and kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(
    untagged,
    expecting = "must be the name of a column, or an object with column and kind"
)]
#[schema(as = ComparedColumn)]
pub enum Compared {
    /// The name. The kind follows from it: `size` and `bytes` are sizes; names with `checksum`, `hash`, `etag`, `md5` or
    /// `sha` are checksums; names that end with `_at`, `time`, `date` or `modified` are times; everything else is text.
    Name(String),
    /// The name and the kind.
    Kind(ComparedKind),
}

/// A compared column with its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ComparedKind {
    /// The name of the column.
    pub column: String,
    /// How its values are compared.
    pub kind: ColumnKind,
}

impl Compared {
    fn resolved(&self) -> ComparedKind {
        match self {
            Compared::Kind(known) => known.clone(),
            Compared::Name(column) => ComparedKind {
                kind: kind_of(column),
                column: column.clone(),
            },
        }
    }
}

/// Returns the kind that the name of a column suggests.
fn kind_of(column: &str) -> ColumnKind {
    let name = column.to_ascii_lowercase();
    let contains = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    let ends = |parts: &[&str]| parts.iter().any(|part| name.ends_with(part));
    if ends(&["size", "bytes"]) {
        ColumnKind::Size
    } else if contains(&["checksum", "hash", "etag", "md5", "sha1", "sha256", "sha512"]) {
        ColumnKind::Checksum
    } else if ends(&["_at", "time", "date", "modified"]) {
        ColumnKind::Time
    } else {
        ColumnKind::Text
    }
}

/// A time window. At least one end is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ComparisonWindow)]
pub struct Window {
    /// The beginning, which belongs to the window.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// The end, which does not belong to the window.
    #[serde(default)]
    pub to: Option<Timestamp>,
}

impl Window {
    /// Returns whether a row that was written at this time is in the window. A row without a time is not.
    pub fn contains(&self, micros: Option<i64>) -> bool {
        let Some(at) = micros.map(Timestamp::from_micros) else {
            return false;
        };
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at < to)
    }
}

/// The definition of a comparison, checked, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Definition {
    /// How a row names a resource or a person.
    pub resource: Target,
    /// The column whose values identify the rows of both listings.
    pub key: String,
    /// The columns that must be equal, with their kinds. Without any, only the keys are compared.
    pub compare: Vec<ComparedKind>,
    /// The format of the expected listing.
    pub expected: Layout,
    /// The format of the observed listing.
    pub observed: Layout,
    /// The time in which an expected row must have been written to be compared.
    pub window: Option<Window>,
    /// How much times may differ, in microseconds.
    pub tolerance: u64,
}

impl Definition {
    /// Checks a new comparison.
    ///
    /// # Errors
    /// `Invalid` with every wrong field.
    pub fn check(conn: &mut Conn, new: &NewComparison) -> Result<Definition> {
        let mut errors = Vec::new();
        check_name(&mut errors, &new.name);
        check_column(&mut errors, "/key", &new.key);
        let compare: Vec<ComparedKind> = new.compare.iter().map(Compared::resolved).collect();
        if compare.len() > MAX_COMPARED {
            let detail = format!(
                "lists {} columns; at most {MAX_COMPARED} are allowed",
                compare.len()
            );
            errors.push(FieldError::at("/compare", detail));
        }
        for (index, one) in compare.iter().enumerate() {
            let pointer = format!("/compare/{index}");
            check_column(&mut errors, &pointer, &one.column);
            if one.column == new.key {
                errors.push(FieldError::at(&pointer, "is the key, which is always equal"));
            }
            if compare[..index].iter().any(|other| other.column == one.column) {
                errors.push(FieldError::at(pointer, "is listed twice"));
            }
        }
        check_target(conn, &mut errors, &new.resource)?;
        let definition = Definition {
            resource: new.resource.clone(),
            key: new.key.clone(),
            compare,
            expected: new.expected.clone().standing_for(listing::Side::Source),
            observed: new.observed.clone().standing_for(listing::Side::Destination),
            window: new.window,
            tolerance: 0,
        };
        let columns = definition.columns();
        for side in [Side::Expected, Side::Observed] {
            let checked = definition
                .layout(side)
                .check(&format!("/{side}"), &definition.wanted(side, &columns));
            if let Err(error) = checked {
                match error {
                    Error::Invalid { errors: wrong, .. } => errors.extend(wrong),
                    other => return Err(other),
                }
            }
        }
        check_window(&mut errors, new);
        let mut tolerance = 0;
        match new.tolerance.as_deref().map(duration) {
            Some(Err(detail)) => errors.push(FieldError::at("/tolerance", detail)),
            Some(Ok(length)) => tolerance = u64::try_from(length.as_micros()).unwrap_or(u64::MAX),
            None => {}
        }
        if !errors.is_empty() {
            return Err(Error::fields(errors));
        }
        Ok(Definition {
            tolerance,
            ..definition
        })
    }

    /// Returns the column that names the resource or the person.
    pub fn id_column(&self) -> &str {
        id_column(&self.resource, &self.key)
    }

    /// Returns the format of a listing.
    pub fn layout(&self, side: Side) -> &Layout {
        match side {
            Side::Expected => &self.expected,
            Side::Observed => &self.observed,
        }
    }

    /// Returns what is wanted of each row of a listing. Only the expected listing must name the resource.
    pub fn wanted<'a>(&'a self, side: Side, columns: &'a [Column]) -> Wanted<'a> {
        Wanted {
            key: &self.key,
            id: self.id_column(),
            id_required: side == Side::Expected,
            compare: columns,
        }
    }

    /// Returns the compared columns as the reader of listings wants them.
    pub fn columns(&self) -> Vec<Column> {
        let columns = self.compare.iter();
        columns
            .map(|one| Column {
                name: one.column.clone(),
                kind: one.kind,
            })
            .collect()
    }

    /// Returns how much times may differ.
    pub fn tolerance(&self) -> Duration {
        Duration::from_micros(self.tolerance)
    }

    /// Returns whether the listings are about people.
    pub fn is_about_people(&self) -> bool {
        self.resource.person.is_some()
    }
}

fn id_column<'a>(target: &'a Target, key: &'a str) -> &'a str {
    target.person.as_deref().or(target.id.as_deref()).unwrap_or(key)
}

fn check_name(errors: &mut Vec<FieldError>, name: &str) {
    if name.trim().is_empty() {
        errors.push(FieldError::at("/name", "must not be empty"));
    }
    if name.chars().count() > MAX_NAME {
        errors.push(FieldError::at(
            "/name",
            format!("is longer than {MAX_NAME} characters"),
        ));
    }
    if name.chars().any(char::is_control) {
        errors.push(FieldError::at(
            "/name",
            "contains a control character, such as a line break",
        ));
    }
}

fn check_column(errors: &mut Vec<FieldError>, pointer: &str, column: &str) {
    let length = column.chars().count();
    if !(1..=MAX_COLUMN).contains(&length) || column.contains('\0') {
        let detail = format!("must be the name of a column, 1 to {MAX_COLUMN} characters");
        errors.push(FieldError::at(pointer, detail));
    }
}

fn check_target(conn: &mut Conn, errors: &mut Vec<FieldError>, target: &Target) -> Result<()> {
    if let Some(person) = &target.person {
        if target.type_.is_some() || target.id.is_some() || target.label.is_some() {
            let detail =
                "has person, so it must have nothing else: the listings are about people, not resources";
            errors.push(FieldError::at("/resource", detail));
        }
        check_column(errors, "/resource/person", person);
        return Ok(());
    }
    let Some(type_) = &target.type_ else {
        let detail = "must have the type of the resources, or person for listings of people";
        errors.push(FieldError::at("/resource/type", detail));
        return Ok(());
    };
    if let Some(id) = &target.id {
        check_column(errors, "/resource/id", id);
    }
    // A type or a label that no resource has is probably misspelt.
    let mut found = vec![resource::check_type(conn, "/resource/type", type_)];
    if let Some(label) = &target.label {
        found.push(resource::check_label(conn, "/resource/label", label));
    }
    for checked in found {
        match checked {
            Err(Error::Invalid { errors: wrong, .. }) => errors.extend(wrong),
            other => other?,
        }
    }
    Ok(())
}

fn check_window(errors: &mut Vec<FieldError>, new: &NewComparison) {
    let Some(window) = new.window else { return };
    match (window.from, window.to) {
        (None, None) => errors.push(FieldError::at("/window", "must have from, to or both")),
        (Some(from), Some(to)) if from >= to => {
            errors.push(FieldError::at("/window/to", "must be later than from"));
        }
        _ => {}
    }
    if new.expected.written_at.is_none() {
        let detail = "needs the column with the time of writing; give it as expected.written_at";
        errors.push(FieldError::at("/window", detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_from_the_name() {
        for (name, kind) in [
            ("size", ColumnKind::Size),
            ("Size", ColumnKind::Size),
            ("e_tag", ColumnKind::Text),
            ("ETag", ColumnKind::Checksum),
            ("sha256", ColumnKind::Checksum),
            ("ModTime", ColumnKind::Time),
            ("updated_at", ColumnKind::Time),
            ("role", ColumnKind::Text),
        ] {
            assert_eq!(kind_of(name), kind, "{name}");
        }
    }

    #[test]
    fn a_window_contains_its_beginning_and_not_its_end() {
        let at = Timestamp::from_micros;
        let window = Window {
            from: Some(at(10)),
            to: Some(at(20)),
        };
        let inside: Vec<bool> = [None, Some(9), Some(10), Some(19), Some(20)]
            .map(|at| window.contains(at))
            .into();
        assert_eq!(inside, [false, false, true, true, false]);
    }
}
