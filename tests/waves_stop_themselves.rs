//! A notice can be sent in waves. The first wave reaches people of as many accounts as possible, each boundary is exact, and nobody
//! is in two waves. The next wave begins after a pause or by a person, and does not begin by itself if too many emails bounce or
//! too many people complain or still have the problem. A notice that is not correct any more reaches no further wave.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use candor::delivery::verp::Verp;
use candor::demo::catcher::{Catcher, Decision, Policy};
use serde_json::{Value, json};

use crate::bounces_reach_the_incident::{bounce, complaint};
use crate::support::{
    Answer, Backend, Binary, DEADLINE, Env, Http, Mail, TestApp, crowd, eventually, on_both_databases,
    on_one_database, run, wait_until,
};

on_both_databases!(
    each_wave_goes_exactly_to_its_part,
    the_next_wave_begins_after_the_pause,
    a_late_bounce_holds_the_next_wave,
    complaints_hold_the_next_wave,
    answers_that_it_is_still_broken_hold_the_next_wave,
    a_person_holds_and_continues,
    a_killed_process_loses_no_wave,
    the_database_refuses_to_send_more_than_the_wave,
    no_wave_begins_after_a_resolution,
    no_wave_begins_after_a_reopening,
    no_wave_begins_after_the_promised_time,
    no_wave_begins_if_somebody_of_it_was_removed,
    an_answer_through_an_operator_counts,
    what_was_held_stays_held_after_a_stop,
    corrections_and_reminders_have_no_waves,
);

on_one_database!(
    a_refusal_holds_like_a_bounce,
    an_address_that_is_tried_again_delays_no_wave,
    wrong_waves_are_refused,
    a_short_list_is_one_wave,
    only_operators_decide_about_waves,
);

#[test]
fn two_processes_begin_each_wave_once() {
    run(Backend::Postgres, two_processes);
}

const KEY: &str = "a secret key of the tests, of 32 characters";
const BOUNCES: &str = "bounces@candor.example";

