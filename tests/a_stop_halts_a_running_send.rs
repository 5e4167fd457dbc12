//! A stop ends a send at once. Emails that are being sent are finished, the others are not sent, and the
//! answer gives both numbers.

use std::sync::Arc;

use candor::demo::catcher::{Catcher, Decision, Policy};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    Backend, Binary, DEADLINE, Env, TestApp, crowd, eventually, on_both_databases, wait_until,
};

on_both_databases!(
    only_what_is_on_the_wire_goes_through,
    whoever_was_not_told_can_be_caught_up,
    a_stopped_notice_stays_stopped_when_its_process_dies,
    a_notice_stopped_in_the_queue_reaches_nobody,
    what_was_told_before_the_stop_counts,
    there_must_be_something_to_stop,
);

const PEOPLE: usize = 30;
const CONNECTIONS: usize = 4;

/// Returns a policy that answers emails only when there are permits, and the permits.
fn holding() -> (Policy, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&permits);
    (Policy::new(move |_| Decision::Hold(Arc::clone(&hold))), permits)
}

/// Starts a service that sends to the crowd on four connections. On each of them an email waits for its
/// reply.
async fn sending(env: &Env) -> (TestApp, Arc<Semaphore>, String) {
    let (policy, permits) = holding();
    let app = TestApp::builder(env)
        .smtp_policy(policy)
        .send_concurrency(CONNECTIONS)
        .start()
        .await;
    app.import(crowd(PEOPLE)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    app.mails(CONNECTIONS).await;
    (app, permits, notice)
}

/// Stops the notice and then lets the server answer everything.
async fn stop(app: &TestApp, permits: &Semaphore, notice: &str) -> Value {
    let path = format!("/api/v1/notices/{notice}/stop");
    let (answer, ()) = tokio::join!(app.post(&path, json!({})), async {
        wait_until("the notice to be stopped", DEADLINE, async || {
            app.notice(notice).await["state"] == "stopped"
        })
        .await;
        permits.add_permits(PEOPLE);
    });
    answer.expect(200).json
}

async fn only_what_is_on_the_wire_goes_through(env: Env) {
    let (app, permits, notice) = sending(&env).await;
    let stopped = stop(&app, &permits, &notice).await;
    let (sent, not_sent) = (CONNECTIONS, PEOPLE - CONNECTIONS);
    assert_eq!(
        stopped,
        json!({"state": "stopped", "sent": sent, "not_sent": not_sent, "in_flight": 0})
    );
    // The record and the mail server agree about who got the email.
    let mut got: Vec<String> = app
        .mails(CONNECTIONS)
        .await
        .into_iter()
        .map(|mail| mail.to)
        .collect();
    got.sort();
    assert_eq!(app.addresses(&notice, "sent").await, got);
    assert_eq!(app.addresses(&notice, "stopped").await.len(), not_sent);
    let counts = &app.notice(&notice).await["counts"];
    assert_eq!(
        json!([counts["sent"], counts["stopped"], counts["pending"]]),
        json!([sent, not_sent, 0])
    );
    assert_eq!(app.catcher.peak_connections(), CONNECTIONS);
    let events = app
        .all(&format!("/api/v1/audit?subject={notice}&action=notice.stopped"))
        .await;
    assert_eq!(events.len(), 1);
    app.post(&format!("/api/v1/notices/{notice}/stop"), json!({}))
        .await
        .expect_problem(409);
    app.finish().await;
}

async fn whoever_was_not_told_can_be_caught_up(env: Env) {
    let (app, permits, notice) = sending(&env).await;
    stop(&app, &permits, &notice).await;
    let rest = PEOPLE - CONNECTIONS;
    assert_eq!(app.notice(&notice).await["not_told_yet"], rest);
    // Resending single deliveries does not bypass the stop.
    let stopped = app
        .all(&format!("/api/v1/notices/{notice}/deliveries?state=stopped"))
        .await;
    app.post(
        &format!("/api/v1/deliveries/{}/resend", stopped[0]["id"]),
        json!({}),
    )
    .await
    .expect_problem(409);
    let catch_up = app
        .post(&format!("/api/v1/notices/{notice}/catch-up"), json!({}))
        .await
        .expect(201)
        .id();
    assert_eq!(app.preview(&catch_up).await.expect(200)["recipients"], rest);
    app.send_as_previewed(&catch_up).await;
    app.done(&catch_up).await;
    let mut told: Vec<String> = app.mails(PEOPLE).await.into_iter().map(|mail| mail.to).collect();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), PEOPLE, "somebody got it twice");
    app.finish().await;
}

