//! The listings of a comparison. An upload gets a listing of its own, whose rows are stored in many short transactions.
//! Only the last transaction makes it a listing of the comparison, so that an upload that fails changes nothing.
//!
//! Of several uploads of one side at the same time, the one that began last counts. The others fail.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary};
use serde::{Deserialize, Serialize};

use super::side::Side;
use super::sorted::Block;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::ComparisonId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::many::insert_many;
use crate::db::schema::{comparison_blocks as cb, comparison_listings as cl};

/// An upload that did nothing for this long belongs to a process that has ended.
pub const ABANDONED: Duration = Duration::from_secs(600);
/// How long the rows of a listing are kept after it was last used.
pub const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The number of blocks that one statement writes.
const STEP: usize = 32;

/// An uploaded listing of one side of a comparison, without its rows.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = ComparisonListing)]
pub struct Listing {
    /// The number of rows.
    pub rows: i64,
    /// The number of lines that could not be read.
    pub rejected: i64,
    /// The first hundred of these lines, each with the reason.
    pub errors: Vec<Line>,
    /// The size as it was sent, in bytes.
    pub bytes: i64,
    /// The SHA-256 hash of what was sent, in hexadecimal digits.
    pub sha256: String,
    /// When what the listing says was observed.
    pub observed_at: Timestamp,
    /// When it was uploaded.
    pub uploaded_at: Timestamp,
    /// The name of the caller who uploaded the listing.
    pub uploaded_by: String,
    /// Whether its rows are still stored. They are deleted 30 days after the last run; the listing must then be uploaded
    /// again before the next run.
    pub stored: bool,
    #[serde(skip)]
    pub(super) id: i64,
    #[serde(skip)]
    pub(super) sorted_runs: i64,
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = RejectedLine)]
pub struct Line {
    /// The number of the line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub detail: String,
}

impl From<Line> for FieldError {
    fn from(line: Line) -> FieldError {
        FieldError::on_line(line.line, line.detail)
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = cl)]
struct ListingRow {
    id: i64,
    state: String,
    staged: bool,
    row_count: i64,
    rejected: i64,
    errors: String,
    bytes: i64,
    sha256: Option<String>,
    sorted_runs: i64,
    uploaded_by: String,
    observed_at: Timestamp,
    began_at: Timestamp,
    completed_at: Option<Timestamp>,
}

/// Returns a complete listing.
pub(super) fn get(conn: &mut Conn, id: i64) -> Result<Listing> {
    let row: ListingRow = cl::table.find(id).select(ListingRow::as_select()).first(conn)?;
    Ok(Listing {
        rows: row.row_count,
        rejected: row.rejected,
        errors: serde_json::from_str(&row.errors)?,
        bytes: row.bytes,
        sha256: row.sha256.unwrap_or_default(),
        observed_at: row.observed_at,
        uploaded_at: row.completed_at.unwrap_or(row.began_at),
        uploaded_by: row.uploaded_by,
        stored: row.staged && row.state == "ready",
        id: row.id,
        sorted_runs: row.sorted_runs,
    })
}

/// Begins an upload, and ends any other one of the same side. Returns the number of the listing.
pub(super) fn begin(
    conn: &mut Conn,
    comparison: &ComparisonId,
    side: Side,
    (by, now, observed_at): (&str, Timestamp, Timestamp),
) -> Result<i64> {
    diesel::update(
        cl::table
            .filter(cl::comparison_id.eq(comparison.as_str()))
            .filter(cl::side.eq(side.as_str()))
            .filter(cl::state.eq("uploading")),
    )
    .set(cl::state.eq("failed"))
    .execute(conn)?;
    Ok(diesel::insert_into(cl::table)
        .values((
            cl::comparison_id.eq(comparison.as_str()),
            cl::side.eq(side.as_str()),
            cl::state.eq("uploading"),
            cl::staged.eq(true),
            cl::row_count.eq(0_i64),
            cl::rejected.eq(0_i64),
            cl::errors.eq("[]"),
            cl::bytes.eq(0_i64),
            cl::sorted_runs.eq(0_i64),
            cl::uploaded_by.eq(by),
            cl::observed_at.eq(observed_at),
            cl::began_at.eq(now),
            cl::touched_at.eq(now),
        ))
        .returning(cl::id)
        .get_result(conn)?)
}

