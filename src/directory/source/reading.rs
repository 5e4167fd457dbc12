//! The thread that reads an SQL source. It counts the rows of each query and then sends them as lines, page
//! by page.
//!
//! A row that cannot be used is sent as one that is left out, with the reason. No row is skipped silently,
//! and only a few pages are in memory.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;

use super::changes::RunError;
use super::mapping::{self, Wrong};
use super::stage::{LeftOut, NewRow, Why};
use crate::base::error::Error;
use crate::db::foreign::{Counted, Engine, Halt, Reader, Row};
use crate::directory::line::{Line, LineKind};

/// The number of rows that are read at a time.
const PAGE: usize = 1_000;
/// The time limit of one statement on a source.
pub const TIMEOUT: Duration = Duration::from_secs(120);

/// The number of rows of each query that a trial shows.
const LOOKED_AT: usize = 10;

/// What the thread reads.
pub(super) struct Asked {
    pub engine: Engine,
    pub url: String,
    pub queries: Vec<(LineKind, String)>,
    /// Whether this is a trial. A trial also gets the first rows of each query, and the error of each query and
    /// not only the first error.
    pub trial: bool,
    /// The time limit of one statement.
    pub patience: Duration,
}

/// The beginning of the result of a query, for a trial.
pub(super) struct Looked {
    pub kind: LineKind,
    /// The error of the database, or a problem of the query.
    pub error: Option<String>,
    /// The number of rows in all.
    pub total: Option<u64>,
    /// What the first rows become, or what is wrong with each of them.
    pub rows: Vec<Result<Line, Vec<Wrong>>>,
}

/// A message of the thread that reads.
pub(super) enum Message {
    /// The source cannot be read at all. The text is the error of the database.
    Closed(String),
    /// The beginning of the result of a query. Only in a trial.
    Looked(Looked),
    /// Warnings about the rights of the source's database user.
    Warnings(Vec<String>),
    /// The number of rows that will follow.
    Total(u64),
    /// Rows, and the number of rows of the source that they stand for.
    Page(Vec<NewRow>, u64),
    /// Why the reading stopped.
    Wrong(RunError),
}

/// Starts the thread. It ends if the receiver is dropped, or if `halt` is set. The channel closes when it has
/// ended.
///
/// It is not one of the blocking threads of the runtime: the process must not wait for a database of somebody
/// else when it stops.
///
/// # Errors
/// `Internal` if the machine has no thread for it.
pub(super) fn start(asked: Asked, halt: &Halt) -> Result<mpsc::Receiver<Message>, Error> {
    // At most two pages wait.
    let (sender, messages) = mpsc::channel(2);
    let halt = halt.clone();
    std::thread::Builder::new()
        .name("source".to_owned())
        .spawn(move || {
            let reading = Reading {
                asked: &asked,
                halt: &halt,
                sender: &sender,
            };
            if let Err(Ended::Wrong(error)) = reading.run() {
                // If the receiver is dropped, nobody needs the error.
                let _ = sender.blocking_send(Message::Wrong(error));
            }
        })
        .map_err(Error::internal)?;
    Ok(messages)
}

/// Why the thread ends before it has read everything.
enum Ended {
    /// There is an error in the source.
    Wrong(RunError),
    /// Nobody listens any more, or the receiver knows the reason already.
    Silent,
}

impl From<RunError> for Ended {
    fn from(error: RunError) -> Self {
        Ended::Wrong(error)
    }
}

struct Reading<'a> {
    asked: &'a Asked,
    halt: &'a Halt,
    sender: &'a mpsc::Sender<Message>,
}

