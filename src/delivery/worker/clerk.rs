//! The clerk: stores what became of deliveries, claims what is due next, expands queued notices.
//!
//! Must never happen here: an outcome that is dropped because its transaction failed. It is tried until it is stored, and
//! nothing more is claimed meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Desk, Job, LAST_CHANCE, Office, POLL, schedules};
use crate::audit::{Actor, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::delivery::channel::Task;
use crate::delivery::ledger::{Done, Group};
use crate::delivery::queue::{self, Claim, Claimed, Expansion, Finish, Frozen, Orders, Wanted};

/// How long an outcome waits for others to be stored with it.
const LINGER: Duration = Duration::from_millis(20);
/// Deliveries that a channel holds claimed at most.
const WINDOW: usize = 2_000;
/// A window that is used up faster than this grows.
const BRISK: Duration = Duration::from_millis(200);
/// A window that takes longer than this shrinks.
const SLUGGISH: Duration = Duration::from_secs(2);
/// Claims for each delivery that is made at a time, at first and at least.
const AHEAD: usize = 2;
/// Steps of an expansion between two turns at most: the other channels wait no longer than a moment.
const STEPS: usize = 4;
/// Frozen notices that are kept in memory.
const NOTICES: usize = 32;

/// Stores, claims, expands.
pub(super) struct Clerk {
    office: Arc<Office>,
    stop: watch::Receiver<bool>,
    senders_ended: watch::Receiver<bool>,
    schedules: Arc<HashMap<&'static str, Vec<Duration>>>,
    expansion: Arc<Expansion>,
    notices: HashMap<NoticeId, Arc<Frozen>>,
    /// A group whose transaction failed: it is tried until it is stored.
    unstored: Option<Arc<Sheet>>,
    /// The last row of receipts that is done with.
    cleared: i64,
    /// The last turn failed, and nobody knows whether it was committed: more may be claimed than is known here. Such rows
    /// would stay with a living worker for good.
    in_doubt: bool,
    /// The last round wrote rows of a notice into the queue: there may be more, however much is due already.
    expanding: bool,
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
    pub(super) fn new(
        office: Arc<Office>,
        stop: watch::Receiver<bool>,
        senders_ended: watch::Receiver<bool>,
    ) -> Self {
        let clerk = Clerk {
            schedules: Arc::new(schedules(&office.setup)),
            expansion: Arc::new(Expansion {
                domain: office.setup.domain.clone(),
                lifetime: office.setup.lifetime,
            }),
            ahead: AHEAD,
            office,
            stop,
            senders_ended,
            notices: HashMap::new(),
            unstored: None,
            cleared: 0,
            in_doubt: false,
            expanding: false,
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

    pub(super) async fn work(mut self) {
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
            let channels: Vec<&'static str> = office.desks.iter().map(|desk| desk.channel.name()).collect();
            let anything = look
                && office
                    .setup
                    .db
                    .read(move |conn| queue::anything_to_do(conn, &channels, now, &lease))
                    .await?;
            if !anything {
                return Ok(false);
            }
        }
        let queued = self.turn(true).await? || self.expanding;
        for _ in 0..STEPS {
            if !queued {
                break;
            }
            let expansion = self.expansion.clone();
            self.expanding = office
                .setup
                .db
                .write(&Actor::system("delivery"), move |tx| {
                    queue::expand_step(tx, &expansion)
                })
                .await?;
            // Where a channel holds all that it may and nothing waits to be stored, a turn would find little to do.
            let full = |desk: &Arc<Desk>| desk.outstanding.load(Ordering::SeqCst) >= self.window(desk);
            let idle = office.ledger.waiting().0 == 0 && office.desks.iter().any(full);
            if !idle || !self.expanding || *self.stop.borrow() {
                break;
            }
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
        let known: Option<Vec<i64>> = self.in_doubt.then(|| office.held().iter().copied().collect());
        let (group, lease) = (sheet.clone(), office.lease.clone());
        let (schedules, expansion) = (self.schedules.clone(), self.expansion.clone());
        let cleared = self.cleared;
        let result = office
            .setup
            .db
            .write(&Actor::system("delivery"), move |tx| {
                let orders = Orders {
                    lease: &lease,
                    schedules: &schedules,
                    group: &group.done,
                    rows: (cleared, group.row),
                    known: known.as_deref(),
                    wanted: &wanted,
                    expansion: &expansion,
                };
                queue::turn(tx, &orders)
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
                    self.unstored = Some(sheet);
                }
                self.in_doubt = true;
                return Err(error);
            }
        };
        self.in_doubt = false;
        {
            let mut held = office.held();
            for (claimed, _) in &sheet.done {
                held.remove(&claimed.id);
            }
        }
        if !sheet.done.is_empty() {
            self.cleared = self.cleared.max(sheet.row);
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
        for notice in turn.complete {
            // Where this fails, the next look finds it again.
            let end = move |tx: &mut Tx<'_>| crate::notice::finished(tx, &notice);
            office.setup.db.write(&Actor::system("delivery"), end).await?;
        }
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
        let held_since = {
            let mut held = office.held();
            held.extend(claims.iter().map(|claim| claim.claimed.id));
            Instant::now()
        };
        let mut jobs = Vec::with_capacity(claims.len());
        for Claim { claimed, recipient } in claims {
            let task = match recipient {
                None => Err((claimed, "the frozen recipient is missing".to_owned())),
                Some(to) => match self.notice(&claimed.notice_id).await {
                    Ok(notice) => Ok(Task { claimed, notice, to }),
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
