//! A resolution to somebody of whom something is not restored is refused, unless it acknowledges this. Then the emails say so.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::recovery::{ACME, BETA, OPENED, Stored};
use crate::support::{Answer, Env, TestApp, on_both_databases};

on_both_databases!(
    a_resolution_waits_until_everything_is_restored,
    what_is_acknowledged_is_said,
    an_approval_is_refused_too,
    an_acknowledgement_is_part_of_what_is_approved,
    only_a_resolution_acknowledges,
    without_recovery_states_nothing_is_restricted,
    who_was_told_by_another_rule_counts_too,
    a_relapse_between_two_waves_holds_the_next_one,
    a_failed_recovery_is_not_repeated_after_a_relapse,
    the_page_shows_who_they_are,
);

async fn start(env: &Env) -> Stored {
    Stored::told(TestApp::builder(env).at(OPENED).start().await).await
}

async fn resolution(stored: &Stored, acknowledged: bool) -> String {
    let body = json!({
        "phase": "resolution", "message": "It is over.", "customer_action": {"required": false},
        "acknowledge_impaired": acknowledged,
    });
    let path = stored.path("/notices");
    stored.app.post(&path, body).await.expect(201).id()
}

fn refused(answer: Answer) {
    let problem = answer.expect_problem(409);
    assert_eq!(problem["code"], "still_impaired", "{problem:?}");
}

async fn a_resolution_waits_until_everything_is_restored(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    stored
        .recover("2024-04-20T11:00:00Z", &[BETA, "a1", "a2", "a3"])
        .await;
    app.resolve(&stored.incident).await;
    let notice = resolution(&stored, false).await;
    let preview = app.preview(&notice).await.expect(200);
    let impaired = &preview["still_impaired"];
    assert_eq!(impaired["people"], 1);
    assert_eq!(impaired["acknowledged"], false);
    let first = &impaired["first"][0];
    assert_eq!(
        (&first["person"], &first["restored"], &first["affected"]),
        (&json!("ann"), &json!(3), &json!(4))
    );
    let digest = app.digest(&notice).await;
    refused(app.send(&notice, &digest).await);
    assert_eq!(app.notice(&notice).await["state"], "draft");
    stored.recover("2024-04-20T12:00:00Z", &["a4"]).await;
    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(preview["still_impaired"], Value::Null);
    app.send_as_previewed(&notice).await;
    assert_eq!(stored.got(&notice).await, ["ann", "bob", "cleo"]);
    stored.app.finish().await;
}

async fn what_is_acknowledged_is_said(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    stored.recover("2024-04-20T11:00:00Z", &["a1", "a2", "a3"]).await;
    app.resolve(&stored.incident).await;
    let notice = resolution(&stored, true).await;
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    let mails = app.mails(6).await;
    for (to, said) in [
        (
            "ann",
            Some(
                "Part of what the incident affected for you is not restored yet. 3 of your 4 affected files are restored so far.",
            ),
        ),
        (
            "bob",
            Some(
                "What the incident affected for you is not restored yet. Your affected file is not restored yet.",
            ),
        ),
        ("cleo", None),
    ] {
        let mail = mails[3..]
            .iter()
            .find(|mail| mail.to.starts_with(&format!("{to}@")))
            .expect("the email");
        let text = mail.text.split_whitespace().collect::<Vec<_>>().join(" ");
        match said {
            Some(said) => assert!(text.contains(said) && mail.html.contains(said), "{text}"),
            None => assert!(!text.contains("not restored"), "{text}"),
        }
    }
    stored.app.finish().await;
}

async fn an_approval_is_refused_too(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    app.resolve(&stored.incident).await;
    let notice = resolution(&stored, false).await;
    let digest = app.digest(&notice).await;
    let approver = app.as_new("approver").await;
    refused(approver.approve(&notice, &digest).await);
    stored.app.finish().await;
}

async fn an_acknowledgement_is_part_of_what_is_approved(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    app.resolve(&stored.incident).await;
    let notice = resolution(&stored, false).await;
    let before = app.digest(&notice).await;
    let path = format!("/api/v1/notices/{notice}");
    let changed = app
        .patch(&path, json!({"acknowledge_impaired": true}))
        .await
        .expect(200);
    assert_eq!(changed["acknowledge_impaired"], true);
    let after = app.digest(&notice).await;
    assert_ne!(before, after);
    let approver = app.as_new("approver").await;
    approver.approve(&notice, &after).await.expect(200);
    // Without it, the approval does not count any more.
    app.patch(&path, json!({"acknowledge_impaired": false}))
        .await
        .expect(200);
    assert_eq!(app.notice(&notice).await["approved"], false);
    let events = app
        .all(&format!("/api/v1/audit?subject={notice}&action=notice.changed"))
        .await;
    assert_eq!(events.len(), 2, "{events:#?}");
    stored.app.finish().await;
}

