//! A stopped notice says exactly who got it and who did not, and goes on to exactly those who did not. Nobody gets it twice: not
//! whoever was sent it, whose address refused it, whose email may have arrived, or who was notified by a catch-up since. The same
//! is true of the systems of accounts.

use std::collections::BTreeSet;
use std::sync::Arc;

use candor::demo::catcher::{Catcher, Decision, Policy};
use candor::egress;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::receiver::Receiver;
use crate::support::{
    Answer, Binary, DEADLINE, Env, Http, TestApp, crowd, eventually, on_both_databases, on_one_database,
    recipients, wait_until,
};

on_both_databases!(
    it_goes_on_to_exactly_those_who_were_not_sent,
    a_notice_stopped_in_the_queue_lists_everybody_and_is_resumed,
    it_is_stopped_within_and_between_waves,
    whoever_was_caught_up_is_left_out,
    whoever_may_have_got_it_is_left_out,
    whoever_opted_out_since_is_not_sent_an_update,
    it_stays_stopped_if_it_is_not_correct_any_more,
    the_end_of_an_earlier_episode_does_not_matter,
    a_delivery_that_was_put_back_blocks_nothing,
    a_system_is_called_once,
    the_limit_for_one_hour_applies_to_what_is_resumed,
);

on_one_database!(
    there_must_be_something_to_resume,
    a_long_list_is_completed_in_steps,
);

const PEOPLE: usize = 30;
const CONNECTIONS: usize = 4;

async fn act(app: &Http, notice: &str, what: &str) -> Answer {
    app.post(&format!("/api/v1/notices/{notice}/{what}"), json!({}))
        .await
}

/// Starts a service whose mail server answers only as many emails as there are permits. The limit of people without an approval is
/// below the number of people.
async fn holding(env: &Env) -> (TestApp, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&permits);
    let app = TestApp::builder(env)
        .smtp_policy(Policy::new(move |_| Decision::Hold(Arc::clone(&hold))))
        .send_concurrency(CONNECTIONS)
        .start()
        .await;
    (app, permits)
}

/// Sends a notice in two waves: 10 people, and then the rest.
async fn send_in_waves(app: &Http, notice: &str) {
    let digest = app.digest(notice).await;
    let body = json!({"digest": digest, "waves": [{"people": 10}, {"rest": true}]});
    app.post(&format!("/api/v1/notices/{notice}/send"), body)
        .await
        .expect(202);
}

/// Stops the notice while the mail server holds emails, and then lets it answer these.
async fn stop_with(app: &TestApp, permits: &Semaphore, notice: &str, held: usize) -> Answer {
    let (answer, ()) = tokio::join!(act(app, notice, "stop"), async {
        wait_until("the notice to be stopped", DEADLINE, async || {
            app.notice(notice).await["state"] == "stopped"
        })
        .await;
        permits.add_permits(held);
    });
    answer.expect(200)
}

async fn wave_ended(app: &Http, notice: &str) {
    wait_until("the end of the wave", DEADLINE, async || {
        app.notice(notice).await["wave"]["ended"] == true
    })
    .await;
}

/// Checks that this number of people got the notice, each once.
async fn each_once(app: &TestApp, number: usize) {
    let mails = app.mails(number).await;
    let to: BTreeSet<&str> = recipients(&mails).into_iter().collect();
    assert_eq!(to.len(), number, "somebody got it twice");
}

async fn it_goes_on_to_exactly_those_who_were_not_sent(env: Env) {
    let permits = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&permits);
    let app = TestApp::builder(&env)
        .smtp_policy(Policy::new(move |_| Decision::Hold(Arc::clone(&hold))))
        .send_concurrency(CONNECTIONS)
        .max_audience(10)
        .start()
        .await;
    app.import(crowd(PEOPLE)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    let digest = app.digest(&notice).await;
    let approver = app.as_role(&app.token("approver").await);
    approver.approve(&notice, &digest).await.expect(200);
    app.send(&notice, &digest).await.expect(202);
    app.mails(CONNECTIONS).await;
    stop_with(&app, &permits, &notice, CONNECTIONS).await;
    let got = app.addresses(&notice, "sent").await;
    let not_got = app.addresses(&notice, "stopped").await;
    assert_eq!((got.len(), not_got.len()), (CONNECTIONS, PEOPLE - CONNECTIONS));

    permits.add_permits(PEOPLE);
    let resumed = act(&app, &notice, "resume").await.expect(202);
    assert_eq!(
        json!([resumed["resumed"], resumed["left_out"], resumed["digest"]]),
        json!([PEOPLE - CONNECTIONS, 0, digest])
    );
    let done = app.done(&notice).await;
    assert_eq!(
        json!([
            done["counts"]["sent"],
            done["counts"]["stopped"],
            done["counts"]["pending"]
        ]),
        json!([PEOPLE, 0, 0])
    );
    each_once(&app, PEOPLE).await;
    // The approval of this list was enough.
    let approvals = app
        .all(&format!("/api/v1/audit?action=notice.approved&subject={notice}"))
        .await;
    assert_eq!(approvals.len(), 1);
    let events = app
        .all(&format!("/api/v1/audit?action=notice.resumed&subject={notice}"))
        .await;
    assert_eq!(
        events[0]["after"],
        json!({"deliveries": PEOPLE - CONNECTIONS, "left_out": 0})
    );
    act(&app, &notice, "resume").await.expect_problem(409);
    app.finish().await;
}

