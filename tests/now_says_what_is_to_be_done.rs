//! The first page says what is wrong with Candor itself, what will be sent by itself, what needs a person, which incidents are open,
//! what is being sent, and what was resolved lately. It is quiet if all is well. The API says the same.

use std::sync::Arc;
use std::time::Duration;

use candor::demo::catcher::{Decision, Policy};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::browser::Browser;
use crate::support::story::PROJECT;
use crate::support::{DEADLINE, Env, TestApp, on_both_databases, story_directory, wait_until};

on_both_databases!(
    a_quiet_day_is_one_sentence,
    what_is_wrong_with_candor_itself_is_a_bar,
    a_mail_server_that_does_not_answer_is_named,
    what_needs_a_person_has_one_button_each,
    a_draft_above_a_limit_waits_for_approval,
    the_most_severe_incident_is_first,
    what_is_not_examined_is_said,
    what_is_being_sent_can_be_stopped,
    a_policy_is_held_and_released,
    a_policy_that_does_nothing_any_more_is_not_shown,
    a_viewer_sees_no_buttons,
);

const NOW: &str = "/api/v1/now";
const PAGE: &str = "/admin";

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    let page = page.replace("&#x3D;", "=");
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

async fn operator(app: &TestApp) -> Browser {
    Browser::signed_in(app, &app.token("operator").await).await
}

async fn now(app: &TestApp) -> Value {
    let answer = app.get(NOW).await.expect(200);
    serde_json::from_str(&answer.text).expect("JSON")
}

/// The kinds of a part, in their order.
fn kinds(now: &Value, part: &str) -> Vec<String> {
    let rows = now[part].as_array().expect("a list");
    rows.iter()
        .map(|row| row["kind"].as_str().expect("a kind").to_owned())
        .collect()
}

async fn a_quiet_day_is_one_sentence(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let browser = operator(&app).await;
    shows(
        &browser.page(PAGE).await,
        &[
            "All is well.",
            "There was no incident so far.",
            "/admin/integrations",
        ],
    );
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    let page = browser.page(PAGE).await;
    shows(
        &page,
        &[
            "All is well. No incident is open",
            "The last incident was",
            "#1 Files cannot be opened",
            "Resolved in the last 24 hours:",
        ],
    );
    hides(
        &page,
        &["Needs you", "Open incidents", "Sending", "Sends automatically"],
    );
    let quiet = now(&app).await;
    for part in ["faults", "automatic", "needs", "open", "sending"] {
        assert_eq!(quiet[part], json!([]), "{part}: {quiet}");
    }
    assert_eq!(quiet["resolved"][0]["number"], 1);
    app.set_clock("2024-03-16T07:00:00Z");
    // The session has ended meanwhile.
    let browser = operator(&app).await;
    hides(&browser.page(PAGE).await, &["Resolved in the last 24 hours"]);
    app.finish().await;
}

async fn what_is_wrong_with_candor_itself_is_a_bar(env: Env) {
    let app = TestApp::builder(&env).without_smtp().start().await;
    let beat = json!({"name": "<nightly> backup", "every_seconds": 3600});
    app.post("/api/v1/heartbeats", beat).await.expect(201);
    assert_eq!(kinds(&now(&app).await, "faults"), ["outbox"]);
    env.sql("UPDATE heartbeats SET state = 'silent', changed_at = created_at")
        .expect("a statement");
    let check = json!({"name": "Shop", "url": "https://shop.example/", "paused": true});
    app.post("/api/v1/checks", check).await.expect(201);
    env.sql("UPDATE checks SET state = 'down', paused = FALSE, due_at = 9000000000000000, changed_at = created_at")
        .expect("a statement");
    assert_eq!(
        kinds(&now(&app).await, "faults"),
        ["check", "heartbeat", "outbox"]
    );
    let page = operator(&app).await.page(PAGE).await;
    shows(
        &page,
        &[
            "No mail server is set. Emails are written to files",
            "The heartbeat “&lt;nightly&gt; backup” is missing.",
            "The check “Shop” is down.",
            "href=\"/admin/watching\"",
        ],
    );
    // The page about the system is only for admins.
    hides(&page, &["/admin/system\">Details", "All is well"]);
    app.finish().await;
}

async fn a_mail_server_that_does_not_answer_is_named(env: Env) {
    // Nobody listens on port 9 of this machine.
    let app = TestApp::builder(&env)
        .relay("smtp://127.0.0.1:9")
        .retry_schedule([Duration::from_secs(3_600)])
        .start()
        .await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    wait_until("an attempt", DEADLINE, async || {
        env.count("delivery_attempts") > 0
    })
    .await;
    let faults = now(&app).await["faults"].clone();
    assert_eq!(faults[0]["kind"], "mail_server", "{faults}");
    assert!(faults[0]["since"].is_string(), "{faults}");
    shows(
        &operator(&app).await.page(PAGE).await,
        &[
            "The mail server 127.0.0.1:9 does not answer. 3 emails wait.",
            "<span class=\"quiet nowrap\"><time",
        ],
    );
    app.finish().await;
}

