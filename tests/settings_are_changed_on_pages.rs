//! Everything under Alerts and Settings is made, changed and removed on pages, with the rights and the audit events of the API. A
//! form with an error changes nothing and keeps what was typed. A secret is shown once.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{Answer, DEADLINE, Env, TestApp, on_both_databases, on_one_database, wait_until};

on_both_databases!(
    an_integration_is_made_changed_and_deleted,
    checks_and_heartbeats_are_made_changed_and_deleted,
    an_operator_is_made_tested_changed_and_deleted,
    a_policy_is_made_tried_changed_and_deleted,
);

on_one_database!(
    others_neither_see_nor_use_the_forms,
    limits_are_changed_one_by_one,
    what_a_form_does_not_have_is_changed_as_json,
    the_audit_trail_is_downloaded,
);

const START: &str = "2024-03-14T06:56:00Z";

async fn start(env: &Env) -> (TestApp, Browser) {
    let app = TestApp::builder(env)
        .config(|config| {
            config.callout_allow = candor::egress::Policy::Private;
            config.check_allow = candor::egress::Policy::Private;
        })
        .at(START)
        .start()
        .await;
    let admin = Browser::signed_in(&app, &app.token("admin").await).await;
    (app, admin)
}

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text:?} is not on the page:\n{page}");
    }
}

#[track_caller]
fn hides(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(!page.contains(text), "{text:?} is on the page:\n{page}");
    }
}

/// Expects a redirect and returns where it leads.
#[track_caller]
fn leads(answer: Answer) -> String {
    answer.expect(303).header("location").to_owned()
}

/// Returns what stands in the element with the ID `secret`.
#[track_caller]
fn secret(page: &str) -> String {
    let (_, rest) = page.split_once("id=\"secret\"").expect("a secret");
    let (_, rest) = rest.split_once('>').expect("a secret");
    rest.split('<').next().expect("a secret").replace("&#x3D;", "=")
}

async fn one(app: &TestApp, path: &str) -> Value {
    let items = app.all(path).await;
    assert_eq!(items.len(), 1, "{items:#?}");
    items.into_iter().next().expect("one")
}

