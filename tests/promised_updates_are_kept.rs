//! A notice can promise the next update by a time. The time is ahead when the notice is drafted and when it is sent, and stands in
//! every email. Operators are reminded before it, and a promise that passes without a later notice is recorded as missed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{DEADLINE, Env, TestApp, eventually, on_both_databases, wait_until};

on_both_databases!(
    only_a_time_ahead_is_promised,
    the_promise_is_in_every_email,
    a_promise_that_has_passed_is_not_sent,
    operators_are_reminded_and_a_missed_promise_is_recorded_once,
    the_next_notice_keeps_the_promise,
    a_queued_promise_cannot_change,
);

const NOW: &str = "2024-03-14T07:00:00Z";
const DUE: &str = "2024-03-14T09:30:00+01:00";
const ON_CALL: &str = "on-call@ours.example";

async fn started(env: &Env) -> (TestApp, String) {
    let app = TestApp::builder(env).at(NOW).start().await;
    let incident = app.story_incident().await;
    (app, incident)
}

async fn promising(app: &TestApp, incident: &str, phase: &str, due: &str) -> String {
    let body = json!({"phase": phase, "message": "We look into it.", "next_update_due_at": due});
    let made = app
        .post(&format!("/api/v1/incidents/{incident}/notices"), body)
        .await;
    made.expect(201).id()
}

async fn only_a_time_ahead_is_promised(env: Env) {
    let (app, incident) = started(&env).await;
    let path = format!("/api/v1/incidents/{incident}/notices");
    let draft = |phase: &str, due: Value| json!({"phase": phase, "message": "News.", "customer_action": {"required": false}, "next_update_due_at": due});
    for due in ["2024-03-14T06:59:59Z", NOW, "2024-03-14T09:30:00", "tomorrow"] {
        app.post(&path, draft("detection", json!(due)))
            .await
            .expect_invalid("/next_update_due_at");
    }
    app.resolve(&incident).await;
    for phase in ["resolution", "report"] {
        app.post(&path, draft(phase, json!(DUE)))
            .await
            .expect_invalid("/next_update_due_at");
    }
    assert_eq!(env.count("notices"), 0);
    let notice = app.post(&path, draft("update", json!(DUE))).await.expect(201);
    assert_eq!(notice["next_update_due_at"], "2024-03-14T08:30:00Z");
    let notice = format!("/api/v1/notices/{}", notice.id());
    app.patch(&notice, json!({"next_update_due_at": NOW}))
        .await
        .expect_invalid("/next_update_due_at");
    let same = app
        .patch(&notice, json!({"message": "More news."}))
        .await
        .expect(200);
    assert_eq!(same["next_update_due_at"], "2024-03-14T08:30:00Z");
    let none = app
        .patch(&notice, json!({"next_update_due_at": null}))
        .await
        .expect(200);
    assert_eq!(none["next_update_due_at"], Value::Null);
    app.finish().await;
}

async fn the_promise_is_in_every_email(env: Env) {
    let (app, incident) = started(&env).await;
    let notice = promising(&app, &incident, "detection", DUE).await;
    let digest = app.digest(&notice).await;
    app.patch(
        &format!("/api/v1/notices/{notice}"),
        json!({"next_update_due_at": "2024-03-14T23:30:00Z"}),
    )
    .await
    .expect(200);
    app.send(&notice, &digest).await.expect_problem(409);
    app.send_as_previewed(&notice).await;
    for mail in app.mails(3).await {
        // The next day has begun there.
        let time = "We will write again by 15 March 2024, 02:30 EAT (14 March, 23:30 UTC)";
        for part in [&mail.flat(), &mail.html] {
            assert!(part.contains(time), "{part}");
            assert!(part.contains("even if there is no news"), "{part}");
        }
    }
    app.finish().await;
}

async fn a_promise_that_has_passed_is_not_sent(env: Env) {
    let (app, incident) = started(&env).await;
    let notice = promising(&app, &incident, "detection", DUE).await;
    app.set_clock("2024-03-14T08:30:00Z");
    let preview = app.preview(&notice).await.expect(200);
    assert!(
        preview["warnings"].to_string().contains("which has passed"),
        "{preview}"
    );
    let digest = app.digest(&notice).await;
    app.send(&notice, &digest)
        .await
        .expect_invalid("/next_update_due_at");
    app.patch(
        &format!("/api/v1/notices/{notice}"),
        json!({"next_update_due_at": "2024-03-14T08:31:00Z"}),
    )
    .await
    .expect(200);
    app.send_as_previewed(&notice).await;
    app.mails(3).await;
    app.finish().await;
}

async fn overdue(app: &TestApp) -> Vec<Value> {
    let mut messages = app.all("/api/v1/operators/messages").await;
    messages.reverse();
    messages.retain(|message| message["event"] == "overdue");
    messages
}

async fn timeline(app: &TestApp, incident: &str) -> Vec<Value> {
    let mut entries = app.all(&format!("/api/v1/incidents/{incident}/timeline")).await;
    entries.retain(|entry| entry["text"].to_string().contains("Promised update missed"));
    entries
}