impl Reading<'_> {
    fn send(&self, message: Message) -> Result<(), Ended> {
        self.sender.blocking_send(message).map_err(|_| Ended::Silent)
    }

    fn open(&self) -> Result<Box<dyn Reader>, Ended> {
        let opened = self
            .asked
            .engine
            .open(&self.asked.url, self.asked.patience, self.halt);
        opened.or_else(|reason| {
            self.send(Message::Closed(reason))?;
            Err(Ended::Silent)
        })
    }

    /// Counts the rows of each query, and then sends all rows.
    fn run(&self) -> Result<(), Ended> {
        let mut reader = self.open()?;
        self.send(Message::Warnings(reader.warnings()))?;
        let mut counts = Vec::new();
        let mut first_error = None;
        for (kind, query) in &self.asked.queries {
            counts.push(match reader.count(query, mapping::key(*kind)) {
                Ok(counted) => Some(counted),
                Err(reason) => {
                    let error = RunError::of(*kind, reason.clone());
                    if !self.asked.trial || self.halt.is_set() {
                        return Err(error.into());
                    }
                    self.send(failed(*kind, reason))?;
                    first_error.get_or_insert(error);
                    // In some databases an error ends the transaction.
                    drop(reader);
                    reader = self.open()?;
                    None
                }
            });
        }
        let mut kinds: Vec<(LineKind, &str, Counted)> = Vec::new();
        for ((kind, query), counted) in self.asked.queries.iter().zip(counts) {
            kinds.extend(counted.map(|counted| (*kind, query.as_str(), counted)));
        }
        if let Some(error) = first_error {
            self.look_at(&kinds, Some(reader))?;
            return Err(error.into());
        }
        let total = kinds.iter().map(|(_, _, counted)| counted.rows).sum();
        self.send(Message::Total(total))?;
        let mut seq = 0;
        for (index, (kind, query, counted)) in kinds.iter().enumerate() {
            let nulls = counted.rows - counted.keyed;
            if nulls > 0 {
                seq += 1;
                self.send(Message::Page(vec![NewRow::without_key(*kind, seq, nulls)], nulls))?;
            }
            let mut looked = !self.asked.trial;
            let read = self.read_kind(reader.as_mut(), (*kind, *query, *counted), &mut seq, &mut looked);
            if let Err(Ended::Wrong(error)) = read {
                if self.asked.trial && !self.halt.is_set() {
                    if !looked {
                        self.send(failed(*kind, error.detail.clone()))?;
                    }
                    self.look_at(&kinds[index + 1..], None)?;
                }
                return Err(error.into());
            }
            read?;
        }
        Ok(())
    }

    /// Sends the first rows of queries that will not be read.
    fn look_at(
        &self,
        kinds: &[(LineKind, &str, Counted)],
        mut reader: Option<Box<dyn Reader>>,
    ) -> Result<(), Ended> {
        for (kind, query, counted) in kinds {
            let mut open = match reader.take() {
                Some(reader) => reader,
                None => self.open()?,
            };
            match open.page(query, mapping::key(*kind), None, LOOKED_AT) {
                Ok(page) => {
                    reader = Some(open);
                    self.send(Message::Looked(looked(*kind, counted, &page.rows)))?;
                }
                Err(reason) if self.halt.is_set() => return Err(RunError::of(*kind, reason).into()),
                Err(reason) => self.send(failed(*kind, reason))?,
            }
        }
        Ok(())
    }

    /// Reads one query. `looked` says whether its first rows were sent to a trial.
    fn read_kind(
        &self,
        reader: &mut dyn Reader,
        (kind, query, counted): (LineKind, &str, Counted),
        seq: &mut u64,
        is_looked: &mut bool,
    ) -> Result<(), Ended> {
        let key = mapping::key(kind);
        let expected = counted.keyed;
        let mut after: Option<Vec<Value>> = None;
        let mut read = 0_u64;
        loop {
            let found = reader
                .page(query, key, after.as_deref(), PAGE)
                .map_err(|reason| RunError::of(kind, reason))?;
            if !*is_looked {
                *is_looked = true;
                let first = &found.rows[..found.rows.len().min(LOOKED_AT)];
                self.send(Message::Looked(looked(kind, &counted, first)))?;
            }
            let Some(last) = found.rows.last() else { break };
            let last: Vec<Value> = key
                .iter()
                .map(|column| last.get(*column).cloned().unwrap_or_default())
                .collect();
            if read == 0
                && let Some(first) = found.rows.first()
            {
                // A column that no row may have is an error in the query.
                for column in first.keys() {
                    mapping::check_field(kind, column).map_err(|detail| RunError {
                        column: Some(column.clone()),
                        ..RunError::of(kind, detail)
                    })?;
                }
            }
            let mut page = Vec::with_capacity(found.rows.len());
            for row in &found.rows {
                read += 1;
                *seq += 1;
                page.push(match line_of(kind, row) {
                    Ok(line) => NewRow::of(&line, *seq),
                    Err(wrong) => {
                        let known = mapping::key_of(kind, row);
                        NewRow::left_out(kind, known, *seq, left_out(read, wrong))
                    }
                });
            }
            // If the key did not advance, the loop would never end.
            if after.as_ref() == Some(&last) || read > expected {
                let detail = format!(
                    "is not unique in {}: each row needs a different value",
                    key.join(", ")
                );
                return Err(RunError::of(kind, detail).into());
            }
            after = Some(last);
            let rows = page.len() as u64;
            self.send(Message::Page(page, rows))?;
            if !found.more {
                break;
            }
        }
        if read != expected {
            let detail = format!(
                "has {expected} rows, but only {read} different values of {}: this key is not unique",
                key.join(", ")
            );
            return Err(RunError::of(kind, detail).into());
        }
        Ok(())
    }
}

fn line_of(kind: LineKind, row: &Row) -> Result<Line, Vec<Wrong>> {
    mapping::line(kind, row.iter().map(|(name, value)| (name.as_str(), value)))
}

fn looked(kind: LineKind, counted: &Counted, rows: &[Row]) -> Looked {
    let nulls = counted.rows - counted.keyed;
    Looked {
        kind,
        error: (nulls > 0)
            .then(|| format!("{nulls} rows have a null in {}", mapping::key(kind).join(" or "))),
        total: Some(counted.rows),
        rows: rows.iter().map(|row| line_of(kind, row)).collect(),
    }
}

fn failed(kind: LineKind, error: String) -> Message {
    Message::Looked(Looked {
        kind,
        error: Some(error),
        total: None,
        rows: Vec::new(),
    })
}

/// Makes the reason for leaving out a row with these errors.
fn left_out(row: u64, wrong: Vec<Wrong>) -> LeftOut {
    let mut wrong = wrong.into_iter();
    let first = wrong.next();
    let column = first
        .as_ref()
        .map(|first| first.field.clone())
        .filter(|field| !field.is_empty());
    let mut detail = first.map(|first| first.detail).unwrap_or_default();
    for more in wrong {
        detail.push_str("; ");
        if !more.field.is_empty() {
            detail.push_str(&more.field);
            detail.push_str(": ");
        }
        detail.push_str(&more.detail);
    }
    LeftOut {
        row: Some(row),
        column,
        ..LeftOut::new(Why::Wrong, detail)
    }
}
