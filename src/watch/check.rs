//! Creates, reads, changes and deletes HTTP checks. The values of request headers are never shown again.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use super::check_settings::{CheckMethod, NewCheck};
use super::check_settings::{check, stored, without_secrets};
use super::{Alarm, Kind, release};
use crate::audit::{Action, Event, Tx};
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::CheckId;
use crate::base::merge_patch::patched;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::checks as c;
use crate::egress::Policy;

word_enum! {
    /// The state of a check.
    CheckState, "a state of a check" {
        /// There is no result yet, or there are not enough results.
        New = "new",
        /// The last answers were as expected.
        Up = "up",
        /// The check failed the configured number of times in a row.
        Down = "down",
    }
}

/// The result of one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CheckResult {
    /// When the request was made.
    pub at: Timestamp,
    /// Whether the answer was as expected.
    pub ok: bool,
    /// What was not as expected, one sentence for each problem.
    pub problems: Vec<String>,
    /// The HTTP status of the answer. Null if there was no answer.
    pub status: Option<u16>,
    /// How long the answer took, in milliseconds. Null if there was no answer.
    pub latency_ms: Option<u64>,
    /// When the certificate of the server expires.
    pub certificate_expires_at: Option<Timestamp>,
}

/// An HTTP check, with its settings, its state and its last result.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Check {
    /// The ID of the check.
    pub id: CheckId,
    /// The settings of the check, without the values of its headers.
    #[serde(flatten)]
    pub given: NewCheck,
    /// The state of the check.
    pub state: CheckState,
    /// When the check changed to this state. Null if the state never changed.
    pub changed_at: Option<Timestamp>,
    /// The number of failures in a row up to now.
    pub failed_in_a_row: i64,
    /// The result of the last request. Null if there was none yet.
    pub last: Option<CheckResult>,
    /// When the next request is due.
    pub next_at: Timestamp,
    /// When the check was deleted. Null if it is not deleted.
    pub gone_at: Option<Timestamp>,
    /// When the check was created.
    pub created_at: Timestamp,
}

#[derive(Clone, Queryable)]
pub(super) struct CheckRow {
    pub id: CheckId,
    _name: String,
    target: String,
    headers: String,
    _every_seconds: i64,
    _severity: String,
    _resources: String,
    _paused: bool,
    state: String,
    pub failures: i64,
    pub successes: i64,
    pub failing_since: Option<Timestamp>,
    changed_at: Option<Timestamp>,
    pub told_at: Option<Timestamp>,
    result: Option<String>,
    pub due_at: Timestamp,
    pub version: i64,
    pub gone_at: Option<Timestamp>,
    created_at: Timestamp,
    _updated_at: Timestamp,
}

impl CheckRow {
    /// Returns the settings of the check, with the values of its headers.
    pub fn given(&self) -> Result<NewCheck> {
        let mut given: NewCheck = serde_json::from_str(&self.target)?;
        given.headers = serde_json::from_str(&self.headers)?;
        Ok(given)
    }

    pub fn state(&self) -> Result<CheckState> {
        CheckState::parse(&self.state).map_err(Error::internal)
    }

    fn view(self) -> Result<Check> {
        let mut given = self.given()?;
        given
            .headers
            .values_mut()
            .for_each(|value| *value = "***".to_owned());
        Ok(Check {
            state: self.state()?,
            given,
            id: self.id,
            changed_at: self.changed_at,
            failed_in_a_row: self.failures,
            last: self.result.as_deref().map(serde_json::from_str).transpose()?,
            next_at: self.due_at,
            gone_at: self.gone_at,
            created_at: self.created_at,
        })
    }
}

/// Creates a check. Its first request is due at once.
///
/// # Errors
/// `Invalid` with one error for each wrong field.
pub fn create(tx: &mut Tx<'_>, new: &NewCheck, policy: Policy) -> Result<Check> {
    check(tx.conn, new, policy)?;
    let id = CheckId::new(tx.now);
    let (target, headers) = stored(new)?;
    diesel::insert_into(c::table)
        .values((
            c::id.eq(id.as_str()),
            c::name.eq(new.name.trim()),
            c::target.eq(target),
            c::headers.eq(headers),
            c::every_seconds.eq(new.every_seconds),
            c::severity.eq(new.severity.as_str()),
            c::resources.eq(serde_json::to_string(&new.resources)?),
            c::paused.eq(new.paused),
            c::state.eq(CheckState::New.as_str()),
            c::failures.eq(0),
            c::successes.eq(0),
            c::due_at.eq(tx.now),
            c::version.eq(1),
            c::created_at.eq(tx.now),
            c::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(Event::new(Action::CheckCreated, "check", id.as_str()).after(without_secrets(new)?));
    get(tx.conn, &id)
}

pub(super) fn row(conn: &mut Conn, id: &CheckId) -> Result<CheckRow> {
    c::table
        .find(id.as_str())
        .first::<CheckRow>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("check {id}")))
}

