//! Every wrong request is answered with a problem document that says what is wrong, and nothing is stored.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Env, Http, TestApp, on_both_databases};

on_both_databases!(
    a_body_over_the_limit_is_413,
    a_body_of_another_type_is_415,
    a_body_that_is_not_json_is_422,
    a_wrong_field_is_named_by_a_pointer,
    a_time_needs_a_zone,
    a_path_that_is_not_served_is_404,
    an_id_that_cannot_be_one_is_404_and_names_the_thing,
    a_path_that_cannot_be_read_is_no_fault_of_ours,
);

async fn incident(app: &Http) -> String {
    app.post(
        "/api/v1/incidents",
        json!({"title": "It broke", "severity": "major"}),
    )
    .await
    .expect(201)
    .id()
}

async fn hook(app: &Http) -> String {
    let made = app
        .post(
            "/api/v1/integrations",
            json!({"name": "Any", "source": "generic"}),
        )
        .await
        .expect(201);
    made["hook_url"].as_str().expect("a URL").to_owned()
}

async fn a_body_over_the_limit_is_413(env: Env) {
    let app = TestApp::start(&env).await;
    let url = hook(&app).await;
    let events = env.count("audit_events");
    let body = |size: usize| json!({"title": "x".repeat(size), "severity": "minor"}).to_string();
    for path in ["/api/v1/incidents", "/api/v1/tokens"] {
        let answer = app
            .post_raw(path, "application/json", body(1024 * 1024))
            .await
            .expect_problem(413);
        assert!(answer.text.contains("1048576"), "{answer}");
        // The same applies with an idempotency key.
        let request = app.request(Method::POST, path).header("idempotency-key", "large");
        request
            .body("application/json", body(1024 * 1024))
            .send()
            .await
            .expect_problem(413);
    }
    app.request(Method::PUT, "/api/v1/accounts/a")
        .body("application/json", body(1024 * 1024))
        .send()
        .await
        .expect_problem(413);
    app.anonymous()
        .post_raw(&url, "application/json", body(2 * 1024 * 1024))
        .await
        .expect_problem(413);
    for table in ["incidents", "alerts", "hook_requests", "accounts"] {
        assert_eq!(env.count(table), 0, "{table}");
    }
    assert_eq!(env.count("audit_events"), events);
    // A body just below the limit is read.
    app.post_raw("/api/v1/incidents", "application/json", body(1024 * 1024 - 100))
        .await
        .expect_invalid("/title");
    app.post_raw(&url, "application/json", body(2 * 1024 * 1024 - 100))
        .await
        .expect(202);
    app.finish().await;
}

async fn a_body_of_another_type_is_415(env: Env) {
    let app = TestApp::start(&env).await;
    let id = incident(&app).await;
    let body = json!({"title": "T", "severity": "minor", "text": "x", "kind": "note"}).to_string();
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "json",
        "text/html; charset=utf-8",
    ] {
        for path in [
            "/api/v1/incidents".to_owned(),
            format!("/api/v1/incidents/{id}/timeline"),
            "/api/v1/tokens".to_owned(),
        ] {
            app.post_raw(&path, content_type, body.clone())
                .await
                .expect_problem(415);
        }
    }
    app.request(Method::POST, "/api/v1/incidents")
        .send()
        .await
        .expect_problem(415);
    assert_eq!(env.count("incidents"), 1);
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/vnd.candor+json",
    ] {
        let body = json!({"title": "T", "severity": "minor"}).to_string();
        app.post_raw("/api/v1/incidents", content_type, body)
            .await
            .expect(201);
    }
    app.finish().await;
}

