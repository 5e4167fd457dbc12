//! The database: a pool for reading, a pool for writing, and a transaction around every closure.
//!
//! This module does not know what the tables mean. There is no network I/O inside a transaction. No other
//! module names a database backend, or holds a pooled connection outside [`Db::read`] and `Db::write` (the
//! latter is in [`crate::audit`], because a change and its audit event are one transaction).

mod carry_over;
mod connection;
mod copy;
pub mod dialect;
pub mod file;
mod fixed;
pub mod foreign;
mod health;
mod migrate;
pub mod own_key;
// The migrations document the columns.
#[allow(missing_docs)]
pub mod schema;
mod statement;
mod writes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::r2d2::Pool;
use tokio::sync::{Semaphore, watch};

pub use connection::{Conn, DatabaseUrl, Pages};
pub(crate) use dialect::{bulk, keyed, many};
pub(crate) use fixed::FixedText;
pub use statement::Statement;

/// The backend type of boxed queries.
pub type Backend = <Conn as diesel::Connection>::Backend;

pub use migrate::migrate;
pub(crate) use migrate::migrate_conn;

use crate::base::error::{Error, Result};
use crate::base::time::Clock;
use connection::Manager;

/// How long a request waits for a connection before it fails.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Access to the database. It is cheap to clone.
#[derive(Clone)]
pub struct Db {
    readers: Pool<Manager>,
    writers: Pool<Manager>,
    read_permits: Arc<Semaphore>,
    write_permits: Arc<Semaphore>,
    url: DatabaseUrl,
    clock: Clock,
    /// A counter of writes that subscribers of the audit trail wait for (see `audit::follow`).
    written: Arc<watch::Sender<u64>>,
    writes: Arc<writes::Writes>,
}

impl Db {
    /// Opens the pools. The schema is not changed, see [`migrate`].
    ///
    /// # Errors
    /// `Unavailable` with the reason, if the database cannot be reached or opened.
    pub async fn open(url: DatabaseUrl, clock: Clock) -> Result<Self> {
        Self::open_serving(url, clock, None).await
    }

    /// Opens the pools for a process that serves with the admin token of this hash. While this process is
    /// connected, other processes can see that the token is in use.
    ///
    /// # Errors
    /// `Unavailable` with the reason, if the database cannot be reached or opened.
    pub async fn open_serving(url: DatabaseUrl, clock: Clock, admin: Option<&str>) -> Result<Self> {
        let admin = admin.map(connection::admin_key);
        tokio::task::spawn_blocking(move || Self::open_blocking(url, clock, admin))
            .await
            .map_err(Error::internal)?
    }

    fn open_blocking(url: DatabaseUrl, clock: Clock, admin: Option<i32>) -> Result<Self> {
        // Only here, and not for each connection of the pools: a hard link that somebody makes later must not
        // stop this process. The process that uses the new name is refused.
        refuse_hard_links(&url)?;
        // One connection is opened first, because the pool would report only a timeout. It is kept until the
        // pools are built. The first connection to an SQLite file switches it to WAL, and no other connection
        // may do this at the same time.
        let _first = connection::connect(&url, connection::Mode::Write, admin)
            .map_err(|error| Error::Unavailable(format!("cannot open the database: {error}")))?;
        let sizes = connection::pool_sizes(&url);
        let build = |mode, size: u32| {
            Pool::builder()
                .max_size(size)
                .min_idle(Some(1))
                .connection_timeout(TIMEOUT)
                .build(Manager {
                    url: url.clone(),
                    mode,
                    admin,
                })
                .map_err(|error| Error::Unavailable(format!("cannot open the database: {error}")))
        };
        let writers = build(connection::Mode::Write, sizes.writers)?;
        // PostgreSQL reads and writes through one pool. SQLite has one writer and many readers.
        let (readers, read_permits) = if sizes.readers == 0 {
            (writers.clone(), sizes.writers)
        } else {
            (build(connection::Mode::Read, sizes.readers)?, sizes.readers)
        };
        let write_permits = Arc::new(Semaphore::new(sizes.writers as usize));
        let read_permits = if sizes.readers == 0 {
            write_permits.clone()
        } else {
            Arc::new(Semaphore::new(read_permits as usize))
        };
        Ok(Db {
            readers,
            writers,
            read_permits,
            write_permits,
            url,
            clock,
            written: Arc::new(watch::Sender::new(0)),
            writes: Arc::default(),
        })
    }

