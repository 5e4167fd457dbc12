//! Bounces after a notice is done are collected, and operators get one message about them.

use std::time::Duration;

use candor::egress;
use serde_json::{Value, json};

use crate::support::receiver::Receiver;
use crate::support::story::ADDRESSES;
use crate::support::{DEADLINE, Env, Mail, TestApp, eventually, on_both_databases, wait_until};

on_both_databases!(bounces_are_gathered_into_one_message);

async fn bounce(app: &TestApp, hook: &str, number: i64, mail: &Mail) {
    let body = json!({
        "RecordType": "Bounce", "ID": number, "Type": "HardBounce", "TypeCode": 1, "MessageID": "2706ee8a-737c-4285-b032-ccd317af53ed",
        "Details": "smtp;550 5.1.1 no", "Email": mail.to, "BouncedAt": "2024-03-14T06:56:00Z",
        "Inactive": true, "Content": format!("Received: x\r\nMessage-ID: {}\r\n\r\n", mail.header("message-id")),
    });
    let taken = app.anonymous().post(hook, body).await.expect(200);
    assert_eq!(taken["matched"], 1, "{taken}");
}

async fn messages(app: &TestApp) -> Vec<Value> {
    app.all("/api/v1/operators/messages").await
}

async fn bounces_are_gathered_into_one_message(env: Env) {
    let app = TestApp::builder(&env)
        .config(|config| config.callout_allow = egress::Policy::Private)
        .at("2024-03-14T06:56:00Z")
        .start()
        .await;
    let hook = Receiver::start();
    let operator = json!({"name": "Rota", "events": ["unreached"], "webhook": {"kind": "generic", "url": hook.url("/")}});
    app.post("/api/v1/operators", operator).await.expect(201);
    let provider = json!({"name": "Postmark", "source": "postmark"});
    let made = app.post("/api/v1/integrations", provider).await.expect(201);
    let reports = made["hook_url"].as_str().expect("a URL").to_owned();
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    let mails = app.mails(3).await;
    let to = |address: &str| mails.iter().find(|mail| mail.to == address).expect("a mail");
    bounce(&app, &reports, 1, to(ADDRESSES[0])).await;
    let first = eventually("a message", DEADLINE, async || messages(&app).await.pop()).await;
    assert_eq!(
        json!([first["title"], first["state"], first["next_attempt_at"]]),
        json!([
            "#1: 1 person could not be reached",
            "pending",
            "2024-03-14T06:57:00Z"
        ])
    );
    bounce(&app, &reports, 2, to(ADDRESSES[1])).await;
    wait_until("both to be counted", DEADLINE, async || {
        messages(&app).await[0]["title"] == "#1: 2 people could not be reached"
    })
    .await;
    assert!(hook.received().is_empty());
    app.clock.advance(Duration::from_secs(60));
    let request = hook.requests(1).await.remove(0).json();
    assert_eq!(request["title"], "#1: 2 people could not be reached");
    wait_until("it to be recorded", DEADLINE, async || {
        messages(&app).await[0]["state"] == "sent"
    })
    .await;
    // The page shows the current number. Operators do not get a message for each bounce.
    bounce(&app, &reports, 3, to(ADDRESSES[2])).await;
    let seen = "trail_cursors WHERE name = 'operators' AND seq >= \
                (SELECT MAX(seq) FROM audit_events WHERE action = 'delivery.bounced')";
    wait_until("the last to be looked at", DEADLINE, async || {
        env.count(seen) == 1
    })
    .await;
    assert_eq!(messages(&app).await.len(), 1);
    hook.requests(1).await;
    app.finish().await;
}
