//! The list of all alerts, on its page and through the API, with its filters and the state of the system beside it.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::story::PROJECT;
use crate::support::{DEADLINE, Env, TestApp, eventually, on_both_databases, story_directory};

on_both_databases!(alerts_are_found_by_their_parts, the_state_of_the_system_is_shown);

async fn titles(app: &TestApp, query: &str) -> Vec<String> {
    let alerts: Vec<Value> = app.all(&format!("/api/v1/alerts?{query}")).await;
    alerts
        .iter()
        .map(|alert| alert["title"].as_str().expect("a title").to_owned())
        .collect()
}

async fn alerts_are_found_by_their_parts(env: Env) {
    let app = TestApp::start(&env).await;
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let empty = viewer.page("/admin/alerts").await;
    assert!(
        empty.contains("No alerts so far.") && !empty.contains("/admin/integrations/new"),
        "{empty}"
    );
    app.import(story_directory()).await.expect(200);
    let monitoring = app.monitoring().await;
    for name in ["storage", "uploads", "Üploads"] {
        app.fires(&monitoring, name, PROJECT, "critical").await;
    }
    assert_eq!(titles(&app, "title=UPLOADS").await, ["uploads is broken"]);
    assert_eq!(titles(&app, "title=%C3%BCpl").await, ["Üploads is broken"]);
    assert_eq!(titles(&app, "title=broken&limit=2").await.len(), 3, "all pages");
    assert_eq!(titles(&app, "severity=critical&status=firing").await.len(), 3);
    assert!(titles(&app, "severity=minor").await.is_empty());
    assert!(titles(&app, "title=%25").await.is_empty(), "no wildcard");
    let first = app.get("/api/v1/alerts?limit=1").await.expect(200);
    assert_eq!(
        json!([first.items().len(), first["next_cursor"].is_string()]),
        json!([1, true])
    );
    let page = viewer.page("/admin/alerts?status=firing&q=storage").await;
    assert!(
        page.contains("storage is broken") && !page.contains("uploads is broken"),
        "{page}"
    );
    assert!(page.contains("/admin/incidents/1"), "{page}");
    let none = viewer.page("/admin/alerts?q=nothing").await;
    assert!(none.contains("No alert matches"), "{none}");
    let unknown = viewer.page("/admin/alerts?incident=999").await;
    assert!(
        unknown.contains("There is no incident with this number."),
        "{unknown}"
    );
    viewer.open("/admin/alerts?statuss=firing").await.expect(422);
    app.finish().await;
}

async fn the_state_of_the_system_is_shown(env: Env) {
    let app = TestApp::start(&env).await;
    // A service is listed after its first step.
    let system = eventually("the first step of the services", DEADLINE, async || {
        let system = app.get("/api/v1/system").await.expect(200);
        let services = system["services"].as_array().expect("services");
        let listed = services.iter().any(|one| one["name"] == "automation");
        listed.then_some(system)
    })
    .await;
    assert_eq!(system["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        json!([
            system["health"]["ready"],
            system["queue"]["pending"],
            system["delivers"]
        ]),
        json!([true, 0, true])
    );
    assert!(system["database"]["bytes"].as_i64() > Some(0), "{system}");
    let folders =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite")).expect("migrations");
    let names = folders.map(|folder| {
        folder
            .expect("a folder")
            .file_name()
            .into_string()
            .expect("a name")
    });
    let last = names.max().expect("a migration");
    let last: String = last.chars().filter(char::is_ascii_digit).collect();
    assert_eq!(system["database"]["last_migration"], last);
    let tables: Vec<&str> = system["tables"]
        .as_array()
        .expect("tables")
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert!(
        tables.contains(&"audit_events") && tables.contains(&"recovery_changes") && tables.len() == 14,
        "{tables:?}"
    );
    let services = system["services"].as_array().expect("services");
    assert!(services.iter().all(|one| one["failing"] == false), "{system}");
    for role in ["viewer", "operator", "approver"] {
        app.as_new(role)
            .await
            .get("/api/v1/system")
            .await
            .expect_problem(403);
    }
    let admin = Browser::signed_in(&app, &app.token("admin").await).await;
    let page = admin.page("/admin/system").await;
    for text in [
        "Everything works.",
        "notice_waves",
        "audit_events",
        "candor backup FILE",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let settings = admin.page("/admin/settings").await;
    for text in [
        "none: nothing is sent automatically",
        "all built in",
        "approval above 500 recipients",
        "/admin/system",
    ] {
        assert!(settings.contains(text), "{text}: {settings}");
    }
    app.finish().await;
}
