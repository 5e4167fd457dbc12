//! HTTP checks: what is asked, how often, what is expected, and what came of it.
//!
//! Must never happen here: a header's value shown again, or an alert before so many failures in a row.

use std::collections::BTreeMap;

use diesel::prelude::*;
use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::verdict::{Expected, Statuses};
use super::{Alarm, Kind, check_range, check_resources, patched, release, without_query};
use crate::audit::{Action, Event, Tx};
use crate::db::Conn;
use crate::db::schema::checks as c;
use crate::directory::{Check as Input, ResourceRef};
use crate::egress::{Policy, check_url};
use crate::error::{Error, FieldError, Result};
use crate::id::CheckId;
use crate::incident::{Severity, word_enum};
use crate::time::Timestamp;

word_enum! {
    /// How it is asked.
    #[derive(Default)]
    CheckMethod, "a method" {
        /// With the body.
        #[default]
        Get = "get",
        /// Without.
        Head = "head",
    }
}

word_enum! {
    /// What is known of what is checked.
    CheckState, "a state of a check" {
        /// Not asked yet, or not often enough.
        New = "new",
        /// As expected.
        Up = "up",
        /// Not as expected, so many times in a row.
        Down = "down",
    }
}

/// A check to make. Left out: what the description says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCheck {
    /// What people call it.
    pub name: String,
    /// What is asked. Where it may lead is said by `CANDOR_CHECK_ALLOW`.
    pub url: String,
    /// `get` if not given.
    #[serde(default)]
    pub method: CheckMethod,
    /// The status is one of these: `200`, `"200-299"`. Every success if not given.
    #[serde(default = "Statuses::success")]
    #[schema(value_type = Vec<String>)]
    pub status: Vec<Statuses>,
    /// The body holds this text; its first 256 KiB are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
    /// The body does not hold this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_lacks: Option<String>,
    /// The answer takes this long at most, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_at_most_ms: Option<u64>,
    /// The certificate holds for so many days at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_days_at_least: Option<u32>,
    /// Asked every so many seconds, 10 or more; 60 if not given.
    #[serde(default = "usual_period")]
    pub every_seconds: i64,
    /// Seconds in which it must answer, at most 60 and at most as long as the period; 10 if not given.
    #[serde(default = "usual_timeout")]
    pub timeout_seconds: i64,
    /// Failures in a row after which it is down; 3 if not given.
    #[serde(default = "usual_failures")]
    pub failures: i64,
    /// Good answers in a row after which it is up again; 1 if not given.
    #[serde(default = "usual_recoveries")]
    pub recoveries: i64,
    /// How bad the incident is that it opens; `major` if not given.
    #[serde(default = "usual_severity")]
    pub severity: Severity,
    /// What is affected while it is down.
    #[serde(default)]
    pub resources: Vec<ResourceRef>,
    /// Sent along. Their values are never shown again.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Whether up to 5 redirects are followed, each to where the URL itself may lead; else they are answers.
    #[serde(default)]
    pub follow_redirects: bool,
    /// Not asked while this is so.
    #[serde(default)]
    pub paused: bool,
}

fn usual_period() -> i64 {
    60
}
fn usual_timeout() -> i64 {
    10
}
fn usual_failures() -> i64 {
    3
}
fn usual_recoveries() -> i64 {
    1
}
pub(super) fn usual_severity() -> Severity {
    Severity::Major
}

/// What came of asking once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CheckResult {
    /// When it was asked.
    pub at: Timestamp,
    /// Whether the answer was as expected.
    pub ok: bool,
    /// What was wrong.
    pub problems: Vec<String>,
    /// The status of the answer; null where there was none.
    pub status: Option<u16>,
    /// How long it took, in milliseconds; null where there was no answer.
    pub latency_ms: Option<u64>,
    /// When the certificate runs out.
    pub certificate_expires_at: Option<Timestamp>,
}

/// A check, as shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Check {
    /// Its id.
    pub id: CheckId,
    /// As it was given, but for the values of its headers.
    #[serde(flatten)]
    pub given: NewCheck,
    /// What is known.
    pub state: CheckState,
    /// Since when it is in that state.
    pub changed_at: Option<Timestamp>,
    /// Failures in a row so far.
    pub failed_in_a_row: i64,
    /// The last answer.
    pub last: Option<CheckResult>,
    /// When it is asked next.
    pub next_at: Timestamp,
    /// When it was deleted.
    pub gone_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(Clone, Queryable)]
pub(super) struct Row {
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
    gone_at: Option<Timestamp>,
    created_at: Timestamp,
    _updated_at: Timestamp,
}

