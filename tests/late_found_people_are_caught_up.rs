//! A person who is found to be affected after a notice was sent is shown as not notified, and can get the
//! same notice.

use candor::demo::catcher::{Decision, Policy};
use serde_json::{Value, json};

use crate::support::story::AFFECTED;
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    a_late_found_person_is_shown_and_caught_up_alone,
    a_catch_up_may_be_caught_up_itself,
    without_anybody_missing_there_is_nothing_to_catch_up,
    a_resolution_is_caught_up_too,
    late_found_people_are_told_so,
    whoever_was_listed_before_is_not_told_so,
);

async fn catch_up(app: &TestApp, notice: &str) -> String {
    let drafted = app
        .post(&format!("/api/v1/notices/{notice}/catch-up"), json!({}))
        .await
        .expect(201);
    assert_eq!(drafted["state"], "draft");
    drafted.id()
}

async fn add_collaborator(app: &TestApp, person: &str) {
    let path = format!("/api/v1/resources/project/savanna/collaborators/{person}");
    app.put(&path, json!({"role": "viewer"})).await.expect(201);
}

async fn a_late_found_person_is_shown_and_caught_up_alone(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    assert_eq!(app.notice(&notice).await["not_told_yet"], 0);
    add_collaborator(&app, "grace").await;

    assert_eq!(app.notice(&notice).await["not_told_yet"], 1);
    let audience = app
        .get(&format!("/api/v1/incidents/{incident}/audience"))
        .await
        .expect(200);
    assert_eq!(audience["counts"]["not_told"], 1);
    for item in audience.items() {
        let id = item["person"]["id"].as_str().expect("an id");
        assert_eq!(item["told"], AFFECTED.contains(&id), "{item}");
    }
    app.mails(3).await;

    let late = catch_up(&app, &notice).await;
    let copy = app.notice(&late).await;
    let original = app.notice(&notice).await;
    for field in ["incident", "phase", "subject", "message", "customer_action"] {
        assert_eq!(copy[field], original[field], "{field}");
    }
    assert_eq!(copy["catch_up_of"], notice);
    let preview = app.preview(&late).await.expect(200);
    assert_eq!(
        (&preview["recipients"], &preview["added"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(preview["samples"][0]["to"], "grace@kilele-studio.example");
    app.send_as_previewed(&late).await;
    app.done(&late).await;
    let mails = app.mails(4).await;
    assert_eq!(mails[3].to, "grace@kilele-studio.example");
    assert_eq!(app.notice(&notice).await["not_told_yet"], 0);
    app.finish().await;
}

async fn a_catch_up_may_be_caught_up_itself(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    add_collaborator(&app, "grace").await;
    let first = catch_up(&app, &notice).await;
    app.send_as_previewed(&first).await;
    app.done(&first).await;
    add_collaborator(&app, "tumaini").await;
    let second = catch_up(&app, &first).await;
    assert_eq!(app.notice(&second).await["catch_up_of"], notice);
    app.send_as_previewed(&second).await;
    app.done(&second).await;
    let mails = app.mails(5).await;
    assert_eq!(mails[4].to, "tumaini@kilele-studio.example");
    app.finish().await;
}

async fn without_anybody_missing_there_is_nothing_to_catch_up(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let draft = app.draft(&incident, "detection").await;
    // A draft goes to everybody when it is sent.
    app.post(&format!("/api/v1/notices/{draft}/catch-up"), json!({}))
        .await
        .expect_problem(409);
    let notice = app.tell(&incident, "detection").await;
    app.post(&format!("/api/v1/notices/{notice}/catch-up"), json!({}))
        .await
        .expect_problem(422);
    // A person who is added and removed again before the catch-up is sent does not get it.
    add_collaborator(&app, "grace").await;
    let late = catch_up(&app, &notice).await;
    let digest = app.digest(&late).await;
    app.delete("/api/v1/resources/project/savanna/collaborators/grace")
        .await
        .expect(204);
    app.send(&late, &digest).await.expect_problem(422);
    app.mails(3).await;
    app.finish().await;
}

async fn a_resolution_is_caught_up_too(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    app.tell(&incident, "detection").await;
    app.resolve(&incident).await;
    let resolution = app.tell(&incident, "resolution").await;
    add_collaborator(&app, "grace").await;
    assert_eq!(app.notice(&resolution).await["not_told_yet"], 1);
    let late = catch_up(&app, &resolution).await;
    app.send_as_previewed(&late).await;
    app.done(&late).await;
    let mails = app.mails(7).await;
    assert_eq!(mails[6].to, "grace@kilele-studio.example");
    let told: Vec<Value> = app.all(&format!("/api/v1/incidents/{incident}/notices")).await;
    assert_eq!(told.len(), 3);
    app.finish().await;
}

const LATE: &str = "We now know that this incident affects you too";

async fn late_found_people_are_told_so(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-14T06:56:00Z").start().await;
    let incident = app.story_incident().await;
    app.patch(
        &format!("/api/v1/incidents/{incident}"),
        json!({"started_at": "2024-03-14T06:51:00Z"}),
    )
    .await
    .expect(200);
    let notice = app.tell(&incident, "detection").await;
    for mail in app.mails(3).await {
        assert!(
            !mail.flat().contains(LATE) && !mail.html.contains(LATE),
            "{}",
            mail.text
        );
    }
    app.set_clock("2024-03-14T07:30:00Z");
    add_collaborator(&app, "grace").await;
    let late = catch_up(&app, &notice).await;
    app.send_as_previewed(&late).await;
    app.done(&late).await;
    let hers = app.mails(4).await.remove(3);
    for part in [&hers.flat(), &hers.html] {
        assert!(part.contains(LATE), "{part}");
        assert!(
            part.contains("It began 14 March 2024, 08:51 CAT (06:51 UTC)"),
            "{part}"
        );
        assert!(part.contains("you did not hear of it from us before"), "{part}");
    }
    // An update says so to whoever hears of the incident by it, and to nobody else.
    add_collaborator(&app, "tumaini").await;
    app.tell(&incident, "update").await;
    for mail in &app.mails(9).await[4..] {
        let is_late = mail.to == "tumaini@kilele-studio.example";
        assert_eq!(mail.flat().contains(LATE), is_late, "{}", mail.text);
    }
    app.finish().await;
}

async fn whoever_was_listed_before_is_not_told_so(env: Env) {
    // The server refuses one email, so that this person did not hear of the incident.
    let policy = Policy::new(|attempt| match (attempt.recipient, attempt.number) {
        ("baraka@sound-works.example", 1) => Decision::Permanent("550 refused".to_owned()),
        _ => Decision::Accept,
    });
    let app = TestApp::builder(&env).smtp_policy(policy).start().await;
    let incident = app.story_incident().await;
    let notice = app.tell(&incident, "detection").await;
    app.mails(2).await;
    let late = catch_up(&app, &notice).await;
    app.send_as_previewed(&late).await;
    app.done(&late).await;
    let his = app.mails(3).await.remove(2);
    assert_eq!(his.to, "baraka@sound-works.example");
    // It was known from the beginning that he is affected.
    assert!(!his.text.contains(LATE), "{}", his.text);
    app.finish().await;
}
