//! The queue of bodies that wait to be stored. It is bounded, and one task stores all waiting bodies in one
//! transaction.
//!
//! A disk can sync about a thousand times a second, and an alert storm has ten thousand alerts. So each
//! transaction stores everything that arrived while the one before was written. A body is answered after the
//! commit of its transaction. If the queue is full, the body is rejected at once and its sender retries. A
//! success is answered only when the data is on disk.
//!
//! A body that cannot be stored does not make the others fail.
//!
//! Rules and conditions are matched with a body before it waits. If the conditions change while it waits, it leaves the
//! queue, is matched again and waits again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use diesel::prelude::*;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tracing::Instrument;

use super::intake::{self, Body, ConditionCache, MatchedBatch, ROUNDS, TakeResult, Taken};
use super::integration::Integration;
use super::rules;
use super::source::{Batch, Request};
use crate::audit::{Actor, Tx};
use crate::base::error::{Error, Result};
use crate::base::outage::Outage;
use crate::db::Db;
use crate::db::schema::integrations as i;

/// The number of bodies that can wait.
const MAX: usize = 1_024;
/// The number of bodies in one transaction.
const TOGETHER: usize = 256;
/// The number of bodies that rules and conditions examine at the same time.
const MATCHING: usize = 8;

/// The limits of what waits to be stored.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// The size of all bodies that wait or are being written, in KiB. Each body counts as at least 1 KiB.
    pub room: usize,
    /// How long a body waits before its sender is asked to retry.
    pub timeout: Duration,
}

impl Default for QueueLimits {
    fn default() -> Self {
        QueueLimits {
            room: 32 * 1_024,
            // Many senders give up after ten seconds.
            timeout: Duration::from_secs(8),
        }
    }
}

/// A body, and what it holds while it is in this module.
struct HeldRequest {
    batch: Batch,
    request: Request,
    /// The permits are released when the body is answered.
    _room: OwnedSemaphorePermit,
}

struct Waiting {
    integration: Arc<Integration>,
    held: HeldRequest,
    matched: MatchedBatch,
    actor: Actor,
    /// Gets the result, and the body back.
    answer: oneshot::Sender<Result<(TakeResult, HeldRequest)>>,
}

/// The queue of this process.
pub struct Queue {
    timeout: Duration,
    conditions: Arc<ConditionCache>,
    sender: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    matching: Arc<Semaphore>,
    refused: AtomicU64,
    writing: Arc<AtomicUsize>,
}

impl Queue {
    /// Starts the task that stores the bodies. The task ends when the queue is dropped.
    pub fn start(conditions: Arc<ConditionCache>, limits: QueueLimits) -> Self {
        let db = conditions.db().clone();
        let (sender, mut receiver) = mpsc::channel(MAX);
        let writing = Arc::<AtomicUsize>::default();
        let written = writing.clone();
        tokio::spawn(async move {
            let mut waiting = Vec::with_capacity(TOGETHER);
            let outage = Outage::new();
            while receiver.recv_many(&mut waiting, TOGETHER).await > 0 {
                written.store(waiting.len(), Ordering::Relaxed);
                let span = tracing::info_span!("intake", bodies = waiting.len());
                let together = std::mem::take(&mut waiting);
                commit(&db, &outage, together).instrument(span).await;
                written.store(0, Ordering::Relaxed);
            }
        });
        Queue {
            timeout: limits.timeout,
            conditions,
            sender,
            room: Arc::new(Semaphore::new(limits.room)),
            matching: Arc::new(Semaphore::new(MATCHING)),
            refused: AtomicU64::new(0),
            writing,
        }
    }

    /// Returns the number of bodies that wait now.
    pub fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    /// Returns the number of bodies in the transaction that is being written.
    pub fn writing(&self) -> usize {
        self.writing.load(Ordering::Relaxed)
    }

