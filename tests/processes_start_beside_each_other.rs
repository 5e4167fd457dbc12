//! Any number of processes start, stop and run commands in parallel with one database. None of them ends
//! another one or reverts the settings of another one.

use std::sync::{Mutex, PoisonError};

use candor::demo::catcher::Catcher;
use serde_json::json;

use crate::support::{ADMIN_TOKEN, Another, Backend, Binary, Env, on_both_databases, run, story_directory};

on_both_databases!(
    a_start_without_the_token_revokes_nothing,
    a_token_that_somebody_revoked_stays_revoked,
);
on_both_databases!(empty: commands_run_beside_a_first_start);

/// The number of rounds of each of the three tests, which may run in parallel.
const ROUNDS: usize = 10;
/// The lock is held during the rounds of a test. The four processes of a round need about forty connections,
/// and a default PostgreSQL has a hundred for all tests.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
const OTHER_TOKEN: &str = "another-admin-token-of-the-tests";

/// Thirty rounds in three tests.
mod two_that_serve_and_two_that_work_start_on_an_empty_database {
    use super::{Backend, Env, ONE_AT_A_TIME, PoisonError, ROUNDS, a_round, run};

    fn rounds(first: usize) {
        let _held = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        run(Backend::Postgres, async |_: Env| {
            for round in first..first + ROUNDS {
                a_round(round).await;
            }
        });
    }

    #[test]
    fn rounds_from_1() {
        rounds(0);
    }

    #[test]
    fn rounds_from_11() {
        rounds(10);
    }

    #[test]
    fn rounds_from_21() {
        rounds(20);
    }
}

async fn a_round(round: usize) {
    let database = Another::of(Backend::Postgres);
    let new = || Binary::new(&database.env);
    // The same token, two tokens, or one process without a token.
    let (mut one, mut two) = match round % 3 {
        0 => (new(), new()),
        1 => (new(), new().setting("admin_token", OTHER_TOKEN)),
        _ => (new(), new().without("admin_token")),
    };
    let (mut three, mut four) = (new(), new());
    tokio::join!(one.serve(), two.serve(), three.work(), four.work());
    for process in [&one, &two] {
        process.anonymous().get("/readyz").await.expect(200);
        process.get("/api/v1/tokens").await.expect(200);
        if round % 3 == 1 {
            let other = process.as_role(OTHER_TOKEN);
            other.get("/api/v1/tokens").await.expect(200);
        }
    }
    for process in [&mut one, &mut two, &mut three, &mut four] {
        assert!(process.is_alive(), "round {round}\n{}", process.log());
        process.kill();
    }
    if round.is_multiple_of(10) {
        new().run(["audit", "verify"]).await.expect(0);
    }
}

/// New settings are rolled out one process after another.
#[test]
fn a_new_token_ends_the_old_one_when_nobody_serves_with_it() {
    run(Backend::Postgres, async |env: Env| {
        let new = || Binary::new(&env).setting("admin_token", OTHER_TOKEN);
        let (mut one, mut two) = (Binary::new(&env), Binary::new(&env));
        tokio::join!(one.serve(), two.serve());
        one.terminate().await.expect(0);
        let (mut three, mut four) = (new(), new());
        // The new token is valid at once.
        tokio::join!(three.serve(), four.serve());
        two.get("/api/v1/tokens").await.expect(200);
        three.as_role(OTHER_TOKEN).get("/api/v1/tokens").await.expect(200);
        two.terminate().await.expect(0);
        // The last process that served with the old token has ended.
        four.terminate().await.expect(0);
        four.serve().await;
        for process in [&three, &four] {
            process.get("/api/v1/tokens").await.expect_problem(401);
            process
                .as_role(OTHER_TOKEN)
                .get("/api/v1/tokens")
                .await
                .expect(200);
        }
        three.terminate().await.expect(0);
        four.finish().await;
    });
}

async fn a_start_without_the_token_revokes_nothing(env: Env) {
    let mut candor = Binary::new(&env);
    candor.serve().await;
    candor.terminate().await.expect(0);
    let mut without = Binary::new(&env).without("admin_token");
    without.serve().await;
    without.get("/api/v1/tokens").await.expect(200);
    without.terminate().await.expect(0);
    without.run(["migrate"]).await.expect(0);
    without.serve().await;
    without.get("/api/v1/tokens").await.expect(200);
    without.finish().await;
}

