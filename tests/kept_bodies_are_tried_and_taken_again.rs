//! The last requests of an integration can be read, tested without storing anything, and replayed.

use serde_json::{Value, json};

use crate::support::{Env, TestApp, on_both_databases, story_directory};

on_both_databases!(
    the_last_bodies_say_what_became_of_them,
    bodies_are_kept_no_longer_than_the_setting_says,
    a_body_is_taken_in_again,
    a_trial_stores_nothing,
    a_trial_says_what_is_wrong_with_it,
);

async fn made(app: &TestApp, new: Value) -> (String, String) {
    let made = app.post("/api/v1/integrations", new).await.expect(201);
    (made.id(), made["hook_url"].as_str().expect("a URL").to_owned())
}

fn incident(id: &str, state: &str) -> Value {
    json!({"version": "1.2", "incident": {"incident_id": id, "state": state, "summary": "s", "resource": {"labels": {"project": "savanna", "other": "nowhere"}}}})
}

async fn bodies_are_kept_no_longer_than_the_setting_says(env: Env) {
    let mut app = TestApp::builder(&env)
        .at("2024-03-01T12:00:00Z")
        .config(|config| config.body_retention = Some(std::time::Duration::from_secs(24 * 3600)))
        .start()
        .await;
    let (id, hook) = made(&app, json!({"name": "Cloud", "source": "gcp_monitoring"})).await;
    let path = format!("/api/v1/integrations/{id}/bodies");
    let send = async |app: &TestApp, name: &str| {
        app.anonymous()
            .post(&hook, incident(name, "open"))
            .await
            .expect(202);
    };
    send(&app, "1").await;
    app.set_clock("2024-03-02T11:00:00Z");
    send(&app, "2").await;
    app.down_until("2024-03-02T11:59:00Z").await;
    assert_eq!(app.all(&path).await.len(), 2);
    app.down_until("2024-03-02T12:01:00Z").await;
    let kept = app.all(&path).await;
    assert_eq!(kept.len(), 1);
    assert!(
        kept[0]["body"]
            .as_str()
            .is_some_and(|body| body.contains("\"2\""))
    );
    // The alerts in these requests stay.
    assert_eq!(app.all("/api/v1/alerts").await.len(), 2);
    app.finish().await;
}

async fn the_last_bodies_say_what_became_of_them(env: Env) {
    let app = TestApp::start(&env).await;
    let (id, hook) = made(&app, json!({"name": "Cloud", "source": "gcp_monitoring"})).await;
    let path = format!("/api/v1/integrations/{id}/bodies");
    app.anonymous()
        .post(&format!("{hook}?token=a-secret&x=y"), incident("1", "open"))
        .await
        .expect(202);
    app.anonymous()
        .post(&hook, incident("1", "ajar"))
        .await
        .expect_invalid("/incident/state");
    let kept = app.all(&path).await;
    assert_eq!(kept.len(), 2);
    assert_eq!(
        (&kept[0]["accepted"], &kept[1]["accepted"]),
        (&json!(false), &json!(true))
    );
    assert!(
        kept[0]["detail"]
            .as_str()
            .is_some_and(|why| why.contains("/incident/state"))
    );
    assert_eq!(
        (&kept[1]["method"], &kept[1]["query"]),
        (&json!("POST"), &json!("token=%5Bsecret%5D&x=y"))
    );
    assert_eq!(kept[1]["headers"]["content-type"], "application/json");
    assert!(
        kept[1]["body"]
            .as_str()
            .is_some_and(|body| body.contains("savanna"))
    );
    assert!(kept[1]["received_at"].is_string());
    // A viewer may read but not replay.
    let viewer = app.as_new("viewer").await;
    assert_eq!(viewer.all(&path).await.len(), 2);
    viewer
        .post(&format!("{path}/{}/replay", kept[1]["id"]), json!({}))
        .await
        .expect_problem(403);
    for n in 0..105 {
        app.anonymous()
            .post(&hook, incident(&n.to_string(), "closed"))
            .await
            .expect(202);
    }
    assert_eq!(app.all(&format!("{path}?limit=40")).await.len(), 100);
    app.get("/api/v1/integrations/01890000-0000-7000-8000-000000000000/bodies")
        .await
        .expect_problem(404);
    app.get(&format!("{path}?what=else"))
        .await
        .expect_invalid("?what");
    app.finish().await;
}

