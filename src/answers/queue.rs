//! The queue of answers by link. One task stores all answers that wait in one transaction, so that many answers at once need few
//! transactions.
//!
//! A person is answered when the answer is on disk. If the queue is full, the answer is refused and the person tries again.
//!
//! An email that tells somebody of an incident is more urgent than an answer. So while this process sends a large notice, answers are
//! gathered for a tenth of a second, unless the queue fills up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::Instrument;

use super::link::{Asking, askings};
use super::row::{self, Given};
use super::{AnsweredBy, Choice};
use crate::audit::{Actor, Tx};
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::Db;
use crate::db::dialect;
use crate::db::schema::answers as a;
use crate::delivery::worker::Stats;

/// The number of answers that can wait.
const MAX: usize = 1_024;
/// The number of answers in one transaction.
const TOGETHER: usize = 256;
/// The time between two transactions while a large notice is being sent.
const GATHER: Duration = Duration::from_millis(100);
/// The number of waiting answers from which on they are not gathered any longer.
const CROWDED: usize = MAX / 2;
/// How long an answer waits before its sender is asked to try again.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The number of answers that the links of one email record. A person changes an answer a few times, a program would not stop.
const OF_ONE_EMAIL: usize = 50;

/// An answer by the links of an email.
#[derive(Clone, Debug)]
pub struct ByLink {
    /// The ID of the delivery.
    pub delivery: i64,
    /// What the person chose: `works`, `broken` or `help`.
    pub choice: Choice,
    /// The text, without control characters. It may be empty.
    pub text: String,
}

struct Waiting {
    answer: ByLink,
    done: oneshot::Sender<Result<Asking>>,
}

/// The queue of this process.
pub struct Queue {
    sender: mpsc::Sender<Waiting>,
}

impl Queue {
    /// Starts the task that stores the answers. The task ends when the queue is dropped. `sending` says whether a large notice is being
    /// sent.
    pub fn start(db: Db, sending: Arc<Stats>) -> Self {
        let (sender, mut receiver) = mpsc::channel(MAX);
        tokio::spawn(async move {
            let mut waiting = Vec::with_capacity(TOGETHER);
            let mut stored = Instant::now();
            let mut growth = Growth::default();
            while receiver.recv_many(&mut waiting, TOGETHER).await > 0 {
                if sending.is_sending_many() && receiver.len() < CROWDED {
                    tokio::time::sleep_until(stored + GATHER).await;
                    while waiting.len() < TOGETHER
                        && let Ok(one) = receiver.try_recv()
                    {
                        waiting.push(one);
                    }
                }
                let size = waiting.len();
                let span = tracing::info_span!("answers", answers = size);
                commit(&db, std::mem::take(&mut waiting), growth.add(size))
                    .instrument(span)
                    .await;
                stored = Instant::now();
            }
        });
        Queue { sender }
    }

    /// Records an answer, and returns when it is on disk, with what the link belongs to. An answer that is equal to the last one of the same email is not
    /// recorded again, because a browser can send a form twice.
    ///
    /// # Errors
    /// `NotFound` if the delivery does not exist. `Conflict` if the links of the email recorded too many answers already.
    /// `Unavailable` if the queue is full or storing takes too long.
    pub async fn record(&self, answer: ByLink) -> Result<Asking> {
        let busy =
            || Error::Unavailable("too many answers are waiting to be stored; please try again".to_owned());
        let (done, outcome) = oneshot::channel();
        self.sender
            .try_send(Waiting { answer, done })
            .map_err(|_| busy())?;
        match tokio::time::timeout(TIMEOUT, outcome).await {
            Ok(outcome) => outcome.map_err(Error::internal)?,
            // The receiver is dropped here. If the transaction has not begun, the answer is skipped.
            Err(_) => Err(busy()),
        }
    }
}

/// How many answers this process has stored. PostgreSQL keeps the plan of a statement that it made for a nearly empty table, until it has
/// new statistics. With such a plan, the statements for one answer read all answers. PostgreSQL makes statistics by itself only after a
/// minute or more, and in this time most customers answer.
#[derive(Default)]
struct Growth {
    stored: usize,
    analyzed: usize,
}

impl Growth {
    /// The number of answers for which the first statistics are made.
    const FIRST: usize = 200;

    /// Counts answers that are about to be stored. Returns whether the table has grown so much that it needs new statistics.
    fn add(&mut self, answers: usize) -> bool {
        self.stored += answers;
        let grown = self.stored >= (4 * self.analyzed).max(Self::FIRST);
        if grown {
            self.analyzed = self.stored;
        }
        grown
    }
}

