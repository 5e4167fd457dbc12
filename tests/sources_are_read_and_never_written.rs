//! An SQL source is tested, read, read again after changes, stopped if too much would be archived, and never
//! written. Each test uses a real database of its kind.

use serde_json::{Value, json};

use crate::support::shop::{ASSETS, CUSTOMERS, ROWS, SOURCES, Shop, made, run_over as over, synced};
use crate::support::{ADMIN_TOKEN, Binary, DEADLINE, Env, TestApp, eventually, on_both_databases};

on_both_databases!(
    a_sqlite_file_is_synced,
    a_postgres_is_synced,
    a_mysql_is_synced,
    a_sqlite_file_refuses_to_be_written,
    a_postgres_refuses_to_be_written,
    a_mysql_refuses_to_be_written,
    what_is_wrong_is_said_and_nothing_stored,
    a_source_is_checked_before_it_is_stored,
    a_source_runs_on_its_schedule,
    storing_shows_how_far_it_is,
    a_share_of_one_kind_is_too_much,
    two_sources_leave_each_others_rows_alone,
    a_tree_is_moved_as_a_whole,
    the_page_shows_every_state_of_a_source,
    a_preview_says_how_old_the_directory_is,
    the_command_syncs_and_says_what_changed,
);

fn change(run: &Value, kind: &str) -> [u64; 4] {
    ["added", "changed", "unchanged", "gone"].map(|word| {
        run["changes"][kind][word]
            .as_u64()
            .unwrap_or_else(|| panic!("no {kind} {word} in {run:#}"))
    })
}

async fn a_sqlite_file_is_synced(env: Env) {
    let shop = Shop::sqlite(&env);
    is_synced(&env, &shop).await;
}

async fn a_postgres_is_synced(env: Env) {
    if let Some(shop) = Shop::postgres() {
        is_synced(&env, &shop).await;
    }
}

async fn a_mysql_is_synced(env: Env) {
    if let Some(shop) = Shop::mysql() {
        is_synced(&env, &shop).await;
    }
}

