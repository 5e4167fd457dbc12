//! An event that the sender calls planned, informational or a test is recorded, and neither opens nor ends
//! anything.

use candor::alert::source::{self, Request};
use serde_json::{Value, json};

use crate::support::{Answer, Env, TestApp, on_both_databases};

on_both_databases!(
    what_is_no_outage_is_on_record_with_its_reason,
    what_is_no_outage_never_ends_one,
);

fn azure(kind: &str, stage: &str, tracking: &str, at: &str) -> Value {
    json!({"schemaId": "azureMonitorCommonAlertSchema", "data": {
        "essentials": {"alertId": format!("/subscriptions/2/alerts/{stage}{at}"), "alertRule": "health", "severity": "Sev4",
            "monitorCondition": "Fired", "monitoringService": "ServiceHealth", "firedDateTime": at},
        "alertContext": {"eventTimestamp": at, "status": "Active", "properties": {"title": "Storage", "incidentType": kind,
            "trackingId": tracking, "stage": stage}}}})
}

fn aws(category: &str, status: &str) -> Value {
    json!({"detail-type": "AWS Health Event", "source": "aws.health", "time": "2024-03-14T06:50:00Z", "detail": {
        "eventArn": "arn:aws:health:eu-west-1::event/E/1", "service": "EC2", "eventTypeCode": "AWS_EC2_X",
        "eventTypeCategory": category, "statusCode": status, "startTime": "Thu, 14 Mar 2024 06:00:00 GMT"}})
}

/// Bodies of several senders that report no outage.
fn informing() -> Vec<(&'static str, Value)> {
    let time = "2024-03-14T06:50:00Z";
    let mut all: Vec<(&str, Value)> = vec![
        ("aws_sns", aws("scheduledChange", "upcoming")),
        ("aws_sns", aws("scheduledChange", "open")),
        ("aws_sns", aws("accountNotification", "open")),
        ("azure_monitor", azure("Incident", "RCA", "T1", time)),
        (
            "statuspage",
            json!({"page": {"id": "p"}, "incident": {"id": "m1", "name": "Upgrade", "status": "in_progress", "impact": "maintenance"}}),
        ),
        (
            "statuspage",
            json!({"page": {"id": "p"}, "component": {"id": "c", "name": "API"}, "component_update": {"new_status": "under_maintenance"}}),
        ),
        (
            "sentry",
            json!({"action": "triggered", "data": {"event": {"issue_id": "1", "title": "Boom", "tags": [["sample_event", "yes"]]}}}),
        ),
        (
            "sentry",
            json!({"action": "triggered", "data": {"event": {"issue_id": "2", "title": "This is an example Python exception"}}}),
        ),
        (
            "datadog",
            json!({"title": "[Triggered on {host:a}] [TEST] CPU is high", "alert_id": "1", "alert_transition": "Triggered"}),
        ),
        (
            "healthchecks",
            json!({"code": "c", "name": "TEST", "status": "down"}),
        ),
    ];
    for (kind, stage) in [
        ("Maintenance", "Planned"),
        ("Maintenance", "InProgress"),
        ("Maintenance", "Complete"),
        ("Maintenance", "Canceled"),
        ("Informational", "Active"),
        ("Security", "Active"),
        ("ActionRequired", "Active"),
    ] {
        all.push(("azure_monitor", azure(kind, stage, "T2", time)));
    }
    all
}

/// Bodies that are tests, or that report a state that is neither up nor down.
fn no_alerts() -> Vec<(&'static str, Value)> {
    vec![
        (
            "uptime_kuma",
            json!({"heartbeat": null, "monitor": null, "msg": "Site Testing"}),
        ),
        (
            "uptime_kuma",
            json!({"heartbeat": {"status": 3}, "monitor": {"id": 1}, "msg": "m"}),
        ),
        (
            "uptimerobot",
            json!({"monitorID": 1, "alertTypeFriendlyName": "Paused"}),
        ),
        (
            "statuscake",
            json!({"TestID": "1", "Name": "n", "Status": "Paused"}),
        ),
        ("opsgenie", json!({"action": "Test", "alert": {"alertId": "1"}})),
        (
            "pagerduty",
            json!({"event": {"event_type": "pagey.ping", "data": {"type": "ping"}}}),
        ),
        (
            "zabbix",
            json!({"event_id": "{EVENT.ID}", "status": "{EVENT.STATUS}", "subject": "{ALERT.SUBJECT}"}),
        ),
        (
            "grafana",
            json!({"status": "firing", "alerts": [{"status": "firing", "fingerprint": "x", "labels": {"alertname": "TestAlert", "instance": "Grafana"}}]}),
        ),
        (
            "statuspage",
            json!({"page": {"id": "p"}, "incident": {"id": "m", "name": "Later", "status": "scheduled"}}),
        ),
    ]
}

