//! A database of its own for every test, gone at its end whether it passed or panicked.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use candor::base::time::Clock;
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection};
use tempfile::TempDir;

use super::{postgres, templates};

/// A test that takes longer has hung.
const LONGEST: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// What a test gets: a database and a directory, both for it alone.
#[derive(Clone, Debug)]
pub struct Env {
    pub backend: Backend,
    pub database_url: String,
    pub directory: PathBuf,
}

impl Env {
    /// Runs SQL behind the service's back: for what cannot be done from outside, such as tampering.
    pub fn sql(&self, statements: &str) -> diesel::QueryResult<()> {
        match self.backend {
            Backend::Sqlite => self.sqlite().batch_execute(statements),
            Backend::Postgres => self.postgres().batch_execute(statements),
        }
    }

    /// How many rows a table has, or a table with a condition: `"deliveries WHERE state = 'sent'"`.
    pub fn count(&self, table: &str) -> i64 {
        #[derive(QueryableByName)]
        struct Counted {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            n: i64,
        }
        let query = diesel::sql_query(format!("SELECT count(*) AS n FROM {table}"));
        let counted: diesel::QueryResult<Counted> = match self.backend {
            Backend::Sqlite => query.get_result(&mut self.sqlite()),
            Backend::Postgres => query.get_result(&mut self.postgres()),
        };
        counted
            .unwrap_or_else(|error| panic!("counting {table}: {error}"))
            .n
    }

    /// The values of one column, which the query names `value`: `"SELECT name AS value FROM …"`.
    pub fn texts(&self, query: &str) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::Text)]
            value: String,
        }
        let prepared = diesel::sql_query(query);
        let rows: diesel::QueryResult<Vec<Row>> = match self.backend {
            Backend::Sqlite => prepared.get_results(&mut self.sqlite()),
            Backend::Postgres => prepared.get_results(&mut self.postgres()),
        };
        let rows = rows.unwrap_or_else(|error| panic!("{query}: {error}"));
        rows.into_iter().map(|row| row.value).collect()
    }

    /// Keeps everybody else from writing to an embedded database, until what this gives is dropped.
    pub fn hold_writes(&self) -> SqliteConnection {
        let mut connection = self.sqlite();
        connection
            .batch_execute("BEGIN IMMEDIATE")
            .expect("the lock for writing");
        connection
    }

    fn sqlite(&self) -> SqliteConnection {
        let path = self.database_url.trim_start_matches("sqlite://");
        let mut connection = SqliteConnection::establish(path).expect("a connection to the test's database");
        connection
            .batch_execute("PRAGMA busy_timeout = 10000")
            .expect("a timeout");
        connection
    }

    fn postgres(&self) -> PgConnection {
        PgConnection::establish(&self.database_url).expect("a connection to the test's database")
    }
}

/// Makes of each named function, `async fn(env: Env)`, the tests `name::sqlite` and `name::postgres`. After `empty:`
/// the database has no tables yet.
macro_rules! on_both_databases {
    (empty: $($name:ident),+ $(,)?) => { $crate::support::on_both_databases!(run_on_empty $($name)+); };
    ($($name:ident),+ $(,)?) => { $crate::support::on_both_databases!(run $($name)+); };
    ($run:ident $($name:ident)+) => { $(
        mod $name {
            #[test]
            fn sqlite() {
                $crate::support::$run($crate::support::Backend::Sqlite, super::$name);
            }

            #[test]
            fn postgres() {
                $crate::support::$run($crate::support::Backend::Postgres, super::$name);
            }
        }
    )+ };
}
pub(crate) use on_both_databases;

/// Makes of each named function the test `name::sqlite`: for what no database can change, such as a parser, a page
/// or a protocol.
macro_rules! on_one_database {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            #[test]
            fn sqlite() {
                $crate::support::run($crate::support::Backend::Sqlite, super::$name);
            }
        }
    )+ };
}
pub(crate) use on_one_database;

