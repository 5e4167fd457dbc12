//! An incident is opened with what is affected, edited, followed up and reported on pages. The roles, the errors and the events are those of the API.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{Env, TestApp, on_both_databases, on_one_database, story_directory};

on_both_databases!(
    an_incident_is_opened_and_edited,
    a_newer_change_is_not_replaced_by_accident,
    next_steps_are_added_changed_and_done,
    a_report_is_written_published_and_taken_back,
);

on_one_database!(viewers_read_and_change_nothing);

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text:?} is not on the page:\n{page}");
    }
}

#[track_caller]
fn hides(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(!page.contains(text), "{text:?} is on the page:\n{page}");
    }
}

fn with<'a>(fields: &[(&'a str, &'a str)], name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let changed = fields
        .iter()
        .map(|field| if field.0 == name { (field.0, value) } else { *field });
    changed.collect()
}

async fn started(env: &Env) -> (TestApp, Browser) {
    let app = TestApp::builder(env).at("2024-03-14T07:00:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    (app, operator)
}

async fn only(app: &TestApp) -> Value {
    app.all("/api/v1/incidents").await[0].clone()
}

async fn an_incident_is_opened_and_edited(env: Env) {
    let (app, operator) = started(&env).await;
    let new = "/admin/incidents/new";
    let fields = [
        ("title", "Uploads fail"),
        ("headline", ""),
        ("severity", "critical"),
        ("resources", "project savanna\r\nproject nothing"),
        ("started_at", "2024-03-14T09:30"),
        ("time_zone", "Africa/Nairobi"),
        ("summary", ""),
        ("drill", "false"),
    ];
    let wrong = operator.send_from(new, new, &fields).await.expect(422);
    shows(
        &wrong.text,
        &[
            "Nothing was saved.",
            "project nothing",
            "aria-describedby=\"e-resources\"",
        ],
    );
    let right = with(&fields, "resources", "project savanna");
    operator.send_from(new, new, &right).await.expect(303);
    let incident = only(&app).await;
    assert_eq!(incident["started_at"], "2024-03-14T06:30:00Z");
    let affected = format!("/api/v1/incidents/{}/affected", incident["id"].as_str().unwrap());
    assert_eq!(app.all(&affected).await.len(), 1);
    // An edit changes what was changed, and nothing else.
    let edit = "/admin/incidents/1/edit";
    shows(
        &operator.page(edit).await,
        &["value=\"Uploads fail\"", "value=\"2024-03-14T06:30\""],
    );
    let fields = [
        ("title", "Uploads fail"),
        ("headline", "Some files cannot be uploaded"),
        ("severity", "major"),
        ("summary", ""),
        ("started_at", "2024-03-14T06:30"),
        ("detected_at", "2024-03-14T07:00"),
        ("time_zone", "UTC"),
    ];
    let wrong = with(&fields, "started_at", "2024-03-15T06:30");
    let wrong = operator.send_from(edit, edit, &wrong).await.expect(422);
    shows(
        &wrong.text,
        &[
            "aria-describedby=\"e-started_at\"",
            "value=\"Some files cannot be uploaded\"",
        ],
    );
    operator.send_from(edit, edit, &fields).await.expect(303);
    let after = only(&app).await;
    assert_eq!(
        json!([
            after["headline"],
            after["severity"],
            after["started_at"],
            after["time_zone"]
        ]),
        json!([
            "Some files cannot be uploaded",
            "major",
            incident["started_at"],
            null
        ])
    );
    let fields = with(&fields, "headline", "");
    operator.send_from(edit, edit, &fields).await.expect(303);
    assert_eq!(only(&app).await["headline"], Value::Null);
    app.finish().await;
}

/// Returns the version that the form of a page carries.
#[track_caller]
fn version(page: &str) -> String {
    let (_, rest) = page
        .split_once("name=\"version\" value=\"")
        .unwrap_or_else(|| panic!("no version: {page}"));
    rest.split('"').next().expect("a version").to_owned()
}

async fn a_newer_change_is_not_replaced_by_accident(env: Env) {
    let (app, operator) = started(&env).await;
    let id = app.incident([("project", "savanna")]).await;
    let before = only(&app).await;
    let edit = "/admin/incidents/1/edit";
    let opened = version(&operator.page(edit).await);
    let fields = [
        ("title", before["title"].as_str().unwrap()),
        ("headline", "Ours"),
        ("severity", before["severity"].as_str().unwrap()),
        ("summary", ""),
        ("started_at", "2024-03-14T07:00"),
        ("detected_at", "2024-03-14T07:00"),
        ("time_zone", "UTC"),
        ("version", opened.as_str()),
    ];
    // Somebody else changes another field: both changes stay.
    let incident = format!("/api/v1/incidents/{id}");
    app.patch(&incident, json!({"summary": "Theirs"}))
        .await
        .expect(200);
    operator.send_from(edit, edit, &fields).await.expect(303);
    let after = only(&app).await;
    assert_eq!(
        (&after["headline"], &after["summary"]),
        (&json!("Ours"), &json!("Theirs"))
    );
    // The same field: nothing is replaced before somebody has seen the new value.
    app.patch(&incident, json!({"headline": "Theirs"}))
        .await
        .expect(200);
    let again = with(&fields, "headline", "Ours again");
    let refused = operator.send_from(edit, edit, &again).await.expect(422);
    shows(
        &refused.text,
        &[
            "Somebody changed this since you opened it",
            "value=\"Ours again\"",
            "somebody changed it to \u{201c}Theirs\u{201d}",
        ],
    );
    assert_eq!(only(&app).await["headline"], "Theirs");
    let seen = version(&refused.text);
    let again = with(&with(&again, "version", &seen), "summary", "Theirs");
    operator.send_from(edit, edit, &again).await.expect(303);
    assert_eq!(only(&app).await["headline"], "Ours again");
    // A report.
    let edit = "/admin/incidents/1/report/edit";
    let opened = version(&operator.page(edit).await);
    let report = |text: &'static str| json!({"title": "T", "sections": [{"heading": "What happened", "text": text, "audience": "internal"}]});
    app.put(&format!("{incident}/report"), report("Theirs")).await;
    let fields = [
        ("title", "Ours"),
        ("heading_0", "What happened"),
        ("text_0", "Our text"),
        ("audience_0", "internal"),
        ("version", opened.as_str()),
    ];
    let refused = operator.send_from(edit, edit, &fields).await.expect(422);
    shows(
        &refused.text,
        &["Somebody changed this since you opened it", "Our text", "Theirs"],
    );
    let seen = version(&refused.text);
    operator
        .send_from(edit, edit, &with(&fields, "version", &seen))
        .await
        .expect(303);
    app.finish().await;
}

async fn next_steps_are_added_changed_and_done(env: Env) {
    let (app, operator) = started(&env).await;
    app.incident([("project", "savanna")]).await;
    let new = "/admin/incidents/1/next-steps";
    let step = [
        ("text", "Alert on <full> disks"),
        ("owner", "storage"),
        ("due_on", "soon"),
        ("link", ""),
    ];
    let wrong = operator.send_from(new, new, &step).await.expect(422);
    shows(
        &wrong.text,
        &[
            "is not a date such as",
            "value=\"soon\"",
            "Alert on &lt;full&gt; disks",
        ],
    );
    operator
        .send_from(new, new, &with(&step, "due_on", "2024-03-13"))
        .await
        .expect(303);
    operator
        .send_from(
            new,
            new,
            &[("text", "Later"), ("owner", "web"), ("due_on", ""), ("link", "")],
        )
        .await
        .expect(303);
    let page = operator.page("/admin/follow-ups").await;
    shows(
        &page,
        &[
            "Alert on &lt;full&gt; disks",
            "overdue",
            "Later",
            "no date",
            "Mark as done",
        ],
    );
    assert!(page.find("Alert on").unwrap() < page.find("Later").unwrap());
    let theirs = operator.page("/admin/follow-ups?owner=web").await;
    shows(&theirs, &["Later"]);
    hides(&theirs, &["Alert on"]);
    let open = app.all("/api/v1/next-steps/open?limit=1").await;
    assert_eq!(open.len(), 2);
    assert_eq!(
        json!([open[0]["owner"], open[0]["number"]]),
        json!(["storage", 1])
    );
    let path = format!("/admin/next-steps/{}", open[0]["id"].as_str().unwrap());
    let wrong = operator
        .send_from(&path, &path, &with(&step, "owner", ""))
        .await
        .expect(422);
    shows(&wrong.text, &["aria-describedby=\"e-owner\""]);
    let changed = [
        ("text", "Alert on full disks"),
        ("owner", "web"),
        ("due_on", ""),
        ("link", "https://t.example/1"),
    ];
    operator.send_from(&path, &path, &changed).await.expect(303);
    shows(&operator.page(&path).await, &["value=\"https://t.example/1\""]);
    let state = format!("{path}/state");
    let done = [("done", "true"), ("from", "follow-ups")];
    let answer = operator
        .send_from("/admin/follow-ups", &state, &done)
        .await
        .expect(303);
    assert_eq!(answer.header("location"), "/admin/follow-ups");
    operator
        .send_from("/admin/follow-ups", &state, &done)
        .await
        .expect(422);
    assert_eq!(app.all("/api/v1/next-steps/open").await.len(), 1);
    let page = operator.page("/admin/incidents/1/follow-ups").await;
    shows(&page, &["Open again"]);
    let events = app.all("/api/v1/audit?action=next_step.changed").await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["before"]["owner"], "storage");
    app.finish().await;
}

