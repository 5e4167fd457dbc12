//! What is known about the last writes, so that the database is seldom asked whether it can be written.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::outage::Outage;

/// A write that is not older than this shows that writing works.
const RECENT: Duration = Duration::from_secs(5);

/// What is known about writing.
#[derive(Default)]
pub(super) struct Writes {
    /// The time of the last commit. `None` if a transaction was refused after it.
    latest: Mutex<Option<Instant>>,
    pub(super) asking: AtomicBool,
    /// Whether the database cannot be written, as far as the log says.
    pub(super) outage: Outage,
}

impl Writes {
    /// Notes that a transaction was committed.
    pub(super) fn committed(&self) {
        self.set(Some(Instant::now()));
        if self.outage.ends() {
            tracing::info!("the database can be written again");
        }
    }

    /// Notes that a transaction failed, so that the next check asks the database.
    pub(super) fn refused(&self) {
        self.set(None);
    }

    pub(super) fn set(&self, at: Option<Instant>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    pub(super) fn recent(&self) -> bool {
        let latest = *self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.is_some_and(|at| at.elapsed() < RECENT)
    }
}
