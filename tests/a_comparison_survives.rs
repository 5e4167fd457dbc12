//! A listing that is cut, a process that is killed, a disk that is full: nothing of it changes a result, and work that was begun
//! goes on by itself.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::comparisons::{compared, created, directory, found, of_files, ran, uploaded};
use crate::support::{
    ADMIN_TOKEN, Backend, Binary, DEADLINE, Env, SMALL_DISK, SmallDisk, TestApp, eventually,
    on_both_databases, run, wait_until,
};

on_both_databases!(
    a_listing_that_is_cut_changes_nothing,
    of_two_uploads_the_later_one_counts,
    a_kill_in_an_upload_changes_nothing,
    a_kill_in_a_run_is_caught_up,
    only_one_run_at_a_time,
    rows_of_old_listings_are_deleted,
    a_listing_whose_rows_are_being_deleted_is_not_compared,
    a_listing_that_is_used_again_keeps_its_rows,
);

const EXPECTED: &str = "a\tu\t1\tfalse\t\t\nb\tu\t2\tfalse\t\t\n";

async fn started(app: &crate::support::Http) -> (String, String) {
    app.import(directory(&[("a", "acme"), ("b", "acme")]))
        .await
        .expect(200);
    let body = json!({"title": "Files are missing", "severity": "major"});
    let incident = app.post("/api/v1/incidents", body).await.expect(201).id();
    let path = created(app, &incident, of_files()).await;
    (incident, path)
}

/// An upload that the test continues piece by piece.
struct Slow(TcpStream);

/// Begins an upload.
async fn begin(base: &str, path: &str) -> Slow {
    let address = base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\
         Content-Type: text/tab-separated-values\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("a connection");
    Slow(stream)
}

impl Slow {
    /// Sends a piece. The server may have answered already and closed the connection.
    async fn push(&mut self, text: &str) {
        let _ = self
            .0
            .write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
            .await;
    }

    /// Sends the end, and returns the answer.
    async fn end(mut self) -> String {
        let _ = self.0.write_all(b"0\r\n\r\n").await;
        let mut answer = vec![0; 64 * 1024];
        let read = self.0.read(&mut answer).await.expect("an answer");
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }
}

/// Returns the rows of the observed listing, or null.
async fn rows(app: &crate::support::Http, path: &str) -> Value {
    app.get(path).await.expect(200)["listings"]["observed"]["rows"].clone()
}

async fn a_listing_that_is_cut_changes_nothing(env: Env) {
    let app = TestApp::start(&env).await;
    let (_, path) = started(&app).await;
    compared(&app, &path, EXPECTED, "a\t1\n").await;
    let mut slow = begin(&app.base(), &format!("{path}/observed")).await;
    slow.push("a\t1\nb\t2\n").await;
    wait_until("the upload to begin", DEADLINE, async || {
        env.count("comparison_listings WHERE state = 'uploading'") == 1
    })
    .await;
    // The connection breaks.
    drop(slow);
    wait_until("the rest to be deleted", DEADLINE, async || {
        env.count("comparison_listings WHERE state = 'uploading'") == 0
            && env.count("comparison_listings WHERE state = 'failed' AND staged") == 0
    })
    .await;
    assert_eq!(rows(&app, &path).await, 1);
    assert_eq!(app.get(&path).await.expect(200)["state"], "done");
    assert_eq!(ran(&app, &path).await["missing"], 1);
    app.finish().await;
}

async fn of_two_uploads_the_later_one_counts(env: Env) {
    let app = TestApp::start(&env).await;
    let (_, path) = started(&app).await;
    let mut first = begin(&app.base(), &format!("{path}/observed")).await;
    first.push("a\t1\n").await;
    wait_until("the first upload to begin", DEADLINE, async || {
        env.count("comparison_listings WHERE state = 'uploading'") == 1
    })
    .await;
    uploaded(&app, &path, "observed", "a\t1\nb\t2\n")
        .await
        .expect(200);
    let answer = first.end().await;
    assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
    assert!(answer.contains("\"code\":\"upload_replaced\""), "{answer}");
    assert_eq!(rows(&app, &path).await, 2);
    app.finish().await;
}