/// Says that an upload goes on.
///
/// # Errors
/// `Conflict` if another upload of this side has begun, or if the comparison was discarded.
pub(super) fn touch(conn: &mut Conn, id: i64, now: Timestamp) -> Result<()> {
    let held = diesel::update(cl::table.find(id).filter(cl::state.eq("uploading")))
        .set(cl::touched_at.eq(now))
        .execute(conn)?;
    match held {
        0 => Err(Error::Conflict(
            "another upload of this listing has begun, or the comparison was discarded; nothing of this upload is stored"
                .to_owned(),
        )
        .code(Code::UploadReplaced)),
        _ => Ok(()),
    }
}

#[derive(Insertable)]
#[diesel(table_name = cb)]
#[diesel(treat_none_as_default_value = false)]
struct BlockRow {
    listing_id: i64,
    sorted_run: i64,
    seq: i64,
    last_key: Vec<u8>,
    content: Vec<u8>,
}

/// Stores a sorted run of an upload.
///
/// # Errors
/// The same errors as [`touch`].
pub(super) fn store(
    conn: &mut Conn,
    listing: i64,
    sorted_run: i64,
    blocks: Vec<Block>,
    now: Timestamp,
) -> Result<()> {
    touch(conn, listing, now)?;
    let mut blocks = blocks.into_iter().zip(0..).map(|(block, seq)| BlockRow {
        listing_id: listing,
        sorted_run,
        seq,
        last_key: block.last_key,
        content: block.content,
    });
    loop {
        let rows: Vec<BlockRow> = blocks.by_ref().take(STEP).collect();
        if rows.is_empty() {
            return Ok(());
        }
        insert_many!(conn, cb::table, "comparison_blocks", rows.as_slice(), {
            listing_id: BigInt = |row| row.listing_id,
            sorted_run: BigInt = |row| row.sorted_run,
            seq: BigInt = |row| row.seq,
            last_key: Binary = |row| row.last_key.as_slice(),
            content: Binary = |row| row.content.as_slice(),
        });
    }
}

/// What an upload has read.
#[derive(Clone, Debug, Default)]
pub(super) struct Read {
    pub rows: i64,
    pub rejected: i64,
    pub errors: Vec<Line>,
    pub bytes: i64,
    pub sha256: String,
    pub sorted_runs: i64,
}

/// Makes an upload complete. `before` is the listing that it replaces.
///
/// # Errors
/// The same errors as [`touch`].
pub(super) fn complete(
    conn: &mut Conn,
    id: i64,
    read: &Read,
    before: Option<i64>,
    now: Timestamp,
) -> Result<()> {
    touch(conn, id, now)?;
    if let Some(before) = before {
        set_state(conn, before, "replaced")?;
    }
    diesel::update(cl::table.find(id))
        .set((
            cl::state.eq("ready"),
            cl::row_count.eq(read.rows),
            cl::rejected.eq(read.rejected),
            cl::errors.eq(serde_json::to_string(&read.errors)?),
            cl::bytes.eq(read.bytes),
            cl::sha256.eq(Some(read.sha256.as_str())),
            cl::sorted_runs.eq(read.sorted_runs),
            cl::completed_at.eq(Some(now)),
        ))
        .execute(conn)?;
    Ok(())
}

fn set_state(conn: &mut Conn, id: i64, state: &str) -> Result<()> {
    diesel::update(cl::table.find(id))
        .set(cl::state.eq(state))
        .execute(conn)?;
    Ok(())
}

