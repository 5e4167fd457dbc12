//! The service starts with an empty database, and everything that it confirmed is still there after it
//! stopped.

use crate::support::{Backend, Binary, Env, TestApp, on_both_databases, run};

on_both_databases!(empty: an_empty_database_is_ready_at_once);
on_both_databases!(
    it_ends_in_order_from_its_first_line_on,
    a_killed_program_comes_back_with_its_data,
    a_command_runs_beside_the_program
);

async fn an_empty_database_is_ready_at_once(env: Env) {
    let app = TestApp::start(&env).await;
    app.get("/healthz").await.expect(200);
    app.get("/readyz").await.expect(200);
    app.anonymous().get("/api/v1/incidents").await.expect_problem(401);
    let incidents = app.get("/api/v1/incidents").await.expect(200);
    assert!(incidents.items().is_empty());
    app.finish().await;
}

async fn it_ends_in_order_from_its_first_line_on(env: Env) {
    let mut candor = Binary::new(&env);
    candor.serve().await;
    candor.terminate().await.expect(0);
    candor.serve().await;
    candor.finish().await;
}

async fn a_killed_program_comes_back_with_its_data(env: Env) {
    let mut candor = Binary::new(&env);
    candor.serve().await;
    let viewer = candor.token("viewer").await;
    candor.kill();
    candor.serve().await;
    candor.as_role(&viewer).get("/api/v1/incidents").await.expect(200);
    candor.finish().await;
}

async fn a_command_runs_beside_the_program(env: Env) {
    let mut candor = Binary::new(&env);
    candor.serve().await;
    let made = candor
        .run(["token", "create", "--name", "by hand", "--role", "viewer"])
        .await
        .expect(0);
    let token = made
        .stdout
        .split_whitespace()
        .last()
        .expect("a token on the last line");
    candor.as_role(token).get("/api/v1/incidents").await.expect(200);
    candor.finish().await;
}

#[test]
fn a_second_process_is_refused_without_a_trace() {
    run(Backend::Sqlite, async |env| {
        let mut candor = Binary::new(&env);
        candor.serve().await;
        let events = env.count("audit_events");
        let second = Binary::new(&env).setting("admin_token", "another-admin-token");
        let refused = second.run(["serve"]).await.expect(1);
        assert!(
            refused.stderr.contains("another process already uses"),
            "{}",
            refused.stderr
        );
        assert_eq!(env.count("audit_events"), events);
        // The token of the first process is still the admin token.
        candor.get("/api/v1/tokens").await.expect(200);
        candor.finish().await;
    });
}