async fn a_report_is_written_published_and_taken_back(env: Env) {
    let (app, operator) = started(&env).await;
    let id = app.incident([("project", "savanna")]).await;
    app.resolve(&id).await;
    shows(
        &operator.page("/admin/follow-ups").await,
        &["Incidents without a report"],
    );
    let edit = "/admin/incidents/1/report/edit";
    shows(&operator.page(edit).await, &["Summary", "Root causes"]);
    let report = [
        ("title", "Files could not be opened"),
        ("heading_0", "What happened"),
        ("text_0", "A disk was full."),
        ("audience_0", "public"),
        ("heading_1", ""),
        ("text_1", "The <alert> was off."),
        ("audience_1", "internal"),
        ("heading_2", ""),
        ("text_2", ""),
        ("audience_2", "internal"),
    ];
    let wrong = operator.send_from(edit, edit, &report).await.expect(422);
    shows(
        &wrong.text,
        &[
            "aria-describedby=\"e-heading-1\"",
            "The &lt;alert&gt; was off.",
            "A disk was full.",
        ],
    );
    let right = with(&report, "heading_1", "Cause");
    operator.send_from(edit, edit, &right).await.expect(303);
    let page = operator.page(edit).await;
    shows(
        &page,
        &[
            "What each audience reads now",
            "read by our own team",
            "Publish the public version",
        ],
    );
    shows(
        &operator.page("/admin/follow-ups").await,
        &["Files could not be opened"],
    );
    let due = app.get("/api/v1/reports/due").await.expect(200);
    assert_eq!(due["unpublished"].as_array().unwrap().len(), 1);
    operator
        .send_from(edit, "/admin/incidents/1/report/publish", &[])
        .await
        .expect(303);
    let public = app.anonymous().get("/status").await.expect(200).text;
    shows(&public, &["Files could not be opened", "A disk was full."]);
    hides(&public, &["alert"]);
    shows(
        &operator.page("/admin/incidents/1/report").await,
        &["Take the report back"],
    );
    operator
        .send_from(edit, "/admin/incidents/1/report/unpublish", &[])
        .await
        .expect(303);
    hides(
        &app.anonymous().get("/status").await.expect(200).text,
        &["Files could not be opened"],
    );
    app.post(&format!("/api/v1/incidents/{id}/report/unpublish"), json!({}))
        .await
        .expect_problem(409);
    let actions = app.all("/api/v1/audit?action=report.unpublished").await;
    assert_eq!(actions.len(), 1);
    app.finish().await;
}

