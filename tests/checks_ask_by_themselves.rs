//! HTTP checks run when they are due. After a number of failures in a row a check is down, and after a number
//! of successes it is up again. Their alerts are handled as all others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use candor::egress::Policy;
use serde_json::{Value, json};

use crate::support::Certificate;
use crate::support::https::Https;
use crate::support::receiver::{Receiver, Reply};
use crate::support::{
    Backend, Binary, DEADLINE, Env, TestApp, eventually, on_both_databases, story_directory,
};

on_both_databases!(
    so_many_failures_in_a_row_open_an_incident,
    one_failure_is_none,
    what_is_down_says_so_again,
    every_expectation_counts,
    redirects_are_answers_unless_they_are_to_be_followed,
    a_check_leads_nowhere_inside,
    headers_are_sent_and_never_shown,
    a_check_is_changed_as_a_whole,
    what_is_paused_or_deleted_is_over,
    wrong_checks_are_refused_field_by_field,
    only_admins_make_them,
    two_processes_ask_once,
    a_certificate_that_runs_out_is_told_before,
    the_page_shows_them,
);

const CHECKS: &str = "/api/v1/checks";
const START: &str = "2021-10-05T20:00:00Z";

/// Returns the time this number of seconds after the start.
fn after(seconds: i64) -> String {
    let start = candor::base::time::Timestamp::parse(START).expect("a time");
    start
        .plus(Duration::from_secs(seconds.unsigned_abs()))
        .to_string()
}

async fn started(env: &Env) -> TestApp {
    TestApp::builder(env)
        .at(START)
        .config(|config| config.check_allow = Policy::Private)
        .start()
        .await
}

/// Starts a service that answers with the status that is set.
fn service() -> (Receiver, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let answer = status.clone();
    let receiver =
        Receiver::answering(move |_, _| Reply::of(answer.load(Ordering::SeqCst)).body("we are alive"));
    (receiver, status)
}

async fn make(app: &TestApp, check: Value) -> String {
    app.post(CHECKS, check).await.expect(201).id()
}

async fn shown(app: &TestApp, id: &str) -> Value {
    app.get(&format!("{CHECKS}/{id}")).await.expect(200).json.clone()
}

/// Waits for the result of the check at this second.
async fn asked(app: &TestApp, id: &str, seconds: i64) -> Value {
    app.set_clock(&after(seconds));
    eventually(&format!("the answer of second {seconds}"), DEADLINE, async || {
        let shown = shown(app, id).await;
        (shown["last"]["at"] == json!(after(seconds))).then_some(shown)
    })
    .await
}

