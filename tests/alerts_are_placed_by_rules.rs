//! Alert rules decide which incident an alert belongs to. Each group has one incident, a closed incident gets
//! no new problem, and an alert that flaps reopens its incident.

use serde_json::{Value, json};

use crate::support::{ADMIN_TOKEN, Answer, Env, TestApp, on_both_databases, story_directory};

on_both_databases!(
    alerts_of_one_group_are_one_incident,
    the_first_rule_that_matches_counts,
    a_closed_incident_swallows_nothing_of_its_group,
    an_alert_that_flaps_opens_its_incident_again,
    what_only_attaches_opens_nothing,
    what_lacks_a_field_is_a_group_of_its_own,
    a_rule_names_what_is_affected_and_how_bad_it_is,
    an_alert_that_was_recorded_opens_when_a_rule_says_so,
    rules_are_kept_in_order_and_in_history,
    a_wrong_rule_is_refused,
);

async fn hook(app: &TestApp, name: &str) -> (String, String) {
    let new = json!({"name": name, "source": "alertmanager"});
    let made = app.post("/api/v1/integrations", new).await.expect(201);
    (made.id(), made["hook_url"].as_str().expect("a URL").to_owned())
}

async fn rule(app: &TestApp, rule: Value) -> String {
    app.post("/api/v1/alert-rules", rule).await.expect(201).id()
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

async fn post(app: &TestApp, hook: &str, alerts: &[Value]) -> Answer {
    app.anonymous()
        .post(hook, json!({"version": "4", "alerts": alerts}))
        .await
        .expect(202)
}

/// `opened, attached, reopened`
fn counted(answer: &Answer) -> [usize; 3] {
    ["opened", "attached", "reopened"].map(|field| answer[field].as_array().map_or(99, Vec::len))
}

fn id(answer: &Answer, field: &str) -> String {
    answer[field][0]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned()
}

async fn resolve_incident(app: &TestApp, incident: &str) {
    app.post(
        &format!("/api/v1/incidents/{incident}/status"),
        json!({"status": "resolved"}),
    )
    .await
    .expect(200);
}

async fn texts(app: &TestApp, incident: &str) -> Vec<String> {
    let entries = app.all(&format!("/api/v1/incidents/{incident}/timeline")).await;
    entries
        .iter()
        .map(|entry| entry["text"].as_str().unwrap_or_default().to_owned())
        .collect()
}

async fn alert_of(app: &TestApp, fingerprint: &str) -> Value {
    app.all("/api/v1/alerts")
        .await
        .into_iter()
        .find(|alert| alert["fingerprint"] == fingerprint)
        .expect("the alert")
}

fn by_service(policy: &str) -> Value {
    json!({
        "name": format!("By service, {policy}"), "policy": policy, "group_by": ["labels.service"],
        "matchers": [{"field": "source", "is": "alertmanager"}],
    })
}

async fn alerts_of_one_group_are_one_incident(env: Env) {
    let app = TestApp::start(&env).await;
    let (one, first) = hook(&app, "one").await;
    let (_, second) = hook(&app, "two").await;
    let by = rule(&app, by_service("open")).await;
    let media = |fingerprint: &str| firing(fingerprint, json!({"service": "media"}));
    let opened = post(
        &app,
        &first,
        &[media("a"), media("b"), firing("c", json!({"service": "mail"}))],
    )
    .await;
    assert_eq!(counted(&opened), [2, 0, 0], "{opened}");
    let incident = id(&opened, "opened");
    // A group may contain alerts of several integrations.
    let joined = post(&app, &second, &[media("a")]).await;
    assert_eq!(counted(&joined), [0, 1, 0], "{joined}");
    assert_eq!(id(&joined, "attached"), incident);
    assert_eq!(joined["attached"][0]["alerts"], 3);
    // A repeat is only counted.
    let entries = texts(&app, &incident).await;
    let notes = || {
        entries
            .iter()
            .filter(|text| text.contains("By service, open"))
            .count()
    };
    assert_eq!(notes(), 1, "{entries:?}");
    assert!(
        entries.iter().any(|text| text.contains("labels.service = media")),
        "{entries:?}"
    );
    assert_eq!(counted(&post(&app, &first, &[media("b")]).await), [0, 1, 0]);
    assert_eq!(texts(&app, &incident).await, entries);
    let shown = alert_of(&app, "b").await;
    assert_eq!(
        (
            &shown["rule"],
            &shown["group"],
            &shown["repeats"],
            &shown["integration"]
        ),
        (
            &json!(by),
            &json!({"labels.service": "media"}),
            &json!(1),
            &json!(one)
        )
    );
    // A resolved alert ends only itself. The incident becomes `monitoring` when the last one is resolved.
    let status = async || {
        app.get(&format!("/api/v1/incidents/{incident}"))
            .await
            .expect(200)["status"]
            .clone()
    };
    post(&app, &first, &[resolved(&media("a")), resolved(&media("b"))]).await;
    assert_eq!(status().await, "investigating");
    post(&app, &second, &[resolved(&media("a"))]).await;
    assert_eq!(status().await, "monitoring");
    // Another alert of the group joins while the incident is open, and work continues.
    assert_eq!(counted(&post(&app, &first, &[media("d")]).await), [0, 1, 0]);
    assert_eq!(status().await, "investigating");
    assert_eq!((env.count("incidents"), env.count("notices")), (2, 0));
    app.finish().await;
}

async fn the_first_rule_that_matches_counts(env: Env) {
    let app = TestApp::start(&env).await;
    let (one, hook_one) = hook(&app, "one").await;
    let (_, hook_two) = hook(&app, "two").await;
    let record = json!({"name": "Noise", "policy": "record", "matchers": [
        {"field": "labels.alertname", "matches": "Alert (noise|chatter).*"}, {"field": "severity", "in": ["info", "WARNING"]}]});
    let noise = rule(&app, record).await;
    let all_of_one = json!({"name": "All of one", "policy": "open", "integration": one});
    let all = rule(&app, all_of_one).await;
    let noisy = firing("noise-1", json!({"severity": "warning"}));
    assert_eq!(
        counted(&post(&app, &hook_one, std::slice::from_ref(&noisy)).await),
        [0, 0, 0]
    );
    assert_eq!(alert_of(&app, "noise-1").await["rule"], json!(noise));
    // All matchers must match, and a pattern must match the whole value.
    let bad = firing("noise-2", json!({"severity": "critical"}));
    let other = firing("the noise", json!({"severity": "info"}));
    let opened = post(&app, &hook_one, &[bad, other]).await;
    assert_eq!(counted(&opened), [1, 0, 0], "{opened}");
    assert_eq!(alert_of(&app, "noise-2").await["rule"], json!(all));
    // No rule applies to the other integration, so it behaves as without rules.
    let two = post(&app, &hook_two, &[firing("x", json!({})), firing("y", json!({}))]).await;
    assert_eq!(counted(&two), [2, 0, 0]);
    assert_eq!(alert_of(&app, "x").await["rule"], Value::Null);
    // In another order, another rule decides about the same alert.
    app.post("/api/v1/alert-rules/order", json!({"rules": [all, noise]}))
        .await
        .expect(200);
    assert_eq!(counted(&post(&app, &hook_one, &[noisy]).await), [0, 1, 0]);
    assert_eq!(alert_of(&app, "noise-1").await["rule"], json!(all));
    app.finish().await;
}

async fn a_closed_incident_swallows_nothing_of_its_group(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:56:00Z").start().await;
    let (_, hook) = hook(&app, "one").await;
    rule(&app, by_service("open")).await;
    let alert = |fingerprint: &str| firing(fingerprint, json!({"service": "media"}));
    let first = id(&post(&app, &hook, &[alert("a")]).await, "opened");
    resolve_incident(&app, &first).await;
    // Another alert of the group, and the one that fired all the time, open one new incident that names the
    // earlier one.
    let again = post(&app, &hook, &[alert("b"), alert("a")]).await;
    assert_eq!(counted(&again), [1, 0, 0], "{again}");
    let second = id(&again, "opened");
    assert_eq!(again["opened"][0]["earlier"], json!(first));
    let closed = app.get(&format!("/api/v1/incidents/{first}")).await.expect(200);
    assert_eq!(
        (&closed["status"], &closed["alerts"]),
        (&json!("resolved"), &json!(1))
    );
    assert_eq!(closed["earlier"], Value::Null);
    assert!(texts(&app, &second).await.iter().any(|text| text.contains("#1")));
    // The pages link the two incidents to each other.
    let cookie = app
        .anonymous()
        .post_raw(
            "/admin/sign-in",
            "application/x-www-form-urlencoded",
            format!("token={ADMIN_TOKEN}"),
        )
        .await
        .expect(303);
    let cookie = cookie
        .header("set-cookie")
        .split(';')
        .next()
        .expect("a cookie")
        .to_owned();
    for (page, shown) in [("2", "same problem as #1"), ("1", "occurred again as #2")] {
        let page = app
            .anonymous()
            .request(reqwest::Method::GET, &format!("/admin/incidents/{page}"))
            .header("cookie", &cookie)
            .send()
            .await
            .expect(200);
        assert!(page.text.contains(shown), "{}", page.text);
    }
    // From now on the group belongs to the new incident.
    assert_eq!(id(&post(&app, &hook, &[alert("c")]).await, "attached"), second);
    app.finish().await;
}

async fn an_alert_that_flaps_opens_its_incident_again(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let (_, hook) = hook(&app, "one").await;
    let mut flapping = by_service("open");
    flapping["reopen_within"] = json!(600);
    rule(&app, flapping).await;
    let alert = |fingerprint: &str| firing(fingerprint, json!({"service": "media"}));
    let incident = id(&post(&app, &hook, &[alert("a")]).await, "opened");
    post(&app, &hook, &[resolved(&alert("a"))]).await;
    resolve_incident(&app, &incident).await;
    app.set_clock("2024-03-14T07:10:00Z");
    let again = post(&app, &hook, &[alert("a")]).await;
    assert_eq!(counted(&again), [0, 0, 1], "{again}");
    let shown = app
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200);
    assert_eq!(
        (&shown["status"], &shown["resolved_at"], &shown["alerts"]),
        (&json!("investigating"), &Value::Null, &json!(2))
    );
    assert!(
        texts(&app, &incident)
            .await
            .iter()
            .any(|text| text.contains("By service, open"))
    );
    // Another alert does not flap. It is a new problem, although the time has not passed.
    post(&app, &hook, &[resolved(&alert("a"))]).await;
    resolve_incident(&app, &incident).await;
    let other = post(&app, &hook, &[alert("b")]).await;
    assert_eq!(counted(&other), [1, 0, 0], "{other}");
    assert_eq!(other["opened"][0]["earlier"], json!(incident));
    let second = id(&other, "opened");
    // While the group has an open incident, the first alert joins that one.
    assert_eq!(id(&post(&app, &hook, &[alert("a")]).await, "attached"), second);
    post(&app, &hook, &[resolved(&alert("a")), resolved(&alert("b"))]).await;
    resolve_incident(&app, &second).await;
    // This is one second too late.
    app.set_clock("2024-03-14T07:20:01Z");
    let late = post(&app, &hook, &[alert("a")]).await;
    assert_eq!(counted(&late), [1, 0, 0], "{late}");
    assert_eq!(late["opened"][0]["earlier"], json!(second));
    app.finish().await;
}