async fn a_body_is_taken_in_again(env: Env) {
    let app = TestApp::start(&env).await;
    let (id, hook) = made(&app, json!({"name": "Sentry", "source": "sentry"})).await;
    // The kind is only in a header, which is saved with the body.
    let body = json!({"action": "created", "data": {"error": {"issue_id": "7", "title": "It broke"}, "issue": {"id": "8", "title": "Another", "status": "unresolved"}}});
    let sent = app
        .anonymous()
        .request(reqwest::Method::POST, &hook)
        .header("Sentry-Hook-Resource", "error");
    sent.json(&body).send().await.expect(202);
    app.anonymous()
        .post(&hook, json!({"data": 1}))
        .await
        .expect_problem(422);
    let path = format!("/api/v1/integrations/{id}/bodies");
    let kept = app.all(&path).await;
    let again = app
        .post(&format!("{path}/{}/replay", kept[1]["id"]), json!({}))
        .await
        .expect(202);
    assert_eq!(
        (&again["alerts"], again["attached"].as_array().map(Vec::len)),
        (&json!(1), Some(1)),
        "{again}"
    );
    let alerts = app.all("/api/v1/alerts").await;
    assert_eq!(
        (alerts.len(), &alerts[0]["fingerprint"], &alerts[0]["repeats"]),
        (1, &json!("7"), &json!(1))
    );
    // The request arrived now, so it is saved again, and the trail contains its sender.
    assert_eq!(app.all(&path).await.len(), 3);
    let events = app.all("/api/v1/audit?action=hook.replayed").await;
    assert_eq!((events.len(), &events[0]["actor"]["kind"]), (1, &json!("token")));
    app.post(&format!("{path}/{}/replay", kept[0]["id"]), json!({}))
        .await
        .expect_problem(422);
    assert_eq!(app.all(&path).await.len(), 3);
    let (other, _) = made(&app, json!({"name": "Other", "source": "sentry"})).await;
    for wrong in [
        format!("/api/v1/integrations/{other}/bodies/{}/replay", kept[1]["id"]),
        format!("{path}/0/replay"),
        format!("{path}/x/replay"),
    ] {
        app.post(&wrong, json!({})).await.expect_problem(404);
    }
    app.delete(&format!("/api/v1/integrations/{id}"))
        .await
        .expect(204);
    app.post(&format!("{path}/{}/replay", kept[1]["id"]), json!({}))
        .await
        .expect_problem(409);
    app.finish().await;
}

