//! The delivery workers of one process.
//!
//! The players: the *claimer* expands queued notices, claims due deliveries and renders their mails; each *sender* owns
//! one connection and sends one mail at a time; the *recorder* stores outcomes in groups, one transaction for all
//! that have gathered, and only then lets their senders go on. A sender that goes on knows from the same
//! transaction whether its next mail's notice has been stopped.
//!
//! Must never happen here: network I/O inside a transaction, a claim that outlives its worker by more than a lease,
//! or a job that needs the machine to stay up (everything is idempotent and starts again from the tables).

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lettre::message::Mailbox;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::email::{self, Relay, Sender};
use super::queue::{self, Claimed, Finish, Frozen};
use super::{Mail, Outcome, outbox};
use crate::audit::Actor;
use crate::db::Db;
use crate::error::Result;
use crate::id::{NoticeId, new_uuid};
use crate::notice::{compose, templates};
use crate::template::Template;

/// How often the tables are looked at when nothing wakes the claimer.
const POLL: Duration = Duration::from_millis(500);
/// How often claims are renewed; well inside [`queue::LEASE`].
const RENEW: Duration = Duration::from_secs(10);
/// How long a connection is kept without a mail.
const IDLE: Duration = Duration::from_secs(15);
/// How long a process that is told to end tries to record what it has sent.
const LAST_CHANCE: Duration = Duration::from_secs(15);
/// Outcomes that one transaction records at most.
const GROUP: usize = 500;

/// Where mails go.
#[derive(Clone)]
pub enum Channel {
    /// A mail server.
    Smtp(Relay),
    /// A folder.
    Outbox(PathBuf),
}

/// Counts for the metrics.
#[derive(Default)]
pub struct Stats {
    /// Attempts that were accepted.
    pub sent: std::sync::atomic::AtomicU64,
    /// Attempts to be repeated.
    pub retried: std::sync::atomic::AtomicU64,
    /// Attempts refused for good.
    pub failed: std::sync::atomic::AtomicU64,
}

/// What the workers need.
#[derive(Clone)]
pub struct Setup {
    /// The database.
    pub db: Db,
    /// Where mails go.
    pub channel: Channel,
    /// Senders.
    pub concurrency: usize,
    /// Waits between attempts.
    pub schedule: Vec<Duration>,
    /// The sender of every mail.
    pub from: Mailbox,
    /// Makes the envelope sender of each mail, where bounces have an address of their own.
    pub verp: Option<super::verp::Verp>,
    /// Signs links.
    pub links: crate::access::Links,
    /// Woken when a notice is queued.
    pub wake: Arc<Notify>,
    /// Counts.
    pub stats: Arc<Stats>,
}

impl Setup {
    /// The right-hand side of Message-IDs.
    fn domain(&self) -> String {
        self.from.email.domain().to_owned()
    }
}

struct Job {
    claimed: Claimed,
    mail: std::result::Result<Mail, String>,
}

struct Done {
    claimed: Claimed,
    finish: Finish,
    recorded: oneshot::Sender<()>,
}

#[derive(Clone)]
struct Shared {
    stop: watch::Receiver<bool>,
    stopped_notices: Arc<Mutex<HashSet<NoticeId>>>,
    outstanding: Arc<AtomicUsize>,
    lease: Arc<str>,
}

/// The running workers of a process.
pub struct Workers {
    stop: watch::Sender<bool>,
    claimer: JoinHandle<()>,
    senders: Vec<JoinHandle<()>>,
    recorder: JoinHandle<()>,
    renewer: JoinHandle<()>,
}

impl Workers {
    /// Starts the claimer, the senders and the recorder.
    pub fn start(setup: Setup) -> Workers {
        let (stop, stopped) = watch::channel(false);
        let lease = new_uuid(setup.db.clock().now()).to_string();
        let shared = Shared {
            stop: stopped,
            stopped_notices: Arc::default(),
            outstanding: Arc::default(),
            lease: lease.into(),
        };
        let (jobs, waiting) = mpsc::channel::<Job>(setup.concurrency * 2);
        let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
        let (done, outcomes) = mpsc::channel::<Done>(GROUP);
        let senders = (0..setup.concurrency)
            .map(|_| {
                tokio::spawn(send_mails(
                    setup.clone(),
                    shared.clone(),
                    waiting.clone(),
                    done.clone(),
                ))
            })
            .collect();
        drop(done);
        let recorder = tokio::spawn(record(setup.clone(), shared.clone(), outcomes));
        let renewer = tokio::spawn(renew(setup.clone(), shared.clone()));
        let claimer = tokio::spawn(claim(setup, shared, jobs));
        Workers {
            stop,
            claimer,
            senders,
            recorder,
            renewer,
        }
    }

    /// Finishes the mails that are on the wire, records them, gives the rest back, and ends.
    pub async fn stop(self) {
        // Nobody listens any more where everything has ended by itself.
        let _ = self.stop.send(true);
        for handle in [self.claimer]
            .into_iter()
            .chain(self.senders)
            .chain([self.recorder, self.renewer])
        {
            if let Err(error) = handle.await {
                tracing::error!(%error, "a delivery task ended badly");
            }
        }
    }
}

