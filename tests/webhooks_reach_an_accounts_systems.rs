//! Systems of a customer get what its people get by email: as signed requests, once, only about their own
//! resources, and with a schedule that is neither too frequent nor endless.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use candor::egress::Policy;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::support::receiver::{Received, Receiver, Reply};
use crate::support::story::{ACCOUNT, FILES};
use crate::support::{Answer, DEADLINE, Env, TestApp, crowd, eventually, on_both_databases, wait_until};

on_both_databases!(
    a_notice_reaches_the_affected_account_alone_and_is_signed,
    the_preview_counts_systems_and_its_digest_covers_them,
    an_endpoint_that_is_busy_is_called_when_it_asked,
    an_endpoint_that_fails_is_called_by_the_schedule_and_given_up,
    gone_disables_until_somebody_enables_it,
    redirects_are_not_followed,
    who_heard_the_beginning_hears_the_end,
    an_endpoint_found_late_is_caught_up_alone,
    a_slow_endpoint_holds_up_no_mail,
    systems_alone_can_be_told,
    a_stop_withholds_what_waits,
    a_deleted_endpoint_is_called_no_more,
    an_answer_without_end_is_not_read_to_its_end,
    an_endpoint_can_be_tried_out,
    endpoints_are_made_listed_and_ended,
    what_is_no_endpoint_is_refused,
);

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

async fn start(env: &Env) -> TestApp {
    TestApp::builder(env).config(private).start().await
}

/// Starts a service whose clock does not move, so that nothing is tried again before the test says so.
async fn start_at_ten(env: &Env) -> TestApp {
    TestApp::builder(env)
        .config(private)
        .at("2024-03-14T10:00:00Z")
        .start()
        .await
}

fn private(config: &mut candor::config::Config) {
    config.webhook_allow = Policy::Private;
}

/// Creates an endpoint of an account and returns the answer.
async fn endpoint(app: &TestApp, account: &str, url: &str) -> Answer {
    let path = format!("/api/v1/accounts/{account}/endpoints");
    app.post(&path, json!({"url": url, "secret": SECRET}))
        .await
        .expect(201)
}

/// Returns the calls to endpoints of a notice.
async fn calls(app: &TestApp, notice: &str) -> Vec<Value> {
    app.all(&format!("/api/v1/notices/{notice}/deliveries?channel=webhook"))
        .await
}

/// Waits until the condition holds for the only call, and returns it.
async fn call(app: &TestApp, notice: &str, condition: impl Fn(&Value) -> bool) -> Value {
    eventually("the call", DEADLINE, async || {
        let calls = calls(app, notice).await;
        assert!(calls.len() <= 1, "{calls:#?}");
        calls.into_iter().find(|call| condition(call))
    })
    .await
}

fn attempts(call: &Value) -> usize {
    call["attempts"].as_array().expect("attempts").len()
}

