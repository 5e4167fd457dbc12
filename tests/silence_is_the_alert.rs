//! Heartbeats: a job that should report regularly is missing if it does not. It is not missing before its
//! first heartbeat, or because Candor itself was down.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Backend, DEADLINE, Env, TestApp, eventually, on_both_databases, story_directory};

on_both_databases!(
    silence_opens_an_incident_and_a_beat_ends_it,
    what_never_beat_is_not_missed,
    a_failure_is_told_at_once,
    every_way_of_asking_is_a_beat,
    a_beat_leaves_no_trace_but_itself,
    the_services_own_absence_is_no_silence,
    what_is_silent_says_so_again,
    a_change_gives_a_whole_period,
    what_is_deleted_is_over,
    wrong_heartbeats_are_refused_field_by_field,
    two_processes_miss_it_once,
    the_page_shows_them,
);

const HEARTBEATS: &str = "/api/v1/heartbeats";
const START: &str = "2021-10-05T20:00:00Z";

/// Returns the time this number of seconds after the start.
fn after(seconds: i64) -> String {
    let start = candor::base::time::Timestamp::parse(START).expect("a time");
    start
        .plus(Duration::from_secs(seconds.unsigned_abs()))
        .to_string()
}

async fn started(env: &Env) -> TestApp {
    TestApp::builder(env).at(START).start().await
}

/// Creates a heartbeat and returns its ID and the path of its URL.
async fn make(app: &TestApp, name: &str, every: i64, grace: i64) -> (String, String) {
    let body = json!({"name": name, "every_seconds": every, "grace_seconds": grace});
    let made = app.post(HEARTBEATS, body).await.expect(201);
    (made.id(), path_of(&made["url"]))
}

/// Returns only the path, because the port changes after a restart.
fn path_of(url: &Value) -> String {
    let url = url::Url::parse(url.as_str().expect("a URL")).expect("a URL");
    url.path().to_owned()
}

async fn beat(app: &TestApp, path: &str) {
    let taken = app.anonymous().get(path).await.expect(200);
    assert_eq!(taken.text, "OK\n");
}

async fn shown(app: &TestApp, id: &str) -> Value {
    app.get(&format!("{HEARTBEATS}/{id}"))
        .await
        .expect(200)
        .json
        .clone()
}

/// Waits until the heartbeat is in this state.
async fn becomes(app: &TestApp, id: &str, state: &str) -> Value {
    eventually(&format!("the state {state}"), DEADLINE, async || {
        let shown = shown(app, id).await;
        (shown["state"] == json!(state)).then_some(shown)
    })
    .await
}

/// Waits until everything that is due at this second was handled. Another heartbeat becomes missing then,
/// which shows this.
async fn at(app: &TestApp, seconds: i64) {
    app.set_clock(&after(seconds - 11));
    let (id, path) = make(app, "marker", 10, 0).await;
    beat(app, &path).await;
    app.set_clock(&after(seconds));
    becomes(app, &id, "silent").await;
    app.delete(&format!("{HEARTBEATS}/{id}")).await.expect(204);
}

