//! Gathers the lines of an import into batches that are written with one statement for each kind. Each line
//! is checked alone, and the lines are checked together as far as no database is needed.
//!
//! A batch never contains the same row twice, because PostgreSQL rejects that. A line never refers to a later
//! line.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::ResourceRef;
use super::account::AccountInput;
use super::line::Line;
use super::person::PersonInput;
use super::resource::ResourceInput;
use super::write::BATCH;
use crate::base::check::Check;
use crate::base::error::FieldError;
use crate::base::id::ExternalId;

/// The number of errors that are reported before an import stops.
pub(super) const MAX_ERRORS: usize = 100;

/// The number of imported lines of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ImportCounts)]
pub struct Counts {
    /// The number of accounts.
    pub accounts: u64,
    /// The number of people.
    pub people: u64,
    /// The number of resources.
    pub resources: u64,
    /// The number of members of accounts.
    pub members: u64,
    /// The number of collaborators on resources.
    pub collaborators: u64,
    /// The number of lines that were left out, because their people were erased and are not allowed again.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Counts {
    /// Returns the number of lines of all kinds.
    pub(super) fn lines(&self) -> u64 {
        self.accounts + self.people + self.resources + self.members + self.collaborators
    }

    pub(super) fn add(&mut self, more: &Counts) {
        self.accounts += more.accounts;
        self.people += more.people;
        self.resources += more.resources;
        self.members += more.members;
        self.collaborators += more.collaborators;
        self.left_out += more.left_out;
    }
}

/// A reference to an entry that must already be in the database.
pub(super) enum Outside {
    Account(ExternalId),
    Person(ExternalId),
    Resource(ResourceRef),
}

/// Lines that can be written together. No row occurs twice.
#[derive(Default)]
pub(super) struct Batch {
    pub counts: Counts,
    /// The errors in lines, with the numbers of the lines.
    pub errors: Vec<FieldError>,
    pub accounts: Vec<(ExternalId, AccountInput)>,
    pub people: Vec<(ExternalId, PersonInput)>,
    /// The resources, with the numbers of their lines.
    pub resources: Vec<(u64, ResourceRef, ResourceInput)>,
    pub members: Vec<(ExternalId, ExternalId, ExternalId)>,
    pub collaborators: Vec<(ResourceRef, ExternalId, ExternalId)>,
    /// The index of each resource in the list `resources`.
    pub places: HashMap<ResourceRef, usize>,
    /// References to entries that no earlier line of the batch creates, with the numbers of their lines.
    pub outside: Vec<(u64, Outside)>,
    seen_accounts: HashSet<ExternalId>,
    seen_people: HashSet<ExternalId>,
    seen_members: HashSet<(ExternalId, ExternalId)>,
    seen_collaborators: HashSet<(ResourceRef, ExternalId)>,
}

/// Puts lines into batches.
#[derive(Default)]
pub(super) struct Gatherer {
    batch: Batch,
}

impl Gatherer {
    /// Adds a line. If the line does not fit into the current batch, returns that batch and begins a new one
    /// with the line.
    pub fn take(&mut self, number: u64, line: Line) -> Option<Batch> {
        let full = self.batch.is_full() || self.batch.has(&line);
        let before = full.then(|| std::mem::take(&mut self.batch));
        self.batch.add(number, line);
        before
    }

    /// Adds an error in a line. A batch is returned after [`MAX_ERRORS`] errors, even if there are no valid
    /// lines.
    pub fn wrong(&mut self, number: u64, detail: impl Into<String>) -> Option<Batch> {
        self.batch.errors.push(FieldError::on_line(number, detail));
        (self.batch.errors.len() >= MAX_ERRORS).then(|| std::mem::take(&mut self.batch))
    }

    /// Returns the last batch.
    pub fn rest(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }
}

impl Batch {
    fn is_full(&self) -> bool {
        let most = [
            self.accounts.len(),
            self.people.len(),
            self.resources.len(),
            self.members.len(),
            self.collaborators.len(),
        ];
        self.errors.len() >= MAX_ERRORS || most.into_iter().any(|rows| rows >= BATCH)
    }

    /// Returns whether the batch already contains the row. The same row twice in one statement is an error in
    /// PostgreSQL.
    fn has(&self, line: &Line) -> bool {
        match line {
            Line::Account(line) => self.seen_accounts.contains(&line.id),
            Line::Person(line) => self.seen_people.contains(&line.id),
            Line::Resource(line) => self.places.contains_key(&ResourceRef {
                type_: line.type_.clone(),
                id: line.id.clone(),
            }),
            Line::Member(line) => self
                .seen_members
                .contains(&(line.account.clone(), line.person.clone())),
            Line::Collaborator(line) => self
                .seen_collaborators
                .contains(&(line.resource.clone(), line.person.clone())),
        }
    }

    fn add(&mut self, number: u64, line: Line) {
        let mut check = Check::default();
        match line {
            Line::Account(line) => {
                let (id, input) = line.split();
                input.check(&mut check);
                self.counts.accounts += 1;
                self.seen_accounts.insert(id.clone());
                self.accounts.push((id, input));
            }
            Line::Person(line) => {
                let (id, input) = line.split();
                input.check(&mut check);
                self.counts.people += 1;
                self.seen_people.insert(id.clone());
                self.people.push((id, input));
            }
            Line::Resource(line) => {
                let (at, input) = line.split();
                input.check(&mut check);
                if let Some(account) = &input.account {
                    self.needs_account(number, account);
                }
                if let Some(parent) = &input.parent {
                    self.needs_resource(number, parent);
                }
                self.counts.resources += 1;
                self.places.insert(at.clone(), self.resources.len());
                self.resources.push((number, at, input));
            }
            Line::Member(line) => {
                self.needs_account(number, &line.account);
                self.needs_person(number, &line.person);
                self.counts.members += 1;
                self.seen_members
                    .insert((line.account.clone(), line.person.clone()));
                self.members.push((line.account, line.person, line.role));
            }
            Line::Collaborator(line) => {
                self.needs_resource(number, &line.resource);
                self.needs_person(number, &line.person);
                self.counts.collaborators += 1;
                self.seen_collaborators
                    .insert((line.resource.clone(), line.person.clone()));
                self.collaborators.push((line.resource, line.person, line.role));
            }
        }
        for error in check.errors {
            let field = error
                .pointer
                .as_deref()
                .unwrap_or("")
                .trim_start_matches('/')
                .replace('/', ".");
            self.errors
                .push(FieldError::on_line(number, format!("{field}: {}", error.detail)));
        }
    }

    fn needs_account(&mut self, number: u64, id: &ExternalId) {
        if !self.seen_accounts.contains(id) {
            self.outside.push((number, Outside::Account(id.clone())));
        }
    }

    fn needs_person(&mut self, number: u64, id: &ExternalId) {
        if !self.seen_people.contains(id) {
            self.outside.push((number, Outside::Person(id.clone())));
        }
    }

    fn needs_resource(&mut self, number: u64, at: &ResourceRef) {
        if !self.places.contains_key(at) {
            self.outside.push((number, Outside::Resource(at.clone())));
        }
    }
}