/// Computes the signature as a receiver would, from the text of the specification.
fn signature(received: &Received) -> String {
    let key = STANDARD
        .decode(SECRET.strip_prefix("whsec_").expect("the prefix"))
        .expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
    mac.update(received.header("webhook-id").as_bytes());
    mac.update(b".");
    mac.update(received.header("webhook-timestamp").as_bytes());
    mac.update(b".");
    mac.update(&received.body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

async fn a_notice_reaches_the_affected_account_alone_and_is_signed(env: Env) {
    let receiver = Receiver::start();
    let app = start_at_ten(&env).await;
    let incident = app.story_incident().await;
    let made = endpoint(&app, ACCOUNT, &receiver.url("/hooks/candor?from=status")).await;
    endpoint(&app, "kilele-studio", &receiver.url("/of/somebody/else")).await;
    app.set_clock("2024-03-14T10:04:00Z");
    let notice = app.tell(&incident, "detection").await;

    let received = receiver.requests(1).await.remove(0);
    assert_eq!(
        (received.method.as_str(), received.path.as_str()),
        ("POST", "/hooks/candor?from=status")
    );
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!(received.header("host"), format!("127.0.0.1:{}", receiver.port()));
    assert_eq!(received.header("webhook-timestamp"), "1710410640");
    assert_eq!(received.header("webhook-signature"), signature(&received));
    assert_eq!(
        received.json(),
        json!({
            "type": "incident.notice",
            "timestamp": "2024-03-14T10:04:00Z",
            "data": {
                "incident": {"number": 1, "severity": "major"},
                "notice": {
                    "id": notice, "phase": "detection", "subject": null,
                    "message": "What we have to say in the detection.",
                    "customer_action": {"required": false},
                },
                "account": {"id": ACCOUNT, "name": "Nyota Films"},
                "resources": [
                    {"type": "file", "id": FILES[0], "name": "rangers-interview-v1.mov"},
                    {"type": "file", "id": FILES[1], "name": "rangers-interview-v2.mov"},
                ],
                "more_resources": 0,
                "times": {"started_at": "2024-03-14T10:00:00Z", "detected_at": "2024-03-14T10:00:00Z"},
            },
        })
    );

    // The emails are counted as always, and the calls are counted separately.
    app.mails(3).await;
    let done = app.done(&notice).await;
    assert_eq!(
        json!([
            done["recipients"],
            done["counts"]["sent"],
            done["channels"]["webhook"]["sent"]
        ]),
        json!([3, 3, 1])
    );
    assert_eq!(app.deliveries(&notice).await.len(), 4);
    let call = calls(&app, &notice).await.remove(0);
    assert_eq!(call["message_id"], received.header("webhook-id"));
    assert_eq!(
        json!([call["person"], call["endpoint"], call["state"], call["address"]]),
        json!([
            null,
            {"id": made.id(), "account": ACCOUNT, "name": "Nyota Films"},
            "sent",
            receiver.url("/hooks/candor?from=status"),
        ])
    );
    // The timeline says once that people were notified, at the time of the first email.
    let timeline = app.all(&format!("/api/v1/incidents/{incident}/timeline")).await;
    let told: Vec<&str> = timeline
        .iter()
        .filter(|entry| entry["kind"] == "notified")
        .filter_map(|entry| entry["text"].as_str())
        .collect();
    assert_eq!(told, ["detection notice: the first of 3 emails sent"]);
    // Neither the secret nor the path is in the audit trail.
    let audit = app.get("/api/v1/audit/export").await.expect(200).text;
    assert!(audit.contains("endpoint.created"), "{audit}");
    for hidden in [SECRET, "/hooks/candor", "from=status"] {
        assert!(!audit.contains(hidden), "{hidden}");
    }
    app.finish().await;
}

async fn the_preview_counts_systems_and_its_digest_covers_them(env: Env) {
    let receiver = Receiver::start();
    let app = start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.draft(&incident, "detection").await;
    let before = app.preview(&notice).await.expect(200);
    assert_eq!(before["channels"], json!({}));
    let made = endpoint(&app, ACCOUNT, &receiver.url("/")).await;
    let digest = before["digest"].as_str().expect("a digest");
    app.send(&notice, digest).await.expect_problem(409);

    let preview = app.preview(&notice).await.expect(200);
    assert_eq!(
        json!([preview["recipients"], preview["channels"]]),
        json!([3, {"webhook": 1}])
    );
    let sample = &preview["endpoint_samples"][0];
    assert_eq!(sample["to"], receiver.url("/"));
    app.send_as_previewed(&notice).await;
    // The call contains exactly what the preview showed.
    let mut sent = receiver.requests(1).await[0].json();
    assert!(sent["timestamp"].is_string(), "{sent}");
    sent["timestamp"] = Value::Null;
    assert_eq!(sent, sample["payload"]);
    // A secret that the caller chose is never shown.
    let id = made.id();
    for path in [
        format!("/api/v1/endpoints/{id}"),
        format!("/api/v1/accounts/{ACCOUNT}/endpoints"),
        format!("/api/v1/notices/{notice}/deliveries"),
    ] {
        let answer = app.get(&path).await.expect(200);
        assert!(!answer.text.contains("whsec_"), "{answer}");
    }
    app.done(&notice).await;
    app.finish().await;
}

async fn an_endpoint_that_is_busy_is_called_when_it_asked(env: Env) {
    let receiver = Receiver::answering(|number, _| match number {
        1 => Reply::of(429).header("retry-after", "600").body("slow down"),
        2 => Reply::of(503).header("retry-after", "Thu, 14 Mar 2024 11:00:00 GMT"),
        _ => Reply::of(204),
    });
    let mut app = start_at_ten(&env).await;
    let incident = app.story_incident().await;
    endpoint(&app, ACCOUNT, &receiver.url("/")).await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;

    let first = call(&app, &notice, |call| attempts(call) == 1).await;
    assert_eq!(
        json!([
            first["state"],
            first["attempts"][0]["outcome"],
            first["attempts"][0]["reply"],
            first["next_attempt_at"]
        ]),
        json!([
            "pending",
            "retry",
            "429 Too Many Requests slow down",
            "2024-03-14T10:10:00Z"
        ])
    );
    // The people were notified, and the notice is not done before the call has an outcome.
    app.mails(3).await;
    assert_eq!(app.notice(&notice).await["state"], "sending");
    app.set_clock("2024-03-14T10:09:59Z");
    app.restart().await;
    receiver.requests(1).await;

    app.set_clock("2024-03-14T10:10:00Z");
    let second = call(&app, &notice, |call| attempts(call) == 2).await;
    assert_eq!(second["next_attempt_at"], "2024-03-14T11:00:00Z");
    app.set_clock("2024-03-14T11:00:00Z");
    let sent = call(&app, &notice, |call| call["state"] == "sent").await;
    assert_eq!(sent["sent_at"], "2024-03-14T11:00:00Z");
    app.done(&notice).await;

    let received = receiver.requests(3).await;
    let ids: Vec<&str> = received.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!(ids, [ids[0]; 3], "one name for one message");
    assert!(received.iter().all(|one| one.body == received[0].body));
    let times: Vec<&str> = received
        .iter()
        .map(|one| one.header("webhook-timestamp"))
        .collect();
    assert_eq!(times, ["1710410400", "1710411000", "1710414000"]);
    for one in &received {
        assert_eq!(one.header("webhook-signature"), signature(one));
    }
    app.finish().await;
}

async fn an_endpoint_that_fails_is_called_by_the_schedule_and_given_up(env: Env) {
    // The endpoint asks for a call every second, which is ignored.
    let receiver = Receiver::answering(|number, _| match number {
        2 => Reply::of(503).header("retry-after", "1"),
        _ => Reply::of(500).body("oops"),
    });
    let app = start_at_ten(&env).await;
    let incident = app.story_incident().await;
    endpoint(&app, ACCOUNT, &receiver.url("/")).await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    let mut waits = Vec::new();
    let last = loop {
        let tried = waits.len() + 1;
        let call = call(&app, &notice, |call| attempts(call) == tried).await;
        let Some(next) = call["next_attempt_at"].as_str() else {
            break call;
        };
        let next = candor::base::time::Timestamp::parse(next).expect("a time");
        waits.push((next.as_micros() - app.clock.now().as_micros()) / 1_000_000);
        app.clock.set(next);
    };
    assert_eq!(last["state"], "failed");
    let schedule = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
    assert_eq!(waits.len(), schedule.len(), "{waits:?}");
    for (wait, base) in waits.iter().zip(schedule) {
        assert!((base..=base * 6 / 5).contains(wait), "{waits:?}");
    }
    assert_eq!(receiver.received().len(), 10);
    let done = app.done(&notice).await;
    assert_eq!(
        json!([done["counts"]["sent"], done["channels"]["webhook"]["failed"]]),
        json!([3, 1])
    );
    // The endpoint is repaired, and the call is resent as the same message.
    let resend = format!("/api/v1/deliveries/{}/resend", last["id"]);
    app.post(&resend, json!({})).await.expect(202);
    receiver.requests(11).await;
    app.finish().await;
}

async fn gone_disables_until_somebody_enables_it(env: Env) {
    let receiver = Receiver::answering(|number, _| match number {
        1 => Reply::of(410).body("we moved"),
        _ => Reply::of(200),
    });
    let app = start(&env).await;
    let incident = app.story_incident().await;
    let id = endpoint(&app, ACCOUNT, &receiver.url("/")).await.id();
    let notice = app.tell(&incident, "detection").await;
    let failed = call(&app, &notice, |_| true).await;
    assert_eq!(
        json!([failed["state"], attempts(&failed), failed["attempts"][0]["reply"]]),
        json!(["failed", 1, "410 Gone we moved"])
    );
    let path = format!("/api/v1/endpoints/{id}");
    let disabled = app.get(&path).await.expect(200);
    assert_eq!(
        json!([disabled["enabled"], disabled["disabled_reason"]]),
        json!([false, "410 Gone we moved"])
    );
    let events = app.all("/api/v1/audit?action=endpoint.disabled").await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        json!([events[0]["subject"]["id"], events[0]["actor"]["id"]]),
        json!([id, "delivery"])
    );

    // Nothing is sent to it, neither a new call nor a repeated one, and the preview says so.
    let draft = app.draft(&incident, "update").await;
    let preview = app.preview(&draft).await.expect(200);
    assert_eq!(preview["channels"], json!({}));
    let warnings = preview["warnings"].to_string();
    assert!(
        warnings.contains("an endpoint of nyota-films is disabled"),
        "{warnings}"
    );
    let resend = format!("/api/v1/deliveries/{}/resend", failed["id"]);
    app.post(&resend, json!({})).await.expect_problem(409);

    let enabled = app.post(&format!("{path}/enable"), json!({})).await.expect(200);
    assert_eq!(
        json!([
            enabled["enabled"],
            enabled["disabled_at"],
            enabled["disabled_reason"]
        ]),
        json!([true, null, null])
    );
    app.post(&resend, json!({})).await.expect(202);
    call(&app, &notice, |call| call["state"] == "sent").await;
    app.tell(&incident, "update").await;
    receiver.requests(3).await;
    app.finish().await;
}

async fn redirects_are_not_followed(env: Env) {
    let elsewhere = Receiver::start();
    let target = elsewhere.url("/inside");
    let receiver = Receiver::answering(move |_, _| Reply::of(307).header("location", target.clone()));
    let app = start(&env).await;
    let incident = app.story_incident().await;
    endpoint(&app, ACCOUNT, &receiver.url("/")).await;
    let notice = app.tell(&incident, "detection").await;
    let failed = call(&app, &notice, |_| true).await;
    assert_eq!(
        json!([failed["state"], failed["attempts"][0]["reply"]]),
        json!([
            "failed",
            "Candor does not follow redirects: 307 Temporary Redirect"
        ])
    );
    receiver.requests(1).await;
    assert!(elsewhere.received().is_empty());
    app.finish().await;
}

async fn who_heard_the_beginning_hears_the_end(env: Env) {
    let receiver = Receiver::start();
    let app = start(&env).await;
    let incident = app.story_incident().await;
    let first = endpoint(&app, ACCOUNT, &receiver.url("/first")).await.id();
    app.tell(&incident, "detection").await;
    // Another detection is for those who were not notified.
    let again = app.draft(&incident, "detection").await;
    assert_eq!(app.preview(&again).await.expect(200)["channels"], json!({}));
    // The account changes its endpoint, and its files are not affected any more.
    app.delete(&format!("/api/v1/endpoints/{first}"))
        .await
        .expect(204);
    endpoint(&app, ACCOUNT, &receiver.url("/second")).await;
    for file in FILES {
        app.delete(&format!("/api/v1/incidents/{incident}/affected/file/{file}"))
            .await
            .expect(204);
    }
    app.affect(&incident, "file", "stalls-v1").await;
    endpoint(&app, "kilele-studio", &receiver.url("/third")).await;
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    let mut received = receiver.requests(3).await;
    received.sort_by(|a, b| a.path.cmp(&b.path));
    let paths: Vec<&str> = received.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["/first", "/second", "/third"]);
    let (beginning, end) = (received[0].json(), received[1].json());
    assert_eq!(end["data"]["notice"]["phase"], "resolution");
    assert_eq!(end["data"]["resources"], beginning["data"]["resources"]);
    assert_eq!(received[2].json()["data"]["account"]["id"], "kilele-studio");
    assert!(end["data"]["times"]["resolved_at"].is_string(), "{end}");
    app.finish().await;
}