async fn what_needs_a_person_has_one_button_each(env: Env) {
    let app = TestApp::builder(&env)
        .at("2024-03-14T07:00:00Z")
        .config(|config| config.update_every = Some(Duration::from_secs(3_600)))
        .start()
        .await;
    let browser = operator(&app).await;
    let incident = app.story_incident().await;
    assert_eq!(kinds(&now(&app).await, "needs"), ["detection"]);
    let page = browser.page(PAGE).await;
    shows(
        &page,
        &[
            "3 people affected, nobody emailed yet",
            "<a class=\"button\" href=\"/admin/incidents/1/write?phase=detection\">Write detection",
            // The second press of the tab key reaches it.
            "<a class=\"skip\" href=\"/admin/incidents/1/write?phase=detection\">Write detection",
        ],
    );
    let draft = app.draft(&incident, "detection").await;
    assert_eq!(kinds(&now(&app).await, "needs"), ["draft"]);
    let continues = format!("<a class=\"button\" href=\"/admin/notices/{draft}\">Continue");
    shows(
        &browser.page(PAGE).await,
        &["The detection to 3 people is not sent yet", &continues],
    );
    app.send_as_previewed(&draft).await;
    app.done(&draft).await;
    assert_eq!(kinds(&now(&app).await, "needs"), [""; 0]);
    // Somebody without an address becomes affected, and somebody who can be emailed.
    app.put("/api/v1/people/nobody", json!({"name": "Nobody", "email": ""}))
        .await
        .expect(201);
    for person in ["nobody", "grace"] {
        let path = format!("/api/v1/resources/project/{PROJECT}/collaborators/{person}");
        app.put(&path, json!({"role": "viewer"})).await.expect(201);
    }
    assert_eq!(kinds(&now(&app).await, "needs"), ["catch_up", "not_reached"]);
    shows(
        &browser.page(PAGE).await,
        &[
            "1 person became affected after the detection and is not emailed",
            "1 person was not reached",
            "href=\"/admin/incidents/1/unreached\">Review",
        ],
    );
    app.set_clock("2024-03-14T08:00:01Z");
    let step = json!({"text": "Write a runbook", "owner": "ops", "due_on": "2024-03-13"});
    app.post(&format!("/api/v1/incidents/{incident}/next-steps"), step)
        .await
        .expect(201);
    assert_eq!(
        kinds(&now(&app).await, "needs"),
        ["update", "catch_up", "not_reached", "steps"]
    );
    shows(
        &browser.page(PAGE).await,
        &[
            "The next update is overdue",
            "href=\"/admin/incidents/1/write?phase=update\">Send update",
            "1 next step is overdue",
            "href=\"/admin/incidents/1/follow-ups\">Review",
        ],
    );
    app.resolve(&incident).await;
    let needs = now(&app).await["needs"].clone();
    assert_eq!(needs[0]["kind"], "resolution", "{needs}");
    assert_eq!(needs[0]["count"], 3, "{needs}");
    shows(
        &browser.page(PAGE).await,
        &[
            "The incident is resolved, and 3 people are not notified of that yet",
            "href=\"/admin/incidents/1/write?phase=resolution\">Write resolution",
        ],
    );
    app.finish().await;
}

async fn a_draft_above_a_limit_waits_for_approval(env: Env) {
    let app = TestApp::builder(&env).max_audience(2).start().await;
    let incident = app.story_incident().await;
    let draft = app.draft(&incident, "detection").await;
    let needs = now(&app).await["needs"].clone();
    assert_eq!(
        (&needs[0]["kind"], &needs[0]["count"], &needs[0]["limit"]),
        (&json!("approval"), &json!(3), &json!("2")),
        "{needs}"
    );
    let review = format!("<a class=\"button\" href=\"/admin/notices/{draft}\">Review");
    shows(
        &operator(&app).await.page(PAGE).await,
        &["The detection waits for approval: 3 people (limit 2)", &review],
    );
    let other = app.as_new("approver").await;
    let digest = app.digest(&draft).await;
    other.approve(&draft, &digest).await.expect(200);
    assert_eq!(kinds(&now(&app).await, "needs"), ["draft"]);
    app.finish().await;
}

