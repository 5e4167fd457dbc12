//! Incidents: what happened, when, and what it affects, from investigating to resolved.
//!
//! A change of an incident notifies no customer. If two requests change the status to the same value at the
//! same time, one of them fails. A resource becomes affected only if somebody or an alert added it.

pub mod affected;
mod episode;
pub mod metrics;
mod naming;
pub mod next_step;
pub mod report;
pub mod seen;
pub mod timeline;
pub mod window;

pub use episode::{Reopening, began_at, number as episode_of, reopenings};
pub(crate) use naming::rename;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::audit::{Action, Event, Tx};
use crate::base::check::{Check, check_text};
use crate::base::enums::word_enum;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::IncidentId;
use crate::base::time::{Timestamp, ZonedTime};
use crate::db::schema::{counters, incidents as i};
use crate::db::{Conn, dialect};
use crate::directory::ResourceRef;

word_enum! {
    /// The severity of an incident.
    Severity, "a severity" {
        /// Nothing works, or data is lost.
        Critical = "critical",
        /// An important function does not work.
        Major = "major",
        /// A problem with little effect.
        Minor = "minor",
    }
}

word_enum! {
    /// The state of the work on an incident.
    #[schema(as = IncidentStatus)]
    Status, "a status" {
        /// The cause is not known yet.
        Investigating = "investigating",
        /// The cause is known.
        Identified = "identified",
        /// The problem appears to be fixed and is observed.
        Monitoring = "monitoring",
        /// The incident is over.
        Resolved = "resolved",
    }
}

/// The longest title, in characters.
const MAX_TITLE: usize = 300;

/// A new incident.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewIncident {
    /// The title, for the people who work on the incident. Customers do not see it.
    pub title: String,
    /// The severity.
    pub severity: Severity,
    /// A description for the people who work on the incident. Customers do not see it.
    #[serde(default)]
    pub summary: Option<String>,
    /// When customers began to be affected. The default is the time of detection, but not later than now.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When the incident was detected. The default is now.
    #[serde(default)]
    pub detected_at: Option<Timestamp>,
    /// The IANA time zone in which the people who work on the incident read times, for example
    /// `Europe/Berlin`.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// The affected resources.
    #[serde(default)]
    pub affected: Vec<ResourceRef>,
}

/// A change of an incident. Fields that are left out do not change.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IncidentPatch {
    /// The new title.
    pub title: Option<String>,
    /// The new severity.
    pub severity: Option<Severity>,
    /// The new summary.
    pub summary: Option<String>,
    /// The new start time. From then on, alerts no longer move the start time.
    pub started_at: Option<Timestamp>,
    /// The new time of detection.
    pub detected_at: Option<Timestamp>,
    /// The new IANA time zone.
    pub time_zone: Option<String>,
}

/// A change of the status.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusChange {
    /// The new status.
    pub status: Status,
    /// A message for the timeline. Customers do not see it.
    #[serde(default)]
    pub message: Option<String>,
    /// When the status changed. The default is now.
    #[serde(default)]
    pub at: Option<ZonedTime>,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Incident {
    /// The ID of the incident.
    pub id: IncidentId,
    /// The number of the incident, from 1. Pages and messages show it as `#17`.
    pub number: i64,
    /// The title, for the people who work on the incident.
    pub title: String,
    /// The severity.
    pub severity: Severity,
    /// The state of the work.
    pub status: Status,
    /// A description for the people who work on the incident.
    pub summary: Option<String>,
    /// The IANA time zone in which the people who work on the incident read times.
    pub time_zone: Option<String>,
    /// When customers began to be affected.
    pub started_at: Timestamp,
    /// When the incident was detected.
    pub detected_at: Timestamp,
    /// When the incident was resolved. Null while it is not resolved.
    pub resolved_at: Option<Timestamp>,
    /// When the incident was opened in Candor.
    pub created_at: Timestamp,
    /// When the incident was last changed.
    pub updated_at: Timestamp,
    /// The number of alerts of the incident, each counted once.
    pub alerts: i64,
    /// The number of messages about these alerts, including repeats.
    pub alerts_received: i64,
    /// The earlier incident of the same problem, which was resolved before this one was opened.
    pub earlier: Option<IncidentId>,
    /// The number of the current episode: 1, and one more after each reopening. Notifications are counted for
    /// each episode.
    pub episode: i64,
}

