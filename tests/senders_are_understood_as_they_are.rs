//! The difficult points of each sender of alerts, which a parser could easily misinterpret.

use candor::alert::source::{self, Alert, Batch, PersonRef, Refusal, Request};
use serde_json::{Value, json};

use crate::support::{Env, TestApp, on_one_database, story_directory};

on_one_database!(
    tests_of_the_connection_open_nothing,
    an_end_finds_its_beginning,
    rules_work_on_every_source,
    a_heartbeat_of_uptime_kuma_stands_for_its_monitor,
    senders_that_do_not_post_json_are_served,
    a_compressed_or_huge_or_deep_body_is_refused,
);

fn read(source: &str, body: &Value) -> Result<Batch, Refusal> {
    source::parse(source, None, &Request::json(body.to_string()))
}

#[track_caller]
fn one(source: &str, body: &Value) -> Alert {
    let batch = read(source, body).unwrap_or_else(|refusal| panic!("{source}: {refusal:?} in {body}"));
    assert_eq!(batch.alerts.len(), 1, "{source}: {batch:?}");
    batch.alerts.into_iter().next().expect("an alert")
}

#[track_caller]
fn ignored(source: &str, body: &Value) -> String {
    let batch = read(source, body).unwrap_or_else(|refusal| panic!("{source}: {refusal:?} in {body}"));
    assert!(batch.alerts.is_empty(), "{source}: {batch:?}");
    batch.ignored.join("; ")
}

#[track_caller]
fn refused(source: &str, body: &Value) -> String {
    match read(source, body) {
        Ok(batch) => panic!("{source}: {batch:?} from {body}"),
        Err((pointer, reason)) => {
            assert!(!reason.is_empty());
            pointer
        }
    }
}

fn times(alert: &Alert) -> (Option<String>, Option<String>) {
    let time = |at: Option<candor::base::time::Timestamp>| at.map(|at| at.to_string());
    (time(alert.started_at), time(alert.ended_at))
}

fn get(query: &str) -> Request {
    Request {
        method: "GET".to_owned(),
        query: query.to_owned(),
        ..Request::default()
    }
}

fn sent_as(media: &str, body: &str) -> Request {
    let mut request = Request::json(body);
    request
        .headers
        .insert("content-type".to_owned(), media.to_owned());
    request
}

// Grafana

#[test]
fn grafana_sends_firing_and_resolved_ones_in_one_body() {
    let body = json!({
        "version": "1", "status": "firing", "state": "ok", "truncatedAlerts": 2,
        "alerts": [
            {"status": "resolved", "fingerprint": "a1", "labels": {"alertname": "Disk"}, "startsAt": "2024-03-14T06:00:00Z", "endsAt": "2024-03-14T06:30:00Z"},
            {"status": "firing", "fingerprint": "a2", "labels": {"alertname": "Disk"}, "startsAt": "2024-03-14T06:00:00.123456789+03:00", "endsAt": "0001-01-01T00:00:00Z",
             "generatorURL": "?orgId=1", "panelURL": "", "dashboardURL": "https://grafana.example.com/d/1", "values": null},
        ],
    });
    let batch = read("grafana", &body).expect("alerts");
    assert_eq!(batch.truncated, 2);
    let states: Vec<(bool, &str)> = batch
        .alerts
        .iter()
        .map(|a| (a.firing, a.fingerprint.as_str()))
        .collect();
    assert_eq!(states, [(false, "a1"), (true, "a2")]);
    // A relative link is ignored, and so is an end time that is Go's zero time.
    assert_eq!(
        batch.alerts[1].link.as_deref(),
        Some("https://grafana.example.com/d/1")
    );
    assert_eq!(
        times(&batch.alerts[1]),
        (Some("2024-03-14T03:00:00.123456Z".to_owned()), None)
    );
}

#[test]
fn grafana_may_name_no_alert_and_its_numbers_may_be_floats() {
    let body = json!({"status": "firing", "title": "[FIRING:1]", "alerts": [{"status": "firing", "labels": {}, "fingerprint": "e3b0", "startsAt": "2024-03-14T06:00:00Z"}]});
    assert_eq!(one("grafana", &body).title, "[FIRING:1]");
    let legacy = json!({"orgId": 1.0, "ruleId": 92.0, "state": "no_data", "ruleName": "x"});
    assert_eq!(
        (
            one("grafana", &legacy).fingerprint.as_str(),
            one("grafana", &legacy).firing
        ),
        ("1/92", true)
    );
    assert_eq!(
        refused("grafana", &json!({"ruleId": 1, "state": "on fire"})),
        "/state"
    );
    assert_eq!(refused("grafana", &json!({"text": "a payload of one's own"})), "");
}

// Sentry

#[test]
fn sentry_says_the_kind_in_a_header_alone() {
    let issue = json!({"id": "77", "title": "It broke", "status": "unresolved", "level": "error", "count": "1", "firstSeen": "2024-03-14T06:00:00.000000Z"});
    let body =
        json!({"action": "created", "data": {"issue": issue, "comment": "c"}, "installation": {"uuid": "u"}});
    for (kind, alerts) in [("issue", 1), ("comment", 0), ("seer", 0), ("installation", 0)] {
        let mut request = Request::json(body.to_string());
        request
            .headers
            .insert("sentry-hook-resource".to_owned(), kind.to_owned());
        let batch = source::parse("sentry", None, &request).expect("understood");
        assert_eq!(batch.alerts.len(), alerts, "{kind}");
    }
    let mut request = Request::json(body.to_string());
    request
        .headers
        .insert("sentry-hook-resource".to_owned(), "metric_alert".to_owned());
    assert!(
        source::parse("sentry", None, &request).is_err(),
        "the header and the body contradict each other"
    );
}

#[test]
fn sentry_names_the_user_of_an_event() {
    let event = json!({
        "event_id": "e", "issue_url": "https://sentry.io/api/0/issues/4711/", "title": "TypeError", "level": "fatal",
        "timestamp": 1_710_399_360.5, "tags": [["project_id", "42"], ["user", "id:9"], {"key": "zone", "value": "b"}],
        "user": {"id": 9, "email": "ann@example.com", "username": "ann", "ip_address": "192.0.2.1"},
    });
    for (name, kind) in [("event", "triggered"), ("error", "created")] {
        let alert = one("sentry", &json!({"action": kind, "data": {name: event}}));
        assert_eq!(
            (alert.fingerprint.as_str(), alert.severity.as_str()),
            ("4711", "fatal")
        );
        let ann = PersonRef {
            id: Some("9".to_owned()),
            email: Some("ann@example.com".to_owned()),
            username: Some("ann".to_owned()),
        };
        assert_eq!(alert.people, [ann]);
        assert_eq!(times(&alert).0.as_deref(), Some("2024-03-14T06:56:00.5Z"));
        assert_eq!(alert.labels["project_id"], "42");
        assert_eq!(alert.labels["zone"], "b");
        // The user is in no label.
        assert!(
            !alert
                .labels
                .values()
                .any(|value| value.contains("id:9") || value.contains("example.com"))
        );
    }
}

