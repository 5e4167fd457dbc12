//! The limits of a policy, each separately and at its exact value. Within the limit people are notified.
//! Above it there is a draft that names the reason.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::monitoring::Monitoring;
use crate::support::story::PROJECT;
use crate::support::{Env, TestApp, crowd, on_both_databases, story_directory};

on_both_databases!(
    as_many_people_as_it_says,
    never_more_than_one_person_may_send,
    an_account_once_an_hour,
    at_once_is_one_after_the_other,
    at_its_hours,
    not_from_a_stale_copy,
    trying_leaves_no_trace,
);

async fn outcome(app: &TestApp, by: &Monitoring, problem: &str, project: &str) -> (String, String) {
    let incident = app.fires(by, problem, project, "critical").await;
    let run = app.decided(&incident).await;
    let reason = run["reason"].as_str().unwrap_or_default().to_owned();
    if !reason.is_empty() {
        let said = format!("Policy “Big ones”: a detection notice was drafted and not sent: {reason}");
        let timeline = app.told_on_timeline(&incident).await;
        assert!(
            timeline.iter().any(|text| text.starts_with(&said)),
            "{timeline:#?}"
        );
    }
    (run["outcome"].as_str().expect("an outcome").to_owned(), reason)
}

fn told() -> (String, String) {
    ("sent".to_owned(), String::new())
}

fn held(reason: &str) -> (String, String) {
    ("drafted".to_owned(), reason.to_owned())
}

async fn as_many_people_as_it_says(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(crowd(5)).await.expect(200);
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    app.policy(json!({"limits": {"audience_at_most": 4}})).await;
    assert_eq!(
        outcome(&app, &monitoring, "five", "stage").await,
        held("5 people are above the limit of the policy (4)")
    );
    app.mails(0).await;
    app.delete("/api/v1/resources/project/stage/collaborators/person-5")
        .await
        .expect(204);
    assert_eq!(outcome(&app, &monitoring, "four", "stage").await, told());
    app.mails(4).await;
    app.finish().await;
}

async fn never_more_than_one_person_may_send(env: Env) {
    let app = TestApp::builder(&env).max_audience(4).start().await;
    app.import(crowd(5)).await.expect(200);
    let monitoring = app.monitoring().await;
    app.policy(json!({})).await;
    assert_eq!(
        outcome(&app, &monitoring, "five", "stage").await,
        held("5 people are above the limit of 4: a second person must approve it")
    );
    app.delete("/api/v1/resources/project/stage/collaborators/person-5")
        .await
        .expect(204);
    assert_eq!(outcome(&app, &monitoring, "four", "stage").await, told());
    app.mails(4).await;
    app.finish().await;
}

async fn an_account_once_an_hour(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:56:00Z").start().await;
    app.import(crowd(2)).await.expect(200);
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    app.policy(json!({})).await;
    assert_eq!(outcome(&app, &monitoring, "first", "stage").await, told());
    app.clock.advance(Duration::from_micros(3_599_999_999));
    let lately = held(
        "policies already notified the account crowd as often as allowed within the last hour (at most 1)",
    );
    assert_eq!(outcome(&app, &monitoring, "second", "stage").await, lately);
    // People of another account are notified in the meantime, and the notice that was not sent does not
    // count.
    assert_eq!(outcome(&app, &monitoring, "elsewhere", PROJECT).await, told());
    app.clock.advance(Duration::from_micros(1));
    assert_eq!(outcome(&app, &monitoring, "third", "stage").await, told());
    app.mails(7).await;
    app.finish().await;
}

/// Two alerts at the same time open two incidents of one account. People are notified of only one of them.
async fn at_once_is_one_after_the_other(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(crowd(2)).await.expect(200);
    let (one, other) = (app.monitoring().await, app.monitoring().await);
    app.policy(json!({})).await;
    let (first, second) = tokio::join!(
        outcome(&app, &one, "first", "stage"),
        outcome(&app, &other, "second", "stage")
    );
    let lately = held(
        "policies already notified the account crowd as often as allowed within the last hour (at most 1)",
    );
    assert!(
        (first == told() && second == lately) || (first == lately && second == told()),
        "{first:?} {second:?}"
    );
    app.mails(2).await;
    app.finish().await;
}

