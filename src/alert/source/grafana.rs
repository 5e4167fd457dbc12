//! Grafana: the webhook of Grafana Alerting (version 9 and later, in the format of Alertmanager), and the
//! notification channel of version 8 and earlier, which sends one rule and no time.
//!
//! The status of each alert counts, because the `state` of the body is wrong in old releases. A test of the
//! contact point is recognised by its fixed content.

use serde_json::Value;

use super::Request;
use super::alertmanager;
use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels};
use super::proof::{Proven, equal, fresh, hex, holds};
use super::text::{join, link};
use crate::base::time::Timestamp;

/// The source `grafana`. Its senders can also sign the body.
pub(super) const SOURCE: Source = Source {
    verify: Some(verify),
    ..Source::new("grafana", |request, _| parse(&request.document()?))
};

/// Parses a body.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not one of Grafana.
pub fn parse(body: &Value) -> Result<Batch, Refusal> {
    let doc = Doc::new(body);
    if doc.get("alerts").is_some() {
        return unified(&doc);
    }
    if doc.get("ruleId").is_some() || doc.get("ruleName").is_some() {
        return legacy(&doc);
    }
    Err(doc.wrong(
        "",
        "has neither alerts (Grafana Alerting) nor ruleId (the old notification channels); for a custom payload, \
        use the source generic",
    ))
}

fn unified(doc: &Doc<'_>) -> Result<Batch, Refusal> {
    let overall = doc.text("status");
    let external = doc.text("externalURL");
    let mut batch = Batch {
        truncated: alertmanager::truncated(doc.value),
        ..Batch::default()
    };
    let items = doc.list("alerts")?;
    if items.is_empty() {
        return Err(doc.wrong("alerts", "is empty"));
    }
    for item in items {
        let mut alert = alertmanager::one(
            &item.at,
            item.value,
            overall.as_deref(),
            external.as_deref(),
            true,
        )?;
        // If a rule has no labels, only the body contains its name.
        if alert.labels.is_empty() && alert.annotations.is_empty() {
            alert.title = doc.text("title").unwrap_or(alert.title);
        }
        let own = ["generatorURL", "panelURL", "dashboardURL"];
        alert.link = own
            .iter()
            .find_map(|name| link(item.text(name)))
            .or_else(|| link(external.clone()));
        if is_test(&alert) && !alert.firing {
            alert.informs = Some("a test of the contact point".to_owned());
        }
        if is_test(&alert) && alert.firing {
            batch.ignored.push("a test of the contact point".to_owned());
        } else {
            batch.alerts.push(alert);
        }
    }
    batch.alerts = alertmanager::grouped(doc.value, batch.alerts);
    Ok(batch)
}

/// The button "Test" of a contact point sends an alert with this name, from an instance called Grafana.
fn is_test(alert: &Alert) -> bool {
    let label = |name: &str| alert.labels.get(name).map(String::as_str);
    label("alertname") == Some("TestAlert") && label("instance") == Some("Grafana")
}

fn legacy(doc: &Doc<'_>) -> Result<Batch, Refusal> {
    let rule = doc.need("ruleId")?;
    let state = doc.need("state")?;
    let name = doc.text("ruleName");
    let firing = match state.to_lowercase().as_str() {
        "alerting" | "no_data" => true,
        "ok" => false,
        "paused" => {
            return Ok(Batch::ignored(
                "the rule was paused, so it does not say whether the problem is resolved",
            ));
        }
        "pending" | "unknown" => return Ok(Batch::ignored(format!("the state {state} is not an alert yet"))),
        _ => return Err(doc.wrong("state", "must be alerting, ok, no_data, paused or pending")),
    };
    // Rules are numbered from 1.
    if firing && rule == "0" {
        return Ok(Batch::ignored("a test of the notification channel"));
    }
    let fingerprint = match doc.text("orgId") {
        Some(org) => format!("{org}/{rule}"),
        None => rule.clone(),
    };
    let mut labels = Labels::default();
    labels.take(doc.words("tags"));
    for (index, item) in doc
        .get("evalMatches")
        .map(|list| list.items())
        .unwrap_or_default()
        .iter()
        .enumerate()
    {
        if index == 0 {
            labels.put("metric", item.text("metric"));
        }
        labels.take(item.words("tags"));
    }
    for name in ["ruleName", "dashboardId", "panelId", "orgId"] {
        labels.put(name, doc.text(name));
    }
    let severity = super::text::lower(labels.0.get("severity").cloned());
    Ok(Batch::of(vec![Alert {
        fingerprint,
        firing,
        severity,
        title: name
            .or_else(|| doc.text("title"))
            .unwrap_or_else(|| format!("Rule {rule}")),
        text: join([doc.text("title"), doc.text("message")]),
        link: link(doc.text("ruleUrl")),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    }]))
}

/// Verifies a hexadecimal signature over the body, or over `TIME:BODY`. Both headers can be renamed in
/// Grafana, so every header is tried whose name contains "signature" or "timestamp".
fn verify(secret: &str, request: &Request, now: Timestamp) -> Proven {
    let named = |word: &'static str| {
        request
            .headers
            .iter()
            .filter(move |(name, _)| name.contains(word))
            .map(|(_, value)| value.trim())
    };
    let signatures: Vec<String> = named("signature").map(str::to_ascii_lowercase).collect();
    if signatures.is_empty() {
        return Err("X-Grafana-Alerting-Signature is missing");
    }
    let signed_by = |parts: &[&[u8]]| {
        let expected = hex(secret, parts);
        signatures.iter().fold(false, |found, signature| {
            found | equal(signature.as_bytes(), expected.as_bytes())
        })
    };
    for time in named("timestamp") {
        if signed_by(&[time.as_bytes(), b":", &request.body]) {
            return holds(
                fresh(time, now) == Some(true),
                "the timestamp is too far from the present time",
            );
        }
    }
    holds(
        signed_by(&[&request.body]),
        "X-Grafana-Alerting-Signature is not valid",
    )
}
