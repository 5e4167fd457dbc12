//! Bodies of real systems in `../shared/payloads`, if that folder exists. The expectations for each file were
//! read by hand.

use std::fs;
use std::path::{Path, PathBuf};

use candor::alert::source;
use serde_json::{Value, json};

use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(every_sample_becomes_alerts);

/// An alert of a sample: its fingerprint (`None` if the file has none and one is derived), state, severity,
/// start and end.
type Expected = (
    Option<&'static str>,
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
);

/// The alerts of each file, in their order.
const ALERTMANAGER: [(&str, &[Expected]); 9] = [
    (
        "alerta_prometheus_v3_alert.json",
        &[(None, "firing", "critical", "2016-08-01T10:27:08.008Z", None)],
    ),
    (
        "alerta_prometheus_v4_alert.json",
        &[(None, "firing", "critical", "2017-08-03T19:17:37.804Z", None)],
    ),
    // It fires although it has an end time, because this is the expected end.
    (
        "alertmanager-bot_firing_offset_no_fingerprint.json",
        &[(None, "firing", "critical", "2018-11-04T21:43:58.283995Z", None)],
    ),
    (
        "alertmanager-bot_resolved_offset_no_fingerprint.json",
        &[(
            None,
            "resolved",
            "critical",
            "2018-11-04T21:43:58.283995Z",
            Some("2018-11-04T21:48:13.283995Z"),
        )],
    ),
    (
        "alertmonitor_firing_three_instances.json",
        &[(None, "firing", "major", "2019-09-27T16:27:56.612666Z", None); 3],
    ),
    // It is resolved although its end time is Go's zero time.
    (
        "alertmonitor_resolved_three_instances.json",
        &[(None, "resolved", "major", "2019-09-27T16:27:56.612666Z", None); 3],
    ),
    (
        "cloudforet_prometheus_params2.json",
        &[
            (
                Some("e2a3b36a4e1832ef"),
                "firing",
                "critical",
                "2021-08-23T05:16:56.154Z",
                None,
            ),
            (
                Some("b81c57e53f0bff63"),
                "firing",
                "critical",
                "2021-08-23T05:16:56.154Z",
                None,
            ),
        ],
    ),
    (
        "zulip_single_alert.json",
        &[(
            Some("a1bc48475b20e73d"),
            "resolved",
            "critical",
            "2020-02-06T00:17:58.432911Z",
            None,
        )],
    ),
    (
        "zulip_single_alert_no_url.json",
        &[(
            Some("a1bc48475b20e73d"),
            "firing",
            "critical",
            "2020-02-06T00:17:58.432911Z",
            None,
        )],
    ),
];

/// Returns the samples of a source, or reports that they do not exist.
fn samples(source: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/payloads")
        .join(source);
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("{} is not there: its samples are not tested", folder.display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json" || extension == "txt")
        })
        .collect();
    files.sort();
    files
}

#[test]
fn an_alertmanager_sample_is_read_as_its_facts_say() {
    for file in samples("alertmanager") {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name")
            .to_owned();
        let body = fs::read(&file).expect("a sample");
        let json: Result<Value, _> = serde_json::from_slice(&body);
        let Ok(json) = json else {
            assert!(
                source::parse("alertmanager", None, &source::Request::json(body.clone())).is_err(),
                "{name} is not JSON"
            );
            continue;
        };
        let batch = source::parse("alertmanager", None, &source::Request::json(body.clone()))
            .unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
        let sent = json["alerts"].as_array().expect("alerts");
        assert_eq!(batch.alerts.len(), sent.len(), "{name}");
        for (alert, sent) in batch.alerts.iter().zip(sent) {
            // This applies to every sample, including those that are not in the list below.
            let status = sent["status"]
                .as_str()
                .or(json["status"].as_str())
                .expect("a status");
            assert_eq!(alert.firing, status == "firing", "{name}");
            match sent["fingerprint"].as_str() {
                Some(fingerprint) => assert_eq!(alert.fingerprint, fingerprint, "{name}"),
                None => assert!(alert.fingerprint.len() >= 16, "{name}: {}", alert.fingerprint),
            }
            assert_eq!(
                alert.severity,
                sent["labels"]["severity"].as_str().unwrap_or_default(),
                "{name}"
            );
            assert!(!alert.title.is_empty() && alert.started_at.is_some(), "{name}");
        }
        let Some((_, expected)) = ALERTMANAGER.iter().find(|(known, _)| *known == name) else {
            continue;
        };
        assert_eq!(batch.alerts.len(), expected.len(), "{name}");
        for (alert, (fingerprint, status, severity, started_at, ended_at)) in
            batch.alerts.iter().zip(*expected)
        {
            if let Some(fingerprint) = fingerprint {
                assert_eq!(alert.fingerprint, *fingerprint, "{name}");
            }
            let time = |at: Option<candor::base::time::Timestamp>| at.map(|at| at.to_string());
            assert_eq!(
                (alert.firing, alert.severity.as_str()),
                (*status == "firing", *severity),
                "{name}"
            );
            assert_eq!(time(alert.started_at).as_deref(), Some(*started_at), "{name}");
            assert_eq!(time(alert.ended_at).as_deref(), *ended_at, "{name}");
        }
        // Each of them is a separate problem.
        let mut fingerprints: Vec<&String> = batch.alerts.iter().map(|alert| &alert.fingerprint).collect();
        fingerprints.sort();
        fingerprints.dedup();
        assert_eq!(fingerprints.len(), batch.alerts.len(), "{name}");
    }
}

