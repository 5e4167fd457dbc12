//! Each sender that signs does so in its own way. The others send the secret. While a secret is being
//! replaced, both the old and the new one are valid.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use candor::alert::provider::fetch::Fetch;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::signed_hook::SignedHook;
use crate::support::sns::{CERTIFICATE, signed};
use crate::support::{Env, TestApp, on_both_databases, on_one_database};

on_both_databases!(no_secret_is_kept,);
on_one_database!(
    sentry_signs_the_raw_bytes,
    pagerduty_signs_with_either_secret_while_one_is_changed,
    grafana_signs_the_body_or_its_time_too,
    senders_that_cannot_sign_show_the_secret,
    amazon_signs_its_alarms_and_its_subscription_is_confirmed,
);

const SECRET: &str = "0f3b6c1d9e8a7b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c";
const OLD: &str = "the secret of before";
const NOW: i64 = 1_710_399_360; // 2024-03-14T06:56:00Z

fn hex(secret: &str, parts: &[&str]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    parts.iter().for_each(|part| mac.update(part.as_bytes()));
    mac.finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

async fn sentry_signs_the_raw_bytes(env: Env) {
    let app = TestApp::start(&env).await;
    let hook = SignedHook::new(&app, "sentry", json!({"secret": SECRET})).await;
    // The escapes are those of Sentry. Serialising the body again would give other bytes.
    let body = r#"{"action": "created",  "data": {"issue": {"id": "1", "title": "Gr\u00f6\u00dfe", "status": "unresolved"}}}"#;
    let right = hex(SECRET, &[body]);
    let kind = ("sentry-hook-resource", "issue");
    hook.send(&[kind, ("sentry-hook-signature", &right)], body)
        .await
        .expect(202);
    hook.send(&[kind, ("sentry-app-signature", &right)], body)
        .await
        .expect(202);
    hook.refuses(
        &[kind, ("sentry-hook-signature", &right)],
        &body.replace("  ", " "),
    )
    .await;
    hook.refuses(
        &[kind, ("sentry-hook-signature", &format!("sha256={right}"))],
        body,
    )
    .await;
    hook.refuses(&[kind, ("sentry-hook-signature", "")], body).await;
    hook.refuses(&[kind, ("sentry-hook-signature", &hex(OLD, &[body]))], body)
        .await;
    hook.refuses(&[kind], body).await;
    // A body that cannot be parsed is refused for this reason only after its signature was verified.
    let wrong = r#"{"action": "created", "data": 1}"#;
    hook.refuses(&[kind, ("sentry-hook-signature", &right)], wrong)
        .await;
    hook.send(&[kind, ("sentry-hook-signature", &hex(SECRET, &[wrong]))], wrong)
        .await
        .expect_problem(422);
    app.finish().await;
}

/// `openssl dgst -sha256 -hmac` made this signature, and not the tested code.
const KNOWN_BODY: &str = r#"{"event":{"id":"01HRYX0TESTS","event_type":"pagey.ping","data":{"type":"ping","message":"Hello, Candor \u00e4"}}}"#;
const KNOWN_SECRET: &str = "a signing secret of these tests, made for openssl";
const KNOWN_SIGNATURE: &str = "v1=a3cdd379faa6c1461c97b5e724c5c8f163fe263fb168cf4de41cac254371a177";

async fn pagerduty_signs_with_either_secret_while_one_is_changed(env: Env) {
    let app = TestApp::start(&env).await;
    let hook = SignedHook::new(&app, "pagerduty", json!({"secrets": [OLD, SECRET]})).await;
    let body = r#"{"event": {"event_type": "incident.triggered", "data": {"type": "incident", "id": "P1", "status": "triggered", "title": "t"}}}"#;
    let (old, new) = (
        format!("v1={}", hex(OLD, &[body])),
        format!("v1={}", hex(SECRET, &[body])),
    );
    for right in [
        new.clone(),
        old.clone(),
        format!("{old},{new}"),
        format!("v1=00, {new}"),
        format!("v2=00,{old},v1="),
    ] {
        hook.send(&[("x-pagerduty-signature", &right)], body)
            .await
            .expect(202);
    }
    for wrong in [
        format!("v1={}", hex("another", &[body])),
        new.replace("v1=", "v2="),
        new.replace("v1=", ""),
        new[..new.len() - 1].to_owned(),
        "v1=".to_owned(),
        ",".to_owned(),
    ] {
        hook.refuses(&[("x-pagerduty-signature", &wrong)], body).await;
    }
    hook.refuses(&[("x-pagerduty-signature", &new)], &body.replace("P1", "P2"))
        .await;
    hook.refuses(&[], body).await;
    // A sender of events sends its key.
    let event = |key: &str| {
        json!({"routing_key": key, "event_action": "trigger", "payload": {"summary": "s", "source": "x", "severity": "info"}}).to_string()
    };
    hook.send(&[], &event(SECRET)).await.expect(202);
    hook.refuses(&[], &event("another key altogether")).await;
    // A signature that another tool made.
    let known = SignedHook::new(&app, "pagerduty", json!({"secret": KNOWN_SECRET})).await;
    known
        .send(&[("x-pagerduty-signature", KNOWN_SIGNATURE)], KNOWN_BODY)
        .await
        .expect(202);
    known
        .refuses(
            &[("x-pagerduty-signature", KNOWN_SIGNATURE)],
            &KNOWN_BODY.replace("Hello", "hello"),
        )
        .await;
    // Each secret is checked when it is set.
    for (secrets, pointer) in [
        (json!({"secret": SECRET, "secrets": [OLD, "short"]}), "/secrets/1"),
        (json!({"secrets": ["a line\nbreak"]}), "/secrets/0"),
        (json!({"secrets": vec![SECRET; 11]}), "/secrets"),
    ] {
        let mut new = json!({"name": "x", "source": "pagerduty"});
        for (name, value) in secrets.as_object().expect("an object") {
            new[name] = value.clone();
        }
        app.post("/api/v1/integrations", new)
            .await
            .expect_invalid(pointer);
    }
    let shown = app
        .get(&format!("/api/v1/integrations/{}", hook.id))
        .await
        .expect(200);
    assert_eq!(shown["signed"], true);
    let export = app.get("/api/v1/audit/export").await.expect(200).text;
    assert!(!format!("{shown} {export}").contains(SECRET) && !export.contains(OLD));
    app.finish().await;
}

async fn grafana_signs_the_body_or_its_time_too(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:56:00Z").start().await;
    let hook = SignedHook::new(&app, "grafana", json!({"secret": SECRET})).await;
    let body = r#"{"alerts": [{"status": "firing", "fingerprint": "f", "labels": {"a": "b"}}]}"#;
    let plain = hex(SECRET, &[body]);
    hook.send(&[("X-Grafana-Alerting-Signature", &plain)], body)
        .await
        .expect(202);
    // Both headers can have other names.
    hook.send(&[("X-My-Signature", &plain)], body).await.expect(202);
    for (at, holds) in [
        (NOW, true),
        (NOW - 299, true),
        (NOW + 299, true),
        (NOW - 301, false),
        (NOW + 301, false),
        (0, false),
    ] {
        let at = at.to_string();
        let signed = hex(SECRET, &[&at, ":", body]);
        let headers = [
            ("x-grafana-alerting-signature", signed.as_str()),
            ("x-grafana-alerting-timestamp", at.as_str()),
        ];
        if holds {
            hook.send(&headers, body).await.expect(202);
            // Without its time, or with another one, the signature is invalid.
            hook.refuses(&headers[..1], body).await;
            hook.refuses(&[headers[0], ("x-grafana-alerting-timestamp", "1")], body)
                .await;
        } else {
            hook.refuses(&headers, body).await;
        }
    }
    hook.refuses(
        &[("x-grafana-alerting-signature", &plain)],
        &body.replace("firing", "resolved"),
    )
    .await;
    hook.refuses(&[("x-grafana-alerting-signature", "")], body).await;
    hook.refuses(&[], body).await;
    hook.send(&[("authorization", &format!("Bearer {SECRET}"))], body)
        .await
        .expect(202);
    app.finish().await;
}

async fn senders_that_cannot_sign_show_the_secret(env: Env) {
    let app = TestApp::start(&env).await;
    let basic = format!("Basic {}", STANDARD.encode(format!("candor:{SECRET}")));
    for (source, body) in [
        (
            "opsgenie",
            json!({"action": "Create", "alert": {"alertId": "a", "message": "m"}}),
        ),
        (
            "datadog",
            json!({"title": "t", "alert_transition": "Triggered", "alert_id": "1"}),
        ),
        (
            "azure_monitor",
            json!({"status": "Activated", "context": {"id": "i", "name": "n"}}),
        ),
        (
            "gcp_monitoring",
            json!({"incident": {"incident_id": "1", "state": "open"}}),
        ),
        (
            "uptime_kuma",
            json!({"heartbeat": {"status": 0}, "monitor": {"id": 1}}),
        ),
        ("new_relic", json!({"id": "1", "state": "ACTIVATED"})),
        ("zabbix", json!({"event_id": "1", "status": "PROBLEM"})),
        ("nagios", json!({"hostname": "h", "hoststate": "DOWN"})),
        ("pingdom", json!({"check_id": 1, "current_state": "DOWN"})),
        ("betterstack", json!({"data": {"id": "1", "attributes": {}}})),
        (
            "cloudevents",
            json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t"}),
        ),
        ("aws_sns", json!({"AlarmName": "a", "NewStateValue": "ALARM"})),
        ("grafana", json!({"ruleId": 1, "state": "alerting"})),
        ("sentry", json!({"id": "1", "project": "p", "message": "m"})),
        (
            "pagerduty",
            json!({"event": {"event_type": "incident.triggered", "data": {"type": "incident", "id": "P1", "status": "triggered"}}}),
        ),
    ] {
        let hook = SignedHook::new(&app, source, json!({"secret": OLD, "secrets": [SECRET]})).await;
        let body = body.to_string();
        for right in [
            ("authorization", basic.as_str()),
            ("authorization", &format!("Bearer {OLD}")),
            ("x-candor-token", SECRET),
        ] {
            hook.send(&[right], &body).await.expect(202);
        }
        hook.refuses(&[], &body).await;
        hook.refuses(&[("authorization", "Bearer something else")], &body)
            .await;
        hook.refuses(&[("x-candor-token", "something else")], &body).await;
        // A wrong proof together with a correct one is refused.
        hook.refuses(
            &[("authorization", "Basic eDp5"), ("x-candor-token", SECRET)],
            &body,
        )
        .await;
    }
    // Senders that have only a URL put the secret there.
    for (source, body) in [
        (
            "gcp_monitoring",
            json!({"incident": {"incident_id": "1", "state": "open"}}),
        ),
        (
            "updown",
            json!([{"event": "check.down", "check": {"token": "t"}}]),
        ),
        (
            "statuspage",
            json!({"incident": {"id": "i", "status": "resolved"}}),
        ),
    ] {
        let hook = SignedHook::new(&app, source, json!({"secret": SECRET})).await;
        for (query, status) in [
            (format!("auth_token={SECRET}"), 202),
            (format!("access_token={SECRET}&x=y"), 202),
            ("auth_token=wrong".to_owned(), 401),
            (format!("x={SECRET}"), 401),
            (String::new(), 401),
        ] {
            let url = format!("{}?{query}", hook.url);
            let answer = app.anonymous().post(&url, &body).await;
            assert_eq!(answer.status, status, "{source} {query}: {answer}");
        }
        let kept = app
            .get(&format!("/api/v1/integrations/{}/bodies", hook.id))
            .await
            .expect(200)
            .text;
        assert!(kept.contains("x=y") && !kept.contains(SECRET), "{kept}");
    }
    app.finish().await;
}

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:alarms";
/// Answers as Amazon would, with a certificate of the tests, and records the requests.
fn amazon() -> (Fetch, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let noted = asked.clone();
    let fetch = Fetch::by(move |url| {
        noted.lock().expect("no panic").push(url.to_string());
        match url.as_str() {
            CERTIFICATE => Ok(include_bytes!("fixtures/sns/certificate.pem").to_vec()),
            url if url.contains("Action=ConfirmSubscription") => {
                Ok(b"<ConfirmSubscriptionResponse/>".to_vec())
            }
            _ => Err("not found".to_owned()),
        }
    });
    (fetch, asked)
}

async fn amazon_signs_its_alarms_and_its_subscription_is_confirmed(env: Env) {
    let (fetch, asked) = amazon();
    let app = TestApp::builder(&env)
        .at("2024-03-14T06:56:00Z")
        .config(|config| config.sns = fetch)
        .start()
        .await;
    let hook = SignedHook::new(&app, "aws_sns", json!({"secret": TOPIC})).await;
    let alarm = json!({"AlarmName": "CPU", "NewStateValue": "ALARM", "AlarmArn": "arn:aws:cloudwatch:eu-west-1:1:alarm:CPU"});
    let message = |at: &str, topic: &str| json!({"Type": "Notification", "MessageId": "m", "TopicArn": topic, "Message": alarm.to_string(), "Timestamp": at});
    let right = signed(message("2024-03-14T06:55:00.000Z", TOPIC));
    let plain = |body: &Value| body.to_string();
    hook.send(&[], &plain(&right)).await.expect(202);
    let wrapped = json!({"Records": [{"EventSource": "aws:sns", "Sns": right}]});
    hook.send(&[], &plain(&wrapped)).await.expect(202);
    for (field, value) in [
        ("Message", json!(alarm.to_string().replace("CPU", "Disk"))),
        ("TopicArn", json!("arn:aws:sns:eu-west-1:123456789012:another")),
        ("Signature", json!("AAAA")),
        (
            "SigningCertURL",
            json!("https://sns.eu-west-1.amazonaws.com.evil.example/x.pem"),
        ),
    ] {
        let mut wrong = right.clone();
        wrong[field] = value;
        hook.refuses(&[], &plain(&wrong)).await;
    }
    // Messages with a valid signature that are old or of another topic, and one without a signature.
    hook.refuses(&[], &plain(&signed(message("2024-03-14T04:00:00.000Z", TOPIC))))
        .await;
    hook.refuses(
        &[],
        &plain(&signed(message(
            "2024-03-14T06:55:00.000Z",
            "arn:aws:sns:eu-west-1:123456789012:b",
        ))),
    )
    .await;
    hook.refuses(&[], &plain(&alarm)).await;
    let subscription = signed(json!({
        "Type": "SubscriptionConfirmation", "MessageId": "m", "Token": "2336412f37", "TopicArn": TOPIC, "Message": "You have chosen …",
        "SubscribeURL": format!("https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37"),
        "Timestamp": "2024-03-14T06:55:00.000Z",
    }));
    let confirmed = hook.send(&[], &plain(&subscription)).await.expect(202);
    assert_eq!(confirmed["subscription"], "confirmed", "{confirmed}");
    assert!(
        asked
            .lock()
            .expect("no panic")
            .iter()
            .any(|url| url.contains("ConfirmSubscription"))
    );
    let mut elsewhere = subscription.clone();
    elsewhere["SubscribeURL"] = json!("https://evil.example/?Action=ConfirmSubscription");
    hook.refuses(&[], &plain(&elsewhere)).await;
    // Without a secret a person must decide, and no URL is requested.
    let open = SignedHook::new(&app, "aws_sns", json!({})).await;
    let before = asked.lock().expect("no panic").len();
    assert_eq!(
        open.send(&[], &plain(&subscription)).await.expect(202)["subscription"],
        "by_hand"
    );
    assert_eq!(asked.lock().expect("no panic").len(), before);
    assert_eq!(env.count("incidents"), 1);
    app.finish().await;
}

async fn no_secret_is_kept(env: Env) {
    let app = TestApp::start(&env).await;
    // UptimeRobot repeats the URL of the hook in the list of contacts.
    let robot = SignedHook::new(&app, "uptimerobot", json!({})).await;
    let token = robot.url.rsplit('/').next().expect("a token").to_owned();
    let contacts = format!("monitorAlertContacts=1%3B5%3Bhttps%3A%2F%2Fcandor.example%2Fhooks%2F{token}%3F");
    let query = format!("monitorID=1&alertType=1&monitorFriendlyName=Shop&{contacts}");
    app.anonymous()
        .get(&format!("{}?{query}", robot.url))
        .await
        .expect(202);
    app.anonymous()
        .post_raw(&robot.url, "application/x-www-form-urlencoded", query.clone())
        .await
        .expect(202);
    app.anonymous()
        .post_raw(
            &robot.url,
            "application/x-www-form-urlencoded",
            format!("alertType=9&{contacts}"),
        )
        .await
        .expect_problem(422);
    let cake = SignedHook::new(&app, "statuscake", json!({"secret": SECRET})).await;
    let form = format!("Token={SECRET}&Status=Down&TestID=1&Name=Shop");
    app.anonymous()
        .post_raw(&cake.url, "application/x-www-form-urlencoded", form)
        .await
        .expect(202);
    let duty = SignedHook::new(&app, "pagerduty", json!({})).await;
    let event = json!({"routing_key": SECRET, "event_action": "trigger", "payload": {"summary": "s", "source": "x", "severity": "info"}});
    let headers = [
        ("authorization", "Bearer of somebody"),
        ("cookie", "session=of somebody"),
        ("x-api-key", "of somebody"),
        ("user-agent", "tests"),
    ];
    duty.send(&headers, &event.to_string()).await.expect(202);
    for hook in [&robot, &cake, &duty] {
        let kept = app
            .get(&format!("/api/v1/integrations/{}/bodies", hook.id))
            .await
            .expect(200);
        assert!(!kept.items().is_empty());
        for secret in [token.as_str(), SECRET, "of somebody"] {
            assert!(!kept.text.contains(secret), "{kept}");
        }
        let mut shown = app.get("/api/v1/audit/export").await.expect(200).text;
        shown += &app.get("/api/v1/alerts").await.expect(200).text;
        assert!(!shown.contains(&token) && !shown.contains(SECRET));
    }
    let kept = app
        .get(&format!("/api/v1/integrations/{}/bodies", duty.id))
        .await
        .expect(200);
    assert_eq!(kept.items()[0]["headers"]["user-agent"], "tests");
    // A saved request can still be replayed.
    let kept = app
        .get(&format!("/api/v1/integrations/{}/bodies", robot.id))
        .await
        .expect(200);
    let get = kept
        .items()
        .iter()
        .find(|one| one["method"] == "GET")
        .expect("a GET")
        .clone();
    let again = app
        .post(
            &format!("/api/v1/integrations/{}/bodies/{}/replay", robot.id, get["id"]),
            json!({}),
        )
        .await
        .expect(202);
    assert_eq!(again["attached"].as_array().map(Vec::len), Some(1), "{again}");
    app.finish().await;
}
