//! Alert rules, silences and maintenance windows are created, changed and ended on the pages. The roles, the
//! error texts and the events are the same as in the API, and only forms of Candor's own pages are accepted.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{ADMIN_TOKEN, Answer, Env, TestApp, on_one_database, story_directory};

on_one_database!(
    a_rule_is_made_changed_moved_and_deleted,
    what_is_wrong_with_a_rule_stands_beside_it,
    a_rule_is_tried_on_a_kept_body,
    a_rule_that_no_form_can_hold_is_left_alone,
    a_silence_is_made_and_ended,
    a_window_is_made_and_ended,
    what_is_wrong_with_a_quiet_time_stands_beside_it,
    only_forms_of_the_session_change_anything,
    only_who_may_by_the_api_may_here,
);

const RULES: &str = "/admin/rules";
const QUIET: &str = "/admin/quiet";
const NEW_RULE: &str = "/admin/rules/new";
const NEW_SILENCE: &str = "/admin/quiet/silences/new";
const NEW_WINDOW: &str = "/admin/quiet/windows/new";

async fn started(env: &Env) -> (TestApp, Browser) {
    let app = TestApp::builder(env).at("2024-03-14T06:56:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    let browser = Browser::signed_in(&app, ADMIN_TOKEN).await;
    (app, browser)
}

/// A rule as the form sends it, with every field, as a browser does.
const RULE: [(&str, &str); 14] = [
    ("of", ""),
    ("name", "Storage"),
    ("integration", ""),
    ("matchers.0.field", "labels.service"),
    ("matchers.0.condition", "in"),
    ("matchers.0.value", "storage\r\nmedia, raw\r\n"),
    ("matchers.1.field", ""),
    ("matchers.1.condition", "is"),
    ("matchers.1.value", ""),
    ("policy", "open"),
    ("group_by", "labels.region\r\n\r\ntitle"),
    ("severity", "Page = critical"),
    ("resources", "project savanna"),
    ("reopen_within", "600"),
];

fn with<'a>(fields: &[(&'a str, &'a str)], change: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = fields.to_vec();
    for (name, value) in change {
        match fields.iter_mut().find(|(held, _)| held == name) {
            Some(field) => field.1 = value,
            None => fields.push((name, value)),
        }
    }
    fields
}

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    let (_, body) = page.split_once("<body").expect("a page");
    let body = body.replace("&#x3D;", "=");
    for text in texts {
        assert!(body.contains(text), "{text:?} is not on the page:\n{body}");
    }
}

#[track_caller]
fn hides(page: &str, texts: &[&str]) {
    let (_, body) = page.split_once("<body").expect("a page");
    for text in texts {
        assert!(!body.contains(text), "{text:?} is on the page:\n{body}");
    }
}

async fn rules(app: &TestApp) -> Vec<Value> {
    app.all("/api/v1/alert-rules").await
}

fn names(rules: &[Value]) -> Vec<&str> {
    rules
        .iter()
        .map(|rule| rule["name"].as_str().expect("a name"))
        .collect()
}

async fn actions(app: &TestApp, subject: &str) -> Vec<(String, String)> {
    let events = app.all("/api/v1/audit").await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut of: Vec<(String, String)> = events
        .iter()
        .filter(|event| {
            event["action"]
                .as_str()
                .is_some_and(|action| action.starts_with(subject))
        })
        .map(|event| (text(&event["action"]), text(&event["actor"]["kind"])))
        .collect();
    of.sort();
    of
}

