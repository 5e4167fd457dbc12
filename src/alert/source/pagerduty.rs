//! PagerDuty: webhooks of version 3, the older versions 2 and 1, and the bodies of its Events API, so that a
//! sender of PagerDuty events can send them to Candor instead.
//!
//! An event that is not about an incident itself (a note, a status update) contains the incident without its
//! state. Such an event is not an alert.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Request;
use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels};
use super::notes::note;
use super::proof::{Proven, equal, hex, holds};
use super::text::{join, link, lower};
use super::times;
use crate::alert::order::EventTime;
use crate::base::json_repair;
use crate::base::time::Timestamp;

/// Fields of the Events API that contain the sender's key.
const KEYS: [&str; 2] = ["routing_key", "service_key"];

/// Returns the key in a body of the Events API. It proves who the sender is, and it is not stored.
pub fn routing_key(body: &[u8]) -> Option<String> {
    let body: Value = json_repair::read(body).ok()?;
    KEYS.iter()
        .find_map(|name| body.get(name)?.as_str().map(str::to_owned))
}

/// The name of the source.
pub const NAME: &str = "pagerduty";

/// The source `pagerduty`. Its senders can also sign the body, or send the routing key as the secret.
pub(super) const SOURCE: Source = Source {
    verify: Some(verify),
    key: |request| routing_key(&request.body),
    ..Source::new(NAME, |request, _| parse(&request.document()?))
};

/// Parses a body.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not one of PagerDuty.
pub fn parse(body: &Value) -> Result<Batch, Refusal> {
    let doc = Doc::new(body);
    if doc.get("event").is_some_and(|event| event.value.is_object()) {
        return v3(&doc);
    }
    if doc.get("messages").is_some() {
        return v2(&doc);
    }
    if doc.get("event_action").is_some() {
        return events_v2(&doc);
    }
    if doc.get("event_type").is_some() && doc.get("service_key").is_some() {
        return events_v1(&doc);
    }
    if doc.get("routing_key").is_some() && doc.get("payload/summary").is_some() {
        return Ok(Batch::ignored(
            "a change event: it reports a change, not a problem",
        ));
    }
    Err(doc.wrong(
        "",
        "is neither a webhook (event, messages) nor of the Events API (event_action): an incident of the REST API \
        is not supported",
    ))
}

fn state(incident: &Doc<'_>, event: &str) -> Result<bool, Refusal> {
    // The status of the incident decides. Some events have no status, so the event type decides then.
    match lower(incident.text("status")).as_str() {
        "triggered" | "acknowledged" | "escalated" => Ok(true),
        "resolved" => Ok(false),
        "" => match event.rsplit('.').next().unwrap_or_default() {
            "triggered" | "trigger" | "acknowledged" | "acknowledge" | "unacknowledged" | "unacknowledge"
            | "reopened" | "escalated" | "escalate" | "reassigned" | "assign" | "delegated" | "delegate" => {
                Ok(true)
            }
            "resolved" | "resolve" => Ok(false),
            _ => Err(incident.wrong("status", "is missing")),
        },
        _ => Err(incident.wrong("status", "must be triggered, acknowledged or resolved")),
    }
}

fn v3(doc: &Doc<'_>) -> Result<Batch, Refusal> {
    let event = doc.object("event")?;
    let kind = event.need("event_type")?;
    if kind == "pagey.ping" {
        return Ok(Batch::ignored("a test of the webhook"));
    }
    let data = event.object("data")?;
    let type_ = data.text("type").or_else(|| event.text("resource_type"));
    if type_.as_deref() != Some("incident") {
        let incident = data.text("incident/id").map(|id| format!(" on incident {id}"));
        let kind = crate::base::text::one_line(&kind, 100);
        return Ok(Batch::ignored(format!("{kind}{}", incident.unwrap_or_default())));
    }
    let firing = state(&data, &kind)?;
    let occurred = event.time("occurred_at", times::rfc3339);
    let created = data.time("created_at", times::rfc3339);
    let resolved = data.time("resolved_at", times::rfc3339);
    Ok(Batch::of(vec![Alert {
        fingerprint: data.need("id")?,
        firing,
        // If the resolution is the first message that arrives, its time is not the beginning.
        started_at: created.or(occurred.filter(|_| firing)),
        ended_at: if firing { None } else { resolved.or(occurred) },
        // Use the time of the event and not of the incident, because a late acknowledgement has its own time.
        event_at: occurred.or(resolved).map(EventTime::change),
        message_id: event.text("id"),
        raw: doc.value.clone(),
        ..incident(&data)
    }]))
}

