//! What the people who run Candor check: whether it is alive, whether it is ready, and its metrics.

use serde_json::json;

use crate::support::{
    Backend, Binary, DEADLINE, Env, TestApp, eventually, on_both_databases, story_directory,
};

on_both_databases!(
    a_process_says_that_it_lives_and_is_ready,
    without_its_database_it_is_not_ready,
    the_numbers_are_there_for_prometheus,
    a_process_may_leave_delivery_to_others,
    without_writing_it_is_not_ready,
    being_asked_often_writes_little,
);

async fn a_process_says_that_it_lives_and_is_ready(env: Env) {
    let app = TestApp::start(&env).await;
    let nobody = app.anonymous();
    assert_eq!(nobody.get("/healthz").await.expect(200).json, json!({"ok": true}));
    let ready = nobody.get("/readyz").await.expect(200);
    assert_eq!(
        ready.json,
        json!({"ok": true, "delivers": true, "pending_deliveries": 0})
    );
    app.finish().await;
}

async fn without_its_database_it_is_not_ready(env: Env) {
    let app = TestApp::start(&env).await;
    env.sql("ALTER TABLE deliveries RENAME TO elsewhere")
        .expect("a missing table");
    let not_ready = app.anonymous().get("/readyz").await.expect_problem(503);
    assert_ne!(not_ready.header("retry-after"), "");
    // The cause is only in the log and not in the answer.
    assert!(
        !not_ready.text.contains("elsewhere")
            && !not_ready.text.contains("relation")
            && !not_ready.text.contains("table"),
        "{not_ready}"
    );
    app.anonymous().get("/healthz").await.expect(200);
    env.sql("ALTER TABLE elsewhere RENAME TO deliveries")
        .expect("the table again");
    app.anonymous().get("/readyz").await.expect(200);
    app.finish().await;
}

/// Returns the value of a metric, by the beginning of its line.
fn sample(text: &str, start: &str) -> Option<f64> {
    text.lines()
        .find(|line| line.starts_with(start))?
        .rsplit(' ')
        .next()?
        .parse()
        .ok()
}

async fn the_numbers_are_there_for_prometheus(env: Env) {
    let app = TestApp::start(&env).await;
    app.import(story_directory()).await.expect(200);
    let affected = json!([{"type": "media", "id": "interview"}]);
    let new = json!({"title": "It broke", "severity": "major", "affected": affected});
    let id = app.post("/api/v1/incidents", new).await.expect(201).id();
    let draft = json!({"phase": "detection", "message": "Some files cannot be opened."});
    let notice = app
        .post(&format!("/api/v1/incidents/{id}/notices"), draft)
        .await
        .expect(201)
        .id();
    let digest = app
        .get(&format!("/api/v1/notices/{notice}/preview"))
        .await
        .expect(200)["digest"]
        .clone();
    app.post(
        &format!("/api/v1/notices/{notice}/send"),
        json!({"digest": digest}),
    )
    .await
    .expect(202);
    app.mails(3).await;
    app.get("/nothing").await.expect(404);
    crate::support::wait_until(
        "three attempts to be counted and recorded",
        crate::support::DEADLINE,
        async || {
            let text = app.anonymous().get("/metrics").await.expect(200).text;
            (
                sample(&text, "candor_attempts_sent_total "),
                sample(&text, "candor_deliveries_pending "),
            ) == (Some(3.0), Some(0.0))
        },
    )
    .await;
    let metrics = app.anonymous().get("/metrics").await.expect(200);
    assert!(
        metrics
            .header("content-type")
            .starts_with("text/plain; version=0.0.4"),
        "{metrics}"
    );
    let text = &metrics.text;
    assert_eq!(sample(text, "candor_attempts_failed_total "), Some(0.0));
    assert_eq!(sample(text, "candor_attempts_retried_total "), Some(0.0));
    let line =
        "candor_http_request_seconds_count{method=\"POST\",route=\"/api/v1/incidents\",status=\"201\"}";
    assert_eq!(sample(text, line), Some(1.0), "{text}");
    // Routes are named by their patterns, so there is no ID, no token, and no unlimited number of series.
    assert!(!text.contains(&id) && !text.contains(&notice), "{text}");
    let route = "candor_http_request_seconds_count{method=\"POST\",route=\"/api/v1/incidents/{id}/notices\",status=\"201\"}";
    assert_eq!(sample(text, route), Some(1.0), "{text}");
    assert!(!text.contains("/nothing"), "{text}");
    app.finish().await;
}

async fn a_process_may_leave_delivery_to_others(env: Env) {
    let app = TestApp::builder(&env).workers(false).start().await;
    let ready = app.anonymous().get("/readyz").await.expect(200);
    assert_eq!(ready["delivers"], false);
    app.finish().await;
}

/// A database that can be read but not written, such as one after a failover.
async fn without_writing_it_is_not_ready(env: Env) {
    let mut candor = Binary::new(&env);
    candor.serve_with(["serve", "--no-workers"]).await;
    candor.anonymous().get("/readyz").await.expect(200);
    let (refuse, allow) = match env.backend {
        Backend::Sqlite => (
            "CREATE TRIGGER refuse BEFORE INSERT ON settings BEGIN SELECT RAISE(ABORT, 'no'); END",
            "DROP TRIGGER refuse",
        ),
        Backend::Postgres => (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON settings FOR EACH ROW EXECUTE FUNCTION refuse()",
            "DROP TRIGGER refuse ON settings",
        ),
    };
    env.sql(refuse).expect("a trigger");
    // A recent write still counts as proof.
    let answer = eventually("it to be not ready", DEADLINE, async || {
        let answer = candor.anonymous().get("/readyz").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert!(answer.text.contains("cannot be written"), "{answer}");
    env.sql(allow).expect("no trigger");
    candor.anonymous().get("/readyz").await.expect(200);
    candor.finish().await;
}

async fn being_asked_often_writes_little(env: Env) {
    let mut candor = Binary::new(&env);
    candor.serve_with(["serve", "--no-workers"]).await;
    let value = "SELECT value FROM settings WHERE name = 'last_write_check'";
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        candor.anonymous().get("/readyz").await.expect(200);
        seen.extend(env.texts(value));
    }
    assert!(seen.len() <= 5, "{seen:?}");
    assert_eq!(env.count("audit_events WHERE action LIKE '%write%'"), 0);
    candor.finish().await;
}
