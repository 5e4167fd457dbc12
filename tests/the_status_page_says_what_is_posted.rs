//! The status page shows the components, the posts and the published reports, at once and in every process, and nothing else of an
//! incident.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Backend, Env, TestApp, eventually, on_both_databases, on_one_database, story_directory, wait_until,
};

on_both_databases!(
    components_are_put_listed_and_deleted,
    a_post_is_on_the_page_at_once,
    posts_are_listed_changed_and_taken_back,
    what_cannot_be_posted_is_refused_with_a_reason,
    nothing_internal_is_public,
    a_merged_incident_leads_to_where_it_went,
    a_warm_page_needs_no_database,
);

on_one_database!(
    the_page_is_in_the_language_of_the_reader,
    the_page_is_small,
    an_answer_can_be_kept,
    the_history_of_a_component_is_shown,
);

const NOW: &str = "2026-03-10T12:00:00Z";

async fn started(env: &Env) -> TestApp {
    let app = TestApp::builder(env).at(NOW).start().await;
    app.import(story_directory()).await.expect(200);
    for (id, body) in [
        (
            "uploads",
            json!({"name": "Uploads", "group": "Media", "position": 2}),
        ),
        (
            "playback",
            json!({"name": "Playback", "group": "Media", "position": 1}),
        ),
        ("api", json!({"name": "API"})),
    ] {
        app.put(&format!("/api/v1/components/{id}"), body)
            .await
            .expect(201);
    }
    app
}

async fn incident(app: &TestApp, title: &str) -> (String, i64) {
    let new = json!({"title": title, "severity": "major", "started_at": "2026-03-10T11:00:00Z"});
    let made = app.post("/api/v1/incidents", new).await.expect(201);
    (made.id(), made["number"].as_i64().expect("a number"))
}

async fn post(app: &TestApp, incident: &str, body: Value) -> String {
    let path = format!("/api/v1/incidents/{incident}/posts");
    app.post(&path, body).await.expect(201).id()
}

async fn page(app: &TestApp, path: &str) -> String {
    app.anonymous().get(path).await.expect(200).text
}

