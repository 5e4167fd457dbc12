//! Heartbeats: something says every so often that it is alive; its silence is the alert.
//!
//! A beat is one update of one row. Silence counts from the first beat on, and never while this service itself was away.
//!
//! Must never happen here: an alert before the first beat, or one because nobody was there to take a beat.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::usual_severity;
use super::{Alarm, Kind, check_range, check_resources, patched, release};
use crate::access::{hash_secret, random_secret};
use crate::audit::{Action, Actor, Event, Tx};
use crate::db::schema::heartbeats as h;
use crate::db::{Conn, Db};
use crate::directory::{Check as Input, ResourceRef};
use crate::error::{Error, Result};
use crate::id::{HeartbeatId, IncidentId};
use crate::incident::{Severity, word_enum};
use crate::time::Timestamp;

word_enum! {
    /// What is known of what should beat.
    HeartbeatState, "a state of a heartbeat" {
        /// It has not beaten yet: nothing is expected.
        New = "new",
        /// It beats.
        Up = "up",
        /// It has fallen silent.
        Silent = "silent",
        /// It said itself that it failed.
        Failed = "failed",
    }
}

/// A heartbeat to make. Left out: what the description says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHeartbeat {
    /// What people call it.
    pub name: String,
    /// Seconds in which a beat must come, from 10 to 31 days.
    pub every_seconds: i64,
    /// Seconds that are waited beyond that; 60 if not given.
    #[serde(default = "usual_grace")]
    pub grace_seconds: i64,
    /// How bad the incident is that its silence opens; `major` if not given.
    #[serde(default = "usual_severity")]
    pub severity: Severity,
    /// What is affected while it is silent.
    #[serde(default)]
    pub resources: Vec<ResourceRef>,
}

fn usual_grace() -> i64 {
    60
}

/// A new heartbeat. The URL is shown this once: it holds the secret that is stored only as a hash.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct CreatedHeartbeat {
    /// Its id.
    pub id: HeartbeatId,
    /// What must be asked for at least every so often, by GET, HEAD or POST; with `/fail` behind it: it failed.
    pub url: String,
}

/// A heartbeat, as shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Heartbeat {
    /// Its id.
    pub id: HeartbeatId,
    /// As it was given.
    #[serde(flatten)]
    pub given: NewHeartbeat,
    /// What is known.
    pub state: HeartbeatState,
    /// Since when it is in that state.
    pub changed_at: Option<Timestamp>,
    /// Beats so far.
    pub beats: i64,
    /// The last one.
    pub last_beat_at: Option<Timestamp>,
    /// When its silence becomes an alert; null before its first beat and while it is one.
    pub deadline_at: Option<Timestamp>,
    /// When it was deleted.
    pub gone_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(Clone, Queryable)]
struct Row {
    id: HeartbeatId,
    name: String,
    _token_hash: String,
    every_seconds: i64,
    grace_seconds: i64,
    severity: String,
    resources: String,
    state: String,
    beats: i64,
    last_beat_at: Option<Timestamp>,
    deadline_at: Option<Timestamp>,
    changed_at: Option<Timestamp>,
    told_at: Option<Timestamp>,
    gone_at: Option<Timestamp>,
    created_at: Timestamp,
    _updated_at: Timestamp,
}

impl Row {
    fn given(&self) -> Result<NewHeartbeat> {
        Ok(NewHeartbeat {
            name: self.name.clone(),
            every_seconds: self.every_seconds,
            grace_seconds: self.grace_seconds,
            severity: Severity::parse(&self.severity).map_err(Error::internal)?,
            resources: serde_json::from_str(&self.resources)?,
        })
    }

    fn state(&self) -> Result<HeartbeatState> {
        HeartbeatState::parse(&self.state).map_err(Error::internal)
    }

    fn view(self) -> Result<Heartbeat> {
        let state = self.state()?;
        Ok(Heartbeat {
            given: self.given()?,
            id: self.id,
            state,
            changed_at: self.changed_at,
            beats: self.beats,
            last_beat_at: self.last_beat_at,
            deadline_at: self.deadline_at,
            gone_at: self.gone_at,
            created_at: self.created_at,
        })
    }
}

/// The longest period, in seconds.
const LONGEST: i64 = 31 * 86_400;

fn check(conn: &mut Conn, new: &NewHeartbeat) -> Result<()> {
    let mut input = Input::default();
    input.name("/name", &new.name);
    check_range(
        &mut input.errors,
        "/every_seconds",
        new.every_seconds,
        10,
        LONGEST,
    );
    check_range(&mut input.errors, "/grace_seconds", new.grace_seconds, 0, LONGEST);
    check_resources(conn, &new.resources, &mut input.errors)?;
    input.finish()
}

