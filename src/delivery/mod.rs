//! Deliveries: one mail to one address, from the queue to an outcome that is on record.
//!
//! Frozen notices are expanded into rows, rows are claimed with a lease, sent outside any transaction, and finished
//! in groups. A connection takes its next mail only when the outcome of the last one is durable: that bounds what a
//! crash can repeat to one mail for each open connection.
//!
//! Must never happen here: a read of the incident or the directory (a notice is frozen), or an outcome that is lost.

pub mod calls;
pub mod channel;
pub mod email;
pub mod opt_out;
pub mod outbox;
pub mod queue;
pub mod webhook;
pub mod worker;

use std::time::Duration;

use diesel::prelude::*;
use serde::Serialize;

use crate::audit::{Action, Event, Tx};
use crate::db::Conn;
use crate::db::schema::{deliveries as d, delivery_attempts as da, notice_recipients as nr, notices as n};
use crate::directory::endpoint;
use crate::error::{Error, Result};
use crate::id::NoticeId;
use crate::notice::EMAIL;
use crate::time::Timestamp;

/// A mail, ready for a channel.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Envelope sender and recipient.
    pub envelope: lettre::address::Envelope,
    /// The message, as it goes over the wire.
    pub message: Vec<u8>,
    /// Names it in the outbox.
    pub name: String,
}

/// What became of one attempt. Channels answer this and touch nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Taken over by the next server. The text is its reply.
    Sent(String),
    /// Not now; try again, after this long where the channel knows better than the schedule.
    Retry(Option<Duration>, String),
    /// Never.
    Failed(String),
    /// Never, and nothing else is wanted there either.
    Gone(String),
}

impl Outcome {
    /// As recorded: the word, and what was said.
    pub fn told(&self) -> (&'static str, &str) {
        match self {
            Outcome::Sent(reply) => ("sent", reply),
            Outcome::Retry(_, reply) => ("retry", reply),
            Outcome::Failed(reply) | Outcome::Gone(reply) => ("failed", reply),
        }
    }
}

/// A delivery, as shown.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Delivery {
    /// Its id.
    pub id: i64,
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
    /// sent, retry or failed.
    pub outcome: String,
    /// What the server said, or why there was no server.
    pub reply: String,
}

/// States of a delivery.
pub const STATES: [&str; 6] = ["pending", "sent", "failed", "bounced", "suppressed", "stopped"];

type Row = (
    i64,
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
    }
    if let Some(channel) = channel {
        query = query.filter(d::channel.eq(channel));
    }
    if let Some(id) = one {
        query = query.filter(d::id.eq(id));
    }
    let rows: Vec<(Row, Timestamp)> = query
        .filter(d::id.gt(after))
        .order(d::id)
        .limit(limit)
        .select((
            (
                d::id,
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
            ),
            d::next_attempt_at,
        ))
        .load(conn)?;
    let ids: Vec<i64> = rows.iter().map(|(row, _)| row.0).collect();
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
            |((id, notice, address, channel, state, _, sent_at, message_id, person, name, lease), next)| {
                let mail = channel == EMAIL;
                let account = accounts.get(&person).cloned();
                Delivery {
                    attempts: attempts.remove(&id).unwrap_or_default(),
                    next_attempt_at: (state == "pending" && lease.is_none()).then_some(next),
                    id,
                    notice,
                    message_id: if mail {
                        format!("<{message_id}>")
                    } else {
                        channel::call_id(&message_id)
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
                }
            },
        )
        .collect())
}

/// The deliveries of a notice, after the given one.
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
    load(conn, Some(notice), (state, channel), None, after.unwrap_or(0), limit)
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
pub fn resend(tx: &mut Tx<'_>, id: i64) -> Result<Delivery> {
    let delivery = get(tx.conn, id)?;
    let notice = crate::notice::locked(tx, &delivery.notice)?;
    if notice.state()? == crate::notice::State::Stopped {
        return Err(Error::Conflict(
            "the notice was stopped: draft its catch-up for those who were not told".to_owned(),
        ));
    }
    // Read again, now that the notice is locked.
    let delivery = get(tx.conn, id)?;
    if !matches!(delivery.state.as_str(), "failed" | "bounced") {
        return Err(Error::Conflict(format!(
            "the delivery is {}: only one that failed or bounced can be sent again",
            delivery.state
        )));
    }
    if let Some(to) = &delivery.endpoint
        && endpoint::secrets(tx.conn, &[&to.id])?.is_empty()
    {
        return Err(Error::Conflict(
            "the endpoint was disabled or deleted: enable it first".to_owned(),
        ));
    }
    let lifetime = match &delivery.endpoint {
        None => queue::LIFETIME,
        Some(_) => channel::LIFETIME,
    };
    diesel::update(d::table.find(id))
        .set((
            d::state.eq("pending"),
            d::lease.eq(None::<String>),
            d::next_attempt_at.eq(tx.now),
            d::expires_at.eq(tx.now.plus(lifetime)),
        ))
        .execute(tx.conn)?;
    diesel::update(
        n::table
            .find(delivery.notice.as_str())
            .filter(n::state.eq("sent")),
    )
    .set((n::state.eq("sending"), n::finished_at.eq(None::<Timestamp>)))
    .execute(tx.conn)?;
    tx.record(
        Event::new(Action::DeliveryResent, "delivery", id.to_string())
            .incident(&notice.incident_id)
            .before(serde_json::json!({"state": delivery.state})),
    );
    get(tx.conn, id)
}