async fn an_endpoint_found_late_is_caught_up_alone(env: Env) {
    let receiver = Receiver::start();
    let app = start(&env).await;
    let incident = app.story_incident().await;
    endpoint(&app, ACCOUNT, &receiver.url("/early")).await;
    let notice = app.tell(&incident, "detection").await;
    let catch_up = format!("/api/v1/notices/{notice}/catch-up");
    app.post(&catch_up, json!({})).await.expect_problem(422);
    endpoint(&app, ACCOUNT, &receiver.url("/late")).await;
    let late = app.post(&catch_up, json!({})).await.expect(201).id();
    let preview = app.preview(&late).await.expect(200);
    assert_eq!(
        json!([preview["recipients"], preview["channels"]]),
        json!([0, {"webhook": 1}])
    );
    app.send_as_previewed(&late).await;
    app.done(&late).await;
    let received = receiver.requests(2).await;
    assert_eq!(received[1].path, "/late");
    app.mails(3).await;
    app.finish().await;
}

async fn a_slow_endpoint_holds_up_no_mail(env: Env) {
    let permits = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&permits);
    let receiver = Receiver::answering(move |_, _| Reply {
        hold: Some(Arc::clone(&hold)),
        ..Reply::of(200)
    });
    let app = TestApp::builder(&env)
        .config(private)
        .send_concurrency(1)
        .start()
        .await;
    let incident = app.story_incident().await;
    for path in ["/a", "/b", "/c"] {
        endpoint(&app, ACCOUNT, &receiver.url(path)).await;
    }
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    // The calls wait for their answers in parallel, and the emails are sent at the same time.
    wait_until("two requests", DEADLINE, async || receiver.received().len() >= 2).await;
    app.mails(3).await;
    let sending = app.notice(&notice).await;
    assert_eq!(
        json!([sending["state"], sending["channels"]["webhook"]["pending"]]),
        json!(["sending", 3])
    );
    permits.add_permits(3);
    let done = app.done(&notice).await;
    assert_eq!(done["channels"]["webhook"]["sent"], 3);
    app.finish().await;
}