async fn a_kill_in_an_upload_changes_nothing(env: Env) {
    let mut candor = Binary::new(&env);
    candor.serve().await;
    let (_, path) = started(&candor).await;
    uploaded(&candor, &path, "expected", EXPECTED).await.expect(200);
    uploaded(&candor, &path, "observed", "a\t1\n").await.expect(200);
    let mut slow = begin(candor.base(), &format!("{path}/observed")).await;
    // Enough for a first part to be stored.
    let line = |n: u64| format!("{}{n}\t1\n", "k".repeat(1_000));
    for n in 0..40 {
        let piece: String = (n * 1_000..(n + 1) * 1_000).map(line).collect();
        slow.push(&piece).await;
    }
    wait_until("a part to be stored", DEADLINE, async || {
        env.count("comparison_blocks b JOIN comparison_listings l ON l.id = b.listing_id WHERE l.state = 'uploading'") > 0
    })
    .await;
    candor.kill();
    drop(slow);
    candor.serve().await;
    assert_eq!(rows(&candor, &path).await, 1);
    assert_eq!(ran(&candor, &path).await["missing"], 1);
    if env.backend == Backend::Sqlite {
        wait_until("the rest to be deleted", DEADLINE, async || {
            env.count("comparison_blocks b JOIN comparison_listings l ON l.id = b.listing_id WHERE l.state <> 'ready'") == 0
        })
        .await;
    }
    // The upload is simply repeated.
    uploaded(&candor, &path, "observed", "a\t1\nb\t2\n")
        .await
        .expect(200);
    assert_eq!(ran(&candor, &path).await["equal"], 2);
    candor.finish().await;
}

/// The process is killed at some time of a run with many findings. The result is that of a run without a kill.
async fn a_kill_in_a_run_is_caught_up(env: Env) {
    const ROWS: u64 = 60_000;
    let mut candor = Binary::new(&env);
    candor.serve().await;
    let (_, path) = started(&candor).await;
    let expected: String = (0..ROWS)
        .map(|n| format!("k{n:06}\tu\t{n}\tfalse\t\t\n"))
        .collect();
    let observed: String = (0..ROWS)
        .filter(|n| n % 2 == 0)
        .map(|n| format!("k{n:06}\t{n}\n"))
        .collect();
    uploaded(&candor, &path, "expected", expected).await.expect(200);
    uploaded(&candor, &path, "observed", observed).await.expect(200);
    let running = {
        let (app, path) = ((*candor).clone(), path.clone());
        tokio::task::spawn_local(async move {
            let _ = app
                .request(Method::POST, &format!("{path}/run"))
                .json(json!({}))
                .try_send()
                .await;
        })
    };
    wait_until("some findings to be stored", DEADLINE, async || {
        env.count("comparison_findings") > 0
    })
    .await;
    candor.kill();
    running.abort();
    let before = env.count("comparison_findings");
    candor.serve().await;
    if env.backend == Backend::Postgres {
        // Another process may still hold the run, so it is claimed when its lease has ended.
        env.sql("UPDATE comparison_runs SET lease_until = 0")
            .expect("a lease that ends");
    }
    let done = eventually("the run to go on by itself", DEADLINE, async || {
        let shown = candor.get(&path).await.expect(200);
        (shown["state"] == "done").then_some(shown)
    })
    .await;
    assert_eq!(
        done["counts"]["missing"],
        ROWS / 2,
        "{before} were stored: {done}"
    );
    assert_eq!(done["counts"]["equal"], ROWS / 2);
    assert_eq!(env.count("comparison_findings"), (ROWS / 2) as i64);
    assert_eq!(env.count("comparison_runs"), 1);
    candor.finish().await;
}

