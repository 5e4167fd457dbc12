//! Episodes: an incident that is reopened begins another one. Who was notified is counted per episode, so that everybody
//! who heard that it was over can be told that it is back.

use diesel::prelude::*;
use serde_json::json;

use super::Incident;
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{incident_episodes as e, incidents as i};

/// The beginning of an episode after the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reopening {
    /// The number of the episode that began, from 2.
    pub episode: i64,
    /// When it began.
    pub reopened_at: Timestamp,
    /// When the episode before it had ended.
    pub resolved_before: Timestamp,
}

/// The number of an incident's present episode.
///
/// # Errors
/// `NotFound`.
pub fn number(conn: &mut Conn, id: &IncidentId) -> Result<i64> {
    i::table
        .find(id.as_str())
        .select(i::episode)
        .first(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("incident {id}")))
}

/// When an incident was reopened, oldest first.
///
/// # Errors
/// Database errors.
pub fn reopenings(conn: &mut Conn, id: &IncidentId) -> Result<Vec<Reopening>> {
    let rows: Vec<(i64, Timestamp, Timestamp)> = e::table
        .filter(e::incident_id.eq(id.as_str()))
        .order(e::episode)
        .select((e::episode, e::reopened_at, e::resolved_before))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(episode, reopened_at, resolved_before)| Reopening {
            episode,
            reopened_at,
            resolved_before,
        })
        .collect())
}

/// When the present episode of an incident began: its start, or the last reopening.
///
/// # Errors
/// `NotFound`.
pub fn began_at(conn: &mut Conn, id: &IncidentId) -> Result<Timestamp> {
    match reopenings(conn, id)?.last() {
        Some(last) => Ok(last.reopened_at),
        None => Ok(super::get(conn, id)?.started_at),
    }
}

/// Begins the next episode of an incident that was resolved and is not any more. The caller holds the incident's lock.
pub(super) fn begin(tx: &mut Tx<'_>, before: &Incident, at: Timestamp) -> Result<()> {
    let episode = before.episode + 1;
    let resolved_before = before.resolved_at.unwrap_or(at);
    // A time that was written for the reopening may lie before the end that was written for the episode before.
    let reopened_at = at.max(resolved_before);
    diesel::update(i::table.find(before.id.as_str()))
        .set(i::episode.eq(episode))
        .execute(tx.conn)?;
    diesel::insert_into(e::table)
        .values((
            e::incident_id.eq(before.id.as_str()),
            e::episode.eq(episode),
            e::reopened_at.eq(reopened_at),
            e::resolved_before.eq(resolved_before),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::IncidentReopened, "incident", before.id.as_str())
            .incident(&before.id)
            .before(json!({"episode": before.episode, "resolved_at": before.resolved_at}))
            .after(json!({"episode": episode, "reopened_at": reopened_at})),
    );
    Ok(())
}
