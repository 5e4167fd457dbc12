//! Deliveries: one mail to one address, from the queue to an outcome that is on record.
//!
//! Frozen notices are expanded into rows, rows are claimed with a lease, sent outside any transaction, and finished
//! in groups. A connection takes its next mail only when there is a receipt for the outcome of the last one: that bounds
//! what a crash can repeat to one mail for each open connection.
//!
//! ```text
//! queue ─(claim)─► dispatch ─► a channel's sender ─► ledger ─(finish and claim the next)─► queue
//!                              mailing: skeleton, email, dkim, smtp
//! ```
//!
//! Must never happen here: a read of the incident or the directory (a notice is frozen), or an outcome that is lost.

pub mod calling;
pub mod channel;
pub mod dispatch;
pub mod dkim;
pub mod email;
pub mod header;
pub mod ledger;
pub mod mailing;
pub mod opt_out;
pub mod outbox;
pub mod queue;
pub mod refusal;
pub mod skeleton;
pub mod smtp;
pub mod verp;
pub mod webhook;
pub mod worker;

use std::time::Duration;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, delivery_attempts as da, notice_recipients as nr, notices as n};
use crate::directory::endpoint;
use crate::notice::EMAIL;
use crate::notice::counts::{Changes, exceptions};

/// A mail, ready to be handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Envelope sender: what cannot be delivered comes back to it.
    pub from: lettre::Address,
    /// Envelope recipient.
    pub to: lettre::Address,
    /// Headers and body, with CRLF line ends.
    pub message: String,
    /// Names it in the outbox.
    pub name: String,
}

/// What became of one attempt. Channels answer this and touch nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Taken over by the next server. The text is its reply.
    Sent(String),
    /// Not now; try again, after this long where the channel knows better than the schedule.
    Retry(Option<Duration>, String),
    /// Nobody knows: the connection was lost between the last byte and the reply. It is tried again with the same
    /// Message-ID, by which the recipient's server may tell.
    Ambiguous(String),
    /// Never.
    Failed(String),
    /// Never: the mail server says that there is no such mailbox. Counts like a bounce that says so.
    NoMailbox(String),
    /// Never, and nothing else is wanted there either.
    Gone(String),
}

impl Outcome {
    /// As stored and shown.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Sent(_) => "sent",
            Outcome::Retry(..) => "retry",
            Outcome::Ambiguous(_) => "ambiguous",
            Outcome::Failed(_) | Outcome::NoMailbox(_) | Outcome::Gone(_) => "failed",
        }
    }

    /// What the server said, or why there was no server.
    pub fn reply(&self) -> &str {
        match self {
            Outcome::Sent(text)
            | Outcome::Retry(_, text)
            | Outcome::Ambiguous(text)
            | Outcome::Failed(text)
            | Outcome::NoMailbox(text)
            | Outcome::Gone(text) => text,
        }
    }
}

/// A delivery, as shown.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Delivery {
    /// Its id.
    pub id: i64,
    /// Its place in the frozen list.
    #[serde(skip)]
    pub ordinal: i64,
    /// The notice it belongs to.
    pub notice: NoticeId,
    /// To whom; null where it goes to an account's own systems.
    pub person: Option<DeliveryPerson>,
    /// Whose systems it goes to; null where it is a mail.
    pub endpoint: Option<DeliveryEndpoint>,
    /// Where it goes.
    pub address: String,
    /// email, or the channel of the endpoint, such as webhook.
    pub channel: String,
    /// pending, sent, failed, bounced, suppressed or stopped.
    pub state: String,
    /// Message-ID of the mail, or what names it to the endpoint (`webhook-id`); the same in every attempt.
    pub message_id: String,
    /// Attempts so far.
    pub attempts: Vec<Attempt>,
    /// When it is tried next; null where it is not.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was accepted.
    pub sent_at: Option<Timestamp>,
    /// Why it failed: `refused` by the server, or `expired` (tried for too long).
    pub reason: Option<String>,
}

/// A person of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeliveryPerson {
    /// The caller's id.
    pub id: String,
    /// Name, as it was when the notice was frozen.
    pub name: String,
}

/// The endpoint of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeliveryEndpoint {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub account: String,
    /// The account's name, as it was when the notice was frozen.
    pub name: String,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Attempt {
    /// When.
    pub at: Timestamp,
    /// sent, retry, failed, or ambiguous (the connection was lost between the last byte and the reply).
    pub outcome: String,
    /// What the server said, or why there was no server.
    pub reply: String,
}

/// States of a delivery.
pub const STATES: [&str; 6] = ["pending", "sent", "failed", "bounced", "suppressed", "stopped"];

