//! Whether the database can be written at the moment, for whoever asks whether the service is ready.
//!
//! What is written anyway answers it. Only when nothing was written for a while is a row written for the question, and never
//! twice at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::prelude::*;

use super::dialect::on_backend;
use super::schema::settings;
use super::{Conn, Db, connection, file};
use crate::base::error::{Error, Result};

/// A write that is not older than this says that writing works.
const RECENT: Duration = Duration::from_secs(5);
/// How long somebody who asks waits for an answer.
const WAIT: Duration = Duration::from_secs(2);
/// Bytes that must be free on the disk of an embedded database.
const ROOM: u64 = 4 * 1024 * 1024;
/// The row that is written for the question.
const ROW: &str = "last_write_check";
/// What is said where the database refuses. Why is for the log.
const REFUSED: &str = "the database cannot be written";

/// What is known of writing.
#[derive(Default)]
pub(super) struct Writes {
    /// When something was committed last, as long as nothing was refused since.
    latest: Mutex<Option<Instant>>,
    asking: AtomicBool,
}

impl Writes {
    /// A transaction was committed.
    pub(super) fn committed(&self) {
        self.set(Some(Instant::now()));
    }

    /// A transaction was refused, by whatever: the next question is asked of the database.
    pub(super) fn refused(&self) {
        self.set(None);
    }

    fn set(&self, at: Option<Instant>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn recent(&self) -> bool {
        let latest = *self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.is_some_and(|at| at.elapsed() < RECENT)
    }
}

impl Db {
    /// Whether the database can be written.
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
        // Where all connections that write are busy, others are writing.
        if self.write_permits.available_permits() == 0 {
            return Ok(());
        }
        if self.writes.asking.swap(true, Ordering::SeqCst) {
            // Somebody else is asking already; what was known before is what is known.
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
            // It waits for others who are writing.
            Err(_) => Ok(()),
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) if is_busy(&error) => Ok(()),
            Ok(Ok(Err(error))) => {
                tracing::warn!(error = error.chain(), "not ready: the database cannot be written");
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

/// Whether somebody else was writing all the time.
fn is_busy(error: &Error) -> bool {
    let Error::Internal(inner) = error else {
        return false;
    };
    inner
        .downcast_ref::<diesel::result::Error>()
        .is_some_and(connection::is_locked)
}
