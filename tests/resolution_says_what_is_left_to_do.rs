//! A resolution can be sent only for a resolved incident, and it always says what the customer must do, or
//! that there is nothing to do.

use serde_json::{Value, json};

use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    a_resolution_without_it_is_refused,
    the_incident_must_be_resolved,
    what_is_left_to_do_is_in_every_mail,
    nothing_to_do_is_said_too,
);

async fn a_resolution_without_it_is_refused(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.resolve(&incident).await;
    let path = format!("/api/v1/incidents/{incident}/notices");
    let cases: [(Value, &str); 4] = [
        (
            json!({"phase": "resolution", "message": "Done."}),
            "/customer_action",
        ),
        (
            json!({"phase": "resolution", "message": "Done.", "customer_action": {"required": true}}),
            "/customer_action/text",
        ),
        (
            json!({"phase": "resolution", "message": "Done.", "customer_action": {"required": true, "text": "  "}}),
            "/customer_action/text",
        ),
        (
            json!({"phase": "resolution", "message": "Done.", "customer_action": {"required": false, "text": "Nothing?"}}),
            "/customer_action/text",
        ),
    ];
    for (body, place) in cases {
        app.post(&path, body).await.expect_invalid(place);
    }
    assert_eq!(env.count("notices"), 0);
    app.finish().await;
}

async fn the_incident_must_be_resolved(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let body = json!({"phase": "resolution", "message": "Done.", "customer_action": {"required": false}});
    let path = format!("/api/v1/incidents/{incident}/notices");
    app.post(&path, &body).await.expect_problem(409);
    app.resolve(&incident).await;
    let notice = app.post(&path, &body).await.expect(201).id();
    let digest = app.digest(&notice).await;
    // The incident was not over after all, so the draft cannot be sent.
    app.post(
        &format!("/api/v1/incidents/{incident}/status"),
        json!({"status": "investigating"}),
    )
    .await
    .expect(200);
    app.send(&notice, &digest).await.expect_problem(409);
    app.mails(0).await;
    app.resolve(&incident).await;
    app.send_as_previewed(&notice).await;
    app.mails(3).await;
    app.finish().await;
}

async fn resolution(app: &TestApp, action: Value) -> String {
    let incident = app.story_incident().await;
    app.resolve(&incident).await;
    let body = json!({"phase": "resolution", "message": "Your files are back.", "customer_action": action});
    let path = format!("/api/v1/incidents/{incident}/notices");
    app.post(&path, body).await.expect(201).id()
}

async fn what_is_left_to_do_is_in_every_mail(env: Env) {
    let app = TestApp::start(&env).await;
    let action = json!({"required": true, "text": "Please accept the invitation that we sent you."});
    let notice = resolution(&app, action).await;
    app.send_as_previewed(&notice).await;
    for mail in app.mails(3).await {
        assert!(mail.subject.contains("action needed"), "{}", mail.subject);
        for part in [&mail.flat(), &mail.html] {
            assert!(part.contains("What you need to do"), "{part}");
            assert!(
                part.contains("Please accept the invitation that we sent you."),
                "{part}"
            );
            assert!(!part.contains("You do not need to do anything"), "{part}");
        }
    }
    app.finish().await;
}

async fn nothing_to_do_is_said_too(env: Env) {
    let app = TestApp::start(&env).await;
    let notice = resolution(&app, json!({"required": false})).await;
    app.send_as_previewed(&notice).await;
    for mail in app.mails(3).await {
        assert!(!mail.subject.contains("action needed"), "{}", mail.subject);
        for part in [&mail.flat(), &mail.html] {
            assert!(part.contains("You do not need to do anything."), "{part}");
            assert!(!part.contains("What you need to do"), "{part}");
        }
    }
    app.finish().await;
}
