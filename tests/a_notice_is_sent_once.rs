//! However often and however parallel somebody asks: one notice is one set of mails, and nobody gets two detections.

use serde_json::json;

use crate::support::story::ADDRESSES;
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    of_parallel_sends_one_wins,
    of_parallel_resolves_one_wins,
    a_sent_notice_cannot_be_sent_again_or_changed,
    a_second_detection_leaves_out_who_was_told,
    a_person_with_a_new_address_was_told,
    an_idempotency_key_repeats_the_answer,
);

async fn of_parallel_sends_one_wins(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let digest = app.digest(&notice).await;
    let (a, b, c, d) = tokio::join!(
        app.send(&notice, &digest),
        app.send(&notice, &digest),
        app.send(&notice, &digest),
        app.send(&notice, &digest)
    );
    let mut statuses = [a.status, b.status, c.status, d.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409, 409, 409]);
    app.done(&notice).await;
    app.mails(3).await;
    assert_eq!(env.count("deliveries"), 3);
    assert_eq!(env.count("audit_events WHERE action = 'notice.queued'"), 1);
    app.finish().await;
}

async fn of_parallel_resolves_one_wins(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let path = format!("/api/v1/incidents/{incident}/status");
    let resolved = || app.post(&path, json!({"status": "resolved"}));
    let (a, b, c, d) = tokio::join!(resolved(), resolved(), resolved(), resolved());
    let mut statuses = [a.status, b.status, c.status, d.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409]);
    assert_eq!(env.count("audit_events WHERE action = 'incident.status'"), 1);
    let timeline = app.all(&format!("/api/v1/incidents/{incident}/timeline")).await;
    let ends = timeline
        .iter()
        .filter(|entry| entry["kind"] == "resolved")
        .count();
    assert_eq!(ends, 1, "{timeline:#?}");
    app.mails(0).await;
    app.finish().await;
}

async fn a_sent_notice_cannot_be_sent_again_or_changed(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let digest = app.digest(&notice).await;
    app.send(&notice, &digest).await.expect(202);
    app.done(&notice).await;
    app.send(&notice, &digest).await.expect_problem(409);
    app.preview(&notice).await.expect_problem(409);
    app.patch(
        &format!("/api/v1/notices/{notice}"),
        json!({"message": "Something else."}),
    )
    .await
    .expect_problem(409);
    app.post(&format!("/api/v1/notices/{notice}/stop"), json!({}))
        .await
        .expect_problem(409);
    app.mails(3).await;
    assert_eq!(
        app.notice(&notice).await["message"],
        "What we have to say in the detection."
    );
    app.finish().await;
}

async fn a_second_detection_leaves_out_who_was_told(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    // The other project's file too: its collaborator was not told yet, the owner of both was.
    app.affect(&incident, "file", "ferry-v1").await;
    let second = app.draft(&incident, "detection").await;
    let preview = app.preview(&second).await.expect(200);
    assert_eq!(
        json!([preview["recipients"], preview["already_told"], preview["added"]]),
        json!([1, 3, 1])
    );
    let warnings = preview["warnings"].to_string();
    assert!(warnings.contains("told this already"), "{warnings}");
    app.send_as_previewed(&second).await;
    app.done(&second).await;
    let mails = app.mails(4).await;
    assert_eq!(mails[3].to, "zuri@nyota-films.example");
    // A third finds nobody left.
    let third = app.draft(&incident, "detection").await;
    let digest = app.digest(&third).await;
    app.send(&third, &digest).await.expect_problem(422);
    app.mails(4).await;
    app.finish().await;
}

async fn a_person_with_a_new_address_was_told(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let first = app.tell(&incident, "detection").await;
    app.put(
        "/api/v1/people/baraka",
        json!({"name": "Baraka Mushi", "email": "baraka@elsewhere.example"}),
    )
    .await
    .expect(200);
    assert_eq!(app.notice(&first).await["not_told_yet"], 0);
    let second = app.draft(&incident, "detection").await;
    let preview = app.preview(&second).await.expect(200);
    assert_eq!(
        (&preview["recipients"], &preview["already_told"]),
        (&json!(0), &json!(3))
    );
    app.mails(3).await;
    app.finish().await;
}

async fn an_idempotency_key_repeats_the_answer(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let draft = |message: &str| {
        app.request(
            reqwest::Method::POST,
            &format!("/api/v1/incidents/{incident}/notices"),
        )
        .header("idempotency-key", "draft-1")
        .json(json!({"phase": "detection", "message": message}))
        .send()
    };
    let first = draft("We know of it.").await.expect(201);
    let again = draft("We know of it.").await.expect(201);
    assert_eq!(first.json, again.json);
    draft("We know nothing.").await.expect_problem(422);
    assert_eq!(env.count("notices"), 1);

    let notice = first.id();
    let digest = app.digest(&notice).await;
    let send = || {
        app.request(reqwest::Method::POST, &format!("/api/v1/notices/{notice}/send"))
            .header("idempotency-key", "send-1")
            .json(json!({"digest": digest}))
            .send()
    };
    let first = send().await.expect(202);
    app.done(&notice).await;
    // Done by now; under the key it is the answer of then.
    let again = send().await.expect(202);
    assert_eq!(first.json, again.json);
    assert_eq!(first["state"], "queued");
    // Without the key it is another request.
    app.send(&notice, &digest).await.expect_problem(409);
    let mails = app.mails(3).await;
    assert!(
        ADDRESSES
            .iter()
            .all(|address| mails.iter().any(|mail| mail.to == *address))
    );
    app.finish().await;
}
