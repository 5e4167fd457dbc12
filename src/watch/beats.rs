//! Receives beats and failures, and finds missing beats.
//!
//! A beat is one update of one row. Before its first beat, a heartbeat never counts as silent. The time in
//! which Candor itself was down does not count either, because it could not receive beats then.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use jiff::tz::TimeZone;
use serde_json::json;

use super::heartbeat::{HeartbeatRow, HeartbeatState, alarm, patience};
use crate::alert::intake::{self, ConditionCache, Prepared};
use crate::audit::{Action, Actor, Event, Tx};
use crate::auth::hash_secret;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::heartbeats as h;

fn record_state(tx: &mut Tx<'_>, row: &HeartbeatRow, after: HeartbeatState, incident: Option<&IncidentId>) {
    let event = Event::new(Action::HeartbeatState, "heartbeat", row.id.as_str())
        .before(json!({"state": row.state, "last_beat_at": row.last_beat_at}))
        .after(json!({"state": after}));
    tx.record(match incident {
        Some(incident) => event.incident(incident),
        None => event,
    });
}

/// Checks that a heartbeat has this token.
///
/// # Errors
/// `NotFound` if no heartbeat has this token, or if it is deleted.
pub fn check_token(conn: &mut Conn, token: &str) -> Result<()> {
    by_hash(conn, &hash_secret(token)).map(drop)
}

/// Stores a beat. If the heartbeat is up already, this is a single update.
///
/// # Errors
/// `NotFound` if no heartbeat has this token, or if it is deleted.
pub fn beat(tx: &mut Tx<'_>, prepared: &Prepared, token: &str) -> Result<()> {
    let hash = hash_secret(token);
    let beaten = diesel::sql_query(
        "UPDATE heartbeats SET beats = beats + 1, last_beat_at = $1, \
         deadline_at = $2 + (every_seconds + grace_seconds) * 1000000 \
         WHERE token_hash = $3 AND gone_at IS NULL AND state = 'up'",
    )
    .bind::<BigInt, _>(tx.now)
    .bind::<BigInt, _>(tx.now)
    .bind::<Text, _>(&hash)
    .execute(tx.conn)?;
    if beaten > 0 {
        return Ok(());
    }
    let row = by_hash(tx.conn, &hash)?;
    let given = row.given()?;
    let state = row.state()?;
    let mine = diesel::update(h::table.find(row.id.as_str()).filter(h::state.eq(&row.state)))
        .set((
            h::state.eq(HeartbeatState::Up.as_str()),
            h::beats.eq(h::beats + 1),
            h::last_beat_at.eq(Some(tx.now)),
            h::deadline_at.eq(Some(tx.now.plus(patience(&given)))),
            h::changed_at.eq(Some(tx.now)),
        ))
        .execute(tx.conn)?;
    if mine == 0 {
        // Another beat arrived at the same moment and was stored first.
        return Ok(());
    }
    if matches!(state, HeartbeatState::Silent | HeartbeatState::Failed) {
        let title = format!("Heartbeat received again: {}", row.name);
        let now = tx.now;
        super::tell(
            tx,
            prepared,
            &alarm(&row, &given, false, title, String::new(), now),
        )?;
    }
    record_state(tx, &row, HeartbeatState::Up, None);
    Ok(())
}

/// Stores a failure that the job reported, and sends an alert at once.
///
/// # Errors
/// `NotFound` if no heartbeat has this token, or if it is deleted.
pub fn fail(tx: &mut Tx<'_>, prepared: &Prepared, token: &str) -> Result<()> {
    let row = by_hash(tx.conn, &hash_secret(token))?;
    let given = row.given()?;
    let changed = row.state()? != HeartbeatState::Failed;
    diesel::update(h::table.find(row.id.as_str()))
        .set((
            h::state.eq(HeartbeatState::Failed.as_str()),
            h::deadline_at.eq(None::<Timestamp>),
            h::told_at.eq(Some(tx.now)),
            changed.then_some(h::changed_at.eq(Some(tx.now))),
        ))
        .execute(tx.conn)?;
    let title = format!("Job failed: {}", row.name);
    let text = "The job itself reported the failure.".to_owned();
    let now = tx.now;
    let incident = super::tell(tx, prepared, &alarm(&row, &given, true, title, text, now))?;
    if changed {
        record_state(tx, &row, HeartbeatState::Failed, incident.as_ref());
    }
    Ok(())
}