async fn the_most_severe_incident_is_first(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    for (title, severity) in [
        ("Small", "minor"),
        ("Old", "critical"),
        ("Large", "major"),
        ("New", "critical"),
    ] {
        let incident = json!({"title": title, "severity": severity});
        app.post("/api/v1/incidents", incident).await.expect(201);
        app.clock.advance(Duration::from_secs(60));
    }
    let open = now(&app).await["open"].clone();
    let titles: Vec<&str> = open
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["title"].as_str().expect("a title"))
        .collect();
    assert_eq!(titles, ["Old", "New", "Large", "Small"]);
    assert_eq!(open[0]["people"]["people"], 0);
    let page = operator(&app).await.page(PAGE).await;
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
    assert!(
        at("#2 Old") < at("#4 New") && at("#4 New") < at("#3 Large"),
        "{page}"
    );
    shows(&page, &["Open incidents", "3 min", "nobody"]);
    app.finish().await;
}

async fn what_is_not_examined_is_said(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let browser = operator(&app).await;
    for n in 0..27 {
        let incident = json!({"title": format!("Incident {n}"), "severity": "minor"});
        app.post("/api/v1/incidents", incident).await.expect(201);
    }
    assert_eq!(now(&app).await["not_examined"], 2);
    shows(
        &browser.page(PAGE).await,
        &[
            "2 more incidents are not examined here",
            "href=\"/admin/incidents?status=open\">all open incidents",
        ],
    );
    for incident in app.all("/api/v1/incidents").await.iter().take(22) {
        app.resolve(incident["id"].as_str().expect("an ID")).await;
    }
    let after = now(&app).await;
    assert_eq!(
        (&after["not_examined"], &after["more_resolved"]),
        (&json!(2), &json!(2)),
        "{after}"
    );
    shows(&browser.page(PAGE).await, &["and 2 more</a>"]);
    // The numbers of what is over are read from its notices: there are none.
    shows(
        &browser.page("/admin/incidents?status=resolved").await,
        &["Incident 26"],
    );
    app.finish().await;
}

async fn what_is_being_sent_can_be_stopped(env: Env) {
    let permits = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&permits);
    let app = TestApp::builder(&env)
        .smtp_policy(Policy::new(move |_| Decision::Hold(Arc::clone(&hold))))
        .send_concurrency(1)
        .start()
        .await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    let sending = now(&app).await["sending"].clone();
    assert_eq!(
        (
            &sending[0]["notice"],
            &sending[0]["emails"],
            &sending[0]["pending"]
        ),
        (&json!(notice), &json!(3), &json!(3)),
        "{sending}"
    );
    let browser = operator(&app).await;
    let stop = format!("/admin/notices/{notice}/stop");
    let page = browser.page(PAGE).await;
    shows(
        &page,
        &[
            "0 of 3 emails",
            "3 emails that are not sent yet will not be sent",
            &stop,
            "data-every=\"2\"",
        ],
    );
    browser.send_from(PAGE, &stop, &[]).await.expect(303);
    assert_eq!(now(&app).await["sending"], json!([]));
    permits.add_permits(10);
    app.finish().await;
}

async fn a_policy_is_held_and_released(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    app.policy(json!({"name": "Large <ones>", "wait_seconds": 600}))
        .await;
    let incident = app.fires(&monitoring, "storage", PROJECT, "critical").await;
    app.waits(&incident).await;
    let browser = operator(&app).await;
    let page = browser.page(PAGE).await;
    shows(
        &page,
        &[
            "Sends automatically",
            "will be emailed automatically",
            "data-until=\"2024-03-14T07:10:00Z\"",
            "(policy “<span dir=\"auto\">Large &lt;ones&gt;</span>”)",
            ">Hold<",
        ],
    );
    // Nobody must write a detection that is sent by itself.
    assert_eq!(kinds(&now(&app).await, "needs"), [""; 0]);
    let form = "/admin/incidents/1/automation/hold";
    let held = browser
        .send_from(PAGE, form, &[("from", "now")])
        .await
        .expect(303);
    assert_eq!(held.header("location"), "/admin");
    let run = app.run_of(&incident).await;
    assert_eq!(
        (&run["held_by"], &run["held_at"]),
        (&json!("a test's operator"), &json!("2024-03-14T07:00:00Z")),
        "{run}"
    );
    shows(
        &browser.page(PAGE).await,
        &[
            "would be emailed automatically",
            "held by <span dir=\"auto\">a test&#x27;s operator</span>",
            ">Release<",
            "Write detection",
        ],
    );
    // A second hold changes nothing, and a form that has no such field is refused.
    app.post(
        &format!("/api/v1/incidents/{incident}/automation/hold"),
        json!({}),
    )
    .await
    .expect_problem(409);
    browser.send_from(PAGE, form, &[("until", "x")]).await.expect(422);
    // Its time passes, and nothing happens.
    app.set_clock("2024-03-14T09:00:00Z");
    wait_until("the next poll", DEADLINE, async || {
        app.get("/api/v1/automation/runs").await.expect(200)["items"][0]["held_by"].is_string()
    })
    .await;
    assert_eq!(app.run_of(&incident).await["outcome"], Value::Null);
    // On the page of the incident it is released. It acts now, and does not count as late.
    shows(
        &browser.page("/admin/incidents/1").await,
        &[">Release<", "name=\"from\" value=\"incident\""],
    );
    let released = browser
        .send_from(
            "/admin/incidents/1",
            "/admin/incidents/1/automation/release",
            &[("from", "incident")],
        )
        .await
        .expect(303);
    assert_eq!(released.header("location"), "/admin/incidents/1");
    let run = app.decided(&incident).await;
    assert_eq!(
        (&run["outcome"], &run["reason"]),
        (&json!("sent"), &Value::Null),
        "{run}"
    );
    app.done(run["notice"].as_str().expect("a notice")).await;
    app.post(
        &format!("/api/v1/incidents/{incident}/automation/release"),
        json!({}),
    )
    .await
    .expect_problem(409);
    let told = app.told_on_timeline(&incident).await;
    assert!(
        told.iter().any(|text| text.contains("is held: it does nothing")),
        "{told:?}"
    );
    assert!(told.iter().any(|text| text.contains("is released")), "{told:?}");
    let events = app.all("/api/v1/audit").await;
    for action in ["automation.held", "automation.released"] {
        assert!(events.iter().any(|event| event["action"] == action), "{action}");
    }
    app.finish().await;
}