/// Parses the fields that versions 2 and 3 have in common.
fn incident(data: &Doc<'_>) -> Alert {
    let mut labels = Labels::default();
    labels.put("service", data.first(&["service/summary", "service/name"]));
    labels.put("service_id", data.text("service/id"));
    labels.put("number", data.first(&["number", "incident_number"]));
    labels.put("incident_key", data.text("incident_key"));
    labels.put("urgency", data.text("urgency"));
    labels.put("priority", data.first(&["priority/summary", "priority/name"]));
    labels.put(
        "escalation_policy",
        data.first(&["escalation_policy/summary", "escalation_policy/name"]),
    );
    let severity = data.first(&["priority/summary", "priority/name", "urgency"]);
    let title = data.first(&[
        "title",
        "summary",
        "description",
        "trigger_summary_data/subject",
        "trigger_summary_data/description",
    ]);
    Alert {
        severity: lower(severity),
        title: title.unwrap_or_else(|| "Incident".to_owned()),
        text: join([
            data.first(&["body/details", "description"]),
            data.text("service/summary")
                .map(|service| format!("Service: {service}")),
        ]),
        link: link(data.text("html_url")),
        labels: labels.0,
        ..Alert::default()
    }
}

fn v2(doc: &Doc<'_>) -> Result<Batch, Refusal> {
    let messages = doc.list("messages")?;
    if messages.is_empty() {
        return Err(doc.wrong("messages", "is empty"));
    }
    let mut batch = Batch::default();
    for message in messages {
        let kind = message.first(&["event", "type"]).unwrap_or_default();
        let Some(data) = message.get("incident").or_else(|| message.get("data/incident")) else {
            batch.ignored.push(format!(
                "an event {} without an incident",
                crate::base::text::one_line(&kind, 100)
            ));
            continue;
        };
        let firing = state(&data, &kind)?;
        let started = data.first_time(&["created_at", "created_on"], times::rfc3339);
        let changed = data.first_time(
            &["resolved_at", "last_status_change_at", "last_status_change_on"],
            times::rfc3339,
        );
        let sent = message.first_time(&["created_on", "created_at"], times::rfc3339);
        let ended = changed.or(sent);
        batch.alerts.push(Alert {
            fingerprint: data.need("id")?,
            firing,
            started_at: started,
            ended_at: ended.filter(|_| !firing),
            event_at: sent.or(changed).map(EventTime::change),
            message_id: message.text("id"),
            raw: message.value.clone(),
            ..incident(&data)
        });
    }
    Ok(batch)
}

/// Returns the body without the sender's key.
fn without_keys(body: &Value) -> Value {
    let mut body = body.clone();
    if let Value::Object(fields) = &mut body {
        fields.retain(|name, _| !KEYS.contains(&name.as_str()));
    }
    body
}

