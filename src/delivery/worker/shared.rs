//! What the recorder, the senders and the listener of a process share.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::base::id::NoticeId;
use crate::db::Db;
use crate::delivery::channel::Channel;
use crate::delivery::dispatch::{Dispatcher, Limits};
use crate::delivery::outcome::Outcome;
use crate::delivery::outcome_log::OutcomeLog;
use crate::delivery::queue;
use crate::delivery::sending_settings::SendingSettings;
use crate::delivery::task::{Claimed, Task};

/// The poll interval of the recorder if nothing wakes it.
pub(super) const POLL: Duration = Duration::from_millis(500);
/// A claim whose lease ends sooner than this is not used any more.
const MARGIN: Duration = Duration::from_secs(5);
/// How long a process that stops tries to store the last outcomes.
pub(super) const LAST_CHANCE: Duration = Duration::from_secs(15);

/// Counters for the metrics, and the current fault.
#[derive(Default)]
pub struct Stats {
    /// The number of accepted attempts.
    pub sent: AtomicU64,
    /// The number of attempts that are repeated.
    pub retried: AtomicU64,
    /// The number of attempts for which it is not known whether the message arrived.
    pub ambiguous: AtomicU64,
    /// The number of attempts that failed permanently.
    pub failed: AtomicU64,
    /// Why outcomes cannot be stored at the moment. Until they are stored, nothing is claimed.
    trouble: Mutex<Option<String>>,
    /// The number of deliveries that are claimed and whose outcomes are not stored yet.
    outstanding: AtomicUsize,
}

/// The number of deliveries under way from which on a large notice is being sent. Fewer need neither the processors nor the disk for long.
const MANY: usize = 64;

impl Stats {
    /// Returns why sending has stopped, if it has.
    pub fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns whether this process is sending a large notice at the moment, so that other work that is less urgent should wait a little.
    pub fn is_sending_many(&self) -> bool {
        self.outstanding.load(Ordering::Relaxed) >= MANY
    }

    pub(super) fn set_outstanding(&self, outstanding: usize) {
        self.outstanding.store(outstanding, Ordering::Relaxed);
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(super) fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Sent(_) => &self.sent,
            Outcome::Retry(..) => &self.retried,
            Outcome::Ambiguous(_) => &self.ambiguous,
            Outcome::Failed(_) | Outcome::NoMailbox(_) | Outcome::Gone(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Wakes the workers, from the same process or from other processes.
#[derive(Default)]
pub struct Wake {
    pub(super) due: Notify,
    /// The stopped notices. It contains a few IDs. A notice that was resumed is removed when a delivery of it was
    /// withheld although the database says that it is not stopped.
    pub(super) stopped: Mutex<HashSet<NoticeId>>,
    /// The number of stops so far. It changes only while the set is locked.
    stops: AtomicU64,
    /// Whether a notice was added to the set since the recorder last checked.
    pub(super) newly_stopped: AtomicBool,
}

impl Wake {
    /// Tells the workers that something is due.
    pub fn due(&self) {
        self.due.notify_one();
    }

    /// Tells the workers that nothing more of this notice may be sent.
    pub fn stopped(&self, notice: NoticeId) {
        {
            let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
            stopped.insert(notice);
            self.stops.fetch_add(1, Ordering::SeqCst);
        }
        self.newly_stopped.store(true, Ordering::SeqCst);
        self.due();
    }

    /// Returns the number of stops so far, to be passed to [`Wake::resumed`].
    pub(super) fn stops(&self) -> u64 {
        self.stops.load(Ordering::SeqCst)
    }

    /// Removes a notice that is not stopped any more, as the database said after `stops` stops. If there was another
    /// stop since, nothing is removed, because it may be of this notice.
    pub(super) fn resumed(&self, notice: &NoticeId, stops: u64) {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stops() == stops {
            stopped.remove(notice);
        }
    }

    pub(super) fn is_stopped(&self, notice: &NoticeId) -> bool {
        self.stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(notice)
    }
}

/// The parts and settings that the workers need.
#[derive(Clone)]
pub struct Setup {
    /// The database with the queue of deliveries.
    pub db: Db,
    /// The channels that deliveries are sent through.
    pub channels: Vec<Arc<dyn Channel>>,
    /// The part of a Message-ID after the @.
    pub domain: String,
    /// How long a delivery is tried before it fails.
    pub lifetime: Duration,
    /// The limits that the settings give for domains.
    pub limits: Limits,
    /// The settings that decide the bytes of emails.
    pub sending: SendingSettings,
    /// The name of the audit trail, which the checkpoints in emails begin with.
    pub origin: String,
    /// The file for outcome records with SQLite. `None` with PostgreSQL, which has a table for them.
    pub receipts: Option<PathBuf>,
    /// Wakes the workers when deliveries become due and when a notice is stopped.
    pub wake: Arc<Wake>,
    /// The counters for the metrics.
    pub stats: Arc<Stats>,
}

/// A claimed delivery that waits for a sender.
pub(super) struct Job {
    /// The time just before the claim. The lease is valid from then on.
    pub(super) claimed_at: Instant,
    /// The time from which a renewal includes this delivery.
    pub(super) held_since: Instant,
    /// The task, or the reason why it cannot be made.
    pub(super) task: std::result::Result<Task, (Claimed, String)>,
}

impl Job {
    pub(super) fn claimed(&self) -> &Claimed {
        match &self.task {
            Ok(task) => &task.claimed,
            Err((claimed, _)) => claimed,
        }
    }

    pub(super) fn into_claimed(self) -> Claimed {
        match self.task {
            Ok(task) => task.claimed,
            Err((claimed, _)) => claimed,
        }
    }
}

/// A channel with its dispatcher.
pub(super) struct ChannelState {
    pub(super) channel: Arc<dyn Channel>,
    pub(super) dispatcher: Dispatcher<Job>,
    /// The number of deliveries that are claimed and whose outcomes are not stored yet.
    pub(super) outstanding: AtomicUsize,
}

/// The data that all tasks of the workers share.
pub(super) struct Shared {
    pub(super) setup: Setup,
    /// The digest of the stored settings that decide the bytes of emails.
    pub(super) sending: String,
    pub(super) lease: Arc<str>,
    pub(super) outcome_log: Arc<OutcomeLog>,
    pub(super) channel_states: Vec<Arc<ChannelState>>,
    /// The IDs of the deliveries that are claimed and whose outcomes are not stored yet. The renewer extends
    /// their leases.
    pub(super) held: Mutex<HashSet<i64>>,
    /// When the last successful renewal began.
    pub(super) renewed: Mutex<Option<Instant>>,
}

impl Shared {
    /// Returns whether the lease of a delivery holds long enough to start the delivery.
    pub(super) fn holds(&self, job: &Job) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        let since = renewed
            .filter(|renewed| *renewed >= job.held_since)
            .unwrap_or(job.claimed_at);
        since.elapsed() + MARGIN < queue::LEASE
    }

    pub(super) fn held(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn outstanding(&self) -> usize {
        self.channel_states
            .iter()
            .map(|channel_state| channel_state.outstanding.load(Ordering::SeqCst))
            .sum()
    }
}

pub(super) fn schedules(setup: &Setup) -> HashMap<&'static str, Vec<Duration>> {
    setup
        .channels
        .iter()
        .map(|channel| (channel.name(), channel.schedule().to_vec()))
        .collect()
}
