//! A person was notified if an email to this person was delivered, whoever has the address now.

use candor::demo::catcher::{Decision, Policy};
use serde_json::json;

use crate::support::story::ADDRESSES;
use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(
    an_address_that_passed_on_does_not_count_for_its_new_owner,
    another_address_does_not_make_another_person,
    a_bounce_counts_at_its_address_alone,
    two_who_shared_an_address_and_split_are_both_notified,
    who_joins_a_shared_address_hears_it,
);

async fn person(app: &TestApp, id: &str, email: &str) {
    let answer = app
        .put(
            &format!("/api/v1/people/{id}"),
            json!({"name": format!("Person {id}"), "email": email}),
        )
        .await;
    assert!([200, 201].contains(&answer.status), "{answer}");
}

async fn collaborator(app: &TestApp, person: &str) {
    app.put(
        &format!("/api/v1/resources/project/savanna/collaborators/{person}"),
        json!({"role": "viewer"}),
    )
    .await
    .expect(201);
}

/// Sends a catch-up of a notice and returns the addresses that it went to.
async fn caught_up(app: &TestApp, notice: &str) -> Vec<String> {
    let late = app
        .post(&format!("/api/v1/notices/{notice}/catch-up"), json!({}))
        .await
        .expect(201)
        .id();
    app.send_as_previewed(&late).await;
    app.done(&late).await;
    app.addresses(&late, "sent").await
}

async fn an_address_that_passed_on_does_not_count_for_its_new_owner(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let detection = app.tell(&incident, "detection").await;
    // Another person has her address now, and is affected too.
    person(&app, "amina", "amina@elsewhere.example").await;
    person(&app, "wangari", "Amina@nyota-films.example").await;
    collaborator(&app, "wangari").await;
    assert_eq!(app.notice(&detection).await["not_told_yet"], 1);
    let audience = app
        .get(&format!("/api/v1/incidents/{incident}/audience"))
        .await
        .expect(200);
    for item in audience.items() {
        let is_new = item["person"]["id"] == "wangari";
        assert_eq!(item["told"], !is_new, "{item}");
    }
    assert_eq!(caught_up(&app, &detection).await, ["Amina@nyota-films.example"]);
    // The resolution goes to both people at their current addresses.
    app.resolve(&incident).await;
    let resolution = app.tell(&incident, "resolution").await;
    let mut sent = app.addresses(&resolution, "sent").await;
    sent.sort_by_key(|address| address.to_lowercase());
    assert_eq!(
        sent,
        [
            "amina@elsewhere.example",
            "Amina@nyota-films.example",
            ADDRESSES[1],
            ADDRESSES[2]
        ]
    );
    app.finish().await;
}

async fn another_address_does_not_make_another_person(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let detection = app.tell(&incident, "detection").await;
    person(&app, "amina", "amina@elsewhere.example").await;
    assert_eq!(app.notice(&detection).await["not_told_yet"], 0);
    app.post(&format!("/api/v1/notices/{detection}/catch-up"), json!({}))
        .await
        .expect(422);
    app.finish().await;
}

async fn a_bounce_counts_at_its_address_alone(env: Env) {
    let policy = Policy::new(|attempt| match attempt.recipient == ADDRESSES[0] {
        true => Decision::Permanent("550 5.1.1 no such user".to_owned()),
        false => Decision::Accept,
    });
    let app = TestApp::builder(&env).smtp_policy(policy).start().await;
    let incident = app.story_incident().await;
    let detection = app.tell(&incident, "detection").await;
    person(&app, "amina", "amina@elsewhere.example").await;
    person(&app, "wangari", ADDRESSES[0]).await;
    collaborator(&app, "wangari").await;
    // Both are not notified: one at another address, the other for the first time.
    let audience = app
        .get(&format!("/api/v1/incidents/{incident}/audience"))
        .await
        .expect(200);
    assert_eq!(audience["counts"]["partition"]["not_notified"], 2, "{audience}");
    assert_eq!(caught_up(&app, &detection).await, ["amina@elsewhere.example"]);
    app.finish().await;
}

async fn two_who_shared_an_address_and_split_are_both_notified(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    person(&app, "wangari", ADDRESSES[0]).await;
    collaborator(&app, "wangari").await;
    let detection = app.tell(&incident, "detection").await;
    app.mails(3).await;
    person(&app, "wangari", "wangari@elsewhere.example").await;
    assert_eq!(app.notice(&detection).await["not_told_yet"], 0);
    app.resolve(&incident).await;
    app.tell(&incident, "resolution").await;
    app.mails(7).await;
    app.finish().await;
}

async fn who_joins_a_shared_address_hears_it(env: Env) {
    let app = TestApp::start(&env).await;
    let incident = app.story_incident().await;
    let detection = app.tell(&incident, "detection").await;
    person(&app, "wangari", ADDRESSES[0]).await;
    collaborator(&app, "wangari").await;
    assert_eq!(app.notice(&detection).await["not_told_yet"], 1);
    assert_eq!(caught_up(&app, &detection).await, [ADDRESSES[0]]);
    let mails = app.mails(4).await;
    // The email names the person who was not notified.
    assert!(mails[3].text.contains("Person wangari"), "{}", mails[3].text);
    assert!(!mails[3].text.contains("Amina"), "{}", mails[3].text);
    app.finish().await;
}
