//! Episodes: each reopening of an incident begins a new episode. Notifications are counted for each episode,
//! so that everybody who was notified of the end can also be notified of the reopening.

use diesel::prelude::*;
use serde_json::json;

use super::stored::Incident;
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
    /// When the episode began.
    pub reopened_at: Timestamp,
    /// When the episode before it ended.
    pub resolved_before: Timestamp,
}

/// Returns the number of the current episode of an incident.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn number(conn: &mut Conn, id: &IncidentId) -> Result<i64> {
    i::table
        .find(id.as_str())
        .select(i::episode)
        .first(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("incident {id}")))
}

/// Returns the reopenings of an incident, oldest first.
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

/// Returns when the current episode began: at the start of the incident, or at the last reopening.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn began_at(conn: &mut Conn, id: &IncidentId) -> Result<Timestamp> {
    match reopenings(conn, id)?.last() {
        Some(last) => Ok(last.reopened_at),
        None => Ok(super::stored::get(conn, id)?.started_at),
    }
}

/// Begins the next episode of an incident that was resolved. The caller holds the lock of the incident.
pub(super) fn begin(tx: &mut Tx<'_>, before: &Incident, at: Timestamp) -> Result<()> {
    let episode = before.episode + 1;
    let resolved_before = before.resolved_at.unwrap_or(at);
    // The time of the reopening is given by an operator and can be before the end of the previous episode.
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