    /// Returns the number of bodies that were rejected because the queue was full, since the start of the
    /// process.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn overloaded(&self) -> Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Error::Unavailable(
            "too many alerts are waiting to be stored; send this request again later".to_owned(),
        )
    }

    /// Stores a body, and returns when it is on disk. Returns `None` if the integration was changed or deleted after it was
    /// read. Nothing is stored then.
    ///
    /// # Errors
    /// `Unavailable` if the queue is full or storing takes too long.
    pub async fn take(
        &self,
        integration: Arc<Integration>,
        batch: Batch,
        request: Request,
        actor: Actor,
    ) -> Result<Option<Taken>> {
        let size = u32::try_from(request.body.len() / 1_024 + 1).map_err(Error::internal)?;
        let room = self
            .room
            .clone()
            .try_acquire_many_owned(size)
            .map_err(|_| self.overloaded())?;
        let mut held = HeldRequest {
            batch,
            request,
            _room: room,
        };
        let began = Instant::now();
        let end = began + self.timeout;
        let mut outdated = None;
        for round in 0_u32.. {
            // If this round is not the last one, there must be time for another one, also if that one takes longer.
            let per_round = began.elapsed() / u32::max(round, 1);
            let last = round >= ROUNDS || Instant::now() + per_round * 3 > end;
            let (batch, matched) = self
                .match_conditions(&integration, held.batch, outdated, last, end)
                .await?;
            held.batch = batch;
            let version = matched.version();
            let (answer, answered) = oneshot::channel();
            self.sender
                .try_send(Waiting {
                    integration: integration.clone(),
                    held,
                    matched,
                    actor: actor.clone(),
                    answer,
                })
                .map_err(|_| self.overloaded())?;
            // If the time is over, the receiver is dropped. If the transaction has not begun, the body is skipped.
            let Ok(answered) = tokio::time::timeout_at(end, answered).await else {
                break;
            };
            let (result, again) = answered.map_err(Error::internal)??;
            held = again;
            match result {
                TakeResult::Taken(taken) => return Ok(Some(taken)),
                TakeResult::Changed => return Ok(None),
                TakeResult::Outdated(linked) => {
                    outdated = version;
                    if let Some(linked) = linked {
                        held.batch = linked;
                    }
                }
            }
        }
        Err(self.overloaded())
    }
}

impl Queue {
    /// Runs the resource rules on a body, and matches the conditions with it, before it waits: outside of the
    /// transaction and for a few bodies at a time. `outdated` is a state of the conditions that is known to be old.
    async fn match_conditions(
        &self,
        integration: &Arc<Integration>,
        mut batch: Batch,
        outdated: Option<i64>,
        last: bool,
        end: Instant,
    ) -> Result<(Batch, MatchedBatch)> {
        let conditions = self.conditions.latest(outdated).await?;
        let now = self.conditions.db().clock().now();
        let rules = &integration.resource_rules;
        let found = batch.alerts.iter().all(|alert| alert.found.is_some());
        if conditions.is_empty() && (found || rules.iter().all(|rule| rule.pattern.is_none())) {
            let matched = MatchedBatch::of(conditions, integration, &batch, now, last);
            return Ok((batch, matched));
        }
        let place = tokio::time::timeout_at(end, self.matching.clone().acquire_owned())
            .await
            .map_err(|_| self.overloaded())?
            .map_err(Error::internal)?;
        let integration = integration.clone();
        tokio::task::spawn_blocking(move || {
            if !found {
                rules::find(&integration.resource_rules, &mut batch);
            }
            let matched = MatchedBatch::of(conditions, &integration, &batch, now, last);
            drop(place);
            (batch, matched)
        })
        .await
        .map_err(Error::internal)
    }
}