async fn systems_alone_can_be_told(env: Env) {
    let receiver = Receiver::start();
    let app = start(&env).await;
    app.import(crowd(0)).await.expect(200);
    let incident = app.incident([("project", "stage")]).await;
    let notice = app.draft(&incident, "detection").await;
    let digest = app.digest(&notice).await;
    app.send(&notice, &digest).await.expect_problem(422);
    endpoint(&app, "crowd", &receiver.url("/")).await;
    app.send_as_previewed(&notice).await;
    app.done(&notice).await;
    receiver.requests(1).await;
    app.mails(0).await;
    let metrics = app
        .get(&format!("/api/v1/incidents/{incident}/metrics"))
        .await
        .expect(200);
    assert!(metrics["time_to_notify"].is_number(), "{metrics}");
    app.finish().await;
}

async fn a_stop_withholds_what_waits(env: Env) {
    let receiver = Receiver::answering(|_, _| Reply::of(500));
    let app = start_at_ten(&env).await;
    let incident = app.story_incident().await;
    endpoint(&app, ACCOUNT, &receiver.url("/")).await;
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    app.mails(3).await;
    call(&app, &notice, |call| attempts(call) == 1).await;
    let stopped = app
        .post(&format!("/api/v1/notices/{notice}/stop"), json!({}))
        .await
        .expect(200);
    // The numbers of the stop are about people.
    assert_eq!(json!([stopped["sent"], stopped["not_sent"]]), json!([3, 0]));
    let call = call(&app, &notice, |call| call["state"] == "stopped").await;
    assert_eq!(call["next_attempt_at"], Value::Null);
    // A repeated call would be made in the next round, and the next round also handles this one.
    app.clock.advance(Duration::from_secs(3_600));
    let update = app.draft(&incident, "update").await;
    app.send_as_previewed(&update).await;
    receiver.requests(2).await;
    app.finish().await;
}

