//! After an erasure, the email as it was sent, evidence and history say nothing of the person and still work, the audit trail with its tree
//! holds, and evidence that was made before still verifies. Emails of merged incidents are removed by age too.

use std::time::Duration;

use candor::audit::note::SigningKey;
use serde_json::{Value, json};

use crate::support::{DEADLINE, Env, TestApp, on_both_databases, wait_until};

on_both_databases!(
    what_shows_an_email_says_that_it_was_erased,
    nobody_can_guess_what_the_email_said,
    the_email_to_a_shared_mailbox_is_not_rebuilt,
    the_mail_of_a_merged_incident_ends_with_it,
);

const ID: &str = "user-wilhelmina-7";
const NAME: &str = "Wilhelmina Zorn";
const ADDRESS: &str = "wilhelmina.zorn@zorn.example";
const OTHER: &str = "bob@others.example";

fn directory(other: &str) -> String {
    [
        json!({"kind": "account", "id": "acme", "name": "Acme"}),
        json!({"kind": "person", "id": ID, "name": NAME, "email": ADDRESS}),
        json!({"kind": "person", "id": "bob", "name": "Bob", "email": other}),
        json!({"kind": "resource", "type": "project", "id": "42", "account": "acme", "name": "Launch film"}),
        json!({"kind": "member", "account": "acme", "person": ID, "role": "owner"}),
        json!({"kind": "member", "account": "acme", "person": "bob", "role": "owner"}),
    ]
    .map(|line| line.to_string())
    .join("\n")
}

async fn erase(app: &TestApp) {
    let reason = json!({"reason": "request 7"});
    app.post(&format!("/api/v1/people/{ID}/erase"), reason)
        .await
        .expect(200);
}

#[track_caller]
fn has_nothing_of_the_person(what: &str, text: &str) {
    for word in [ID, NAME, ADDRESS] {
        assert!(!text.contains(word), "{what} contains {word}: {text}");
    }
}

fn mail_of(delivery: &Value) -> String {
    format!("/api/v1/deliveries/{}/mail", delivery["id"])
}

async fn what_shows_an_email_says_that_it_was_erased(env: Env) {
    let key = SigningKey::generate("candor.example").expect("a key");
    let own = key.clone();
    let app = TestApp::builder(&env)
        .config(|config| config.audit_key = Some(own))
        .start()
        .await;
    app.import(directory(OTHER)).await.expect(200);
    let incident = app.incident([("project", "42")]).await;
    let notice = app.tell(&incident, "detection").await;
    let deliveries = app.deliveries(&notice).await;
    let of = |address: &str| {
        let found = deliveries.iter().find(|one| one["address"] == address);
        found.expect("a delivery").clone()
    };
    let (hers, bobs) = (of(ADDRESS), of(OTHER));
    let before = app.get(&mail_of(&bobs)).await.expect(200).text;
    app.get(&mail_of(&hers)).await.expect(200);
    let earlier = app.evidence(&incident, "").await;

    erase(&app).await;

    let refused = app.get(&mail_of(&hers)).await.expect_problem(409);
    assert_eq!(refused["code"], "erased", "{refused}");
    assert_eq!(app.get(&mail_of(&bobs)).await.expect(200).text, before);
    let verified = app.get("/api/v1/audit/verify").await.expect(200);
    assert_eq!(verified["ok"], true, "{verified}");

    // The earlier file is what it was. The later one has no word of the person, and says what it cannot prove.
    earlier.verified(&env, Some(key.verifier())).expect_proven();
    let later = app.evidence(&incident, "").await;
    for (name, content) in &later.0 {
        has_nothing_of_the_person(name, &String::from_utf8_lossy(content));
    }
    let proven = later
        .verified(&env, Some(key.verifier()))
        .expect_proven()
        .join("\n");
    assert!(proven.contains("was erased since"), "{proven}");
    assert!(proven.contains("1 emails are byte for byte"), "{proven}");
    app.evidence(&incident, "?person=bob")
        .await
        .verified(&env, Some(key.verifier()))
        .expect_proven();

    let history = app.get("/api/v1/accounts/acme/history").await.expect(200).text;
    has_nothing_of_the_person("the history", &history);
    assert!(history.contains(OTHER), "{history}");
    app.finish().await;
}

