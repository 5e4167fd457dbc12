//! The changes of a run and the errors in the rows of a source, as they are shown and as they are stored with
//! the run.
//!
//! An error never contains a value of a row, because it can be an email address.

use serde::{Deserialize, Serialize};

use crate::directory::line::LineKind;

/// The number of rows of one kind, by what happened to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KindChanges {
    /// Rows that were not in the directory before.
    pub added: u64,
    /// Rows that differ from the directory.
    pub changed: u64,
    /// Rows that are the same as in the directory.
    pub unchanged: u64,
    /// Rows that this source brought before and does not bring any more. The run archives their entries.
    pub gone: u64,
    /// Rows that are not used. Their entries in the directory do not change.
    #[serde(default)]
    pub left_out: u64,
}

/// One example of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Example {
    /// The kind of the row.
    pub kind: LineKind,
    /// The change: `added`, `changed` or `gone`.
    pub change: String,
    /// The key of the row, for example its type and ID.
    pub key: Vec<String>,
}

/// The changes of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Changes {
    /// The changes of accounts.
    pub accounts: KindChanges,
    /// The changes of people.
    pub people: KindChanges,
    /// The changes of resources.
    pub resources: KindChanges,
    /// The changes of members of accounts.
    pub members: KindChanges,
    /// The changes of collaborators on resources.
    pub collaborators: KindChanges,
    /// The number of rows that this source had brought before.
    pub brought_before: u64,
    /// Examples of the changes.
    pub examples: Vec<Example>,
    /// Examples of the rows that are left out, with the reasons.
    #[serde(default)]
    pub left_out: Vec<RunError>,
    /// What should be changed at the source, for example the rights of its database user.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Changes {
    /// Returns the changes of a kind.
    pub fn kind_mut(&mut self, kind: LineKind) -> &mut KindChanges {
        match kind {
            LineKind::Account => &mut self.accounts,
            LineKind::Person => &mut self.people,
            LineKind::Resource => &mut self.resources,
            LineKind::Member => &mut self.members,
            LineKind::Collaborator => &mut self.collaborators,
        }
    }

    fn sum(&self, one: impl Fn(&KindChanges) -> u64) -> u64 {
        [
            &self.accounts,
            &self.people,
            &self.resources,
            &self.members,
            &self.collaborators,
        ]
        .into_iter()
        .map(one)
        .sum()
    }

    /// Returns the number of rows that are archived.
    pub fn gone(&self) -> u64 {
        self.sum(|kind| kind.gone)
    }

    /// Returns the number of rows that are left out.
    pub fn left_out(&self) -> u64 {
        self.sum(|kind| kind.left_out)
    }

    /// Returns only the counts. Examples can contain keys, which can be email addresses.
    pub(super) fn summary(&self) -> Changes {
        Changes {
            examples: Vec::new(),
            left_out: Vec::new(),
            ..self.clone()
        }
    }

    /// Returns the number of rows that are stored.
    pub fn stored(&self) -> u64 {
        self.sum(|kind| kind.added + kind.changed)
    }
}

/// An error in what a source brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunError {
    /// The kind of the row. Not set if the error is about the whole source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<LineKind>,
    /// The key of the row, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Vec<String>>,
    /// The number of the row in its query, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// The name of the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What is wrong, in words. It never contains a value of the row, because that can be an email address.
    pub detail: String,
}

impl RunError {
    /// Makes an error about all rows of a kind.
    pub(super) fn of(kind: LineKind, detail: impl Into<String>) -> Self {
        RunError {
            kind: Some(kind),
            ..RunError::plain(detail)
        }
    }

    /// Makes an error about the whole source.
    pub fn plain(detail: impl Into<String>) -> Self {
        RunError {
            kind: None,
            key: None,
            row: None,
            column: None,
            detail: detail.into(),
        }
    }
}