#[test]
fn sentrys_metric_alert_is_what_its_action_says() {
    let alert = |action: &str| json!({"action": action, "data": {"metric_alert": {"id": 5, "status": 2, "date_closed": null, "date_started": "2024-03-14T06:00:00Z"}, "description_title": "Slow", "web_url": "https://sentry.io/a"}});
    for (action, firing, severity) in [
        ("critical", true, "critical"),
        ("warning", true, "warning"),
        ("open", true, ""),
        ("resolved", false, ""),
    ] {
        let alert = one("sentry", &alert(action));
        assert_eq!(
            (alert.firing, alert.severity.as_str(), alert.title.as_str()),
            (firing, severity, "Slow"),
            "{action}"
        );
    }
    assert_eq!(refused("sentry", &alert("melted")), "/action");
}

// PagerDuty

#[test]
fn pagerduty_nests_the_incident_of_a_note() {
    let body = |kind: &str, type_: &str| {
        json!({"event": {"id": "e", "event_type": kind, "resource_type": "incident", "occurred_at": "2024-03-14T06:56:00.123Z",
            "data": {"type": type_, "id": "PNOTE", "incident": {"id": "PINC", "type": "incident_reference", "summary": "s"}}}})
    };
    for (kind, type_) in [
        ("incident.annotated", "incident_note"),
        ("incident.status_update_published", "incident_status_update"),
        ("incident.responder.added", "incident_responder"),
    ] {
        assert!(ignored("pagerduty", &body(kind, type_)).contains("PINC"));
    }
    assert!(ignored("pagerduty", &body("service.updated", "service")).contains("service.updated"));
    let ping = json!({"event": {"event_type": "pagey.ping", "data": {"message": "Hello", "type": "ping"}}});
    assert!(ignored("pagerduty", &ping).contains("test"));
    let body = json!({"event": {"event_type": "incident.resolved", "occurred_at": "2024-03-14T07:00:00Z",
        "data": {"type": "incident", "id": "P1", "status": "resolved", "title": "x", "priority": null, "urgency": "low"}}});
    let alert = one("pagerduty", &body);
    assert_eq!((alert.firing, alert.severity.as_str()), (false, "low"));
    assert_eq!(times(&alert), (None, Some("2024-03-14T07:00:00Z".to_owned())));
    let mut odd = body.clone();
    odd["event"]["data"]["status"] = json!("sleeping");
    assert_eq!(refused("pagerduty", &odd), "/event/data/status");
}

#[test]
fn pagerdutys_events_are_taken_as_its_own_api_does() {
    let mut event = json!({
        "routing_key": "0123456789abcdef0123456789abcdef", "event_action": "trigger",
        "payload": {"summary": "Disk full", "source": "db-1", "severity": "critical", "timestamp": "2024-03-14T06:56:00.000+0000",
            "component": "disk", "custom_details": {"project": "42"}},
        "links": [{"href": "https://example.com/runbook", "text": "Runbook"}],
    });
    let batch = read("pagerduty", &event).expect("an event");
    let key = batch.dedup_key.clone().expect("a key");
    assert_eq!(batch.alerts[0].fingerprint, key);
    assert_eq!(
        read("pagerduty", &event).expect("again").dedup_key,
        Some(key),
        "the same event is the same problem"
    );
    assert_eq!(batch.alerts[0].labels["project"], "42");
    assert!(
        !batch.alerts[0].raw.to_string().contains("0123456789abcdef"),
        "the key is a secret"
    );
    event["dedup_key"] = json!("disk/db-1");
    let alert = one("pagerduty", &event);
    assert_eq!(
        (alert.fingerprint.as_str(), alert.severity.as_str(), alert.firing),
        ("disk/db-1", "critical", true)
    );
    let end = json!({"routing_key": "r", "event_action": "resolve", "dedup_key": "disk/db-1"});
    assert!(!one("pagerduty", &end).firing);
    for (field, value, pointer) in [
        ("/event_action", json!("explode"), "/event_action"),
        ("/payload", json!("text"), "/payload"),
        ("/dedup_key", json!("k".repeat(256)), "/dedup_key"),
    ] {
        let mut wrong = event.clone();
        *wrong.pointer_mut(field).expect(field) = value;
        assert_eq!(refused("pagerduty", &wrong), pointer, "{field}");
    }
    assert_eq!(
        refused(
            "pagerduty",
            &json!({"event_action": "resolve", "routing_key": "r"})
        ),
        "/dedup_key"
    );
}

// Opsgenie

#[test]
fn opsgenie_has_actions_and_no_state() {
    let body = |action: &str| {
        json!({"action": action, "alert": {"alertId": "id-1", "alias": "disk", "message": "Disk full", "priority": 3, "tags": ["project:42", "vip"],
            "createdAt": 1_710_399_360_123_i64, "updatedAt": 1_710_399_400_002_000_962_i64}})
    };
    for (action, firing) in [
        ("Create", true),
        ("Acknowledge", true),
        ("Escalate", true),
        ("Close", false),
        ("Delete", false),
    ] {
        let alert = one("opsgenie", &body(action));
        assert_eq!(
            (alert.firing, alert.fingerprint.as_str(), alert.severity.as_str()),
            (firing, "disk", "p3"),
            "{action}"
        );
        assert_eq!(alert.labels["project"], "42");
    }
    for action in ["AddNote", "AddTags", "RemoveTags", "Restart the server"] {
        assert!(ignored("opsgenie", &body(action)).contains("disk"), "{action}");
    }
    assert_eq!(
        one(
            "opsgenie",
            &json!({"action": "Create", "alert": {"alertId": "id-1", "alias": "", "message": "m"}})
        )
        .fingerprint,
        "id-1"
    );
}

#[test]
fn opsgenies_nanoseconds_keep_their_digits() {
    let body = r#"{"action": "Close", "alert": {"alertId": "a", "message": "m", "createdAt": 1502709956288, "updatedAt": 1502709956288000110}}"#;
    let alert = source::parse("opsgenie", None, &Request::json(body))
        .expect("an alert")
        .alerts
        .remove(0);
    // As a float, the last digits would give another microsecond.
    assert_eq!(
        times(&alert),
        (
            Some("2017-08-14T11:25:56.288Z".to_owned()),
            Some("2017-08-14T11:25:56.288Z".to_owned())
        )
    );
}

// Datadog

#[test]
fn datadogs_template_is_its_users() {
    let alert = one(
        "datadog",
        &json!({
            "ALERT_CYCLE_KEY": "77", "ALERT_TRANSITION": "Re-Triggered", "EVENT_TITLE": "[Re-Triggered on {host:a}] CPU is high", "ALERT_PRIORITY": "P2",
            "EVENT_MSG": "%%%\nToo high\n@webhook\n%%%", "LAST_UPDATED": "1710399360000", "LINK": "https://app.datadoghq.com/event/1",
            "TAGS": "project:42,env:prod", "HOSTNAME": "$HOSTNAME",
        }),
    );
    assert_eq!(
        (alert.fingerprint.as_str(), alert.firing, alert.severity.as_str()),
        ("77", true, "p2")
    );
    assert_eq!(alert.title, "CPU is high");
    assert!(!alert.text.contains("%%%"));
    assert_eq!(times(&alert).0.as_deref(), Some("2024-03-14T06:56:00Z"));
    assert_eq!(alert.labels["project"], "42");
    assert!(
        !alert.labels.contains_key("host"),
        "a variable that was not known stays as it is written"
    );
    for (transition, firing) in [
        ("Triggered", true),
        ("Warn", true),
        ("Re-Warn", true),
        ("No Data", true),
        ("Re-No Data", true),
        ("Renotify", true),
        ("Recovered", false),
    ] {
        let alert = one(
            "datadog",
            &json!({"alert": {"id": "5", "transition": transition}, "title": "t", "alertScope": "host:a"}),
        );
        assert_eq!(
            (alert.firing, alert.fingerprint.as_str()),
            (firing, "5/host:a"),
            "{transition}"
        );
    }
    assert_eq!(
        refused("datadog", &json!({"alert_transition": "Exploded", "title": "t"})),
        "/alert_transition"
    );
    assert!(
        read(
            "datadog",
            &json!({"title": "nothing says whether it fires", "id": "1"})
        )
        .is_err()
    );
}

