//! A policy about recoveries tells those of whom everything is restored, as evidence comes in, within its limits and not more often than
//! it says.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::monitoring::policy;
use crate::support::recovery::{ACME, BETA, OPENED, Stored};
use crate::support::{DEADLINE, Env, TestApp, eventually, on_both_databases};

on_both_databases!(
    those_who_are_complete_hear_it_and_then_those_since,
    above_its_limit_it_only_drafts,
    nobody_reads_first_that_something_is_restored,
    a_draft_of_a_person_is_not_overtaken,
    what_it_will_send_is_shown_and_can_be_held,
    what_a_policy_says_is_checked,
    a_trial_says_what_it_would_do,
);

fn recovery(more: Value) -> Value {
    let mut body = policy(json!({
        "name": "As they come", "phase": "recovery", "every_minutes": 30, "message": "Your files are restored.",
        "customer_action": {"required": false},
    }));
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

async fn created(app: &TestApp, more: Value) -> String {
    let path = "/api/v1/automation/policies";
    app.post(path, recovery(more)).await.expect(201).id()
}

async fn start(env: &Env) -> Stored {
    Stored::told(TestApp::builder(env).at(OPENED).start().await).await
}

/// Returns the notices of phase `recovery`, when there are this many.
async fn recoveries(stored: &Stored, n: usize) -> Vec<Value> {
    eventually("the recoveries", DEADLINE, async || {
        let mut notices = stored.app.all(&stored.path("/notices")).await;
        notices.retain(|notice| notice["phase"] == "recovery");
        (notices.len() == n).then_some(notices)
    })
    .await
}

/// Waits until the policies have seen all evidence and nothing is due now.
async fn settled(stored: &Stored) {
    let events = "audit_events WHERE action = 'recovery.observed'";
    eventually("the policies to settle", DEADLINE, async || {
        let seen = stored.app.env.count(&format!(
            "{events} AND seq > (SELECT seq FROM trail_cursors WHERE name = 'automation.recovery')"
        ));
        (seen == 0).then_some(())
    })
    .await;
}

async fn those_who_are_complete_hear_it_and_then_those_since(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    created(app, json!({})).await;
    stored.recover("2024-04-20T11:00:00Z", &[BETA]).await;
    let first = recoveries(&stored, 1).await[0].clone();
    let id = first["id"].as_str().expect("an id");
    app.done(id).await;
    assert_eq!(stored.got(id).await, ["bob"]);
    let timeline = app.told_on_timeline(&stored.incident).await;
    let said = "Policy “As they come”: a recovery notice to 1 person is being sent automatically";
    assert!(
        timeline.iter().any(|text| text.starts_with(said)),
        "{timeline:#?}"
    );
    // Ten minutes later it waits, because it sends at most every 30 minutes.
    stored.recover("2024-04-20T11:10:00Z", &["a1"]).await;
    settled(&stored).await;
    stored.recover("2024-04-20T11:20:00Z", &["a2", "a3", "a4"]).await;
    settled(&stored).await;
    assert_eq!(recoveries(&stored, 1).await.len(), 1);
    app.set_clock("2024-04-20T11:30:00Z");
    let second = recoveries(&stored, 2).await[1].clone();
    let id = second["id"].as_str().expect("an id");
    app.done(id).await;
    assert_eq!(stored.got(id).await, ["ann", "cleo"]);
    // Nothing is left to say.
    app.mails(6).await;
    let decided = format!(
        "/api/v1/audit?incident={}&action=automation.decided",
        stored.incident
    );
    let outcomes: Vec<Value> = app
        .all(&decided)
        .await
        .iter()
        .map(|event| event["after"]["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["sent", "sent"]);
    stored.app.finish().await;
}

async fn above_its_limit_it_only_drafts(env: Env) {
    let stored = start(&env).await;
    created(&stored.app, json!({"limits": {"audience_at_most": 1}})).await;
    stored.recover("2024-04-20T11:00:00Z", &[BETA, "a1"]).await;
    let draft = recoveries(&stored, 1).await[0].clone();
    assert_eq!(draft["state"], "draft");
    // Further evidence makes no second draft: a person decides about the first one.
    stored.recover("2024-04-20T12:00:00Z", &["a2", "a3", "a4"]).await;
    settled(&stored).await;
    let due = "automation_recoveries WHERE due_at IS NOT NULL";
    eventually("the policy to look", DEADLINE, async || {
        (env.count(due) == 0).then_some(())
    })
    .await;
    let draft = recoveries(&stored, 1).await[0].clone();
    let id = draft["id"].as_str().expect("an id");
    stored.app.send_as_previewed(id).await;
    assert_eq!(stored.got(id).await, ["ann", "bob", "cleo"]);
    stored.app.finish().await;
}

async fn nobody_reads_first_that_something_is_restored(env: Env) {
    let stored = Stored::opened(TestApp::builder(&env).at(OPENED).start().await).await;
    created(&stored.app, json!({})).await;
    stored.begin(&[BETA]).await;
    stored.recover("2024-04-20T11:00:00Z", &[BETA]).await;
    settled(&stored).await;
    let due = "automation_recoveries WHERE due_at IS NOT NULL";
    eventually("the policy to look", DEADLINE, async || {
        (env.count(due) == 0).then_some(())
    })
    .await;
    recoveries(&stored, 0).await;
    stored.app.mails(0).await;
    stored.app.finish().await;
}

async fn a_draft_of_a_person_is_not_overtaken(env: Env) {
    let stored = start(&env).await;
    created(&stored.app, json!({})).await;
    let draft = stored.app.draft(&stored.incident, "recovery").await;
    stored.recover("2024-04-20T11:00:00Z", &[BETA]).await;
    settled(&stored).await;
    let due = "automation_recoveries WHERE due_at IS NOT NULL";
    eventually("the policy to look", DEADLINE, async || {
        (env.count(due) == 0).then_some(())
    })
    .await;
    assert_eq!(recoveries(&stored, 1).await[0]["id"], draft);
    stored.app.finish().await;
}

async fn what_it_will_send_is_shown_and_can_be_held(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    created(app, json!({"wait_seconds": 600})).await;
    stored.recover("2024-04-20T11:00:00Z", &[BETA]).await;
    settled(&stored).await;
    let now = async |held: bool| {
        eventually("what is sent by itself", DEADLINE, async || {
            let now = app.get("/api/v1/now").await.expect(200).json.clone();
            let first = &now["automatic"][0];
            (first["kind"] == "recovery" && first["held_by"].is_string() == held).then(|| now.clone())
        })
        .await
    };
    let needs = |now: &Value| now["needs"].to_string().contains("\"kind\":\"recovery\"");
    let shown = now(false).await;
    let first = &shown["automatic"][0];
    assert_eq!(
        (&first["people"], &first["due_at"], &first["policy"]),
        (&json!(1), &json!("2024-04-20T11:10:00Z"), &json!("As they come")),
        "{first}"
    );
    assert!(!needs(&shown), "nobody has to write it: {shown}");
    let runs = app.all("/api/v1/automation/runs?limit=1").await;
    assert_eq!(runs.len(), 1, "{runs:#?}");
    assert_eq!(
        (&runs[0]["phase"], &runs[0]["outcome"]),
        (&json!("recovery"), &Value::Null)
    );
    let browser = Browser::signed_in(app, &app.token("operator").await).await;
    let page = browser.page("/admin").await;
    assert!(
        page.contains("will be told automatically that theirs is restored"),
        "{page}"
    );
    let hold = "/admin/incidents/1/automation/hold";
    browser
        .send_from("/admin", hold, &[("from", "now")])
        .await
        .expect(303);
    app.post(&stored.path("/automation/hold"), json!({}))
        .await
        .expect_problem(409);
    // Its time passes and further evidence comes in, and nothing is sent.
    stored.recover("2024-04-20T12:00:00Z", &ACME).await;
    settled(&stored).await;
    let shown = now(true).await;
    assert!(needs(&shown), "now a person decides: {shown}");
    assert_eq!(recoveries(&stored, 0).await.len(), 0);
    assert!(
        browser
            .page("/admin/automation")
            .await
            .contains("about recoveries")
    );
    app.post(&stored.path("/automation/release"), json!({}))
        .await
        .expect(200);
    let sent = recoveries(&stored, 1).await[0].clone();
    let id = sent["id"].as_str().expect("an id");
    app.done(id).await;
    assert_eq!(stored.got(id).await, ["ann", "bob", "cleo"]);
    let runs = app.all("/api/v1/automation/runs?limit=1").await;
    assert_eq!(
        (&runs[0]["outcome"], &runs[0]["notice"], &runs[0]["held_by"]),
        (&json!("sent"), &json!(id), &Value::Null)
    );
    let of_incident = app.get(&stored.path("/automation")).await.expect(200);
    assert_eq!(of_incident["recovery"]["outcome"], "sent");
    let refused = app.post(&stored.path("/automation/hold"), json!({})).await;
    refused.expect_problem(409);
    stored.app.finish().await;
}

async fn what_a_policy_says_is_checked(env: Env) {
    let stored = start(&env).await;
    let path = "/api/v1/automation/policies";
    for (more, place) in [
        (json!({"every_minutes": null}), "/every_minutes"),
        (json!({"every_minutes": 4}), "/every_minutes"),
        (json!({"every_minutes": 1441}), "/every_minutes"),
        (json!({"phase": "detection"}), "/every_minutes"),
        (json!({"customer_action": null}), "/customer_action"),
        (json!({"limits": null}), "/limits"),
    ] {
        let answer = stored.app.post(path, recovery(more)).await;
        answer.expect_invalid(place);
    }
    stored.app.finish().await;
}

async fn a_trial_says_what_it_would_do(env: Env) {
    let stored = start(&env).await;
    let id = created(&stored.app, json!({"severities": ["major"]})).await;
    let path = format!("/api/v1/automation/policies/{id}");
    let trial = json!({"incident": stored.incident});
    let tried = stored
        .app
        .post(&format!("{path}/try"), trial.clone())
        .await
        .expect(200);
    // Nobody is complete, so the notice would have no recipients.
    assert_eq!(
        (&tried["outcome"], &tried["recipients"]),
        (&json!("nothing"), &json!(0))
    );
    let other = stored.app.incident([("file", BETA)]).await;
    let tried = stored
        .app
        .post(&format!("{path}/try"), json!({"incident": other}))
        .await
        .expect(200);
    assert_eq!(tried["outcome"], "nothing");
    stored.app.finish().await;
}