async fn an_integration_is_made_changed_and_deleted(env: Env) {
    let (app, admin) = start(&env).await;
    let sources = admin.page("/admin/integrations/new").await;
    shows(
        &sources,
        &[
            "Prometheus Alertmanager",
            "/admin/integrations/new/alertmanager",
            "SendGrid",
        ],
    );
    let new = "/admin/integrations/new/alertmanager";
    let fields = |rules: &'static str| {
        [
            ("name", "Main <alerts>"),
            ("secret_kind", "generated"),
            ("resource_rules", rules),
            ("open_incident", "true"),
        ]
    };
    let wrong = admin
        .send_from(new, new, &fields("labels.project_id"))
        .await
        .expect(422);
    shows(
        &wrong.text,
        &["Nothing was saved", "Main &lt;alerts&gt;", "must be a field,"],
    );
    assert!(app.all("/api/v1/integrations").await.is_empty());
    let made = admin
        .send_from(new, new, &fields("labels.project_id = project"))
        .await
        .expect(200);
    shows(
        &made.text,
        &["This is shown only now", "webhook_configs", "credentials: &#x27;"],
    );
    let url = secret(&made.text);
    let stored = one(&app, "/api/v1/integrations").await;
    assert_eq!(
        json!([
            stored["name"],
            stored["source"],
            stored["signed"],
            stored["resource_rules"]
        ]),
        json!(["Main <alerts>", "alertmanager", true, [{"field": "labels.project_id", "type": "project"}]])
    );
    let page = format!("/admin/integrations/{}", stored["id"].as_str().expect("an ID"));
    let shown = admin.page(&page).await;
    hides(
        &shown,
        &[url.rsplit('/').next().expect("a token"), "Main <alerts>"],
    );
    shows(
        &shown,
        &[
            "Try a request",
            "It has no firing alerts.",
            &format!("action=\"{page}/delete\""),
        ],
    );

    let change = format!("{page}/change");
    shows(&admin.page(&change).await, &["labels.project_id &#x3D; project"]);
    let fields = |name: &'static str| {
        [
            ("name", name),
            ("resource_rules", "text ~ /projects/(?<project>[^/]+)"),
            ("open_incident", "false"),
        ]
    };
    shows(
        &admin
            .send_from(&change, &change, &fields(""))
            .await
            .expect(422)
            .text,
        &["/projects/(?&lt;project&gt;"],
    );
    assert_eq!(
        leads(admin.send_from(&change, &change, &fields("Changed")).await),
        page
    );
    shows(&admin.page(&page).await, &["Changed", "are only recorded"]);

    // A secret is replaced without a gap.
    let secrets = format!("{page}/secrets");
    let add = format!("{secrets}/add");
    let wrong = [("secret_kind", "given"), ("secret", "short")];
    let refused = admin.send_from(&secrets, &add, &wrong).await.expect(422);
    shows(&refused.text, &["is too short"]);
    hides(&refused.text, &["value=\"short\""]);
    let given = [("secret_kind", "given"), ("secret", "a longer secret")];
    assert_eq!(leads(admin.send_from(&secrets, &add, &given).await), secrets);
    assert_eq!(one(&app, "/api/v1/integrations").await["secret_count"], 2);
    let drop = format!("{secrets}/drop");
    admin
        .send_from(&secrets, &drop, &[("drop_secret", "another one")])
        .await
        .expect(422);
    leads(
        admin
            .send_from(&secrets, &drop, &[("drop_secret", "a longer secret")])
            .await,
    );
    leads(admin.send_from(&secrets, &format!("{secrets}/none"), &[]).await);
    assert_eq!(one(&app, "/api/v1/integrations").await["signed"], false);

    // A pasted request is tried, and nothing is stored.
    let attempt = format!("{page}/try");
    shows(
        &admin
            .send_from(&attempt, &attempt, &[("body", ""), ("method", "POST")])
            .await
            .expect(422)
            .text,
        &["must not be empty"],
    );
    let body = json!({"alerts": [{"status": "firing", "labels": {"alertname": "Files"}, "annotations": {},
        "startsAt": START, "fingerprint": "f"}]})
    .to_string();
    let tried = admin
        .send_from(&attempt, &attempt, &[("body", &body), ("method", "POST")])
        .await
        .expect(200);
    shows(&tried.text, &["What would happen", "is only recorded"]);
    let tried = admin
        .send_from(&attempt, &attempt, &[("body", "{\"x\": 1}"), ("method", "POST")])
        .await
        .expect(200);
    shows(&tried.text, &["The request would be refused."]);
    assert!(app.all("/api/v1/alerts").await.is_empty());

    assert_eq!(
        leads(admin.send_from(&page, &format!("{page}/delete"), &[]).await),
        "/admin/integrations"
    );
    assert!(app.all("/api/v1/integrations").await.is_empty());
    for action in ["integration.created", "integration.deleted"] {
        assert_eq!(app.all(&format!("/api/v1/audit?action={action}")).await.len(), 1);
    }
    app.finish().await;
}

