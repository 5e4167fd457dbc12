//! Tells the work on a run or a trial that it must end: because the process stops, or because nobody waits for
//! the result any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that is set once. Clones share the flag.
#[derive(Clone, Default)]
pub struct Cancel {
    own: Arc<AtomicBool>,
    above: Option<Arc<AtomicBool>>,
}

impl Cancel {
    /// Returns a flag of its own, which is also set when this one is set.
    pub fn below(&self) -> Cancel {
        Cancel {
            own: Arc::default(),
            above: Some(self.own.clone()),
        }
    }

    /// Asks the work to end.
    pub fn set(&self) {
        self.own.store(true, Ordering::SeqCst);
    }

    /// Returns whether the work must end.
    pub fn is_set(&self) -> bool {
        self.own.load(Ordering::SeqCst)
            || self
                .above
                .as_ref()
                .is_some_and(|above| above.load(Ordering::SeqCst))
    }

    /// Returns a guard that sets the flag when it is dropped.
    pub fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }
}

/// Sets its flag when it is dropped.
pub struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}
