//! A look at a source: the first rows of each query, what they would become, and what is wrong with each of them.
//!
//! Must never happen here: anything that is stored.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{Queries, SourceKind, mapping, there};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::SourceId;
use crate::db::Conn;
use crate::directory::line::{Line, LineKind};

/// Rows of each query that are shown.
const ROWS: usize = 10;
/// How long one statement may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a look at a source showed.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SourceTrial)]
pub struct Trial {
    /// Whether it could be read, and every row that was looked at is right.
    pub ok: bool,
    /// Why it could not be read at all.
    pub error: Option<String>,
    /// What each query brings.
    pub queries: Vec<TriedQuery>,
}

/// What one query brings.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TriedQuery {
    /// What it brings.
    pub kind: LineKind,
    /// What the database says where it cannot be asked.
    pub error: Option<String>,
    /// Rows that there are in all.
    pub total: Option<u64>,
    /// The first of them.
    pub rows: Vec<TriedRow>,
}

/// One row.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TriedRow {
    /// Its number, from 1.
    pub row: usize,
    /// The line of an import that it would become.
    #[schema(value_type = Option<Object>)]
    pub becomes: Option<Value>,
    /// What is wrong with it.
    pub errors: Vec<TriedError>,
}

/// What is wrong with a row.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TriedError {
    /// The column; none: the row as a whole.
    pub column: Option<String>,
    /// What is wrong.
    pub detail: String,
}

/// A source to look at. It holds the password, so it cannot be shown.
pub struct Target {
    kind: SourceKind,
    url: String,
    queries: Queries,
}

/// What is needed to look at a source.
///
/// # Errors
/// `NotFound`; `Conflict` where it is a service.
pub fn target(conn: &mut Conn, id: &SourceId) -> Result<Target> {
    let row = there(conn, id)?;
    let kind = row.kind()?;
    if kind.engine().is_none() {
        return Err(Error::Conflict(
            "a service is tested by asking it about references".to_owned(),
        ));
    }
    Ok(Target {
        kind,
        queries: row.queries()?,
        url: row.url.unwrap_or_default(),
    })
}

/// Records that somebody looked: what came back may be personal.
pub fn looked(tx: &mut Tx<'_>, id: &SourceId, ok: bool) {
    let after = serde_json::json!({"ok": ok});
    tx.record(Event::new(Action::SourceTested, "source", id.as_str()).after(after));
}

/// Looks at it. Blocking: it talks to another database.
pub fn look(target: &Target) -> Trial {
    let failed = |error: String| Trial {
        ok: false,
        error: Some(error),
        queries: Vec::new(),
    };
    let Some(engine) = target.kind.engine() else {
        return failed("a service has no queries".to_owned());
    };
    let mut queries = Vec::new();
    for kind in target.queries.kinds() {
        // A connection for each: in some databases an error ends the transaction.
        let mut reader = match engine.open(&target.url, PATIENCE) {
            Ok(reader) => reader,
            Err(error) => return failed(error),
        };
        let query = target.queries.of(kind).unwrap_or_default();
        let key = mapping::key(kind);
        let found = reader
            .count(query, key)
            .and_then(|counted| Ok((counted, reader.page(query, key, None, ROWS)?)));
        queries.push(match found {
            Err(error) => TriedQuery {
                kind,
                error: Some(error),
                total: None,
                rows: Vec::new(),
            },
            Ok((counted, rows)) => TriedQuery {
                kind,
                error: (counted.keyed < counted.rows).then(|| {
                    let nulls = counted.rows - counted.keyed;
                    format!("{nulls} rows have a null in {}", key.join(" or "))
                }),
                total: Some(counted.rows),
                rows: rows
                    .iter()
                    .enumerate()
                    .map(|(index, row)| {
                        let cells = row.iter().map(|(name, value)| (name.as_str(), value));
                        tried(index + 1, mapping::line(kind, cells))
                    })
                    .collect(),
            },
        });
    }
    let right =
        |query: &TriedQuery| query.error.is_none() && query.rows.iter().all(|row| row.errors.is_empty());
    Trial {
        ok: queries.iter().all(right),
        error: None,
        queries,
    }
}

fn tried(row: usize, line: std::result::Result<Line, Vec<mapping::Wrong>>) -> TriedRow {
    match line {
        Ok(line) => TriedRow {
            row,
            becomes: serde_json::to_value(line).ok(),
            errors: Vec::new(),
        },
        Err(errors) => TriedRow {
            row,
            becomes: None,
            errors: errors
                .into_iter()
                .map(|wrong| TriedError {
                    column: (!wrong.field.is_empty()).then_some(wrong.field),
                    detail: wrong.detail,
                })
                .collect(),
        },
    }
}
