//! Alerts open incidents. One problem is one incident, however often it is reported, and an alert notifies
//! nobody.

use serde_json::{Value, json};

use crate::support::{Answer, Env, TestApp, on_both_databases, story_directory};

on_both_databases!(
    six_identical_alerts_are_one_incident,
    one_body_mixes_firing_and_resolved,
    an_incident_is_watched_only_when_all_of_its_alerts_are_resolved,
    a_problem_that_returns_attaches_to_its_open_incident,
    a_closed_incident_takes_nothing_in,
    what_an_alert_names_is_affected,
    an_unknown_resource_is_kept_and_shown,
    alerts_may_be_recorded_only,
    an_alertmanager_of_any_age_is_understood,
    what_was_left_out_is_said,
    a_body_of_another_format_is_kept_for_inspection,
    an_alert_is_not_lost_over_its_title,
    alerts_are_listed_and_filtered,
    an_ended_integration_takes_nothing,
    two_at_once_open_one_incident,
);

async fn integration(app: &TestApp, mut body: Value) -> String {
    body["name"] = json!("Monitoring");
    body["source"] = body.get("source").cloned().unwrap_or(json!("alertmanager"));
    let made = app.post("/api/v1/integrations", body).await.expect(201);
    made["hook_url"].as_str().expect("a URL").to_owned()
}

/// Returns the resource rules that read the error of the first story.
fn rules() -> Value {
    json!([{
        "field": "annotations.description",
        "pattern": "/api/projects/(?<project>[^/]+)/media/(?<media>[\\w-]+)",
    }])
}

/// Returns an alert of Alertmanager's version 4.
fn alert(fingerprint: &str, status: &str) -> Value {
    json!({
        "status": status,
        "labels": {"alertname": "FileAccessError", "severity": "critical", "instance": fingerprint},
        "annotations": {"summary": "Files cannot be read", "description": "GET /api/projects/savanna/media/interview: no storage handler 's3'"},
        "startsAt": "2024-03-14T09:50:00.123456789+03:00",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "https://prometheus.example/graph",
        "fingerprint": fingerprint,
    })
}

/// Returns a body without a group, so that each alert is a separate problem.
fn body(alerts: &[Value]) -> Value {
    json!({
        "version": "4", "groupKey": "", "truncatedAlerts": 0, "status": "firing",
        "receiver": "candor", "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
        "externalURL": "https://alertmanager.example", "alerts": alerts, "a field of tomorrow": [1],
    })
}

async fn post(app: &TestApp, hook: &str, alerts: &[Value]) -> Answer {
    app.anonymous().post(hook, body(alerts)).await.expect(202)
}

/// `alerts, opened, attached, resolved, unresolved_references`
fn counted(answer: &Answer) -> [usize; 5] {
    let number = |field: &str| {
        answer[field]
            .as_u64()
            .unwrap_or_else(|| panic!("{field} of {answer}")) as usize
    };
    let length = |field: &str| {
        answer[field]
            .as_array()
            .unwrap_or_else(|| panic!("{field} of {answer}"))
            .len()
    };
    [
        number("alerts"),
        length("opened"),
        length("attached"),
        number("resolved"),
        number("unresolved_references"),
    ]
}

async fn alerts(app: &TestApp) -> Vec<Value> {
    let mut alerts = app.all("/api/v1/alerts").await;
    alerts.reverse();
    alerts
}