#[test]
fn a_firing_sample_and_its_resolved_one_are_one_problem() {
    for (firing, resolved) in [
        (
            "alertmanager-bot_firing_offset_no_fingerprint.json",
            "alertmanager-bot_resolved_offset_no_fingerprint.json",
        ),
        (
            "alertmonitor_firing_three_instances.json",
            "alertmonitor_resolved_three_instances.json",
        ),
        ("zulip_single_alert_no_url.json", "zulip_single_alert.json"),
    ] {
        let all = samples("alertmanager");
        let read = |name: &str| {
            let file = all.iter().find(|path| path.ends_with(name))?;
            let batch = source::parse(
                "alertmanager",
                None,
                &source::Request::json(fs::read(file).expect("a sample")),
            );
            Some(
                batch
                    .unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"))
                    .alerts,
            )
        };
        let (Some(firing_alerts), Some(resolved_alerts)) = (read(firing), read(resolved)) else {
            continue;
        };
        let fingerprints = |alerts: &[source::Alert]| {
            let mut all: Vec<String> = alerts.iter().map(|alert| alert.fingerprint.clone()).collect();
            all.sort();
            all
        };
        assert_eq!(
            fingerprints(&firing_alerts),
            fingerprints(&resolved_alerts),
            "{firing}"
        );
    }
}

async fn every_sample_becomes_alerts(env: Env) {
    let app = TestApp::start(&env).await;
    for source in ["alertmanager", "generic"] {
        for file in samples(source) {
            let body = fs::read(&file).expect("a sample");
            let Ok(json) = serde_json::from_slice::<Value>(&body) else {
                continue;
            };
            let made = app
                .post(
                    "/api/v1/integrations",
                    json!({"name": "Samples", "source": source}),
                )
                .await
                .expect(201);
            let hook = made["hook_url"].as_str().expect("a URL");
            let taken = app
                .anonymous()
                .post_raw(hook, "application/json", body)
                .await
                .expect(202);
            let alerts = app
                .all(&format!("/api/v1/alerts?integration={}", made.id()))
                .await;
            assert_eq!(taken["alerts"], alerts.len(), "{}: {taken}", file.display());
            // The alerts of one group of the sender are one incident.
            let firing = alerts.iter().filter(|alert| alert["status"] == "firing").count();
            let grouped = json.get("groupKey").is_some_and(|key| *key != "");
            assert_eq!(
                taken["opened"].as_array().map(Vec::len),
                Some(if grouped { firing.min(1) } else { firing }),
                "{}: {taken}",
                file.display()
            );
            if source == "alertmanager" {
                assert_eq!(
                    json["alerts"].as_array().map(Vec::len),
                    Some(alerts.len()),
                    "{}",
                    file.display()
                );
            }
        }
    }
    // The public example of Grafana OnCall, rewritten.
    let made = app
        .post(
            "/api/v1/integrations",
            json!({"name": "OnCall", "source": "generic"}),
        )
        .await
        .expect(201);
    let body = json!({
        "alert_uid": "08d6891a-835c-e661-39fa-96b6a9e26552", "title": "TestAlert: The whole system is down", "state": "alerting",
        "image_url": "https://example.com/a.jpeg", "link_to_upstream_details": "https://example.com/alert", "message": "Smth happened. Oh no!",
    });
    app.anonymous()
        .post(made["hook_url"].as_str().expect("a URL"), body)
        .await
        .expect(202);
    let alert = app.get("/api/v1/alerts?limit=1").await.expect(200).items()[0].clone();
    assert_eq!(alert["fingerprint"], "08d6891a-835c-e661-39fa-96b6a9e26552");
    assert_eq!(
        (&alert["status"], &alert["link"]),
        (&json!("firing"), &json!("https://example.com/alert"))
    );
    app.finish().await;
}
