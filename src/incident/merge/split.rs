//! Splits alerts and affected resources out of an incident into a new one.
//!
//! The affected resources that these alerts name affect the new incident. One that an alert added, and that no other alert names, goes
//! there. Later messages of these alerts go to the new incident. What
//! the customers were told stays with the first incident: whoever was notified of it hears its end, and the new incident has notified
//! nobody yet.

use std::collections::HashSet;

use diesel::prelude::*;
use diesel::sql_types::BigInt;
use serde::Deserialize;
use serde_json::json;

use super::links;
use super::locks::lock;
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{AlertId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::schema::{alert_references as ar, alerts as a, incident_resources as ir, merged_rows as m};
use crate::db::{Conn, Statement};
use crate::directory::{ResourceRef, resource};
use crate::incident::stored::get;
use crate::incident::{Incident, NewIncident, lineage, open, recovery, timeline};

/// A request to split an incident.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The IDs of the alerts that go to the new incident.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub alerts: Vec<AlertId>,
    /// The affected resources that go to the new incident.
    #[serde(default)]
    pub resources: Vec<ResourceRef>,
    /// The title of the new incident. Customers do not see it.
    pub title: String,
}

/// Splits an incident, and returns the new one. It has the severity of the first one.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if the request lists nothing, an alert that the incident does not have, or a
/// resource that it does not affect, or if the title is not valid. `Conflict` with the code `merged` if the incident is merged.
pub fn split(tx: &mut Tx<'_>, incident: &IncidentId, request: &Split) -> Result<Incident> {
    get(tx.conn, incident)?;
    lock(tx.conn, &[incident])?;
    lineage::check_not_merged(tx.conn, incident)?;
    let first = get(tx.conn, incident)?;
    if request.alerts.is_empty() && request.resources.is_empty() {
        return Err(Error::invalid("", "list at least one alert or one resource"));
    }
    let (started, detected) =
        times(tx.conn, incident, &request.alerts)?.unwrap_or((first.started_at, first.detected_at));
    let keys = affected(tx.conn, incident, &request.resources)?;
    let new = open(
        tx,
        &NewIncident {
            title: request.title.clone(),
            severity: first.severity,
            summary: None,
            started_at: Some(started.min(tx.now)),
            detected_at: Some(detected.min(tx.now)),
            time_zone: first.time_zone.clone(),
            affected: Vec::new(),
            drill: first.drill,
            headline: None,
        },
    )?;
    let ids: Vec<&str> = request.alerts.iter().map(AlertId::as_str).collect();
    for chunk in ids.chunks(500) {
        diesel::update(a::table.filter(a::id.eq_any(chunk)))
            .set(a::incident_id.eq(Some(new.id.as_str())))
            .execute(tx.conn)?;
        diesel::update(ar::table.filter(ar::alert_id.eq_any(chunk)))
            .set(ar::incident_id.eq(Some(new.id.as_str())))
            .execute(tx.conn)?;
    }
    links::settle(tx.conn, &links::ALERTS, &ids)?;
    let mut keys: HashSet<i64> = keys.into_iter().collect();
    let only_there = named(tx.conn, incident, &new.id, true)?;
    keys.extend(&only_there);
    let mut keys: Vec<i64> = keys.into_iter().collect();
    keys.sort_unstable();
    let mut both = named(tx.conn, incident, &new.id, false)?;
    both.retain(|key| keys.binary_search(key).is_err());
    copy_resources(tx, incident, &new.id, (&both, "'alert'"))?;
    copy_resources(tx, incident, &new.id, (&keys, "source"))?;
    leave_resources(tx, incident, &keys)?;
    keep_what_merged_ones_have(tx, incident, &only_there)?;
    recovery::merged::copy(tx, incident, &new.id, false)?;
    links::recount(tx.conn, &[incident, &new.id])?;
    let what = json!({"alerts": ids.len(), "resources": keys.len()});
    let text = format!(
        "{} alerts and {} affected resources were split out into #{} \u{201c}{}\u{201d}",
        ids.len(),
        keys.len(),
        new.number,
        new.title
    );
    timeline::note(tx, incident, timeline::Kind::Note, tx.now, &text)?;
    let text = format!("Split out of #{} \u{201c}{}\u{201d}", first.number, first.title);
    timeline::note(tx, &new.id, timeline::Kind::Note, tx.now, &text)?;
    for (of, key, other) in [(incident, "into", &new), (&new.id, "from", &first)] {
        let mut after = json!({key: other.id, "number": other.number});
        after["moved"] = what.clone();
        tx.record(
            Event::new(Action::IncidentSplit, "incident", of.as_str())
                .incident(of)
                .after(after),
        );
    }
    get(tx.conn, &new.id)
}

/// Returns when the first of these alerts started, and when the first one arrived. `None` if there is no alert.
fn times(
    conn: &mut Conn,
    incident: &IncidentId,
    alerts: &[AlertId],
) -> Result<Option<(Timestamp, Timestamp)>> {
    let ids: Vec<&str> = alerts.iter().map(AlertId::as_str).collect();
    let mut found: Vec<(String, Timestamp, Timestamp)> = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(500) {
        let rows: Vec<(String, Timestamp, Timestamp)> = a::table
            .filter(a::incident_id.eq(incident.as_str()))
            .filter(a::id.eq_any(chunk))
            .select((a::id, a::started_at, a::received_at))
            .load(conn)?;
        found.extend(rows);
    }
    let held: HashSet<&str> = found.iter().map(|(id, ..)| id.as_str()).collect();
    let wrong: Vec<FieldError> = ids
        .iter()
        .enumerate()
        .filter(|(_, id)| !held.contains(**id))
        .map(|(index, _)| FieldError::at(format!("/alerts/{index}"), "is no alert of this incident"))
        .collect();
    if !wrong.is_empty() {
        return Err(Error::fields(wrong));
    }
    let started = found.iter().map(|(_, started, _)| *started).min();
    let received = found.iter().map(|(_, _, received)| *received).min();
    Ok(started.zip(received))
}

