//! Freshstatus, a status page: its incidents and the notes on them. Values have the format of Python, for
//! example `None`, and a space in times.

use serde_json::Value;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels};
use super::proof;
use super::times;
use crate::alert::order::EventTime;

/// The source `freshstatus`. Its senders can also put the secret into the query of the URL.
pub(super) const SOURCE: Source = Source {
    verify: Some(proof::in_query),
    ..Source::new("freshstatus", |request, _| parse(&request.document()?))
};

/// Parses a body.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not one of Freshstatus.
pub fn parse(body: &Value) -> Result<Batch, Refusal> {
    let doc = Doc::new(body);
    let kind = doc.need("event_data/event_type")?;
    // The test of the webhook is the template itself, with only some of its values replaced.
    if doc
        .get("notification_options")
        .and_then(|options| options.value.as_str().map(|text| text.starts_with('{')))
        == Some(true)
    {
        return Ok(Batch::ignored("a test of the webhook"));
    }
    if kind.starts_with("MAINTENANCE") {
        return Ok(Batch::ignored(format!(
            "{} of a maintenance",
            crate::base::text::one_line(&kind, 60)
        )));
    }
    let note = kind.contains("NOTE");
    let fingerprint = if note {
        doc.need("incident_id")?
    } else {
        doc.first(&["id", "incident_id"])
            .ok_or_else(|| doc.wrong("id", "is missing"))?
    };
    let status = if note {
        doc.text("incident_status")
    } else {
        doc.text("status")
    };
    let firing = match (kind.as_str(), status.unwrap_or_default().to_lowercase().as_str()) {
        ("INCIDENT_CLOSED" | "INCIDENT_RESOLVED", _) | (_, "closed" | "resolved") => false,
        ("INCIDENT_OPEN" | "INCIDENT_REOPEN" | "INCIDENT_REOPENED", _) | (_, "open") => true,
        _ => {
            return Err(doc.wrong(
                "event_data/event_type",
                "must be of an incident, such as INCIDENT_OPEN",
            ));
        }
    };
    let mut labels = Labels::default();
    let services = doc.text("affected_services").map(|text| {
        let names = text.split(',').map(|name| name.trim().trim_matches('\''));
        names
            .filter(|name| !name.is_empty())
            .collect::<Vec<_>>()
            .join(",")
    });
    labels.put("services", services);
    labels.put("account", doc.text("event_data/account_name"));
    labels.put("source", doc.text("source"));
    let created = doc.time("event_data/event_created_on", times::rfc3339);
    let started = doc.time("start_time", times::rfc3339);
    let ended = doc.time("end_time", times::rfc3339);
    Ok(Batch::of(vec![Alert {
        title: doc
            .text("title")
            .unwrap_or_else(|| format!("Incident {fingerprint}")),
        fingerprint,
        firing,
        text: doc.first(&["description", "message"]).unwrap_or_default(),
        started_at: started.or(created.filter(|_| firing)),
        ended_at: if firing { None } else { ended.or(created) },
        event_at: created.map(EventTime::change).or(if firing {
            started.map(EventTime::beginning)
        } else {
            ended.map(EventTime::change)
        }),
        labels: labels.0,
        raw: body.clone(),
        ..Alert::default()
    }]))
}