async fn claim(setup: Setup, shared: Shared, jobs: mpsc::Sender<Job>) {
    let mut stop = shared.stop.clone();
    let mut renderer = Renderer::default();
    while !*stop.borrow() {
        let worked = match step(&setup, &shared, &jobs, &mut renderer).await {
            Ok(worked) => worked,
            Err(error) => {
                tracing::warn!(
                    error = error.chain(),
                    "the delivery queue is not reachable; trying again"
                );
                false
            }
        };
        if !worked {
            tokio::select! {
                () = setup.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                _ = stop.changed() => {}
            }
        }
    }
}

/// One round. Answers whether another one should follow at once.
async fn step(
    setup: &Setup,
    shared: &Shared,
    jobs: &mpsc::Sender<Job>,
    renderer: &mut Renderer,
) -> Result<bool> {
    let now = setup.db.clock().now();
    if !setup
        .db
        .read(move |conn| queue::anything_to_do(conn, now))
        .await?
    {
        return Ok(false);
    }
    let system = Actor::system("delivery");
    let domain = setup.domain();
    let expanded = setup
        .db
        .write(&system, move |tx| queue::expand_step(tx, &domain))
        .await?;
    let room = (setup.concurrency * 2).saturating_sub(shared.outstanding.load(Ordering::SeqCst));
    let mut claimed = Vec::new();
    if room > 0 {
        let lease = shared.lease.clone();
        claimed = setup
            .db
            .transaction(move |conn| queue::claim(conn, now, &lease, room as i64))
            .await?;
    }
    if claimed.is_empty() {
        let finished = setup
            .db
            .write(&system, |tx| {
                let ids = queue::complete(tx.conn)?;
                ids.iter().try_for_each(|id| crate::notice::finished(tx, id))?;
                Ok(ids.len())
            })
            .await?;
        return Ok(expanded || finished > 0);
    }
    shared.outstanding.fetch_add(claimed.len(), Ordering::SeqCst);
    for job in renderer.render(setup, claimed).await {
        if let Err(unsent) = jobs.send(job).await {
            // Only when stopping: the row comes back by its lease.
            tracing::debug!(delivery = unsent.0.claimed.id, "claimed but not sent");
            shared.outstanding.fetch_sub(1, Ordering::SeqCst);
        }
    }
    Ok(true)
}

/// Renders claimed mails, keeping the templates and frozen contents that it has seen.
#[derive(Default)]
struct Renderer {
    notices: HashMap<NoticeId, Arc<(Frozen, Template)>>,
}

impl Renderer {
    async fn render(&mut self, setup: &Setup, claimed: Vec<Claimed>) -> Vec<Job> {
        let mut jobs = Vec::with_capacity(claimed.len());
        let mut by_notice: HashMap<NoticeId, Vec<Claimed>> = HashMap::new();
        for row in claimed {
            by_notice.entry(row.notice.clone()).or_default().push(row);
        }
        for (notice, rows) in by_notice {
            match self.of_notice(setup, &notice, &rows).await {
                Ok(mails) => {
                    jobs.extend(
                        rows.into_iter()
                            .zip(mails)
                            .map(|(claimed, mail)| Job { claimed, mail }),
                    );
                }
                Err(error) => {
                    tracing::error!(%notice, error = error.chain(), "mails could not be prepared");
                    let reason = "the mail could not be prepared".to_owned();
                    jobs.extend(rows.into_iter().map(|claimed| Job {
                        claimed,
                        mail: Err(reason.clone()),
                    }));
                }
            }
        }
        jobs
    }

    async fn of_notice(
        &mut self,
        setup: &Setup,
        notice: &NoticeId,
        rows: &[Claimed],
    ) -> Result<Vec<std::result::Result<Mail, String>>> {
        let frozen = match self.notices.get(notice) {
            Some(frozen) => frozen.clone(),
            None => {
                let id = notice.clone();
                let loaded = setup
                    .db
                    .read(move |conn| {
                        let frozen = queue::frozen(conn, &id)?;
                        let template = templates::load(conn, frozen.content.phase, &frozen.template)?;
                        Ok(Arc::new((frozen, template)))
                    })
                    .await?;
                // A handful of notices are on their way at a time; old ones need not stay.
                if self.notices.len() >= 32 {
                    self.notices.clear();
                }
                self.notices.insert(notice.clone(), loaded.clone());
                loaded
            }
        };
        let rows = rows.to_vec();
        let notice = notice.clone();
        let setup = setup.clone();
        let date = setup.db.clock().now();
        setup
            .db
            .clone()
            .read(move |conn| {
                let ordinals: Vec<i64> = rows.iter().map(|row| row.ordinal).collect();
                let recipients = queue::recipients(conn, &notice, &ordinals)?;
                let (frozen, template) = &*frozen;
                let thread = format!("incident.{}@{}", frozen.incident, setup.domain());
                Ok(rows
                    .iter()
                    .map(|row| {
                        let (own, optional) = recipients
                            .get(&row.ordinal)
                            .ok_or("the frozen recipient is missing")?;
                        let url = setup.links.unsubscribe(row.id);
                        let context = compose::context(&frozen.content, own, *optional, url.clone());
                        let rendered = template.render(&context).map_err(|error| error.chain())?;
                        let addressing = email::Addressing {
                            from: &setup.from,
                            name: &own.name,
                            address: &row.address,
                            message_id: &row.message_id,
                            thread: &thread,
                            unsubscribe_url: &url,
                            date,
                        };
                        email::build(&addressing, &rendered).map_err(|error| error.chain())
                    })
                    .collect())
            })
            .await
    }
}

