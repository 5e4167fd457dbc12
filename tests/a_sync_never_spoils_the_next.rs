//! A sync leaves out the rows that it cannot use and reports them. Reading the same rows again always has the
//! same result.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::shop::{SOURCES, Shop, made, run_over, synced, tried};
use crate::support::{DEADLINE, Env, TestApp, eventually, on_both_databases};

on_both_databases!(
    filtered_accounts_are_archived_and_come_back,
    the_first_sync_ends_as_the_next_ones_do,
    what_the_source_never_brings_is_no_error_of_one_kind_alone,
    a_reference_to_a_kind_without_a_query_counts,
    filtered_people_and_parents_do_not_spoil_a_sync,
    one_bad_row_keeps_nobody_from_arriving,
    bad_rows_of_every_kind_are_left_out,
    too_many_bad_rows_stop_the_run,
    what_cannot_be_stored_is_found_before_somebody_confirms,
    a_source_that_never_succeeded_is_stale,
    operators_hear_of_a_sync_that_fails_or_waits,
    padding_of_a_postgres_is_no_part_of_a_value,
    padding_of_a_mysql_is_no_part_of_a_value,
);

fn left_out(run: &Value, kind: &str) -> u64 {
    run["changes"][kind]["left_out"]
        .as_u64()
        .unwrap_or_else(|| panic!("no {kind} in {run:#}"))
}

fn reasons(run: &Value) -> Vec<String> {
    run["changes"]["left_out"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["detail"].as_str().expect("a reason").to_owned())
        .collect()
}

/// Returns the changes of a run without examples and without values that depend on the time.
fn outcome(run: &Value) -> Value {
    let kinds = ["accounts", "people", "resources", "members", "collaborators"];
    json!([
        run["state"],
        kinds.map(|kind| run["changes"][kind].clone()),
        run["changes"]["left_out"]
    ])
}

/// Creates a small product in an SQLite file.
async fn product(env: &Env, queries: Value) -> (Shop, TestApp, String) {
    let shop = Shop::sqlite(env);
    shop.sql(
        "ALTER TABLE customers ADD COLUMN deleted INTEGER DEFAULT 0; ALTER TABLE users ADD COLUMN deleted INTEGER DEFAULT 0; \
         ALTER TABLE projects ADD COLUMN deleted INTEGER DEFAULT 0; DELETE FROM assets WHERE id NOT LIKE 'it''s-1%'",
    );
    let app = TestApp::start(env).await;
    let mut source = shop.source();
    source["max_gone_percent"] = json!(50);
    for (kind, query) in queries.as_object().expect("queries") {
        source["queries"][kind] = query.clone();
    }
    let id = made(&app, &source).await;
    (shop, app, id)
}

async fn filtered_accounts_are_archived_and_come_back(env: Env) {
    let filtered = json!({"accounts": "SELECT id, name FROM customers WHERE deleted = 0"});
    let (shop, app, id) = product(&env, filtered).await;
    assert_eq!(synced(&app, &id).await["state"], "done");
    shop.sql("UPDATE customers SET deleted = 1 WHERE id = 7");
    // New rows below an archived account are also left out.
    shop.sql("INSERT INTO projects VALUES (700, 7, 'New', 'pro', 0)");
    let promised = tried(&app, &id).await;
    let second = synced(&app, &id).await;
    assert_eq!(promised["sync"]["state"], "done", "{promised:#}");
    assert_eq!(
        promised["sync"]["changes"], second["changes"],
        "a test says what a sync says"
    );
    assert_eq!(second["state"], "done", "{second:#}");
    assert_eq!(second["changes"]["accounts"]["gone"], 1);
    assert_eq!(left_out(&second, "members"), 1, "{second:#}");
    assert_eq!(left_out(&second, "resources"), 3, "{second:#}");
    assert!(
        reasons(&second).contains(&"account '7' is not among the rows that this source brings".to_owned()),
        "{second:#}"
    );
    let mut before = None;
    for _ in 0..4 {
        let run = synced(&app, &id).await;
        assert_eq!(run["changes"]["accounts"]["gone"], 0, "{run:#}");
        assert_eq!(left_out(&run, "members"), 1);
        assert_eq!(left_out(&run, "resources"), 3);
        let now = outcome(&run);
        assert_eq!(
            before.get_or_insert(now.clone()),
            &now,
            "the same rows, the same outcome"
        );
    }
    assert_eq!(env.count("resources WHERE id = '700'"), 0);
    // When the account is restored, everything below it is there again.
    shop.sql("UPDATE customers SET deleted = 0");
    let back = synced(&app, &id).await;
    assert_eq!(back["state"], "done");
    assert_eq!(back["changes"]["left_out"], json!([]), "{back:#}");
    let member = app.get("/api/v1/accounts/7/members").await.expect(200);
    assert_eq!(member.items().len(), 1);
    let new = app.get("/api/v1/resources/project/700").await.expect(200);
    assert_eq!(new["belongs_to"], "7");
    let again = synced(&app, &id).await;
    assert_eq!(again["changes"]["resources"]["changed"], 0, "{again:#}");
    assert_eq!(again["changes"]["members"]["added"], 0, "{again:#}");
    app.finish().await;
}