/// What could confirm a guess of the address is gone, and the hash that the audit trail covers stays.
async fn nobody_can_guess_what_the_email_said(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(directory(OTHER)).await.expect(200);
    let incident = app.incident([("project", "42")]).await;
    app.tell(&incident, "detection").await;
    assert_eq!(
        env.count("delivery_attempts WHERE mail_signatures IS NOT NULL"),
        2
    );
    erase(&app).await;
    assert_eq!(env.count("delivery_attempts WHERE mail_hash IS NOT NULL"), 2);
    assert_eq!(
        env.count("delivery_attempts WHERE mail_signatures IS NOT NULL"),
        1
    );
    assert_eq!(
        env.count(
            "delivery_attempts a JOIN deliveries d ON d.id = a.delivery_id \
             WHERE a.mail_signatures IS NULL AND d.address LIKE 'erased-%'"
        ),
        1
    );
    // Nobody brings them back, and nobody removes others.
    for what in [
        "UPDATE delivery_attempts SET mail_signatures = NULL",
        "UPDATE delivery_attempts SET mail_hash = NULL",
        "UPDATE delivery_attempts SET mail_date = 1",
    ] {
        let error = env.sql(what).expect_err(what).to_string();
        assert!(error.contains("append-only"), "{what}: {error}");
    }
    app.finish().await;
}

async fn the_email_to_a_shared_mailbox_is_not_rebuilt(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(directory(ADDRESS)).await.expect(200);
    let incident = app.incident([("project", "42")]).await;
    let notice = app.tell(&incident, "detection").await;
    let delivery = app.deliveries(&notice).await.remove(0);
    app.get(&mail_of(&delivery)).await.expect(200);
    erase(&app).await;
    let refused = app.get(&mail_of(&delivery)).await.expect_problem(409);
    assert_eq!(refused["code"], "erased", "{refused}");
    assert_eq!(
        env.count("delivery_attempts WHERE mail_signatures IS NOT NULL"),
        0
    );
    // The rows that only help to find the notice do not name the person either.
    assert_eq!(
        env.count(&format!("shared_recipients WHERE person_id = '{ID}'")),
        0
    );
    let history = app.get("/api/v1/people/bob/history").await.expect(200).text;
    has_nothing_of_the_person("the history", &history.replace(ADDRESS, ""));
    let verified = app.get("/api/v1/audit/verify").await.expect(200);
    assert_eq!(verified["ok"], true, "{verified}");
    app.finish().await;
}

async fn the_mail_of_a_merged_incident_ends_with_it(env: Env) {
    let app = TestApp::builder(&env)
        .at("2024-01-10T10:00:00Z")
        .config(|config| config.retention.mails = Some(Duration::from_secs(365 * 24 * 3_600)))
        .start()
        .await;
    app.import(directory(OTHER)).await.expect(200);
    let first = app.incident([("project", "42")]).await;
    app.tell(&first, "detection").await;
    let second = app.incident([("project", "42")]).await;
    app.post(
        &format!("/api/v1/incidents/{first}/merge"),
        json!({"into": second}),
    )
    .await
    .expect(200);
    app.resolve(&second).await;
    app.set_clock("2025-03-10T10:00:00Z");
    wait_until("the personal parts are removed", DEADLINE, async || {
        env.count("notice_recipients WHERE address LIKE '%@%'") == 0
    })
    .await;
    let verified = app.get("/api/v1/audit/verify").await.expect(200);
    assert_eq!(verified["ok"], true, "{verified}");
    app.finish().await;
}