/// Says that an upload has failed, so that its rows are deleted.
pub(super) fn fail(conn: &mut Conn, id: i64) -> Result<()> {
    diesel::update(cl::table.find(id).filter(cl::state.eq("uploading")))
        .set(cl::state.eq("failed"))
        .execute(conn)?;
    Ok(())
}

/// Says that the listings of a comparison are not needed any more.
pub(super) fn let_go(conn: &mut Conn, comparison: &ComparisonId) -> Result<()> {
    diesel::update(
        cl::table
            .filter(cl::comparison_id.eq(comparison.as_str()))
            .filter(cl::state.eq_any(["uploading", "ready"])),
    )
    .set(cl::state.eq("replaced"))
    .execute(conn)?;
    Ok(())
}

/// Notes that both listings of a run are used now, so that their rows are kept.
///
/// # Errors
/// `Conflict` if the rows of one of them are being deleted.
pub(super) fn keep(conn: &mut Conn, ids: [i64; 2], now: Timestamp) -> Result<()> {
    let kept = diesel::update(cl::table.filter(cl::id.eq_any(ids)).filter(cl::state.eq("ready")))
        .set(cl::touched_at.eq(now))
        .execute(conn)?;
    match kept == ids.len() {
        true => Ok(()),
        false => Err(Error::Conflict(
            "the rows of a listing are being deleted because they were not used for 30 days; upload it again"
                .to_owned(),
        )
        .code(Code::ListingMissing)),
    }
}

/// Says that the uploads of processes that have ended failed. With `all`, no process can be uploading.
pub(super) fn fail_abandoned(conn: &mut Conn, now: Timestamp, all: bool) -> Result<()> {
    let oldest = if all {
        now.plus(ABANDONED)
    } else {
        now.minus(ABANDONED)
    };
    diesel::update(
        cl::table
            .filter(cl::state.eq("uploading"))
            .filter(cl::touched_at.lt(oldest)),
    )
    .set(cl::state.eq("failed"))
    .execute(conn)?;
    Ok(())
}

/// The condition that the rows of a listing are not needed any more.
macro_rules! unused {
    ($now:expr) => {
        cl::state
            .eq_any(["failed", "replaced"])
            .or(cl::state.eq("ready").and(cl::touched_at.lt($now.minus(KEPT))))
            .or(cl::state
                .eq("uploading")
                .and(cl::touched_at.lt($now.minus(ABANDONED))))
    };
}

/// Returns a listing whose rows are not needed any more.
pub(super) fn next_unused(conn: &mut Conn, now: Timestamp) -> Result<Option<i64>> {
    Ok(cl::table
        .filter(cl::staged.eq(true))
        .filter(unused!(now))
        .select(cl::id)
        .order(cl::id)
        .first(conn)
        .optional()?)
}

/// Deletes one sorted run of a listing whose rows are not needed any more.
///
/// The state is set first and in the same transaction, and it is set only if the listing is still unused. So a run that is requested at
/// the same time either keeps the rows, or is refused by [`keep`].
pub(super) fn delete_run(conn: &mut Conn, id: i64, now: Timestamp) -> Result<()> {
    let held = diesel::update(cl::table.find(id).filter(unused!(now)))
        .set(cl::state.eq("replaced"))
        .execute(conn)?;
    if held == 0 {
        return Ok(());
    }
    let last: Option<i64> = cb::table
        .filter(cb::listing_id.eq(id))
        .select(diesel::dsl::max(cb::sorted_run))
        .first(conn)?;
    match last {
        Some(last) => {
            diesel::delete(
                cb::table
                    .filter(cb::listing_id.eq(id))
                    .filter(cb::sorted_run.eq(last)),
            )
            .execute(conn)?;
        }
        None => {
            diesel::update(cl::table.find(id))
                .set(cl::staged.eq(false))
                .execute(conn)?;
        }
    }
    Ok(())
}
