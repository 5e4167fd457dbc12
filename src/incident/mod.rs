//! Incidents: what happened, when, and what it affects, from investigating to resolved.
//!
//! A change of an incident notifies no customer. If two requests change the status to the same value at the
//! same time, one of them fails. A resource becomes affected only if somebody or an alert added it.

pub mod affected;
pub mod affected_people;
mod affected_rows;
mod check;
pub mod drill;
mod episode;
pub mod finding;
pub mod lineage;
pub mod list;
pub mod merge;
pub mod metrics;
mod naming;
pub mod next_step;
mod open;
mod patch;
pub mod planned;
pub(crate) mod reasons;
pub mod recovery;
pub mod report;
pub mod reports_due;
mod stored;
pub mod timeline;
pub mod users_in_events;
pub mod window;

pub use episode::{Reopening, began_at, number as episode_of, reopenings};
pub use list::{Filter, list};
pub(crate) use naming::rename;
pub use open::count_open;
pub use patch::IncidentPatch;
pub(crate) use stored::count_alerts;
pub use stored::{
    Incident, OPEN, Severity, Standing, Status, by_number, came_back_as, get, numbers, of_ids, standing,
};

use diesel::prelude::*;
use serde::Deserialize;
use serde_json::json;

use crate::audit::{Action, Event, Tx};
use crate::base::check::{Check, check_headline, check_text};
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::IncidentId;
use crate::base::time::{Timestamp, ZonedTime};
use crate::db::dialect;
use crate::db::schema::{counters, incidents as i};
use crate::directory::ResourceRef;
use check::{check_order, check_past, check_title, finish};
use patch::store;
use stored::IncidentRow;

/// An incident to open. Its first status is `investigating`.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewIncident {
    /// The title, for the people who work on the incident. Customers do not see it.
    pub title: String,
    /// The severity of the incident: `critical`, `major` or `minor`.
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
    /// The resources that the incident affects. Each must be in the directory and not archived. Default: none.
    #[serde(default)]
    pub affected: Vec<ResourceRef>,
    /// Whether the incident is a drill. Its emails go only to the addresses of `CANDOR_DRILL_TO`. It cannot be changed afterwards.
    #[serde(default)]
    pub drill: bool,
    /// What customers read about the incident in the subjects and titles of emails, for example
    /// `Some files cannot be opened`. At most 120 characters.
    #[serde(default)]
    pub headline: Option<String>,
}

/// A change of the status.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusChange {
    /// The new status, which must differ from the current one. `merged` is refused: merge the incident into another one instead.
    pub status: Status,
    /// A message for the timeline. Customers do not see it.
    #[serde(default)]
    pub message: Option<String>,
    /// When the status changed. The default is now.
    #[serde(default)]
    pub at: Option<ZonedTime>,
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
/// The same as for [`open`].
pub fn open_after(tx: &mut Tx<'_>, new: &NewIncident, earlier: Option<&IncidentId>) -> Result<Incident> {
    let mut check = Check::default();
    check_title(&mut check.errors, &new.title);
    if let Some(summary) = &new.summary {
        check_text(&mut check.errors, "/summary", summary);
    }
    check_headline(&mut check.errors, new.headline.as_deref());
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
    let row = IncidentRow {
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
        drill: new.drill,
        headline: new.headline.as_deref().map(|headline| headline.trim().to_owned()),
        owner: None,
        merged_into: None,
    };
    diesel::insert_into(i::table).values(&row).execute(tx.conn)?;
    let mut after = json!({
        "number": number, "title": row.title, "severity": row.severity,
        "started_at": row.started_at, "detected_at": row.detected_at,
    });
    if new.drill {
        after["drill"] = json!(true);
    }
    if let Some(headline) = &row.headline {
        after["headline"] = json!(headline);
    }
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
        if new.drill {
            "Incident opened as a drill"
        } else {
            "Incident opened"
        },
    )?;
    if !new.affected.is_empty() {
        affected::add(tx, &id, &new.affected, affected::Source::Operator)
            .map_err(|error| error.renamed("/resources", "/affected"))?;
    }
    get(tx.conn, &id)
}

/// Changes an incident for a person. Afterwards no alert changes a title that the person wrote.
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
    if change.status == Status::Merged {
        let detail = "cannot be set; merge the incident into another one instead";
        errors.push(FieldError::at("/status", detail));
    }
    finish(errors)?;
    dialect::lock(tx.conn, dialect::Lock::Incident, id.as_str())?;
    let before = get(tx.conn, id)?;
    lineage::check_not_merged(tx.conn, id)?;
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
        // `merged` is refused above.
        Status::Resolved | Status::Merged => timeline::Kind::Resolved,
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