async fn a_deleted_endpoint_is_called_no_more(env: Env) {
    let receiver = Receiver::answering(|_, _| Reply::of(500));
    let app = start_at_ten(&env).await;
    let incident = app.story_incident().await;
    let id = endpoint(&app, ACCOUNT, &receiver.url("/")).await.id();
    let notice = app.draft(&incident, "detection").await;
    app.send_as_previewed(&notice).await;
    call(&app, &notice, |call| attempts(call) == 1).await;
    app.delete(&format!("/api/v1/endpoints/{id}")).await.expect(204);
    app.clock.advance(Duration::from_secs(3_600));
    let failed = call(&app, &notice, |call| call["state"] == "failed").await;
    assert_eq!(
        failed["attempts"][1]["reply"],
        "the endpoint was disabled or deleted after the notice was sent"
    );
    app.done(&notice).await;
    receiver.requests(1).await;
    assert_eq!(env.count("endpoints WHERE secret IS NOT NULL"), 0);
    app.finish().await;
}

async fn an_answer_without_end_is_not_read_to_its_end(env: Env) {
    let receiver = Receiver::answering(|_, _| Reply::of(200).body("x".repeat(4 * 1024 * 1024)));
    let app = start(&env).await;
    let incident = app.story_incident().await;
    endpoint(&app, ACCOUNT, &receiver.url("/")).await;
    let notice = app.tell(&incident, "detection").await;
    let sent = call(&app, &notice, |call| call["state"] == "sent").await;
    let reply = sent["attempts"][0]["reply"].as_str().expect("a reply");
    assert!(
        reply.starts_with("200 OK xxx") && reply.chars().count() <= 500,
        "{reply}"
    );
    app.finish().await;
}

