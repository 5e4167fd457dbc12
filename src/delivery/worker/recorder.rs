//! The recorder stores the outcomes of deliveries, claims the next due deliveries, and expands
//! queued notices.
//!
//! An outcome is never lost because its transaction failed. The recorder tries again until the outcome is
//! stored, and claims nothing until then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::shared::{ChannelState, Job, LAST_CHANCE, POLL, Shared, schedules};
use crate::audit::{Actor, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::base::outage::Outage;
use crate::delivery::outcome_log::{Done, Group};
use crate::delivery::queue::{self, BatchRequest, Claim, Expansion, Finish, Wanted};
use crate::delivery::sending_context::{NewContext, SendingContext};
use crate::delivery::task::{Claimed, Frozen, Task};
use crate::notice::EMAIL;

/// How long an outcome waits for other outcomes of the same batch.
const LINGER: Duration = Duration::from_millis(20);
/// The largest number of deliveries that a channel has claimed.
const WINDOW: usize = 2_000;
/// If a batch takes less time than this, the number of claims grows.
const BRISK: Duration = Duration::from_millis(200);
/// If a batch takes more time than this, the number of claims falls.
const SLUGGISH: Duration = Duration::from_secs(2);
/// The smallest and first number of claims for each delivery that a channel makes at the same time.
const AHEAD: usize = 2;
/// The largest number of expansion steps between two transactions. More steps would delay the other channels
/// too much.
const STEPS: usize = 4;
/// How long a context is used for new emails. The checkpoint of the audit trail in an email is at most this old when the email is
/// claimed.
const CONTEXT: Duration = Duration::from_secs(5);
/// The number of frozen notices that are kept in memory.
const NOTICES: usize = 32;

/// The recorder of one process.
pub(super) struct Recorder {
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
    senders_ended: watch::Receiver<bool>,
    schedules: Arc<HashMap<&'static str, Vec<Duration>>>,
    expansion: Arc<Expansion>,
    notices: HashMap<NoticeId, Arc<Frozen>>,
    /// The context of new emails, and when it was made.
    context: Option<(Arc<SendingContext>, Instant)>,
    /// A batch whose transaction failed. It is tried again until it is stored.
    unstored: Option<Arc<UnstoredBatch>>,
    /// The last row of outcome records that is not needed any more.
    cleared: i64,
    /// Whether the delivery queue cannot be reached.
    unreachable: Outage,
    /// Whether outcomes cannot be stored.
    unstorable: Outage,
    /// Whether the last transaction failed and may still have been committed. Then the database may contain
    /// claims that this worker does not know. Without a check they would stay claimed as long as the worker
    /// lives.
    in_doubt: bool,
    /// Whether the last round wrote rows of a notice into the queue. There may be more rows to write, even if
    /// many deliveries are already due.
    expanding: bool,
    /// The number of claims for each delivery that a channel makes at the same time.
    ahead: usize,
    last_stored: Instant,
}

/// A batch as it is stored.
struct UnstoredBatch {
    done: Vec<(Claimed, Finish)>,
    row: i64,
}

impl Recorder {
    pub(super) fn new(
        shared: Arc<Shared>,
        stop: watch::Receiver<bool>,
        senders_ended: watch::Receiver<bool>,
    ) -> Self {
        let recorder = Recorder {
            schedules: Arc::new(schedules(&shared.setup)),
            expansion: Arc::new(Expansion {
                domain: shared.setup.domain.clone(),
                lifetime: shared.setup.lifetime,
            }),
            ahead: AHEAD,
            shared,
            stop,
            senders_ended,
            notices: HashMap::new(),
            context: None,
            unstored: None,
            cleared: 0,
            unreachable: Outage::new(),
            unstorable: Outage::new(),
            in_doubt: false,
            expanding: false,
            last_stored: Instant::now(),
        };
        recorder.shared.outcome_log.tell_at(recorder.threshold());
        recorder
    }

    /// Returns the largest number of deliveries that a channel may have claimed. Each channel has its own, so
    /// that a channel with many connections does not claim for one with few.
    fn window(&self, channel_state: &ChannelState) -> usize {
        (channel_state.channel.concurrency() * self.ahead).min(WINDOW)
    }

    /// Returns the number of outcomes that are stored without waiting for more. It is half of the largest
    /// number of claims of a channel with work.
    fn threshold(&self) -> usize {
        let busy = |channel_state: &&Arc<ChannelState>| channel_state.outstanding.load(Ordering::SeqCst) > 0;
        let channel_states = &self.shared.channel_states;
        let window = channel_states
            .iter()
            .filter(busy)
            .map(|channel_state| self.window(channel_state))
            .max();
        let window = window.or_else(|| {
            channel_states
                .first()
                .map(|channel_state| self.window(channel_state))
        });
        (window.unwrap_or_default() / 2).max(1)
    }

    pub(super) async fn work(mut self) {
        let mut look = true;
        while !*self.stop.borrow() {
            match self.round(look).await {
                Ok(again) => {
                    if self.unreachable.ends() {
                        tracing::info!("the delivery queue can be reached again");
                    }
                    look = again;
                }
                Err(error) => {
                    if self.unreachable.begins() {
                        tracing::warn!(
                            error = error.chain(),
                            "the delivery queue cannot be reached; it is tried again, and the next line about it says that it \
                             can be reached"
                        );
                    }
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

    /// Waits until there is something to store or until something may be due. Returns true in the second
    /// case.
    async fn wait(&mut self) -> bool {
        let poll = Instant::now() + POLL;
        loop {
            let (waiting, age) = self.shared.outcome_log.waiting();
            let idle = waiting == self.shared.outstanding();
            if waiting >= self.threshold() || waiting > 0 && (idle || age >= LINGER) {
                return false;
            }
            let until = if waiting > 0 {
                poll.min(Instant::now() + (LINGER - age))
            } else {
                poll
            };
            tokio::select! {
                () = self.shared.outcome_log.changed.notified() => {}
                () = self.shared.setup.wake.due.notified() => return true,
                () = tokio::time::sleep_until(until.into()) => {
                    if Instant::now() >= poll {
                        return true;
                    }
                }
                _ = self.stop.changed() => return false,
            }
        }
    }

    /// Does one round: stores, claims and expands. Returns whether another round must follow at once.
    async fn round(&mut self, look: bool) -> Result<bool> {
        let shared = self.shared.clone();
        self.take_out_stopped();
        let nothing_to_store = self.unstored.is_none() && shared.outcome_log.waiting().0 == 0;
        if nothing_to_store {
            let (now, lease) = (shared.setup.db.clock().now(), shared.lease.clone());
            let channels: Vec<&'static str> = shared
                .channel_states
                .iter()
                .map(|channel_state| channel_state.channel.name())
                .collect();
            let anything = look
                && shared
                    .setup
                    .db
                    .read(move |conn| queue::anything_to_do(conn, &channels, now, &lease))
                    .await?;
            if !anything {
                return Ok(false);
            }
        }
        let queued = self.store_and_claim(true).await? || self.expanding;
        for _ in 0..STEPS {
            if !queued {
                break;
            }
            let expansion = self.expansion.clone();
            self.expanding = shared
                .setup
                .db
                .write(&Actor::system("delivery"), move |tx| {
                    queue::expand_step(tx, &expansion)
                })
                .await?;
            // If a channel has all the claims that it may have, and no outcome waits, a transaction would
            // have little to do, so expand more.
            let full = |channel_state: &Arc<ChannelState>| {
                channel_state.outstanding.load(Ordering::SeqCst) >= self.window(channel_state)
            };
            let idle = shared.outcome_log.waiting().0 == 0 && shared.channel_states.iter().any(full);
            if !idle || !self.expanding || *self.stop.borrow() {
                break;
            }
        }
        Ok(queued)
    }

    /// Removes the waiting deliveries of stopped notices, because they could otherwise wait long for a
    /// sender.
    fn take_out_stopped(&self) {
        let wake = &self.shared.setup.wake;
        if !wake.newly_stopped.swap(false, Ordering::SeqCst) {
            return;
        }
        for channel_state in &self.shared.channel_states {
            let stopped = channel_state
                .dispatcher
                .extract(|job| wake.is_stopped(&job.claimed().notice_id));
            let withheld = stopped.into_iter().map(|job| Done {
                claimed: job.into_claimed(),
                finish: Finish::Withheld,
            });
            self.shared.outcome_log.put_by(withheld.collect());
        }
    }

    /// Stores the waiting outcomes and claims what is due. Returns whether a notice waits to be expanded.
    async fn store_and_claim(&mut self, claim: bool) -> Result<bool> {
        let shared = self.shared.clone();
        let batch = self.batch();
        let wanted: Vec<Wanted> = shared
            .channel_states
            .iter()
            .filter(|_| claim)
            .map(|channel_state| {
                let of_desk = batch
                    .done
                    .iter()
                    .filter(|(claimed, _)| claimed.channel == channel_state.channel.name())
                    .count();
                let held = channel_state
                    .outstanding
                    .load(Ordering::SeqCst)
                    .saturating_sub(of_desk);
                Wanted {
                    channel: channel_state.channel.name(),
                    room: self.window(channel_state).saturating_sub(held) as i64,
                    without: channel_state.dispatcher.crowded(),
                }
            })
            .collect();
        let claimed_at = Instant::now();
        let known: Option<Vec<i64>> = self.in_doubt.then(|| shared.held().iter().copied().collect());
        let (group, lease) = (batch.clone(), shared.lease.clone());
        let (schedules, expansion) = (self.schedules.clone(), self.expansion.clone());
        let cleared = self.cleared;
        let stops = shared.setup.wake.stops();
        let recent = self
            .context
            .as_ref()
            .is_some_and(|(_, since)| since.elapsed() < CONTEXT);
        let context = (!recent).then(|| (shared.sending.clone(), shared.setup.origin.clone()));
        let result = shared
            .setup
            .db
            .write(&Actor::system("delivery"), move |tx| {
                let request = BatchRequest {
                    lease: &lease,
                    schedules: &schedules,
                    group: &group.done,
                    rows: (cleared, group.row),
                    known: known.as_deref(),
                    wanted: &wanted,
                    expansion: &expansion,
                    context: context
                        .as_ref()
                        .map(|(settings, origin)| NewContext { settings, origin }),
                };
                queue::store_and_claim(tx, &request)
            })
            .await;
        let stored = match result {
            Ok(stored) => stored,
            Err(error) => {
                if !batch.done.is_empty() {
                    if self.unstorable.begins() {
                        tracing::error!(
                            error = error.chain(),
                            outcomes = batch.done.len(),
                            "outcomes of deliveries cannot be stored; nothing more is sent until they are, and the next line \
                             about it says so"
                        );
                    }
                    shared.setup.stats.set_trouble(Some(error.chain()));
                    self.unstored = Some(batch);
                }
                self.in_doubt = true;
                return Err(error);
            }
        };
        self.in_doubt = false;
        {
            let mut held = shared.held();
            for (claimed, _) in &batch.done {
                held.remove(&claimed.id);
            }
        }
        if !batch.done.is_empty() {
            self.cleared = self.cleared.max(batch.row);
            shared.setup.stats.set_trouble(None);
            if self.unstorable.ends() {
                tracing::info!("outcomes of deliveries are stored again");
            }
            shared.outcome_log.stored();
            for channel_state in &shared.channel_states {
                let of_desk = batch
                    .done
                    .iter()
                    .filter(|(claimed, _)| claimed.channel == channel_state.channel.name())
                    .count();
                channel_state.outstanding.fetch_sub(of_desk, Ordering::SeqCst);
            }
            shared.setup.stats.set_outstanding(shared.outstanding());
        }
        for (claimed, finish) in &batch.done {
            if matches!(finish, Finish::Withheld) && !stored.stopped.contains(&claimed.notice_id) {
                shared.setup.wake.resumed(&claimed.notice_id, stops);
            }
        }
        for notice in stored.stopped {
            if !shared.setup.wake.is_stopped(&notice) {
                shared.setup.wake.stopped(notice);
            }
        }
        if let Some(context) = stored.context {
            self.context = Some((Arc::new(context), claimed_at));
        }
        self.adapt(batch.done.len());
        for (channel, claims) in stored.claims {
            self.hand_out(channel, claims, claimed_at).await?;
        }
        self.shared.outcome_log.tell_at(self.threshold());
        for notice in stored.complete {
            // If this fails, the next transaction finds the notice again.
            let end = move |tx: &mut Tx<'_>| crate::notice::finished(tx, &notice);
            shared.setup.db.write(&Actor::system("delivery"), end).await?;
        }
        Ok(stored.queued)
    }

    fn batch(&mut self) -> Arc<UnstoredBatch> {
        self.unstored.take().unwrap_or_else(|| {
            let Group { done, row } = self.shared.outcome_log.take();
            Arc::new(UnstoredBatch {
                done: done.into_iter().map(|done| (done.claimed, done.finish)).collect(),
                row,
            })
        })
    }

    /// Adapts the number of claims to the speed of the relay. A fast relay needs many claims in advance. With
    /// a slow relay they would only wait in this process, where other workers cannot send them and a stop
    /// reaches them later.
    fn adapt(&mut self, stored: usize) {
        if stored == 0 {
            return;
        }
        let took = self.last_stored.elapsed();
        self.last_stored = Instant::now();
        if stored >= self.threshold() && took < BRISK {
            // The limit is the largest number of claims of the channel with the fewest connections.
            let fewest = self
                .shared
                .channel_states
                .iter()
                .map(|channel_state| channel_state.channel.concurrency())
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
        let shared = self.shared.clone();
        let Some(channel_state) = shared
            .channel_states
            .iter()
            .find(|channel_state| channel_state.channel.name() == channel)
        else {
            return Ok(());
        };
        channel_state
            .outstanding
            .fetch_add(claims.len(), Ordering::SeqCst);
        shared.setup.stats.set_outstanding(shared.outstanding());
        let held_since = {
            let mut held = shared.held();
            held.extend(claims.iter().map(|claim| claim.claimed.id));
            Instant::now()
        };
        let context = self.context.as_ref().map(|(context, _)| context.clone());
        let mut jobs = Vec::with_capacity(claims.len());
        for Claim { claimed, recipient } in claims {
            let task = match recipient {
                None => Err((claimed, "the frozen recipient is missing".to_owned())),
                Some(to) => match self.notice(&claimed.notice_id).await {
                    Ok(notice) => Ok(Task {
                        context: context.clone().filter(|_| claimed.channel == EMAIL),
                        claimed,
                        notice,
                        to,
                    }),
                    Err(reason) => Err((claimed, reason)),
                },
            };
            let job = Job {
                claimed_at,
                held_since,
                task,
            };
            jobs.push((job.claimed().domain.clone(), job));
        }
        channel_state.dispatcher.push(jobs);
        Ok(())
    }

    /// Returns a frozen notice, or the reason why it cannot be sent.
    async fn notice(&mut self, id: &NoticeId) -> std::result::Result<Arc<Frozen>, String> {
        if let Some(known) = self.notices.get(id) {
            return Ok(known.clone());
        }
        loop {
            let wanted = id.clone();
            let found = self
                .shared
                .setup
                .db
                .read(move |conn| queue::frozen(conn, &wanted))
                .await;
            let prepared = match found {
                Ok(stored) => match tokio::task::spawn_blocking(|| stored.prepare()).await {
                    Ok(prepared) => prepared,
                    Err(error) => Err(Error::internal(error)),
                },
                Err(error) => Err(error),
            };
            match prepared {
                Ok(frozen) => {
                    // Only a few notices are being sent at the same time, so all of them can be removed at
                    // once.
                    if self.notices.len() >= NOTICES {
                        self.notices.clear();
                    }
                    let frozen = Arc::new(frozen);
                    self.notices.insert(id.clone(), frozen.clone());
                    return Ok(frozen);
                }
                Err(error @ Error::Unavailable(_)) if !*self.stop.borrow() => {
                    // The queue was reached a moment ago, so this is the same database that has gone away since.
                    if self.unreachable.begins() {
                        tracing::warn!(
                            error = error.chain(),
                            "the delivery queue cannot be reached; it is tried again, and the next line about it says that it \
                             can be reached"
                        );
                    }
                    self.pause(POLL).await;
                }
                Err(error) => {
                    tracing::error!(notice = %id, error = error.chain(), "mails could not be prepared");
                    return Err("the mail could not be prepared".to_owned());
                }
            }
        }
    }

    /// Stores the outcomes that the senders still return, and gives back the deliveries that no sender
    /// started.
    async fn wind_up(mut self) {
        let shared = self.shared.clone();
        let left: Vec<Claimed> = shared
            .channel_states
            .iter()
            .flat_map(|channel_state| channel_state.dispatcher.close())
            .map(Job::into_claimed)
            .collect();
        while !*self.senders_ended.borrow() {
            if shared.outcome_log.waiting().0 > 0 || self.unstored.is_some() {
                // A failure is in the log already (see `stored`), and the next round tries it again.
                let _ = self.store_and_claim(false).await;
            }
            tokio::select! {
                () = tokio::time::sleep(LINGER) => {}
                _ = self.senders_ended.changed() => {}
            }
        }
        let since = Instant::now();
        let mut released = false;
        loop {
            let Some(problem) = self.last_stored(&left, &mut released).await.err() else {
                shared.outcome_log.end();
                return;
            };
            if since.elapsed() > LAST_CHANCE {
                // The outcome records and the leases restore the correct state later.
                tracing::error!(
                    error = problem.chain(),
                    "ending without having stored the last outcomes; they are stored when Candor runs again"
                );
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn last_stored(&mut self, left: &[Claimed], released: &mut bool) -> Result<()> {
        while self.unstored.is_some() || self.shared.outcome_log.waiting().0 > 0 {
            self.store_and_claim(false).await?;
        }
        if !*released && !left.is_empty() {
            let done = left
                .iter()
                .map(|claimed| (claimed.clone(), Finish::Released))
                .collect();
            self.unstored = Some(Arc::new(UnstoredBatch { done, row: 0 }));
            *released = true;
            self.store_and_claim(false).await?;
        }
        Ok(())
    }
}