async fn is_synced(env: &Env, shop: &Shop) {
    let app = TestApp::start(env).await;
    let id = made(&app, &shop.source()).await;
    let source = format!("{SOURCES}/{id}");

    // A test stores nothing.
    let look = app.post(&format!("{source}/test"), json!({})).await.expect(200);
    assert_eq!(look["ok"], true, "{look}");
    let resources = look["queries"]
        .as_array()
        .and_then(|all| all.iter().find(|query| query["kind"] == "resource"))
        .expect("the resources");
    assert_eq!(resources["total"], CUSTOMERS * 2 + ASSETS);
    assert_eq!(resources["rows"].as_array().expect("rows").len(), 10);
    assert_eq!(
        resources["rows"][0]["becomes"],
        json!({"kind": "resource", "type": "asset", "id": "it's-0", "parent": {"type": "project", "id": "1"}})
    );
    assert_eq!(env.count("resources"), 0);

    let first = synced(&app, &id).await;
    assert_eq!(first["state"], "done", "{first:#}");
    let (all, two) = (CUSTOMERS as u64, 2 * CUSTOMERS as u64);
    assert_eq!(change(&first, "accounts"), [all, 0, 0, 0]);
    assert_eq!(change(&first, "people"), [all, 0, 0, 0]);
    assert_eq!(change(&first, "resources"), [two + ASSETS as u64, 0, 0, 0]);
    assert_eq!(change(&first, "members"), [all, 0, 0, 0]);
    assert_eq!(change(&first, "collaborators"), [all, 0, 0, 0]);
    assert_eq!(first["progress"]["total"], ROWS, "{first:#}");
    let asset = app.get("/api/v1/resources/asset/it's-1099").await.expect(200);
    assert_eq!(asset["belongs_to"], "1");
    let project = app.get("/api/v1/resources/project/1").await.expect(200);
    assert_eq!(project["labels"], json!({"tier": "pro"}));
    assert_eq!(env.count("directory_staged"), 0);

    // Nothing changed, so nothing is stored.
    let again = synced(&app, &id).await;
    assert_eq!(change(&again, "resources"), [0, 0, two + ASSETS as u64, 0]);
    assert_eq!(change(&again, "collaborators"), [0, 0, all, 0]);

    // A changed row, a new row, and a deleted row.
    shop.sql("UPDATE users SET email = 'new@example.com' WHERE id = 2");
    shop.sql("UPDATE projects SET tier = 'free' WHERE id = 3");
    shop.sql("INSERT INTO assets VALUES ('added', 2)");
    shop.sql("DELETE FROM shares WHERE project_id = 4");
    shop.sql("DELETE FROM assets WHERE id = 'it''s-7'");
    let third = synced(&app, &id).await;
    assert_eq!(third["state"], "done", "{third:#}");
    assert_eq!(change(&third, "people"), [0, 1, all - 1, 0]);
    assert_eq!(change(&third, "resources"), [1, 1, two + ASSETS as u64 - 2, 1]);
    assert_eq!(change(&third, "collaborators"), [0, 0, all - 1, 1]);
    let examples = third["changes"]["examples"].as_array().expect("examples");
    let gone = json!({"kind": "resource", "change": "gone", "key": ["asset", "it's-7"]});
    assert!(examples.contains(&gone), "{examples:#?}");
    assert_eq!(
        app.get("/api/v1/people/2").await.expect(200)["email"],
        "new@example.com"
    );
    let left = app.get("/api/v1/resources/asset/it's-7").await.expect(200);
    assert_ne!(left["gone_at"], Value::Null, "history keeps it: {left}");
    assert_eq!(
        app.get("/api/v1/resources/project/4/collaborators")
            .await
            .expect(200)
            .items()
            .len(),
        0
    );
    // The deleted row returns.
    shop.sql("INSERT INTO assets VALUES ('it''s-7', 1)");
    assert_eq!(change(&synced(&app, &id).await, "resources")[0], 1);
    let back = app.get("/api/v1/resources/asset/it's-7").await.expect(200);
    assert_eq!(back["gone_at"], Value::Null);

    // Too much would be archived, so nothing is stored until it is confirmed.
    shop.sql("DELETE FROM assets WHERE id <> 'added'");
    shop.sql("UPDATE customers SET name = 'Renamed' WHERE id = 1");
    let stopped = synced(&app, &id).await;
    assert_eq!(stopped["state"], "needs_confirmation", "{stopped:#}");
    assert_eq!(change(&stopped, "resources")[3], ASSETS as u64);
    assert!(
        stopped["errors"][0]["detail"]
            .as_str()
            .is_some_and(|why| why.contains("10 %")),
        "{stopped:#}"
    );
    assert_eq!(
        app.get("/api/v1/accounts/1").await.expect(200)["name"],
        "Customer 1"
    );
    assert_eq!(env.count("resources WHERE gone_at IS NOT NULL"), 0);
    let status = app.get(&source).await.expect(200);
    assert_eq!(status["needs_confirmation"], stopped["id"]);
    let run = stopped["id"].as_str().expect("an id");
    app.as_new("operator")
        .await
        .post(&format!("{source}/runs/{run}/confirm"), json!({}))
        .await
        .expect_problem(403);
    app.post(&format!("{source}/runs/{run}/confirm"), json!({}))
        .await
        .expect(202);
    let confirmed = over(&app, &id, run).await;
    assert_eq!(confirmed["state"], "done", "{confirmed:#}");
    assert_eq!(env.count("resources WHERE gone_at IS NOT NULL"), ASSETS as i64);
    assert_eq!(app.get("/api/v1/accounts/1").await.expect(200)["name"], "Renamed");
    app.post(&format!("{source}/runs/{run}/confirm"), json!({}))
        .await
        .expect_problem(409);

    // The password appears nowhere.
    let secret = url::Url::parse(&shop.url())
        .ok()
        .and_then(|url| url.password().map(str::to_owned));
    let audit = app.get("/api/v1/audit/export").await.expect(200);
    for answer in [
        &app.get(SOURCES).await.expect(200),
        &app.get(&source).await.expect(200),
        &audit,
    ] {
        if let Some(secret) = &secret {
            assert!(!answer.text.contains(secret), "{}", answer.text);
        }
    }
    let runs = app.all(&format!("{source}/runs")).await;
    assert_eq!(runs.len(), 5);
    assert_eq!(runs[0]["id"], stopped["id"], "newest first");
    app.finish().await;
}

