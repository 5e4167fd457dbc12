//! Policies act without a person. The first policy that matches decides once about each incident that an
//! alert opened.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::monitoring::policy;
use crate::support::story::{ADDRESSES, PROJECT};
use crate::support::{Backend, Env, TestApp, on_both_databases, run, story_directory};

on_both_databases!(
    a_policy_sends_what_a_person_would_have_sent,
    without_a_policy_nothing_is_told,
    a_policy_may_only_draft,
    the_first_that_fits_decides,
    what_somebody_opened_is_theirs,
    a_wait_lets_the_affected_grow,
    a_wait_ends_for_whoever_was_quicker,
    what_was_not_done_before_a_crash_is_done_after_it,
    what_is_long_overdue_waits_for_somebody,
    words_that_do_not_fit_any_more_send_nothing,
    policies_are_checked_and_written_by_admins,
);

#[test]
fn two_processes_decide_once() {
    run(Backend::Postgres, two_processes);
}

async fn a_policy_sends_what_a_person_would_have_sent(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:56:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    let policy = app.policy(json!({"subject": "Your files"})).await;
    let incident = app.fires(&monitoring, "storage", PROJECT, "critical").await;
    let run = app.decided(&incident).await;
    assert_eq!(
        (&run["policy"], &run["action"], &run["outcome"], &run["reason"]),
        (&json!(policy), &json!("send"), &json!("sent"), &Value::Null)
    );
    let notice = run["notice"].as_str().expect("a notice");
    let done = app.done(notice).await;
    assert_eq!(
        (&done["phase"], &done["approved"]),
        (&json!("detection"), &json!(false))
    );
    let mut told: Vec<String> = app.mails(3).await.into_iter().map(|mail| mail.to).collect();
    told.sort();
    assert_eq!(told, ADDRESSES);
    let mail = &app.mails(3).await[0];
    assert_eq!(mail.subject, "Your files");
    assert!(
        mail.text.contains("Some of your files cannot be opened."),
        "{}",
        mail.text
    );
    // No text of the alert is sent to a customer.
    assert!(!mail.text.contains("storage is broken") && !mail.html.contains("storage is broken"));
    let timeline = app.told_on_timeline(&incident).await;
    assert!(
        timeline.contains(
            &"Policy “Big ones”: a detection notice to 3 people is being sent automatically".to_owned()
        ),
        "{timeline:#?}"
    );
    let events = app
        .all(&format!("/api/v1/audit?incident={incident}&actor=automation"))
        .await;
    let actions: Vec<&str> = events
        .iter()
        .filter_map(|event| event["action"].as_str())
        .collect();
    for action in ["notice.drafted", "notice.queued", "automation.decided"] {
        assert!(actions.contains(&action), "{actions:?}");
    }
    assert!(events.iter().all(|event| event["actor"]["kind"] == "system"));
    // The alert is repeated, and customers are notified once.
    app.fires_again(&monitoring, "storage").await;
    assert_eq!(
        app.all(&format!("/api/v1/incidents/{incident}/notices"))
            .await
            .len(),
        1
    );
    app.finish().await;
}

async fn without_a_policy_nothing_is_told(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    let first = app.fires(&monitoring, "one", PROJECT, "critical").await;
    app.policy(json!({"action": "nothing", "message": null, "limits": null, "severities": ["minor"]}))
        .await;
    let second = app.fires(&monitoring, "two", PROJECT, "critical").await;
    let third = app.fires(&monitoring, "three", PROJECT, "info").await;
    // Incidents are decided in order, so when the last one is decided, the others were too.
    assert_eq!(app.decided(&third).await["outcome"], "nothing");
    for incident in [&first, &second, &third] {
        assert!(
            app.all(&format!("/api/v1/incidents/{incident}/notices"))
                .await
                .is_empty()
        );
    }
    assert_eq!(app.run_of(&first).await, Value::Null);
    assert_eq!(app.run_of(&second).await, Value::Null);
    app.mails(0).await;
    app.finish().await;
}

async fn a_policy_may_only_draft(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    app.policy(json!({"name": "Look first", "action": "draft", "limits": null}))
        .await;
    let incident = app.fires(&monitoring, "storage", PROJECT, "critical").await;
    let run = app.decided(&incident).await;
    assert_eq!(
        (&run["outcome"], &run["reason"]),
        (&json!("drafted"), &Value::Null)
    );
    let timeline = app.told_on_timeline(&incident).await;
    assert!(
        timeline.contains(&"Policy “Look first”: a detection notice was drafted".to_owned()),
        "{timeline:#?}"
    );
    app.mails(0).await;
    // It is a draft as any other.
    let notice = run["notice"].as_str().expect("a notice");
    app.send_as_previewed(notice).await;
    app.mails(3).await;
    app.finish().await;
}

