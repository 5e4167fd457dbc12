//! Nobody can do anything without a token with a sufficient role, and every refusal is recorded.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use candor::base::network::Networks;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN_TOKEN, Answer, Binary, Env, Http, TestApp, on_both_databases, story_directory};

on_both_databases!(
    without_a_valid_token_nothing_is_served,
    each_role_does_what_it_may_and_no_more,
    an_encoded_path_needs_the_same_role,
    a_token_is_shown_once_and_ends_at_once,
    another_admin_token_in_the_settings_ends_the_old_one,
);

const NOBODY: &str = "01890000-0000-7000-8000-000000000000";

async fn refusals(app: &Http, action: &str) -> Vec<Value> {
    let mut events = app.all(&format!("/api/v1/audit?action={action}")).await;
    events.reverse();
    events
}

async fn without_a_valid_token_nothing_is_served(env: Env) {
    // Each request comes from a different address, because the refusals of one address are limited.
    let app = TestApp::builder(&env)
        .config(|config| config.trusted_proxies = Networks::parse("127.0.0.1").unwrap())
        .start()
        .await;
    let addresses = AtomicU32::new(0);
    let elsewhere = || {
        let n = addresses.fetch_add(1, Ordering::Relaxed);
        format!("198.51.{}.{}", n / 250, n % 250)
    };
    let revoked = app.token("admin").await;
    let id = app.all("/api/v1/tokens").await.last().unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    app.delete(&format!("/api/v1/tokens/{id}")).await.expect(204);
    let nobody = app.anonymous();
    let mut paths: Vec<String> = Vec::new();
    let document = app.get("/api/openapi.json").await.expect(200);
    let all = document["paths"].as_object().unwrap();
    let documented: Vec<&String> = all.keys().filter(|path| path.starts_with("/api/v1/")).collect();
    assert!(documented.len() > 30, "{documented:?}");
    for path in documented {
        for method in all[path].as_object().unwrap().keys() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else {
                continue;
            };
            let request = nobody
                .request(method, path)
                .header("x-forwarded-for", elsewhere());
            let answer = request.send().await.expect_problem(401);
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            paths.push(path.clone());
        }
    }
    // Without a token, an unknown path is not recognisable as such.
    nobody.get("/api/v1/nothing").await.expect_problem(401);
    for wrong in [
        "wrong",
        &revoked,
        &ADMIN_TOKEN[1..],
        &ADMIN_TOKEN.to_uppercase(),
        "' OR '1'='1",
    ] {
        app.as_role(wrong)
            .get("/api/v1/incidents")
            .await
            .expect_problem(401);
    }
    for header in [
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        ADMIN_TOKEN,
        &format!("Token {ADMIN_TOKEN}"),
    ] {
        nobody
            .request(Method::GET, "/api/v1/incidents")
            .header("authorization", header)
            .send()
            .await
            .expect_problem(401);
    }
    nobody
        .get(&format!("/api/v1/incidents?token={ADMIN_TOKEN}"))
        .await
        .expect_problem(401);
    // The scheme before the token is case-insensitive.
    let lower = format!("bearer {ADMIN_TOKEN}");
    nobody
        .request(Method::GET, "/api/v1/incidents")
        .header("authorization", lower)
        .send()
        .await
        .expect(200);

    // Everything is in the trail when the process has stopped, at the latest.
    let mut app = app;
    app.restart().await;
    let nobody = app.anonymous();
    let events = refusals(&app, "access.denied").await;
    let refused: u64 = events
        .iter()
        .map(|event| event["after"]["count"].as_u64().unwrap())
        .sum();
    assert_eq!(refused, paths.len() as u64 + 12);
    assert!(events.iter().all(|event| event["actor"]["kind"] == "anonymous"));
    let tried: String = events
        .iter()
        .map(|event| event["after"]["tried"].to_string())
        .collect();
    assert!(tried.contains("POST /api/v1/incidents/{id}/status"), "{tried}");
    assert_eq!(
        env.count(&format!(
            "audit_events WHERE after_json LIKE '%{ADMIN_TOKEN}%' OR subject_id LIKE '%{ADMIN_TOKEN}%'"
        )),
        0
    );
    // Only these paths are public.
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/status",
        "/api/openapi.json",
        "/docs/",
    ] {
        nobody.get(path).await.expect(200);
    }
    app.finish().await;
}

const ROLES: [&str; 4] = ["viewer", "operator", "approver", "admin"];

