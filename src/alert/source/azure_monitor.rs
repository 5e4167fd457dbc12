//! Azure Monitor: the common alert schema, and the bodies of metric alerts, activity logs and log searches
//! without it.
//!
//! A message about the health of a service that reports the end of a problem arrives as `Fired`. For these
//! messages the stage decides, and the tracking ID of Microsoft is the key.

use serde_json::Value;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels};
use super::proof;
use super::text::{join, link, lower};
use super::times;
use crate::alert::order::EventTime;
use crate::base::time::Timestamp;

/// The source `azure_monitor`. Its senders can also put the secret into the query of the URL.
pub(super) const SOURCE: Source = Source {
    verify: Some(proof::in_query),
    ..Source::new("azure_monitor", |request, _| parse(&request.document()?))
};

/// Parses a body.
///
/// # Errors
/// A JSON pointer into the body, and the reason why it is none of these formats.
pub fn parse(body: &Value) -> Result<Batch, Refusal> {
    let doc = Doc::new(body);
    let alert = if doc.get("data/essentials").is_some() {
        let essentials = doc.object("data/essentials")?;
        if is_test(&essentials) {
            return Ok(Batch::ignored("a test of the action group"));
        }
        common(&doc, &essentials)
    } else if doc.get("data/context/activityLog").is_some() {
        activity(&doc, &doc.object("data/context/activityLog")?)
    } else if doc.get("data/context").is_some() {
        classic(&doc, &doc.object("data")?)
    } else if doc.get("context").is_some() {
        classic(&doc, &doc)
    } else if doc.get("data/AlertRuleName").is_some() {
        search(&doc, &doc.object("data")?)
    } else {
        Err(doc.wrong(
            "data/essentials",
            "is missing, and the body does not have an older schema",
        ))
    }?;
    Ok(Batch::of(vec![alert]))
}

/// Returns whether this is the test of the portal. It names a subscription that cannot exist.
fn is_test(essentials: &Doc<'_>) -> bool {
    let rule = lower(essentials.text("alertRule"));
    let id = essentials.text("alertId").unwrap_or_default();
    rule.starts_with("test-") && id.contains("/subscriptions/11111111-1111-1111-1111-111111111111/")
}

/// The content of a message about the health of a service.
#[derive(Default)]
struct Health {
    /// Whether the problem has ended.
    well: bool,
    /// The tracking ID of Microsoft.
    tracked: Option<String>,
    /// Why this is not an outage: maintenance, advice, or a report after the fact.
    informs: Option<String>,
    /// When the message was published.
    said: Option<Timestamp>,
}

fn health(context: &Doc<'_>) -> Health {
    let stage = lower(context.first(&["properties/stage", "properties/status", "status"]));
    let kind = lower(context.first(&["properties/incidentType", "operationName"]));
    // The kind is `Incident`, or comes from `Microsoft.ServiceHealth/incident/action` if the type is missing.
    let kind = kind
        .strip_suffix("/action")
        .and_then(|name| name.rsplit('/').next())
        .unwrap_or(&kind)
        .to_owned();
    let well = lower(context.text("properties/currentHealthStatus")) == "available";
    let advice = matches!(
        kind.as_str(),
        "maintenance"
            | "informational"
            | "information"
            | "actionrequired"
            | "security"
            | "securityadvisory"
            | "healthadvisory"
            | "billing"
    );
    let passing = matches!(
        stage.as_str(),
        "planned"
            | "rescheduled"
            | "inprogress"
            | "in progress"
            | "complete"
            | "completed"
            | "canceled"
            | "cancelled"
            | "rca"
            | "informational"
    );
    Health {
        well: stage == "resolved" || lower(context.text("status")) == "resolved" || well,
        tracked: context.text("properties/trackingId"),
        informs: (advice || passing).then(|| {
            crate::base::text::one_line(
                &format!("Azure Service Health reports: {kind}, stage {stage}"),
                200,
            )
        }),
        said: context.first_time(
            &[
                "eventTimestamp",
                "properties/communicationTimestamp",
                "submissionTimestamp",
            ],
            times::rfc3339,
        ),
    }
}