#[test]
fn datadogs_own_template_tells_the_state_in_its_title() {
    let body = |title: &str, id: &str| {
        json!({"id": id, "last_updated": "1710399360000", "date": "1710399360000", "event_type": "query_alert_monitor", "title": title, "org": {"id": "1", "name": "o"},
            "body": "%%%\nx\n[graph](https://app.datadoghq.com/monitors/221164084?from_ts=1)\n%%%"})
    };
    let beginning = one(
        "datadog",
        &body("[Triggered on {host:a,zone:[b]}] Tracking", "8306082202796025694"),
    );
    let end = one(
        "datadog",
        &body("[Recovered on {host:a,zone:[b]}] Tracking", "8306082202796025695"),
    );
    // The ID belongs to the event and is different each time.
    assert_eq!(beginning.fingerprint, end.fingerprint);
    assert_eq!(
        (beginning.firing, end.firing, beginning.title.as_str()),
        (true, false, "Tracking")
    );
    assert_ne!(
        beginning.fingerprint,
        one("datadog", &body("[Triggered on {host:b}] Tracking", "1")).fingerprint
    );
}

// Amazon

fn sns(message: &Value) -> Value {
    json!({"Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:eu-west-1:123456789012:alarms", "Message": message.to_string(), "Timestamp": "2024-03-14T06:56:00.000Z"})
}

#[test]
fn an_alarm_of_cloudwatch_is_json_in_a_text() {
    let alarm = |state: &str| {
        json!({"AlarmName": "CPU", "AlarmDescription": null, "AWSAccountId": "123456789012", "NewStateValue": state, "OldStateValue": "OK",
            "StateChangeTime": "2021-06-27T13:53:39.351+0000", "Region": "EU (Ireland)", "AlarmArn": "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:CPU",
            "Trigger": {"Metrics": [{"Id": "m1", "MetricStat": {"Metric": {"MetricName": "CPUUtilization", "Namespace": "AWS/EC2", "Dimensions": [{"name": "InstanceId", "value": "i-1"}]}}}]}})
    };
    // SNS sends it as text/plain, or raw if the topic is set so.
    let enveloped = source::parse(
        "aws_sns",
        None,
        &sent_as("text/plain; charset=UTF-8", &sns(&alarm("ALARM")).to_string()),
    );
    let alert = enveloped.expect("an alarm").alerts.remove(0);
    assert_eq!(
        alert.fingerprint,
        "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:CPU"
    );
    // An offset without a colon is not valid RFC 3339.
    assert_eq!(times(&alert).0.as_deref(), Some("2021-06-27T13:53:39.351Z"));
    assert_eq!(alert.labels["InstanceId"], "i-1");
    let raw = one("aws_sns", &alarm("OK"));
    assert_eq!((raw.firing, &raw.fingerprint), (false, &alert.fingerprint));
    assert!(ignored("aws_sns", &sns(&alarm("INSUFFICIENT_DATA"))).contains("insufficient data"));
    assert_eq!(
        refused("aws_sns", &sns(&alarm("PANIC"))),
        "/Message/NewStateValue"
    );
    assert_eq!(
        refused(
            "aws_sns",
            &json!({"Type": "Notification", "MessageId": "m", "Message": "Hello"})
        ),
        "/Message"
    );
    assert_eq!(
        refused("aws_sns", &json!({"Type": "Surprise", "Message": "{}"})),
        "/Type"
    );
    let mut old = alarm("ALARM");
    old.as_object_mut().expect("an object").remove("AlarmArn");
    assert_eq!(
        one("aws_sns", &sns(&old)).fingerprint,
        "123456789012/EU (Ireland)/CPU"
    );
}

#[test]
fn an_event_of_aws_health_is_there_until_it_is_closed() {
    let event = |status: Option<&str>| {
        sns(
            &json!({"version": "0", "detail-type": "AWS Health Event", "source": "aws.health", "account": "1", "time": "2024-03-14T06:00:53Z",
            "detail": {"eventArn": "arn:aws:health:eu-west-1::event/EC2/X/1", "service": "EC2", "eventTypeCode": "X", "eventTypeCategory": "issue",
                "statusCode": status, "startTime": "Wed, 6 Apr 2022 06:00:53 GMT", "endTime": "Wed, 6 Apr 2022 07:00:53 GMT",
                "eventDescription": [{"language": "en_US", "latestDescription": "It is slow"}]}}),
        )
    };
    for (status, firing) in [(None, true), (Some("open"), true), (Some("closed"), false)] {
        let alert = one("aws_sns", &event(status));
        assert_eq!((alert.firing, alert.text.as_str()), (firing, "It is slow"));
        let ended = (!firing).then(|| "2022-04-06T07:00:53Z".to_owned());
        assert_eq!(times(&alert), (Some("2022-04-06T06:00:53Z".to_owned()), ended));
    }
    assert_eq!(
        refused("aws_sns", &event(Some("odd"))),
        "/Message/detail/statusCode"
    );
}

#[test]
fn a_composite_alarm_is_taken_as_cloudwatch_hands_it_over() {
    let body = json!({"source": "aws.cloudwatch", "alarmArn": "arn:aws:cloudwatch:us-east-1:1:alarm:Main", "time": "2024-02-17T11:53:08.431+0000",
        "alarmData": {"alarmName": "Main", "state": {"value": "OK", "reason": "r"}, "configuration": {"alarmRule": "ALARM(First)"}}});
    let alert = one("aws_cloudwatch", &body);
    assert_eq!(alert.fingerprint, "arn:aws:cloudwatch:us-east-1:1:alarm:Main");
    assert_eq!(times(&alert), (None, Some("2024-02-17T11:53:08.431Z".to_owned())));
    let bridge = json!({"detail-type": "CloudWatch Alarm State Change", "resources": ["arn:aws:cloudwatch:us-east-1:1:alarm:Main"], "time": "2024-02-17T11:53:08Z",
        "detail": {"alarmName": "Main", "state": {"value": "ALARM", "timestamp": "2024-02-17T11:53:08.431+0000"}}});
    assert_eq!(
        (
            one("aws_cloudwatch", &bridge).fingerprint,
            one("aws_cloudwatch", &bridge).firing
        ),
        (alert.fingerprint, true)
    );
}

// UptimeRobot

