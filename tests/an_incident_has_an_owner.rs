//! Somebody owns an incident. The owner is set on its page and through the API, is on the timeline and in the audit trail, and the
//! list of incidents can be filtered by it.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    an_owner_is_set_and_removed,
    what_is_wrong_is_said,
    the_owner_and_the_severity_are_set_on_the_page,
    the_list_is_filtered,
);

async fn opened(app: &TestApp, title: &str, severity: &str) -> String {
    let incident = json!({"title": title, "severity": severity});
    app.post("/api/v1/incidents", incident).await.expect(201).id()
}

async fn owner(app: &TestApp, id: &str) -> Value {
    app.get(&format!("/api/v1/incidents/{id}")).await.expect(200)["owner"].clone()
}

async fn an_owner_is_set_and_removed(env: Env) {
    let app = TestApp::start(&env).await;
    let id = opened(&app, "Uploads fail", "major").await;
    let path = format!("/api/v1/incidents/{id}");
    assert_eq!(owner(&app, &id).await, Value::Null);
    let changed = app
        .patch(&path, json!({"owner": " Ada Lovelace "}))
        .await
        .expect(200);
    assert_eq!(changed["owner"], "Ada Lovelace");
    // Another change keeps the owner, and the same owner again is not on the timeline.
    app.patch(&path, json!({"severity": "minor"})).await.expect(200);
    app.patch(&path, json!({"owner": "Ada Lovelace"}))
        .await
        .expect(200);
    assert_eq!(owner(&app, &id).await, "Ada Lovelace");
    app.patch(&path, json!({"owner": null})).await.expect(200);
    assert_eq!(owner(&app, &id).await, Value::Null);
    let told = app.told_on_timeline(&id).await;
    assert_eq!(
        told[1..],
        ["Owner: Ada Lovelace", "The incident has no owner any more"],
        "{told:?}"
    );
    let events = app.all("/api/v1/audit?action=incident.changed").await;
    assert_eq!(
        (&events[0]["before"]["owner"], &events[0]["after"]["owner"]),
        (&json!("Ada Lovelace"), &Value::Null)
    );
    app.finish().await;
}

async fn what_is_wrong_is_said(env: Env) {
    let app = TestApp::start(&env).await;
    let id = opened(&app, "Uploads fail", "major").await;
    let path = format!("/api/v1/incidents/{id}");
    for wrong in [json!("  "), json!("a".repeat(121)), json!("a\nb")] {
        app.patch(&path, json!({"owner": wrong}))
            .await
            .expect_invalid("/owner");
    }
    let page = "/admin/incidents/1";
    let browser = Browser::signed_in(&app, &app.token("operator").await).await;
    let long = "a".repeat(121);
    let answer = browser
        .send_from(page, "/admin/incidents/1/owner", &[("owner", &long)])
        .await
        .expect(422);
    assert!(answer.text.contains("is longer than 120 characters") && answer.text.contains(&long));
    let answer = browser
        .send_from(page, "/admin/incidents/1/severity", &[("severity", "huge")])
        .await
        .expect(422);
    assert!(answer.text.contains("must be critical, major or minor"));
    app.finish().await;
}

async fn the_owner_and_the_severity_are_set_on_the_page(env: Env) {
    let app = TestApp::start(&env).await;
    let id = opened(&app, "Uploads fail", "major").await;
    let page = "/admin/incidents/1";
    let browser = Browser::signed_in(&app, &app.token("operator").await).await;
    let text = browser.page(page).await;
    assert!(
        text.contains("Owner: nobody") && text.contains("Take it: <span dir=\"auto\">a test&#x27;s operator"),
        "{text}"
    );
    browser
        .send_from(
            page,
            "/admin/incidents/1/owner",
            &[("owner", "a test's operator")],
        )
        .await
        .expect(303);
    assert_eq!(owner(&app, &id).await, "a test's operator");
    let text = browser.page(page).await;
    assert!(!text.contains("Take it"), "{text}");
    browser
        .send_from(page, "/admin/incidents/1/owner", &[("owner", "")])
        .await
        .expect(303);
    assert_eq!(owner(&app, &id).await, Value::Null);
    browser
        .send_from(page, "/admin/incidents/1/severity", &[("severity", "critical")])
        .await
        .expect(303);
    let text = browser.page(page).await;
    assert!(text.contains("<option value=\"critical\" selected>"), "{text}");
    app.finish().await;
}

async fn the_list_is_filtered(env: Env) {
    let app = TestApp::builder(&env)
        .config(|config| config.drill_to = vec!["drill@ours.example".to_owned()])
        .start()
        .await;
    let first = opened(&app, "First <b>", "major").await;
    opened(&app, "Second", "critical").await;
    let third = opened(&app, "Third", "minor").await;
    let drill = json!({"title": "Fourth", "severity": "minor", "drill": true});
    app.post("/api/v1/incidents", drill).await.expect(201);
    app.patch(&format!("/api/v1/incidents/{first}"), json!({"owner": "Ada"}))
        .await
        .expect(200);
    app.resolve(&third).await;
    let browser = Browser::signed_in(&app, &app.token("viewer").await).await;
    let all = ["First &lt;b&gt;", "Second", "Third", "Fourth"];
    for (query, api, found) in [
        ("", "", &all[..]),
        (
            "status=open",
            "open=true",
            &["First &lt;b&gt;", "Second", "Fourth"],
        ),
        ("status=resolved", "status=resolved", &["Third"]),
        ("severity=critical", "severity=critical", &["Second"]),
        ("kind=drills", "drill=true", &["Fourth"]),
        (
            "kind=real&severity=minor",
            "drill=false&severity=minor",
            &["Third"],
        ),
        (
            "owner=Ada&status=&severity=&kind=",
            "owner=Ada",
            &["First &lt;b&gt;"],
        ),
        ("owner=Bob", "owner=Bob", &[]),
        (
            "led_by=nobody&owner=&status=open",
            "owned=false&open=true",
            &["Second", "Fourth"],
        ),
    ] {
        let page = browser.page(&format!("/admin/incidents?{query}")).await;
        for title in all {
            assert_eq!(
                page.contains(&format!(" {title}</a>")),
                found.contains(&title),
                "{query}: {title}: {page}"
            );
        }
        assert_eq!(
            app.all(&format!("/api/v1/incidents?{api}")).await.len(),
            found.len(),
            "{api}"
        );
    }
    browser.open("/admin/incidents?status=over").await.expect(422);
    app.finish().await;
}
