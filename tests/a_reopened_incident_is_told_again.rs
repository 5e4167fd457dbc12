//! A person who was told that an incident was over is notified when it is reopened. All steps work again in
//! each episode.

use std::sync::Arc;

use candor::demo::catcher::{Decision, Policy};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::story::{ADDRESSES, PROJECT};
use crate::support::{
    DEADLINE, Env, TestApp, eventually, on_both_databases, recipients, story_directory, wait_until,
};

on_both_databases!(
    whoever_heard_the_resolution_hears_that_it_is_back,
    who_opted_out_of_updates_hears_that_it_is_back,
    each_episode_is_notified_once_and_can_be_caught_up,
    a_resolution_that_is_being_sent_is_stopped_by_the_new_detection,
    a_draft_from_before_the_reopening_warns,
    without_a_resolution_a_reopening_is_told_to_those_affected,
    a_report_after_a_reopening_goes_to_everybody_once,
    an_alert_that_comes_back_reaches_operators_and_policies,
    a_reopening_by_hand_reaches_operators_and_no_policy,
    endpoints_hear_each_episode,
    operators_hear_of_a_reopening_at_once,
    a_policy_sends_again_to_whoever_heard_that_it_was_over,
    an_account_that_heard_of_other_incidents_hears_that_one_is_back,
);

async fn status(app: &TestApp, incident: &str, status: &str) {
    app.post(
        &format!("/api/v1/incidents/{incident}/status"),
        json!({"status": status}),
    )
    .await
    .expect(200);
}

async fn partition(app: &TestApp, incident: &str) -> Value {
    let audience = app
        .get(&format!("/api/v1/incidents/{incident}/audience"))
        .await
        .expect(200);
    audience["counts"]["partition"].clone()
}

async fn whoever_heard_the_resolution_hears_that_it_is_back(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    // This person is not affected any more and was told that it is over.
    app.delete("/api/v1/resources/project/savanna/collaborators/baraka")
        .await
        .expect(204);
    assert_eq!(partition(&app, &incident).await["accepted"], 2);
    status(&app, &incident, "investigating").await;
    let shown = app
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200);
    assert_eq!(
        (&shown["episode"], &shown["resolved_at"]),
        (&json!(2), &Value::Null)
    );
    assert_eq!(
        partition(&app, &incident).await,
        json!({"people": 2, "accepted": 0, "sending": 0, "failed": 0, "unreachable": 0, "not_notified": 2})
    );
    let page = app.admin_page(&format!("/admin/incidents/{incident}")).await;
    assert!(page.contains("reopened 1 time"), "{page}");
    assert!(
        page.contains("the last notice to customers says that it is resolved"),
        "{page}"
    );
    // An update would not be sent to a person who opted out.
    let update = app.draft(&incident, "update").await;
    let warnings = app.preview(&update).await.expect(200)["warnings"].to_string();
    assert!(
        warnings.contains("no detection notice was sent after that"),
        "{warnings}"
    );
    let detection = app.draft(&incident, "detection").await;
    let preview = app.preview(&detection).await.expect(200);
    assert_eq!(
        (&preview["recipients"], &preview["already_told"]),
        (&json!(3), &json!(0))
    );
    app.send_as_previewed(&detection).await;
    let done = app.done(&detection).await;
    assert_eq!(done["episode"], 2);
    let mails = app.mails(9).await;
    assert_eq!(recipients(&mails[6..]), ADDRESSES);
    let his = mails[6..]
        .iter()
        .find(|mail| mail.to == ADDRESSES[1])
        .expect("a mail");
    assert!(
        his.text
            .contains("we notified you that this incident was resolved"),
        "{}",
        his.text
    );
    app.finish().await;
}

async fn who_opted_out_of_updates_hears_that_it_is_back(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    let mails = app.mails(3).await;
    let hers = mails.iter().find(|mail| mail.to == ADDRESSES[0]).expect("a mail");
    let link = hers.header("list-unsubscribe");
    app.anonymous()
        .post_raw(
            link.trim_matches(['<', '>']),
            "application/x-www-form-urlencoded",
            "List-Unsubscribe=One-Click",
        )
        .await
        .expect(200);
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    status(&app, &incident, "identified").await;
    let update = app.draft(&incident, "update").await;
    assert_eq!(app.preview(&update).await.expect(200)["recipients"], 2);
    app.tell(&incident, "detection").await;
    assert_eq!(recipients(&app.mails(9).await[6..]), ADDRESSES);
    app.finish().await;
}

