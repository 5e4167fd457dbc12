//! The source `generic` reads an alert from any JSON body with JSON pointers.

use serde_json::{Value, json};

use crate::support::{Answer, Env, TestApp, on_one_database, story_directory};

on_one_database!(
    a_mapping_reads_any_body,
    a_list_of_alerts_is_read_one_by_one,
    usual_names_need_no_mapping,
    times_are_read_in_every_usual_form,
    what_the_mapping_misses_is_said,
    a_mapping_is_checked_when_it_is_made,
    the_body_can_name_resources,
);

async fn hook(app: &TestApp, mapping: Value) -> String {
    let mut new = json!({"name": "Ours", "source": "generic"});
    if !mapping.is_null() {
        new["mapping"] = mapping;
    }
    app.post("/api/v1/integrations", new).await.expect(201)["hook_url"]
        .as_str()
        .expect("a URL")
        .to_owned()
}

async fn send(app: &TestApp, hook: &str, body: Value) -> Answer {
    app.anonymous().post(hook, body).await
}

async fn newest(app: &TestApp) -> Value {
    app.get("/api/v1/alerts?limit=1").await.expect(200).items()[0].clone()
}

#[track_caller]
fn assert_is(alert: &Value, expected: Value) {
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(&alert[field], value, "{field} of {alert}");
    }
}

