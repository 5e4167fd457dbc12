//! Every request to every source, with any method, is answered with 202 or 4xx, and never with an internal
//! error.

use candor::alert::source::{self, Request};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(every_source_answers_whatever_comes);

/// Returns a valid body of each source, so that a changed one is still parsed far.
pub fn right(source: &str) -> Value {
    let alarm = json!({"AlarmName": "CPU", "NewStateValue": "ALARM", "StateChangeTime": "2021-06-27T13:53:39.351+0000", "Trigger": {"Dimensions": [{"name": "a", "value": "b"}]}});
    match source {
        "alertmanager" | "grafana" => {
            json!({"status": "firing", "truncatedAlerts": 1, "externalURL": "https://a.example", "alerts": [{"status": "firing", "fingerprint": "f", "labels": {"a": "b"}, "annotations": {"summary": "s"}, "startsAt": "2024-03-14T06:56:00Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "https://b.example"}]})
        }
        "aws_sns" => {
            json!({"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": alarm.to_string(), "Timestamp": "2024-03-14T06:56:00Z"})
        }
        "aws_cloudwatch" => {
            json!({"alarmArn": "arn", "time": "2024-02-17T11:53:08.431+0000", "alarmData": {"alarmName": "n", "state": {"value": "OK", "timestamp": "2024-02-17T11:53:08.431+0000"}, "configuration": {"metrics": [{"metricStat": {"metric": {"dimensions": {"a": "b"}}}}]}}})
        }
        "azure_monitor" => {
            json!({"data": {"essentials": {"alertId": "a", "monitorCondition": "Fired", "monitoringService": "ServiceHealth", "firedDateTime": "2024-03-14T06:56:00.1234567Z"}, "alertContext": {"condition": {"allOf": [{"dimensions": [{"name": "a", "value": "b"}]}]}, "properties": {"trackingId": "t", "stage": "Active"}}}})
        }
        "betterstack" => {
            json!({"data": {"id": "1", "type": "incident", "attributes": {"name": "n", "started_at": "2024-03-14T06:56:00Z", "metadata": {"a": "b"}}}})
        }
        "cloudevents" => {
            json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "time": "2024-03-14T06:56:00Z", "data": {"title": "t", "resources": [{"type": "a", "id": "b"}]}})
        }
        "datadog" => {
            json!({"title": "[Triggered on {host:a}] t", "alert_transition": "Triggered", "tags": "a:b", "date": "1710399360000", "alert_id": "1"})
        }
        "freshping" => {
            json!({"webhook_event_data": {"check_id": 1, "check_state_name": "Reporting Error", "request_start_time": "2021-04-15T19:57:32.607484+00:00"}})
        }
        "freshstatus" => {
            json!({"id": "1", "title": "t", "start_time": "2021-04-12 16:29:00+00:00", "event_data": {"event_type": "INCIDENT_OPEN"}})
        }
        "gcp_monitoring" => {
            json!({"version": "1.2", "incident": {"incident_id": "1", "state": "open", "started_at": 1_710_399_360, "resource": {"labels": {"a": "b"}}}})
        }
        "healthchecks" => {
            json!({"code": "1", "status": "down", "now": "2024-03-14T06:56:00+00:00", "tags": "a b"})
        }
        "nagios" => {
            json!({"hostname": "h", "servicedesc": "s", "servicestate": "CRITICAL", "longdatetime": "Sat Oct 26 23:20:39 UTC 2024"})
        }
        "new_relic" => {
            json!({"id": "1", "state": "ACTIVATED", "createdAt": 1_710_399_360_000_i64, "title": ["t"]})
        }
        "opsgenie" => {
            json!({"action": "Create", "alert": {"alertId": "a", "message": "m", "tags": ["a:b"], "createdAt": 1_710_399_360_000_i64, "updatedAt": 1_502_709_956_288_000_110_i64}})
        }
        "pagerduty" => {
            json!({"event_action": "trigger", "payload": {"summary": "s", "source": "x", "severity": "info", "timestamp": "2024-03-14T06:56:00Z", "custom_details": {"a": "b"}}})
        }
        "pingdom" => {
            json!({"check_id": 1, "current_state": "DOWN", "state_changed_timestamp": 1_710_399_360, "tags": ["a"]})
        }
        "sentry" => {
            json!({"action": "triggered", "data": {"event": {"issue_id": "1", "title": "t", "timestamp": 1_710_399_360.5, "tags": [["a", "b"]], "user": {"id": 1}}}})
        }
        "statuscake" => json!({"Status": "Down", "TestID": "1", "Name": "n", "Token": "t"}),
        "statuspage" => {
            json!({"incident": {"id": "i", "status": "investigating", "impact": "minor", "created_at": "2024-03-14T06:56:00Z", "incident_updates": [{"body": "&#40;"}]}})
        }
        "updown" => {
            json!([{"event": "check.down", "check": {"token": "t", "url": "https://a.example"}, "downtime": {"started_at": "2024-03-14T06:56:00Z"}}])
        }
        "uptime_kuma" => {
            json!({"heartbeat": {"status": 0, "localDateTime": "2024-03-14 06:56:00", "timezoneOffset": "+03:00"}, "monitor": {"id": 1, "tags": [{"name": "a", "value": "b"}]}, "msg": "m"})
        }
        "uptimerobot" => {
            json!({"monitorID": "1", "alertType": "2", "alertDateTime": "1710399360", "alertDuration": "60", "monitorFriendlyName": "&#40;"})
        }
        "zabbix" => {
            json!({"event": {"id": "1", "status": "PROBLEM", "severity": "4"}, "host": "h", "link": "https://z.example/?triggerid=1"})
        }
        _ => {
            json!({"title": "t", "status": "firing", "started_at": "2024-03-14T06:56:00Z", "labels": {"a": "b"}})
        }
    }
}

/// Values that are difficult in some places.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => prop::sample::select(vec![
            json!(null), json!(true), json!(0), json!(-1), json!(1e308), json!(i64::MIN), json!(u64::MAX), json!(0.5), json!([]), json!({}), json!([[]]), json!(""),
            json!("\u{0}"), json!(" "), json!("\u{202e}"), json!("{"), json!("[x"), json!("[Triggered on {"), json!("%"), json!("&#"), json!("$"), json!("**"), json!("+"), json!("-"),
            json!("2024-03-14T06:56:00"), json!("2024-03-14T06:56:00+9999"), json!("9999-12-31T23:59:59Z"), json!("-009999-01-01T00:00:00Z"), json!("+25:61"), json!("-99999999999:00"),
            json!("NaN"), json!("inf"), json!("1e400"), json!("99999999999999999999"), json!("ü€😀"), json!({"a": {"b": {"c": {"d": {}}}}}), json!([{"name": null}, [1], [1, 2, 3]]),
            json!("https://"), json!("https://[::1"), json!("INSUFFICIENT_DATA"), json!("resolved"), json!("closed"), json!("Resolved"), json!("OK"), json!("up"),
        ]),
        1 => any::<String>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => (1_000_usize..5_000).prop_map(|n| json!("ü".repeat(n))),
    ]
}