async fn a_rule_is_made_changed_moved_and_deleted(env: Env) {
    let (app, browser) = started(&env).await;
    shows(
        &browser.page(RULES).await,
        &["<h1>Alert grouping</h1>", "No rules.", "New rule"],
    );
    let made = browser.send_from(NEW_RULE, RULES, &RULE).await.expect(303);
    let rule = rules(&app).await.remove(0);
    let id = rule["id"].as_str().expect("an id").to_owned();
    assert_eq!(made.header("location"), format!("{RULES}#r-{id}"));
    for (field, value) in [
        ("name", json!("Storage")),
        ("integration", Value::Null),
        (
            "matchers",
            json!([{"field": "labels.service", "in": ["storage", "media, raw"]}]),
        ),
        ("group_by", json!(["labels.region", "title"])),
        ("severity", json!({"page": "critical"})),
        ("resources", json!([{"type": "project", "id": "savanna"}])),
        ("policy", json!("open")),
        ("reopen_within", json!(600)),
    ] {
        assert_eq!(rule[field], value, "{field}");
    }
    let page = browser.page(RULES).await;
    shows(
        &page,
        &[
            "1. Storage",
            "is one of",
            "storage, media, raw",
            "labels.region",
            "page is critical",
            "10 min",
            "project savanna",
        ],
    );
    hides(&page, &["Move up", "Move down"]);
    // A rule that is opened and saved stays unchanged.
    let path = format!("{RULES}/{id}");
    shows(
        &browser.page(&path).await,
        &[
            "labels.service",
            "storage\nmedia, raw</textarea>",
            "page = critical</textarea>",
            "value=\"600\"",
            "project savanna</textarea>",
        ],
    );
    let other = app
        .post(
            "/api/v1/integrations",
            json!({"name": "<Disks>", "source": "generic"}),
        )
        .await
        .expect(201)
        .id();
    let changed = with(
        &RULE,
        &[
            ("of", &id),
            ("name", "Storage & more"),
            ("integration", &other),
            ("policy", "attach"),
            ("matchers.0.condition", "matches"),
            ("matchers.0.value", "stor.*"),
        ],
    );
    browser.send_from(&path, &path, &changed).await.expect(303);
    let rule = app.get(&format!("/api/v1/alert-rules/{id}")).await.expect(200);
    assert_eq!(
        rule["matchers"],
        json!([{"field": "labels.service", "matches": "stor.*"}])
    );
    assert_eq!(
        (&rule["integration"], &rule["policy"]),
        (&json!(other), &json!("attach"))
    );
    shows(
        &browser.page(RULES).await,
        &["1. Storage &amp; more", "&lt;Disks&gt;", "attaches only"],
    );
    for name in ["Second", "Third"] {
        browser
            .send_from(NEW_RULE, RULES, &with(&RULE, &[("name", name)]))
            .await
            .expect(303);
    }
    let last = rules(&app).await[2]["id"].as_str().expect("an id").to_owned();
    let step = format!("{RULES}/{last}/move");
    browser.send_from(RULES, &step, &[("to", "up")]).await.expect(303);
    assert_eq!(names(&rules(&app).await), ["Storage & more", "Third", "Second"]);
    browser
        .send_from(RULES, &step, &[("to", "down")])
        .await
        .expect(303);
    // At the end of the list it stays at its place.
    browser
        .send_from(RULES, &step, &[("to", "down")])
        .await
        .expect(303);
    assert_eq!(names(&rules(&app).await), ["Storage & more", "Second", "Third"]);
    browser
        .send_from(RULES, &step, &[("to", "top")])
        .await
        .expect(422);
    browser.send_from(RULES, &step, &[]).await.expect(422);
    let gone = format!("{path}/delete");
    let answer = browser.send_from(RULES, &gone, &[]).await.expect(303);
    assert_eq!(answer.header("location"), RULES);
    assert_eq!(names(&rules(&app).await), ["Second", "Third"]);
    browser.send_from(RULES, &gone, &[]).await.expect(404);
    browser.open(&path).await.expect(404);
    browser.send_from(NEW_RULE, &path, &changed).await.expect(404);
    browser.open("/admin/rules/none").await.expect(404);
    let expected = [
        ("alert_rule.changed", 1),
        ("alert_rule.created", 3),
        ("alert_rule.deleted", 1),
        ("alert_rules.ordered", 2),
    ];
    let events = actions(&app, "alert_rule").await;
    for (action, n) in expected {
        let of = events
            .iter()
            .filter(|(held, by)| held == action && by == "token")
            .count();
        assert_eq!(of, n, "{action}: {events:?}");
    }
    app.finish().await;
}

