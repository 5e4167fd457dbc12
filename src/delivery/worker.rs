//! The delivery workers of one process.
//!
//! The players: the *clerk* stores outcomes and claims what is due next, in one transaction, and expands queued notices;
//! a *dispatcher* for each channel says who is next, fairly between domains; each *sender* makes one delivery at a time
//! and goes on when the [`ledger`](super::ledger) has a receipt of it; the *renewer* keeps the claims; with PostgreSQL a
//! *listener* hears what other processes queued or stopped.
//!
//! Must never happen here: network I/O inside a transaction, a claim that outlives its worker by more than a lease,
//! or a job that needs the machine to stay up (everything is idempotent and starts again from the tables).

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::Outcome;
use super::channel::{Channel, Sender, Task};
use super::dispatch::{Dispatcher, Limits, Turn, Went};
use super::ledger::{self, Done, Group, Ledger};
use super::queue::{self, Claim, Claimed, Finish, Frozen, Wanted};
use crate::audit::Actor;
use crate::db::Db;
use crate::error::{Error, Result};
use crate::id::{NoticeId, new_uuid};

/// How often the tables are looked at when nothing wakes the clerk.
const POLL: Duration = Duration::from_millis(500);
/// How long an outcome waits for others to be stored with it.
const LINGER: Duration = Duration::from_millis(20);
/// How often claims are renewed; well inside [`queue::LEASE`].
const RENEW: Duration = Duration::from_secs(10);
/// A claim that ends sooner than this is not used any more.
const MARGIN: Duration = Duration::from_secs(5);
/// How long a connection is kept without a delivery.
const IDLE: Duration = Duration::from_secs(15);
/// How long a process that is told to end waits for deliveries that are under way.
const DRAIN: Duration = Duration::from_secs(25);
/// How long it then tries to store what came of them.
const LAST_CHANCE: Duration = Duration::from_secs(15);
/// Deliveries that a channel holds claimed at most.
const WINDOW: usize = 2_000;
/// A window that is used up faster than this grows.
const BRISK: Duration = Duration::from_millis(200);
/// A window that takes longer than this shrinks.
const SLUGGISH: Duration = Duration::from_secs(2);
/// Claims for each delivery that is made at a time, at first and at least.
const AHEAD: usize = 2;
/// Frozen notices that are kept in memory.
const NOTICES: usize = 32;

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
            Outcome::Failed(_) | Outcome::Gone(_) => &self.failed,
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
    claimed_at: Instant,
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
    /// When the claims were last renewed, as of the time the renewal began.
    renewed: Mutex<Option<Instant>>,
}

