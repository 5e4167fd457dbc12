//! Pingdom: its state-change webhook, with UP and DOWN of uptime checks, and SUCCESS and FAILING of
//! transaction checks.

use serde_json::Value;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels};
use super::proof;
use super::text::{join, link, lower};
use super::times;
use crate::alert::order::EventTime;

/// The source `pingdom`. Its senders can also put the secret into the query of the URL.
pub(super) const SOURCE: Source = Source {
    verify: Some(proof::in_query),
    ..Source::new("pingdom", |request, _| parse(&request.document()?))
};

/// Parses a body.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not one of Pingdom.
pub fn parse(body: &Value) -> Result<Batch, Refusal> {
    let doc = Doc::new(body);
    if doc.get("check_id").is_none() && doc.get("check").is_some() && doc.get("action").is_some() {
        return legacy(&doc);
    }
    let fingerprint = doc.need("check_id")?;
    let firing = match doc.need("current_state")?.to_uppercase().as_str() {
        "DOWN" | "FAILING" | "FAILED" | "FAILURE" => true,
        "UP" | "SUCCESS" => false,
        "UNCONFIRMED_DOWN" | "PAUSED" | "UNKNOWN" => {
            return Ok(Batch::ignored(format!(
                "it is unknown whether check {fingerprint} is up or down"
            )));
        }
        _ => return Err(doc.wrong("current_state", "must be UP, DOWN, SUCCESS or FAILING")),
    };
    // The text is in UTC, although it has no zone.
    let at = doc
        .time("state_changed_timestamp", times::seconds)
        .or_else(|| doc.time("state_changed_utc_time", times::utc));
    let mut labels = Labels::default();
    labels.tags(doc.get("tags"));
    labels.put("check_type", doc.text("check_type"));
    labels.put("hostname", doc.text("check_params/hostname"));
    let url = doc.first(&["check_params/full_url", "check_params/url"]);
    labels.put("url", url.clone());
    labels.put("probe", doc.text("first_probe/location"));
    Ok(Batch::of(vec![Alert {
        title: doc
            .text("check_name")
            .unwrap_or_else(|| format!("Check {fingerprint}")),
        fingerprint,
        firing,
        severity: lower(doc.text("importance_level")),
        text: join([doc.text("description"), doc.text("long_description")]),
        started_at: at.filter(|_| firing),
        ended_at: at.filter(|_| !firing),
        event_at: at.map(EventTime::change),
        link: link(url),
        labels: labels.0,
        raw: body.clone(),
        ..Alert::default()
    }]))
}

/// Parses the webhook before 2016. The state is in `description`, and `action` says whether somebody must be
/// notified.
fn legacy(doc: &Doc<'_>) -> Result<Batch, Refusal> {
    let fingerprint = doc.need("check")?;
    let firing = match (
        lower(doc.text("description")).as_str(),
        lower(doc.text("action")).as_str(),
    ) {
        ("down", _) | ("", "assign") => true,
        ("up", _) | ("", "notify_of_close") => false,
        _ => return Err(doc.wrong("description", "must be up or down")),
    };
    let mut labels = Labels::default();
    labels.put("hostname", doc.text("host"));
    labels.put("incident", doc.text("incidentid"));
    Ok(Batch::of(vec![Alert {
        title: doc
            .first(&["checkname", "host"])
            .unwrap_or_else(|| format!("Check {fingerprint}")),
        fingerprint,
        firing,
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    }]))
}
