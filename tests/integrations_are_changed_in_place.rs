//! An integration keeps its URL when its name, its rules or its secrets are changed. A saved request can be
//! replayed with a button.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{ADMIN_TOKEN, DEADLINE, Env, TestApp, eventually, on_both_databases, story_directory};

on_both_databases!(
    what_is_not_given_stays,
    a_secret_is_changed_for_another_without_a_gap,
    a_wrong_change_changes_nothing,
    a_kept_body_is_taken_in_again_by_a_button,
    the_page_says_how_resources_are_found,
);

async fn made(app: &TestApp, new: Value) -> (String, String) {
    let made = app.post("/api/v1/integrations", new).await.expect(201);
    (made.id(), made["hook_url"].as_str().expect("a URL").to_owned())
}

async fn what_is_not_given_stays(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let mapping = json!({"title": "/t", "labels": "/l"});
    let (id, hook) = made(
        &app,
        json!({"name": "Old", "source": "generic", "mapping": mapping, "open_incident": false}),
    )
    .await;
    let path = format!("/api/v1/integrations/{id}");
    let body = |title: &str| json!({"t": title, "title": "usual", "l": {"project": "savanna"}});
    let first = app.anonymous().post(&hook, body("one")).await.expect(202);
    assert_eq!(first["opened"], json!([]));
    let rules = json!([{"field": "labels.project", "type": "project"}]);
    let changed = app
        .patch(
            &path,
            json!({"name": " New ", "resource_rules": rules, "open_incident": true}),
        )
        .await
        .expect(200);
    assert_eq!(
        (
            &changed["name"],
            &changed["resource_rules"],
            &changed["open_incident"],
            &changed["mapping"]
        ),
        (&json!("New"), &rules, &json!(true), &mapping)
    );
    assert_eq!(app.get(&path).await.expect(200).json, changed.json);
    // The URL is the same.
    let second = app.anonymous().post(&hook, body("two")).await.expect(202);
    assert_eq!(second["opened"][0]["title"], "two");
    let incident = second["opened"][0]["id"].as_str().expect("an id").to_owned();
    let affected = app
        .get(&format!("/api/v1/incidents/{incident}/affected"))
        .await
        .expect(200);
    assert_eq!(affected.items().len(), 1);
    // Null is a value: it removes the mapping.
    let changed = app.patch(&path, json!({"mapping": null})).await.expect(200);
    assert_eq!(
        (&changed["mapping"], &changed["name"]),
        (&Value::Null, &json!("New"))
    );
    let third = app.anonymous().post(&hook, body("three")).await.expect(202);
    assert_eq!(third["opened"][0]["title"], "usual");
    let events = app.all("/api/v1/audit?action=integration.changed").await;
    assert_eq!(events.len(), 2);
    assert_eq!(
        (&events[1]["before"]["name"], &events[1]["after"]["name"]),
        (&json!("Old"), &json!("New"))
    );
    app.finish().await;
}

