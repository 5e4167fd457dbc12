//! An email that is refused for now is tried again, and one that is refused permanently is not. The record
//! shows each attempt with the reply of the server.

use std::sync::Arc;
use std::time::Duration;

use candor::demo::catcher::{Catcher, Decision, Policy};
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::smtp_script::{Act, SmtpScript, Step};
use crate::support::{
    Backend, Binary, DEADLINE, Env, TestApp, complete, crowd, eventually, on_both_databases, outcomes,
    wait_until,
};

on_both_databases!(
    a_temporary_refusal_is_tried_again_when_its_time_has_come,
    a_connection_that_breaks_after_the_mail_is_tried_again,
    a_server_that_is_away_is_waited_for,
    a_permanent_refusal_is_final,
    after_two_days_a_delivery_is_given_up,
    a_failed_delivery_can_be_sent_again_as_the_same_mail,
    the_first_customer_told_counts_while_others_wait,
    an_outcome_waits_for_nobody_who_holds_the_incident,
    no_address_reaches_the_log,
    an_email_that_takes_too_much_to_render_fails_with_its_reason,
);

const BARAKA: &str = "baraka@sound-works.example";

/// Refuses the emails to Baraka as `decide` says, by the attempt number, and accepts all others.
fn refusing_baraka(decide: fn(usize) -> Decision) -> Policy {
    Policy::new(move |attempt| match attempt.recipient {
        BARAKA => decide(attempt.number),
        _ => Decision::Accept,
    })
}

/// Waits until the condition holds for Baraka's delivery, and returns the delivery.
async fn baraka(app: &TestApp, notice: &str, condition: impl Fn(&Value) -> bool) -> Value {
    eventually("the delivery", DEADLINE, async || {
        let deliveries = app.deliveries(notice).await;
        let his = deliveries.iter().find(|delivery| delivery["address"] == BARAKA);
        his.filter(|delivery| condition(delivery)).cloned()
    })
    .await
}

/// Sends the detection and returns its ID.
async fn detection(app: &TestApp) -> String {
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    notice
}

async fn a_temporary_refusal_is_tried_again_when_its_time_has_come(env: Env) {
    let policy = refusing_baraka(|attempt| match attempt {
        1 => Decision::Temporary("451 4.7.1 greylisted, come back".to_owned()),
        2 => Decision::Temporary("452 4.2.2 mailbox full".to_owned()),
        _ => Decision::Accept,
    });
    let app = TestApp::builder(&env)
        .at("2024-03-14T10:00:00+03:00")
        .smtp_policy(policy)
        .retry_schedule([Duration::from_secs(60), Duration::from_secs(600)])
        .start()
        .await;
    let notice = detection(&app).await;
    let first = baraka(&app, &notice, |delivery| outcomes(delivery).len() == 1).await;
    assert_eq!(
        json!([first["state"], first["attempts"]]),
        json!(["pending", [{
            "number": 1,
            "at": "2024-03-14T07:00:00Z",
            "outcome": "retry",
            "reply": first["attempts"][0]["reply"],
            "sha256": null,
            "relay": first["attempts"][0]["relay"],
        }]])
    );
    let reply = first["attempts"][0]["reply"].as_str().expect("a reply");
    assert!(
        reply.contains("451") && reply.contains("greylisted, come back"),
        "{reply}"
    );
    // The schedule says one minute, plus up to a fifth.
    let next = first["next_attempt_at"].as_str().expect("a time");
    assert!(
        ("2024-03-14T07:01:00Z"..="2024-03-14T07:01:12Z").contains(&next),
        "{next}"
    );
    app.mails(2).await;
    assert_eq!(app.notice(&notice).await["state"], "sending");

    app.set_clock("2024-03-14T10:01:12+03:00");
    let second = baraka(&app, &notice, |delivery| outcomes(delivery).len() == 2).await;
    let next = second["next_attempt_at"].as_str().expect("a time");
    assert!(
        ("2024-03-14T07:11:12Z"..="2024-03-14T07:13:12Z").contains(&next),
        "{next}"
    );
    app.mails(2).await;

    app.set_clock("2024-03-14T10:13:12+03:00");
    let sent = baraka(&app, &notice, |delivery| delivery["state"] == "sent").await;
    assert_eq!(outcomes(&sent), ["retry", "retry", "sent"]);
    assert_eq!(sent["sent_at"], "2024-03-14T07:13:12Z");
    assert_eq!(app.catcher.attempts(BARAKA), 3);
    assert_eq!(app.done(&notice).await["counts"]["sent"], 3);
    app.mails(3).await;
    app.finish().await;
}

