//! Whoever opted out of progress updates can get them again by the same link. Opening the link changes nothing.

use serde_json::json;

use crate::support::{Env, Mail, TestApp, crowd, on_both_databases};

on_both_databases!(
    the_same_link_undoes_it,
    an_address_that_was_suppressed_for_another_reason_stays_so,
    a_link_that_is_not_signed_changes_nothing,
);

const FORM: &str = "application/x-www-form-urlencoded";

/// Returns the path of the link for opting out in an email.
fn link(mail: &Mail) -> String {
    let (_, rest) = mail.text.split_once("/unsubscribe/").expect("a link");
    let token = rest.split_whitespace().next().expect("a token");
    format!("/unsubscribe/{token}")
}

/// Sends an update to one person, and returns the link in it and the incident.
async fn told(env: &Env) -> (TestApp, String, String) {
    let app = TestApp::start(env).await;
    let (incident, _) = app.tell_crowd(crowd(1)).await;
    app.mails(1).await;
    app.tell(&incident, "update").await;
    let mails = app.mails(2).await;
    let link = link(&mails[1]);
    (app, link, incident)
}

async fn the_same_link_undoes_it(env: Env) {
    let (app, link, incident) = told(&env).await;
    let undo = format!("{link}/undo");
    let page = app.anonymous().get(&link).await.expect(200);
    assert!(page.text.contains("Stop progress updates?"), "{}", page.text);
    let page = app
        .anonymous()
        .post_raw(&link, FORM, "List-Unsubscribe=One-Click")
        .await
        .expect(200);
    assert!(page.text.contains(&undo), "{}", page.text);
    assert_eq!(env.count("opt_outs"), 1);
    // The link now shows what was chosen, and opening it changes nothing.
    let page = app.anonymous().get(&link).await.expect(200);
    assert!(page.text.contains("Get updates again"), "{}", page.text);
    app.anonymous().get(&undo).await.expect(405);
    assert_eq!(env.count("opt_outs"), 1);
    for _ in 0..2 {
        let page = app.anonymous().post_raw(&undo, FORM, "").await.expect(200);
        assert!(page.text.contains("You will get updates again"), "{}", page.text);
    }
    assert_eq!(env.count("opt_outs"), 0);
    let events = app.all("/api/v1/audit?action=address.opted_in").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["before"], json!({"reason": "opted_out"}));
    app.tell(&incident, "update").await;
    assert_eq!(app.mails(3).await.len(), 3);
    app.finish().await;
}

async fn an_address_that_was_suppressed_for_another_reason_stays_so(env: Env) {
    let (app, link, _) = told(&env).await;
    env.sql("INSERT INTO opt_outs (address, at, reason) VALUES ('person-1@crowd.example', 0, 'bounced')")
        .expect("a row");
    app.anonymous()
        .post_raw(&format!("{link}/undo"), FORM, "")
        .await
        .expect(200);
    assert_eq!(env.count("opt_outs"), 1);
    app.finish().await;
}

async fn a_link_that_is_not_signed_changes_nothing(env: Env) {
    let (app, link, _) = told(&env).await;
    app.anonymous().post_raw(&link, FORM, "").await.expect(200);
    for token in ["1.aaaaaaaaaaaaaaaaaaaaaaaa", "1", "x.y"] {
        app.anonymous()
            .post_raw(&format!("/unsubscribe/{token}/undo"), FORM, "")
            .await
            .expect(404);
    }
    assert_eq!(env.count("opt_outs"), 1);
    app.finish().await;
}