async fn a_secret_is_changed_for_another_without_a_gap(env: Env) {
    let app = TestApp::start(&env).await;
    let (id, hook) = made(
        &app,
        json!({"name": "x", "source": "generic", "secret": "the-old-secret"}),
    )
    .await;
    let path = format!("/api/v1/integrations/{id}");
    let send = async |secret: &str| -> u16 {
        app.anonymous()
            .request(Method::POST, &hook)
            .header("X-Candor-Token", secret)
            .json(json!({"title": "t"}))
            .send()
            .await
            .status
    };
    assert_eq!(
        (send("the-old-secret").await, send("the-new-secret").await),
        (202, 401)
    );
    let two = app
        .patch(&path, json!({"add_secret": "the-new-secret"}))
        .await
        .expect(200);
    assert_eq!((&two["secret_count"], &two["signed"]), (&json!(2), &json!(true)));
    assert_eq!(
        (send("the-old-secret").await, send("the-new-secret").await),
        (202, 202)
    );
    let one = app
        .patch(&path, json!({"drop_secret": "the-old-secret"}))
        .await
        .expect(200);
    assert_eq!(one["secret_count"], 1);
    assert_eq!(
        (send("the-old-secret").await, send("the-new-secret").await),
        (401, 202)
    );
    // The last secret is removed only with an explicit field.
    app.patch(&path, json!({"drop_secret": "the-new-secret"}))
        .await
        .expect_invalid("/drop_secret");
    assert_eq!(send("no-secret-at-all").await, 401);
    app.patch(
        &path,
        json!({"drop_secret": "the-new-secret", "add_secret": "a-third-secret"}),
    )
    .await
    .expect(200);
    assert_eq!(
        (send("the-new-secret").await, send("a-third-secret").await),
        (401, 202)
    );
    app.patch(&path, json!({"secrets": ["first-of-all", "second-of-all"]}))
        .await
        .expect(200);
    assert_eq!(
        (send("a-third-secret").await, send("second-of-all").await),
        (401, 202)
    );
    let open = app.patch(&path, json!({"secrets": []})).await.expect(200);
    assert_eq!(open["signed"], false);
    assert_eq!(send("anything").await, 202);
    // None of the secrets is shown anywhere.
    for shown in ["/api/v1/integrations", "/api/v1/audit?limit=500", &path] {
        let text = app.get(shown).await.expect(200).text;
        for secret in [
            "the-old-secret",
            "the-new-secret",
            "a-third-secret",
            "second-of-all",
        ] {
            assert!(!text.contains(secret), "{shown}: {text}");
        }
    }
    app.finish().await;
}

async fn a_wrong_change_changes_nothing(env: Env) {
    let app = TestApp::start(&env).await;
    let (id, _) = made(
        &app,
        json!({"name": "x", "source": "alertmanager", "secret": "the-old-secret"}),
    )
    .await;
    let path = format!("/api/v1/integrations/{id}");
    let before = app.get(&path).await.expect(200).json;
    let many: Vec<String> = (0..11).map(|n| format!("secret-number-{n}")).collect();
    for (patch, pointer) in [
        (json!({}), ""),
        (json!({"name": ""}), "/name"),
        (json!({"name": "a\nb"}), "/name"),
        (json!({"source": "generic"}), "/source"),
        (json!({"mapping": {"title": "/t"}}), "/mapping"),
        (json!({"add_secret": "short"}), "/add_secret"),
        (json!({"add_secret": "the-old-secret"}), "/add_secret"),
        (json!({"drop_secret": "another-secret"}), "/drop_secret"),
        (
            json!({"secrets": ["the-new-secret"], "add_secret": "another-secret"}),
            "/secrets",
        ),
        (json!({"secrets": ["long-enough", "short"]}), "/secrets/1"),
        (json!({"secrets": many}), "/secrets"),
        (json!({"resource_rules": [{"field": "a"}]}), "/resource_rules/0"),
        (json!({"open_incident": "yes"}), "/open_incident"),
    ] {
        app.patch(&path, patch).await.expect_invalid(pointer);
    }
    assert_eq!(app.get(&path).await.expect(200).json, before);
    let (reports, _) = made(&app, json!({"name": "m", "source": "postmark"})).await;
    app.patch(
        &format!("/api/v1/integrations/{reports}"),
        json!({"resource_rules": [{"field": "title", "type": "project"}]}),
    )
    .await
    .expect_invalid("/resource_rules");
    app.as_new("operator")
        .await
        .patch(&path, json!({"name": "y"}))
        .await
        .expect_problem(403);
    app.patch(
        "/api/v1/integrations/01890000-0000-7000-8000-000000000000",
        json!({"name": "y"}),
    )
    .await
    .expect_problem(404);
    app.delete(&path).await.expect(204);
    app.patch(&path, json!({"name": "y"})).await.expect_problem(409);
    app.finish().await;
}

