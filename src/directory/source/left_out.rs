//! The rows of a run that are left out: the reason for each of them, how many there are, and when they are
//! too many.
//!
//! The directory entry with the key of such a row does not change. It is not archived either, because the
//! source still has the row.
//!
//! A reason never contains a value of a row.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::run::{Changes, RunError};
use crate::base::error::{Error, Result};
use crate::base::id::RunId;
use crate::db::Conn;
use crate::db::schema::directory_staged as ds;
use crate::directory::line::LineKind;

/// The number of rows that are shown.
const SHOWN: usize = 100;
/// The number of rows of a kind that may be left out whatever the share is, unless the share is 0.
const FEW: u64 = 2;

/// Why a row is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A value of the row cannot be used.
    Wrong,
    /// The row refers to an entry that the directory does not have, of a kind that the source has no query for.
    Unknown,
    /// The row refers to an entry that the source does not bring, although it has a query for its kind: another
    /// query has a filter that this one lacks. The reason is the same whether the entry was brought before or not,
    /// so that the first sync ends in the same way as the next ones.
    NotBrought,
    /// The row refers to an archived entry of a kind that the source has no query for.
    Archived,
    /// The row refers to a row that is left out.
    Follows,
    /// The row is about a person who was erased and is not allowed again.
    Erased,
}

impl Why {
    /// Returns the reason as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Wrong => "wrong",
            Why::Unknown => "unknown",
            Why::NotBrought => "not_brought",
            Why::Archived => "archived",
            Why::Follows => "follows",
            Why::Erased => "erased",
        }
    }
}

/// The reasons that count towards the share. The others follow from something else: a filter in the query of
/// the accounts, or a row that counts itself.
const COUNTED: [&str; 2] = ["wrong", "unknown"];
/// The number of rows of a kind from which it is an error if all of them are left out, whatever the reasons are.
/// Fewer rows may belong to one filtered account.
const ALL: u64 = 10;

/// Why a row is left out, with details.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LeftOut {
    #[serde(skip, default = "wrong")]
    pub why: Why,
    /// The key of the row, if it is staged under another key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Vec<String>>,
    /// The number of the row in its query, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// The name of the wrong column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What is wrong with the row, as a sentence.
    pub detail: String,
    /// The number of rows of the source that this entry stands for.
    pub rows: u64,
}

fn wrong() -> Why {
    Why::Wrong
}

