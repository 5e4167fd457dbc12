//! Uptime Kuma: JSON, a form whose field `data` contains the JSON, or GET with `heartbeat` and `monitor` in
//! the query.
//!
//! A test and a message about an expiring certificate have no heartbeat. The link of an alert is the
//! monitored URL.

use std::borrow::Cow;

use serde_json::Value;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels};
use super::request::document;
use super::text::{join, link};
use super::{Request, times};
use crate::alert::order::EventTime;
use crate::base::time::Timestamp;

/// The source `uptime_kuma`. Its senders can use GET, and can send the secret only in `Authorization` or `X-Candor-Token`.
pub(super) const SOURCE: Source = Source {
    by_get: true,
    ..Source::new("uptime_kuma", |request, _| parse(request))
};

/// Parses a request.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not one of Uptime Kuma.
pub fn parse(request: &Request) -> Result<Batch, Refusal> {
    let body = unpacked(request.fields()?)?;
    let doc = Doc::new(&body);
    if !body.is_object() {
        return Err(doc.wrong("", "must be an object"));
    }
    let (heartbeat, monitor) = match (doc.get("heartbeat"), doc.get("monitor")) {
        // The heartbeat names its monitor too.
        (Some(heartbeat), monitor) => (heartbeat, monitor.unwrap_or_else(|| Doc::new(&Value::Null))),
        (None, None) if doc.text("msg").is_some() => {
            return Ok(Batch::ignored(
                "a test, or a message that a certificate or a domain expires",
            ));
        }
        (None, _) => return Err(doc.wrong("heartbeat", "is missing")),
    };
    let fingerprint = monitor
        .text("id")
        .or_else(|| heartbeat.first(&["monitorID", "monitor_id"]))
        .ok_or_else(|| doc.wrong("heartbeat/monitorID", "is missing, and so is monitor/id"))?;
    let firing = match heartbeat.need("status")?.as_str() {
        "0" | "false" => true,
        "1" | "true" => false,
        "2" => {
            return Ok(Batch::ignored(format!(
                "monitor {fingerprint} is pending: it is tried again"
            )));
        }
        "3" => {
            return Ok(Batch::ignored(format!(
                "monitor {fingerprint} is under maintenance"
            )));
        }
        _ => {
            return Err(heartbeat.wrong(
                "status",
                "must be 0 (down), 1 (up), 2 (pending) or 3 (maintenance)",
            ));
        }
    };
    let at = beat(&heartbeat);
    let since = heartbeat.time("lastDownTime", times::utc);
    let mut labels = Labels::default();
    labels.tags(monitor.get("tags"));
    labels.put("monitor", monitor.text("name"));
    for name in ["type", "hostname", "port", "pathName", "url"] {
        labels.put(name, monitor.text(name));
    }
    Ok(Batch::of(vec![Alert {
        title: monitor
            .first(&["pathName", "name"])
            .or_else(|| title(&doc.text("msg").or_else(|| heartbeat.text("msg"))?))
            .unwrap_or_else(|| format!("Monitor {fingerprint}")),
        fingerprint,
        firing,
        text: join([
            doc.text("msg").or_else(|| heartbeat.text("msg")),
            monitor.text("description"),
        ]),
        started_at: if firing { at } else { since },
        ended_at: at.filter(|_| !firing),
        event_at: at.map(EventTime::change),
        link: link(monitor.text("url")),
        labels: labels.0,
        raw: body.clone(),
        ..Alert::default()
    }]))
}

/// Returns a title for an alert whose monitor has no name: the name in a message such as `[Shop] [Down] timeout`, otherwise its
/// first line.
fn title(message: &str) -> Option<String> {
    let named = message
        .trim_start()
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] ["))
        .map(|(name, _)| name);
    let title = named.or_else(|| message.lines().next())?.trim();
    (!title.is_empty()).then(|| title.to_owned())
}

/// Parses the JSON that a form or a query contains as text.
fn unpacked(body: Value) -> Result<Value, Refusal> {
    let inner = |name: &str, text: &str| {
        document(text.as_bytes()).map_err(|(_, reason)| (format!("/{name}"), reason))
    };
    if let Some(Value::String(data)) = body.get("data") {
        return inner("data", data);
    }
    let mut out = body.clone();
    for name in ["heartbeat", "monitor"] {
        if let Some(Value::String(text)) = body.get(name) {
            out[name] = match text.trim() {
                "" | "null" | "undefined" => Value::Null,
                text => inner(name, text)?,
            };
        }
    }
    Ok(out)
}

/// Returns when the heartbeat was. `time` is in UTC without a zone, and `localDateTime` has its offset in
/// another field.
fn beat(heartbeat: &Doc<'_>) -> Option<Timestamp> {
    if let Some(at) = heartbeat.time("time", times::utc) {
        return Some(at);
    }
    let local = heartbeat.text("localDateTime")?;
    let offset: Cow<'_, str> = match heartbeat.text("timezoneOffset") {
        Some(offset) => offset.into(),
        None if heartbeat.text("timezone").as_deref() == Some("UTC") => "+00:00".into(),
        None => return heartbeat.time("localDateTime", times::rfc3339),
    };
    times::beside(&local, &offset).or_else(|| heartbeat.time("localDateTime", times::rfc3339))
}
