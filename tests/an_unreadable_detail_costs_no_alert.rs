//! An alert with one unreadable detail is accepted without this detail, and the answer says so.

use std::collections::BTreeSet;

use candor::alert::source::{self, Request};
use serde_json::{Value, json};

use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(broken_texts_and_times_come_through_the_hook);

/// Returns a complete body of each source, and the fields that are needed to identify the problem and its
/// state.
fn bodies() -> Vec<(&'static str, Value, &'static [&'static str])> {
    vec![
        (
            "alertmanager",
            json!({"version": "4", "groupKey": "g", "status": "firing", "receiver": "r", "groupLabels": {}, "commonLabels": {}, "externalURL": "https://am.example", "truncatedAlerts": 0,
                "alerts": [{"status": "firing", "fingerprint": "f", "labels": {"alertname": "A", "severity": "page"}, "annotations": {"summary": "S"}, "startsAt": "2024-03-14T06:50:00Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "https://p.example"}]}),
            &["/alerts"],
        ),
        (
            "grafana",
            json!({"version": "1", "groupKey": "g", "status": "firing", "title": "T", "state": "alerting", "truncatedAlerts": 0, "orgId": 1,
                "alerts": [{"status": "firing", "fingerprint": "f", "labels": {"alertname": "A"}, "annotations": {"summary": "S"}, "startsAt": "2024-03-14T06:50:00Z", "endsAt": "0001-01-01T00:00:00Z", "values": {"A": 1}, "panelURL": "https://g.example"}]}),
            &["/alerts"],
        ),
        (
            "aws_cloudwatch",
            json!({"AlarmName": "a", "AlarmDescription": "d", "AWSAccountId": "1", "Region": "EU", "AlarmArn": "arn:a", "NewStateValue": "ALARM", "OldStateValue": "OK", "NewStateReason": "r", "StateChangeTime": "2024-03-14T06:50:00.000+0000", "Trigger": {"MetricName": "m", "Namespace": "n", "Dimensions": [{"name": "q", "value": "v"}]}}),
            &["/AlarmName", "/NewStateValue"],
        ),
        (
            "azure_monitor",
            json!({"schemaId": "x", "data": {"essentials": {"alertId": "/a/1", "alertRule": "r", "severity": "Sev1", "signalType": "Metric", "monitorCondition": "Fired", "monitoringService": "Platform", "alertTargetIDs": ["/t"], "configurationItems": ["c"], "firedDateTime": "2024-03-14T06:50:00Z", "description": "d"}, "alertContext": {"condition": {"allOf": [{"metricName": "m", "dimensions": []}]}}, "customProperties": {"a": "b"}}}),
            &[
                "/data",
                "/data/essentials",
                "/data/essentials/alertId",
                "/data/essentials/monitorCondition",
            ],
        ),
        (
            "betterstack",
            json!({"data": {"id": "1", "type": "incident", "attributes": {"name": "n", "url": "https://a.example", "cause": "c", "started_at": "2024-03-14T06:50:00Z", "resolved_at": null, "metadata": {}}, "relationships": {"monitor": {"data": {"id": "7"}}}}}),
            &["/data", "/data/id", "/data/type", "/data/attributes"],
        ),
        (
            "cloudevents",
            json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "time": "2024-03-14T06:50:00Z", "subject": "S", "datacontenttype": "application/json", "data": {"title": "T", "severity": "page"}}),
            &["/specversion", "/id", "/source", "/type"],
        ),
        (
            "datadog",
            json!({"title": "CPU", "alert_id": "1", "alert_transition": "Triggered", "body": "b", "date": "1710399000000", "tags": "a:b", "link": "https://d.example", "priority": "P1", "hostname": "h"}),
            &["/title", "/alert_transition"],
        ),
        (
            "freshping",
            json!({"organization_name": "o", "webhook_event_created_on": "2024-03-14T06:50:00Z", "webhook_event_data": {"check_id": 1, "check_name": "c", "check_state_name": "Not Responding", "application_name": "a", "request_url": "https://a.example", "http_status_code": 500, "request_start_time": "2024-03-14T06:50:00Z"}}),
            &[
                "/webhook_event_data",
                "/webhook_event_data/check_id",
                "/webhook_event_data/check_state_name",
            ],
        ),
        (
            "gcp_monitoring",
            json!({"version": "1.2", "incident": {"incident_id": "i", "state": "open", "started_at": 1710399000, "ended_at": null, "condition_name": "c", "policy_name": "p", "summary": "s", "url": "https://g.example", "severity": "Critical", "documentation": {"content": "d"}, "resource": {"type": "t", "labels": {}}, "metric": {"type": "m"}}}),
            &["/incident", "/incident/incident_id", "/incident/state"],
        ),
        (
            "healthchecks",
            json!({"code": "c", "name": "n", "status": "down", "now": "2024-03-14T06:50:00Z", "tags": "a b", "exit_status": "1"}),
            &["/status"],
        ),
        (
            "nagios",
            json!({"HOSTNAME": "h", "SERVICEDESC": "s", "SERVICESTATE": "CRITICAL", "NOTIFICATIONTYPE": "PROBLEM", "SERVICEOUTPUT": "o", "LONGDATETIME": "Thu Mar 14 06:50:00 UTC 2024", "HOSTADDRESS": "192.0.2.1"}),
            &["/HOSTNAME", "/SERVICEDESC", "/SERVICESTATE"],
        ),
        (
            "new_relic",
            json!({"id": "i", "state": "ACTIVATED", "createdAt": 1710399000000_i64, "updatedAt": 1710399000000_i64, "priority": "CRITICAL", "title": ["T"], "issueUrl": "https://n.example", "alertPolicyNames": ["p"], "impactedEntities": ["e"]}),
            &["/id", "/state"],
        ),
        (
            "opsgenie",
            json!({"action": "Create", "integrationName": "i", "alert": {"alertId": "a", "alias": "x", "message": "M", "createdAt": 1710399000000_i64, "updatedAt": 1710399000000000000_i64, "tags": ["t"], "teams": ["u"], "priority": "P1", "details": {"a": "b"}, "entity": "e"}}),
            &["/action", "/alert"],
        ),
        (
            "pagerduty",
            json!({"event": {"id": "e", "event_type": "incident.triggered", "occurred_at": "2024-03-14T06:50:00Z", "data": {"type": "incident", "id": "P", "title": "T", "status": "triggered", "created_at": "2024-03-14T06:50:00Z", "urgency": "high", "html_url": "https://p.example", "service": {"id": "s", "summary": "S"}}}}),
            &[
                "/event",
                "/event/event_type",
                "/event/data",
                "/event/data/id",
                "/event/data/type",
                "/event/data/status",
            ],
        ),
        (
            "pagerduty",
            json!({"routing_key": "r", "event_action": "trigger", "dedup_key": "k", "client": "c", "links": [], "payload": {"summary": "S", "source": "h", "severity": "critical", "timestamp": "2024-03-14T06:50:00Z", "component": "c", "custom_details": {"a": 1}}}),
            &["/event_action", "/payload"],
        ),
        (
            "pingdom",
            json!({"check_id": 1, "check_name": "c", "current_state": "DOWN", "previous_state": "UP", "importance_level": "HIGH", "state_changed_timestamp": 1710399000, "state_changed_utc_time": "2024-03-14T06:50:00", "check_params": {"hostname": "h"}, "tags": ["t"]}),
            &["/check_id", "/current_state"],
        ),
        (
            "sentry",
            json!({"action": "triggered", "data": {"triggered_rule": "r", "event": {"issue_id": "1", "event_id": "e", "title": "T", "level": "error", "datetime": "2024-03-14T06:50:00.000000Z", "timestamp": 1710399000.5, "received": 1710399000.5, "tags": [["a", "b"]], "user": {"id": 9}, "web_url": "https://s.example", "culprit": "c"}}}),
            &["/data", "/data/event", "/data/event/issue_id"],
        ),
        (
            "statuscake",
            json!({"TestID": "1", "Name": "n", "URL": "https://a.example", "Status": "Down", "StatusCode": "500", "IP": "192.0.2.1", "Tags": "a,b"}),
            &["/Status"],
        ),
        (
            "statuspage",
            json!({"page": {"id": "p", "name": "P"}, "meta": {}, "incident": {"id": "i", "name": "N", "status": "investigating", "impact": "major", "created_at": "2024-03-14T06:50:00Z", "updated_at": "2024-03-14T06:50:00Z", "shortlink": "https://s.example", "components": [{"id": "c", "name": "C"}], "incident_updates": [{"body": "b"}]}}),
            &["/incident", "/incident/id", "/incident/status"],
        ),
        (
            "updown",
            json!({"event": "check.down", "time": "2024-03-14T06:50:00Z", "description": "d", "check": {"token": "t", "url": "https://a.example", "alias": "A"}, "downtime": {"id": "1", "error": "e", "started_at": "2024-03-14T06:50:00Z"}}),
            &["/event", "/check", "/check/token"],
        ),
        (
            "uptime_kuma",
            json!({"heartbeat": {"monitorID": 1, "status": 0, "time": "2024-03-14 06:50:00.123", "msg": "m", "duration": 60}, "monitor": {"id": 1, "name": "n", "url": "https://a.example", "tags": [], "type": "http"}, "msg": "M"}),
            &["/heartbeat", "/heartbeat/status", "/monitor"],
        ),
        (
            "uptimerobot",
            json!({"monitorID": "1", "monitorURL": "https://a.example", "monitorFriendlyName": "n", "alertType": "1", "alertTypeFriendlyName": "Down", "alertDetails": "d", "alertDateTime": "1710399000"}),
            &["/alertType"],
        ),
        (
            "zabbix",
            json!({"event_id": "1", "event_name": "n", "event_status": "PROBLEM", "event_severity": "High", "host_name": "h", "event_timestamp": "1710399000", "event_tags": "[]", "trigger_id": "2", "url": "https://z.example"}),
            &["/event_status"],
        ),
        (
            "generic",
            json!({"title": "T", "status": "firing", "fingerprint": "f", "severity": "page", "started_at": "2024-03-14T06:50:00Z", "ended_at": null, "text": "x", "link": "https://a.example", "labels": {"a": "b"}, "annotations": {}, "resources": [], "people": []}),
            &["/title", "/status"],
        ),
    ]
}

/// Returns every place in a body.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, value)| (n.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (name, value) in inner {
        let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        into.push(at.clone());
        places(value, &at, into);
    }
}

#[test]
fn any_detail_may_be_missing_or_of_another_kind() {
    let odd = [
        Value::Null,
        json!(""),
        json!("yesterday"),
        json!(-1),
        json!(1e300),
        json!(true),
        json!([]),
        json!(["x", {"y": 1}]),
        json!({}),
        json!({"a": {"b": 1}}),
        json!("\u{0}\u{7}"),
        json!("Tue, 14 Mar 2024 06:50:00 GMT"),
    ];
    let mut tried = 0;
    for (name, body, identity) in bodies() {
        let read = |body: &Value| source::parse(name, None, &Request::json(body.to_string()));
        let whole = read(&body).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
        assert!(
            whole.alerts.len() == 1 && whole.notes.is_empty(),
            "{name}: {whole:?}"
        );
        let mut all = Vec::new();
        places(&body, "", &mut all);
        for place in all {
            // Within the list of alerts everything is a detail, except the state, the labels and the position
            // in the list.
            let needed = identity.contains(&place.as_str())
                || ["/alerts/0", "/alerts/0/labels", "/alerts/0/status"].contains(&place.as_str());
            if needed {
                continue;
            }
            for value in &odd {
                let mut mutated = body.clone();
                *mutated.pointer_mut(&place).expect("a place") = value.clone();
                tried += 1;
                match read(&mutated) {
                    Ok(batch) => assert_eq!(batch.alerts.len(), 1, "{name} {place} = {value}: {batch:?}"),
                    Err(refusal) => panic!("{name} {place} = {value}: {refusal:?}"),
                }
            }
        }
    }
    assert!(tried > 2_000, "{tried}");
}

#[test]
fn a_time_that_cannot_be_read_is_noted() {
    for (name, place, wrong) in [
        ("alertmanager", "/alerts/0/startsAt", json!("yesterday")),
        (
            "aws_cloudwatch",
            "/StateChangeTime",
            json!("Tue, 14 Mar 2024 06:50:00 GMT"),
        ),
        ("gcp_monitoring", "/incident/started_at", json!("noon")),
        ("nagios", "/LONGDATETIME", json!("Wed Sep 19 15:29:14 CEST 2018")),
        ("sentry", "/data/event/received", json!("soon")),
        ("uptime_kuma", "/heartbeat/time", json!("2024-13-45 99:00:00")),
    ] {
        let (_, mut body, _) = bodies()
            .into_iter()
            .find(|(source, ..)| *source == name)
            .expect("a body");
        *body.pointer_mut(place).expect("a place") = wrong;
        let batch = source::parse(name, None, &Request::json(body.to_string())).expect("taken");
        assert!(
            batch.notes.iter().any(|note| note.starts_with(place)) && batch.alerts[0].notes == batch.notes,
            "{name}: {batch:?}"
        );
    }
}

async fn broken_texts_and_times_come_through_the_hook(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let hook = async |source: &str| {
        let made = app
            .post("/api/v1/integrations", json!({"name": source, "source": source}))
            .await
            .expect(201);
        made["hook_url"].as_str().expect("a URL").to_owned()
    };
    let kuma = r#"{"heartbeat":{"monitorID":7,"status":0,"time":"2024-03-14 06:50:00.123","msg":"on sale toda\ud83c..."},"monitor":{"id":7,"name":"Shop \udf0d"},"msg":"toda\ud83c..."}"#;
    let raw: [(&str, &str, Vec<u8>); 8] = [
        ("uptime_kuma", "application/json", kuma.into()),
        // A part of a character, a NUL, and a line break within a text.
        ("generic", "application/json", b"{\"title\": \"caf\xe9 \\u0000\", \"text\": \"one\ntwo\"}".to_vec()),
        ("generic", "application/json", b"\xef\xbb\xbf{\"title\": \"mark\"}".to_vec()),
        (
            "generic",
            "application/json",
            "\u{feff}{\"title\": \"wide\"}".encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
        // A form with any field name.
        (
            "statuscake",
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Disposition: form-data; name=\"Status\"\r\n\r\nDown\r\n--b\r\nContent-Disposition: form-data; name=\"TestID\"\r\n\r\n5\r\n--b--\r\n".to_vec(),
        ),
        ("statuscake", "text/plain", b"Status=Down&TestID=6&Extra=1".to_vec()),
        ("statuscake", "application/json", b"Status=Down&Name=n".to_vec()),
        // JSON in a field of a form.
        (
            "pingdom",
            "application/x-www-form-urlencoded",
            b"payload=%7B%22check_id%22%3A1%2C%22current_state%22%3A%22DOWN%22%7D".to_vec(),
        ),
    ];
    for (source, media, body) in raw {
        let url = hook(source).await;
        let shown = String::from_utf8_lossy(&body).into_owned();
        let taken = app.anonymous().post_raw(&url, media, body).await.expect(202);
        assert_eq!(
            taken["opened"].as_array().map(Vec::len),
            Some(1),
            "{source}: {shown}: {taken}"
        );
    }
    // The key of PagerDuty's Events API is read from the same body.
    let url = hook("pagerduty").await;
    let key = url.rsplit('/').next().expect("a token");
    let event = format!(
        r#"{{"routing_key":"{key}","event_action":"trigger","payload":{{"summary":"toda\ud83c","source":"db","severity":"error"}}}}"#
    );
    let taken = app
        .anonymous()
        .post_raw("/v2/enqueue", "application/json", event)
        .await
        .expect(202);
    assert_eq!(taken["opened"].as_array().map(Vec::len), Some(1), "{taken}");
    // The answer and the alert say what was left out.
    let url = hook("generic").await;
    let taken = app
        .anonymous()
        .post(&url, json!({"title": "T", "timestamp": "yesterday"}))
        .await
        .expect(202);
    assert!(
        taken["notes"][0]
            .as_str()
            .is_some_and(|note| note.starts_with("/timestamp: ")),
        "{taken}"
    );
    let alert = app.get("/api/v1/alerts?limit=1").await.expect(200).items()[0].clone();
    assert_eq!(alert["notes"], taken["notes"]);
    // A body that is not in the format is refused, and the reason is about the format of the body.
    for (source, media, body, said) in [
        (
            "pingdom",
            "application/x-www-form-urlencoded",
            "a=b&c=d",
            "is a form with the fields a, c",
        ),
        ("nagios", "text/plain", "Host: db1\nInfo: full", "has no state"),
        (
            "nagios",
            "text/plain",
            "Service: disk\nState: CRITICAL",
            "no line that names the host",
        ),
        ("generic", "application/json", "", "is empty"),
        ("generic", "application/json", "{\"title\": ", "is not JSON"),
    ] {
        let url = hook(source).await;
        let refused = app
            .anonymous()
            .post_raw(&url, media, body)
            .await
            .expect_problem(422);
        assert!(refused.text.contains(said), "{source}: {refused}");
    }
    app.finish().await;
}

/// The pointers of all times in a body: texts that begin with a date of the examples, and numbers since 1970.
fn times(value: &Value, at: &str, into: &mut Vec<String>) {
    let is_one = match value {
        Value::String(text) => text.starts_with("2024-03-14") || text.starts_with("17103"),
        Value::Number(number) => number.to_string().starts_with("17103"),
        _ => false,
    };
    if is_one {
        into.push(at.to_owned());
    }
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| times(value, &format!("{at}/{name}"), into)),
        Value::Array(items) => (0..)
            .zip(items)
            .for_each(|(n, value)| times(value, &format!("{at}/{n}"), into)),
        _ => {}
    }
}