async fn only_one_run_at_a_time(env: Env) {
    // Nothing carries the run out, so it stays.
    let app = TestApp::builder(&env).workers(false).start().await;
    let (_, path) = started(&app).await;
    uploaded(&app, &path, "expected", EXPECTED).await.expect(200);
    uploaded(&app, &path, "observed", "a\t1\n").await.expect(200);
    let first = {
        let (app, path) = ((*app).clone(), path.clone());
        tokio::task::spawn_local(async move {
            let _ = app
                .request(Method::POST, &format!("{path}/run"))
                .json(json!({}))
                .try_send()
                .await;
        })
    };
    wait_until("the run to be queued", DEADLINE, async || {
        env.count("comparison_runs") == 1
    })
    .await;
    let refused = app
        .post(&format!("{path}/run"), json!({}))
        .await
        .expect_problem(409);
    assert_eq!(refused["code"], "run_in_progress");
    let refused = uploaded(&app, &path, "observed", "a\t1\n")
        .await
        .expect_problem(409);
    assert_eq!(refused["code"], "run_in_progress");
    let apply = json!({"kinds": ["missing"]});
    let refused = app
        .post(&format!("{path}/apply"), apply)
        .await
        .expect_problem(409);
    assert_eq!(refused["code"], "run_in_progress");
    let refused = app.delete(&path).await.expect_problem(409);
    assert_eq!(refused["code"], "run_in_progress");
    assert_eq!(app.get(&path).await.expect(200)["state"], "running");
    first.abort();
    app.finish().await;
}

async fn rows_of_old_listings_are_deleted(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-01T00:00:00Z").start().await;
    let (_, path) = started(&app).await;
    compared(&app, &path, EXPECTED, "a\t1\n").await;
    uploaded(&app, &path, "observed", "b\t2\n").await.expect(200);
    let left = async |n: i64| {
        wait_until("rows to be deleted", DEADLINE, async || {
            env.count("comparison_blocks") == n
        })
        .await;
    };
    left(2).await;
    app.set_clock("2024-03-31T00:00:01Z");
    left(0).await;
    let shown = app.get(&path).await.expect(200);
    assert_eq!(shown["listings"]["expected"]["stored"], false);
    let refused = app
        .post(&format!("{path}/run"), json!({}))
        .await
        .expect_problem(409);
    assert_eq!(refused["code"], "listing_missing");
    assert_eq!(found(&app, &path, "missing").await.len(), 1, "the findings stay");
    app.finish().await;
}

async fn a_listing_whose_rows_are_being_deleted_is_not_compared(env: Env) {
    // Nothing deletes the rows, so the test sees the state in between.
    let app = TestApp::builder(&env).workers(false).start().await;
    let (_, path) = started(&app).await;
    uploaded(&app, &path, "expected", EXPECTED).await.expect(200);
    uploaded(&app, &path, "observed", "a\t1\n").await.expect(200);
    for side in ["expected", "observed"] {
        let set = |state: &str| {
            let set = format!("UPDATE comparison_listings SET state = '{state}' WHERE side = '{side}'");
            env.sql(&set).expect("the state of the listing");
        };
        set("replaced");
        let shown = app.get(&path).await.expect(200);
        assert_eq!(shown["listings"][side]["stored"], false, "{shown}");
        let refused = app
            .post(&format!("{path}/run"), json!({}))
            .await
            .expect_problem(409);
        assert_eq!(refused["code"], "listing_missing");
        set("ready");
    }
    assert_eq!(env.count("comparison_runs"), 0);
    app.finish().await;
}