async fn so_many_failures_in_a_row_open_an_incident(env: Env) {
    let (service, status) = service();
    let app = started(&env).await;
    app.import(story_directory()).await.expect(200);
    let id = make(
        &app,
        json!({
            "name": "Uploads", "url": service.url("/health?key=s3cret"), "every_seconds": 10, "failures": 3, "recoveries": 2,
            "severity": "critical", "resources": [{"type": "project", "id": "savanna"}],
        }),
    )
    .await;
    let first = asked(&app, &id, 0).await;
    assert_eq!(
        (&first["state"], &first["last"]["ok"]),
        (&json!("up"), &json!(true))
    );
    assert_eq!(first["last"]["status"], 200);
    assert_eq!(first["next_at"], json!(after(10)));
    assert_eq!(service.received()[0].path, "/health?key=s3cret");
    status.store(503, Ordering::SeqCst);
    for (second, failed) in [(10, 1), (20, 2)] {
        let failing = asked(&app, &id, second).await;
        assert_eq!(
            (&failing["state"], &failing["failed_in_a_row"]),
            (&json!("up"), &json!(failed))
        );
        assert_eq!(env.count("incidents"), 0);
    }
    let down = asked(&app, &id, 30).await;
    assert_eq!(
        (&down["state"], &down["changed_at"]),
        (&json!("down"), &json!(after(30)))
    );
    assert_eq!(down["last"]["problems"], json!(["answered 503, not 200-299"]));
    let alerts = app.all("/api/v1/alerts").await;
    assert_eq!(alerts.len(), 1);
    let alert = &alerts[0];
    assert_eq!(
        json!([
            alert["fingerprint"],
            alert["title"],
            alert["severity"],
            alert["started_at"],
            alert["labels"]
        ]),
        json!([id, "Check failed: Uploads", "critical", after(10), {"http_check": "Uploads"}])
    );
    assert!(!alert.to_string().contains("s3cret"), "{alert}");
    let incident = alert["incident"].as_str().expect("an incident").to_owned();
    let opened = app
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200);
    assert_eq!(
        json!([
            opened["title"],
            opened["severity"],
            opened["started_at"],
            opened["detected_at"]
        ]),
        json!(["Check failed: Uploads", "critical", after(10), after(30)])
    );
    let affected = app.all(&format!("/api/v1/incidents/{incident}/affected")).await;
    assert_eq!(
        affected[0]["resource"],
        json!({"type": "project", "id": "savanna"})
    );
    // It stays one problem, however long it lasts.
    asked(&app, &id, 40).await;
    assert_eq!(app.all("/api/v1/alerts").await[0]["repeats"], 0);
    // One success is not enough, and a success before a failure does not count.
    status.store(200, Ordering::SeqCst);
    assert_eq!(asked(&app, &id, 50).await["state"], "down");
    status.store(503, Ordering::SeqCst);
    assert_eq!(asked(&app, &id, 60).await["state"], "down");
    status.store(200, Ordering::SeqCst);
    assert_eq!(asked(&app, &id, 70).await["state"], "down");
    assert_eq!(asked(&app, &id, 80).await["state"], "up");
    let ended = &app.all("/api/v1/alerts").await[0];
    assert_eq!(
        (&ended["status"], &ended["ended_at"]),
        (&json!("resolved"), &json!(after(80)))
    );
    let opened = app
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200);
    assert_eq!(opened["status"], "monitoring");
    // The trail contains the changes of the state and not each result.
    let states: Vec<Value> = app
        .all("/api/v1/audit?action=check.state")
        .await
        .iter()
        .rev()
        .map(|event| json!([event["before"]["state"], event["after"]["state"]]))
        .collect();
    assert_eq!(
        json!(states),
        json!([["new", "up"], ["up", "down"], ["down", "up"]])
    );
    assert_eq!(env.count("deliveries"), 0);
    app.finish().await;
}

async fn one_failure_is_none(env: Env) {
    let (service, status) = service();
    let app = started(&env).await;
    let id = make(
        &app,
        json!({"name": "A", "url": service.url("/"), "every_seconds": 10, "failures": 2}),
    )
    .await;
    asked(&app, &id, 0).await;
    for second in [10, 30, 50] {
        status.store(500, Ordering::SeqCst);
        assert_eq!(asked(&app, &id, second).await["failed_in_a_row"], 1);
        status.store(200, Ordering::SeqCst);
        assert_eq!(asked(&app, &id, second + 10).await["failed_in_a_row"], 0);
    }
    assert_eq!(env.count("alerts"), 0);
    // A missed run is not repeated. The check runs once and then in its period again.
    let late = asked(&app, &id, 5_003).await;
    assert_eq!(late["next_at"], json!(after(5_013)));
    assert_eq!(service.received().len(), 8);
    app.finish().await;
}

async fn what_is_down_says_so_again(env: Env) {
    let (service, status) = service();
    status.store(500, Ordering::SeqCst);
    let app = started(&env).await;
    let id = make(
        &app,
        json!({"name": "A", "url": service.url("/"), "every_seconds": 60, "failures": 1}),
    )
    .await;
    asked(&app, &id, 0).await;
    let first = app.all("/api/v1/alerts").await[0].clone();
    // A person closes the incident too early. Nothing happens within five minutes of its last alert.
    let closed = first["incident"].as_str().expect("an incident").to_owned();
    app.resolve(&closed).await;
    asked(&app, &id, 240).await;
    assert_eq!(env.count("incidents"), 1);
    asked(&app, &id, 300).await;
    assert_eq!(env.count("incidents"), 2);
    let alerts = app.all("/api/v1/alerts?status=firing").await;
    assert_eq!(alerts.len(), 1);
    assert_ne!(alerts[0]["incident"], json!(closed));
    asked(&app, &id, 600).await;
    let alerts = app.all("/api/v1/alerts?status=firing").await;
    assert_eq!(alerts[0]["repeats"], 1);
    app.finish().await;
}

