//! The thread that reads a source of SQL: counts each query, then gives its rows as lines, page by page.
//!
//! Must never happen here: a row that is missed without a word, or more than a few pages in memory.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;

use super::changes::RunError;
use super::mapping::{self, Wrong};
use super::stage::NewRow;
use crate::db::foreign::{Engine, Reader};
use crate::directory::line::LineKind;

/// Rows that are read at a time.
const PAGE: usize = 1_000;
/// How long one statement of a source may take.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Errors that are reported.
const MAX_ERRORS: usize = 100;

/// What the thread that reads sends.
pub(super) enum Message {
    /// Rows that there will be.
    Total(u64),
    Page(Vec<NewRow>),
    Wrong(Vec<RunError>),
}

/// Reads everything, page by page; ends where nobody listens any more.
pub(super) fn read_all(
    engine: Engine,
    url: &str,
    asked: &[(LineKind, String)],
    sender: &mpsc::Sender<Message>,
) {
    let send = |message| sender.blocking_send(message).is_ok();
    let said = |kind: Option<LineKind>, detail: String| {
        Message::Wrong(vec![RunError {
            kind,
            ..RunError::plain(detail)
        }])
    };
    let mut reader = match engine.open(url, PATIENCE) {
        Ok(reader) => reader,
        Err(reason) => {
            send(said(None, format!("the source cannot be read: {reason}")));
            return;
        }
    };
    let mut total = 0;
    let mut expected = Vec::new();
    for (kind, query) in asked {
        match reader.count(query, mapping::key(*kind)) {
            Ok(counted) if counted.keyed < counted.rows => {
                let detail = format!(
                    "{} of {} rows have a null in {}",
                    counted.rows - counted.keyed,
                    counted.rows,
                    mapping::key(*kind).join(" or ")
                );
                send(said(Some(*kind), detail));
                return;
            }
            Ok(counted) => {
                total += counted.rows;
                expected.push(counted.rows);
            }
            Err(reason) => {
                send(said(Some(*kind), reason));
                return;
            }
        }
    }
    if !send(Message::Total(total)) {
        return;
    }
    let mut seq = 0;
    let mut errors = Vec::new();
    for ((kind, query), expected) in asked.iter().zip(expected) {
        match read_kind(
            reader.as_mut(),
            *kind,
            query,
            expected,
            &mut seq,
            &mut errors,
            &send,
        ) {
            Ok(true) => {}
            Ok(false) => return,
            Err(reason) => {
                send(said(Some(*kind), reason));
                return;
            }
        }
        if errors.len() >= MAX_ERRORS {
            break;
        }
    }
    if !errors.is_empty() {
        send(Message::Wrong(errors));
    }
}

/// Reads one query. False: nobody listens any more.
fn read_kind(
    reader: &mut dyn Reader,
    kind: LineKind,
    query: &str,
    expected: u64,
    seq: &mut u64,
    errors: &mut Vec<RunError>,
    send: &impl Fn(Message) -> bool,
) -> std::result::Result<bool, String> {
    let key = mapping::key(kind);
    let mut after: Option<Vec<Value>> = None;
    let mut read = 0_u64;
    loop {
        let rows = reader.page(query, key, after.as_deref(), PAGE)?;
        let full = rows.len() == PAGE;
        let Some(last) = rows.last() else { break };
        let last: Vec<Value> = key
            .iter()
            .map(|column| last.get(*column).cloned().unwrap_or_default())
            .collect();
        let mut page = Vec::with_capacity(rows.len());
        for row in &rows {
            read += 1;
            *seq += 1;
            match mapping::line(kind, row.iter().map(|(name, value)| (name.as_str(), value))) {
                Ok(line) if errors.is_empty() => page.push(NewRow::of(&line, *seq)),
                Ok(_) => {}
                Err(wrong) => errors.extend(wrong.into_iter().map(|wrong| about(kind, read, wrong))),
            }
            if errors.len() >= MAX_ERRORS {
                errors.truncate(MAX_ERRORS);
                return Ok(true);
            }
        }
        // A key that stands still would be read for ever.
        if after.as_ref() == Some(&last) || read > expected {
            return Err(format!(
                "is not in an order by {}: give each row one of its own",
                key.join(", ")
            ));
        }
        after = Some(last);
        if errors.is_empty() && !send(Message::Page(page)) {
            return Ok(false);
        }
        if !full {
            break;
        }
    }
    if read != expected && errors.is_empty() {
        return Err(format!(
            "has {expected} rows, but {read} by {}: that is not unique",
            key.join(", ")
        ));
    }
    Ok(true)
}

/// What is wrong with a row. Its key is left out: it may be an address, and the number tells it as well.
fn about(kind: LineKind, row: u64, wrong: Wrong) -> RunError {
    RunError {
        kind: Some(kind),
        key: None,
        row: Some(row),
        column: (!wrong.field.is_empty()).then_some(wrong.field),
        detail: wrong.detail,
    }
}