async fn what_is_wrong_with_a_rule_stands_beside_it(env: Env) {
    let (app, browser) = started(&env).await;
    for (change, texts) in [
        (
            vec![("name", " ")],
            vec!["id=\"e-name\"", "must not be empty", "storage\nmedia, raw"],
        ),
        (
            vec![("matchers.0.field", "service"), ("matchers.0.value", "x<y>")],
            vec![
                "id=\"m-0\"",
                "is not a field of an alert",
                "x&lt;y&gt;</textarea>",
                "value=\"service\"",
            ],
        ),
        (
            vec![("matchers.0.condition", "matches"), ("matchers.0.value", "(")],
            vec!["id=\"m-0\"", "is not a regular expression"],
        ),
        (
            vec![("matchers.0.field", ""), ("matchers.0.value", "")],
            vec!["must not be empty if no integration is given"],
        ),
        (
            vec![("matchers.0.condition", "is not")],
            vec!["needs one of is, matches and in"],
        ),
        (
            vec![("group_by", "labels.a\r\nservice")],
            vec![
                "id=\"e-group_by\"",
                "“service” is not a field",
                "labels.a\nservice</textarea>",
            ],
        ),
        (
            vec![("severity", "page = awful")],
            vec![
                "id=\"e-severity\"",
                "“page = awful” must be a severity of the source",
            ],
        ),
        (
            vec![("severity", "page = major\r\nPAGE = minor")],
            vec!["“PAGE = minor” repeats a severity"],
        ),
        (
            vec![("resources", "project savanna\r\nproject atlantis")],
            vec![
                "id=\"e-resources\"",
                "<p class=\"wrong\">project atlantis is not in the directory</p>",
            ],
        ),
        (
            vec![("resources", "savanna")],
            vec!["“savanna” must be a type and an ID"],
        ),
        (
            vec![("reopen_within", "soon")],
            vec![
                "id=\"e-reopen_within\"",
                "whole number of seconds",
                "value=\"soon\"",
            ],
        ),
        (vec![("reopen_within", "9999999")], vec!["from 0 to 2592000"]),
        (
            vec![("policy", "ignore")],
            vec!["id=\"e-policy\"", "must be open, attach or record"],
        ),
        (
            vec![("policy", "attach"), ("group_by", "")],
            vec!["must not be empty for the policy attach"],
        ),
        (
            vec![("integration", "x")],
            vec!["id=\"e-integration\"", "is not an integration that exists"],
        ),
    ] {
        let answer = browser
            .send_from(NEW_RULE, RULES, &with(&RULE, &change))
            .await
            .expect(422);
        shows(&answer.text, &["Nothing was saved"]);
        shows(&answer.text, &texts);
    }
    // All errors are shown at once, including those that need the other fields.
    let change = [
        ("name", ""),
        ("matchers.0.field", "service"),
        ("severity", "x"),
        ("reopen_within", "soon"),
    ];
    let answer = browser
        .send_from(NEW_RULE, RULES, &with(&RULE, &change))
        .await
        .expect(422);
    shows(
        &answer.text,
        &[
            "id=\"e-name\"",
            "id=\"m-0\"",
            "id=\"e-severity\"",
            "id=\"e-reopen_within\"",
        ],
    );
    assert!(rules(&app).await.is_empty());
    // A form that no page of Candor sends is refused.
    for (change, text) in [
        (("nmae", "x"), "is no field of this form"),
        (("matchers.99.field", "title"), "is no field of this form"),
        (("name", "a\u{7}b"), "contains a control character"),
    ] {
        let answer = browser
            .send_from(NEW_RULE, RULES, &with(&RULE, &[change]))
            .await
            .expect(422);
        shows(&answer.text, &[text]);
    }
    let twice: Vec<(&str, &str)> = RULE.into_iter().chain([("name", "again")]).collect();
    let answer = browser.send_from(NEW_RULE, RULES, &twice).await.expect(422);
    shows(&answer.text, &["is given twice"]);
    assert!(rules(&app).await.is_empty());
    app.finish().await;
}