async fn viewers_read_and_change_nothing(env: Env) {
    let (app, operator) = started(&env).await;
    app.incident([("project", "savanna")]).await;
    let new = "/admin/incidents/1/next-steps";
    operator
        .send_from(
            new,
            new,
            &[("text", "Later"), ("owner", "web"), ("due_on", ""), ("link", "")],
        )
        .await
        .expect(303);
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let page = viewer.page("/admin/follow-ups").await;
    shows(&page, &["Later"]);
    hides(&page, &["Mark as done"]);
    for page in ["follow-ups", "report"] {
        hides(
            &viewer.page(&format!("/admin/incidents/1/{page}")).await,
            &["Mark as done", "Write report", "Add a step"],
        );
    }
    let step = app.all("/api/v1/next-steps").await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for path in [
        "/admin/incidents/new".to_owned(),
        "/admin/incidents/1/edit".to_owned(),
        new.to_owned(),
        format!("/admin/next-steps/{step}"),
        "/admin/incidents/1/report/edit".to_owned(),
    ] {
        viewer.open(&path).await.expect(403);
        viewer.send(&path, &[("title", "x")]).await.expect(403);
    }
    for path in ["report/publish", "report/unpublish"] {
        viewer
            .send(&format!("/admin/incidents/1/{path}"), &[])
            .await
            .expect(403);
    }
    viewer
        .send(&format!("/admin/next-steps/{step}/state"), &[("done", "true")])
        .await
        .expect(403);
    app.finish().await;
}
