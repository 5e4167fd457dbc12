//! Better Stack: its incidents as the webhook sends them, one or a list. The state is derived from the times,
//! because the name of the event is missing in some bodies.

use serde_json::Value;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels};
use super::text::{join, link, lower};
use super::{statuspage, times};
use crate::alert::order::EventTime;

/// The source `betterstack`. Its senders can send the secret only in `Authorization` or `X-Candor-Token`.
pub(super) const SOURCE: Source = Source::new("betterstack", |request, _| parse(&request.document()?));

/// Parses a body.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not one of Better Stack.
pub fn parse(body: &Value) -> Result<Batch, Refusal> {
    let doc = Doc::new(body);
    // This is the webhook for the subscribers of a status page.
    if doc.get("page").is_some() && doc.get("incident").is_some() {
        return statuspage::parse(body);
    }
    let data = doc.get("data").ok_or_else(|| {
        doc.wrong(
            "data",
            "is missing; for a custom template, use the source generic",
        )
    })?;
    if !data.value.is_array() {
        return one(&doc, &data);
    }
    let items = data.items();
    if items.is_empty() {
        return Err(doc.wrong("data", "is empty"));
    }
    let mut batch = Batch::default();
    for item in items {
        batch.add(one(&doc, &item)?);
    }
    Ok(batch)
}

fn one(doc: &Doc<'_>, data: &Doc<'_>) -> Result<Batch, Refusal> {
    if let Some(kind) = data.text("type").filter(|kind| kind != "incident") {
        return Ok(Batch::ignored(format!(
            "an event of the kind {}",
            crate::base::text::one_line(&kind, 60)
        )));
    }
    let attributes = data.object("attributes")?;
    let event = lower(doc.text("event")).replace("incident.", "");
    if event.contains("comment") {
        return Ok(Batch::ignored("a comment on an incident"));
    }
    let resolved_at = attributes.time("resolved_at", times::rfc3339);
    // If there is an end time, the problem is over, even if the time cannot be parsed.
    let over = attributes.text("resolved_at").is_some()
        || lower(attributes.text("status")) == "resolved"
        || event == "resolved";
    let firing = !over || event == "reopened";
    let started_at = attributes.time("started_at", times::rfc3339);
    let mut labels = Labels::default();
    for name in ["url", "team_name", "http_method", "cause"] {
        labels.put(name, attributes.text(name));
    }
    labels.take(attributes.words("metadata"));
    let relationship = |name: &str| data.text(&format!("relationships/{name}/data/id"));
    labels.put("monitor_id", relationship("monitor"));
    labels.put("heartbeat_id", relationship("heartbeat"));
    Ok(Batch::of(vec![Alert {
        fingerprint: data.need("id")?,
        firing,
        title: attributes
            .first(&["name", "url", "cause"])
            .unwrap_or_else(|| "Incident".to_owned()),
        text: attributes
            .text("cause")
            .map(|cause| join([Some(cause)]))
            .unwrap_or_default(),
        started_at,
        ended_at: resolved_at.filter(|_| !firing),
        event_at: match firing {
            // A reopened incident began before its end, so the time of the update is used.
            true if event == "reopened" => attributes
                .time("updated_at", times::rfc3339)
                .map(EventTime::change),
            true => started_at.map(EventTime::beginning),
            false => resolved_at.map(EventTime::change),
        },
        link: link(attributes.first(&["origin_url", "response_url", "url"])),
        labels: labels.0,
        raw: data.value.clone(),
        ..Alert::default()
    }]))
}