async fn a_sqlite_file_refuses_to_be_written(env: Env) {
    let shop = Shop::sqlite(&env);
    is_refused(
        &env,
        &shop,
        &[("DELETE FROM users RETURNING id, name, email", "syntax error")],
    )
    .await;
}

async fn a_postgres_refuses_to_be_written(env: Env) {
    let Some(shop) = Shop::postgres() else { return };
    shop.sql(
        "CREATE FUNCTION sneak() RETURNS SETOF users LANGUAGE plpgsql AS \
         'BEGIN DELETE FROM users; RETURN QUERY SELECT * FROM users; END'",
    );
    let tries = [
        ("SELECT id, name, email FROM sneak()", "read-only transaction"),
        ("DELETE FROM users RETURNING id, name, email", "syntax error"),
        (
            "SELECT id, name, email FROM users) AS q; COMMIT; DELETE FROM users; SELECT * FROM (SELECT 1 AS id",
            "multiple commands",
        ),
    ];
    is_refused(&env, &shop, &tries).await;
}

async fn a_mysql_refuses_to_be_written(env: Env) {
    let Some(shop) = Shop::mysql() else { return };
    shop.sql(
        "CREATE FUNCTION sneak() RETURNS INTEGER MODIFIES SQL DATA BEGIN DELETE FROM shares; RETURN 1; END",
    );
    let tries = [
        (
            "SELECT sneak() AS id, 'x' AS name, '' AS email",
            "READ ONLY transaction",
        ),
        ("DELETE FROM users", "syntax"),
        (
            "SELECT id, name, email FROM users) AS q; COMMIT; DELETE FROM users; SELECT * FROM (SELECT 1 AS id",
            "syntax",
        ),
    ];
    is_refused(&env, &shop, &tries).await;
}

/// Checks that the database itself refuses each query with the given reason.
async fn is_refused(env: &Env, shop: &Shop, tries: &[(&str, &str)]) {
    let app = TestApp::start(env).await;
    for (index, (query, why)) in tries.iter().enumerate() {
        let mut source = shop.source();
        source["name"] = json!(format!("try {index}"));
        source["queries"] = json!({"people": query});
        let id = made(&app, &source).await;
        let look = app
            .post(&format!("{SOURCES}/{id}/test"), json!({}))
            .await
            .expect(200);
        let said = look["queries"][0]["error"].as_str().unwrap_or_default();
        assert!(said.contains(why), "{query}: {look}");
        let run = synced(&app, &id).await;
        assert_eq!(run["state"], "failed", "{run:#}");
        let said = run["errors"][0]["detail"].as_str().unwrap_or_default();
        assert!(said.contains(why), "{query}: {run:#}");
    }
    // All data is still there.
    let id = made(&app, &shop.source()).await;
    let run = synced(&app, &id).await;
    assert_eq!(change(&run, "people")[0], CUSTOMERS as u64, "{run:#}");
    assert_eq!(change(&run, "collaborators")[0], CUSTOMERS as u64);
    app.finish().await;
}

async fn failed(app: &TestApp, shop: &Shop, name: &str, queries: Value) -> Value {
    let mut source = shop.source();
    source["name"] = json!(name);
    source["queries"] = queries;
    let id = made(app, &source).await;
    let run = synced(app, &id).await;
    assert_eq!(run["state"], "failed", "{run:#}");
    run["errors"].clone()
}

