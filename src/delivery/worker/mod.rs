//! The delivery workers of one process.
//!
//! - The [recorder](clerk) stores outcomes and claims the next due deliveries in one transaction, and expands
//!   queued notices.
//! - A [dispatcher](super::dispatch) for each channel chooses the next delivery, fairly between domains.
//! - Each of the [`senders`] makes one delivery at a time. It continues when the [ledger](super::ledger) has
//!   an outcome record of the delivery.
//! - A renewer extends the leases.
//! - With PostgreSQL, a [`listener`] receives what other processes queued or stopped.
//!
//! There is no network I/O inside a transaction. A claim ends at most one lease after its worker died. All
//! work is idempotent and starts again from the tables, so the machine may stop at any time.

mod clerk;
mod listener;
mod senders;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::Outcome;
use super::channel::{Channel, Task};
use super::dispatch::{Dispatcher, Limits};
use super::ledger::{self, Ledger};
use super::queue::{self, Claimed};
use crate::audit::Actor;
use crate::base::error::{Error, Result};
use crate::base::id::{NoticeId, new_uuid};
use crate::db::Db;
use crate::work::Part;

/// The poll interval of the recorder if nothing wakes it.
const POLL: Duration = Duration::from_millis(500);
/// A claim whose lease ends sooner than this is not used any more.
const MARGIN: Duration = Duration::from_secs(5);
/// How long a process that stops tries to store the last outcomes.
const LAST_CHANCE: Duration = Duration::from_secs(15);

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
}

impl Stats {
    /// Returns why sending has stopped, if it has.
    pub fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn count(&self, outcome: &Outcome) {
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
    due: Notify,
    /// The stopped notices. A notice that was stopped stays stopped, so the set only grows. It contains a few
    /// IDs for the lifetime of the process.
    stopped: Mutex<HashSet<NoticeId>>,
    /// Whether a notice was added to the set since the recorder last checked.
    newly_stopped: AtomicBool,
}

impl Wake {
    /// Tells the workers that something is due.
    pub fn due(&self) {
        self.due.notify_one();
    }

    /// Tells the workers that nothing more of this notice may be sent.
    pub fn stopped(&self, notice: NoticeId) {
        self.stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(notice);
        self.newly_stopped.store(true, Ordering::SeqCst);
        self.due();
    }

    fn is_stopped(&self, notice: &NoticeId) -> bool {
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
    /// The file for outcome records with SQLite. `None` with PostgreSQL, which has a table for them.
    pub receipts: Option<PathBuf>,
    /// Wakes the workers when deliveries become due and when a notice is stopped.
    pub wake: Arc<Wake>,
    /// The counters for the metrics.
    pub stats: Arc<Stats>,
}

/// A claimed delivery that waits for a sender.
struct Job {
    /// The time just before the claim. The lease is valid from then on.
    claimed_at: Instant,
    /// The time from which a renewal includes this delivery.
    held_since: Instant,
    /// The task, or the reason why it cannot be made.
    task: std::result::Result<Task, (Claimed, String)>,
}

impl Job {
    fn claimed(&self) -> &Claimed {
        match &self.task {
            Ok(task) => &task.claimed,
            Err((claimed, _)) => claimed,
        }
    }

    fn into_claimed(self) -> Claimed {
        match self.task {
            Ok(task) => task.claimed,
            Err((claimed, _)) => claimed,
        }
    }
}

/// A channel with its dispatcher.
struct Desk {
    channel: Arc<dyn Channel>,
    dispatcher: Dispatcher<Job>,
    /// The number of deliveries that are claimed and whose outcomes are not stored yet.
    outstanding: AtomicUsize,
}

/// The data that all tasks of the workers share.
struct Office {
    setup: Setup,
    lease: Arc<str>,
    ledger: Arc<Ledger>,
    desks: Vec<Arc<Desk>>,
    /// The IDs of the deliveries that are claimed and whose outcomes are not stored yet. The renewer extends
    /// their leases.
    held: Mutex<HashSet<i64>>,
    /// When the last successful renewal began.
    renewed: Mutex<Option<Instant>>,
}

impl Office {
    /// Returns whether the lease of a delivery holds long enough to start the delivery.
    fn holds(&self, job: &Job) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        let since = renewed
            .filter(|renewed| *renewed >= job.held_since)
            .unwrap_or(job.claimed_at);
        since.elapsed() + MARGIN < queue::LEASE
    }

