//! The headline of an incident names the problem for customers, in the subject and the title of each email. A notice can have
//! another one. The internal title never reaches a customer.

use serde_json::{Value, json};

use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    the_subject_says_the_headline,
    a_notice_has_a_headline_of_its_own,
    a_wrong_headline_is_refused,
    replies_and_help_go_where_the_settings_say,
);

const INTERNAL: &str = "S3 handler missing for provider x-17";
const HEADLINE: &str = "Some files cannot be opened";

async fn started(env: &Env) -> (TestApp, String) {
    let app = TestApp::builder(env)
        .at("2024-03-14T07:00:00Z")
        .config(|config| config.mail_from = "Quickbyte <help@quickbyte.example>".to_owned())
        .start()
        .await;
    let incident = app.story_incident().await;
    app.patch(
        &format!("/api/v1/incidents/{incident}"),
        json!({"title": INTERNAL, "summary": "The summary is internal.", "headline": HEADLINE}),
    )
    .await
    .expect(200);
    (app, incident)
}

async fn the_subject_says_the_headline(env: Env) {
    let (app, incident) = started(&env).await;
    let path = format!("/api/v1/incidents/{incident}");
    assert_eq!(app.get(&path).await.expect(200)["headline"], HEADLINE);
    app.tell(&incident, "detection").await;
    app.tell(&incident, "update").await;
    app.tell(&incident, "update").await;
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    app.tell(&incident, "report").await;
    let mails = app.mails(15).await;
    for (phase, subject) in [
        "[Quickbyte] Some files cannot be opened: we are working on it (#1)",
        "[Quickbyte] Update 1: Some files cannot be opened (#1)",
        "[Quickbyte] Update 2: Some files cannot be opened (#1)",
        "[Quickbyte] Resolved: Some files cannot be opened (#1)",
        "[Quickbyte] Report: Some files cannot be opened (#1)",
    ]
    .iter()
    .enumerate()
    {
        let of_phase = &mails[phase * 3..phase * 3 + 3];
        for mail in of_phase {
            assert_eq!(mail.subject, *subject);
            assert!(mail.html.contains(HEADLINE), "{}", mail.html);
            for part in [&mail.flat(), &mail.html] {
                assert!(
                    !part.contains(INTERNAL) && !part.contains("is internal"),
                    "{part}"
                );
            }
        }
    }
    app.finish().await;
}

async fn a_notice_has_a_headline_of_its_own(env: Env) {
    let (app, incident) = started(&env).await;
    let path = format!("/api/v1/incidents/{incident}/notices");
    let body = json!({
        "phase": "resolution", "message": "Done.", "headline": "  Files \u{202e}open again ",
        "customer_action": {"required": true, "text": "Reload the page."},
    });
    app.resolve(&incident).await;
    let notice = app.post(&path, body).await.expect(201).id();
    let digest = app.digest(&notice).await;
    // Its own headline stays when that of the incident changes.
    let to = |headline: Value| json!({"headline": headline});
    let incident = format!("/api/v1/incidents/{incident}");
    app.patch(&incident, to(json!("Another headline")))
        .await
        .expect(200);
    assert_eq!(app.digest(&notice).await, digest);
    let shown = app.preview(&notice).await.expect(200);
    assert_eq!(
        shown["samples"][0]["subject"],
        "[Quickbyte] Resolved, action needed: Files open again (#1)"
    );
    // Without it, the headline of the incident counts, and without that one the subject is as before.
    app.patch(&format!("/api/v1/notices/{notice}"), to(Value::Null))
        .await
        .expect(200);
    let shown = app.preview(&notice).await.expect(200);
    assert_eq!(
        shown["samples"][0]["subject"],
        "[Quickbyte] Resolved, action needed: Another headline (#1)"
    );
    app.patch(&incident, to(Value::Null)).await.expect(200);
    app.patch(&incident, json!({"severity": "minor"}))
        .await
        .expect(200);
    let shown = app.preview(&notice).await.expect(200);
    assert_eq!(
        shown["samples"][0]["subject"],
        "Resolved, action needed: problem with 2 of your files"
    );
    // The subject that an operator wrote comes first.
    app.patch(&incident, to(json!(HEADLINE))).await.expect(200);
    app.patch(
        &format!("/api/v1/notices/{notice}"),
        json!({"subject": "Your files"}),
    )
    .await
    .expect(200);
    app.send_as_previewed(&notice).await;
    for mail in app.mails(3).await {
        assert_eq!(mail.subject, "Your files");
    }
    app.finish().await;
}

async fn a_wrong_headline_is_refused(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    for headline in [
        "".to_owned(),
        "  ".to_owned(),
        "x".repeat(121),
        "Files\r\nBcc: everybody@evil.example".to_owned(),
        "Files\u{0}".to_owned(),
    ] {
        let new = json!({"title": "T", "severity": "minor", "headline": headline});
        app.post("/api/v1/incidents", new)
            .await
            .expect_invalid("/headline");
        app.patch(
            &format!("/api/v1/incidents/{incident}"),
            json!({"headline": headline}),
        )
        .await
        .expect_invalid("/headline");
        let draft = json!({"phase": "detection", "message": "M.", "headline": headline});
        app.post(&format!("/api/v1/incidents/{incident}/notices"), draft)
            .await
            .expect_invalid("/headline");
    }
    let longest = json!({"title": "T", "severity": "minor", "headline": "ä".repeat(120)});
    app.post("/api/v1/incidents", longest).await.expect(201);
    app.finish().await;
}

async fn replies_and_help_go_where_the_settings_say(env: Env) {
    let app = TestApp::builder(&env)
        .config(|config| {
            config.reply_to = Some("Quickbyte support <support@quickbyte.example>".to_owned());
            config.support_url = Some("https://help.quickbyte.example/?a=1&b=2".to_owned());
        })
        .start()
        .await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    for mail in app.mails(3).await {
        assert_eq!(
            mail.header("reply-to"),
            "Quickbyte support <support@quickbyte.example>"
        );
        assert!(
            mail.text
                .contains("Help: https://help.quickbyte.example/?a=1&b=2"),
            "{}",
            mail.text
        );
        assert!(
            mail.html
                .contains("href=\"https://help.quickbyte.example/?a&#x3D;1&amp;b&#x3D;2\""),
            "{}",
            mail.html
        );
    }
    app.finish().await;
}
