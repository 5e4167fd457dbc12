//! An integration with a secret accepts only requests that prove the secret. All others leave only an audit
//! event.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::signed_hook::SignedHook;
use crate::support::{Env, TestApp, on_one_database};

on_one_database!(
    a_standard_webhook_is_signed_over_id_time_and_body,
    a_signature_over_the_body_is_taken,
    the_secret_itself_is_taken,
    alertmanager_shows_the_secret,
    without_a_secret_nothing_is_checked,
    a_secret_is_never_shown,
);

const SECRET: &str = "a secret of the tests";
const NOW: i64 = 1_710_399_360; // 2024-03-14T06:56:00Z

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn body() -> String {
    // The spaces are kept, because the signature covers the bytes of the body.
    "{ \"title\":  \"It broke\" }".to_owned()
}

fn standard(key: &[u8], id: &str, at: i64, body: &str) -> String {
    format!(
        "v1,{}",
        STANDARD.encode(hmac(key, format!("{id}.{at}.{body}").as_bytes()))
    )
}

async fn a_standard_webhook_is_signed_over_id_time_and_body(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:56:00Z").start().await;
    for (secret, key) in [
        (SECRET.to_owned(), SECRET.as_bytes().to_vec()),
        (
            format!("whsec_{}", STANDARD.encode(b"\x00\xffbytes of any kind")),
            b"\x00\xffbytes of any kind".to_vec(),
        ),
    ] {
        let hook = SignedHook::new(&app, "generic", json!({"secret": secret})).await;
        let body = body();
        let right = standard(&key, "msg_1", NOW, &body);
        let now = NOW.to_string();
        let headers = |signature: &str, id: &str, at: &str| -> Vec<(String, String)> {
            [
                ("webhook-id", id),
                ("webhook-timestamp", at),
                ("webhook-signature", signature),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
        };
        let send = async |headers: Vec<(String, String)>, body: &str| {
            let pairs: Vec<(&str, &str)> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            hook.send(&pairs, body).await
        };
        let refuses = async |headers: Vec<(String, String)>, body: &str| {
            let pairs: Vec<(&str, &str)> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            hook.refuses(&pairs, body).await;
        };
        send(headers(&right, "msg_1", &now), &body).await.expect(202);
        // While a secret is being replaced there are several signatures, and one of them must be valid.
        let several = format!("v1,{} v1a,xyz {right}", STANDARD.encode(b"another"));
        send(headers(&several, "msg_1", &now), &body).await.expect(202);
        // A clock may differ by some minutes in both directions.
        for off in [-299, 299] {
            let at = NOW + off;
            send(
                headers(&standard(&key, "msg_1", at, &body), "msg_1", &at.to_string()),
                &body,
            )
            .await
            .expect(202);
        }
        for off in [-301, 301, -NOW] {
            let at = NOW + off;
            refuses(
                headers(&standard(&key, "msg_1", at, &body), "msg_1", &at.to_string()),
                &body,
            )
            .await;
        }
        refuses(headers(&right, "msg_2", &now), &body).await;
        refuses(headers(&right, "msg_1", &(NOW + 1).to_string()), &body).await;
        refuses(headers(&right, "msg_1", &now), &body.replace("  ", " ")).await;
        refuses(headers(&right, "msg_1", "now"), &body).await;
        refuses(headers(&right, "msg_1", "99999999999999999999"), &body).await;
        refuses(headers(&right, "msg_1", "-9223372036854775808"), &body).await;
        refuses(headers(&right.replace("v1,", "v2,"), "msg_1", &now), &body).await;
        refuses(headers(&right[3..], "msg_1", &now), &body).await;
        refuses(headers("v1,", "msg_1", &now), &body).await;
        refuses(headers("", "msg_1", &now), &body).await;
        refuses(
            headers(&standard(b"another secret", "msg_1", NOW, &body), "msg_1", &now),
            &body,
        )
        .await;
        refuses(headers(&right, "msg_1", &now)[1..].to_vec(), &body).await;
        refuses(headers(&right, "msg_1", &now)[..2].to_vec(), &body).await;
        refuses(vec![], &body).await;
    }
    app.finish().await;
}

async fn a_signature_over_the_body_is_taken(env: Env) {
    let app = TestApp::start(&env).await;
    let hook = SignedHook::new(&app, "generic", json!({"secret": SECRET})).await;
    let body = body();
    let right = format!("sha256={}", hex(&hmac(SECRET.as_bytes(), body.as_bytes())));
    hook.send(&[("x-candor-signature", &right)], &body)
        .await
        .expect(202);
    hook.send(
        &[(
            "X-Candor-Signature",
            &right.to_uppercase().replace("SHA256", "sha256"),
        )],
        &body,
    )
    .await
    .expect(202);
    hook.refuses(&[("x-candor-signature", &right)], &body.replace("broke", "works"))
        .await;
    hook.refuses(&[("x-candor-signature", &right[7..])], &body).await;
    hook.refuses(&[("x-candor-signature", &right[..right.len() - 1])], &body)
        .await;
    hook.refuses(&[("x-candor-signature", "sha256=")], &body).await;
    hook.refuses(
        &[(
            "x-candor-signature",
            &format!("sha256={}", hex(&hmac(b"another secret", body.as_bytes()))),
        )],
        &body,
    )
    .await;
    // A body that cannot be parsed is refused for this reason only after its signature was verified.
    let wrong = "not JSON";
    hook.refuses(&[("x-candor-signature", &right)], wrong).await;
    let signed = format!("sha256={}", hex(&hmac(SECRET.as_bytes(), wrong.as_bytes())));
    hook.send(&[("x-candor-signature", &signed)], wrong)
        .await
        .expect_problem(422);
    app.finish().await;
}

async fn shows_the_secret(app: &TestApp, source: &str, body: &str) {
    let hook = SignedHook::new(app, source, json!({"secret": SECRET})).await;
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    for right in [
        format!("Bearer {SECRET}"),
        format!("bearer {SECRET}"),
        basic(&format!("candor:{SECRET}")),
        basic(&format!(":{SECRET}")),
    ] {
        hook.send(&[("authorization", &right)], body).await.expect(202);
    }
    for wrong in [
        "Bearer another secret".to_owned(),
        format!("Bearer {SECRET}x"),
        format!("Bearer {}", &SECRET[1..]),
        "Bearer ".to_owned(),
        SECRET.to_owned(),
        format!("Token {SECRET}"),
        basic(SECRET),
        basic(&format!("{SECRET}:")),
        basic(&format!("a:b:{SECRET}")),
        "Basic ###".to_owned(),
        format!("Bearer {}", crate::support::ADMIN_TOKEN),
    ] {
        hook.refuses(&[("authorization", &wrong)], body).await;
    }
    hook.refuses(&[], body).await;
    // A wrong secret with a correct signature is refused, and so is the reverse.
    let signed = format!("sha256={}", hex(&hmac(SECRET.as_bytes(), body.as_bytes())));
    hook.refuses(
        &[("authorization", "Bearer wrong"), ("x-candor-signature", &signed)],
        body,
    )
    .await;
}

async fn the_secret_itself_is_taken(env: Env) {
    let app = TestApp::start(&env).await;
    shows_the_secret(&app, "generic", &body()).await;
    app.finish().await;
}

async fn alertmanager_shows_the_secret(env: Env) {
    let app = TestApp::start(&env).await;
    let body = json!({"alerts": [{"status": "firing", "labels": {"alertname": "x"}}]}).to_string();
    shows_the_secret(&app, "alertmanager", &body).await;
    // Alertmanager signs nothing, so a signature does not prove it.
    let hook = SignedHook::new(&app, "alertmanager", json!({"secret": SECRET})).await;
    let signed = format!("sha256={}", hex(&hmac(SECRET.as_bytes(), body.as_bytes())));
    hook.refuses(&[("x-candor-signature", &signed)], &body).await;
    app.finish().await;
}

async fn without_a_secret_nothing_is_checked(env: Env) {
    let app = TestApp::start(&env).await;
    let hook = SignedHook::new(&app, "generic", json!({})).await;
    for headers in [
        &[][..],
        &[("authorization", "Bearer x")],
        &[("webhook-signature", "v1,x")],
        &[("x-candor-signature", "x")],
    ] {
        hook.send(headers, &body()).await.expect(202);
    }
    app.finish().await;
}

async fn a_secret_is_never_shown(env: Env) {
    let app = TestApp::start(&env).await;
    for (secret, accepted) in [("short", false), ("", false), ("8 chars.", true)] {
        let answer = app
            .post(
                "/api/v1/integrations",
                json!({"name": "x", "source": "generic", "secret": secret}),
            )
            .await;
        if accepted {
            answer.expect(201)
        } else {
            answer.expect_invalid("/secret")
        };
    }
    let made = app
        .post(
            "/api/v1/integrations",
            json!({"name": "x", "source": "generic", "secret": SECRET}),
        )
        .await
        .expect(201);
    let shown = app
        .get(&format!("/api/v1/integrations/{}", made.id()))
        .await
        .expect(200);
    assert_eq!((&shown["signed"], &shown["secret"]), (&json!(true), &Value::Null));
    for path in ["/api/v1/integrations", "/api/v1/audit", "/api/v1/audit/export"] {
        assert!(!app.get(path).await.expect(200).text.contains(SECRET), "{path}");
    }
    app.finish().await;
}