#[test]
fn a_broken_time_costs_no_alert_whoever_sends_it() {
    let mut tried = BTreeSet::new();
    for source in source::KNOWN {
        let right = crate::no_sender_can_break_a_source::right(source);
        let mut all = Vec::new();
        times(&right, "", &mut all);
        let whole = source::parse(source, None, &Request::json(right.to_string())).expect("a body");
        let usual: Vec<_> = whole
            .alerts
            .iter()
            .flat_map(|alert| [alert.started_at, alert.ended_at])
            .collect();
        for place in all {
            for wrong in [
                // There is no such day, hour or month.
                json!("2024-02-30T06:56:00Z"),
                json!("2024-03-14T25:61:00Z"),
                json!("2024-13-01T00:00:00+99:00"),
                // Other ways of writing, which do not say the zone or the order.
                json!("14/03/2024 06:56"),
                json!("Thursday at noon"),
                json!("٢٠٢٤-٠٣-١٤T06:56:00Z"),
                json!("2024-03-14T06:56:00Z[Mars/Olympus]"),
                // Numbers that are no time.
                json!(1e300),
                json!(-1),
                json!(u64::MAX),
                json!("1710399360,5"),
                // Other kinds of values.
                json!({"$date": "2024-03-14T06:56:00Z"}),
                json!([2024, 3, 14]),
                json!(true),
            ] {
                let mut body = right.clone();
                *body.pointer_mut(&place).expect("a place") = wrong.clone();
                let batch = source::parse(source, None, &Request::json(body.to_string()))
                    .unwrap_or_else(|refusal| panic!("{source}{place}, {wrong}: {refusal:?}"));
                assert_eq!(batch.alerts.len(), 1, "{source}{place}, {wrong}: {batch:?}");
                let alert = &batch.alerts[0];
                assert_eq!(
                    alert.firing, whole.alerts[0].firing,
                    "{source}{place}, {wrong}: {alert:?}"
                );
                for at in [alert.started_at, alert.ended_at] {
                    let told = at.is_none_or(|at| at.to_string().starts_with("2024-03-1"));
                    assert!(told || usual.contains(&at), "{source}{place}, {wrong}: {alert:?}");
                }
                tried.insert(source);
            }
        }
    }
    assert!(tried.len() >= 15, "{tried:?}");
}