async fn operators_are_reminded_and_a_missed_promise_is_recorded_once(env: Env) {
    let (app, incident) = started(&env).await;
    app.post("/api/v1/operators", json!({"name": "On call", "email": ON_CALL}))
        .await
        .expect(201);
    let notice = promising(&app, &incident, "detection", "2024-03-14T11:00:00Z").await;
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    let automation = format!("/api/v1/incidents/{incident}/automation");
    assert_eq!(
        app.get(&automation).await.expect(200)["update_due_at"],
        "2024-03-14T11:00:00Z"
    );
    // The promised time counts, and not the hour after the last notice.
    app.set_clock("2024-03-14T10:50:00Z");
    let reminded = eventually("the reminder", DEADLINE, async || {
        Some(overdue(&app).await).filter(|messages| !messages.is_empty())
    })
    .await;
    assert_eq!(reminded.len(), 1, "{reminded:#?}");
    assert_eq!(
        reminded[0]["title"],
        "A promised update is due soon: #1 major: Files cannot be opened"
    );
    assert_eq!(env.count("missed_updates"), 0);
    app.set_clock("2024-03-14T11:00:00Z");
    wait_until("the promise to be missed", DEADLINE, async || {
        env.count("missed_updates") == 1
    })
    .await;
    let told = overdue(&app).await;
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(
        told[1]["title"],
        "A promised update was missed: #1 major: Files cannot be opened"
    );
    let entries = timeline(&app, &incident).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["at"], "2024-03-14T11:00:00Z");
    assert_eq!(
        (&entries[0]["internal"], &entries[0]["automatic"]),
        (&json!(true), &json!(true))
    );
    let events = app.all("/api/v1/audit?action=incident.update_missed").await;
    assert_eq!(events.len(), 1, "{events:#?}");
    let page = app.admin_page("/admin/incidents/1/times").await;
    assert!(page.contains("Promised update missed"), "{page}");
    // The same promise is missed only once, however often it is looked at.
    app.clock.advance(Duration::from_secs(3_600));
    let update = promising(&app, &incident, "update", "2024-03-14T12:05:00Z").await;
    app.send_as_previewed(&update).await;
    wait_until("the reminder of the next promise", DEADLINE, async || {
        overdue(&app).await.len() == 3
    })
    .await;
    assert_eq!(env.count("missed_updates"), 1);
    assert!(env.sql("UPDATE missed_updates SET due_at = 1").is_err());
    assert!(env.sql("DELETE FROM missed_updates").is_err());
    app.finish().await;
}

async fn the_next_notice_keeps_the_promise(env: Env) {
    let (app, incident) = started(&env).await;
    let first = promising(&app, &incident, "detection", "2024-03-14T08:00:00Z").await;
    app.send_as_previewed(&first).await;
    app.done(&first).await;
    app.set_clock("2024-03-14T07:40:00Z");
    let second = promising(&app, &incident, "update", "2024-03-14T12:00:00Z").await;
    app.send_as_previewed(&second).await;
    app.done(&second).await;
    let automation = format!("/api/v1/incidents/{incident}/automation");
    assert_eq!(
        app.get(&automation).await.expect(200)["update_due_at"],
        "2024-03-14T12:00:00Z"
    );
    // A change of the status keeps no promise, because customers do not see it.
    app.resolve(&incident).await;
    // The second promise is missed, so the first one was looked at too.
    app.set_clock("2024-03-14T12:00:00Z");
    wait_until("the second promise to be missed", DEADLINE, async || {
        env.count("missed_updates") > 0
    })
    .await;
    assert_eq!(
        env.texts("SELECT notice_id AS value FROM missed_updates"),
        std::slice::from_ref(&second)
    );
    // A notice without a promise is due by the setting again.
    app.post(
        &format!("/api/v1/incidents/{incident}/status"),
        json!({"status": "investigating"}),
    )
    .await
    .expect(200);
    let third = app.tell(&incident, "update").await;
    assert_eq!(
        app.get(&automation).await.expect(200)["update_due_at"],
        "2024-03-14T13:00:00Z"
    );
    assert_eq!(app.notice(&third).await["next_update_due_at"], Value::Null);
    app.resolve(&incident).await;
    assert_eq!(
        app.get(&automation).await.expect(200)["update_due_at"],
        Value::Null
    );
    app.finish().await;
}

async fn a_queued_promise_cannot_change(env: Env) {
    let (app, incident) = started(&env).await;
    let notice = promising(&app, &incident, "detection", DUE).await;
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    app.patch(
        &format!("/api/v1/notices/{notice}"),
        json!({"next_update_due_at": null}),
    )
    .await
    .expect_problem(409);
    for change in ["next_update_due_at = NULL", "headline = 'Another'"] {
        let sql = format!("UPDATE notices SET {change} WHERE id = '{notice}'");
        assert!(env.sql(&sql).is_err(), "{change}");
    }
    app.finish().await;
}