async fn a_kept_body_is_taken_in_again_by_a_button(env: Env) {
    let app = TestApp::start(&env).await;
    let (id, hook) = made(&app, json!({"name": "x", "source": "generic"})).await;
    app.anonymous()
        .post(&hook, json!({"title": "It broke"}))
        .await
        .expect(202);
    app.anonymous().post(&hook, json!([7])).await.expect_problem(422);
    let page = format!("/admin/integrations/{id}");
    let kept = app.all(&format!("/api/v1/integrations/{id}/bodies")).await;
    let button = |n: usize| format!("{page}/bodies/{}/replay", kept[n]["id"]);
    let admin = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let shown = admin.page(&page).await;
    assert!(shown.contains(&format!("action=\"{}\"", button(1))), "{shown}");
    let answer = admin.send_from(&page, &button(1), &[]).await.expect(303);
    assert_eq!(answer.header("location"), page);
    let alerts = app.all("/api/v1/alerts").await;
    assert_eq!((alerts.len(), &alerts[0]["repeats"]), (1, &json!(1)));
    let shown = admin.page(&page).await;
    assert!(
        shown.contains("1 alert, 0 incidents opened, attached to 1 incident"),
        "{shown}"
    );
    let events = app.all("/api/v1/audit?action=hook.replayed").await;
    assert_eq!((events.len(), &events[0]["actor"]["kind"]), (1, &json!("token")));
    // A request that still cannot be parsed is reported. Nothing happens by opening the page, without a
    // session, or for a lower role.
    admin.send_from(&page, &button(0), &[]).await.expect(422);
    let none = format!("{page}/bodies/x/replay");
    admin.send_from(&page, &none, &[]).await.expect(404);
    admin.open(&button(1)).await.expect(405);
    admin.send(&button(1), &[]).await.expect(403);
    app.anonymous()
        .request(Method::POST, &button(1))
        .header("cookie", "candor_session=none")
        .send()
        .await
        .expect(303);
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let shown = operator.page(&page).await;
    assert!(!shown.contains("/replay"), "{shown}");
    let form = "/admin/quiet/silences/new";
    operator.send_from(form, &button(1), &[]).await.expect(403);
    assert_eq!(app.all("/api/v1/audit?action=access.forbidden").await.len(), 2);
    assert_eq!(app.all("/api/v1/alerts").await[0]["repeats"], 1);
    app.finish().await;
}

async fn the_page_says_how_resources_are_found(env: Env) {
    const NONE: &str = "no resource rule: its alerts add no affected resources";
    const ITSELF: &str = "the field <code>resources</code> of each alert; there is no resource rule";
    const WATCHED: &str = "the resources that each check or heartbeat lists";
    let app = TestApp::builder(&env).at("2024-03-14T06:56:00Z").start().await;
    let (grafana, _) = made(&app, json!({"name": "Grafana", "source": "grafana"})).await;
    let (own, _) = made(&app, json!({"name": "Own", "source": "generic"})).await;
    let beat = json!({"name": "Backup", "every_seconds": 60, "grace_seconds": 0});
    let beat = app.post("/api/v1/heartbeats", beat).await.expect(201);
    let url = beat["url"].as_str().expect("a URL");
    app.anonymous().get(url).await.expect(200);
    app.set_clock("2024-03-14T07:56:00Z");
    let watched = eventually("the silence", DEADLINE, async || {
        let all = app.all("/api/v1/integrations").await;
        let found = all.iter().find(|one| one["source"] == "heartbeat");
        found.map(|one| one["id"].as_str().expect("an id").to_owned())
    })
    .await;
    let list = app.admin_page("/admin/integrations").await;
    for text in [NONE, ITSELF, WATCHED] {
        assert_eq!(list.matches(text).count(), 1, "{text}: {list}");
    }
    for (id, said) in [(&grafana, NONE), (&own, ITSELF), (&watched, WATCHED)] {
        let page = app.admin_page(&format!("/admin/integrations/{id}")).await;
        for text in [NONE, ITSELF, WATCHED] {
            assert_eq!(page.contains(text), text == said, "{text}: {page}");
        }
        let built_in = page.contains("Nobody else can send to this integration.");
        assert_eq!(built_in, said == WATCHED, "{page}");
    }
    app.finish().await;
}
