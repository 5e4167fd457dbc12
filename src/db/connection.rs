//! Opens connections: the kind of database, its settings, and the pools.
//!
//! Every connection has its safety settings (foreign keys, full synchronisation, UTC).

use std::time::{Duration, Instant};

use diesel::connection::{SimpleConnection, TransactionManager, TransactionManagerStatus};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::r2d2::ManageConnection;
use diesel::sqlite::SqliteConnection;

use super::file;

/// A connection to one of the two databases. Domain functions take `&mut Conn`.
#[derive(diesel::MultiConnection)]
pub enum Conn {
    /// A connection to an SQLite file.
    Sqlite(SqliteConnection),
    /// A connection to a PostgreSQL server.
    Pg(PgConnection),
}

/// The database that the setting `CANDOR_DATABASE_URL` names.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// The path of `sqlite://PATH`.
    Sqlite(String),
    /// A URL `postgres://…` in the form of libpq. It may contain a password.
    Postgres(String),
}

impl DatabaseUrl {
    /// Parses the setting.
    ///
    /// # Errors
    /// A sentence, if the scheme is unknown or the path is missing. It does not repeat the URL, which may
    /// contain a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("sqlite://") {
            // SQLite interprets a text that begins with `file:` as a URI, and then uses another path than the
            // text.
            if path.is_empty() || path.contains('?') || path.starts_with("file:") || path.starts_with(':') {
                return Err("must be sqlite://PATH with the path of a file and nothing after it".to_owned());
            }
            return Ok(DatabaseUrl::Sqlite(path.to_owned()));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let asks_for_tls = ["sslmode=require", "sslmode=verify-ca", "sslmode=verify-full"];
            if !cfg!(feature = "postgres-tls") && asks_for_tls.iter().any(|mode| text.contains(mode)) {
                return Err(
                    "asks for TLS (sslmode), which this build does not have; build Candor with \
                     --features postgres-tls"
                        .to_owned(),
                );
            }
            return Ok(DatabaseUrl::Postgres(text.to_owned()));
        }
        Err("must begin with sqlite:// or postgres://".to_owned())
    }

    /// Returns the path of an SQLite database.
    pub fn sqlite_path(&self) -> Option<&str> {
        match self {
            DatabaseUrl::Sqlite(path) => Some(path),
            DatabaseUrl::Postgres(_) => None,
        }
    }

    /// Returns `SQLite` or `PostgreSQL`, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            DatabaseUrl::Sqlite(_) => "SQLite",
            DatabaseUrl::Postgres(_) => "PostgreSQL",
        }
    }
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    Write,
    /// The connection may do everything, and no other process of Candor is connected.
    Alone,
}

/// The number of a PostgreSQL lock. Each connection of Candor holds it as shared, and a restore takes it
/// exclusively. So a restore knows whether a process is connected.
const CONNECTED: i64 = 727_003;
/// The class of a PostgreSQL lock. Each connection of a process that serves with an admin token holds it as
/// shared, together with a number that is made from the token.
const ADMIN_TOKEN: i32 = 727_005;
/// How many times a restore checks whether the last process has disconnected.
const LOOKS: u32 = 20;
/// How long a connection waits for a file that another process is switching to the write-ahead log.
const SWITCHING: Duration = Duration::from_secs(10);

pub(super) struct PoolSizes {
    /// The number of reading connections. 0 means that reads use the pool of the writers.
    pub readers: u32,
    pub writers: u32,
}

pub(super) fn pool_sizes(url: &DatabaseUrl) -> PoolSizes {
    match url {
        DatabaseUrl::Sqlite(_) => {
            let cores = std::thread::available_parallelism().map_or(2, |n| n.get() as u32);
            PoolSizes {
                readers: (cores * 2).clamp(4, 16),
                writers: 1,
            }
        }
        DatabaseUrl::Postgres(_) => PoolSizes {
            readers: 0,
            writers: 12,
        },
    }
}

fn bad(reason: impl Into<String>) -> diesel::r2d2::Error {
    diesel::r2d2::Error::ConnectionError(ConnectionError::BadConnection(reason.into()))
}

