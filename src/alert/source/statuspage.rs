//! Statuspage: what the status page of a provider sends to its subscribers (an incident or a component), and
//! the summary of its API.
//!
//! No field gives the kind of a body, so the kind depends on which field exists. A planned maintenance is not
//! an alert.

use serde_json::Value;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels};
use super::proof;
use super::text::{from_html, link, lower};
use super::times;
use crate::alert::order::EventTime;

/// The source `statuspage`. Its senders can also put the secret into the query of the URL.
pub(super) const SOURCE: Source = Source {
    verify: Some(proof::in_query),
    ..Source::new("statuspage", |request, _| parse(&request.document()?))
};

/// Parses a body.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not one of Statuspage.
pub fn parse(body: &Value) -> Result<Batch, Refusal> {
    let doc = Doc::new(body);
    if doc.get("incident").is_some() {
        return incident(&doc, &doc.object("incident")?);
    }
    if doc.get("component_update").is_some() || doc.get("component").is_some() {
        return component(&doc);
    }
    let lists = ["incidents", "scheduled_maintenances"];
    if lists.iter().all(|list| doc.get(list).is_none()) {
        return Err(doc.wrong("incident", "is missing, and so are component and incidents"));
    }
    let mut batch = Batch::default();
    for list in lists.iter().filter(|list| doc.get(list).is_some()) {
        for item in doc.list(list)? {
            batch.add(incident(&doc, &item)?);
        }
    }
    if batch.alerts.is_empty() && batch.ignored.is_empty() {
        batch.ignored.push("no incident is open on the page".to_owned());
    }
    Ok(batch)
}

fn page(labels: &mut Labels, doc: &Doc<'_>, own: &Doc<'_>) {
    labels.put("page", doc.text("page/name"));
    labels.put("page_id", doc.text("page/id").or_else(|| own.text("page_id")));
}

fn incident(doc: &Doc<'_>, incident: &Doc<'_>) -> Result<Batch, Refusal> {
    let fingerprint = incident.need("id")?;
    let status = lower(incident.text("status"));
    let planned = incident.get("scheduled_for").is_some()
        || lower(incident.text("impact")) == "maintenance"
        || ["scheduled", "in_progress", "verifying", "completed"].contains(&status.as_str());
    let firing = match status.as_str() {
        "investigating" | "identified" | "monitoring" | "in_progress" | "verifying" => true,
        "resolved" | "postmortem" | "completed" => false,
        "scheduled" => {
            return Ok(Batch::ignored(format!("maintenance {fingerprint} is planned")));
        }
        "" => return Err(incident.wrong("status", "is missing or is not a text")),
        _ => {
            return Err(incident.wrong(
                "status",
                "must be a status of an incident or a maintenance, such as investigating",
            ));
        }
    };
    let mut labels = Labels::default();
    page(&mut labels, doc, incident);
    let components = incident
        .get("components")
        .map(|list| list.items())
        .unwrap_or_default();
    let names: Vec<String> = components.iter().filter_map(|one| one.text("name")).collect();
    labels.put("components", (!names.is_empty()).then(|| names.join(",")));
    let ids: Vec<String> = components.iter().filter_map(|one| one.text("id")).collect();
    labels.put("component_ids", (!ids.is_empty()).then(|| ids.join(",")));
    // The newest update is the first.
    let said = incident
        .get("incident_updates")
        .and_then(|list| list.items().first().and_then(|one| one.text("body")));
    let started = incident.first_time(&["scheduled_for", "started_at", "created_at"], times::rfc3339);
    let updated = incident.time("updated_at", times::rfc3339);
    let ended = incident.time("resolved_at", times::rfc3339).or(updated);
    Ok(Batch::of(vec![Alert {
        title: incident
            .text("name")
            .unwrap_or_else(|| format!("Incident {fingerprint}")),
        fingerprint,
        firing,
        severity: lower(incident.text("impact")),
        text: said.map(|text| from_html(&text)).unwrap_or_default(),
        started_at: started,
        ended_at: ended.filter(|_| !firing),
        event_at: match firing {
            true => updated
                .map(EventTime::change)
                .or(started.map(EventTime::beginning)),
            false => updated.or(ended).map(EventTime::change),
        },
        informs: planned.then(|| "the status page announces a planned maintenance".to_owned()),
        link: link(incident.first(&["shortlink", "url"])),
        labels: labels.0,
        raw: incident.value.clone(),
        ..Alert::default()
    }]))
}

fn component(doc: &Doc<'_>) -> Result<Batch, Refusal> {
    let empty = Value::Null;
    let part = |name: &str| {
        doc.get(name).unwrap_or(Doc {
            at: format!("/{name}"),
            value: &empty,
        })
    };
    let (component, update) = (part("component"), part("component_update"));
    let id = component
        .text("id")
        .or_else(|| update.text("component_id"))
        .ok_or_else(|| component.wrong("id", "is missing"))?;
    let status = update.text("new_status").or_else(|| component.text("status"));
    let status = lower(status);
    let firing = match status.as_str() {
        "operational" => false,
        "degraded_performance" | "partial_outage" | "major_outage" | "under_maintenance" => true,
        _ => {
            return Err(update.wrong(
                "new_status",
                "must be a status of a component, such as partial_outage",
            ));
        }
    };
    let maintained = status == "under_maintenance";
    let at = update
        .time("created_at", times::rfc3339)
        .or_else(|| component.time("updated_at", times::rfc3339));
    let mut labels = Labels::default();
    page(&mut labels, doc, &component);
    labels.put("component", component.text("name"));
    labels.put("component_id", Some(id.clone()));
    let name = component
        .text("name")
        .unwrap_or_else(|| format!("Component {id}"));
    Ok(Batch::of(vec![Alert {
        fingerprint: format!("component/{id}"),
        firing,
        title: format!("{name}: {}", status.replace('_', " ")),
        severity: if firing { status } else { String::new() },
        text: doc.text("page/status_description").unwrap_or_default(),
        started_at: at.filter(|_| firing),
        ended_at: at.filter(|_| !firing),
        event_at: at.map(EventTime::change),
        informs: maintained.then(|| "the component is under maintenance".to_owned()),
        link: link(doc.text("page/url")),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    }]))
}
