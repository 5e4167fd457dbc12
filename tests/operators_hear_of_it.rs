//! Operators are notified of events once, each through their own channels. The outcome of a message changes
//! nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use candor::base::time::Timestamp;
use candor::config::Config;
use candor::demo::catcher::{Decision, Policy};
use candor::egress;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::receiver::{Receiver, Reply};
use crate::support::smtp_script::{Act, SmtpScript, Step};
use crate::support::story::{ADDRESSES, FILES, PROJECT};
use crate::support::{
    Backend, DEADLINE, Env, TestApp, eventually, on_both_databases, run, story_directory, wait_until,
};

on_both_databases!(
    each_event_is_told_by_mail_and_by_webhook,
    each_kind_of_webhook_has_its_format,
    a_storm_is_one_message_a_minute,
    what_fails_is_tried_again_by_the_schedule,
    what_fails_for_good_is_given_up_and_changes_nothing,
    a_hook_that_hangs_holds_up_no_mail,
    a_stop_waits_for_no_server_and_loses_no_message,
    everybody_hears_what_they_want,
    what_is_no_operator_is_refused,
    only_admins_write_and_nobody_reads_a_secret,
);

#[test]
fn two_processes_tell_nobody_twice() {
    run(Backend::Postgres, two_processes);
}

const ON_CALL: &str = "on-call@ours.example";

fn private(config: &mut Config) {
    config.callout_allow = egress::Policy::Private;
}

async fn start(env: &Env) -> TestApp {
    TestApp::builder(env)
        .config(private)
        .at("2024-03-14T06:56:00Z")
        .start()
        .await
}

async fn operator(app: &TestApp, body: Value) -> String {
    let mut operator = json!({"name": "On call"});
    for (name, value) in body.as_object().expect("an object") {
        operator[name] = value.clone();
    }
    app.post("/api/v1/operators", operator).await.expect(201).id()
}

/// Waits until the condition holds, and returns the messages, oldest first.
async fn messages(app: &TestApp, what: &str, condition: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    eventually(what, DEADLINE, async || {
        let mut messages = app.all("/api/v1/operators/messages").await;
        messages.reverse();
        condition(&messages).then_some(messages)
    })
    .await
}

/// Waits until there are this many messages and all are sent, and returns them.
async fn sent(app: &TestApp, n: usize) -> Vec<Value> {
    let all = messages(app, &format!("{n} messages to be sent"), |all| {
        all.len() >= n && all.iter().all(|message| message["state"] == "sent")
    })
    .await;
    assert_eq!(all.len(), n, "{all:#?}");
    all
}

/// Waits until this many attempts of a message were made and recorded, and it waits for the next one.
async fn settled(env: &Env, attempts: i64) {
    let waiting =
        format!("operator_messages WHERE state = 'pending' AND lease IS NULL AND attempts = {attempts}");
    wait_until(&format!("{attempts} attempts"), DEADLINE, async || {
        env.count(&waiting) == 1
    })
    .await;
}