async fn a_stopped_notice_stays_stopped_when_its_process_dies(env: Env) {
    let (policy, permits) = holding();
    let catcher = Catcher::start_with(policy).unwrap();
    let mut candor = Binary::new(&env)
        .setting("smtp_url", catcher.url())
        .setting("send_concurrency", CONNECTIONS);
    candor.serve().await;
    candor.import(crowd(PEOPLE)).await.expect(200);
    let incident = candor.incident([("project", "stage")]).await;
    let notice = candor.draft(&incident, "detection").await;
    candor.send_as_previewed(&notice).await;
    catcher.wait_for(CONNECTIONS, DEADLINE).await.expect("held mails");
    // No other task waits for the answer. It comes when no email is being sent any more.
    let http = candor.clone();
    let path = format!("/api/v1/notices/{notice}/stop");
    let asked = tokio::spawn(async move {
        http.request(reqwest::Method::POST, &path)
            .json(json!({}))
            .try_send()
            .await
    });
    wait_until("the notice to be stopped", DEADLINE, async || {
        candor.notice(&notice).await["state"] == "stopped"
    })
    .await;
    candor.kill();
    let _ = asked.await;
    permits.add_permits(PEOPLE);
    if env.backend == Backend::Postgres {
        // Claimed deliveries become due when their lease ends, which this statement brings forward.
        env.sql("UPDATE deliveries SET next_attempt_at = 0 WHERE lease IS NOT NULL")
            .unwrap();
    }
    candor.serve().await;
    wait_until("nothing to be pending", DEADLINE, async || {
        env.count("deliveries WHERE state = 'pending'") == 0
    })
    .await;
    assert_eq!(env.count("deliveries WHERE state = 'sent'"), 0);
    assert_eq!(candor.addresses(&notice, "stopped").await.len(), PEOPLE);
    assert_eq!(
        catcher.accepted(),
        CONNECTIONS,
        "it was sent on after it was stopped"
    );
    candor.finish().await;
}

async fn a_notice_stopped_in_the_queue_reaches_nobody(env: Env) {
    let catcher = Catcher::start().unwrap();
    let mut candor = Binary::new(&env).setting("smtp_url", catcher.url());
    // No process delivers yet.
    candor.serve_with(["serve", "--no-workers"]).await;
    candor.import(crowd(PEOPLE)).await.expect(200);
    let incident = candor.incident([("project", "stage")]).await;
    let stopped = candor.draft(&incident, "detection").await;
    candor.send_as_previewed(&stopped).await;
    assert_eq!(candor.notice(&stopped).await["counts"]["pending"], PEOPLE);
    let answer = candor
        .post(&format!("/api/v1/notices/{stopped}/stop"), json!({}))
        .await
        .expect(200);
    assert_eq!(
        answer.json,
        json!({"state": "stopped", "sent": 0, "not_sent": PEOPLE, "in_flight": 0})
    );
    // The stopped notice was the first in the queue. So when another notice is sent, its turn has passed.
    let next = candor.draft(&incident, "update").await;
    candor.send_as_previewed(&next).await;
    candor.terminate().await.expect(0);
    candor.serve().await;
    candor.done(&next).await;
    assert_eq!(catcher.accepted(), PEOPLE);
    let notice = candor.notice(&stopped).await;
    assert_eq!(
        (&notice["state"], &notice["counts"]["stopped"]),
        (&json!("stopped"), &json!(PEOPLE))
    );
    assert_eq!(env.count("deliveries WHERE state = 'pending'"), 0);
    candor.finish().await;
}

async fn what_was_told_before_the_stop_counts(env: Env) {
    let (app, permits, notice) = sending(&env).await;
    stop(&app, &permits, &notice).await;
    let incident = app.notice(&notice).await["incident"]
        .as_str()
        .expect("an id")
        .to_owned();
    // The first customers were notified, whatever happened to the rest.
    let metrics = app
        .get(&format!("/api/v1/incidents/{incident}/metrics"))
        .await
        .expect(200);
    assert!(metrics["time_to_notify"].is_i64(), "{metrics}");
    // A person who was notified is notified of the end. The other people are affected and are notified too.
    app.resolve(&incident).await;
    app.delete(&format!("/api/v1/incidents/{incident}/affected/project/stage"))
        .await
        .expect(204);
    let resolution = app.draft(&incident, "resolution").await;
    let preview = app.preview(&resolution).await.expect(200);
    assert_eq!(preview["recipients"], CONNECTIONS);
    app.finish().await;
}

async fn there_must_be_something_to_stop(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let path = format!("/api/v1/notices/{notice}/stop");
    app.post(&path, json!({})).await.expect_problem(409);
    app.send_as_previewed(&notice).await;
    let done = eventually("the end", DEADLINE, async || {
        let answer = app.notice(&notice).await;
        (answer["state"] == "sent").then_some(answer)
    })
    .await;
    app.post(&path, json!({})).await.expect_problem(409);
    assert_eq!(app.notice(&notice).await.json, done.json);
    app.finish().await;
}