#[test]
fn uptimerobot_writes_names_in_html_and_leaves_variables_as_they_are() {
    let down = "monitorID=1234567&monitorFriendlyName=Test+%26%2340%3Bstaging%26%2341%3B&alertType=1&alertTypeFriendlyName=Down&alertDetails=HTTP+500&alertDateTime=1710399360&monitorURL=https%3A%2F%2Fexample.com&alertFriendlyDuration=*alertFriendlyDuration*&monitorAlertContacts=1%3B5%3Bhttps%3A%2F%2Fcandor.example%2Fhooks%2Fs3cr3t";
    for request in [get(down), sent_as("application/x-www-form-urlencoded", down)] {
        let alert = source::parse("uptimerobot", None, &request)
            .expect("an alert")
            .alerts
            .remove(0);
        assert_eq!(
            (alert.fingerprint.as_str(), alert.firing, alert.title.as_str()),
            ("1234567", true, "Test (staging)")
        );
        assert_eq!(times(&alert).0.as_deref(), Some("2024-03-14T06:56:00Z"));
        assert!(
            !alert
                .labels
                .values()
                .any(|value| value.contains("s3cr3t") || value.contains('*'))
        );
    }
    let up = source::parse(
        "uptimerobot",
        None,
        &get("monitorID=1234567&alertType=2&alertDateTime=1710399360&alertDuration=60&monitorFriendlyName=x"),
    );
    let up = up.expect("an alert").alerts.remove(0);
    assert_eq!(
        times(&up),
        (
            Some("2024-03-14T06:55:00Z".to_owned()),
            Some("2024-03-14T06:56:00Z".to_owned())
        )
    );
    let certificate = source::parse(
        "uptimerobot",
        None,
        &get("monitorID=1234567&alertType=3&monitorFriendlyName=x"),
    );
    assert_eq!(
        certificate.expect("an alert").alerts[0].fingerprint,
        "1234567/ssl"
    );
    assert!(source::parse("uptimerobot", None, &get("monitorID=1&alertType=9")).is_err());
    assert!(source::parse("uptimerobot", None, &get("")).is_err());
}

// Other senders.

#[test]
fn google_calls_a_state_open_or_closed_in_any_case() {
    let body = |state: &str, documentation: Value| {
        json!({"version": "1.2", "incident": {"incident_id": "0.a", "state": state, "started_at": 1_710_399_360, "ended_at": null, "severity": "No severity",
            "policy_user_labels": {"severity": "critical", "project": "42"}, "documentation": documentation, "summary": "s", "condition_name": "c"}})
    };
    for (state, documentation) in [
        ("open", json!("a text")),
        ("OPEN", json!({"content": "c"})),
        ("open", Value::Null),
    ] {
        let alert = one("gcp_monitoring", &body(state, documentation));
        assert!(alert.firing);
        assert_eq!(alert.labels["project"], "42");
    }
    let closed = one("gcp_monitoring", &body("closed", Value::Null));
    assert_eq!((closed.firing, times(&closed).1), (false, None));
    assert_eq!(
        refused("gcp_monitoring", &body("ajar", Value::Null)),
        "/incident/state"
    );
    assert_eq!(
        refused(
            "gcp_monitoring",
            &json!({"version": "1.0", "subject": "s", "event_info": {}})
        ),
        "/incident"
    );
}

#[test]
fn azure_fires_to_say_that_a_service_is_well_again() {
    let body = |stage: &str, condition: &str| {
        json!({"schemaId": "azureMonitorCommonAlertSchema", "data": {
            "essentials": {"alertId": format!("/subscriptions/s/alerts/{stage}"), "alertRule": "r", "severity": "Sev4", "monitorCondition": condition, "monitoringService": "ServiceHealth",
                "firedDateTime": "2024-03-14T06:56:00.1234567Z"},
            "alertContext": {"properties": {"trackingId": "ABC-1", "stage": stage, "title": "Storage is slow"}}, "customProperties": null}})
    };
    let (begins, ends) = (
        one("azure_monitor", &body("Active", "Fired")),
        one("azure_monitor", &body("Resolved", "Fired")),
    );
    assert_eq!((begins.firing, ends.firing), (true, false));
    assert_eq!(begins.fingerprint, ends.fingerprint);
    assert_eq!(times(&begins).0.as_deref(), Some("2024-03-14T06:56:00.123456Z"));
    assert_eq!(
        refused("azure_monitor", &body("Active", "Smoked")),
        "/data/essentials/monitorCondition"
    );
    // The alert of a budget has null where others have words.
    let budget = json!({"schemaId": "azureMonitorCommonAlertSchema", "data": {"essentials": {"monitoringService": "CostAlerts", "firedDateTime": "2024-03-14T06:56:00Z",
        "description": "Your budget", "alertRule": null, "severity": null, "signalType": null, "monitorCondition": "Fired", "alertId": "b"}, "alertContext": {"AlertData": {"BudgetName": "n"}}}});
    assert_eq!(one("azure_monitor", &budget).severity, "");
}

#[test]
fn uptime_kumas_times_are_utc_or_have_their_offset_beside_them() {
    let body = |heartbeat: Value| json!({"heartbeat": heartbeat, "monitor": {"id": 1, "name": "Site", "url": "https://"}, "msg": "m"});
    let down = one(
        "uptime_kuma",
        &body(
            json!({"status": 0, "time": "2024-03-14 06:56:00.123", "localDateTime": "2024-03-14 09:56:00", "timezoneOffset": "+03:00"}),
        ),
    );
    assert_eq!(
        (times(&down).0.as_deref(), down.link.as_deref()),
        (Some("2024-03-14T06:56:00.123Z"), None)
    );
    let local = one(
        "uptime_kuma",
        &body(json!({"status": 1, "localDateTime": "2024-03-14 09:56:00", "timezoneOffset": "+03:00"})),
    );
    assert_eq!(times(&local), (None, Some("2024-03-14T06:56:00Z".to_owned())));
    // A time without a known zone is ignored.
    let nowhere = one(
        "uptime_kuma",
        &body(json!({"status": 0, "localDateTime": "2024-03-14 09:56:00"})),
    );
    assert_eq!(times(&nowhere), (None, None));
    assert_eq!(nowhere.notes.len(), 1, "{nowhere:?}");
    for status in [2, 3] {
        ignored("uptime_kuma", &body(json!({"status": status})));
    }
    assert_eq!(
        refused("uptime_kuma", &body(json!({"status": 7}))),
        "/heartbeat/status"
    );
    ignored(
        "uptime_kuma",
        &json!({"heartbeat": null, "monitor": null, "msg": "Testing"}),
    );
    let packed = body(json!({"status": 0, "time": "2024-03-14 06:56:00"})).to_string();
    let form = format!("--XX\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n{packed}\r\n--XX--\r\n");
    let alert = source::parse(
        "uptime_kuma",
        None,
        &sent_as("multipart/form-data; boundary=XX", &form),
    )
    .expect("a form");
    assert_eq!(alert.alerts[0].fingerprint, "1");
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("msg", "m")
        .append_pair("heartbeat", "{\"status\": 0}")
        .append_pair("monitor", "{\"id\": 1}");
    assert!(
        source::parse("uptime_kuma", None, &get(&query.finish()))
            .expect("a query")
            .alerts[0]
            .firing
    );
}

