//! Sentry: the webhooks of its integration platform, and the legacy plugin.
//!
//! Only a header says which kind of event a body contains. If a proxy removed the header, the structure of
//! the body decides. An issue alert never resolves. The issue itself does, by a webhook of the kind `issue`.
//! So both use the ID of the issue as their key.

use serde_json::Value;

use super::batch::{Alert, Batch, PersonRef, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels};
use super::proof::{Proven, equal, hex, holds};
use super::text::{join, link, lower};
use super::{Request, times};
use crate::alert::order::EventTime;
use crate::base::time::Timestamp;

/// The source `sentry`. Its senders can also sign the body.
pub(super) const SOURCE: Source = Source {
    verify: Some(verify),
    ..Source::new("sentry", |request, _| parse(request))
};

/// Parses a request.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not one of Sentry.
pub fn parse(request: &Request) -> Result<Batch, Refusal> {
    let body = request.document()?;
    let doc = Doc::new(&body);
    if !body.is_object() {
        return Err(doc.wrong("", "must be an object"));
    }
    let Some(data) = doc.get("data") else {
        if doc.get("event").is_some() || doc.get("project").is_some() {
            return plugin(&doc).map(|alert| Batch::of(vec![alert]));
        }
        return Err(doc.wrong("data", "is missing"));
    };
    let shape = [
        "installation",
        "metric_alert",
        "issue",
        "error",
        "comment",
        "event",
    ]
    .into_iter()
    .find(|kind| data.get(kind).is_some())
    .map(|kind| if kind == "event" { "event_alert" } else { kind });
    let resource = request.header("sentry-hook-resource").map(str::to_owned);
    let resource = resource.as_deref().or(shape).ok_or_else(|| {
        doc.wrong(
            "data",
            "has no known kind, and the header Sentry-Hook-Resource is missing",
        )
    })?;
    let batch = match resource {
        "event_alert" => event(&doc, &data.object("event")?, &["triggered_rule"]).map(one),
        "error" => event(&doc, &data.object("error")?, &[]).map(one),
        "issue" => issue(&doc, &data.object("issue")?),
        "metric_alert" => metric(&doc, &data.object("metric_alert")?).map(one),
        // Other kinds that Sentry sends in addition to alerts, for example installation and comment.
        other => Ok(Batch::ignored(format!(
            "an event of the kind {}",
            crate::base::text::one_line(other, 60)
        ))),
    }?;
    Ok(as_sent(request, batch))
}

/// Adds the values of the headers: the ID of the message, and when it was sent if the body contains no time.
fn as_sent(request: &Request, mut batch: Batch) -> Batch {
    let sent = request
        .header("sentry-hook-timestamp")
        .and_then(|text| times::seconds(&Value::String(text.to_owned())).ok().flatten());
    for alert in &mut batch.alerts {
        alert.message_id = request.header("request-id").map(str::to_owned);
        alert.event_at = alert.event_at.or(sent.map(EventTime::change));
    }
    batch
}

fn one(alert: Alert) -> Batch {
    Batch::of(vec![alert])
}

/// Returns the ID of the issue that an event belongs to. Older bodies contain it only in a URL.
fn issue_id(event: &Doc<'_>) -> Option<String> {
    event
        .first(&["issue_id", "groupID", "group_id", "issue/id"])
        .or_else(|| {
            ["issue_url", "web_url"].iter().find_map(|name| {
                let url = event.text(name)?;
                let (_, rest) = url.split_once("/issues/")?;
                let id: String = rest.chars().take_while(char::is_ascii_digit).collect();
                (!id.is_empty()).then_some(id)
            })
        })
}

/// Returns the user whose session had the error.
fn people(event: &Doc<'_>) -> Vec<PersonRef> {
    let user = event.get("user").or_else(|| event.get("sentry.interfaces.User"));
    user.map(|user| PersonRef {
        id: user.text("id"),
        email: user.text("email"),
        username: user.text("username"),
    })
    .filter(|person| *person != PersonRef::default())
    .into_iter()
    .collect()
}