async fn state(app: &TestApp, component: &str) -> String {
    let all = app
        .anonymous()
        .get("/api/v2/components.json")
        .await
        .expect(200)
        .json;
    let all = all["components"].as_array().expect("components").clone();
    let one = all
        .iter()
        .find(|one| one["id"] == component)
        .expect("the component");
    one["status"].as_str().expect("a state").to_owned()
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

async fn components_are_put_listed_and_deleted(env: Env) {
    let app = started(&env).await;
    let path = "/api/v1/components/uploads";
    let again =
        json!({"name": "Uploads", "group": "Media", "position": 7, "selector": "type:file provider:s3"});
    let put = app.put(path, again).await.expect(200);
    assert_eq!(
        put["selector"],
        json!({"and": [{"type": "file"}, {"labels": {"provider": "s3"}}]})
    );
    assert_eq!(app.get(path).await.expect(200)["position"], 7);
    let ids: Vec<Value> = app
        .all("/api/v1/components?limit=2")
        .await
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    assert_eq!(ids, ["api", "playback", "uploads"]);
    for (body, place) in [
        (json!({"name": " "}), "/name"),
        (json!({"name": "x", "group": ""}), "/group"),
        (json!({"name": "x", "position": -1}), "/position"),
        (json!({"name": "x", "colour": "red"}), "/colour"),
        (json!({"name": "x", "selector": {}}), "/selector"),
        (json!({"name": "x", "selector": "type:nothing"}), "/selector"),
    ] {
        let answer = app.put(path, body.clone()).await.expect_problem(422);
        assert!(
            answer.places().iter().any(|at| at.starts_with(place)),
            "{body}: {answer}"
        );
    }
    for wrong in ["a%20b", "a%2Fb", "..", "%C3%BC"] {
        let answer = app
            .put(&format!("/api/v1/components/{wrong}"), json!({"name": "x"}))
            .await;
        assert!(matches!(answer.status, 404 | 422), "{wrong}: {answer}");
    }
    shows(&page(&app, "/status").await, &["Uploads", "Playback", "Media"]);
    app.delete(path).await.expect(204);
    app.delete(path).await.expect_problem(404);
    app.get(path).await.expect_problem(404);
    hides(&page(&app, "/status").await, &["Uploads"]);
    let events: Vec<Value> = app
        .all("/api/v1/audit?subject=uploads")
        .await
        .iter()
        .map(|event| event["action"].clone())
        .collect();
    assert_eq!(events, ["component.deleted", "component.put", "component.put"]);
    for role in ["viewer", "operator", "approver"] {
        let by = app.as_new(role).await;
        by.get("/api/v1/components").await.expect(200);
        by.put(path, json!({"name": "x"})).await.expect_problem(403);
    }
    app.finish().await;
}

async fn a_post_is_on_the_page_at_once(env: Env) {
    let app = started(&env).await;
    // Another process reads the same database. An SQLite file has one process.
    let other = match env.backend {
        Backend::Postgres => Some(TestApp::builder(&env).at(NOW).workers(false).start().await),
        Backend::Sqlite => None,
    };
    let before = page(&app, "/status").await;
    shows(&before, &["All systems work", "There were no incidents."]);
    if let Some(other) = &other {
        shows(&page(other, "/status").await, &["All systems work"]);
    }
    let (id, number) = incident(&app, "internal-title").await;
    assert_eq!(page(&app, "/status").await, before, "an incident is not public");
    post(
        &app,
        &id,
        json!({"status": "investigating", "title": "Uploads fail", "message": "We look into <it>.", "components": {"uploads": "major_outage"}}),
    )
    .await;
    let now = page(&app, "/status").await;
    shows(
        &now,
        &[
            "Major outage",
            "Uploads fail",
            "We look into &lt;it&gt;.",
            "Investigating",
            "10 March 2026, 12:00 UTC",
        ],
    );
    hides(&now, &["All systems work", "internal-title", "<script"]);
    if let Some(other) = other {
        let shown = async || {
            page(&other, "/status")
                .await
                .contains("Uploads fail")
                .then_some(())
        };
        eventually("the post in the other process", Duration::from_secs(1), shown).await;
        other.finish().await;
    }
    assert_eq!(state(&app, "uploads").await, "major_outage");
    assert_eq!(state(&app, "api").await, "operational");
    // The worst state of the open incidents wins, and a component keeps its state until a post names it again.
    let (second, _) = incident(&app, "another").await;
    let slow = json!({"status": "identified", "message": "Slow.", "components": {"uploads": "degraded_performance"}});
    post(&app, &second, slow).await;
    assert_eq!(state(&app, "uploads").await, "major_outage");
    post(&app, &id, json!({"status": "monitoring", "message": "Fixed."})).await;
    assert_eq!(state(&app, "uploads").await, "major_outage");
    post(&app, &id, json!({"status": "resolved", "message": "Over."})).await;
    assert_eq!(state(&app, "uploads").await, "degraded_performance");
    // Nobody got an email, and the status of the incident itself is as it was.
    assert_eq!(app.catcher.accepted(), 0);
    assert_eq!(
        app.get(&format!("/api/v1/incidents/{id}")).await.expect(200)["status"],
        "investigating"
    );
    let own = page(&app, &format!("/status/incidents/{number}")).await;
    shows(&own, &["Uploads fail", "Over.", "Fixed.", "We look into"]);
    assert!(
        own.find("Over.") < own.find("Fixed."),
        "the newest post comes first"
    );
    // Without a title, the title follows from the components.
    shows(&page(&app, "/status").await, &["Uploads: Degraded performance"]);
    app.finish().await;
}

async fn posts_are_listed_changed_and_taken_back(env: Env) {
    let app = started(&env).await;
    let (id, number) = incident(&app, "internal").await;
    let operator = app.as_new("operator").await;
    let path = format!("/api/v1/incidents/{id}/posts");
    let first = json!({"status": "investigating", "message": "First.", "at": "2026-03-10T11:30:00Z", "components": {"api": "partial_outage", "uploads": "major_outage"},
        "translations": {"de": {"title": "Titel", "message": "Zuerst."}, "fr": "D’abord."}});
    let made = operator.post(&path, first).await.expect(201);
    assert_eq!(made["translations"]["fr"], json!({"message": "D’abord."}));
    let second = post(&app, &id, json!({"status": "identified", "message": "Second."})).await;
    let listed: Vec<Value> = app
        .all(&format!("{path}?limit=1"))
        .await
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    assert_eq!(listed, [second.as_str(), made.id().as_str()]);
    let one = format!("{path}/{}", made.id());
    let patch = json!({"message": "Changed.", "components": {"api": null}, "translations": {"fr": null}});
    let changed = operator.patch(&one, patch).await.expect(200);
    assert_eq!(changed["components"], json!({"uploads": "major_outage"}));
    assert_eq!(
        changed["translations"],
        json!({"de": {"title": "Titel", "message": "Zuerst."}})
    );
    assert_eq!(changed["at"], "2026-03-10T11:30:00Z");
    let public = page(&app, &format!("/status/incidents/{number}")).await;
    shows(&public, &["Changed.", "Second."]);
    hides(&public, &["First."]);
    operator.patch(&one, json!({})).await.expect_problem(422);
    operator
        .patch(&one, json!({"status": null}))
        .await
        .expect_problem(422);
    operator.delete(&one).await.expect(204);
    operator.get(&one).await.expect_problem(404);
    operator.delete(&one).await.expect_problem(404);
    hides(
        &page(&app, &format!("/status/incidents/{number}")).await,
        &["Changed."],
    );
    app.delete(&format!("{path}/{second}")).await.expect(204);
    let gone = app.anonymous().get(&format!("/status/incidents/{number}")).await;
    gone.expect_problem(404);
    // A post is found only below its own incident.
    let (other, _) = incident(&app, "other").await;
    let third = post(&app, &other, json!({"status": "identified", "message": "Third."})).await;
    for method in [reqwest::Method::GET, reqwest::Method::DELETE] {
        let foreign = app.request(method, &format!("{path}/{third}")).send().await;
        foreign.expect_problem(404);
    }
    app.patch(&format!("{path}/{third}"), json!({"message": "x"}))
        .await
        .expect_problem(404);
    app.as_new("viewer")
        .await
        .post(&path, json!({"status": "identified", "message": "x"}))
        .await
        .expect_problem(403);
    let actions: Vec<Value> = app
        .all(&format!("/api/v1/audit?incident={id}"))
        .await
        .iter()
        .map(|event| event["action"].clone())
        .filter(|action| action.as_str().is_some_and(|action| action.starts_with("post.")))
        .collect();
    assert_eq!(
        actions,
        [
            "post.deleted",
            "post.deleted",
            "post.changed",
            "post.added",
            "post.added"
        ]
    );
    app.finish().await;
}

async fn what_cannot_be_posted_is_refused_with_a_reason(env: Env) {
    let app = TestApp::builder(&env)
        .at(NOW)
        .config(|config| config.drill_to = vec!["drill@example.com".to_owned()])
        .start()
        .await;
    app.put("/api/v1/components/uploads", json!({"name": "Uploads"}))
        .await
        .expect(201);
    let (id, _) = incident(&app, "internal").await;
    let path = format!("/api/v1/incidents/{id}/posts");
    let good = json!({"status": "identified", "message": "m"});
    for (field, value, place) in [
        ("status", json!("fixed"), "/status"),
        ("status", json!("merged"), "/status"),
        ("message", json!(" "), "/message"),
        ("message", json!("x".repeat(5_001)), "/message"),
        ("message", json!("a\u{7}b"), "/message"),
        ("title", json!(""), "/title"),
        ("title", json!("a\nb"), "/title"),
        (
            "components",
            json!({"nothing": "major_outage"}),
            "/components/nothing",
        ),
        ("components", json!({"uploads": "broken"}), "/components/uploads"),
        ("translations", json!({"xx": "?"}), "/translations"),
        (
            "translations",
            json!({"de": {"message": ""}}),
            "/translations/de/message",
        ),
        ("translations", json!({"de": {"text": "?"}}), "/translations/text"),
        ("at", json!("2026-03-10T12:30:00Z"), "/at"),
        ("at", json!("2026-03-10T12:30:00"), "/at"),
        ("internal", json!(true), "/internal"),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let answer = app.post(&path, body.clone()).await.expect_problem(422);
        assert!(
            answer.places().iter().any(|at| at.starts_with(place)),
            "{body}: {answer}"
        );
    }
    let over = json!({"status": "resolved", "message": "m", "components": {"uploads": "major_outage"}});
    app.post(&path, over).await.expect_invalid("/components/uploads");
    let drill = json!({"title": "A drill", "severity": "major", "drill": true});
    let drill = app.post("/api/v1/incidents", drill).await.expect(201).id();
    app.post(&format!("/api/v1/incidents/{drill}/posts"), good)
        .await
        .expect_problem(409);
    let nothing = "/api/v1/incidents/00000000-0000-7000-8000-000000000000/posts";
    app.get(nothing).await.expect_problem(404);
    assert_eq!(env.count("public_posts"), 0);
    app.finish().await;
}

/// All paths that everybody can read, once they have something.
fn public_paths(number: i64) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/status",
        "/status/components/uploads",
        "/api/v2/summary.json",
        "/api/v2/status.json",
        "/api/v2/components.json",
        "/api/v2/incidents.json",
        "/api/v2/incidents/unresolved.json",
        "/api/v2/scheduled-maintenances.json",
        "/history.atom",
        "/history.rss",
        "/maintenance.ics",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push(format!("/status/incidents/{number}"));
    for language in ["en", "de", "fr", "es", "pt", "ja", "sw", "ar"] {
        paths.push(format!("/status/{language}"));
        paths.push(format!("/status/{language}/incidents/{number}"));
        paths.push(format!("/status/{language}/components/uploads"));
    }
    paths
}

