//! A trial of a source: the first rows of each query, what they would become, the errors in each of them, and
//! how a sync would end.
//!
//! For the last part, the whole source is read and compared with the same code as in a sync. Nothing is
//! stored.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::run::{self, Changes, RunError, State};
use super::{Queries, SourceKind, mapping, sync, there};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::{SourceId, new_uuid};
use crate::db::{Conn, Db};
use crate::directory::line::{Line, LineKind};

/// The number of rows of each query that are shown.
const ROWS: usize = 10;
/// The time limit of one statement.
const PATIENCE: Duration = Duration::from_secs(20);

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
    /// The first rows.
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
    /// What is wrong.
    pub detail: String,
}

/// A source to try. It contains the password, so it does not implement `Debug`.
struct Target {
    kind: SourceKind,
    url: String,
    queries: Queries,
}

/// Reads what is needed to try a source.
///
/// # Errors
/// `NotFound` if the source does not exist. `Conflict` if it is a service.
fn target(conn: &mut Conn, id: &SourceId) -> Result<Target> {
    let row = there(conn, id)?;
    let kind = row.kind()?;
    if kind.engine().is_none() {
        return Err(Error::Conflict(
            "a test of a source of the kind http needs references to ask about".to_owned(),
        ));
    }
    Ok(Target {
        kind,
        queries: row.queries()?,
        url: row.url.unwrap_or_default(),
    })
}

/// Records that somebody tried the source, because the rows can contain personal data.
pub fn looked(tx: &mut Tx<'_>, id: &SourceId, ok: bool) {
    let after = serde_json::json!({"ok": ok});
    tx.record(Event::new(Action::SourceTested, "source", id.as_str()).after(after));
}

/// Tries a source and stores nothing. `by` is the person who asked.
///
/// # Errors
/// `NotFound` if the source does not exist. `Conflict` if it is a service.
pub async fn run(db: &Db, id: &SourceId, by: &str) -> Result<Trial> {
    let wanted = id.clone();
    let target = db.read(move |conn| target(conn, &wanted)).await?;
    let mut trial = tokio::task::spawn_blocking(move || look(&target))
        .await
        .map_err(Error::internal)?;
    if trial.error.is_some() {
        return Ok(trial);
    }
    let (now, wanted, by) = (db.clock().now(), id.clone(), by.to_owned());
    let lease = new_uuid(now).simple().to_string();
    let claimed = db
        .transaction(move |conn| run::begin_trial(conn, now, &wanted, lease, &by))
        .await?;
    let rehearsed = sync::rehearse(db, &claimed).await;
    db.transaction(move |conn| run::end_trial(conn, &claimed)).await?;
    let rehearsed = rehearsed?;
    if let Some(changes) = &rehearsed.changes {
        trial.warnings.clone_from(&changes.warnings);
    }
    trial.ok &= rehearsed
        .changes
        .as_ref()
        .is_some_and(|changes| changes.left_out() == 0);
    trial.sync = Some(TriedSync {
        state: rehearsed.state,
        changes: rehearsed.changes,
        errors: rehearsed.errors,
    });
    Ok(trial)
}

/// Reads the first rows. This blocks, because it uses another database.
fn look(target: &Target) -> Trial {
    let failed = |error: String| Trial {
        ok: false,
        error: Some(error),
        warnings: Vec::new(),
        queries: Vec::new(),
        sync: None,
    };
    let Some(engine) = target.kind.engine() else {
        return failed("a service has no queries".to_owned());
    };
    let mut queries = Vec::new();
    let mut warnings = Vec::new();
    for kind in target.queries.kinds() {
        // Each query gets its own connection, because in some databases an error ends the transaction.
        let mut reader = match engine.open(&target.url, PATIENCE) {
            Ok(reader) => reader,
            Err(error) => return failed(error),
        };
        warnings = reader.warnings();
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
            Ok((counted, page)) => TriedQuery {
                kind,
                error: (counted.keyed < counted.rows).then(|| {
                    let nulls = counted.rows - counted.keyed;
                    format!("{nulls} rows have a null in {}", key.join(" or "))
                }),
                total: Some(counted.rows),
                rows: page
                    .rows
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
        warnings,
        queries,
        sync: None,
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
