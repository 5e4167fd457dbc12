//! Operators post on the status page and admins define its components on pages, with the roles, the errors and the events of the API.

use serde_json::json;

use crate::support::browser::Browser;
use crate::support::{ADMIN_TOKEN, Env, TestApp, on_both_databases, on_one_database, story_directory};

on_both_databases!(
    components_are_made_on_pages,
    a_post_is_made_changed_and_taken_back
);
on_one_database!(viewers_post_nothing);

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text:?} is not on the page:\n{page}");
    }
}

async fn started(env: &Env) -> TestApp {
    let app = TestApp::builder(env).at("2026-03-10T12:00:00Z").start().await;
    app.import(story_directory()).await.expect(200);
    app
}

async fn components_are_made_on_pages(env: Env) {
    let app = started(&env).await;
    let admin = Browser::signed_in(&app, ADMIN_TOKEN).await;
    let (list, new) = ("/admin/status-page", "/admin/status-page/components/new");
    shows(&admin.page(list).await, &["No components.", new]);
    let form = "/admin/status-page/components";
    let fields = |id: &'static str, selector: &'static str| {
        [
            ("id", id),
            ("name", "Uploads"),
            ("group", ""),
            ("position", ""),
            ("selector", selector),
        ]
    };
    let wrong = admin
        .send_from(new, form, &fields("not fit", ""))
        .await
        .expect(422);
    shows(
        &wrong.text,
        &[
            "Nothing was saved.",
            "aria-describedby=\"e-id\"",
            "value=\"not fit\"",
        ],
    );
    let wrong = admin
        .send_from(new, form, &fields("uploads", "type:nothing"))
        .await
        .expect(422);
    shows(&wrong.text, &["aria-describedby=\"e-selector\""]);
    admin
        .send_from(new, form, &fields("uploads", "type:file provider:s3"))
        .await
        .expect(303);
    shows(
        &admin.page(list).await,
        &["Uploads", "type:file provider:s3", "operational"],
    );
    let again = admin
        .send_from(new, form, &fields("uploads", ""))
        .await
        .expect(422);
    shows(&again.text, &["is the ID of another component"]);
    let one = "/admin/status-page/components/uploads";
    shows(
        &admin.page(one).await,
        &["value=\"type:file provider:s3\"", "Delete this component"],
    );
    let changed = [
        ("name", "Upload"),
        ("group", "Media"),
        ("position", "3"),
        ("selector", ""),
    ];
    admin.send_from(one, one, &changed).await.expect(303);
    let stored = app.get("/api/v1/components/uploads").await.expect(200);
    assert_eq!(
        (&stored["name"], &stored["group"], &stored["position"]),
        (&json!("Upload"), &json!("Media"), &json!(3))
    );
    assert_eq!(stored["selector"], json!(null));
    admin
        .send_from(one, &format!("{one}/delete"), &[])
        .await
        .expect(303);
    app.get("/api/v1/components/uploads").await.expect_problem(404);
    shows(
        &admin.page("/admin/settings").await,
        &["Status page", "no components"],
    );
    app.finish().await;
}

fn fields<'a>(status: &'a str, message: &'a str, components: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![
        ("status", status),
        ("title", "Uploads fail"),
        ("message", message),
        ("components", components),
    ];
    for language in ["de", "fr", "es", "pt", "ja", "sw", "ar", "en"] {
        let german = if language == "de" {
            "Uploads schlagen fehl."
        } else {
            ""
        };
        all.push((
            Box::leak(format!("translations.{language}.title").into_boxed_str()),
            "",
        ));
        all.push((
            Box::leak(format!("translations.{language}.message").into_boxed_str()),
            german,
        ));
    }
    all
}