async fn a_rule_is_tried_on_a_kept_body(env: Env) {
    let (app, browser) = started(&env).await;
    let disks = json!({"name": "Disks", "source": "generic", "mapping": {"alerts": "/alerts"}});
    let made = app.post("/api/v1/integrations", disks).await.expect(201);
    shows(&browser.page(NEW_RULE).await, &["No requests received so far."]);
    let hook = made["hook_url"].as_str().expect("a URL");
    let body = json!([
        {"title": "<Full>", "severity": "page", "labels": {"service": "storage", "region": "eu"}},
        {"title": "Slow", "labels": {"service": "web"}},
    ]);
    app.anonymous()
        .post(hook, json!({"alerts": body}))
        .await
        .expect(202);
    let bodies = app
        .all(&format!("/api/v1/integrations/{}/bodies", made.id()))
        .await;
    let body = format!("{}/{}", made.id(), bodies[0]["id"]);
    shows(
        &browser.page(NEW_RULE).await,
        &[&format!("value=\"{body}\""), "Disks, 2024-03-14 06:56:00 UTC"],
    );
    let tables = ["alerts", "incidents", "alert_rules", "hook_requests"];
    let before = tables.map(|table| env.count(table));
    let try_it = async |change: &[(&str, &str)], status: u16| -> String {
        let fields = with(&RULE, change);
        browser
            .send_from(NEW_RULE, "/admin/rules/try", &fields)
            .await
            .expect(status)
            .text
    };
    let tried = try_it(&[("body", &body)], 200).await;
    shows(
        &tried,
        &[
            "Result of the test",
            "&lt;Full&gt;",
            "matches this rule",
            "matches neither this rule nor another rule",
            "affects project savanna",
            "media, raw</textarea>",
            "selected>Disks",
        ],
    );
    // An earlier rule has priority, and the page says so.
    app.post(
        "/api/v1/alert-rules",
        json!({"name": "All disks", "integration": made.id(), "policy": "record"}),
    )
    .await
    .expect(201);
    let tried = try_it(&[("body", &body)], 200).await;
    shows(
        &tried,
        &[
            "matches this rule, but rule 1 “All disks” comes first",
            "does not match this rule, but matches rule 1 “All disks”",
            "only recorded",
        ],
    );
    // A stored rule is tested at its position with the typed values.
    let id = rules(&app).await[0]["id"].as_str().expect("an id").to_owned();
    let tried = try_it(&[("body", &body), ("of", &id)], 200).await;
    shows(
        &tried,
        &[
            "Rule 1.",
            "matches this rule",
            "matches neither this rule nor another rule",
        ],
    );
    shows(&try_it(&[], 422).await, &["Choose a saved request"]);
    shows(
        &try_it(&[("body", &body), ("name", "")], 422).await,
        &["id=\"e-name\""],
    );
    let none = format!("{}/999999", made.id());
    try_it(&[("body", &none)], 404).await;
    try_it(&[("body", &body), ("of", "x")], 404).await;
    assert_eq!(
        tables.map(|table| env.count(table)),
        [before[0], before[1], before[2] + 1, before[3]]
    );
    app.finish().await;
}

async fn a_rule_that_no_form_can_hold_is_left_alone(env: Env) {
    let (app, browser) = started(&env).await;
    let rule = json!({"name": "Odd", "policy": "record", "matchers": [{"field": "title", "is": " a "}]});
    let id = app.post("/api/v1/alert-rules", rule).await.expect(201).id();
    let answer = browser.open(&format!("{RULES}/{id}")).await.expect(409);
    shows(&answer.text, &["change the rule through the API"]);
    shows(&browser.page(RULES).await, &["1. Odd"]);
    app.finish().await;
}

