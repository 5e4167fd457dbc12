//! Heartbeats: a job requests the URL of its heartbeat regularly, and a missing request is an alert. This
//! module creates, reads, changes and deletes heartbeats. `beats` counts the beats and finds the missing
//! ones.
//!
//! The secret in the URL of a heartbeat is never shown again.

use std::time::Duration;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Alarm, Kind, check_range, check_resources, release, usual_severity};
use crate::audit::{Action, Event, Tx};
use crate::auth::hash_secret;
use crate::base::check::Check as Input;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::HeartbeatId;
use crate::base::merge_patch::patched;
use crate::base::random::random_secret;
use crate::base::shown_once::ShownOnce;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::heartbeats as h;
use crate::directory::ResourceRef;
use crate::incident::Severity;

word_enum! {
    /// The state of a heartbeat.
    HeartbeatState, "a state of a heartbeat" {
        /// There was no beat yet. No beat is expected before the first one.
        New = "new",
        /// The beats arrive in time.
        Up = "up",
        /// A beat is missing.
        Silent = "silent",
        /// The job reported a failure.
        Failed = "failed",
    }
}

/// The settings of a heartbeat. Fields that are left out get their defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHeartbeat {
    /// The name of the heartbeat.
    pub name: String,
    /// Seconds within which the next beat must arrive: 10 seconds to 31 days.
    pub every_seconds: i64,
    /// Seconds that a beat may be late in addition: 0 seconds to 31 days. The default is 60.
    #[serde(default = "usual_grace")]
    pub grace_seconds: i64,
    /// The severity of the incident that a missing beat opens. The default is `major`.
    #[serde(default = "usual_severity")]
    pub severity: Severity,
    /// The resources that are affected while the beats are missing.
    #[serde(default)]
    pub resources: Vec<ResourceRef>,
}

fn usual_grace() -> i64 {
    60
}

/// A new heartbeat with its URL. The URL is shown only in this answer, because it contains a secret that is
/// stored only as a hash.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct CreatedHeartbeat {
    /// The ID of the heartbeat.
    pub id: HeartbeatId,
    /// The URL that the job must request within each period, by GET, HEAD or POST. With `/fail` at the end,
    /// the job reports a failure. The answer to a repeat of the request omits the URL and lists it in
    /// `withheld`.
    #[schema(required = false)]
    pub url: ShownOnce,
}

/// A heartbeat, with its settings and its state, but without its URL.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Heartbeat {
    /// The ID of the heartbeat.
    pub id: HeartbeatId,
    /// The settings of the heartbeat.
    #[serde(flatten)]
    pub given: NewHeartbeat,
    /// The state of the heartbeat.
    pub state: HeartbeatState,
    /// When the heartbeat changed to this state. Null if the state never changed.
    pub changed_at: Option<Timestamp>,
    /// The number of beats up to now.
    pub beats: i64,
    /// When the last beat arrived. Null if there was none yet.
    pub last_beat_at: Option<Timestamp>,
    /// When a missing beat becomes an alert. Null before the first beat, and while the heartbeat is silent or
    /// failed.
    pub deadline_at: Option<Timestamp>,
    /// When the heartbeat was deleted. Null if it is not deleted.
    pub gone_at: Option<Timestamp>,
    /// When the heartbeat was created.
    pub created_at: Timestamp,
}

#[derive(Clone, Queryable)]
pub(super) struct HeartbeatRow {
    pub id: HeartbeatId,
    pub name: String,
    _token_hash: String,
    pub every_seconds: i64,
    pub grace_seconds: i64,
    pub severity: String,
    pub resources: String,
    pub state: String,
    pub beats: i64,
    pub last_beat_at: Option<Timestamp>,
    pub deadline_at: Option<Timestamp>,
    pub changed_at: Option<Timestamp>,
    pub told_at: Option<Timestamp>,
    pub gone_at: Option<Timestamp>,
    pub created_at: Timestamp,
    _updated_at: Timestamp,
}

