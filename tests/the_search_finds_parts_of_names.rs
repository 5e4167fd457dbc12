//! One search finds incidents, people, accounts and resources by a part of a name, through the API and on its page. The title of
//! the browser's tab says how many incidents are open, and pages show times in the zone that their reader chose.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    a_part_of_a_name_is_enough,
    signs_of_a_pattern_are_ordinary_signs,
    each_person_chooses_a_time_zone,
);

async fn found(app: &TestApp, q: &str) -> Value {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("q", q)
        .finish();
    app.get(&format!("/api/v1/search?{query}"))
        .await
        .expect(200)
        .json
        .clone()
}

fn names(found: &Value, kind: &str, field: &str) -> Vec<String> {
    let rows = found[kind].as_array().expect("rows");
    let text = |row: &Value| row[field].as_str().expect("a text").to_owned();
    rows.iter().map(text).collect()
}

async fn filled(app: &TestApp) {
    let mut lines = vec![
        json!({"kind": "account", "id": "nyota", "name": "Nyota Films"}),
        json!({"kind": "person", "id": "amina", "name": "Amina Odhiambo", "email": "amina@nyota.example"}),
        json!({"kind": "person", "id": "uenal", "name": "Ünal Öz", "email": "oez@nyota.example"}),
        json!({"kind": "resource", "type": "project", "id": "savanna-42", "account": "nyota", "name": "Savanna"}),
        json!({"kind": "resource", "type": "file", "id": "50%_off", "account": "nyota"}),
    ];
    for n in 0..12 {
        lines.push(
            json!({"kind": "person", "id": format!("crowd-{n}"), "name": format!("Crowd {n}"), "email": ""}),
        );
    }
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    app.import(lines.join("\n")).await.expect(200);
    for title in ["Payments are slow", "Files cannot be opened"] {
        let incident = json!({"title": title, "severity": "major"});
        app.post("/api/v1/incidents", incident).await.expect(201);
    }
}

async fn a_part_of_a_name_is_enough(env: Env) {
    let app = TestApp::start(&env).await;
    filled(&app).await;
    assert_eq!(names(&found(&app, "DHIAM").await, "people", "id"), ["amina"]);
    // A whole address is found as it is written by others, too.
    assert_eq!(
        names(&found(&app, "Amina@NYOTA.example").await, "people", "id"),
        ["amina"]
    );
    assert_eq!(
        names(&found(&app, "ota films").await, "accounts", "id"),
        ["nyota"]
    );
    assert_eq!(
        names(&found(&app, "anna").await, "resources", "id"),
        ["savanna-42"]
    );
    assert_eq!(
        names(&found(&app, "project savanna-42").await, "resources", "id"),
        ["savanna-42"]
    );
    assert_eq!(
        names(&found(&app, "are sl").await, "incidents", "title"),
        ["Payments are slow"]
    );
    assert_eq!(
        names(&found(&app, "#2").await, "incidents", "title"),
        ["Files cannot be opened"]
    );
    assert_eq!(
        names(&found(&app, "2").await, "incidents", "title"),
        ["Files cannot be opened"]
    );
    // An address names its person, and one letter is enough.
    assert_eq!(
        names(&found(&app, "oez@nyota.example").await, "people", "id"),
        ["uenal"]
    );
    assert!(names(&found(&app, "ü").await, "people", "id").contains(&"uenal".to_owned()));
    for case in ["ünal", "Ünal", "ÜNAL", "öz"] {
        assert_eq!(
            names(&found(&app, case).await, "people", "id"),
            ["uenal"],
            "{case}"
        );
    }
    // At most ten of each kind, and the answer says that there are more.
    let crowd = found(&app, "crowd").await;
    assert_eq!(names(&crowd, "people", "id").len(), 10);
    assert_eq!(crowd["more"], json!(["people"]));
    assert_eq!(crowd["stopped"], json!([]));
    let all = app
        .get("/api/v1/search?q=crowd&kind=people&limit=100")
        .await
        .expect(200);
    assert_eq!(names(&all.json, "people", "id").len(), 12);
    for wrong in [
        "",
        "?q=",
        "?q=a&limit=0",
        "?q=a&limit=101",
        "?q=a&kind=mails",
        "?q=a&x=1",
    ] {
        app.get(&format!("/api/v1/search{wrong}"))
            .await
            .expect_problem(422);
    }

    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let page = viewer.page("/admin/search?q=crowd").await;
    assert_eq!(
        page.matches("/admin/directory/people/crowd-").count(),
        10,
        "{page}"
    );
    assert!(page.contains("q&#x3D;crowd&amp;kind&#x3D;people"), "{page}");
    assert!(page.contains("<title>(2) Search: crowd"), "{page}");
    let page = viewer.page("/admin/search?q=crowd&kind=people").await;
    assert_eq!(
        page.matches("/admin/directory/people/crowd-").count(),
        12,
        "{page}"
    );
    let page = viewer.page("/admin/search?q=%3Cb%3Enothing").await;
    assert!(
        page.contains("Nothing contains")
            && page.contains("&lt;b&gt;nothing")
            && !page.contains("<b>nothing"),
        "{page}"
    );
    viewer.page("/admin/search").await;
    app.finish().await;
}

