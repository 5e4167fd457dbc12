//! The progress of the runs that this process is storing. It is kept in memory, because other connections
//! cannot see the rows of an open transaction. A count is removed when its run ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::id::RunId;

type Counts = BTreeMap<RunId, Arc<AtomicU64>>;

static COUNTS: Mutex<Counts> = Mutex::new(BTreeMap::new());

fn counts() -> MutexGuard<'static, Counts> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The progress of a run. It is removed when this is dropped.
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

    /// Returns the counter of stored rows, which is shared with the code that stores them.
    pub fn counter(&self) -> Arc<AtomicU64> {
        self.done.clone()
    }
}

impl Drop for Applying {
    fn drop(&mut self) {
        counts().remove(&self.run);
    }
}

/// Returns the number of rows of a run that are stored up to now. None if this process is not storing the
/// run.
pub(super) fn done(run: &RunId) -> Option<u64> {
    counts().get(run).map(|done| done.load(Ordering::Relaxed))
}