impl HeartbeatRow {
    pub fn given(&self) -> Result<NewHeartbeat> {
        Ok(NewHeartbeat {
            name: self.name.clone(),
            every_seconds: self.every_seconds,
            grace_seconds: self.grace_seconds,
            severity: Severity::parse(&self.severity).map_err(Error::internal)?,
            resources: serde_json::from_str(&self.resources)?,
        })
    }

    pub fn state(&self) -> Result<HeartbeatState> {
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

/// The longest period and the longest grace time, in seconds: 31 days.
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

/// Creates a heartbeat. `public_url` is the base of its URL.
///
/// # Errors
/// `Invalid` with one error for each wrong field.
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
        url: ShownOnce::new(format!("{public_url}/heartbeats/{token}")),
        id,
    })
}

fn row(conn: &mut Conn, id: &HeartbeatId) -> Result<HeartbeatRow> {
    h::table
        .find(id.as_str())
        .first::<HeartbeatRow>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("heartbeat {id}")))
}

fn existing(conn: &mut Conn, id: &HeartbeatId) -> Result<HeartbeatRow> {
    let row = row(conn, id)?;
    match row.gone_at {
        None => Ok(row),
        Some(_) => Err(Error::NotFound(format!("heartbeat {id}"))),
    }
}

/// Returns the heartbeat with this ID, even if it is deleted.
///
/// # Errors
/// `NotFound` if no heartbeat has this ID.
pub fn get(conn: &mut Conn, id: &HeartbeatId) -> Result<Heartbeat> {
    row(conn, id)?.view()
}

/// Returns the heartbeats that are not deleted, oldest first, after the given ID.
pub fn list(conn: &mut Conn, after: Option<&str>, limit: i64) -> Result<Vec<Heartbeat>> {
    h::table
        .filter(h::gone_at.is_null())
        .filter(h::id.gt(after.unwrap_or("")))
        .order(h::id)
        .limit(limit)
        .load::<HeartbeatRow>(conn)?
        .into_iter()
        .map(HeartbeatRow::view)
        .collect()
}

/// Returns the heartbeats that are missing or that reported a failure, oldest heartbeat first.
///
/// # Errors
/// An error of the database.
pub fn missing(conn: &mut Conn, limit: i64) -> Result<Vec<Heartbeat>> {
    let states = [HeartbeatState::Silent, HeartbeatState::Failed].map(HeartbeatState::as_str);
    h::table
        .filter(h::gone_at.is_null())
        .filter(h::state.eq_any(states))
        .order(h::id)
        .limit(limit)
        .load::<HeartbeatRow>(conn)?
        .into_iter()
        .map(HeartbeatRow::view)
        .collect()
}

/// Changes a heartbeat with a JSON merge patch. If beats are expected, the next one is due a whole period
/// from now.
///
/// # Errors
/// `NotFound` if the heartbeat does not exist or is deleted. `Invalid` with one error for each wrong field.
pub fn change(tx: &mut Tx<'_>, id: &HeartbeatId, patch: &Value) -> Result<Heartbeat> {
    let before = existing(tx.conn, id)?.given()?;
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

pub(super) fn patience(given: &NewHeartbeat) -> Duration {
    Duration::from_secs(given.every_seconds.unsigned_abs() + given.grace_seconds.unsigned_abs())
}

/// Deletes a heartbeat. Its URL answers 404 from then on, and its firing alert is resolved.
///
/// # Errors
/// `NotFound` if the heartbeat does not exist or is already deleted.
pub fn delete(tx: &mut Tx<'_>, id: &HeartbeatId) -> Result<()> {
    let row = existing(tx.conn, id)?;
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
        "The heartbeat “{}” was deleted, so it is unknown whether the job still runs",
        row.name
    );
    let now = tx.now;
    release(tx, &alarm(&row, &given, false, why, String::new(), now))
}

pub(super) fn alarm<'a>(
    row: &'a HeartbeatRow,
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