async fn checks_and_heartbeats_are_made_changed_and_deleted(env: Env) {
    let (app, admin) = start(&env).await;
    let new = "/admin/watching/heartbeats/new";
    let send = "/admin/watching/heartbeats";
    let fields = |every: &'static str| {
        [
            ("name", "Nightly backup"),
            ("every_seconds", every),
            ("grace_seconds", "60"),
            ("severity", "critical"),
        ]
    };
    shows(
        &admin.send_from(new, send, &fields("5")).await.expect(422).text,
        &["must be a whole number of seconds from 10"],
    );
    let made = admin.send_from(new, send, &fields("3600")).await.expect(200);
    shows(&made.text, &["In a crontab", "curl -fsS"]);
    let url = secret(&made.text);
    app.anonymous()
        .get(url.strip_prefix(&app.base()).unwrap_or(&url))
        .await
        .expect(200);
    let beat = one(&app, "/api/v1/heartbeats").await;
    assert_eq!(
        json!([beat["every_seconds"], beat["beats"], beat["severity"]]),
        json!([3_600, 1, "critical"])
    );
    let page = format!(
        "/admin/watching/heartbeats/{}",
        beat["id"].as_str().expect("an ID")
    );
    hides(
        &admin.page(&page).await,
        &[url.rsplit('/').next().expect("a token")],
    );
    admin.send_from(&page, &page, &fields("many")).await.expect(422);
    leads(admin.send_from(&page, &page, &fields("7200")).await);
    assert_eq!(one(&app, "/api/v1/heartbeats").await["every_seconds"], 7_200);
    leads(admin.send_from(&page, &format!("{page}/delete"), &[]).await);
    admin.open(&page).await.expect(404);

    let new = "/admin/watching/checks/new";
    let send = "/admin/watching/checks";
    let url = format!("{}/healthz", app.base());
    let fields = |url: &str, headers: &str, contains: &str| -> Vec<(String, String)> {
        [
            ("name", "Uploads"),
            ("url", url),
            ("method", "get"),
            ("every_seconds", "60"),
            ("timeout_seconds", "10"),
            ("status", "200-299"),
            ("body_contains", contains),
            ("failures", "3"),
            ("recoveries", "1"),
            ("severity", "major"),
            ("headers", headers),
            ("follow_redirects", "false"),
            ("paused", "false"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    };
    let send_check = async |from: &str, to: &str, fields: Vec<(String, String)>| {
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        admin.send_from(from, to, &fields).await
    };
    let wrong = send_check(new, send, fields("ftp://x.example", "X-Key s3cret-value", ""))
        .await
        .expect(422);
    shows(&wrong.text, &["line 1 must be a name, a colon and a value"]);
    leads(send_check(new, send, fields(&url, "X-Key: s3cret-value", "ok")).await);
    let check = one(&app, "/api/v1/checks").await;
    assert_eq!(
        json!([check["headers"], check["body_contains"]]),
        json!([{"X-Key": "***"}, "ok"])
    );
    let page = format!("/admin/watching/checks/{}", check["id"].as_str().expect("an ID"));
    let shown = admin.page(&page).await;
    shows(&shown, &["X-Key: ***"]);
    hides(&shown, &["s3cret"]);
    // The stored header stays, another one is added, and what is emptied is removed.
    leads(send_check(&page, &page, fields(&url, "X-Key: ***\nX-More: one", "")).await);
    let check = one(&app, "/api/v1/checks").await;
    assert_eq!(
        json!([check["headers"], check.get("body_contains")]),
        json!([{"X-Key": "***", "X-More": "***"}, null])
    );
    assert_eq!(env.count("checks WHERE headers LIKE '%s3cret-value%'"), 1);
    leads(send_check(&page, &page, fields(&url, "X-More: ***", "")).await);
    assert_eq!(
        one(&app, "/api/v1/checks").await["headers"],
        json!({"X-More": "***"})
    );
    leads(admin.send_from(&page, &format!("{page}/delete"), &[]).await);
    assert!(app.all("/api/v1/checks").await.is_empty());
    app.finish().await;
}

async fn an_operator_is_made_tested_changed_and_deleted(env: Env) {
    let (app, admin) = start(&env).await;
    let (list, new) = ("/admin/operators", "/admin/operators/new");
    let fields = |email: &'static str| {
        [
            ("name", "On call"),
            ("email", email),
            ("webhook.kind", ""),
            ("events.opened", "yes"),
            ("events.sent", "yes"),
            ("enabled", "true"),
        ]
    };
    let wrong = admin.send_from(new, list, &fields("")).await.expect(422);
    shows(
        &wrong.text,
        &[
            "needs an email, a webhook, or both",
            "name=\"events.opened\" value=\"yes\" checked",
        ],
    );
    hides(&wrong.text, &["name=\"events.overdue\" value=\"yes\" checked"]);
    assert_eq!(
        leads(admin.send_from(new, list, &fields("on-call@ours.example")).await),
        list
    );
    let stored = one(&app, "/api/v1/operators").await;
    assert_eq!(
        json!([stored["events"], stored["severities"], stored["webhook"]]),
        json!([["opened", "sent"], null, null])
    );
    let page = format!("{list}/{}", stored["id"].as_str().expect("an ID"));

    let to = leads(admin.send_from(list, &format!("{page}/test"), &[]).await);
    assert_eq!(to, "/admin/operators#messages");
    wait_until("the test message", DEADLINE, async || {
        app.all("/api/v1/operators/messages?state=sent").await.len() == 1
    })
    .await;
    let message = one(&app, "/api/v1/operators/messages").await;
    assert_eq!(
        json!([message["event"], message["incident"], message["title"]]),
        json!(["test", null, "Test message from Candor"])
    );
    shows(&admin.page(list).await, &["Test message from Candor"]);
    assert_eq!(app.all("/api/v1/audit?action=operator.tested").await.len(), 1);
    let every = json!({"name": "x", "email": "x@ours.example", "events": ["test"]});
    app.post("/api/v1/operators", every).await.expect_problem(422);

    let change = |url: &'static str, kind: &'static str| {
        [
            ("name", "Rota"),
            ("email", ""),
            ("webhook.kind", kind),
            ("webhook.url", url),
            ("events.opened", "yes"),
            ("severities.critical", "yes"),
            ("enabled", "false"),
        ]
    };
    let wrong = admin
        .send_from(&page, &page, &change("", "slack"))
        .await
        .expect(422);
    shows(&wrong.text, &["must not be empty"]);
    leads(
        admin
            .send_from(&page, &page, &change("http://127.0.0.1:9/secret-path", "slack"))
            .await,
    );
    let stored = one(&app, "/api/v1/operators").await;
    assert_eq!(
        json!([
            stored["name"],
            stored["email"],
            stored["webhook"]["kind"],
            stored["severities"],
            stored["enabled"]
        ]),
        json!(["Rota", null, "slack", ["critical"], false])
    );
    hides(&admin.page(&page).await, &["secret-path"]);
    // The URL stays if it is left empty.
    leads(admin.send_from(&page, &page, &change("", "slack")).await);
    assert_eq!(env.count("operators WHERE webhook_url LIKE '%secret-path'"), 1);
    app.post(
        &format!("/api/v1/operators/{}/test", stored["id"].as_str().expect("an ID")),
        json!({}),
    )
    .await
    .expect_problem(409);
    leads(admin.send_from(&page, &format!("{page}/delete"), &[]).await);
    assert!(app.all("/api/v1/operators").await.is_empty());
    app.finish().await;
}