async fn the_first_that_fits_decides(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let (one, other) = (app.monitoring().await, app.monitoring().await);
    let draft = |name: &str, position: i64, more: Value| {
        let mut body = json!({"name": name, "position": position, "action": "draft"});
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        body
    };
    app.policy(draft("last", 90, json!({}))).await;
    app.policy(draft("off", 1, json!({"enabled": false}))).await;
    app.policy(draft(
        "minor of the other",
        5,
        json!({"integrations": [other.id], "severities": ["minor"]}),
    ))
    .await;
    app.policy(draft("of the other", 10, json!({"integrations": [other.id]})))
        .await;
    app.policy(draft(
        "critical",
        20,
        json!({"severities": ["critical", "major"]}),
    ))
    .await;
    app.policy(draft("critical too", 20, json!({"severities": ["critical"]})))
        .await;
    for (problem, by, severity, name) in [
        ("a", &one, "info", "last"),
        ("b", &other, "info", "minor of the other"),
        ("c", &other, "critical", "of the other"),
        ("d", &one, "critical", "critical"),
    ] {
        let incident = app.fires(by, problem, PROJECT, severity).await;
        assert_eq!(app.decided(&incident).await["policy_name"], name, "{problem}");
    }
    let names: Vec<Value> = app
        .all("/api/v1/automation/policies")
        .await
        .iter()
        .map(|policy| policy["name"].clone())
        .collect();
    assert_eq!(
        names,
        [
            "off",
            "minor of the other",
            "of the other",
            "critical",
            "critical too",
            "last"
        ]
    );
    let runs = app.all("/api/v1/automation/runs?limit=3").await;
    assert_eq!(runs.len(), 4, "all pages");
    app.finish().await;
}

async fn what_somebody_opened_is_theirs(env: Env) {
    let app = TestApp::start(&env).await;
    let by_hand = app.story_incident().await;
    app.policy(json!({})).await;
    let by_hand_too = app.incident([("project", PROJECT)]).await;
    let monitoring = app.monitoring().await;
    let incident = app.fires(&monitoring, "storage", PROJECT, "critical").await;
    assert_eq!(app.decided(&incident).await["outcome"], "sent");
    assert_eq!(app.run_of(&by_hand).await, Value::Null);
    assert_eq!(app.run_of(&by_hand_too).await, Value::Null);
    app.mails(3).await;
    app.finish().await;
}

async fn a_wait_lets_the_affected_grow(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:56:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    app.policy(json!({"wait_seconds": 30})).await;
    let incident = app
        .fires(&monitoring, "storage", "unknown-to-all", "critical")
        .await;
    app.waits(&incident).await;
    app.affect(&incident, "project", PROJECT).await;
    // One second before it is due, another poll finds nothing to do.
    app.clock.advance(Duration::from_secs(29));
    let other = app
        .fires(&monitoring, "network", "unknown-to-all", "critical")
        .await;
    app.waits(&other).await;
    assert_eq!(app.run_of(&incident).await["outcome"], Value::Null);
    app.clock.advance(Duration::from_secs(1));
    let run = app.decided(&incident).await;
    assert_eq!(run["outcome"], "sent", "{run}");
    app.mails(3).await;
    let timeline = app.told_on_timeline(&incident).await;
    for text in [
        "Policy “Big ones” acts automatically at 2024-03-14T06:56:30Z",
        "Policy “Big ones”: a detection notice to 3 people is being sent automatically; 1 ID in alerts is not in the directory: \
         affected people may be missing",
    ] {
        assert!(
            timeline.iter().any(|entry| entry == text),
            "{text}: {timeline:#?}"
        );
    }
    // If nobody is known to be affected, nobody is notified.
    app.clock.advance(Duration::from_secs(29));
    let run = app.decided(&other).await;
    assert_eq!(
        (&run["outcome"], &run["reason"]),
        (&json!("drafted"), &json!("the notice has no recipients"))
    );
    app.finish().await;
}