async fn a_post_is_made_changed_and_taken_back(env: Env) {
    let app = started(&env).await;
    let body = json!({"name": "Uploads", "selector": "type:file provider:s3"});
    app.put("/api/v1/components/uploads", body).await.expect(201);
    app.put("/api/v1/components/api", json!({"name": "API"}))
        .await
        .expect(201);
    let new = json!({"title": "internal-title", "severity": "critical", "affected": [{"type": "file", "id": "interview-v1"}]});
    app.post("/api/v1/incidents", new).await.expect(201);
    let operator = Browser::signed_in(&app, &app.token("operator").await).await;
    let (list, new) = ("/admin/incidents/1/posts", "/admin/incidents/1/posts/new");
    shows(
        &operator.page(list).await,
        &["No posts.", new, "Nothing else of this incident is public"],
    );
    // The component of the affected resource is suggested, with a state by the severity.
    let form = operator.page(new).await;
    shows(
        &form,
        &["uploads major_outage", "nobody gets an email", "api (API)"],
    );
    let mut wrong = fields("identified", "", "uploads broken");
    wrong.extend([("at", ""), ("time_zone", "UTC"), ("email_subscribers", "true")]);
    let refused = operator.send_from(new, list, &wrong).await.expect(422);
    shows(
        &refused.text,
        &[
            "Nothing was saved.",
            "aria-describedby=\"e-components\"",
            "aria-describedby=\"e-message\"",
            "uploads broken",
        ],
    );
    let mut right = fields(
        "identified",
        "We know the cause.",
        "uploads major_outage\r\napi: degraded_performance",
    );
    right.extend([
        ("at", "2026-03-10T13:30"),
        ("time_zone", "Africa/Nairobi"),
        ("email_subscribers", "true"),
    ]);
    operator.send_from(new, list, &right).await.expect(303);
    let posts = app
        .all(&format!(
            "/api/v1/incidents/{}/posts",
            app.all("/api/v1/incidents").await[0]["id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(posts[0]["at"], "2026-03-10T10:30:00Z");
    assert_eq!(
        posts[0]["components"],
        json!({"api": "degraded_performance", "uploads": "major_outage"})
    );
    assert_eq!(
        posts[0]["translations"],
        json!({"de": {"message": "Uploads schlagen fehl."}})
    );
    shows(
        &operator.page(list).await,
        &[
            "We know the cause.",
            "Uploads fail",
            "uploads: major outage",
            "Also in: de",
        ],
    );
    let public = app.anonymous().get("/status").await.expect(200).text;
    shows(&public, &["Uploads fail", "We know the cause."]);
    // The next form begins with what is public now.
    shows(
        &operator.page(new).await,
        &[
            "api degraded_performance\nuploads major_outage",
            "value=\"identified\" selected",
        ],
    );
    let one = format!("{list}/{}", posts[0]["id"].as_str().unwrap());
    shows(
        &operator.page(&one).await,
        &[
            "We know the cause.",
            "Uploads schlagen fehl.",
            "Take this post back",
        ],
    );
    operator
        .send_from(&one, &one, &fields("monitoring", "Fixed.", ""))
        .await
        .expect(303);
    let changed = app
        .all(&format!(
            "/api/v1/incidents/{}/posts",
            posts[0]["incident"].as_str().unwrap()
        ))
        .await;
    assert_eq!(
        (
            &changed[0]["status"],
            &changed[0]["components"],
            &changed[0]["at"]
        ),
        (&json!("monitoring"), &json!({}), &json!("2026-03-10T10:30:00Z"))
    );
    operator
        .send_from(&one, &format!("{one}/delete"), &[])
        .await
        .expect(303);
    shows(&operator.page(list).await, &["No posts."]);
    app.finish().await;
}

async fn viewers_post_nothing(env: Env) {
    let app = started(&env).await;
    app.post("/api/v1/incidents", json!({"title": "t", "severity": "minor"}))
        .await
        .expect(201);
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let page = viewer.page("/admin/incidents/1/posts").await;
    assert!(!page.contains("/admin/incidents/1/posts/new"), "{page}");
    for path in [
        "/admin/incidents/1/posts/new",
        "/admin/status-page/components/new",
    ] {
        viewer.open(path).await.expect(403);
    }
    let page = viewer.page("/admin/status-page").await;
    assert!(!page.contains("/admin/status-page/components/new"), "{page}");
    app.finish().await;
}