async fn what_only_attaches_opens_nothing(env: Env) {
    let app = TestApp::start(&env).await;
    let (_, hook) = hook(&app, "one").await;
    let mut attach = by_service("attach");
    attach["matchers"] = json!([{"field": "severity", "is": "warning"}]);
    rule(&app, attach).await;
    rule(&app, by_service("open")).await;
    let warning = |fingerprint: &str| firing(fingerprint, json!({"service": "media", "severity": "warning"}));
    assert_eq!(counted(&post(&app, &hook, &[warning("w1")]).await), [0, 0, 0]);
    assert_eq!(alert_of(&app, "w1").await["incident"], Value::Null);
    let incident = id(
        &post(
            &app,
            &hook,
            &[firing("bad", json!({"service": "media", "severity": "critical"}))],
        )
        .await,
        "opened",
    );
    // The same fields with the same values join, whichever rule opened the incident. This includes alerts
    // that were only recorded before.
    assert_eq!(
        id(&post(&app, &hook, &[warning("w2")]).await, "attached"),
        incident
    );
    assert_eq!(
        id(&post(&app, &hook, &[warning("w1")]).await, "attached"),
        incident
    );
    assert_eq!(
        (env.count("alerts"), alert_of(&app, "w1").await["repeats"].clone()),
        (3, json!(1))
    );
    assert!(
        texts(&app, &incident)
            .await
            .iter()
            .any(|text| text.contains("By service, attach"))
    );
    let elsewhere = firing("w3", json!({"service": "mail", "severity": "warning"}));
    assert_eq!(counted(&post(&app, &hook, &[elsewhere]).await), [0, 0, 0]);
    resolve_incident(&app, &incident).await;
    assert_eq!(counted(&post(&app, &hook, &[warning("w4")]).await), [0, 0, 0]);
    assert_eq!(env.count("incidents"), 1);
    app.finish().await;
}