async fn what_is_wrong_is_said_and_nothing_stored(env: Env) {
    let shop = Shop::sqlite(&env);
    let app = TestApp::start(&env).await;
    shop.sql("UPDATE users SET email = 'nowhere' WHERE id = 3");
    let accounts = "SELECT id, name FROM customers";
    let errors = failed(
        &app,
        &shop,
        "b",
        json!({"people": "SELECT id, name, email, owns FROM users"}),
    )
    .await;
    assert_eq!(errors[0]["column"], "owns");
    let errors = failed(
        &app,
        &shop,
        "c",
        json!({"accounts": "SELECT zone AS id, name FROM customers"}),
    )
    .await;
    assert!(
        errors[0]["detail"]
            .as_str()
            .is_some_and(|why| why.contains("twice")),
        "{errors}"
    );
    let errors = failed(
        &app,
        &shop,
        "d",
        json!({"accounts": "SELECT CASE WHEN id > 5 THEN id END AS id, name FROM customers"}),
    )
    .await;
    assert_eq!(errors[0]["kind"], "account", "{errors}");
    assert!(
        errors[0]["detail"]
            .as_str()
            .is_some_and(|why| why.contains("5 rows have a null in id")),
        "{errors}"
    );
    // Members of an unknown account.
    let errors = failed(
        &app,
        &shop,
        "e",
        json!({"accounts": accounts, "members": "SELECT 1 AS account, 'nobody' AS person, 'owner' AS role"}),
    )
    .await;
    assert_eq!(errors[0]["key"], json!(["1", "nobody"]), "{errors}");
    assert!(
        errors[0]["detail"]
            .as_str()
            .is_some_and(|why| why.contains("does not exist")),
        "{errors}"
    );
    let errors = failed(
        &app,
        &shop,
        "f",
        json!({"resources": "SELECT 'p' AS type, id, 'p' AS parent_type, 31 - id AS parent_id FROM customers"}),
    )
    .await;
    assert!(
        errors[0]["detail"]
            .as_str()
            .is_some_and(|why| why.contains("cycle")),
        "{errors}"
    );
    for table in [
        "accounts",
        "people",
        "resources",
        "members",
        "directory_staged",
        "directory_origins",
    ] {
        assert_eq!(env.count(table), 0, "{table}");
    }
    // A test reports the same, row by row.
    let mut source = shop.source();
    source["queries"] = json!({"people": "SELECT id, name, email FROM users"});
    let id = made(&app, &source).await;
    let look = app
        .post(&format!("{SOURCES}/{id}/test"), json!({}))
        .await
        .expect(200);
    assert_eq!(look["ok"], false);
    let rows = look["queries"][0]["rows"].as_array().expect("rows");
    assert_eq!(rows[2]["errors"][0]["column"], "email", "{look}");
    assert_eq!(rows[3]["errors"], json!([]));
    app.finish().await;
}

async fn a_source_is_checked_before_it_is_stored(env: Env) {
    let app = TestApp::start(&env).await;
    let good = json!({"name": "shop", "kind": "postgres", "url": "postgres://u:geheim@db.example/shop", "queries": {"people": "SELECT 1"}});
    let with = |field: &str, value: Value| {
        let mut source = good.clone();
        source[field] = value;
        source
    };
    for (place, source) in [
        ("/name", with("name", json!(" "))),
        ("/url", with("url", json!("mysql://u:geheim@db.example/shop"))),
        ("/url", with("url", json!("postgres://u:***@db.example/shop"))),
        ("/kind", with("kind", json!("oracle"))),
        ("/queries", with("queries", json!({}))),
        ("/queries/people", with("queries", json!({"people": "  "}))),
        ("/queries/people", with("queries", json!({"people": "SELECT 1;"}))),
        (
            "/queries/persons",
            with("queries", json!({"persons": "SELECT 1"})),
        ),
        ("/schedule", with("schedule", json!("every day"))),
        ("/max_gone_percent", with("max_gone_percent", json!(101))),
        ("/stale_after", with("stale_after", json!(1))),
        ("/secret", with("secret", json!("whsec_x"))),
        ("/password", with("password", json!("x"))),
    ] {
        let answer = app.post(SOURCES, &source).await;
        assert!(!answer.text.contains("geheim"), "{}", answer.text);
        answer.expect_invalid(place);
    }
    if let Some(own) = env.database_url.strip_prefix("sqlite://") {
        let mut source = with("kind", json!("sqlite"));
        source["url"] = json!(format!("sqlite://{own}"));
        app.post(SOURCES, &source).await.expect_invalid("/url");
    }
    assert_eq!(env.count("directory_sources"), 0);

    let id = made(&app, &good).await;
    app.post(SOURCES, &good).await.expect_problem(409);
    let source = format!("{SOURCES}/{id}");
    let shown = app.get(&source).await.expect(200);
    assert_eq!(shown["url"], "postgres://u:***@db.example/shop");
    let changed = app
        .patch(&source, json!({"schedule": "0 3 * * *", "max_gone_percent": 5}))
        .await
        .expect(200);
    assert_eq!(changed["max_gone_percent"], 5);
    assert_ne!(changed["next_run_at"], Value::Null);
    let changed = app.patch(&source, json!({"schedule": null})).await.expect(200);
    assert_eq!(changed["next_run_at"], Value::Null);
    app.patch(&source, json!({"kind": "mysql"}))
        .await
        .expect_invalid("/kind");
    for role in ["operator", "viewer"] {
        let other = app.as_new(role).await;
        other.get(&source).await.expect(200);
        other.patch(&source, json!({})).await.expect_problem(403);
        other
            .post(&format!("{source}/sync"), json!({}))
            .await
            .expect_problem(403);
    }
    app.delete(&source).await.expect(204);
    app.delete(&source).await.expect_problem(404);
    assert_eq!(
        env.texts("SELECT COALESCE(url, '-') AS value FROM directory_sources"),
        ["-"]
    );
    let audit = app.get("/api/v1/audit/export").await.expect(200);
    assert!(!audit.text.contains("geheim"));
    app.finish().await;
}