async fn every_expectation_counts(env: Env) {
    let (service, _) = service();
    let app = started(&env).await;
    for (expected, problem) in [
        (json!({"body_contains": "alive"}), None),
        (
            json!({"body_contains": "well"}),
            Some("the body does not contain “well”"),
        ),
        (json!({"body_lacks": "alive"}), Some("the body contains “alive”")),
        (
            json!({"status": [404, "500-599"]}),
            Some("answered 200, not 404, 500-599"),
        ),
        (json!({"status": ["100-199", 200]}), None),
        (json!({"method": "head"}), None),
    ] {
        let mut check = json!({"name": "A", "url": service.url("/"), "every_seconds": 3600, "failures": 100});
        for (name, value) in expected.as_object().expect("an object") {
            check[name] = value.clone();
        }
        let id = make(&app, check).await;
        let shown = asked(&app, &id, 0).await;
        assert_eq!(
            shown["last"]["problems"],
            json!(Vec::from_iter(problem)),
            "{expected}"
        );
    }
    assert_eq!(service.received().last().expect("a request").method, "HEAD");
    // No server listens there.
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address")
    };
    let id = make(
        &app,
        json!({"name": "A", "url": format!("http://{closed}/"), "every_seconds": 3600}),
    )
    .await;
    let shown = asked(&app, &id, 0).await;
    assert_eq!(
        shown["last"]["problems"],
        json!(["connection failed: connection refused"])
    );
    assert_eq!(
        (&shown["last"]["status"], &shown["last"]["latency_ms"]),
        (&Value::Null, &Value::Null)
    );
    app.finish().await;
}

async fn redirects_are_answers_unless_they_are_to_be_followed(env: Env) {
    let (target, _) = service();
    let (there, inside) = (target.url("/there"), "http://169.254.169.254/latest/meta-data");
    let elsewhere = there.clone();
    let moved = Receiver::answering(move |_, request| {
        let to = match request.path.as_str() {
            "/inside" => inside.to_owned(),
            "/round" => "/round".to_owned(),
            "/own" => "/elsewhere".to_owned(),
            _ => elsewhere.clone(),
        };
        Reply::of(302).header("location", to)
    });
    let app = started(&env).await;
    let see = async |path: &str, follow: bool| {
        let check = json!({
            "name": "A", "url": moved.url(path), "every_seconds": 3600, "follow_redirects": follow,
            "headers": {"authorization": "Bearer s3cret"},
        });
        let id = make(&app, check).await;
        asked(&app, &id, 0).await["last"].clone()
    };
    assert_eq!(
        see("/elsewhere", false).await["problems"],
        json!(["answered 302, not 200-299"])
    );
    assert_eq!(see("/elsewhere", true).await["ok"], true);
    assert_eq!(see("/own", true).await["ok"], true);
    assert_eq!(
        see("/round", true).await["problems"],
        json!(["more than 5 redirects"])
    );
    let refused = see("/inside", true).await;
    assert_eq!(
        refused["problems"],
        json!(["it redirects to a URL that is not allowed"])
    );
    // The headers for one host are not sent to another.
    for request in target.received() {
        assert_eq!(
            (request.path.as_str(), request.header("authorization")),
            ("/there", "")
        );
    }
    for request in moved.received() {
        assert_eq!(
            request.header("authorization"),
            "Bearer s3cret",
            "{}",
            request.path
        );
    }
    app.finish().await;
}

async fn a_check_leads_nowhere_inside(env: Env) {
    let (service, _) = service();
    let app = TestApp::builder(&env).at(START).start().await;
    for url in [
        service.url("/"),
        format!("https://127.0.0.1:{}/", service.port()),
        "https://[::1]/".to_owned(),
        "https://169.254.169.254/".to_owned(),
        "https://0x7f.1/".to_owned(),
        "ftp://example.com/".to_owned(),
        "https://user:pass@example.com/".to_owned(),
    ] {
        let refused = app
            .post(CHECKS, json!({"name": "A", "url": url}))
            .await
            .expect_problem(422);
        assert_eq!(refused["errors"][0]["pointer"], "/url", "{url}: {refused}");
    }
    // A name is resolved and checked each time.
    let url = format!("https://localhost:{}/", service.port());
    let id = make(&app, json!({"name": "A", "url": url, "every_seconds": 3600})).await;
    let shown = asked(&app, &id, 0).await;
    let problem = shown["last"]["problems"][0].as_str().expect("a problem");
    assert!(
        problem.starts_with("the host name resolves to an address that is not allowed"),
        "{problem}"
    );
    assert_eq!(service.received().len(), 0);
    app.finish().await;
}