async fn a_notice_stopped_in_the_queue_lists_everybody_and_is_resumed(env: Env) {
    let catcher = Catcher::start().unwrap();
    let mut candor = Binary::new(&env).setting("smtp_url", catcher.url());
    // No process delivers yet.
    candor.serve_with(["serve", "--no-workers"]).await;
    candor.import(crowd(PEOPLE)).await.expect(200);
    let incident = candor.incident([("project", "stage")]).await;
    let notice = candor.draft(&incident, "detection").await;
    candor.send_as_previewed(&notice).await;
    act(&candor, &notice, "stop").await.expect(200);
    assert_eq!(candor.addresses(&notice, "stopped").await.len(), PEOPLE);
    let counts = candor.notice(&notice).await["counts"].clone();
    assert_eq!(json!([counts["stopped"], counts["pending"]]), json!([PEOPLE, 0]));
    act(&candor, &notice, "resume").await.expect(202);
    candor.terminate().await.expect(0);
    assert_eq!(catcher.accepted(), 0);
    candor.serve().await;
    candor.done(&notice).await;
    assert_eq!(catcher.accepted(), PEOPLE);
    assert_eq!(candor.addresses(&notice, "sent").await.len(), PEOPLE);
    candor.finish().await;
}

async fn it_is_stopped_within_and_between_waves(env: Env) {
    let (app, permits) = holding(&env).await;
    app.import(crowd(PEOPLE)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    send_in_waves(&app, &notice).await;
    app.mails(CONNECTIONS).await;
    // Within the first wave.
    stop_with(&app, &permits, &notice, CONNECTIONS).await;
    assert_eq!(
        app.addresses(&notice, "stopped").await.len(),
        PEOPLE - CONNECTIONS
    );
    act(&app, &notice, "continue").await.expect_problem(409);
    act(&app, &notice, "hold").await.expect_problem(409);
    // Resuming ends this wave and does not begin the next one.
    permits.add_permits(10 - CONNECTIONS);
    let resumed = act(&app, &notice, "resume").await.expect(202);
    assert_eq!(resumed["resumed"], PEOPLE - CONNECTIONS);
    wave_ended(&app, &notice).await;
    let between = app.notice(&notice).await;
    assert_eq!(
        json!([
            between["state"],
            between["wave"]["current"],
            between["counts"]["sent"]
        ]),
        json!(["sending", 1, 10])
    );
    app.mails(10).await;
    // Those of the next wave wait again, so nobody drafts a catch-up for them.
    assert_eq!(
        json!([
            between["counts"]["pending"],
            between["counts"]["stopped"],
            between["not_told_yet"]
        ]),
        json!([PEOPLE - 10, 0, 0])
    );
    act(&app, &notice, "catch-up").await.expect_problem(422);
    // Between the waves. Nobody is left in the first one, so resuming begins the second.
    act(&app, &notice, "stop").await.expect(200);
    assert_eq!(app.addresses(&notice, "stopped").await.len(), PEOPLE - 10);
    let resumed = act(&app, &notice, "resume").await.expect(202);
    assert_eq!(
        json!([resumed["resumed"], resumed["wave"]["current"]]),
        json!([PEOPLE - 10, 2])
    );
    app.mails(10 + CONNECTIONS).await;
    // Within the last wave, for the third time.
    stop_with(&app, &permits, &notice, CONNECTIONS).await;
    permits.add_permits(PEOPLE);
    act(&app, &notice, "resume").await.expect(202);
    let done = app.done(&notice).await;
    assert_eq!(
        json!([done["counts"]["sent"], done["counts"]["stopped"]]),
        json!([PEOPLE, 0])
    );
    each_once(&app, PEOPLE).await;
    app.finish().await;
}

/// Returns a directory with two projects of one account. Each has this number of collaborators and no owner.
fn two_projects(each: usize) -> String {
    let mut lines = vec![json!({"kind": "account", "id": "crowd", "name": "Crowd"})];
    for project in ["east", "west"] {
        lines.push(json!({"kind": "resource", "type": "project", "id": project, "account": "crowd", "name": project}));
        for n in 1..=each {
            let id = format!("{project}-{n}");
            lines.push(
                json!({"kind": "person", "id": id, "name": id, "email": format!("{id}@crowd.example")}),
            );
            lines.push(json!({"kind": "collaborator", "resource": {"type": "project", "id": project}, "person": id, "role": "editor"}));
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

async fn whoever_was_caught_up_is_left_out(env: Env) {
    let (app, permits) = holding(&env).await;
    app.import(two_projects(10)).await.expect(200);
    let incident = app.incident([("project", "east"), ("project", "west")]).await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    app.mails(CONNECTIONS).await;
    stop_with(&app, &permits, &notice, CONNECTIONS).await;
    // The catch-up goes only to those of the east who were not sent.
    app.delete(&format!("/api/v1/incidents/{incident}/affected/project/west"))
        .await
        .expect(204);
    let catch_up = act(&app, &notice, "catch-up").await.expect(201).id();
    permits.add_permits(20);
    app.send_as_previewed(&catch_up).await;
    let caught_up = app.done(&catch_up).await["counts"]["sent"]
        .as_i64()
        .expect("a number");
    assert!(caught_up > 0);
    // As long as people of the west are not affected, nobody gets the rest of the list.
    let refused = act(&app, &notice, "resume").await.expect_problem(409);
    assert!(refused.text.contains("not affected any more"), "{refused}");
    app.affect(&incident, "project", "west").await;
    let resumed = act(&app, &notice, "resume").await.expect(202);
    let rest = 20 - CONNECTIONS as i64 - caught_up;
    assert_eq!(
        json!([resumed["left_out"], resumed["resumed"]]),
        json!([caught_up, rest])
    );
    app.done(&notice).await;
    each_once(&app, 20).await;
    let left_out: Vec<Value> = app
        .all(&format!("/api/v1/notices/{notice}/deliveries?state=stopped"))
        .await;
    assert_eq!(left_out.len() as i64, caught_up);
    assert!(
        left_out.iter().all(|one| one["reason"] == "notified"),
        "{left_out:?}"
    );
    app.finish().await;
}

async fn whoever_may_have_got_it_is_left_out(env: Env) {
    let app = TestApp::builder(&env)
        .smtp_policy(Policy::new(|attempt| {
            if attempt.recipient.contains("person-10@") {
                Decision::Permanent("550 5.1.1 user unknown".to_owned())
            } else {
                Decision::Accept
            }
        }))
        .start()
        .await;
    app.import(crowd(20)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    send_in_waves(&app, &notice).await;
    wave_ended(&app, &notice).await;
    app.mails(9).await;
    // One of ten emails was refused, which holds the next wave.
    wait_until("the notice to be held", DEADLINE, async || {
        !app.notice(&notice).await["wave"]["held_because"].is_null()
    })
    .await;
    act(&app, &notice, "stop").await.expect(200);
    // The connection was lost during an earlier attempt.
    env.sql("UPDATE deliveries SET ambiguous = 1 WHERE ordinal = 20")
        .unwrap();
    let resumed = act(&app, &notice, "resume").await.expect(202);
    assert_eq!(resumed["resumed"], 9);
    wave_ended(&app, &notice).await;
    act(&app, &notice, "continue").await.expect(202);
    let done = app.done(&notice).await;
    assert_eq!(
        json!([
            done["counts"]["sent"],
            done["counts"]["failed"],
            done["counts"]["stopped"]
        ]),
        json!([18, 1, 1])
    );
    each_once(&app, 18).await;
    let failed = app
        .all(&format!("/api/v1/notices/{notice}/deliveries?state=failed"))
        .await;
    assert_eq!(failed[0]["attempts"].as_array().map(Vec::len), Some(1));
    app.finish().await;
}

async fn whoever_opted_out_since_is_not_sent_an_update(env: Env) {
    let (app, permits) = holding(&env).await;
    app.import(crowd(10)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "update").await;
    app.send_as_previewed(&notice).await;
    app.mails(CONNECTIONS).await;
    stop_with(&app, &permits, &notice, CONNECTIONS).await;
    let out = &app.addresses(&notice, "stopped").await[0];
    env.sql(&format!("INSERT INTO opt_outs (address, at) VALUES ('{out}', 0)"))
        .unwrap();
    permits.add_permits(10);
    act(&app, &notice, "resume").await.expect(202);
    let done = app.done(&notice).await;
    assert_eq!(
        json!([
            done["counts"]["sent"],
            done["counts"]["suppressed"],
            done["counts"]["stopped"]
        ]),
        json!([9, 1, 0])
    );
    assert_eq!(app.addresses(&notice, "suppressed").await, [out.as_str()]);
    each_once(&app, 9).await;
    app.finish().await;
}

async fn it_stays_stopped_if_it_is_not_correct_any_more(env: Env) {
    let (app, permits) = holding(&env).await;
    app.import(crowd(10)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let detection = app.draft(&incident, "detection").await;
    app.send_as_previewed(&detection).await;
    app.mails(CONNECTIONS).await;
    stop_with(&app, &permits, &detection, CONNECTIONS).await;
    permits.add_permits(100);
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    let over = act(&app, &detection, "resume").await.expect_problem(409);
    assert!(
        over["detail"].as_str().is_some_and(|why| why.contains("over")),
        "{over}"
    );
    app.post(
        &format!("/api/v1/incidents/{incident}/status"),
        json!({"status": "investigating"}),
    )
    .await
    .expect(200);
    let reopened = act(&app, &detection, "resume").await.expect_problem(409);
    assert!(
        reopened["detail"]
            .as_str()
            .is_some_and(|why| why.contains("reopened")),
        "{reopened}"
    );
    assert_eq!(app.notice(&detection).await["state"], "stopped");
    app.mails(CONNECTIONS + 10).await;
    app.finish().await;
}

async fn the_end_of_an_earlier_episode_does_not_matter(env: Env) {
    let catcher = Catcher::start().unwrap();
    let mut candor = Binary::new(&env).setting("smtp_url", catcher.url());
    candor.serve().await;
    candor.import(crowd(PEOPLE)).await.expect(200);
    let incident = candor.incident([("project", "stage")]).await;
    candor.tell(&incident, "detection").await;
    candor.resolve(&incident).await;
    candor.tell(&incident, "resolution").await;
    candor
        .post(
            &format!("/api/v1/incidents/{incident}/status"),
            json!({"status": "investigating"}),
        )
        .await
        .expect(200);
    candor.terminate().await.expect(0);
    // No process delivers now, so the notice is stopped before anybody gets it.
    candor.serve_with(["serve", "--no-workers"]).await;
    let notice = candor.draft(&incident, "detection").await;
    candor.send_as_previewed(&notice).await;
    act(&candor, &notice, "stop").await.expect(200);
    let resumed = act(&candor, &notice, "resume").await.expect(202);
    assert_eq!(resumed["resumed"], PEOPLE);
    candor.terminate().await.expect(0);
    candor.serve().await;
    candor.done(&notice).await;
    assert_eq!(catcher.accepted(), 3 * PEOPLE);
    candor.finish().await;
}

async fn a_delivery_that_was_put_back_blocks_nothing(env: Env) {
    let catcher = Catcher::start().unwrap();
    let mut candor = Binary::new(&env).setting("smtp_url", catcher.url());
    candor.serve_with(["serve", "--no-workers"]).await;
    candor.import(crowd(PEOPLE)).await.expect(200);
    let incident = candor.incident([("project", "stage")]).await;
    let notice = candor.draft(&incident, "detection").await;
    candor.send_as_previewed(&notice).await;
    act(&candor, &notice, "stop").await.expect(200);
    // A worker had claimed it when the notice was stopped, and gave it back without an attempt.
    for change in [
        "UPDATE deliveries SET state = 'pending' WHERE ordinal = 1",
        "UPDATE delivery_counts SET count = count - 1 WHERE state = 'stopped'",
        "INSERT INTO delivery_counts (notice_id, channel, state, count) \
         SELECT notice_id, channel, 'pending', 1 FROM deliveries WHERE ordinal = 1 \
         ON CONFLICT (notice_id, channel, state) DO UPDATE SET count = delivery_counts.count + 1",
    ] {
        env.sql(change).unwrap();
    }
    let resumed = act(&candor, &notice, "resume").await.expect(202);
    assert_eq!(resumed["resumed"], PEOPLE);
    candor.terminate().await.expect(0);
    candor.serve().await;
    candor.done(&notice).await;
    assert_eq!(catcher.accepted(), PEOPLE);
    candor.finish().await;
}

async fn a_system_is_called_once(env: Env) {
    let receiver = Receiver::start();
    let app = TestApp::builder(&env)
        .config(|config| config.webhook_allow = egress::Policy::Private)
        .start()
        .await;
    app.import(crowd(20)).await.expect(200);
    app.post(
        "/api/v1/accounts/crowd/endpoints",
        json!({"url": receiver.url("/hook")}),
    )
    .await
    .expect(201);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    let digest = app.digest(&notice).await;
    let waves = json!([{"people": 10}, {"people": 5}, {"rest": true}]);
    let body = json!({"digest": digest, "waves": waves});
    app.post(&format!("/api/v1/notices/{notice}/send"), body)
        .await
        .expect(202);
    wave_ended(&app, &notice).await;
    act(&app, &notice, "stop").await.expect(200);
    // Resuming begins the second wave. The system is called with the third, so nobody is left for a catch-up.
    act(&app, &notice, "resume").await.expect(202);
    app.mails(15).await;
    wave_ended(&app, &notice).await;
    act(&app, &notice, "catch-up").await.expect_problem(422);
    // The catch-up calls it and reaches the others, so nothing is left for the notice.
    act(&app, &notice, "stop").await.expect(200);
    let catch_up = act(&app, &notice, "catch-up").await.expect(201).id();
    app.send_as_previewed(&catch_up).await;
    app.done(&catch_up).await;
    assert_eq!(receiver.requests(1).await.len(), 1);
    let nothing = act(&app, &notice, "resume").await.expect_problem(409);
    assert_eq!(nothing["code"], "nothing_to_resend");
    each_once(&app, 20).await;
    assert_eq!(receiver.received().len(), 1);
    app.finish().await;
}

async fn the_limit_for_one_hour_applies_to_what_is_resumed(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    app.import(crowd(20)).await.expect(200);
    let limits = json!({"recipients": 500, "recipients_per_hour": 25});
    app.put("/api/v1/limits", limits).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    send_in_waves(&app, &notice).await;
    wave_ended(&app, &notice).await;
    act(&app, &notice, "stop").await.expect(200);
    // It counts for this hour already, so resuming it adds nothing.
    app.set_clock("2024-03-14T07:30:00Z");
    act(&app, &notice, "resume").await.expect(202);
    app.done(&notice).await;
    // In the next hour another notice is stopped.
    app.set_clock("2024-03-14T09:00:00Z");
    let stopped = app.draft(&incident, "update").await;
    send_in_waves(&app, &stopped).await;
    wave_ended(&app, &stopped).await;
    act(&app, &stopped, "stop").await.expect(200);
    // In the hour after it, others were told without an approval.
    app.set_clock("2024-03-14T10:30:00Z");
    let other = app.incident([("project", "stage")]).await;
    app.tell(&other, "detection").await;
    let refused = act(&app, &stopped, "resume").await.expect_problem(403);
    assert_eq!(refused["code"], "approval_required");
    assert_eq!(app.notice(&stopped).await["state"], "stopped");
    // Their hour is over.
    app.set_clock("2024-03-14T11:31:00Z");
    act(&app, &stopped, "resume").await.expect(202);
    app.done(&stopped).await;
    app.mails(60).await;
    app.finish().await;
}

async fn there_must_be_something_to_resume(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    act(&app, &notice, "resume").await.expect_problem(409);
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    let sent = act(&app, &notice, "resume").await.expect_problem(409);
    assert!(
        sent["detail"].as_str().is_some_and(|why| why.contains("sent")),
        "{sent}"
    );
    app.finish().await;
}

async fn a_long_list_is_completed_in_steps(env: Env) {
    // No delivery exists yet when the notice is stopped, and one transaction creates at most 10,000.
    let catcher = Catcher::start().unwrap();
    let mut candor = Binary::new(&env)
        .setting("smtp_url", catcher.url())
        .setting("max_audience", 20_000);
    candor.serve_with(["serve", "--no-workers"]).await;
    candor.import(crowd(10_500)).await.expect(200);
    let incident = candor.incident([("project", "stage")]).await;
    let notice = candor.draft(&incident, "detection").await;
    candor.send_as_previewed(&notice).await;
    act(&candor, &notice, "stop").await.expect(200);
    assert_eq!(env.count("deliveries WHERE state = 'stopped'"), 10_000);
    // The numbers are complete at once.
    assert_eq!(candor.notice(&notice).await["counts"]["stopped"], 10_500);
    candor.terminate().await.expect(0);
    candor.serve().await;
    eventually("the complete list", DEADLINE, async || {
        (env.count("deliveries WHERE state = 'stopped'") == 10_500).then_some(())
    })
    .await;
    assert_eq!(candor.notice(&notice).await["counts"]["stopped"], 10_500);
    assert_eq!(env.count("deliveries WHERE state <> 'stopped'"), 0);
    candor.finish().await;
}