#[derive(Insertable, Queryable)]
#[diesel(table_name = i)]
#[diesel(treat_none_as_default_value = false)]
struct Row {
    id: IncidentId,
    number: i64,
    title: String,
    severity: String,
    status: String,
    summary: Option<String>,
    time_zone: Option<String>,
    started_at: Timestamp,
    detected_at: Timestamp,
    resolved_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
    earlier_id: Option<IncidentId>,
    alerts_received: i64,
    alert_count: i64,
    episode: i64,
}

fn view(row: Row) -> Result<Incident> {
    Ok(Incident {
        severity: Severity::parse(&row.severity).map_err(Error::internal)?,
        status: Status::parse(&row.status).map_err(Error::internal)?,
        id: row.id,
        number: row.number,
        title: row.title,
        summary: row.summary,
        time_zone: row.time_zone,
        started_at: row.started_at,
        detected_at: row.detected_at,
        resolved_at: row.resolved_at,
        created_at: row.created_at,
        updated_at: row.updated_at,
        alerts: row.alert_count,
        alerts_received: row.alerts_received,
        earlier: row.earlier_id,
        episode: row.episode,
    })
}

/// Increases the counts of an incident by the number of new alerts and by the number of messages.
pub(crate) fn count_alerts(conn: &mut Conn, id: &IncidentId, new: i64, received: i64) -> Result<()> {
    diesel::update(i::table.find(id.as_str()))
        .set((
            i::alert_count.eq(i::alert_count + new),
            i::alerts_received.eq(i::alerts_received + received),
        ))
        .execute(conn)?;
    Ok(())
}

/// The state of an incident, without its texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The ID of the incident.
    pub id: IncidentId,
    /// The number of the incident.
    pub number: i64,
    /// The state of the work.
    pub status: Status,
    /// When the incident was resolved.
    pub resolved_at: Option<Timestamp>,
}

/// Returns the state of an incident.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn standing(conn: &mut Conn, id: &IncidentId) -> Result<Standing> {
    let row: Option<(i64, String, Option<Timestamp>)> = i::table
        .find(id.as_str())
        .select((i::number, i::status, i::resolved_at))
        .first(conn)
        .optional()?;
    let (number, status, resolved_at) = row.ok_or_else(|| Error::NotFound(format!("incident {id}")))?;
    Ok(Standing {
        id: id.clone(),
        number,
        status: Status::parse(&status).map_err(Error::internal)?,
        resolved_at,
    })
}

/// Returns the number of the first later incident of the same problem, which refers to this one as the
/// earlier incident.
pub fn came_back_as(conn: &mut Conn, id: &IncidentId) -> Result<Option<i64>> {
    Ok(i::table
        .filter(i::earlier_id.eq(id.as_str()))
        .order(i::number)
        .select(i::number)
        .first(conn)
        .optional()?)
}

/// Returns the incident with this ID.
///
/// # Errors
/// `NotFound` if no incident has this ID.
pub fn get(conn: &mut Conn, id: &IncidentId) -> Result<Incident> {
    let row: Option<Row> = i::table.find(id.as_str()).first(conn).optional()?;
    view(row.ok_or_else(|| Error::NotFound(format!("incident {id}")))?)
}

/// Returns the incident with this number.
///
/// # Errors
/// `NotFound` if no incident has this number.
pub fn by_number(conn: &mut Conn, number: i64) -> Result<Incident> {
    let row: Option<Row> = i::table.filter(i::number.eq(number)).first(conn).optional()?;
    view(row.ok_or_else(|| Error::NotFound(format!("incident #{number}")))?)
}

/// Returns the incidents that match the filters, newest first, below the given number.
pub fn list(
    conn: &mut Conn,
    status: Option<Status>,
    severity: Option<Severity>,
    below: Option<i64>,
    limit: i64,
) -> Result<Vec<Incident>> {
    let mut query = i::table.into_boxed::<crate::db::Backend>();
    if let Some(status) = status {
        query = query.filter(i::status.eq(status.as_str()));
    }
    if let Some(severity) = severity {
        query = query.filter(i::severity.eq(severity.as_str()));
    }
    if let Some(below) = below {
        query = query.filter(i::number.lt(below));
    }
    let rows: Vec<Row> = query.order(i::number.desc()).limit(limit).load(conn)?;
    rows.into_iter().map(view).collect()
}

fn check_title(errors: &mut Vec<FieldError>, title: &str) {
    if title.trim().is_empty() {
        errors.push(FieldError::at("/title", "must not be empty"));
    }
    if title.chars().count() > MAX_TITLE {
        errors.push(FieldError::at(
            "/title",
            format!("is longer than {MAX_TITLE} characters"),
        ));
    }
    if title.chars().any(char::is_control) {
        errors.push(FieldError::at(
            "/title",
            "contains a control character, such as a line break",
        ));
    }
}

