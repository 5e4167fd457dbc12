//! From a URL to a connection: which database, with which settings, pooled how.
//!
//! Must never happen here: a connection without its safety settings (foreign keys, full sync, UTC).

use std::time::{Duration, Instant};

use diesel::connection::{SimpleConnection, TransactionManager, TransactionManagerStatus};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::r2d2::ManageConnection;
use diesel::sqlite::SqliteConnection;

/// A connection to either database. Domain functions take `&mut Conn`.
#[derive(diesel::MultiConnection)]
pub enum Conn {
    /// The embedded database.
    Sqlite(SqliteConnection),
    /// PostgreSQL.
    Pg(PgConnection),
}

/// A parsed `CANDOR_DATABASE_URL`.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite://PATH`
    Sqlite(String),
    /// `postgres://…`, as libpq takes it; it may hold a password.
    Postgres(String),
}

impl DatabaseUrl {
    /// Parses the setting.
    ///
    /// # Errors
    /// A sentence where the scheme is another one or the path is missing. The URL itself is not repeated: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("sqlite://") {
            if path.is_empty() || path.contains('?') {
                return Err("must be sqlite://PATH with a path and nothing behind it".to_owned());
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

    /// The path of an embedded database.
    pub fn sqlite_path(&self) -> Option<&str> {
        match self {
            DatabaseUrl::Sqlite(path) => Some(path),
            DatabaseUrl::Postgres(_) => None,
        }
    }

    /// `SQLite` or `PostgreSQL`, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            DatabaseUrl::Sqlite(_) => "SQLite",
            DatabaseUrl::Postgres(_) => "PostgreSQL",
        }
    }
}

/// What a pooled connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    Write,
}

pub(super) struct PoolSizes {
    /// 0: reads go through the writers' pool.
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

pub(super) fn connect(url: &DatabaseUrl, mode: Mode) -> Result<Conn, diesel::r2d2::Error> {
    use diesel::r2d2::Error;
    match url {
        DatabaseUrl::Sqlite(path) => {
            let mut conn = SqliteConnection::establish(path).map_err(Error::ConnectionError)?;
            // FULL: what was answered with 2xx must survive a power cut.
            conn.batch_execute(
                "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                 PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;",
            )
            .map_err(Error::QueryError)?;
            // Each connection has a cache of its own, and the system's lies below: readers, who are many, need little.
            let own = match mode {
                Mode::Read => "PRAGMA query_only = ON; PRAGMA cache_size = -4000;",
                Mode::Write => "PRAGMA wal_autocheckpoint = 4000;",
            };
            conn.batch_execute(own).map_err(Error::QueryError)?;
            if mode == Mode::Write {
                keep_pages(&mut conn, Pages::Usual).map_err(Error::QueryError)?;
            }
            Ok(Conn::Sqlite(conn))
        }
        DatabaseUrl::Postgres(url) => {
            let mut conn =
                PgConnection::establish(url).map_err(|error| Error::ConnectionError(discreet(error)))?;
            // Compiling a plan takes longer than any of ours saves by it.
            conn.batch_execute(
                "SET TIME ZONE 'UTC'; SET client_min_messages = warning; SET lock_timeout = '10s'; SET jit = off;",
            )
            .map_err(Error::QueryError)?;
            Ok(Conn::Pg(conn))
        }
    }
}

/// How much of its file a connection that writes to SQLite keeps in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// 16 MB.
    Usual,
    /// 64 MB: enough for the pages of every index that a large import comes back to.
    Many,
}

pub(super) fn keep_pages(conn: &mut SqliteConnection, pages: Pages) -> QueryResult<()> {
    conn.batch_execute(match pages {
        Pages::Usual => "PRAGMA cache_size = -16000;",
        Pages::Many => "PRAGMA cache_size = -64000;",
    })
}

/// libpq repeats a URL that it cannot read, password and all. What a server or the network said is harmless, once it is one line.
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

/// A connection that was used a moment ago is not asked whether it is alive: that would be one more question for each
/// transaction, and the answer holds no longer than this.
const FRESH: Duration = Duration::from_millis(250);

/// A connection of a pool.
pub struct Pooled {
    pub(super) conn: Conn,
    /// When it last did what it was asked; none where that went wrong.
    pub(super) worked: Option<Instant>,
}

/// Makes and checks pooled connections.
pub struct Manager {
    pub(super) url: DatabaseUrl,
    pub(super) mode: Mode,
}

impl ManageConnection for Manager {
    type Connection = Pooled;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<Pooled, Self::Error> {
        Ok(Pooled {
            conn: connect(&self.url, self.mode)?,
            worked: Some(Instant::now()),
        })
    }

    fn is_valid(&self, pooled: &mut Pooled) -> Result<(), Self::Error> {
        match &mut pooled.conn {
            // A file does not hang up.
            Conn::Sqlite(_) => Ok(()),
            Conn::Pg(_) if pooled.worked.is_some_and(|at| at.elapsed() < FRESH) => Ok(()),
            Conn::Pg(conn) => conn
                .batch_execute("SELECT 1")
                .map_err(diesel::r2d2::Error::QueryError),
        }
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        // A panic or a lost server leaves a transaction open: such a connection is thrown away.
        let status =
            <Conn as Connection>::TransactionManager::transaction_manager_status_mut(&mut pooled.conn);
        let clean = match status {
            TransactionManagerStatus::Valid(valid) => valid.transaction_depth().is_none(),
            TransactionManagerStatus::InError => false,
        };
        std::thread::panicking() || !clean
    }
}
