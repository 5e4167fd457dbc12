//! CloudEvents 1.0 over HTTP: structured, batched, and binary with the attributes in headers.
//!
//! An event itself has no state and no severity. They are read from its data, under the usual names. The key
//! is the source and the ID, unless the data contains a fingerprint of the problem. A sender that reports the
//! end in another event must send such a fingerprint.

use serde_json::{Map, Value, json};

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels};
use super::generic::{self, Mapping};
use super::proof::{Proven, in_query, signed};
use super::request::{base64, document, from_base64};
use super::text::{join, link};
use super::{Request, times};
use crate::alert::order::EventTime;
use crate::base::time::Timestamp;

/// The number of events in one batch.
const MAX: usize = 10_000;

/// The source `cloudevents`. Its senders can also sign the request or put the secret into the query of the URL.
pub(super) const SOURCE: Source = Source {
    verify: Some(verify),
    names_resources: true,
    asks_first: true,
    ..Source::new("cloudevents", |request, _| parse(request))
};

/// Parses a request.
///
/// # Errors
/// A JSON pointer into the body, and the reason why it is not an event.
pub fn parse(request: &Request) -> Result<Batch, Refusal> {
    if request.header("ce-id").is_some()
        || request.header("ce-type").is_some()
        || request.header("ce-specversion").is_some()
    {
        let event = binary(request)?;
        return one(&Doc::new(&event)).map(|alert| Batch::of(vec![alert]));
    }
    let body = request.document()?;
    let doc = Doc::new(&body);
    if !body.is_array() {
        return one(&doc).map(|alert| Batch::of(vec![alert]));
    }
    let items = doc.items();
    if items.is_empty() {
        return Ok(Batch::ignored("a batch without events"));
    }
    if items.len() > MAX {
        return Err(doc.wrong("", "has more than 10,000 events"));
    }
    items
        .iter()
        .map(one)
        .collect::<Result<Vec<_>, _>>()
        .map(Batch::of)
}

/// Converts an event with its attributes in headers to the structured form.
fn binary(request: &Request) -> Result<Value, Refusal> {
    let mut event = Map::new();
    for (name, value) in &request.headers {
        if let Some(name) = name.strip_prefix("ce-") {
            event.insert(name.to_owned(), json!(percent_decoded(value)));
        }
    }
    let media = request.media();
    if let Some(type_) = request.header("content-type") {
        event.insert("datacontenttype".to_owned(), json!(type_));
    }
    if media == "application/json" || media.ends_with("+json") || media == "text/json" {
        if !request.body.trim_ascii().is_empty() {
            event.insert(
                "data".to_owned(),
                document(&request.body).map_err(|(at, reason)| (format!("/data{at}"), reason))?,
            );
        }
    } else if !request.body.is_empty() {
        match std::str::from_utf8(&request.body) {
            Ok(text) => event.insert("data".to_owned(), json!(text)),
            Err(_) => event.insert("data_base64".to_owned(), json!(base64(&request.body))),
        };
    }
    Ok(Value::Object(event))
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = (*byte == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) => {
                out.push(code);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

fn one(doc: &Doc<'_>) -> Result<Alert, Refusal> {
    if !doc.value.is_object() {
        return Err(doc.wrong("", "must be an object"));
    }
    let version = doc.need("specversion")?;
    if !version.starts_with("1.") && version != "1" {
        return Err(doc.wrong("specversion", "must be 1.0"));
    }
    let (id, source, type_) = (doc.need("id")?, doc.need("source")?, doc.need("type")?);
    if doc.get("data").is_some() && doc.get("data_base64").is_some() {
        return Err(doc.wrong("data_base64", "must not be given together with data"));
    }
    let data = match doc.get("data_base64") {
        None => doc.get("data").map(|data| data.value.clone()),
        Some(encoded) => {
            let bytes = encoded.value.as_str().and_then(from_base64);
            let bytes = bytes.ok_or_else(|| doc.wrong("data_base64", "is not base64"))?;
            let text = String::from_utf8(bytes).ok();
            text.map(|text| document(text.as_bytes()).unwrap_or(Value::String(text)))
        }
    };
    let at = doc.time("time", times::rfc3339);
    // If the data is an object, it is read like a body of the source `generic`. Missing values come from the
    // event.
    let mut alert = match &data {
        Some(object @ Value::Object(_)) => {
            let mut named = object.clone();
            if Doc::new(object).first(&generic::TITLES).is_none() {
                named["title"] = json!(doc.text("subject").unwrap_or_else(|| type_.clone()));
            }
            let at = format!("{}/data", doc.at);
            let mut alert = generic::one(&Mapping::default(), &at, &named)?;
            let problem = Doc::new(object).first(&["fingerprint", "alert_uid", "dedup_key"]);
            alert.fingerprint = format!("{source} {}", problem.as_deref().unwrap_or(&id));
            alert
        }
        other => Alert {
            fingerprint: format!("{source} {id}"),
            firing: true,
            title: doc.text("subject").unwrap_or_else(|| type_.clone()),
            text: join([other.as_ref().and_then(super::doc::word)]),
            ..Alert::default()
        },
    };
    let mut labels = Labels(std::mem::take(&mut alert.labels));
    for (name, value) in doc.value.as_object().into_iter().flatten() {
        if !["specversion", "data", "data_base64", "time", "datacontenttype"].contains(&name.as_str()) {
            labels.put(name, super::doc::word(value));
        }
    }
    alert.labels = labels.0;
    alert.started_at = alert.started_at.or(at.filter(|_| alert.firing));
    alert.ended_at = alert.ended_at.or(at.filter(|_| !alert.firing));
    alert.event_at = at.map(EventTime::change).or(alert.event_at);
    alert.message_id = Some(format!("{source} {id}"));
    alert.link = alert.link.or_else(|| link(Some(source.clone())));
    alert.raw = doc.value.clone();
    Ok(alert)
}

/// Verifies a signature if the request has one, or else a secret in the query.
fn verify(secret: &str, request: &Request, now: Timestamp) -> Proven {
    let signature = ["webhook-signature", "x-candor-signature"];
    if signature.iter().any(|name| request.header(name).is_some()) {
        return signed(secret, request, now);
    }
    in_query(secret, request, now)
}