async fn a_connection_that_breaks_after_the_mail_is_tried_again(env: Env) {
    let policy = refusing_baraka(|attempt| match attempt {
        1 => Decision::DropAfterData,
        _ => Decision::Accept,
    });
    let app = TestApp::builder(&env)
        .smtp_policy(policy)
        .retry_schedule([Duration::from_millis(10)])
        .start()
        .await;
    let notice = detection(&app).await;
    app.done(&notice).await;
    // It is not known whether the first attempt succeeded. Sending twice is better than never, and it is
    // recognisably the same email.
    let mails = app.mails(4).await;
    let his: Vec<_> = mails.iter().filter(|mail| mail.to == BARAKA).collect();
    assert_eq!(his.len(), 2);
    assert_eq!(his[0].header("message-id"), his[1].header("message-id"));
    assert_eq!(his[0].text, his[1].text);
    let delivery = baraka(&app, &notice, |_| true).await;
    assert_eq!(outcomes(&delivery), ["ambiguous", "sent"]);
    app.finish().await;
}

async fn a_server_that_is_away_is_waited_for(env: Env) {
    // A port on which no program listens, because it was bound and released.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut candor = Binary::new(&env)
        .setting("smtp_url", format!("smtp://127.0.0.1:{port}"))
        .setting("retry_schedule", "1h");
    candor.serve().await;
    let incident = candor.story_incident().await;
    let notice = candor.draft(&incident, "detection").await;
    candor.send_as_previewed(&notice).await;
    let waiting = eventually("three attempts", DEADLINE, async || {
        let deliveries = candor.deliveries(&notice).await;
        deliveries
            .iter()
            .all(|delivery| outcomes(delivery) == ["retry"])
            .then_some(deliveries)
    })
    .await;
    for delivery in &waiting {
        assert_eq!(delivery["state"], "pending");
        let reply = delivery["attempts"][0]["reply"].as_str().expect("a reply");
        assert!(reply.starts_with("no connection to the mail server"), "{reply}");
    }
    // The operator corrects the setting and restarts the process.
    let catcher = Catcher::start().unwrap();
    candor.terminate().await.expect(0);
    env.sql("UPDATE deliveries SET next_attempt_at = 0, deferred_until = 0")
        .unwrap();
    let mut candor = candor.setting("smtp_url", catcher.url());
    candor.serve().await;
    candor.done(&notice).await;
    assert_eq!(catcher.wait_for(3, DEADLINE).await.unwrap().len(), 3);
    candor.finish().await;
}

async fn a_permanent_refusal_is_final(env: Env) {
    let policy = refusing_baraka(|_| Decision::Permanent("550 5.1.1 no such user here".to_owned()));
    let app = TestApp::builder(&env)
        .at("2024-03-14T10:00:00+03:00")
        .smtp_policy(policy)
        .retry_schedule([Duration::from_secs(1)])
        .start()
        .await;
    let notice = detection(&app).await;
    let done = app.done(&notice).await;
    let counts = &done["counts"];
    assert_eq!(
        json!([counts["sent"], counts["failed"], counts["pending"]]),
        json!([2, 1, 0])
    );
    let failed = baraka(&app, &notice, |_| true).await;
    assert_eq!(outcomes(&failed), ["failed"]);
    let reply = failed["attempts"][0]["reply"].as_str().expect("a reply");
    assert!(
        reply.contains("550") && reply.contains("no such user here"),
        "{reply}"
    );
    assert_eq!(
        json!([
            failed["state"],
            failed["sent_at"],
            failed["next_attempt_at"],
            failed["person"]["id"]
        ]),
        json!(["failed", null, null, "baraka"])
    );
    assert_eq!(app.addresses(&notice, "failed").await, [BARAKA]);
    // After some days there was still only one attempt. An update leaves out a mailbox that does not exist.
    // Mandatory notices are sent to it.
    app.clock.advance(Duration::from_secs(3 * 24 * 3600));
    let incident = done["incident"].as_str().expect("an id");
    app.tell(incident, "update").await;
    assert_eq!(
        app.catcher.attempts(BARAKA),
        1,
        "an update to a mailbox that does not exist"
    );
    app.resolve(incident).await;
    app.tell(incident, "resolution").await;
    assert_eq!(app.catcher.attempts(BARAKA), 2, "once for each mandatory notice");
    assert_eq!(outcomes(&baraka(&app, &notice, |_| true).await), ["failed"]);
    app.mails(6).await;
    app.finish().await;
}

