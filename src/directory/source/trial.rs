//! A trial of a source: the first rows of each query, what they would become, the errors in each of them, and
//! how a sync would end.
//!
//! The whole source is read and compared with the same code as in a sync, once for all parts. Nothing is
//! stored.

use serde::Serialize;
use serde_json::Value;

use super::cancel::Cancel;
use super::mapping;
use super::reading::Looked;
use super::run::{self, Changes, RunError, State};
use super::sync::{self, Findings, Rehearsed};
use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::SourceId;
use crate::db::Db;
use crate::db::foreign::Limit;
use crate::directory::line::{Line, LineKind};
use crate::work::Lease;

/// The result of a trial.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SourceTrial)]
pub struct Trial {
    /// Whether the source could be read, a sync would not fail, and it would use every row.
    pub ok: bool,
    /// Why the source could not be read.
    pub error: Option<String>,
    /// What should be changed at the source, for example the rights of its database user.
    pub warnings: Vec<String>,
    /// The result of each query.
    pub queries: Vec<TriedQuery>,
    /// How a sync would end now. Null if the source cannot be read.
    pub sync: Option<TriedSync>,
}

/// How a sync would end.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TriedSync {
    /// The final state: `done`, `needs_confirmation` or `failed`.
    pub state: State,
    /// What the sync would change, and which rows it would leave out. Null if it would fail.
    pub changes: Option<Changes>,
    /// Why the sync would fail or need a confirmation.
    pub errors: Vec<RunError>,
}

/// The result of one query.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TriedQuery {
    /// The kind of the rows.
    pub kind: LineKind,
    /// The error of the database, or a problem of the query.
    pub error: Option<String>,
    /// The number of rows in all.
    pub total: Option<u64>,
    /// The first rows of the query.
    pub rows: Vec<TriedRow>,
}

/// One row of a query.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TriedRow {
    /// The number of the row, from 1.
    pub row: usize,
    /// The import line that the row would become.
    #[schema(value_type = Option<Object>)]
    pub becomes: Option<Value>,
    /// The errors in the row.
    pub errors: Vec<TriedError>,
}

/// An error in a row.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TriedError {
    /// The column. Null if the error is about the whole row.
    pub column: Option<String>,
    /// What is wrong, as a sentence.
    pub detail: String,
}

/// Records that somebody tried the source, because the rows can contain personal data.
pub fn record(tx: &mut Tx<'_>, id: &SourceId, ok: bool) {
    let after = serde_json::json!({"ok": ok});
    tx.record(Event::new(Action::SourceTested, "source", id.as_str()).after(after));
}

impl Trial {
    /// A trial of a source that could not be read.
    pub fn failed(error: String) -> Trial {
        Trial {
            ok: false,
            error: Some(error),
            warnings: Vec::new(),
            queries: Vec::new(),
            sync: None,
        }
    }
}

/// Tries a source and stores nothing. `by` is the person who asked. The source is read once, within `limit` and
/// until `cancel` is set.
///
/// # Errors
/// `NotFound` if the source does not exist or is deleted in the meantime. `Conflict` if it is a service.
/// `Unavailable` if `cancel` is set.
pub async fn run(db: &Db, id: &SourceId, by: &str, cancel: &Cancel, limit: Limit) -> Result<Trial> {
    let (now, wanted, by) = (db.clock().now(), id.clone(), by.to_owned());
    let lease = Lease::new(now, run::LEASE);
    let claimed = db
        .transaction(move |conn| run::begin_trial(conn, now, &wanted, lease, &by))
        .await?;
    let rehearsed = sync::rehearse(db, &claimed, cancel, limit).await;
    db.transaction(move |conn| run::end_trial(conn, &claimed)).await?;
    Ok(shown(rehearsed?))
}

fn shown(rehearsed: Rehearsed) -> Trial {
    let Findings {
        closed,
        warnings,
        mut looked,
    } = rehearsed.found;
    looked.sort_by_key(|looked| looked.kind.number());
    let queries: Vec<TriedQuery> = looked.into_iter().map(query).collect();
    if let Some(error) = closed {
        return Trial {
            warnings,
            queries,
            ..Trial::failed(error)
        };
    }
    let right =
        |query: &TriedQuery| query.error.is_none() && query.rows.iter().all(|row| row.errors.is_empty());
    let changes = rehearsed.changes;
    Trial {
        ok: queries.iter().all(right) && changes.as_ref().is_some_and(|changes| changes.left_out() == 0),
        error: None,
        warnings: match &changes {
            Some(changes) => changes.warnings.clone(),
            None => warnings,
        },
        queries,
        sync: Some(TriedSync {
            state: rehearsed.state,
            changes,
            errors: rehearsed.errors,
        }),
    }
}

fn query(looked: Looked) -> TriedQuery {
    TriedQuery {
        kind: looked.kind,
        error: looked.error,
        total: looked.total,
        rows: looked
            .rows
            .into_iter()
            .enumerate()
            .map(|(index, line)| tried(index + 1, line))
            .collect(),
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