async fn nothing_internal_is_public(env: Env) {
    let app = started(&env).await;
    let selector = json!({"name": "Uploads", "selector": "type:file provider:s3"});
    app.put("/api/v1/components/uploads", selector).await.expect(200);
    let new = json!({"title": "secret-title", "severity": "major", "summary": "secret-summary", "affected": [{"type": "media", "id": "interview"}]});
    let made = app.post("/api/v1/incidents", new).await.expect(201);
    let (id, number) = (made.id(), made["number"].as_i64().expect("a number"));
    let at = format!("/api/v1/incidents/{id}");
    app.patch(
        &at,
        json!({"headline": "secret-headline", "owner": "secret-owner"}),
    )
    .await
    .expect(200);
    app.post(
        &format!("{at}/timeline"),
        json!({"kind": "note", "text": "secret-note", "internal": false}),
    )
    .await
    .expect(201);
    app.post(
        &format!("{at}/next-steps"),
        json!({"text": "secret-step", "owner": "secret-team"}),
    )
    .await
    .expect(201);
    app.post(
        &format!("{at}/notices"),
        json!({"phase": "detection", "message": "secret-notice"}),
    )
    .await
    .expect(201);
    let internal = json!([{"heading": "secret-heading", "text": "secret-report", "audience": "public"}]);
    app.put(
        &format!("{at}/report"),
        json!({"title": "secret-report-title", "sections": internal}),
    )
    .await
    .expect(200);
    // Before the first post there is no page at all.
    app.anonymous()
        .get(&format!("/status/incidents/{number}"))
        .await
        .expect_problem(404);
    let (other, other_number) = incident(&app, "secret-other").await;
    app.post(
        &format!("/api/v1/incidents/{other}/status"),
        json!({"status": "resolved"}),
    )
    .await
    .expect(200);
    post(&app, &id, json!({"status": "identified", "message": "public-message", "components": {"uploads": "major_outage"}})).await;
    let mut seen = 0;
    for path in public_paths(number) {
        let text = page(&app, &path).await;
        seen += usize::from(text.contains("public-message"));
        hides(
            &text,
            &[
                "secret",
                "interview",
                "Nyota",
                "nyota",
                "amina",
                "provider:s3",
                "s3",
            ],
        );
    }
    assert!(seen >= 12, "the post is on {seen} pages");
    app.anonymous()
        .get(&format!("/status/incidents/{other_number}"))
        .await
        .expect_problem(404);
    for path in [
        "/status/incidents/0",
        "/status/incidents/-1",
        "/status/incidents/01",
        "/status/incidents/x",
        "/status/xx",
        "/status/en/components/nothing",
        "/status/EN",
    ] {
        app.anonymous().get(path).await.expect_problem(404);
    }
    app.finish().await;
}