/// Who is filtered before the first sync was never there. The members and resources below it are left out for the same reason
/// as they are after it was there.
async fn the_first_sync_ends_as_the_next_ones_do(env: Env) {
    let filtered = json!({"accounts": "SELECT id, name FROM customers WHERE deleted = 0"});
    let (shop, app, id) = product(&env, filtered).await;
    // 5 of 30: more than the share of rows that may be wrong.
    shop.sql("UPDATE customers SET deleted = 1 WHERE id BETWEEN 3 AND 7");
    let promised = tried(&app, &id).await;
    let first = synced(&app, &id).await;
    assert_eq!(first["state"], "done", "{first:#}");
    assert_eq!(promised["sync"]["state"], "done", "{promised:#}");
    assert_eq!(promised["sync"]["changes"], first["changes"]);
    assert_eq!(left_out(&first, "members"), 5, "{first:#}");
    assert_eq!(left_out(&first, "resources"), 10, "{first:#}");
    assert_eq!(first["changes"]["accounts"]["added"], 25);
    assert!(
        reasons(&first).contains(&"account '7' is not among the rows that this source brings".to_owned()),
        "{first:#}"
    );
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        let run = synced(&app, &id).await;
        assert_eq!(run["state"], "done", "{run:#}");
        assert_eq!(left_out(&run, "members"), 5);
        assert_eq!(run["changes"]["left_out"], first["changes"]["left_out"]);
        outcomes.push(outcome(&run));
    }
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[1], outcomes[2]);
    // They come, are filtered again, and the result is the one from before they came.
    shop.sql("UPDATE customers SET deleted = 0");
    assert_eq!(synced(&app, &id).await["changes"]["left_out"], json!([]));
    shop.sql("UPDATE customers SET deleted = 1 WHERE id BETWEEN 3 AND 7");
    let archived = synced(&app, &id).await;
    assert_eq!(archived["state"], "done", "{archived:#}");
    assert_eq!(
        archived["changes"]["left_out"], first["changes"]["left_out"],
        "{archived:#}"
    );
    assert_eq!(
        synced(&app, &id).await["changes"]["left_out"],
        first["changes"]["left_out"]
    );
    // What is wrong by itself still stops a run.
    shop.sql("UPDATE users SET email = 'nowhere' WHERE id > 26");
    let stopped = synced(&app, &id).await;
    assert_eq!(stopped["state"], "failed", "{stopped:#}");
    app.finish().await;
}

/// Queries that leave deleted people and projects out, and neither the assets below a project nor what is shared.
fn only_people_and_projects_filtered() -> Value {
    json!({
        "people": "SELECT id, name, email FROM users WHERE deleted = 0",
        "resources": "SELECT 'project' AS type, CAST(id AS TEXT) AS id, customer_id AS account, NULL AS parent_type, NULL AS parent_id \
                      FROM projects WHERE deleted = 0 \
                      UNION ALL SELECT 'asset', id, NULL, 'project', CAST(project_id AS TEXT) FROM assets",
        "collaborators": "SELECT 'project' AS resource_type, project_id AS resource_id, user_id AS person, role FROM shares",
    })
}