async fn a_policy_is_made_tried_changed_and_deleted(env: Env) {
    let (app, admin) = start(&env).await;
    let (list, new) = ("/admin/automation", "/admin/automation/new");
    let fields = |most: &'static str, hours: &'static str| {
        vec![
            ("name", "Critical"),
            ("phase", "detection"),
            ("every_minutes", ""),
            ("enabled", "true"),
            ("action", "send"),
            ("wait_seconds", "180"),
            ("position", ""),
            ("severities.critical", "yes"),
            ("message", "Some of your files cannot be opened."),
            ("customer_action", "none"),
            ("limits.audience_at_most", most),
            ("limits.per_account_per_hour", ""),
            ("limits.hours.from", hours),
            ("roles", "owner"),
            ("collaborators", "all"),
            ("contacts", "shared\r\noperations"),
        ]
    };
    let wrong = admin.send_from(new, list, &fields("", "")).await.expect(422);
    shows(
        &wrong.text,
        &["id=\"e-limits.audience_at_most\"><p class=\"wrong\">must not be empty"],
    );
    let wrong = admin
        .send_from(new, list, &fields("50", "08:00"))
        .await
        .expect(422);
    shows(
        &wrong.text,
        &["id=\"e-limits.hours.until\"><p class=\"wrong\">must not be empty"],
    );
    let page = leads(admin.send_from(new, list, &fields("50", "")).await);
    let stored = one(&app, "/api/v1/automation/policies").await;
    assert_eq!(
        json!([
            stored["limits"],
            stored["severities"],
            stored["integrations"],
            stored["customer_action"],
            stored["audience"],
            stored["position"]
        ]),
        json!([
            {"audience_at_most": 50, "per_account_per_hour": null, "hours": null}, ["critical"], null, {"required": false}, null, 1
        ])
    );
    // The form of the stored policy changes nothing.
    let shown = admin.page(&page).await;
    shows(
        &shown,
        &[
            "name=\"severities.critical\" value=\"yes\" checked",
            "Save policy",
        ],
    );

    let incident = app.story_incident().await;
    let attempt = format!("{page}/try");
    admin
        .send_from(&page, &attempt, &[("incident", "nothing")])
        .await
        .expect(422);
    let tried = admin
        .send_from(&page, &attempt, &[("incident", &incident)])
        .await
        .expect(200);
    shows(
        &tried.text,
        &["The policy does not apply to this incident.", "Why: "],
    );
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let seen = operator.page(&page).await;
    shows(&seen, &["Try the policy"]);
    hides(&seen, &["Save policy", "Delete policy"]);
    operator
        .send_from(&page, &attempt, &[("incident", &incident)])
        .await
        .expect(200);
    operator
        .send_from(&page, &page, &fields("9", ""))
        .await
        .expect(403);

    let mut drafts = fields("", "");
    drafts[4] = ("action", "draft");
    assert_eq!(leads(admin.send_from(&page, &page, &drafts).await), page);
    assert_eq!(
        one(&app, "/api/v1/automation/policies").await["limits"],
        Value::Null
    );
    leads(admin.send_from(&page, &format!("{page}/delete"), &[]).await);
    shows(
        &admin.page(list).await,
        &["No policies: nothing is sent automatically."],
    );
    app.finish().await;
}