async fn each_event_is_told_by_mail_and_by_webhook(env: Env) {
    let refuses = Policy::new(|attempt| {
        if attempt.recipient == ADDRESSES[1] {
            Decision::Permanent("550 5.1.1 no such user".to_owned())
        } else {
            Decision::Accept
        }
    });
    let app = TestApp::builder(&env)
        .config(private)
        .smtp_policy(refuses)
        .at("2024-03-14T06:56:00Z")
        .start()
        .await;
    let hook = Receiver::start();
    operator(
        &app,
        json!({"email": ON_CALL, "webhook": {"kind": "generic", "url": hook.url("/hook")}}),
    )
    .await;
    let incident = app.story_incident().await;
    let opened = sent(&app, 2).await;
    assert!(
        opened
            .iter()
            .all(|message| message["title"] == "Incident opened: #1 major: Files cannot be opened")
    );
    let notice = app.tell(&incident, "detection").await;
    let told = sent(&app, 6).await;
    let titles: Vec<&Value> = told.iter().skip(2).map(|message| &message["title"]).collect();
    for title in [
        "#1: detection sent to 2, 1 failed",
        "#1: 1 person could not be reached",
    ] {
        assert_eq!(
            titles.iter().filter(|one| **one == title).count(),
            2,
            "{titles:?}"
        );
    }
    let due = "2024-03-14T07:56:00Z";
    let automation = format!("/api/v1/incidents/{incident}/automation");
    assert_eq!(app.get(&automation).await.expect(200)["update_due_at"], due);
    app.clock.advance(Duration::from_secs(3_599));
    app.clock.advance(Duration::from_secs(1));
    let all = sent(&app, 8).await;
    let overdue: Vec<&Value> = all
        .iter()
        .filter(|message| message["event"] == "overdue")
        .collect();
    assert_eq!(overdue.len(), 2);
    assert!(
        overdue.iter().all(|message| message["created_at"] == due),
        "{overdue:#?}"
    );
    // Two emails go to customers and four to operators. The same missing heartbeat causes no more.
    let mails = app.mails(6).await;
    let ours: Vec<_> = mails.iter().filter(|mail| mail.to == ON_CALL).collect();
    assert_eq!(ours.len(), 4);
    let mail = ours
        .iter()
        .find(|mail| mail.subject.contains("opened"))
        .expect("the first");
    assert_eq!(mail.header("auto-submitted"), "auto-generated");
    assert!(mail.header("list-unsubscribe").is_empty());
    let page = "/admin/incidents/1";
    assert!(
        mail.text.contains(page) && mail.html.contains(page),
        "{}",
        mail.text
    );
    assert!(ours.iter().any(|mail| {
        mail.text
            .contains("The last notice to customers was sent at 14 March 2024, 06:56 UTC")
    }));
    let requests = hook.requests(4).await;
    let events: Vec<Value> = requests
        .iter()
        .map(|request| request.json()["event"].clone())
        .collect();
    for event in ["opened", "sent", "unreached", "overdue"] {
        assert!(events.contains(&json!(event)), "{events:?}");
    }
    assert_eq!(requests[0].json()["incident"]["number"], 1);
    // They are not deliveries of the notice.
    let counts = &app.notice(&notice).await["counts"];
    assert_eq!((&counts["sent"], &counts["failed"]), (&json!(2), &json!(1)));
    assert_eq!(env.count("deliveries"), 3);
    app.resolve(&incident).await;
    assert_eq!(
        app.get(&automation).await.expect(200)["update_due_at"],
        Value::Null
    );
    let trail = app.all("/api/v1/audit?actor=operators&limit=500").await;
    assert_eq!(
        trail
            .iter()
            .filter(|event| event["action"] == "operator.told")
            .count(),
        8
    );
    let shown = app.get("/api/v1/audit/export").await.expect(200).text;
    assert!(!shown.contains(ON_CALL) && !shown.contains("/hook"));
    app.finish().await;
}