async fn an_endpoint_can_be_tried_out(env: Env) {
    let receiver = Receiver::answering(|number, _| Reply::of(if number == 1 { 200 } else { 401 }));
    let app = start(&env).await;
    app.story_incident().await;
    let id = endpoint(&app, ACCOUNT, &receiver.url("/")).await.id();
    let path = format!("/api/v1/endpoints/{id}/test");
    let tested = app.post(&path, json!({})).await.expect(200);
    assert_eq!(tested.json, json!({"outcome": "sent", "reply": "200 OK"}));
    let received = receiver.requests(1).await.remove(0);
    assert_eq!(received.header("webhook-signature"), signature(&received));
    let body = received.json();
    assert_eq!(
        json!([
            body["type"],
            body["data"]["account"]["id"],
            body["data"]["notice"]
        ]),
        json!(["endpoint.test", ACCOUNT, null])
    );
    let tested = app.post(&path, json!({})).await.expect(200);
    assert_eq!(
        tested.json,
        json!({"outcome": "retry", "reply": "401 Unauthorized"})
    );
    assert_eq!(app.all("/api/v1/audit?action=endpoint.tested").await.len(), 2);
    app.finish().await;
}

async fn endpoints_are_made_listed_and_ended(env: Env) {
    let app = start(&env).await;
    app.story_incident().await;
    let path = format!("/api/v1/accounts/{ACCOUNT}/endpoints");
    // A secret is created if none is given.
    let made = app
        .post(&path, json!({"url": "https://hooks.example.com"}))
        .await
        .expect(201);
    let key = made["secret"]
        .as_str()
        .and_then(|secret| secret.strip_prefix("whsec_"));
    assert_eq!(
        STANDARD.decode(key.expect("the prefix")).expect("base64").len(),
        32
    );
    assert_eq!(
        json!([made["account"], made["channel"], made["url"], made["enabled"]]),
        json!([ACCOUNT, "webhook", "https://hooks.example.com/", true])
    );
    let listed = app.all(&path).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["id"], listed[0].get("secret")),
        (&made.json["id"], None)
    );
    // Nobody else can use this URL in any spelling until it is deleted.
    let same = json!({"url": "HTTPS://hooks.EXAMPLE.com:443/"});
    app.post("/api/v1/accounts/kilele-studio/endpoints", &same)
        .await
        .expect_problem(409);
    let one = format!("/api/v1/endpoints/{}", made.id());
    app.delete(&one).await.expect(204);
    app.delete(&one).await.expect_problem(404);
    app.post(&format!("{one}/enable"), json!({}))
        .await
        .expect_problem(404);
    app.post(&format!("{one}/test"), json!({}))
        .await
        .expect_problem(404);
    let gone = app.get(&one).await.expect(200);
    assert_eq!(
        json!([gone["enabled"], gone["gone_at"].is_string()]),
        json!([false, true])
    );
    assert!(app.all(&path).await.is_empty());
    app.post("/api/v1/accounts/kilele-studio/endpoints", &same)
        .await
        .expect(201);
    // A viewer may only read.
    let viewer = app.as_new("viewer").await;
    viewer.get(&path).await.expect(200);
    viewer.post(&path, &same).await.expect_problem(403);
    for action in ["endpoint.created", "endpoint.deleted"] {
        let events = app.all(&format!("/api/v1/audit?action={action}")).await;
        assert!(!events.is_empty(), "{action}");
        assert!(
            events.iter().all(|event| event["subject"]["type"] == "endpoint"),
            "{events:#?}"
        );
    }
    app.finish().await;
}

