//! An example product with its own database: customers, users, projects, assets and shares. It exists in
//! every kind of database that a source can have.

use std::path::{Path, PathBuf};

use candor::base::id::new_uuid;
use candor::base::time::Clock;
use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use mysql::prelude::Queryable;
use serde_json::{Value, json};

use super::databases::{Another, Backend, Env};
use super::{DEADLINE, TestApp, eventually, mysql_server};

/// The number of customers of the shop. Each has one user and two projects, and shares the first project with
/// the next customer's user.
pub const CUSTOMERS: usize = 30;
/// The number of assets of the first project. They need more than one page.
pub const ASSETS: usize = 1_100;
/// The number of rows that a source reads from the shop.
pub const ROWS: usize = CUSTOMERS * 6 + ASSETS;

enum Store {
    Sqlite(PathBuf),
    Postgres(Box<Another>),
    Mysql { url: String, name: String },
}

/// The product. It is removed when this value is dropped.
pub struct Shop(Store);

const SCHEMA: &str = "
    CREATE TABLE customers (id INTEGER PRIMARY KEY, name VARCHAR(100), zone VARCHAR(100));
    CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(100), email VARCHAR(100), customer_id INTEGER, owns INTEGER);
    CREATE TABLE projects (id INTEGER PRIMARY KEY, customer_id INTEGER, title VARCHAR(100), tier VARCHAR(20));
    CREATE TABLE assets (id VARCHAR(40) PRIMARY KEY, project_id INTEGER);
    CREATE TABLE shares (project_id INTEGER, user_id INTEGER, role VARCHAR(20), PRIMARY KEY (project_id, user_id))";

fn rows() -> Vec<String> {
    let list = |table: &str, rows: Vec<String>| format!("INSERT INTO {table} VALUES {}", rows.join(","));
    let all = || 1..=CUSTOMERS;
    vec![
        list(
            "customers",
            all()
                .map(|c| format!("({c}, 'Customer {c}', 'Europe/Berlin')"))
                .collect(),
        ),
        list(
            "users",
            all()
                .map(|c| format!("({c}, 'O''Neil {c}', 'user{c}@example.com', {c}, 1)"))
                .collect(),
        ),
        list(
            "projects",
            all()
                .flat_map(|c| [(c, "pro"), (c + CUSTOMERS, "free")].map(|(p, tier)| (p, c, tier)))
                .map(|(p, c, tier)| format!("({p}, {c}, 'Project {p}', '{tier}')"))
                .collect(),
        ),
        list(
            "assets",
            (0..ASSETS).map(|a| format!("('it''s-{a}', 1)")).collect(),
        ),
        list(
            "shares",
            all()
                .map(|c| format!("({c}, {}, 'editor')", c % CUSTOMERS + 1))
                .collect(),
        ),
    ]
}

impl Shop {
    /// Creates the shop in a file in the directory of the test.
    pub fn sqlite(env: &Env) -> Self {
        Self::filled(Store::Sqlite(env.directory.join("shop 100%.db")))
    }

    /// Creates the shop in its own database on the server of the tests. If there is no server, it reports
    /// this and returns `None`.
    pub fn postgres() -> Option<Self> {
        super::postgres::server()?;
        Some(Self::filled(Store::Postgres(Box::new(Another::of(
            Backend::Postgres,
        )))))
    }