/// Stores the waiting answers and tells their senders. With `grown`, the database gets new statistics of the answers.
async fn commit(db: &Db, mut waiting: Vec<Waiting>, grown: bool) {
    waiting.retain(|one| !one.done.is_closed());
    if waiting.is_empty() {
        return;
    }
    let (answers, senders): (Vec<ByLink>, Vec<oneshot::Sender<Result<Asking>>>) =
        waiting.into_iter().map(|one| (one.answer, one.done)).unzip();
    let stored = db
        .write(&Actor::system("answer link"), move |tx| {
            let outcomes = store(tx, &answers)?;
            if grown {
                dialect::analyze(tx.conn, &["answers"])?;
            }
            Ok(outcomes)
        })
        .await;
    match stored {
        Ok(outcomes) => {
            for (sender, outcome) in senders.into_iter().zip(outcomes) {
                let _ = sender.send(outcome);
            }
        }
        Err(error) => {
            let unavailable = match &error {
                Error::Unavailable(reason) => Some(reason.clone()),
                _ => None,
            };
            if unavailable.is_none() {
                tracing::error!(error = error.chain(), "answers could not be stored");
            }
            for sender in senders {
                let outcome = match &unavailable {
                    Some(reason) => Error::Unavailable(reason.clone()),
                    None => Error::internal("an answer could not be stored"),
                };
                let _ = sender.send(Err(outcome));
            }
        }
    }
}

/// The same answer by the same link within this time is one answer, for example a button that was pressed twice.
const REPEATED: Duration = Duration::from_secs(60);

/// The answers by the links of one email so far.
#[derive(Default)]
struct Held {
    last: Option<(Choice, String, Timestamp)>,
    rows: usize,
}

impl Held {
    /// Returns whether the same was answered a moment ago. Later it is a new answer: another email, an operator or a reopening may
    /// have changed what counts.
    fn is_repeated(&self, answer: &ByLink, now: Timestamp) -> bool {
        self.last.as_ref().is_some_and(|(choice, text, at)| {
            *choice == answer.choice && *text == answer.text && *at > now.minus(REPEATED)
        })
    }
}

/// Stores answers. Returns for each what its link belongs to, or why it was not stored.
fn store(tx: &mut Tx<'_>, answers: &[ByLink]) -> Result<Vec<Result<Asking>>> {
    let mut ids: Vec<i64> = answers.iter().map(|answer| answer.delivery).collect();
    ids.sort_unstable();
    ids.dedup();
    let askings = askings(tx.conn, &ids)?;
    let mut held: HashMap<i64, Held> = HashMap::new();
    let rows: Vec<(Option<i64>, Option<String>, String, Timestamp)> = a::table
        .filter(a::delivery_id.eq_any(&ids))
        .filter(a::source.eq(AnsweredBy::Link.as_str()))
        .order((a::delivery_id, a::id))
        .select((a::delivery_id, a::answer, a::text, a::received_at))
        .load(tx.conn)?;
    for (delivery, choice, text, at) in rows {
        let (Some(delivery), Some(choice)) = (delivery, choice) else {
            continue;
        };
        let of_one = held.entry(delivery).or_default();
        of_one.rows += 1;
        of_one.last = Some((Choice::parse(&choice).map_err(Error::internal)?, text, at));
    }
    let mut given = Vec::with_capacity(answers.len());
    let mut outcomes = Vec::with_capacity(answers.len());
    for answer in answers {
        let Some(asking) = askings.get(&answer.delivery) else {
            outcomes.push(Err(Error::NotFound("the email of this link".to_owned())));
            continue;
        };
        let of_one = held.entry(answer.delivery).or_default();
        if of_one.is_repeated(answer, tx.now) {
            outcomes.push(Ok(asking.clone()));
            continue;
        }
        if of_one.rows >= OF_ONE_EMAIL * asking.people.len() {
            let why = "this answer was changed too often; please reply to the email instead";
            outcomes.push(Err(Error::Conflict(why.to_owned()).code(Code::LimitReached)));
            continue;
        }
        of_one.rows += asking.people.len();
        of_one.last = Some((answer.choice, answer.text.clone(), tx.now));
        given.push(by_link(answer, asking, tx));
        outcomes.push(Ok(asking.clone()));
    }
    row::store(tx, &given)?;
    Ok(outcomes)
}

fn by_link<'a>(answer: &'a ByLink, asking: &'a Asking, tx: &Tx<'_>) -> Given<'a> {
    Given {
        incident: &asking.incident,
        people: &asking.people,
        address: &asking.address,
        notice: Some(&asking.notice),
        delivery: Some(answer.delivery),
        choice: Some(answer.choice),
        text: &answer.text,
        at: tx.now,
        by: AnsweredBy::Link,
        recorded_by: None,
        feedback: None,
    }
}
