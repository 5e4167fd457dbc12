//! The staging table of a run: the rows that it has read, in an order in which parents come first. They are
//! compared with the directory in batches.
//!
//! The rows are never in memory as a whole, and no row is used twice.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::current;
use super::key::{NO_KEY, words};
pub(super) use super::left_out::{LeftOut, Why, leave_out};
use super::references::{self, About};
use super::run::{Changes, Example};
use crate::base::error::{Error, Result};
use crate::base::id::RunId;
use crate::db::schema::directory_staged as ds;
use crate::db::{Conn, dialect};
use crate::directory::erased::{self, Erased};
use crate::directory::line::{self, Line, LineKind};

/// The number of rows in one step.
pub(super) const STEP: usize = 500;
/// The largest depth of resources.
const DEEPEST: i64 = 1_000;
/// The number of examples of each kind of change.
const EXAMPLES: usize = 20;

/// A row to stage.
pub(super) struct NewRow {
    pub kind: LineKind,
    pub key: String,
    pub parent: Option<String>,
    /// The number of the row among all rows of the run.
    pub seq: u64,
    /// The import line. Empty if the row is left out.
    pub line: String,
    pub left_out: Option<LeftOut>,
}

impl NewRow {
    pub fn of(line: &Line, seq: u64) -> Self {
        NewRow {
            kind: line.kind(),
            key: line.key(),
            parent: line.parent_key(),
            seq,
            line: line.to_json(),
            left_out: None,
        }
    }

    /// Creates a row that cannot be used. If its key can be read, the directory entry with that key does not
    /// change.
    pub fn left_out(kind: LineKind, key: Option<Vec<String>>, seq: u64, why: LeftOut) -> Self {
        NewRow {
            kind,
            key: match &key {
                Some(words) => line::key(&words.iter().map(String::as_str).collect::<Vec<_>>()),
                None => format!("#{seq}"),
            },
            parent: None,
            seq,
            line: String::new(),
            left_out: Some(why),
        }
    }

    /// Creates one row for all rows of a kind that have no key.
    pub fn without_key(kind: LineKind, seq: u64, rows: u64) -> Self {
        let why = LeftOut {
            rows,
            ..LeftOut::new(
                Why::Wrong,
                format!(
                    "{rows} rows have a null in {}",
                    super::mapping::key(kind).join(" or ")
                ),
            )
        };
        NewRow {
            key: NO_KEY.to_owned(),
            ..Self::left_out(kind, None, seq, why)
        }
    }
}

impl NewRow {
    /// Leaves the row out if it is about a person who was erased.
    fn leave_out_erased(&mut self, erased: &Erased) {
        let is_out = match line::parse(self.line.as_bytes()) {
            Ok(Line::Person(person)) => {
                let (id, input) = person.split();
                erased.blocks_person(id.as_str()) || erased.blocks_address(&input.email)
            }
            Ok(Line::Member(member)) => erased.blocks_person(member.person.as_str()),
            Ok(Line::Collaborator(collaborator)) => erased.blocks_person(collaborator.person.as_str()),
            Ok(Line::Account(_) | Line::Resource(_)) | Err(_) => false,
        };
        if is_out {
            self.key = format!("#{}", self.seq);
            self.parent = None;
            self.line = String::new();
            self.left_out = Some(LeftOut::new(Why::Erased, erased::LEFT_OUT));
        }
    }
}

/// Stages rows. If several rows have the same key, none of them is used, because it is not known which one is
/// right.
/// A row about a person who was erased is left out, and nothing of it is stored.
pub(super) fn insert(conn: &mut Conn, run: &RunId, rows: &mut [NewRow]) -> Result<()> {
    if let Some(erased) = Erased::load(conn)? {
        rows.iter_mut().for_each(|row| row.leave_out_erased(&erased));
    }
    for chunk in rows.chunks(STEP) {
        let rows: Vec<&NewRow> = chunk.iter().collect();
        if store(conn, run, &rows)? != chunk.len() {
            twice(conn, run, chunk)?;
        }
    }
    Ok(())
}

fn store(conn: &mut Conn, run: &RunId, rows: &[&NewRow]) -> Result<usize> {
    let reasons: Vec<Option<String>> = rows
        .iter()
        .map(|row| row.left_out.as_ref().map(LeftOut::to_json).transpose())
        .collect::<Result<_>>()?;
    dialect::stage(
        conn,
        run.as_str(),
        rows.iter().zip(&reasons).map(|(row, reason)| dialect::StagedRow {
            kind: row.kind.number(),
            key: &row.key,
            parent: row.parent.as_deref(),
            seq: row.seq as i64,
            line: &row.line,
            left_out: row.left_out.as_ref().map(|left_out| left_out.why.as_str()),
            reason: reason.as_deref(),
        }),
    )
}

