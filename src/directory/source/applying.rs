//! How far the runs are that this process is storing: kept in memory, as nothing of a transaction that is under way can be
//! seen from outside of it.
//!
//! Must never happen here: a count that stays when its run is over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::id::RunId;

type Counts = BTreeMap<RunId, Arc<AtomicU64>>;

static COUNTS: Mutex<Counts> = Mutex::new(BTreeMap::new());

fn counts() -> MutexGuard<'static, Counts> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run that is being stored, until it is dropped.
pub(super) struct Applying {
    run: RunId,
    done: Arc<AtomicU64>,
}

impl Applying {
    pub fn begin(run: &RunId) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        counts().insert(run.clone(), done.clone());
        Applying {
            run: run.clone(),
            done,
        }
    }

    /// Counts rows as it goes on; shared with whoever stores them.
    pub fn counter(&self) -> Arc<AtomicU64> {
        self.done.clone()
    }
}

impl Drop for Applying {
    fn drop(&mut self) {
        counts().remove(&self.run);
    }
}

/// The rows of a run that are stored so far; none where this process is not storing it.
pub(super) fn done(run: &RunId) -> Option<u64> {
    counts().get(run).map(|done| done.load(Ordering::Relaxed))
}