/// The same for people and for parents; and a query whose rows are all of it unusable is an error however it came to that.
async fn what_the_source_never_brings_is_no_error_of_one_kind_alone(env: Env) {
    let (shop, app, id) = product(&env, only_people_and_projects_filtered()).await;
    shop.sql("UPDATE users SET deleted = 1 WHERE id <= 6; UPDATE projects SET deleted = 1 WHERE id = 2");
    shop.sql("INSERT INTO assets VALUES ('below-2', 2)");
    let promised = tried(&app, &id).await;
    let runs = [synced(&app, &id).await, synced(&app, &id).await];
    assert_eq!(promised["sync"]["changes"], runs[0]["changes"], "{promised:#}");
    for run in &runs {
        assert_eq!(run["state"], "done", "{run:#}");
        assert_eq!(left_out(run, "members"), 6, "{run:#}");
        assert_eq!(left_out(run, "resources"), 1);
        // Of six people, and on project 2.
        assert!(left_out(run, "collaborators") >= 6, "{run:#}");
        assert_eq!(run["changes"]["left_out"], runs[0]["changes"]["left_out"]);
    }
    // A mistake in a query leaves out every member.
    let mistaken = json!({"queries": {
        "accounts": "SELECT id, name FROM customers",
        "people": "SELECT id, name, email FROM users",
        "members": "SELECT 'x' || customer_id AS account, id AS person, 'owner' AS role FROM users",
    }});
    app.patch(&format!("{SOURCES}/{id}"), &mistaken).await.expect(200);
    assert_eq!(tried(&app, &id).await["sync"]["state"], "failed");
    let run = synced(&app, &id).await;
    assert_eq!(run["state"], "failed", "{run:#}");
    assert!(
        run.to_string().contains("none of the 30 members can be used"),
        "{run:#}"
    );
    app.finish().await;
}

/// Where another source should have brought it, nothing says that it is left out on purpose.
async fn a_reference_to_a_kind_without_a_query_counts(env: Env) {
    let shop = Shop::sqlite(&env);
    let app = TestApp::start(&env).await;
    let mut source = shop.source();
    source["queries"] = json!({
        "people": "SELECT id, name, email FROM users",
        "members": "SELECT customer_id AS account, id AS person, 'owner' AS role FROM users",
    });
    let id = made(&app, &source).await;
    for _ in 0..2 {
        let run = synced(&app, &id).await;
        assert_eq!(run["state"], "failed", "{run:#}");
        assert!(
            run.to_string().contains("this source has no query for its kind"),
            "{run:#}"
        );
    }
    app.finish().await;
}

async fn filtered_people_and_parents_do_not_spoil_a_sync(env: Env) {
    let (shop, app, id) = product(&env, only_people_and_projects_filtered()).await;
    assert_eq!(synced(&app, &id).await["state"], "done");
    shop.sql("INSERT INTO assets VALUES ('below-2', 2), ('below-3', 3)");
    shop.sql("UPDATE projects SET deleted = 1 WHERE id = 2");
    shop.sql("UPDATE users SET deleted = 1 WHERE id = 9");
    let runs = [
        synced(&app, &id).await,
        synced(&app, &id).await,
        synced(&app, &id).await,
    ];
    for run in &runs {
        assert_eq!(run["state"], "done", "{run:#}");
        assert_eq!(left_out(run, "resources"), 1, "{run:#}");
        assert_eq!(left_out(run, "members"), 1);
        // The rows of person 9, and those on project 2.
        assert_eq!(left_out(run, "collaborators"), 2);
        for missing in ["person '9'", "project 2"] {
            let reason = format!("{missing} is not among the rows that this source brings");
            assert!(reasons(run).contains(&reason), "{run:#}");
        }
    }
    assert_eq!(outcome(&runs[1]), outcome(&runs[2]));
    app.get("/api/v1/resources/asset/below-3").await.expect(200);
    app.get("/api/v1/resources/asset/below-2")
        .await
        .expect_problem(404);
    // An account that was archived by hand is also archived for the source, unless the source contains it.
    let source = json!({"queries": {"members": "SELECT customer_id AS account, id AS person, 'owner' AS role FROM users"}});
    app.patch(&format!("{SOURCES}/{id}"), &source).await.expect(200);
    app.delete("/api/v1/accounts/5").await.expect(204);
    let run = synced(&app, &id).await;
    assert_eq!(run["state"], "done", "{run:#}");
    assert_eq!(left_out(&run, "members"), 2, "{run:#}");
    app.finish().await;
}