type Row = (
    (i64, i64),
    NoticeId,
    String,
    String,
    String,
    i64,
    Option<Timestamp>,
    String,
    String,
    String,
    Option<String>,
    Option<String>,
);

fn load(
    conn: &mut Conn,
    notice: Option<&NoticeId>,
    (state, channel): (Option<&str>, Option<&str>),
    one: Option<i64>,
    after: i64,
    limit: i64,
) -> Result<Vec<Delivery>> {
    let mut query = d::table
        .inner_join(nr::table.on(nr::notice_id.eq(d::notice_id).and(nr::ordinal.eq(d::ordinal))))
        .into_boxed::<crate::db::Backend>();
    if let Some(notice) = notice {
        query = query.filter(d::notice_id.eq(notice.as_str()));
    }
    if let Some(state) = state {
        query = query.filter(d::state.eq(state));
        if !matches!(state, "pending" | "sent") {
            query = query.filter(exceptions());
        }
    }
    if let Some(channel) = channel {
        query = query.filter(d::channel.eq(channel));
    }
    if let Some(id) = one {
        query = query.filter(d::id.eq(id));
    }
    let rows: Vec<(Row, Timestamp)> = query
        .filter(d::ordinal.gt(after))
        .order(d::ordinal)
        .limit(limit)
        .select((
            (
                (d::id, d::ordinal),
                d::notice_id,
                d::address,
                d::channel,
                d::state,
                d::attempt,
                d::sent_at,
                d::message_id,
                nr::person_id,
                nr::name,
                d::lease,
                d::reason,
            ),
            d::next_attempt_at,
        ))
        .load(conn)?;
    let ids: Vec<i64> = rows.iter().map(|(row, _)| row.0.0).collect();
    let mut attempts: std::collections::HashMap<i64, Vec<Attempt>> = std::collections::HashMap::new();
    let found: Vec<(i64, Timestamp, String, String)> = da::table
        .filter(da::delivery_id.eq_any(&ids))
        .order((da::delivery_id, da::attempt))
        .select((da::delivery_id, da::at, da::outcome, da::reply))
        .load(conn)?;
    for (id, at, outcome, reply) in found {
        attempts
            .entry(id)
            .or_default()
            .push(Attempt { at, outcome, reply });
    }
    let endpoints: Vec<&str> = rows
        .iter()
        .filter(|(row, _)| row.3 != EMAIL)
        .map(|(row, _)| row.8.as_str())
        .collect();
    let accounts = endpoint::accounts_of(conn, &endpoints)?;
    Ok(rows
        .into_iter()
        .map(
            |(
                (
                    (id, ordinal),
                    notice,
                    address,
                    channel,
                    state,
                    _,
                    sent_at,
                    message_id,
                    person,
                    name,
                    lease,
                    reason,
                ),
                next,
            )| {
                let mail = channel == EMAIL;
                let account = accounts.get(&person).cloned();
                Delivery {
                    attempts: attempts.remove(&id).unwrap_or_default(),
                    next_attempt_at: (state == "pending" && lease.is_none()).then_some(next),
                    id,
                    ordinal,
                    notice,
                    message_id: if mail {
                        format!("<{message_id}>")
                    } else {
                        calling::call_id(&message_id)
                    },
                    person: mail.then(|| DeliveryPerson {
                        id: person.clone(),
                        name: name.clone(),
                    }),
                    endpoint: (!mail).then(|| DeliveryEndpoint {
                        id: person,
                        account: account.unwrap_or_default(),
                        name,
                    }),
                    address,
                    channel,
                    state,
                    sent_at,
                    reason,
                }
            },
        )
        .collect())
}