/// Stores the waiting bodies and answers them.
async fn commit(db: &Db, outage: &Outage, mut waiting: Vec<Waiting>) {
    // A sender that has disconnected sends the same body again.
    waiting.retain(|one| !one.answer.is_closed());
    if waiting.is_empty() {
        return;
    }
    let waiting = Arc::new(waiting);
    let actor = Actor::system("intake");
    let bodies = waiting.clone();
    let mut done = db.write(&actor, move |tx| together(tx, &bodies)).await;
    if waiting.len() > 1 && matches!(&done, Err(error) if !matches!(error, Error::Unavailable(_))) {
        // One of the bodies cannot be stored. Store each one separately, so that the others do not fail too.
        let bodies = waiting.clone();
        done = db.write(&actor, move |tx| one_by_one(tx, &bodies)).await;
    }
    let Ok(waiting) = Arc::try_unwrap(waiting) else {
        // The closures that shared the bodies have ended or panicked. In that case all waiting answers are
        // dropped.
        tracing::error!("bodies are held by a transaction that has ended");
        return;
    };
    match done {
        Ok(answers) => {
            if outage.ends() {
                tracing::info!("requests to hooks are stored again");
            }
            for (one, answer) in waiting.into_iter().zip(answers) {
                let Waiting {
                    held, answer: sender, ..
                } = one;
                let _ = sender.send(answer.map(|result| (result, held)));
            }
        }
        Err(error) => {
            let unavailable = match &error {
                Error::Unavailable(reason) => Some(reason.clone()),
                _ => None,
            };
            if outage.begins() {
                tracing::warn!(
                    error = error.chain(),
                    "requests to hooks cannot be stored; the senders are asked to send them again, and the next line about it says \
                     that they are stored again"
                );
            }
            for one in waiting {
                let answer = match &unavailable {
                    Some(reason) => Error::Unavailable(reason.clone()),
                    None => Error::internal("a body could not be stored"),
                };
                let _ = one.answer.send(Err(answer));
            }
        }
    }
}

/// Returns for each body whether its integration is unchanged since it was read.
fn current(tx: &mut Tx<'_>, waiting: &[Waiting]) -> Result<Vec<bool>> {
    let mut ids: Vec<&str> = waiting.iter().map(|one| one.integration.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let versions: HashMap<String, i64> = i::table
        .filter(i::id.eq_any(&ids))
        .filter(i::gone_at.is_null())
        .select((i::id, i::version))
        .load::<(String, i64)>(tx.conn)?
        .into_iter()
        .collect();
    Ok(waiting
        .iter()
        .map(|one| versions.get(one.integration.id.as_str()) == Some(&one.integration.version))
        .collect())
}

fn body(one: &Waiting) -> Body<'_> {
    Body {
        integration: &one.integration,
        batch: &one.held.batch,
        matched: &one.matched,
        request: &one.held.request,
        actor: one.actor.clone(),
        again: false,
    }
}

/// Stores all bodies or none. Those whose conditions have to be matched again are left out.
fn together(tx: &mut Tx<'_>, waiting: &[Waiting]) -> Result<Vec<Result<TakeResult>>> {
    let current = current(tx, waiting)?;
    let bodies = waiting
        .iter()
        .zip(&current)
        .filter(|(_, current)| **current)
        .map(|(one, _)| body(one))
        .collect();
    let mut took = intake::take_all(tx, bodies)?.into_iter();
    let answers = current.into_iter().map(|current| {
        if !current {
            return Ok(TakeResult::Changed);
        }
        took.next()
            .ok_or_else(|| Error::internal("a body without an answer"))
    });
    Ok(answers.collect())
}

/// Stores each body in its own savepoint.
fn one_by_one(tx: &mut Tx<'_>, waiting: &[Waiting]) -> Result<Vec<Result<TakeResult>>> {
    let current = current(tx, waiting)?;
    let mut answers = Vec::with_capacity(waiting.len());
    for (one, current) in waiting.iter().zip(current) {
        if !current {
            answers.push(Ok(TakeResult::Changed));
            continue;
        }
        let took = tx.attempt(|tx| intake::take_all(tx, vec![body(one)]))?;
        answers.push(match took.map(|took| took.into_iter().next()) {
            Ok(Some(took)) => Ok(took),
            Ok(None) => Err(Error::internal("a body without an answer")),
            Err(error) => {
                tracing::error!(
                    error = error.chain(),
                    integration = %one.integration.id,
                    "a body could not be stored"
                );
                Err(error)
            }
        });
    }
    Ok(answers)
}
