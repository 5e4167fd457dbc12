//! Deliveries: one mail to one address, from the queue to an outcome that is on record.
//!
//! Frozen notices are expanded into rows, rows are claimed with a lease, sent outside any transaction, and finished
//! in groups. A connection takes its next mail only when the outcome of the last one is durable: that bounds what a
//! crash can repeat to one mail for each open connection.
//!
//! Must never happen here: a read of the incident or the directory (a notice is frozen), or an outcome that is lost.

pub mod email;
pub mod feedback;
pub mod opt_out;
pub mod outbox;
pub mod queue;
pub mod verp;
pub mod worker;

use std::time::Duration;

use diesel::prelude::*;
use serde::Serialize;

use crate::audit::{Action, Event, Tx};
use crate::db::Conn;
use crate::db::schema::{deliveries as d, delivery_attempts as da, notice_recipients as nr, notices as n};
use crate::error::{Error, Result};
use crate::id::NoticeId;
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
}

/// A delivery, as shown.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Delivery {
    /// Its id.
    pub id: i64,
    /// The notice it belongs to.
    pub notice: NoticeId,
    /// To whom.
    pub person: DeliveryPerson,
    /// Where it goes.
    pub address: String,
    /// email.
    pub channel: String,
    /// pending, sent, failed, bounced, suppressed or stopped.
    pub state: String,
    /// Message-ID of the mail, the same in every attempt.
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
    state: Option<&str>,
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
    Ok(rows
        .into_iter()
        .map(
            |((id, notice, address, channel, state, _, sent_at, message_id, person, name, lease), next)| {
                Delivery {
                    attempts: attempts.remove(&id).unwrap_or_default(),
                    next_attempt_at: (state == "pending" && lease.is_none()).then_some(next),
                    id,
                    notice,
                    person: DeliveryPerson { id: person, name },
                    address,
                    channel,
                    state,
                    message_id: format!("<{message_id}>"),
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
    load(conn, Some(notice), state, None, after.unwrap_or(0), limit)
}

/// One delivery.
///
/// # Errors
/// `NotFound`.
pub fn get(conn: &mut Conn, id: i64) -> Result<Delivery> {
    load(conn, None, None, Some(id), 0, 1)?
        .pop()
        .ok_or_else(|| Error::NotFound(format!("delivery {id}")))
}

/// Queues a delivery again that failed or bounced. It keeps its Message-ID.
///
/// # Errors
/// `NotFound`; `Conflict` where it was sent, is pending, or the person opted out (nobody is mailed twice), and where
/// the notice was stopped (its catch-up is for those who were not told).
pub fn resend(tx: &mut Tx<'_>, id: i64, lifetime: Duration) -> Result<Delivery> {
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
