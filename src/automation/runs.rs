//! All runs of policies, about detections and about recoveries, in one order.

use std::cmp::Reverse;

use super::recovery_run;
use super::run::{self, Run};
use crate::base::error::Result;
use crate::db::Conn;

/// Returns the runs before the given incident, episode and place, with the newest incident first. Within an incident, a recovery that
/// waits comes first, then the recoveries that were decided, the newest first, and then the detection.
///
/// # Errors
/// An error of the database.
pub fn list(conn: &mut Conn, before: Option<(&str, i64, i64)>, limit: i64) -> Result<Vec<Run>> {
    // The detection of an episode is its last run.
    let detections = before.map(|(incident, episode, place)| (incident, episode + i64::from(place > 0)));
    let mut runs = run::list(conn, detections, limit)?;
    runs.extend(recovery_run::list(conn, before, limit)?);
    runs.sort_by_cached_key(|run| Reverse((run.incident.to_string(), run.episode, run.place)));
    runs.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(runs)
}