async fn each_episode_is_notified_once_and_can_be_caught_up(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let first = app.tell(&incident, "detection").await;
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    status(&app, &incident, "investigating").await;
    // A notice of the episode before has no catch-up in this episode.
    app.post(&format!("/api/v1/notices/{first}/catch-up"), json!({}))
        .await
        .expect_problem(409);
    let detection = app.tell(&incident, "detection").await;
    assert_eq!(app.notice(&detection).await["episode"], 2);
    // Within an episode nobody is notified twice.
    let again = app.draft(&incident, "detection").await;
    let preview = app.preview(&again).await.expect(200);
    assert_eq!(
        (&preview["recipients"], &preview["already_told"]),
        (&json!(0), &json!(3))
    );
    let grace = "/api/v1/resources/project/savanna/collaborators/grace";
    app.put(grace, json!({"role": "viewer"})).await.expect(201);
    assert_eq!(app.notice(&detection).await["not_told_yet"], 1);
    let late = app
        .post(&format!("/api/v1/notices/{detection}/catch-up"), json!({}))
        .await
        .expect(201)
        .id();
    app.send_as_previewed(&late).await;
    app.done(&late).await;
    let mails = 10;
    assert_eq!(
        app.mails(mails).await[mails - 1].to,
        "grace@kilele-studio.example"
    );
    app.delete(grace).await.expect(204);
    // She is not affected any more. She was notified in the second episode, so she is notified of its end and
    // of the reopening.
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    status(&app, &incident, "investigating").await;
    app.post(&format!("/api/v1/notices/{detection}/catch-up"), json!({}))
        .await
        .expect_problem(409);
    app.tell(&incident, "detection").await;
    let all = app.mails(mails + 8).await;
    for sent in [&all[mails..mails + 4], &all[mails + 4..]] {
        assert!(
            recipients(sent).contains(&"grace@kilele-studio.example"),
            "{:?}",
            recipients(sent)
        );
    }
    app.finish().await;
}

async fn a_resolution_that_is_being_sent_is_stopped_by_the_new_detection(env: Env) {
    // The emails of the detection are accepted, and the replies to those of the resolution are held back.
    let permits = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&permits);
    let policy = Policy::new(move |attempt| match attempt.number {
        2 => Decision::Hold(Arc::clone(&hold)),
        _ => Decision::Accept,
    });
    let app = TestApp::builder(&env)
        .smtp_policy(policy)
        .send_concurrency(1)
        .start()
        .await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    app.resolve(&incident).await;
    let resolution = app.draft(&incident, "resolution").await;
    app.send_as_previewed(&resolution).await;
    wait_until("the resolution to be sent", DEADLINE, async || {
        app.notice(&resolution).await["state"] == "sending"
    })
    .await;
    status(&app, &incident, "investigating").await;
    let page = app.admin_page(&format!("/admin/incidents/{incident}")).await;
    assert!(
        page.contains("its earlier resolution notice is still being sent"),
        "{page}"
    );
    let detection = app.draft(&incident, "detection").await;
    let preview = app.preview(&detection).await.expect(200);
    // Everybody who may get the resolution is notified that the incident is not over.
    assert_eq!(preview["recipients"], 3);
    assert!(
        preview["warnings"]
            .to_string()
            .contains("Candor stops it when you send this notice"),
        "{preview}"
    );
    app.send_as_previewed(&detection).await;
    assert_eq!(app.notice(&resolution).await["state"], "stopped");
    permits.add_permits(10);
    app.done(&detection).await;
    // Only the one email that was being sent said that it is over.
    let over = app.addresses(&resolution, "sent").await;
    assert!(over.len() <= 1, "{over:?}");
    assert_eq!(app.addresses(&detection, "sent").await, ADDRESSES);
    app.finish().await;
}

