//! A notice is written on a page of its incident and changed on its own page, without a script. The roles, the errors and the
//! result are those of the API.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    a_draft_is_written_and_changed,
    a_text_of_somebody_else_is_not_replaced_unseen,
    what_is_wrong_stands_beside_its_field,
    only_operators_write,
    a_resolution_is_written_in_one_flow,
);

const PAGE: &str = "/admin/incidents/1/write";
const WRITE: &str = PAGE;

const DRAFT: [(&str, &str); 11] = [
    ("phase", "detection"),
    ("headline", "Some files <cannot> be opened"),
    ("message", "We look into it.\r\n\r\nMore follows."),
    ("customer_action", "needed"),
    ("to_do", "Reload the page."),
    ("next_update", "at"),
    ("next_update_due_at", "2024-03-14T11:30"),
    ("time_zone", "Africa/Nairobi"),
    ("roles", "owner"),
    ("collaborators", "all"),
    ("contacts", "shared\r\noperations"),
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
        "3 people",
        "Some files &lt;cannot&gt; be opened",
        "Change the text",
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
        .send_from(&format!("{at}/write"), &format!("{at}/change"), &changed)
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
    assert!(!operator.page(&at).await.contains("Change the text"));
    operator.open(&format!("{at}/write")).await.expect(409);
    let late = operator
        .send_from(PAGE, &format!("{at}/change"), &changed)
        .await
        .expect(422);
    assert!(late.text.contains("can no longer be changed"), "{}", late.text);
    app.finish().await;
}

/// Returns the version of the form on a page.
fn version(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"version\" value=\"").expect("a version");
    rest.split('"').next().expect("its end").to_owned()
}

async fn a_text_of_somebody_else_is_not_replaced_unseen(env: Env) {
    let (app, operator) = started(&env).await;
    let made = operator.send_from(PAGE, WRITE, &DRAFT).await.expect(303);
    let at = made.header("location").to_owned();
    let id = at.rsplit('/').next().expect("an id").to_owned();
    let (write, change) = (format!("{at}/write"), format!("{at}/change"));
    // Two people open the draft.
    let opened = version(&operator.page(&write).await);
    let fields = |message: &'static str, seen: &str| {
        let mut fields: Vec<(&str, String)> = DRAFT[1..]
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .filter(|(name, _)| *name != "message")
            .collect();
        fields.push(("message", message.to_owned()));
        fields.push(("version", seen.to_owned()));
        fields
    };
    let save = async |message: &'static str, seen: &str| {
        let fields = fields(message, seen);
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        operator.send_from(&write, &change, &fields).await
    };
    save("It is the disk.", &opened).await.expect(303);
    let refused = save("It is the network.", &opened).await.expect(422);
    for text in [
        "Somebody changed this since you opened it",
        "It is the network.",
        "somebody changed it to \u{201c}It is the disk.\u{201d} since",
    ] {
        assert!(refused.text.contains(text), "{text}: {}", refused.text);
    }
    assert_eq!(app.notice(&id).await["message"], "It is the disk.");
    // Whoever has seen the other text decides.
    save("It is the network.", &version(&refused.text))
        .await
        .expect(303);
    assert_eq!(app.notice(&id).await["message"], "It is the network.");
    app.finish().await;
}

async fn what_is_wrong_stands_beside_its_field(env: Env) {
    let (app, operator) = started(&env).await;
    for (changes, at, text) in [
        (&[("message", " ")][..], "e-notice-message", "must not be empty"),
        (
            &[("headline", &*"x".repeat(121))],
            "e-notice-headline",
            "longer than 120",
        ),
        (&[("to_do", "")], "e-notice-to_do", "is missing"),
        (
            &[("customer_action", "none")],
            "e-notice-to_do",
            "must be left out",
        ),
        (
            &[("next_update_due_at", "2024-03-14T09:59")],
            "e-notice-next_update_due_at",
            "must be in the future",
        ),
        (
            &[("roles", "nobody-has-it")],
            "e-notice-roles",
            "no member of any account has the role",
        ),
        (
            &[("collaborators", "")],
            "e-notice-collaborators",
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
    viewer.open(PAGE).await.expect(403);
    viewer.send(WRITE, &DRAFT).await.expect(403);
    operator.send(WRITE, &DRAFT).await.expect(403);
    assert_eq!(env.count("notices"), 0);
    let made = operator.send_from(PAGE, WRITE, &DRAFT).await.expect(303);
    let at = made.header("location").to_owned();
    assert!(!viewer.page(&at).await.contains("Change the text"));
    viewer
        .send(&format!("{at}/change"), &DRAFT[1..])
        .await
        .expect(403);
    app.finish().await;
}

/// From the button on the page of an incident that is not resolved, to the draft of its resolution.
async fn a_resolution_is_written_in_one_flow(env: Env) {
    let (app, operator) = started(&env).await;
    let id = app.all("/api/v1/incidents").await[0]["id"]
        .as_str()
        .expect("an ID")
        .to_owned();
    app.tell(&id, "detection").await;
    app.post(
        &format!("/api/v1/incidents/{id}/status"),
        json!({"status": "monitoring"}),
    )
    .await
    .expect(200);
    let page = operator.page("/admin/incidents/1").await.replace("&#x3D;", "=");
    let write = "/admin/incidents/1/write?phase=resolution";
    assert!(
        page.contains(&format!("href=\"{write}\">Resolve and tell 3 people</a>"))
            && page.contains("Resolve and write a resolution"),
        "{page}"
    );
    let page = operator.page(write).await;
    let checked = "name=\"resolve\" value=\"yes\" checked>";
    assert!(
        page.contains(checked) && page.contains("Also set the incident to resolved"),
        "{page}"
    );
    // Another kind of notice does not resolve anything.
    assert!(!operator.page(PAGE).await.contains("name=\"resolve\""));
    let resolution = |message: &'static str, more: &[(&'static str, &'static str)]| {
        let mut fields = with(&[
            ("phase", "resolution"),
            ("message", message),
            ("customer_action", "none"),
            ("to_do", ""),
            ("next_update_due_at", ""),
        ]);
        fields.push(("may_resolve", "yes"));
        fields.extend_from_slice(more);
        fields
    };
    let refused = operator
        .send_from(write, WRITE, &resolution("It works again.", &[]))
        .await
        .expect(422);
    assert!(
        refused
            .text
            .contains("a resolution can only be drafted for a resolved incident")
            && refused.text.contains("name=\"resolve\" value=\"yes\">"),
        "{refused}"
    );
    // What is wrong changes nothing.
    let wrong = operator
        .send_from(write, WRITE, &resolution("", &[("resolve", "yes")]))
        .await
        .expect(422);
    assert!(wrong.text.contains(checked), "{wrong}");
    let incident = format!("/api/v1/incidents/{id}");
    assert_eq!(app.get(&incident).await.expect(200)["status"], "monitoring");
    let made = operator
        .send_from(
            write,
            WRITE,
            &resolution("It works again.", &[("resolve", "yes")]),
        )
        .await
        .expect(303);
    let notice = made
        .header("location")
        .rsplit('/')
        .next()
        .expect("an ID")
        .to_owned();
    assert_eq!(app.notice(&notice).await["phase"], "resolution");
    assert_eq!(app.get(&incident).await.expect(200)["status"], "resolved");
    let page = operator.page(write).await;
    assert!(!page.contains("name=\"resolve\""), "{page}");
    app.finish().await;
}