/// Collects the pointers of all values in a document.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| places(value, &format!("{at}/{name}"), all)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(n, value)| places(value, &format!("{at}/{n}"), all)),
        _ => {}
    }
}

#[derive(Clone, Debug)]
struct Sent {
    source: &'static str,
    request: Request,
}

fn request() -> impl Strategy<Value = Sent> {
    let source = prop::sample::select(source::KNOWN.to_vec());
    let changes = prop::collection::vec((any::<prop::sample::Index>(), odd(), any::<bool>()), 0..4);
    let changed = (source, changes).prop_map(|(source, changes)| {
        let mut body = right(source);
        for (at, value, remove) in changes {
            let mut all = Vec::new();
            places(&body, "", &mut all);
            let at = at.get(&all).clone();
            let parent = at.rsplit_once('/').and_then(|(parent, name)| {
                Some((
                    body.pointer(parent)?.is_object().then_some(parent.to_owned())?,
                    name.to_owned(),
                ))
            });
            match (remove, parent) {
                (true, Some((parent, name))) => {
                    if let Some(Value::Object(fields)) = body.pointer_mut(&parent) {
                        fields.remove(&name);
                    }
                }
                _ => {
                    if let Some(place) = body.pointer_mut(&at) {
                        *place = value;
                    }
                }
            }
        }
        (source, body)
    });
    let header = prop::sample::select(vec![
        None,
        Some(("sentry-hook-resource", "issue")),
        Some(("sentry-hook-resource", "error")),
        Some(("sentry-hook-resource", "metric_alert")),
        Some(("ce-id", "%")),
        Some(("ce-type", "%zz%e2")),
        Some(("x-amz-sns-message-type", "Notification")),
    ]);
    let media = prop::sample::select(vec![
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=X",
        "multipart/form-data; boundary=",
        "text/plain",
        "application/cloudevents-batch+json",
        "",
    ]);
    let raw = prop_oneof![
        6 => Just(None),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Some),
        1 => "[a-zA-Z]{1,8}=[a-zA-Z0-9%&=+]{0,60}".prop_map(|text| Some(text.into_bytes())),
        1 => "--X\r\nContent-Disposition: form-data; name=\"?data\"?\r\n\r\n.{0,20}\r\n--X--".prop_map(|text| Some(text.into_bytes())),
        1 => Just(Some(b"\xef\xbb\xbf{}".to_vec())),
    ];
    let method = prop::sample::select(vec!["POST", "POST", "POST", "PUT", "GET"]);
    let query = prop_oneof![3 => Just(String::new()), 1 => "[a-zA-Z]{1,12}=[a-zA-Z0-9%&=+]{0,60}"];
    (
        changed,
        header,
        media,
        raw,
        method,
        query,
        any::<Option<prop::sample::Index>>(),
    )
        .prop_map(|((source, body), header, media, raw, method, query, cut)| {
            let mut bytes = raw.unwrap_or_else(|| match &body {
                Value::Object(fields) if media == "application/x-www-form-urlencoded" => {
                    let mut form = url::form_urlencoded::Serializer::new(String::new());
                    for (name, value) in fields {
                        form.append_pair(name, value.as_str().map_or(&*value.to_string(), |text| text));
                    }
                    form.finish().into_bytes()
                }
                body => body.to_string().into_bytes(),
            });
            // Some of the bodies are cut off.
            if let Some(cut) = cut.filter(|cut| cut.index(6) == 0) {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            let mut request = Request::json(bytes);
            request.method = method.to_owned();
            request.query = query;
            request
                .headers
                .insert("content-type".to_owned(), media.to_owned());
            if let Some((name, value)) = header {
                request.headers.insert(name.to_owned(), value.to_owned());
            }
            Sent { source, request }
        })
}