async fn a_merged_incident_leads_to_where_it_went(env: Env) {
    let app = started(&env).await;
    let (first, from) = incident(&app, "first").await;
    let (second, into) = incident(&app, "second").await;
    let body = json!({"status": "investigating", "title": "Uploads fail", "message": "From the first.", "components": {"uploads": "major_outage"}});
    let made = post(&app, &first, body).await;
    let old = format!("/status/incidents/{from}");
    shows(&page(&app, &old).await, &["From the first."]);
    app.post(
        &format!("/api/v1/incidents/{first}/merge"),
        json!({"into": second}),
    )
    .await
    .expect(200);
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let moved = client
        .get(format!("{}{old}", app.base()))
        .send()
        .await
        .expect("an answer");
    assert_eq!(moved.status(), 302);
    assert_eq!(
        moved.headers()["location"],
        format!("/status/en/incidents/{into}").as_str()
    );
    // What was posted before the merge counts for the incident that it is a part of now.
    let there = format!("/status/incidents/{into}");
    shows(&page(&app, &there).await, &["From the first.", "Uploads fail"]);
    assert_eq!(state(&app, "uploads").await, "major_outage");
    let posts = format!("/api/v1/incidents/{first}/posts");
    let refused = app
        .post(&posts, json!({"status": "identified", "message": "m"}))
        .await
        .expect_problem(409);
    assert_eq!(refused["code"], "merged");
    // A wrong text can still be corrected and taken back.
    app.patch(&format!("{posts}/{made}"), json!({"message": "Corrected."}))
        .await
        .expect(200);
    shows(&page(&app, &there).await, &["Corrected."]);
    post(&app, &second, json!({"status": "resolved", "message": "Over."})).await;
    assert_eq!(state(&app, "uploads").await, "operational");
    app.post(&format!("/api/v1/incidents/{first}/unmerge"), json!({}))
        .await
        .expect(200);
    shows(&page(&app, &old).await, &["Corrected."]);
    hides(&page(&app, &there).await, &["Corrected."]);
    assert_eq!(state(&app, "uploads").await, "major_outage");
    app.finish().await;
}

