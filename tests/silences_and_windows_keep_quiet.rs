//! An alert that a silence matches is recorded and opens nothing. A maintenance window opens no incident and
//! affects only the alerts that it names.

use serde_json::{Value, json};

use crate::support::{Answer, Env, TestApp, on_both_databases, story_directory};

on_both_databases!(
    a_silenced_alert_is_recorded_and_opens_when_the_silence_is_over,
    a_window_opens_no_incident_and_joins_one_that_is_open,
    a_window_is_about_its_resources_alone,
    a_window_with_a_schedule_holds_at_its_times,
    a_wrong_silence_or_window_is_refused,
    a_trial_says_where_an_alert_goes,
);

async fn hook(app: &TestApp) -> (String, String) {
    let new = json!({"name": "x", "source": "alertmanager", "resource_rules": [{"field": "labels.project", "type": "project"},
        {"field": "labels.media", "type": "media"}]});
    let made = app.post("/api/v1/integrations", new).await.expect(201);
    (made.id(), made["hook_url"].as_str().expect("a URL").to_owned())
}

fn firing(fingerprint: &str, labels: Value) -> Value {
    let mut labels = labels;
    labels["alertname"] = json!(format!("Alert {fingerprint}"));
    json!({"status": "firing", "labels": labels, "annotations": {}, "fingerprint": fingerprint,
        "startsAt": "2024-03-14T06:50:00Z", "endsAt": "0001-01-01T00:00:00Z"})
}

fn resolved(alert: &Value) -> Value {
    let mut over = alert.clone();
    over["status"] = json!("resolved");
    over
}

fn body(alerts: &[Value]) -> Value {
    json!({"version": "4", "alerts": alerts})
}

async fn post(app: &TestApp, hook: &str, alerts: &[Value]) -> Answer {
    app.anonymous().post(hook, body(alerts)).await.expect(202)
}

/// `opened, attached, silenced`
fn counted(answer: &Answer) -> [usize; 3] {
    let length = |field: &str| answer[field].as_array().map_or(99, Vec::len);
    [
        length("opened"),
        length("attached"),
        answer["silenced"].as_u64().unwrap_or(99) as usize,
    ]
}

async fn alert_of(app: &TestApp, fingerprint: &str) -> Value {
    app.all("/api/v1/alerts")
        .await
        .into_iter()
        .find(|alert| alert["fingerprint"] == fingerprint)
        .expect("the alert")
}