async fn a_trial_stores_nothing(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let rules = json!([{"field": "labels.project", "type": "project"}]);
    let (id, hook) = made(
        &app,
        json!({"name": "Cloud", "source": "gcp_monitoring", "resource_rules": rules}),
    )
    .await;
    app.anonymous()
        .post(&hook, incident("1", "open"))
        .await
        .expect(202);
    let kept = app.all(&format!("/api/v1/integrations/{id}/bodies")).await;
    let tables = [
        "alerts",
        "incidents",
        "hook_requests",
        "audit_events",
        "alert_references",
        "timeline_entries",
    ];
    let before = tables.map(|table| env.count(table));
    let path = format!("/api/v1/integrations/{id}/try");
    let tried = app
        .post(&path, json!({"body": incident("2", "closed")}))
        .await
        .expect(200);
    let alert = &tried["alerts"][0];
    assert_eq!(
        (&tried["accepted"], &alert["fingerprint"], &alert["status"]),
        (&json!(true), &json!("2"), &json!("resolved")),
        "{tried}"
    );
    assert_eq!(
        alert["references"],
        json!([{"type": "project", "id": "savanna", "known": true, "affected": true}])
    );
    assert_eq!(
        (&alert["started_at"], &alert["incident_severity"]),
        (&Value::Null, &json!("major"))
    );
    // Other rules are tested with a saved request.
    let other = json!([{"field": "labels.other", "type": "project"}, {"field": "incident.resource.labels.project", "pattern": "(?<project>.+)"}]);
    let tried = app
        .post(&path, json!({"body_id": kept[0]["id"], "resource_rules": other}))
        .await
        .expect(200);
    assert_eq!(
        tried["alerts"][0]["references"],
        json!([{"type": "project", "id": "nowhere", "known": false, "affected": false}, {"type": "project", "id": "savanna", "known": true, "affected": true}])
    );
    // A text is used as the body unchanged, and the answer says that it cannot be parsed.
    let tried = app.post(&path, json!({"body": "not JSON"})).await.expect(200);
    assert_eq!(
        (&tried["accepted"], &tried["refused"]["pointer"]),
        (&json!(false), &json!("")),
        "{tried}"
    );
    let tried = app
        .post(&path, json!({"body": incident("2", "ajar").to_string()}))
        .await
        .expect(200);
    assert_eq!(tried["refused"]["pointer"], "/incident/state");
    let tried = app
        .post(&path, json!({"body": {"version": "test", "incident": {}}}))
        .await
        .expect(200);
    assert_eq!(tried["ignored"].as_array().map(Vec::len), Some(1), "{tried}");
    assert_eq!(tables.map(|table| env.count(table)), before);
    // Sources that use GET or a header.
    let (robot, _) = made(&app, json!({"name": "Robot", "source": "uptimerobot"})).await;
    let tried = app
        .post(
            &format!("/api/v1/integrations/{robot}/try"),
            json!({"method": "get", "query": "monitorID=5&alertType=1"}),
        )
        .await
        .expect(200);
    assert_eq!(tried["alerts"][0]["fingerprint"], "5", "{tried}");
    let (sentry, _) = made(&app, json!({"name": "Sentry", "source": "sentry"})).await;
    let body = json!({"action": "created", "data": {"error": {"issue_id": "7", "title": "t", "user": {"id": 9}}, "issue": {"id": "8"}}});
    let tried = app
        .post(
            &format!("/api/v1/integrations/{sentry}/try"),
            json!({"body": body, "headers": {"Sentry-Hook-Resource": "error"}}),
        )
        .await
        .expect(200);
    assert_eq!(
        (&tried["alerts"][0]["fingerprint"], &tried["alerts"][0]["people"]),
        (&json!("7"), &json!([{"id": "9"}])),
        "{tried}"
    );
    app.finish().await;
}

async fn a_trial_says_what_is_wrong_with_it(env: Env) {
    let app = TestApp::start(&env).await;
    let (id, _) = made(&app, json!({"name": "Cloud", "source": "gcp_monitoring"})).await;
    let path = format!("/api/v1/integrations/{id}/try");
    for (trial, pointer) in [
        (json!({}), "/body"),
        (json!({"body": {}, "body_id": 1}), "/body_id"),
        (json!({"body_id": 1, "headers": {"a": "b"}}), "/body_id"),
        (json!({"body": {}, "method": "PATCH"}), "/method"),
        (
            json!({"body": {}, "resource_rules": [{"field": "", "type": "a"}]}),
            "/resource_rules/0/field",
        ),
        (json!({"body": {}, "rules": []}), "/rules"),
        (json!({"body_id": "1"}), "/body_id"),
    ] {
        app.post(&path, trial).await.expect_invalid(pointer);
    }
    app.post(&path, json!({"body_id": 77})).await.expect_problem(404);
    app.post("/api/v1/integrations/x/try", json!({"body": {}}))
        .await
        .expect_problem(404);
    let (postmark, _) = made(&app, json!({"name": "Mail", "source": "postmark"})).await;
    app.post(
        &format!("/api/v1/integrations/{postmark}/try"),
        json!({"body": {}}),
    )
    .await
    .expect_problem(422);
    app.as_new("operator")
        .await
        .post(&path, json!({"body": {}}))
        .await
        .expect_problem(403);
    app.finish().await;
}
