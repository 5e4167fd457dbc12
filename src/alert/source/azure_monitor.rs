//! Azure Monitor: the common alert schema, and the bodies of metric alerts, activity logs and log searches without it.
//!
//! An alert about the health of a service that says that all is well again comes as `Fired`: there the stage counts, and
//! the id that Microsoft tracks the problem by is the key.

use serde_json::Value;

use super::doc::{Doc, Labels};
use super::text::{join, link, lower};
use super::{Alert, Batch, Refusal, times};

/// Reads a body.
///
/// # Errors
/// Where in the body, and why it is none of these.
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
            "is missing, and the body is of no older schema either",
        ))
    }?;
    Ok(Batch::of(vec![alert]))
}

/// What the portal's test sends names a subscription that cannot be.
fn is_test(essentials: &Doc<'_>) -> bool {
    let rule = lower(essentials.text("alertRule"));
    let id = essentials.text("alertId").unwrap_or_default();
    rule.starts_with("test-") && id.contains("/subscriptions/11111111-1111-1111-1111-111111111111/")
}

/// Whether the health of a service is well again, and the id of the problem.
fn health(context: Option<&Doc<'_>>) -> (bool, Option<String>) {
    let Some(context) = context else {
        return (false, None);
    };
    let stage = context.first(&["properties/stage", "properties/status", "status"]);
    let well = lower(context.text("properties/currentHealthStatus")) == "available";
    (
        lower(stage) == "resolved" || lower(context.text("status")) == "resolved" || well,
        context.text("properties/trackingId"),
    )
}

fn common(doc: &Doc<'_>, essentials: &Doc<'_>) -> Result<Alert, Refusal> {
    let context = doc.get("data/alertContext");
    let service = lower(essentials.text("monitoringService")).replace(' ', "");
    let about_health = service == "servicehealth" || service == "resourcehealth";
    let (well, tracked) = if about_health {
        health(context.as_ref())
    } else {
        (false, None)
    };
    let firing = match essentials.need("monitorCondition")?.to_lowercase().as_str() {
        "fired" => !well,
        "resolved" => false,
        _ => return Err(essentials.wrong("monitorCondition", "must be Fired or Resolved")),
    };
    let fingerprint = match tracked {
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
    let fired = essentials.time("firedDateTime", times::rfc3339)?;
    let resolved = essentials.time("resolvedDateTime", times::rfc3339)?;
    let told = context.as_ref().and_then(|context| {
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
        text: join([essentials.text("description"), told]),
        started_at: fired,
        // One that is Fired to say that all is well was fired at its end.
        ended_at: if firing {
            None
        } else {
            resolved.or(fired.filter(|_| well))
        },
        link: link(essentials.first(&["investigationLink"])),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    })
}

/// Metric alerts without the common schema: classic ones (`status`, `context`), and those of 2018 (the same in `data`).
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
    let at = context.time("timestamp", times::rfc3339)?;
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
        link: link(context.text("portalLink")),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    })
}

fn activity(doc: &Doc<'_>, log: &Doc<'_>) -> Result<Alert, Refusal> {
    let (well, tracked) = health(Some(log));
    let source = lower(log.text("eventSource"));
    let about_health = source == "servicehealth" || source == "resourcehealth";
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
    let at = log.first_time(&["eventTimestamp", "submissionTimestamp"], times::rfc3339)?;
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
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    })
}

/// A log search alert without the common schema, which only ever says that something was found.
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
        // The times of the search are in the style of the United States, without a zone: no time.
        link: link(data.first(&["LinkToFilteredSearchResultsUI", "LinkToSearchResults"])),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    })
}