async fn a_warm_page_needs_no_database(env: Env) {
    let app = started(&env).await;
    let (id, number) = incident(&app, "internal").await;
    post(
        &app,
        &id,
        json!({"status": "identified", "message": "We know the cause."}),
    )
    .await;
    let paths = public_paths(number);
    let mut before = Vec::new();
    for path in &paths {
        before.push(
            app.anonymous()
                .get(path)
                .await
                .expect(200)
                .header("etag")
                .to_owned(),
        );
    }
    env.sql("ALTER TABLE audit_events RENAME TO audit_events_away")
        .expect("renamed");
    for (path, etag) in paths.iter().zip(&before) {
        let answer = app.anonymous().get(path).await.expect(200);
        assert_eq!(answer.header("etag"), etag, "{path}");
    }
    env.sql("ALTER TABLE audit_events_away RENAME TO audit_events")
        .expect("renamed");
    post(&app, &id, json!({"status": "resolved", "message": "It is over."})).await;
    let shown = async || page(&app, "/status").await.contains("incidents/");
    wait_until("the page with the new post", Duration::from_secs(5), shown).await;
    let shown = async || {
        page(&app, &format!("/status/incidents/{number}"))
            .await
            .contains("It is over.")
    };
    wait_until("the new post", Duration::from_secs(5), shown).await;
    app.finish().await;
}