async fn headers_are_sent_and_never_shown(env: Env) {
    let (service, status) = service();
    status.store(500, Ordering::SeqCst);
    let app = started(&env).await;
    let check = json!({
        "name": "A", "url": service.url("/?token=qu3ry"), "every_seconds": 10, "failures": 1,
        "headers": {"X-Api-Key": "v3ry-secret", "X-Other": "0ther-secret"},
    });
    let made = app.post(CHECKS, check).await.expect(201);
    assert_eq!(made["headers"], json!({"X-Api-Key": "***", "X-Other": "***"}));
    let id = made.id();
    asked(&app, &id, 0).await;
    assert_eq!(service.received()[0].header("x-api-key"), "v3ry-secret");
    // A patch changes one header and removes the other. Headers that are not named stay.
    let patch = json!({"headers": {"X-Other": null, "X-More": "m0re-secret"}});
    let changed = app.patch(&format!("{CHECKS}/{id}"), patch).await.expect(200);
    assert_eq!(changed["headers"], json!({"X-Api-Key": "***", "X-More": "***"}));
    asked(&app, &id, 10).await;
    let last = service.received().pop().expect("a request");
    assert_eq!(
        ["x-api-key", "x-other", "x-more"].map(|name| last.header(name).to_owned()),
        ["v3ry-secret", "", "m0re-secret"].map(str::to_owned)
    );
    let everything = [
        app.get(CHECKS).await.expect(200).text,
        app.get("/api/v1/alerts").await.expect(200).text,
        app.get("/api/v1/audit?limit=500").await.expect(200).text,
        app.admin_page("/admin/watching").await,
    ];
    for text in everything {
        for secret in ["v3ry", "0ther", "m0re"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    for text in [
        app.get("/api/v1/alerts").await.expect(200).text,
        app.get("/api/v1/audit?limit=500").await.expect(200).text,
        app.admin_page("/admin/watching").await,
    ] {
        assert!(!text.contains("qu3ry"), "the query in {text}");
    }
    app.finish().await;
}

async fn a_check_is_changed_as_a_whole(env: Env) {
    let (service, _) = service();
    let app = started(&env).await;
    let check = json!({"name": "A", "url": service.url("/"), "every_seconds": 10, "body_contains": "never"});
    let id = make(&app, check).await;
    let path = format!("{CHECKS}/{id}");
    assert_eq!(asked(&app, &id, 0).await["last"]["ok"], false);
    // An invalid change changes nothing.
    for (patch, pointer) in [
        (json!({}), ""),
        (json!([]), ""),
        (json!({"nmae": "B"}), "/nmae"),
        (json!({"name": null}), "/name"),
        (json!({"status": "200"}), "/status"),
        (json!({"every_seconds": 9}), "/every_seconds"),
        (json!({"state": "up"}), "/state"),
    ] {
        let refused = app.patch(&path, patch.clone()).await.expect_problem(422);
        let said = refused["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert_eq!(said, pointer, "{patch}: {refused}");
    }
    let patch = json!({"name": "B", "body_contains": null, "severity": "minor"});
    let changed = app.patch(&path, patch).await.expect(200);
    assert_eq!(
        json!([changed["name"], changed["severity"], changed["every_seconds"]]),
        json!(["B", "minor", 10])
    );
    assert_eq!(changed.json.get("body_contains"), None);
    // The check runs at once, and its counts start again.
    app.set_clock(&after(1));
    let good = eventually("a good answer", DEADLINE, async || {
        let shown = shown(&app, &id).await;
        (shown["last"]["ok"] == true).then_some(shown)
    })
    .await;
    assert_eq!(
        (&good["failed_in_a_row"], &good["state"]),
        (&json!(0), &json!("up"))
    );
    let event = &app.all("/api/v1/audit?action=check.changed").await[0];
    assert_eq!(
        (&event["before"]["name"], &event["after"]["name"]),
        (&json!("A"), &json!("B"))
    );
    app.patch(
        &format!("{CHECKS}/{}", candor::base::id::new_uuid(app.clock.now())),
        json!({"name": "C"}),
    )
    .await
    .expect_problem(404);
    app.finish().await;
}

async fn what_is_paused_or_deleted_is_over(env: Env) {
    let (service, status) = service();
    status.store(500, Ordering::SeqCst);
    let app = started(&env).await;
    for (second, how) in [(0, "paused"), (100, "deleted")] {
        app.set_clock(&after(second));
        let id = make(
            &app,
            json!({"name": how, "url": service.url("/"), "every_seconds": 10, "failures": 1}),
        )
        .await;
        let path = format!("{CHECKS}/{id}");
        asked(&app, &id, second).await;
        let alert = app.all("/api/v1/alerts?status=firing").await[0].clone();
        let incident = alert["incident"].as_str().expect("an incident").to_owned();
        if how == "paused" {
            let paused = app.patch(&path, json!({"paused": true})).await.expect(200);
            assert_eq!(
                (&paused["state"], &paused["paused"]),
                (&json!("new"), &json!(true))
            );
        } else {
            app.delete(&path).await.expect(204);
            app.delete(&path).await.expect_problem(404);
            app.patch(&path, json!({"name": "B"})).await.expect_problem(404);
            assert_ne!(app.get(&path).await.expect(200)["gone_at"], Value::Null);
        }
        assert_eq!(app.all("/api/v1/alerts?status=firing").await.len(), 0);
        let timeline = app.all(&format!("/api/v1/incidents/{incident}/timeline")).await;
        let why = format!("The check “{how}” was {how}, so it is unknown whether it passes");
        assert!(
            timeline.iter().any(|entry| entry["text"] == json!(why)),
            "{timeline:#?}"
        );
        // It does not run any more. Another check runs at a time when it would have run.
        let asked_so_far = service.received().len();
        let other = make(
            &app,
            json!({"name": "other", "url": service.url("/other"), "every_seconds": 10}),
        )
        .await;
        asked(&app, &other, second + 50).await;
        let more = &service.received()[asked_so_far..];
        assert!(more.iter().all(|request| request.path == "/other"), "{more:#?}");
        app.delete(&format!("{CHECKS}/{other}")).await.expect(204);
    }
    assert_eq!(app.all(CHECKS).await.len(), 1);
    app.finish().await;
}

async fn wrong_checks_are_refused_field_by_field(env: Env) {
    let app = started(&env).await;
    let good = json!({"name": "A", "url": "http://127.0.0.1/", "every_seconds": 60, "paused": true});
    app.post(CHECKS, good.clone()).await.expect(201);
    for (field, value, pointer) in [
        ("name", json!(" "), "/name"),
        ("name", json!("a\nb"), "/name"),
        ("url", json!("http://169.254.169.254/"), "/url"),
        ("url", json!("nonsense"), "/url"),
        ("method", json!("post"), "/method"),
        ("status", json!([]), "/status"),
        ("status", json!([99]), "/status/0"),
        ("status", json!([200, "2xx"]), "/status/1"),
        ("body_contains", json!(""), "/body_contains"),
        ("body_lacks", json!("x".repeat(5_000)), "/body_lacks"),
        ("latency_at_most_ms", json!(0), "/latency_at_most_ms"),
        (
            "certificate_days_at_least",
            json!(14),
            "/certificate_days_at_least",
        ),
        ("every_seconds", json!(9), "/every_seconds"),
        ("timeout_seconds", json!(61), "/timeout_seconds"),
        ("timeout_seconds", json!(0), "/timeout_seconds"),
        ("failures", json!(0), "/failures"),
        ("recoveries", json!(101), "/recoveries"),
        ("severity", json!("bad"), "/severity"),
        (
            "resources",
            json!([{"type": "project", "id": "nobody-knows"}]),
            "/resources/0",
        ),
        ("headers", json!({"Host": "elsewhere"}), "/headers/Host"),
        ("headers", json!({"a b": "c"}), "/headers/a b"),
        ("headers", json!({"X": "line\nbreak"}), "/headers/X"),
        ("folow_redirects", json!(true), "/folow_redirects"),
    ] {
        let mut check = good.clone();
        check[field] = value.clone();
        let refused = app.post(CHECKS, check).await.expect_problem(422);
        assert_eq!(
            refused["errors"][0]["pointer"],
            json!(pointer),
            "{field}: {value}: {refused}"
        );
    }
    let mut slow = good.clone();
    slow["every_seconds"] = json!(10);
    slow["timeout_seconds"] = json!(11);
    let refused = app.post(CHECKS, slow).await.expect_problem(422);
    assert_eq!(refused["errors"][0]["pointer"], "/timeout_seconds");
    assert!(
        refused["errors"][0]["detail"] == "must be from 1 to 10",
        "{refused}"
    );
    // An error in the period is reported only for the period.
    let mut never = good.clone();
    never["every_seconds"] = json!(0);
    let refused = app.post(CHECKS, never.clone()).await.expect_problem(422);
    assert_eq!(refused.places(), ["/every_seconds"], "{refused}");
    never["timeout_seconds"] = json!(61);
    let refused = app.post(CHECKS, never).await.expect_problem(422);
    assert_eq!(
        refused.places(),
        ["/every_seconds", "/timeout_seconds"],
        "{refused}"
    );
    assert_eq!(refused["errors"][1]["detail"], "must be from 1 to 60");
    // If private targets are allowed, http is allowed too.
    let mut other = good.clone();
    other["url"] = json!("ftp://127.0.0.1/");
    let refused = app.post(CHECKS, other).await.expect_problem(422);
    assert_eq!(refused["errors"][0]["detail"], "must be an http or https URL");
    assert_eq!(env.count("checks"), 1);
    app.finish().await;
}

async fn only_admins_make_them(env: Env) {
    let app = started(&env).await;
    let check = json!({"name": "A", "url": "http://127.0.0.1/", "paused": true});
    let id = make(&app, check.clone()).await;
    for role in ["viewer", "operator", "approver"] {
        let other = app.as_new(role).await;
        other.get(CHECKS).await.expect(200);
        other.post(CHECKS, check.clone()).await.expect_problem(403);
        other
            .patch(&format!("{CHECKS}/{id}"), json!({"name": "B"}))
            .await
            .expect_problem(403);
        other.delete(&format!("{CHECKS}/{id}")).await.expect_problem(403);
    }
    app.anonymous().get(CHECKS).await.expect_problem(401);
    app.get(&format!("{CHECKS}?limt=3")).await.expect_problem(422);
    app.finish().await;
}

async fn two_processes_ask_once(env: Env) {
    if env.backend == Backend::Sqlite {
        // With SQLite there is only one process.
        return;
    }
    let (service, status) = service();
    status.store(500, Ordering::SeqCst);
    let (app, other) = (started(&env).await, started(&env).await);
    let id = make(
        &app,
        json!({"name": "A", "url": service.url("/"), "every_seconds": 10, "failures": 3}),
    )
    .await;
    for (turn, second) in (1..).zip([0, 10, 20, 30, 40]) {
        other.set_clock(&after(second));
        asked(&app, &id, second).await;
        assert_eq!(service.received().len(), turn);
    }
    assert_eq!(env.count("alerts"), 1);
    assert_eq!(app.all("/api/v1/alerts").await[0]["repeats"], 0);
    other.finish().await;
    app.finish().await;
}

async fn a_certificate_that_runs_out_is_told_before(env: Env) {
    let certificate = Certificate::running_out_in(Duration::from_secs(20 * 86_400));
    let server = Https::start(&certificate).await;
    let mut program = Binary::new(&env)
        .setting("check_allow", "private")
        .environment("SSL_CERT_FILE", certificate.trusted_by(&env.directory).display());
    program.serve().await;
    let see = async |days: u32| {
        let check = json!({"name": "A", "url": server.url(), "every_seconds": 3600, "certificate_days_at_least": days});
        let id = program.post(CHECKS, check).await.expect(201).id();
        eventually("an answer", DEADLINE, async || {
            let shown = program.get(&format!("{CHECKS}/{id}")).await.expect(200);
            (shown["last"] != Value::Null).then(|| shown["last"].clone())
        })
        .await
    };
    let enough = see(19).await;
    assert_eq!(
        (&enough["ok"], &enough["status"]),
        (&json!(true), &json!(200)),
        "{enough}"
    );
    let until = enough["certificate_expires_at"]
        .as_str()
        .expect("a time")
        .to_owned();
    let late = see(21).await;
    assert_eq!(
        late["problems"],
        json!([format!(
            "the certificate expires at {until}, in less than 21 days"
        )])
    );
    program.finish().await;
}

async fn the_page_shows_them(env: Env) {
    let (service, status) = service();
    let app = started(&env).await;
    let empty = app.admin_page("/admin/watching").await;
    assert!(
        empty.contains("No checks.") && empty.contains("/admin/watching/checks/new"),
        "{empty}"
    );
    let id = make(
        &app,
        json!({"name": "Uploads <b>", "url": service.url("/health"), "every_seconds": 10, "failures": 1}),
    )
    .await;
    asked(&app, &id, 0).await;
    let page = app.admin_page("/admin/watching").await;
    for text in [
        "Uploads &lt;b&gt;",
        "GET http://127.0.0.1:",
        "as expected",
        "every 10 s",
        ">up<",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    status.store(500, Ordering::SeqCst);
    asked(&app, &id, 10).await;
    let page = app.admin_page("/admin/watching").await;
    for text in [">down<", "answered 500, not 200-299", "not as expected"] {
        assert!(page.contains(text), "{text} in {page}");
    }
    app.finish().await;
}