async fn what_lacks_a_field_is_a_group_of_its_own(env: Env) {
    let app = TestApp::start(&env).await;
    let (_, hook) = hook(&app, "one").await;
    let mut two = by_service("open");
    two["group_by"] = json!(["labels.service", "/labels/zone"]);
    rule(&app, two).await;
    let answer = post(
        &app,
        &hook,
        &[
            firing("a", json!({"service": "media"})),
            firing("b", json!({"service": "media"})),
            firing("c", json!({"service": "media", "zone": ""})),
            firing("d", json!({"service": "media", "zone": "1"})),
            firing("e", json!({"service": "media", "zone": "1"})),
            firing("f", json!({"service": "media,1"})),
        ],
    )
    .await;
    assert_eq!(answer["opened"].as_array().map(Vec::len), Some(5), "{answer}");
    assert_eq!(
        alert_of(&app, "a").await["group"],
        json!({"labels.service": "media", "/labels/zone": null, "fingerprint": "a"})
    );
    app.finish().await;
}

async fn a_rule_names_what_is_affected_and_how_bad_it_is(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let (_, hook) = hook(&app, "one").await;
    let mut implied = by_service("open");
    implied["resources"] = json!([{"type": "project", "id": "savanna"}]);
    implied["severity"] = json!({"Ticket": "minor", "page": "critical"});
    rule(&app, implied).await;
    let opened = post(
        &app,
        &hook,
        &[firing("a", json!({"service": "x", "severity": "ticket"}))],
    )
    .await;
    assert_eq!(opened["opened"][0]["severity"], "minor", "{opened}");
    let affected = app
        .get(&format!("/api/v1/incidents/{}/affected", id(&opened, "opened")))
        .await
        .expect(200);
    assert_eq!(
        affected
            .items()
            .iter()
            .map(|item| item["resource"].clone())
            .collect::<Vec<_>>(),
        [json!({"type": "project", "id": "savanna"})]
    );
    let opened = post(
        &app,
        &hook,
        &[firing("b", json!({"service": "y", "severity": "p1"}))],
    )
    .await;
    assert_eq!(opened["opened"][0]["severity"], "critical");
    // A resource that is archived by then is reported and not dropped.
    app.delete("/api/v1/resources/project/savanna").await.expect(204);
    let opened = post(&app, &hook, &[firing("c", json!({"service": "z"}))]).await;
    assert_eq!(opened["unresolved_references"], 1, "{opened}");
    app.finish().await;
}

