//! A source reads the tables of a product. It gives no access to Candor's own secrets or to files of a
//! machine, and it never fills the memory.

use serde_json::{Value, json};

use crate::support::shop::{SOURCES, Shop, made, synced, tried};
use crate::support::{Backend, Env, OwnServer, TestApp, on_both_databases, run};

on_both_databases!(
    candors_own_database_is_no_source,
    a_copy_of_candors_database_is_no_source,
    a_url_names_a_user_and_a_password,
    a_sqlite_file_leads_to_no_other,
    a_sqlite_file_is_a_file_of_sqlite,
    a_postgres_reads_no_files,
    a_mysql_reads_no_files,
    a_large_value_of_a_sqlite_file_is_refused,
    a_large_value_of_a_postgres_is_refused,
    a_large_value_of_a_mysql_is_refused,
);

/// Checks that a test and a sync of these queries fail with the same error, and returns it.
async fn refused(app: &TestApp, name: &str, mut source: Value, queries: Value) -> String {
    source["name"] = json!(name);
    source["queries"] = queries;
    let id = made(app, &source).await;
    let look = tried(app, &id).await;
    assert_eq!(look["ok"], false, "{look:#}");
    let run = synced(app, &id).await;
    assert_eq!(run["state"], "failed", "{run:#}");
    let said = run["errors"][0]["detail"].as_str().expect("a reason").to_owned();
    let looked = match &look["error"] {
        Value::String(error) => error.clone(),
        _ => look["queries"][0]["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    };
    assert!(
        !looked.is_empty() && said.contains(&looked),
        "{looked} and {said}"
    );
    said
}

async fn candors_own_database_is_no_source(env: Env) {
    let app = TestApp::start(&env).await;
    let people = json!({"people": "SELECT name AS id, name, '' AS email FROM directory_sources"});
    let Some(path) = env.database_url.strip_prefix("sqlite://") else {
        let mut url = url::Url::parse(&env.database_url).expect("a URL");
        if url.password().is_none() {
            url.query_pairs_mut().append_pair("passwordless", "yes");
        }
        let source = json!({"kind": "postgres", "url": url.as_str()});
        let said = refused(&app, "own", source, people).await;
        assert!(said.contains("Candor's own tables"), "{said}");
        app.finish().await;
        return;
    };
    // The same file with another name is recognised when it is read.
    let link = env.directory.join("a link.db");
    std::os::unix::fs::symlink(path, &link).expect("a link");
    let source = json!({"name": "link", "kind": "sqlite", "url": format!("sqlite://{}", link.display()), "queries": people.clone()});
    app.post(SOURCES, &source).await.expect_invalid("/url");
    let hard = env.directory.join("hard.db");
    std::fs::hard_link(path, &hard).expect("a hard link");
    let source = json!({"name": "hard", "kind": "sqlite", "url": format!("sqlite://{}", hard.display()), "queries": people});
    app.post(SOURCES, &source).await.expect_invalid("/url");
    app.finish().await;
}

async fn a_copy_of_candors_database_is_no_source(env: Env) {
    let app = TestApp::start(&env).await;
    let copy = env.directory.join("restored.db");
    let url = candor::db::DatabaseUrl::Sqlite(copy.display().to_string());
    let db = candor::db::Db::open(url, candor::base::time::Clock::system())
        .await
        .expect("a new file");
    candor::db::migrate(&db).await.expect("Candor's tables");
    drop(db);
    let source = json!({"kind": "sqlite", "url": format!("sqlite://{}", copy.display())});
    let people = json!({"people": "SELECT name AS id, name, '' AS email FROM directory_sources"});
    let said = refused(&app, "copy", source, people).await;
    assert!(said.contains("Candor's own tables"), "{said}");
    app.finish().await;
}

/// A user who may read one of Candor's tables, or one column of it, or could by changing to another role, is refused.
#[test]
fn one_table_of_candors_is_too_much() {
    run(Backend::Sqlite, async |env: Env| {
        let Some(server) = OwnServer::start() else { return };
        let url = candor::db::DatabaseUrl::Postgres(server.url());
        let db = candor::db::Db::open(url, candor::base::time::Clock::system())
            .await
            .expect("a server");
        candor::db::migrate(&db).await.expect("Candor's tables");
        drop(db);
        let owner = Env {
            backend: Backend::Postgres,
            database_url: server.url(),
            directory: env.directory.clone(),
        };
        owner
            .sql("CREATE TABLE product (id INTEGER, name TEXT, email TEXT); INSERT INTO product VALUES (1, 'Ann', ''); \
                  CREATE ROLE holder; GRANT SELECT ON people TO holder")
            .expect("a product beside Candor's tables");
        let app = TestApp::start(&env).await;
        let people = "SELECT id, name, email FROM product";
        let source_of = |role: &str| {
            let url = server.url().replace("candor@", &format!("{role}@"));
            json!({"name": role, "kind": "postgres", "url": format!("{url}?passwordless=yes"), "queries": {"people": people}})
        };
        for (role, grant) in [
            ("of_settings", "GRANT SELECT ON settings TO of_settings"),
            ("of_tokens", "GRANT SELECT ON api_tokens TO of_tokens"),
            (
                "of_a_column",
                "GRANT SELECT (token_id) ON admin_sessions TO of_a_column",
            ),
            ("of_all", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO of_all"),
            ("of_a_role", "GRANT holder TO of_a_role"),
        ] {
            // It takes no rights by itself from a role that it is a member of.
            owner
                .sql(&format!(
                    "CREATE ROLE {role} LOGIN NOINHERIT; GRANT SELECT ON product TO {role}; {grant}"
                ))
                .expect(grant);
            let said = refused(&app, role, source_of(role), json!({"people": people})).await;
            assert!(said.contains("Candor's own tables"), "{grant}: {said}");
        }
        // Beside Candor's tables, a product of its own is a source like any other.
        owner
            .sql("CREATE ROLE of_product LOGIN; GRANT SELECT ON product TO of_product")
            .expect("a role");
        let id = made(&app, &source_of("of_product")).await;
        let look = tried(&app, &id).await;
        assert_eq!(look["ok"], true, "{look:#}");
        app.finish().await;
    });
}

async fn a_url_names_a_user_and_a_password(env: Env) {
    let app = TestApp::start(&env).await;
    for (kind, url) in [
        ("postgres", "postgres:///candor"),
        ("postgres", "postgres://reader@db.example/shop"),
        ("postgres", "postgres://reader:@db.example/shop"),
        ("postgres", "postgres:///shop?host=/run/postgresql&user=reader"),
        (
            "postgres",
            "postgres://reader:x@db.example/shop?passfile=/root/.pgpass",
        ),
        ("postgres", "postgres://reader@db.example/shop?passwordless=maybe"),
        ("mysql", "mysql://root@db.example/shop"),
        ("mysql", "mysql://db.example/shop"),
    ] {
        let source = json!({"name": "x", "kind": kind, "url": url, "queries": {"people": "SELECT 1"}});
        app.post(SOURCES, &source).await.expect_invalid("/url");
    }
    for (kind, url) in [
        ("postgres", "postgres://reader@db.example/shop?passwordless=yes"),
        ("mysql", "mysql://reader@db.example/shop?passwordless=yes"),
    ] {
        let source = json!({"name": kind, "kind": kind, "url": url, "queries": {"people": "SELECT 1"}});
        app.post(SOURCES, &source).await.expect(201);
    }
    app.finish().await;
}

async fn a_sqlite_file_leads_to_no_other(env: Env) {
    let shop = Shop::sqlite(&env);
    let app = TestApp::start(&env).await;
    for (index, query) in [
        "SELECT readfile('/etc/passwd') AS id, 'x' AS name, '' AS email",
        "SELECT load_extension('/tmp/x.so') AS id, 'x' AS name, '' AS email",
        "SELECT file AS id, name, '' AS email FROM pragma_database_list",
        "SELECT 1 AS id, 'x' AS name, '' AS email) AS q; ATTACH '/tmp/x.db' AS x; SELECT * FROM (SELECT 1 AS id",
    ]
    .into_iter()
    .enumerate()
    {
        let said = refused(&app, &format!("try {index}"), shop.source(), json!({"people": query})).await;
        let refusal = ["no such function", "not authorized", "prohibited", "syntax error", "multiple"];
        assert!(refusal.iter().any(|word| said.to_lowercase().contains(word)), "{query}: {said}");
    }
    app.finish().await;
}

async fn a_sqlite_file_is_a_file_of_sqlite(env: Env) {
    let app = TestApp::start(&env).await;
    let path = |name: &str| env.directory.join(name);
    std::fs::write(path("empty.db"), "").expect("a file");
    std::fs::write(path("text.db"), "id,name\n1,Ann\n").expect("a file");
    std::fs::write(path("long text.db"), "id,name\n".repeat(1_000)).expect("a file");
    std::fs::create_dir(path("folder.db")).expect("a folder");
    std::os::unix::fs::symlink("/proc/self/environ", path("link.db")).expect("a link");
    let pipe = std::process::Command::new("mkfifo").arg(path("pipe.db")).status();
    assert!(pipe.expect("mkfifo").success());
    let own = [
        "empty.db",
        "text.db",
        "long text.db",
        "folder.db",
        "link.db",
        "pipe.db",
        "missing.db",
    ];
    let files = own.map(|name| path(name).display().to_string());
    let others = [
        "/proc/self/environ",
        "/proc/version",
        "/proc/self/maps",
        "/dev/zero",
        "/dev/null",
        "/sys",
        "/",
    ];
    for (index, file) in files.iter().map(String::as_str).chain(others).enumerate() {
        // It reads no table, so that nothing but the file is wrong.
        let people = json!({"people": "SELECT 1 AS id, 'x' AS name, '' AS email"});
        let source = json!({"kind": "sqlite", "url": format!("sqlite://{file}")});
        let said = refused(&app, &format!("try {index}"), source, people).await;
        let reasons = [
            "not a regular file",
            "is an empty file",
            "not a database",
            "no such file",
        ];
        assert!(
            reasons.iter().any(|reason| said.contains(reason)),
            "{file}: {said}"
        );
    }
    app.finish().await;
}

async fn a_postgres_reads_no_files(env: Env) {
    let Some(shop) = Shop::postgres() else { return };
    let app = TestApp::start(&env).await;
    for (index, query) in [
        "SELECT pg_read_file('/etc/hostname') AS id, 'x' AS name, '' AS email",
        "SELECT name AS id, name, '' AS email FROM pg_ls_dir('/') AS name",
        "SELECT lo_import('/etc/hostname')::text AS id, 'x' AS name, '' AS email",
    ]
    .into_iter()
    .enumerate()
    {
        let said = refused(
            &app,
            &format!("try {index}"),
            shop.source(),
            json!({"people": query}),
        )
        .await;
        let refusal = ["permission denied", "read-only transaction"];
        assert!(refusal.iter().any(|word| said.contains(word)), "{query}: {said}");
    }
    app.finish().await;
}

async fn a_mysql_reads_no_files(env: Env) {
    let Some(shop) = Shop::mysql() else { return };
    let app = TestApp::start(&env).await;
    for (index, (query, why)) in [
        (
            "SELECT Load_File('/etc/passwd') AS id, 'x' AS name, '' AS email",
            "LOAD_FILE",
        ),
        (
            "SELECT 1 AS id, /*!50000 load_file('/etc/passwd') */ AS name, '' AS email",
            "LOAD_FILE",
        ),
        (
            "SELECT 1 AS id, 'x' AS name, '' AS email INTO OUTFILE '/tmp/x'",
            "INTO",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let said = refused(
            &app,
            &format!("try {index}"),
            shop.source(),
            json!({"people": query}),
        )
        .await;
        assert!(said.contains(why), "{query}: {said}");
    }
    // The user of the tests has all rights. A test and a sync warn about it.
    let id = made(&app, &shop.source()).await;
    let look = tried(&app, &id).await;
    let run = synced(&app, &id).await;
    for warnings in [&look["warnings"], &run["changes"]["warnings"]] {
        assert!(
            warnings[0].as_str().is_some_and(|said| said.contains("FILE")),
            "{warnings}"
        );
    }
    app.finish().await;
}

async fn a_large_value_of_a_sqlite_file_is_refused(env: Env) {
    let shop = Shop::sqlite(&env);
    let queries = [
        "SELECT id, hex(randomblob(150000000)) AS name, '' AS email FROM users",
        "SELECT id, name, '' AS email FROM users WHERE length(randomblob(300000000)) > 0",
        "SELECT id, printf('%.*c', 200000000, 'x') AS name, '' AS email FROM users",
    ];
    is_bounded(&env, &shop, &queries).await;
}

async fn a_large_value_of_a_postgres_is_refused(env: Env) {
    let Some(shop) = Shop::postgres() else { return };
    let queries = ["SELECT id, repeat('x', 50000000) AS name, '' AS email FROM users WHERE id <= 3"];
    is_bounded(&env, &shop, &queries).await;
}

async fn a_large_value_of_a_mysql_is_refused(env: Env) {
    let Some(shop) = Shop::mysql() else { return };
    let queries = ["SELECT id, REPEAT('x', 10000000) AS name, '' AS email FROM users"];
    is_bounded(&env, &shop, &queries).await;
}

async fn is_bounded(env: &Env, shop: &Shop, queries: &[&str]) {
    let app = TestApp::start(env).await;
    for (index, query) in queries.iter().enumerate() {
        let said = refused(
            &app,
            &format!("try {index}"),
            shop.source(),
            json!({"people": query}),
        )
        .await;
        assert!(said.contains("larger than 1024 KiB"), "{query}: {said}");
    }
    // Wide rows below the limit come in smaller pages, and none of them is lost.
    let wide = match shop.kind() {
        "sqlite" => "hex(zeroblob(200000))",
        "postgres" => "repeat('x', 400000)",
        _ => "REPEAT('x', 400000)",
    };
    let mut source = shop.source();
    source["queries"] = json!({"accounts": format!("SELECT id, name, CASE WHEN id = 0 THEN name ELSE {wide} END AS label_wide FROM customers")});
    let id = made(&app, &source).await;
    let run = synced(&app, &id).await;
    assert_eq!(run["state"], "failed", "{run:#}");
    let last = run["errors"]
        .as_array()
        .and_then(|all| all.last())
        .expect("an error");
    assert!(
        last["detail"]
            .as_str()
            .is_some_and(|said| said.contains("none of the 30 accounts")),
        "{run:#}"
    );
    app.finish().await;
}
