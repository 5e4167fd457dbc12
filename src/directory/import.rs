//! The NDJSON import: an upsert a line, streamed, all or nothing, errors by line.
//!
//! Lines are gathered into batches by kind. References are looked up before a batch is written, so that a line
//! can use what earlier lines made and nothing that comes later, wherever the batches happen to end.
//!
//! Must never happen here: the whole file in memory, or half of it stored.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::account::{self, AccountInput};
use super::line::{self, Line};
use super::person::{self, PersonInput};
use super::resource::ResourceInput;
use super::write::{self, BATCH, Parent, ResourceRow};
use super::{Check, ResourceRef};
use crate::audit::{Action, Event, Tx, hex};
use crate::db::dialect;
use crate::error::{Error, FieldError, Result};
use crate::id::ExternalId;

/// Longest line, in bytes.
const MAX_LINE: usize = 64 * 1024;
/// Lines that are handed over together.
const PARCEL: usize = 256;
/// Parcels that are read ahead.
const AHEAD: usize = 16;
/// Errors that are reported before the import gives up.
const MAX_ERRORS: usize = 100;
/// Lines after which the database first looks at how the tables have grown; then each time when they are four times
/// as many.
const FIRST_LOOK: u64 = 5_000;
/// The tables that an import fills.
const TABLES: [&str; 6] = [
    "accounts",
    "people",
    "resources",
    "resource_labels",
    "members",
    "collaborators",
];

/// How many lines of each kind were imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ImportCounts)]
pub struct Counts {
    /// Accounts.
    pub accounts: u64,
    /// People.
    pub people: u64,
    /// Resources.
    pub resources: u64,
    /// Members of accounts.
    pub members: u64,
    /// Collaborators on resources.
    pub collaborators: u64,
}

/// Imports every line of `input` in the caller's transaction. They are read on a thread of their own, while the database
/// writes those before.
///
/// # Errors
/// `Invalid` with up to 100 errors by line; nothing of the file is stored then.
pub fn import(tx: &mut Tx<'_>, input: impl BufRead + Send) -> Result<Counts> {
    let mut import = Import::begin(tx)?;
    let digest = thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel(AHEAD);
        let reader = scope.spawn(move || read(input, &send));
        // Gone when this ends early, which ends the reader too.
        let receive = receive;
        for parcel in &receive {
            for (number, line) in parcel {
                match line {
                    Ok(line) => import.take(tx, number, line)?,
                    Err(detail) => import.wrong(number, detail),
                }
                if import.has_enough() {
                    return Ok(None);
                }
            }
        }
        match reader.join() {
            Ok(digest) => digest.map(Some),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    let counts = import.finish(tx)?;
    let digest = digest.ok_or_else(|| Error::internal("a file with many errors was imported"))?;
    tx.record(
        Event::new(Action::DirectoryImported, "directory", "import")
            .after(serde_json::json!({"counts": counts, "lines_sha256": digest})),
    );
    Ok(counts)
}

/// A line with its number, or why it cannot be used.
type Numbered = (u64, Result<Line, String>);

/// Reads all lines, and sends them on in parcels while somebody takes them. Answers what all of them hash to.
fn read(input: impl BufRead, send: &SyncSender<Vec<Numbered>>) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut lines = Lines {
        input,
        buffer: Vec::new(),
        number: 0,
    };
    let mut parcel = Vec::with_capacity(PARCEL);
    while let Some((number, line)) = lines.next()? {
        let line = match line {
            Ok(bytes) => {
                hasher.update(bytes);
                hasher.update(b"\n");
                if bytes.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                line::parse(bytes)
            }
            Err(detail) => Err(detail),
        };
        parcel.push((number, line));
        if parcel.len() == PARCEL
            && send
                .send(std::mem::replace(&mut parcel, Vec::with_capacity(PARCEL)))
                .is_err()
        {
            return Ok(String::new());
        }
    }
    // Whoever takes no more has enough errors already.
    let _ = send.send(parcel);
    Ok(hex(&hasher.finalize()))
}

struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// The next line, or why it cannot be read; an endless line is cut, not held.
    #[allow(clippy::type_complexity)]
    fn next(&mut self) -> Result<Option<(u64, Result<&[u8], String>)>> {
        self.buffer.clear();
        let read = std::io::Read::take(&mut self.input, MAX_LINE as u64 + 1)
            .read_until(b'\n', &mut self.buffer)
            .map_err(Error::internal)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
        } else if self.buffer.len() > MAX_LINE {
            self.input.skip_until(b'\n').map_err(Error::internal)?;
            return Ok(Some((
                self.number,
                Err(format!("is longer than {MAX_LINE} bytes")),
            )));
        }
        Ok(Some((self.number, Ok(&self.buffer))))
    }
}

/// Why a reference cannot be followed.
enum Missing {
    Account(ExternalId),
    Person(ExternalId),
    Resource(ResourceRef),
}

/// What lines refer to, with its keys.
struct Known {
    accounts: HashMap<String, i64>,
    people: HashMap<String, i64>,
    resources: HashMap<ResourceRef, i64>,
}

/// An import under way: lines go in one by one, in an order in which each uses only what came before.
#[derive(Default)]
pub(super) struct Import {
    counts: Counts,
    /// Lines after which the database was last made to look at the tables.
    analyzed: u64,
    errors: Vec<FieldError>,
    accounts: Vec<(ExternalId, AccountInput)>,
    people: Vec<(ExternalId, PersonInput)>,
    resources: Vec<(u64, ResourceRef, ResourceInput)>,
    members: Vec<(ExternalId, ExternalId, ExternalId)>,
    collaborators: Vec<(ResourceRef, ExternalId, ExternalId)>,
    seen_accounts: HashSet<ExternalId>,
    seen_people: HashSet<ExternalId>,
    seen_resources: HashMap<ResourceRef, usize>,
    seen_members: HashSet<(ExternalId, ExternalId)>,
    seen_collaborators: HashSet<(ResourceRef, ExternalId)>,
    /// Resources that were there before, by line: where the shape of the tree is looked at once, at the end.
    later: Option<Vec<(u64, i64)>>,
    /// References to what is not in the gathered lines: it must be in the database already.
    outside: Vec<(u64, Missing)>,
}

impl Import {
    /// Keeps everybody else from changing the directory until the transaction ends.
    pub(super) fn begin(tx: &mut Tx<'_>) -> Result<Self> {
        dialect::lock_directory(tx.conn)?;
        Ok(Import::default())
    }

    /// The same for lines that are one change as a whole: trees may move to another account bit by bit. Parents come before
    /// what is below them.
    pub(super) fn begin_as_a_whole(tx: &mut Tx<'_>) -> Result<Self> {
        Ok(Import {
            later: Some(Vec::new()),
            ..Import::begin(tx)?
        })
    }

    /// Notes that a line is wrong; nothing is stored then.
    pub(super) fn wrong(&mut self, number: u64, detail: impl Into<String>) {
        self.errors.push(FieldError::on_line(number, detail));
    }