fn check_past(errors: &mut Vec<FieldError>, pointer: &str, at: Option<Timestamp>, now: Timestamp) {
    // One minute of tolerance, because clocks differ.
    if at.is_some_and(|at| at > now.plus(std::time::Duration::from_secs(60))) {
        errors.push(FieldError::at(
            pointer,
            format!("must not be in the future; the time of this server is {now}"),
        ));
    }
}

fn finish(errors: Vec<FieldError>) -> Result<()> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::fields(errors))
    }
}

/// Opens an incident for somebody who writes its title.
///
/// # Errors
/// `Invalid` if a field is wrong, a time is in the future, or an affected resource is not known.
pub fn open(tx: &mut Tx<'_>, new: &NewIncident) -> Result<Incident> {
    let incident = open_after(tx, new, None)?;
    naming::hold(tx, &incident.id)?;
    Ok(incident)
}

/// Opens an incident with a title that Candor made. `earlier` is the earlier, resolved incident of the same problem.
///
/// # Errors
/// As for [`open`].
pub fn open_after(tx: &mut Tx<'_>, new: &NewIncident, earlier: Option<&IncidentId>) -> Result<Incident> {
    let mut check = Check::default();
    check_title(&mut check.errors, &new.title);
    if let Some(summary) = &new.summary {
        check_text(&mut check.errors, "/summary", summary);
    }
    check.time_zone("/time_zone", new.time_zone.as_deref());
    check_past(&mut check.errors, "/started_at", new.started_at, tx.now);
    check_past(&mut check.errors, "/detected_at", new.detected_at, tx.now);
    check.finish()?;
    let number: i64 = diesel::update(counters::table.find("incident"))
        .set(counters::value.eq(counters::value + 1))
        .returning(counters::value)
        .get_result(tx.conn)?;
    let id = IncidentId::new(tx.now);
    let detected_at = new.detected_at.unwrap_or(tx.now);
    let row = Row {
        id: id.clone(),
        number,
        title: new.title.trim().to_owned(),
        severity: new.severity.as_str().to_owned(),
        status: Status::Investigating.as_str().to_owned(),
        summary: new.summary.clone(),
        time_zone: new.time_zone.clone(),
        started_at: new.started_at.unwrap_or(detected_at.min(tx.now)),
        detected_at,
        resolved_at: None,
        created_at: tx.now,
        updated_at: tx.now,
        earlier_id: earlier.cloned(),
        alerts_received: 0,
        alert_count: 0,
        episode: 1,
    };
    diesel::insert_into(i::table).values(&row).execute(tx.conn)?;
    let mut after = json!({
        "number": number, "title": row.title, "severity": row.severity,
        "started_at": row.started_at, "detected_at": row.detected_at,
    });
    if let Some(earlier) = earlier {
        after["earlier"] = json!(earlier);
    }
    tx.record(
        Event::new(Action::IncidentOpened, "incident", id.as_str())
            .incident(&id)
            .after(after),
    );
    timeline::note(
        tx,
        &id,
        timeline::Kind::Detected,
        row.detected_at,
        "Incident opened",
    )?;
    if !new.affected.is_empty() {
        affected::add(tx, &id, &new.affected, affected::Source::Operator).map_err(|error| match error {
            // The error names the field `resources`, but this request calls it `affected`.
            Error::Invalid { errors, .. } => Error::fields(
                errors
                    .into_iter()
                    .map(|mut e| {
                        e.pointer = e.pointer.map(|p| p.replacen("/resources", "/affected", 1));
                        e
                    })
                    .collect(),
            ),
            other => other,
        })?;
    }
    get(tx.conn, &id)
}

/// Changes an incident for somebody. What they wrote, no alert changes afterwards.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if a field is wrong.
pub fn change(tx: &mut Tx<'_>, id: &IncidentId, patch: &IncidentPatch) -> Result<Incident> {
    let after = store(tx, id, patch)?;
    if patch.started_at.is_some() {
        window::hold(tx, id)?;
    }
    if patch.title.is_some() {
        naming::hold(tx, id)?;
    }
    Ok(after)
}