async fn a_source_runs_on_its_schedule(env: Env) {
    let shop = Shop::sqlite(&env);
    let app = TestApp::builder(&env).at("2024-03-14T02:59:00Z").start().await;
    let mut source = shop.source();
    source["schedule"] = json!("0 3 * * *");
    source["queries"] = json!({"accounts": "SELECT id, name FROM customers"});
    let id = made(&app, &source).await;
    let source = format!("{SOURCES}/{id}");
    assert_eq!(
        app.get(&source).await.expect(200)["next_run_at"],
        "2024-03-14T03:00:00Z"
    );
    assert_eq!(
        app.get("/api/v1/directory/status").await.expect(200)["stale"],
        true,
        "it has never been read"
    );
    app.set_clock("2024-03-14T03:00:00Z");
    let ran = eventually("a run by itself", DEADLINE, async || {
        let status = app.get(&source).await.expect(200);
        (status["last_run"]["state"] == "done").then(|| status["last_run"].clone())
    })
    .await;
    assert_eq!(ran["cause"], "schedule");
    let status = app.get(&source).await.expect(200);
    assert_eq!(status["next_run_at"], "2024-03-15T03:00:00Z");
    assert_eq!(status["last_success_at"], "2024-03-14T03:00:00Z");
    assert_eq!(status["age_seconds"], 0);
    // The file does not exist any more. The next run fails, and the data becomes older.
    shop.sql("DROP TABLE customers");
    app.set_clock("2024-03-15T03:00:00Z");
    eventually("a run that fails", DEADLINE, async || {
        let status = app.get(&source).await.expect(200);
        (status["last_run"]["state"] == "failed").then_some(())
    })
    .await;
    app.set_clock("2024-03-17T02:00:00Z");
    let status = app.get("/api/v1/directory/status").await.expect(200);
    assert_eq!(status["stale"], true);
    assert_eq!(status["sources"][0]["age_seconds"], 71 * 3600);
    assert_eq!(env.count("accounts WHERE gone_at IS NULL"), CUSTOMERS as i64);
    app.finish().await;
}

