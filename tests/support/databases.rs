//! Creates a separate database for every test and removes it at the end, even if the test panics.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use candor::base::time::Clock;
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection};
use tempfile::TempDir;

use super::{postgres, templates};

/// A test that takes longer than this hangs.
const LONGEST: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// The database and the directory of one test.
#[derive(Clone, Debug)]
pub struct Env {
    pub backend: Backend,
    pub database_url: String,
    pub directory: PathBuf,
}

impl Env {
    /// Runs SQL directly on the database, for things that cannot be done from outside, such as tampering.
    pub fn sql(&self, statements: &str) -> diesel::QueryResult<()> {
        match self.backend {
            Backend::Sqlite => self.sqlite().batch_execute(statements),
            Backend::Postgres => self.postgres().batch_execute(statements),
        }
    }

    /// Returns the number of rows of a table, which may have a condition: `"deliveries WHERE state =
    /// 'sent'"`.
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

    /// Returns the values of one column, which the query must name `value`: `"SELECT name AS value FROM …"`.
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

    /// Prevents all other writes to an SQLite database until the returned connection is dropped.
    pub fn hold_writes(&self) -> SqliteConnection {
        let mut connection = self.sqlite();
        connection
            .batch_execute("BEGIN IMMEDIATE")
            .expect("the lock for writing");
        connection
    }

    /// Changes rows of a PostgreSQL database in a transaction that the returned connection has to end.
    pub fn hold_rows(&self, change: &str) -> PgConnection {
        let mut connection = self.postgres();
        connection
            .batch_execute(&format!("BEGIN; {change}"))
            .expect("the rows");
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

/// Makes the tests `name::sqlite` and `name::postgres` from each function `async fn(env: Env)`. After
/// `empty:` the database has no tables yet.
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

/// Makes the test `name::sqlite` from each function, for behaviour that does not depend on the database, such
/// as a parser, a page or a protocol.
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

/// Runs one test with a migrated database. If there is no PostgreSQL server, the test reports this and
/// passes, unless `CANDOR_REQUIRE_POSTGRES=1`.
pub fn run<Body, Running>(backend: Backend, body: Body)
where
    Body: FnOnce(Env) -> Running,
    Running: Future<Output = ()>,
{
    run_on(backend, Content::Migrated, body);
}

/// Runs one test with an empty database.
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
    // The database is created before the runtime, so that it is dropped after it, when nothing uses it any
    // more.
    let Some(database) = Database::create(backend, content) else {
        return;
    };
    let system = actix_web::rt::System::new();
    let mut test = Box::pin(body(database.env.clone()));
    system
        .block_on(async { tokio::time::timeout(LONGEST, test.as_mut()).await })
        .unwrap_or_else(|_| panic!("the test still ran after {LONGEST:?}"));
}

/// A second database for a test. It is removed when this value is dropped.
pub struct Another {
    pub env: Env,
    _database: Database,
}

impl Another {
    /// Creates an empty database of this kind.
    pub fn of(backend: Backend) -> Self {
        let database =
            Database::create(backend, Content::Empty).expect("the kind of database that the test runs on");
        Another {
            env: database.env.clone(),
            _database: database,
        }
    }
}

/// The content of a new database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// The database has the tables of the service without rows.
    Migrated,
    /// The database has no tables.
    Empty,
}

struct Database {
    env: Env,
    /// The name of the database, and the URL of the database from which it can be dropped.
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
                        // template0 is used, because template1 may have been changed or be in use.
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

/// Returns the folder for the files of the tests. It is in memory if there is enough space, because a commit
/// waits for the disk. `TMPDIR` overrides it.
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
        // This must not panic, because it may run during a panic.
        if let Err(error) = dropped {
            eprintln!("the database {name} stays behind: {error}");
        }
    }
}