async fn a_silenced_alert_is_recorded_and_opens_when_the_silence_is_over(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let (_, hook) = hook(&app).await;
    let operator = app.as_new("operator").await;
    let silence = operator
        .post(
            "/api/v1/silences",
            json!({"matchers": [{"field": "labels.service", "is": "media"}], "until": "2024-03-14T10:30:00+03:00", "reason": "We know"}),
        )
        .await
        .expect(201);
    assert_eq!(
        (
            &silence["state"],
            &silence["from"],
            &silence["until"],
            &silence["created_by"]
        ),
        (
            &json!("active"),
            &json!("2024-03-14T07:00:00Z"),
            &json!("2024-03-14T07:30:00Z"),
            &json!("a test's operator")
        )
    );
    let alert = firing("a", json!({"service": "media"}));
    assert_eq!(
        counted(&post(&app, &hook, std::slice::from_ref(&alert)).await),
        [0, 0, 1]
    );
    assert_eq!(
        counted(&post(&app, &hook, std::slice::from_ref(&alert)).await),
        [0, 0, 1]
    );
    let shown = alert_of(&app, "a").await;
    assert_eq!(
        (
            &shown["incident"],
            &shown["repeats"],
            &shown["silence"],
            &shown["maintenance_window"]
        ),
        (&Value::Null, &json!(1), &json!(silence.id()), &Value::Null)
    );
    // The silence does not affect another alert.
    assert_eq!(
        counted(&post(&app, &hook, &[firing("b", json!({"service": "mail"}))]).await),
        [1, 0, 0]
    );
    // The silence ends by itself, and an alert that still fires opens an incident with its next repeat.
    app.set_clock("2024-03-14T07:30:00Z");
    let opened = post(&app, &hook, std::slice::from_ref(&alert)).await;
    assert_eq!(counted(&opened), [1, 0, 0], "{opened}");
    let shown = alert_of(&app, "a").await;
    assert_eq!(
        (&shown["incident"], &shown["repeats"], &shown["silence"]),
        (&opened["opened"][0]["id"], &json!(2), &Value::Null)
    );
    assert_eq!(env.count("alerts"), 2);
    let over = app
        .get(&format!("/api/v1/silences/{}", silence.id()))
        .await
        .expect(200);
    assert_eq!(
        (&over["state"], &over["ended_at"]),
        (&json!("ended"), &Value::Null)
    );
    app.post(&format!("/api/v1/silences/{}/end", silence.id()), json!({}))
        .await
        .expect_problem(409);
    // A silence for later is active from its start on, and a person ends it.
    let later = json!({"matchers": [{"field": "labels.service", "matches": "m.*"}], "from": "2024-03-14T08:00:00Z",
        "until": "2024-03-15T08:00:00Z", "reason": "Tests"});
    let later = app.post("/api/v1/silences", later).await.expect(201);
    assert_eq!(later["state"], "pending");
    let fresh = |n: usize| firing(&format!("fresh {n}"), json!({"service": "mx"}));
    assert_eq!(counted(&post(&app, &hook, &[fresh(1)]).await), [1, 0, 0]);
    app.set_clock("2024-03-14T08:00:00Z");
    assert_eq!(counted(&post(&app, &hook, &[fresh(2)]).await), [0, 0, 1]);
    // A repeat on an open incident stays there, and a resolved alert still resolves.
    assert_eq!(
        counted(&post(&app, &hook, std::slice::from_ref(&alert)).await),
        [0, 1, 1]
    );
    post(&app, &hook, &[resolved(&fresh(2))]).await;
    assert_eq!(alert_of(&app, "fresh 2").await["status"], "resolved");
    let ended = operator
        .post(&format!("/api/v1/silences/{}/end", later.id()), json!({}))
        .await
        .expect(200);
    assert_eq!(
        (&ended["state"], &ended["ended_at"]),
        (&json!("ended"), &json!("2024-03-14T08:00:00Z"))
    );
    assert_eq!(counted(&post(&app, &hook, &[fresh(3)]).await), [1, 0, 0]);
    // An alert that was resolved fires again while it is silenced. Its incident is still open and gets it
    // afterwards.
    post(&app, &hook, &[resolved(&alert)]).await;
    let again = json!({"matchers": [{"field": "fingerprint", "is": "a"}], "until": "2024-03-14T08:10:00Z", "reason": "Once more"});
    let again = app.post("/api/v1/silences", again).await.expect(201);
    assert_eq!(
        counted(&post(&app, &hook, std::slice::from_ref(&alert)).await),
        [0, 0, 1]
    );
    assert_eq!(alert_of(&app, "a").await["incident"], Value::Null);
    app.post(&format!("/api/v1/silences/{}/end", again.id()), json!({}))
        .await
        .expect(200);
    let back = post(&app, &hook, std::slice::from_ref(&alert)).await;
    assert_eq!(back["attached"][0]["id"], opened["opened"][0]["id"], "{back}");
    assert_eq!(counted(&back), [0, 1, 0]);
    let listed = async |query: &str| app.all(&format!("/api/v1/silences?limit=1{query}")).await.len();
    assert_eq!(
        (
            listed("").await,
            listed("&state=ended").await,
            listed("&state=active").await
        ),
        (3, 3, 0)
    );
    for (action, n) in [("silence.created", 3), ("silence.ended", 2)] {
        assert_eq!(app.all(&format!("/api/v1/audit?action={action}")).await.len(), n);
    }
    assert_eq!(env.count("notices"), 0);
    app.finish().await;
}

