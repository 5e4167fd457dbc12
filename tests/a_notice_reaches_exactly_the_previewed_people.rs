//! Exactly the people of the preview get exactly the previewed email. Any change in between requires a new
//! preview.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::story::{ADDRESSES, FILES};
use crate::support::{Env, TestApp, on_both_databases, story_directory};

on_both_databases!(
    a_preview_changes_nothing,
    the_mails_are_the_previewed_ones,
    each_change_makes_the_digest_void,
    people_with_one_address_get_one_mail,
    each_person_is_told_of_their_own_alone,
    who_cannot_be_reached_is_listed_with_the_reason,
    nobody_to_tell_is_an_error,
);

async fn a_preview_changes_nothing(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let events = env.count("audit_events");
    let first = app.preview(&notice).await.expect(200);
    let second = app.preview(&notice).await.expect(200);
    assert_eq!(first.json, second.json);
    assert_eq!(env.count("audit_events"), events);
    assert_eq!((env.count("deliveries"), env.count("notice_recipients")), (0, 0));
    let after = app.notice(&notice).await;
    assert_eq!(
        (&after["state"], &after["digest"]),
        (&json!("draft"), &Value::Null)
    );
    app.mails(0).await;
    app.finish().await;
}

async fn the_mails_are_the_previewed_ones(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(preview["recipients"], 3);
    let digest = preview["digest"].as_str().expect("a digest");
    let queued = app.send(&notice, digest).await.expect(202);
    assert_eq!(queued["digest"], digest);
    let mails = app.mails(3).await;
    let samples = preview["samples"].as_array().expect("samples");
    assert_eq!(samples.len(), 3);
    // Only the tokens of the links differ between deliveries. The link for opting out is at the end.
    let without_tokens = |text: &str| {
        let text = text.split("/unsubscribe/").next().unwrap_or_default();
        let mut parts = text.split("/answers/");
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (_, after) = part.split_once('?').expect("a chosen answer");
            whole.push_str("/answers/…?");
            whole.push_str(after);
        }
        let mut parts = whole.split("/mine/link/");
        let mut plain = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(['"', '\r', '\n']).unwrap_or(part.len());
            plain.push_str("/mine/link/");
            plain.push_str(part[end..].trim_start_matches('…'));
        }
        plain.replace("\r\n", "\n")
    };
    for sample in samples {
        let mail = mails.iter().find(|mail| sample["to"] == mail.to).expect("a mail");
        assert_eq!(sample["subject"], mail.subject);
        for (part, sent) in [("text", &mail.text), ("html", &mail.html)] {
            let shown = sample[part].as_str().expect("text");
            assert_eq!(
                without_tokens(shown),
                without_tokens(sent),
                "{part} to {}",
                mail.to
            );
            assert!(shown.contains("/unsubscribe/"), "{shown}");
            assert_eq!(shown.matches("/answers/").count(), 3, "{shown}");
        }
    }
    app.finish().await;
}

async fn each_change_makes_the_digest_void(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let incident_at = format!("/api/v1/incidents/{incident}");
    let mut seen = BTreeSet::new();
    let mut digest = app.digest(&notice).await;
    assert!(seen.insert(digest.clone()));
    let changes: [(&str, &str, String, Value); 10] = [
        (
            "a text",
            "PATCH",
            format!("/api/v1/notices/{notice}"),
            json!({"message": "Something else."}),
        ),
        (
            "a subject",
            "PATCH",
            format!("/api/v1/notices/{notice}"),
            json!({"subject": "Your files"}),
        ),
        (
            "what to do",
            "PATCH",
            format!("/api/v1/notices/{notice}"),
            json!({"customer_action": {"required": true, "text": "Please wait."}}),
        ),
        (
            "an address",
            "PUT",
            "/api/v1/people/baraka".to_owned(),
            json!({"name": "Baraka Mushi", "email": "baraka@elsewhere.example"}),
        ),
        (
            "a name",
            "PUT",
            "/api/v1/people/amina".to_owned(),
            json!({"name": "Amina Wanjiku Njeri", "email": "amina@nyota-films.example"}),
        ),
        (
            "a new collaborator",
            "PUT",
            "/api/v1/resources/project/savanna/collaborators/grace".to_owned(),
            json!({"role": "viewer"}),
        ),
        (
            "a collaborator less",
            "DELETE",
            "/api/v1/resources/project/savanna/collaborators/wanjiru".to_owned(),
            Value::Null,
        ),
        (
            "the name of a resource",
            "PUT",
            format!("/api/v1/resources/file/{}", FILES[0]),
            json!({"name": "renamed.mov", "parent": {"type": "media", "id": "interview"}, "labels": {"provider": "s3"}}),
        ),
        (
            "another affected resource",
            "POST",
            format!("{incident_at}/affected"),
            json!({"resources": [{"type": "file", "id": "opening-v1"}]}),
        ),
        (
            "the time of the start",
            "PATCH",
            incident_at.clone(),
            json!({"started_at": "2024-03-14T09:51:00+03:00"}),
        ),
    ];
    for (what, method, path, body) in changes {
        match method {
            "PATCH" => app.patch(&path, body).await.expect(200),
            // The answer is 201 if the entry is new.
            "PUT" => {
                let answer = app.put(&path, body).await;
                let status = if answer.status == 201 { 201 } else { 200 };
                answer.expect(status)
            }
            "POST" => app.post(&path, body).await.expect(200),
            _ => app.delete(&path).await.expect(204),
        };
        app.send(&notice, &digest).await.expect_problem(409);
        app.approve_as_another(&notice, &digest).await;
        digest = app.digest(&notice).await;
        assert!(seen.insert(digest.clone()), "{what} does not change the digest");
    }
    // The template also decides the text.
    let template = app.get("/api/v1/templates/detection").await.expect(200);
    let body = json!({"subject": "News: {{what}}", "text": template["text"], "html": template["html"]});
    app.put("/api/v1/templates/detection", body).await.expect(200);
    app.send(&notice, &digest).await.expect_problem(409);
    // Nothing was sent in the meantime. The last preview can be sent.
    assert_eq!(env.count("deliveries"), 0);
    app.mails(0).await;
    app.send_as_previewed(&notice).await;
    app.mails(3).await;
    app.finish().await;
}