async fn a_mapping_reads_any_body(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let hook = hook(
        &app,
        json!({
            "fingerprint": "/event/key", "status": "/event/phase", "severity": "/event/weight", "title": "/event/what/0",
            "text": "/event/what/1", "started_at": "/event/when/from", "ended_at": "/event/when/to", "link": "/links/a~1b",
            "labels": {"region": "/where/region", "count": "/count", "missing": "/nowhere"},
            "resolved_values": ["Vorbei", "0"],
            "severity_values": {"7": "critical", "3": "minor"},
        }),
    )
    .await;
    let mut body = json!({
        "event": {"key": 4711, "phase": "da", "weight": 7, "what": ["Uploads stop", "All of them"], "when": {"from": "2024-03-14T09:50:00+03:00"}},
        "links": {"a/b": "https://example.com/1"}, "where": {"region": "eu"}, "count": 2, "more": [null],
    });
    let opened = send(&app, &hook, body.clone()).await.expect(202);
    assert_is(
        &opened["opened"][0],
        json!({"title": "Uploads stop", "severity": "critical", "started_at": "2024-03-14T06:50:00Z"}),
    );
    let expected = json!({
        "fingerprint": "4711", "status": "firing", "severity": "critical", "title": "Uploads stop", "text": "All of them",
        "started_at": "2024-03-14T06:50:00Z", "ended_at": null, "link": "https://example.com/1",
        "labels": {"region": "eu", "count": "2"}, "repeats": 0,
    });
    assert_is(&newest(&app).await, expected);
    // The same key means the same problem, whatever else the body contains.
    body["event"]["what"] = json!(["Uploads still stop"]);
    assert_eq!(
        send(&app, &hook, body.clone()).await.expect(202)["attached"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    // The mapping has its own words for a resolved alert, in any case.
    body["event"]["phase"] = json!("vorbei");
    body["event"]["when"]["to"] = json!("2024-03-14T09:59:00+03:00");
    let ended = send(&app, &hook, body.clone()).await.expect(202);
    assert_eq!(ended["resolved"], 1);
    assert_is(
        &newest(&app).await,
        json!({"status": "resolved", "ended_at": "2024-03-14T06:59:00Z", "repeats": 1}),
    );
    // In this case the default words do not count.
    body["event"]["key"] = json!("another");
    body["event"]["phase"] = json!("ok");
    assert_eq!(send(&app, &hook, body).await.expect(202)["resolved"], 0);
    assert_is(
        &newest(&app).await,
        json!({"fingerprint": "another", "status": "firing"}),
    );
    app.finish().await;
}

async fn a_list_of_alerts_is_read_one_by_one(env: Env) {
    let app = TestApp::start(&env).await;
    let hook = hook(
        &app,
        json!({"alerts": "/data/items", "title": "/n", "fingerprint": "/n", "status": "/s", "labels": "/l"}),
    )
    .await;
    let body = json!({"data": {"items": [
        {"n": "a", "s": "bad", "l": {"x": 1, "y": true, "z": [1]}}, {"n": "b", "s": "ok"}, {"n": "c", "s": "bad"}, {"n": "a", "s": "bad"},
    ]}});
    let opened = send(&app, &hook, body).await.expect(202);
    assert_eq!((&opened["alerts"], &opened["resolved"]), (&json!(4), &json!(1)));
    assert_eq!(opened["opened"].as_array().map(Vec::len), Some(2));
    let alerts = app.all("/api/v1/alerts").await;
    assert_eq!(alerts.len(), 3);
    assert_is(
        &alerts[2],
        json!({"fingerprint": "a", "repeats": 1, "labels": {"x": "1", "y": "true"}}),
    );
    // One invalid element refuses the whole body, because half of a body could be misleading.
    let wrong = json!({"data": {"items": [{"n": "d", "s": "bad"}, {"s": "bad"}]}});
    send(&app, &hook, wrong).await.expect_invalid("/data/items/1/n");
    for wrong in [
        json!({"data": {"items": []}}),
        json!({"data": {"items": {}}}),
        json!({"data": []}),
        json!([]),
        json!(null),
    ] {
        send(&app, &hook, wrong).await.expect_invalid("/data/items");
    }
    assert_eq!(env.count("alerts"), 3);
    app.finish().await;
}

async fn usual_names_need_no_mapping(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let hook = hook(&app, Value::Null).await;
    for (body, expected) in [
        (
            json!({"title": "T1", "text": "X", "severity": "Critical", "status": "firing", "fingerprint": "f", "link": "http://a.example/", "started_at": "2024-03-14T06:00:00Z", "labels": {"a": "b"}}),
            json!({"title": "T1", "text": "X", "severity": "critical", "status": "firing", "fingerprint": "f", "link": "http://a.example/", "started_at": "2024-03-14T06:00:00Z", "labels": {"a": "b"}}),
        ),
        // The format of Grafana OnCall.
        (
            json!({"alert_uid": "u1", "title": "T2", "state": "alerting", "link_to_upstream_details": "https://b.example/", "message": "M", "image_url": "x"}),
            json!({"fingerprint": "u1", "title": "T2", "status": "firing", "link": "https://b.example/", "text": "M", "severity": "unknown"}),
        ),
        // A body with only a name: the name is the key, and the alert fires from now on.
        (
            json!({"name": "T3"}),
            json!({"fingerprint": "T3", "title": "T3", "status": "firing", "started_at": "2024-03-14T07:00:00Z", "link": null, "text": ""}),
        ),
        (
            json!({"id": 7, "summary": "T4", "state": "OK"}),
            json!({"fingerprint": "7", "title": "T4", "status": "resolved"}),
        ),
        (
            json!({"title": "T5", "link": "javascript:alert(1)"}),
            json!({"link": null}),
        ),
        (
            json!({"title": "T6", "status": null, "severity": null, "labels": null, "started_at": ""}),
            json!({"status": "firing", "labels": {}}),
        ),
    ] {
        send(&app, &hook, body).await.expect(202);
        assert_is(&newest(&app).await, expected);
        app.clock.advance(std::time::Duration::from_millis(1));
        app.set_clock("2024-03-14T07:00:00Z");
    }
    for word in ["resolved", "ok", "OK", "Closed", "up", "recovered", "normal"] {
        let title = format!("About {word}");
        send(&app, &hook, json!({"title": title, "status": "down"}))
            .await
            .expect(202);
        assert_eq!(
            send(&app, &hook, json!({"title": title, "status": word}))
                .await
                .expect(202)["resolved"],
            1,
            "{word}"
        );
    }
    app.finish().await;
}

async fn times_are_read_in_every_usual_form(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let hook = hook(&app, Value::Null).await;
    for (n, (time, expected)) in [
        (json!("2024-03-14T09:56:00+03:00"), "2024-03-14T06:56:00Z"),
        (
            json!("2024-03-14T06:56:00.123456789Z"),
            "2024-03-14T06:56:00.123456Z",
        ),
        (json!(1_710_399_360), "2024-03-14T06:56:00Z"),
        (json!(1_710_399_360.5), "2024-03-14T06:56:00.5Z"),
        (json!(1_710_399_360_500_i64), "2024-03-14T06:56:00.5Z"),
    ]
    .into_iter()
    .enumerate()
    {
        let opened = send(&app, &hook, json!({"title": format!("T{n}"), "timestamp": time}))
            .await
            .expect(202);
        assert_eq!(opened["opened"][0]["started_at"], expected, "{time}");
    }
    // A start time in the future comes from a wrong clock, so the incident starts now.
    let opened = send(
        &app,
        &hook,
        json!({"title": "Future", "timestamp": "2030-01-01T00:00:00Z"}),
    )
    .await
    .expect(202);
    assert_eq!(opened["opened"][0]["started_at"], "2024-03-14T07:00:00Z");
    for (n, time) in [
        json!("2024-03-14T09:56:00"),
        json!("yesterday"),
        json!(-1),
        json!(1e300),
        json!({}),
        json!([1]),
        json!(true),
    ]
    .into_iter()
    .enumerate()
    {
        // The alert is accepted without this time, and the answer says so.
        let taken = send(&app, &hook, json!({"title": format!("W{n}"), "timestamp": time}))
            .await
            .expect(202);
        assert_eq!(taken["opened"][0]["started_at"], "2024-03-14T07:00:00Z", "{time}");
        let notes = taken["notes"].as_array().expect("notes");
        assert!(
            notes.len() == 1
                && notes[0]
                    .as_str()
                    .is_some_and(|note| note.starts_with("/timestamp: ")),
            "{time}: {taken}"
        );
    }
    app.finish().await;
}

async fn what_the_mapping_misses_is_said(env: Env) {
    let app = TestApp::start(&env).await;
    let hook = hook(&app, json!({"title": "/a", "status": "/b", "fingerprint": "/c"})).await;
    for (body, pointer) in [
        (json!({"b": "x", "c": "x"}), "/a"),
        (json!({"a": "", "b": "x", "c": "x"}), "/a"),
        (json!({"a": {"x": 1}, "b": "x", "c": "x"}), "/a"),
        // Nothing is guessed: without its status an alert neither fires nor is resolved.
        (json!({"a": "x", "c": "x"}), "/b"),
        (json!({"a": "x", "b": [1], "c": "x"}), "/b"),
        (json!({"a": "x", "b": "x"}), "/c"),
        (json!({"a": "x", "b": "x", "c": ""}), "/c"),
        (json!("a"), ""),
        (json!(7), ""),
    ] {
        let refused = send(&app, &hook, body.clone()).await.expect_problem(422);
        assert_eq!(refused.places(), [pointer], "{body}");
    }
    assert_eq!(env.count("alerts"), 0);
    app.finish().await;
}

async fn a_mapping_is_checked_when_it_is_made(env: Env) {
    let app = TestApp::start(&env).await;
    for (mapping, pointer) in [
        (json!({"title": "title"}), "/mapping/title"),
        (json!({"alerts": "$.alerts[*]"}), "/mapping/alerts"),
        (json!({"labels": "labels"}), "/mapping/labels"),
        (json!({"labels": {"a": "b"}}), "/mapping/labels/a"),
        (json!({"titel": "/title"}), "/mapping/titel"),
        (json!({"title": 7}), "/mapping/title"),
        (json!({"resolved_values": "ok"}), "/mapping/resolved_values"),
    ] {
        app.post(
            "/api/v1/integrations",
            json!({"name": "x", "source": "generic", "mapping": mapping}),
        )
        .await
        .expect_invalid(pointer);
    }
    let other = json!({"name": "x", "source": "alertmanager", "mapping": {"title": "/title"}});
    app.post("/api/v1/integrations", other)
        .await
        .expect_invalid("/mapping");
    assert_eq!(env.count("integrations"), 0);
    app.finish().await;
}

async fn the_body_can_name_resources(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let rules = json!([
        {"field": "context.media.0.id", "type": "media"},
        {"field": "/context/project", "type": "project"},
        {"field": "text", "pattern": "file (?<file>[\\w-]+)"},
    ]);
    let new = json!({"name": "x", "source": "generic", "mapping": {"title": "/what", "text": "/log"}, "resource_rules": rules});
    let made = app.post("/api/v1/integrations", new).await.expect(201);
    let body = json!({"what": "T", "log": "no file interview-v1 and no file zebra", "context": {"project": 42, "media": [{"id": "stalls"}]}});
    let opened = send(&app, made["hook_url"].as_str().unwrap(), body)
        .await
        .expect(202);
    assert_eq!(opened["unresolved_references"], 2);
    let id = opened["opened"][0]["id"].as_str().unwrap();
    let page = app
        .get(&format!("/api/v1/incidents/{id}/affected"))
        .await
        .expect(200);
    let mut affected: Vec<&Value> = page.items().iter().map(|item| &item["resource"]["id"]).collect();
    affected.sort_by_key(|id| id.to_string());
    assert_eq!(affected, ["interview-v1", "stalls"]);
    assert_eq!(
        page["unresolved"],
        json!([{"type": "file", "id": "zebra"}, {"type": "project", "id": "42"}])
    );
    app.finish().await;
}
