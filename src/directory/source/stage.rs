//! What a run has read: rows in a table of their own, put in an order in which parents come first, and compared with the
//! directory a batch at a time.
//!
//! Must never happen here: all rows in memory, or a row that is there twice.

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::current;
use super::run::{Changes, Example, RunError};
use crate::base::error::{Error, Result};
use crate::base::id::RunId;
use crate::db::Conn;
use crate::db::dialect;
use crate::db::schema::directory_staged as ds;
use crate::directory::line::{self, Line, LineKind};

/// Rows of one step.
pub(super) const STEP: usize = 500;
/// Resources one below the other at most.
const DEEPEST: i64 = 1_000;
/// Examples of each kind of change that are kept.
const EXAMPLES: usize = 20;

/// A row to stage.
pub(super) struct NewRow {
    pub kind: LineKind,
    pub key: String,
    pub parent: Option<String>,
    /// Its place among all rows of the run.
    pub seq: u64,
    pub line: String,
}

impl NewRow {
    pub fn of(line: &Line, seq: u64) -> Self {
        NewRow {
            kind: line.kind(),
            key: line.key(),
            parent: line.parent_key(),
            seq,
            line: line.to_json(),
        }
    }
}

/// The words of a key.
pub(super) fn words(key: &str) -> Vec<String> {
    serde_json::from_str(key).unwrap_or_default()
}

/// Stages rows. Answers what is wrong: a row that was there already.
pub(super) fn insert(conn: &mut Conn, run: &RunId, rows: &[NewRow]) -> Result<Option<RunError>> {
    for chunk in rows.chunks(STEP) {
        let stored = dialect::stage(
            conn,
            run.as_str(),
            chunk.iter().map(|row| dialect::StagedRow {
                kind: row.kind.number(),
                key: &row.key,
                parent: row.parent.as_deref(),
                seq: row.seq as i64,
                line: &row.line,
            }),
        )?;
        if stored != chunk.len() {
            // Which one it is, is found only now: it happens once.
            let mut seen = std::collections::HashSet::new();
            let again = chunk.iter().find(|row| !seen.insert(&row.key));
            return Ok(Some(RunError {
                kind: chunk.first().map(|row| row.kind),
                key: again.map(|row| words(&row.key)),
                row: None,
                column: None,
                detail: "is brought twice by the query".to_owned(),
            }));
        }
    }
    Ok(None)
}

/// Finds how deep each resource is among those of the run. Answers those that are above themselves.
pub(super) fn level(conn: &mut Conn, run: &RunId) -> Result<Vec<RunError>> {
    let kind = LineKind::Resource.number();
    diesel::sql_query(format!(
        "UPDATE directory_staged SET level = 0 WHERE run_id = $1 AND kind = {kind} AND level IS NULL AND NOT EXISTS ( \
             SELECT 1 FROM directory_staged p WHERE p.run_id = $2 AND p.kind = {kind} AND p.key = directory_staged.parent)"
    ))
    .bind::<Text, _>(run.as_str())
    .bind::<Text, _>(run.as_str())
    .execute(conn)?;
    for depth in 0..DEEPEST {
        let found = diesel::sql_query(format!(
            "UPDATE directory_staged SET level = {} WHERE run_id = $1 AND kind = {kind} AND level IS NULL AND parent IN ( \
                 SELECT p.key FROM directory_staged p WHERE p.run_id = $2 AND p.kind = {kind} AND p.level = {depth})",
            depth + 1
        ))
        .bind::<Text, _>(run.as_str())
        .bind::<Text, _>(run.as_str())
        .execute(conn)?;
        if found == 0 {
            break;
        }
    }
    let circular: Vec<String> = ds::table
        .filter(ds::run_id.eq(run.as_str()))
        .filter(ds::level.is_null())
        .order(ds::key)
        .limit(EXAMPLES as i64)
        .select(ds::key)
        .load(conn)?;
    Ok(circular
        .iter()
        .map(|key| RunError {
            kind: Some(LineKind::Resource),
            key: Some(words(key)),
            row: None,
            column: Some("parent_id".to_owned()),
            detail: "its parent is itself or below it, or below one that is: parents must not form a cycle"
                .to_owned(),
        })
        .collect())
}

