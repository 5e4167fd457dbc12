//! Prometheus Alertmanager: its webhook, versions "4" and "3".
//!
//! The status of each alert counts, because a body with the status "firing" also contains resolved alerts.
//! `endsAt` alone does not mean that the alert has ended: it is Go's zero time while the alert fires, and
//! with some senders also afterwards.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::notes::note;
use super::text::as_text;
use super::times;
use crate::alert::order::EventTime;
use crate::base::time::Timestamp;

/// The source `alertmanager`. Its senders can send the secret only in `Authorization` or `X-Candor-Token`.
pub(super) const SOURCE: Source = Source::new("alertmanager", |request, _| parse(&request.document()?));

/// Parses a body.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not one of Alertmanager.
pub fn parse(body: &Value) -> Result<Batch, Refusal> {
    let object = body
        .as_object()
        .ok_or((String::new(), "must be an object".to_owned()))?;
    let alerts = object
        .get("alerts")
        .and_then(Value::as_array)
        .ok_or(("/alerts".to_owned(), "must be an array of alerts".to_owned()))?;
    let overall = object.get("status").and_then(Value::as_str);
    let external = object.get("externalURL").and_then(Value::as_str);
    let truncated = truncated(body);
    let alerts = alerts
        .iter()
        .enumerate()
        .map(|(index, alert)| one(&format!("/alerts/{index}"), alert, overall, external, false))
        .collect::<Result<Vec<_>, _>>()?;
    if alerts.is_empty() {
        return Err(("/alerts".to_owned(), "is empty".to_owned()));
    }
    Ok(Batch {
        truncated,
        ..Batch::of(grouped(body, alerts))
    })
}

/// Adds the group of the sender to the alerts. It is the same for all alerts of a body.
pub(super) fn grouped(body: &Value, mut alerts: Vec<Alert>) -> Vec<Alert> {
    let group = body.get("groupKey").and_then(as_text);
    if let Some(group) = group.filter(|group| !group.trim().is_empty()) {
        for alert in &mut alerts {
            alert.group = Some(group.clone());
        }
    }
    alerts
}

/// Returns how many alerts the sender left out. The number can be a float such as `0.0` if the body passed
/// through a protobuf layer.
pub(super) fn truncated(body: &Value) -> u64 {
    let count = body.get("truncatedAlerts").and_then(Value::as_f64);
    count.unwrap_or(0.0).max(0.0) as u64
}

/// Parses one alert. With `bare`, an alert may lack labels if it has a fingerprint, for example a test of
/// Grafana.
pub(super) fn one(
    at: &str,
    alert: &Value,
    overall: Option<&str>,
    external: Option<&str>,
    bare: bool,
) -> Result<Alert, Refusal> {
    let object = alert
        .as_object()
        .ok_or((at.to_owned(), "must be an object".to_owned()))?;
    let labels = words(&format!("{at}/labels"), object.get("labels"));
    let annotations = words(&format!("{at}/annotations"), object.get("annotations"));
    let named = object
        .get("fingerprint")
        .and_then(as_text)
        .is_some_and(|text| !text.is_empty());
    // Without labels, the fingerprint alone identifies the alert.
    let described = bare || object.get("labels").is_some_and(|labels| !labels.is_object());
    if labels.is_empty() && !(described && named) {
        return Err((
            format!("{at}/labels"),
            "must be an object with at least one label".to_owned(),
        ));
    }
    let firing = match object.get("status").and_then(Value::as_str).or(overall) {
        Some("firing") => true,
        Some("resolved") => false,
        _ => return Err((format!("{at}/status"), "must be firing or resolved".to_owned())),
    };
    let fingerprint = match object
        .get("fingerprint")
        .and_then(as_text)
        .filter(|text| !text.is_empty())
    {
        Some(fingerprint) => fingerprint,
        // Version 3 and early versions of 4 send no fingerprint, so it is computed from the labels.
        None => label_hash(&labels),
    };
    // A template of the sender can produce an empty text. The alert must not be lost because of that.
    let said = |text: &&String| !text.trim().is_empty();
    let annotation = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| annotations.get(*name).filter(said))
            .cloned()
    };
    let title = annotation(&["summary", "title"])
        .or_else(|| labels.get("alertname").filter(said).cloned())
        .or_else(|| annotation(&["message", "description"]))
        .unwrap_or_else(|| "Alert".to_owned());
    let link = object
        .get("generatorURL")
        .and_then(Value::as_str)
        .filter(|url| url.starts_with("http://") || url.starts_with("https://"))
        .or(external)
        .filter(|url| url.starts_with("http://") || url.starts_with("https://"))
        .map(str::to_owned);
    let started_at = time(&format!("{at}/startsAt"), object.get("startsAt"));
    let ended_at = time(&format!("{at}/endsAt"), object.get("endsAt"));
    Ok(Alert {
        fingerprint,
        firing,
        severity: labels
            .get("severity")
            .map(|word| word.to_lowercase())
            .unwrap_or_default(),
        title,
        text: annotation(&["description", "message"]).unwrap_or_default(),
        started_at,
        event_at: if firing {
            started_at.map(EventTime::beginning)
        } else {
            ended_at.map(EventTime::change)
        },
        // While an alert fires, its end is at most an expected end.
        ended_at: if firing { None } else { ended_at },
        link,
        labels,
        annotations,
        raw: alert.clone(),
        ..Alert::default()
    })
}

fn words(at: &str, value: Option<&Value>) -> BTreeMap<String, String> {
    match value {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(Value::Object(object)) => object
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), as_text(value)?)))
            .collect(),
        Some(_) => {
            note(at, "must be an object");
            BTreeMap::new()
        }
    }
}

fn time(at: &str, value: Option<&Value>) -> Option<Timestamp> {
    times::rfc3339(value?).unwrap_or_else(|reason| {
        note(at, &reason);
        None
    })
}

fn label_hash(labels: &BTreeMap<String, String>) -> String {
    let mut hasher = Sha256::new();
    for (name, value) in labels {
        hasher.update((name.len() as u64).to_be_bytes());
        hasher.update(name);
        hasher.update((value.len() as u64).to_be_bytes());
        hasher.update(value);
    }
    crate::base::text::hex(&hasher.finalize()[..8])
}