async fn each_kind_of_webhook_has_its_format(env: Env) {
    let app = start(&env).await;
    let hook = Receiver::start();
    for kind in ["slack", "teams", "ntfy", "generic"] {
        let url = hook.url(&format!("/{kind}/our-topic?key=1"));
        operator(&app, json!({"webhook": {"kind": kind, "url": url}})).await;
    }
    let title = "<@everyone> [x](https://evil.example) & \"más\"";
    let body = json!({"title": title, "severity": "critical"});
    let incident = app.post("/api/v1/incidents", body).await.expect(201).id();
    let requests = hook.requests(4).await;
    let base = app.get("/api/v1/operators").await.expect(200);
    assert_eq!(base["items"][0]["webhook"]["url"], hook.url("/…"));
    let of = |kind: &str| {
        requests
            .iter()
            .find(|request| request.path.contains(kind))
            .unwrap_or_else(|| panic!("no {kind}: {requests:#?}"))
    };
    assert!(
        requests
            .iter()
            .all(|request| request.header("content-type") == "application/json")
    );
    let said = format!("Incident opened: #1 critical: {title}");
    let link = |value: &Value| value.as_str().expect("a link").ends_with("/admin/incidents/1");
    let slack = of("slack").json();
    let text = slack["text"].as_str().expect("a text");
    assert!(
        text.contains("&lt;@everyone&gt; [x](https://evil.example) &amp; \"más\""),
        "{text}"
    );
    assert!(text.contains("/admin/incidents/1|Open the incident>"), "{text}");
    assert_eq!(text.matches('<').count(), 1, "{text}");
    let teams = of("teams").json();
    assert_eq!(teams["type"], "message");
    let attachment = &teams["attachments"][0];
    assert_eq!(
        attachment["contentType"],
        "application/vnd.microsoft.card.adaptive"
    );
    let card = &attachment["content"];
    assert_eq!(
        (&card["type"], &card["version"]),
        (&json!("AdaptiveCard"), &json!("1.4"))
    );
    // Text runs do not interpret Markdown, so a title cannot become a link.
    assert_eq!(card["body"][0]["type"], "RichTextBlock");
    assert_eq!(card["body"][0]["inlines"][0]["text"], said);
    assert!(link(&card["actions"][0]["url"]));
    // ntfy gets JSON at the root of the server, with the topic in the body.
    let ntfy = requests
        .iter()
        .find(|request| request.path == "/ntfy/?key=1")
        .unwrap_or_else(|| panic!("{requests:#?}"))
        .json();
    assert_eq!(ntfy["topic"], "our-topic");
    assert_eq!((&ntfy["title"], &ntfy["priority"]), (&json!(said), &json!(5)));
    assert_eq!(ntfy["tags"], json!(["rotating_light"]));
    assert!(link(&ntfy["click"]));
    let generic = of("generic").json();
    assert_eq!(generic["incident"]["id"], incident);
    assert_eq!(
        (&generic["title"], &generic["event"]),
        (&json!(said), &json!("opened"))
    );
    assert!(link(&generic["link"]));
    app.finish().await;
}

async fn a_storm_is_one_message_a_minute(env: Env) {
    let app = start(&env).await;
    app.import(story_directory()).await.expect(200);
    let hook = Receiver::start();
    operator(
        &app,
        json!({"webhook": {"kind": "generic", "url": hook.url("/")}}),
    )
    .await;
    app.incident([("project", PROJECT)]).await;
    sent(&app, 1).await;
    for _ in 0..12 {
        app.incident([("project", PROJECT)]).await;
    }
    app.clock.advance(Duration::from_secs(59));
    app.incident([("project", PROJECT)]).await;
    let all = messages(&app, "the others to be gathered", |all| {
        all.len() == 2
            && all[1]["title"]
                .as_str()
                .is_some_and(|title| title.starts_with("13 incidents"))
    })
    .await;
    assert_eq!(all[1]["state"], "pending");
    assert_eq!(all[1]["next_attempt_at"], "2024-03-14T06:57:00Z");
    assert_eq!(hook.received().len(), 1);
    app.clock.advance(Duration::from_secs(1));
    sent(&app, 2).await;
    let request = &hook.requests(2).await[1];
    assert_eq!(
        request.json()["title"],
        "13 incidents opened, the first: #2 major: Files cannot be opened"
    );
    assert_eq!(request.json()["others"], 12);
    let text = request.json()["text"].as_str().expect("a text").to_owned();
    assert_eq!(text.lines().count(), 11, "{text}");
    assert!(text.ends_with("and 3 more"), "{text}");
    // After an hour without messages the next one is sent at once.
    app.clock.advance(Duration::from_secs(3_600));
    app.incident([("project", PROJECT)]).await;
    sent(&app, 3).await;
    app.finish().await;
}