async fn one_bad_row_keeps_nobody_from_arriving(env: Env) {
    let (shop, app, id) = product(&env, json!({})).await;
    shop.sql("UPDATE users SET email = 'nobody at home' WHERE id = 3");
    let promised = tried(&app, &id).await;
    assert_eq!(promised["ok"], false);
    let first = synced(&app, &id).await;
    assert_eq!(first["state"], "done", "{first:#}");
    assert_eq!(promised["sync"]["changes"], first["changes"]);
    assert_eq!(first["changes"]["people"]["added"], 29);
    let bad = &first["changes"]["left_out"][0];
    assert_eq!(bad["kind"], "person", "{first:#}");
    assert_eq!(bad["key"], json!(["3"]));
    assert_eq!(bad["row"], 3);
    assert_eq!(bad["column"], "email");
    assert!(!first.to_string().contains("at home"), "{first:#}");
    // A row that refers to the left-out row is left out too.
    assert!(
        reasons(&first).contains(&"person '3' is left out".to_owned()),
        "{first:#}"
    );
    app.get("/api/v1/people/30").await.expect(200);
    // An existing entry stays unchanged if its row becomes invalid.
    shop.sql("UPDATE users SET email = 'user3@example.com' WHERE id = 3");
    assert_eq!(synced(&app, &id).await["changes"]["left_out"], json!([]));
    shop.sql("UPDATE users SET email = 'x@y@z', name = 'Renamed' WHERE id = 3");
    for _ in 0..2 {
        let run = synced(&app, &id).await;
        assert_eq!(left_out(&run, "people"), 1);
        assert_eq!(left_out(&run, "members"), 0, "{run:#}");
        assert_eq!(run["changes"]["people"]["gone"], 0);
    }
    let kept = app.get("/api/v1/people/3").await.expect(200);
    assert_eq!(kept["email"], "user3@example.com");
    assert_eq!(kept["gone_at"], Value::Null);
    let page = app.get("/metrics").await.expect(200).text;
    assert!(
        page.contains("candor_source_rows_left_out{source=\"the shop\"} 1"),
        "{page}"
    );
    app.finish().await;
}

async fn bad_rows_of_every_kind_are_left_out(env: Env) {
    let long = "x".repeat(300);
    let queries = json!({
        "accounts": format!("SELECT CAST(id AS TEXT) AS id, name, NULL AS time_zone, NULL AS labels FROM customers \
                     UNION ALL SELECT 'zone', 'Z', 'Mars/Olympus', NULL UNION ALL SELECT 'labels', 'L', NULL, '[1]' \
                     UNION ALL SELECT '{long}', 'long', NULL, NULL"),
        "people": "SELECT CAST(id AS TEXT) AS id, name, email, NULL AS locale FROM users \
                   UNION ALL SELECT NULL, 'nobody', '', NULL UNION ALL SELECT 'locale', 'L', '', 'no such language' \
                   UNION ALL SELECT 'twice', 'A', '', NULL UNION ALL SELECT 'twice', 'B', '', NULL",
        "resources": "SELECT 'project' AS type, CAST(id AS TEXT) AS id, CAST(customer_id AS TEXT) AS account, NULL AS parent_type, NULL AS parent_id FROM projects \
                      UNION ALL SELECT 'loop', 'a', NULL, 'loop', 'b' UNION ALL SELECT 'loop', 'b', NULL, 'loop', 'a' \
                      UNION ALL SELECT 'half', 'h', NULL, 'project', NULL \
                      UNION ALL SELECT 'stolen', 's', '2', 'project', '1' UNION ALL SELECT 'below', 't', NULL, 'stolen', 's'",
        "members": "SELECT customer_id AS account, CAST(id AS TEXT) AS person, CASE WHEN id = 4 THEN '' ELSE 'owner' END AS role FROM users \
                    UNION ALL SELECT '1', 'stranger', 'owner'",
        "collaborators": "SELECT 'project' AS resource_type, project_id AS resource_id, user_id AS person, role FROM shares \
                          UNION ALL SELECT 'project', 'nowhere', '1', 'editor'",
    });
    let (_shop, app, id) = product(&env, queries).await;
    let source = json!({"max_left_out_percent": 20});
    app.patch(&format!("{SOURCES}/{id}"), &source).await.expect(200);
    let promised = tried(&app, &id).await;
    let run = synced(&app, &id).await;
    assert_eq!(run["state"], "done", "{run:#}");
    assert_eq!(promised["sync"]["changes"], run["changes"]);
    let counts =
        ["accounts", "people", "resources", "members", "collaborators"].map(|kind| left_out(&run, kind));
    assert_eq!(counts, [3, 4, 5, 2, 1], "{run:#}");
    let again = [synced(&app, &id).await, synced(&app, &id).await];
    for run in &again {
        let counts =
            ["accounts", "people", "resources", "members", "collaborators"].map(|kind| left_out(run, kind));
        assert_eq!(counts, [3, 4, 5, 2, 1], "{run:#}");
        assert_eq!(run["changes"]["resources"]["added"], 0);
    }
    assert_eq!(outcome(&again[0]), outcome(&again[1]));
    assert_eq!(env.count("people WHERE id IN ('twice', 'locale')"), 0);
    assert_eq!(
        env.count("resources WHERE type IN ('loop', 'half', 'stolen', 'below')"),
        0
    );
    assert_eq!(env.count("directory_staged"), 0);
    app.finish().await;
}