fn labels(event: &Doc<'_>) -> Labels {
    let mut labels = Labels::default();
    labels.tags(event.get("tags"));
    // These labels identify the user.
    labels.0.retain(|name, _| name != "user" && name != "sentry:user");
    labels.0.remove("tags");
    for name in [
        "environment",
        "release",
        "platform",
        "culprit",
        "transaction",
        "location",
        "project",
    ] {
        labels.put(name, event.text(name));
    }
    labels
}

fn event(doc: &Doc<'_>, event: &Doc<'_>, rules: &[&str]) -> Result<Alert, Refusal> {
    let fingerprint =
        issue_id(event).ok_or_else(|| event.wrong("issue_id", "is missing; it must identify the issue"))?;
    let data = doc.object("data")?;
    let mut labels = labels(event);
    for rule in rules {
        labels.put("rule", data.text(rule));
    }
    labels.put("rule", data.text("issue_alert/title"));
    let level = event.text("level").or_else(|| labels.0.get("level").cloned());
    let title = event.first(&["title", "message", "metadata/title", "culprit"]);
    Ok(Alert {
        fingerprint,
        firing: true,
        severity: lower(level),
        title: title.clone().unwrap_or_else(|| "Error".to_owned()),
        text: join([
            event
                .first(&["message", "logentry/formatted"])
                .filter(|text| Some(text) != title.as_ref()),
            event.text("metadata/value"),
            event.text("culprit"),
            labels.0.get("rule").map(|rule| format!("Rule: {rule}")),
        ]),
        started_at: event_time(event),
        event_at: happened(event),
        link: link(event.first(&["web_url", "permalink", "issue_url", "url"])),
        event: true,
        people: people(event),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    })
}

/// Returns when Sentry received the event, for the order of events. The event's own time comes from the
/// user's clock, for example that of a browser.
fn happened(event: &Doc<'_>) -> Option<EventTime> {
    event
        .time("received", times::any)
        .or_else(|| event_time(event))
        .map(EventTime::change)
}

fn event_time(event: &Doc<'_>) -> Option<crate::base::time::Timestamp> {
    event
        .time("datetime", times::utc)
        .or_else(|| event.first_time(&["timestamp", "received"], times::any))
}

fn issue(doc: &Doc<'_>, issue: &Doc<'_>) -> Result<Batch, Refusal> {
    let fingerprint = issue.need("id")?;
    let action = doc.need("action")?;
    let status = lower(issue.text("status"));
    let firing = match (action.to_lowercase().as_str(), status.as_str()) {
        ("resolved", _) => false,
        ("created" | "unresolved", _) => true,
        (_, "resolved") => false,
        (_, "unresolved" | "reprocessing") => true,
        ("archived" | "ignored", _) | (_, "ignored" | "archived") => {
            return Ok(Batch::ignored(format!(
                "issue {fingerprint} was archived, so it does not say whether the problem is resolved"
            )));
        }
        _ => return Err(issue.wrong("status", "must be resolved, unresolved or ignored")),
    };
    let mut labels = Labels::default();
    labels.put(
        "project",
        issue.first(&["project/slug", "project/name", "project"]),
    );
    for name in ["platform", "culprit", "shortId", "type"] {
        labels.put(name, issue.text(name));
    }
    labels.put("assignee", issue.text("assignedTo/name"));
    // The last event is before the resolution, so its time is not used.
    let resolved_at = issue.first_time(&["statusDetails/resolvedAt", "resolvedAt"], times::utc);
    Ok(one(Alert {
        fingerprint,
        firing,
        severity: lower(issue.text("level")),
        title: issue
            .first(&["title", "metadata/title", "culprit"])
            .unwrap_or_else(|| "Issue".to_owned()),
        text: join([issue.text("metadata/value"), issue.text("culprit")]),
        started_at: issue.time("firstSeen", times::utc),
        ended_at: resolved_at.filter(|_| !firing),
        event_at: resolved_at.filter(|_| !firing).map(EventTime::change),
        link: link(issue.first(&["permalink", "web_url", "url"])),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    }))
}

