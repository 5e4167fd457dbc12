//! The delivery workers of one process.
//!
//! The players: the [`clerk`] stores outcomes and claims what is due next, in one transaction, and expands queued notices;
//! a [dispatcher](super::dispatch) for each channel says who is next, fairly between domains; each of the [`senders`]
//! makes one delivery at a time and goes on when the [ledger](super::ledger) has a receipt of it; a renewer keeps the
//! claims; with PostgreSQL a [`listener`] hears what other processes queued or stopped.
//!
//! Must never happen here: network I/O inside a transaction, a claim that outlives its worker by more than a lease,
//! or a job that needs the machine to stay up (everything is idempotent and starts again from the tables).

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

/// How often the tables are looked at when nothing wakes the clerk.
const POLL: Duration = Duration::from_millis(500);
/// A claim that ends sooner than this is not used any more.
const MARGIN: Duration = Duration::from_secs(5);
/// How long it then tries to store what came of them.
const LAST_CHANCE: Duration = Duration::from_secs(15);

/// Counts for the metrics, and what is wrong at the moment.
#[derive(Default)]
pub struct Stats {
    /// Attempts that were accepted.
    pub sent: AtomicU64,
    /// Attempts to be repeated.
    pub retried: AtomicU64,
    /// Attempts of which nobody knows whether they arrived.
    pub ambiguous: AtomicU64,
    /// Attempts refused for good.
    pub failed: AtomicU64,
    /// Why outcomes cannot be stored, while they cannot. Nothing is claimed then.
    trouble: Mutex<Option<String>>,
}

impl Stats {
    /// Why sending has stopped, where it has.
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

/// How the rest of the process, and other processes, get the workers' attention.
#[derive(Default)]
pub struct Wake {
    due: Notify,
    /// Stopped is for good, so the set only grows: a few ids for the life of the process.
    stopped: Mutex<HashSet<NoticeId>>,
    /// The set has grown since the clerk looked.
    newly_stopped: AtomicBool,
}

impl Wake {
    /// Something is due.
    pub fn due(&self) {
        self.due.notify_one();
    }

    /// Nothing more of this notice may go out.
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

/// What the workers need.
#[derive(Clone)]
pub struct Setup {
    /// The database.
    pub db: Db,
    /// The ways out.
    pub channels: Vec<Arc<dyn Channel>>,
    /// The right-hand side of Message-IDs.
    pub domain: String,
    /// How long a delivery is tried before it is given up.
    pub lifetime: Duration,
    /// What settings say of domains.
    pub limits: Limits,
    /// Where receipts are written, with an embedded database.
    pub receipts: Option<PathBuf>,
    /// Tells that something is due.
    pub wake: Arc<Wake>,
    /// Counts.
    pub stats: Arc<Stats>,
}

/// A delivery on its way to a sender.
struct Job {
    /// Before the claim: it holds for a lease from here.
    claimed_at: Instant,
    /// From when on a renewal counts for it.
    held_since: Instant,
    /// Or why it cannot be made.
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

/// One channel at work.
struct Desk {
    channel: Arc<dyn Channel>,
    dispatcher: Dispatcher<Job>,
    /// Claimed and not stored yet.
    outstanding: AtomicUsize,
}

/// What the players share.
struct Office {
    setup: Setup,
    lease: Arc<str>,
    ledger: Arc<Ledger>,
    desks: Vec<Arc<Desk>>,
    /// The ids of what is claimed and not stored yet: what a renewal is for.
    held: Mutex<HashSet<i64>>,
    /// When the claims were last renewed, as of the time the renewal began.
    renewed: Mutex<Option<Instant>>,
}

impl Office {
    /// Whether the claim on it still holds for long enough to begin.
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
    /// Starts the players. What a process before this one left in its receipts is stored first.
    ///
    /// # Errors
    /// `Unavailable` where there is no room for receipts, or what the database answers.
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
        let renewer = tokio::spawn(senders::renew(office.clone(), stopped.clone()));
        let listener = listener::listen(&office.setup, stopped.clone());
        let clerk = tokio::spawn(clerk::Clerk::new(office, stopped, ended).work());
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

    /// Finishes the deliveries that are under way, stores them, gives the rest back, and ends.
    async fn end(self) {
        // Nobody listens any more where everything has ended by itself.
        let _ = self.stop.send(true);
        for sender in self.senders {
            ended(sender.await);
        }
        let _ = self.senders_ended.send(true);
        ended(self.clerk.await);
        ended(self.renewer.await);
        if let Some(writer) = self.writer {
            // Nobody hands it anything any more.
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

/// With an embedded database nobody else can be alive: stores what the process before left in its receipts, and frees
/// its other claims.
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
