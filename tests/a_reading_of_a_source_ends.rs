//! A query of a source that does not end is ended: at the limit of a test or a sync, when the source is deleted, when the
//! caller of a test hangs up, and when the process stops. Then no statement runs on the source's server any more.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::shop::{SOURCES, Shop, made, run_over, synced, tried};
use crate::support::{Binary, DEADLINE, Env, Http, TestApp, eventually, on_both_databases, wait_until};

on_both_databases!(
    a_test_of_a_sqlite_file_ends_at_its_limit,
    a_test_of_a_postgres_ends_at_its_limit,
    a_test_of_a_mysql_ends_at_its_limit,
    a_sync_of_a_sqlite_file_ends_at_its_limit,
    a_sync_of_a_postgres_ends_at_its_limit,
    a_sync_of_a_mysql_ends_at_its_limit,
    a_deleted_sqlite_file_is_read_no_more,
    a_deleted_postgres_is_read_no_more,
    a_deleted_mysql_is_read_no_more,
    whoever_hangs_up_ends_the_test_of_a_sqlite_file,
    whoever_hangs_up_ends_the_test_of_a_postgres,
    a_process_stops_while_it_reads_a_sqlite_file,
    a_process_stops_while_it_reads_a_postgres,
    a_process_stops_while_it_reads_a_mysql,
    a_process_stops_while_somebody_tests,
    the_command_ends_what_it_reads,
    a_test_runs_a_query_twice_at_most,
);

/// Queries that do not end in the time of a test, each with a text by which its statement is found.
fn endless(shop: &Shop) -> Vec<(&'static str, &'static str)> {
    match shop.kind() {
        "sqlite" => vec![
            (
                "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) \
                 SELECT id, 'x' AS name, '' AS email FROM n WHERE id < 0",
                "RECURSIVE",
            ),
            (
                "WITH RECURSIVE n(id) AS (VALUES (1) UNION ALL SELECT -id FROM n) SELECT MAX(id) AS id, 'x' AS name, \
                 '' AS email FROM n",
                "RECURSIVE",
            ),
        ],
        "postgres" => vec![
            (
                "SELECT CAST(pg_sleep(600) AS TEXT) AS id, 'x' AS name, '' AS email",
                "pg_sleep(600)",
            ),
            (
                "SELECT CAST(g AS TEXT) AS id, 'x' AS name, '' AS email \
                 FROM (SELECT generate_series(1, CAST(1e15 AS BIGINT)) AS g) s WHERE g < 0",
                "generate_series",
            ),
        ],
        _ => vec![
            ("SELECT SLEEP(600) AS id, 'x' AS name, '' AS email", "SLEEP(600)"),
            (
                "SELECT id, name, email FROM users WHERE SLEEP(300) = 0",
                "SLEEP(300)",
            ),
        ],
    }
}

async fn source(app: &Http, shop: &Shop, name: &str, people: &str) -> String {
    let mut source = shop.source();
    source["name"] = json!(name);
    source["queries"] = json!({"people": people});
    app.post(SOURCES, &source).await.expect(201).id()
}

async fn nothing_runs(shop: &Shop, text: &str) {
    wait_until("the statement to end", DEADLINE, async || shop.running(text) == 0).await;
}

/// Waits until the source is being read: a server shows the statement, and of a file the run or the trial says so.
async fn is_read(env: &Env, shop: &Shop, text: &str, state: &str) {
    wait_until("the reading to begin", DEADLINE, async || {
        env.count(&format!("directory_runs WHERE state = '{state}'")) > 0
            && (shop.kind() == "sqlite" || shop.running(text) > 0)
    })
    .await;
}

macro_rules! each_kind {
    ($($name:ident = $shop:expr => $body:ident;)*) => {
        $(async fn $name(env: Env) {
            let shop: Option<Shop> = ($shop)(&env);
            if let Some(shop) = shop {
                $body(&env, &shop).await;
            }
        })*
    };
}