async fn others_neither_see_nor_use_the_forms(env: Env) {
    let (app, admin) = start(&env).await;
    for role in ["viewer", "operator"] {
        let other = Browser::signed_in(&app, &app.token(role).await).await;
        for page in [
            "/admin/integrations",
            "/admin/watching",
            "/admin/automation",
            "/admin/operators",
            "/admin/templates/update",
            "/admin/settings",
        ] {
            hides(
                &other.page(page).await,
                &[
                    "/new\"",
                    "/edit\"",
                    "/reset\"",
                    "/admin/tokens\"",
                    "/admin/system\"",
                ],
            );
        }
        for page in [
            "/admin/integrations/new",
            "/admin/integrations/new/grafana",
            "/admin/watching/checks/new",
            "/admin/watching/heartbeats/new",
            "/admin/automation/new",
            "/admin/operators/new",
            "/admin/templates/update/edit",
            "/admin/tokens",
            "/admin/tokens/new",
            "/admin/system",
        ] {
            other.open(page).await.expect(403);
        }
        for form in [
            "/admin/integrations/new/grafana",
            "/admin/watching/checks",
            "/admin/watching/heartbeats",
            "/admin/automation",
            "/admin/operators",
            "/admin/tokens",
            "/admin/templates/update/edit",
            "/admin/templates/update/preview",
        ] {
            let refused = other
                .send(form, &[("name", "x"), ("form_key", "x")])
                .await
                .expect(403);
            shows(&refused.text, &["needs the role admin"]);
        }
    }
    // A form of another session changes nothing.
    admin
        .send(
            "/admin/tokens",
            &[("name", "x"), ("role", "admin"), ("form_key", "wrong")],
        )
        .await
        .expect(403);
    app.finish().await;
}

