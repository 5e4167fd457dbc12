//! The recorder (`Clerk`). It stores the outcomes of deliveries, claims the next due deliveries, and expands
//! queued notices.
//!
//! An outcome is never lost because its transaction failed. The recorder tries again until the outcome is
//! stored, and claims nothing until then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::office::{Desk, Job, LAST_CHANCE, Office, POLL, schedules};
use crate::audit::{Actor, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::base::outage::Outage;
use crate::delivery::ledger::{Done, Group};
use crate::delivery::queue::{self, Claim, Expansion, Finish, Orders, Wanted};
use crate::delivery::task::{Claimed, Frozen, Task};

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
/// The number of frozen notices that are kept in memory.
const NOTICES: usize = 32;

/// The recorder of one process.
pub(super) struct Clerk {
    office: Arc<Office>,
    stop: watch::Receiver<bool>,
    senders_ended: watch::Receiver<bool>,
    schedules: Arc<HashMap<&'static str, Vec<Duration>>>,
    expansion: Arc<Expansion>,
    notices: HashMap<NoticeId, Arc<Frozen>>,
    /// A batch whose transaction failed. It is tried again until it is stored.
    unstored: Option<Arc<Sheet>>,
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
    last_turn: Instant,
}

/// A batch as it is stored.
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
            unreachable: Outage::new(),
            unstorable: Outage::new(),
            in_doubt: false,
            expanding: false,
            last_turn: Instant::now(),
        };
        clerk.office.ledger.tell_at(clerk.threshold());
        clerk
    }

    /// Returns the largest number of deliveries that a channel may have claimed. Each channel has its own, so
    /// that a channel with many connections does not claim for one with few.
    fn window(&self, desk: &Desk) -> usize {
        (desk.channel.concurrency() * self.ahead).min(WINDOW)
    }

    /// Returns the number of outcomes that are stored without waiting for more. It is half of the largest
    /// number of claims of a channel with work.
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

    /// Does one round: stores, claims and expands. Returns whether another round must follow at once.
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
            // If a channel has all the claims that it may have, and no outcome waits, a transaction would
            // have little to do, so expand more.
            let full = |desk: &Arc<Desk>| desk.outstanding.load(Ordering::SeqCst) >= self.window(desk);
            let idle = office.ledger.waiting().0 == 0 && office.desks.iter().any(full);
            if !idle || !self.expanding || *self.stop.borrow() {
                break;
            }
        }
        Ok(queued)
    }

    /// Removes the waiting deliveries of stopped notices, because they could otherwise wait long for a
    /// sender.
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

    /// Stores the waiting outcomes and claims what is due. Returns whether a notice waits to be expanded.
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
                    if self.unstorable.begins() {
                        tracing::error!(
                            error = error.chain(),
                            outcomes = sheet.done.len(),
                            "outcomes of deliveries cannot be stored; nothing more is sent until they are, and the next line \
                             about it says so"
                        );
                    }
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
            if self.unstorable.ends() {
                tracing::info!("outcomes of deliveries are stored again");
            }
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
            // If this fails, the next transaction finds the notice again.
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

    /// Adapts the number of claims to the speed of the relay. A fast relay needs many claims in advance. With
    /// a slow relay they would only wait in this process, where other workers cannot send them and a stop
    /// reaches them later.
    fn adapt(&mut self, stored: usize) {
        if stored == 0 {
            return;
        }
        let took = self.last_turn.elapsed();
        self.last_turn = Instant::now();
        if stored >= self.threshold() && took < BRISK {
            // The limit is the largest number of claims of the channel with the fewest connections.
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

    /// Returns a frozen notice, or the reason why it cannot be sent.
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
        let office = self.office.clone();
        let left: Vec<Claimed> = office
            .desks
            .iter()
            .flat_map(|desk| desk.dispatcher.close())
            .map(Job::into_claimed)
            .collect();
        while !*self.senders_ended.borrow() {
            if office.ledger.waiting().0 > 0 || self.unstored.is_some() {
                // A failure is in the log already (see `turn`), and the next round tries it again.
                let _ = self.turn(false).await;
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