/// The service has found the listing too old and waits for the lock, while a run is requested that uses the listing.
async fn a_listing_that_is_used_again_keeps_its_rows(env: Env) {
    let app = TestApp::builder(&env).at("2024-03-01T00:00:00Z").start().await;
    let (_, path) = started(&app).await;
    compared(&app, &path, EXPECTED, "a\t1\n").await;
    let blocks = env.count("comparison_blocks");
    let used = "UPDATE comparison_listings SET touched_at = touched_at + 86400000000";
    match env.backend {
        Backend::Sqlite => {
            let mut held = env.hold_writes();
            app.set_clock("2024-03-31T00:00:01Z");
            // The service reads once in each of its poll intervals, and its statement waits for the lock then.
            let refused = app.get(&path).await.expect(200);
            assert_eq!(refused["listings"]["expected"]["stored"], true);
            held.batch_execute(used).expect("the listings are used");
            held.batch_execute("COMMIT").expect("the end of the transaction");
        }
        Backend::Postgres => {
            let mut held = env.hold_rows(used);
            app.set_clock("2024-03-31T00:00:01Z");
            wait_until("the service to wait for the rows", DEADLINE, async || {
                env.count("pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
                    > 0
            })
            .await;
            held.batch_execute("COMMIT").expect("the end of the transaction");
        }
    }
    // The service has come past the listings when it has deleted the rows of one that is replaced.
    uploaded(&app, &path, "observed", "b\t2\n").await.expect(200);
    wait_until("the replaced listing to be deleted", DEADLINE, async || {
        env.count("comparison_listings WHERE staged") == 2 && env.count("comparison_blocks") == blocks
    })
    .await;
    let done = ran(&app, &path).await;
    assert_eq!(done["equal"], 1, "{done}");
    app.finish().await;
}

/// A full disk is answered clearly, and the listing that was there stays.
#[test]
fn a_full_disk_is_answered() {
    run(Backend::Sqlite, async |env: Env| {
        let Some(disk) = SmallDisk::mount(64) else { return };
        let mut candor =
            Binary::new(&env).setting("database_url", format!("sqlite://{SMALL_DISK}/candor.db"));
        candor.launched_by(disk.launcher());
        candor.serve().await;
        let (_, path) = started(&candor).await;
        compared(&candor, &path, EXPECTED, "a\t1\n").await;
        disk.fill();
        let large: String = (0..30_000)
            .map(|n| format!("{}{n}\t1\n", "k".repeat(1_000)))
            .collect();
        uploaded(&candor, &path, "observed", large)
            .await
            .expect_problem(503);
        disk.free();
        wait_until("it to be ready again", DEADLINE, async || {
            candor.anonymous().get("/readyz").await.status == 200
        })
        .await;
        assert_eq!(rows(&candor, &path).await, 1);
        uploaded(&candor, &path, "observed", "a\t1\nb\t2\n")
            .await
            .expect(200);
        assert_eq!(ran(&candor, &path).await["equal"], 2);
        candor.finish().await;
    });
}

/// A run that finds no space waits, and is completed when there is space.
#[test]
fn a_run_waits_for_space() {
    run(Backend::Sqlite, async |env: Env| {
        const ROWS: u64 = 40_000;
        let Some(disk) = SmallDisk::mount(64) else { return };
        let mut candor =
            Binary::new(&env).setting("database_url", format!("sqlite://{SMALL_DISK}/candor.db"));
        candor.launched_by(disk.launcher());
        candor.serve_with(["serve", "--no-workers"]).await;
        let (_, path) = started(&candor).await;
        let expected: String = (0..ROWS)
            .map(|n| format!("k{n:06}\tu\t{n}\tfalse\t\t\n"))
            .collect();
        uploaded(&candor, &path, "expected", expected).await.expect(200);
        uploaded(&candor, &path, "observed", "\n").await.expect(200);
        let asked = candor
            .request(Method::POST, &format!("{path}/run"))
            .json(json!({}));
        let _ = tokio::time::timeout(Duration::from_secs(1), asked.try_send()).await;
        candor.terminate().await.expect(0);
        // Enough to start, and too little for what the run finds.
        disk.fill_but(4 << 20);
        candor.serve().await;
        wait_until("it to say why nothing is stored", DEADLINE, async || {
            candor.log().contains("database or disk is full") || candor.log().contains("disk I/O error")
        })
        .await;
        disk.free();
        eventually("the run to be completed", DEADLINE, async || {
            let shown = candor.get(&path).await.expect(200);
            (shown["state"] == "done" && shown["counts"]["missing"] == ROWS).then_some(())
        })
        .await;
        candor.finish().await;
    });
}