async fn a_wait_ends_for_whoever_was_quicker(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:56:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    let policy = app
        .policy(json!({"wait_seconds": 60, "severities": ["critical"]}))
        .await;
    app.policy(json!({"name": "Minor", "wait_seconds": 60})).await;
    let written = app.fires(&monitoring, "a", PROJECT, "info").await;
    let resolved = app.fires(&monitoring, "b", PROJECT, "info").await;
    let withdrawn = app.fires(&monitoring, "c", PROJECT, "critical").await;
    let discarded = app.fires(&monitoring, "d", PROJECT, "info").await;
    for incident in [&written, &resolved, &withdrawn, &discarded] {
        app.waits(incident).await;
    }
    app.draft(&written, "detection").await;
    // Whoever discards a draft decides that nobody is notified.
    let draft = app.draft(&discarded, "detection").await;
    app.delete(&format!("/api/v1/notices/{draft}")).await.expect(204);
    app.resolve(&resolved).await;
    app.delete(&format!("/api/v1/automation/policies/{policy}"))
        .await
        .expect(204);
    app.clock.advance(Duration::from_secs(60));
    for (incident, reason) in [
        (&written, "a person has already written a notice"),
        (&discarded, "a person has already written a notice"),
        (&resolved, "the incident is already resolved"),
        (&withdrawn, "the policy was deleted or disabled before it acted"),
    ] {
        let run = app.decided(incident).await;
        assert_eq!(
            (&run["outcome"], &run["reason"]),
            (&json!("nothing"), &json!(reason))
        );
        let timeline = app.told_on_timeline(incident).await;
        assert!(
            timeline.iter().any(|entry| entry.ends_with(reason)),
            "{timeline:#?}"
        );
    }
    app.mails(0).await;
    app.finish().await;
}

/// The incident is committed, and the process ends before the policy has acted. Another process acts once.
async fn what_was_not_done_before_a_crash_is_done_after_it(env: Env) {
    let receiving = TestApp::builder(&env).workers(false).start().await;
    receiving.import(story_directory()).await.expect(200);
    let monitoring = receiving.monitoring().await;
    receiving.policy(json!({})).await;
    let incident = receiving.fires(&monitoring, "storage", PROJECT, "critical").await;
    assert_eq!(receiving.run_of(&incident).await, Value::Null);
    receiving.finish().await;
    let mut app = TestApp::start(&env).await;
    assert_eq!(app.decided(&incident).await["outcome"], "sent");
    app.mails(3).await;
    app.restart().await;
    // The next incident is decided after anything that would be repeated.
    let next = app.fires(&monitoring, "network", PROJECT, "critical").await;
    assert_eq!(app.decided(&next).await["outcome"], "drafted");
    app.mails(3).await;
    assert_eq!(
        app.all(&format!("/api/v1/incidents/{incident}/notices"))
            .await
            .len(),
        1
    );
    app.finish().await;
}

async fn what_is_long_overdue_waits_for_somebody(env: Env) {
    for (began, then, problem, outcome) in [
        (
            "2024-03-14T06:56:00Z",
            "2024-03-14T07:11:00Z",
            "just in time",
            "sent",
        ),
        (
            "2024-03-14T08:56:00Z",
            "2024-03-14T09:12:00Z",
            "too late",
            "drafted",
        ),
    ] {
        let receiving = TestApp::builder(&env).at(began).workers(false).start().await;
        receiving.import(story_directory()).await.expect(200);
        let monitoring = receiving.monitoring().await;
        receiving
            .policy(json!({"limits": {"audience_at_most": 3, "per_account_per_hour": null}}))
            .await;
        let incident = receiving.fires(&monitoring, problem, PROJECT, "critical").await;
        receiving.finish().await;
        let app = TestApp::builder(&env).at(then).start().await;
        let run = app.decided(&incident).await;
        assert_eq!(run["outcome"], outcome, "{run}");
        app.finish().await;
    }
}

async fn words_that_do_not_fit_any_more_send_nothing(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    app.put(
        "/api/v1/accounts/nyota-films/members/zuri",
        json!({"role": "billing"}),
    )
    .await;
    app.policy(json!({"audience": {"roles": ["billing"], "collaborators": false}}))
        .await;
    app.delete("/api/v1/accounts/nyota-films/members/zuri")
        .await
        .expect(204);
    let incident = app.fires(&monitoring, "storage", PROJECT, "critical").await;
    let run = app.decided(&incident).await;
    assert_eq!(run["outcome"], "failed", "{run}");
    let timeline = app.told_on_timeline(&incident).await;
    let said = "Policy “Big ones”: nothing is sent automatically: its notice is no longer valid: /audience/roles/0: \
                no member of any account has the role 'billing'";
    assert!(timeline.iter().any(|entry| entry == said), "{timeline:#?}");
    app.mails(0).await;
    app.finish().await;
}