#[test]
fn what_is_right_is_taken() {
    for source in source::KNOWN {
        let batch = source::parse(source, None, &Request::json(right(source).to_string()));
        assert_eq!(batch.map(|batch| batch.alerts.len()), Ok(1), "{source}");
    }
}

#[test]
fn no_request_makes_a_source_panic() {
    let runs = Runs {
        // Each run uses other cases: about two hundred for each source.
        cases: 5_000,
        failure_persistence: None,
        ..Runs::default()
    };
    TestRunner::new(runs)
        .run(&request(), |sent| {
            let kept = sent.request.redacted(&["no value is like this".to_owned()]);
            match source::parse(sent.source, None, &sent.request) {
                Err((_, reason)) => prop_assert!(!reason.is_empty()),
                Ok(batch) => {
                    prop_assert!(batch.alerts.len() + batch.ignored.len() > 0);
                    for alert in &batch.alerts {
                        prop_assert!(!alert.fingerprint.is_empty() && alert.fingerprint.len() <= 600);
                        prop_assert!(
                            alert.firing
                                || alert.ended_at.is_none()
                                || alert.ended_at.is_some_and(|at| at.as_micros() != 0)
                        );
                        prop_assert!(!alert.firing || alert.ended_at.is_none(), "{alert:?}");
                    }
                    // A saved request is parsed with the same result.
                    let again = source::parse(sent.source, None, &kept);
                    let keys = |batch: &source::Batch| {
                        batch
                            .alerts
                            .iter()
                            .map(|a| (a.fingerprint.clone(), a.firing))
                            .collect::<Vec<_>>()
                    };
                    prop_assert_eq!(again.map(|batch| keys(&batch)), Ok(keys(&batch)));
                }
            }
            Ok(())
        })
        .unwrap_or_else(|failed| panic!("{failed}"));
}

