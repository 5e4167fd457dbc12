//! Freshping: whether a check is available.

use serde_json::Value;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels};
use super::proof;
use super::text::{join, link};
use super::times;
use crate::alert::order::EventTime;

/// The source `freshping`. Its senders can also put the secret into the query of the URL.
pub(super) const SOURCE: Source = Source {
    verify: Some(proof::in_query),
    ..Source::new("freshping", |request, _| parse(&request.document()?))
};

/// Parses a body.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not one of Freshping.
pub fn parse(body: &Value) -> Result<Batch, Refusal> {
    let doc = Doc::new(body);
    let data = doc.object("webhook_event_data")?;
    let fingerprint = data.need("check_id")?;
    let state = data.need("check_state_name")?;
    let firing = match state.to_lowercase().as_str() {
        "available" | "up" => false,
        "reporting error"
        | "not responding"
        | "not reachable"
        | "unavailable"
        | "down"
        | "performance degraded" => true,
        "paused" | "pending" => {
            return Ok(Batch::ignored(format!(
                "it is unknown whether check {fingerprint} is up or down"
            )));
        }
        _ => {
            return Err(data.wrong(
                "check_state_name",
                "must be Available, Reporting Error or Not Responding",
            ));
        }
    };
    if firing && data.text("application_name").as_deref() == Some("Webhook test") {
        return Ok(Batch::ignored("a test of the webhook"));
    }
    let at = data
        .time("request_start_time", times::rfc3339)
        .or_else(|| doc.time("webhook_event_created_on", times::rfc3339));
    let mut labels = Labels::default();
    labels.put(
        "application",
        data.text("application_name").map(|name| name.trim().to_owned()),
    );
    labels.put("application_id", data.text("application_id"));
    labels.put("organization", doc.text("organization_name"));
    labels.put("url", data.text("request_url"));
    let code = data
        .text("http_status_code")
        .map(|code| format!("Status code {code}"));
    Ok(Batch::of(vec![Alert {
        title: data
            .text("check_name")
            .unwrap_or_else(|| format!("Check {fingerprint}")),
        fingerprint,
        firing,
        text: join([Some(state), code]),
        started_at: at.filter(|_| firing),
        ended_at: at.filter(|_| !firing),
        event_at: at.map(EventTime::change),
        link: link(data.text("request_url")),
        labels: labels.0,
        raw: body.clone(),
        ..Alert::default()
    }]))
}