impl Row {
    /// As it was given, headers and all.
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

/// Sent by the client itself, or a matter of the connection.
const NOT_GIVEN: [&str; 8] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
];
const MOST_HEADERS: usize = 20;
const LONGEST: usize = 4_096;

fn check(conn: &mut Conn, new: &NewCheck, policy: Policy) -> Result<()> {
    let mut input = Input::default();
    input.name("/name", &new.name);
    let errors = &mut input.errors;
    if let Err(detail) = check_url(&new.url, policy) {
        errors.push(FieldError::at("/url", detail));
    }
    if new.status.is_empty() {
        errors.push(FieldError::at(
            "/status",
            "is an empty list; leave it out for every success",
        ));
    }
    for (pointer, text) in [
        ("/body_contains", &new.body_contains),
        ("/body_lacks", &new.body_lacks),
    ] {
        let Some(text) = text else { continue };
        if text.is_empty() {
            errors.push(FieldError::at(pointer, "must not be empty"));
        } else if text.len() > LONGEST {
            errors.push(FieldError::at(pointer, format!("is longer than {LONGEST} bytes")));
        } else if new.method == CheckMethod::Head {
            errors.push(FieldError::at(pointer, "an answer to HEAD has no body"));
        }
    }
    if let Some(most) = new.latency_at_most_ms {
        check_range(
            errors,
            "/latency_at_most_ms",
            i64::try_from(most).unwrap_or(i64::MAX),
            1,
            60_000,
        );
    }
    if let Some(days) = new.certificate_days_at_least {
        check_range(errors, "/certificate_days_at_least", i64::from(days), 1, 3_650);
        if !new.url.starts_with("https:") {
            errors.push(FieldError::at(
                "/certificate_days_at_least",
                "the URL is not https",
            ));
        }
    }
    check_range(errors, "/every_seconds", new.every_seconds, 10, 86_400);
    check_range(
        errors,
        "/timeout_seconds",
        new.timeout_seconds,
        1,
        new.every_seconds.clamp(1, 60),
    );
    check_range(errors, "/failures", new.failures, 1, 100);
    check_range(errors, "/recoveries", new.recoveries, 1, 100);
    if new.headers.len() > MOST_HEADERS {
        errors.push(FieldError::at(
            "/headers",
            format!("are more than {MOST_HEADERS}"),
        ));
    }
    for (name, value) in &new.headers {
        let pointer = format!("/headers/{}", name.replace('~', "~0").replace('/', "~1"));
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            errors.push(FieldError::at(&pointer, "is not the name of a header"));
        } else if NOT_GIVEN.contains(&name.to_ascii_lowercase().as_str()) {
            errors.push(FieldError::at(&pointer, "is set by the request itself"));
        }
        if HeaderValue::from_str(value).is_err() || value.len() > LONGEST {
            errors.push(FieldError::at(&pointer, "is not a value of a header"));
        }
    }
    check_resources(conn, &new.resources, errors)?;
    input.finish()
}

/// What an event says of a check: everything but the values of its headers, and of the URL no query, which may hold a key.
fn told(new: &NewCheck) -> Result<Value> {
    let mut told = serde_json::to_value(new)?;
    told["headers"] = json!(new.headers.keys().collect::<Vec<_>>());
    told["url"] = json!(without_query(&new.url));
    Ok(told)
}

/// Makes a check. It is asked at once.
///
/// # Errors
/// `Invalid`, field by field.
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
    tx.record(Event::new(Action::CheckCreated, "check", id.as_str()).after(told(new)?));
    get(tx.conn, &id)
}

/// The check without the values of its headers, and these apart.
fn stored(new: &NewCheck) -> Result<(String, String)> {
    let headers = serde_json::to_string(&new.headers)?;
    let target = NewCheck {
        name: new.name.trim().to_owned(),
        headers: BTreeMap::new(),
        ..new.clone()
    };
    Ok((serde_json::to_string(&target)?, headers))
}

pub(super) fn row(conn: &mut Conn, id: &CheckId) -> Result<Row> {
    c::table
        .find(id.as_str())
        .first::<Row>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("check {id}")))
}

/// The check of that id, gone or not.
///
/// # Errors
/// `NotFound`.
pub fn get(conn: &mut Conn, id: &CheckId) -> Result<Check> {
    row(conn, id)?.view()
}

/// Checks that are there, oldest first, after the given one.
///
/// # Errors
/// What the database answers.
pub fn list(conn: &mut Conn, after: Option<&str>, limit: i64) -> Result<Vec<Check>> {
    c::table
        .filter(c::gone_at.is_null())
        .filter(c::id.gt(after.unwrap_or("")))
        .order(c::id)
        .limit(limit)
        .load::<Row>(conn)?
        .into_iter()
        .map(Row::view)
        .collect()
}