async fn a_token_that_somebody_revoked_stays_revoked(env: Env) {
    let mut candor = Binary::new(&env);
    candor.serve().await;
    let listed = candor.run(["token", "list"]).await.expect(0).stdout;
    let id = listed
        .lines()
        .find(|line| line.contains("from the settings"))
        .and_then(|line| line.split('\t').next())
        .unwrap_or_else(|| panic!("no such token: {listed}"))
        .to_owned();
    candor.run(["token", "revoke", &id]).await.expect(0);
    candor.get("/api/v1/tokens").await.expect_problem(401);
    let again = candor.run(["token", "revoke", &id]).await.expect(1);
    assert!(again.stderr.contains("not found"), "{}", again.stderr);
    candor.run(["token", "revoke", "nonsense"]).await.expect(1);
    candor.terminate().await.expect(0);
    candor.serve().await;
    candor.get("/api/v1/tokens").await.expect_problem(401);
    assert!(candor.log().contains("CANDOR_ADMIN_TOKEN"), "{}", candor.log());
    assert!(!candor.log().contains(ADMIN_TOKEN), "{}", candor.log());
    candor.finish().await;
}

/// Commands in a script of an administrator do not wait for the service to start.
async fn commands_run_beside_a_first_start(env: Env) {
    std::fs::write(env.directory.join("directory.ndjson"), story_directory()).expect("a file");
    let mut candor = Binary::new(&env);
    let command = || Binary::new(&env);
    let (one, two, three, four) = (command(), command(), command(), command());
    let (_, migrated, made, imported, backed_up) = tokio::join!(
        candor.serve(),
        one.run(["migrate"]),
        two.run(["token", "create", "--name", "script", "--role", "viewer"]),
        three.run(["import", "directory.ndjson"]),
        four.run(["backup", "copy.db"]),
    );
    for output in [&migrated, &made, &imported, &backed_up] {
        output.clone().expect(0);
    }
    let viewer = candor.as_role(made.stdout.trim());
    viewer.get("/api/v1/people/sanaa").await;
    let people = viewer.get("/api/v1/people").await.expect(200);
    assert!(!people.items().is_empty(), "{people}");
    candor.finish().await;
}

/// A running process of any kind prevents a restore, and the data stays unchanged.
#[test]
fn a_restore_waits_for_nobody_and_takes_nothing_away() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        run(backend, restores_beside);
    }
}

async fn restores_beside(env: Env) {
    let catcher = Catcher::start().expect("a mail server");
    let new = || Binary::new(&env).setting("smtp_url", catcher.url());
    let mut candor = new();
    candor.serve().await;
    candor.import(story_directory()).await.expect(200);
    candor.run(["backup", "copy.db"]).await.expect(0);
    candor
        .put("/api/v1/accounts/later", json!({"name": "Later"}))
        .await
        .expect(201);
    for arguments in [&["restore", "copy.db"][..], &["restore", "copy.db", "--force"]] {
        let refused = new().run(arguments).await.expect(1);
        assert!(refused.stderr.contains("process"), "{}", refused.stderr);
        assert_eq!(refused.stderr.trim().lines().count(), 1, "{}", refused.stderr);
        candor.get("/api/v1/accounts/later").await.expect(200);
    }
    candor.terminate().await.expect(0);
    candor.serve_with(["serve", "--no-workers"]).await;
    new().run(["restore", "copy.db", "--force"]).await.expect(1);
    candor.get("/api/v1/accounts/later").await.expect(200);
    candor.terminate().await.expect(0);
    let mut worker = new();
    worker.work().await;
    new().run(["restore", "copy.db", "--force"]).await.expect(1);
    worker.terminate().await.expect(0);
    // A killed process prevents nothing.
    candor.serve().await;
    candor.get("/api/v1/accounts/later").await.expect(200);
    candor.kill();
    new().run(["restore", "copy.db", "--force"]).await.expect(0);
    candor.serve().await;
    candor.get("/api/v1/accounts/later").await.expect(404);
    candor.finish().await;
}
