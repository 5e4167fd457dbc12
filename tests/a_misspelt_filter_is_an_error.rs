//! Input that is misspelled, unknown or empty never means "everything". It is an error and changes nothing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Env, Http, TestApp, on_both_databases, story_directory};

on_both_databases!(
    a_selector_says_what_it_means,
    a_list_holds_only_what_is_known,
    an_unknown_parameter_is_refused_everywhere,
    a_parameter_is_never_empty_or_given_twice,
    pages_are_within_their_limits,
    the_audit_trail_knows_what_it_is_asked_for,
    filters_of_lists_are_checked,
);

async fn incident(app: &Http) -> String {
    app.import(story_directory()).await.expect(200);
    app.post(
        "/api/v1/incidents",
        json!({"title": "It broke", "severity": "major"}),
    )
    .await
    .expect(201)
    .id()
}

async fn affected(app: &Http, incident: &str) -> Vec<String> {
    let items = app.all(&format!("/api/v1/incidents/{incident}/affected")).await;
    let mut ids: Vec<String> = items
        .iter()
        .map(|item| item["resource"]["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

async fn a_selector_says_what_it_means(env: Env) {
    let app = TestApp::start(&env).await;
    let id = incident(&app).await;
    let path = format!("/api/v1/incidents/{id}/affected");
    let events = env.count("audit_events");
    for (body, pointer) in [
        (json!({"selector": {}}), "/selector"),
        (json!({"selector": {"labels": {}}}), "/selector/labels"),
        (
            json!({"selector": {"type": "file", "labels": {}}}),
            "/selector/labels",
        ),
        (json!({"selector": {"type": null}}), "/selector/type"),
        (
            json!({"selector": {"type": "file", "labels": null}}),
            "/selector/labels",
        ),
        (json!({"selector": {"type": ""}}), "/selector/type"),
        (json!({"selector": {"type": "flie"}}), "/selector/type"),
        (
            json!({"selector": {"type": "flie", "labels": {"provider": "s3"}}}),
            "/selector/type",
        ),
        (
            json!({"selector": {"labels": {"providr": "s3"}}}),
            "/selector/labels/providr",
        ),
        (
            json!({"selector": {"labels": {"provider": "s3", "a/b": "x"}}}),
            "/selector/labels/a~1b",
        ),
        (
            json!({"selector": {"labels": {"provider": "s4"}}}),
            "/selector/labels/provider",
        ),
        (
            json!({"selector": {"labels": {"provider": ""}}}),
            "/selector/labels/provider",
        ),
        (
            json!({"selector": {"labels": {"provider": null}}}),
            "/selector/labels/provider",
        ),
        (
            json!({"selector": {"labels": {"provider": ["s3"]}}}),
            "/selector/labels/provider",
        ),
        (
            json!({"selector": {"type": "media", "labels": {"provider": "s3"}}}),
            "/selector",
        ),
        (json!({"selector": {"typ": "file"}}), "/selector/typ"),
        (
            json!({"selector": {"type": "file", "account": "nyota-films"}}),
            "/selector/account",
        ),
        (json!({"selector": null}), ""),
        (json!({"selector": "everything"}), "/selector"),
        (json!({"selectors": {"type": "file"}}), "/selectors"),
        (json!({}), ""),
        (json!([]), ""),
        (json!({"resources": null}), ""),
        (json!({"resources": [], "selector": {"type": "file"}}), ""),
        (
            json!({"resources": [{"type": "file", "id": "interview-v1"}], "selector": {"type": "file"}}),
            "",
        ),
    ] {
        let refused = app.post(&path, &body).await.expect_problem(422);
        assert!(
            refused.places().contains(&pointer.to_owned()),
            "{body}: no '{pointer}' in {refused}"
        );
        assert_eq!(affected(&app, &id).await, [""; 0], "{body}");
    }
    assert_eq!(env.count("audit_events"), events);
    // A correct selector finds exactly what it says.
    let found = app
        .post(
            &path,
            json!({"selector": {"type": "file", "labels": {"provider": "s3"}}}),
        )
        .await
        .expect(200);
    assert_eq!(found.json, json!({"added": 2, "already": 0}));
    assert_eq!(affected(&app, &id).await, ["interview-v1", "interview-v2"]);
    // An archived resource is not found, and does not keep its type known.
    app.delete("/api/v1/resources/file/interview-v1")
        .await
        .expect(204);
    let other = app
        .post(
            "/api/v1/incidents",
            json!({"title": "Again", "severity": "minor"}),
        )
        .await
        .expect(201)
        .id();
    let path = format!("/api/v1/incidents/{other}/affected");
    let selector = json!({"selector": {"labels": {"provider": "s3", "version": "1"}}});
    app.post(&path, selector).await.expect_invalid("/selector");
    app.post(&path, json!({"selector": {"labels": {"provider": "s3"}}}))
        .await
        .expect(200);
    assert_eq!(affected(&app, &other).await, ["interview-v2"]);
    app.finish().await;
}

async fn a_list_holds_only_what_is_known(env: Env) {
    let app = TestApp::start(&env).await;
    let id = incident(&app).await;
    let path = format!("/api/v1/incidents/{id}/affected");
    let known = json!({"type": "file", "id": "interview-v1"});
    for (resources, pointer) in [
        (json!([]), "/resources"),
        (
            json!([known, {"type": "file", "id": "interview-v9"}]),
            "/resources/1",
        ),
        (
            json!([{"type": "media", "id": "interview-v1"}, known]),
            "/resources/0",
        ),
        (json!([known, {"type": "file"}]), "/resources/1/id"),
        (
            json!([known, {"type": "file", "id": "interview-v2", "labels": {}}]),
            "/resources/1/labels",
        ),
        (json!([known, {"type": "file", "id": ""}]), "/resources/1/id"),
        (json!({"0": known}), "/resources"),
    ] {
        app.post(&path, json!({"resources": resources}))
            .await
            .expect_invalid(pointer);
        assert_eq!(affected(&app, &id).await, [""; 0], "{resources}");
    }
    let body = json!({"title": "T", "severity": "minor", "affected": [known, {"type": "file", "id": "x"}]});
    app.post("/api/v1/incidents", body)
        .await
        .expect_invalid("/affected/1");
    assert_eq!(env.count("incidents"), 1);
    let added = app
        .post(&path, json!({"resources": [known, known]}))
        .await
        .expect(200);
    assert_eq!(added.json, json!({"added": 1, "already": 0}));
    app.finish().await;
}

/// Returns the operations of the OpenAPI document, with every `{parameter}` replaced.
async fn operations(app: &Http) -> Vec<(Method, String, Value)> {
    let document = app.get("/api/openapi.json").await.expect(200);
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        // Products read the feed with tokens of their own.
        if path.starts_with("/feed/") {
            continue;
        }
        // A delivery has a number, and a maintenance has an ID of its own version.
        let of_deliveries = path.starts_with("/api/v1/deliveries/");
        let of_maintenances = path.starts_with("/api/v1/maintenances/");
        let filled = path
            .split('/')
            .map(|part| match part {
                "{id}" if of_deliveries => "1",
                "{id}" if of_maintenances => "01890000-0000-8000-8000-000000000000",
                "{phase}" => "detection",
                part if part.starts_with('{') => "01890000-0000-7000-8000-000000000000",
                part => part,
            })
            .collect::<Vec<_>>()
            .join("/");
        for (method, operation) in item.as_object().expect("operations") {
            let Ok(method) = method.to_uppercase().parse::<Method>() else {
                continue;
            };
            if [
                Method::GET,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ]
            .contains(&method)
            {
                operations.push((method, filled.clone(), operation.clone()));
            }
        }
    }
    operations
}

async fn an_unknown_parameter_is_refused_everywhere(env: Env) {
    let app = TestApp::start(&env).await;
    let operations = operations(&app).await;
    assert!(operations.len() > 50, "{} operations", operations.len());
    let events = env.count("audit_events");
    for (method, path, _) in &operations {
        // Public paths and hooks are left out, because programs that forward links and call hooks add their
        // own parameters.
        if !path.starts_with("/api/v1/") {
            continue;
        }
        let path = format!("{path}?nonsense=1");
        let request = app.request(method.clone(), &path);
        let request = if *method == Method::GET || *method == Method::DELETE {
            request
        } else {
            request.json(json!({}))
        };
        request.send().await.expect_invalid("?nonsense");
    }
    assert_eq!(env.count("audit_events"), events);
    app.finish().await;
}

async fn a_parameter_is_never_empty_or_given_twice(env: Env) {
    let app = TestApp::start(&env).await;
    let mut seen = 0;
    for (method, path, operation) in operations(&app).await {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        for parameter in parameters.iter().filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().expect("a name");
            let place = format!("?{name}");
            app.request(method.clone(), &format!("{path}?{name}="))
                .send()
                .await
                .expect_invalid(&place);
            app.request(method.clone(), &format!("{path}?{name}=a&{name}=b"))
                .send()
                .await
                .expect_problem(422);
            app.request(method.clone(), &format!("{path}?{name}=%00"))
                .send()
                .await
                .expect_invalid(&place);
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen} parameters");
    app.finish().await;
}

async fn pages_are_within_their_limits(env: Env) {
    let app = TestApp::start(&env).await;
    let id = incident(&app).await;
    let mut lists = 0;
    for (method, path, operation) in operations(&app).await {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        if !parameters.iter().any(|parameter| parameter["name"] == "limit") {
            continue;
        }
        assert_eq!(method, Method::GET, "{path}");
        // The incident exists, so that the error is about the page.
        let path = if path.contains("/incidents/") {
            path.replace("01890000-0000-7000-8000-000000000000", &id)
        } else {
            path
        };
        for limit in ["0", "501", "-1", "many", "1.5", "99999999999999999999", "1%20"] {
            app.get(&format!("{path}?limit={limit}"))
                .await
                .expect_invalid("?limit");
        }
        // A cursor that is not JSON, null, an object, a text with a NUL, a pair with one, and one without
        // letters.
        for cursor in [
            "nonsense",
            "bnVsbA",
            "e30",
            "Ilx1MDAwMCI",
            "WyJ0IiwiXHUwMDAwIl0",
            "%F0%9F%A6%93",
        ] {
            let answer = app.get(&format!("{path}?cursor={cursor}")).await;
            // A path with an unknown ID may be answered with 404 if the cursor could belong to this list.
            assert!(
                answer.status == 422 || answer.status == 404,
                "{path} {cursor}: {answer}"
            );
            if cursor == "nonsense" {
                answer.expect_invalid("?cursor");
            }
        }
        lists += 1;
    }
    assert!(lists >= 12, "{lists} lists");
    app.get("/api/v1/resources?limit=500").await.expect(200);
    app.get("/api/v1/resources?limit=1").await.expect(200);
    // A cursor belongs to its list.
    let page = app.get("/api/v1/resources?limit=1").await.expect(200);
    let cursor = page["next_cursor"].as_str().expect("a next page");
    app.get(&format!("/api/v1/people?cursor={cursor}"))
        .await
        .expect_invalid("?cursor");
    app.get(&format!("/api/v1/incidents?cursor={cursor}"))
        .await
        .expect_invalid("?cursor");
    app.finish().await;
}

async fn the_audit_trail_knows_what_it_is_asked_for(env: Env) {
    let app = TestApp::start(&env).await;
    let id = incident(&app).await;
    for (query, place) in [
        ("action=incident.open", "?action"),
        ("action=everything", "?action"),
        ("actor=nobody", "?actor"),
        ("subject=nothing", "?subject"),
        ("subject=incident/nothing", "?subject"),
        ("incident=01890000-0000-7000-8000-000000000000", "?incident"),
        ("incident=1", "?incident"),
        ("from=2024-03-14T09:56:00", "?from"),
        ("to=yesterday", "?to"),
        ("from=2024-03-14", "?from"),
        ("user=admin", "?user"),
    ] {
        app.get(&format!("/api/v1/audit?{query}"))
            .await
            .expect_invalid(place);
    }
    let found = app
        .get(&format!("/api/v1/audit?incident={id}&action=incident.opened"))
        .await
        .expect(200);
    assert_eq!(found.items().len(), 1);
    // A known action without events is a valid filter.
    let none = app.get("/api/v1/audit?action=notice.stopped").await.expect(200);
    assert_eq!(none.items().len(), 0);
    app.finish().await;
}

async fn filters_of_lists_are_checked(env: Env) {
    let app = TestApp::start(&env).await;
    let id = incident(&app).await;
    for (path, place) in [
        ("/api/v1/incidents?status=open", "?status"),
        ("/api/v1/incidents?severity=sev1", "?severity"),
        ("/api/v1/incidents?status=Resolved", "?status"),
        ("/api/v1/alerts?status=ok", "?status"),
        ("/api/v1/alerts?integration=mine", "?integration"),
        ("/api/v1/alerts?incident=1", "?incident"),
        ("/api/v1/next-steps?status=closed", "?status"),
        ("/api/v1/accounts?gone=yes", "?gone"),
        (
            &format!("/api/v1/incidents/{id}/report?audience=everybody"),
            "?audience",
        ),
        (
            &format!("/api/v1/incidents/{id}/metrics?time_zone=Nairobi"),
            "?time_zone",
        ),
    ] {
        app.get(path).await.expect_invalid(place);
    }
    let nobody = "01890000-0000-7000-8000-000000000000";
    app.get(&format!("/api/v1/alerts?incident={nobody}"))
        .await
        .expect_problem(404);
    app.get(&format!("/api/v1/alerts?integration={nobody}"))
        .await
        .expect_problem(404);
    assert_eq!(
        app.get("/api/v1/incidents?status=investigating")
            .await
            .expect(200)
            .items()
            .len(),
        1
    );
    assert_eq!(
        app.get("/api/v1/incidents?status=resolved")
            .await
            .expect(200)
            .items()
            .len(),
        0
    );
    app.finish().await;
}