/// The deliveries of a notice, after the given place in its frozen list.
///
/// # Errors
/// `NotFound` where there is no such notice; `Invalid` for an unknown state.
pub fn list(
    conn: &mut Conn,
    notice: &NoticeId,
    state: Option<&str>,
    channel: Option<&str>,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<Delivery>> {
    crate::notice::get(conn, notice)?;
    if let Some(state) = state
        && !STATES.contains(&state)
    {
        return Err(Error::invalid(
            "?state",
            format!("is not one of {}", STATES.join(", ")),
        ));
    }
    load(
        conn,
        Some(notice),
        (state, channel),
        None,
        after.unwrap_or(0),
        limit,
    )
}

/// One delivery.
///
/// # Errors
/// `NotFound`.
pub fn get(conn: &mut Conn, id: i64) -> Result<Delivery> {
    load(conn, None, (None, None), Some(id), 0, 1)?
        .pop()
        .ok_or_else(|| Error::NotFound(format!("delivery {id}")))
}

/// Queues a delivery again that failed or bounced. It keeps its Message-ID.
///
/// # Errors
/// `NotFound`; `Conflict` where it was sent, is pending, or the person opted out (nobody is mailed twice), and where
/// the notice was stopped (its catch-up is for those who were not told) or the endpoint was disabled or deleted.
pub fn resend(tx: &mut Tx<'_>, id: i64, lifetime: Duration) -> Result<Delivery> {
    let delivery = get(tx.conn, id)?;
    let incident = lock_for_resending(tx, &delivery.notice)?;
    // Read again, now that the notice is locked.
    let delivery = get(tx.conn, id)?;
    if !matches!(delivery.state.as_str(), "failed" | "bounced") {
        return Err(Error::Conflict(format!(
            "the delivery is {}: only one that failed or bounced can be sent again",
            delivery.state
        ))
        .code(Code::NothingToResend));
    }
    let lifetime = match &delivery.endpoint {
        None => lifetime,
        Some(to) if endpoint::secrets(tx.conn, &[&to.id])?.is_empty() => {
            return Err(Error::Conflict(
                "the endpoint was disabled or deleted: enable it first".to_owned(),
            ));
        }
        Some(_) => calling::LIFETIME,
    };
    queue_again(
        tx,
        &delivery.notice,
        Some(id),
        &[delivery.state.as_str()],
        lifetime,
    )?;
    tx.record(
        Event::new(Action::DeliveryResent, "delivery", id.to_string())
            .incident(&incident)
            .before(serde_json::json!({"state": delivery.state})),
    );
    get(tx.conn, id)
}

/// Queues every delivery of a notice again that failed. Answers how many.
///
/// # Errors
/// `NotFound`; `Conflict` where none failed, or where the notice was stopped.
pub fn resend_failed(tx: &mut Tx<'_>, notice: &NoticeId, lifetime: Duration) -> Result<i64> {
    let incident = lock_for_resending(tx, notice)?;
    let resent = queue_again(tx, notice, None, &["failed"], lifetime)?;
    if resent == 0 {
        return Err(
            Error::Conflict("no delivery of the notice has failed".to_owned()).code(Code::NothingToResend)
        );
    }
    tx.record(
        Event::new(Action::DeliveryResent, "notice", notice.as_str())
            .incident(&incident)
            .after(serde_json::json!({"deliveries": resent})),
    );
    Ok(resent)
}

/// Locks a notice whose deliveries are to be sent again; answers its incident.
fn lock_for_resending(tx: &mut Tx<'_>, notice: &NoticeId) -> Result<IncidentId> {
    let notice = crate::notice::locked(tx, notice)?;
    if notice.state()? == crate::notice::State::Stopped {
        return Err(Error::Conflict(
            "the notice was stopped: draft its catch-up for those who were not told".to_owned(),
        ));
    }
    notice.check_still_true(tx.conn)?;
    Ok(notice.incident_id)
}

fn queue_again(
    tx: &mut Tx<'_>,
    notice: &NoticeId,
    one: Option<i64>,
    states: &[&str],
    lifetime: Duration,
) -> Result<i64> {
    let mut found = d::table
        .filter(d::notice_id.eq(notice.as_str()))
        .filter(d::state.eq_any(states))
        .filter(exceptions())
        .select((d::id, d::channel, d::state))
        .into_boxed::<crate::db::Backend>();
    if let Some(id) = one {
        found = found.filter(d::id.eq(id));
    }
    let found: Vec<(i64, String, String)> = found.load(tx.conn)?;
    let mut changes = Changes::default();
    for (_, channel, state) in &found {
        changes.moved(notice, channel, state, "pending", 1);
    }
    let ids: Vec<i64> = found.into_iter().map(|(id, ..)| id).collect();
    for ids in ids.chunks(500) {
        diesel::update(d::table.filter(d::id.eq_any(ids)))
            .set((
                d::state.eq("pending"),
                d::lease.eq(None::<String>),
                d::deferred_until.eq(None::<Timestamp>),
                d::next_attempt_at.eq(tx.now),
                d::expires_at.eq(tx.now.plus(lifetime)),
                d::reason.eq(None::<String>),
            ))
            .execute(tx.conn)?;
    }
    if !ids.is_empty() {
        diesel::update(n::table.find(notice.as_str()).filter(n::state.eq("sent")))
            .set((n::state.eq("sending"), n::finished_at.eq(None::<Timestamp>)))
            .execute(tx.conn)?;
        changes.store(tx.conn)?;
        crate::db::dialect::tell_workers(tx.conn, None)?;
    }
    Ok(ids.len() as i64)
}
