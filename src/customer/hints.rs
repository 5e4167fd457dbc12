//! Hints for pages that show the feed: something may have changed, so ask again. Nothing depends on a hint.
//!
//! One service in each process looks at the end of the audit trail while any page listens, and wakes the streams of this process. Each
//! stream then looks whether anything changed for its reader. So a notice that another process sends is seen too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel::prelude::*;
use tokio::sync::watch;

use super::keys;
use super::read;
use super::reader::{self, Reader};
use crate::audit::{Action, follow};
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::schema::audit_head as h;
use crate::db::{Conn, Db};
use crate::notice::history::{self, Tally};
use crate::work::{Next, Service, Stop};

/// The largest number of streams of one process.
const MOST: usize = 1_000;
/// The largest number of streams of one person in one process.
const MOST_OF_PERSON: usize = 8;
/// The actions after which the feed of somebody may be another one.
const ACTIONS: &[Action] = &[
    Action::DeliveryAttempts,
    Action::DeliveryBounced,
    Action::NoticeFinished,
    Action::IncidentStatus,
    Action::IncidentReopened,
    Action::IncidentMerged,
    Action::IncidentUnmerged,
    Action::FeedKeyRevoked,
    Action::PersonDeleted,
    Action::PersonErased,
    Action::PersonChose,
];

/// The streams of this process.
pub struct Hints {
    /// The number of times that something changed. The process stops when it is `None`.
    changes: watch::Sender<Option<u64>>,
    open: Mutex<HashMap<i64, usize>>,
}

impl Default for Hints {
    fn default() -> Self {
        Hints {
            changes: watch::Sender::new(Some(0)),
            open: Mutex::default(),
        }
    }
}

/// A stream that is open. When it is dropped, its place is free again.
pub struct Listening {
    hints: Arc<Hints>,
    person: i64,
    changes: watch::Receiver<Option<u64>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut open = self.hints.open();
        if let Some(number) = open.get_mut(&self.person) {
            *number -= 1;
            if *number == 0 {
                open.remove(&self.person);
            }
        }
    }
}

impl Listening {
    /// Waits until something may have changed. Returns false if the process stops.
    pub async fn changed(&mut self) -> bool {
        self.changes.changed().await.is_ok() && self.changes.borrow_and_update().is_some()
    }
}

impl Hints {
    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<i64, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream for a person, whose key this is.
    ///
    /// # Errors
    /// `Unavailable` if this process or this person has too many streams, or if the process stops.
    pub fn listen(self: &Arc<Self>, person: i64) -> Result<Listening> {
        let mut open = self.open();
        let all: usize = open.values().sum();
        let own = open.get(&person).copied().unwrap_or_default();
        if all >= MOST || own >= MOST_OF_PERSON || self.changes.borrow().is_none() {
            let reason = "too many streams are open; ask for the notices from time to time instead";
            return Err(Error::Unavailable(reason.to_owned()));
        }
        open.insert(person, own + 1);
        Ok(Listening {
            hints: self.clone(),
            person,
            changes: self.changes.subscribe(),
        })
    }

    /// Returns the number of open streams.
    pub fn streams(&self) -> usize {
        self.open().values().sum()
    }

    /// Ends all streams, because the process stops.
    pub fn end(&self) {
        self.changes.send_replace(None);
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| {
            if let Some(number) = changes {
                *number = number.wrapping_add(1);
            }
        });
    }
}

/// What a stream compares: the figures of the feed, and up to which time it is read.
pub type Stamp = (Tally, Timestamp);

/// Returns the stamp of a reader. `None` if the reader may not read any more.
///
/// # Errors
/// An error of the database.
pub fn stamp(conn: &mut Conn, reader: &Reader) -> Result<Option<Stamp>> {
    if reader::active(conn, &reader.person)? != Some(reader.key) {
        return Ok(None);
    }
    match keys::get(conn, &reader.signed_by) {
        Ok(_) => {}
        Err(Error::NotFound(_)) => return Ok(None),
        Err(other) => return Err(other),
    }
    let read_up_to = read::mark(conn, reader.key)?;
    Ok(Some((
        history::tally(conn, &reader.person, read_up_to)?,
        read_up_to,
    )))
}

/// The service that looks at the end of the trail while any stream of this process is open.
pub struct Watching {
    hints: Arc<Hints>,
    db: Db,
    /// The number of the last event that was looked at. `None` if no stream was open.
    seen: Option<i64>,
}

impl Watching {
    /// Creates the service for the streams of this process.
    pub fn new(hints: Arc<Hints>, db: Db) -> Self {
        Watching {
            hints,
            db,
            seen: None,
        }
    }
}

impl Service for Watching {
    const NAME: &'static str = "feed_hints";
    const POLL: Duration = Duration::from_secs(1);

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        if self.hints.streams() == 0 {
            self.seen = None;
            return Ok(Next::Wait);
        }
        let seen = self.seen;
        let (end, changed) = self
            .db
            .read(move |conn| {
                let end: i64 = h::table.select(h::seq).first(conn)?;
                let changed = match seen {
                    // Something may have changed between the opening of the stream and this step.
                    None => true,
                    Some(seen) if seen == end => false,
                    Some(seen) => !follow::behind(conn, seen, ACTIONS, 1)?.is_empty(),
                };
                Ok((end, changed))
            })
            .await?;
        self.seen = Some(end);
        if changed {
            self.hints.changed();
        }
        Ok(Next::Wait)
    }
}
