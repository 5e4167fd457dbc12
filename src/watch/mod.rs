//! Checks and heartbeats: Candor requests URLs, and jobs report that they are running. Both are alert sources
//! like any other, and their alerts go through the same intake.
//!
//! While Candor itself was down, no heartbeat counts as missing. Each change of a state has an audit event.
//! The headers of a check are never shown again.

pub mod beats;
pub mod check;
mod check_result;
mod check_settings;
pub mod evidence;
pub mod heartbeat;
pub mod runner;
pub mod verdict;

use std::time::Duration;

use diesel::prelude::*;
use serde_json::json;

use crate::alert::intake::{self, Prepared};
use crate::alert::integration::{self, Integration};
use crate::alert::source::{self, Request};
use crate::audit::{Action, Event, Tx};
use crate::auth::hash_secret;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{IncidentId, IntegrationId};
use crate::base::random::random_secret;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{alerts as a, integrations as i};
use crate::directory::{ResourceRef, resource};
use crate::incident::{Severity, timeline};

/// How often an alert is sent again while the problem continues, so that a problem is not forgotten if
/// somebody closed its incident too early.
const AGAIN: Duration = Duration::from_secs(300);
/// The number of resources that one check or heartbeat can name.
const MAX_RESOURCES: usize = 1_000;

/// Whether Candor monitors by an HTTP check or by a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Candor requests a URL by an HTTP check.
    HttpCheck,
    /// A job requests the URL of its heartbeat.
    Heartbeat,
}

impl Kind {
    /// Returns the name of the alert source, as it is stored and shown.
    pub fn source(self) -> &'static str {
        match self {
            Kind::HttpCheck => "http_check",
            Kind::Heartbeat => "heartbeat",
        }
    }

    /// Returns the ID of the built-in integration. It is the same in every database, so that two processes do
    /// not create two integrations.
    fn integration(self) -> &'static str {
        match self {
            Kind::HttpCheck => "00000000-0000-7000-8000-00000000c4ec",
            Kind::Heartbeat => "00000000-0000-7000-8000-00000000bea7",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::HttpCheck => "HTTP checks",
            Kind::Heartbeat => "Heartbeats",
        }
    }
}

/// The content of an alert of a check or heartbeat.
struct Alarm<'a> {
    kind: Kind,
    /// The ID of the check or heartbeat. It is the fingerprint of the alert.
    id: &'a str,
    name: &'a str,
    severity: Severity,
    resources: &'a [ResourceRef],
    firing: bool,
    title: String,
    text: String,
    /// When the problem began or ended.
    at: Timestamp,
}

/// Sends an alert to the intake, in the format of the source `generic`. Returns its incident. `prepared` is from
/// [`intake::write`].
fn tell(tx: &mut Tx<'_>, prepared: &Prepared, alarm: &Alarm<'_>) -> Result<Option<IncidentId>> {
    let integration = builtin(tx, alarm.kind)?;
    let status = if alarm.firing { "firing" } else { "resolved" };
    let when = if alarm.firing { "started_at" } else { "ended_at" };
    let request = Request::json(serde_json::to_vec(&json!({
        "fingerprint": alarm.id, "status": status, "severity": alarm.severity, "title": alarm.title, "text": alarm.text,
        "labels": {alarm.kind.source(): alarm.name}, "resources": alarm.resources, when: alarm.at,
    }))?);
    let mut batch = source::parse("generic", None, &request).map_err(|(pointer, detail)| {
        Error::internal(format!(
            "an alert of a check or of a heartbeat is not valid: {pointer}: {detail}"
        ))
    })?;
    // These alerts are always in order, because the row of the check or heartbeat is locked or has a version.
    // So an alert must not count as late after the clock was set back.
    for alert in &mut batch.alerts {
        alert.event_at = None;
    }
    let taken = intake::take(tx, prepared, &integration, &batch, &request)?;
    let incidents = taken.opened.into_iter().chain(taken.attached);
    Ok(incidents.map(|incident| incident.id).next())
}

/// Returns the built-in integration, and creates it for its first alert. Nobody knows the token of its hook.
fn builtin(tx: &mut Tx<'_>, kind: Kind) -> Result<Integration> {
    let id = IntegrationId::parse(kind.integration()).map_err(Error::internal)?;
    let token = hash_secret(&random_secret()?);
    let made = on_backend!(&mut *tx.conn, c => diesel::insert_into(i::table)
        .values((
            i::id.eq(id.as_str()),
            i::name.eq(kind.name()),
            i::source.eq(kind.source()),
            i::token_hash.eq(&token),
            i::resource_rules.eq("[]"),
            i::open_incident.eq(true),
            i::created_at.eq(tx.now),
            i::updated_at.eq(tx.now),
            i::secrets.eq("[]"),
        ))
        .on_conflict(i::id)
        .do_nothing()
        .execute(c))?;
    if made > 0 {
        let event = Event::new(Action::IntegrationCreated, "integration", id.as_str());
        tx.record(event.after(json!({"name": kind.name(), "source": kind.source(), "built_in": true})));
    }
    integration::get(tx.conn, &id)
}

/// Resolves the firing alert of a check or heartbeat that no longer runs, and notes the reason on the
/// incident.
fn release(tx: &mut Tx<'_>, alarm: &Alarm<'_>) -> Result<()> {
    let incident: Option<Option<IncidentId>> = a::table
        .filter(a::integration_id.eq(alarm.kind.integration()))
        .filter(a::fingerprint.eq(alarm.id))
        .filter(a::status.eq("firing"))
        .select(a::incident_id)
        .first(tx.conn)
        .optional()?;
    let Some(incident) = incident else { return Ok(()) };
    if let Some(incident) = incident {
        timeline::note(tx, &incident, timeline::Kind::Note, tx.now, &alarm.title)?;
    }
    // No condition is asked about the end of an alert.
    tell(tx, &Prepared::default(), alarm)?;
    Ok(())
}

/// Adds an error for each resource that the directory does not know.
fn check_resources(conn: &mut Conn, resources: &[ResourceRef], errors: &mut Vec<FieldError>) -> Result<()> {
    if resources.len() > MAX_RESOURCES {
        let detail = format!("has more than {MAX_RESOURCES} resources");
        errors.push(FieldError::at("/resources", detail));
        return Ok(());
    }
    let known = resource::keys(conn, &resources.iter().collect::<Vec<_>>())?;
    for (index, at) in resources.iter().enumerate() {
        if !known.contains_key(at) {
            let detail = format!("{at} is not in the directory");
            errors.push(FieldError::at(format!("/resources/{index}"), detail));
        }
    }
    Ok(())
}

/// Adds an error if a number is out of range.
fn check_range(errors: &mut Vec<FieldError>, pointer: &str, value: i64, least: i64, most: i64) {
    if !(least..=most).contains(&value) {
        errors.push(FieldError::at(pointer, format!("must be from {least} to {most}")));
    }
}

/// Returns a URL without its query, for people and audit events. A query can contain a key.
pub(crate) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// Returns the severity of the alerts of a check or heartbeat that sets none.
fn usual_severity() -> Severity {
    Severity::Major
}