async fn the_page_shows_every_state_of_a_source(env: Env) {
    let shop = Shop::sqlite(&env);
    let app = TestApp::start(&env).await;
    let mut source = shop.source();
    for (name, query) in [
        ("good", "SELECT id, name FROM customers"),
        ("bad", "SELECT missing FROM customers"),
        ("new", "SELECT 1"),
    ] {
        source["name"] = json!(name);
        source["queries"] = json!({"accounts": query});
        let id = made(&app, &source).await;
        if name != "new" {
            synced(&app, &id).await;
        }
    }
    let signed_in = app
        .anonymous()
        .post_raw(
            "/admin/sign-in",
            "application/x-www-form-urlencoded",
            format!("token={ADMIN_TOKEN}"),
        )
        .await
        .expect(303);
    let cookie = signed_in
        .header("set-cookie")
        .split(';')
        .next()
        .expect("a cookie");
    let page = app
        .anonymous()
        .request(reqwest::Method::GET, "/admin/directory")
        .header("cookie", cookie)
        .send()
        .await
        .expect(200)
        .text;
    for shown in [
        "accounts: 30 added",
        "Data from",
        "failed",
        "no such column",
        "never",
        "All sources",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    app.finish().await;
}

async fn storing_shows_how_far_it_is(env: Env) {
    let shop = Shop::sqlite(&env);
    let app = TestApp::start(&env).await;
    let mut source = shop.source();
    let many = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 20000) \
                SELECT id, 'Account ' || id AS name FROM n";
    source["queries"] = json!({"accounts": many});
    let id = made(&app, &source).await;
    let path = format!("/api/v1/directory/sources/{id}");
    let run = app
        .post(&format!("{path}/sync"), json!({}))
        .await
        .expect(202)
        .id();
    let mut seen = Vec::new();
    let run = eventually("the run to end", DEADLINE * 3, async || {
        let run = app.get(&format!("{path}/runs/{run}")).await.expect(200);
        if run["state"] == "applying" {
            assert_eq!(run["progress"]["total"], 20_000, "{run}");
            seen.push(run["progress"]["done"].as_i64().expect("a number"));
        }
        (run["state"] == "done").then_some(run.json.clone())
    })
    .await;
    assert_eq!(change(&run, "accounts")[0], 20_000);
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(seen.iter().any(|done| (1..=20_000).contains(done)), "{seen:?}");
    app.finish().await;
}

/// A few members are a very small share of all rows, but nobody would notify these owners.
async fn a_share_of_one_kind_is_too_much(env: Env) {
    let shop = Shop::sqlite(&env);
    let app = TestApp::start(&env).await;
    let id = made(&app, &shop.source()).await;
    synced(&app, &id).await;
    // A tenth may be archived, but not a quarter.
    shop.sql("UPDATE users SET owns = NULL WHERE id <= 3");
    let mut source = shop.source();
    source["queries"]["members"] =
        json!("SELECT customer_id AS account, id AS person, 'owner' AS role FROM users WHERE owns = 1");
    app.patch(
        &format!("{SOURCES}/{id}"),
        json!({"queries": source["queries"].clone()}),
    )
    .await
    .expect(200);
    let run = synced(&app, &id).await;
    assert_eq!(run["state"], "done", "{run:#}");
    assert_eq!(change(&run, "members")[3], 3);

    shop.sql("UPDATE users SET owns = NULL WHERE id <= 9");
    let run = synced(&app, &id).await;
    assert_eq!(run["state"], "needs_confirmation", "{run:#}");
    assert_eq!(
        run["errors"][0]["detail"],
        "6 of 27 members that this source created would be archived, which is more than 10 %"
    );
    assert_eq!(env.count("members WHERE gone_at IS NOT NULL"), 3);
    app.finish().await;
}

async fn two_sources_leave_each_others_rows_alone(env: Env) {
    let shop = Shop::sqlite(&env);
    let app = TestApp::start(&env).await;
    app.put("/api/v1/accounts/by-hand", json!({"name": "By hand"}))
        .await
        .expect(201);
    let mut ids = Vec::new();
    for (name, condition) in [("first", "id <= 20"), ("second", "id > 10")] {
        let mut source = shop.source();
        source["name"] = json!(name);
        source["max_gone_percent"] = json!(100);
        source["queries"] =
            json!({"accounts": format!("SELECT id, name FROM customers WHERE {condition} AND name <> 'x'")});
        ids.push(made(&app, &source).await);
        synced(&app, &ids[ids.len() - 1]).await;
    }
    // The second source has written 11 to 20 last, and the first one does not contain them any more.
    shop.sql("UPDATE customers SET name = 'x' WHERE id <= 20");
    let run = synced(&app, &ids[0]).await;
    // If all rows of a kind with ten rows disappear, the run must be confirmed, whatever the share is.
    assert_eq!(run["state"], "needs_confirmation", "{run:#}");
    let confirm = format!(
        "{SOURCES}/{}/runs/{}/confirm",
        ids[0],
        run["id"].as_str().expect("an id")
    );
    app.post(&confirm, json!({})).await.expect(202);
    let run = over(&app, &ids[0], run["id"].as_str().expect("an id")).await;
    assert_eq!(change(&run, "accounts"), [0, 0, 0, 10], "{run:#}");
    for (account, gone) in [
        ("1", true),
        ("10", true),
        ("11", false),
        ("30", false),
        ("by-hand", false),
    ] {
        let shown = app.get(&format!("/api/v1/accounts/{account}")).await.expect(200);
        assert_eq!(shown["gone_at"] != Value::Null, gone, "{account}");
    }
    // Deleting a source does not change its entries.
    app.delete(&format!("{SOURCES}/{}", ids[1])).await.expect(204);
    assert_eq!(env.count("accounts WHERE gone_at IS NULL"), 21);
    assert_eq!(env.count("directory_origins"), 0);
    app.finish().await;
}

