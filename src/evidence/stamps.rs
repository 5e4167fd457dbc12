//! The time stamps (RFC 3161) of earlier checkpoints. An authority confirms that a checkpoint existed at a time, and the file proves that
//! this checkpoint is an earlier state of its trail. So the events up to it existed at that time.

use diesel::prelude::*;

use super::bundle::Bundle;
use crate::base::error::Result;
use crate::db::Conn;
use crate::db::schema::{audit_checkpoints as c, audit_time_stamps as s};

/// The largest number of time stamps in a file.
const MOST: i64 = 20;

/// Writes the earliest time stamps that cover an event at or after `first`, each with the checkpoint that it is about. Returns the sizes of
/// these checkpoints.
///
/// # Errors
/// An error of the database, or `Internal` if they cannot be written.
pub(super) fn write(conn: &mut Conn, first: Option<i64>, bundle: &mut Bundle) -> Result<Vec<i64>> {
    let Some(first) = first else {
        return Ok(Vec::new());
    };
    let rows: Vec<(String, i64, Vec<u8>)> = s::table
        .filter(s::size.ge(first))
        .order((s::size, s::id))
        .limit(MOST)
        .select((s::id, s::size, s::response))
        .load(conn)?;
    let mut sizes: Vec<i64> = rows.iter().map(|(_, size, _)| *size).collect();
    sizes.dedup();
    for (id, size, response) in rows {
        bundle.add(&format!("audit/time-stamps/{size}-{id}.tsr"), &response)?;
    }
    for size in &sizes {
        let (text, key): (String, String) = c::table.find(size).select((c::note, c::key)).first(conn)?;
        bundle.add(&format!("audit/time-stamps/{size}.checkpoint"), text.as_bytes())?;
        bundle.add(
            &format!("audit/time-stamps/{size}.key"),
            format!("{}\n", key.trim()).as_bytes(),
        )?;
    }
    Ok(sizes)
}