async fn each_role_does_what_it_may_and_no_more(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let requests: Vec<(Method, String, &str)> = [
        ("GET", "/incidents", "viewer"),
        ("GET", "/audit", "viewer"),
        ("GET", "/integrations", "viewer"),
        ("GET", "/templates", "viewer"),
        ("GET", "/notices/ID/preview", "viewer"),
        ("POST", "/selectors/count", "viewer"),
        ("POST", "/incidents", "operator"),
        ("PATCH", "/incidents/ID", "operator"),
        ("POST", "/incidents/ID/status", "operator"),
        ("POST", "/incidents/ID/timeline", "operator"),
        ("POST", "/incidents/ID/affected", "operator"),
        ("DELETE", "/incidents/ID/affected/file/x", "operator"),
        ("POST", "/incidents/ID/next-steps", "operator"),
        ("POST", "/incidents/ID/notices", "operator"),
        ("PUT", "/incidents/ID/report", "operator"),
        ("POST", "/incidents/ID/report/publish", "operator"),
        ("PATCH", "/next-steps/ID", "operator"),
        ("PATCH", "/notices/ID", "operator"),
        ("POST", "/notices/ID/send", "operator"),
        ("POST", "/notices/ID/stop", "operator"),
        ("POST", "/notices/ID/catch-up", "operator"),
        ("POST", "/deliveries/1/resend", "operator"),
        ("POST", "/directory/import", "operator"),
        ("PUT", "/accounts/a", "operator"),
        ("DELETE", "/people/unknown", "operator"),
        ("POST", "/notices/ID/approve", "approver"),
        ("GET", "/tokens", "admin"),
        ("POST", "/tokens", "admin"),
        ("DELETE", "/tokens/ID", "admin"),
        ("POST", "/integrations", "admin"),
        ("DELETE", "/integrations/ID", "admin"),
        ("PUT", "/templates/detection", "admin"),
        ("DELETE", "/templates/ID", "admin"),
    ]
    .into_iter()
    .map(|(method, path, role)| {
        (
            method.parse().unwrap(),
            format!("/api/v1{}", path.replace("ID", NOBODY)),
            role,
        )
    })
    .collect();
    let rank = |role: &str| ROLES.iter().position(|known| *known == role).unwrap();
    let mut refused = Vec::new();
    for role in ROLES {
        let caller = app.as_new(role).await;
        for (method, path, needed) in &requests {
            // The body is invalid for every operation. A caller with the role gets an error about the body.
            let mut request = caller.request(method.clone(), path);
            if ["POST", "PUT", "PATCH"].contains(&method.as_str()) {
                request = request.json(json!({"unknown": true}));
            }
            let answer = request.send().await;
            if rank(role) < rank(needed) {
                let answer = answer.expect_problem(403);
                assert!(answer.text.contains(needed), "{role} {method} {path}: {answer}");
                refused.push((format!("a test's {role}"), method.to_string(), path.clone()));
            } else {
                assert!(
                    answer.status == 200 || [404, 415, 422, 409].contains(&answer.status),
                    "{role} {method} {path}: {answer}"
                );
            }
        }
    }
    let events: Vec<(String, String, String)> = refusals(&app, "access.forbidden")
        .await
        .iter()
        .map(|event| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&event["actor"]["name"]),
                text(&event["after"]["method"]),
                text(&event["subject"]["id"]),
            )
        })
        .collect();
    assert_eq!(events, refused);
    // None of these callers changed anything.
    let changes: BTreeSet<String> = env
        .texts("SELECT DISTINCT action AS value FROM audit_events")
        .into_iter()
        .collect();
    assert_eq!(
        changes,
        BTreeSet::from(["access.forbidden", "directory.imported", "token.created"].map(str::to_owned))
    );
    app.finish().await;
}