async fn a_heartbeat_of_uptime_kuma_stands_for_its_monitor(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let made = app
        .post(
            "/api/v1/integrations",
            json!({"name": "Kuma", "source": "uptime_kuma"}),
        )
        .await
        .expect(201);
    let hook = made["hook_url"].as_str().expect("a URL");
    let beat = |id: Value, status: u64, time: &str| json!({"monitorID": id, "status": status, "time": time, "msg": "timeout"});
    for (body, title) in [
        // As it is sent where the monitor was deleted meanwhile, or by a template that leaves it out.
        (
            json!({"heartbeat": beat(json!(7), 0, "2024-03-14 06:50:00"), "msg": "[Shop] [🔴 Down] timeout"}),
            "Shop",
        ),
        (
            json!({"heartbeat": beat(json!("8"), 0, "2024-03-14 06:50:00"), "monitor": null, "msg": "The shop is down\nsince an hour"}),
            "The shop is down",
        ),
        (
            json!({"heartbeat": beat(json!(9), 0, "2024-03-14 06:50:00"), "monitor": "undefined"}),
            "timeout",
        ),
        (
            json!({"heartbeat": {"monitorID": 10, "status": 0}, "monitor": {}}),
            "Monitor 10",
        ),
    ] {
        let taken = app.anonymous().post(hook, &body).await.expect(202);
        assert_eq!(
            taken["opened"].as_array().map(Vec::len),
            Some(1),
            "{body}: {taken}"
        );
        let alert = app.get("/api/v1/alerts?limit=1").await.expect(200).items()[0].clone();
        assert_eq!(alert["title"], title, "{body}");
    }
    // A form with the heartbeat alone is the same monitor.
    let form = format!(
        "data={{\"heartbeat\":{}}}",
        beat(json!(7), 0, "2024-03-14 06:51:00")
    );
    let taken = app
        .anonymous()
        .post_raw(hook, "application/x-www-form-urlencoded", form)
        .await
        .expect(202);
    assert_eq!(taken["opened"], json!([]), "{taken}");
    // The end finds its beginning, with the monitor or without it.
    for body in [
        json!({"heartbeat": beat(json!(7), 1, "2024-03-14 06:55:00"), "monitor": {"id": 7, "name": "Shop"}, "msg": "up"}),
        json!({"heartbeat": beat(json!(8), 1, "2024-03-14 06:55:00"), "msg": "up"}),
    ] {
        let taken = app.anonymous().post(hook, &body).await.expect(202);
        assert_eq!(taken["resolved"], 1, "{body}: {taken}");
    }
    // Without either there is nothing to know the problem by.
    app.anonymous()
        .post(
            hook,
            json!({"heartbeat": {"status": 0}, "msg": "[Shop] [Down] x"}),
        )
        .await
        .expect_invalid("/heartbeat/monitorID");
    app.anonymous()
        .post(hook, json!({"monitor": {"id": 7}, "msg": "x"}))
        .await
        .expect_invalid("/heartbeat");
    app.finish().await;
}

#[test]
fn updown_tells_what_happened_by_the_events_name() {
    let event = |event: &str| json!([{"event": event, "check": {"token": "ngg8", "url": "https://updown.io", "down": false}, "downtime": {"id": "d1", "started_at": "2024-03-14T06:56:00Z", "ended_at": null}}]);
    assert!(one("updown", &event("check.down")).firing);
    assert!(!one("updown", &event("check.up")).firing);
    assert_eq!(one("updown", &event("check.ssl_invalid")).fingerprint, "ngg8/ssl");
    ignored("updown", &event("check.performance_drop"));
    assert_eq!(refused("updown", &event("nothing")), "/0/event");
    assert_eq!(refused("updown", &json!([])), "");
}

#[test]
fn new_relics_times_are_milliseconds_or_nothing() {
    let body = |at: Value| json!({"id": "issue-1", "state": "ACTIVATED", "createdAt": at, "priority": "CRITICAL", "title": ["Slow"]});
    assert_eq!(
        times(&one("new_relic", &body(json!(1_710_399_360_000_i64))))
            .0
            .as_deref(),
        Some("2024-03-14T06:56:00Z")
    );
    for wrong in [json!("1969-12-31 23:59:55"), json!(160_513_393_115_100_000_i64)] {
        let alert = one("new_relic", &body(wrong));
        assert_eq!((times(&alert), alert.notes.len()), ((None, None), 1), "{alert:?}");
    }
    assert_eq!(
        refused("new_relic", &json!({"id": "1", "state": "confused"})),
        "/state"
    );
    assert_eq!(
        refused(
            "new_relic",
            &json!({"incident_id": 1, "current_state": "confused"})
        ),
        "/current_state"
    );
}

#[test]
fn zabbix_leaves_macros_as_they_are_written_and_its_times_have_no_zone() {
    let body = |status: &str, event: &str, title: &str| {
        json!({"host": "web", "status": status, "severity": "4", "trigger": title, "event_recovery_id": "{EVENT.RECOVERY.ID}", "event_date": "2024.03.14", "event_time": "06:56:00",
            "link": format!("https://zabbix.example.com/tr_events.php?triggerid=14032&eventid={event}"), "item": "*UNKNOWN*"})
    };
    let (begins, ends) = (
        one("zabbix", &body("PROBLEM", "1", "web is unreachable")),
        one("zabbix", &body("OK", "2", "web is reachable")),
    );
    // The ID of the event in the link and the title change. The ID of the trigger does not.
    assert_eq!(begins.fingerprint, ends.fingerprint);
    assert_eq!(
        (begins.firing, ends.firing, begins.severity.as_str()),
        (true, false, "high")
    );
    assert_eq!(times(&begins), (None, None));
    assert!(
        !begins
            .labels
            .values()
            .any(|value| value.contains('{') || value.contains('*'))
    );
    // Zabbix fills no macro in the test of a media type.
    let test = read("zabbix", &body("{EVENT.STATUS}", "1", "x")).unwrap();
    assert_eq!((test.alerts.len(), test.ignored.len()), (0, 1));
}

#[test]
fn nagioss_state_counts_and_not_the_notifications_type() {
    let body = |state: &str, at: &str| json!({"NOTIFICATIONTYPE": "PROBLEM", "HOSTNAME": "web", "SERVICEDESC": "Disk", "SERVICESTATE": state, "HOSTSTATE": "UP", "SERVICEOUTPUT": "o", "LONGDATETIME": at});
    let ok = one("nagios", &body("OK", "Sat Oct 26 23:20:39 UTC 2024"));
    assert_eq!((ok.firing, ok.fingerprint.as_str()), (false, "web/Disk"));
    assert_eq!(times(&ok).1.as_deref(), Some("2024-10-26T23:20:39Z"));
    // CEST is a name and not an offset.
    let bad = one("nagios", &body("CRITICAL", "Wed Sep 19 15:29:14 CEST 2018"));
    assert_eq!(
        (bad.firing, bad.severity.as_str(), times(&bad).0),
        (true, "critical", None)
    );
    assert_eq!(refused("nagios", &body("PURPLE", "")), "/SERVICESTATE");
    let mut flapping = body("WARNING", "");
    flapping["NOTIFICATIONTYPE"] = json!("FLAPPINGSTART");
    ignored("nagios", &flapping);
    // The text of an email, alone and as it was sent. The subject still says PROBLEM.
    let text = "***** Nagios *****\n\nNotification Type: PROBLEM\n\nService: Disk\nHost: web\nAddress: \nState: OK\n\nDate/Time: 2016-01-31 10:46:20 +0100\n\nAdditional Info:\n\nDISK OK = fine\n";
    let quoted = text.replace('=', "=3D");
    let mail = format!(
        "From: nagios@example.com\nTo: ops@example.com\nSubject: ** PROBLEM Service Alert: web/Disk is CRITICAL **\nDate: Sun, 31 Jan 2016 09:46:20 +0000\n\
         MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n{quoted}"
    );
    for body in [text.to_owned(), mail] {
        for media in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "message/rfc822",
        ] {
            let alert = source::parse("nagios", None, &sent_as(media, &body))
                .expect("a notification")
                .alerts
                .remove(0);
            assert_eq!(
                (alert.firing, alert.fingerprint.as_str(), alert.text.as_str()),
                (false, "web/Disk", "DISK OK = fine"),
                "{body}"
            );
            assert_eq!(times(&alert).1.as_deref(), Some("2016-01-31T09:46:20Z"));
        }
    }
    // JSON that a shell builds is sometimes invalid.
    let broken = Request::json("{\"HOSTNAME\": \"web\", \"SERVICEOUTPUT\": \"disk \"full\"\"}");
    assert!(source::parse("nagios", None, &broken).is_err());
    let checkmk = json!({"NOTIFY_WHAT": "SERVICE", "NOTIFY_HOSTNAME": "web", "NOTIFY_SERVICEDESC": "CPU", "NOTIFY_SERVICESTATE": "CRITICAL", "url": "/check_mk/x"});
    assert_eq!(
        (
            one("nagios", &checkmk).fingerprint.as_str(),
            one("nagios", &checkmk).link
        ),
        ("web/CPU", None)
    );
}