async fn silence_opens_an_incident_and_a_beat_ends_it(env: Env) {
    let app = started(&env).await;
    app.import(story_directory()).await.expect(200);
    let body = json!({
        "name": "upload-service", "every_seconds": 300, "grace_seconds": 60, "severity": "critical",
        "resources": [{"type": "project", "id": "savanna"}],
    });
    let made = app.post(HEARTBEATS, body).await.expect(201);
    let (id, path) = (made.id(), path_of(&made["url"]));
    assert_eq!(made["url"], json!(format!("{}{path}", app.base())));
    assert!(
        !app.get(HEARTBEATS)
            .await
            .expect(200)
            .text
            .contains(path.split('/').next_back().expect("a token"))
    );
    beat(&app, &path).await;
    app.set_clock(&after(100));
    beat(&app, &path).await;
    let beating = shown(&app, &id).await;
    assert_eq!(
        json!([
            beating["state"],
            beating["beats"],
            beating["last_beat_at"],
            beating["deadline_at"]
        ]),
        json!(["up", 2, after(100), after(460)])
    );
    // Until the last moment the heartbeat may still arrive.
    at(&app, 459).await;
    assert_eq!(shown(&app, &id).await["state"], "up");
    app.set_clock(&after(460));
    let silent = becomes(&app, &id, "silent").await;
    assert_eq!(
        (&silent["changed_at"], &silent["deadline_at"]),
        (&json!(after(460)), &Value::Null)
    );
    let alert = app.all("/api/v1/alerts?status=firing").await[0].clone();
    assert_eq!(
        json!([
            alert["fingerprint"],
            alert["title"],
            alert["severity"],
            alert["started_at"],
            alert["labels"]
        ]),
        json!([id, "No heartbeat: upload-service", "critical", after(400), {"heartbeat": "upload-service"}])
    );
    let incident = alert["incident"].as_str().expect("an incident").to_owned();
    let opened = app
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200);
    assert_eq!(
        json!([opened["status"], opened["started_at"]]),
        json!(["investigating", after(400)])
    );
    let affected = app.all(&format!("/api/v1/incidents/{incident}/affected")).await;
    assert_eq!(
        affected[0]["resource"],
        json!({"type": "project", "id": "savanna"})
    );
    app.set_clock(&after(1_000));
    beat(&app, &path).await;
    assert_eq!(shown(&app, &id).await["state"], "up");
    let ended = app
        .get(&format!("/api/v1/alerts?incident={incident}"))
        .await
        .expect(200);
    assert_eq!(
        json!([ended.items()[0]["status"], ended.items()[0]["ended_at"]]),
        json!(["resolved", after(1_000)])
    );
    let opened = app
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200);
    assert_eq!(opened["status"], "monitoring");
    let states: Vec<Value> = app
        .all(&format!("/api/v1/audit?action=heartbeat.state&subject={id}"))
        .await
        .iter()
        .rev()
        .map(|event| json!([event["before"]["state"], event["after"]["state"]]))
        .collect();
    assert_eq!(
        json!(states),
        json!([["new", "up"], ["up", "silent"], ["silent", "up"]])
    );
    app.finish().await;
}

async fn what_never_beat_is_not_missed(env: Env) {
    let app = started(&env).await;
    let (id, _) = make(&app, "never", 10, 0).await;
    at(&app, 10 * 86_400).await;
    assert_eq!(
        json!([
            shown(&app, &id).await["state"],
            shown(&app, &id).await["deadline_at"]
        ]),
        json!(["new", null])
    );
    assert_eq!(app.all("/api/v1/alerts?status=firing").await.len(), 0);
    app.finish().await;
}

async fn a_failure_is_told_at_once(env: Env) {
    let app = started(&env).await;
    let (id, path) = make(&app, "backup", 86_400, 0).await;
    // This also works before the first heartbeat.
    app.anonymous().get(&format!("{path}/fail")).await.expect(200);
    assert_eq!(shown(&app, &id).await["state"], "failed");
    let alert = app.all("/api/v1/alerts?status=firing").await[0].clone();
    assert_eq!(
        json!([alert["title"], alert["started_at"]]),
        json!(["Job failed: backup", START])
    );
    app.set_clock(&after(60));
    app.anonymous()
        .post(&format!("{path}/fail"), json!({}))
        .await
        .expect(200);
    let alerts = app.all("/api/v1/alerts").await;
    assert_eq!((alerts.len(), &alerts[0]["repeats"]), (1, &json!(1)));
    beat(&app, &path).await;
    assert_eq!(app.all("/api/v1/alerts?status=firing").await.len(), 0);
    assert_eq!(shown(&app, &id).await["deadline_at"], json!(after(86_460)));
    app.finish().await;
}

async fn every_way_of_asking_is_a_beat(env: Env) {
    let app = started(&env).await;
    let (id, path) = make(&app, "job", 60, 0).await;
    let anonymous = app.anonymous();
    anonymous.get(&path).await.expect(200);
    // Clients of other services add the number of the run or the output of the job.
    anonymous.get(&format!("{path}?rid=7")).await.expect(200);
    anonymous.request(Method::HEAD, &path).send().await.expect(200);
    anonymous
        .post_raw(&path, "text/plain", "done\n")
        .await
        .expect(200);
    anonymous
        .post_raw(&path, "", vec![0xff; 10_000])
        .await
        .expect(200);
    assert_eq!(shown(&app, &id).await["beats"], 5);
    anonymous.put(&path, json!({})).await.expect(405);
    for wrong in [
        "/heartbeats/nonsense",
        "/heartbeats/nonsense/fail",
        "/heartbeats/",
        &format!("{path}/start"),
    ] {
        anonymous.get(wrong).await.expect(404);
    }
    let token = path.split('/').next_back().expect("a token");
    let stored = env.texts("SELECT id || name || token_hash AS value FROM heartbeats");
    assert!(stored.iter().all(|row| !row.contains(token)), "{stored:?}");
    app.finish().await;
}