async fn a_window_opens_no_incident_and_joins_one_that_is_open(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let (_, hook) = hook(&app).await;
    let by_service = json!({"name": "By service", "policy": "open", "group_by": ["labels.service"],
        "matchers": [{"field": "source", "is": "alertmanager"}]});
    app.post("/api/v1/alert-rules", by_service).await.expect(201);
    let alert = |fingerprint: &str, service: &str| firing(fingerprint, json!({"service": service}));
    let opened = post(&app, &hook, &[alert("a", "media")]).await;
    let incident = opened["opened"][0]["id"].as_str().expect("an id").to_owned();
    let window = app
        .post(
            "/api/v1/maintenance-windows",
            json!({"name": "New disks", "until": "2024-03-14T09:00:00Z", "matchers": [{"field": "labels.service", "in": ["media", "mail"]}]}),
        )
        .await
        .expect(201);
    assert_eq!(
        (&window["state"], &window["in_force"]),
        (&json!("active"), &json!(true))
    );
    let joined = post(
        &app,
        &hook,
        &[alert("b", "media"), alert("c", "mail"), alert("d", "web")],
    )
    .await;
    assert_eq!(counted(&joined), [1, 1, 0], "{joined}");
    assert_eq!(joined["attached"][0]["id"], json!(incident));
    for (fingerprint, at, in_window) in [("b", json!(incident), true), ("c", Value::Null, true)] {
        let shown = alert_of(&app, fingerprint).await;
        assert_eq!(shown["incident"], at, "{shown}");
        assert_eq!(
            shown["maintenance_window"] == json!(window.id()),
            in_window,
            "{shown}"
        );
    }
    assert_eq!(alert_of(&app, "d").await["maintenance_window"], Value::Null);
    let timeline = app
        .get(&format!("/api/v1/incidents/{incident}/timeline"))
        .await
        .expect(200);
    assert!(timeline.text.contains("New disks"), "{timeline}");
    app.post(
        &format!("/api/v1/maintenance-windows/{}/end", window.id()),
        json!({}),
    )
    .await
    .expect(200);
    assert_eq!(
        counted(&post(&app, &hook, &[alert("c", "mail")]).await),
        [1, 0, 0]
    );
    // A silence is not a maintenance window, and the reverse.
    app.get(&format!("/api/v1/silences/{}", window.id()))
        .await
        .expect_problem(404);
    let shown = app.all("/api/v1/maintenance-windows?state=ended").await;
    assert_eq!((shown.len(), &shown[0]["in_force"]), (1, &json!(false)));
    app.finish().await;
}

async fn a_window_is_about_its_resources_alone(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    let (_, hook) = hook(&app).await;
    let new = json!({"name": "The project moves", "until": "2024-03-14T09:00:00Z", "resources": [{"type": "project", "id": "savanna"}]});
    app.post("/api/v1/maintenance-windows", new).await.expect(201);
    let opens = async |fingerprint: &str, labels: Value| {
        counted(&post(&app, &hook, &[firing(fingerprint, labels)]).await)[0]
    };
    assert_eq!(opens("itself", json!({"project": "savanna"})).await, 0);
    assert_eq!(opens("a part of it", json!({"media": "interview"})).await, 0);
    assert_eq!(opens("another", json!({"project": "market-day"})).await, 1);
    assert_eq!(
        opens("both", json!({"media": "interview", "project": "market-day"})).await,
        1
    );
    assert_eq!(opens("nothing", json!({})).await, 1);
    assert_eq!(opens("unknown", json!({"project": "atlantis"})).await, 1);
    app.finish().await;
}

