//! Intake: from a hook's body to alerts, incidents and affected resources, in one transaction.
//!
//! The same problem again (integration, fingerprint, its incident still open) belongs to that incident and opens nothing.
//! A closed incident never takes a new problem in. When all alerts of an incident are resolved it moves to
//! monitoring, and that is all: nobody is told by an alert, and nothing resolves by itself.

use std::collections::BTreeSet;

use diesel::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::integration::Integration;
use super::source::{self, Alert, Batch, Request};
use super::{Row, Status};
use super::{kept, people, rules};
use crate::audit::{Action, Event, Tx};
use crate::db::dialect::{self, on_backend};
use crate::db::schema::{alert_chains as ac, alert_references as ar, alerts as a, timeline_entries as te};
use crate::directory::ResourceRef;
use crate::error::Result;
use crate::id::{AlertId, IncidentId};
use crate::incident::{self, Incident, NewIncident, StatusChange, affected, timeline};
use crate::template::one_line;
use crate::time::Timestamp;

/// What became of a body.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct Taken {
    /// Alerts in the body.
    pub alerts: usize,
    /// Incidents that were opened.
    pub opened: Vec<Incident>,
    /// Incidents that were open and took an alert in.
    pub attached: Vec<Incident>,
    /// Alerts that said that their problem is over.
    pub resolved: usize,
    /// Ids that the directory does not know.
    pub unresolved_references: usize,
    /// What was understood and is no alert: a test of the connection, a note on an incident.
    pub ignored: usize,
}

const ALL_RESOLVED: &str = "All alerts are resolved";

/// Keeps a body that is not of the integration's format.
///
/// # Errors
/// What the database answers.
pub fn keep_invalid(
    tx: &mut Tx<'_>,
    integration: &Integration,
    refusal: &source::Refusal,
    request: &Request,
) -> Result<()> {
    let detail = format!("{}: {}", refusal.0, refusal.1);
    kept::keep(tx, &integration.id, false, &detail, request)?;
    tx.record(
        Event::new(Action::HookInvalid, "integration", integration.id.as_str())
            .after(json!({"detail": detail})),
    );
    Ok(())
}

/// Takes a batch in.
///
/// # Errors
/// What the database answers; then nothing of the batch is stored.
pub fn take(tx: &mut Tx<'_>, integration: &Integration, batch: &Batch, request: &Request) -> Result<Taken> {
    // One body of an integration after another: two at once must not open two incidents.
    dialect::lock(tx.conn, dialect::Lock::Integration, integration.id.as_str())?;
    let mut opened: Vec<IncidentId> = Vec::new();
    let mut attached: Vec<IncidentId> = Vec::new();
    let mut unresolved: BTreeSet<ResourceRef> = BTreeSet::new();
    let mut taken = Taken {
        alerts: batch.alerts.len(),
        ignored: batch.ignored.len(),
        ..Taken::default()
    };
    if !batch.ignored.is_empty() {
        let event = Event::new(Action::HookIgnored, "integration", integration.id.as_str());
        let shown: Vec<String> = batch
            .ignored
            .iter()
            .take(10)
            .map(|why| one_line(why, 300))
            .collect();
        tx.record(event.after(json!({"count": batch.ignored.len(), "first": shown})));
    }
    for alert in &batch.alerts {
        let place = if alert.firing {
            fire(tx, integration, alert)?
        } else {
            taken.resolved += 1;
            resolve(tx, integration, alert)?
        };
        let (id, incident) = match place {
            Place::Opened(id, incident) => {
                opened.push(incident.clone());
                (id, Some(incident))
            }
            Place::Attached(id, incident) => {
                if !opened.contains(&incident) && !attached.contains(&incident) {
                    attached.push(incident.clone());
                }
                (id, Some(incident))
            }
            Place::Recorded(id) => (id, None),
            Place::Ended(incident) => {
                if let Some(incident) = incident {
                    settle(tx, &incident)?;
                }
                continue;
            }
        };
        unresolved.extend(refer(tx, integration, alert, &id, incident.as_ref())?);
        people::seen(tx, alert, &id, incident.as_ref())?;
        if let Some(incident) = incident.filter(|_| batch.truncated > 0) {
            note_truncated(tx, &incident, batch.truncated)?;
        }
    }
    for (ids, incidents) in [(&opened, &mut taken.opened), (&attached, &mut taken.attached)] {
        for id in ids {
            incidents.push(incident::get(tx.conn, id)?);
        }
    }
    taken.unresolved_references = unresolved.len();
    let mut detail = format!(
        "{} alerts, {} incidents opened, {} attached to",
        taken.alerts,
        opened.len(),
        attached.len()
    );
    for ignored in batch.ignored.iter().take(10) {
        detail = format!("{detail}; no alert: {ignored}");
    }
    kept::keep(tx, &integration.id, true, &detail, request)?;
    Ok(taken)
}