async fn every_source_answers_whatever_comes(env: Env) {
    let app = TestApp::start(&env).await;
    let mut hooks = std::collections::BTreeMap::new();
    for source in source::KNOWN {
        let rules = json!([{"field": "labels.a", "type": "project"}, {"field": "title", "pattern": "(?<media>\\w+)"}]);
        let made = app
            .post(
                "/api/v1/integrations",
                json!({"name": source, "source": source, "resource_rules": rules}),
            )
            .await
            .expect(201);
        hooks.insert(source, made["hook_url"].as_str().expect("a URL").to_owned());
    }
    // proptest runs its cases in its own thread, which asks this one to carry out each case.
    let (cases, mut asked) = tokio::sync::mpsc::unbounded_channel::<(Sent, std::sync::mpsc::Sender<u16>)>();
    let runner = std::thread::spawn(move || {
        let runs = Runs {
            cases: 600,
            failure_persistence: None,
            max_shrink_iters: 200,
            ..Runs::default()
        };
        let ran = TestRunner::new(runs).run(&request(), |sent| {
            let (answer, answered) = std::sync::mpsc::channel();
            cases.send((sent.clone(), answer)).expect("the test is waiting");
            let status = answered.recv().expect("an answer");
            prop_assert!([202, 405, 422].contains(&status), "{status} to {sent:?}");
            Ok(())
        });
        ran.map_err(|failed| failed.to_string())
    });
    let mut taken = 0;
    while let Some((sent, answer)) = asked.recv().await {
        let mut url = hooks[sent.source].clone();
        if !sent.request.query.is_empty() {
            url = format!("{url}?{}", sent.request.query);
        }
        let method = Method::from_bytes(sent.request.method.as_bytes()).expect("a method");
        let mut call = app.anonymous().request(method, &url);
        for (name, value) in sent
            .request
            .headers
            .iter()
            .filter(|(name, _)| *name != "content-type")
        {
            call = call.header(name, value);
        }
        let media = sent.request.header("content-type").unwrap_or_default();
        let status = call.body(media, sent.request.body.clone()).send().await.status;
        taken += usize::from(status == 202);
        // An error here means that the runner has stopped, and it reports this itself.
        let _ = answer.send(status);
    }
    if let Err(failed) = runner.join().expect("the runner's thread") {
        panic!("{failed}");
    }
    assert!(taken > 50, "only {taken} of these were understood");
    // Everything that was accepted can be read again.
    app.all("/api/v1/incidents?limit=500").await;
    app.all("/api/v1/alerts?limit=500").await;
    for source in app.all("/api/v1/integrations").await {
        app.all(&format!(
            "/api/v1/integrations/{}/bodies",
            source["id"].as_str().expect("an id")
        ))
        .await;
    }
    app.finish().await;
}