#[test]
fn a_body_that_tells_of_no_outage_is_marked_as_such() {
    for (name, body) in informing() {
        let batch = source::parse(name, None, &Request::json(body.to_string()))
            .unwrap_or_else(|refusal| panic!("{name}: {refusal:?}: {body}"));
        assert!(
            batch.alerts.len() == 1 && batch.alerts[0].informs.is_some(),
            "{name}: {body}: {batch:?}"
        );
    }
    for (name, body) in no_alerts() {
        let batch = source::parse(name, None, &Request::json(body.to_string()))
            .unwrap_or_else(|refusal| panic!("{name}: {refusal:?}: {body}"));
        assert!(
            batch.alerts.is_empty() && !batch.ignored.is_empty(),
            "{name}: {body}"
        );
    }
    // A problem is still a problem.
    for (name, body) in [
        ("aws_sns", aws("issue", "open")),
        (
            "azure_monitor",
            azure("Incident", "Active", "T1", "2024-03-14T06:50:00Z"),
        ),
        (
            "datadog",
            json!({"title": "[Triggered] Test stand is down", "alert_id": "1", "alert_transition": "Triggered"}),
        ),
        (
            "healthchecks",
            json!({"code": "c", "name": "Test stand", "status": "down"}),
        ),
    ] {
        let batch = source::parse(name, None, &Request::json(body.to_string())).expect("understood");
        assert!(
            batch.alerts[0].firing && batch.alerts[0].informs.is_none(),
            "{name}: {batch:?}"
        );
    }
}

async fn hook(app: &TestApp, source: &str) -> (String, String) {
    let made = app
        .post("/api/v1/integrations", json!({"name": source, "source": source}))
        .await
        .expect(201);
    (made.id(), made["hook_url"].as_str().expect("a URL").to_owned())
}

async fn post(app: &TestApp, hook: &str, body: &Value) -> Answer {
    app.anonymous().post(hook, body).await.expect(202)
}

async fn what_is_no_outage_is_on_record_with_its_reason(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    for (name, body) in informing() {
        let (id, hook) = hook(&app, name).await;
        let answer = post(&app, &hook, &body).await;
        assert_eq!(
            answer["recorded"][0]["reason"], "informational",
            "{name}: {answer}"
        );
        let alerts = app.all(&format!("/api/v1/alerts?integration={id}")).await;
        assert_eq!(alerts.len(), 1, "{name}: {body}");
        assert_eq!(alerts[0]["incident"], Value::Null, "{name}");
        assert!(alerts[0]["recorded_why"].is_string(), "{name}: {}", alerts[0]);
    }
    for (name, body) in no_alerts() {
        let (_, hook) = hook(&app, name).await;
        let answer = post(&app, &hook, &body).await;
        assert_eq!(answer["recorded"][0]["reason"], "no_alert", "{name}: {answer}");
        assert!(
            answer["recorded"][0]["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
    }
    assert_eq!(env.count("incidents"), 0);
    app.finish().await;
}

async fn what_is_no_outage_never_ends_one(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-15T07:00:00Z").start().await;
    let (id, hook) = hook(&app, "azure_monitor").await;
    let first = post(
        &app,
        &hook,
        &azure("Incident", "Active", "T1", "2024-03-14T06:00:00Z"),
    )
    .await;
    let incident = first["opened"][0]["id"].as_str().expect("an incident").to_owned();
    for (kind, stage) in [
        ("Incident", "RCA"),
        ("Maintenance", "Complete"),
        ("Informational", "Active"),
    ] {
        let answer = post(&app, &hook, &azure(kind, stage, "T1", "2024-03-14T06:30:00Z")).await;
        assert_eq!(
            answer["recorded"][0]["reason"], "informational",
            "{kind} {stage}: {answer}"
        );
    }
    let alerts = app.all(&format!("/api/v1/alerts?integration={id}")).await;
    assert_eq!(
        (alerts.len(), &alerts[0]["status"]),
        (1, &json!("firing")),
        "{alerts:?}"
    );
    // Its own end resolves it. The report after it and reports of maintenance open nothing.
    post(
        &app,
        &hook,
        &azure("Incident", "Resolved", "T1", "2024-03-14T07:00:00Z"),
    )
    .await;
    app.post(
        &format!("/api/v1/incidents/{incident}/status"),
        json!({"status": "resolved"}),
    )
    .await
    .expect(200);
    for (kind, stage) in [
        ("Incident", "RCA"),
        ("Maintenance", "Planned"),
        ("Maintenance", "Canceled"),
    ] {
        let answer = post(&app, &hook, &azure(kind, stage, "T1", "2024-03-14T08:00:00Z")).await;
        assert_eq!(answer["opened"], json!([]), "{kind} {stage}");
        assert_eq!(answer["reopened"], json!([]), "{kind} {stage}");
    }
    assert_eq!(env.count("incidents"), 1);
    app.finish().await;
}
