//! Ten thousand alerts with one cause are one incident. If too many requests wait, further ones are refused
//! with a time to retry. What was answered with 2xx is on disk, even after a crash.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use candor::alert::queue::QueueLimits;
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::{Answer, Backend, Binary, DEADLINE, Env, Http, TestApp, on_both_databases, wait_until};

on_both_databases!(
    ten_thousand_alerts_of_one_cause_open_one_incident,
    repeats_of_many_are_all_counted,
    too_many_are_sent_away_and_nothing_is_lost,
    one_that_cannot_be_stored_fails_alone,
    what_was_answered_is_there_after_kill_9,
    a_changed_integration_counts_at_once,
);

const CONNECTIONS: usize = 64;
/// The default limit of Alertmanager for a webhook is much higher. Many senders stop waiting after ten
/// seconds.
const SENDERS_LIMIT: Duration = Duration::from_secs(10);

fn firing(fingerprint: &str) -> Value {
    json!({"status": "firing", "labels": {"alertname": "DiskFull", "service": "media", "instance": fingerprint},
        "annotations": {}, "fingerprint": fingerprint, "startsAt": "2024-03-14T06:50:00Z", "endsAt": "0001-01-01T00:00:00Z"})
}

fn body(alerts: &[Value]) -> Value {
    json!({"version": "4", "alerts": alerts})
}

async fn hook(http: &Http) -> String {
    let new = json!({"name": "x", "source": "alertmanager"});
    let made = http.post("/api/v1/integrations", new).await.expect(201);
    made["hook_url"].as_str().expect("a URL").to_owned()
}

async fn by_service(http: &Http) {
    let rule = json!({"name": "By service", "policy": "open", "group_by": ["labels.service"],
        "matchers": [{"field": "labels.service", "matches": ".+"}]});
    http.post("/api/v1/alert-rules", rule).await.expect(201);
}

/// Posts these bodies at the same time on this number of connections, and returns the time of the slowest.
async fn storm(http: &Http, hook: &str, bodies: Vec<Value>) -> Duration {
    let slowest = Mutex::new(Duration::ZERO);
    futures_util::stream::iter(bodies)
        .for_each_concurrent(CONNECTIONS, async |body| {
            let started = Instant::now();
            http.post(hook, body).await.expect(202);
            let mut slowest = slowest.lock().expect("no panic");
            *slowest = started.elapsed().max(*slowest);
        })
        .await;
    slowest.into_inner().expect("no panic")
}

async fn ten_thousand_alerts_of_one_cause_open_one_incident(env: Env) {
    const BODIES: usize = 2_000;
    const EACH: usize = 5;
    let app = TestApp::start(&env).await;
    by_service(&app).await;
    let hook = hook(&app).await;
    let bodies = (0..BODIES)
        .map(|n| body(&(0..EACH).map(|m| firing(&format!("{n} {m}"))).collect::<Vec<_>>()))
        .collect();
    let slowest = storm(&app.anonymous(), &hook, bodies).await;
    assert!(slowest < SENDERS_LIMIT, "an answer took {slowest:?}");
    let [incident] = &app.all("/api/v1/incidents").await[..] else {
        panic!("one incident")
    };
    assert_eq!(incident["alerts"], BODIES * EACH);
    let path = format!("/api/v1/incidents/{}", incident["id"].as_str().expect("an id"));
    let timeline = app.all(&format!("{path}/timeline")).await;
    assert!(timeline.len() < 10, "{} entries", timeline.len());
    let bodies = env.count("hook_requests");
    assert!((1..=100).contains(&bodies), "{bodies} bodies are kept");
    assert_eq!(
        (env.count("alerts"), env.count("notices")),
        ((BODIES * EACH) as i64, 0)
    );
    // No subscriber of the audit trail reads all these events again and again.
    assert!(env.count("audit_events") > 5_000);
    wait_until("the subscribers to pass over the events", DEADLINE, async || {
        env.count("trail_cursors c, audit_head h WHERE h.seq - c.seq >= 1000") == 0
    })
    .await;
    app.finish().await;
}

async fn repeats_of_many_are_all_counted(env: Env) {
    const BODIES: usize = 400;
    let app = TestApp::start(&env).await;
    let hook = hook(&app).await;
    let same = body(&[firing("a"), firing("b"), firing("a")]);
    storm(&app.anonymous(), &hook, vec![same; BODIES]).await;
    let mut repeats: Vec<(Value, Value)> = app
        .all("/api/v1/alerts")
        .await
        .iter()
        .map(|alert| (alert["fingerprint"].clone(), alert["repeats"].clone()))
        .collect();
    repeats.sort_by_key(|(fingerprint, _)| fingerprint.to_string());
    assert_eq!(
        repeats,
        [
            (json!("a"), json!(2 * BODIES - 1)),
            (json!("b"), json!(BODIES - 1))
        ]
    );
    assert_eq!(env.count("incidents"), 2);
    // Each transaction records once how many repeats there were so far, and the last number is correct.
    let said = app.all("/api/v1/audit?action=alert.repeated&limit=500").await;
    let most = said
        .iter()
        .filter_map(|event| event["after"]["repeats"].as_u64())
        .max();
    assert_eq!(most, Some(2 * BODIES as u64 - 1));
    app.finish().await;
}