async fn a_tree_is_moved_as_a_whole(env: Env) {
    let shop = Shop::sqlite(&env);
    let app = TestApp::start(&env).await;
    let mut source = shop.source();
    source["queries"] = json!({
        "accounts": "SELECT id, name FROM customers",
        // Every row names its account, and parents are sorted after their children.
        "resources": "SELECT 'project' AS type, CAST(id AS TEXT) AS id, customer_id AS account, NULL AS parent_type, NULL AS parent_id FROM projects \
                      UNION ALL SELECT 'asset', a.id, p.customer_id, 'project', a.project_id FROM assets a JOIN projects p ON p.id = a.project_id",
    });
    let id = made(&app, &source).await;
    let run = synced(&app, &id).await;
    assert_eq!(run["state"], "done", "{run:#}");
    shop.sql("UPDATE projects SET customer_id = 2 WHERE id = 1");
    let run = synced(&app, &id).await;
    assert_eq!(run["state"], "done", "{run:#}");
    assert_eq!(change(&run, "resources")[1], ASSETS as u64 + 1);
    let asset = app.get("/api/v1/resources/asset/it's-1").await.expect(200);
    assert_eq!(asset["belongs_to"], "2");
    app.finish().await;
}

async fn a_preview_says_how_old_the_directory_is(env: Env) {
    let shop = Shop::sqlite(&env);
    let app = TestApp::builder(&env).at("2024-03-14T12:00:00Z").start().await;
    let id = made(&app, &shop.source()).await;
    assert_eq!(synced(&app, &id).await["state"], "done");
    let incident =
        json!({"title": "Files are gone", "severity": "major", "affected": [{"type": "project", "id": "1"}]});
    let incident = app.post("/api/v1/incidents", incident).await.expect(201).id();
    let draft = json!({"phase": "detection", "message": "We are looking into it."});
    let notice = app
        .post(&format!("/api/v1/incidents/{incident}/notices"), draft)
        .await
        .expect(201)
        .id();
    let path = format!("/api/v1/notices/{notice}/preview");
    let fresh = app.get(&path).await.expect(200);
    assert_eq!(fresh["warnings"], json!([]), "{fresh}");
    assert_eq!(fresh["directory"][0]["age_seconds"], 0);
    app.set_clock("2024-03-17T12:00:00Z");
    let old = app.get(&path).await.expect(200);
    assert_eq!(
        old["warnings"],
        json!(["the directory from the shop is 3 days old"])
    );
    assert_eq!(old["directory"][0]["stale"], true);
    assert_eq!(old["digest"], fresh["digest"], "what is sent is the same");
    app.finish().await;
}

async fn the_command_syncs_and_says_what_changed(env: Env) {
    let shop = Shop::sqlite(&env);
    let app = TestApp::builder(&env).workers(false).start().await;
    made(&app, &shop.source()).await;
    app.finish().await;
    let candor = Binary::new(&env);
    let done = candor.run(["sync", "the shop"]).await.expect(0);
    assert!(
        done.stdout
            .contains("accounts: 30 added, 0 changed, 0 unchanged, 0 archived, 0 left out"),
        "{}",
        done.stdout
    );
    shop.sql("DELETE FROM assets");
    let stopped = candor.run(["sync", "the shop"]).await.expect(1);
    assert!(stopped.stderr.contains("confirm"), "{}", stopped.stderr);
    let unknown = candor.run(["sync", "the shed"]).await.expect(1);
    assert!(unknown.stderr.contains("not found"), "{}", unknown.stderr);
    candor.finish().await;
}