async fn a_window_with_a_schedule_holds_at_its_times(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T01:59:59Z").start().await;
    let (_, hook) = hook(&app).await;
    let new = json!({"name": "Nightly", "until": "2024-04-14T00:00:00Z", "schedule": "0 2 * * *", "duration": 3600,
        "matchers": [{"field": "labels.job", "is": "backup"}]});
    let window = app.post("/api/v1/maintenance-windows", new).await.expect(201);
    for (n, (at, opened)) in [
        ("2024-03-14T01:59:59Z", 1),
        ("2024-03-14T02:00:00Z", 0),
        ("2024-03-14T02:59:59Z", 0),
        ("2024-03-14T03:00:00Z", 1),
        ("2024-03-15T02:30:00Z", 0),
        ("2024-04-14T02:30:00Z", 1),
    ]
    .into_iter()
    .enumerate()
    {
        app.set_clock(at);
        let answer = post(&app, &hook, &[firing(&format!("{n}"), json!({"job": "backup"}))]).await;
        assert_eq!(counted(&answer)[0], opened, "{at}: {answer}");
    }
    app.set_clock("2024-03-16T02:30:00Z");
    let path = format!("/api/v1/maintenance-windows/{}", window.id());
    assert_eq!(app.get(&path).await.expect(200)["in_force"], true);
    app.finish().await;
}

async fn a_wrong_silence_or_window_is_refused(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let with = |field: &str, value: Value| {
        let mut new = json!({"matchers": [{"field": "title", "is": "x"}], "until": "2024-03-14T08:00:00Z", "reason": "r"});
        new[field] = value;
        new
    };
    for (new, pointer) in [
        (with("matchers", json!([])), "/matchers"),
        (
            with("matchers", json!([{"field": "title", "in": []}])),
            "/matchers/0/in",
        ),
        (
            with("matchers", json!([{"field": "name", "is": "x"}])),
            "/matchers/0/field",
        ),
        (with("until", json!("2024-03-14T08:00:00")), "/until"),
        (with("until", json!("2024-03-14T07:00:00Z")), "/until"),
        (with("until", json!("2025-03-16T07:00:00Z")), "/until"),
        (with("from", json!("2024-03-14T09:00:00Z")), "/until"),
        (with("reason", json!("")), "/reason"),
        (with("name", json!("x")), "/name"),
    ] {
        app.post("/api/v1/silences", new).await.expect_invalid(pointer);
    }
    let with = |field: &str, value: Value| {
        let mut new = json!({"matchers": [{"field": "title", "is": "x"}], "until": "2024-03-14T08:00:00Z", "name": "n"});
        new[field] = value;
        new
    };
    for (new, pointer) in [
        (with("matchers", json!([])), "/matchers"),
        (
            with("resources", json!([{"type": "project", "id": "atlantis"}])),
            "/resources/0",
        ),
        (with("schedule", json!("0 2 * * *")), "/duration"),
        (with("duration", json!(60)), "/schedule"),
        (with("name", json!("a\nb")), "/name"),
    ] {
        app.post("/api/v1/maintenance-windows", new)
            .await
            .expect_invalid(pointer);
    }
    let mut scheduled = with("schedule", json!("2 o'clock"));
    scheduled["duration"] = json!(59);
    app.post("/api/v1/maintenance-windows", &scheduled)
        .await
        .expect_invalid("/schedule");
    app.post("/api/v1/maintenance-windows", &scheduled)
        .await
        .expect_invalid("/duration");
    app.as_new("viewer")
        .await
        .post("/api/v1/silences", json!({}))
        .await
        .expect_problem(403);
    assert_eq!(env.count("quiet_periods"), 0);
    app.finish().await;
}