impl Office {
    /// Whether the claim on it still holds for long enough to begin.
    fn holds(&self, claimed_at: Instant) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        let since = renewed.map_or(claimed_at, |renewed| renewed.max(claimed_at));
        since.elapsed() + MARGIN < queue::LEASE
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
                senders.push(tokio::spawn(make_deliveries(
                    office.clone(),
                    desk.clone(),
                    desk.channel.sender(),
                    stopped.clone(),
                )));
            }
        }
        let renewer = tokio::spawn(renew(office.clone(), stopped.clone()));
        let listener = listen(&office.setup, stopped.clone());
        let clerk = tokio::spawn(Clerk::new(office, stopped, ended).work());
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
    pub async fn stop(self) {
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

/// Stores, claims, expands.
struct Clerk {
    office: Arc<Office>,
    stop: watch::Receiver<bool>,
    senders_ended: watch::Receiver<bool>,
    schedules: Arc<HashMap<&'static str, Vec<Duration>>>,
    notices: HashMap<NoticeId, Arc<Frozen>>,
    /// A group whose transaction failed: it is tried until it is stored.
    unstored: Option<Arc<Sheet>>,
    /// What is claimed and not stored yet.
    held: HashSet<i64>,
    /// The last turn failed, and nobody knows whether it was committed: more may be claimed than is known here. Such rows
    /// would stay with a living worker for good.
    in_doubt: bool,
    /// Deliveries that a channel may hold claimed for each that it makes at a time.
    ahead: usize,
    last_turn: Instant,
}

/// A group as it is stored.
struct Sheet {
    done: Vec<(Claimed, Finish)>,
    row: i64,
}

impl Clerk {
    fn new(office: Arc<Office>, stop: watch::Receiver<bool>, senders_ended: watch::Receiver<bool>) -> Self {
        let clerk = Clerk {
            schedules: Arc::new(schedules(&office.setup)),
            ahead: AHEAD,
            office,
            stop,
            senders_ended,
            notices: HashMap::new(),
            unstored: None,
            held: HashSet::new(),
            in_doubt: false,
            last_turn: Instant::now(),
        };
        clerk.office.ledger.tell_at(clerk.threshold());
        clerk
    }

    /// Deliveries that a channel may hold claimed: each has its own, so that one with many connections does not claim
    /// for those with few.
    fn window(&self, desk: &Desk) -> usize {
        (desk.channel.concurrency() * self.ahead).min(WINDOW)
    }

    /// Outcomes that are stored without waiting for more: half of what the busiest channel holds.
    fn threshold(&self) -> usize {
        let busy = |desk: &&Arc<Desk>| desk.outstanding.load(Ordering::SeqCst) > 0;
        let desks = &self.office.desks;
        let window = desks.iter().filter(busy).map(|desk| self.window(desk)).max();
        let window = window.or_else(|| desks.first().map(|desk| self.window(desk)));
        (window.unwrap_or_default() / 2).max(1)
    }

    async fn work(mut self) {
        let mut look = true;
        while !*self.stop.borrow() {
            match self.round(look).await {
                Ok(again) => look = again,
                Err(error) => {
                    tracing::warn!(
                        error = error.chain(),
                        "the delivery queue is not reachable; trying again"
                    );
                    self.pause(POLL).await;
                    look = true;
                    continue;
                }
            }
            if !look {
                look = self.wait().await;
            }
        }
        self.wind_up().await;
    }

    async fn pause(&mut self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = self.stop.changed() => {}
        }
    }

    /// Waits until there is something to store, or something may be due; answers whether the latter.
    async fn wait(&mut self) -> bool {
        let poll = Instant::now() + POLL;
        loop {
            let (waiting, age) = self.office.ledger.waiting();
            let idle = waiting == self.office.outstanding();
            if waiting >= self.threshold() || waiting > 0 && (idle || age >= LINGER) {
                return false;
            }
            let until = if waiting > 0 {
                poll.min(Instant::now() + (LINGER - age))
            } else {
                poll
            };
            tokio::select! {
                () = self.office.ledger.changed.notified() => {}
                () = self.office.setup.wake.due.notified() => return true,
                () = tokio::time::sleep_until(until.into()) => {
                    if Instant::now() >= poll {
                        return true;
                    }
                }
                _ = self.stop.changed() => return false,
            }
        }
    }

    /// One round: stores, claims, expands. Answers whether another one should follow at once.
    async fn round(&mut self, look: bool) -> Result<bool> {
        let office = self.office.clone();
        self.take_out_stopped();
        let nothing_to_store = self.unstored.is_none() && office.ledger.waiting().0 == 0;
        if nothing_to_store {
            let (now, lease) = (office.setup.db.clock().now(), office.lease.clone());
            let anything = look
                && office
                    .setup
                    .db
                    .read(move |conn| queue::anything_to_do(conn, now, &lease))
                    .await?;
            if !anything {
                return Ok(false);
            }
        }
        let queued = self.turn(true).await?;
        if queued {
            let (domain, lifetime) = (office.setup.domain.clone(), office.setup.lifetime);
            office
                .setup
                .db
                .write(&Actor::system("delivery"), move |tx| {
                    queue::expand_step(tx, &domain, lifetime)
                })
                .await?;
        }
        Ok(queued)
    }

    /// What waits of a stopped notice does not wait for a sender: that may take long.
    fn take_out_stopped(&self) {
        let wake = &self.office.setup.wake;
        if !wake.newly_stopped.swap(false, Ordering::SeqCst) {
            return;
        }
        for desk in &self.office.desks {
            let stopped = desk
                .dispatcher
                .extract(|job| wake.is_stopped(&job.claimed().notice_id));
            let withheld = stopped.into_iter().map(|job| Done {
                claimed: job.into_claimed(),
                finish: Finish::Withheld,
            });
            self.office.ledger.put_by(withheld.collect());
        }
    }

    /// Stores what waits and claims what is due. Answers whether a notice waits to be expanded.
    async fn turn(&mut self, claim: bool) -> Result<bool> {
        let office = self.office.clone();
        let sheet = self.sheet();
        let wanted: Vec<Wanted> = office
            .desks
            .iter()
            .filter(|_| claim)
            .map(|desk| {
                let of_desk = sheet
                    .done
                    .iter()
                    .filter(|(claimed, _)| claimed.channel == desk.channel.name())
                    .count();
                let held = desk.outstanding.load(Ordering::SeqCst).saturating_sub(of_desk);
                Wanted {
                    channel: desk.channel.name(),
                    room: self.window(desk).saturating_sub(held) as i64,
                    without: desk.dispatcher.crowded(),
                }
            })
            .collect();
        let claimed_at = Instant::now();
        let known: Option<Vec<i64>> = self.in_doubt.then(|| self.held.iter().copied().collect());
        let (group, lease, schedules) = (sheet.clone(), office.lease.clone(), self.schedules.clone());
        let result = office
            .setup
            .db
            .write(&Actor::system("delivery"), move |tx| {
                queue::turn(
                    tx,
                    &lease,
                    &schedules,
                    &group.done,
                    group.row,
                    known.as_deref(),
                    &wanted,
                )
            })
            .await;
        let turn = match result {
            Ok(turn) => turn,
            Err(error) => {
                if !sheet.done.is_empty() {
                    tracing::error!(
                        error = error.chain(),
                        outcomes = sheet.done.len(),
                        "outcomes cannot be stored; nothing more is sent until they are"
                    );
                    office.setup.stats.set_trouble(Some(error.chain()));
                }
                self.unstored = Some(sheet);
                self.in_doubt = true;
                return Err(error);
            }
        };
        self.in_doubt = false;
        for (claimed, _) in &sheet.done {
            self.held.remove(&claimed.id);
        }
        if !sheet.done.is_empty() {
            office.setup.stats.set_trouble(None);
            office.ledger.stored();
            for desk in &office.desks {
                let of_desk = sheet
                    .done
                    .iter()
                    .filter(|(claimed, _)| claimed.channel == desk.channel.name())
                    .count();
                desk.outstanding.fetch_sub(of_desk, Ordering::SeqCst);
            }
        }
        for notice in turn.stopped {
            if !office.setup.wake.is_stopped(&notice) {
                office.setup.wake.stopped(notice);
            }
        }
        self.adapt(sheet.done.len());
        for (channel, claims) in turn.claims {
            self.hand_out(channel, claims, claimed_at).await?;
        }
        self.office.ledger.tell_at(self.threshold());
        Ok(turn.queued)
    }

    fn sheet(&mut self) -> Arc<Sheet> {
        self.unstored.take().unwrap_or_else(|| {
            let Group { done, row } = self.office.ledger.take();
            Arc::new(Sheet {
                done: done.into_iter().map(|done| (done.claimed, done.finish)).collect(),
                row,
            })
        })
    }

    /// A fast relay is worth many claims ahead; with a slow one they would only wait here, where no other worker and no
    /// stop reaches them as easily.
    fn adapt(&mut self, stored: usize) {
        if stored == 0 {
            return;
        }
        let took = self.last_turn.elapsed();
        self.last_turn = Instant::now();
        if stored >= self.threshold() && took < BRISK {
            // No further than to the largest window of the channel with the fewest connections.
            let fewest = self
                .office
                .desks
                .iter()
                .map(|desk| desk.channel.concurrency())
                .min();
            self.ahead = (self.ahead * 2)
                .min(WINDOW.div_ceil(fewest.unwrap_or(1).max(1)))
                .max(AHEAD);
        } else if took > SLUGGISH {
            self.ahead = (self.ahead / 2).max(AHEAD);
        }
    }

    /// Gives claimed deliveries to the senders.
    async fn hand_out(&mut self, channel: &str, claims: Vec<Claim>, claimed_at: Instant) -> Result<()> {
        let office = self.office.clone();
        let Some(desk) = office.desks.iter().find(|desk| desk.channel.name() == channel) else {
            return Ok(());
        };
        desk.outstanding.fetch_add(claims.len(), Ordering::SeqCst);
        self.held.extend(claims.iter().map(|claim| claim.claimed.id));
        let mut jobs = Vec::with_capacity(claims.len());
        for Claim { claimed, recipient } in claims {
            let task = match recipient {
                None => Err((claimed, "the frozen recipient is missing".to_owned())),
                Some(to) => match self.notice(&claimed.notice_id).await {
                    Ok(notice) => Ok(Task { claimed, notice, to }),
                    Err(reason) => Err((claimed, reason)),
                },
            };
            let job = Job { claimed_at, task };
            jobs.push((job.claimed().domain.clone(), job));
        }
        desk.dispatcher.push(jobs);
        Ok(())
    }

    /// A frozen notice; or why it cannot be sent at all.
    async fn notice(&mut self, id: &NoticeId) -> std::result::Result<Arc<Frozen>, String> {
        if let Some(known) = self.notices.get(id) {
            return Ok(known.clone());
        }
        loop {
            let wanted = id.clone();
            let found = self
                .office
                .setup
                .db
                .read(move |conn| queue::frozen(conn, &wanted))
                .await;
            match found {
                Ok(frozen) => {
                    // A handful of notices are on their way at a time; old ones need not stay.
                    if self.notices.len() >= NOTICES {
                        self.notices.clear();
                    }
                    let frozen = Arc::new(frozen);
                    self.notices.insert(id.clone(), frozen.clone());
                    return Ok(frozen);
                }
                Err(Error::Unavailable(reason)) if !*self.stop.borrow() => {
                    tracing::warn!(%reason, "a frozen notice cannot be read; trying again");
                    self.pause(POLL).await;
                }
                Err(error) => {
                    tracing::error!(notice = %id, error = error.chain(), "mails could not be prepared");
                    return Err("the mail could not be prepared".to_owned());
                }
            }
        }
    }

    /// Stores what the senders still bring in, and gives back what nobody began.
    async fn wind_up(mut self) {
        let office = self.office.clone();
        let left: Vec<Claimed> = office
            .desks
            .iter()
            .flat_map(|desk| desk.dispatcher.close())
            .map(Job::into_claimed)
            .collect();
        while !*self.senders_ended.borrow() {
            if (office.ledger.waiting().0 > 0 || self.unstored.is_some())
                && let Err(error) = self.turn(false).await
            {
                tracing::warn!(
                    error = error.chain(),
                    "outcomes could not be stored; trying again"
                );
            }
            tokio::select! {
                () = tokio::time::sleep(LINGER) => {}
                _ = self.senders_ended.changed() => {}
            }
        }
        let since = Instant::now();
        let mut released = false;
        loop {
            let Some(problem) = self.last_turn(&left, &mut released).await.err() else {
                office.ledger.end();
                return;
            };
            if since.elapsed() > LAST_CHANCE {
                // Receipts and leases bring everything back.
                tracing::error!(
                    error = problem.chain(),
                    "ending without having stored the last outcomes; they are stored when Candor runs again"
                );
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn last_turn(&mut self, left: &[Claimed], released: &mut bool) -> Result<()> {
        while self.unstored.is_some() || self.office.ledger.waiting().0 > 0 {
            self.turn(false).await?;
        }
        if !*released && !left.is_empty() {
            let done = left
                .iter()
                .map(|claimed| (claimed.clone(), Finish::Released))
                .collect();
            self.unstored = Some(Arc::new(Sheet { done, row: 0 }));
            *released = true;
            self.turn(false).await?;
        }
        Ok(())
    }
}

async fn make_deliveries(
    office: Arc<Office>,
    desk: Arc<Desk>,
    mut sender: Box<dyn Sender>,
    mut stop: watch::Receiver<bool>,
) {
    let mut stopping = stop.clone();
    loop {
        if let Some(at) = sender.closed_until() {
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {}
                _ = stop.changed() => {}
            }
        }
        let turn = if sender.is_open() {
            match tokio::time::timeout(IDLE, desk.dispatcher.take()).await {
                Ok(turn) => turn,
                Err(_) => {
                    sender.close().await;
                    continue;
                }
            }
        } else {
            desk.dispatcher.take().await
        };
        let Some(Turn { work: job, domain }) = turn else {
            break;
        };
        let began = Instant::now();
        let finish = if *stop.borrow() || !office.holds(job.claimed_at) {
            Finish::Released
        } else if office.setup.wake.is_stopped(&job.claimed().notice_id) {
            Finish::Withheld
        } else {
            let outcome = match &job.task {
                Err((_, reason)) => Outcome::Failed(reason.clone()),
                Ok(task) => tokio::select! {
                    outcome = sender.deliver(task) => outcome,
                    () = drained(&mut stopping) => Outcome::Ambiguous(
                        "the process had to end before the server had answered".to_owned(),
                    ),
                },
            };
            office.setup.stats.count(&outcome);
            Finish::Attempt(outcome)
        };
        let went = match &finish {
            Finish::Attempt(Outcome::Sent(_) | Outcome::Failed(_) | Outcome::Gone(_)) => Went::Well,
            Finish::Attempt(_) => Went::Refused,
            Finish::Withheld | Finish::Released => Went::Nowhere,
        };
        let took = began.elapsed();
        let claimed = job.into_claimed();
        office.ledger.settle(Done { claimed, finish }).await;
        desk.dispatcher.done(&domain, went, took);
    }
    sender.close().await;
}

/// Ends when deliveries under way have had their time after the process was told to end.
async fn drained(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // The workers are gone without a word: there is nobody to wait for.
        return;
    }
    tokio::time::sleep(DRAIN).await;
}

async fn renew(office: Arc<Office>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            _ = stop.changed() => {}
        }
        // Deliveries that are under way when the process is told to end need their claims too.
        if office.outstanding() == 0 {
            if *stop.borrow() {
                return;
            }
            continue;
        }
        let began = Instant::now();
        let (now, lease) = (office.setup.db.clock().now(), office.lease.clone());
        let renewed = office
            .setup
            .db
            .transaction(move |conn| queue::renew(conn, now, &lease))
            .await;
        match renewed {
            Ok(_) => *office.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(began),
            Err(error) => tracing::warn!(error = error.chain(), "claims could not be renewed"),
        }
        if *stop.borrow() {
            return;
        }
    }
}

