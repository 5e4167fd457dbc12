//! `Idempotency-Key`: the same request with the same key is carried out once, and each repeat gets the same
//! answer.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Env, Http, TestApp, on_both_databases, story_directory};

on_both_databases!(
    a_repeat_gets_the_first_answer,
    a_key_belongs_to_one_request,
    a_key_belongs_to_one_token,
    a_refusal_is_repeated_too,
    of_parallel_repeats_one_is_carried_out,
    an_import_is_known_by_its_content,
    a_key_is_checked,
    keys_survive_a_restart,
);

async fn keyed(app: &Http, key: &str, path: &str, body: Value) -> Answer {
    app.request(Method::POST, path)
        .header("idempotency-key", key)
        .json(body)
        .send()
        .await
}

fn incident(title: &str) -> Value {
    json!({"title": title, "severity": "major"})
}

async fn a_repeat_gets_the_first_answer(env: Env) {
    let app = TestApp::start(&env).await;
    let first = keyed(&app, "one", "/api/v1/incidents", incident("T"))
        .await
        .expect(201);
    assert_eq!(first.header("idempotency-replayed"), "");
    let events = env.count("audit_events");
    for _ in 0..3 {
        let again = keyed(&app, "one", "/api/v1/incidents", incident("T"))
            .await
            .expect(201);
        assert_eq!(again.text, first.text);
        assert_eq!(again.header("content-type"), first.header("content-type"));
        assert_eq!(again.header("idempotency-replayed"), "true");
    }
    assert_eq!((env.count("incidents"), env.count("audit_events")), (1, events));
    // Later changes do not change the answer. It contains the earlier status and not the current one.
    let status = format!("/api/v1/incidents/{}/status", first.id());
    let resolved = keyed(&app, "two", &status, json!({"status": "resolved"}))
        .await
        .expect(200);
    app.post(&status, json!({"status": "investigating"}))
        .await
        .expect(200);
    let again = keyed(&app, "two", &status, json!({"status": "resolved"}))
        .await
        .expect(200);
    assert_eq!(again.json, resolved.json);
    assert_eq!(
        app.get(&format!("/api/v1/incidents/{}", first.id()))
            .await
            .expect(200)["status"],
        "investigating"
    );
    // Another key is another request.
    keyed(&app, "three", "/api/v1/incidents", incident("T"))
        .await
        .expect(201);
    assert_eq!(env.count("incidents"), 2);
    app.finish().await;
}

async fn a_key_belongs_to_one_request(env: Env) {
    let app = TestApp::start(&env).await;
    let first = keyed(&app, "one", "/api/v1/incidents", incident("T"))
        .await
        .expect(201);
    keyed(&app, "one", "/api/v1/incidents", incident("Another"))
        .await
        .expect_invalid("Idempotency-Key");
    let path = format!("/api/v1/incidents/{}/timeline", first.id());
    keyed(&app, "one", &path, incident("T"))
        .await
        .expect_invalid("Idempotency-Key");
    keyed(&app, "one", &path, json!({"kind": "note", "text": "x"}))
        .await
        .expect_invalid("Idempotency-Key");
    assert_eq!(env.count("incidents"), 1);
    // This does not affect the first request.
    assert_eq!(
        keyed(&app, "one", "/api/v1/incidents", incident("T"))
            .await
            .expect(201)
            .text,
        first.text
    );
    app.finish().await;
}

async fn a_key_belongs_to_one_token(env: Env) {
    let app = TestApp::start(&env).await;
    let other = app.as_new("operator").await;
    let mine = keyed(&app, "one", "/api/v1/incidents", incident("T"))
        .await
        .expect(201);
    let theirs = keyed(&other, "one", "/api/v1/incidents", incident("Another"))
        .await
        .expect(201);
    assert_ne!(mine.id(), theirs.id());
    // A token without the role is refused before its key is used.
    let viewer = app.as_new("viewer").await;
    keyed(&viewer, "one", "/api/v1/incidents", incident("T"))
        .await
        .expect_problem(403);
    keyed(&app.anonymous(), "one", "/api/v1/incidents", incident("T"))
        .await
        .expect_problem(401);
    assert_eq!(env.count("incidents"), 2);
    app.finish().await;
}