async fn send_mails(
    setup: Setup,
    shared: Shared,
    jobs: Arc<tokio::sync::Mutex<mpsc::Receiver<Job>>>,
    done: mpsc::Sender<Done>,
) {
    let mut sender = match &setup.channel {
        Channel::Smtp(relay) => Some(Sender::new(relay.clone())),
        Channel::Outbox(_) => None,
    };
    loop {
        let next = async { jobs.lock().await.recv().await };
        let open = sender.as_ref().is_some_and(Sender::is_open);
        let job = if open {
            match tokio::time::timeout(IDLE, next).await {
                Ok(job) => job,
                Err(_) => {
                    if let Some(sender) = sender.as_mut() {
                        sender.close().await;
                    }
                    continue;
                }
            }
        } else {
            next.await
        };
        let Some(Job { claimed, mail }) = job else { break };
        let is_stopped = shared
            .stopped_notices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&claimed.notice);
        let finish = if *shared.stop.borrow() {
            Finish::Released
        } else if is_stopped {
            Finish::Withheld
        } else {
            let outcome = match (&mail, &setup.channel, sender.as_mut()) {
                (Err(reason), _, _) => Outcome::Failed(reason.clone()),
                (Ok(mail), Channel::Outbox(directory), _) => outbox::deliver(directory, mail).await,
                (Ok(mail), Channel::Smtp(_), Some(sender)) => sender.deliver(mail).await,
                (Ok(_), Channel::Smtp(_), None) => Outcome::Retry(None, "no sender".to_owned()),
            };
            count(&setup.stats, &outcome);
            Finish::Attempt(outcome)
        };
        let (recorded, wait) = oneshot::channel();
        if done
            .send(Done {
                claimed,
                finish,
                recorded,
            })
            .await
            .is_err()
        {
            tracing::error!("an outcome could not be handed over: the recorder has ended");
            break;
        }
        // One mail for each connection can be in doubt, never more.
        if wait.await.is_err() {
            break;
        }
    }
    if let Some(sender) = sender.as_mut() {
        sender.close().await;
    }
}

fn count(stats: &Stats, outcome: &Outcome) {
    let counter = match outcome {
        Outcome::Sent(_) => &stats.sent,
        Outcome::Retry(..) => &stats.retried,
        Outcome::Failed(_) => &stats.failed,
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

async fn record(setup: Setup, shared: Shared, mut outcomes: mpsc::Receiver<Done>) {
    let mut group = Vec::with_capacity(GROUP);
    while outcomes.recv_many(&mut group, GROUP).await > 0 {
        let (waiting, finishes): (Vec<_>, Vec<_>) = group
            .drain(..)
            .map(|done| (done.recorded, (done.claimed, done.finish)))
            .unzip();
        let since = std::time::Instant::now();
        let stopped = loop {
            match queue::finish(&setup.db, &shared.lease, &setup.schedule, finishes.clone()).await {
                Ok(stopped) => break stopped,
                Err(error) => {
                    // What went out must be recorded before anything else goes out: the senders wait here.
                    tracing::error!(
                        error = error.chain(),
                        "outcomes could not be recorded; sending waits"
                    );
                    if *shared.stop.borrow() && since.elapsed() > LAST_CHANCE {
                        // The process has to end. The rows come back by their lease and are sent once more.
                        tracing::error!(
                            mails = finishes.len(),
                            "ending without having recorded these outcomes"
                        );
                        break HashSet::new();
                    }
                    tokio::time::sleep(POLL).await;
                }
            }
        };
        // Stopped is for good, so the set only grows: a few ids for the life of the process.
        shared
            .stopped_notices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(stopped);
        shared.outstanding.fetch_sub(waiting.len(), Ordering::SeqCst);
        for recorded in waiting {
            // A sender that has ended needs no answer.
            let _ = recorded.send(());
        }
        setup.wake.notify_one();
    }
}

async fn renew(setup: Setup, shared: Shared) {
    let mut stop = shared.stop.clone();
    while !*stop.borrow() {
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            _ = stop.changed() => break,
        }
        if shared.outstanding.load(Ordering::SeqCst) == 0 {
            continue;
        }
        let (now, lease) = (setup.db.clock().now(), shared.lease.clone());
        if let Err(error) = setup
            .db
            .transaction(move |conn| queue::renew(conn, now, &lease))
            .await
        {
            tracing::warn!(error = error.chain(), "claims could not be renewed");
        }
    }
}
