//! The sources of the directory: databases that are read on a schedule, and services that are asked.
//!
//! An SQL source is read into a staging table, compared with the directory, and applied in one transaction
//! with the same upserts as the import; see `sync`. An HTTP source is asked about unknown references; see
//! `callout`. The differences between SQL databases are in `db::foreign`.
//!
//! A password or a secret is never shown, logged or audited. A source never archives a row of another source.

mod absent;
mod applying;
pub mod callout;
pub mod cancel;
pub mod changes;
pub mod cron;
mod current;
mod key;
mod left_out;
pub mod manage;
pub mod mapping;
pub mod origin;
pub mod query;
mod reading;
mod references;
pub mod run;
pub mod runner;
pub mod schedule;
mod settle;
mod stage;
pub mod status;
mod stop;
mod stored;
pub mod sync;
pub mod table;

pub mod trial;

use diesel::prelude::*;

use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::id::SourceId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::{self, Lock};
use crate::db::schema::directory_sources as s;
pub use manage::{CreatedSource, NewSource, SourceChange};
use stored::existing;
pub use stored::{Queries, Source, SourceKind, get, list, named};

/// The setting that limits how long a run may read its source.
pub const SYNC_LIMIT: &str = "CANDOR_SOURCE_SYNC_LIMIT";
/// The setting that limits how long a test may read its source.
pub const TEST_LIMIT: &str = "CANDOR_SOURCE_TEST_LIMIT";

/// Queues a run for each source whose scheduled time has come. Returns whether there was one.
pub fn queue_due(tx: &mut Tx<'_>) -> Result<bool> {
    let due: Vec<SourceId> = s::table
        .filter(s::gone_at.is_null())
        .filter(s::next_run_at.le(tx.now))
        .select(s::id)
        .load(tx.conn)?;
    for id in &due {
        dialect::lock(tx.conn, Lock::Source, id.as_str())?;
        // Another process may have queued the run already.
        let Ok(row) = existing(tx.conn, id) else { continue };
        if row.next_run_at.is_none_or(|at| at > tx.now) {
            continue;
        }
        let next = row
            .schedule
            .as_deref()
            .and_then(|schedule| cron::next(schedule, tx.now));
        diesel::update(s::table.find(id.as_str()))
            .set(s::next_run_at.eq(next))
            .execute(tx.conn)?;
        if run::active(tx.conn, id)?.is_none() {
            run::request(tx, id, run::Cause::Schedule)?;
        }
    }
    Ok(!due.is_empty())
}

/// Returns whether the scheduled time of a source has come.
pub fn any_due(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    let due: Option<SourceId> = s::table
        .filter(s::gone_at.is_null())
        .filter(s::next_run_at.le(now))
        .select(s::id)
        .limit(1)
        .first(conn)
        .optional()?;
    Ok(due.is_some())
}