/// Changes what is given: a JSON merge patch. It is asked at once, and counts from the start; what is down stays down until
/// it answers well, or is paused.
///
/// # Errors
/// `NotFound`, also where it is gone; `Invalid`, field by field.
pub fn change(tx: &mut Tx<'_>, id: &CheckId, patch: &Value, policy: Policy) -> Result<Check> {
    let row = there(tx.conn, id)?;
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
            .before(told(&before)?)
            .after(told(&after)?),
    );
    if after.paused {
        let why = format!(
            "The check “{}” was paused: it is not known whether it passes",
            after.name.trim()
        );
        let now = tx.now;
        release(tx, &alarm(&row, &after, false, why, String::new(), now))?;
    }
    get(tx.conn, id)
}

fn there(conn: &mut Conn, id: &CheckId) -> Result<Row> {
    let row = row(conn, id)?;
    match row.gone_at {
        None => Ok(row),
        Some(_) => Err(Error::NotFound(format!("check {id}"))),
    }
}

/// Ends a check. What it said is wrong counts as over.
///
/// # Errors
/// `NotFound`, also where it has ended already.
pub fn delete(tx: &mut Tx<'_>, id: &CheckId) -> Result<()> {
    let row = there(tx.conn, id)?;
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
        "The check “{}” was deleted: it is not known whether it passes",
        given.name
    );
    let now = tx.now;
    release(tx, &alarm(&row, &given, false, why, String::new(), now))
}

fn alarm<'a>(
    row: &'a Row,
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

/// What is expected.
pub(super) fn expected(given: &NewCheck) -> Expected {
    Expected {
        status: given.status.clone(),
        body_contains: given.body_contains.clone(),
        body_lacks: given.body_lacks.clone(),
        latency_at_most_ms: given.latency_at_most_ms,
        certificate_days_at_least: given.certificate_days_at_least,
    }
}

/// Records what came of asking, and tells the intake where that changes what is known.
///
/// # Errors
/// What the database answers.
pub(super) fn record(tx: &mut Tx<'_>, id: &CheckId, version: i64, result: &CheckResult) -> Result<()> {
    let row = row(tx.conn, id)?;
    // Changed, paused or deleted while it was asked: the answer is to another question.
    if row.version != version || row.gone_at.is_some() {
        return Ok(());
    }
    let given = row.given()?;
    let before = row.state()?;
    let (failures, successes) = match result.ok {
        true => (0, row.successes + 1),
        false => (row.failures + 1, 0),
    };
    let after = match (before, result.ok) {
        (CheckState::Down, true) if successes >= given.recoveries => CheckState::Up,
        (CheckState::New, true) => CheckState::Up,
        (_, false) if failures >= given.failures => CheckState::Down,
        (same, _) => same,
    };
    let failing_since = match (after, result.ok) {
        (CheckState::Down, _) | (_, false) => row.failing_since.or(Some(result.at)),
        (_, true) => None,
    };
    let changed = after != before;
    let again = after == CheckState::Down
        && !result.ok
        && row.told_at.is_none_or(|told| told.plus(super::AGAIN) <= tx.now);
    let fires = after == CheckState::Down && (changed || again);
    let stored = diesel::update(c::table.find(id.as_str()).filter(c::version.eq(version)))
        .set((
            c::state.eq(after.as_str()),
            c::failures.eq(failures),
            c::successes.eq(successes),
            c::failing_since.eq(failing_since),
            c::result.eq(Some(serde_json::to_string(result)?)),
            changed.then_some(c::changed_at.eq(Some(tx.now))),
            fires.then_some(c::told_at.eq(Some(tx.now))),
        ))
        .execute(tx.conn)?;
    if stored == 0 {
        return Ok(());
    }
    let name = &given.name;
    let incident = if fires {
        let since = failing_since.unwrap_or(result.at);
        let text = format!(
            "{} {}\n{}",
            given.method.as_str().to_ascii_uppercase(),
            without_query(&given.url),
            result.problems.join("\n")
        );
        super::tell(
            tx,
            &alarm(&row, &given, true, format!("Check failed: {name}"), text, since),
        )?
    } else if changed && before == CheckState::Down {
        let text = String::new();
        super::tell(
            tx,
            &alarm(
                &row,
                &given,
                false,
                format!("Check passes: {name}"),
                text,
                result.at,
            ),
        )?
    } else {
        None
    };
    if changed {
        let event = Event::new(Action::CheckState, "check", id.as_str())
            .before(json!({"state": before}))
            .after(json!({"state": after, "at": result.at, "problems": result.problems}));
        tx.record(match &incident {
            Some(incident) => event.incident(incident),
            None => event,
        });
    }
    Ok(())
}
