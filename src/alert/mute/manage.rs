//! Creates, lists and ends silences and maintenance windows. Each of these changes has an audit event.

use std::time::Duration;

use diesel::prelude::*;
use serde_json::{Value, json};

use super::period::{Kind, Mute, MuteRow, MuteState, NewSilence, NewWindow};
use crate::alert::grouping::check_resources;
use crate::alert::matcher;
use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::MuteId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::quiet_periods as q;
use crate::directory::source::cron;

/// The longest duration of a silence or a maintenance window: 366 days.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// The longest duration of each occurrence of a maintenance window with a schedule, in seconds: one week.
const LONGEST_TURN: i64 = 7 * 24 * 3600;
/// The number of resources that one maintenance window can name.
pub const MAX_RESOURCES: usize = 500;
/// The number of silences and maintenance windows that can exist at the same time without having ended.
const MAX_OPEN: i64 = 1_000;

fn check_times(check: &mut Check, from: Timestamp, until: Timestamp, now: Timestamp) {
    let wrong = if until <= from {
        Some("must be after from")
    } else if until <= now {
        Some("must not be in the past")
    } else if until > from.plus(LONGEST) {
        Some("is more than a year (366 days) after from")
    } else {
        None
    };
    if let Some(detail) = wrong {
        check.errors.push(FieldError::at("/until", detail));
    }
}

fn mark(mute: &Mute) -> Value {
    json!({
        "name": mute.name, "from": mute.starts_at, "until": mute.ends_at, "matchers": mute.matchers,
        "resources": mute.resources, "schedule": mute.schedule, "duration": mute.duration,
    })
}

/// Checks a silence without storing it.
///
/// # Errors
/// `Invalid` with one error for each wrong field.
pub fn check_silence(new: &NewSilence, now: Timestamp) -> Result<()> {
    let mut check = Check::default();
    check.name("/reason", &new.reason);
    if new.matchers.is_empty() {
        let detail = "must not be empty, because every alert would be silenced";
        check.errors.push(FieldError::at("/matchers", detail));
    }
    matcher::check(&mut check, "/matchers", &new.matchers);
    check_times(&mut check, new.from.unwrap_or(now), new.until, now);
    check.finish()
}

/// Creates a silence.
///
/// # Errors
/// `Invalid` with one error for each wrong field. `Conflict` if there are too many silences and maintenance
/// windows.
pub fn silence(tx: &mut Tx<'_>, new: &NewSilence) -> Result<Mute> {
    check_silence(new, tx.now)?;
    let from = new.from.unwrap_or(tx.now);
    insert(
        tx,
        Mute {
            id: MuteId::new(tx.now),
            kind: Kind::Silence,
            name: new.reason.trim().to_owned(),
            matchers: new.matchers.clone(),
            resources: Vec::new(),
            starts_at: from,
            ends_at: new.until,
            schedule: None,
            duration: None,
            ended_at: None,
            created_by: tx.actor.name().to_owned(),
            created_at: tx.now,
        },
    )
}

/// Checks a maintenance window without storing it.
///
/// # Errors
/// `Invalid` with one error for each wrong field.
pub fn check_window(conn: &mut Conn, new: &NewWindow, now: Timestamp) -> Result<()> {
    let mut check = Check::default();
    check.name("/name", &new.name);
    matcher::check(&mut check, "/matchers", &new.matchers);
    if new.matchers.is_empty() && new.resources.is_empty() {
        let detail = "give matchers or resources, because the window would otherwise apply to every alert";
        check.errors.push(FieldError::at("/matchers", detail));
    }
    if new.resources.len() > MAX_RESOURCES {
        check
            .errors
            .push(FieldError::at("/resources", "has more than 500 resources"));
    }
    check_resources(conn, &mut check, "/resources", &new.resources)?;
    check_times(&mut check, new.from.unwrap_or(now), new.until, now);
    let mut wrong = |pointer: &str, detail: String| check.errors.push(FieldError::at(pointer, detail));
    match (&new.schedule, new.duration) {
        (Some(schedule), Some(seconds)) => {
            if let Err(detail) = cron::check(schedule) {
                wrong("/schedule", detail);
            }
            if !(60..=LONGEST_TURN).contains(&seconds) {
                wrong(
                    "/duration",
                    "must be a number of seconds from 60 to 604800 (a week)".to_owned(),
                );
            }
        }
        (Some(_), None) => wrong(
            "/duration",
            "is missing; with a schedule, give the duration of each repetition in seconds".to_owned(),
        ),
        (None, Some(_)) => wrong(
            "/schedule",
            "is missing; a duration is only allowed together with a schedule".to_owned(),
        ),
        (None, None) => {}
    }
    check.finish()
}

