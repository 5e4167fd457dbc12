//! The delivery to endpoints: claim what is due, make the calls side by side, record their outcomes in groups.
//!
//! Apart from the mails' workers, with a claim and a concurrency of its own, so that a slow endpoint holds up no mail and
//! a million mails hold up no endpoint. What is claimed is called at once: nothing waits in memory.
//!
//! Must never happen here: network I/O inside a transaction, a call whose outcome is lost while this process lives, or a
//! channel that is trusted to end in time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Outcome;
use super::channel::{Call, Channels, MOST_PATIENCE, call_id};
use super::queue::{self, Claimed, Due, Finish};
use super::worker::{Stats, count};
use crate::db::schema::{notice_recipients as nr, notices as n};
use crate::db::{Conn, Db};
use crate::directory::endpoint;
use crate::error::Result;
use crate::id::{NoticeId, new_uuid};
use crate::notice::compose::Content;
use crate::notice::payload::{self, EndpointContext};
use crate::time::Timestamp;

/// Calls at the same time at most. Most of them wait for a distant server.
const CALLS: usize = 64;
/// How often the tables are looked at when nothing wakes this.
const POLL: Duration = Duration::from_millis(500);
/// How often claims are renewed; well inside [`queue::LEASE`].
const RENEW: Duration = Duration::from_secs(10);
/// How long a process that is told to end tries to record what it has sent.
const LAST_CHANCE: Duration = Duration::from_secs(15);

/// What the callers need.
#[derive(Clone)]
pub struct Setup {
    /// The database.
    pub db: Db,
    /// How endpoints are spoken to.
    pub channels: Channels,
    /// Woken when there may be something due.
    pub wake: Arc<Notify>,
    /// Counts.
    pub stats: Arc<Stats>,
}

struct Done {
    claimed: Claimed,
    finish: Finish,
    /// Given back once the outcome is on record.
    _permit: OwnedSemaphorePermit,
}

/// The running callers of a process.
pub struct Callers {
    stop: watch::Sender<bool>,
    claimer: JoinHandle<()>,
    recorder: JoinHandle<()>,
    renewer: JoinHandle<()>,
}

impl Callers {
    /// Starts the claimer, the recorder and the renewer.
    pub fn start(setup: Setup) -> Callers {
        let (stop, stopped) = watch::channel(false);
        let lease: Arc<str> = new_uuid(setup.db.clock().now()).to_string().into();
        let permits = Arc::new(Semaphore::new(CALLS));
        let (done, outcomes) = mpsc::channel(CALLS);
        Callers {
            stop,
            claimer: tokio::spawn(claim(
                setup.clone(),
                lease.clone(),
                permits.clone(),
                done,
                stopped.clone(),
            )),
            recorder: tokio::spawn(record(setup.clone(), lease.clone(), outcomes, stopped)),
            renewer: tokio::spawn(renew(setup, lease, permits)),
        }
    }

    /// Waits for the calls that are under way, records them, and ends.
    pub async fn stop(self) {
        // Nobody listens any more where everything has ended by itself.
        let _ = self.stop.send(true);
        for task in [self.claimer, self.recorder] {
            if let Err(error) = task.await {
                tracing::error!(%error, "a delivery task ended badly");
            }
        }
        self.renewer.abort();
    }
}

async fn claim(
    setup: Setup,
    lease: Arc<str>,
    permits: Arc<Semaphore>,
    done: mpsc::Sender<Done>,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let called = match step(&setup, &lease, &permits, &done).await {
            Ok(called) => called,
            Err(error) => {
                tracing::warn!(
                    error = error.chain(),
                    "the delivery queue is not reachable; trying again"
                );
                0
            }
        };
        if called == 0 {
            tokio::select! {
                () = setup.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                _ = stop.changed() => {}
            }
        }
    }
}

/// One round. Answers how many calls it has begun.
async fn step(
    setup: &Setup,
    lease: &Arc<str>,
    permits: &Arc<Semaphore>,
    done: &mpsc::Sender<Done>,
) -> Result<usize> {
    let room = permits.available_permits();
    let now = setup.db.clock().now();
    if room == 0 || !setup.db.read(move |conn| queue::anything_due(conn, now)).await? {
        return Ok(0);
    }
    let holder = lease.clone();
    let claimed = setup
        .db
        .transaction(move |conn| queue::claim(conn, now, &holder, room as i64, Due::ToEndpoints))
        .await?;
    if claimed.is_empty() {
        return Ok(0);
    }
    let rows = claimed.clone();
    let prepared = setup
        .db
        .read(move |conn| prepare(conn, &rows, now))
        .await
        .map_err(|error| {
            // The claims end with their lease.
            tracing::error!(error = error.chain(), "calls could not be prepared");
            error
        })?;
    let count = claimed.len();
    for (claimed, prepared) in claimed.into_iter().zip(prepared) {
        // There is room: nobody else takes permits.
        let Ok(permit) = permits.clone().acquire_owned().await else {
            break;
        };
        tokio::spawn(make(setup.clone(), claimed, prepared, permit, done.clone()));
    }
    Ok(count)
}

/// What comes of a claimed row: a call by the channel of that name, or what is recorded without one.
type Prepared = std::result::Result<Box<(String, Call)>, Finish>;