#[test]
fn a_status_page_says_what_it_is_by_the_fields_it_has() {
    let incident = |status: &str| {
        json!({"meta": {}, "page": {"id": "p", "status_indicator": "minor"}, "incident": {"id": "i1", "name": "Slow", "status": status, "impact": "major", "created_at": "2024-03-14T00:56:00.000-06:00",
            "resolved_at": null, "incident_updates": [{"body": "Newest", "affected_components": [{"name": "No components were affected by this update."}]}, {"body": "Older"}]}})
    };
    let alert = one("statuspage", &incident("monitoring"));
    assert_eq!(
        (alert.firing, alert.text.as_str(), alert.severity.as_str()),
        (true, "Newest", "major")
    );
    assert_eq!(times(&alert).0.as_deref(), Some("2024-03-14T06:56:00Z"));
    for status in ["resolved", "postmortem", "completed"] {
        assert!(!one("statuspage", &incident(status)).firing, "{status}");
    }
    ignored("statuspage", &incident("scheduled"));
    assert_eq!(refused("statuspage", &incident("perhaps")), "/incident/status");
    let component = |status: &str| json!({"page": {}, "component": {"id": "c1", "name": "API"}, "component_update": {"new_status": status, "created_at": "2024-03-14T06:56:00Z"}});
    assert_eq!(
        one("statuspage", &component("major_outage")).severity,
        "major_outage"
    );
    assert!(!one("statuspage", &component("operational")).firing);
    assert_eq!(
        refused("statuspage", &json!({"meta": {}, "page": {}})),
        "/incident"
    );
}

#[test]
fn small_watchers_are_read_by_their_own_words() {
    let transaction = |state: &str| json!({"check_id": 9, "check_name": "Buy", "current_state": state, "second_probe": {}, "state_changed_utc_time": "2024-03-14T06:56:00"});
    assert!(one("pingdom", &transaction("FAILING")).firing);
    assert!(!one("pingdom", &transaction("SUCCESS")).firing);
    assert_eq!(
        times(&one("pingdom", &transaction("FAILING"))).0.as_deref(),
        Some("2024-03-14T06:56:00Z")
    );
    assert_eq!(refused("pingdom", &transaction("GREEN")), "/current_state");

    let cake = source::parse(
        "statuscake",
        None,
        &sent_as(
            "application/x-www-form-urlencoded",
            "Token=0123456789abcdef0123456789abcdef&Status=DOWN&StatusCode=500&URL=https%3A%2F%2Fexample.com&TestID=55&Name=Shop&Tags=project:42",
        ),
    );
    let cake = cake.expect("a form").alerts.remove(0);
    assert_eq!((cake.fingerprint.as_str(), cake.firing), ("55", true));
    assert!(
        !cake.raw.to_string().contains("0123456789abcdef"),
        "the token is a secret"
    );
    let certificate = source::parse(
        "statuscake",
        None,
        &sent_as(
            "application/x-www-form-urlencoded",
            "Method=SSL&Status=Expiring&URL=https%3A%2F%2Fexample.com",
        ),
    );
    assert_eq!(
        certificate.expect("a form").alerts[0].fingerprint,
        "https://example.com/ssl"
    );

    let stack = |resolved: Value| json!({"data": {"id": "25", "type": "incident", "attributes": {"name": "Site", "cause": "Timeout", "started_at": "2024-03-14T06:56:00.000Z", "acknowledged_at": null, "resolved_at": resolved}}});
    assert!(one("betterstack", &stack(Value::Null)).firing);
    assert_eq!(
        times(&one("betterstack", &stack(json!("2024-03-14T07:00:00.000Z"))))
            .1
            .as_deref(),
        Some("2024-03-14T07:00:00Z")
    );
    ignored(
        "betterstack",
        &json!({"data": {"id": "1", "type": "on_call_calendar", "attributes": {}}}),
    );

    for request in [
        get("code=c1&status=down&name=Backup&now=2024-03-14T06:56:00%2B00:00"),
        sent_as(
            "application/json",
            r#"{"check": {"uuid": "c1", "status": "down", "name": "Backup"}}"#,
        ),
    ] {
        let alert = source::parse("healthchecks", None, &request)
            .expect("a check")
            .alerts
            .remove(0);
        assert_eq!(
            (alert.fingerprint.as_str(), alert.firing, alert.title.as_str()),
            ("c1", true, "Backup")
        );
    }
    assert_eq!(
        refused("healthchecks", &json!({"code": "c1", "status": "$STATUS"})),
        "/status"
    );

    let fresh = json!({"id": "5", "title": "t", "end_time": "None", "start_time": "2024-03-14 06:56:00+00:00", "affected_services": "'a','b'", "event_data": {"event_type": "INCIDENT_CLOSED", "event_created_on": "2024-03-14 07:00:00.5+00:00"}});
    let fresh = one("freshstatus", &fresh);
    assert_eq!((fresh.firing, fresh.labels["services"].as_str()), (false, "a,b"));
    assert_eq!(
        times(&fresh),
        (
            Some("2024-03-14T06:56:00Z".to_owned()),
            Some("2024-03-14T07:00:00.5Z".to_owned())
        )
    );
    let ping = |state: &str| json!({"webhook_event_data": {"check_id": 5, "check_state_name": state, "check_name": "c"}});
    assert!(one("freshping", &ping("Reporting Error")).firing);
    assert_eq!(
        refused("freshping", &ping("Dancing")),
        "/webhook_event_data/check_state_name"
    );
}

