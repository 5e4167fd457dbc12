//! The status of an incident is set and timeline entries are added on its page, without a script. The roles, the errors and the
//! events are the same as in the API, and everything that was typed is kept.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{ADMIN_TOKEN, Answer, Env, TestApp, on_both_databases};

on_both_databases!(
    an_entry_is_added,
    the_status_is_set,
    what_is_wrong_stands_beside_its_field_and_is_kept,
    only_operators_with_a_form_of_their_session_change_it,
);

const PAGE: &str = "/admin/incidents/1";
const TIMELINE: &str = "/admin/incidents/1/timeline";
const STATUS: &str = "/admin/incidents/1/status";

/// An entry as a browser sends it.
const ENTRY: [(&str, &str); 5] = [
    ("kind", "deployed"),
    ("text", "Rolled back <4.13>\r\nto 4.12"),
    ("at", "2024-03-14T09:50"),
    ("time_zone", "Africa/Nairobi"),
    ("internal", "true"),
];

const MONITORING: [(&str, &str); 4] = [
    ("status", "monitoring"),
    ("message", "The queue is empty"),
    ("at", ""),
    ("time_zone", "UTC"),
];

async fn started(env: &Env) -> (TestApp, Browser) {
    let app = TestApp::builder(env).at("2024-03-14T07:00:00Z").start().await;
    let incident =
        json!({"title": "Uploads fail", "severity": "major", "started_at": "2024-03-14T06:00:00Z"});
    app.post("/api/v1/incidents", incident).await.expect(201);
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    (app, operator)
}

fn with<'a>(fields: &[(&'a str, &'a str)], name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let changed = fields
        .iter()
        .map(|field| if field.0 == name { (field.0, value) } else { *field });
    changed.collect()
}

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text:?} is not on the page:\n{page}");
    }
}

async fn id(app: &TestApp) -> String {
    let incidents = app.all("/api/v1/incidents").await;
    incidents[0]["id"].as_str().expect("an id").to_owned()
}

/// The entries that a person wrote.
async fn entries(app: &TestApp) -> Vec<Value> {
    let path = format!("/api/v1/incidents/{}/timeline", id(app).await);
    let entries = app.all(&path).await;
    entries
        .into_iter()
        .filter(|entry| entry["automatic"] == false)
        .collect()
}

/// The actions of the audit trail by the operator, oldest first.
async fn actions(app: &TestApp) -> Vec<String> {
    let events = app.all("/api/v1/audit").await;
    let by_operator = events
        .iter()
        .rev()
        .filter(|event| event["actor"]["name"] == "a test's operator");
    let actions = by_operator.map(|event| event["action"].as_str().expect("a text").to_owned());
    actions.filter(|action| !action.starts_with("admin.")).collect()
}

async fn an_entry_is_added(env: Env) {
    let (app, operator) = started(&env).await;
    shows(
        &operator.page(PAGE).await,
        &[
            "action=\"/admin/incidents/1/timeline\"",
            "for=\"f-entry-text\"",
            "Add entry",
        ],
    );
    let made = operator.send_from(PAGE, TIMELINE, &ENTRY).await.expect(303);
    assert_eq!(made.header("location"), "/admin/incidents/1#timeline");
    let internal = with(&with(&ENTRY, "at", ""), "internal", "false");
    // The path with the ID of the incident is the same.
    let by_id = format!("/admin/incidents/{}/timeline", id(&app).await);
    operator.send_from(PAGE, &by_id, &internal).await.expect(303);
    let entries = entries(&app).await;
    assert_eq!(entries.len(), 2);
    for (field, value) in [
        ("kind", json!("deployed")),
        ("text", json!("Rolled back <4.13>\nto 4.12")),
        ("at", json!("2024-03-14T06:50:00Z")),
        ("local_at", json!("2024-03-14T09:50:00+03:00")),
        ("internal", json!(true)),
    ] {
        assert_eq!(entries[0][field], value, "{field}");
    }
    assert_eq!(
        (&entries[1]["at"], &entries[1]["internal"]),
        (&json!("2024-03-14T07:00:00Z"), &json!(false))
    );
    shows(
        &operator.page(PAGE).await,
        &["Rolled back &lt;4.13&gt;", "deployed"],
    );
    assert_eq!(actions(&app).await, ["timeline.added", "timeline.added"]);
    app.finish().await;
}