async fn only_a_resolution_acknowledges(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    let body = json!({"phase": "update", "message": "News.", "acknowledge_impaired": true});
    let answer = app.post(&stored.path("/notices"), body).await;
    answer.expect_invalid("/acknowledge_impaired");
    let update = app.draft(&stored.incident, "update").await;
    let answer = app
        .patch(
            &format!("/api/v1/notices/{update}"),
            json!({"acknowledge_impaired": true}),
        )
        .await;
    answer.expect_invalid("/acknowledge_impaired");
    stored.app.finish().await;
}

async fn without_recovery_states_nothing_is_restricted(env: Env) {
    let stored = Stored::opened(TestApp::builder(&env).at(OPENED).start().await).await;
    stored.tell("detection").await;
    stored.app.resolve(&stored.incident).await;
    let notice = resolution(&stored, false).await;
    assert_eq!(
        stored.app.preview(&notice).await.expect(200)["still_impaired"],
        Value::Null
    );
    stored.app.send_as_previewed(&notice).await;
    stored.app.finish().await;
}

async fn who_was_told_by_another_rule_counts_too(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    // A member of Beta, who is no owner, was told by a notice for members.
    let person = json!({"name": "Dee", "email": "dee@example.com"});
    app.put("/api/v1/people/dee", person).await.expect(201);
    app.put("/api/v1/accounts/beta/members/dee", json!({"role": "member"}))
        .await
        .expect(201);
    let body = json!({"phase": "update", "message": "News.", "audience": {"roles": ["owner", "member"], "collaborators": true}});
    let update = app.post(&stored.path("/notices"), body).await.expect(201).id();
    app.send_as_previewed(&update).await;
    app.done(&update).await;
    assert_eq!(stored.got(&update).await, ["ann", "bob", "cleo", "dee"]);
    stored.recover("2024-04-20T11:00:00Z", &ACME).await;
    app.resolve(&stored.incident).await;
    let notice = resolution(&stored, false).await;
    let preview = app.preview(&notice).await.expect(200);
    let people: Vec<&Value> = preview["still_impaired"]["first"]
        .as_array()
        .expect("people")
        .iter()
        .map(|one| &one["person"])
        .collect();
    assert_eq!(people, ["bob", "dee"]);
    stored.app.finish().await;
}

async fn a_relapse_between_two_waves_holds_the_next_one(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    stored.recover("2024-04-20T11:00:00Z", &ACME).await;
    stored.recover("2024-04-20T11:00:00Z", &[BETA]).await;
    app.resolve(&stored.incident).await;
    let notice = resolution(&stored, false).await;
    let digest = app.digest(&notice).await;
    let waves = json!({"digest": digest, "waves": [{"people": 1}, {"rest": true}], "pause": "PT10M"});
    app.post(&format!("/api/v1/notices/{notice}/send"), waves)
        .await
        .expect(202);
    let first = app.mails(4).await[3].to.clone();
    let file = if first.starts_with("bob@") { "a1" } else { BETA };
    stored.relapse("2024-04-20T11:05:00Z", &[file]).await;
    app.set_clock("2024-04-20T11:20:00Z");
    let path = format!("/api/v1/notices/{notice}/continue");
    refused(app.post(&path, json!({"wave": 2})).await);
    stored.app.finish().await;
}

async fn a_failed_recovery_is_not_repeated_after_a_relapse(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    stored.recover("2024-04-20T11:00:00Z", &[BETA]).await;
    let notice = app.tell(&stored.incident, "recovery").await;
    // As if the mail server had refused it.
    env.sql(&format!(
        "UPDATE deliveries SET state = 'failed' WHERE notice_id = '{notice}'"
    ))
    .expect("a failed delivery");
    stored.relapse("2024-04-20T12:00:00Z", &[BETA]).await;
    let delivery = app.deliveries(&notice).await[0]["id"].clone();
    refused(
        app.post(&format!("/api/v1/deliveries/{delivery}/resend"), json!({}))
            .await,
    );
    env.sql(&format!(
        "UPDATE deliveries SET state = 'sent' WHERE notice_id = '{notice}'"
    ))
    .expect("as it was");
    stored.app.finish().await;
}

async fn the_page_shows_who_they_are(env: Env) {
    let stored = start(&env).await;
    let app = &stored.app;
    stored
        .recover("2024-04-20T11:00:00Z", &["a1", "a2", "a3", BETA])
        .await;
    app.resolve(&stored.incident).await;
    let notice = resolution(&stored, false).await;
    let browser = Browser::signed_in(app, &app.token("operator").await).await;
    let path = format!("/admin/notices/{notice}");
    let page = browser.page(&path).await;
    assert!(
        page.contains("Not everything of theirs is restored") && page.contains("3 of 4"),
        "{page}"
    );
    // There is no button that sends it, until the box is checked.
    assert!(!page.contains("id=\"send-now\""), "{page}");
    browser
        .send_from(
            &path,
            &format!("{path}/acknowledge"),
            &[("acknowledge_impaired", "yes")],
        )
        .await
        .expect(303);
    let page = browser.page(&path).await;
    assert!(page.contains("id=\"send-now\""), "{page}");
    assert_eq!(app.notice(&notice).await["acknowledge_impaired"], true);
    stored.app.finish().await;
}