async fn what_is_no_endpoint_is_refused(env: Env) {
    let app = start(&env).await;
    app.story_incident().await;
    let path = format!("/api/v1/accounts/{ACCOUNT}/endpoints");
    let url = "https://hooks.example.com/";
    for (body, place) in [
        (json!({"url": url, "secret": "hush"}), "/secret"),
        (json!({"url": url, "secret": "whsec_dG9vIHNob3J0"}), "/secret"),
        (json!({"url": url, "channel": "pigeon"}), "/channel"),
        (json!({"url": url, "channel": "email"}), "/channel"),
        (json!({"url": url, "colour": "red"}), "/colour"),
        (json!({}), "/url"),
    ] {
        app.post(&path, &body).await.expect_invalid(place);
    }
    app.post("/api/v1/accounts/nobody/endpoints", json!({"url": url}))
        .await
        .expect_problem(404);
    app.get("/api/v1/accounts/nobody/endpoints")
        .await
        .expect_problem(404);
    app.get("/api/v1/endpoints/7").await.expect_problem(404);
    assert_eq!(env.count("endpoints"), 0);
    let incident = app.incident([("file", FILES[0])]).await;
    let notice = app.draft(&incident, "detection").await;
    app.get(&format!("/api/v1/notices/{notice}/deliveries?channel=webhok"))
        .await
        .expect_invalid("?channel");
    app.finish().await;
}