async fn a_beat_leaves_no_trace_but_itself(env: Env) {
    let app = started(&env).await;
    let (id, path) = make(&app, "job", 60, 0).await;
    beat(&app, &path).await;
    let events = env.count("audit_events");
    for second in 1..50 {
        app.set_clock(&after(second));
        beat(&app, &path).await;
    }
    assert_eq!(env.count("audit_events"), events);
    assert_eq!(
        json!([
            shown(&app, &id).await["beats"],
            shown(&app, &id).await["last_beat_at"]
        ]),
        json!([50, after(49)])
    );
    app.finish().await;
}

async fn the_services_own_absence_is_no_silence(env: Env) {
    let mut app = started(&env).await;
    let (id, path) = make(&app, "job", 60, 30).await;
    beat(&app, &path).await;
    let (untouched, _) = make(&app, "never", 60, 30).await;
    app.down_until(&after(7_200)).await;
    // A whole period and its grace period from the start on.
    assert_eq!(shown(&app, &id).await["deadline_at"], json!(after(7_290)));
    assert_eq!(shown(&app, &untouched).await["deadline_at"], Value::Null);
    at(&app, 7_289).await;
    assert_eq!(shown(&app, &id).await["state"], "up");
    app.set_clock(&after(7_290));
    becomes(&app, &id, "silent").await;
    // A heartbeat that was missing before is still missing, and one that gets a new period is not.
    app.down_until(&after(9_000)).await;
    assert_eq!(shown(&app, &id).await["state"], "silent");
    beat(&app, &path).await;
    assert_eq!(shown(&app, &id).await["state"], "up");
    app.finish().await;
}

async fn what_is_silent_says_so_again(env: Env) {
    let app = started(&env).await;
    let (id, path) = make(&app, "job", 10, 0).await;
    beat(&app, &path).await;
    app.set_clock(&after(10));
    becomes(&app, &id, "silent").await;
    let first = app.all("/api/v1/alerts").await[0]["incident"]
        .as_str()
        .expect("an incident")
        .to_owned();
    app.resolve(&first).await;
    at(&app, 309).await;
    assert_eq!(
        app.all("/api/v1/alerts?status=firing").await.len(),
        1,
        "the one of the closed incident"
    );
    app.set_clock(&after(310));
    eventually("another incident", DEADLINE, async || {
        let firing = app.all("/api/v1/alerts?status=firing").await;
        firing
            .iter()
            .any(|alert| alert["incident"] != json!(first))
            .then_some(())
    })
    .await;
    app.finish().await;
}

async fn a_change_gives_a_whole_period(env: Env) {
    let app = started(&env).await;
    let (id, path) = make(&app, "job", 86_400, 0).await;
    beat(&app, &path).await;
    app.set_clock(&after(3_600));
    let changed = app
        .patch(
            &format!("{HEARTBEATS}/{id}"),
            json!({"every_seconds": 60, "name": "other"}),
        )
        .await
        .expect(200);
    assert_eq!(
        json!([
            changed["name"],
            changed["every_seconds"],
            changed["grace_seconds"],
            changed["deadline_at"]
        ]),
        json!(["other", 60, 0, after(3_660)])
    );
    for (patch, pointer) in [
        (json!({"url": "x"}), "/url"),
        (json!({"every_seconds": 5}), "/every_seconds"),
        (json!({"every_seconds": null}), "/every_seconds"),
        (json!({}), ""),
    ] {
        let refused = app
            .patch(&format!("{HEARTBEATS}/{id}"), patch)
            .await
            .expect_problem(422);
        assert_eq!(
            refused["errors"][0]["pointer"].as_str().unwrap_or_default(),
            pointer,
            "{refused}"
        );
    }
    app.finish().await;
}

