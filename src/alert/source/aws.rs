//! Amazon: alarms of CloudWatch and events of AWS Health. They arrive through SNS (an envelope with JSON in a
//! text), delivered raw, in the records that a Lambda function gets, or as CloudWatch sends them to a
//! function or to EventBridge.
//!
//! Resource rules read the message inside the envelope: `Trigger.Dimensions.0.value`, not `Message`.

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels, word};
use super::request::document;
use super::text::{join, lower};
use super::{Request, times};
use crate::alert::order::EventTime;
use crate::base::time::Timestamp;

/// The number of records of one body that are read.
const MAX: usize = 1_000;

/// The source `aws_cloudwatch`. Amazon SNS must have signed its messages if the secret is the ARN of a topic.
pub(super) const CLOUDWATCH: Source = Source {
    signed_by_amazon: true,
    ..Source::new("aws_cloudwatch", |request, _| parse(request))
};

/// The source `aws_sns`. It reads the same messages as `aws_cloudwatch` and verifies them in the same way.
pub(super) const SNS: Source = Source {
    signed_by_amazon: true,
    ..Source::new("aws_sns", |request, _| parse(request))
};

/// Parses a request.
///
/// # Errors
/// A JSON pointer into the body, and the reason why it is none of these formats.
pub fn parse(request: &Request) -> Result<Batch, Refusal> {
    let body = request.document()?;
    let doc = Doc::new(&body);
    let Some(records) = doc.get("Records") else {
        let mut batch = envelope(&doc)?;
        // If the message is delivered raw, its ID is in a header.
        if let Some(id) = request.header("x-amz-sns-message-id") {
            for alert in &mut batch.alerts {
                alert.message_id = Some(id.to_owned());
            }
        }
        return Ok(batch);
    };
    let records = records.items();
    if records.is_empty() || records.len() > MAX {
        return Err(doc.wrong("Records", "must be an array of 1 to 1,000 records"));
    }
    let mut batch = Batch::default();
    for record in records {
        batch.add(envelope(&record.object("Sns")?)?);
    }
    Ok(batch)
}

fn envelope(doc: &Doc<'_>) -> Result<Batch, Refusal> {
    let Some(text) = doc.get("Message").filter(|_| doc.get("Type").is_some()) else {
        return message(doc, doc, None);
    };
    match doc.text("Type").as_deref() {
        Some("SubscriptionConfirmation") => {
            return Ok(Batch::ignored(
                "a subscription of SNS that waits for its confirmation",
            ));
        }
        Some("UnsubscribeConfirmation") => return Ok(Batch::ignored("the end of a subscription of SNS")),
        Some("Notification") => {}
        _ => {
            return Err(doc.wrong(
                "Type",
                "must be Notification, SubscriptionConfirmation or UnsubscribeConfirmation",
            ));
        }
    }
    let at = text.at.clone();
    let text = text
        .value
        .as_str()
        .ok_or_else(|| doc.wrong("Message", "must be a text"))?;
    let inner = document(text.as_bytes()).map_err(|_| {
        doc.wrong(
            "Message",
            "is neither an alarm of CloudWatch nor an event of AWS Health: it is not JSON",
        )
    })?;
    let inner = Doc { at, value: &inner };
    message(&inner, doc, doc.text("TopicArn"))
}

fn message(doc: &Doc<'_>, outer: &Doc<'_>, topic: Option<String>) -> Result<Batch, Refusal> {
    let mut batch = if doc.get("AlarmName").is_some() && doc.get("NewStateValue").is_some() {
        alarm(doc)
    } else if doc.get("alarmData").is_some() {
        action(doc, &doc.object("alarmData")?)
    } else if doc.text("detail-type").as_deref() == Some("CloudWatch Alarm State Change") {
        action(doc, &doc.object("detail")?)
    } else if doc.text("source").as_deref() == Some("aws.health") || doc.get("detail/eventTypeCode").is_some()
    {
        health(doc)
    } else {
        Err(outer.wrong(
            if outer.at == doc.at { "" } else { "Message" },
            "is neither an alarm of CloudWatch nor an event of AWS Health",
        ))
    }?;
    let id = outer.first(&["MessageId", "id"]).or_else(|| doc.text("id"));
    for alert in &mut batch.alerts {
        alert.message_id = id.clone();
        if let Some(topic) = &topic {
            alert
                .labels
                .entry("TopicArn".to_owned())
                .or_insert_with(|| topic.clone());
        }
    }
    Ok(batch)
}

