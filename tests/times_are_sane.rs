//! Whatever the order of times and whatever a clock does, no duration is negative, and nothing ends before it
//! began.

use serde_json::{Value, json};

use crate::support::story::PROJECT;
use crate::support::{Env, TestApp, on_both_databases, story_directory};

on_both_databases!(
    an_alert_received_after_it_ended_has_its_true_impact,
    work_that_went_on_was_not_mitigated,
    an_end_before_the_start_is_refused,
    no_duration_is_negative,
    the_impact_is_summed_over_episodes,
    the_trail_stays_in_order_when_the_clock_is_set_back,
);

async fn metrics(app: &TestApp, incident: &str) -> Value {
    let metrics = app
        .get(&format!("/api/v1/incidents/{incident}/metrics"))
        .await
        .expect(200);
    for field in [
        "time_to_detect",
        "time_to_notify",
        "time_to_mitigate",
        "time_to_resolve",
        "impact",
    ] {
        assert!(
            metrics[field].as_i64().is_none_or(|seconds| seconds >= 0),
            "{field}: {metrics}"
        );
    }
    for episode in metrics["episodes"].as_array().expect("episodes") {
        let end = |field: &str| episode[field].as_str().map(str::to_owned);
        if let (Some(mitigated), Some(resolved)) = (end("mitigated_at"), end("resolved_at")) {
            assert!(mitigated <= resolved, "{metrics}");
        }
    }
    metrics.json.clone()
}

async fn alert(app: &TestApp, hook: &str, status: &str, ends: &str) {
    let alert = json!({"status": status, "fingerprint": "f", "labels": {"alertname": "Storage", "project": PROJECT},
        "annotations": {}, "startsAt": "2024-03-14T20:00:00Z", "endsAt": ends});
    app.anonymous()
        .post(hook, json!({"version": "4", "status": status, "alerts": [alert]}))
        .await
        .expect(202);
}

async fn status(app: &TestApp, incident: &str, body: Value) {
    app.post(&format!("/api/v1/incidents/{incident}/status"), body)
        .await
        .expect(200);
}

async fn an_alert_received_after_it_ended_has_its_true_impact(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T21:51:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    let made = app
        .post(
            "/api/v1/integrations",
            json!({"name": "M", "source": "alertmanager"}),
        )
        .await
        .expect(201);
    let url = made["hook_url"].as_str().expect("a URL");
    let hook = &url[url.find("/hooks/").expect("a path")..];
    alert(&app, hook, "firing", "0001-01-01T00:00:00Z").await;
    alert(&app, hook, "resolved", "2024-03-14T20:10:00Z").await;
    let incident = app.all("/api/v1/incidents").await[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let shown = metrics(&app, &incident).await;
    assert_eq!(
        (
            &shown["impact"],
            &shown["time_to_mitigate"],
            &shown["times"]["mitigated_at"]
        ),
        (&json!(600), &json!(0), &json!("2024-03-14T20:10:00Z")),
        "{shown}"
    );
    status(&app, &incident, json!({"status": "resolved"})).await;
    assert_eq!(metrics(&app, &incident).await["impact"], 600);
    app.finish().await;
}

async fn work_that_went_on_was_not_mitigated(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T20:00:00Z").start().await;
    let incident = app.story_incident().await;
    for (at, to) in [
        ("2024-03-14T20:10:00Z", "monitoring"),
        ("2024-03-14T20:15:00Z", "investigating"),
    ] {
        app.set_clock(at);
        status(&app, &incident, json!({"status": to})).await;
    }
    let shown = metrics(&app, &incident).await;
    assert_eq!(
        (&shown["impact"], &shown["times"]["mitigated_at"]),
        (&Value::Null, &Value::Null)
    );
    app.set_clock("2024-03-14T20:20:00Z");
    status(&app, &incident, json!({"status": "monitoring"})).await;
    assert_eq!(metrics(&app, &incident).await["impact"], 1_200);
    app.finish().await;
}

async fn an_end_before_the_start_is_refused(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T20:00:00Z").start().await;
    let incident = app.story_incident().await;
    app.post(
        &format!("/api/v1/incidents/{incident}/status"),
        json!({"status": "resolved", "at": "2024-03-14T19:00:00Z"}),
    )
    .await
    .expect_invalid("/at");
    let path = format!("/api/v1/incidents/{incident}");
    app.patch(&path, json!({"started_at": "2024-03-14T18:00:00Z"}))
        .await
        .expect(200);
    status(
        &app,
        &incident,
        json!({"status": "resolved", "at": "2024-03-14T19:00:00Z"}),
    )
    .await;
    app.patch(&path, json!({"started_at": "2024-03-14T19:30:00Z"}))
        .await
        .expect_invalid("/started_at");
    app.patch(&path, json!({"started_at": "2024-03-14T21:30:00Z"}))
        .await
        .expect_invalid("/started_at");
    assert_eq!(metrics(&app, &incident).await["impact"], 3_600);
    app.finish().await;
}

async fn no_duration_is_negative(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T20:00:00Z").start().await;
    let incident = app.story_incident().await;
    let entries = format!("/api/v1/incidents/{incident}/timeline");
    // The entries are added afterwards, in any order, and before all others.
    for (kind, at) in [
        ("mitigated", "2024-03-14T19:00:00Z"),
        ("notified", "2024-03-14T18:00:00Z"),
        ("resolved", "2024-03-14T18:30:00Z"),
    ] {
        app.post(&entries, json!({"kind": kind, "at": at, "text": "So it was."}))
            .await
            .expect(201);
        metrics(&app, &incident).await;
    }
    // The clock of the machine is set back, and the incident is still resolved.
    app.set_clock("2024-03-14T17:00:00Z");
    status(&app, &incident, json!({"status": "resolved"})).await;
    metrics(&app, &incident).await;
    app.finish().await;
}

async fn the_impact_is_summed_over_episodes(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T20:00:00Z").start().await;
    let incident = app.story_incident().await;
    for (at, to) in [
        ("2024-03-14T20:10:00Z", "resolved"),
        ("2024-03-14T21:00:00Z", "investigating"),
    ] {
        app.set_clock(at);
        status(&app, &incident, json!({"status": to})).await;
    }
    let shown = metrics(&app, &incident).await;
    assert_eq!(
        (&shown["impact"], &shown["times"]["resolved_at"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(shown["episodes"][0]["impact"], 600);
    app.set_clock("2024-03-14T21:05:00Z");
    status(&app, &incident, json!({"status": "resolved"})).await;
    let shown = metrics(&app, &incident).await;
    assert_eq!(
        (&shown["impact"], &shown["episodes"][1]["impact"]),
        (&json!(900), &json!(300))
    );
    app.finish().await;
}

async fn the_trail_stays_in_order_when_the_clock_is_set_back(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T20:00:00Z").start().await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    app.set_clock("2024-03-14T12:00:00Z");
    status(&app, &incident, json!({"status": "monitoring"})).await;
    app.tell(&incident, "update").await;
    app.set_clock("2024-03-14T20:00:01Z");
    status(&app, &incident, json!({"status": "resolved"})).await;
    let mut events = app.all("/api/v1/audit").await;
    events.sort_by_key(|event| event["seq"].as_i64());
    let times: Vec<&str> = events.iter().filter_map(|event| event["at"].as_str()).collect();
    assert!(times.len() > 10 && times.is_sorted(), "{times:?}");
    let verified = app.get("/api/v1/audit/verify").await.expect(200);
    assert_eq!(verified["ok"], true, "{verified}");
    app.finish().await;
}