async fn after_two_days_a_delivery_is_given_up(env: Env) {
    let policy = refusing_baraka(|_| Decision::Temporary("try later".to_owned()));
    let app = TestApp::builder(&env)
        .at("2024-03-14T10:00:00+03:00")
        .smtp_policy(policy)
        .retry_schedule([Duration::from_secs(12 * 3600)])
        .start()
        .await;
    let notice = detection(&app).await;
    // The wait is twelve hours plus up to a fifth. After two days there is no next attempt.
    let mut tried = 1;
    let last = loop {
        let delivery = baraka(&app, &notice, |delivery| outcomes(delivery).len() == tried).await;
        let Some(next) = delivery["next_attempt_at"].as_str() else {
            break delivery;
        };
        app.set_clock(next);
        tried += 1;
    };
    assert_eq!(last["state"], "failed");
    assert!((4..=5).contains(&tried), "{tried} attempts in two days");
    assert!(
        outcomes(&last).iter().all(|outcome| *outcome == "retry"),
        "{last}"
    );
    let counts = &app.done(&notice).await["counts"];
    assert_eq!(json!([counts["sent"], counts["failed"]]), json!([2, 1]));
    app.mails(2).await;
    app.finish().await;
}

async fn a_failed_delivery_can_be_sent_again_as_the_same_mail(env: Env) {
    let policy = refusing_baraka(|attempt| match attempt {
        1 => Decision::Permanent("mailbox is closed".to_owned()),
        _ => Decision::Accept,
    });
    let app = TestApp::builder(&env).smtp_policy(policy).start().await;
    let notice = detection(&app).await;
    app.done(&notice).await;
    let failed = baraka(&app, &notice, |delivery| delivery["state"] == "failed").await;
    let resend = async |id: &Value| {
        app.post(&format!("/api/v1/deliveries/{id}/resend"), json!({}))
            .await
    };
    let queued = resend(&failed["id"]).await.expect(202);
    assert_eq!(queued["id"], failed["id"]);
    let sent = baraka(&app, &notice, |delivery| delivery["state"] == "sent").await;
    assert_eq!(outcomes(&sent), ["failed", "sent"]);
    assert_eq!(sent["message_id"], failed["message_id"]);
    let mails = app.mails(3).await;
    assert_eq!(mails[2].to, BARAKA);
    let message_id = failed["message_id"].as_str().expect("a Message-ID");
    assert_eq!(mails[2].header("message-id"), message_id);
    let done = app.done(&notice).await;
    assert_eq!(done["counts"]["sent"], 3);
    // A delivery that arrived is not sent again, neither his nor any other.
    for delivery in app.deliveries(&notice).await {
        resend(&delivery["id"]).await.expect_problem(409);
    }
    resend(&json!(999_999)).await.expect_problem(404);
    let resent = app.all("/api/v1/audit?action=delivery.resent").await;
    assert_eq!(resent.len(), 1);
    assert_eq!(resent[0]["subject"]["id"], failed["id"].to_string());
    app.mails(3).await;
    app.finish().await;
}

async fn the_first_customer_told_counts_while_others_wait(env: Env) {
    let policy = refusing_baraka(|_| Decision::Temporary("greylisted".to_owned()));
    let app = TestApp::builder(&env)
        .at("2024-03-14T10:00:00+03:00")
        .smtp_policy(policy)
        .start()
        .await;
    let incident = app.story_incident().await;
    app.set_clock("2024-03-14T10:04:00+03:00");
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    eventually("two of the three", DEADLINE, async || {
        (app.addresses(&notice, "sent").await.len() == 2).then_some(())
    })
    .await;
    let metrics = app
        .get(&format!("/api/v1/incidents/{incident}/metrics"))
        .await
        .expect(200);
    assert_eq!(metrics["time_to_notify"], 240);
    let timeline = app.all(&format!("/api/v1/incidents/{incident}/timeline")).await;
    let notified = timeline
        .iter()
        .filter(|entry| entry["kind"] == "notified")
        .count();
    assert_eq!(notified, 1, "{timeline:#?}");
    app.finish().await;
}

async fn no_address_reaches_the_log(env: Env) {
    // Servers often repeat the address in the reply.
    let catcher = Catcher::start_with(Policy::new(|attempt| match attempt.recipient {
        BARAKA => Decision::Permanent(format!("5.1.1 <{}> unknown", attempt.recipient)),
        _ => Decision::Accept,
    }))
    .unwrap();
    let mut candor = Binary::new(&env)
        .setting("smtp_url", catcher.url())
        .setting("log_format", "json");
    candor.serve().await;
    let incident = candor.story_incident().await;
    let notice = candor.tell(&incident, "detection").await;
    let failed = candor
        .all(&format!("/api/v1/notices/{notice}/deliveries?state=failed"))
        .await;
    let reply = failed[0]["attempts"][0]["reply"].as_str().expect("a reply");
    assert!(reply.contains(BARAKA), "the record holds it all: {reply}");
    candor.anonymous().get("/api/v1/incidents").await.expect(401);
    let output = candor.terminate().await.expect(0);
    let log = format!("{}{}", output.stdout, output.stderr);
    assert!(log.contains("listening on"), "{log}");
    for secret in [
        "nyota-films.example",
        "sound-works.example",
        crate::support::ADMIN_TOKEN,
    ] {
        assert!(!log.contains(secret), "{secret} in the log:\n{log}");
    }
    candor.finish().await;
}