fn metric(doc: &Doc<'_>, alert: &Doc<'_>) -> Result<Alert, Refusal> {
    let id = match (
        alert.text("id"),
        alert.text("identifier"),
        alert.text("organization_id"),
    ) {
        (Some(id), ..) => id,
        (None, Some(identifier), Some(organization)) => format!("{organization}/{identifier}"),
        _ => return Err(alert.wrong("id", "is missing")),
    };
    // The field `status` is a number without a clear meaning.
    let action = doc.need("action")?.to_lowercase();
    let firing = match action.as_str() {
        "critical" | "warning" | "open" => true,
        "resolved" => false,
        _ => return Err(doc.wrong("action", "must be critical, warning, open or resolved")),
    };
    let data = doc.object("data")?;
    let mut labels = Labels::default();
    labels.put("rule", alert.text("alert_rule/name"));
    labels.put("environment", alert.text("alert_rule/environment"));
    labels.put("aggregate", alert.text("alert_rule/aggregate"));
    let projects = alert.get("projects").map(|list| list.items()).unwrap_or_default();
    let projects: Vec<String> = projects
        .iter()
        .filter_map(|one| super::doc::word(one.value))
        .collect();
    labels.put("project", (!projects.is_empty()).then(|| projects.join(",")));
    let started = alert.first_time(&["date_started", "date_detected", "date_created"], times::utc);
    let closed = alert.time("date_closed", times::utc).filter(|_| !firing);
    Ok(Alert {
        // The prefix is needed because issues have numbers too.
        fingerprint: format!("metric_alert/{id}"),
        firing,
        severity: if action == "resolved" || action == "open" {
            String::new()
        } else {
            action
        },
        title: data
            .text("description_title")
            .or_else(|| alert.first(&["title", "alert_rule/name"]))
            .unwrap_or_else(|| "Metric alert".to_owned()),
        text: data.text("description_text").unwrap_or_default(),
        started_at: started,
        ended_at: closed,
        event_at: match firing {
            true => started.map(EventTime::beginning),
            false => closed.map(EventTime::change),
        },
        link: link(data.text("web_url").or_else(|| alert.text("web_url"))),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    })
}

/// Parses the body of the plugin WebHooks, which only reports that an error happened.
fn plugin(doc: &Doc<'_>) -> Result<Alert, Refusal> {
    let empty = Value::Null;
    let event = doc.get("event").unwrap_or(Doc {
        at: format!("{}/event", doc.at),
        value: &empty,
    });
    let mut labels = labels(&event);
    labels.put("project", doc.first(&["project", "project_slug", "project_name"]));
    labels.put("culprit", doc.text("culprit"));
    labels.put("logger", doc.text("logger"));
    let title = doc.first(&["message", "event/title", "culprit"]);
    Ok(Alert {
        fingerprint: doc.need("id")?,
        firing: true,
        severity: lower(doc.text("level").or_else(|| event.text("level"))),
        title: title.unwrap_or_else(|| "Error".to_owned()),
        text: join([event.text("metadata/value"), doc.text("culprit")]),
        started_at: event_time(&event),
        event_at: happened(&event),
        link: link(doc.text("url")),
        event: true,
        people: people(&event),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    })
}

/// Verifies a hexadecimal signature over the body. The client secret is hexadecimal too, and its text is used
/// as the key.
fn verify(secret: &str, request: &Request, _: Timestamp) -> Proven {
    let given = request
        .header("sentry-hook-signature")
        .or_else(|| request.header("sentry-app-signature"))
        .ok_or("Sentry-Hook-Signature is missing")?;
    let given = given.trim().to_ascii_lowercase();
    let expected = hex(secret, &[&request.body]);
    holds(
        equal(given.as_bytes(), expected.as_bytes()),
        "Sentry-Hook-Signature is not valid",
    )
}