/// Returns whether the state of an alarm means firing. None if there is not enough data: that is neither an
/// alarm nor its end.
fn state(doc: &Doc<'_>, path: &str) -> Result<Option<bool>, Refusal> {
    match doc.need(path)?.as_str() {
        "ALARM" => Ok(Some(true)),
        "OK" => Ok(Some(false)),
        "INSUFFICIENT_DATA" => Ok(None),
        _ => Err(doc.wrong(path, "must be ALARM, OK or INSUFFICIENT_DATA")),
    }
}

fn insufficient(name: &str) -> Batch {
    let name = crate::base::text::one_line(name, 300);
    Batch::ignored(format!(
        "alarm {name} has insufficient data, so it does not say whether there is a problem"
    ))
}

fn alarm(doc: &Doc<'_>) -> Result<Batch, Refusal> {
    let name = doc.need("AlarmName")?;
    let Some(firing) = state(doc, "NewStateValue")? else {
        return Ok(insufficient(&name));
    };
    let fingerprint = doc.text("AlarmArn").unwrap_or_else(|| {
        let part = |field| doc.text(field).unwrap_or_default();
        format!("{}/{}/{name}", part("AWSAccountId"), part("Region"))
    });
    let at = doc.time("StateChangeTime", times::rfc3339);
    let mut labels = Labels::default();
    labels.put("AlarmName", Some(name.clone()));
    labels.put("AWSAccountId", doc.text("AWSAccountId"));
    labels.put("Region", doc.text("Region"));
    labels.put("AlarmArn", doc.text("AlarmArn"));
    labels.put("MetricName", doc.text("Trigger/MetricName"));
    labels.put("Namespace", doc.text("Trigger/Namespace"));
    dimensions(&mut labels, doc.get("Trigger/Dimensions"));
    for metric in doc
        .get("Trigger/Metrics")
        .map(|list| list.items())
        .unwrap_or_default()
    {
        for stat in ["MetricStat/Metric", "metricStat/metric"] {
            labels.put("MetricName", metric.text(&format!("{stat}/MetricName")));
            labels.put("Namespace", metric.text(&format!("{stat}/Namespace")));
            dimensions(&mut labels, metric.get(&format!("{stat}/Dimensions")));
        }
    }
    Ok(Batch::of(vec![Alert {
        fingerprint,
        firing,
        title: name,
        text: join([doc.text("AlarmDescription"), doc.text("NewStateReason")]),
        started_at: at.filter(|_| firing),
        ended_at: at.filter(|_| !firing),
        event_at: at.map(EventTime::change),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    }]))
}

fn dimensions(labels: &mut Labels, list: Option<Doc<'_>>) {
    let Some(list) = list else { return };
    for one in list.items() {
        if let Some(name) = one.first(&["name", "Name"]) {
            labels.put(&name, one.first(&["value", "Value"]));
        }
    }
    if let Some(object) = list.value.as_object() {
        for (name, value) in object {
            labels.put(name, word(value));
        }
    }
}