async fn what_fails_is_tried_again_by_the_schedule(env: Env) {
    let app = start(&env).await;
    let hook = Receiver::answering(|number, _| match number {
        1 => Reply::of(500).body("not now"),
        2 => Reply::of(429).header("retry-after", "600"),
        _ => Reply::of(200),
    });
    operator(&app, json!({"webhook": {"kind": "slack", "url": hook.url("/")}})).await;
    app.story_incident().await;
    settled(&env, 1).await;
    let first = app.all("/api/v1/operators/messages").await.remove(0);
    assert_eq!(
        (&first["state"], &first["finished_at"]),
        (&json!("pending"), &Value::Null)
    );
    assert!(
        first["reply"]
            .as_str()
            .is_some_and(|reply| reply.contains("500") && reply.contains("not now"))
    );
    // The wait is five seconds, up to a fifth shorter or longer at random.
    let next = Timestamp::parse(first["next_attempt_at"].as_str().expect("a time")).expect("a time");
    let wait = next.as_micros() - app.clock.now().as_micros();
    assert!((4_000_000..=6_000_000).contains(&wait), "{wait}");
    app.clock.advance(Duration::from_secs(7));
    settled(&env, 2).await;
    let second = app.all("/api/v1/operators/messages").await.remove(0);
    assert!(
        second["reply"]
            .as_str()
            .is_some_and(|reply| reply.contains("429")),
        "{second}"
    );
    assert_eq!(second["next_attempt_at"], "2024-03-14T07:06:07Z");
    app.clock.advance(Duration::from_secs(600));
    let all = sent(&app, 1).await;
    assert_eq!(all[0]["attempts"], 3);
    hook.requests(3).await;
    app.finish().await;
}

async fn what_fails_for_good_is_given_up_and_changes_nothing(env: Env) {
    let app = start(&env).await;
    let away = Receiver::answering(|_, _| Reply::of(503));
    let wrong = Receiver::answering(|_, _| Reply::of(404).body("no_service"));
    operator(
        &app,
        json!({"name": "away", "webhook": {"kind": "slack", "url": away.url("/")}}),
    )
    .await;
    operator(
        &app,
        json!({"name": "wrong", "webhook": {"kind": "slack", "url": wrong.url("/")}}),
    )
    .await;
    let incident = app.story_incident().await;
    let before = app
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200);
    let over = |all: &[Value], name: &str| {
        all.iter()
            .any(|one| one["operator_name"] == name && one["state"] == "failed")
    };
    let all = messages(&app, "the wrong one to be given up", |all| over(all, "wrong")).await;
    let one = all
        .iter()
        .find(|one| one["operator_name"] == "wrong")
        .expect("it");
    assert_eq!(one["attempts"], 1);
    for attempt in 1..=6 {
        settled(&env, attempt).await;
        assert_eq!(away.received().len() as i64, attempt);
        app.clock.advance(Duration::from_secs(3_600));
    }
    // The next attempt would be after six hours.
    messages(&app, "the other to be given up", |all| over(all, "away")).await;
    let all = app.all("/api/v1/operators/messages?state=failed").await;
    let one = all.iter().find(|one| one["operator_name"] == "away").expect("it");
    assert!(
        one["reply"]
            .as_str()
            .is_some_and(|reply| reply.starts_with("failed after the last attempt: 503")),
        "{one}"
    );
    assert_eq!((away.received().len(), &one["attempts"]), (7, &json!(7)));
    let after = app
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200);
    assert_eq!(before.json, after.json);
    wrong.requests(1).await;
    app.finish().await;
}

async fn a_hook_that_hangs_holds_up_no_mail(env: Env) {
    let app = TestApp::builder(&env).config(private).start().await;
    let hold = Arc::new(Semaphore::new(0));
    let held = hold.clone();
    let hook = Receiver::answering(move |_, _| Reply {
        hold: Some(held.clone()),
        ..Reply::of(200)
    });
    operator(
        &app,
        json!({"email": ON_CALL, "webhook": {"kind": "slack", "url": hook.url("/")}}),
    )
    .await;
    let incident = app.story_incident().await;
    hook.requests(1).await;
    app.tell(&incident, "detection").await;
    wait_until("the mails while the hook hangs", DEADLINE, async || {
        app.catcher.accepted() == 5
    })
    .await;
    hold.add_permits(10);
    let mails = app.mails(5).await;
    assert_eq!(mails.iter().filter(|mail| mail.to == ON_CALL).count(), 2);
    sent(&app, 4).await;
    app.finish().await;
}

