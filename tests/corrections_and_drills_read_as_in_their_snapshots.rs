//! The emails of a correction and of a drill are the ones that were reviewed.

use serde_json::json;

use crate::support::story::FILES;
use crate::support::{Env, Mail, TestApp, on_both_databases, without_token};

on_both_databases!(
    a_correction_reads_as_in_its_snapshot,
    a_drill_reads_as_in_its_snapshot,
);

async fn start(env: &Env) -> TestApp {
    TestApp::builder(env)
        .at("2024-03-14T09:56:00+03:00")
        .config(|config| {
            config.mail_from = "Quickbyte <help@quickbyte.example>".to_owned();
            config.public_url = Some("https://candor.quickbyte.example".to_owned());
            config.drill_to = vec!["drill@quickbyte.example".to_owned()];
        })
        .start()
        .await
}

/// Compares an email with its snapshots. The links differ in each run.
fn compare(name: &str, mail: &Mail) {
    let link = mail.header("list-unsubscribe");
    let redacted = |part: &str| {
        let text = without_token(part).replace("\r\n", "\n").replace(
            link.trim_matches(['<', '>']),
            "https://candor.quickbyte.example/unsubscribe/TOKEN",
        );
        let mut parts = text.split("/answers/");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |whole, part| {
            let (_, after) = part.split_once('?').expect("a chosen answer");
            whole + "/answers/TOKEN?" + after
        })
    };
    let text = format!("Subject: {}\n\n{}", mail.subject, redacted(&mail.text));
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(format!("mail_{name}_text"), text);
        insta::assert_snapshot!(format!("mail_{name}_html"), redacted(&mail.html));
    });
}

async fn a_correction_reads_as_in_its_snapshot(env: Env) {
    let app = start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    for file in FILES {
        app.delete(&format!("/api/v1/incidents/{incident}/affected/file/{file}"))
            .await
            .expect(204);
    }
    app.set_clock("2024-03-14T10:10:00+03:00");
    let body = json!({"message": "We had chosen the wrong files.\n\nYour files can be opened."});
    let correction = app
        .post(&format!("/api/v1/notices/{notice}/correction"), body)
        .await
        .expect(201)
        .id();
    app.send_as_previewed(&correction).await;
    app.done(&correction).await;
    let mails = app.mails(6).await;
    let mail = mails[3..].iter().find(|mail| mail.to.starts_with("amina@"));
    compare("correction", mail.expect("the owner's email"));
    app.finish().await;
}

async fn a_drill_reads_as_in_its_snapshot(env: Env) {
    let app = start(&env).await;
    app.import(crate::support::story::story_directory())
        .await
        .expect(200);
    let affected = FILES.map(|file| json!({"type": "file", "id": file}));
    let body = json!({"title": "A drill", "severity": "major", "affected": affected, "drill": true});
    let incident = app.post("/api/v1/incidents", body).await.expect(201).id();
    app.tell(&incident, "detection").await;
    compare("drill", &app.mails(1).await[0]);
    app.finish().await;
}