/// Leaves out the rows of a chunk whose keys were staged already, and the rows that were staged with these
/// keys.
fn twice(conn: &mut Conn, run: &RunId, chunk: &[NewRow]) -> Result<()> {
    let Some(kind) = chunk.first().map(|row| row.kind) else {
        return Ok(());
    };
    let keys: Vec<&str> = chunk.iter().map(|row| row.key.as_str()).collect();
    let staged: HashMap<String, i64> = ds::table
        .filter(ds::run_id.eq(run.as_str()))
        .filter(ds::kind.eq(kind.number()))
        .filter(ds::key.eq_any(keys))
        .select((ds::key, ds::seq))
        .load::<(String, i64)>(conn)?
        .into_iter()
        .collect();
    let mut again = Vec::new();
    let mut first = Vec::new();
    for row in chunk {
        if staged.get(&row.key).is_none_or(|seq| *seq == row.seq as i64) {
            continue;
        }
        let why = LeftOut {
            key: Some(words(&row.key)),
            ..LeftOut::new(Why::Wrong, "is returned twice by the query")
        };
        first.push((row.key.clone(), why.clone()));
        again.push(NewRow::left_out(kind, None, row.seq, why));
    }
    first.dedup_by(|a, b| a.0 == b.0);
    for (key, why) in &first {
        leave_out(conn, run, kind, key, why)?;
    }
    store(conn, run, &again.iter().collect::<Vec<_>>())?;
    Ok(())
}

/// Computes the depth of each resource among those of the run. Resources whose parents form a cycle are left
/// out.
pub(super) fn level(conn: &mut Conn, run: &RunId) -> Result<()> {
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
    let why = LeftOut {
        column: Some("parent_id".to_owned()),
        ..LeftOut::new(
            Why::Wrong,
            "its parent is itself, or is part of it, or leads to such a resource: parents must not form a cycle",
        )
    };
    diesel::update(
        ds::table
            .filter(ds::run_id.eq(run.as_str()))
            .filter(ds::level.is_null())
            .filter(ds::left_out.is_null()),
    )
    .set((
        ds::left_out.eq(Some(why.why.as_str())),
        ds::reason.eq(Some(why.to_json()?)),
    ))
    .execute(conn)?;
    Ok(())
}

/// Compares the next rows of a kind and level with the directory, and stores what each of them changes or why
/// it is left out. Returns the key from which the next step continues, and the number of rows. None if there
/// are no more rows.
pub(super) fn compare(
    conn: &mut Conn,
    about: &About<'_>,
    kind: LineKind,
    level: i64,
    after: &str,
    changes: &mut Changes,
) -> Result<Option<(String, usize)>> {
    let run = about.run;
    let rows: Vec<(String, String)> = ds::table
        .filter(ds::run_id.eq(run.as_str()))
        .filter(ds::kind.eq(kind.number()))
        .filter(ds::level.eq(level))
        .filter(ds::left_out.is_null())
        .filter(ds::key.gt(after))
        .order(ds::key)
        .limit(STEP as i64)
        .select((ds::key, ds::line))
        .load(conn)?;
    let Some(last) = rows.last().map(|(key, _)| key.clone()) else {
        return Ok(None);
    };
    let count = rows.len();
    let mut staged: Vec<(String, Line)> = rows
        .into_iter()
        .map(|(key, json)| Ok((key, parsed(&json)?)))
        .collect::<Result<_>>()?;
    let left_out = references::judge(conn, about, &staged)?;
    for (key, why) in &left_out {
        leave_out(conn, run, kind, key, why)?;
    }
    staged.retain(|(key, _)| !left_out.contains_key(key));
    let lines: Vec<&Line> = staged.iter().map(|(_, line)| line).collect();
    let there = current::lines(conn, kind, &lines)?;
    let (mut added, mut changed) = (Vec::new(), Vec::new());
    for (key, line) in &staged {
        match there.get(key) {
            None => added.push(key.as_str()),
            Some(old) if *old != line.to_json() => changed.push(key.as_str()),
            Some(_) => changes.kind_mut(kind).unchanged += 1,
        }
    }
    changes.kind_mut(kind).added += added.len() as u64;
    changes.kind_mut(kind).changed += changed.len() as u64;
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

/// Adds a few of the changes to the examples.
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

/// Deletes the results of a comparison, so that it can be repeated. A row with wrong values stays left out, and so does a row about
/// a person who was erased, because nothing of it is stored that could be compared.
pub(super) fn forget_comparison(conn: &mut Conn, run: &RunId) -> Result<()> {
    diesel::update(
        ds::table
            .filter(ds::run_id.eq(run.as_str()))
            .filter(ds::left_out.ne(Why::Wrong.as_str()))
            .filter(ds::left_out.ne(Why::Erased.as_str())),
    )
    .set((ds::left_out.eq(None::<String>), ds::reason.eq(None::<String>)))
    .execute(conn)?;
    diesel::update(
        ds::table
            .filter(ds::run_id.eq(run.as_str()))
            .filter(ds::change.is_not_null()),
    )
    .set(ds::change.eq(None::<String>))
    .execute(conn)?;
    Ok(())
}

/// Returns the number of rows that the run has read.
pub(super) fn count(conn: &mut Conn, run: &RunId) -> Result<u64> {
    let rows: i64 = ds::table
        .filter(ds::run_id.eq(run.as_str()))
        .count()
        .get_result(conn)?;
    Ok(rows.unsigned_abs())
}

/// Returns the depth of the deepest resource of the run.
pub(super) fn deepest(conn: &mut Conn, run: &RunId) -> Result<i64> {
    let deepest: Option<i64> = ds::table
        .filter(ds::run_id.eq(run.as_str()))
        .filter(ds::kind.eq(LineKind::Resource.number()))
        .select(diesel::dsl::max(ds::level))
        .first(conn)?;
    Ok(deepest.unwrap_or_default())
}

/// Returns the next rows of a kind and level that change something: key, number and line.
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

fn parsed(json: &str) -> Result<Line> {
    line::parse(json.as_bytes()).map_err(Error::internal)
}