async fn a_draft_from_before_the_reopening_warns(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    app.resolve(&incident).await;
    let resolution = app.draft(&incident, "resolution").await;
    let digest = app.digest(&resolution).await;
    status(&app, &incident, "investigating").await;
    app.send(&resolution, &digest).await.expect_problem(409);
    app.resolve(&incident).await;
    // The text is the same but the episode differs, so the operator must look at it again.
    app.send(&resolution, &digest).await.expect_problem(409);
    let preview = app.preview(&resolution).await.expect(200);
    assert!(
        preview["warnings"]
            .to_string()
            .contains("reopened after this notice was drafted"),
        "{preview}"
    );
    app.send_as_previewed(&resolution).await;
    assert_eq!(app.done(&resolution).await["episode"], 2);
    app.mails(6).await;
    app.finish().await;
}

async fn without_a_resolution_a_reopening_is_told_to_those_affected(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    app.delete("/api/v1/resources/project/savanna/collaborators/baraka")
        .await
        .expect(204);
    app.resolve(&incident).await;
    status(&app, &incident, "monitoring").await;
    // He was never told that it was over.
    let detection = app.draft(&incident, "detection").await;
    assert_eq!(app.preview(&detection).await.expect(200)["recipients"], 2);
    app.finish().await;
}

async fn a_report_after_a_reopening_goes_to_everybody_once(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    for _ in 0..2 {
        app.resolve(&incident).await;
        app.tell(&incident, "resolution").await;
        status(&app, &incident, "investigating").await;
        app.tell(&incident, "detection").await;
    }
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    app.tell(&incident, "report").await;
    let mails = app.mails(21).await;
    assert_eq!(recipients(&mails[18..]), ADDRESSES);
    let metrics = app
        .get(&format!("/api/v1/incidents/{incident}/metrics"))
        .await
        .expect(200);
    let episodes = metrics["episodes"].as_array().expect("episodes");
    assert_eq!(episodes.len(), 3, "{metrics}");
    for episode in episodes {
        assert!(
            episode["notified_at"].is_string() && episode["resolved_at"].is_string(),
            "{metrics}"
        );
    }
    app.finish().await;
}

/// Creates a rule that reopens an incident if its alert fires again within ten minutes.
async fn flapping(app: &TestApp) {
    let rule = json!({"name": "Flapping", "policy": "open", "group_by": ["labels.alertname"], "reopen_within": 600,
        "matchers": [{"field": "source", "is": "alertmanager"}]});
    app.post("/api/v1/alert-rules", rule).await.expect(201);
}

async fn messages(app: &TestApp, n: usize) -> Vec<Value> {
    eventually(&format!("{n} messages"), DEADLINE, async || {
        let mut all = app.all("/api/v1/operators/messages").await;
        all.reverse();
        (all.len() >= n).then_some(all)
    })
    .await
}

async fn an_alert_that_comes_back_reaches_operators_and_policies(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    flapping(&app).await;
    app.post(
        "/api/v1/operators",
        json!({"name": "On call", "email": "on-call@ours.example", "events": ["opened", "drafted"]}),
    )
    .await
    .expect(201);
    app.policy(json!({"action": "draft", "limits": null})).await;
    let by = app.monitoring().await;
    let incident = app.fires(&by, "storage", PROJECT, "critical").await;
    let first = app.decided(&incident).await;
    assert_eq!(
        (&first["outcome"], &first["episode"]),
        (&json!("drafted"), &json!(1))
    );
    // The draft waits for a person, and an operator is notified of this.
    let told = messages(&app, 2).await;
    let drafted = told
        .iter()
        .find(|message| message["event"] == "drafted")
        .expect("a message");
    assert_eq!(drafted["incident"], json!(incident));
    assert!(
        drafted["title"].to_string().contains("waits for your decision"),
        "{drafted}"
    );
    app.resolve(&incident).await;
    app.set_clock("2024-03-14T07:05:00Z");
    app.ends(&by, "storage").await;
    app.fires_anew(&by, "storage", "2024-03-14T07:04:00Z").await;
    assert_eq!(
        app.get(&format!("/api/v1/incidents/{incident}"))
            .await
            .expect(200)["episode"],
        2
    );
    let second = eventually("the policy to act again", DEADLINE, async || {
        let run = app.run_of(&incident).await;
        (run["episode"] == 2 && run["outcome"].is_string()).then_some(run)
    })
    .await;
    assert_eq!(second["outcome"], "drafted", "{second}");
    assert_ne!(second["notice"], first["notice"]);
    assert_eq!(app.all("/api/v1/automation/runs?limit=1").await.len(), 2);
    let told = messages(&app, 4).await;
    let opened: Vec<&str> = told
        .iter()
        .filter(|message| message["event"] == "opened")
        .filter_map(|message| message["title"].as_str())
        .collect();
    assert_eq!(opened.len(), 2, "{told:#?}");
    assert!(opened[1].starts_with("Incident reopened: #1"), "{opened:?}");
    app.finish().await;
}