each_kind! {
    a_test_of_a_sqlite_file_ends_at_its_limit = |env: &Env| Some(Shop::sqlite(env)) => a_test_ends_at_its_limit;
    a_test_of_a_postgres_ends_at_its_limit = |_: &Env| Shop::postgres() => a_test_ends_at_its_limit;
    a_test_of_a_mysql_ends_at_its_limit = |_: &Env| Shop::mysql() => a_test_ends_at_its_limit;
    a_sync_of_a_sqlite_file_ends_at_its_limit = |env: &Env| Some(Shop::sqlite(env)) => a_sync_ends_at_its_limit;
    a_sync_of_a_postgres_ends_at_its_limit = |_: &Env| Shop::postgres() => a_sync_ends_at_its_limit;
    a_sync_of_a_mysql_ends_at_its_limit = |_: &Env| Shop::mysql() => a_sync_ends_at_its_limit;
    a_deleted_sqlite_file_is_read_no_more = |env: &Env| Some(Shop::sqlite(env)) => a_deleted_source_is_read_no_more;
    a_deleted_postgres_is_read_no_more = |_: &Env| Shop::postgres() => a_deleted_source_is_read_no_more;
    a_deleted_mysql_is_read_no_more = |_: &Env| Shop::mysql() => a_deleted_source_is_read_no_more;
    whoever_hangs_up_ends_the_test_of_a_sqlite_file = |env: &Env| Some(Shop::sqlite(env)) => whoever_hangs_up_ends_the_test;
    whoever_hangs_up_ends_the_test_of_a_postgres = |_: &Env| Shop::postgres() => whoever_hangs_up_ends_the_test;
    a_process_stops_while_it_reads_a_sqlite_file = |env: &Env| Some(Shop::sqlite(env)) => a_process_stops_while_it_reads;
    a_process_stops_while_it_reads_a_postgres = |_: &Env| Shop::postgres() => a_process_stops_while_it_reads;
    a_process_stops_while_it_reads_a_mysql = |_: &Env| Shop::mysql() => a_process_stops_while_it_reads;
}

async fn a_test_ends_at_its_limit(env: &Env, shop: &Shop) {
    let app = TestApp::builder(env)
        .config(|config| config.source_test_limit = Duration::from_millis(1_500))
        .start()
        .await;
    for (index, (query, text)) in endless(shop).into_iter().enumerate() {
        let id = source(&app, shop, &format!("try {index}"), query).await;
        let began = Instant::now();
        let look = tried(&app, &id).await;
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert_eq!(look["ok"], false, "{look:#}");
        assert_eq!(
            look["error"], "reading the source took longer than 1.5 s, the limit of CANDOR_SOURCE_TEST_LIMIT",
            "{query}: {look:#}"
        );
        assert_eq!(look["sync"], Value::Null);
        nothing_runs(shop, text).await;
        assert_eq!(env.count("directory_runs"), 0, "a trial leaves nothing");
        assert_eq!(env.count("directory_staged"), 0);
        let queries = json!({"queries": {"people": "SELECT id, name, email FROM users"}});
        app.patch(&format!("{SOURCES}/{id}"), queries).await.expect(200);
        assert_eq!(
            tried(&app, &id).await["ok"],
            true,
            "the next test has its own time"
        );
    }
    app.finish().await;
}

async fn a_sync_ends_at_its_limit(env: &Env, shop: &Shop) {
    let app = TestApp::builder(env)
        .config(|config| config.source_sync_limit = Duration::from_millis(1_500))
        .start()
        .await;
    for (index, (query, text)) in endless(shop).into_iter().enumerate() {
        let id = source(&app, shop, &format!("try {index}"), query).await;
        let run = synced(&app, &id).await;
        assert_eq!(run["state"], "failed", "{run:#}");
        assert_eq!(
            run["errors"][0]["detail"],
            "reading the source took longer than 1.5 s, the limit of CANDOR_SOURCE_SYNC_LIMIT",
            "{query}: {run:#}"
        );
        nothing_runs(shop, text).await;
        assert_eq!(env.count("directory_staged"), 0);
    }
    app.finish().await;
}