async fn an_encoded_path_needs_the_same_role(env: Env) {
    let app = TestApp::start(&env).await;
    let operator = app.as_new("operator").await;
    let viewer = app.as_new("viewer").await;
    let new = json!({"name": "stolen", "role": "admin"});
    let refused = |answer: Answer| assert!([403, 404].contains(&answer.status), "{answer}");
    for path in [
        "/api/v1/%74okens",
        "/api/v1/tok%65ns",
        "/%61pi/v1/tokens",
        "/api/v%31/tokens",
        "/api/v1//tokens",
        "/api/v1/./tokens",
        "/api/v1/tokens/",
    ] {
        refused(operator.post(path, &new).await);
        refused(viewer.get(path).await);
    }
    let integration = json!({"name": "stolen", "source": "generic"});
    refused(operator.post("/api/v1/%69ntegrations", integration).await);
    refused(operator.delete("/api/v1/%74emplates/detection").await);
    refused(
        operator
            .post(
                &format!("/api/v1/notices/{NOBODY}/%61pprove"),
                json!({"digest": "x"}),
            )
            .await,
    );
    refused(
        viewer
            .post("/api/v1/inc%69dents", json!({"title": "T", "severity": "minor"}))
            .await,
    );
    assert_eq!(
        env.count("api_tokens WHERE name = 'stolen'") + env.count("integrations") + env.count("incidents"),
        0
    );
    // For a caller with the role it is the same path.
    viewer.get("/api/v1/inc%69dents").await.expect(200);
    app.finish().await;
}

async fn a_token_is_shown_once_and_ends_at_once(env: Env) {
    let app = TestApp::start(&env).await;
    let made = app
        .post("/api/v1/tokens", json!({"name": "A script", "role": "operator"}))
        .await
        .expect(201);
    let secret = made["token"].as_str().unwrap().to_owned();
    let listed = app.get("/api/v1/tokens").await.expect(200);
    assert!(!listed.text.contains(&secret), "{listed}");
    let shown = listed
        .items()
        .iter()
        .find(|token| token["id"] == made["id"])
        .expect("the token");
    let fields: Vec<&String> = shown.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "created_at",
            "expires_at",
            "id",
            "last_used_at",
            "name",
            "person",
            "role"
        ]
    );
    assert_eq!(
        (&shown["name"], &shown["role"]),
        (&json!("A script"), &json!("operator"))
    );
    // The token is also not stored and not recorded.
    assert_eq!(
        env.count(&format!(
            "api_tokens WHERE hash = '{secret}' OR name = '{secret}'"
        )),
        0
    );
    assert_eq!(
        env.count(&format!("audit_events WHERE after_json LIKE '%{secret}%'")),
        0
    );

    let script = app.as_role(&secret);
    script
        .post("/api/v1/incidents", json!({"title": "T", "severity": "minor"}))
        .await
        .expect(201);
    let events = app.get("/api/v1/audit?action=incident.opened").await.expect(200);
    assert_eq!(
        events.items()[0]["actor"],
        json!({"kind": "token", "id": made["id"], "name": "A script"})
    );

    app.delete(&format!("/api/v1/tokens/{}", made.id()))
        .await
        .expect(204);
    app.delete(&format!("/api/v1/tokens/{}", made.id()))
        .await
        .expect_problem(404);
    script.get("/api/v1/incidents").await.expect_problem(401);
    assert!(
        !app.get("/api/v1/tokens")
            .await
            .expect(200)
            .text
            .contains(&made.id())
    );

    for (body, pointer) in [
        (json!({"name": "", "role": "viewer"}), "/name"),
        (json!({"name": "a\nb", "role": "viewer"}), "/name"),
        (json!({"name": "x".repeat(201), "role": "viewer"}), "/name"),
        (json!({"name": "x", "role": "root"}), "/role"),
        (json!({"name": "x"}), "/role"),
        (json!({"name": "x", "role": "viewer", "token": "mine"}), "/token"),
    ] {
        app.post("/api/v1/tokens", body).await.expect_invalid(pointer);
    }
    app.finish().await;
}

async fn another_admin_token_in_the_settings_ends_the_old_one(env: Env) {
    let other = "another-admin-token-of-the-tests";
    let mut candor = Binary::new(&env);
    candor.serve().await;
    candor.get("/api/v1/tokens").await.expect(200);
    candor.terminate().await.expect(0);

    let mut changed = Binary::new(&env).setting("admin_token", other);
    changed.serve().await;
    changed.get("/api/v1/tokens").await.expect_problem(401);
    let tokens = changed.as_role(other).get("/api/v1/tokens").await.expect(200);
    assert_eq!(tokens.items().len(), 1);
    assert_eq!(tokens.items()[0]["role"], "admin");
    changed.terminate().await.expect(0);

    // The first token is set again, so it is valid and the other one is not.
    candor.serve().await;
    candor.get("/api/v1/tokens").await.expect(200);
    candor
        .as_role(other)
        .get("/api/v1/tokens")
        .await
        .expect_problem(401);
    candor.finish().await;
}
