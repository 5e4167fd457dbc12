//! The source `generic`: any JSON body, read through JSON pointers. Without a mapping, fields with the usual
//! names are read.

use std::collections::BTreeMap;

use serde_json::Value;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
pub use super::mapping::{LabelPointers, Mapping};
use super::notes::note;
use super::proof;
use super::text::as_text;
use super::times;
use crate::alert::order::EventTime;
use crate::base::time::Timestamp;

const RESOLVED: [&str; 14] = [
    "resolved",
    "resolve",
    "ok",
    "okay",
    "closed",
    "close",
    "up",
    "recovered",
    "recovery",
    "normal",
    "inactive",
    "success",
    "green",
    "false",
];

/// The source `generic`. Its senders can also sign the request, and a body can name resources itself.
pub(super) const SOURCE: Source = Source {
    verify: Some(proof::signed),
    names_resources: true,
    ..Source::new("generic", |request, mapping| {
        parse(mapping.unwrap_or(&Mapping::default()), &request.document()?)
    })
};

/// Parses a body.
///
/// # Errors
/// A JSON pointer into the body, and what is missing there.
pub fn parse(mapping: &Mapping, body: &Value) -> Result<Batch, Refusal> {
    let alerts = match &mapping.alerts {
        Some(pointer) => {
            let list = body
                .pointer(pointer)
                .and_then(Value::as_array)
                .ok_or((pointer.clone(), "must be an array of alerts".to_owned()))?;
            if list.is_empty() {
                return Err((pointer.clone(), "is empty".to_owned()));
            }
            list.iter()
                .enumerate()
                .map(|(index, alert)| one(mapping, &format!("{pointer}/{index}"), alert))
                .collect::<Result<Vec<_>, _>>()?
        }
        None => vec![one(mapping, "", body)?],
    };
    Ok(Batch::of(alerts))
}

/// Returns the value of a mapped field, or of the first usual name that exists.
fn field<'a>(
    alert: &'a Value,
    pointer: Option<&String>,
    names: &[&'static str],
) -> (String, Option<&'a Value>) {
    match pointer {
        Some(pointer) => (
            pointer.clone(),
            alert.pointer(pointer).filter(|value| !value.is_null()),
        ),
        None => {
            let found = names
                .iter()
                .find_map(|name| Some((*name, alert.get(*name).filter(|v| !v.is_null())?)));
            match found {
                Some((name, value)) => (format!("/{name}"), Some(value)),
                None => (format!("/{}", names[0]), None),
            }
        }
    }
}

/// The usual names of a title.
pub(super) const TITLES: [&str; 6] = ["title", "name", "summary", "alertname", "subject", "message"];

pub(super) fn one(mapping: &Mapping, at: &str, alert: &Value) -> Result<Alert, Refusal> {
    if !alert.is_object() && !alert.is_array() {
        return Err((at.to_owned(), "must be an object".to_owned()));
    }
    let text =
        |pointer: Option<&String>, names: &[&'static str]| field(alert, pointer, names).1.and_then(as_text);
    let (title_at, title) = field(alert, mapping.title.as_ref(), &TITLES);
    let title = title
        .and_then(as_text)
        .filter(|title| !title.trim().is_empty())
        .ok_or((format!("{at}{title_at}"), "has no text for the title".to_owned()))?;
    let (status_at, status) = field(alert, mapping.status.as_ref(), &["status", "state"]);
    let status = match status {
        Some(value) => Some(as_text(value).ok_or((format!("{at}{status_at}"), "is not a text".to_owned()))?),
        None if mapping.status.is_some() => {
            return Err((
                format!("{at}{status_at}"),
                "is missing; the mapping says the status is there".to_owned(),
            ));
        }
        None => None,
    };
    let resolved = status
        .as_deref()
        .is_some_and(|status| match &mapping.resolved_values {
            Some(values) => values.iter().any(|value| value.eq_ignore_ascii_case(status)),
            None => RESOLVED.iter().any(|value| value.eq_ignore_ascii_case(status)),
        });
    let fingerprint = text(
        mapping.fingerprint.as_ref(),
        &["fingerprint", "alert_uid", "dedup_key", "id", "key"],
    )
    .filter(|text| !text.is_empty());
    if fingerprint.is_none()
        && let Some(pointer) = &mapping.fingerprint
    {
        return Err((
            format!("{at}{pointer}"),
            "is missing; the mapping says the fingerprint is there".to_owned(),
        ));
    }
    let word = text(mapping.severity.as_ref(), &["severity", "priority", "level"]).unwrap_or_default();
    let severity = mapping
        .severity_values
        .get(&word)
        .cloned()
        .unwrap_or(word)
        .to_lowercase();
    let started_at = time(
        at,
        field(
            alert,
            mapping.started_at.as_ref(),
            &["started_at", "startsAt", "timestamp"],
        ),
    );
    let ended_at = time(
        at,
        field(alert, mapping.ended_at.as_ref(), &["ended_at", "endsAt"]),
    );
    let event_at = mapping
        .event_at
        .as_ref()
        .and_then(|pointer| time(at, field(alert, Some(pointer), &[])));
    let labels = match &mapping.labels {
        Some(LabelPointers::Each(each)) => each
            .iter()
            .filter_map(|(name, pointer)| Some((name.clone(), alert.pointer(pointer).and_then(as_text)?)))
            .collect(),
        Some(LabelPointers::Object(pointer)) => words(alert.pointer(pointer)),
        None => words(alert.get("labels")),
    };
    Ok(Alert {
        fingerprint: fingerprint.unwrap_or_else(|| title.clone()),
        firing: !resolved,
        severity,
        text: text(
            mapping.text.as_ref(),
            &["text", "description", "message", "details"],
        )
        .unwrap_or_default(),
        title,
        labels,
        annotations: words(alert.get("annotations")),
        started_at,
        ended_at: if resolved { ended_at } else { None },
        event_at: event_at.map(EventTime::change).or(match resolved {
            true => ended_at.map(EventTime::change),
            false => started_at.map(EventTime::beginning),
        }),
        message_id: mapping
            .message_id
            .as_ref()
            .and_then(|pointer| text(Some(pointer), &[])),
        link: text(
            mapping.link.as_ref(),
            &["link", "url", "link_to_upstream_details"],
        )
        .filter(|url| url.starts_with("http://") || url.starts_with("https://")),
        resources: named(alert.get("resources")),
        event: alert.get("people").is_some_and(Value::is_array),
        people: named(alert.get("people")),
        raw: alert.clone(),
        ..Alert::default()
    })
}

/// Returns the references that the body contains under a usual name. Other senders use these names for
/// something else, so an element that is not a reference is ignored.
fn named<T: serde::de::DeserializeOwned>(value: Option<&Value>) -> Vec<T> {
    let items = value
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    items
        .iter()
        .take(MAX_NAMED)
        .filter(|item| item.is_object())
        .filter_map(|item| serde_json::from_value(item.clone()).ok())
        .collect()
}

/// The number of references that are read from one alert.
const MAX_NAMED: usize = 1_000;

fn words(value: Option<&Value>) -> BTreeMap<String, String> {
    let object = value.and_then(Value::as_object);
    object
        .map(|object| {
            object
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), as_text(value)?)))
                .collect()
        })
        .unwrap_or_default()
}

/// Parses a time: RFC 3339, or a number since 1970. A time that cannot be parsed is noted and left out.
fn time(at: &str, (field, value): (String, Option<&Value>)) -> Option<Timestamp> {
    times::any(value?).unwrap_or_else(|reason| {
        note(&format!("{at}{field}"), &reason);
        None
    })
}
