//! The personal parts of emails, the texts of answers and archived people are removed by age, if a setting asks for it. By default nothing
//! is.

use std::path::Path;
use std::time::Duration;

use candor::config::Config;
use serde_json::json;

use crate::support::{DEADLINE, Env, TestApp, on_both_databases, wait_until};

on_both_databases!(
    what_is_too_old_is_removed,
    what_still_runs_is_kept,
    by_default_nothing_is_removed,
);

const ADDRESS: &str = "person-1@crowd.example";
const START: &str = "2024-01-10T10:00:00Z";
const LATER: &str = "2025-03-10T10:00:00Z";

fn keep(config: &mut Config) {
    let year = Some(Duration::from_secs(365 * 24 * 3_600));
    config.retention.mails = year;
    config.retention.answers = year;
    config.retention.archived_people = year;
}

/// Tells two people, stores an answer of the first one, and archives the second one.
async fn told(app: &TestApp, resolved: bool) -> (String, String) {
    let (incident, notice) = app.tell_crowd(crate::support::crowd(2)).await;
    app.done(&notice).await;
    app.post(
        &format!("/api/v1/incidents/{incident}/answers"),
        json!({"person": "person-1", "answer": "broken", "text": "It is still broken"}),
    )
    .await
    .expect(201);
    app.delete("/api/v1/people/person-2").await.expect(204);
    if resolved {
        app.resolve(&incident).await;
    }
    (incident, notice)
}

async fn what_is_too_old_is_removed(env: Env) {
    let app = TestApp::builder(&env).at(START).config(keep).start().await;
    let (incident, notice) = told(&app, true).await;
    app.set_clock(LATER);
    wait_until("everything that is too old is removed", DEADLINE, async || {
        env.count("notice_recipients WHERE address LIKE '%@%'") == 0
            && env.count("answers WHERE text <> ''") == 0
            && env.count("people WHERE id = 'person-2'") == 0
    })
    .await;
    // What happened and what was answered stays, and so does who was told.
    assert_eq!(env.count("answers WHERE answer = 'broken'"), 1);
    assert_eq!(env.count("deliveries WHERE state = 'sent'"), 2);
    assert_eq!(env.count("notice_recipients WHERE person_id = 'person-1'"), 1);
    assert_eq!(env.count("notice_recipients WHERE name <> ''"), 0);
    assert_eq!(env.count("people WHERE id = 'person-1' AND email <> ''"), 1);
    app.get(&format!("/api/v1/incidents/{incident}/answers"))
        .await
        .expect(200);
    app.get(&format!("/api/v1/notices/{notice}/recipients"))
        .await
        .expect(200);
    let events = app.all("/api/v1/audit?action=retention.applied").await;
    assert_eq!(events.len(), 2, "one event for each step: {events:#?}");
    assert!(events.iter().all(|event| event["actor"]["kind"] == "system"));
    let erased = app.all("/api/v1/audit?action=person.erased").await;
    assert_eq!(erased.len(), 1);
    assert_eq!(erased[0]["after"]["kind"], "retention");
    let checked = app
        .post("/api/v1/erasures/check", json!({"address": ADDRESS}))
        .await
        .expect(200);
    assert_eq!(checked["recipients"].as_array().map(Vec::len), Some(1));
    // A customer who comes back is stored again.
    app.put(
        "/api/v1/people/person-2",
        json!({"name": "Back", "email": "person-2@crowd.example"}),
    )
    .await
    .expect(201);
    wait_until("the free space is cleaned", DEADLINE, async || {
        env.count("erasures WHERE cleaned_at IS NULL") == 0
    })
    .await;
    app.finish().await;
}

async fn what_still_runs_is_kept(env: Env) {
    let app = TestApp::builder(&env).at(START).config(keep).start().await;
    let (_, notice) = told(&app, false).await;
    app.set_clock(LATER);
    wait_until("the answers are removed", DEADLINE, async || {
        env.count("answers WHERE text <> ''") == 0 && env.count("people WHERE id = 'person-2'") == 0
    })
    .await;
    // The incident is open, so its emails are still needed.
    let addresses = app.addresses(&notice, "sent").await;
    assert!(addresses.contains(&ADDRESS.to_owned()), "{addresses:?}");
    app.finish().await;
}

async fn by_default_nothing_is_removed(env: Env) {
    let app = TestApp::builder(&env).at(START).start().await;
    told(&app, true).await;
    app.set_clock(LATER);
    let kept = app.get("/api/v1/system").await.expect(200)["kept"].clone();
    assert_eq!(
        kept,
        json!({"saved_requests": 30 * 24 * 3_600, "mails": null, "answers": null, "archived_people": null})
    );
    candor_runs(&app).await;
    assert_eq!(env.count("notice_recipients WHERE address LIKE '%@%'"), 2);
    assert_eq!(env.count("answers WHERE text <> ''"), 1);
    assert_eq!(env.count("people WHERE id = 'person-2'"), 1);
    assert_eq!(env.count("erasures"), 0);
    app.finish().await;
}

/// Does what the scheduler does, with the settings of the service.
async fn candor_runs(app: &TestApp) {
    let url = candor::db::DatabaseUrl::parse(&app.env.database_url).expect("a URL");
    let db = candor::db::Db::open(url, app.clock.clone())
        .await
        .expect("a database");
    let config = Config::for_test(&app.env.database_url);
    let steps = candor::forgetting::retention::run(&db, config.retention)
        .await
        .expect("a run");
    assert_eq!(steps, 0);
}

#[test]
fn a_retention_is_a_time_of_at_least_a_day() {
    let read = |name: &str, value: &str| {
        let given = vec![(name.to_owned(), value.to_owned())];
        Config::from_sources(given, Path::new("no file"))
    };
    for name in [
        "CANDOR_MAIL_RETENTION",
        "CANDOR_ANSWER_RETENTION",
        "CANDOR_ARCHIVED_PEOPLE_RETENTION",
    ] {
        for wrong in ["1h", "0", "365", "forever", "-1h"] {
            let error = read(name, wrong).map(drop).expect_err(wrong);
            assert!(
                error.contains(name) && error.contains("at least a day"),
                "{error}"
            );
        }
        assert!(read(name, "off").is_ok());
    }
    let config = read("CANDOR_MAIL_RETENTION", "8760h").expect("a setting");
    assert_eq!(config.retention.mails, Some(Duration::from_secs(8_760 * 3_600)));
    assert_eq!(config.retention.answers, None);
}