/// Compares the next rows of a kind with the directory and notes what each of them changes. Answers the key from which the
/// next step goes on, and how many rows these were. None: there are no more.
pub(super) fn compare(
    conn: &mut Conn,
    run: &RunId,
    kind: LineKind,
    after: &str,
    changes: &mut Changes,
) -> Result<Option<(String, usize)>> {
    let rows: Vec<(String, String)> = ds::table
        .filter(ds::run_id.eq(run.as_str()))
        .filter(ds::kind.eq(kind.number()))
        .filter(ds::key.gt(after))
        .order(ds::key)
        .limit(STEP as i64)
        .select((ds::key, ds::line))
        .load(conn)?;
    let count = rows.len();
    let Some(last) = rows.last().map(|(key, _)| key.clone()) else {
        return Ok(None);
    };
    let staged: Vec<(String, Line)> = rows
        .into_iter()
        .map(|(key, json)| Ok((key, parsed(&json)?)))
        .collect::<Result<_>>()?;
    let lines: Vec<&Line> = staged.iter().map(|(_, line)| line).collect();
    let there = current::lines(conn, kind, &lines)?;
    let (mut added, mut changed) = (Vec::new(), Vec::new());
    for (key, line) in &staged {
        match there.get(key) {
            None => added.push(key.as_str()),
            Some(old) if *old != line.to_json() => changed.push(key.as_str()),
            Some(_) => changes.of(kind).unchanged += 1,
        }
    }
    changes.of(kind).added += added.len() as u64;
    changes.of(kind).changed += changed.len() as u64;
    for (word, keys) in [("added", added), ("changed", changed)] {
        if keys.is_empty() {
            continue;
        }
        diesel::update(
            ds::table
                .filter(ds::run_id.eq(run.as_str()))
                .filter(ds::kind.eq(kind.number()))
                .filter(ds::key.eq_any(&keys)),
        )
        .set(ds::change.eq(Some(word)))
        .execute(conn)?;
        examples(changes, kind, word, keys.into_iter());
    }
    Ok(Some((last, count)))
}

/// Keeps a few of the changes to be shown.
pub(super) fn examples<'a>(
    changes: &mut Changes,
    kind: LineKind,
    word: &str,
    keys: impl Iterator<Item = &'a str>,
) {
    let held = changes
        .examples
        .iter()
        .filter(|example| example.kind == kind && example.change == word)
        .count();
    changes
        .examples
        .extend(keys.take(EXAMPLES.saturating_sub(held)).map(|key| Example {
            kind,
            change: word.to_owned(),
            key: words(key),
        }));
}

/// Forgets what a comparison noted, so that it can be made again.
pub(super) fn forget_comparison(conn: &mut Conn, run: &RunId) -> Result<()> {
    diesel::update(
        ds::table
            .filter(ds::run_id.eq(run.as_str()))
            .filter(ds::change.is_not_null()),
    )
    .set(ds::change.eq(None::<String>))
    .execute(conn)?;
    Ok(())
}

/// How many rows the run has read.
pub(super) fn count(conn: &mut Conn, run: &RunId) -> Result<u64> {
    let rows: i64 = ds::table
        .filter(ds::run_id.eq(run.as_str()))
        .count()
        .get_result(conn)?;
    Ok(rows.unsigned_abs())
}

/// How deep the deepest resource of the run is.
pub(super) fn deepest(conn: &mut Conn, run: &RunId) -> Result<i64> {
    let deepest: Option<i64> = ds::table
        .filter(ds::run_id.eq(run.as_str()))
        .filter(ds::kind.eq(LineKind::Resource.number()))
        .select(diesel::dsl::max(ds::level))
        .first(conn)?;
    Ok(deepest.unwrap_or_default())
}

/// The next rows of a kind and level that change something: key, place and line.
pub(super) fn changed(
    conn: &mut Conn,
    run: &RunId,
    kind: LineKind,
    level: i64,
    after: &str,
) -> Result<Vec<(String, u64, Line)>> {
    let rows: Vec<(String, i64, String)> = ds::table
        .filter(ds::run_id.eq(run.as_str()))
        .filter(ds::change.is_not_null())
        .filter(ds::kind.eq(kind.number()))
        .filter(ds::level.eq(level))
        .filter(ds::key.gt(after))
        .order(ds::key)
        .limit(STEP as i64)
        .select((ds::key, ds::seq, ds::line))
        .load(conn)?;
    rows.into_iter()
        .map(|(key, seq, json)| Ok((key, seq.unsigned_abs(), parsed(&json)?)))
        .collect()
}

/// What stands at these places of the run.
pub(super) fn at(conn: &mut Conn, run: &RunId, seqs: &[u64]) -> Result<Vec<(u64, LineKind, Vec<String>)>> {
    let seqs: Vec<i64> = seqs.iter().map(|seq| *seq as i64).collect();
    let rows: Vec<(i64, i64, String)> = ds::table
        .filter(ds::run_id.eq(run.as_str()))
        .filter(ds::seq.eq_any(&seqs))
        .select((ds::seq, ds::kind, ds::key))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .filter_map(|(seq, kind, key)| Some((seq.unsigned_abs(), LineKind::of_number(kind)?, words(&key))))
        .collect())
}

fn parsed(json: &str) -> Result<Line> {
    line::parse(json.as_bytes()).map_err(Error::internal)
}