async fn policies_are_checked_and_written_by_admins(env: Env) {
    let app = TestApp::start(&env).await;
    let path = "/api/v1/automation/policies";
    let unknown = "018e3b5c-0000-7000-8000-000000000000";
    for (more, pointer) in [
        (json!({"name": " "}), "/name"),
        (json!({"message": null}), "/message"),
        (json!({"message": ""}), "/message"),
        (json!({"subject": "two\nlines"}), "/subject"),
        (json!({"limits": null}), "/limits"),
        (
            json!({"limits": {"audience_at_most": 0}}),
            "/limits/audience_at_most",
        ),
        (
            json!({"limits": {"audience_at_most": -1}}),
            "/limits/audience_at_most",
        ),
        (json!({"limits": {}}), "/limits/audience_at_most"),
        (
            json!({"limits": {"audience_at_most": 1, "per_account_per_hour": 0}}),
            "/limits/per_account_per_hour",
        ),
        (
            json!({"limits": {"audience_at_most": 1, "hours": {"from": "8", "until": "18:00", "time_zone": "UTC"}}}),
            "/limits/hours/from",
        ),
        (
            json!({"limits": {"audience_at_most": 1, "hours": {"from": "08:00", "until": "08:00", "time_zone": "UTC"}}}),
            "/limits/hours/until",
        ),
        (
            json!({"limits": {"audience_at_most": 1, "hours": {"from": "08:00", "until": "18:00", "time_zone": "Mars"}}}),
            "/limits/hours/time_zone",
        ),
        (json!({"severities": []}), "/severities"),
        (json!({"severities": ["bad"]}), "/severities/0"),
        (json!({"integrations": []}), "/integrations"),
        (json!({"integrations": [unknown]}), "/integrations/0"),
        (json!({"wait_seconds": 3601}), "/wait_seconds"),
        (json!({"position": -1}), "/position"),
        (json!({"action": "tell"}), "/action"),
        (
            json!({"audience": {"roles": ["nobody-has-it"]}}),
            "/audience/roles/0",
        ),
        (
            json!({"customer_action": {"required": true}}),
            "/customer_action/text",
        ),
        (json!({"audience_at_most": 5}), "/audience_at_most"),
    ] {
        let refused = app.post(path, policy(more.clone())).await.expect(422);
        let pointers: Vec<&Value> = refused["errors"]
            .as_array()
            .expect("errors")
            .iter()
            .map(|error| &error["pointer"])
            .collect();
        assert!(pointers.contains(&&json!(pointer)), "{more}: {pointers:?}");
    }
    assert!(app.all(path).await.is_empty());
    let id = app.policy(json!({})).await;
    let one = format!("{path}/{id}");
    for role in ["viewer", "operator", "approver"] {
        let client = app.as_new(role).await;
        client.get(&one).await.expect(200);
        client.post(path, policy(json!({}))).await.expect(403);
        client.put(&one, policy(json!({}))).await.expect(403);
        client.delete(&one).await.expect(403);
    }
    let changed = app
        .put(
            &one,
            policy(json!({"name": "Other", "action": "draft", "limits": null})),
        )
        .await
        .expect(200);
    assert_eq!(
        (&changed["name"], &changed["position"]),
        (&json!("Other"), &json!(1))
    );
    app.get(&format!("{path}/{unknown}")).await.expect(404);
    app.delete(&one).await.expect(204);
    app.get(&one).await.expect(404);
    let kept: Vec<Value> = app
        .all(&format!("/api/v1/audit?subject={id}"))
        .await
        .iter()
        .map(|event| event["action"].clone())
        .collect();
    let expected = ["policy.created", "policy.changed", "policy.deleted"];
    assert!(
        expected.iter().all(|action| kept.contains(&json!(action))),
        "{kept:?}"
    );
    app.finish().await;
}

async fn two_processes(env: Env) {
    let one = TestApp::start(&env).await;
    let other = TestApp::start(&env).await;
    one.import(story_directory()).await.expect(200);
    let monitoring = one.monitoring().await;
    one.policy(json!({"limits": {"audience_at_most": 10, "per_account_per_hour": null}}))
        .await;
    let mut incidents = Vec::new();
    for n in 0..10 {
        let by = if n % 2 == 0 { &one } else { &other };
        incidents.push(
            by.fires(&monitoring, &format!("problem {n}"), PROJECT, "critical")
                .await,
        );
    }
    for incident in &incidents {
        assert_eq!(one.decided(incident).await["outcome"], "sent");
        let notices = one.all(&format!("/api/v1/incidents/{incident}/notices")).await;
        assert_eq!(notices.len(), 1);
        one.done(notices[0]["id"].as_str().expect("an id")).await;
    }
    let mails = one.catcher.mails().len() + other.catcher.mails().len();
    assert_eq!(mails, 30);
    other.finish().await;
    one.finish().await;
}
