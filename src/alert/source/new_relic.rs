//! New Relic: issues of workflows, whose template the user can change, and incidents of the older channels.
//!
//! Times are in milliseconds. A time in another unit is rejected and not guessed.

use serde_json::Value;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels, word};
use super::text::{join, link, lower};
use super::times;
use crate::alert::order::EventTime;

/// The source `new_relic`. Its senders can send the secret only in `Authorization` or `X-Candor-Token`.
pub(super) const SOURCE: Source = Source::new("new_relic", |request, _| parse(&request.document()?));

/// Parses a body.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not one of New Relic.
pub fn parse(body: &Value) -> Result<Batch, Refusal> {
    let doc = Doc::new(body);
    if doc.get("incident_id").is_some() || doc.get("current_state").is_some() {
        return channel(&doc);
    }
    let fingerprint = doc
        .first(&["id", "issueId", "issue_id"])
        .ok_or_else(|| doc.wrong("id", "is missing"))?;
    let state = doc.need("state")?;
    let firing = match state.to_lowercase().as_str() {
        "activated" | "created" | "acknowledged" | "open" | "opened" | "active" => true,
        "closed" | "resolved" => false,
        "test" => return Ok(Batch::ignored("a test of the notification")),
        _ => return Err(doc.wrong("state", "must be activated, created, acknowledged or closed")),
    };
    let mut labels = Labels::default();
    labels.take(doc.words("labels"));
    for (label, from) in [
        ("policy", "alertPolicyNames"),
        ("condition", "alertConditionNames"),
        ("entity", "impactedEntities"),
        ("workflow", "workflowName"),
        ("owner", "owner"),
    ] {
        labels.put(label, words(doc.get(from)));
    }
    labels.put("condition", doc.text("condition_name"));
    labels.put("policy", doc.text("policy_name"));
    let title = words(doc.get("title"))
        .or_else(|| doc.text("condition_name"))
        .or_else(|| labels.0.get("condition").cloned())
        .or_else(|| labels.0.get("policy").cloned());
    let started = doc.first_time(&["activatedAt", "createdAt"], times::millis);
    let closed = doc
        .first_time(&["closedAt", "updatedAt"], times::millis)
        .filter(|_| !firing);
    let changed = doc.first_time(&["updatedAt", "acknowledgedAt"], times::millis);
    Ok(Batch::of(vec![Alert {
        title: title.unwrap_or_else(|| format!("Issue {fingerprint}")),
        fingerprint,
        firing,
        severity: lower(doc.first(&["priority", "severity"])),
        text: join([
            doc.first(&["details", "description"]),
            words(doc.get("description")),
        ]),
        started_at: started,
        ended_at: closed,
        // A closed issue never opens again.
        event_at: match firing {
            true => changed
                .map(EventTime::change)
                .or(started.map(EventTime::beginning)),
            false => closed.or(started).map(EventTime::change),
        },
        link: link(doc.first(&["issueUrl", "issuePageUrl", "issue_url"])),
        labels: labels.0,
        raw: body.clone(),
        ..Alert::default()
    }]))
}

/// Returns a text, or the elements of a list as one text.
fn words(doc: Option<Doc<'_>>) -> Option<String> {
    let doc = doc?;
    let items: Vec<String> = doc.items().iter().filter_map(|item| word(item.value)).collect();
    if items.is_empty() {
        word(doc.value)
    } else {
        Some(items.join(", "))
    }
}

fn channel(doc: &Doc<'_>) -> Result<Batch, Refusal> {
    let fingerprint = doc.need("incident_id")?;
    let state = doc.need("current_state")?;
    let firing = match state.to_lowercase().as_str() {
        "open" | "opened" | "acknowledged" => true,
        "closed" => false,
        "test" => return Ok(Batch::ignored("a test of the notification channel")),
        _ => return Err(doc.wrong("current_state", "must be open, acknowledged or closed")),
    };
    // Incidents are numbered from 1.
    if fingerprint == "0" {
        return Ok(Batch::ignored("a test of the notification channel"));
    }
    let at = doc.time("timestamp", times::millis);
    let mut labels = Labels::default();
    for target in doc.get("targets").map(|list| list.items()).unwrap_or_default() {
        labels.put("target", target.text("name"));
        labels.put("product", target.text("product"));
        labels.take(target.words("labels"));
    }
    for name in [
        "policy_name",
        "condition_name",
        "account_id",
        "account_name",
        "owner",
    ] {
        labels.put(name, doc.text(name));
    }
    Ok(Batch::of(vec![Alert {
        title: doc
            .first(&["condition_name", "details", "policy_name"])
            .unwrap_or_else(|| format!("Incident {fingerprint}")),
        fingerprint,
        firing,
        severity: lower(doc.text("severity")),
        text: doc.text("details").unwrap_or_default(),
        started_at: at.filter(|_| firing),
        ended_at: at.filter(|_| !firing),
        event_at: at.map(EventTime::change),
        link: link(doc.text("incident_url")),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    }]))
}
