//! The NDJSON import: each line creates or replaces one entry. The lines are streamed, all or none of them
//! are stored, and each error names its line.
//!
//! Lines are gathered into batches by kind. References are looked up before a batch is written. So a line can
//! refer to earlier lines but not to later ones, no matter where a batch ends.
//!
//! The file is never in memory as a whole.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use sha2::{Digest, Sha256};

use super::erased::Erased;
pub use super::gather::Counts;
use super::gather::{Batch, Gatherer, MAX_ERRORS, Outside};
use super::line::{self, Line};
use super::write::{self, BATCH, Parent, ResourceRow};
use super::{ResourceRef, account, person};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::ExternalId;
use crate::base::text::hex;
use crate::db::{Pages, dialect};

/// The longest line, in bytes.
const MAX_LINE: usize = 64 * 1024;
/// The number of batches that wait while another batch is written and the next one is gathered. It is 0
/// because a batch can be large.
const AHEAD: usize = 0;
/// The number of lines after which the database updates its statistics of the tables for the first time. It
/// does so again each time the number has grown by a factor of four.
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

/// Imports every line of `input` in the caller's transaction. A separate thread reads, checks and gathers the
/// lines while the database writes the earlier ones.
///
/// # Errors
/// `Invalid` with up to 100 errors by line. Nothing of the file is stored then.
pub fn import(tx: &mut Tx<'_>, input: impl BufRead + Send) -> Result<Counts> {
    with_room(tx, |tx| import_all(tx, input))
}

/// Runs work that writes a large part of the directory, with a larger page cache of the database.
///
/// # Errors
/// The error of the work.
pub(super) fn with_room<T>(tx: &mut Tx<'_>, work: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Result<T> {
    dialect::keep_pages(tx.conn, Pages::Many)?;
    let done = work(tx);
    // If the work failed, its error is the one that matters.
    let back = dialect::keep_pages(tx.conn, Pages::Usual);
    let done = done?;
    back?;
    Ok(done)
}

