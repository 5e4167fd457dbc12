//! A token is refused once it has expired, on the API and on the pages. Tokens say when they were last used, without a write for each
//! request.

use serde_json::json;

use crate::support::browser::Browser;
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    a_token_expires,
    the_last_use_is_shown_and_stored,
    tokens_are_made_and_revoked_on_the_page
);

const START: &str = "2024-03-14T06:56:00Z";

async fn start(env: &Env) -> TestApp {
    TestApp::builder(env).at(START).start().await
}

async fn a_token_expires(env: Env) {
    let app = start(&env).await;
    let past = json!({"name": "x", "role": "viewer", "expires_at": START});
    let refused = app.post("/api/v1/tokens", past).await.expect_problem(422);
    assert_eq!(refused["errors"][0]["pointer"], "/expires_at", "{refused}");
    let new = json!({"name": "For a week", "role": "viewer", "expires_at": "2024-03-14T08:00:00Z"});
    let made = app.post("/api/v1/tokens", new).await.expect(201);
    let token = made["token"].as_str().expect("a token").to_owned();
    let path = format!("/api/v1/tokens/{}", made.id());
    assert_eq!(
        app.get(&path).await.expect(200)["expires_at"],
        "2024-03-14T08:00:00Z"
    );
    let created = app
        .all(&format!(
            "/api/v1/audit?action=token.created&subject={}",
            made.id()
        ))
        .await;
    assert_eq!(created[0]["after"]["expires_at"], "2024-03-14T08:00:00Z");
    let client = app.as_role(&token);
    client.get("/api/v1/incidents").await.expect(200);
    let browser = Browser::signed_in(&app, &token).await;
    browser.page("/admin/settings").await;
    app.set_clock("2024-03-14T08:00:00Z");
    client.get("/api/v1/incidents").await.expect_problem(401);
    // The session ends with its token.
    assert!(
        browser
            .open("/admin/settings")
            .await
            .expect(303)
            .header("location")
            .starts_with("/admin/sign-in")
    );
    let page = Browser::signed_in(&app, &app.token("admin").await)
        .await
        .page("/admin/tokens")
        .await;
    assert!(page.contains(">expired</span>"), "{page}");
    app.finish().await;
}

async fn the_last_use_is_shown_and_stored(env: Env) {
    let mut app = start(&env).await;
    let made = app
        .post("/api/v1/tokens", json!({"name": "Robot", "role": "viewer"}))
        .await
        .expect(201);
    let path = format!("/api/v1/tokens/{}", made.id());
    assert_eq!(app.get(&path).await.expect(200)["last_used_at"], json!(null));
    let client = app.as_role(made["token"].as_str().expect("a token"));
    client.get("/api/v1/incidents").await.expect(200);
    app.set_clock("2024-03-14T07:00:00Z");
    client.get("/api/v1/incidents").await.expect(200);
    assert_eq!(
        app.get(&path).await.expect(200)["last_used_at"],
        "2024-03-14T07:00:00Z"
    );
    // The end of the process stores it.
    app.restart().await;
    assert_eq!(
        app.get(&path).await.expect(200)["last_used_at"],
        "2024-03-14T07:00:00Z"
    );
    app.finish().await;
}

async fn tokens_are_made_and_revoked_on_the_page(env: Env) {
    let app = start(&env).await;
    let admin = Browser::signed_in(&app, &app.token("admin").await).await;
    let (list, new) = ("/admin/tokens", "/admin/tokens/new");
    let fields = |expires: &'static str| {
        [
            ("name", "Ann <b>"),
            ("role", "operator"),
            ("person", "ann@ours.example"),
            ("expires_at", expires),
            ("time_zone", "Africa/Nairobi"),
        ]
    };
    let wrong = admin
        .send_from(new, list, &fields("2024-03-14T09:00"))
        .await
        .expect(422);
    assert!(
        wrong.text.contains("must be in the future") && wrong.text.contains("Ann &lt;b&gt;"),
        "{}",
        wrong.text
    );
    let made = admin
        .send_from(new, list, &fields("2024-03-15T09:00"))
        .await
        .expect(200);
    let (_, rest) = made
        .text
        .split_once("id=\"secret\" tabindex=\"0\">")
        .expect("a secret");
    let token = rest.split('<').next().expect("a secret").to_owned();
    app.as_role(&token).get("/api/v1/incidents").await.expect(200);
    let stored = app.all("/api/v1/tokens").await;
    let stored = stored
        .iter()
        .find(|one| one["name"] == "Ann <b>")
        .expect("the token");
    assert_eq!(
        json!([stored["role"], stored["person"], stored["expires_at"]]),
        json!(["operator", "ann@ours.example", "2024-03-15T06:00:00Z"])
    );
    let page = admin.page(list).await;
    assert!(page.contains("Ann &lt;b&gt;") && !page.contains(&token), "{page}");
    let revoke = format!("{list}/{}/revoke", stored["id"].as_str().expect("an ID"));
    assert!(page.contains(&format!("action=\"{revoke}\"")), "{page}");
    admin.send_from(list, &revoke, &[]).await.expect(303);
    app.as_role(&token)
        .get("/api/v1/incidents")
        .await
        .expect_problem(401);
    app.finish().await;
}