const SILENCE: [(&str, &str); 7] = [
    ("reason", "The lab is rebuilt"),
    ("matchers.0.field", "labels.env"),
    ("matchers.0.condition", "is"),
    ("matchers.0.value", "lab"),
    ("from", ""),
    ("until", "2024-03-14T12:00"),
    ("time_zone", "Africa/Nairobi"),
];

async fn a_silence_is_made_and_ended(env: Env) {
    let (app, browser) = started(&env).await;
    shows(&browser.page(QUIET).await, &["No active or planned silences."]);
    // The default is two hours from now on.
    shows(
        &browser.page(NEW_SILENCE).await,
        &["value=\"2024-03-14T08:56\"", "value=\"UTC\""],
    );
    let silences = "/admin/quiet/silences";
    let made = browser
        .send_from(NEW_SILENCE, silences, &SILENCE)
        .await
        .expect(303);
    assert_eq!(made.header("location"), "/admin/quiet#silences");
    let later = with(
        &SILENCE,
        &[
            ("reason", "Later"),
            ("from", "2024-03-15T01:00"),
            ("until", "2024-03-15T02:30"),
            ("time_zone", "UTC"),
        ],
    );
    browser.send_from(NEW_SILENCE, silences, &later).await.expect(303);
    let held = app.all("/api/v1/silences").await;
    let wanted = [
        ("Later", "2024-03-15T01:00:00Z", "2024-03-15T02:30:00Z", "pending"),
        (
            "The lab is rebuilt",
            "2024-03-14T06:56:00Z",
            "2024-03-14T09:00:00Z",
            "active",
        ),
    ];
    for (silence, (reason, from, until, state)) in held.iter().zip(wanted) {
        assert_eq!(silence["reason"], reason);
        assert_eq!(
            (&silence["from"], &silence["until"]),
            (&json!(from), &json!(until))
        );
        assert_eq!(silence["state"], state);
        assert_eq!(silence["matchers"], json!([{"field": "labels.env", "is": "lab"}]));
    }
    let page = browser.page(QUIET).await;
    shows(
        &page,
        &[
            "The lab is rebuilt",
            "planned",
            "active",
            "End now",
            "Cancel",
            "until <time datetime=\"2024-03-14T09:00:00Z\"",
        ],
    );
    hides(&page, &[">Past<"]);
    let id = held[1]["id"].as_str().expect("an id");
    let end = format!("{silences}/{id}/end");
    browser.send_from(QUIET, &end, &[]).await.expect(303);
    assert_eq!(app.all("/api/v1/silences?state=ended").await.len(), 1);
    shows(
        &browser.page(QUIET).await,
        &[">Past<", "ended <time datetime=\"2024-03-14T06:56:00Z\""],
    );
    browser.send_from(QUIET, &end, &[]).await.expect(409);
    // A silence is not a maintenance window, and neither is an ID that does not exist.
    browser
        .send_from(QUIET, &format!("/admin/quiet/windows/{id}/end"), &[])
        .await
        .expect(404);
    browser
        .send_from(QUIET, &format!("{silences}/x/end"), &[])
        .await
        .expect(404);
    let by = |action: &str| (action.to_owned(), "token".to_owned());
    assert_eq!(
        actions(&app, "silence.").await,
        [by("silence.created"), by("silence.created"), by("silence.ended")]
    );
    // Ended ones are shown in pages.
    for n in 0..21 {
        let reason = format!("Old {n}");
        let new = json!({"reason": reason, "matchers": [{"field": "title", "is": "x"}], "until": "2024-03-14T07:00:00Z"});
        app.post("/api/v1/silences", new).await.expect(201);
    }
    app.set_clock("2024-03-14T07:00:00Z");
    let page = browser.page(QUIET).await;
    shows(&page, &["Old 20", "Old 1<", "silences_before="]);
    hides(&page, &["Old 0<", "The lab is rebuilt"]);
    let links = page.replace("&#x3D;", "=");
    let next = links
        .split("href=\"")
        .find(|part| part.starts_with("/admin/quiet?silences_before="))
        .expect("a link");
    let next = next.split(['#', '"']).next().expect("a path").to_owned();
    shows(
        &browser.page(&next).await,
        &["Old 0<", "The lab is rebuilt", "From the start"],
    );
    app.finish().await;
}

