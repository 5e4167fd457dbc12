//! updown.io: an array of events. An event contains the check as it is when the event is sent, so only the
//! name of the event says what happened.

use serde_json::Value;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels};
use super::proof;
use super::text::link;
use super::times;
use crate::alert::order::EventTime;

/// The source `updown`. Its senders can also put the secret into the query of the URL.
pub(super) const SOURCE: Source = Source {
    verify: Some(proof::in_query),
    ..Source::new("updown", |request, _| parse(&request.document()?))
};

/// Parses a body.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not one of updown.
pub fn parse(body: &Value) -> Result<Batch, Refusal> {
    let doc = Doc::new(body);
    let items = if body.is_object() {
        vec![doc.clone()]
    } else {
        doc.items()
    };
    if items.is_empty() {
        return Err(doc.wrong("", "must be an array of events"));
    }
    let mut batch = Batch::default();
    for item in items {
        batch.add(one(&item)?);
    }
    Ok(batch)
}

fn one(doc: &Doc<'_>) -> Result<Batch, Refusal> {
    let event = doc.need("event")?;
    let check = doc.object("check")?;
    let token = check.need("token")?;
    // A problem with a certificate is separate from an outage.
    let (firing, severity, certificate) = match event.as_str() {
        "check.down" | "check.still_down" => (true, "", false),
        "check.up" => (false, "", false),
        "check.ssl_invalid" => (true, "", true),
        "check.ssl_expiration" => (true, "notice", true),
        "check.ssl_valid" | "check.ssl_renewed" => (false, "", true),
        other if other.starts_with("check.") => {
            return Ok(Batch::ignored(format!(
                "{} of check {token}",
                crate::base::text::one_line(other, 60)
            )));
        }
        _ => {
            return Err(doc.wrong(
                "event",
                "must be check.down, check.up or another event of a check",
            ));
        }
    };
    let started = doc.time("downtime/started_at", times::rfc3339);
    let ended = doc.time("downtime/ended_at", times::rfc3339).filter(|_| !firing);
    let fingerprint = match (
        certificate,
        doc.text("downtime/id"),
        doc.text("downtime/started_at"),
    ) {
        (true, ..) => format!("{token}/ssl"),
        (_, Some(id), _) => id,
        (_, None, Some(started)) => format!("{token}/{started}"),
        // The first "up" of a check has no downtime.
        (_, None, None) => token.clone(),
    };
    let url = check.text("url");
    let mut labels = Labels::default();
    labels.put("token", Some(token.clone()));
    labels.put("url", url.clone());
    labels.put("alias", check.text("alias"));
    labels.put("error", doc.first(&["downtime/error", "ssl/error"]));
    Ok(Batch::of(vec![Alert {
        fingerprint,
        firing,
        severity: severity.to_owned(),
        title: check.first(&["alias", "url"]).unwrap_or(token),
        text: doc
            .first(&["description", "downtime/error", "ssl/error", "check/error"])
            .unwrap_or_default(),
        started_at: started,
        ended_at: ended,
        event_at: doc
            .time("time", times::rfc3339)
            .or(ended)
            .map(EventTime::change)
            .or(started.filter(|_| firing).map(EventTime::beginning)),
        link: link(url),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    }]))
}