async fn signs_of_a_pattern_are_ordinary_signs(env: Env) {
    let app = TestApp::start(&env).await;
    filled(&app).await;
    assert_eq!(names(&found(&app, "50%_").await, "resources", "id"), ["50%_off"]);
    for nothing in ["5%f", "a_ina", "%%%%", "\\", "' OR 1=1 --"] {
        let found = found(&app, nothing).await;
        for kind in ["incidents", "people", "accounts", "resources"] {
            assert_eq!(found[kind], json!([]), "{nothing}");
        }
    }
    app.finish().await;
}

async fn each_person_chooses_a_time_zone(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:56:00Z").start().await;
    let token = app.token("viewer").await;
    let viewer = app.as_role(&token);
    assert_eq!(
        viewer.get("/api/v1/preferences").await.expect(200).json,
        json!({"time_zone": null})
    );
    let page = Browser::signed_in(&app, &token).await;
    let path = "/admin/preferences";
    let wrong = page
        .send_from(path, path, &[("time_zone", "Mars/Olympus")])
        .await
        .expect(422);
    assert!(
        wrong.text.contains("value=\"Mars/Olympus\"") && wrong.text.contains("is not an IANA time zone"),
        "{}",
        wrong.text
    );
    page.send_from(path, path, &[("time_zone", "Africa/Nairobi")])
        .await
        .expect(303);
    assert_eq!(
        viewer.get("/api/v1/preferences").await.expect(200).json,
        json!({"time_zone": "Africa/Nairobi"})
    );
    assert!(
        page.page("/admin/audit")
            .await
            .contains("2024-03-14 09:56:00 EAT (2024-03-14 06:56:00 UTC)")
    );
    // The picker of the audit trail is in this zone, too.
    let shown = page.page("/admin/audit?from=2024-03-14T09:56").await;
    assert!(
        shown.contains("value=\"2024-03-14T09:56\"") && shown.contains("preferences.changed"),
        "{shown}"
    );
    assert!(
        !page
            .page("/admin/audit?from=2024-03-14T09:57")
            .await
            .contains("<code>preferences.changed")
    );
    // New forms begin in this zone, and their times too.
    let operator = app.token("operator").await;
    let writes = Browser::signed_in(&app, &operator).await;
    writes
        .send_from(path, path, &[("time_zone", "Africa/Nairobi")])
        .await
        .expect(303);
    let silence = "/admin/quiet/silences/new".to_owned();
    for form in ["/admin/incidents/new", silence.as_str()] {
        let shown = writes.page(form).await;
        assert!(shown.contains("value=\"Africa/Nairobi\""), "{form}: {shown}");
    }
    assert!(writes.page(&silence).await.contains("value=\"2024-03-14T11:56\""));
    // Somebody else has another zone, and nothing is stored twice.
    assert_eq!(
        app.get("/api/v1/preferences").await.expect(200).json,
        json!({"time_zone": null})
    );
    viewer
        .put("/api/v1/preferences", json!({"time_zone": "Africa/Nairobi"}))
        .await
        .expect(200);
    assert_eq!(app.all("/api/v1/audit?action=preferences.changed").await.len(), 2);
    viewer
        .put("/api/v1/preferences", json!({"time_zone": "Mars"}))
        .await
        .expect_problem(422);
    viewer.put("/api/v1/preferences", json!({})).await.expect(200);
    assert_eq!(
        viewer.get("/api/v1/preferences").await.expect(200).json,
        json!({"time_zone": null})
    );
    app.finish().await;
}
