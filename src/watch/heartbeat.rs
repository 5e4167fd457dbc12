//! Heartbeats: something says every so often that it is alive; its silence is the alert. Made, shown, changed and ended
//! here; `silence` takes the beats and misses them.
//!
//! Must never happen here: the secret of a heartbeat's URL shown again.

use std::time::Duration;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Alarm, Kind, check_range, check_resources, patched, release, usual_severity};
use crate::audit::{Action, Event, Tx};
use crate::auth::{hash_secret, random_secret};
use crate::base::check::Check as Input;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::HeartbeatId;
use crate::base::shown_once::ShownOnce;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::heartbeats as h;
use crate::directory::ResourceRef;
use crate::incident::Severity;

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
    /// What must be asked for at least every so often, by GET, HEAD or POST; with `/fail` behind it: it failed. The
    /// answer to a repeat of the request leaves it out, and names it in `withheld`.
    #[schema(required = false)]
    pub url: ShownOnce,
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
pub(super) struct Row {
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

impl Row {
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
        url: ShownOnce::new(format!("{public_url}/heartbeats/{token}")),
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

pub(super) fn patience(given: &NewHeartbeat) -> Duration {
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

pub(super) fn alarm<'a>(
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