async fn a_policy_that_does_nothing_any_more_is_not_shown(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    app.policy(json!({"name": "Large ones", "wait_seconds": 600}))
        .await;
    let drafted = app.fires(&monitoring, "storage", PROJECT, "critical").await;
    let over = app.fires(&monitoring, "network", PROJECT, "critical").await;
    for incident in [&drafted, &over] {
        app.waits(incident).await;
    }
    let automatic = async || now(&app).await["automatic"].as_array().expect("a list").len();
    assert_eq!(automatic().await, 2);
    // Somebody wrote a draft, and discards it.
    let draft = app.draft(&drafted, "detection").await;
    assert_eq!(automatic().await, 1);
    let browser = operator(&app).await;
    hides(
        &browser.page("/admin/incidents/1").await,
        &["will be emailed automatically"],
    );
    app.delete(&format!("/api/v1/notices/{draft}")).await.expect(204);
    assert_eq!(automatic().await, 1);
    // A policy is held, and its incident ends.
    let hold = format!("/api/v1/incidents/{over}/automation/hold");
    app.post(&hold, json!({})).await.expect(200);
    assert_eq!(automatic().await, 1);
    app.resolve(&over).await;
    assert_eq!(automatic().await, 0);
    app.post(&format!("/api/v1/incidents/{over}/automation/release"), json!({}))
        .await
        .expect(200);
    app.post(&hold, json!({})).await.expect_problem(409);
    app.clock.advance(Duration::from_secs(600));
    assert_eq!(
        app.decided(&over).await["reason"],
        "the incident is already resolved"
    );
    assert_eq!(
        app.decided(&drafted).await["reason"],
        "a person has already written a notice"
    );
    app.mails(0).await;
    app.finish().await;
}

async fn a_viewer_sees_no_buttons(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    app.policy(json!({"wait_seconds": 600})).await;
    let incident = app.fires(&monitoring, "storage", PROJECT, "critical").await;
    app.waits(&incident).await;
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    for path in [
        PAGE,
        "/admin/incidents",
        "/admin/incidents/1",
        "/admin/incidents/1/resources",
    ] {
        hides(
            &viewer.page(path).await,
            &[
                "/automation/hold",
                ">Hold<",
                "/admin/incidents/new",
                "write?phase",
                "set-status",
                "resources/remove",
            ],
        );
    }
    for path in [
        "/admin/incidents/1/automation/hold",
        "/admin/incidents/1/automation/release",
        "/admin/incidents/1/owner",
        "/admin/incidents/1/severity",
        "/admin/incidents/1/resources",
        "/admin/incidents/1/resources/selector",
        "/admin/incidents/1/resources/remove",
        "/admin/incidents/1/unmatched",
    ] {
        viewer.send(path, &[]).await.expect(403);
    }
    let reader = app.as_new("viewer").await;
    reader.get(NOW).await.expect(200);
    reader
        .post(
            &format!("/api/v1/incidents/{incident}/automation/hold"),
            json!({}),
        )
        .await
        .expect_problem(403);
    app.finish().await;
}