async fn the_page_is_in_the_language_of_the_reader(env: Env) {
    let app = started(&env).await;
    let (id, number) = incident(&app, "internal").await;
    let body = json!({"status": "identified", "title": "Uploads fail", "message": "We know the cause.", "components": {"uploads": "major_outage"},
        "translations": {"de": {"title": "Uploads schlagen fehl", "message": "Die Ursache ist bekannt."}, "ar": "السبب معروف."}});
    post(&app, &id, body).await;
    let german = app
        .request(reqwest::Method::GET, "/status")
        .header("accept-language", "de-AT, en;q=0.5")
        .send()
        .await
        .expect(200);
    assert_eq!(german.header("vary").to_lowercase(), "accept-language");
    shows(
        &german.text,
        &[
            "lang=\"de\"",
            "Aktuelle Vorfälle",
            "Uploads schlagen fehl",
            "Die Ursache ist bekannt.",
            "Schwerwiegender Ausfall",
            "10. März 2026, 12:00 UTC",
        ],
    );
    hides(
        &german.text,
        &["We know the cause.", "Current incidents", "All updates"],
    );
    assert_eq!(german.text, page(&app, "/status/de").await);
    assert_eq!(german.text, page(&app, "/status?lang=de&utm_source=x").await);
    let arabic = page(&app, "/status/ar").await;
    shows(
        &arabic,
        &["lang=\"ar\" dir=\"rtl\"", "السبب معروف.", "Uploads fail"],
    );
    let french = page(&app, &format!("/status/fr/incidents/{number}")).await;
    shows(
        &french,
        &[
            "lang=\"fr\"",
            "We know the cause.",
            "Uploads fail",
            "Cause identifiée",
        ],
    );
    // Nothing is missing in any language: no text of a key, and no placeholder.
    for language in ["en", "de", "fr", "es", "pt", "ja", "sw", "ar"] {
        for path in [
            format!("/status/{language}"),
            format!("/status/{language}/incidents/{number}"),
            format!("/status/{language}/components/uploads"),
        ] {
            hides(&page(&app, &path).await, &["{", "}", "[object]"]);
        }
    }
    app.finish().await;
}

async fn the_page_is_small(env: Env) {
    let app = started(&env).await;
    for n in 0..30 {
        let body = json!({"name": format!("A part of the service, number {n}"), "group": format!("Group {}", n / 6), "position": n});
        app.put(&format!("/api/v1/components/part-{n}"), body)
            .await
            .expect(201);
    }
    for n in 0..60 {
        let (id, _) = incident(&app, "internal").await;
        let title = format!("An incident with a rather long title, number {n}");
        let name = format!("part-{}", n % 30);
        let body = json!({"status": "investigating", "title": title, "message": "Some requests fail. ".repeat(20), "at": "2026-02-10T08:00:00Z", "components": {name: "partial_outage"}});
        post(&app, &id, body).await;
        if n > 2 {
            let over = json!({"status": "resolved", "message": "It is over.", "at": "2026-02-10T09:00:00Z"});
            post(&app, &id, over).await;
        }
    }
    let answer = app.anonymous().get("/status").await.expect(200);
    assert!(answer.text.len() < 30_000, "{} bytes", answer.text.len());
    shows(&answer.text, &["number 59", "A part of the service, number 29"]);
    hides(&answer.text, &["<script", "style=\"", "<style", " onclick"]);
    let policy = answer.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'")
            && !policy.contains("script-src")
            && !policy.contains("unsafe"),
        "{policy}"
    );
    let style = answer.text.split("/static/status.css").nth(1).expect("the style");
    let style = format!(
        "/static/status.css{}",
        style.split('"').next().expect("an address")
    );
    assert!(page(&app, &style).await.len() < 8_000);
    app.finish().await;
}