fn prepare(conn: &mut Conn, rows: &[Claimed], now: Timestamp) -> Result<Vec<Prepared>> {
    let mut notices: HashMap<NoticeId, (Content, Option<Timestamp>, bool)> = HashMap::new();
    let mut contexts: HashMap<(NoticeId, i64), EndpointContext> = HashMap::new();
    for row in rows {
        if notices.contains_key(&row.notice) {
            continue;
        }
        let ordinals: Vec<i64> = rows
            .iter()
            .filter(|other| other.notice == row.notice)
            .map(|other| other.ordinal)
            .collect();
        let (content, queued_at, state): (Option<String>, Option<Timestamp>, String) = n::table
            .find(row.notice.as_str())
            .select((n::frozen, n::queued_at, n::state))
            .first(conn)?;
        let content = serde_json::from_str(&content.unwrap_or_default())?;
        notices.insert(row.notice.clone(), (content, queued_at, state == "stopped"));
        let frozen: Vec<(i64, String)> = nr::table
            .filter(nr::notice_id.eq(row.notice.as_str()))
            .filter(nr::ordinal.eq_any(ordinals))
            .select((nr::ordinal, nr::context))
            .load(conn)?;
        for (ordinal, context) in frozen {
            contexts.insert((row.notice.clone(), ordinal), serde_json::from_str(&context)?);
        }
    }
    let ids: Vec<&str> = contexts
        .values()
        .map(|context| context.endpoint.as_str())
        .collect();
    // All that is read of the directory: the secret, and whether the endpoint still wants anything.
    let secrets = endpoint::secrets(conn, &ids)?;
    let never = |reason: &str| Finish::Attempt(Outcome::Failed(reason.to_owned()));
    Ok(rows
        .iter()
        .map(|row| {
            let own = contexts
                .get(&(row.notice.clone(), row.ordinal))
                .ok_or_else(|| never("the frozen recipient is missing"))?;
            let (content, queued_at, stopped) = notices
                .get(&row.notice)
                .ok_or_else(|| never("the frozen notice is missing"))?;
            if *stopped {
                return Err(Finish::Withheld);
            }
            let secret = secrets
                .get(own.endpoint.as_str())
                .ok_or_else(|| never("the endpoint was disabled or deleted since"))?;
            let call = Call {
                url: row.address.clone(),
                secret: secret.clone(),
                id: call_id(&row.message_id),
                attempt: u32::try_from(row.attempt).unwrap_or(u32::MAX),
                now,
                payload: payload::payload(&row.notice, content, own, *queued_at),
            };
            Ok(Box::new((row.channel.clone(), call)))
        })
        .collect())
}

async fn make(
    setup: Setup,
    claimed: Claimed,
    prepared: Prepared,
    permit: OwnedSemaphorePermit,
    done: mpsc::Sender<Done>,
) {
    let finish = match prepared {
        Err(finish) => finish,
        Ok(prepared) => {
            let (name, call) = *prepared;
            let outcome = match setup.channels.get(&name) {
                Some(channel) => timeout(MOST_PATIENCE, channel.deliver(&call))
                    .await
                    .unwrap_or_else(|_| Outcome::Retry(None, "the channel did not end in time".to_owned())),
                // Another process may have it, or the next release.
                None => Outcome::Retry(None, "this process has no channel of its kind".to_owned()),
            };
            count(&setup.stats, &outcome);
            Finish::Attempt(outcome)
        }
    };
    let handed_over = done
        .send(Done {
            claimed,
            finish,
            _permit: permit,
        })
        .await;
    if handed_over.is_err() {
        tracing::error!("an outcome could not be handed over: the recorder has ended");
    }
}

/// Ends when the claimer and all calls have.
async fn record(
    setup: Setup,
    lease: Arc<str>,
    mut outcomes: mpsc::Receiver<Done>,
    stop: watch::Receiver<bool>,
) {
    let mut group: Vec<Done> = Vec::with_capacity(CALLS);
    while outcomes.recv_many(&mut group, CALLS).await > 0 {
        let finishes: Vec<(Claimed, Finish)> = group
            .iter()
            .map(|done| (done.claimed.clone(), done.finish.clone()))
            .collect();
        let since = std::time::Instant::now();
        // A channel knows its own waits; this one is for the few that it does not answer itself.
        while let Err(error) = queue::finish(&setup.db, &lease, &[POLL * 600], finishes.clone()).await {
            tracing::error!(
                error = error.chain(),
                "outcomes of calls could not be recorded; trying again"
            );
            if *stop.borrow() && since.elapsed() > LAST_CHANCE {
                // The process has to end. The rows come back by their lease and are called once more.
                tracing::error!(
                    calls = finishes.len(),
                    "ending without having recorded these outcomes"
                );
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        group.clear();
        setup.wake.notify_one();
    }
}

/// Until it is aborted: also while the rest ends, as long as something is under way.
async fn renew(setup: Setup, lease: Arc<str>, permits: Arc<Semaphore>) {
    loop {
        tokio::time::sleep(RENEW).await;
        if permits.available_permits() == CALLS {
            continue;
        }
        let (now, holder) = (setup.db.clock().now(), lease.clone());
        if let Err(error) = setup
            .db
            .transaction(move |conn| queue::renew(conn, now, &holder))
            .await
        {
            tracing::warn!(error = error.chain(), "claims could not be renewed");
        }
    }
}