async fn limits_are_changed_one_by_one(env: Env) {
    let (app, _) = start(&env).await;
    let all =
        json!({"recipients": 20, "recipients_per_hour": 40, "approvals": 2, "hold_if": {"bounced": 0.1}});
    app.put("/api/v1/limits", all).await.expect(200);
    let changed = app
        .patch(
            "/api/v1/limits",
            json!({"recipients": 30, "hold_if": {"complained": 0.01}}),
        )
        .await
        .expect(200);
    assert_eq!(
        json!([
            changed["recipients"],
            changed["recipients_per_hour"],
            changed["approvals"],
            changed["hold_if"]
        ]),
        json!([30, 40, 2, {"bounced": 0.1, "complained": 0.01, "still_broken": 0.2}])
    );
    let changed = app
        .patch("/api/v1/limits", json!({"recipients_per_hour": null}))
        .await
        .expect(200);
    assert_eq!(
        json!([changed["recipients"], changed["recipients_per_hour"]]),
        json!([30, null])
    );
    for wrong in [json!({}), json!({"recipients": -1}), json!({"recipient": 5})] {
        app.patch("/api/v1/limits", wrong).await.expect_problem(422);
    }
    app.as_new("operator")
        .await
        .patch("/api/v1/limits", json!({"recipients": 1}))
        .await
        .expect_problem(403);
    app.finish().await;
}

async fn what_a_form_does_not_have_is_changed_as_json(env: Env) {
    let (app, admin) = start(&env).await;
    // A form would take away the white space of the message, so it does not offer to change it.
    let policy =
        json!({"name": "At night", "action": "draft", "message": "  We are working on it.", "position": 7});
    let made = app.post("/api/v1/automation/policies", policy).await.expect(201);
    let page = format!("/admin/automation/{}", made["id"].as_str().expect("an ID"));
    let advanced = format!("{page}/json");
    let shown = admin.page(&page).await;
    shows(&shown, &[&format!("href=\"{advanced}\"")]);
    hides(&shown, &["Save policy"]);
    shows(
        &admin.page(&advanced).await,
        &["We are working on it.", "Save policy"],
    );
    for (text, error) in [
        ("{\"name\":", "is not JSON"),
        ("{\"name\": \"At night\"}", "/action: "),
        (
            "{\"name\": \"At night\", \"action\": \"draft\", \"massage\": \"x\"}",
            "massage",
        ),
        (
            "{\"name\": \"At night\", \"action\": \"send\", \"message\": \"x\"}",
            "/limits",
        ),
    ] {
        let wrong = admin.send_from(&advanced, &advanced, &[("json", text)]).await;
        shows(&wrong.expect(422).text, &[error, "aria-invalid"]);
    }
    let text =
        "{\"name\": \"At night\", \"action\": \"draft\", \"message\": \"  We know.\", \"position\": 7}";
    let to = leads(admin.send_from(&advanced, &advanced, &[("json", text)]).await);
    assert_eq!(to, page);
    let stored = one(&app, "/api/v1/automation/policies").await;
    assert_eq!(
        json!([stored["message"], stored["position"]]),
        json!(["  We know.", 7])
    );

    let limits = "/admin/limits/json";
    shows(&admin.page("/admin/limits").await, &[limits]);
    shows(&admin.page(limits).await, &["recipients_per_hour", "Save limits"]);
    let wrong = admin
        .send_from(limits, limits, &[("json", "{\"recipients\": -1}")])
        .await;
    shows(&wrong.expect(422).text, &["/recipients"]);
    let text = "{\"recipients\": 25, \"approvals\": 2}";
    assert_eq!(
        leads(admin.send_from(limits, limits, &[("json", text)]).await),
        "/admin/limits"
    );
    let stored = app.get("/api/v1/limits").await.expect(200);
    assert_eq!(json!([stored["recipients"], stored["approvals"]]), json!([25, 2]));

    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    for path in [advanced.as_str(), limits] {
        operator.open(path).await.expect(403);
        operator.send(path, &[("json", "{}")]).await.expect(403);
    }
    app.finish().await;
}

async fn the_audit_trail_is_downloaded(env: Env) {
    let (app, _) = start(&env).await;
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    shows(&viewer.page("/admin/audit").await, &["/admin/audit/export"]);
    let file = viewer.open("/admin/audit/export").await.expect(200);
    assert_eq!(
        file.header("content-disposition"),
        "attachment; filename=\"audit.ndjson\""
    );
    assert_eq!(file.text, app.get("/api/v1/audit/export").await.expect(200).text);
    assert!(file.text.lines().count() >= 2, "{}", file.text);
    app.finish().await;
}