async fn too_many_bad_rows_stop_the_run(env: Env) {
    let (shop, app, id) = product(&env, json!({})).await;
    shop.sql("UPDATE users SET email = 'nowhere' WHERE id <= 4");
    assert_eq!(tried(&app, &id).await["sync"]["state"], "failed");
    let run = synced(&app, &id).await;
    assert_eq!(run["state"], "failed", "4 of 30 are more than a tenth: {run:#}");
    let errors = run["errors"].as_array().expect("errors");
    assert_eq!(errors[0]["key"], json!(["1"]), "{run:#}");
    let why = errors.last().expect("an error")["detail"]
        .as_str()
        .expect("a reason");
    assert!(
        why.contains("4 of 30 people") && why.contains("max_left_out_percent"),
        "{why}"
    );
    assert_eq!(env.count("accounts"), 0, "nothing is stored half");
    let path = format!("{SOURCES}/{id}");
    app.patch(&path, json!({"max_left_out_percent": 101}))
        .await
        .expect_invalid("/max_left_out_percent");
    let changed = app
        .patch(&path, json!({"max_left_out_percent": 20}))
        .await
        .expect(200);
    assert_eq!(changed["max_left_out_percent"], 20);
    assert_eq!(synced(&app, &id).await["state"], "done");
    app.patch(&path, json!({"max_left_out_percent": 0}))
        .await
        .expect(200);
    shop.sql("UPDATE users SET email = '' WHERE id <= 3");
    assert_eq!(synced(&app, &id).await["state"], "failed", "none may be left out");
    app.finish().await;
}

async fn what_cannot_be_stored_is_found_before_somebody_confirms(env: Env) {
    let (shop, app, id) = product(&env, json!({})).await;
    assert_eq!(synced(&app, &id).await["state"], "done");
    // Most assets disappear, and one moves below a project while another owner has put something below it.
    app.put(
        "/api/v1/resources/asset/by-hand",
        json!({"account": "1", "parent": {"type": "project", "id": "1"}}),
    )
    .await
    .expect(201);
    shop.sql("DELETE FROM assets WHERE id <> 'it''s-1'");
    shop.sql("UPDATE projects SET customer_id = 2 WHERE id = 1");
    let promised = tried(&app, &id).await;
    let run = synced(&app, &id).await;
    assert_eq!(run["state"], "needs_confirmation", "{run:#}");
    assert_eq!(promised["sync"]["state"], "needs_confirmation", "{promised:#}");
    assert_eq!(promised["sync"]["changes"], run["changes"]);
    assert_eq!(left_out(&run, "resources"), 1, "{run:#}");
    assert_eq!(
        run["changes"]["left_out"][0]["key"],
        json!(["project", "1"]),
        "{run:#}"
    );
    let run = run["id"].as_str().expect("an id");
    app.post(&format!("{SOURCES}/{id}/runs/{run}/confirm"), json!({}))
        .await
        .expect(202);
    let confirmed = run_over(&app, &id, run).await;
    assert_eq!(confirmed["state"], "done", "{confirmed:#}");
    assert_eq!(left_out(&confirmed, "resources"), 1);
    let project = app.get("/api/v1/resources/project/1").await.expect(200);
    assert_eq!(project["belongs_to"], "1", "it stays as it was");
    app.finish().await;
}

