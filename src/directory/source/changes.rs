//! What a run changes, and what is wrong with what a source brought: as shown, and as stored with the run.
//!
//! Must never happen here: a value of a row, which may be an address.

use serde::{Deserialize, Serialize};

use crate::directory::line::LineKind;

/// What became of the rows of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KindChanges {
    /// Not there before.
    pub added: u64,
    /// There, and now different.
    pub changed: u64,
    /// As they were.
    pub unchanged: u64,
    /// Brought by this source before, and not any more.
    pub gone: u64,
    /// Brought, and not used: what the directory has stays as it is.
    #[serde(default)]
    pub left_out: u64,
}

/// One change, for people who want to see what kind of thing changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Example {
    /// Of what.
    pub kind: LineKind,
    /// added, changed or gone.
    pub change: String,
    /// Which: the words of its key, such as type and id.
    pub key: Vec<String>,
}

/// What a run changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Changes {
    /// Accounts.
    pub accounts: KindChanges,
    /// People.
    pub people: KindChanges,
    /// Resources.
    pub resources: KindChanges,
    /// Members of accounts.
    pub members: KindChanges,
    /// Collaborators on resources.
    pub collaborators: KindChanges,
    /// Rows that this source had brought before.
    pub brought_before: u64,
    /// Some of the changes.
    pub examples: Vec<Example>,
    /// Some of the rows that are left out, and why.
    #[serde(default)]
    pub left_out: Vec<RunError>,
    /// What should be changed about the source, such as the rights of its user.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Changes {
    /// The changes of a kind.
    pub fn of(&mut self, kind: LineKind) -> &mut KindChanges {
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

    /// Rows to mark as gone.
    pub fn gone(&self) -> u64 {
        self.sum(|kind| kind.gone)
    }

    /// Rows that are not used.
    pub fn left_out(&self) -> u64 {
        self.sum(|kind| kind.left_out)
    }

    /// The counts alone: examples may hold keys, which may be addresses.
    pub(super) fn summary(&self) -> Changes {
        Changes {
            examples: Vec::new(),
            left_out: Vec::new(),
            ..self.clone()
        }
    }

    /// Rows to store.
    pub fn stored(&self) -> u64 {
        self.sum(|kind| kind.added + kind.changed)
    }
}

/// What is wrong with what a source brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunError {
    /// Of which kind; none: it is the source as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<LineKind>,
    /// Which row: the words of its key, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Vec<String>>,
    /// Which row of the query, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// Which column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What is wrong.
    pub detail: String,
}

impl RunError {
    /// About all rows of a kind.
    pub(super) fn of(kind: LineKind, detail: impl Into<String>) -> Self {
        RunError {
            kind: Some(kind),
            ..RunError::plain(detail)
        }
    }

    /// About the source as a whole.
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