    /// Returns a receiver that changes after each write that subscribers of the audit trail wait for.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Wakes the subscribers of the audit trail in this process.
    pub(crate) fn wake_followers(&self) {
        self.written.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Returns the clock that gives the times of changes.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the URL of the database.
    pub fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// Runs `work` in one read-only transaction with one consistent view.
    ///
    /// # Errors
    /// The error of `work`, or `Unavailable` if no connection became free within ten seconds.
    pub async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    {
        run(&self.readers, &self.read_permits, move |conn| {
            dialect::begin_read(conn)?;
            // Nothing was changed, so a rollback has the same effect as a commit.
            let result = work(conn);
            dialect::roll_back(conn);
            result
        })
        .await
    }

    /// Runs `work` in one write transaction without audit events. `Db::write` in `audit` uses it.
    pub(crate) async fn transaction<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    {
        let writes = Arc::clone(&self.writes);
        run(&self.writers, &self.write_permits, move |conn| {
            let done = dialect::in_transaction(conn, work);
            match &done {
                Ok(_) => writes.committed(),
                // An error of the caller says nothing about the database.
                Err(Error::Internal(_) | Error::Unavailable(_)) => writes.refused(),
                Err(_) => {}
            }
            done
        })
        .await
    }

    /// Runs `work` on a connection of the writers outside any transaction (for migrations and backups).
    pub(crate) async fn bare<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    {
        run(&self.writers, &self.write_permits, work).await
    }
}

fn refuse_hard_links(url: &DatabaseUrl) -> Result<()> {
    url.sqlite_path().map_or(Ok(()), file::has_one_name)
}

/// Opens a connection outside the pools: to a file that is being written or read, or to a PostgreSQL database
/// that no other process of Candor is connected to.
///
/// # Errors
/// `Unavailable` if it cannot be opened, if another process is connected, or if the file has hard links.
pub(crate) fn connect_alone(url: &DatabaseUrl) -> Result<Conn> {
    refuse_hard_links(url)?;
    connection::connect(url, connection::Mode::Alone, None)
        .map_err(|error| Error::Unavailable(format!("cannot open the database: {error}")))
}

/// Opens a connection beside the pools, which other processes see as they see those of the pools.
///
/// # Errors
/// `Unavailable` if it cannot be opened, or while the database is being restored.
pub(crate) fn connect_beside(url: &DatabaseUrl) -> Result<Conn> {
    connection::connect(url, connection::Mode::Write, None)
        .map_err(|error| Error::Unavailable(format!("cannot open the database: {error}")))
}

async fn run<T, F>(pool: &Pool<Manager>, permits: &Arc<Semaphore>, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce(&mut Conn) -> Result<T> + Send + 'static,
{
    let permit = tokio::time::timeout(TIMEOUT, permits.clone().acquire_owned())
        .await
        .map_err(|_| Error::Unavailable("the database is overloaded; please try again".to_owned()))?
        .map_err(Error::internal)?;
    let pool = pool.clone();
    // Lines that a transaction writes to the log belong to the span of the code that began it.
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let _entered = span.entered();
        let mut pooled = pool
            .get()
            .map_err(|error| Error::Unavailable(format!("the database is not reachable: {error}")))?;
        let done = work(&mut pooled.conn);
        pooled.worked = done.is_ok().then(Instant::now);
        done
    })
    .await
    .map_err(Error::internal)?
}