async fn the_status_is_set(env: Env) {
    let (app, operator) = started(&env).await;
    // The next status is chosen already.
    let page = operator.page(PAGE).await;
    shows(
        &page,
        &["<option value=\"identified\" selected>", "for=\"f-status-at\""],
    );
    let made = operator.send_from(PAGE, STATUS, &MONITORING).await.expect(303);
    assert_eq!(made.header("location"), PAGE);
    let resolved = with(&with(&MONITORING, "status", "resolved"), "at", "2024-03-14T06:30");
    operator
        .send_from(PAGE, STATUS, &with(&resolved, "message", ""))
        .await
        .expect(303);
    let incident = app
        .get(&format!("/api/v1/incidents/{}", id(&app).await))
        .await
        .expect(200);
    assert_eq!(incident["status"], "resolved");
    assert_eq!(incident["resolved_at"], "2024-03-14T06:30:00Z");
    shows(&operator.page(PAGE).await, &["The queue is empty"]);
    let actions = actions(&app).await;
    assert_eq!(actions.len(), 2, "{actions:?}");
    assert!(
        actions.iter().all(|action| action == "incident.status"),
        "{actions:?}"
    );
    // The same status again is no change, and the form says so.
    let again = operator.send_from(PAGE, STATUS, &resolved).await.expect(422);
    shows(
        &again.text,
        &[
            "Nothing was saved",
            "incident #1 is already resolved",
            "The queue is empty</textarea>",
        ],
    );
    app.finish().await;
}

async fn what_is_wrong_stands_beside_its_field_and_is_kept(env: Env) {
    let (app, operator) = started(&env).await;
    for (name, value, texts) in [
        ("text", " ", ["id=\"e-text\"", "must not be empty"]),
        ("kind", "lunch", ["id=\"e-kind\"", "must be one of the kinds"]),
        (
            "at",
            "2024-03-14T12:00",
            ["id=\"e-at\"", "must not be in the future"],
        ),
        ("at", "noon", ["id=\"e-at\"", "is not a date and a time of day"]),
        (
            "time_zone",
            "Nairobi",
            ["id=\"e-time_zone\"", "is not an IANA time zone"],
        ),
        (
            "internal",
            "perhaps",
            ["id=\"e-internal\"", "must be true or false"],
        ),
    ] {
        let sent = with(&ENTRY, name, value);
        let answer = operator.send_from(PAGE, TIMELINE, &sent).await.expect(422);
        shows(&answer.text, &["Nothing was saved", "Uploads fail"]);
        shows(&answer.text, &texts);
        // Everything else that was typed is still there.
        for (field, kept) in [
            ("kind", "<option value=\"deployed\" selected>"),
            ("text", "\nRolled back &lt;4.13&gt;\nto 4.12</textarea>"),
            ("at", "value=\"2024-03-14T09:50\""),
            ("time_zone", "value=\"Africa/Nairobi\""),
        ] {
            assert!(
                field == name || answer.text.contains(kept),
                "{name}: {kept:?}: {answer}"
            );
        }
    }
    // The page of a wrong form is a form that can be sent.
    let wrong = with(&ENTRY, "text", "");
    let page = operator.send_from(PAGE, TIMELINE, &wrong).await.expect(422);
    shows(
        &page.text,
        &["action=\"/admin/incidents/1/timeline\"", "name=\"form_key\""],
    );
    let both = with(&with(&ENTRY, "text", ""), "at", "noon");
    let answer = operator.send_from(PAGE, TIMELINE, &both).await.expect(422);
    shows(&answer.text, &["id=\"e-at\"", "value=\"noon\""]);
    let unknown: Vec<(&str, &str)> = ENTRY.into_iter().chain([("customers", "all")]).collect();
    let answer = operator.send_from(PAGE, TIMELINE, &unknown).await.expect(422);
    shows(&answer.text, &["is no field of this form"]);
    for (path, fields) in [(TIMELINE, ENTRY.to_vec()), (STATUS, MONITORING.to_vec())] {
        for incident in ["99", "x", "00000000-0000-7000-8000-000000000000"] {
            let path = path.replace("/1/", &format!("/{incident}/"));
            operator.send_from(PAGE, &path, &fields).await.expect(404);
        }
    }
    assert!(entries(&app).await.is_empty());
    assert!(actions(&app).await.is_empty());
    app.finish().await;
}

async fn only_operators_with_a_form_of_their_session_change_it(env: Env) {
    let (app, operator) = started(&env).await;
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let page = viewer.page(PAGE).await;
    assert!(
        !page.contains("form_key") && !page.contains("Add entry"),
        "{page}"
    );
    let admin = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let foreign = admin.key(PAGE).await;
    let refused = |answer: Answer| shows(&answer.expect(403).text, &["does not belong to this session"]);
    for (path, fields) in [(TIMELINE, ENTRY.to_vec()), (STATUS, MONITORING.to_vec())] {
        refused(operator.send(path, &fields).await);
        let mut fields = fields;
        fields.push(("form_key", &foreign));
        refused(operator.send(path, &fields).await);
        let answer = viewer.send(path, &fields).await.expect(403);
        shows(
            &answer.text,
            &["this needs the role operator; you have the role viewer"],
        );
    }
    assert!(entries(&app).await.is_empty());
    let incident = app
        .get(&format!("/api/v1/incidents/{}", id(&app).await))
        .await
        .expect(200);
    assert_eq!(incident["status"], "investigating");
    assert_eq!(actions(&app).await, ["access.forbidden"; 4]);
    app.finish().await;
}