async fn an_alert_that_was_recorded_opens_when_a_rule_says_so(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let new = json!({"name": "x", "source": "alertmanager", "open_incident": false,
        "resource_rules": [{"field": "labels.project", "type": "project"}]});
    let made = app.post("/api/v1/integrations", new).await.expect(201);
    let hook = made["hook_url"].as_str().expect("a URL").to_owned();
    let alert = firing("a", json!({"project": "savanna", "service": "media"}));
    for _ in 0..2 {
        assert_eq!(
            counted(&post(&app, &hook, std::slice::from_ref(&alert)).await),
            [0, 0, 0]
        );
    }
    rule(&app, by_service("open")).await;
    let opened = post(&app, &hook, &[alert.clone(), alert]).await;
    assert_eq!(counted(&opened), [1, 0, 0], "{opened}");
    assert_eq!(
        (
            &opened["opened"][0]["alerts"],
            &opened["opened"][0]["alerts_received"]
        ),
        (&json!(1), &json!(4))
    );
    let incident = id(&opened, "opened");
    let affected = app
        .get(&format!("/api/v1/incidents/{incident}/affected"))
        .await
        .expect(200);
    assert_eq!(affected.items().len(), 1);
    let shown = alert_of(&app, "a").await;
    assert_eq!(
        (&shown["incident"], &shown["repeats"], env.count("alerts")),
        (&json!(incident), &json!(3), 1)
    );
    app.finish().await;
}