    /// Whether there are as many errors as are reported.
    pub(super) fn has_enough(&self) -> bool {
        self.errors.len() >= MAX_ERRORS
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// `Invalid` with the errors by line; then the caller must roll back.
    pub(super) fn finish(mut self, tx: &mut Tx<'_>) -> Result<Counts> {
        self.flush(tx)?;
        if self.errors.is_empty() {
            for chunk in self.later.take().unwrap_or_default().chunks(BATCH) {
                let keys: Vec<i64> = chunk.iter().map(|(_, key)| *key).collect();
                let lines: HashMap<i64, u64> = chunk.iter().map(|(line, key)| (*key, *line)).collect();
                for (key, detail) in write::check_shape(tx.conn, &keys)? {
                    self.wrong(lines[&key], detail);
                }
                if self.has_enough() {
                    break;
                }
            }
        }
        if self.errors.is_empty() {
            return Ok(self.counts);
        }
        self.errors.sort_by_key(|error| error.line);
        Err(Error::fields(self.errors))
    }

    pub(super) fn take(&mut self, tx: &mut Tx<'_>, number: u64, line: Line) -> Result<()> {
        // The same row twice in one statement is an error in PostgreSQL: write the first one before.
        let full = self
            .accounts
            .len()
            .max(self.people.len())
            .max(self.resources.len())
            .max(self.members.len())
            .max(self.collaborators.len())
            >= BATCH;
        let again = match &line {
            Line::Account(line) => self.seen_accounts.contains(&line.id),
            Line::Person(line) => self.seen_people.contains(&line.id),
            Line::Resource(line) => self.seen_resources.contains_key(&ResourceRef {
                type_: line.type_.clone(),
                id: line.id.clone(),
            }),
            Line::Member(line) => self
                .seen_members
                .contains(&(line.account.clone(), line.person.clone())),
            Line::Collaborator(line) => self
                .seen_collaborators
                .contains(&(line.resource.clone(), line.person.clone())),
        };
        if full || again {
            self.flush(tx)?;
        }
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
                self.seen_resources.insert(at.clone(), self.resources.len());
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
        Ok(())
    }

    fn lines(&self) -> u64 {
        let counts = self.counts;
        counts.accounts + counts.people + counts.resources + counts.members + counts.collaborators
    }

    fn needs_account(&mut self, number: u64, id: &ExternalId) {
        if !self.seen_accounts.contains(id) {
            self.outside.push((number, Missing::Account(id.clone())));
        }
    }

    fn needs_person(&mut self, number: u64, id: &ExternalId) {
        if !self.seen_people.contains(id) {
            self.outside.push((number, Missing::Person(id.clone())));
        }
    }

    fn needs_resource(&mut self, number: u64, at: &ResourceRef) {
        if !self.seen_resources.contains_key(at) {
            self.outside.push((number, Missing::Resource(at.clone())));
        }
    }

    /// Writes what was gathered. After the first error lines are only checked, as nothing will be stored.
    fn flush(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        if self.errors.is_empty() {
            let known = self.check_outside(tx)?;
            if self.errors.is_empty() {
                self.write(tx, known)?;
            }
        }
        if self.errors.is_empty() && self.lines() >= (4 * self.analyzed).max(FIRST_LOOK) {
            dialect::analyze(tx.conn, &TABLES)?;
            self.analyzed = self.lines();
        }
        let (counts, analyzed) = (self.counts, self.analyzed);
        let (errors, later) = (std::mem::take(&mut self.errors), self.later.take());
        *self = Import {
            counts,
            analyzed,
            errors,
            later,
            ..Import::default()
        };
        Ok(())
    }

    /// Looks up what the gathered lines refer to and do not hold; what is not there is an error of its line.
    fn check_outside(&mut self, tx: &mut Tx<'_>) -> Result<Known> {
        let mut accounts = Vec::new();
        let mut people = Vec::new();
        let mut resources = Vec::new();
        for (_, missing) in &self.outside {
            match missing {
                Missing::Account(id) => accounts.push(id.as_str()),
                Missing::Person(id) => people.push(id.as_str()),
                Missing::Resource(at) => resources.push(at),
            }
        }
        accounts.sort_unstable();
        accounts.dedup();
        people.sort_unstable();
        people.dedup();
        resources.sort_unstable();
        resources.dedup();
        let known = Known {
            accounts: write::account_keys(tx.conn, &accounts)?,
            people: write::person_keys(tx.conn, &people)?,
            resources: write::resource_keys(tx.conn, &resources, false)?,
        };
        for (number, missing) in &self.outside {
            let detail = match missing {
                Missing::Account(id) if !known.accounts.contains_key(id.as_str()) => {
                    format!("account '{id}'")
                }
                Missing::Person(id) if !known.people.contains_key(id.as_str()) => format!("person '{id}'"),
                Missing::Resource(at) if !known.resources.contains_key(at) => at.to_string(),
                _ => continue,
            };
            let detail =
                format!("{detail} is not known: no earlier line made it, and the directory does not have it");
            self.errors.push(FieldError::on_line(*number, detail));
        }
        Ok(known)
    }

    fn write(&mut self, tx: &mut Tx<'_>, mut known: Known) -> Result<()> {
        let accounts: Vec<_> = self
            .accounts
            .iter()
            .map(|(id, input)| (id.as_str(), input))
            .collect();
        account::upsert(tx.conn, tx.now, &accounts)?;
        let people: Vec<_> = self
            .people
            .iter()
            .map(|(id, input)| (id.as_str(), input))
            .collect();
        person::upsert(tx.conn, tx.now, &people)?;

        // Those that were just written; the rest is known.
        let named = self
            .resources
            .iter()
            .filter_map(|(_, _, input)| input.account.as_ref())
            .chain(self.members.iter().map(|(account, _, _)| account))
            .map(ExternalId::as_str);
        let mut account_ids: Vec<&str> = named.filter(|id| !known.accounts.contains_key(*id)).collect();
        let named = self.members.iter().map(|(_, person, _)| person);
        let mut person_ids: Vec<&str> = named
            .chain(self.collaborators.iter().map(|(_, person, _)| person))
            .map(ExternalId::as_str)
            .filter(|id| !known.people.contains_key(*id))
            .collect();
        for ids in [&mut account_ids, &mut person_ids] {
            ids.sort_unstable();
            ids.dedup();
        }
        known.accounts.extend(write::account_keys(tx.conn, &account_ids)?);
        known.people.extend(write::person_keys(tx.conn, &person_ids)?);

        let rows: Vec<ResourceRow<'_>> = self
            .resources
            .iter()
            .map(|(_, at, input)| ResourceRow {
                at,
                name: input.name.as_deref(),
                account: input.account.as_ref().map(|id| known.accounts[id.as_str()]),
                parent: match &input.parent {
                    None => Parent::None,
                    Some(parent) => match self.seen_resources.get(parent) {
                        Some(index) => Parent::InBatch(*index),
                        None => Parent::Key(known.resources[parent]),
                    },
                },
                labels: &input.labels,
            })
            .collect();
        let mut keys = Vec::new();
        if !rows.is_empty() {
            let written = match &mut self.later {
                None => write::resources(tx.conn, tx.now, &rows)?,
                Some(later) => {
                    let written = write::resources_of_many(tx.conn, tx.now, &rows)?;
                    later.extend(
                        written
                            .before()
                            .map(|(index, key)| (self.resources[index].0, key)),
                    );
                    written
                }
            };
            for (index, detail) in written.wrong {
                self.errors
                    .push(FieldError::on_line(self.resources[index].0, detail));
            }
            if !self.errors.is_empty() {
                return Ok(());
            }
            keys = written.keys;
        }
        let members: Vec<_> = self
            .members
            .iter()
            .map(|(account, person, role)| {
                (
                    known.accounts[account.as_str()],
                    known.people[person.as_str()],
                    role.as_str(),
                )
            })
            .collect();
        write::members(tx.conn, tx.now, &members)?;
        let collaborators: Vec<_> = self
            .collaborators
            .iter()
            .map(|(at, person, role)| {
                let resource = match self.seen_resources.get(at) {
                    Some(index) => keys[*index],
                    None => known.resources[at],
                };
                (resource, known.people[person.as_str()], role.as_str())
            })
            .collect();
        write::collaborators(tx.conn, tx.now, &collaborators)
    }
}