async fn status_of(app: &TestApp, incident: &str) -> String {
    app.get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200)["status"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn timeline(app: &TestApp, incident: &str) -> Vec<(String, String)> {
    let entries = app.all(&format!("/api/v1/incidents/{incident}/timeline")).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    entries
        .iter()
        .map(|entry| (text(&entry["kind"]), text(&entry["text"])))
        .collect()
}

async fn six_identical_alerts_are_one_incident(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:56:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    let hook = integration(&app, json!({"resource_rules": rules()})).await;
    let first = post(&app, &hook, &[alert("f1", "firing")]).await;
    assert_eq!(counted(&first), [1, 1, 0, 0, 0]);
    let incident = first["opened"][0].clone();
    assert_eq!(incident["title"], "Files cannot be read");
    assert_eq!(
        (&incident["severity"], &incident["status"]),
        (&json!("critical"), &json!("investigating"))
    );
    assert_eq!(incident["started_at"], "2024-03-14T06:50:00.123456Z");
    assert_eq!(incident["detected_at"], "2024-03-14T06:56:00Z");
    for at in ["06:57", "07:03", "07:10", "07:15", "07:21"] {
        app.set_clock(&format!("2024-03-14T{at}:00Z"));
        let again = post(&app, &hook, &[alert("f1", "firing")]).await;
        assert_eq!(counted(&again), [1, 0, 1, 0, 0]);
        assert_eq!(
            (&again["attached"][0]["id"], &again["attached"][0]["alerts"]),
            (&incident["id"], &json!(1))
        );
    }
    let [only] = &alerts(&app).await[..] else {
        panic!("one alert")
    };
    assert_eq!((&only["repeats"], &only["status"]), (&json!(5), &json!("firing")));
    assert_eq!(
        (&only["fingerprint"], &only["severity"]),
        (&json!("f1"), &json!("critical"))
    );
    assert_eq!(
        (&only["started_at"], &only["ended_at"]),
        (&json!("2024-03-14T06:50:00.123456Z"), &Value::Null)
    );
    assert_eq!(
        (&only["received_at"], &only["last_received_at"]),
        (&json!("2024-03-14T06:56:00Z"), &json!("2024-03-14T07:21:00Z"))
    );
    assert_eq!(
        (&only["link"], &only["labels"]["instance"]),
        (&json!("https://prometheus.example/graph"), &json!("f1"))
    );
    assert_eq!(only["incident"], incident["id"]);
    let [shown] = &app.all("/api/v1/incidents").await[..] else {
        panic!("one incident")
    };
    assert_eq!(
        (&shown["alerts"], &shown["alerts_received"]),
        (&json!(1), &json!(6))
    );
    // The same fingerprint of another integration is another problem.
    let other = integration(&app, json!({})).await;
    assert_eq!(
        counted(&post(&app, &other, &[alert("f1", "firing")]).await),
        [1, 1, 0, 0, 0]
    );
    // Nobody was notified.
    assert_eq!((env.count("notices"), env.count("deliveries")), (0, 0));
    app.mails(0).await;
    app.finish().await;
}

async fn one_body_mixes_firing_and_resolved(env: Env) {
    let app = TestApp::start(&env).await;
    let hook = integration(&app, json!({})).await;
    let opened = post(
        &app,
        &hook,
        &[alert("a", "firing"), alert("b", "firing"), alert("a", "firing")],
    )
    .await;
    assert_eq!(counted(&opened), [3, 2, 0, 0, 0]);
    let id = |n: usize| opened["opened"][n]["id"].as_str().unwrap().to_owned();
    // The status of the body is firing, and each alert has its own status.
    let mixed = post(
        &app,
        &hook,
        &[
            alert("a", "resolved"),
            alert("b", "firing"),
            alert("c", "firing"),
            alert("d", "resolved"),
        ],
    )
    .await;
    assert_eq!(counted(&mixed), [4, 1, 1, 2, 0]);
    assert_eq!(mixed["attached"][0]["id"], id(1));
    assert_eq!(status_of(&app, &id(0)).await, "monitoring");
    assert_eq!(status_of(&app, &id(1)).await, "investigating");
    let shown: Vec<(Value, Value, Value)> = alerts(&app)
        .await
        .iter()
        .map(|alert| {
            (
                alert["fingerprint"].clone(),
                alert["status"].clone(),
                alert["repeats"].clone(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (json!("a"), json!("resolved"), json!(1)),
            (json!("b"), json!("firing"), json!(1)),
            (json!("c"), json!("firing"), json!(0)),
            // The firing alert was missed. The resolved one is recorded and opens nothing.
            (json!("d"), json!("resolved"), json!(0)),
        ]
    );
    assert_eq!(env.count("incidents"), 3);
    app.finish().await;
}

async fn an_incident_is_watched_only_when_all_of_its_alerts_are_resolved(env: Env) {
    let app = TestApp::start(&env).await;
    let hook = integration(&app, json!({})).await;
    let opened = post(&app, &hook, &[alert("a", "firing"), alert("b", "firing")]).await;
    let one = opened["opened"][0]["id"].as_str().unwrap().to_owned();
    let two = opened["opened"][1]["id"].as_str().unwrap().to_owned();
    // Two alerts of one incident.
    env.sql(&format!(
        "UPDATE alerts SET incident_id = '{one}' WHERE incident_id = '{two}'"
    ))
    .expect("joined");
    post(&app, &hook, &[alert("a", "resolved")]).await;
    assert_eq!(status_of(&app, &one).await, "investigating");
    let mut ended = alert("b", "resolved");
    ended["endsAt"] = json!("2024-03-14T10:21:00+03:00");
    post(&app, &hook, &[ended]).await;
    assert_eq!(status_of(&app, &one).await, "monitoring");
    let entries = timeline(&app, &one).await;
    assert_eq!(
        entries
            .iter()
            .filter(|(kind, text)| kind == "monitoring" && text == "All alerts are resolved")
            .count(),
        1,
        "{entries:?}"
    );
    assert_eq!(alerts(&app).await[1]["ended_at"], "2024-03-14T07:21:00Z");
    // The incident never becomes resolved by itself, even if the alerts are resolved again.
    post(&app, &hook, &[alert("a", "resolved"), alert("b", "resolved")]).await;
    assert_eq!(status_of(&app, &one).await, "monitoring");
    assert_eq!(timeline(&app, &one).await, entries);
    assert_eq!(env.count("notices"), 0);
    app.finish().await;
}

async fn a_problem_that_returns_attaches_to_its_open_incident(env: Env) {
    let app = TestApp::start(&env).await;
    let hook = integration(&app, json!({})).await;
    let opened = post(&app, &hook, &[alert("a", "firing")]).await;
    let id = opened["opened"][0]["id"].as_str().unwrap().to_owned();
    post(&app, &hook, &[alert("a", "resolved")]).await;
    assert_eq!(status_of(&app, &id).await, "monitoring");
    assert_eq!(
        counted(&post(&app, &hook, &[alert("a", "firing")]).await),
        [1, 0, 1, 0, 0]
    );
    // The status that changed with the end of the alerts changes back.
    assert_eq!(status_of(&app, &id).await, "investigating");
    assert!(
        timeline(&app, &id)
            .await
            .contains(&("investigating".to_owned(), "An alert fires again".to_owned()))
    );
    assert_eq!(alerts(&app).await.len(), 2);
    // A status that a person set stays.
    app.post(
        &format!("/api/v1/incidents/{id}/status"),
        json!({"status": "monitoring", "message": "A fix is out"}),
    )
    .await
    .expect(200);
    post(&app, &hook, &[alert("a", "resolved")]).await;
    post(&app, &hook, &[alert("a", "firing")]).await;
    assert_eq!(status_of(&app, &id).await, "monitoring");
    assert!(
        timeline(&app, &id)
            .await
            .contains(&("note".to_owned(), "An alert fires again".to_owned()))
    );
    assert_eq!(env.count("incidents"), 1);
    app.finish().await;
}

async fn a_closed_incident_takes_nothing_in(env: Env) {
    let app = TestApp::start(&env).await;
    let hook = integration(&app, json!({})).await;
    let opened = post(
        &app,
        &hook,
        &[alert("resolved first", "firing"), alert("still firing", "firing")],
    )
    .await;
    post(&app, &hook, &[alert("resolved first", "resolved")]).await;
    let ids: Vec<String> = (0..2)
        .map(|n| opened["opened"][n]["id"].as_str().unwrap().to_owned())
        .collect();
    for id in &ids {
        app.post(
            &format!("/api/v1/incidents/{id}/status"),
            json!({"status": "resolved"}),
        )
        .await
        .expect(200);
    }
    let again = post(
        &app,
        &hook,
        &[alert("resolved first", "firing"), alert("still firing", "firing")],
    )
    .await;
    assert_eq!(counted(&again), [2, 2, 0, 0, 0]);
    for id in &ids {
        let closed = app.get(&format!("/api/v1/incidents/{id}")).await.expect(200);
        assert_eq!(
            (&closed["status"], &closed["alerts"]),
            (&json!("resolved"), &json!(1))
        );
    }
    // From now on the new alerts are the open ones.
    assert_eq!(
        counted(&post(&app, &hook, &[alert("still firing", "firing")]).await),
        [1, 0, 1, 0, 0]
    );
    assert_eq!(env.count("incidents"), 4);
    app.finish().await;
}

async fn affected(app: &TestApp, incident: &str) -> (Vec<String>, Value) {
    let page = app
        .get(&format!("/api/v1/incidents/{incident}/affected?limit=500"))
        .await
        .expect(200);
    let name = |at: &Value| format!("{}/{}", at["type"].as_str().unwrap(), at["id"].as_str().unwrap());
    let mut names: Vec<String> = page.items().iter().map(|item| name(&item["resource"])).collect();
    names.sort();
    (names, page["unresolved"].clone())
}

async fn what_an_alert_names_is_affected(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let rules = json!([
        {"field": "annotations.description", "pattern": "/api/projects/(?<project>[^/]+)/media/(?<media>[\\w-]+)"},
        {"field": "labels.file_id", "type": "file"},
        {"field": "/annotations/other", "pattern": "(?<media>[a-z]+),"},
    ]);
    let hook = integration(&app, json!({"resource_rules": rules})).await;
    // The deepest known resource of a match becomes affected: the media item and not the whole project.
    let opened = post(&app, &hook, &[alert("a", "firing")]).await;
    let id = opened["opened"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        affected(&app, &id).await,
        (vec!["media/interview".to_owned()], json!([]))
    );
    let audience = app
        .get(&format!("/api/v1/incidents/{id}/audience"))
        .await
        .expect(200);
    let people: Vec<&Value> = audience
        .items()
        .iter()
        .map(|item| &item["person"]["id"])
        .collect();
    assert_eq!(people, ["amina", "baraka", "wanjiru"]);
    // Every match of every rule counts, including a number and an ID with spaces around it.
    let mut more = alert("a", "firing");
    more["annotations"]["description"] =
        json!("/api/projects/savanna/media/opening and /api/projects/market-day/media/stalls");
    more["annotations"]["other"] = json!("ferry, interview,");
    more["labels"]["file_id"] = json!(" ferry-v1 ");
    assert_eq!(counted(&post(&app, &hook, &[more]).await), [1, 0, 1, 0, 0]);
    assert_eq!(
        affected(&app, &id).await.0,
        [
            "file/ferry-v1",
            "media/ferry",
            "media/interview",
            "media/opening",
            "media/stalls"
        ]
    );
    assert_eq!(env.count("notices"), 0);
    app.finish().await;
}

async fn an_unknown_resource_is_kept_and_shown(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let hook = integration(&app, json!({"resource_rules": rules()})).await;
    let mut unknown = alert("a", "firing");
    unknown["annotations"]["description"] = json!("/api/projects/atlantis/media/harp");
    let opened = post(&app, &hook, &[unknown.clone()]).await;
    assert_eq!(counted(&opened), [1, 1, 0, 0, 2]);
    let id = opened["opened"][0]["id"].as_str().unwrap().to_owned();
    let both = json!([{"type": "media", "id": "harp"}, {"type": "project", "id": "atlantis"}]);
    assert_eq!(affected(&app, &id).await, (vec![], both.clone()));
    let audience = app
        .get(&format!("/api/v1/incidents/{id}/audience"))
        .await
        .expect(200);
    assert_eq!(audience["counts"]["people"], 0);
    assert_eq!(audience["counts"]["unresolved_references"], 2);
    assert_eq!(audience["unresolved"], both);
    // A repeat adds no reference.
    assert_eq!(counted(&post(&app, &hook, &[unknown]).await), [1, 0, 1, 0, 2]);
    assert_eq!(affected(&app, &id).await.1, both);

    // If the deepest resource is unknown, its known parent becomes affected and the unknown one is shown.
    let mut half = alert("b", "firing");
    half["annotations"]["description"] = json!("/api/projects/savanna/media/harp");
    let opened = post(&app, &hook, &[half]).await;
    let id = opened["opened"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        affected(&app, &id).await,
        (
            vec!["project/savanna".to_owned()],
            json!([{"type": "media", "id": "harp"}])
        )
    );
    // An archived resource counts as unknown.
    app.delete("/api/v1/resources/media/interview").await.expect(204);
    let opened = post(&app, &hook, &[alert("c", "firing")]).await;
    assert_eq!(counted(&opened), [1, 1, 0, 0, 1]);
    app.finish().await;
}

async fn alerts_may_be_recorded_only(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let hook = integration(&app, json!({"open_incident": false, "resource_rules": rules()})).await;
    assert_eq!(
        counted(&post(&app, &hook, &[alert("a", "firing")]).await),
        [1, 0, 0, 0, 0]
    );
    assert_eq!(
        counted(&post(&app, &hook, &[alert("a", "firing")]).await),
        [1, 0, 0, 0, 0]
    );
    let [recorded] = &alerts(&app).await[..] else {
        panic!("one alert")
    };
    assert_eq!(
        (&recorded["incident"], &recorded["repeats"]),
        (&Value::Null, &json!(1))
    );
    assert_eq!(
        counted(&post(&app, &hook, &[alert("a", "resolved")]).await),
        [1, 0, 0, 1, 0]
    );
    assert_eq!(alerts(&app).await[0]["status"], "resolved");
    assert_eq!(env.count("incidents"), 0);
    app.finish().await;
}

async fn an_alertmanager_of_any_age_is_understood(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let hook = integration(&app, json!({})).await;
    // Version 3 has a number as group key, no fingerprint and no status.
    let mut old = alert("x", "firing");
    for field in ["fingerprint", "status", "generatorURL"] {
        old.as_object_mut().unwrap().remove(field);
    }
    let mut three = body(&[old.clone()]);
    three["version"] = json!("3");
    three["groupKey"] = json!(5_615_590_933_959_184_469_u64);
    three.as_object_mut().unwrap().remove("truncatedAlerts");
    let opened = app.anonymous().post(&hook, &three).await.expect(202);
    assert_eq!(counted(&opened), [1, 1, 0, 0, 0]);
    // Without a fingerprint the labels are the key, in any order.
    assert_eq!(
        counted(&app.anonymous().post(&hook, &three).await.expect(202)),
        [1, 0, 1, 0, 0]
    );
    three["alerts"][0]["labels"]["instance"] = json!("y");
    three["groupKey"] = json!(7);
    assert_eq!(
        counted(&app.anonymous().post(&hook, &three).await.expect(202)),
        [1, 1, 0, 0, 0]
    );
    // An expected end time does not resolve an alert, and a missing one does not keep it firing.
    let mut expected = alert("z", "firing");
    expected["endsAt"] = json!("2024-03-14T06:59:00Z");
    assert_eq!(counted(&post(&app, &hook, &[expected]).await), [1, 1, 0, 0, 0]);
    let shown = alerts(&app).await;
    assert_eq!(
        (&shown[2]["status"], &shown[2]["ended_at"]),
        (&json!("firing"), &Value::Null)
    );
    let mut ended = alert("z", "resolved");
    ended["endsAt"] = json!("0001-01-01T00:00:00Z");
    assert_eq!(counted(&post(&app, &hook, &[ended]).await), [1, 0, 0, 1, 0]);
    // The end time is unknown, so the time of receipt is used.
    assert_eq!(alerts(&app).await[2]["ended_at"], "2024-03-14T07:00:00Z");
    // Without a link in the alert, Alertmanager's own link is used.
    assert_eq!(shown[0]["link"], "https://alertmanager.example");
    app.finish().await;
}

async fn what_was_left_out_is_said(env: Env) {
    let app = TestApp::start(&env).await;
    let hook = integration(&app, json!({})).await;
    for (truncated, said) in [
        (json!(0), 0),
        (json!(0.0), 0),
        (json!(3), 1),
        (json!(-1), 0),
        (json!("3"), 0),
    ] {
        let mut cut = body(&[alert(&format!("f{truncated}"), "firing")]);
        cut["truncatedAlerts"] = truncated.clone();
        let opened = app.anonymous().post(&hook, cut).await.expect(202);
        let entries = timeline(&app, opened["opened"][0]["id"].as_str().unwrap()).await;
        assert_eq!(
            entries
                .iter()
                .filter(|(_, text)| text.contains("left out 3 alerts"))
                .count(),
            said,
            "{truncated}: {entries:?}"
        );
    }
    app.finish().await;
}

async fn a_body_of_another_format_is_kept_for_inspection(env: Env) {
    let app = TestApp::start(&env).await;
    let made = app
        .post(
            "/api/v1/integrations",
            json!({"name": "x", "source": "alertmanager"}),
        )
        .await
        .expect(201);
    let hook = made["hook_url"].as_str().unwrap();
    let wrong = [
        ("not JSON".to_owned(), ""),
        (String::new(), ""),
        ("[]".to_owned(), ""),
        (json!({"message": "hello"}).to_string(), "/alerts"),
        (json!({"alerts": []}).to_string(), "/alerts"),
        (json!({"alerts": {}}).to_string(), "/alerts"),
        (json!({"alerts": [7]}).to_string(), "/alerts/0"),
        (
            json!({"alerts": [alert("a", "firing"), {"status": "firing", "labels": {}}]}).to_string(),
            "/alerts/1/labels",
        ),
        (
            json!({"alerts": [{"status": "on fire", "labels": {"a": "b"}}]}).to_string(),
            "/alerts/0/status",
        ),
    ];
    for (body, pointer) in &wrong {
        app.anonymous()
            .post_raw(hook, "application/json", body.clone())
            .await
            .expect_invalid(pointer);
    }
    app.anonymous()
        .post_raw(hook, "text/plain", b"\xff\xfe".to_vec())
        .await
        .expect_invalid("");
    assert_eq!((env.count("alerts"), env.count("incidents")), (0, 0));
    let kept = app
        .all(&format!("/api/v1/integrations/{}/requests?limit=4", made.id()))
        .await;
    assert_eq!(kept.len(), wrong.len() + 1);
    for (kept, (body, _)) in kept.iter().rev().zip(&wrong) {
        assert_eq!((&kept["accepted"], &kept["body"]), (&json!(false), &json!(body)));
        assert!(!kept["detail"].as_str().unwrap().is_empty());
    }
    assert_eq!(
        app.all("/api/v1/audit?action=hook.invalid").await.len(),
        wrong.len() + 1
    );
    // The content type of the body does not matter.
    app.anonymous()
        .post_raw(hook, "text/plain", body(&[alert("a", "firing")]).to_string())
        .await
        .expect(202);
    let kept = app
        .get(&format!("/api/v1/integrations/{}/requests?limit=1", made.id()))
        .await
        .expect(200);
    assert_eq!(kept.items()[0]["accepted"], true);
    app.finish().await;
}

async fn an_alert_is_not_lost_over_its_title(env: Env) {
    let app = TestApp::start(&env).await;
    let hook = integration(&app, json!({})).await;
    let mut titles = Vec::new();
    for (n, (summary, name)) in [
        (json!(""), json!("TheName")),
        (json!(" \n\t"), json!("TheName")),
        (json!("Line one\r\nBcc: line two"), json!("TheName")),
        (json!("x".repeat(5_000)), json!("TheName")),
        (json!("\u{0}\u{1}"), json!("\u{7}")),
        (json!(""), json!("")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut odd = alert(&format!("f{n}"), "firing");
        odd["annotations"] = json!({"summary": summary});
        odd["labels"]["alertname"] = name;
        odd["generatorURL"] = json!("https://example.com/\u{0}");
        odd["labels"]["severity"] = json!("\u{0} \n");
        odd["fingerprint"] = json!(format!("f{n}\n\u{0}"));
        let opened = post(&app, &hook, &[odd.clone()]).await;
        assert_eq!(counted(&opened), [1, 1, 0, 0, 0], "{odd}");
        titles.push(opened["opened"][0]["title"].as_str().unwrap().to_owned());
        assert_eq!(counted(&post(&app, &hook, &[odd]).await), [1, 0, 1, 0, 0]);
    }
    assert_eq!(titles[0], "TheName");
    assert_eq!(titles[1], "TheName");
    assert_eq!(titles[2], "Line one Bcc: line two");
    assert_eq!(titles[3].chars().count(), 300);
    assert!(
        titles
            .iter()
            .all(|title| !title.trim().is_empty() && !title.chars().any(char::is_control)),
        "{titles:?}"
    );
    app.finish().await;
}

async fn alerts_are_listed_and_filtered(env: Env) {
    let app = TestApp::start(&env).await;
    let one = app
        .post(
            "/api/v1/integrations",
            json!({"name": "one", "source": "alertmanager"}),
        )
        .await
        .expect(201);
    let two = app
        .post(
            "/api/v1/integrations",
            json!({"name": "two", "source": "alertmanager"}),
        )
        .await
        .expect(201);
    let opened = post(
        &app,
        one["hook_url"].as_str().unwrap(),
        &[alert("a", "firing"), alert("b", "firing"), alert("c", "firing")],
    )
    .await;
    post(&app, one["hook_url"].as_str().unwrap(), &[alert("b", "resolved")]).await;
    post(&app, two["hook_url"].as_str().unwrap(), &[alert("a", "firing")]).await;
    let fingerprints = async |query: &str| -> Vec<String> {
        app.all(&format!("/api/v1/alerts?{query}"))
            .await
            .iter()
            .map(|alert| alert["fingerprint"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(fingerprints("limit=3").await, ["a", "c", "b", "a"]);
    assert_eq!(fingerprints("limit=1&status=firing").await, ["a", "c", "a"]);
    assert_eq!(fingerprints("status=resolved").await, ["b"]);
    assert_eq!(
        fingerprints(&format!("integration={}&limit=2", one.id())).await,
        ["c", "b", "a"]
    );
    let incident = opened["opened"][2]["id"].as_str().unwrap();
    assert_eq!(fingerprints(&format!("incident={incident}")).await, ["c"]);
    assert_eq!(
        fingerprints(&format!("incident={incident}&status=resolved")).await,
        [""; 0]
    );
    app.finish().await;
}

async fn an_ended_integration_takes_nothing(env: Env) {
    let app = TestApp::start(&env).await;
    let made = app
        .post(
            "/api/v1/integrations",
            json!({"name": "x", "source": "alertmanager"}),
        )
        .await
        .expect(201);
    let hook = made["hook_url"].as_str().unwrap();
    // The URL is a secret. It is shown only once and stored as a hash.
    let token = hook.rsplit('/').next().unwrap();
    let shown = app.get("/api/v1/integrations").await.expect(200);
    assert!(!shown.text.contains(token), "{shown}");
    assert_eq!(
        env.count(&format!("integrations WHERE token_hash = '{token}'")),
        0
    );
    post(&app, hook, &[alert("a", "firing")]).await;
    app.delete(&format!("/api/v1/integrations/{}", made.id()))
        .await
        .expect(204);
    app.anonymous()
        .post(hook, body(&[alert("b", "firing")]))
        .await
        .expect_problem(404);
    assert_eq!(env.count("alerts"), 1);
    assert_eq!(app.get("/api/v1/integrations").await.expect(200).items().len(), 0);
    assert_ne!(
        app.get(&format!("/api/v1/integrations/{}", made.id()))
            .await
            .expect(200)["gone_at"],
        Value::Null
    );
    app.finish().await;
}

async fn two_at_once_open_one_incident(env: Env) {
    let app = TestApp::start(&env).await;
    let hook = integration(&app, json!({})).await;
    // Both members of a high-availability pair send the same alerts.
    let same = [alert("a", "firing"), alert("b", "firing")];
    let answers = futures_util::future::join_all((0..8).map(|_| post(&app, &hook, &same))).await;
    let opened: usize = answers.iter().map(|answer| counted(answer)[1]).sum();
    assert_eq!(opened, 2);
    assert_eq!(env.count("incidents"), 2);
    let repeats: Vec<Value> = alerts(&app)
        .await
        .iter()
        .map(|alert| alert["repeats"].clone())
        .collect();
    assert_eq!(repeats, [7, 7]);
    app.finish().await;
}