async fn a_refusal_is_repeated_too(env: Env) {
    let app = TestApp::start(&env).await;
    let wrong =
        json!({"title": "T", "severity": "major", "affected": [{"type": "project", "id": "savanna"}]});
    let first = keyed(&app, "one", "/api/v1/incidents", wrong.clone())
        .await
        .expect_invalid("/affected/0");
    app.import(story_directory()).await.expect(200);
    // The request would be valid by now, but the key returns the earlier answer.
    let again = keyed(&app, "one", "/api/v1/incidents", wrong.clone())
        .await
        .expect_invalid("/affected/0");
    assert_eq!(again.text, first.text);
    assert_eq!(again.header("idempotency-replayed"), "true");
    keyed(&app, "two", "/api/v1/incidents", wrong).await.expect(201);
    keyed(&app, "three", "/api/v1/nothing", json!({}))
        .await
        .expect_problem(404);
    keyed(&app, "three", "/api/v1/nothing", json!({}))
        .await
        .expect_problem(404);
    app.finish().await;
}

async fn of_parallel_repeats_one_is_carried_out(env: Env) {
    let app = TestApp::start(&env).await;
    let requests = (0..12).map(|_| keyed(&app, "one", "/api/v1/incidents", incident("T")));
    let answers = futures_util::future::join_all(requests).await;
    let created: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert!(!created.is_empty());
    for answer in &answers {
        // A repeat while the request is running is told so.
        assert!([201, 409].contains(&answer.status), "{answer}");
    }
    assert!(created.iter().all(|answer| answer.text == created[0].text));
    assert_eq!(
        created
            .iter()
            .filter(|answer| answer.header("idempotency-replayed").is_empty())
            .count(),
        1
    );
    assert_eq!(env.count("incidents"), 1);
    assert_eq!(
        keyed(&app, "one", "/api/v1/incidents", incident("T"))
            .await
            .expect(201)
            .text,
        created[0].text
    );
    app.finish().await;
}

async fn an_import_is_known_by_its_content(env: Env) {
    let app = TestApp::start(&env).await;
    let import = async |key: &str, text: String| {
        let request = app
            .request(Method::POST, "/api/v1/directory/import")
            .header("idempotency-key", key);
        request.body("application/x-ndjson", text).send().await
    };
    // Spaces between the fields make the body longer than any body that is kept in memory.
    let mut text = story_directory().to_owned();
    for n in 0..2_000 {
        text += &format!(
            "{{\"kind\":\"person\",\"id\":\"p{n}\",{:600}\"name\":\"Person {n}\",\"email\":\"p{n}@example.com\"}}\n",
            ""
        );
    }
    assert!(text.len() > 1024 * 1024);
    let first = import("one", text.clone()).await.expect(200);
    assert_eq!(first["people"], 2_007);
    let again = import("one", text.clone()).await.expect(200);
    assert_eq!(
        (again.text, again.headers.get("idempotency-replayed").is_some()),
        (first.text, true)
    );
    assert_eq!(env.count("audit_events WHERE action = 'directory.imported'"), 1);
    // Another file with the same length.
    import("one", text.replace("Person 7", "Parson 7"))
        .await
        .expect_invalid("Idempotency-Key");
    assert_eq!(env.count("people WHERE name LIKE 'Parson%'"), 0);
    import("two", "{\"kind\":\"account\"}".to_owned())
        .await
        .expect_invalid("line 1");
    app.finish().await;
}

async fn a_key_is_checked(env: Env) {
    let app = TestApp::start(&env).await;
    for key in ["", " ", &"x".repeat(256)] {
        keyed(&app, key, "/api/v1/incidents", incident("T"))
            .await
            .expect_invalid("Idempotency-Key");
    }
    assert_eq!(env.count("incidents"), 0);
    keyed(&app, &"x".repeat(255), "/api/v1/incidents", incident("T"))
        .await
        .expect(201);
    // A read needs no key, and none is stored for it.
    let read = app
        .request(Method::GET, "/api/v1/incidents")
        .header("idempotency-key", "read")
        .send()
        .await;
    assert_eq!(read.expect(200).items().len(), 1);
    assert_eq!(env.count("idempotency_keys"), 1);
    app.finish().await;
}

async fn keys_survive_a_restart(env: Env) {
    let mut app = TestApp::start(&env).await;
    let first = keyed(&app, "one", "/api/v1/incidents", incident("T"))
        .await
        .expect(201);
    app.restart().await;
    let again = keyed(&app, "one", "/api/v1/incidents", incident("T"))
        .await
        .expect(201);
    assert_eq!(again.text, first.text);
    assert_eq!(env.count("incidents"), 1);
    app.finish().await;
}