/// Parses an alarm as CloudWatch sends it to a Lambda function or to EventBridge.
fn action(doc: &Doc<'_>, data: &Doc<'_>) -> Result<Batch, Refusal> {
    let name = data.need("alarmName")?;
    let Some(firing) = state(data, "state/value")? else {
        return Ok(insufficient(&name));
    };
    let fingerprint = doc.first(&["alarmArn", "resources/0"]).unwrap_or_else(|| {
        let part = |fields: [&str; 2]| doc.first(&fields).unwrap_or_default();
        format!(
            "{}/{}/{name}",
            part(["accountId", "account"]),
            part(["region", "awsRegion"])
        )
    });
    let at: Option<Timestamp> = data
        .time("state/timestamp", times::rfc3339)
        .or_else(|| doc.time("time", times::rfc3339));
    let mut labels = Labels::default();
    labels.put("AlarmName", Some(name.clone()));
    labels.put("AWSAccountId", doc.first(&["accountId", "account"]));
    labels.put("Region", doc.text("region"));
    for metric in data
        .get("configuration/metrics")
        .map(|list| list.items())
        .unwrap_or_default()
    {
        labels.put("MetricName", metric.text("metricStat/metric/name"));
        labels.put("Namespace", metric.text("metricStat/metric/namespace"));
        dimensions(&mut labels, metric.get("metricStat/metric/dimensions"));
    }
    Ok(Batch::of(vec![Alert {
        fingerprint,
        firing,
        title: name,
        text: join([
            data.text("configuration/description"),
            data.text("state/reason"),
            data.text("configuration/alarmRule"),
        ]),
        started_at: at.filter(|_| firing),
        ended_at: at.filter(|_| !firing),
        event_at: at.map(EventTime::change),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    }]))
}

/// Parses an event of AWS Health. It fires until its status is `closed`.
fn health(doc: &Doc<'_>) -> Result<Batch, Refusal> {
    let detail = doc.object("detail")?;
    let code = detail.need("eventTypeCode")?;
    let category = lower(detail.text("eventTypeCategory"));
    let status = lower(detail.text("statusCode"));
    let informs = match category.as_str() {
        "scheduledchange" => Some("AWS Health announces a planned change"),
        "accountnotification" => Some("AWS Health informs the account"),
        _ if status == "upcoming" => Some("AWS Health announces a future event"),
        "" if code.to_uppercase().contains("SCHEDULED") => Some("AWS Health announces a planned change"),
        _ => None,
    };
    let firing = match status.as_str() {
        "closed" => false,
        "open" | "upcoming" | "" => true,
        _ => return Err(detail.wrong("statusCode", "must be open, upcoming or closed")),
    };
    let mut labels = Labels::default();
    for name in ["service", "eventTypeCode", "eventTypeCategory", "eventRegion"] {
        labels.put(name, detail.text(name));
    }
    labels.put(
        "AWSAccountId",
        detail.text("affectedAccount").or_else(|| doc.text("account")),
    );
    labels.put("Region", doc.text("region"));
    let entities = detail
        .get("affectedEntities")
        .map(|list| list.items())
        .unwrap_or_default();
    let entities: Vec<String> = entities
        .iter()
        .filter_map(|one| one.text("entityValue"))
        .collect();
    labels.put(
        "affectedEntities",
        (!entities.is_empty()).then(|| entities.join(",")),
    );
    let descriptions = detail
        .get("eventDescription")
        .map(|list| list.items())
        .unwrap_or_default();
    let started = detail
        .time("startTime", times::rfc2822)
        .or_else(|| doc.time("time", times::rfc3339));
    // The end of a planned change can be in the future. Then nothing has ended yet.
    let ended = detail.first_time(&["endTime", "lastUpdatedTime"], times::rfc2822);
    Ok(Batch::of(vec![Alert {
        fingerprint: detail.text("eventArn").unwrap_or_else(|| {
            format!(
                "{}/{}/{code}",
                doc.text("account").unwrap_or_default(),
                doc.text("region").unwrap_or_default()
            )
        }),
        firing,
        // A planned change and a message to the account are not outages.
        severity: match category.as_str() {
            "issue" | "investigation" => String::new(),
            category => category.to_owned(),
        },
        informs: informs.map(str::to_owned),
        event_at: detail
            .time("lastUpdatedTime", times::rfc2822)
            .or_else(|| doc.time("time", times::rfc3339))
            .map(EventTime::change),
        title: match detail.text("service") {
            Some(service) => format!("AWS Health, {service}: {code}"),
            None => format!("AWS Health: {code}"),
        },
        text: descriptions
            .iter()
            .find_map(|one| one.text("latestDescription"))
            .unwrap_or_default(),
        started_at: started,
        ended_at: ended.filter(|_| !firing),
        labels: labels.0,
        raw: doc.value.clone(),
        ..Alert::default()
    }]))
}