fn store(tx: &mut Tx<'_>, id: &IncidentId, patch: &IncidentPatch) -> Result<Incident> {
    let mut check = Check::default();
    if let Some(title) = &patch.title {
        check_title(&mut check.errors, title);
    }
    if let Some(summary) = &patch.summary {
        check_text(&mut check.errors, "/summary", summary);
    }
    check.time_zone("/time_zone", patch.time_zone.as_deref());
    check_past(&mut check.errors, "/started_at", patch.started_at, tx.now);
    check_past(&mut check.errors, "/detected_at", patch.detected_at, tx.now);
    check.finish()?;
    dialect::lock(tx.conn, dialect::Lock::Incident, id.as_str())?;
    let before = get(tx.conn, id)?;
    let after = Incident {
        title: patch
            .title
            .as_deref()
            .map_or(before.title.clone(), |title| title.trim().to_owned()),
        severity: patch.severity.unwrap_or(before.severity),
        summary: patch.summary.clone().or(before.summary.clone()),
        started_at: patch.started_at.unwrap_or(before.started_at),
        detected_at: patch.detected_at.unwrap_or(before.detected_at),
        time_zone: patch.time_zone.clone().or(before.time_zone.clone()),
        updated_at: tx.now,
        ..before.clone()
    };
    if patch.started_at.is_some() {
        check_order(after.started_at, before.resolved_at, "/started_at")?;
    }
    diesel::update(i::table.find(id.as_str()))
        .set((
            i::title.eq(&after.title),
            i::severity.eq(after.severity.as_str()),
            i::summary.eq(&after.summary),
            i::started_at.eq(after.started_at),
            i::detected_at.eq(after.detected_at),
            i::time_zone.eq(&after.time_zone),
            i::updated_at.eq(after.updated_at),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::IncidentChanged, "incident", id.as_str())
            .incident(id)
            .before(serde_json::to_value(&before)?)
            .after(serde_json::to_value(&after)?),
    );
    Ok(after)
}

/// Changes the status of an incident and writes it on the timeline. This notifies no customer. A change from
/// resolved to any other status is a reopening and begins a new episode.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Conflict` if it already has this status; of two requests at
/// the same time, one gets this error. `Invalid` if a time is in the future, or if the end would be before
/// the start.
pub fn set_status(tx: &mut Tx<'_>, id: &IncidentId, change: &StatusChange) -> Result<Incident> {
    let mut errors = Vec::new();
    if let Some(message) = &change.message {
        check_text(&mut errors, "/message", message);
    }
    check_past(&mut errors, "/at", change.at.map(|zoned| zoned.at), tx.now);
    finish(errors)?;
    dialect::lock(tx.conn, dialect::Lock::Incident, id.as_str())?;
    let before = get(tx.conn, id)?;
    if before.status == change.status {
        return Err(Error::Conflict(format!(
            "incident #{} is already {}",
            before.number, before.status
        )));
    }
    let at = change.at.unwrap_or(ZonedTime {
        // The start can be slightly in the future, because clocks differ and can be set back.
        at: match change.status {
            Status::Resolved => tx.now.max(before.started_at),
            _ => tx.now,
        },
        offset: 0,
    });
    let resolved_at = (change.status == Status::Resolved).then_some(at.at);
    check_order(before.started_at, resolved_at, "/at")?;
    diesel::update(i::table.find(id.as_str()))
        .set((
            i::status.eq(change.status.as_str()),
            i::resolved_at.eq(resolved_at),
            i::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    let kind = match change.status {
        Status::Investigating => timeline::Kind::Investigating,
        Status::Identified => timeline::Kind::Identified,
        Status::Monitoring => timeline::Kind::Monitoring,
        Status::Resolved => timeline::Kind::Resolved,
    };
    let text = match &change.message {
        Some(message) if !message.trim().is_empty() => message.trim().to_owned(),
        _ => format!("Status changed from {} to {}", before.status, change.status),
    };
    timeline::insert(tx, id, kind, at, &text, true, true)?;
    tx.record(
        Event::new(Action::IncidentStatus, "incident", id.as_str())
            .incident(id)
            .before(json!({"status": before.status, "resolved_at": before.resolved_at}))
            .after(json!({"status": change.status, "resolved_at": resolved_at, "at": at.at})),
    );
    if before.status == Status::Resolved {
        episode::begin(tx, &before, at.at)?;
    }
    get(tx.conn, id)
}

/// Checks that an incident does not end before it began.
fn check_order(started_at: Timestamp, resolved_at: Option<Timestamp>, pointer: &str) -> Result<()> {
    match resolved_at {
        Some(resolved_at) if resolved_at < started_at => Err(Error::invalid(
            pointer,
            format!(
                "the incident would end at {resolved_at}, before its start at {started_at}; change the other time first"
            ),
        )),
        _ => Ok(()),
    }
}