#[test]
fn an_event_is_known_by_its_source_and_id_together() {
    let event = |source: &str, id: &str, data: Value| json!({"specversion": "1.0", "type": "t", "source": source, "id": id, "subject": null, "data": data});
    assert_ne!(
        one("cloudevents", &event("/a", "1", json!(1.5))).fingerprint,
        one("cloudevents", &event("/b", "1", json!("text"))).fingerprint
    );
    // Data that identifies the problem connects its beginning with its end.
    let data = |status: &str| json!({"dedup_key": "disk", "status": status, "severity": "critical", "title": "Disk full", "resources": [{"type": "project", "id": "42"}], "people": [{"email": "a@example.com"}]});
    let (begins, ends) = (
        one("cloudevents", &event("/a", "1", data("firing"))),
        one("cloudevents", &event("/a", "2", data("resolved"))),
    );
    assert_eq!(
        (begins.firing, ends.firing, &begins.fingerprint),
        (true, false, &ends.fingerprint)
    );
    assert_eq!(
        (
            begins.resources.len(),
            begins.people.len(),
            begins.severity.as_str()
        ),
        (1, 1, "critical")
    );
    for missing in ["specversion", "type", "source", "id"] {
        let mut wrong = event("/a", "1", Value::Null);
        wrong.as_object_mut().expect("an object").remove(missing);
        assert_eq!(refused("cloudevents", &wrong), format!("/{missing}"));
    }
    assert_eq!(
        read("cloudevents", &json!([]))
            .expect("an empty batch")
            .alerts
            .len(),
        0
    );
    assert_eq!(
        read(
            "cloudevents",
            &json!([event("/a", "1", Value::Null), event("/a", "2", Value::Null)])
        )
        .expect("a batch")
        .alerts
        .len(),
        2
    );
    let encoded = json!({"specversion": "1.0", "type": "t", "source": "/a", "id": "1", "data_base64": "eyJ0aXRsZSI6ICJJdCBicm9rZSJ9"});
    assert_eq!(one("cloudevents", &encoded).title, "It broke");
    let mut binary = sent_as("application/json", "{\"title\": \"Broke\"}");
    for (name, value) in [
        ("ce-id", "1"),
        ("ce-source", "/a%20b"),
        ("ce-type", "t"),
        ("ce-specversion", "1.0"),
        ("ce-subject", "Euro%20%E2%82%AC"),
    ] {
        binary.headers.insert(name.to_owned(), value.to_owned());
    }
    let alert = source::parse("cloudevents", None, &binary)
        .expect("an event")
        .alerts
        .remove(0);
    assert_eq!(
        (alert.fingerprint.as_str(), alert.labels["subject"].as_str()),
        ("/a b 1", "Euro €")
    );
}

// The whole service.

async fn made(app: &TestApp, source: &str) -> (String, String) {
    let made = app
        .post("/api/v1/integrations", json!({"name": source, "source": source}))
        .await
        .expect(201);
    (made.id(), made["hook_url"].as_str().expect("a URL").to_owned())
}

async fn tests_of_the_connection_open_nothing(env: Env) {
    let app = TestApp::start(&env).await;
    for (source, body) in [
        (
            "grafana",
            json!({"receiver": "test", "status": "firing", "version": "1", "alerts": [{"status": "firing", "labels": {"alertname": "TestAlert", "instance": "Grafana"},
            "annotations": {"summary": "Notification test"}, "fingerprint": "57c6d9296de2ad39", "startsAt": "2024-03-14T06:56:00Z", "endsAt": "0001-01-01T00:00:00Z"}]}),
        ),
        (
            "grafana",
            json!({"ruleId": 0, "ruleName": "Test rule", "state": "alerting", "title": "[Alerting] Test notification", "orgId": 0}),
        ),
        (
            "sentry",
            json!({"action": "created", "data": {"installation": {"uuid": "u"}}}),
        ),
        (
            "pagerduty",
            json!({"event": {"event_type": "pagey.ping", "data": {"message": "Hello from your friend Pagey!", "type": "ping"}}}),
        ),
        (
            "opsgenie",
            json!({"action": "Test", "alert": {"alertId": "a", "message": "m"}}),
        ),
        (
            "gcp_monitoring",
            json!({"version": "test", "incident": {"incident_id": "12345", "state": "OPEN", "started_at": 0}}),
        ),
        (
            "azure_monitor",
            json!({"data": {"essentials": {"alertId": "/subscriptions/11111111-1111-1111-1111-111111111111/providers/Microsoft.AlertsManagement/alerts/1", "alertRule": "test-metricAlertRule", "monitorCondition": "Fired"}}}),
        ),
        (
            "uptime_kuma",
            json!({"heartbeat": null, "monitor": null, "msg": "Testing"}),
        ),
        (
            "new_relic",
            json!({"incident_id": 0, "current_state": "test", "details": "New Relic Alert - Channel Test"}),
        ),
        (
            "freshstatus",
            json!({"id": "1", "title": "Sample title", "notification_options": "{notification_options}", "event_data": {"event_type": "INCIDENT_OPEN"}}),
        ),
        ("cloudevents", json!([])),
    ] {
        let (id, url) = made(&app, source).await;
        let answer = app.anonymous().post(&url, &body).await.expect(202);
        assert_eq!(
            (&answer["alerts"], &answer["ignored"]),
            (&json!(0), &json!(1)),
            "{source}: {answer}"
        );
        let kept = app
            .get(&format!("/api/v1/integrations/{id}/bodies"))
            .await
            .expect(200);
        let detail = kept.items()[0]["detail"].as_str().expect("a text").to_owned();
        assert!(detail.contains("no alert: "), "{source}: {detail}");
    }
    assert_eq!(env.count("incidents") + env.count("alerts"), 0);
    app.finish().await;
}

async fn an_end_finds_its_beginning(env: Env) {
    let app = TestApp::start(&env).await;
    let issue = |action: &str, status: &str| json!({"action": action, "data": {"issue": {"id": "77", "title": "It broke", "status": status, "level": "error"}}});
    let event = json!({"action": "triggered", "data": {"event": {"issue_id": "77", "title": "It broke", "level": "error", "user": {"email": "ann@example.com"}}}});
    let (id, url) = made(&app, "sentry").await;
    // An issue alert, the same again, and the resolved issue.
    let opened = app.anonymous().post(&url, &event).await.expect(202);
    assert_eq!(opened["opened"].as_array().map(Vec::len), Some(1), "{opened}");
    let again = app.anonymous().post(&url, &event).await.expect(202);
    assert_eq!(again["attached"].as_array().map(Vec::len), Some(1), "{again}");
    // The issue was archived, which does not mean that it is resolved.
    app.anonymous()
        .post(&url, issue("archived", "ignored"))
        .await
        .expect(202);
    let alerts = app.all(&format!("/api/v1/alerts?integration={id}")).await;
    assert_eq!(
        (alerts.len(), &alerts[0]["status"], &alerts[0]["repeats"]),
        (1, &json!("firing"), &json!(1))
    );
    app.anonymous()
        .post(&url, issue("resolved", "resolved"))
        .await
        .expect(202);
    let alerts = app.all(&format!("/api/v1/alerts?integration={id}")).await;
    assert_eq!((alerts.len(), &alerts[0]["status"]), (1, &json!("resolved")));
    let incident = app
        .get(&format!(
            "/api/v1/incidents/{}",
            opened["opened"][0]["id"].as_str().expect("an id")
        ))
        .await
        .expect(200);
    assert_eq!(incident["status"], "monitoring");
    // The audit trail and the alert contain no user.
    let shown = format!(
        "{} {}",
        app.get("/api/v1/audit/export").await.expect(200).text,
        json!(alerts)
    );
    assert!(!shown.contains("ann@example.com"));
    app.finish().await;
}

