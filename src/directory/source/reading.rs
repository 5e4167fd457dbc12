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
use crate::db::foreign::{Engine, Reader};
use crate::directory::line::LineKind;

/// The number of rows that are read at a time.
const PAGE: usize = 1_000;
/// The time limit of one statement on a source.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A message of the thread that reads.
pub(super) enum Message {
    /// The number of rows that will follow, and warnings about the rights of the source's database user.
    Total(u64, Vec<String>),
    /// Rows, and the number of rows of the source that they stand for.
    Page(Vec<NewRow>, u64),
    /// Why the reading stopped.
    Wrong(RunError),
}

/// Reads everything, page by page. It ends if the receiver is dropped.
pub(super) fn read_all(
    engine: Engine,
    url: &str,
    asked: &[(LineKind, String)],
    sender: &mpsc::Sender<Message>,
) {
    if let Err(error) = read(engine, url, asked, sender) {
        // If the receiver is dropped, nobody needs the error.
        let _ = sender.blocking_send(Message::Wrong(error));
    }
}

/// Whether the receiver still exists.
type Listening = bool;

fn read(
    engine: Engine,
    url: &str,
    asked: &[(LineKind, String)],
    sender: &mpsc::Sender<Message>,
) -> Result<(), RunError> {
    let mut reader = engine
        .open(url, PATIENCE)
        .map_err(|reason| RunError::plain(format!("the source cannot be read: {reason}")))?;
    let mut total = 0;
    let mut expected = Vec::new();
    for (kind, query) in asked {
        let counted = reader
            .count(query, mapping::key(*kind))
            .map_err(|reason| RunError::of(*kind, reason))?;
        total += counted.rows;
        expected.push(counted);
    }
    if sender
        .blocking_send(Message::Total(total, reader.warnings()))
        .is_err()
    {
        return Ok(());
    }
    let mut seq = 0;
    for ((kind, query), counted) in asked.iter().zip(expected) {
        let nulls = counted.rows - counted.keyed;
        if nulls > 0 {
            seq += 1;
            let row = NewRow::without_key(*kind, seq, nulls);
            if sender.blocking_send(Message::Page(vec![row], nulls)).is_err() {
                return Ok(());
            }
        }
        if !read_kind(reader.as_mut(), *kind, query, counted.keyed, &mut seq, sender)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads one query.
fn read_kind(
    reader: &mut dyn Reader,
    kind: LineKind,
    query: &str,
    expected: u64,
    seq: &mut u64,
    sender: &mpsc::Sender<Message>,
) -> Result<Listening, RunError> {
    let key = mapping::key(kind);
    let mut after: Option<Vec<Value>> = None;
    let mut read = 0_u64;
    loop {
        let found = reader
            .page(query, key, after.as_deref(), PAGE)
            .map_err(|reason| RunError::of(kind, reason))?;
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
            let cells = row.iter().map(|(name, value)| (name.as_str(), value));
            page.push(match mapping::line(kind, cells) {
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
            return Err(RunError::of(kind, detail));
        }
        after = Some(last);
        let rows = page.len() as u64;
        if sender.blocking_send(Message::Page(page, rows)).is_err() {
            return Ok(false);
        }
        if !found.more {
            break;
        }
    }
    if read != expected {
        let detail = format!(
            "has {expected} rows, but only {read} different values of {}: this key is not unique",
            key.join(", ")
        );
        return Err(RunError::of(kind, detail));
    }
    Ok(true)
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