impl TestApp {
    /// Approves a digest that is not the current one any more, as a second person.
    async fn approve_as_another(&self, notice: &str, digest: &str) {
        let approver = self.as_new("approver").await;
        approver.approve(notice, digest).await.expect_problem(409);
    }
}

async fn people_with_one_address_get_one_mail(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    // The same mailbox in another spelling.
    let person = json!({"name": "Baraka Mushi", "email": "Amina@Nyota-Films.example"});
    app.put("/api/v1/people/baraka", person).await.expect(200);
    let audience = app
        .get(&format!("/api/v1/incidents/{incident}/audience"))
        .await
        .expect(200);
    assert_eq!(audience["counts"]["people"], 3);
    let notice = app.draft(&incident, "detection").await;
    assert_eq!(app.preview(&notice).await.expect(200)["recipients"], 2);
    app.send_as_previewed(&notice).await;
    let mails = app.mails(2).await;
    let shared: Vec<_> = mails
        .iter()
        .filter(|mail| mail.to.eq_ignore_ascii_case(ADDRESSES[0]))
        .collect();
    assert_eq!(shared.len(), 1);
    for name in ["Amina Njeri", "Baraka Mushi"] {
        assert!(shared[0].text.contains(name), "{}", shared[0].text);
    }
    app.done(&notice).await;
    // Both people count as notified, and nobody is left.
    let audience = app
        .get(&format!("/api/v1/incidents/{incident}/audience"))
        .await
        .expect(200);
    assert!(
        audience.items().iter().all(|item| item["told"] == true),
        "{audience}"
    );
    assert_eq!(app.notice(&notice).await["not_told_yet"], 0);
    app.finish().await;
}

async fn each_person_is_told_of_their_own_alone(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let incident = app
        .incident([
            ("file", "interview-v1"),
            ("file", "ferry-v1"),
            ("file", "stalls-v1"),
        ])
        .await;
    app.tell(&incident, "detection").await;
    let own = [
        ("amina@", &["rangers-interview-v1.mov", "ferry.mov"][..]),
        ("wanjiru@", &["rangers-interview-v1.mov"]),
        ("baraka@", &["rangers-interview-v1.mov"]),
        ("zuri@", &["ferry.mov"]),
        ("grace@", &["stalls.mov"]),
        ("tumaini@", &["stalls.mov"]),
    ];
    let mails = app.mails(own.len()).await;
    for (who, theirs) in own {
        let mail = mails
            .iter()
            .find(|mail| mail.to.starts_with(who))
            .expect("a mail for each");
        for file in ["rangers-interview-v1.mov", "ferry.mov", "stalls.mov"] {
            for part in [&mail.text, &mail.html] {
                assert_eq!(
                    part.contains(file),
                    theirs.contains(&file),
                    "{file} to {who}:\n{part}"
                );
            }
        }
    }
    app.finish().await;
}

async fn who_cannot_be_reached_is_listed_with_the_reason(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.put(
        "/api/v1/people/baraka",
        json!({"name": "Baraka Mushi", "email": ""}),
    )
    .await
    .expect(200);
    app.delete("/api/v1/people/wanjiru").await.expect(204);
    let audience = app
        .get(&format!("/api/v1/incidents/{incident}/audience"))
        .await
        .expect(200);
    let unreachable: Vec<Value> = audience["unreachable"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| json!([one["person"]["id"], one["reason"]]))
        .collect();
    assert_eq!(
        unreachable,
        [
            json!(["baraka", "no address"]),
            json!(["wanjiru", "archived in the directory"])
        ]
    );
    assert_eq!(audience["counts"]["unreachable"], 2);
    let notice = app.draft(&incident, "detection").await;
    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(preview["recipients"], 1);
    let warnings = preview["warnings"].as_array().expect("warnings");
    assert!(
        warnings
            .iter()
            .any(|text| text.as_str().is_some_and(|text| text.contains("2 people"))),
        "{warnings:?}"
    );
    app.send_as_previewed(&notice).await;
    assert_eq!(app.mails(1).await[0].to, ADDRESSES[0]);
    app.finish().await;
}

async fn nobody_to_tell_is_an_error(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let incident = app.incident([]).await;
    let notice = app.draft(&incident, "detection").await;
    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(
        (&preview["recipients"], &preview["samples"]),
        (&json!(0), &json!([]))
    );
    let digest = preview["digest"].as_str().expect("a digest");
    app.send(&notice, digest).await.expect_problem(422);
    assert_eq!(app.notice(&notice).await["state"], "draft");
    // The same notice can be sent when somebody is affected.
    app.affect(&incident, "file", FILES[0]).await;
    app.send_as_previewed(&notice).await;
    app.mails(3).await;
    app.finish().await;
}
