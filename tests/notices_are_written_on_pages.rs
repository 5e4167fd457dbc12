//! A notice is written on the page of its incident and changed on its own page, without a script. The roles, the errors and the
//! result are those of the API.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    a_draft_is_written_and_changed,
    what_is_wrong_stands_beside_its_field,
    only_operators_write,
);

const PAGE: &str = "/admin/incidents/1";
const WRITE: &str = "/admin/incidents/1/notices";

const DRAFT: [(&str, &str); 9] = [
    ("phase", "detection"),
    ("headline", "Some files <cannot> be opened"),
    ("message", "We look into it.\r\n\r\nMore follows."),
    ("customer_action", "needed"),
    ("to_do", "Reload the page."),
    ("next_update_due_at", "2024-03-14T11:30"),
    ("time_zone", "Africa/Nairobi"),
    ("roles", "owner"),
    ("collaborators", "all"),
];

async fn started(env: &Env) -> (TestApp, Browser) {
    let app = TestApp::builder(env).at("2024-03-14T07:00:00Z").start().await;
    app.story_incident().await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    (app, operator)
}

fn with<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = DRAFT.to_vec();
    for (name, value) in changes {
        for field in fields.iter_mut().filter(|field| field.0 == *name) {
            field.1 = value;
        }
    }
    fields
}

async fn a_draft_is_written_and_changed(env: Env) {
    let (app, operator) = started(&env).await;
    let page = operator.page(PAGE).await;
    assert!(page.contains("Write to customers"), "{page}");
    let made = operator.send_from(PAGE, WRITE, &DRAFT).await.expect(303);
    let at = made.header("location").to_owned();
    let id = at
        .strip_prefix("/admin/notices/")
        .expect("the page of the draft")
        .to_owned();
    let notice = app.notice(&id).await;
    for (field, value) in [
        ("phase", json!("detection")),
        ("headline", json!("Some files <cannot> be opened")),
        ("message", json!("We look into it.\n\nMore follows.")),
        (
            "customer_action",
            json!({"required": true, "text": "Reload the page."}),
        ),
        ("next_update_due_at", json!("2024-03-14T08:30:00Z")),
        ("audience", json!({"roles": ["owner"], "collaborators": true})),
        ("state", json!("draft")),
    ] {
        assert_eq!(notice[field], value, "{field}");
    }
    // The page shows the preview and what was written.
    let page = operator.page(&at).await;
    for text in [
        "Preview",
        "3 emails",
        "Some files &lt;cannot&gt; be opened",
        "Change draft",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let changed: Vec<(&str, &str)> = with(&[
        ("headline", ""),
        ("customer_action", "none"),
        ("to_do", ""),
        ("next_update_due_at", ""),
        ("collaborators", "none"),
    ])
    .into_iter()
    .filter(|field| field.0 != "phase")
    .collect();
    let sent = operator
        .send_from(&at, &format!("{at}/change"), &changed)
        .await
        .expect(303);
    assert_eq!(sent.header("location"), at);
    let notice = app.notice(&id).await;
    for (field, value) in [
        ("headline", Value::Null),
        ("customer_action", json!({"required": false})),
        ("next_update_due_at", Value::Null),
        ("audience", json!({"roles": ["owner"], "collaborators": false})),
    ] {
        assert_eq!(notice[field], value, "{field}");
    }
    // Nothing is sent by a form, and a notice that was sent cannot be changed by it.
    app.mails(0).await;
    app.send_as_previewed(&id).await;
    app.done(&id).await;
    assert!(!operator.page(&at).await.contains("Change draft"));
    let late = operator
        .send_from(PAGE, &format!("{at}/change"), &changed)
        .await
        .expect(422);
    assert!(late.text.contains("can no longer be changed"), "{}", late.text);
    app.finish().await;
}

async fn what_is_wrong_stands_beside_its_field(env: Env) {
    let (app, operator) = started(&env).await;
    for (changes, at, text) in [
        (&[("message", " ")][..], "e-message", "must not be empty"),
        (
            &[("headline", &*"x".repeat(121))],
            "e-headline",
            "longer than 120",
        ),
        (&[("to_do", "")], "e-to_do", "is missing"),
        (&[("customer_action", "none")], "e-to_do", "must be left out"),
        (
            &[("next_update_due_at", "2024-03-14T09:59")],
            "e-next_update_due_at",
            "must be in the future",
        ),
        (
            &[("roles", "nobody-has-it")],
            "e-roles",
            "no member of any account has the role",
        ),
        (
            &[("collaborators", "")],
            "e-collaborators",
            "must not be an empty list",
        ),
        (
            &[("phase", "resolution"), ("next_update_due_at", "")],
            "role=\"alert\"",
            "only be drafted for a resolved incident",
        ),
    ] {
        let answer = operator.send_from(PAGE, WRITE, &with(changes)).await.expect(422);
        assert!(
            answer.text.contains(at) && answer.text.contains(text),
            "{text}: {}",
            answer.text
        );
        assert!(
            answer.text.contains("More follows.") || text == "must not be empty",
            "{}",
            answer.text
        );
    }
    assert_eq!(env.count("notices"), 0);
    app.finish().await;
}

async fn only_operators_write(env: Env) {
    let (app, operator) = started(&env).await;
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    assert!(!viewer.page(PAGE).await.contains("Write to customers"));
    viewer.send(WRITE, &DRAFT).await.expect(403);
    operator.send(WRITE, &DRAFT).await.expect(403);
    assert_eq!(env.count("notices"), 0);
    let made = operator.send_from(PAGE, WRITE, &DRAFT).await.expect(303);
    let at = made.header("location").to_owned();
    assert!(!viewer.page(&at).await.contains("Change draft"));
    viewer
        .send(&format!("{at}/change"), &DRAFT[1..])
        .await
        .expect(403);
    app.finish().await;
}