/// Returns the keys of affected resources.
fn affected(conn: &mut Conn, incident: &IncidentId, resources: &[ResourceRef]) -> Result<Vec<i64>> {
    if resources.is_empty() {
        return Ok(Vec::new());
    }
    let refs: Vec<&ResourceRef> = resources.iter().collect();
    let known = resource::keys_even_archived(conn, &refs)?;
    let all: Vec<i64> = known.values().copied().collect();
    let held = crate::incident::affected::among(conn, incident, &all)?;
    let wrong: Vec<FieldError> = resources
        .iter()
        .enumerate()
        .filter(|(_, at)| known.get(at).is_none_or(|key| !held.contains(key)))
        .map(|(index, at)| {
            FieldError::at(
                format!("/resources/{index}"),
                format!("{at} is not an affected resource of this incident"),
            )
        })
        .collect();
    if wrong.is_empty() {
        Ok(all)
    } else {
        Err(Error::fields(wrong))
    }
}

/// Returns the affected resources that alerts of the new incident name. With `only_there`, those that an alert added and that no other
/// alert of the first incident names.
fn named(conn: &mut Conn, first: &IncidentId, new: &IncidentId, only_there: bool) -> Result<Vec<i64>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        key: i64,
    }
    let names = |statement: &mut Statement, incident: &IncidentId| {
        statement
            .push(
                "EXISTS (SELECT 1 FROM alert_references ar WHERE ar.resource_type = r.type AND ar.resource_id = r.id \
                 AND ar.resolved AND ar.incident_id = ",
            )
            .text(incident.as_str())
            .push(")");
    };
    let mut statement = Statement::default();
    statement
        .push(
            "SELECT ir.resource_key AS key FROM incident_resources ir JOIN resources r ON r.key = ir.resource_key \
             WHERE ir.incident_id = ",
        )
        .text(first.as_str())
        .push(" AND ir.removed_at IS NULL AND ");
    names(&mut statement, new);
    if only_there {
        statement.push(" AND ir.source = 'alert' AND NOT ");
        names(&mut statement, first);
    }
    let rows: Vec<Row> = statement.finish().load(conn)?;
    Ok(rows.into_iter().map(|row| row.key).collect())
}

/// Makes resources affected by the new incident too. `source` is the expression for how they became affected.
fn copy_resources(
    tx: &mut Tx<'_>,
    first: &IncidentId,
    new: &IncidentId,
    (keys, source): (&[i64], &str),
) -> Result<()> {
    for chunk in keys.chunks(500) {
        let mut add = Statement::default();
        add.push("INSERT INTO incident_resources (incident_id, resource_key, source, added_at, relevance, finding) SELECT ")
            .text(new.as_str())
            .push(&format!(
                ", resource_key, {source}, added_at, relevance, finding FROM incident_resources WHERE removed_at IS NULL AND incident_id = "
            ))
            .text(first.as_str())
            .push(&format!(" AND resource_key IN ({})", crate::db::keyed::list(chunk)));
        add.finish().execute(tx.conn)?;
    }
    Ok(())
}

/// Makes resources affected by the first incident no more.
fn leave_resources(tx: &mut Tx<'_>, first: &IncidentId, keys: &[i64]) -> Result<()> {
    for chunk in keys.chunks(500) {
        diesel::update(
            ir::table
                .filter(ir::incident_id.eq(first.as_str()))
                .filter(ir::resource_key.eq_any(chunk)),
        )
        .set(ir::removed_at.eq(Some(tx.now)))
        .execute(tx.conn)?;
        diesel::delete(
            m::table
                .filter(m::into_id.eq(first.as_str()))
                .filter(m::kind.eq("resource"))
                .filter(m::key.eq_any(chunk)),
        )
        .execute(tx.conn)?;
    }
    Ok(())
}

/// Keeps those of the resources that somebody added to an incident that is merged into the first one. From now on, the first one has
/// them only because of that incident.
fn keep_what_merged_ones_have(tx: &mut Tx<'_>, first: &IncidentId, keys: &[i64]) -> Result<()> {
    for chunk in keys.chunks(500) {
        let list = crate::db::keyed::list(chunk);
        let mut statement = Statement::default();
        statement
            .push("INSERT INTO merged_rows (into_id, kind, key, taken_at) SELECT DISTINCT ")
            .text(first.as_str())
            .push(", 'resource', f.resource_key, ")
            .time(tx.now)
            .push(&format!(
                " FROM incident_resources f JOIN incidents c ON c.id = f.incident_id WHERE f.removed_at IS NULL AND f.source <> 'alert' \
                 AND f.resource_key IN ({list}) AND c.merged_into = "
            ))
            .text(first.as_str())
            .push(" ON CONFLICT (into_id, kind, key) DO NOTHING");
        statement.finish().execute(tx.conn)?;
        let mut back = Statement::default();
        back.push("UPDATE incident_resources SET removed_at = NULL WHERE incident_id = ")
            .text(first.as_str())
            .push(&format!(
                " AND resource_key IN ({list}) AND resource_key IN (SELECT m.key FROM merged_rows m WHERE m.kind = 'resource' AND m.into_id = "
            ))
            .text(first.as_str())
            .push(")");
        back.finish().execute(tx.conn)?;
    }
    Ok(())
}