const WINDOW: [(&str, &str); 10] = [
    ("name", "Disks are changed"),
    ("resources", "project savanna"),
    ("matchers.0.field", ""),
    ("matchers.0.condition", "is"),
    ("matchers.0.value", ""),
    ("from", "2024-03-14T06:00"),
    ("until", "2024-04-14T06:00:00"),
    ("time_zone", "UTC"),
    ("schedule", "0 22 * * *"),
    ("duration", "90"),
];

async fn a_window_is_made_and_ended(env: Env) {
    let (app, browser) = started(&env).await;
    let windows = "/admin/quiet/windows";
    let made = browser.send_from(NEW_WINDOW, windows, &WINDOW).await.expect(303);
    assert_eq!(made.header("location"), "/admin/quiet#windows");
    let whole = with(
        &WINDOW,
        &[("name", "All day"), ("schedule", ""), ("duration", "")],
    );
    browser.send_from(NEW_WINDOW, windows, &whole).await.expect(303);
    let held = app.all("/api/v1/maintenance-windows").await;
    assert_eq!(
        (&held[0]["name"], &held[0]["in_force"]),
        (&json!("All day"), &json!(true))
    );
    assert_eq!(
        (&held[0]["schedule"], &held[0]["duration"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&held[1]["schedule"], &held[1]["duration"]),
        (&json!("0 22 * * *"), &json!(5_400))
    );
    assert_eq!(
        held[1]["resources"],
        json!([{"type": "project", "id": "savanna"}])
    );
    assert_eq!(held[1]["from"], "2024-03-14T06:00:00Z");
    shows(
        &browser.page(QUIET).await,
        &[
            "planned, not active now",
            "1 h 30 min",
            "every day at 22:00 UTC",
            "next <time datetime=\"2024-03-14T22:00:00Z\"",
            "All day",
            "project savanna",
        ],
    );
    let id = held[0]["id"].as_str().expect("an id");
    let end = format!("{windows}/{id}/end");
    browser.send_from(QUIET, &end, &[]).await.expect(303);
    browser.send_from(QUIET, &end, &[]).await.expect(409);
    let by = |action: &str| (action.to_owned(), "token".to_owned());
    assert_eq!(
        actions(&app, "maintenance_window.").await,
        [
            by("maintenance_window.created"),
            by("maintenance_window.created"),
            by("maintenance_window.ended")
        ]
    );
    app.finish().await;
}

async fn what_is_wrong_with_a_quiet_time_stands_beside_it(env: Env) {
    let (app, browser) = started(&env).await;
    for (change, texts) in [
        (
            vec![("reason", "")],
            vec!["id=\"e-reason\"", "must not be empty", ">\nlab</textarea>"],
        ),
        (vec![("until", "")], vec!["id=\"e-until\"", "enter when it ends"]),
        (
            vec![("until", "2024-03-14T05:00")],
            vec![
                "id=\"e-until\"",
                "must be after from",
                "value=\"2024-03-14T05:00\"",
            ],
        ),
        (
            vec![("until", "tomorrow")],
            vec!["id=\"e-until\"", "is not a date and a time of day"],
        ),
        (
            vec![("until", "2024-03-14T12:00Z")],
            vec!["id=\"e-until\"", "is not a date and a time of day"],
        ),
        (vec![("until", "2025-06-14T12:00")], vec!["more than a year"]),
        (
            vec![("time_zone", "Nairobi")],
            vec![
                "id=\"e-time_zone\"",
                "is not an IANA time zone",
                "value=\"Nairobi\"",
            ],
        ),
        (
            vec![("time_zone", "")],
            vec!["id=\"e-time_zone\"", "enter the time zone of these times"],
        ),
        // In Berlin the first of these times does not exist, and the second exists twice.
        (
            vec![("until", "2024-03-31T02:30"), ("time_zone", "Europe/Berlin")],
            vec!["does not exist or exists twice in this time zone"],
        ),
        (
            vec![("until", "2024-10-27T02:30"), ("time_zone", "Europe/Berlin")],
            vec!["does not exist or exists twice in this time zone"],
        ),
        (
            vec![("matchers.0.field", ""), ("matchers.0.value", "")],
            vec!["must not be empty, because every alert would be silenced"],
        ),
    ] {
        let answer = browser
            .send_from(NEW_SILENCE, "/admin/quiet/silences", &with(&SILENCE, &change))
            .await
            .expect(422);
        shows(&answer.text, &["Nothing was saved"]);
        shows(&answer.text, &texts);
    }
    for (change, texts) in [
        (vec![("resources", "")], vec!["give matchers or resources"]),
        (
            vec![("resources", "project atlantis")],
            vec!["id=\"e-resources\"", "is not in the directory"],
        ),
        (
            vec![("schedule", "often")],
            vec!["id=\"e-schedule\"", "value=\"often\""],
        ),
        (vec![("schedule", "")], vec!["id=\"e-schedule\"", "is missing"]),
        (
            vec![("duration", "")],
            vec!["id=\"e-duration\"", "give the duration of each repetition"],
        ),
        (
            vec![("duration", "1.5")],
            vec!["id=\"e-duration\"", "whole number of minutes"],
        ),
        (
            vec![("duration", "99999999999999999999")],
            vec!["id=\"e-duration\"", "whole number of minutes"],
        ),
        (vec![("name", "")], vec!["id=\"e-name\""]),
    ] {
        let answer = browser
            .send_from(NEW_WINDOW, "/admin/quiet/windows", &with(&WINDOW, &change))
            .await
            .expect(422);
        shows(&answer.text, &["Nothing was saved"]);
        shows(&answer.text, &texts);
    }
    // All errors are shown at once.
    let change = [
        ("name", ""),
        ("until", "soon"),
        ("duration", "x"),
        ("resources", "project atlantis"),
    ];
    let answer = browser
        .send_from(NEW_WINDOW, "/admin/quiet/windows", &with(&WINDOW, &change))
        .await
        .expect(422);
    shows(
        &answer.text,
        &[
            "id=\"e-name\"",
            "id=\"e-until\"",
            "id=\"e-duration\"",
            "id=\"e-resources\"",
        ],
    );
    let change = [
        ("reason", ""),
        ("time_zone", "Nairobi"),
        ("matchers.0.field", "service"),
    ];
    let answer = browser
        .send_from(NEW_SILENCE, "/admin/quiet/silences", &with(&SILENCE, &change))
        .await
        .expect(422);
    shows(
        &answer.text,
        &["id=\"e-reason\"", "id=\"e-time_zone\"", "id=\"m-0\""],
    );
    assert_eq!(env.count("quiet_periods"), 0);
    app.finish().await;
}

/// Returns each form: the path that it is sent to, and valid values.
async fn forms(app: &TestApp, browser: &Browser) -> Vec<(String, Vec<(&'static str, &'static str)>)> {
    browser.send_from(NEW_RULE, RULES, &RULE).await.expect(303);
    browser
        .send_from(NEW_SILENCE, "/admin/quiet/silences", &SILENCE)
        .await
        .expect(303);
    browser
        .send_from(NEW_WINDOW, "/admin/quiet/windows", &WINDOW)
        .await
        .expect(303);
    let id = async |path: &str| app.all(path).await[0]["id"].as_str().expect("an id").to_owned();
    let (rule, silence, window) = (
        id("/api/v1/alert-rules").await,
        id("/api/v1/silences").await,
        id("/api/v1/maintenance-windows").await,
    );
    vec![
        (RULES.to_owned(), RULE.to_vec()),
        (format!("{RULES}/{rule}"), RULE.to_vec()),
        (format!("{RULES}/{rule}/move"), vec![("to", "down")]),
        (format!("{RULES}/{rule}/delete"), vec![]),
        ("/admin/rules/try".to_owned(), RULE.to_vec()),
        ("/admin/quiet/silences".to_owned(), SILENCE.to_vec()),
        (format!("/admin/quiet/silences/{silence}/end"), vec![]),
        ("/admin/quiet/windows".to_owned(), WINDOW.to_vec()),
        (format!("/admin/quiet/windows/{window}/end"), vec![]),
    ]
}

async fn state(app: &TestApp) -> Vec<Answer> {
    let mut all = Vec::new();
    for path in [
        "/api/v1/alert-rules",
        "/api/v1/silences",
        "/api/v1/maintenance-windows",
    ] {
        all.push(app.get(path).await.expect(200));
    }
    all
}

fn texts(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(|answer| answer.text.as_str()).collect()
}

async fn only_forms_of_the_session_change_anything(env: Env) {
    let (app, browser) = started(&env).await;
    let forms = forms(&app, &browser).await;
    let another = Browser::signed_in(&app, &app.token("admin").await).await;
    let foreign = another.key(NEW_RULE).await;
    let before = state(&app).await;
    for (path, fields) in &forms {
        let none = browser.send(path, fields).await.expect(403);
        shows(&none.text, &["does not belong to this session"]);
        for key in ["", "x", &foreign] {
            let mut fields = fields.clone();
            fields.push(("form_key", key));
            browser.send(path, &fields).await.expect(403);
        }
        // Without a session the form is not read.
        let nobody = app.anonymous();
        let answer = nobody
            .post_raw(path, "application/x-www-form-urlencoded", "a=b")
            .await
            .expect(303);
        assert_eq!(answer.header("location"), "/admin/sign-in");
    }
    assert_eq!(texts(&state(&app).await), texts(&before));
    let refused = app.all("/api/v1/audit?action=access.forbidden").await;
    assert_eq!(refused.len(), 4 * forms.len());
    assert_eq!(refused[0]["actor"]["kind"], "token");
    app.finish().await;
}

async fn only_who_may_by_the_api_may_here(env: Env) {
    let (app, browser) = started(&env).await;
    let forms = forms(&app, &browser).await;
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    // Everybody with a session may read.
    for who in [&viewer, &operator] {
        let page = who.page(RULES).await;
        shows(&page, &["1. Storage"]);
        hides(&page, &["New rule", "Delete", "form_key"]);
        who.open(NEW_RULE).await.expect(403);
    }
    let page = viewer.page(QUIET).await;
    shows(&page, &["The lab is rebuilt", "Disks are changed"]);
    hides(&page, &["New silence", "End now", "form_key"]);
    for path in [NEW_SILENCE, NEW_WINDOW] {
        let answer = viewer.open(path).await.expect(403);
        shows(
            &answer.text,
            &["this needs the role operator; you have the role viewer"],
        );
    }
    let before = state(&app).await;
    for (path, fields) in &forms {
        viewer.send(path, fields).await.expect(403);
        if path.starts_with(RULES) {
            let answer = operator.send_from(QUIET, path, fields).await.expect(403);
            shows(
                &answer.text,
                &["this needs the role admin; you have the role operator"],
            );
        }
    }
    assert_eq!(texts(&state(&app).await), texts(&before));
    for (path, fields) in forms.iter().filter(|(path, _)| path.starts_with(QUIET)) {
        operator.send_from(QUIET, path, fields).await.expect(303);
    }
    app.finish().await;
}