/// Hears what other processes queue and stop. libpq has no way to wait that we could use without unsafe code, so it
/// looks often: a look costs one read that does not block.
fn listen(setup: &Setup, stop: watch::Receiver<bool>) -> Option<std::thread::JoinHandle<()>> {
    const LOOK: Duration = Duration::from_millis(20);
    setup.receipts.is_none().then_some(())?;
    let (db, wake) = (setup.db.clone(), setup.wake.clone());
    let work = move || {
        let mut connection = None;
        while !*stop.borrow() {
            let heard = match connection.as_mut() {
                Some(connection) => crate::db::dialect::heard(connection),
                None => crate::db::connect_alone(db.url()).and_then(|mut fresh| {
                    crate::db::dialect::listen(&mut fresh)?;
                    connection = Some(fresh);
                    // What was said while nobody listened is in the tables.
                    Ok(vec![String::new()])
                }),
            };
            match heard {
                Ok(payloads) => {
                    for payload in payloads {
                        match NoticeId::parse(&payload) {
                            Ok(notice) => wake.stopped(notice),
                            Err(_) => wake.due(),
                        }
                    }
                    std::thread::sleep(LOOK);
                }
                Err(error) => {
                    tracing::debug!(error = error.chain(), "not listening; trying again");
                    connection = None;
                    std::thread::sleep(POLL);
                }
            }
        }
    };
    match std::thread::Builder::new()
        .name("listener".to_owned())
        .spawn(work)
    {
        Ok(handle) => Some(handle),
        Err(error) => {
            tracing::warn!(%error, "no thread to listen with; the tables are looked at instead");
            None
        }
    }
}
