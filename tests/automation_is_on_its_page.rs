//! The page of the policies shows them and what they did, and the page of the operators shows them and their messages. Neither shows a secret.

use reqwest::Method;
use serde_json::json;

use crate::support::receiver::Receiver;
use crate::support::story::PROJECT;
use crate::support::{ADMIN_TOKEN, DEADLINE, Env, TestApp, on_one_database, story_directory, wait_until};

on_one_database!(the_page_shows_what_the_api_knows,);

/// Opens a page as a signed-in caller.
async fn open(app: &TestApp, path: &str) -> String {
    let form = app
        .anonymous()
        .request(Method::POST, "/admin/sign-in")
        .body(
            "application/x-www-form-urlencoded",
            format!("token={ADMIN_TOKEN}"),
        )
        .send()
        .await
        .expect(303);
    let cookie = form
        .header("set-cookie")
        .split(';')
        .next()
        .expect("a cookie")
        .to_owned();
    app.anonymous()
        .request(Method::GET, path)
        .header("cookie", &cookie)
        .send()
        .await
        .expect(200)
        .text
}

async fn the_page_shows_what_the_api_knows(env: Env) {
    let app = TestApp::builder(&env)
        .config(|config| config.callout_allow = candor::egress::Policy::Private)
        .at("2024-03-14T06:56:00Z")
        .start()
        .await;
    let empty = open(&app, "/admin/automation").await;
    for text in [
        "No policies: nothing is sent automatically.",
        "/admin/automation/new",
    ] {
        assert!(empty.contains(text), "{text}: {empty}");
    }
    let empty = open(&app, "/admin/operators").await;
    assert!(
        empty.contains("No operators: nobody of our own team is notified."),
        "{empty}"
    );
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    let hook = Receiver::start();
    let operator = json!({"name": "<Rota>", "email": "on-call@ours.example",
        "webhook": {"kind": "slack", "url": hook.url("/geheim")}, "severities": ["critical"]});
    app.post("/api/v1/operators", operator).await.expect(201);
    app.policy(json!({
        "name": "Files & more", "severities": ["critical"], "integrations": [monitoring.id], "wait_seconds": 0,
        "limits": {"audience_at_most": 5, "hours": {"from": "08:00", "until": "18:00", "time_zone": "Africa/Nairobi"}},
    }))
    .await;
    app.policy(json!({"name": "Later", "enabled": false, "action": "draft", "wait_seconds": 90}))
        .await;
    let incident = app.fires(&monitoring, "storage", PROJECT, "critical").await;
    let run = app.decided(&incident).await;
    app.done(run["notice"].as_str().expect("a notice")).await;
    wait_until("the messages", DEADLINE, async || {
        env.count("operator_messages WHERE state = 'sent'") == 4
    })
    .await;
    let page = open(&app, "/admin/automation").await;
    for text in [
        "1. Files &amp; more",
        "at most 5 people",
        "at most 1 notice to an account in an hour",
        "only from 08:00 to 18:00 (Africa/Nairobi)",
        "Some of your files cannot be opened.",
        "2. Later",
        "1 min 30 s",
        "#1 storage is broken",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let page = open(&app, "/admin/operators").await;
    for text in [
        "&lt;Rota&gt;",
        "on-call@ours.example",
        "of critical incidents",
        "no notice was sent for 1 h",
        "#1: detection sent to 3",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("geheim") && !page.contains("<Rota>"), "{page}");
    let page = open(&app, "/admin/incidents/1").await;
    for text in [
        "Policy “Files &amp; more”: a detection notice to 3 people is being sent automatically",
        "Next update due",
        "2024-03-14 07:56:00 UTC",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    app.resolve(&incident).await;
    assert!(!open(&app, "/admin/incidents/1").await.contains("Next update due"));
    app.finish().await;
}
