//! One notice sends each email once, and nobody gets two detections, however many requests there are and
//! however many run in parallel.

use std::collections::BTreeSet;
use std::sync::Arc;

use candor::demo::catcher::{Catcher, Decision, Policy};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::story::ADDRESSES;
use crate::support::{Backend, Binary, DEADLINE, Env, TestApp, crowd, on_both_databases};

on_both_databases!(
    of_parallel_sends_one_wins,
    of_parallel_resolves_one_wins,
    a_sent_notice_cannot_be_sent_again_or_changed,
    a_second_detection_leaves_out_who_was_told,
    a_person_with_a_new_address_was_told,
    an_idempotency_key_repeats_the_answer,
    of_parallel_requests_with_one_key_one_is_carried_out,
    a_restart_in_the_middle_repeats_nothing,
    processes_share_the_queue_or_are_refused,
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
    // The file of the other project is affected too. Its collaborator was not notified yet, and the owner of
    // both was.
    app.affect(&incident, "file", "ferry-v1").await;
    let second = app.draft(&incident, "detection").await;
    let preview = app.preview(&second).await.expect(200);
    assert_eq!(
        json!([preview["recipients"], preview["already_told"], preview["added"]]),
        json!([1, 3, 1])
    );
    let warnings = preview["warnings"].to_string();
    assert!(warnings.contains("they already got this notice"), "{warnings}");
    app.send_as_previewed(&second).await;
    app.done(&second).await;
    let mails = app.mails(4).await;
    assert_eq!(mails[3].to, "zuri@nyota-films.example");
    // A third detection finds nobody to notify.
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
    // The notice is sent by now. With the same key, the answer is still the first one.
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

async fn of_parallel_requests_with_one_key_one_is_carried_out(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let draft = || {
        app.request(
            reqwest::Method::POST,
            &format!("/api/v1/incidents/{incident}/notices"),
        )
        .header("idempotency-key", "draft-1")
        .json(json!({"phase": "detection", "message": "We know of it."}))
        .send()
    };
    let answers = tokio::join!(draft(), draft(), draft(), draft());
    let answers = [answers.0, answers.1, answers.2, answers.3];
    let made: BTreeSet<String> = answers
        .iter()
        .filter(|answer| answer.status == 201)
        .map(|answer| answer.id())
        .collect();
    assert_eq!(made.len(), 1);
    for answer in answers {
        if answer.status != 201 {
            answer.expect_problem(409);
        }
    }
    assert_eq!(env.count("notices"), 1);
    // By now the request was answered.
    assert!(made.contains(&draft().await.expect(201).id()));
    app.finish().await;
}

async fn a_restart_in_the_middle_repeats_nothing(env: Env) {
    const PEOPLE: usize = 600;
    let catcher = Catcher::start().unwrap();
    let mut candor = Binary::new(&env)
        .setting("smtp_url", catcher.url())
        .setting("send_concurrency", 4)
        .setting("max_audience", PEOPLE);
    candor.serve().await;
    candor.import(crowd(PEOPLE)).await.expect(200);
    let incident = candor.incident([("project", "stage")]).await;
    let notice = candor.draft(&incident, "detection").await;
    candor.send_as_previewed(&notice).await;
    catcher.wait_for(50, DEADLINE).await.expect("some mails");
    candor.terminate().await.expect(0);
    let before = catcher.accepted();
    assert!(before < PEOPLE, "it was too fast to be stopped in the middle");
    // The outcomes of sent emails are recorded, and nothing is claimed any more.
    assert_eq!(
        env.count("deliveries WHERE state = 'sent'"),
        i64::try_from(before).unwrap()
    );
    assert_eq!(env.count("deliveries WHERE lease IS NOT NULL"), 0);
    candor.serve().await;
    candor.done(&notice).await;
    let told: BTreeSet<String> = catcher.mails().into_iter().flat_map(|mail| mail.to).collect();
    assert_eq!((told.len(), catcher.accepted()), (PEOPLE, PEOPLE));
    candor.finish().await;
}

async fn processes_share_the_queue_or_are_refused(env: Env) {
    const PEOPLE: usize = 40;
    const CONNECTIONS: usize = 2;
    let permits = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&permits);
    let catcher = Catcher::start_with(Policy::new(move |_| Decision::Hold(Arc::clone(&hold)))).unwrap();
    let process = || {
        Binary::new(&env)
            .setting("smtp_url", catcher.url())
            .setting("send_concurrency", CONNECTIONS)
    };
    let (mut one, mut other) = (process(), process());
    one.serve().await;
    if env.backend == Backend::Sqlite {
        let refused = other.run(["serve"]).await.expect(1);
        assert!(
            refused.stderr.contains("another process already uses"),
            "{}",
            refused.stderr
        );
        one.finish().await;
        return;
    }
    other.serve().await;
    one.import(crowd(PEOPLE)).await.expect(200);
    let incident = one.incident([("project", "stage")]).await;
    let notice = one.draft(&incident, "detection").await;
    one.send_as_previewed(&notice).await;
    // The server lets several processes send, so that both are sending.
    catcher
        .wait_for(2 * CONNECTIONS, DEADLINE)
        .await
        .expect("mails from both");
    permits.add_permits(PEOPLE);
    one.done(&notice).await;
    let told: BTreeSet<String> = catcher.mails().into_iter().flat_map(|mail| mail.to).collect();
    assert_eq!((told.len(), catcher.accepted()), (PEOPLE, PEOPLE));
    assert_eq!(
        env.count("timeline_entries WHERE kind = 'notified'"),
        1,
        "both noted that somebody was told"
    );
    other.finish().await;
    one.finish().await;
}
