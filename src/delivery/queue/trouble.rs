//! Finds out from the queue whether the mail server answers and whether the queue moves, so that every process can say it, also one
//! without workers.

use std::time::Duration;

use diesel::prelude::*;

use crate::audit::{self, Action};
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::schema::{deliveries as d, delivery_attempts as da};
use crate::db::{Conn, dialect};

/// The number of waiting deliveries that are examined.
const SAMPLE: i64 = 20;
/// How long nothing is tried before the queue counts as stuck.
const STUCK: Duration = Duration::from_secs(120);

/// Returns since when the mail server cannot be reached, as the deliveries that wait because of it say. Returns `None` if none
/// waits because of it.
///
/// # Errors
/// An error of the database.
pub fn unreachable_since(conn: &mut Conn, channel: &str, no_connection: &str) -> Result<Option<Timestamp>> {
    // The texts are the same as in the partial index.
    let waiting = diesel::dsl::sql::<diesel::sql_types::Bool>(
        "deliveries.state = 'pending' AND deliveries.deferred_until IS NOT NULL",
    );
    let sample: Vec<(i64, i64)> = d::table
        .filter(waiting)
        .filter(d::channel.eq(channel))
        .order((d::deferred_until, d::id))
        .limit(SAMPLE)
        .select((d::id, d::attempt))
        .load(conn)?;
    let ids: Vec<i64> = sample.iter().map(|(id, _)| *id).collect();
    let attempts: Vec<(i64, Timestamp, String)> = da::table
        .filter(da::delivery_id.eq_any(&ids))
        .order((da::delivery_id, da::attempt))
        .select((da::delivery_id, da::at, da::reply))
        .load(conn)?;
    let mut since: Option<Timestamp> = None;
    for id in ids {
        let failed: Vec<Timestamp> = attempts
            .iter()
            .rev()
            .filter(|(of, _, _)| *of == id)
            .take_while(|(_, _, reply)| reply.starts_with(no_connection))
            .map(|(_, at, _)| *at)
            .collect();
        // One delivery that was tried on a connection says that the server answers.
        let Some(first) = failed.last() else {
            return Ok(None);
        };
        since = Some(since.map_or(*first, |since| since.min(*first)));
    }
    Ok(since)
}

/// Returns since when no delivery of the channel was tried, although one is due. `since` is when the first notice that is being sent
/// was queued. Returns `None` if the queue moves.
///
/// # Errors
/// An error of the database.
pub fn is_stuck(
    conn: &mut Conn,
    channel: &str,
    since: Timestamp,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    let tried = audit::last_at(conn, Action::DeliveryAttempts)?;
    let since = tried.map_or(since, |tried| tried.max(since));
    if since > now.minus(STUCK) || !dialect::is_due(conn, channel, now.minus(STUCK), "")? {
        return Ok(None);
    }
    Ok(Some(since))
}