    /// Creates the shop in its own database on a MySQL or MariaDB server. If there is no server, it reports
    /// this and returns `None`.
    pub fn mysql() -> Option<Self> {
        let server = mysql_server::url()?;
        let name = format!("shop_{}", new_uuid(Clock::system().now()).simple());
        let mut conn = mysql::Conn::new(mysql::Opts::from_url(server).expect("a URL")).expect("a connection");
        conn.query_drop(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"))
            .expect("a new database");
        let mut url = url::Url::parse(server).expect("a URL");
        url.set_path(&name);
        Some(Self::filled(Store::Mysql {
            url: url.to_string(),
            name,
        }))
    }

    fn filled(store: Store) -> Self {
        let shop = Shop(store);
        for statement in SCHEMA.split(';').map(str::to_owned).chain(rows()) {
            shop.sql(&statement);
        }
        shop
    }

    /// Runs a statement of the product.
    #[track_caller]
    pub fn sql(&self, statement: &str) {
        let done = match &self.0 {
            Store::Sqlite(path) => sqlite(path)
                .batch_execute(statement)
                .map_err(|error| error.to_string()),
            Store::Postgres(database) => database.env.sql(statement).map_err(|error| error.to_string()),
            Store::Mysql { url, .. } => mysql::Opts::from_url(url)
                .map_err(mysql::Error::from)
                .and_then(mysql::Conn::new)
                .and_then(|mut conn| conn.query_drop(statement))
                .map_err(|error| error.to_string()),
        };
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// Returns the number of statements that run on its server and contain this text. A file has no server.
    pub fn running(&self, text: &str) -> i64 {
        match &self.0 {
            Store::Sqlite(_) => 0,
            Store::Postgres(database) => database.env.count(&format!(
                "pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                 AND state = 'active' AND query LIKE '%{text}%'"
            )),
            Store::Mysql { url, name } => {
                let mut conn =
                    mysql::Conn::new(mysql::Opts::from_url(url).expect("a URL")).expect("a connection");
                conn.query_first::<i64, _>(format!(
                    "SELECT COUNT(*) FROM information_schema.processlist \
                     WHERE db = '{name}' AND id <> CONNECTION_ID() AND info LIKE '%{text}%'"
                ))
                .expect("the list of statements")
                .expect("a count")
            }
        }
    }

    /// Returns the database, if it is a PostgreSQL database.
    pub fn database(&self) -> Option<&Env> {
        match &self.0 {
            Store::Postgres(database) => Some(&database.env),
            Store::Sqlite(_) | Store::Mysql { .. } => None,
        }
    }

    /// Returns the kind of the database as a source names it.
    pub fn kind(&self) -> &'static str {
        match &self.0 {
            Store::Sqlite(_) => "sqlite",
            Store::Postgres(_) => "postgres",
            Store::Mysql { .. } => "mysql",
        }
    }

    /// Returns the URL of the database.
    pub fn url(&self) -> String {
        let url = match &self.0 {
            Store::Sqlite(path) => return format!("sqlite://{}", path.display()),
            Store::Postgres(database) => &database.env.database_url,
            Store::Mysql { url, .. } => url,
        };
        let mut parsed = url::Url::parse(url).expect("a URL");
        if parsed.password().is_none() {
            parsed.query_pairs_mut().append_pair("passwordless", "yes");
        }
        parsed.to_string()
    }

    /// Returns a source that reads the whole shop.
    pub fn source(&self) -> Value {
        // PostgreSQL fills CHAR with spaces, and MySQL can cast text only to CHAR.
        let text = match &self.0 {
            Store::Mysql { .. } => "CHAR(40)",
            Store::Sqlite(_) | Store::Postgres(_) => "VARCHAR(40)",
        };
        let resources = format!(
            "SELECT 'project' AS type, CAST(id AS {text}) AS id, title AS name, customer_id AS account, NULL AS parent_type, \
                    NULL AS parent_id, tier AS label_tier FROM projects \
             UNION ALL SELECT 'asset', id, NULL, NULL, 'project', CAST(project_id AS {text}), NULL FROM assets"
        );
        json!({
            "name": "the shop", "kind": self.kind(), "url": self.url(),
            "queries": {
                "accounts": "SELECT id, name, zone AS time_zone FROM customers -- all of them",
                "people": "SELECT id, name, email FROM users",
                "resources": resources,
                "members": "SELECT customer_id AS account, id AS person, \
                                   CASE WHEN owns = 1 THEN 'owner' ELSE 'member' END AS role FROM users",
                "collaborators": "SELECT 'project' AS resource_type, project_id AS resource_id, user_id AS person, role FROM shares",
            }
        })
    }
}

/// The path of the sources.
pub const SOURCES: &str = "/api/v1/directory/sources";

/// Creates a source and returns its ID.
pub async fn made(app: &TestApp, source: &Value) -> String {
    app.post(SOURCES, source).await.expect(201).id()
}

/// Returns the result of the test of a source.
pub async fn tried(app: &TestApp, source: &str) -> Value {
    app.post(&format!("{SOURCES}/{source}/test"), json!({}))
        .await
        .expect(200)
        .json
        .clone()
}

/// Syncs a source, waits until the run has ended, and returns the run.
pub async fn synced(app: &TestApp, source: &str) -> Value {
    let run = app
        .post(&format!("{SOURCES}/{source}/sync"), json!({}))
        .await
        .expect(202)
        .id();
    run_over(app, source, &run).await
}

/// Waits until a run has ended and returns it.
pub async fn run_over(app: &TestApp, source: &str, run: &str) -> Value {
    eventually("the end of a run", DEADLINE * 3, async || {
        let run = app
            .get(&format!("{SOURCES}/{source}/runs/{run}"))
            .await
            .expect(200);
        let state = run["state"].as_str().expect("a state").to_owned();
        let over = ["done", "failed", "needs_confirmation", "superseded"].contains(&state.as_str());
        over.then(|| run.json.clone())
    })
    .await
}

fn sqlite(path: &Path) -> SqliteConnection {
    let mut conn = SqliteConnection::establish(&path.display().to_string()).expect("the shop's file");
    conn.batch_execute("PRAGMA busy_timeout = 10000")
        .expect("a timeout");
    conn
}

impl Drop for Shop {
    fn drop(&mut self) {
        if let Store::Mysql { url, name } = &self.0 {
            let dropped = mysql::Opts::from_url(url)
                .map_err(mysql::Error::from)
                .and_then(mysql::Conn::new)
                .and_then(|mut conn| conn.query_drop(format!("DROP DATABASE {name}")));
            // This must not panic, because it may run during a panic.
            if let Err(error) = dropped {
                eprintln!("the database {name} stays behind: {error}");
            }
        }
    }
}