/// Creates a maintenance window.
///
/// # Errors
/// `Invalid` with one error for each wrong field. `Conflict` if there are too many silences and maintenance
/// windows.
pub fn open_window(tx: &mut Tx<'_>, new: &NewWindow) -> Result<Mute> {
    check_window(tx.conn, new, tx.now)?;
    let from = new.from.unwrap_or(tx.now);
    insert(
        tx,
        Mute {
            id: MuteId::new(tx.now),
            kind: Kind::Maintenance,
            name: new.name.trim().to_owned(),
            matchers: new.matchers.clone(),
            resources: new.resources.clone(),
            starts_at: from,
            ends_at: new.until,
            schedule: new.schedule.clone(),
            duration: new.duration,
            ended_at: None,
            created_by: tx.actor.name().to_owned(),
            created_at: tx.now,
        },
    )
}

fn insert(tx: &mut Tx<'_>, mute: Mute) -> Result<Mute> {
    let open: i64 = q::table
        .filter(q::ended_at.is_null())
        .filter(q::ends_at.gt(tx.now))
        .count()
        .get_result(tx.conn)?;
    if open >= MAX_OPEN {
        let detail =
            format!("there are already {MAX_OPEN} silences and maintenance windows, and no more are allowed");
        return Err(Error::Conflict(detail).code(Code::LimitReached));
    }
    diesel::insert_into(q::table)
        .values((
            q::id.eq(mute.id.as_str()),
            q::kind.eq(mute.kind.as_str()),
            q::name.eq(&mute.name),
            q::matchers.eq(serde_json::to_string(&mute.matchers)?),
            q::resources.eq(serde_json::to_string(&mute.resources)?),
            q::starts_at.eq(mute.starts_at),
            q::ends_at.eq(mute.ends_at),
            q::schedule.eq(&mute.schedule),
            q::duration.eq(mute.duration),
            q::created_by.eq(&mute.created_by),
            q::created_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    let (action, subject) = match mute.kind {
        Kind::Silence => (Action::SilenceCreated, "silence"),
        Kind::Maintenance => (Action::MaintenanceCreated, "maintenance_window"),
    };
    tx.record(Event::new(action, subject, mute.id.as_str()).after(mark(&mute)));
    Ok(mute)
}

fn what(kind: Kind) -> &'static str {
    match kind {
        Kind::Silence => "silence",
        Kind::Maintenance => "maintenance window",
    }
}

/// Returns the silence or maintenance window with this ID, even if it has ended.
///
/// # Errors
/// `NotFound` if there is none with this ID, or if it is of the other kind.
pub fn get(conn: &mut Conn, kind: Kind, id: &MuteId) -> Result<Mute> {
    q::table
        .find(id.as_str())
        .filter(q::kind.eq(kind.as_str()))
        .first::<MuteRow>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("{} {id}", what(kind))))?
        .view()
}

/// Returns the silences or maintenance windows before the given ID, newest first.
pub fn list(
    conn: &mut Conn,
    kind: Kind,
    state: Option<MuteState>,
    now: Timestamp,
    before: Option<&str>,
    limit: i64,
) -> Result<Vec<Mute>> {
    let mut query = q::table
        .into_boxed::<crate::db::Backend>()
        .filter(q::kind.eq(kind.as_str()));
    if let Some(before) = before {
        query = query.filter(q::id.lt(before.to_owned()));
    }
    query = match state {
        None => query,
        Some(MuteState::Pending) => query
            .filter(q::ended_at.is_null())
            .filter(q::starts_at.gt(now))
            .filter(q::ends_at.gt(now)),
        Some(MuteState::Active) => query
            .filter(q::ended_at.is_null())
            .filter(q::starts_at.le(now))
            .filter(q::ends_at.gt(now)),
        Some(MuteState::Ended) => query.filter(q::ended_at.is_not_null().or(q::ends_at.le(now))),
    };
    query
        .order(q::id.desc())
        .limit(limit)
        .load::<MuteRow>(conn)?
        .into_iter()
        .map(MuteRow::view)
        .collect()
}

/// Ends a silence or maintenance window early.
///
/// # Errors
/// `NotFound` if it does not exist. `Conflict` if it has already ended.
pub fn end(tx: &mut Tx<'_>, kind: Kind, id: &MuteId) -> Result<Mute> {
    let before = get(tx.conn, kind, id)?;
    let over = || Error::Conflict(format!("the {} has already ended", what(kind)));
    if before.state(tx.now) == MuteState::Ended {
        return Err(over());
    }
    let changed = diesel::update(q::table.find(id.as_str()).filter(q::ended_at.is_null()))
        .set(q::ended_at.eq(Some(tx.now)))
        .execute(tx.conn)?;
    if changed == 0 {
        return Err(over());
    }
    let (action, subject) = match kind {
        Kind::Silence => (Action::SilenceEnded, "silence"),
        Kind::Maintenance => (Action::MaintenanceEnded, "maintenance_window"),
    };
    tx.record(Event::new(action, subject, id.as_str()).before(json!({"until": before.ends_at})));
    get(tx.conn, kind, id)
}