async fn a_deleted_source_is_read_no_more(env: &Env, shop: &Shop) {
    let app = TestApp::start(env).await;
    for (index, (query, text)) in endless(shop).into_iter().enumerate() {
        let id = source(&app, shop, &format!("sync {index}"), query).await;
        let path = format!("{SOURCES}/{id}");
        let run = app
            .post(&format!("{path}/sync"), json!({}))
            .await
            .expect(202)
            .id();
        is_read(env, shop, text, "reading").await;
        app.delete(&path).await.expect(204);
        let run = run_over(&app, &id, &run).await;
        assert_eq!(run["state"], "failed", "{run:#}");
        assert!(
            run["errors"][0]["detail"]
                .as_str()
                .is_some_and(|said| said.contains("was deleted")),
            "{run:#}"
        );
        nothing_runs(shop, text).await;
        app.get(&path).await.expect(200);
        app.delete(&path).await.expect_problem(404);
        // A test of it ends as well.
        let id = source(&app, shop, &format!("test {index}"), query).await;
        let path = format!("{SOURCES}/{id}");
        let test = format!("{path}/test");
        let (said, ()) = tokio::join!(app.post(&test, json!({})), async {
            is_read(env, shop, text, "trial").await;
            app.delete(&path).await.expect(204);
        });
        assert!(
            said.text.contains(&format!("source {id}")) && !said.text.contains("\"ok\":true"),
            "{}",
            said.text
        );
        nothing_runs(shop, text).await;
        assert_eq!(env.count("directory_runs WHERE state = 'trial'"), 0);
    }
    // The places of the runs are free again.
    let id = source(&app, shop, "the last one", "SELECT id, name, email FROM users").await;
    assert_eq!(synced(&app, &id).await["state"], "done");
    app.finish().await;
}

async fn whoever_hangs_up_ends_the_test(env: &Env, shop: &Shop) {
    let app = TestApp::builder(env)
        .config(|config| config.source_test_limit = Duration::from_secs(3_600))
        .start()
        .await;
    let (query, text) = endless(shop)[0];
    let id = source(&app, shop, "endless", query).await;
    let path = format!("{SOURCES}/{id}/test");
    {
        let mut request = Box::pin(app.request(Method::POST, &path).json(json!({})).send());
        tokio::select! {
            answer = &mut request => panic!("it ended: {}", answer.text),
            () = is_read(env, shop, text, "trial") => {}
        }
        // Here the request is dropped, and with it its connection.
    }
    wait_until("the end of the test", DEADLINE, async || {
        env.count("directory_runs WHERE state = 'trial'") == 0
    })
    .await;
    nothing_runs(shop, text).await;
    app.finish().await;
}

/// Longer than it takes, and much shorter than any of the queries.
const SOON: Duration = Duration::from_secs(15);

async fn a_process_stops_while_it_reads(env: &Env, shop: &Shop) {
    for (index, (query, text)) in endless(shop).into_iter().enumerate() {
        let mut candor = Binary::new(env);
        candor.serve().await;
        let id = source(&candor, shop, &format!("try {index}"), query).await;
        let run = candor
            .post(&format!("{SOURCES}/{id}/sync"), json!({}))
            .await
            .expect(202)
            .id();
        is_read(env, shop, text, "reading").await;
        let began = Instant::now();
        candor.terminate().await.expect(0);
        assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
        nothing_runs(shop, text).await;
        // The next process begins it again, if somebody still wants it.
        let state = format!("SELECT state AS value FROM directory_runs WHERE id = '{run}'");
        assert_eq!(env.texts(&state), ["queued"]);
        candor.serve().await;
        is_read(env, shop, text, "reading").await;
        candor.delete(&format!("{SOURCES}/{id}")).await.expect(204);
        nothing_runs(shop, text).await;
        candor.terminate().await.expect(0);
    }
}