impl LeftOut {
    pub fn new(why: Why, detail: impl Into<String>) -> Self {
        LeftOut {
            why,
            key: None,
            row: None,
            column: None,
            detail: detail.into(),
            rows: 1,
        }
    }

    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

/// Leaves out a staged row.
pub(super) fn leave_out(
    conn: &mut Conn,
    run: &RunId,
    kind: LineKind,
    key: &str,
    why: &LeftOut,
) -> Result<()> {
    diesel::update(ds::table.find((run.as_str(), kind.number(), key)))
        .set((
            ds::left_out.eq(Some(why.why.as_str())),
            ds::reason.eq(Some(why.to_json()?)),
        ))
        .execute(conn)?;
    Ok(())
}

/// Leaves out the row with this number in the run. Returns whether the row existed and was in use.
pub(super) fn leave_out_at(conn: &mut Conn, run: &RunId, seq: u64, detail: &str) -> Result<bool> {
    let why = LeftOut::new(Why::Wrong, detail);
    let found = diesel::update(
        ds::table
            .filter(ds::run_id.eq(run.as_str()))
            .filter(ds::seq.eq(seq as i64))
            .filter(ds::left_out.is_null()),
    )
    .set((
        ds::left_out.eq(Some(why.why.as_str())),
        ds::reason.eq(Some(why.to_json()?)),
    ))
    .execute(conn)?;
    Ok(found > 0)
}

/// Counts the rows that are left out, and adds some of them to `changes`. Rows with wrong values come first.
pub(super) fn count(conn: &mut Conn, run: &RunId, kinds: &[LineKind], changes: &mut Changes) -> Result<()> {
    for kind in kinds {
        let rows: i64 = ds::table
            .filter(ds::run_id.eq(run.as_str()))
            .filter(ds::kind.eq(kind.number()))
            .filter(ds::left_out.is_not_null())
            .count()
            .get_result(conn)?;
        changes.kind_mut(*kind).left_out = rows.unsigned_abs() + more_without_key(conn, run, *kind)?;
    }
    changes.left_out.clear();
    for counted in [true, false] {
        let mut query = ds::table
            .filter(ds::run_id.eq(run.as_str()))
            .into_boxed::<crate::db::Backend>();
        query = if counted {
            query.filter(ds::left_out.eq_any(COUNTED))
        } else {
            query.filter(ds::left_out.ne_all(COUNTED))
        };
        let room = SHOWN.saturating_sub(changes.left_out.len());
        let found: Vec<(i64, String, Option<String>)> = query
            .order(ds::seq)
            .limit(room as i64)
            .select((ds::kind, ds::key, ds::reason))
            .load(conn)?;
        for (kind, key, reason) in found {
            changes.left_out.push(shown(kind, &key, reason.as_deref())?);
        }
    }
    Ok(())
}

fn shown(kind: i64, key: &str, reason: Option<&str>) -> Result<RunError> {
    let reason: LeftOut = serde_json::from_str(reason.unwrap_or_default()).map_err(Error::internal)?;
    let words = reason.key.unwrap_or_else(|| super::key::words(key));
    Ok(RunError {
        kind: LineKind::of_number(kind),
        key: (!words.is_empty()).then_some(words),
        row: reason.row,
        column: reason.column,
        detail: reason.detail,
    })
}

/// Returns how many more rows without a key there are than entries, because all of them are staged as one.
fn more_without_key(conn: &mut Conn, run: &RunId, kind: LineKind) -> Result<u64> {
    let reason: Option<Option<String>> = ds::table
        .find((run.as_str(), kind.number(), super::key::NO_KEY))
        .select(ds::reason)
        .first(conn)
        .optional()?;
    let Some(reason) = reason.flatten() else {
        return Ok(0);
    };
    let reason: LeftOut = serde_json::from_str(&reason)?;
    Ok(reason.rows.saturating_sub(1))
}

/// Returns why the run must stop because too many rows cannot be used: all rows of a kind, or more than the
/// allowed share of a kind.
pub(super) fn too_many(
    conn: &mut Conn,
    run: &RunId,
    kinds: &[LineKind],
    percent: u64,
) -> Result<Vec<RunError>> {
    let mut stops = Vec::new();
    for kind in kinds {
        let of_kind = || {
            ds::table
                .filter(ds::run_id.eq(run.as_str()))
                .filter(ds::kind.eq(kind.number()))
        };
        let more = more_without_key(conn, run, *kind)?;
        let all: i64 = of_kind().count().get_result(conn)?;
        let bad: i64 = of_kind()
            .filter(ds::left_out.eq_any(COUNTED))
            .count()
            .get_result(conn)?;
        let left_out: i64 = of_kind()
            .filter(ds::left_out.is_not_null())
            .count()
            .get_result(conn)?;
        let (all, bad, left_out) = (
            all.unsigned_abs() + more,
            bad.unsigned_abs() + more,
            left_out.unsigned_abs() + more,
        );
        let few = if percent == 0 { 0 } else { FEW };
        if (bad > 0 && bad == all) || (left_out == all && all >= ALL) {
            stops.push(RunError::of(
                *kind,
                format!(
                    "none of the {all} {} can be used, so nothing is stored",
                    kind.plural()
                ),
            ));
        } else if bad > few && bad * 100 > all * percent {
            stops.push(RunError::of(
                *kind,
                format!(
                    "{bad} of {all} {} cannot be used. This is more than max_left_out_percent ({percent} %), so \
                    nothing is stored",
                    kind.plural()
                ),
            ));
        }
    }
    Ok(stops)
}