async fn rules_are_kept_in_order_and_in_history(env: Env) {
    let app = TestApp::start(&env).await;
    let (_, hook) = hook(&app, "one").await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let mut new = by_service("open");
        new["name"] = json!(format!("rule {n}"));
        ids.push(rule(&app, new).await);
    }
    let listed = async || -> Vec<Value> {
        let rules = app.all("/api/v1/alert-rules?limit=2").await;
        rules.iter().map(|rule| rule["id"].clone()).collect()
    };
    assert_eq!(listed().await, [json!(ids[0]), json!(ids[1]), json!(ids[2])]);
    let order = json!({"rules": [ids[2], ids[0], ids[1]]});
    app.post("/api/v1/alert-rules/order", order).await.expect(200);
    assert_eq!(listed().await, [json!(ids[2]), json!(ids[0]), json!(ids[1])]);
    for wrong in [
        json!({"rules": [ids[2], ids[0]]}),
        json!({"rules": [ids[2], ids[0], ids[0], ids[1]]}),
        json!({"rules": [ids[2], ids[0], ids[1], "01890000-0000-7000-8000-000000000000"]}),
    ] {
        app.post("/api/v1/alert-rules/order", wrong)
            .await
            .expect_problem(422);
    }
    let incident = id(
        &post(&app, &hook, &[firing("a", json!({"service": "media"}))]).await,
        "opened",
    );
    let path = format!("/api/v1/alert-rules/{}", ids[2]);
    let mut other = by_service("record");
    other["name"] = json!("another");
    let replaced = app.put(&path, &other).await.expect(200);
    assert_eq!(
        (&replaced["position"], &replaced["policy"]),
        (&json!(1), &json!("record"))
    );
    assert_eq!(app.get(&path).await.expect(200).json, replaced.json);
    app.delete(&path).await.expect(204);
    app.delete(&path).await.expect_problem(404);
    app.put(&path, &other).await.expect_problem(404);
    // What the rule has placed stays, and its name can still be read.
    assert_ne!(app.get(&path).await.expect(200)["gone_at"], Value::Null);
    assert_eq!(alert_of(&app, "a").await["incident"], json!(incident));
    assert_eq!(listed().await, [json!(ids[0]), json!(ids[1])]);
    for (action, n) in [
        ("alert_rule.created", 3),
        ("alert_rule.changed", 1),
        ("alert_rule.deleted", 1),
        ("alert_rules.ordered", 1),
    ] {
        assert_eq!(
            app.all(&format!("/api/v1/audit?action={action}")).await.len(),
            n,
            "{action}"
        );
    }
    let operator = app.as_new("operator").await;
    operator
        .post("/api/v1/alert-rules", &other)
        .await
        .expect_problem(403);
    operator.get("/api/v1/alert-rules").await.expect(200);
    app.finish().await;
}