    fn held(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outstanding(&self) -> usize {
        self.desks
            .iter()
            .map(|desk| desk.outstanding.load(Ordering::SeqCst))
            .sum()
    }
}

/// The running workers of a process.
pub struct Workers {
    stop: watch::Sender<bool>,
    senders_ended: watch::Sender<bool>,
    senders: Vec<JoinHandle<()>>,
    clerk: JoinHandle<()>,
    renewer: JoinHandle<()>,
    writer: Option<JoinHandle<()>>,
    listener: Option<std::thread::JoinHandle<()>>,
}

impl Workers {
    /// Starts the tasks of the workers. With SQLite, the outcome records that an earlier process left are
    /// stored first.
    ///
    /// # Errors
    /// `Unavailable` if the file of outcome records cannot be created, or an error of the database.
    pub async fn start(setup: Setup) -> Result<Workers> {
        let (stop, stopped) = watch::channel(false);
        let (senders_ended, ended) = watch::channel(false);
        let lease = new_uuid(setup.db.clock().now()).to_string();
        let mut arrivals = None;
        let ledger = match &setup.receipts {
            Some(path) => {
                take_over(&setup, path).await?;
                Ledger::in_file(path, lease.clone()).map_err(|error| {
                    Error::Unavailable(format!("no room for receipts at {}: {error}", path.display()))
                })?
            }
            None => {
                let (ledger, receiver) = Ledger::in_table(lease.clone());
                arrivals = Some(receiver);
                ledger
            }
        };
        let desks = setup
            .channels
            .iter()
            .map(|channel| {
                Arc::new(Desk {
                    channel: channel.clone(),
                    dispatcher: Dispatcher::new(channel.concurrency(), setup.limits.clone()),
                    outstanding: AtomicUsize::new(0),
                })
            })
            .collect();
        let office = Arc::new(Office {
            lease: lease.into(),
            ledger: Arc::new(ledger),
            desks,
            held: Mutex::default(),
            renewed: Mutex::default(),
            setup,
        });
        let writer = arrivals.map(|arrivals| {
            let (db, ledger) = (office.setup.db.clone(), office.ledger.clone());
            tokio::spawn(ledger::write_rows(
                db,
                ledger,
                arrivals,
                stopped.clone(),
                LAST_CHANCE,
            ))
        });
        let mut senders = Vec::new();
        for desk in &office.desks {
            for _ in 0..desk.channel.concurrency() {
                senders.push(tokio::spawn(senders::make_deliveries(
                    office.clone(),
                    desk.clone(),
                    desk.channel.sender(),
                    stopped.clone(),
                )));
            }
        }
        let span = tracing::info_span!("delivery_queue");
        let renew = senders::renew(office.clone(), stopped.clone());
        let renewer = tokio::spawn(renew.instrument(span.clone()));
        let listener = listener::listen(&office.setup, stopped.clone());
        let clerk = clerk::Clerk::new(office, stopped, ended);
        let clerk = tokio::spawn(clerk.work().instrument(span));
        Ok(Workers {
            stop,
            senders_ended,
            senders,
            clerk,
            renewer,
            writer,
            listener,
        })
    }

    /// Stops the workers. It finishes the deliveries that are being made, stores their outcomes and gives
    /// back the rest.
    async fn end(self) {
        // This fails only if all tasks have already ended.
        let _ = self.stop.send(true);
        for sender in self.senders {
            ended(sender.await);
        }
        let _ = self.senders_ended.send(true);
        ended(self.clerk.await);
        ended(self.renewer.await);
        if let Some(writer) = self.writer {
            // All senders have ended, so nothing more arrives.
            writer.abort();
        }
        if let Some(listener) = self.listener
            && tokio::task::spawn_blocking(move || listener.join())
                .await
                .is_err()
        {
            tracing::error!("the listener ended badly");
        }
    }
}

impl Part for Workers {
    fn stop(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.end())
    }
}

fn ended(result: std::result::Result<(), tokio::task::JoinError>) {
    if let Err(error) = result {
        tracing::error!(%error, "a delivery task ended badly");
    }
}

fn schedules(setup: &Setup) -> HashMap<&'static str, Vec<Duration>> {
    setup
        .channels
        .iter()
        .map(|channel| (channel.name(), channel.schedule().to_vec()))
        .collect()
}

/// Stores the outcome records that an earlier process left, and gives back its other claims. With SQLite no
/// other process can be alive.
async fn take_over(setup: &Setup, path: &std::path::Path) -> Result<()> {
    let receipts = ledger::read_file(path)
        .map_err(|error| Error::Unavailable(format!("cannot read {}: {error}", path.display())))?;
    let schedules = schedules(setup);
    let settled = setup
        .db
        .write(&Actor::system("delivery"), move |tx| {
            let settled = queue::settle(tx, &schedules, receipts)?;
            queue::release_all(tx.conn, tx.now)?;
            Ok(settled)
        })
        .await?;
    if settled > 0 {
        tracing::info!(settled, "stored what a process that was killed had sent");
    }
    Ok(())
}