fn common(doc: &Doc<'_>, essentials: &Doc<'_>) -> Result<Alert, Refusal> {
    let context = doc.get("data/alertContext");
    let service = lower(essentials.text("monitoringService")).replace(' ', "");
    let about_health = service == "servicehealth" || service == "resourcehealth";
    let Health {
        well,
        tracked,
        informs,
        said,
    } = match &context {
        Some(context) if about_health => health(context),
        _ => Health::default(),
    };
    let firing = match essentials.need("monitorCondition")?.to_lowercase().as_str() {
        "fired" => !well,
        "resolved" => false,
        _ => return Err(essentials.wrong("monitorCondition", "must be Fired or Resolved")),
    };
    // Each message about the health of a resource has its own ID, so the resource is the key.
    let target = essentials
        .text("alertTargetIDs/0")
        .filter(|_| service == "resourcehealth")
        .map(|target| target.to_lowercase());
    let fingerprint = match tracked.or(target) {
        Some(tracked) => format!("{service}/{tracked}"),
        None => essentials
            .first(&["alertId", "originAlertId"])
            .ok_or_else(|| essentials.wrong("alertId", "is missing"))?,
    };
    let mut labels = Labels::default();
    labels.take(doc.words("data/customProperties"));
    for name in ["alertRule", "signalType", "monitoringService"] {
        labels.put(name, essentials.text(name));
    }
    for name in ["alertTargetIDs", "configurationItems"] {
        let items = essentials.get(name).map(|list| list.items()).unwrap_or_default();
        let items: Vec<String> = items
            .iter()
            .filter_map(|one| super::doc::word(one.value))
            .collect();
        labels.put(name, (!items.is_empty()).then(|| items.join(",")));
    }
    if let Some(context) = &context {
        for metric in context
            .get("condition/allOf")
            .map(|list| list.items())
            .unwrap_or_default()
        {
            labels.put("metricName", metric.text("metricName"));
            labels.tags(metric.get("dimensions"));
        }
    }
    let fired = essentials.time("firedDateTime", times::rfc3339);
    let resolved = essentials.time("resolvedDateTime", times::rfc3339);
    let from_context = context.as_ref().and_then(|context| {
        context.first(&[
            "properties/title",
            "properties/communication",
            "properties/incidentType",
        ])
    });
    Ok(Alert {
        title: essentials
            .first(&["alertRule", "description"])
            .or_else(|| {
                context
                    .as_ref()
                    .and_then(|context| context.first(&["properties/title", "AlertData/BudgetName"]))
            })
            .unwrap_or_else(|| "Azure alert".to_owned()),
        fingerprint,
        firing,
        severity: lower(essentials.text("severity")),
        text: join([essentials.text("description"), from_context]),
        started_at: fired,
        // A `Fired` message that reports the end of a problem was fired when the problem ended.
        ended_at: if firing {
            None
        } else {
            resolved.or(fired.filter(|_| well))
        },
        // An alert of Azure Monitor that is resolved never fires again.
        event_at: match () {
            () if about_health => said.or(fired),
            () if firing => fired,
            () => resolved.or(fired),
        }
        .map(EventTime::change),
        message_id: context.as_ref().and_then(|context| context.text("eventDataId")),
        informs,
        link: link(essentials.first(&["investigationLink"])),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    })
}