/// Returns a directory of accounts, each with a project of the same ID that has this number of collaborators and no owner.
fn town(accounts: usize, each: usize) -> String {
    let mut lines = Vec::new();
    for account in (1..=accounts).map(|n| format!("account-{n}")) {
        lines.push(json!({"kind": "account", "id": account, "name": account}));
        lines.push(
            json!({"kind": "resource", "type": "project", "id": account, "account": account, "name": "Project"}),
        );
        for n in 1..=each {
            let id = format!("{account}-person-{n}");
            lines.push(
                json!({"kind": "person", "id": id, "name": id, "email": format!("{n}@{account}.example")}),
            );
            lines.push(json!({"kind": "collaborator", "resource": {"type": "project", "id": account}, "person": id, "role": "editor"}));
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn three_waves() -> Value {
    json!([{"people": 10}, {"percent": 10}, {"rest": true}])
}

async fn send(app: &Http, notice: &str, waves: Value, pause: Value) -> Answer {
    let digest = app.digest(notice).await;
    let body = json!({"digest": digest, "waves": waves, "pause": pause});
    app.post(&format!("/api/v1/notices/{notice}/send"), body).await
}

async fn act(app: &Http, notice: &str, what: &str, body: Value) -> Answer {
    app.post(&format!("/api/v1/notices/{notice}/{what}"), body).await
}

/// Waits until each delivery of this wave was tried, and returns the notice.
async fn ended(app: &Http, notice: &str, wave: i64) -> Answer {
    eventually("the end of the wave", DEADLINE, async || {
        let answer = app.notice(notice).await;
        (answer["wave"]["current"] == wave && answer["wave"]["ended"] == true).then_some(answer)
    })
    .await
}

async fn held(app: &Http, notice: &str) -> String {
    eventually("the notice to be held", DEADLINE, async || {
        let answer = app.notice(notice).await;
        answer["wave"]["held_because"].as_str().map(str::to_owned)
    })
    .await
}

fn addresses(mails: &[Mail]) -> BTreeSet<String> {
    mails.iter().map(|mail| mail.to.clone()).collect()
}

/// A notice to 20 people, whose first wave of 10 was sent, with a pause of ten minutes.
struct FirstWave {
    app: TestApp,
    incident: String,
    notice: String,
    mails: Vec<Mail>,
}

impl FirstWave {
    async fn new(env: &Env) -> FirstWave {
        FirstWave::promising(env, Value::Null).await
    }

    /// The notice promises the next update until this time.
    async fn promising(env: &Env, due: Value) -> FirstWave {
        let app = TestApp::builder(env)
            .at("2024-03-14T07:00:00Z")
            .config(|config| {
                config.secret_key = Some(KEY.to_owned());
                config.bounce_address = Some(BOUNCES.to_owned());
            })
            .start()
            .await;
        app.import(crowd(20)).await.expect(200);
        let incident = app.incident([("project", "stage")]).await;
        let notice = app.draft(&incident, "detection").await;
        if !due.is_null() {
            let path = format!("/api/v1/notices/{notice}");
            app.patch(&path, json!({"next_update_due_at": due}))
                .await
                .expect(200);
        }
        let waves = json!([{"people": 10}, {"rest": true}]);
        send(&app, &notice, waves, json!("PT10M")).await.expect(202);
        ended(&app, &notice, 1).await;
        let mails = app.mails(10).await;
        FirstWave {
            app,
            incident,
            notice,
            mails,
        }
    }

    /// Checks that the notice is held for a reason that contains this text, and that the next wave begins neither after the pause
    /// nor by a person. This number of emails was sent by all notices.
    async fn reaches_nobody_else(mut self, because: &str, mails: usize) {
        let reason = held(&self.app, &self.notice).await;
        assert!(reason.contains(because), "{reason}");
        self.app.down_until("2024-03-14T09:00:00Z").await;
        let refused = act(&self.app, &self.notice, "continue", json!({}))
            .await
            .expect_problem(409);
        assert_eq!(refused["detail"], reason.as_str());
        let notice = self.app.notice(&self.notice).await;
        assert_eq!(
            json!([
                notice["state"],
                notice["wave"]["current"],
                notice["counts"]["sent"]
            ]),
            json!(["sending", 1, 10])
        );
        self.app.mails(mails).await;
        self.app.finish().await;
    }

    /// Checks that the notice is held for this reason and that nothing begins after the pause, and continues.
    async fn stays_held_until_continued(mut self, because: &str) {
        assert_eq!(held(&self.app, &self.notice).await, because);
        self.app.down_until("2024-03-14T09:00:00Z").await;
        let notice = self.app.notice(&self.notice).await;
        assert_eq!(
            json!([
                notice["state"],
                notice["wave"]["current"],
                notice["wave"]["next_at"]
            ]),
            json!(["sending", 1, null])
        );
        let events = self
            .app
            .all(&format!(
                "/api/v1/audit?action=notice.held&subject={}",
                self.notice
            ))
            .await;
        assert_eq!(events.len(), 1);
        let timeline = self
            .app
            .all(&format!("/api/v1/incidents/{}/timeline?limit=500", self.incident))
            .await;
        let said = |text: &str| {
            timeline
                .iter()
                .any(|entry| entry["text"].as_str().is_some_and(|entry| entry.contains(text)))
        };
        assert!(said(because), "{timeline:#?}");
        act(&self.app, &self.notice, "continue", json!({}))
            .await
            .expect(202);
        let done = self.app.done(&self.notice).await;
        assert_eq!(
            json!([done["wave"]["current"], done["wave"]["held_because"]]),
            json!([2, null])
        );
        assert_eq!(addresses(&self.app.mails(20).await).len(), 20);
        self.app.finish().await;
    }
}

async fn each_wave_goes_exactly_to_its_part(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(town(5, 6)).await.expect(200);
    let projects: Vec<String> = (1..=5).map(|n| format!("account-{n}")).collect();
    let incident = app
        .incident(projects.iter().map(|id| ("project", id.as_str())))
        .await;
    let notice = app.draft(&incident, "detection").await;
    let digest = app.digest(&notice).await;
    let sent = send(&app, &notice, three_waves(), Value::Null).await.expect(202);
    assert_eq!(
        sent["digest"],
        digest.as_str(),
        "waves do not change who gets what"
    );
    assert_eq!(sent["wave"]["of"], 3);

    let first = ended(&app, &notice, 1).await;
    let mails = app.mails(10).await;
    let mut by_account: BTreeMap<String, usize> = BTreeMap::new();
    for mail in &mails {
        let (_, domain) = mail.to.split_once('@').expect("an address");
        *by_account.entry(domain.to_owned()).or_default() += 1;
    }
    assert_eq!(
        by_account.values().copied().collect::<Vec<_>>(),
        [2; 5],
        "{by_account:?}"
    );
    assert_eq!(
        first["wave"],
        json!({"current": 1, "of": 3, "recipients": 10, "ended": true, "next_at": null, "held_because": null})
    );
    assert_eq!(
        json!([
            first["state"],
            first["counts"]["sent"],
            first["counts"]["pending"]
        ]),
        json!(["sending", 10, 20])
    );

    let begun = act(&app, &notice, "continue", json!({})).await.expect(202);
    assert_eq!(
        json!([begun["state"], begun["wave"]["current"]]),
        json!(["sending", 2])
    );
    ended(&app, &notice, 2).await;
    // 10 % of 30 people are three more.
    assert_eq!(addresses(&app.mails(13).await).len(), 13);
    act(&app, &notice, "continue", json!({})).await.expect(202);
    let done = app.done(&notice).await;
    assert_eq!(
        json!([done["counts"]["sent"], done["counts"]["pending"]]),
        json!([30, 0])
    );
    assert_eq!(addresses(&app.mails(30).await).len(), 30, "somebody got it twice");

    let over = act(&app, &notice, "continue", json!({}))
        .await
        .expect_problem(409);
    assert!(
        over["detail"].as_str().is_some_and(|why| why.contains("sent")),
        "{over}"
    );
    for (action, count) in [
        ("notice.wave_began", 3),
        ("notice.wave_ended", 2),
        ("notice.finished", 1),
    ] {
        let events = app
            .all(&format!("/api/v1/audit?action={action}&subject={notice}"))
            .await;
        assert_eq!(events.len(), count, "{action}");
    }
    // Without waves nothing is different.
    let other = app.draft(&incident, "update").await;
    app.send_as_previewed(&other).await;
    assert_eq!(app.done(&other).await["wave"], Value::Null);
    app.finish().await;
}

async fn the_next_wave_begins_after_the_pause(env: Env) {
    let first = FirstWave::new(&env).await;
    let app = first.app;
    let notice = app.notice(&first.notice).await;
    assert_eq!(notice["wave"]["next_at"], "2024-03-14T07:10:00Z");
    app.set_clock("2024-03-14T07:10:00Z");
    app.done(&first.notice).await;
    assert_eq!(addresses(&app.mails(20).await).len(), 20);
    let began = app
        .all(&format!(
            "/api/v1/audit?action=notice.wave_began&subject={}",
            first.notice
        ))
        .await;
    let times: Vec<&Value> = began.iter().map(|event| &event["at"]).collect();
    assert!(times.contains(&&json!("2024-03-14T07:10:00Z")), "{times:?}");
    app.finish().await;
}

async fn a_late_bounce_holds_the_next_wave(env: Env) {
    let first = FirstWave::new(&env).await;
    // The wave has ended, and the pause runs.
    let to = &first.mails[0].to;
    let delivery = first
        .app
        .deliveries(&first.notice)
        .await
        .into_iter()
        .find(|delivery| delivery["address"] == to.as_str())
        .expect("a delivery");
    let verp = Verp::new(KEY.as_bytes(), BOUNCES).expect("an address");
    let returned = verp
        .address(delivery["id"].as_i64().expect("an id"))
        .expect("an address");
    let report = bounce(returned.as_ref(), to, "failed", "5.1.1", "Subject: x");
    first
        .app
        .post_raw("/api/v1/inbound-mail", "message/rfc822", report)
        .await
        .expect(202);
    first
        .stays_held_until_continued("1 of 10 emails bounced (10 %), above the limit of 5 %")
        .await;
}

async fn complaints_hold_the_next_wave(env: Env) {
    let first = FirstWave::new(&env).await;
    first
        .app
        .post_raw(
            "/api/v1/inbound-mail",
            "message/rfc822",
            complaint(&first.mails[0]),
        )
        .await
        .expect(202);
    first
        .stays_held_until_continued("1 of 10 emails were reported as spam (10 %), above the limit of 0.2 %")
        .await;
}

async fn answers_that_it_is_still_broken_hold_the_next_wave(env: Env) {
    let first = FirstWave::new(&env).await;
    let answer = async |mail: &Mail, answer: &str| {
        let ending = format!("?answer={answer}");
        let url = mail
            .text
            .split_whitespace()
            .find(|word| word.contains("/answers/") && word.ends_with(&ending))
            .expect("a link");
        let (_, path) = url.split_once("/answers/").expect("a path");
        let form = format!("answer={answer}&text=");
        first
            .app
            .anonymous()
            .post_raw(
                &format!("/answers/{path}"),
                "application/x-www-form-urlencoded",
                form,
            )
            .await
            .expect(200);
    };
    // Two of ten are not above the limit of 20 %.
    for mail in &first.mails[..2] {
        answer(mail, "broken").await;
    }
    answer(&first.mails[2], "works").await;
    assert_eq!(
        first.app.notice(&first.notice).await["wave"]["held_because"],
        Value::Null
    );
    answer(&first.mails[3], "broken").await;
    first
        .stays_held_until_continued(
            "3 answers to 10 emails say that it is still broken (30 %), above the limit of 20 %",
        )
        .await;
}

async fn a_person_holds_and_continues(env: Env) {
    let first = FirstWave::new(&env).await;
    let (app, notice) = (first.app, first.notice);
    let kept = act(
        &app,
        &notice,
        "hold",
        json!({"reason": "The support team asked for it"}),
    )
    .await
    .expect(200);
    let because = kept["wave"]["held_because"]
        .as_str()
        .expect("a reason")
        .to_owned();
    assert!(
        because.ends_with("held it: The support team asked for it"),
        "{because}"
    );
    assert_eq!(kept["wave"]["next_at"], Value::Null);
    act(&app, &notice, "hold", json!({"reason": "Another one"}))
        .await
        .expect_problem(409);
    assert_eq!(
        app.notice(&notice).await["wave"]["held_because"],
        because.as_str()
    );
    app.set_clock("2024-03-14T08:00:00Z");
    // A form that is sent twice begins one wave only.
    act(&app, &notice, "continue", json!({"wave": 3}))
        .await
        .expect_problem(409);
    act(&app, &notice, "continue", json!({"wave": 2}))
        .await
        .expect(202);
    act(&app, &notice, "continue", json!({"wave": 2}))
        .await
        .expect_problem(409);
    app.done(&notice).await;
    assert_eq!(addresses(&app.mails(20).await).len(), 20);
    // Nothing is left to hold, here and for a notice without waves.
    act(&app, &notice, "hold", json!({})).await.expect_problem(409);
    let update = app.draft(&first.incident, "update").await;
    for what in ["hold", "continue"] {
        act(&app, &update, what, json!({})).await.expect_problem(409);
        let misspelt = act(&app, &update, what, json!({"because": "x"})).await;
        misspelt.expect_invalid("/because");
    }
    act(&app, &update, "hold", json!({"reason": "x".repeat(501)}))
        .await
        .expect_invalid("/reason");
    app.finish().await;
}

async fn a_killed_process_loses_no_wave(env: Env) {
    let catcher = Catcher::start().unwrap();
    let mut candor = Binary::new(&env).setting("smtp_url", catcher.url());
    candor.serve().await;
    candor.import(crowd(30)).await.expect(200);
    let incident = candor.incident([("project", "stage")]).await;
    let notice = candor.draft(&incident, "detection").await;
    send(&candor, &notice, three_waves(), json!("manual"))
        .await
        .expect(202);
    for (wave, sent) in [(1, 10), (2, 13)] {
        catcher
            .wait_for(sent, DEADLINE)
            .await
            .expect("the mails of the wave");
        ended(&candor, &notice, wave).await;
        candor.kill();
        candor.serve().await;
        assert_eq!(candor.notice(&notice).await["wave"]["current"], wave);
        assert_eq!(catcher.accepted(), sent);
        // A request without a body continues too.
        let path = format!("/api/v1/notices/{notice}/continue");
        candor
            .request(reqwest::Method::POST, &path)
            .send()
            .await
            .expect(202);
    }
    candor.done(&notice).await;
    let mails = catcher.wait_for(30, DEADLINE).await.expect("all mails");
    let to: BTreeSet<&str> = mails.iter().map(|mail| mail.to[0].as_str()).collect();
    assert_eq!(to.len(), 30);
    candor.finish().await;
}

async fn the_database_refuses_to_send_more_than_the_wave(env: Env) {
    let first = FirstWave::new(&env).await;
    for change in [
        "UPDATE notices SET expand_cursor = 11",
        "UPDATE notices SET state = 'sent'",
        "UPDATE notice_waves SET upto = 1",
        "UPDATE notice_waves SET ends = '[20]'",
        "DELETE FROM notice_waves",
    ] {
        assert!(env.sql(change).is_err(), "{change}");
    }
    first.app.finish().await;
}

async fn no_wave_begins_after_a_resolution(env: Env) {
    let first = FirstWave::new(&env).await;
    first.app.set_clock("2024-03-14T07:05:00Z");
    first.app.resolve(&first.incident).await;
    assert_eq!(
        first.app.notice(&first.notice).await["wave"]["held_because"],
        Value::Null,
        "nobody was told yet that it is over"
    );
    first.app.tell(&first.incident, "resolution").await;
    first.reaches_nobody_else("the incident is over", 30).await;
}

async fn no_wave_begins_after_a_reopening(env: Env) {
    let first = FirstWave::new(&env).await;
    first.app.set_clock("2024-03-14T07:05:00Z");
    first.app.resolve(&first.incident).await;
    let status = format!("/api/v1/incidents/{}/status", first.incident);
    first
        .app
        .post(&status, json!({"status": "investigating"}))
        .await
        .expect(200);
    first.reaches_nobody_else("reopened", 10).await;
}

async fn no_wave_begins_after_the_promised_time(env: Env) {
    let first = FirstWave::promising(&env, json!("2024-03-14T07:05:00Z")).await;
    assert_eq!(
        first.app.notice(&first.notice).await["wave"]["held_because"],
        Value::Null
    );
    first.app.set_clock("2024-03-14T07:05:00Z");
    first.reaches_nobody_else("promises the next update", 10).await;
}

async fn no_wave_begins_if_somebody_of_it_was_removed(env: Env) {
    let first = FirstWave::new(&env).await;
    let told = addresses(&first.mails);
    let waiting = (1..=20)
        .find(|n| !told.contains(&format!("person-{n}@crowd.example")))
        .expect("somebody");
    let path = format!("/api/v1/resources/project/stage/collaborators/person-{waiting}");
    first.app.delete(&path).await.expect(204);
    first.app.set_clock("2024-03-14T07:11:00Z");
    first.reaches_nobody_else("not affected any more", 10).await;
}

async fn an_answer_through_an_operator_counts(env: Env) {
    let first = FirstWave::new(&env).await;
    first.app.set_clock("2024-03-14T07:02:00Z");
    for n in 1..=3 {
        let answer = json!({"person": format!("person-{n}"), "answer": "broken"});
        let path = format!("/api/v1/incidents/{}/answers", first.incident);
        first.app.post(&path, answer).await.expect(201);
    }
    let because = held(&first.app, &first.notice).await;
    assert!(because.contains("still broken"), "{because}");
    first.app.finish().await;
}

async fn what_was_held_stays_held_after_a_stop(env: Env) {
    let first = FirstWave::new(&env).await;
    let (app, notice) = (&first.app, &first.notice);
    act(app, notice, "hold", json!({"reason": "we look at it first"}))
        .await
        .expect(200);
    act(app, notice, "stop", json!({})).await.expect(200);
    act(app, notice, "resume", json!({})).await.expect(202);
    let because = held(app, notice).await;
    assert!(because.contains("we look at it first"), "{because}");
    ended(app, notice, 1).await;
    app.set_clock("2024-03-14T08:00:00Z");
    app.mails(10).await;
    act(app, notice, "continue", json!({})).await.expect(202);
    app.done(notice).await;
    app.mails(20).await;
    first.app.finish().await;
}

async fn corrections_and_reminders_have_no_waves(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    let waves = json!([{"people": 1}, {"rest": true}]);
    let reminder = app
        .post(&format!("/api/v1/incidents/{incident}/answers/remind"), json!({}))
        .await
        .expect(201)
        .id();
    send(&app, &reminder, waves.clone(), Value::Null)
        .await
        .expect_invalid("/waves");
    app.delete("/api/v1/resources/project/savanna/collaborators/baraka")
        .await
        .expect(204);
    let correction = act(&app, &notice, "correction", json!({})).await.expect(201).id();
    send(&app, &correction, waves, Value::Null)
        .await
        .expect_invalid("/waves");
    for draft in [&reminder, &correction] {
        assert_eq!(app.notice(draft).await["state"], "draft");
    }
    app.finish().await;
}

async fn a_refusal_holds_like_a_bounce(env: Env) {
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
    let operator = json!({"name": "On call", "email": "on-call@example.com", "events": ["drafted"]});
    app.post("/api/v1/operators", operator).await.expect(201);
    let waves = json!([{"people": 10}, {"rest": true}]);
    send(&app, &notice, waves, json!("PT1M")).await.expect(202);
    assert_eq!(
        held(&app, &notice).await,
        "1 of 10 emails bounced or were rejected (10 %), above the limit of 5 %"
    );
    // The nine who got it, and the operator, who hears of it.
    let mails = app.mails(10).await;
    let told = mails
        .iter()
        .find(|mail| mail.to == "on-call@example.com")
        .expect("a message to the operator");
    assert!(
        told.subject
            .contains("the detection notice is held and waits for your decision"),
        "{}",
        told.subject
    );
    assert!(
        told.text.contains("1 of 10 emails bounced or were rejected"),
        "{}",
        told.text
    );
    // It is held already, so a button of an older page changes nothing.
    let again = act(&app, &notice, "hold", json!({})).await.expect_problem(409);
    assert!(
        again["detail"]
            .as_str()
            .expect("a text")
            .contains("is held already"),
        "{again}"
    );
    assert_eq!(app.all("/api/v1/operators/messages").await.len(), 1);
    app.finish().await;
}

async fn an_address_that_is_tried_again_delays_no_wave(env: Env) {
    let app = TestApp::builder(&env)
        .retry_schedule([Duration::from_secs(3_600)])
        .smtp_policy(Policy::new(|attempt| {
            if attempt.recipient.contains("person-10@") {
                Decision::Temporary("451 4.7.1 come back later".to_owned())
            } else {
                Decision::Accept
            }
        }))
        .start()
        .await;
    app.import(crowd(20)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    let waves = json!([{"people": 10}, {"rest": true}]);
    send(&app, &notice, waves, json!("manual")).await.expect(202);
    let first = ended(&app, &notice, 1).await;
    assert_eq!(
        json!([first["counts"]["sent"], first["counts"]["pending"]]),
        json!([9, 11])
    );
    act(&app, &notice, "continue", json!({})).await.expect(202);
    app.mails(19).await;
    app.finish().await;
}

async fn wrong_waves_are_refused(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let rest = json!({"rest": true});
    let many = vec![json!({"people": 1}); 10].into_iter().chain([rest.clone()]);
    for (waves, pause, place) in [
        (json!([]), json!(null), "/waves"),
        (many.collect::<Value>(), json!(null), "/waves"),
        (json!([{"people": 0}, rest]), json!(null), "/waves/0/people"),
        (json!([{"people": -1}, rest]), json!(null), "/waves/0/people"),
        (json!([{"people": 1.5}, rest]), json!(null), "/waves/0/people"),
        (json!([{"people": "10"}, rest]), json!(null), "/waves/0/people"),
        (json!([{"percent": 0}, rest]), json!(null), "/waves/0/percent"),
        (json!([{"percent": 101}, rest]), json!(null), "/waves/0/percent"),
        (
            json!([{"people": 1, "percent": 1}, rest]),
            json!(null),
            "/waves/0",
        ),
        (json!([{}, rest]), json!(null), "/waves/0"),
        (json!([{"persons": 1}, rest]), json!(null), "/waves/0/persons"),
        (json!([{"people": 10}]), json!(null), "/waves/0"),
        (json!([rest, rest]), json!(null), "/waves/0/rest"),
        (
            json!([{"people": 1}, {"rest": false}]),
            json!(null),
            "/waves/1/rest",
        ),
        (json!([{"people": 1}, rest]), json!("PT59S"), "/pause"),
        (json!([{"people": 1}, rest]), json!("P1DT1S"), "/pause"),
        (json!([{"people": 1}, rest]), json!("soon"), "/pause"),
        (json!([{"people": 1}, rest]), json!(10), "/pause"),
        (json!(null), json!("PT10M"), "/pause"),
    ] {
        send(&app, &notice, waves, pause).await.expect_invalid(place);
    }
    assert_eq!(app.notice(&notice).await["state"], "draft");
    assert_eq!(env.count("notice_waves"), 0);
    // The shortest and the longest pause are allowed.
    send(&app, &notice, json!([{"percent": 100}, rest]), json!("P1D"))
        .await
        .expect(202);
    app.done(&notice).await;
    app.finish().await;
}

async fn a_short_list_is_one_wave(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let sent = send(&app, &notice, three_waves(), json!("manual"))
        .await
        .expect(202);
    assert_eq!(
        json!([sent["wave"]["current"], sent["wave"]["of"]]),
        json!([1, 1])
    );
    app.done(&notice).await;
    app.mails(3).await;
    app.finish().await;
}

async fn only_operators_decide_about_waves(env: Env) {
    let first = FirstWave::new(&env).await;
    let viewer = first.app.as_role(&first.app.token("viewer").await);
    for what in ["hold", "continue", "stop", "resume"] {
        act(&viewer, &first.notice, what, json!({}))
            .await
            .expect_problem(403);
    }
    first.app.finish().await;
}

async fn two_processes(env: Env) {
    let app = TestApp::start(&env).await;
    let other = TestApp::start(&env).await;
    app.import(crowd(40)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    send(&app, &notice, three_waves(), json!("manual"))
        .await
        .expect(202);
    for (wave, sent) in [(1, 10), (2, 14)] {
        ended(&app, &notice, wave).await;
        wait_until("the mails of both processes", DEADLINE, async || {
            app.catcher.accepted() + other.catcher.accepted() == sent
        })
        .await;
        let process: &Http = if wave == 1 { &other } else { &app };
        act(process, &notice, "continue", json!({})).await.expect(202);
    }
    other.done(&notice).await;
    assert_eq!(app.catcher.accepted() + other.catcher.accepted(), 40);
    assert_eq!(app.addresses(&notice, "sent").await.len(), 40);
    let ended = app
        .all(&format!(
            "/api/v1/audit?action=notice.wave_ended&subject={notice}"
        ))
        .await;
    assert_eq!(ended.len(), 2);
    other.finish().await;
    app.finish().await;
}