async fn a_stop_waits_for_no_server_and_loses_no_message(env: Env) {
    let server = SmtpScript::start(|moment| match moment.step {
        Step::Banner => Act::wait(&Arc::new(Semaphore::new(0))),
        _ => Act::Usual,
    });
    let mut app = TestApp::builder(&env)
        .config(private)
        .relay(server.url())
        .start()
        .await;
    let hold = Arc::new(Semaphore::new(0));
    let held = hold.clone();
    let hook = Receiver::answering(move |_, _| Reply {
        hold: Some(held.clone()),
        ..Reply::of(200)
    });
    operator(
        &app,
        json!({"email": ON_CALL, "webhook": {"kind": "slack", "url": hook.url("/")}}),
    )
    .await;
    app.story_incident().await;
    hook.requests(1).await;
    wait_until("the mail to be under way", DEADLINE, async || {
        server.connections() > 0
    })
    .await;
    let claimed = "operator_messages WHERE state = 'pending' AND lease IS NOT NULL";
    assert_eq!(env.count(claimed), 2);
    let began = Instant::now();
    app.stop().await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(env.count(claimed), 0);
    assert_eq!(env.count("operator_messages WHERE state = 'pending'"), 2);
    hold.add_permits(10);
    server.behave();
    app.start_again().await;
    // It is sent at once and not when the lease would have ended.
    let all = sent(&app, 2).await;
    assert!(all.iter().all(|message| message["attempts"] == 2), "{all:#?}");
    assert_eq!(hook.received().len(), 2);
    assert_eq!(server.taken().len(), 1);
    app.finish().await;
}

async fn everybody_hears_what_they_want(env: Env) {
    let app = start(&env).await;
    app.import(story_directory()).await.expect(200);
    let address = |name: &str| format!("{name}@ours.example");
    let mut ids = Vec::new();
    for (name, more) in [
        ("all", json!({})),
        ("critical", json!({"severities": ["critical"]})),
        ("sends", json!({"events": ["sent"]})),
        ("off", json!({"enabled": false})),
        ("leaver", json!({})),
    ] {
        let mut body = json!({"name": name, "email": address(name)});
        for (field, value) in more.as_object().expect("an object") {
            body[field] = value.clone();
        }
        ids.push(operator(&app, body).await);
    }
    app.delete(&format!("/api/v1/operators/{}", ids[4]))
        .await
        .expect(204);
    let incident = app.incident(FILES.map(|file| ("file", file))).await;
    app.tell(&incident, "detection").await;
    let all = sent(&app, 3).await;
    let mut heard: Vec<(String, String)> = all
        .iter()
        .map(|one| {
            let word = |field: &str| one[field].as_str().expect("a word").to_owned();
            (word("operator_name"), word("event"))
        })
        .collect();
    heard.sort();
    let expected = [("all", "opened"), ("all", "sent"), ("sends", "sent")]
        .map(|(name, event)| (name.to_owned(), event.to_owned()));
    assert_eq!(heard, expected);
    app.mails(6).await;
    // A message that was created before is not sent to an operator who wants no more messages.
    app.clock.advance(Duration::from_secs(30));
    app.incident(FILES.map(|file| ("file", file))).await;
    messages(&app, "a message that waits for its minute", |all| {
        all.iter().any(|one| one["state"] == "pending")
    })
    .await;
    app.patch(
        &format!("/api/v1/operators/{}", ids[0]),
        json!({"enabled": false}),
    )
    .await
    .expect(200);
    app.clock.advance(Duration::from_secs(30));
    let all = messages(&app, "its end", |all| {
        all.iter().any(|one| one["state"] == "failed")
    })
    .await;
    assert_eq!(all.len(), 4);
    app.mails(6).await;
    app.finish().await;
}