async fn what_is_deleted_is_over(env: Env) {
    let app = started(&env).await;
    let (id, path) = make(&app, "job", 10, 0).await;
    beat(&app, &path).await;
    app.set_clock(&after(10));
    becomes(&app, &id, "silent").await;
    let incident = app.all("/api/v1/alerts").await[0]["incident"]
        .as_str()
        .expect("an incident")
        .to_owned();
    app.delete(&format!("{HEARTBEATS}/{id}")).await.expect(204);
    assert_eq!(app.all("/api/v1/alerts?status=firing").await.len(), 0);
    let timeline = app.all(&format!("/api/v1/incidents/{incident}/timeline")).await;
    let why = "The heartbeat “job” was deleted, so it is unknown whether the job still runs";
    assert!(timeline.iter().any(|entry| entry["text"] == why), "{timeline:#?}");
    app.anonymous().get(&path).await.expect(404);
    app.anonymous().get(&format!("{path}/fail")).await.expect(404);
    app.delete(&format!("{HEARTBEATS}/{id}"))
        .await
        .expect_problem(404);
    assert_eq!(app.all(HEARTBEATS).await.len(), 0);
    app.finish().await;
}

async fn wrong_heartbeats_are_refused_field_by_field(env: Env) {
    let app = started(&env).await;
    for (body, pointer) in [
        (json!({"every_seconds": 60}), "/name"),
        (json!({"name": "", "every_seconds": 60}), "/name"),
        (json!({"name": "A"}), "/every_seconds"),
        (json!({"name": "A", "every_seconds": 9}), "/every_seconds"),
        (json!({"name": "A", "every_seconds": 2_678_401}), "/every_seconds"),
        (
            json!({"name": "A", "every_seconds": 60, "grace_seconds": -1}),
            "/grace_seconds",
        ),
        (
            json!({"name": "A", "every_seconds": 60, "severity": "bad"}),
            "/severity",
        ),
        (
            json!({"name": "A", "every_seconds": 60, "resources": [{"type": "x", "id": "y"}]}),
            "/resources/0",
        ),
        (json!({"name": "A", "every_seconds": 60, "grace": 1}), "/grace"),
    ] {
        let refused = app.post(HEARTBEATS, body.clone()).await.expect_problem(422);
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{body}: {refused}");
    }
    let operator = app.as_new("operator").await;
    operator.get(HEARTBEATS).await.expect(200);
    operator
        .post(HEARTBEATS, json!({"name": "A", "every_seconds": 60}))
        .await
        .expect_problem(403);
    assert_eq!(env.count("heartbeats"), 0);
    app.finish().await;
}

async fn two_processes_miss_it_once(env: Env) {
    if env.backend == Backend::Sqlite {
        // With SQLite there is only one process.
        return;
    }
    let (app, other) = (started(&env).await, started(&env).await);
    let mut ids = Vec::new();
    for number in 0..10 {
        let (id, path) = make(&app, &format!("job {number}"), 10, 0).await;
        beat(&app, &path).await;
        ids.push(id);
    }
    other.set_clock(&after(10));
    app.set_clock(&after(10));
    for id in &ids {
        becomes(&app, id, "silent").await;
    }
    // In both processes, the marker comes after everything that is due.
    at(&other, 100).await;
    at(&app, 100).await;
    let alerts = app.all("/api/v1/alerts?status=firing").await;
    assert_eq!(alerts.len(), 10);
    assert!(alerts.iter().all(|alert| alert["repeats"] == 0), "{alerts:#?}");
    other.finish().await;
    app.finish().await;
}

async fn the_page_shows_them(env: Env) {
    let app = started(&env).await;
    let (id, path) = make(&app, "Nightly <b>", 86_400, 3_600).await;
    let page = app.admin_page("/admin/watching").await;
    for text in [
        "Nightly &lt;b&gt;",
        "waiting for the first",
        "every 1 d, with a grace period of 1 h",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    beat(&app, &path).await;
    let page = app.admin_page("/admin/watching").await;
    assert!(page.contains(">up<"), "{page}");
    assert!(
        !page.contains(path.split('/').next_back().expect("a token")),
        "the secret is on the page"
    );
    app.set_clock(&after(90_000));
    becomes(&app, &id, "silent").await;
    let page = app.admin_page("/admin/watching").await;
    assert!(page.contains(">missing<"), "{page}");
    app.finish().await;
}
