//! Google Cloud Monitoring: one incident in each body, versions 1.1 and 1.2, and the test of the console.

use serde_json::Value;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels};
use super::proof;
use super::text::{join, link, lower};
use super::times;
use crate::alert::order::EventTime;

/// The source `gcp_monitoring`. Its senders can also put the secret into the query of the URL.
pub(super) const SOURCE: Source = Source {
    verify: Some(proof::in_query),
    ..Source::new("gcp_monitoring", |request, _| parse(&request.document()?))
};

/// Parses a body.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not one of Cloud Monitoring.
pub fn parse(body: &Value) -> Result<Batch, Refusal> {
    let doc = Doc::new(body);
    if doc.get("incident").is_none() && doc.get("event_info").is_some() {
        return Err(doc.wrong(
            "incident",
            "is missing: this is a body of Error Reporting, not of Monitoring",
        ));
    }
    let incident = doc.object("incident")?;
    if lower(doc.text("version")) == "test" {
        return Ok(Batch::ignored("a test of the notification channel"));
    }
    let fingerprint = incident.need("incident_id")?;
    let firing = match incident.need("state")?.to_lowercase().as_str() {
        "open" | "opened" | "acknowledged" => true,
        "closed" | "close" => false,
        _ => return Err(incident.wrong("state", "must be open or closed")),
    };
    let mut labels = Labels::default();
    for from in [
        "policy_user_labels",
        "resource/labels",
        "metric/labels",
        "metadata/user_labels",
    ] {
        labels.take(incident.words(from));
    }
    for name in [
        "policy_name",
        "condition_name",
        "resource_name",
        "resource_id",
        "scoping_project_id",
    ] {
        labels.put(name, incident.text(name));
    }
    labels.put("resource_type", incident.text("resource/type"));
    labels.put("metric_type", incident.text("metric/type"));
    // Before there was a field for the severity, it was a label by convention.
    let severity = incident
        .text("severity")
        .or_else(|| incident.text("policy_user_labels/severity"))
        .map(|word| word.to_lowercase())
        .filter(|word| word != "no severity");
    let documentation = incident.first(&["documentation/content", "documentation"]);
    let title = incident.first(&[
        "documentation/subject",
        "condition_name",
        "policy_name",
        "summary",
    ]);
    let started = incident.time("started_at", times::seconds);
    let ended = incident.time("ended_at", times::seconds).filter(|_| !firing);
    Ok(Batch::of(vec![Alert {
        title: title.unwrap_or_else(|| format!("Incident {fingerprint}")),
        fingerprint,
        firing,
        severity: severity.unwrap_or_default(),
        text: join([incident.text("summary"), documentation]),
        started_at: started,
        ended_at: ended,
        // A closed incident never opens again, so its end is always after its beginning.
        event_at: match firing {
            true => started.map(EventTime::beginning),
            false => ended.or(started).map(EventTime::change),
        },
        link: link(incident.text("url")),
        labels: labels.0,
        raw: body.clone(),
        ..Alert::default()
    }]))
}