async fn what_is_no_operator_is_refused(env: Env) {
    let app = TestApp::start(&env).await;
    let path = "/api/v1/operators";
    let hook = |kind: &str, url: &str| json!({"name": "x", "webhook": {"kind": kind, "url": url}});
    for (body, pointer) in [
        (json!({"name": "x"}), "/email"),
        (json!({"name": "", "email": ON_CALL}), "/name"),
        (json!({"name": "x", "email": "nobody"}), "/email"),
        (json!({"name": "x", "email": ON_CALL, "events": []}), "/events"),
        (
            json!({"name": "x", "email": ON_CALL, "events": ["closed"]}),
            "/events/0",
        ),
        (
            json!({"name": "x", "email": ON_CALL, "severities": []}),
            "/severities",
        ),
        (json!({"name": "x", "email": ON_CALL, "phone": "1"}), "/phone"),
        (hook("irc", "https://x.example/"), "/webhook/kind"),
        (hook("slack", "http://x.example/"), "/webhook/url"),
        (hook("slack", "https://127.0.0.1/"), "/webhook/url"),
        (hook("slack", "https://169.254.169.254/"), "/webhook/url"),
        (hook("slack", "https://u:p@x.example/"), "/webhook/url"),
        (hook("ntfy", "https://ntfy.sh/"), "/webhook/url"),
    ] {
        let refused = app.post(path, body.clone()).await.expect(422);
        assert!(
            refused.places().contains(&pointer.to_owned()),
            "{body}: {refused}"
        );
    }
    let id = operator(&app, json!({"email": ON_CALL})).await;
    app.patch(&format!("{path}/{id}"), json!({"email": null}))
        .await
        .expect(422);
    assert_eq!(
        app.get(&format!("{path}/{id}")).await.expect(200)["email"],
        ON_CALL
    );
    app.get(&format!("{path}/messages?state=lost")).await.expect(422);
    app.get(&format!("{path}/messages?operater={id}"))
        .await
        .expect(422);
    app.finish().await;
}

async fn only_admins_write_and_nobody_reads_a_secret(env: Env) {
    let app = TestApp::start(&env).await;
    let path = "/api/v1/operators";
    let url = "https://hooks.example/services/T0/B0/geheim?token=geheim";
    let body = json!({"name": "Rota", "email": ON_CALL, "webhook": {"kind": "slack", "url": url}});
    let made = app.post(path, body.clone()).await.expect(201);
    let one = format!("{path}/{}", made.id());
    for role in ["viewer", "operator", "approver"] {
        let client = app.as_new(role).await;
        client.post(path, body.clone()).await.expect(403);
        client.patch(&one, json!({"enabled": false})).await.expect(403);
        client.delete(&one).await.expect(403);
        client.get(&one).await.expect(200);
        client.get(&format!("{path}/messages")).await.expect(200);
    }
    let changed = app
        .patch(&one, json!({"name": "Rota 2", "events": ["opened"]}))
        .await
        .expect(200);
    assert_eq!(
        (&changed["name"], &changed["events"]),
        (&json!("Rota 2"), &json!(["opened"]))
    );
    assert_eq!(changed["webhook"]["url"], "https://hooks.example/…");
    for answer in [
        &made,
        &changed,
        &app.get(path).await,
        &app.get("/api/v1/audit/export").await,
    ] {
        assert!(!answer.text.contains("geheim"), "{answer}");
    }
    assert!(!app.get("/api/v1/audit/export").await.text.contains(ON_CALL));
    assert_eq!(
        env.texts("SELECT webhook_url AS value FROM operators"),
        [url],
        "what was left out of the change stays"
    );
    app.delete(&one).await.expect(204);
    app.get(&one).await.expect(404);
    assert_eq!(
        env.count("operators WHERE webhook_url IS NOT NULL OR email IS NOT NULL"),
        0
    );
    app.finish().await;
}

async fn two_processes(env: Env) {
    let one = TestApp::builder(&env).config(private).start().await;
    let other = TestApp::builder(&env).config(private).start().await;
    let hook = Receiver::start();
    for n in 0..20 {
        let url = hook.url(&format!("/{n}"));
        let body = json!({"name": format!("n {n}"), "email": format!("n{n}@ours.example"), "webhook": {"kind": "slack", "url": url}});
        one.post("/api/v1/operators", body).await.expect(201);
    }
    one.incident([]).await;
    sent(&one, 40).await;
    let mut paths: Vec<String> = hook
        .requests(20)
        .await
        .into_iter()
        .map(|request| request.path)
        .collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 20);
    assert_eq!(one.catcher.accepted() + other.catcher.accepted(), 20);
    other.finish().await;
    one.finish().await;
}