/// Says on the timeline that the sender left alerts out; once, however often the body comes again.
fn note_truncated(tx: &mut Tx<'_>, incident: &IncidentId, count: u64) -> Result<()> {
    let text = format!("The sender left {count} alerts out: the impact may be larger");
    let said: i64 = te::table
        .filter(te::incident_id.eq(incident.as_str()))
        .filter(te::text.eq(&text))
        .count()
        .get_result(tx.conn)?;
    if said == 0 {
        timeline::note(tx, incident, timeline::Kind::Note, tx.now, &text)?;
    }
    Ok(())
}

enum Place {
    Opened(AlertId, IncidentId),
    Attached(AlertId, IncidentId),
    Recorded(AlertId),
    /// A resolved alert, and the incident of the one that it ended.
    Ended(Option<IncidentId>),
}

/// The newest alerts of a problem; the first one decides.
fn latest(tx: &mut Tx<'_>, integration: &Integration, fingerprint: &str) -> Result<Option<Row>> {
    Ok(a::table
        .filter(a::integration_id.eq(integration.id.as_str()))
        .filter(a::fingerprint.eq(fingerprint))
        .order((a::received_at.desc(), a::id.desc()))
        .first(tx.conn)
        .optional()?)
}

fn fire(tx: &mut Tx<'_>, integration: &Integration, alert: &Alert) -> Result<Place> {
    let known = latest(tx, integration, &alert.fingerprint)?;
    let open = match known.as_ref().and_then(|row| row.11.clone()) {
        Some(incident) => {
            dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
            let incident = incident::get(tx.conn, &incident)?;
            (incident.status != incident::Status::Resolved).then_some(incident)
        }
        None => None,
    };
    if let Some(row) = known {
        let firing = row.3 == Status::Firing.as_str();
        // Only recorded ones have no incident to be open.
        if firing && (open.is_some() || row.11.is_none()) {
            diesel::update(a::table.find(row.0.as_str()))
                .set((a::repeats.eq(a::repeats + 1), a::last_received_at.eq(tx.now)))
                .execute(tx.conn)?;
            let event = Event::new(Action::AlertRepeated, "alert", row.0.as_str())
                .after(json!({"repeats": row.12 + 1}));
            tx.record(match &open {
                Some(incident) => event.incident(&incident.id),
                None => event,
            });
            return Ok(match open {
                Some(incident) => Place::Attached(row.0, incident.id),
                None => Place::Recorded(row.0),
            });
        }
        if firing {
            // Its incident was closed by hand while it fired: from here on it counts as a new problem.
            diesel::update(a::table.find(row.0.as_str()))
                .set(a::status.eq(Status::Resolved.as_str()))
                .execute(tx.conn)?;
        }
    }
    if let Some(incident) = open {
        let id = insert(tx, integration, alert, Some(&incident.id))?;
        fires_again(tx, &incident)?;
        return Ok(Place::Attached(id, incident.id));
    }
    if !integration.open_incident {
        return Ok(Place::Recorded(insert(tx, integration, alert, None)?));
    }
    let incident = incident::open(
        tx,
        &NewIncident {
            title: title(alert),
            severity: source::severity(&alert.severity),
            summary: None,
            started_at: Some(alert.started_at.unwrap_or(tx.now).min(tx.now)),
            detected_at: None,
            time_zone: None,
            affected: Vec::new(),
        },
    )?;
    let id = insert(tx, integration, alert, Some(&incident.id))?;
    Ok(Place::Opened(id, incident.id))
}