fn import_all(tx: &mut Tx<'_>, input: impl BufRead + Send) -> Result<Counts> {
    let mut import = Import::begin(tx)?;
    let digest = thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel(AHEAD);
        let reader = scope.spawn(move || read(input, &send));
        // The receiver is dropped if this ends early. That also ends the reader.
        let receive = receive;
        for batch in &receive {
            import.store(tx, batch)?;
            if import.has_enough() {
                return Ok(None);
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

/// Reads all lines and sends them in batches while the receiver exists. Returns the hash of all lines.
fn read(input: impl BufRead, send: &SyncSender<Batch>) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut lines = Lines {
        input,
        buffer: Vec::new(),
        number: 0,
    };
    let mut gatherer = Gatherer::default();
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
        let full = match line {
            Ok(line) => gatherer.take(number, line),
            Err(detail) => gatherer.wrong(number, detail),
        };
        if full.is_some_and(|batch| send.send(batch).is_err()) {
            return Ok(String::new());
        }
    }
    // If the receiver no longer exists, there are enough errors already.
    let _ = send.send(gatherer.rest());
    Ok(hex(&hasher.finalize()))
}

struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// Returns the next line, or why it cannot be read. A line that is too long is cut and not kept in
    /// memory.
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

/// The keys of the entries that lines refer to.
struct ReferencedKeys {
    accounts: HashMap<String, i64>,
    people: HashMap<String, i64>,
    resources: HashMap<ResourceRef, i64>,
}

/// An import in progress. Lines are added one by one, and each line refers only to earlier ones.
#[derive(Default)]
pub(super) struct Import {
    counts: Counts,
    /// The number of lines at the last update of the database's statistics.
    analyzed: u64,
    errors: Vec<FieldError>,
    gatherer: Gatherer,
    /// Existing resources that the import changes, with the numbers of their lines. If set, the structure of
    /// the tree is checked once at the end.
    later: Option<Vec<(u64, i64)>>,
    /// Who was erased. `None` if nobody was.
    erased: Option<Erased>,
    /// The people whose lines were left out, so that the later lines about them are left out too.
    left_out: HashSet<ExternalId>,
}

impl Import {
    /// Begins an import, and locks the directory until the transaction ends.
    pub(super) fn begin(tx: &mut Tx<'_>) -> Result<Self> {
        dialect::lock_directory(tx.conn)?;
        Ok(Import {
            erased: Erased::load(tx.conn)?,
            ..Import::default()
        })
    }

    /// Begins an import whose lines are one change, so that trees may move to another account step by step.
    /// Parents must come before their children.
    pub(super) fn begin_as_a_whole(tx: &mut Tx<'_>) -> Result<Self> {
        Ok(Import {
            later: Some(Vec::new()),
            ..Import::begin(tx)?
        })
    }

    /// Adds a line, and writes the earlier lines if there are many.
    pub(super) fn take(&mut self, tx: &mut Tx<'_>, number: u64, line: Line) -> Result<()> {
        match self.gatherer.take(number, line) {
            Some(batch) => self.store(tx, batch),
            None => Ok(()),
        }
    }

    /// Adds an error in a line. Nothing is stored then.
    pub(super) fn wrong(&mut self, tx: &mut Tx<'_>, number: u64, detail: impl Into<String>) -> Result<()> {
        match self.gatherer.wrong(number, detail) {
            Some(batch) => self.store(tx, batch),
            None => Ok(()),
        }
    }

    /// Returns whether there are as many errors as are reported.
    pub(super) fn has_enough(&self) -> bool {
        self.errors.len() >= MAX_ERRORS
    }

    /// Writes the remaining lines.
    ///
    /// # Errors
    /// `Invalid` with the errors by line. The caller must then roll back.
    pub(super) fn finish(mut self, tx: &mut Tx<'_>) -> Result<Counts> {
        let rest = self.gatherer.rest();
        self.store(tx, rest)?;
        if self.errors.is_empty() {
            for chunk in self.later.take().unwrap_or_default().chunks(BATCH) {
                let keys: Vec<i64> = chunk.iter().map(|(_, key)| *key).collect();
                let lines: HashMap<i64, u64> = chunk.iter().map(|(line, key)| (*key, *line)).collect();
                for (key, detail) in write::check_shape(tx.conn, &keys)? {
                    self.errors.push(FieldError::on_line(lines[&key], detail));
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
        self.errors.truncate(MAX_ERRORS);
        Err(Error::fields(self.errors))
    }

    /// Writes a batch. After the first error, lines are only checked, because nothing will be stored.
    fn store(&mut self, tx: &mut Tx<'_>, mut batch: Batch) -> Result<()> {
        self.leave_out_erased(&mut batch);
        self.counts.add(&batch.counts);
        self.errors.append(&mut batch.errors);
        if self.errors.is_empty() {
            let known = self.check_outside(tx, &batch)?;
            if self.errors.is_empty() {
                self.write(tx, &batch, known)?;
            }
        }
        let lines = self.counts.lines();
        if self.errors.is_empty() && lines >= (4 * self.analyzed).max(FIRST_LOOK) {
            dialect::analyze(tx.conn, &TABLES)?;
            self.analyzed = lines;
        }
        Ok(())
    }

    /// Removes the lines about people who were erased and are not allowed again.
    fn leave_out_erased(&mut self, batch: &mut Batch) {
        let Some(erased) = &self.erased else { return };
        let left_out = &mut self.left_out;
        let people = batch.people.len();
        batch.people.retain(|(id, input)| {
            let blocked = erased.blocks_person(id.as_str()) || erased.blocks_address(&input.email);
            if blocked {
                left_out.insert(id.clone());
            }
            !blocked
        });
        let is_out = |id: &ExternalId| left_out.contains(id) || erased.blocks_person(id.as_str());
        let (members, collaborators) = (batch.members.len(), batch.collaborators.len());
        batch.members.retain(|(_, person, _)| !is_out(person));
        batch.collaborators.retain(|(_, person, _)| !is_out(person));
        batch
            .outside
            .retain(|(_, reference)| !matches!(reference, Outside::Person(id) if is_out(id)));
        let gone = |before: usize, now: usize| (before - now) as u64;
        let (people, members, collaborators) = (
            gone(people, batch.people.len()),
            gone(members, batch.members.len()),
            gone(collaborators, batch.collaborators.len()),
        );
        let counts = &mut batch.counts;
        counts.people -= people;
        counts.members -= members;
        counts.collaborators -= collaborators;
        counts.left_out += people + members + collaborators;
    }

    /// Looks up the entries that the lines of the batch refer to and that are not in the batch. A missing
    /// entry is an error of its line.
    fn check_outside(&mut self, tx: &mut Tx<'_>, batch: &Batch) -> Result<ReferencedKeys> {
        let mut accounts = Vec::new();
        let mut people = Vec::new();
        let mut resources = Vec::new();
        for (_, reference) in &batch.outside {
            match reference {
                Outside::Account(id) => accounts.push(id.as_str()),
                Outside::Person(id) => people.push(id.as_str()),
                Outside::Resource(at) => resources.push(at),
            }
        }
        accounts.sort_unstable();
        accounts.dedup();
        people.sort_unstable();
        people.dedup();
        resources.sort_unstable();
        resources.dedup();
        let known = ReferencedKeys {
            accounts: write::account_keys(tx.conn, &accounts)?,
            people: write::person_keys(tx.conn, &people)?,
            resources: write::resource_keys(tx.conn, &resources, false)?,
        };
        for (number, reference) in &batch.outside {
            let detail = match reference {
                Outside::Account(id) if !known.accounts.contains_key(id.as_str()) => {
                    format!("account '{id}'")
                }
                Outside::Person(id) if !known.people.contains_key(id.as_str()) => format!("person '{id}'"),
                Outside::Resource(at) if !known.resources.contains_key(at) => at.to_string(),
                _ => continue,
            };
            let detail = format!(
                "{detail} does not exist: it is not in the directory, and no earlier line creates it"
            );
            self.errors.push(FieldError::on_line(*number, detail));
        }
        Ok(known)
    }

    fn write(&mut self, tx: &mut Tx<'_>, batch: &Batch, mut known: ReferencedKeys) -> Result<()> {
        let accounts: Vec<_> = batch
            .accounts
            .iter()
            .map(|(id, input)| (id.as_str(), input))
            .collect();
        account::upsert(tx.conn, tx.now, &accounts)?;
        let people: Vec<_> = batch
            .people
            .iter()
            .map(|(id, input)| (id.as_str(), input))
            .collect();
        person::upsert(tx.conn, tx.now, &people)?;

        // Only the entries that were just written are looked up here. The others are known.
        let named = batch
            .resources
            .iter()
            .filter_map(|(_, _, input)| input.account.as_ref())
            .chain(batch.members.iter().map(|(account, _, _)| account))
            .map(ExternalId::as_str);
        let mut account_ids: Vec<&str> = named.filter(|id| !known.accounts.contains_key(*id)).collect();
        let named = batch.members.iter().map(|(_, person, _)| person);
        let mut person_ids: Vec<&str> = named
            .chain(batch.collaborators.iter().map(|(_, person, _)| person))
            .map(ExternalId::as_str)
            .filter(|id| !known.people.contains_key(*id))
            .collect();
        for ids in [&mut account_ids, &mut person_ids] {
            ids.sort_unstable();
            ids.dedup();
        }
        known.accounts.extend(write::account_keys(tx.conn, &account_ids)?);
        known.people.extend(write::person_keys(tx.conn, &person_ids)?);

        let rows: Vec<ResourceRow<'_>> = batch
            .resources
            .iter()
            .map(|(_, at, input)| ResourceRow {
                at,
                name: input.name.as_deref(),
                account: input.account.as_ref().map(|id| known.accounts[id.as_str()]),
                parent: match &input.parent {
                    None => Parent::None,
                    Some(parent) => match batch.places.get(parent) {
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
                            .map(|(index, key)| (batch.resources[index].0, key)),
                    );
                    written
                }
            };
            for (index, detail) in written.wrong {
                self.errors
                    .push(FieldError::on_line(batch.resources[index].0, detail));
            }
            if !self.errors.is_empty() {
                return Ok(());
            }
            keys = written.keys;
        }
        let members: Vec<_> = batch
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
        let collaborators: Vec<_> = batch
            .collaborators
            .iter()
            .map(|(at, person, role)| {
                let resource = match batch.places.get(at) {
                    Some(index) => keys[*index],
                    None => known.resources[at],
                };
                (resource, known.people[person.as_str()], role.as_str())
            })
            .collect();
        write::collaborators(tx.conn, tx.now, &collaborators)
    }
}