async fn a_source_that_never_succeeded_is_stale(env: Env) {
    let (shop, app, id) = product(&env, json!({})).await;
    let stale = async || app.get("/api/v1/directory/status").await.expect(200)["stale"].clone();
    assert_eq!(stale().await, true);
    let metrics = app.get("/metrics").await.expect(200).text;
    assert!(
        metrics.contains("candor_source_stale{source=\"the shop\"} 1"),
        "{metrics}"
    );
    assert!(!metrics.contains("candor_source_age_seconds{"), "{metrics}");
    app.anonymous().get("/readyz").await.expect(200);
    assert_eq!(synced(&app, &id).await["state"], "done");
    assert_eq!(stale().await, false);
    shop.sql("DROP TABLE users");
    assert_eq!(synced(&app, &id).await["state"], "failed");
    let metrics = app.get("/metrics").await.expect(200).text;
    for line in [
        "candor_source_stale{source=\"the shop\"} 0",
        "candor_source_sync_failed{source=\"the shop\"} 1",
        "candor_source_sync_needs_confirmation{source=\"the shop\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    app.finish().await;
}

async fn operators_hear_of_a_sync_that_fails_or_waits(env: Env) {
    let (shop, app, id) = product(&env, json!({})).await;
    let operator = json!({"name": "On call", "email": "on-call@ours.example", "severities": ["critical"]});
    app.post("/api/v1/operators", operator).await.expect(201);
    let other = json!({"name": "Other", "email": "other@ours.example", "events": ["opened"]});
    app.post("/api/v1/operators", other).await.expect(201);
    let sent = async |n: usize| {
        eventually("messages", DEADLINE, async || {
            let all = app.all("/api/v1/operators/messages").await;
            (all.len() >= n && all.iter().all(|one| one["state"] == "sent")).then_some(all)
        })
        .await
    };
    // There is one message, however often the sync fails.
    shop.sql("UPDATE users SET email = 'secret at home'");
    for _ in 0..2 {
        assert_eq!(synced(&app, &id).await["state"], "failed");
    }
    let all = sent(1).await;
    assert_eq!(all[0]["event"], "sync_failed");
    assert_eq!(all[0]["incident"], Value::Null);
    assert_eq!(all[0]["operator_name"], "On call");
    shop.sql("UPDATE users SET email = ''");
    assert_eq!(synced(&app, &id).await["state"], "done");
    shop.sql("DELETE FROM assets");
    for _ in 0..2 {
        assert_eq!(synced(&app, &id).await["state"], "needs_confirmation");
    }
    let all = sent(2).await;
    assert_eq!(all[0]["event"], "sync_waiting", "{all:#?}");
    // The message leads to the source, whose page leads to the run that waits.
    let viewer = Browser::signed_in(&app, &app.token("viewer").await).await;
    let source = format!("/admin/directory/sources/{id}");
    let page = viewer.page("/admin/operators").await;
    assert!(page.contains(&format!("href=\"{source}\"")), "{page}");
    let page = viewer.page(&source).await;
    assert!(page.contains("Review and decide"), "{page}");
    // There is a new message if a sync has succeeded in between.
    shop.sql("UPDATE users SET name = ''");
    assert_eq!(synced(&app, &id).await["state"], "failed");
    let all = sent(3).await;
    assert_eq!(all.len(), 3, "{all:#?}");
    assert!(!format!("{all:?}").contains("at home"));
    app.finish().await;
}

async fn padding_of_a_postgres_is_no_part_of_a_value(env: Env) {
    if let Some(shop) = Shop::postgres() {
        is_not_padded(&env, &shop).await;
    }
}

async fn padding_of_a_mysql_is_no_part_of_a_value(env: Env) {
    if let Some(shop) = Shop::mysql() {
        is_not_padded(&env, &shop).await;
    }
}

async fn is_not_padded(env: &Env, shop: &Shop) {
    shop.sql("CREATE TABLE padded (id CHAR(8) PRIMARY KEY, name CHAR(20), email CHAR(40))");
    shop.sql("INSERT INTO padded VALUES ('a', 'Ann', 'ann@example.com'), ('b c', 'Bo B', 'bo@example.com')");
    let app = TestApp::start(env).await;
    let mut source = shop.source();
    source["queries"] = json!({"people": "SELECT id, name, email FROM padded"});
    let id = made(&app, &source).await;
    for _ in 0..2 {
        let run = synced(&app, &id).await;
        assert_eq!(run["state"], "done", "{run:#}");
        assert_eq!(run["changes"]["left_out"], json!([]));
    }
    let ann = app.get("/api/v1/people/a").await.expect(200);
    assert_eq!(
        (&ann["name"], &ann["email"]),
        (&json!("Ann"), &json!("ann@example.com"))
    );
    app.get("/api/v1/people/b%20c").await.expect(200);
    app.finish().await;
}