/// One line that says something, whatever the source wrote: an alert is not lost over its title.
fn title(alert: &Alert) -> String {
    Some(one_line(&alert.title, 300))
        .filter(|title| !title.is_empty())
        .unwrap_or("Alert without a title".to_owned())
}

fn insert(
    tx: &mut Tx<'_>,
    integration: &Integration,
    alert: &Alert,
    incident: Option<&IncidentId>,
) -> Result<AlertId> {
    let id = AlertId::new(tx.now);
    let status = if alert.firing {
        Status::Firing
    } else {
        Status::Resolved
    };
    let severity = Some(one_line(&alert.severity, 100))
        .filter(|word| !word.is_empty())
        .unwrap_or("unknown".to_owned());
    let text: String = alert
        .text
        .chars()
        .take(incident::MAX_TEXT)
        .filter(|c| *c != '\0')
        .collect();
    diesel::insert_into(a::table)
        .values((
            a::id.eq(id.as_str()),
            a::integration_id.eq(integration.id.as_str()),
            a::fingerprint.eq(&alert.fingerprint),
            a::status.eq(status.as_str()),
            a::severity.eq(&severity),
            a::title.eq(title(alert)),
            a::text.eq(text),
            a::labels.eq(serde_json::to_string(&alert.labels)?),
            a::link.eq(alert
                .link
                .as_ref()
                .filter(|link| !link.chars().any(char::is_control))),
            // Of one whose beginning was missed, the end is the earliest that is known.
            a::started_at.eq(alert.started_at.or(alert.ended_at).unwrap_or(tx.now)),
            a::ended_at.eq(alert.ended_at),
            a::incident_id.eq(incident.map(IncidentId::as_str)),
            a::repeats.eq(0),
            a::received_at.eq(tx.now),
            a::last_received_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    let event = Event::new(Action::AlertReceived, "alert", id.as_str()).after(json!({
        "integration": integration.id, "fingerprint": alert.fingerprint, "status": status, "title": alert.title,
        "severity": severity, "started_at": alert.started_at,
    }));
    tx.record(match incident {
        Some(incident) => event.incident(incident),
        None => event,
    });
    Ok(id)
}

fn resolve(tx: &mut Tx<'_>, integration: &Integration, alert: &Alert) -> Result<Place> {
    let known = latest(tx, integration, &alert.fingerprint)?;
    match known {
        Some(row) if row.3 == Status::Firing.as_str() => {
            let ended_at: Timestamp = alert.ended_at.unwrap_or(tx.now);
            diesel::update(a::table.find(row.0.as_str()))
                .set((
                    a::status.eq(Status::Resolved.as_str()),
                    a::ended_at.eq(Some(ended_at)),
                    a::last_received_at.eq(tx.now),
                ))
                .execute(tx.conn)?;
            let event = Event::new(Action::AlertResolved, "alert", row.0.as_str())
                .after(json!({"ended_at": ended_at}));
            tx.record(match &row.11 {
                Some(incident) => event.incident(incident),
                None => event,
            });
            Ok(Place::Ended(row.11))
        }
        // Told twice.
        Some(_) => Ok(Place::Ended(None)),
        // The beginning was missed; what is over opens nothing, but it is on record.
        None => {
            insert(tx, integration, alert, None)?;
            Ok(Place::Ended(None))
        }
    }
}

/// Moves an incident to monitoring when the last of its alerts is resolved.
fn settle(tx: &mut Tx<'_>, id: &IncidentId) -> Result<()> {
    dialect::lock(tx.conn, dialect::Lock::Incident, id.as_str())?;
    let firing: Option<AlertId> = a::table
        .filter(a::incident_id.eq(id.as_str()))
        .filter(a::status.eq(Status::Firing.as_str()))
        .select(a::id)
        .limit(1)
        .first(tx.conn)
        .optional()?;
    if firing.is_some() {
        return Ok(());
    }
    match incident::get(tx.conn, id)?.status {
        incident::Status::Investigating | incident::Status::Identified => {
            let change = StatusChange {
                status: incident::Status::Monitoring,
                message: Some(ALL_RESOLVED.to_owned()),
                at: None,
            };
            incident::set_status(tx, id, &change)?;
        }
        incident::Status::Monitoring | incident::Status::Resolved => {
            timeline::note(tx, id, timeline::Kind::Note, tx.now, ALL_RESOLVED)?;
        }
    }
    Ok(())
}

/// A resolved problem that is back. Where the incident only watched because its alerts had ended, work goes on.
fn fires_again(tx: &mut Tx<'_>, incident: &Incident) -> Result<()> {
    let last: Option<String> = te::table
        .filter(te::incident_id.eq(incident.id.as_str()))
        .filter(te::kind.eq(timeline::Kind::Monitoring.as_str()))
        .filter(te::automatic.eq(true))
        .order(te::id.desc())
        .select(te::text)
        .first(tx.conn)
        .optional()?;
    let by_itself = last.as_deref() == Some(ALL_RESOLVED);
    if incident.status == incident::Status::Monitoring && by_itself {
        let change = StatusChange {
            status: incident::Status::Investigating,
            message: Some("An alert fires again".to_owned()),
            at: None,
        };
        incident::set_status(tx, &incident.id, &change)?;
    } else {
        timeline::note(
            tx,
            &incident.id,
            timeline::Kind::Note,
            tx.now,
            "An alert fires again",
        )?;
    }
    Ok(())
}

/// Makes affected what the alert names, and keeps what the directory does not know. Answers the latter.
fn refer(
    tx: &mut Tx<'_>,
    integration: &Integration,
    alert: &Alert,
    id: &AlertId,
    incident: Option<&IncidentId>,
) -> Result<Vec<ResourceRef>> {
    let chains = rules::chains(&integration.resource_rules, alert);
    let rules::Resolved { all, keys, hit } = rules::resolve(tx.conn, &chains)?;
    if all.is_empty() {
        return Ok(Vec::new());
    }
    if all.iter().any(|at| !keys.contains_key(at)) {
        let chains = serde_json::to_string(&chains)?;
        on_backend!(&mut *tx.conn, c => diesel::insert_into(ac::table)
            .values((ac::alert_id.eq(id.as_str()), ac::chains.eq(&chains)))
            .on_conflict(ac::alert_id)
            .do_update()
            .set(ac::chains.eq(&chains))
            .execute(c))?;
    }
    let rows: Vec<_> = all
        .iter()
        .map(|at| {
            (
                ar::alert_id.eq(id.as_str()),
                ar::incident_id.eq(incident.map(IncidentId::as_str)),
                ar::resource_type.eq(at.type_.as_str()),
                ar::resource_id.eq(at.id.as_str()),
                ar::resolved.eq(keys.contains_key(at)),
                ar::seen_at.eq(tx.now),
            )
        })
        .collect();
    for chunk in rows.chunks(500) {
        on_backend!(&mut *tx.conn, c => diesel::insert_into(ar::table)
            .values(chunk.to_vec())
            .on_conflict((ar::alert_id, ar::resource_type, ar::resource_id))
            .do_update()
            .set(ar::resolved.eq(diesel::upsert::excluded(ar::resolved)))
            .execute(c))?;
    }
    if let Some(incident) = incident.filter(|_| !hit.is_empty()) {
        let named: Vec<String> = all
            .iter()
            .take(50)
            .map(|at| format!("{}/{}", at.type_, at.id))
            .collect();
        affected::add_keys(
            tx,
            incident,
            &hit,
            affected::Source::Alert,
            json!({"alert": id, "named": named}),
        )?;
    }
    Ok(all.into_iter().filter(|at| !keys.contains_key(at)).collect())
}