fn events_v2(doc: &Doc<'_>) -> Result<Batch, Refusal> {
    let action = doc.need("event_action")?;
    let raw = without_keys(doc.value);
    let given = doc.text("dedup_key");
    if given.as_ref().is_some_and(|key| key.chars().count() > 255) {
        return Err(doc.wrong("dedup_key", "has more than 255 characters"));
    }
    let firing = match action.as_str() {
        "trigger" => true,
        "acknowledge" => true,
        "resolve" => false,
        _ => return Err(doc.wrong("event_action", "must be trigger, acknowledge or resolve")),
    };
    let key = match (given, action.as_str()) {
        (Some(key), _) => key,
        // The sender lets the receiver choose the key. An equal event gets an equal key.
        (None, "trigger") => crate::base::text::hex(&Sha256::digest(raw.to_string().as_bytes())[..16]),
        (None, _) => return Err(doc.wrong("dedup_key", "is missing; it must identify the alert")),
    };
    if action == "acknowledge" {
        return Ok(Batch {
            dedup_key: Some(key),
            ..Batch::ignored("an acknowledgement")
        });
    }
    let payload = match (doc.get("payload"), firing) {
        (Some(payload), _) if payload.value.is_object() => payload,
        (_, false) => Doc::new(&Value::Null),
        (_, true) => return Err(doc.wrong("payload", "must be an object")),
    };
    let severity = lower(payload.text("severity"));
    if firing && !["critical", "error", "warning", "info"].contains(&severity.as_str()) {
        note(
            &format!("{}/severity", payload.at),
            "must be critical, error, warning or info",
        );
    }
    let mut labels = Labels::default();
    for name in ["source", "component", "group", "class"] {
        labels.put(name, payload.text(name));
    }
    labels.put("client", doc.text("client"));
    match payload.get("custom_details") {
        Some(details) if details.value.is_object() => labels.take(payload.words("custom_details")),
        _ => labels.put("custom_details", payload.text("custom_details")),
    }
    let at = payload.time("timestamp", times::utc);
    let links = doc.get("links").map(|links| links.items()).unwrap_or_default();
    let url = links.iter().find_map(|one| link(one.text("href")));
    Ok(Batch {
        dedup_key: Some(key.clone()),
        ..Batch::of(vec![Alert {
            fingerprint: key,
            firing,
            severity,
            title: payload
                .first(&["summary", "source"])
                .unwrap_or_else(|| "Alert".to_owned()),
            text: join([
                payload.text("custom_details"),
                payload.text("source").map(|source| format!("Source: {source}")),
            ]),
            started_at: at.filter(|_| firing),
            ended_at: at.filter(|_| !firing),
            event_at: at.map(EventTime::change),
            link: url.or_else(|| link(doc.text("client_url"))),
            labels: labels.0,
            raw,
            ..Alert::default()
        }])
    })
}

fn events_v1(doc: &Doc<'_>) -> Result<Batch, Refusal> {
    let raw = without_keys(doc.value);
    let kind = doc.need("event_type")?;
    let firing = match kind.as_str() {
        "trigger" => true,
        "resolve" => false,
        "acknowledge" => return Ok(Batch::ignored("an acknowledgement")),
        _ => return Err(doc.wrong("event_type", "must be trigger, acknowledge or resolve")),
    };
    let key = match doc.text("incident_key") {
        Some(key) => key,
        None if firing => crate::base::text::hex(&Sha256::digest(raw.to_string().as_bytes())[..16]),
        None => return Err(doc.wrong("incident_key", "is missing; it must identify the alert")),
    };
    let mut labels = Labels::default();
    labels.take(doc.words("details"));
    labels.put("client", doc.text("client"));
    Ok(Batch {
        dedup_key: Some(key.clone()),
        ..Batch::of(vec![Alert {
            fingerprint: key,
            firing,
            title: doc.text("description").unwrap_or_else(|| "Alert".to_owned()),
            text: doc.text("details").unwrap_or_default(),
            link: link(doc.text("client_url")),
            labels: labels.0,
            raw,
            ..Alert::default()
        }])
    })
}

/// Verifies `v1=HEX` over the body. There are several signatures while the secret of PagerDuty is replaced. A
/// sender of the Events API sends its key instead of a signature.
fn verify(secret: &str, request: &Request, _: Timestamp) -> Proven {
    let Some(signatures) = request.header("x-pagerduty-signature") else {
        return match routing_key(&request.body) {
            Some(key) => holds(
                equal(key.as_bytes(), secret.as_bytes()),
                "the routing key is not the secret",
            ),
            None => Err("X-PagerDuty-Signature is missing"),
        };
    };
    let expected = hex(secret, &[&request.body]);
    let found = signatures
        .split(',')
        .filter_map(|signature| signature.trim().strip_prefix("v1="))
        .fold(false, |found, signature| {
            found | equal(signature.to_ascii_lowercase().as_bytes(), expected.as_bytes())
        });
    holds(found, "X-PagerDuty-Signature is not valid")
}