fn by_hash(conn: &mut Conn, hash: &str) -> Result<HeartbeatRow> {
    h::table
        .filter(h::token_hash.eq(hash))
        .filter(h::gone_at.is_null())
        .first::<HeartbeatRow>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound("a heartbeat of this URL".to_owned()))
}

/// Moves the deadline of each heartbeat to a whole period after `now`, unless it is later already. Candor
/// could not receive beats before. Returns how many deadlines moved.
pub fn grant(conn: &mut Conn, now: Timestamp) -> Result<usize> {
    Ok(diesel::sql_query(
        "UPDATE heartbeats SET deadline_at = $1 + (every_seconds + grace_seconds) * 1000000 \
         WHERE gone_at IS NULL AND deadline_at < $2 + (every_seconds + grace_seconds) * 1000000",
    )
    .bind::<BigInt, _>(now)
    .bind::<BigInt, _>(now)
    .execute(conn)?)
}

/// Finds heartbeats whose beat is missing, and sends the alerts again of those that are still silent or
/// failed.
pub(super) async fn check_deadlines(conditions: &ConditionCache) -> Result<()> {
    let db = conditions.db();
    let now = db.clock().now();
    let found = db
        .read(move |conn| {
            Ok(h::table
                .filter(h::gone_at.is_null())
                .filter(
                    h::deadline_at.le(now).or(h::state
                        .eq_any([HeartbeatState::Silent.as_str(), HeartbeatState::Failed.as_str()])
                        .and(h::told_at.le(now.minus(super::AGAIN)))),
                )
                .order(h::deadline_at)
                .limit(500)
                .load::<HeartbeatRow>(conn)?)
        })
        .await?;
    for row in found {
        let by = Actor::system("heartbeats");
        intake::write(conditions, &by, move |tx, prepared| match row.state()? {
            HeartbeatState::Up => record_silent(tx, prepared, &row),
            _ => repeat_alert(tx, prepared, &row),
        })
        .await?;
    }
    Ok(())
}

fn send_alert(tx: &mut Tx<'_>, prepared: &Prepared, row: &HeartbeatRow) -> Result<Option<IncidentId>> {
    let given = row.given()?;
    let last = row.last_beat_at.unwrap_or(tx.now);
    let missed = last.plus(Duration::from_secs(row.every_seconds.unsigned_abs()));
    let title = format!("No heartbeat: {}", row.name);
    let text = format!(
        "The last heartbeat arrived at {}. One is expected every {} s, with a grace period of {} s.",
        last.short(&TimeZone::UTC),
        row.every_seconds,
        row.grace_seconds
    );
    super::tell(tx, prepared, &alarm(row, &given, true, title, text, missed))
}

fn record_silent(tx: &mut Tx<'_>, prepared: &Prepared, row: &HeartbeatRow) -> Result<()> {
    // Change nothing if a beat arrived in the meantime, or if another process was first.
    let mine = diesel::update(
        h::table
            .find(row.id.as_str())
            .filter(h::state.eq(&row.state))
            .filter(h::deadline_at.eq(row.deadline_at))
            .filter(h::gone_at.is_null()),
    )
    .set((
        h::state.eq(HeartbeatState::Silent.as_str()),
        h::deadline_at.eq(None::<Timestamp>),
        h::changed_at.eq(Some(tx.now)),
        h::told_at.eq(Some(tx.now)),
    ))
    .execute(tx.conn)?;
    if mine == 0 {
        return Ok(());
    }
    let incident = send_alert(tx, prepared, row)?;
    record_state(tx, row, HeartbeatState::Silent, incident.as_ref());
    Ok(())
}

fn repeat_alert(tx: &mut Tx<'_>, prepared: &Prepared, row: &HeartbeatRow) -> Result<()> {
    let mine = diesel::update(
        h::table
            .find(row.id.as_str())
            .filter(h::state.eq(&row.state))
            .filter(h::told_at.eq(row.told_at))
            .filter(h::gone_at.is_null()),
    )
    .set(h::told_at.eq(Some(tx.now)))
    .execute(tx.conn)?;
    if mine == 1 && row.state()? == HeartbeatState::Silent {
        send_alert(tx, prepared, row)?;
    } else if mine == 1 {
        let given = row.given()?;
        let (title, text) = (
            format!("Job failed: {}", row.name),
            "The job itself reported the failure.".to_owned(),
        );
        let since = row.changed_at.unwrap_or(tx.now);
        super::tell(tx, prepared, &alarm(row, &given, true, title, text, since))?;
    }
    Ok(())
}