async fn an_answer_can_be_kept(env: Env) {
    let app = started(&env).await;
    let (id, number) = incident(&app, "internal").await;
    post(&app, &id, json!({"status": "identified", "message": "m"})).await;
    let nobody = app.anonymous();
    let mut tags = Vec::new();
    for path in public_paths(number) {
        let answer = nobody.get(&path).await.expect(200);
        let etag = answer.header("etag").to_owned();
        assert!(etag.len() > 10 && etag.starts_with('"'), "{path}: {etag}");
        let caching = answer.header("cache-control");
        for word in ["public", "max-age=", "stale-while-revalidate=", "stale-if-error="] {
            assert!(caching.contains(word), "{path}: {caching}");
        }
        let html = answer.header("content-type").starts_with("text/html");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            if html { "" } else { "*" },
            "{path}"
        );
        for known in [etag.clone(), format!("\"other\", W/{etag}"), "*".to_owned()] {
            let again = nobody
                .request(reqwest::Method::GET, &path)
                .header("if-none-match", known)
                .send()
                .await;
            assert_eq!((again.status, again.text.as_str()), (304, ""), "{path}");
            assert_eq!(again.header("etag"), etag);
        }
        nobody
            .request(reqwest::Method::GET, &path)
            .header("if-none-match", "\"other\"")
            .send()
            .await
            .expect(200);
        tags.push(etag);
    }
    post(&app, &id, json!({"status": "resolved", "message": "over"})).await;
    assert_ne!(nobody.get("/status").await.expect(200).header("etag"), tags[0]);
    app.finish().await;
}

async fn the_history_of_a_component_is_shown(env: Env) {
    let app = started(&env).await;
    let (id, _) = incident(&app, "internal").await;
    app.set_clock("2026-03-12T12:00:00Z");
    let from = json!({"status": "investigating", "title": "Uploads fail", "message": "m", "at": "2026-03-10T22:00:00Z", "components": {"uploads": "partial_outage"}});
    post(&app, &id, from).await;
    post(
        &app,
        &id,
        json!({"status": "resolved", "message": "m", "at": "2026-03-11T02:00:00Z"}),
    )
    .await;
    let history = page(&app, "/status/components/uploads").await;
    shows(
        &history,
        &[
            "Days with problems in the past 90 days: 2",
            "2026-03-10",
            "2026-03-11",
            "Uploads fail",
            "Partial outage",
        ],
    );
    hides(&history, &["2026-03-12"]);
    shows(
        &page(&app, "/status/components/api").await,
        &["There were no problems on any of these days."],
    );
    shows(
        &page(&app, "/status").await,
        &["Uploads fail", "11 March 2026, 02:00 UTC"],
    );
    // After 90 days the incident is only in the feeds and at its permanent address.
    app.set_clock("2026-06-20T12:00:00Z");
    let later = page(&app, "/status").await;
    hides(&later, &["Uploads fail"]);
    shows(&page(&app, "/history.atom").await, &["Uploads fail"]);
    shows(&page(&app, "/status/incidents/1").await, &["Uploads fail"]);
    app.finish().await;
}