async fn a_process_stops_while_somebody_tests(env: Env) {
    let shop = Shop::sqlite(&env);
    let mut candor = Binary::new(&env).setting("source_test_limit", "24h");
    candor.serve().await;
    let (query, text) = endless(&shop)[0];
    let id = source(&candor, &shop, "endless", query).await;
    let http = Http::clone(&candor);
    let path = format!("{SOURCES}/{id}/test");
    let test = actix_web::rt::spawn(async move { http.post(&path, json!({})).await });
    is_read(&env, &shop, text, "trial").await;
    let began = Instant::now();
    candor.terminate().await.expect(0);
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    let said = test.await.expect("an answer");
    assert!(said.text.contains("stopping"), "{}", said.text);
    assert_eq!(env.count("directory_runs"), 0);
}

async fn the_command_ends_what_it_reads(env: Env) {
    let shop = Shop::sqlite(&env);
    let mut candor = Binary::new(&env).setting("source_sync_limit", "1s");
    candor.serve().await;
    let (query, _) = endless(&shop)[0];
    source(&candor, &shop, "endless", query).await;
    candor.terminate().await.expect(0);
    let failed = candor.run(["sync", "endless"]).await.expect(1);
    assert!(
        failed
            .stderr
            .contains("took longer than 1 s, the limit of CANDOR_SOURCE_SYNC_LIMIT"),
        "{}",
        failed.stderr
    );
}

async fn a_test_runs_a_query_twice_at_most(env: Env) {
    let Some(shop) = Shop::postgres() else { return };
    let database = shop.database().expect("a PostgreSQL");
    // Without an index, each run of a query is one scan of its table, and the server counts them.
    shop.sql("CREATE TABLE scanned_people (id INTEGER, name TEXT, email TEXT)");
    shop.sql("INSERT INTO scanned_people VALUES (1, 'a', ''), (2, 'b', ''), (3, 'c', '')");
    shop.sql("CREATE TABLE scanned_accounts (id INTEGER, name TEXT)");
    shop.sql("INSERT INTO scanned_accounts VALUES (1, 'a')");
    let scans = async || {
        // A server process tells its counts before it ends.
        eventually("the end of the connections", DEADLINE, async || {
            let others = "pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' \
                          AND pid <> pg_backend_pid()";
            (database.count(others) == 0).then_some(())
        })
        .await;
        database.texts(
            "SELECT CAST(seq_scan AS TEXT) AS value FROM pg_stat_user_tables WHERE relname LIKE 'scanned%' ORDER BY relname",
        )
    };
    let app = TestApp::start(&env).await;
    let mut source = shop.source();
    source["queries"] = json!({
        "accounts": "SELECT id, name FROM scanned_accounts",
        "people": "SELECT id, name, email FROM scanned_people",
    });
    let id = made(&app, &source).await;
    assert_eq!(scans().await, ["0", "0"]);
    let look = tried(&app, &id).await;
    assert_eq!(look["ok"], true, "{look:#}");
    assert_eq!(scans().await, ["2", "2"]);
    assert_eq!(look["queries"][1]["rows"].as_array().map(Vec::len), Some(3));
    // Also where another query fails.
    source["queries"]["members"] = json!("SELECT nothing FROM nowhere");
    let queries = json!({"queries": source["queries"]});
    app.patch(&format!("{SOURCES}/{id}"), queries).await.expect(200);
    let look = tried(&app, &id).await;
    assert_eq!(scans().await, ["4", "4"]);
    assert_eq!(look["sync"]["state"], "failed", "{look:#}");
    let errors: Vec<bool> = look["queries"]
        .as_array()
        .expect("queries")
        .iter()
        .map(|query| query["error"].is_null())
        .collect();
    assert_eq!(errors, [true, true, false], "{look:#}");
    app.finish().await;
}