async fn a_body_that_is_not_json_is_422(env: Env) {
    let app = TestApp::start(&env).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!(r#"{{"title":{deep}}}"#);
    for body in [
        "",
        " ",
        "{",
        r#"{"title": "T", "severity": "minor""#,
        r#"{"title": "T", "severity": "minor"}}"#,
        r#"{"title": "T", "severity": "minor"} {"title": "T"}"#,
        r#"{'title': 'T'}"#,
        r#"{"title": "T", "severity": "minor",}"#,
        r#"{"title": "\ud800", "severity": "minor"}"#,
        "null",
        "[]",
        r#"["T", "minor"]"#,
        r#""title""#,
        "7",
        "title=T&severity=minor",
        deep.as_str(),
        nested.as_str(),
    ] {
        let shown: String = body.chars().take(50).collect();
        let answer = app.post_raw("/api/v1/incidents", "application/json", body).await;
        assert_eq!(answer.status, 422, "{shown}: {answer}");
        answer.expect_problem(422);
    }
    let not_utf8 = b"{\"title\": \"\xff\xfe\", \"severity\": \"minor\"}".to_vec();
    app.post_raw("/api/v1/incidents", "application/json", not_utf8)
        .await
        .expect_problem(422);
    assert_eq!(env.count("incidents"), 0);
    app.finish().await;
}

async fn a_wrong_field_is_named_by_a_pointer(env: Env) {
    let app = TestApp::start(&env).await;
    let id = incident(&app).await;
    let incident = format!("/api/v1/incidents/{id}");
    let long = "x".repeat(301);
    let cases: Vec<(Method, String, Value, &str)> = vec![
        (
            Method::POST,
            "/api/v1/incidents".into(),
            json!({"title": "T", "severity": "minor", "sevrity": "x"}),
            "/sevrity",
        ),
        (
            Method::POST,
            "/api/v1/incidents".into(),
            json!({"title": "T"}),
            "/severity",
        ),
        (
            Method::POST,
            "/api/v1/incidents".into(),
            json!({"title": "T", "severity": "bad"}),
            "/severity",
        ),
        (
            Method::POST,
            "/api/v1/incidents".into(),
            json!({"title": 7, "severity": "minor"}),
            "/title",
        ),
        (
            Method::POST,
            "/api/v1/incidents".into(),
            json!({"title": " ", "severity": "minor"}),
            "/title",
        ),
        (
            Method::POST,
            "/api/v1/incidents".into(),
            json!({"title": "a\nb", "severity": "minor"}),
            "/title",
        ),
        (
            Method::POST,
            "/api/v1/incidents".into(),
            json!({"title": long, "severity": "minor"}),
            "/title",
        ),
        (
            Method::POST,
            "/api/v1/incidents".into(),
            json!({"title": "T", "severity": "minor", "summary": "nul\u{0}"}),
            "/summary",
        ),
        (
            Method::POST,
            "/api/v1/incidents".into(),
            json!({"title": "T", "severity": "minor", "time_zone": "X"}),
            "/time_zone",
        ),
        (
            Method::POST,
            "/api/v1/incidents".into(),
            json!({"title": "T", "severity": "minor", "started_at": "2999-01-01T00:00:00Z"}),
            "/started_at",
        ),
        (
            Method::POST,
            "/api/v1/incidents".into(),
            json!({"title": "T", "severity": "minor", "affected": [{"type": "a", "id": "b", "x": 1}]}),
            "/affected/0/x",
        ),
        (
            Method::POST,
            "/api/v1/incidents".into(),
            json!({"title": "T", "severity": "minor", "affected": [{"type": "a", "id": 7}]}),
            "/affected/0/id",
        ),
        (
            Method::PATCH,
            incident.clone(),
            json!({"status": "resolved"}),
            "/status",
        ),
        (
            Method::POST,
            format!("{incident}/status"),
            json!({"status": "closed"}),
            "/status",
        ),
        (
            Method::POST,
            format!("{incident}/status"),
            json!({"status": "resolved", "mesage": "x"}),
            "/mesage",
        ),
        (
            Method::POST,
            format!("{incident}/timeline"),
            json!({"kind": "comment", "text": "x"}),
            "/kind",
        ),
        (
            Method::POST,
            format!("{incident}/timeline"),
            json!({"kind": "note", "text": ""}),
            "/text",
        ),
        (
            Method::POST,
            format!("{incident}/timeline"),
            json!({"kind": "note", "text": "x", "internal": "no"}),
            "/internal",
        ),
        (
            Method::POST,
            format!("{incident}/next-steps"),
            json!({"text": "x", "owner": "a", "due_on": "30 April"}),
            "/due_on",
        ),
        (
            Method::POST,
            format!("{incident}/next-steps"),
            json!({"text": "x", "owner": "a", "link": "javascript:alert(1)"}),
            "/link",
        ),
        (
            Method::POST,
            "/api/v1/integrations".into(),
            json!({"name": "x", "source": "telepathy"}),
            "/source",
        ),
        (
            Method::POST,
            "/api/v1/integrations".into(),
            json!({"name": "x", "source": "generic", "resource_rules": [{"field": "a", "pattern": "("}]}),
            "/resource_rules/0/pattern",
        ),
        (
            Method::POST,
            "/api/v1/integrations".into(),
            json!({"name": "x", "source": "generic", "mapping": {"title": "no pointer"}}),
            "/mapping/title",
        ),
    ];
    let events = env.count("audit_events");
    for (method, path, body, pointer) in cases {
        let refused = app
            .request(method, &path)
            .json(&body)
            .send()
            .await
            .expect_problem(422);
        assert!(
            refused.places().contains(&pointer.to_owned()),
            "{body}: no {pointer} in {refused}"
        );
        assert!(
            refused["detail"]
                .as_str()
                .is_some_and(|detail| !detail.contains("line 1")),
            "{refused}"
        );
    }
    // The reason is in words of the API, and never in those of the program.
    for (path, body, pointer, reason) in [
        (
            "tokens",
            json!({"name": "n", "role": 7}),
            "/role",
            "must be a text, and one of the allowed words",
        ),
        (
            "tokens",
            json!({"name": "n", "role": null}),
            "/role",
            "must be a text, and one of the allowed words",
        ),
        (
            "incidents",
            json!({"title": "T", "severity": "huge"}),
            "/severity",
            "'huge' is not allowed; allowed are critical, major, minor",
        ),
        (
            "incidents",
            json!({"title": true, "severity": "minor"}),
            "/title",
            "must be a text, not true",
        ),
        ("incidents", json!({"title": "T"}), "/severity", "is missing"),
        (
            "incidents",
            json!({"title": "T", "severity": "minor", "affected": {}}),
            "/affected",
            "must be an array, not an object",
        ),
        (
            "operators",
            json!({"name": "o", "webhook": "https://x.example/"}),
            "/webhook",
            "must be an object, not a text",
        ),
        (
            "tokens",
            json!({"name": "n", "role": "viewer", "rule": 1}),
            "/rule",
            "is not a known field; the known fields are",
        ),
    ] {
        let refused = app
            .post(&format!("/api/v1/{path}"), &body)
            .await
            .expect_problem(422);
        assert!(
            refused.places().contains(&pointer.to_owned()),
            "{body}: {refused}"
        );
        assert!(
            refused["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains(reason)),
            "{body}: {refused}"
        );
        assert!(!refused.to_string().contains("is not JSON"), "{refused}");
    }
    // Several errors at once.
    let body = json!({"title": "", "severity": "minor", "time_zone": "X", "summary": "\u{1}"});
    let refused = app.post("/api/v1/incidents", body).await.expect_problem(422);
    assert_eq!(refused.places(), ["/title", "/summary", "/time_zone"]);
    assert_eq!(env.count("audit_events"), events);
    assert_eq!(env.count("incidents"), 1);
    app.finish().await;
}

async fn a_time_needs_a_zone(env: Env) {
    let app = TestApp::start(&env).await;
    let id = incident(&app).await;
    for time in [
        "2024-03-14T09:56:00",
        "2024-03-14",
        "2024-03-14 09:56",
        "09:56",
        "yesterday",
        "1710399360",
        "2024-02-30T09:56:00Z",
        "2024-03-14T25:00:00Z",
        "",
        "2024-03-14T09:56:00+03:00[Africa/Nairobi]",
    ] {
        let new = json!({"title": "T", "severity": "minor", "started_at": time});
        app.post("/api/v1/incidents", new)
            .await
            .expect_invalid("/started_at");
        app.patch(&format!("/api/v1/incidents/{id}"), json!({"detected_at": time}))
            .await
            .expect_invalid("/detected_at");
        let entry = json!({"kind": "note", "text": "x", "at": time});
        app.post(&format!("/api/v1/incidents/{id}/timeline"), entry)
            .await
            .expect_invalid("/at");
        let change = json!({"status": "resolved", "at": time});
        app.post(&format!("/api/v1/incidents/{id}/status"), change)
            .await
            .expect_invalid("/at");
    }
    app.post(
        "/api/v1/incidents",
        json!({"title": "T", "severity": "minor", "started_at": 1_710_399_360}),
    )
    .await
    .expect_invalid("/started_at");
    assert_eq!(env.count("incidents"), 1);
    assert_eq!(
        app.get(&format!("/api/v1/incidents/{id}")).await.expect(200)["status"],
        "investigating"
    );
    // A time with a zone is the same moment. It is shown in UTC, and in its own zone where it was observed.
    let new = json!({"title": "T", "severity": "minor", "started_at": "2024-03-14T09:56:00+03:00"});
    assert_eq!(
        app.post("/api/v1/incidents", new).await.expect(201)["started_at"],
        "2024-03-14T06:56:00Z"
    );
    let entry = json!({"kind": "note", "text": "x", "at": "2024-03-14T09:56:00.5-04:30"});
    let entry = app
        .post(&format!("/api/v1/incidents/{id}/timeline"), entry)
        .await
        .expect(201);
    assert_eq!(entry["at"], "2024-03-14T14:26:00.5Z");
    assert_eq!(entry["local_at"], "2024-03-14T09:56:00.5-04:30");
    app.finish().await;
}

async fn a_path_that_is_not_served_is_404(env: Env) {
    let app = TestApp::start(&env).await;
    for path in [
        "/nothing",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v1/incident",
        "/api/v2/incidents",
        "/hooks",
        "/api/v1/incidents/x/y/z",
        "/api/v1/tokens/",
    ] {
        app.get(path).await.expect_problem(404);
    }
    // A text that is not an ID of Candor, or that is the ID of nothing, does not exist.
    for id in [
        "1",
        "x",
        "01890000-0000-7000-8000-000000000000",
        "%00",
        "01890000-0000-7000-8000-00000000000",
    ] {
        app.get(&format!("/api/v1/incidents/{id}"))
            .await
            .expect_problem(404);
        app.get(&format!("/api/v1/notices/{id}"))
            .await
            .expect_problem(404);
        app.delete(&format!("/api/v1/integrations/{id}"))
            .await
            .expect_problem(404);
        app.post(&format!("/api/v1/deliveries/{id}/resend"), json!({}))
            .await
            .expect_problem(404);
        app.anonymous()
            .post(&format!("/hooks/{id}"), json!({}))
            .await
            .expect_problem(404);
        app.anonymous()
            .get(&format!("/unsubscribe/{id}"))
            .await
            .expect_problem(404);
        app.anonymous()
            .post(&format!("/unsubscribe/{id}"), json!({}))
            .await
            .expect_problem(404);
    }
    // A method that the path does not have.
    for (method, path) in [
        (Method::DELETE, "/api/v1/incidents"),
        (Method::PUT, "/api/v1/tokens"),
        (Method::POST, "/healthz"),
    ] {
        app.request(method, path).send().await.expect_problem(405);
    }
    app.finish().await;
}

async fn a_path_that_cannot_be_read_is_no_fault_of_ours(env: Env) {
    let app = TestApp::start(&env).await;
    app.put("/api/v1/accounts/a", json!({"name": "A"}))
        .await
        .expect(201);
    for id in [
        "%",
        "%Z",
        "%ZZ",
        "%FF",
        "%C3%28",
        "%F0%9F",
        "a%00b",
        "%0D%0A",
        "%E2%80%A8%FF",
    ] {
        for path in [
            format!("/api/v1/accounts/{id}"),
            format!("/api/v1/resources/{id}/x"),
            format!("/api/v1/accounts/a/members/{id}"),
        ] {
            for method in [Method::GET, Method::DELETE] {
                let answer = app.request(method, &path).send().await;
                assert!((400..500).contains(&answer.status), "{answer}");
                let status = answer.status;
                answer.expect_problem(status);
            }
        }
    }
    for query in ["gone=%FF", "cursor=%FF", "%FF=1", "gone=%ZZ", "=", "&&&=", "gone"] {
        app.get(&format!("/api/v1/accounts?{query}"))
            .await
            .expect_problem(422);
    }
    assert_eq!(env.count("accounts"), 1);
    app.finish().await;
}

async fn an_id_that_cannot_be_one_is_404_and_names_the_thing(env: Env) {
    let app = TestApp::start(&env).await;
    let made = app
        .post(
            "/api/v1/integrations",
            json!({"name": "Any", "source": "generic"}),
        )
        .await;
    let integration = made.expect(201).id();
    let none = "00000000-0000-7000-8000-000000000000";
    for (path, what) in [
        ("incidents/x", "incident"),
        ("incidents/1", "incident"),
        ("incidents/x/affected", "incident"),
        ("notices/x", "notice"),
        ("silences/x", "silence"),
        ("maintenance-windows/x", "maintenance window"),
        ("alert-rules/x", "rule"),
        ("automation/policies/x", "policy"),
        ("feedback/x", "feedback"),
        ("templates/x", "template"),
        (&format!("directory/sources/{none}/runs/x"), "run"),
    ] {
        let answer = app.get(&format!("/api/v1/{path}")).await.expect_problem(404);
        assert_eq!(answer["code"], "not_found", "{path}: {answer}");
        let detail = answer["detail"].as_str().expect("a text");
        assert!(
            detail.contains(&format!("{what} with this ID")),
            "{path}: {answer}"
        );
    }
    for (path, what) in [
        (format!("integrations/{integration}/bodies/x/replay"), "body"),
        ("deliveries/x/resend".to_owned(), "delivery"),
        // The body is not read: what it says does not matter for something that does not exist.
        ("incidents/x/status".to_owned(), "incident"),
        ("incidents/x/next-steps".to_owned(), "incident"),
    ] {
        let sent = app
            .post(&format!("/api/v1/{path}"), json!({"unknown": true}))
            .await;
        let answer = sent.expect_problem(404);
        assert!(
            answer.text.contains(&format!("{what} with this ID")),
            "{path}: {answer}"
        );
    }
    // An ID that callers choose is wrong input, and so it is beside an ID of Candor.
    let long = "x".repeat(201);
    for (path, pointer) in [
        (format!("accounts/{long}"), "{account}"),
        (format!("resources/file/{long}"), "{id}"),
        (format!("resources/{long}/m9"), "{type}"),
        (format!("resources/file/m9/collaborators/{long}"), "{person}"),
    ] {
        let answer = app.get(&format!("/api/v1/{path}")).await.expect_problem(422);
        assert_eq!(answer["errors"][0]["pointer"], pointer, "{path}: {answer}");
    }
    let path = format!("/api/v1/incidents/{none}/affected/file/{long}");
    let answer = app.delete(&path).await.expect_problem(422);
    assert_eq!(answer["errors"][0]["pointer"], "{resource}", "{answer}");
    app.finish().await;
}