/// Makes a heartbeat; `public_url` is the base of its URL.
///
/// # Errors
/// `Invalid`, field by field.
pub fn create(tx: &mut Tx<'_>, new: &NewHeartbeat, public_url: &str) -> Result<CreatedHeartbeat> {
    check(tx.conn, new)?;
    let id = HeartbeatId::new(tx.now);
    let token = random_secret()?;
    diesel::insert_into(h::table)
        .values((
            h::id.eq(id.as_str()),
            h::name.eq(new.name.trim()),
            h::token_hash.eq(hash_secret(&token)),
            h::every_seconds.eq(new.every_seconds),
            h::grace_seconds.eq(new.grace_seconds),
            h::severity.eq(new.severity.as_str()),
            h::resources.eq(serde_json::to_string(&new.resources)?),
            h::state.eq(HeartbeatState::New.as_str()),
            h::beats.eq(0),
            h::created_at.eq(tx.now),
            h::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::HeartbeatCreated, "heartbeat", id.as_str()).after(serde_json::to_value(new)?),
    );
    Ok(CreatedHeartbeat {
        url: format!("{public_url}/heartbeats/{token}"),
        id,
    })
}

fn row(conn: &mut Conn, id: &HeartbeatId) -> Result<Row> {
    h::table
        .find(id.as_str())
        .first::<Row>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("heartbeat {id}")))
}

fn there(conn: &mut Conn, id: &HeartbeatId) -> Result<Row> {
    let row = row(conn, id)?;
    match row.gone_at {
        None => Ok(row),
        Some(_) => Err(Error::NotFound(format!("heartbeat {id}"))),
    }
}

/// The heartbeat of that id, gone or not.
///
/// # Errors
/// `NotFound`.
pub fn get(conn: &mut Conn, id: &HeartbeatId) -> Result<Heartbeat> {
    row(conn, id)?.view()
}

/// Heartbeats that are there, oldest first, after the given one.
///
/// # Errors
/// What the database answers.
pub fn list(conn: &mut Conn, after: Option<&str>, limit: i64) -> Result<Vec<Heartbeat>> {
    h::table
        .filter(h::gone_at.is_null())
        .filter(h::id.gt(after.unwrap_or("")))
        .order(h::id)
        .limit(limit)
        .load::<Row>(conn)?
        .into_iter()
        .map(Row::view)
        .collect()
}

/// Changes what is given: a JSON merge patch. Where it beats, it has a whole period from now.
///
/// # Errors
/// `NotFound`, also where it is gone; `Invalid`, field by field.
pub fn change(tx: &mut Tx<'_>, id: &HeartbeatId, patch: &Value) -> Result<Heartbeat> {
    let before = there(tx.conn, id)?.given()?;
    let after: NewHeartbeat = patched(&before, patch)?;
    check(tx.conn, &after)?;
    diesel::update(h::table.find(id.as_str()))
        .set((
            h::name.eq(after.name.trim()),
            h::every_seconds.eq(after.every_seconds),
            h::grace_seconds.eq(after.grace_seconds),
            h::severity.eq(after.severity.as_str()),
            h::resources.eq(serde_json::to_string(&after.resources)?),
            h::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    let now = tx.now;
    diesel::update(h::table.find(id.as_str()).filter(h::deadline_at.is_not_null()))
        .set(h::deadline_at.eq(Some(now.plus(patience(&after)))))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::HeartbeatChanged, "heartbeat", id.as_str())
            .before(serde_json::to_value(&before)?)
            .after(serde_json::to_value(&after)?),
    );
    get(tx.conn, id)
}

fn patience(given: &NewHeartbeat) -> Duration {
    Duration::from_secs(given.every_seconds.unsigned_abs() + given.grace_seconds.unsigned_abs())
}

/// Ends a heartbeat: its URL answers 404 from now on, and its silence counts as over.
///
/// # Errors
/// `NotFound`, also where it has ended already.
pub fn delete(tx: &mut Tx<'_>, id: &HeartbeatId) -> Result<()> {
    let row = there(tx.conn, id)?;
    diesel::update(h::table.find(id.as_str()))
        .set((
            h::gone_at.eq(Some(tx.now)),
            h::deadline_at.eq(None::<Timestamp>),
            h::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(Event::new(Action::HeartbeatDeleted, "heartbeat", id.as_str()));
    let given = row.given()?;
    let why = format!(
        "The heartbeat “{}” was deleted: it is not known whether it beats",
        row.name
    );
    let now = tx.now;
    release(tx, &alarm(&row, &given, false, why, String::new(), now))
}

fn alarm<'a>(
    row: &'a Row,
    given: &'a NewHeartbeat,
    firing: bool,
    title: String,
    text: String,
    at: Timestamp,
) -> Alarm<'a> {
    Alarm {
        kind: Kind::Heartbeat,
        id: row.id.as_str(),
        name: &row.name,
        severity: given.severity,
        resources: &given.resources,
        firing,
        title,
        text,
        at,
    }
}