async fn a_trial_says_where_an_alert_goes(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    let (integration, hook) = hook(&app).await;
    let rule = json!({"name": "By service", "policy": "open", "group_by": ["labels.service"], "reopen_within": 600,
        "matchers": [{"field": "labels.service", "matches": ".+"}], "resources": [{"type": "project", "id": "savanna"}]});
    let stored = app.post("/api/v1/alert-rules", &rule).await.expect(201).id();
    let alert = |fingerprint: &str, service: &str| firing(fingerprint, json!({"service": service}));
    let opened = post(&app, &hook, &[alert("a", "media"), alert("z", "mail")]).await;
    let mail = opened["opened"][1]["id"].as_str().expect("an id").to_owned();
    post(&app, &hook, &[resolved(&alert("z", "mail"))]).await;
    app.post(
        &format!("/api/v1/incidents/{mail}/status"),
        json!({"status": "resolved"}),
    )
    .await
    .expect(200);
    let silence = json!({"matchers": [{"field": "labels.service", "is": "web"}], "until": "2024-03-14T08:00:00Z", "reason": "We know"});
    let silence = app.post("/api/v1/silences", silence).await.expect(201).id();
    let tables = [
        "alerts",
        "incidents",
        "hook_requests",
        "audit_events",
        "alert_groups",
        "timeline_entries",
    ];
    let before = tables.map(|table| env.count(table));
    let path = format!("/api/v1/integrations/{integration}/try");
    let alerts = [
        alert("a", "media"),
        alert("b", "media"),
        alert("z", "mail"),
        alert("y", "mail"),
        alert("c", "db"),
        alert("d", "db"),
        alert("e", "web"),
        resolved(&alert("a", "media")),
        resolved(&alert("q", "media")),
        firing("f", json!({})),
    ];
    let tried = app.post(&path, json!({"body": body(&alerts)})).await.expect(200);
    let would: Vec<(&str, Value, Value)> = tried["alerts"]
        .as_array()
        .expect("alerts")
        .iter()
        .map(|one| {
            let would = &one["would"];
            (
                would["happens"].as_str().unwrap_or_default(),
                would["incident"]["number"].clone(),
                would["opened_by"].clone(),
            )
        })
        .collect();
    let none = Value::Null;
    assert_eq!(
        would,
        [
            ("repeats", json!(1), none.clone()),
            ("attaches", json!(1), none.clone()),
            ("reopens", json!(2), none.clone()),
            ("attaches", json!(2), none.clone()),
            ("opens", none.clone(), none.clone()),
            ("attaches", none.clone(), json!(4)),
            ("records", none.clone(), none.clone()),
            ("resolves", json!(1), none.clone()),
            ("records", none.clone(), none.clone()),
            ("opens", none.clone(), none.clone()),
        ],
        "{tried}"
    );
    let of = |n: usize| tried["alerts"][n].clone();
    assert_eq!(
        of(1)["rule"],
        json!({"id": stored, "position": 1, "name": "By service"})
    );
    assert_eq!(
        (&of(1)["group"], &of(1)["policy"]),
        (&json!({"labels.service": "media"}), &json!("open"))
    );
    assert_eq!(of(1)["references"][0]["id"], "savanna");
    assert_eq!(of(6)["silence"], json!({"id": silence, "name": "We know"}));
    assert_eq!((&of(9)["rule"], &of(9)["group"]), (&none, &none));
    // Other rules that are not stored.
    let other = json!({"name": "Nothing", "policy": "record", "matchers": [{"field": "title", "matches": "Alert .*"}]});
    let tried = app
        .post(
            &path,
            json!({"body": body(&[alert("b", "media")]), "alert_rules": [other]}),
        )
        .await
        .expect(200);
    assert_eq!(
        (
            &tried["alerts"][0]["would"]["happens"],
            &tried["alerts"][0]["rule"]
        ),
        (
            &json!("records"),
            &json!({"id": null, "position": 1, "name": "Nothing"})
        )
    );
    app.post(
        &path,
        json!({"body": {}, "alert_rules": [{"name": "x", "policy": "open"}]}),
    )
    .await
    .expect_invalid("/alert_rules/0/matchers");
    assert_eq!(tables.map(|table| env.count(table)), before);
    // The real request has the same result.
    let taken = post(&app, &hook, &alerts).await;
    assert_eq!(counted(&taken), [2, 1, 1], "{taken}");
    assert_eq!(taken["reopened"].as_array().map(Vec::len), Some(1), "{taken}");
    app.finish().await;
}
