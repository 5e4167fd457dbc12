//! A session of the pages ends on the server, so that a copied cookie does not work any more.

use reqwest::Method;
use serde_json::json;

use crate::support::{ADMIN_TOKEN, Answer, Backend, Binary, Env, Http, TestApp, on_both_databases, run};

on_both_databases!(
    signing_out_ends_it_for_a_copied_cookie_too,
    a_token_that_is_revoked_takes_its_sessions_along,
    it_ends_after_its_time,
    a_cookie_that_was_not_given_out_opens_nothing,
    a_restore_brings_no_session_back,
);

async fn sign_in(http: &Http, token: &str) -> String {
    let form = format!("token={token}");
    let signed = http
        .anonymous()
        .post_raw("/admin/sign-in", "application/x-www-form-urlencoded", form)
        .await
        .expect(303);
    let cookie = signed.header("set-cookie").split(';').next().expect("a cookie");
    cookie.to_owned()
}

async fn with(http: &Http, cookie: &str, method: Method, path: &str) -> Answer {
    let request = http.anonymous().request(method, path);
    request.header("cookie", cookie).send().await
}

async fn is_in(http: &Http, cookie: &str) -> bool {
    let answer = with(http, cookie, Method::GET, "/admin").await;
    assert!([200, 303].contains(&answer.status), "{answer}");
    answer.status == 200
}

async fn signing_out_ends_it_for_a_copied_cookie_too(env: Env) {
    let app = TestApp::start(&env).await;
    let (here, elsewhere) = (sign_in(&app, ADMIN_TOKEN).await, sign_in(&app, ADMIN_TOKEN).await);
    assert_ne!(here, elsewhere);
    assert!(is_in(&app, &here).await && is_in(&app, &elsewhere).await);
    // The secret of the cookie is stored only as a hash.
    let secret = here.split('=').nth(1).expect("a value");
    assert_eq!(env.count(&format!("admin_sessions WHERE id = '{secret}'")), 0);
    with(&app, &here, Method::POST, "/admin/sign-out")
        .await
        .expect(303);
    assert!(!is_in(&app, &here).await, "a copied cookie");
    assert!(is_in(&app, &elsewhere).await, "another session of the same token");
    assert_eq!(env.count("audit_events WHERE action = 'admin.signed_out'"), 1);
    // A second sign-out with the copy ends nothing.
    with(&app, &here, Method::POST, "/admin/sign-out")
        .await
        .expect(303);
    assert_eq!(env.count("audit_events WHERE action = 'admin.signed_out'"), 1);
    app.finish().await;
}

async fn a_token_that_is_revoked_takes_its_sessions_along(env: Env) {
    let app = TestApp::start(&env).await;
    let made = app
        .post("/api/v1/tokens", json!({"name": "x", "role": "operator"}))
        .await
        .expect(201);
    let token = made["token"].as_str().expect("a token");
    let cookie = sign_in(&app, token).await;
    assert!(is_in(&app, &cookie).await);
    app.delete(&format!("/api/v1/tokens/{}", made.id()))
        .await
        .expect(204);
    assert!(!is_in(&app, &cookie).await);
    // It stays ended even if the token were made valid again.
    env.sql("UPDATE api_tokens SET revoked_at = NULL")
        .expect("a change");
    assert!(!is_in(&app, &cookie).await);
    app.finish().await;
}

async fn it_ends_after_its_time(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:00:00Z").start().await;
    let cookie = sign_in(&app, ADMIN_TOKEN).await;
    app.set_clock("2024-03-14T17:59:59Z");
    assert!(is_in(&app, &cookie).await);
    app.set_clock("2024-03-14T18:00:00Z");
    assert!(!is_in(&app, &cookie).await);
    app.finish().await;
}

async fn a_cookie_that_was_not_given_out_opens_nothing(env: Env) {
    let app = TestApp::start(&env).await;
    let cookie = sign_in(&app, ADMIN_TOKEN).await;
    let (name, secret) = cookie.split_once('=').expect("a cookie");
    let hash = candor::auth::hash_secret(secret);
    for value in [
        "",
        "x",
        &secret[1..],
        &secret.to_uppercase(),
        // The stored value is not a valid cookie.
        &hash,
        // The form of an earlier version.
        "00000000-0000-0000-0000-000000000000.9999999999999999.c2lnbmF0dXJl",
    ] {
        assert!(!is_in(&app, &format!("{name}={value}")).await, "{value}");
    }
    assert!(is_in(&app, &cookie).await);
    app.finish().await;
}

async fn a_restore_brings_no_session_back(env: Env) {
    let mut candor = Binary::new(&env);
    candor.serve().await;
    let cookie = sign_in(&candor, ADMIN_TOKEN).await;
    candor.run(["backup", "copy.db"]).await.expect(0);
    with(&candor, &cookie, Method::POST, "/admin/sign-out")
        .await
        .expect(303);
    candor.terminate().await.expect(0);
    candor.run(["restore", "copy.db", "--force"]).await.expect(0);
    candor.serve().await;
    assert!(!is_in(&candor, &cookie).await);
    candor.finish().await;
}

#[test]
fn in_every_process() {
    run(Backend::Postgres, async |env: Env| {
        let (mut one, mut two) = (Binary::new(&env), Binary::new(&env));
        tokio::join!(one.serve(), two.serve());
        let cookie = sign_in(&one, ADMIN_TOKEN).await;
        assert!(is_in(&two, &cookie).await);
        with(&one, &cookie, Method::POST, "/admin/sign-out")
            .await
            .expect(303);
        assert!(!is_in(&one, &cookie).await && !is_in(&two, &cookie).await);
        one.terminate().await.expect(0);
        two.finish().await;
    });
}