/// Prevents storing alerts until it is dropped.
enum Stalled {
    Sqlite(#[allow(dead_code)] diesel::SqliteConnection),
    Postgres(#[allow(dead_code)] PgConnection),
}

fn stall(env: &Env) -> Stalled {
    match env.backend {
        Backend::Sqlite => Stalled::Sqlite(env.hold_writes()),
        Backend::Postgres => {
            let mut connection = PgConnection::establish(&env.database_url).expect("a connection");
            connection
                .batch_execute("SELECT pg_advisory_lock(727014)")
                .expect("the lock of intake");
            Stalled::Postgres(connection)
        }
    }
}

async fn too_many_are_sent_away_and_nothing_is_lost(env: Env) {
    const BODIES: usize = 60;
    // Forty bodies of 32 KiB have room. No body waits so long that its sender must retry, however slow the machine is.
    let limits = QueueLimits {
        room: 40 * 32,
        timeout: 4 * DEADLINE,
    };
    let app = TestApp::builder(&env)
        .config(|config| config.intake = limits)
        .start()
        .await;
    by_service(&app).await;
    let hook = hook(&app).await;
    // The integration is in the cache, so that only storing has to wait.
    app.anonymous()
        .post(&hook, body(&[firing("first")]))
        .await
        .expect(202);
    let stalled = stall(&env);
    let refused = AtomicUsize::new(0);
    let http = app.anonymous();
    let one = async |n: usize| -> (usize, Answer) {
        let mut large = firing(&format!("large {n}"));
        large["annotations"]["description"] = json!("x".repeat(32_000));
        let answer = http.post(&hook, body(&[large])).await;
        if answer.status == 503 {
            refused.fetch_add(1, Ordering::SeqCst);
        }
        (n, answer)
    };
    let all = futures_util::future::join_all((0..BODIES).map(one));
    let release = async {
        // They are refused while nothing can be stored, not afterwards.
        wait_until("somebody to be sent away", DEADLINE, async || {
            refused.load(Ordering::SeqCst) == BODIES - 40
        })
        .await;
        drop(stalled);
    };
    let (answers, ()) = tokio::join!(all, release);
    let mut taken = BTreeSet::new();
    for (n, answer) in answers {
        match answer.status {
            202 => {
                taken.insert(format!("large {n}"));
            }
            _ => {
                let answer = answer.expect_problem(503);
                assert!(
                    answer
                        .header("retry-after")
                        .parse::<u32>()
                        .is_ok_and(|wait| wait > 0),
                    "{answer}"
                );
            }
        }
    }
    assert_eq!(taken.len(), 40);
    let stored: BTreeSet<String> = env
        .texts("SELECT fingerprint AS value FROM alerts WHERE fingerprint LIKE 'large%'")
        .into_iter()
        .collect();
    assert_eq!(stored, taken);
    let metrics = app.anonymous().get("/metrics").await.expect(200).text;
    let counted = format!("candor_intake_refused_total {}", BODIES - taken.len());
    assert!(metrics.contains(&counted), "{metrics}");
    assert!(metrics.contains("candor_intake_waiting 0"), "{metrics}");
    // Afterwards everything works as before.
    app.anonymous()
        .post(&hook, body(&[firing("last")]))
        .await
        .expect(202);
    app.finish().await;
}

async fn one_that_cannot_be_stored_fails_alone(env: Env) {
    let app = TestApp::start(&env).await;
    by_service(&app).await;
    let hook = hook(&app).await;
    app.anonymous()
        .post(&hook, body(&[firing("first")]))
        .await
        .expect(202);
    // A rule of the database that one of the bodies violates.
    let trap = match env.backend {
        Backend::Sqlite => {
            "CREATE TRIGGER trap BEFORE INSERT ON alerts WHEN NEW.fingerprint = 'poison' \
             BEGIN SELECT RAISE(ABORT, 'poison'); END"
        }
        Backend::Postgres => "ALTER TABLE alerts ADD CONSTRAINT trap CHECK (fingerprint <> 'poison')",
    };
    env.sql(trap).expect("a trap");
    // The bodies wait behind another one, so that they are stored together.
    let stalled = stall(&env);
    let http = app.anonymous();
    let post = async |name: String| http.post(&hook, body(&[firing(&name)])).await.status;
    let metric = async |line: &str| {
        let metrics = app.anonymous().get("/metrics").await.expect(200).text;
        metrics.lines().any(|one| one == line)
    };
    let all = async {
        wait_until("the first to be written", DEADLINE, async || {
            metric("candor_intake_writing 1").await
        })
        .await;
        let names = (0..20).map(|n| {
            if n == 7 {
                "poison".to_owned()
            } else {
                format!("good {n}")
            }
        });
        futures_util::future::join_all(names.map(&post)).await
    };
    let release = async {
        wait_until("the others to wait", DEADLINE, async || {
            metric("candor_intake_waiting 20").await
        })
        .await;
        drop(stalled);
    };
    let (first, statuses, ()) = tokio::join!(post("the first".to_owned()), all, release);
    assert_eq!(first, 202);
    for (n, status) in statuses.into_iter().enumerate() {
        assert_eq!(status, if n == 7 { 500 } else { 202 }, "the body {n}");
    }
    assert_eq!(env.count("alerts WHERE fingerprint LIKE 'good%'"), 19);
    assert_eq!(app.all("/api/v1/incidents").await[0]["alerts"], 21);
    // The events of the failed body are dropped with it.
    let events = app
        .get("/api/v1/audit?action=alert.received&limit=500")
        .await
        .expect(200);
    assert!(!events.text.contains("poison"), "{events}");
    app.finish().await;
}

async fn what_was_answered_is_there_after_kill_9(env: Env) {
    const ANSWERED: usize = 300;
    let mut candor = Binary::new(&env);
    candor.serve().await;
    by_service(&candor).await;
    let hook = hook(&candor).await;
    let http = candor.anonymous();
    let answered = Arc::<Mutex<HashSet<String>>>::default();
    let posters: Vec<_> = (0..32)
        .map(|poster| {
            let (http, hook, answered) = (http.clone(), hook.clone(), answered.clone());
            actix_web::rt::spawn(async move {
                for n in 0.. {
                    let name = format!("{poster} {n}");
                    let sent = http
                        .request(reqwest::Method::POST, &hook)
                        .json(body(&[firing(&name)]));
                    match sent.try_send().await {
                        Ok(answer) if answer.status == 202 => {
                            answered.lock().expect("no panic").insert(name);
                        }
                        Ok(answer) => panic!("{answer}"),
                        // The service has been killed.
                        Err(_) => return,
                    }
                }
            })
        })
        .collect();
    wait_until("some hundred answers", DEADLINE, async || {
        answered.lock().expect("no panic").len() >= ANSWERED
    })
    .await;
    candor.kill();
    for poster in posters {
        poster.await.expect("a poster");
    }
    let stored: HashSet<String> = env
        .texts("SELECT fingerprint AS value FROM alerts")
        .into_iter()
        .collect();
    let answered = answered.lock().expect("no panic").clone();
    let lost: Vec<&String> = answered.difference(&stored).collect();
    assert!(
        lost.is_empty(),
        "{} of {} are lost: {lost:?}",
        lost.len(),
        answered.len()
    );
    assert_eq!(env.count("incidents"), 1);
    candor.serve().await;
    let shown = candor.get("/api/v1/incidents").await.expect(200);
    assert_eq!(shown.items()[0]["alerts"], stored.len());
    candor.finish().await;
}

async fn a_changed_integration_counts_at_once(env: Env) {
    // The clock does not move, so the change must be found without the time.
    let app = TestApp::builder(&env).at("2024-03-14T07:00:00Z").start().await;
    let new = json!({"name": "x", "source": "generic", "secret": "the-old-secret"});
    let made = app.post("/api/v1/integrations", new).await.expect(201);
    let hook = made["hook_url"].as_str().expect("a URL").to_owned();
    let path = format!("/api/v1/integrations/{}", made.id());
    let send = async |secret: &str, title: &str| {
        app.anonymous()
            .request(reqwest::Method::POST, &hook)
            .header("X-Candor-Token", secret)
            .json(json!({"title": title, "name": "by name"}))
            .send()
            .await
    };
    send("the-old-secret", "one").await.expect(202);
    app.patch(&path, json!({"secrets": ["the-new-secret"]}))
        .await
        .expect(200);
    send("the-old-secret", "two").await.expect_problem(401);
    send("the-new-secret", "two").await.expect(202);
    app.patch(&path, json!({"open_incident": false}))
        .await
        .expect(200);
    let answer = send("the-new-secret", "three").await.expect(202);
    assert_eq!(answer["opened"], json!([]), "{answer}");
    app.delete(&path).await.expect(204);
    send("the-new-secret", "four").await.expect_problem(404);
    app.anonymous().get(&hook).await.expect_problem(404);
    app.finish().await;
}