fn record_state(tx: &mut Tx<'_>, row: &Row, after: HeartbeatState, incident: Option<&IncidentId>) {
    let event = Event::new(Action::HeartbeatState, "heartbeat", row.id.as_str())
        .before(json!({"state": row.state, "last_beat_at": row.last_beat_at}))
        .after(json!({"state": after}));
    tx.record(match incident {
        Some(incident) => event.incident(incident),
        None => event,
    });
}

/// Takes a beat by its URL's token. Where it beat already, that is one update and nothing more.
///
/// # Errors
/// `NotFound` where there is none of that token, or it is gone.
pub fn beat(tx: &mut Tx<'_>, token: &str) -> Result<()> {
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
        // Another beat of this very moment was first.
        return Ok(());
    }
    if matches!(state, HeartbeatState::Silent | HeartbeatState::Failed) {
        let title = format!("It beats again: {}", row.name);
        let now = tx.now;
        super::tell(tx, &alarm(&row, &given, false, title, String::new(), now))?;
    }
    record_state(tx, &row, HeartbeatState::Up, None);
    Ok(())
}

/// It says itself that it failed: that is an alert at once.
///
/// # Errors
/// `NotFound` where there is none of that token, or it is gone.
pub fn fail(tx: &mut Tx<'_>, token: &str) -> Result<()> {
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
    let title = format!("It failed: {}", row.name);
    let text = "It said itself that it failed.".to_owned();
    let now = tx.now;
    let incident = super::tell(tx, &alarm(&row, &given, true, title, text, now))?;
    if changed {
        record_state(tx, &row, HeartbeatState::Failed, incident.as_ref());
    }
    Ok(())
}

fn by_hash(conn: &mut Conn, hash: &str) -> Result<Row> {
    h::table
        .filter(h::token_hash.eq(hash))
        .filter(h::gone_at.is_null())
        .first::<Row>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound("a heartbeat of this URL".to_owned()))
}

/// Gives what beats a whole period from `now` on, where its deadline is earlier: nobody was there to take its beats.
///
/// # Errors
/// What the database answers.
pub fn grant(conn: &mut Conn, now: Timestamp) -> Result<usize> {
    Ok(diesel::sql_query(
        "UPDATE heartbeats SET deadline_at = $1 + (every_seconds + grace_seconds) * 1000000 \
         WHERE gone_at IS NULL AND deadline_at < $2 + (every_seconds + grace_seconds) * 1000000",
    )
    .bind::<BigInt, _>(now)
    .bind::<BigInt, _>(now)
    .execute(conn)?)
}

/// Looks for those that have fallen silent, and says again what is silent still.
///
/// # Errors
/// What the database answers.
pub(super) async fn look(db: &Db) -> Result<()> {
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
                .load::<Row>(conn)?)
        })
        .await?;
    for row in found {
        let by = Actor::system("heartbeats");
        db.write(&by, move |tx| match row.state()? {
            HeartbeatState::Up => falls_silent(tx, &row),
            _ => is_silent_still(tx, &row),
        })
        .await?;
    }
    Ok(())
}

fn silence(tx: &mut Tx<'_>, row: &Row) -> Result<Option<IncidentId>> {
    let given = row.given()?;
    let last = row.last_beat_at.unwrap_or(tx.now);
    let missed = last.plus(Duration::from_secs(row.every_seconds.unsigned_abs()));
    let title = format!("No heartbeat: {}", row.name);
    let text = format!(
        "The last beat came at {last}; one is expected every {} s, with {} s to spare.",
        row.every_seconds, row.grace_seconds
    );
    super::tell(tx, &alarm(row, &given, true, title, text, missed))
}

fn falls_silent(tx: &mut Tx<'_>, row: &Row) -> Result<()> {
    // Unless it beat in the meantime, or another process was first.
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
    let incident = silence(tx, row)?;
    record_state(tx, row, HeartbeatState::Silent, incident.as_ref());
    Ok(())
}

fn is_silent_still(tx: &mut Tx<'_>, row: &Row) -> Result<()> {
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
        silence(tx, row)?;
    } else if mine == 1 {
        let given = row.given()?;
        let (title, text) = (
            format!("It failed: {}", row.name),
            "It said itself that it failed.".to_owned(),
        );
        let since = row.changed_at.unwrap_or(tx.now);
        super::tell(tx, &alarm(row, &given, true, title, text, since))?;
    }
    Ok(())
}