/// Runs one test on one migrated database. Without a PostgreSQL to run on it says so and passes, unless
/// `CANDOR_REQUIRE_POSTGRES=1`.
pub fn run<Body, Running>(backend: Backend, body: Body)
where
    Body: FnOnce(Env) -> Running,
    Running: Future<Output = ()>,
{
    run_on(backend, Content::Migrated, body);
}

/// The same on an empty database, for a test of what the service makes of one.
pub fn run_on_empty<Body, Running>(backend: Backend, body: Body)
where
    Body: FnOnce(Env) -> Running,
    Running: Future<Output = ()>,
{
    run_on(backend, Content::Empty, body);
}

fn run_on<Body, Running>(backend: Backend, content: Content, body: Body)
where
    Body: FnOnce(Env) -> Running,
    Running: Future<Output = ()>,
{
    // Before the runtime, so that it is dropped after it: nothing uses the database any more.
    let Some(database) = Database::create(backend, content) else {
        return;
    };
    let system = actix_web::rt::System::new();
    let mut test = Box::pin(body(database.env.clone()));
    system
        .block_on(async { tokio::time::timeout(LONGEST, test.as_mut()).await })
        .unwrap_or_else(|_| panic!("the test still ran after {LONGEST:?}"));
}

/// A second database of a test, gone when it is dropped.
pub struct Another {
    pub env: Env,
    _database: Database,
}

impl Another {
    /// One of this kind without tables.
    pub fn of(backend: Backend) -> Self {
        let database =
            Database::create(backend, Content::Empty).expect("the kind of database that the test runs on");
        Another {
            env: database.env.clone(),
            _database: database,
        }
    }
}

/// What is in a new database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// The tables of the service, without rows.
    Migrated,
    /// Nothing.
    Empty,
}

struct Database {
    env: Env,
    /// The database's name, and the URL of the one from which it can be dropped.
    on_server: Option<(String, String)>,
    _directory: TempDir,
}

impl Database {
    fn create(backend: Backend, content: Content) -> Option<Self> {
        let directory = tempfile::Builder::new()
            .prefix("candor-test-")
            .tempdir_in(place())
            .expect("a directory");
        let (database_url, on_server) = match backend {
            Backend::Sqlite => {
                let file = directory.path().join("candor.db");
                if content == Content::Migrated {
                    templates::copy_sqlite(&file);
                }
                (format!("sqlite://{}", file.display()), None)
            }
            Backend::Postgres => {
                let server = postgres::server()?;
                let name = format!(
                    "candor_test_{}",
                    candor::base::id::new_uuid(Clock::system().now()).simple()
                );
                match content {
                    Content::Migrated => templates::copy_postgres(server, &name),
                    Content::Empty => PgConnection::establish(server)
                        .expect("a connection to the PostgreSQL server")
                        // From template0: template1 may have been changed, or be in use.
                        .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"))
                        .expect("a new database"),
                }
                (
                    templates::on_server(server, &name),
                    Some((name, server.to_owned())),
                )
            }
        };
        let env = Env {
            backend,
            database_url,
            directory: directory.path().to_owned(),
        };
        Some(Self {
            env,
            on_server,
            _directory: directory,
        })
    }
}

/// Where the tests' files go: into memory where that has room, since a test waits for the disk at each commit.
/// `TMPDIR` overrides it.
fn place() -> PathBuf {
    const MEMORY: &str = "/dev/shm";
    const ROOM: u64 = 1 << 30;
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE
        .get_or_init(|| {
            let room = rustix::fs::statvfs(MEMORY).map_or(0, |found| found.f_bavail * found.f_frsize);
            if std::env::var_os("TMPDIR").is_none() && room >= ROOM && tempfile::tempfile_in(MEMORY).is_ok() {
                PathBuf::from(MEMORY)
            } else {
                std::env::temp_dir()
            }
        })
        .clone()
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some((name, server)) = &self.on_server else {
            return;
        };
        let dropped = PgConnection::establish(server)
            .map_err(|error| error.to_string())
            .and_then(|mut server| {
                server
                    .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
                    .map_err(|error| error.to_string())
            });
        // No panic: this may run because of one.
        if let Err(error) = dropped {
            eprintln!("the database {name} stays behind: {error}");
        }
    }
}