/// Parses metric alerts without the common schema: classic ones (`status`, `context`), and those of 2018 (the
/// same inside `data`).
fn classic(doc: &Doc<'_>, data: &Doc<'_>) -> Result<Alert, Refusal> {
    let context = data.object("context")?;
    let firing = match data.need("status")?.to_lowercase().as_str() {
        "activated" => true,
        "resolved" | "deactivated" => false,
        _ => return Err(data.wrong("status", "must be Activated, Deactivated or Resolved")),
    };
    let mut labels = Labels::default();
    labels.take(data.words("properties"));
    labels.put("alertRule", context.text("name"));
    for name in [
        "resourceId",
        "resourceName",
        "resourceType",
        "resourceGroupName",
        "resourceRegion",
        "subscriptionId",
    ] {
        labels.put(name, context.text(name));
    }
    labels.put("metricName", context.text("condition/metricName"));
    for metric in context
        .get("condition/allOf")
        .map(|list| list.items())
        .unwrap_or_default()
    {
        labels.put("metricName", metric.text("metricName"));
        labels.tags(metric.get("dimensions"));
    }
    let at = context.time("timestamp", times::rfc3339);
    let severity = lower(context.text("severity"));
    Ok(Alert {
        fingerprint: context
            .first(&["id", "name"])
            .ok_or_else(|| context.wrong("id", "is missing"))?,
        firing,
        severity: if severity.len() == 1 {
            format!("sev{severity}")
        } else {
            severity
        },
        title: context.text("name").unwrap_or_else(|| "Azure alert".to_owned()),
        text: join([
            context.text("description"),
            context
                .text("resourceId")
                .map(|resource| format!("Resource: {resource}")),
        ]),
        started_at: at.filter(|_| firing),
        ended_at: at.filter(|_| !firing),
        event_at: at.map(EventTime::change),
        link: link(context.text("portalLink")),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    })
}

fn activity(doc: &Doc<'_>, log: &Doc<'_>) -> Result<Alert, Refusal> {
    let source = lower(log.text("eventSource"));
    let about_health = source == "servicehealth" || source == "resourcehealth";
    let Health {
        well,
        tracked,
        informs,
        ..
    } = health(log);
    let firing = !(about_health && well);
    let fingerprint = match tracked {
        Some(tracked) => format!("{source}/{tracked}"),
        None => log
            .first(&["correlationId", "eventDataId"])
            .ok_or_else(|| log.wrong("correlationId", "is missing"))?,
    };
    let mut labels = Labels::default();
    for name in [
        "operationName",
        "resourceId",
        "resourceGroupName",
        "subscriptionId",
        "eventSource",
        "level",
    ] {
        labels.put(name, log.text(name));
    }
    let at = log.first_time(&["eventTimestamp", "submissionTimestamp"], times::rfc3339);
    Ok(Alert {
        fingerprint,
        firing,
        severity: lower(log.text("level")),
        title: log
            .first(&["properties/title", "operationName", "description"])
            .unwrap_or_else(|| "Activity log alert".to_owned()),
        text: join([log.text("description"), log.text("properties/communication")]),
        started_at: at.filter(|_| firing),
        ended_at: at.filter(|_| !firing),
        event_at: at.map(EventTime::change),
        message_id: log.text("eventDataId"),
        informs: informs.filter(|_| about_health),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    })
}

/// Parses a log search alert without the common schema. It only reports that something was found, never an
/// end.
fn search(doc: &Doc<'_>, data: &Doc<'_>) -> Result<Alert, Refusal> {
    let rule = data.need("AlertRuleName")?;
    let subscription = data.text("SubscriptionId").unwrap_or_default();
    let mut labels = Labels::default();
    labels.put("alertRule", Some(rule.clone()));
    labels.put("subscriptionId", data.text("SubscriptionId"));
    labels.tags(data.get("Dimensions"));
    let severity = lower(data.text("Severity"));
    Ok(Alert {
        fingerprint: format!("{subscription}/{rule}"),
        firing: true,
        severity: if severity.len() == 1 {
            format!("sev{severity}")
        } else {
            severity
        },
        title: rule,
        text: data.text("Description").unwrap_or_default(),
        // The times of the search have the format of the United States and no zone, so they are not read.
        link: link(data.first(&["LinkToFilteredSearchResultsUI", "LinkToSearchResults"])),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    })
}
