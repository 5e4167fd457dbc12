//! Ends the reading of a foreign database from another thread: when its time is over, or when somebody asks for it.
//!
//! A thread that waits for a database cannot look at a flag. So a reader leaves an interrupt here, which makes the
//! database end the statement that runs: SQLite looks at [`Halt::is_set`] while it works, and a server gets the
//! request over a second connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a whole reading may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The most time from the first connection to the last row.
    pub most: Duration,
    /// The setting that says so, for the text of the error.
    pub setting: &'static str,
}

/// Ends the statement that runs on one connection.
pub(super) type Interrupt = Arc<dyn Fn() + Send + Sync>;

struct Reading {
    began: Instant,
    limit: Limit,
    asked: AtomicBool,
    /// Whether a thread is interrupting the statement at this moment.
    interrupting: AtomicBool,
    interrupt: Mutex<Option<Interrupt>>,
}

/// Ends one reading. Cheap to clone; all clones end the same reading.
#[derive(Clone)]
pub struct Halt(Arc<Reading>);

impl Halt {
    /// The time of the reading begins now.
    pub fn within(limit: Limit) -> Halt {
        Halt(Arc::new(Reading {
            began: Instant::now(),
            limit,
            asked: AtomicBool::new(false),
            interrupting: AtomicBool::new(false),
            interrupt: Mutex::new(None),
        }))
    }

    /// Whether the reading must end: somebody asked for it, or its time is over.
    pub fn is_set(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst) || self.is_late()
    }

    /// Whether the time of the reading is over.
    pub fn is_late(&self) -> bool {
        self.0.began.elapsed() >= self.0.limit.most
    }

    /// Why the reading must end, for people. None: it need not.
    pub fn reason(&self) -> Option<String> {
        if self.0.asked.load(Ordering::SeqCst) {
            return Some("the reading was cancelled".to_owned());
        }
        let Limit { most, setting } = self.0.limit;
        self.is_late().then(|| {
            format!(
                "reading the source took longer than {} s, the limit of {setting}",
                most.as_secs_f64()
            )
        })
    }

    /// Ends the reading, and the statement that runs. It does not wait. To be called again until the reader has ended:
    /// the reader may have begun the next statement just before.
    pub fn stop(&self) {
        // What is late has its own reason.
        if !self.is_late() {
            self.0.asked.store(true, Ordering::SeqCst);
        }
        let Some(interrupt) = self.interrupt() else { return };
        if self.0.interrupting.swap(true, Ordering::SeqCst) {
            return;
        }
        let reading = self.0.clone();
        // A thread of its own: the second connection may take as long as the first one did.
        let begun = std::thread::Builder::new()
            .name("source-cancel".to_owned())
            .spawn(move || {
                interrupt();
                reading.interrupting.store(false, Ordering::SeqCst);
            });
        if let Err(error) = begun {
            tracing::warn!(%error, "the statement of a source could not be cancelled: no thread for it");
            self.0.interrupting.store(false, Ordering::SeqCst);
        }
    }

    /// Keeps what ends the statement that runs on a connection, until [`Halt::closed`].
    pub(super) fn on_stop(&self, interrupt: impl Fn() + Send + Sync + 'static) {
        *self.interrupt_of() = Some(Arc::new(interrupt));
    }

    /// The interrupt of the connection that was opened last.
    pub(super) fn interrupt(&self) -> Option<Interrupt> {
        self.interrupt_of().clone()
    }

    /// Forgets the interrupt of a connection that is closed, unless another one was opened since. It would end the
    /// statement of somebody else who gets the number of that connection.
    pub(super) fn closed(&self, interrupt: Option<&Interrupt>) {
        let mut held = self.interrupt_of();
        if let (Some(closed), Some(present)) = (interrupt, &*held)
            && Arc::ptr_eq(closed, present)
        {
            *held = None;
        }
    }

    /// Fails where the reading must end.
    pub(super) fn check(&self) -> Result<(), String> {
        self.reason().map_or(Ok(()), Err)
    }

    fn interrupt_of(&self) -> std::sync::MutexGuard<'_, Option<Interrupt>> {
        self.0.interrupt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit {
        most: Duration::from_secs(600),
        setting: "CANDOR_TEST",
    };

    #[test]
    fn a_stop_interrupts_what_runs_and_says_why() {
        let halt = Halt::within(LIMIT);
        assert!(!halt.is_set() && halt.check().is_ok());
        let (sender, receiver) = std::sync::mpsc::channel();
        halt.on_stop(move || sender.send(()).unwrap());
        halt.clone().stop();
        receiver.recv().unwrap();
        // The interrupt of an older connection does not count any more.
        let old = halt.interrupt();
        halt.on_stop(|| {});
        halt.closed(old.as_ref());
        assert!(halt.interrupt().is_some());
        halt.closed(halt.interrupt().as_ref());
        assert!(halt.interrupt().is_none());
        assert!(halt.is_set());
        assert_eq!(halt.check().unwrap_err(), "the reading was cancelled");
    }

    #[test]
    fn a_reading_ends_by_itself() {
        let halt = Halt::within(Limit {
            most: Duration::ZERO,
            ..LIMIT
        });
        assert!(halt.is_set());
        halt.stop();
        assert_eq!(
            halt.check().unwrap_err(),
            "reading the source took longer than 0 s, the limit of CANDOR_TEST"
        );
    }
}