async fn rules_work_on_every_source(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let sns = json!({"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": json!({"AlarmName": "CPU", "NewStateValue": "ALARM", "AWSAccountId": "1",
        "Trigger": {"Dimensions": [{"name": "Project", "value": "savanna"}]}}).to_string()});
    for (source, rule, body) in [
        (
            "grafana",
            json!({"field": "labels.project", "type": "project"}),
            json!({"alerts": [{"status": "firing", "fingerprint": "f", "labels": {"project": "savanna"}}]}),
        ),
        (
            "sentry",
            json!({"field": "data.event.request.url", "pattern": "/projects/(?<project>[^/]+)"}),
            json!({"action": "triggered", "data": {"event": {"issue_id": "1", "title": "t", "request": {"url": "https://example.com/projects/savanna/x"}}}}),
        ),
        (
            "pagerduty",
            json!({"field": "labels.project", "type": "project"}),
            json!({"event_action": "trigger", "payload": {"summary": "s", "source": "x", "severity": "info", "custom_details": {"project": "savanna"}}}),
        ),
        (
            "opsgenie",
            json!({"field": "alert.tags", "pattern": "^p:(?<project>.+)$"}),
            json!({"action": "Create", "alert": {"alertId": "1", "message": "m", "tags": ["vip", "p:savanna"]}}),
        ),
        (
            "datadog",
            json!({"field": "labels.project", "type": "project"}),
            json!({"title": "t", "alert_transition": "Triggered", "alert_id": "1", "tags": "project:savanna"}),
        ),
        (
            "aws_sns",
            json!({"field": "labels.Project", "type": "project"}),
            sns.clone(),
        ),
        (
            "aws_sns",
            json!({"field": "Trigger.Dimensions.0.value", "type": "project"}),
            sns,
        ),
        (
            "gcp_monitoring",
            json!({"field": "labels.project", "type": "project"}),
            json!({"incident": {"incident_id": "1", "state": "open", "resource": {"labels": {"project": "savanna"}}}}),
        ),
        (
            "cloudevents",
            json!({"field": "data.project", "type": "project"}),
            json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {"project": "savanna"}}),
        ),
        (
            "zabbix",
            json!({"field": "labels.host", "type": "project"}),
            json!({"host": {"name": "savanna"}, "event": {"id": "1", "status": "PROBLEM"}, "title": "t"}),
        ),
        (
            "generic",
            json!({"field": "labels.none", "type": "project"}),
            json!({"title": "It names its resource itself", "resources": [{"type": "project", "id": "savanna"}, {"type": "project", "id": "nowhere"}]}),
        ),
    ] {
        let made = app
            .post(
                "/api/v1/integrations",
                json!({"name": source, "source": source, "resource_rules": [rule]}),
            )
            .await
            .expect(201);
        let answer = app
            .anonymous()
            .post(made["hook_url"].as_str().expect("a URL"), &body)
            .await
            .expect(202);
        let incident = answer["opened"][0]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{source}: {answer}"))
            .to_owned();
        let affected = app
            .get(&format!("/api/v1/incidents/{incident}/affected"))
            .await
            .expect(200);
        assert!(affected.text.contains("savanna"), "{source}: {affected}");
        assert_eq!(
            answer["unresolved_references"],
            i32::from(source == "generic"),
            "{source}: {answer}"
        );
    }
    app.finish().await;
}

async fn senders_that_do_not_post_json_are_served(env: Env) {
    let app = TestApp::start(&env).await;
    let (_, robot) = made(&app, "uptimerobot").await;
    let down = "monitorID=1&monitorFriendlyName=Shop&alertType=1&alertDateTime=1710399360";
    let opened = app.anonymous().get(&format!("{robot}?{down}")).await.expect(202);
    assert_eq!(opened["opened"].as_array().map(Vec::len), Some(1));
    // The same request by GET is a repeat.
    let again = app.anonymous().get(&format!("{robot}?{down}")).await.expect(202);
    assert_eq!(again["attached"].as_array().map(Vec::len), Some(1));
    let up = "monitorID=1&monitorFriendlyName=Shop&alertType=2";
    let ended = app
        .anonymous()
        .post_raw(&robot, "application/x-www-form-urlencoded", up)
        .await
        .expect(202);
    assert_eq!(ended["resolved"], 1);
    // GET is not allowed for a source that does not use it.
    let (_, plain) = made(&app, "alertmanager").await;
    let refused = app.anonymous().get(&plain).await.expect_problem(405);
    assert_eq!(refused.header("allow"), "POST, PUT");
    let (_, grafana) = made(&app, "grafana").await;
    let body = json!({"alerts": [{"status": "firing", "fingerprint": "f", "labels": {"a": "b"}}]});
    app.anonymous().put(&grafana, &body).await.expect(202);
    // A CloudEvents sender asks before it sends.
    let (_, events) = made(&app, "cloudevents").await;
    let asked = app
        .anonymous()
        .request(reqwest::Method::OPTIONS, &events)
        .header("WebHook-Request-Origin", "events.example.com")
        .send()
        .await
        .expect(200);
    assert_eq!(
        (
            asked.header("webhook-allowed-origin"),
            asked.header("webhook-allowed-rate")
        ),
        ("events.example.com", "*")
    );
    // The path of PagerDuty's API, where the key is the token of the hook.
    let (_, pagerduty) = made(&app, "pagerduty").await;
    let token = pagerduty.rsplit('/').next().expect("a token");
    let mut event = json!({"routing_key": token, "event_action": "trigger", "dedup_key": "disk", "payload": {"summary": "Disk full", "source": "db", "severity": "critical"}});
    let answer = app.anonymous().post("/v2/enqueue", &event).await.expect(202);
    assert_eq!(
        (&answer["status"], &answer["dedup_key"]),
        (&json!("success"), &json!("disk")),
        "{answer}"
    );
    event["event_action"] = json!("resolve");
    assert_eq!(
        app.anonymous().post("/v2/enqueue", &event).await.expect(202)["resolved"],
        1
    );
    event["routing_key"] = json!("of nobody");
    app.anonymous()
        .post("/v2/enqueue", &event)
        .await
        .expect_problem(404);
    app.anonymous()
        .post("/v2/enqueue", json!({"event_action": "trigger"}))
        .await
        .expect_invalid("/routing_key");
    app.finish().await;
}

async fn a_compressed_or_huge_or_deep_body_is_refused(env: Env) {
    let app = TestApp::start(&env).await;
    for source in ["grafana", "cloudevents", "datadog", "aws_sns", "uptime_kuma"] {
        let (_, url) = made(&app, source).await;
        for encoding in ["gzip", "deflate", "br"] {
            let zipped = app
                .anonymous()
                .request(reqwest::Method::POST, &url)
                .header("content-encoding", encoding);
            zipped
                .body("application/json", "\u{1f}x")
                .send()
                .await
                .expect_problem(415);
        }
        let deep = format!("{}{}", "[".repeat(900_000), "]".repeat(900_000));
        app.anonymous()
            .post_raw(&url, "application/json", deep)
            .await
            .expect_problem(422);
        let deep = format!("{}1{}", "{\"data\":".repeat(200_000), "}".repeat(200_000));
        app.anonymous()
            .post_raw(&url, "application/json", deep)
            .await
            .expect_problem(422);
        app.anonymous()
            .post_raw(&url, "application/json", vec![b'['; 10_000_000])
            .await
            .expect_problem(413);
    }
    assert_eq!(env.count("incidents"), 0);
    app.finish().await;
}