/// Stopping and resending take the lock of the incident first and then change counts and deliveries. So a
/// worker that has changed those must not wait for the incident. On SQLite only one connection writes at a
/// time, so this cannot happen.
async fn an_outcome_waits_for_nobody_who_holds_the_incident(env: Env) {
    let answer = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&answer);
    let server = SmtpScript::start(move |moment| match moment.step {
        Step::Dot if moment.nth > 1 => Act::wait(&permits),
        _ => Act::Usual,
    });
    let app = TestApp::builder(&env).relay(server.url()).start().await;
    let (_, notice) = app.tell_crowd(crowd(2)).await;
    let sent = async || app.notice(&notice).await["counts"]["sent"].as_u64();
    // The first outcome is added to the timeline of the incident.
    wait_until("the first to be told", DEADLINE, async || sent().await == Some(1)).await;
    let held = (env.backend == Backend::Postgres).then(|| {
        let mut connection = PgConnection::establish(&env.database_url).expect("a connection");
        connection
            .batch_execute("BEGIN; SELECT 1 FROM incidents FOR NO KEY UPDATE")
            .expect("the incident's lock");
        connection
    });
    answer.add_permits(1);
    // This is sooner than the timeout of a lock.
    wait_until("the outcome", Duration::from_secs(8), async || {
        sent().await == Some(2)
    })
    .await;
    if held.is_some() {
        assert_eq!(app.notice(&notice).await["state"], "sending");
    }
    drop(held);
    assert_eq!(app.done(&notice).await["counts"]["sent"], 2);
    app.finish().await;
}

async fn an_email_that_takes_too_much_to_render_fails_with_its_reason(env: Env) {
    let app = TestApp::start(&env).await;
    // Small for most, and too much for whoever has many resources.
    let list = "{{#each paragraphs}}{{#each ../resources}}{{#if account}}{{/if}}{{/each}}{{/each}}";
    let parts = [
        (
            "text",
            json!({"subject": "S", "text": format!("{list}T"), "html": "<p>H</p>"}),
        ),
        (
            "html",
            json!({"subject": "S", "text": "T", "html": format!("{list}<p>H</p>")}),
        ),
        (
            "subject",
            json!({"subject": format!("{list}S"), "text": "T", "html": "<p>H</p>"}),
        ),
    ];
    let mut directory = crowd(5);
    let mut affected = vec![("project".to_owned(), "stage".to_owned())];
    directory += &format!(
        "{}\n",
        json!({"kind": "person", "id": "zoe", "name": "Zoe", "email": "zoe@crowd.example"})
    );
    for n in 1..=25 {
        let id = format!("z{n}");
        for line in [
            json!({"kind": "resource", "type": "project", "id": id, "account": "crowd", "name": "Z"}),
            json!({"kind": "collaborator", "resource": {"type": "project", "id": id}, "person": "zoe", "role": "editor"}),
        ] {
            directory += &format!("{line}\n");
        }
        affected.push(("project".to_owned(), id));
    }
    app.import(directory).await.expect(200);
    for (part, template) in parts {
        app.put("/api/v1/templates/detection", complete(template))
            .await
            .expect(200);
        let incident = app
            .incident(affected.iter().map(|(type_, id)| (type_.as_str(), id.as_str())))
            .await;
        let notice = app
            .post(
                &format!("/api/v1/incidents/{incident}/notices"),
                json!({"phase": "detection", "message": "a\n\n".repeat(5_000)}),
            )
            .await
            .expect(201)
            .id();
        app.send_as_previewed(&notice).await;
        app.done(&notice).await;
        let failed = app.deliveries(&notice).await;
        let failed: Vec<&Value> = failed
            .iter()
            .filter(|delivery| delivery["state"] == "failed")
            .collect();
        assert_eq!(failed.len(), 1, "{part}: {failed:?}");
        assert_eq!(failed[0]["address"], "zoe@crowd.example");
        assert_eq!(outcomes(failed[0]), ["failed"], "{part}: it is not tried again");
        let reply = crate::support::last_reply(failed[0]);
        assert!(
            reply.starts_with("the email to this recipient cannot be rendered: ")
                && reply.contains(&format!("/template/{part}: takes more than 200000 steps")),
            "{reply}"
        );
        assert!(!reply.contains("internal"), "{reply}");
    }
    app.mails(15).await;
    app.finish().await;
}