async fn at_its_hours(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T18:59:59Z").start().await;
    app.import(crowd(1)).await.expect(200);
    let monitoring = app.monitoring().await;
    let hours = json!({"from": "22:00", "until": "06:00", "time_zone": "Africa/Nairobi"});
    app.policy(json!({"limits": {"audience_at_most": 10, "per_account_per_hour": null, "hours": hours}}))
        .await;
    let outside = held("the present time is outside the hours 22:00 to 06:00 (Africa/Nairobi) of the policy");
    for (time, problem, expected) in [
        ("2024-03-14T18:59:59Z", "before", outside.clone()),
        ("2024-03-14T19:00:00Z", "at first", told()),
        ("2024-03-14T21:30:00Z", "after midnight", told()),
        ("2024-03-15T02:59:59Z", "at last", told()),
        ("2024-03-15T03:00:00Z", "after", outside),
    ] {
        app.set_clock(time);
        assert_eq!(
            outcome(&app, &monitoring, problem, "stage").await,
            expected,
            "{time}"
        );
    }
    app.mails(3).await;
    app.finish().await;
}

async fn not_from_a_stale_copy(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:56:00Z").start().await;
    app.import(crowd(1)).await.expect(200);
    let monitoring = app.monitoring().await;
    app.policy(json!({})).await;
    let source = json!({
        "name": "shop", "kind": "sqlite", "url": format!("sqlite://{}", env.directory.join("absent.db").display()),
        "stale_after": 3600,
        "queries": {"accounts": "SELECT 'a' AS id, 'A' AS name"},
    });
    let made = app.post("/api/v1/directory/sources", source).await;
    assert_eq!(made.status, 201, "{made}");
    app.clock.advance(Duration::from_secs(3_601));
    assert_eq!(
        outcome(&app, &monitoring, "stale", "stage").await,
        held("the directory from shop has never been read")
    );
    app.mails(0).await;
    app.finish().await;
}

async fn trying_leaves_no_trace(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:56:00Z").start().await;
    app.import(crowd(3)).await.expect(200);
    let monitoring = app.monitoring().await;
    let incident = app.fires(&monitoring, "storage", "stage", "critical").await;
    let by_hand = app.incident([("project", "stage")]).await;
    let policies = [
        (json!({}), "sent", Value::Null),
        (
            json!({"limits": {"audience_at_most": 2}}),
            "drafted",
            json!("3 people are above the limit of the policy (2)"),
        ),
        (
            json!({"action": "draft"}),
            "drafted",
            json!("the policy only creates drafts"),
        ),
        (
            json!({"action": "nothing"}),
            "nothing",
            json!("the policy does nothing"),
        ),
    ];
    let mut ids = Vec::new();
    for (more, ..) in &policies {
        ids.push(app.policy(more.clone()).await);
    }
    let operator = app.as_new("operator").await;
    let rows = || {
        [
            "audit_events",
            "notices",
            "notice_recipients",
            "timeline_entries",
            "automation_runs",
            "automation_told",
        ]
        .map(|table| env.count(table))
    };
    let before = rows();
    for (id, (more, outcome, reason)) in ids.iter().zip(&policies) {
        let path = format!("/api/v1/automation/policies/{id}/try");
        let trial = operator
            .post(&path, json!({"incident": incident}))
            .await
            .expect(200);
        assert_eq!(
            (&trial["outcome"], &trial["reason"]),
            (&json!(outcome), reason),
            "{more}"
        );
        assert_eq!((&trial["fits"], &trial["mismatch"]), (&json!(true), &Value::Null));
        let recipients = if *outcome == "nothing" { 0 } else { 3 };
        assert_eq!(trial["recipients"], recipients);
        let trial = operator
            .post(&path, json!({"incident": by_hand}))
            .await
            .expect(200);
        assert_eq!(trial["fits"], false);
        assert!(
            trial["mismatch"]
                .as_str()
                .is_some_and(|why| why.contains("a person opened or reopened")),
            "{trial}"
        );
    }
    assert_eq!(rows(), before);
    let path = format!("/api/v1/automation/policies/{}/try", ids[0]);
    operator
        .post(&path, json!({"incident": ids[0]}))
        .await
        .expect(404);
    operator.post(&path, json!({})).await.expect(422);
    app.mails(0).await;
    app.finish().await;
}