/// Opens a connection. `admin` is a number for the admin token of a process that serves, see
/// [`super::Db::open_serving`].
pub(super) fn connect(
    url: &DatabaseUrl,
    mode: Mode,
    admin: Option<i32>,
) -> Result<Conn, diesel::r2d2::Error> {
    use diesel::r2d2::Error;
    match url {
        DatabaseUrl::Sqlite(path) => {
            file::create_private(path).map_err(|error| bad(format!("{path}: {error}")))?;
            let mut conn = SqliteConnection::establish(path).map_err(Error::ConnectionError)?;
            conn.batch_execute("PRAGMA busy_timeout = 10000;")
                .map_err(Error::QueryError)?;
            use_log(&mut conn).map_err(Error::QueryError)?;
            // FULL is needed, because data that was answered with 2xx must survive a power failure.
            conn.batch_execute(
                "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;",
            )
            .map_err(Error::QueryError)?;
            // Each connection has its own cache, and below it is the cache of the operating system. There are
            // many readers, so each of them gets a small cache.
            let own = match mode {
                Mode::Read => "PRAGMA query_only = ON; PRAGMA cache_size = -4000;",
                Mode::Write | Mode::Alone => "PRAGMA wal_autocheckpoint = 4000;",
            };
            conn.batch_execute(own).map_err(Error::QueryError)?;
            if mode != Mode::Read {
                keep_pages(&mut conn, Pages::Usual).map_err(Error::QueryError)?;
            }
            Ok(Conn::Sqlite(conn))
        }
        DatabaseUrl::Postgres(url) => {
            let mut conn =
                PgConnection::establish(url).map_err(|error| Error::ConnectionError(discreet(error)))?;
            // JIT compilation takes longer than it saves for the queries of Candor.
            conn.batch_execute(
                "SET TIME ZONE 'UTC'; SET client_min_messages = warning; SET lock_timeout = '10s'; SET jit = off;",
            )
            .map_err(Error::QueryError)?;
            announce(&mut conn, mode, admin)?;
            Ok(Conn::Pg(conn))
        }
    }
}

/// Switches the file to the write-ahead log. If two processes do this at the same time on a new file, SQLite
/// may report at once that it is locked and ignore the timeout.
fn use_log(conn: &mut SqliteConnection) -> QueryResult<()> {
    let began = Instant::now();
    loop {
        match conn.batch_execute("PRAGMA journal_mode = WAL;") {
            Err(error) if is_locked(&error) && began.elapsed() < SWITCHING => {
                std::thread::sleep(Duration::from_millis(20));
            }
            done => return done,
        }
    }
}

/// Returns whether SQLite refused because another connection uses the file at the moment.
pub(super) fn is_locked(error: &diesel::result::Error) -> bool {
    matches!(error, diesel::result::Error::DatabaseError(_, information)
        if ["database is locked", "database schema is locked", "database table is locked"]
            .iter()
            .any(|text| information.message().starts_with(text)))
}

#[derive(QueryableByName)]
struct LockTaken {
    #[diesel(sql_type = diesel::sql_types::Bool)]
    taken: bool,
}