/// Returns the check with this ID, even if it is deleted.
///
/// # Errors
/// `NotFound` if no check has this ID.
pub fn get(conn: &mut Conn, id: &CheckId) -> Result<Check> {
    row(conn, id)?.view()
}

/// Returns the checks that are not deleted, oldest first, after the given ID.
pub fn list(conn: &mut Conn, after: Option<&str>, limit: i64) -> Result<Vec<Check>> {
    c::table
        .filter(c::gone_at.is_null())
        .filter(c::id.gt(after.unwrap_or("")))
        .order(c::id)
        .limit(limit)
        .load::<CheckRow>(conn)?
        .into_iter()
        .map(CheckRow::view)
        .collect()
}

/// Returns the checks that are down, oldest check first.
///
/// # Errors
/// An error of the database.
pub fn down(conn: &mut Conn, limit: i64) -> Result<Vec<Check>> {
    c::table
        .filter(c::gone_at.is_null())
        .filter(c::paused.eq(false))
        .filter(c::state.eq(CheckState::Down.as_str()))
        .order(c::id)
        .limit(limit)
        .load::<CheckRow>(conn)?
        .into_iter()
        .map(CheckRow::view)
        .collect()
}

/// Changes a check with a JSON merge patch. The next request is due at once, and the counts of failures and
/// good answers start at 0. A check that is down stays down until it gets good answers or is paused.
///
/// # Errors
/// `NotFound` if the check does not exist or is deleted. `Invalid` with one error for each wrong field.
pub fn change(tx: &mut Tx<'_>, id: &CheckId, patch: &Value, policy: Policy) -> Result<Check> {
    let row = existing(tx.conn, id)?;
    let before = row.given()?;
    let after: NewCheck = patched(&before, patch)?;
    check(tx.conn, &after, policy)?;
    let (target, headers) = stored(&after)?;
    let state = if after.paused {
        CheckState::New
    } else {
        row.state()?
    };
    diesel::update(c::table.find(id.as_str()))
        .set((
            c::name.eq(after.name.trim()),
            c::target.eq(target),
            c::headers.eq(headers),
            c::every_seconds.eq(after.every_seconds),
            c::severity.eq(after.severity.as_str()),
            c::resources.eq(serde_json::to_string(&after.resources)?),
            c::paused.eq(after.paused),
            c::state.eq(state.as_str()),
            c::failures.eq(0),
            c::successes.eq(0),
            c::due_at.eq(tx.now),
            c::version.eq(c::version + 1),
            c::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::CheckChanged, "check", id.as_str())
            .before(without_secrets(&before)?)
            .after(without_secrets(&after)?),
    );
    if after.paused {
        let why = format!(
            "The check “{}” was paused, so it is unknown whether it passes",
            after.name.trim()
        );
        let now = tx.now;
        release(tx, &alarm(&row, &after, false, why, String::new(), now))?;
    }
    get(tx.conn, id)
}

fn existing(conn: &mut Conn, id: &CheckId) -> Result<CheckRow> {
    let row = row(conn, id)?;
    match row.gone_at {
        None => Ok(row),
        Some(_) => Err(Error::NotFound(format!("check {id}"))),
    }
}

/// Deletes a check. Its firing alert is resolved.
///
/// # Errors
/// `NotFound` if the check does not exist or is already deleted.
pub fn delete(tx: &mut Tx<'_>, id: &CheckId) -> Result<()> {
    let row = existing(tx.conn, id)?;
    diesel::update(c::table.find(id.as_str()))
        .set((
            c::gone_at.eq(Some(tx.now)),
            c::headers.eq("{}"),
            c::version.eq(c::version + 1),
            c::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(Event::new(Action::CheckDeleted, "check", id.as_str()));
    let given = row.given()?;
    let why = format!(
        "The check “{}” was deleted, so it is unknown whether it passes",
        given.name
    );
    let now = tx.now;
    release(tx, &alarm(&row, &given, false, why, String::new(), now))
}

pub(super) fn alarm<'a>(
    row: &'a CheckRow,
    given: &'a NewCheck,
    firing: bool,
    title: String,
    text: String,
    at: Timestamp,
) -> Alarm<'a> {
    Alarm {
        kind: Kind::HttpCheck,
        id: row.id.as_str(),
        name: &given.name,
        severity: given.severity,
        resources: &given.resources,
        firing,
        title,
        text,
        at,
    }
}