/// Adds an operator who hears of incidents that open.
async fn on_call(app: &TestApp) {
    app.post(
        "/api/v1/operators",
        json!({"name": "On call", "email": "on-call@ours.example", "events": ["opened"]}),
    )
    .await
    .expect(201);
}

async fn a_reopening_by_hand_reaches_operators_and_no_policy(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    on_call(&app).await;
    app.policy(json!({"action": "draft", "limits": null})).await;
    let incident = app.incident([("project", PROJECT)]).await;
    messages(&app, 1).await;
    app.resolve(&incident).await;
    status(&app, &incident, "identified").await;
    messages(&app, 2).await;
    assert_eq!(app.run_of(&incident).await, Value::Null);
    assert_eq!(env.count("notices"), 0);
    let reopened = app
        .all(&format!(
            "/api/v1/audit?action=incident.reopened&incident={incident}"
        ))
        .await;
    assert_eq!(reopened.len(), 1);
    app.finish().await;
}

async fn endpoints_hear_each_episode(env: Env) {
    use crate::support::receiver::Receiver;
    let app = TestApp::builder(&env)
        .config(|config| config.webhook_allow = candor::egress::Policy::Private)
        .start()
        .await;
    let hook = Receiver::start();
    let incident = app.story_incident().await;
    app.post(
        "/api/v1/accounts/nyota-films/endpoints",
        json!({"url": hook.url("/hook"), "secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}),
    )
    .await
    .expect(201);
    app.tell(&incident, "detection").await;
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    status(&app, &incident, "investigating").await;
    let detection = app.draft(&incident, "detection").await;
    let preview = app.preview(&detection).await.expect(200);
    assert_eq!(preview["channels"]["webhook"], 1, "{preview}");
    app.send_as_previewed(&detection).await;
    app.done(&detection).await;
    let again = app.draft(&incident, "detection").await;
    assert_eq!(app.preview(&again).await.expect(200)["channels"], json!({}));
    app.finish().await;
}

async fn operators_hear_of_a_reopening_at_once(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    on_call(&app).await;
    let sent = async |n: usize| {
        eventually(&format!("{n} messages to be sent"), DEADLINE, async || {
            let mut all = app.all("/api/v1/operators/messages").await;
            all.reverse();
            (all.iter().filter(|message| message["state"] == "sent").count() >= n).then_some(all)
        })
        .await
    };
    let first = app.incident([("project", PROJECT)]).await;
    sent(1).await;
    // The clock stands: everything happens within the minute of the first message.
    let second = app.incident([("project", PROJECT)]).await;
    app.resolve(&first).await;
    status(&app, &first, "investigating").await;
    let all = sent(2).await;
    let title = |message: &Value| message["title"].as_str().expect("a title").to_owned();
    let reopened: Vec<&Value> = all
        .iter()
        .filter(|message| message["state"] == "sent")
        .skip(1)
        .collect();
    assert!(
        title(reopened[0]).starts_with("Incident reopened: #1"),
        "{all:#?}"
    );
    // The second opening still waits for its minute.
    let waiting: Vec<&Value> = all
        .iter()
        .filter(|message| message["state"] == "pending")
        .collect();
    assert_eq!(waiting.len(), 1, "{all:#?}");
    assert!(title(waiting[0]).starts_with("Incident opened: #2"), "{all:#?}");
    // Further reopenings are one message a minute.
    for incident in [&first, &second] {
        app.resolve(incident).await;
        status(&app, incident, "investigating").await;
    }
    let gathered = eventually("the reopenings to be gathered", DEADLINE, async || {
        let all = app.all("/api/v1/operators/messages").await;
        all.iter()
            .any(|message| title(message).starts_with("2 incidents reopened"))
            .then_some(all)
    })
    .await;
    let gathered: Vec<&Value> = gathered
        .iter()
        .filter(|message| title(message).starts_with("2 incidents reopened"))
        .collect();
    assert_eq!(
        (&gathered[0]["state"], &gathered[0]["next_attempt_at"]),
        (&json!("pending"), &json!("2024-03-14T07:01:00Z"))
    );
    app.set_clock("2024-03-14T07:01:00Z");
    assert_eq!(sent(4).await.len(), 4);
    app.finish().await;
}

/// What the policy did about this episode.
async fn run_of_episode(app: &TestApp, incident: &str, episode: i64) -> Value {
    eventually("the policy to act", DEADLINE, async || {
        let run = app.run_of(incident).await;
        (run["episode"] == episode && run["outcome"].is_string()).then_some(run)
    })
    .await
}

async fn a_policy_sends_again_to_whoever_heard_that_it_was_over(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    flapping(&app).await;
    app.policy(json!({})).await;
    let by = app.monitoring().await;
    let incident = app.fires(&by, "storage", PROJECT, "critical").await;
    assert_eq!(run_of_episode(&app, &incident, 1).await["outcome"], "sent");
    app.mails(3).await;
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    app.ends(&by, "storage").await;
    app.set_clock("2024-03-14T07:02:00Z");
    app.fires_anew(&by, "storage", "2024-03-14T07:01:30Z").await;
    let run = run_of_episode(&app, &incident, 2).await;
    assert_eq!(
        (&run["outcome"], &run["reason"]),
        (&json!("sent"), &Value::Null),
        "{run}"
    );
    assert_eq!(recipients(&app.mails(9).await[6..]), ADDRESSES);
    // Nobody is told that it is over this time: customers know of it, and the limit holds.
    app.resolve(&incident).await;
    app.ends(&by, "storage").await;
    app.set_clock("2024-03-14T07:04:00Z");
    app.fires_anew(&by, "storage", "2024-03-14T07:03:30Z").await;
    let run = run_of_episode(&app, &incident, 3).await;
    assert_eq!(run["outcome"], "drafted", "{run}");
    let reason = "within the last hour (at most 1)";
    assert!(run["reason"].to_string().contains(reason), "{run}");
    let timeline = app.told_on_timeline(&incident).await;
    assert!(timeline.iter().any(|text| text.contains(reason)), "{timeline:#?}");
    // Once more somebody says that it is over, and once more it is not.
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    app.mails(12).await;
    app.ends(&by, "storage").await;
    app.set_clock("2024-03-14T07:06:00Z");
    app.fires_anew(&by, "storage", "2024-03-14T07:05:30Z").await;
    assert_eq!(run_of_episode(&app, &incident, 4).await["outcome"], "sent");
    assert_eq!(recipients(&app.mails(15).await[12..]), ADDRESSES);
    app.finish().await;
}

async fn an_account_that_heard_of_other_incidents_hears_that_one_is_back(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    flapping(&app).await;
    app.policy(json!({"limits": {"audience_at_most": 100, "per_account_per_hour": 2}}))
        .await;
    let by = app.monitoring().await;
    let storage = app.fires(&by, "storage", PROJECT, "critical").await;
    assert_eq!(run_of_episode(&app, &storage, 1).await["outcome"], "sent");
    app.mails(3).await;
    app.resolve(&storage).await;
    app.tell(&storage, "resolution").await;
    app.ends(&by, "storage").await;
    let other = app.fires(&by, "encoding", PROJECT, "critical").await;
    assert_eq!(run_of_episode(&app, &other, 1).await["outcome"], "sent");
    app.mails(9).await;
    // A new problem is held back now. That the old one is back is not.
    let third = app.fires(&by, "playback", PROJECT, "critical").await;
    assert_eq!(run_of_episode(&app, &third, 1).await["outcome"], "drafted");
    app.set_clock("2024-03-14T07:02:00Z");
    app.fires_anew(&by, "storage", "2024-03-14T07:01:30Z").await;
    assert_eq!(run_of_episode(&app, &storage, 2).await["outcome"], "sent");
    assert_eq!(recipients(&app.mails(12).await[9..]), ADDRESSES);
    app.finish().await;
}