async fn a_wrong_rule_is_refused(env: Env) {
    let app = TestApp::start(&env).await;
    let (integration, _) = hook(&app, "one").await;
    let with = |field: &str, value: Value| {
        let mut rule = by_service("open");
        rule[field] = value;
        rule
    };
    let matcher = |matcher: Value| with("matchers", json!([matcher]));
    for (new, pointer) in [
        (with("name", json!(" ")), "/name"),
        (with("matchers", json!([])), "/matchers"),
        (matcher(json!({"field": "labels.a"})), "/matchers/0"),
        (
            matcher(json!({"field": "labels.a", "is": "b", "in": ["c"]})),
            "/matchers/0",
        ),
        (matcher(json!({"field": "labels.a", "is": ""})), "/matchers/0/is"),
        (matcher(json!({"field": "labels.a", "in": []})), "/matchers/0/in"),
        (
            matcher(json!({"field": "labels.a", "in": ["b", ""]})),
            "/matchers/0/in/1",
        ),
        (
            matcher(json!({"field": "labels.a", "matches": "("})),
            "/matchers/0/matches",
        ),
        (
            matcher(json!({"field": "labels.a", "matches": "a)|(b"})),
            "/matchers/0/matches",
        ),
        (
            matcher(json!({"field": "labels.a", "matches": "(a{1000}){1000}"})),
            "/matchers/0/matches",
        ),
        (
            matcher(json!({"field": "service", "is": "media"})),
            "/matchers/0/field",
        ),
        (
            matcher(json!({"field": "labels.", "is": "media"})),
            "/matchers/0/field",
        ),
        (
            matcher(json!({"field": "title", "equals": "x"})),
            "/matchers/0/equals",
        ),
        (with("group_by", json!(["label.service"])), "/group_by/0"),
        (with("group_by", json!(["title", "title"])), "/group_by/1"),
        (with("severity", json!({"page": "severe"})), "/severity/page"),
        (with("severity", json!({"": "major"})), "/severity/"),
        (
            with("resources", json!([{"type": "project", "id": "atlantis"}])),
            "/resources/0",
        ),
        (with("policy", json!("close")), "/policy"),
        (with("reopen_within", json!(-1)), "/reopen_within"),
        (with("reopen_within", json!(2_592_001)), "/reopen_within"),
        (
            with("integration", json!("01890000-0000-7000-8000-000000000000")),
            "/integration",
        ),
        (with("then", json!(1)), "/then"),
    ] {
        app.post("/api/v1/alert-rules", new).await.expect_invalid(pointer);
    }
    let mut attach = by_service("attach");
    attach["group_by"] = json!([]);
    app.post("/api/v1/alert-rules", attach)
        .await
        .expect_invalid("/group_by");
    app.delete(&format!("/api/v1/integrations/{integration}"))
        .await
        .expect(204);
    app.post("/api/v1/alert-rules", with("integration", json!(integration)))
        .await
        .expect_invalid("/integration");
    assert_eq!(env.count("alert_rules"), 0);
    app.finish().await;
}
