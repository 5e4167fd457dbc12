//! Checks whether the database can be written at the moment. The readiness check uses this.
//!
//! Normal writes answer the question. A row is written for the check only if nothing was written for a while,
//! and only one such write runs at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use diesel::prelude::*;

use super::dialect::on_backend;
use super::schema::settings;
use super::{Conn, Db, connection, file};
use crate::base::error::{Error, Result};

/// How long a check waits for an answer.
const WAIT: Duration = Duration::from_secs(2);
/// The number of bytes that must be free on the disk of an SQLite database.
const ROOM: u64 = 4 * 1024 * 1024;
/// The row that the check writes.
const ROW: &str = "last_write_check";
/// The reason that is shown if the database refuses. The cause is only in the log.
const REFUSED: &str = "the database cannot be written";

impl Db {
    /// Checks whether the database can be written.
    ///
    /// # Errors
    /// `Unavailable` with a reason that may be shown to anybody.
    pub async fn check_writable(&self) -> Result<()> {
        if let Some(path) = self.url().sqlite_path()
            && file::free_space(path).is_ok_and(|free| free < ROOM)
        {
            return Err(Error::Unavailable(
                "nothing can be stored: database or disk is full".to_owned(),
            ));
        }
        if self.writes.recent() {
            return Ok(());
        }
        // If all writing connections are busy, other transactions are writing.
        if self.write_permits.available_permits() == 0 {
            return Ok(());
        }
        if self.writes.asking.swap(true, Ordering::SeqCst) {
            // Another check is already running. Until it ends, the earlier result counts.
            return Ok(());
        }
        let (db, writes) = (self.clone(), Arc::clone(&self.writes));
        let asked = tokio::spawn(async move {
            let now = db.clock().now().to_string();
            let written = db.transaction(move |conn| write(conn, &now)).await;
            writes.asking.store(false, Ordering::SeqCst);
            written
        });
        match tokio::time::timeout(WAIT, asked).await {
            // The write waits for other writers.
            Err(_) => Ok(()),
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) if is_busy(&error) => Ok(()),
            Ok(Ok(Err(error))) => {
                if self.writes.outage.begins() {
                    tracing::warn!(
                        error = error.chain(),
                        "not ready: the database cannot be written; the next line about it says that it can be written again"
                    );
                }
                Err(match error {
                    Error::Unavailable(_) => error,
                    _ => Error::Unavailable(REFUSED.to_owned()),
                })
            }
            Ok(Err(error)) => Err(Error::internal(error)),
        }
    }
}

fn write(conn: &mut Conn, now: &str) -> Result<()> {
    on_backend!(conn, c => diesel::insert_into(settings::table)
        .values((settings::name.eq(ROW), settings::value.eq(now)))
        .on_conflict(settings::name)
        .do_update()
        .set(settings::value.eq(now))
        .execute(c))?;
    Ok(())
}

/// Returns whether the write failed because other connections were writing all the time.
fn is_busy(error: &Error) -> bool {
    let Error::Internal(inner) = error else {
        return false;
    };
    inner
        .downcast_ref::<diesel::result::Error>()
        .is_some_and(connection::is_locked)
}