/// Takes the shared lock that shows other processes that this one is connected. In the mode `Alone`, it
/// checks instead that no other process is connected.
fn announce(conn: &mut PgConnection, mode: Mode, admin: Option<i32>) -> Result<(), diesel::r2d2::Error> {
    use diesel::r2d2::Error;
    let mut take = |statement: &str| {
        diesel::sql_query(statement)
            .get_result::<LockTaken>(conn)
            .map(|taken| taken.taken)
            .map_err(Error::QueryError)
    };
    let (statement, refusal) = if mode == Mode::Alone {
        let refusal =
            "a process of Candor is still connected to it; stop every serve, worker and command first";
        ("pg_try_advisory_lock", refusal)
    } else {
        let refusal = "it is being restored; try again after the restore has finished";
        ("pg_try_advisory_lock_shared", refusal)
    };
    let mut looks = 1;
    while !take(&format!("SELECT {statement}({CONNECTED}) AS taken"))? {
        if looks == LOOKS {
            return Err(bad(refusal));
        }
        // The server needs a moment to notice that a process has ended.
        looks += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    if mode == Mode::Alone {
        return Ok(());
    }
    if let Some(key) = admin {
        // This waits only briefly, because another process holds this lock exclusively only while it checks
        // whether the token is in use.
        conn.batch_execute(&format!("SELECT pg_advisory_lock_shared({ADMIN_TOKEN}, {key})"))
            .map_err(Error::QueryError)?;
    }
    Ok(())
}

/// Returns the number of an admin token for the shared lock, made from the hash of the token.
pub(super) fn admin_key(hash: &str) -> i32 {
    let first = hash
        .get(..8)
        .and_then(|first| u32::from_str_radix(first, 16).ok());
    first.unwrap_or_default().cast_signed()
}

/// Returns whether another process serves with the admin token of this hash. It must be called in a
/// transaction.
pub(super) fn serves_with(conn: &mut PgConnection, hash: &str) -> QueryResult<bool> {
    let statement = format!(
        "SELECT pg_try_advisory_xact_lock({ADMIN_TOKEN}, {}) AS taken",
        admin_key(hash)
    );
    let free: LockTaken = diesel::sql_query(statement).get_result(conn)?;
    Ok(!free.taken)
}

/// How much of the file a writing SQLite connection keeps in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// The connection keeps 16 MB, which is the default of Candor.
    Usual,
    /// 64 MB. This is enough for the pages of every index that a large import needs repeatedly.
    Many,
}

pub(super) fn keep_pages(conn: &mut SqliteConnection, pages: Pages) -> QueryResult<()> {
    conn.batch_execute(match pages {
        Pages::Usual => "PRAGMA cache_size = -16000;",
        Pages::Many => "PRAGMA cache_size = -64000;",
    })
}

/// Removes the URL from an error. libpq repeats a URL that it cannot parse, including the password. The text
/// of a server or of the network is safe and is kept as one line.
pub(super) fn discreet(error: ConnectionError) -> ConnectionError {
    match error {
        ConnectionError::BadConnection(text)
            if ["connection to server", "could not translate", "sslmode"]
                .iter()
                .any(|start| text.starts_with(start)) =>
        {
            ConnectionError::BadConnection(text.split_whitespace().collect::<Vec<_>>().join(" "))
        }
        _ => ConnectionError::BadConnection(
            "the URL is not one that PostgreSQL can read (it is not repeated here: it may hold a password)"
                .to_owned(),
        ),
    }
}

/// A connection that was used within this time is not checked. A check would need one more query for each
/// transaction, and its result is not valid for longer.
const FRESH: Duration = Duration::from_millis(250);

/// A connection of a pool.
pub struct Pooled {
    pub(super) conn: Conn,
    /// When its last work succeeded. `None` if the last work failed.
    pub(super) worked: Option<Instant>,
}

/// Creates and checks the connections of a pool.
pub struct Manager {
    pub(super) url: DatabaseUrl,
    pub(super) mode: Mode,
    pub(super) admin: Option<i32>,
}

impl ManageConnection for Manager {
    type Connection = Pooled;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<Pooled, Self::Error> {
        Ok(Pooled {
            conn: connect(&self.url, self.mode, self.admin)?,
            worked: Some(Instant::now()),
        })
    }

    fn is_valid(&self, pooled: &mut Pooled) -> Result<(), Self::Error> {
        match &mut pooled.conn {
            // A connection to a file cannot be lost.
            Conn::Sqlite(_) => Ok(()),
            Conn::Pg(_) if pooled.worked.is_some_and(|at| at.elapsed() < FRESH) => Ok(()),
            Conn::Pg(conn) => conn
                .batch_execute("SELECT 1")
                .map_err(diesel::r2d2::Error::QueryError),
        }
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        // A panic or a lost server leaves a transaction open. Such a connection is not used again.
        let status =
            <Conn as Connection>::TransactionManager::transaction_manager_status_mut(&mut pooled.conn);
        let clean = match status {
            TransactionManagerStatus::Valid(valid) => valid.transaction_depth().is_none(),
            TransactionManagerStatus::InError => false,
        };
        std::thread::panicking() || !clean
    }
}
