//! Deliveries. A delivery is one email to one address, or one call to one endpoint, from the queue to a
//! recorded outcome.
//!
//! Frozen notices are expanded into rows. A worker claims rows with a lease, sends them outside any
//! transaction, and stores the outcomes in batches. A connection takes its next email only when the outcome
//! of the last one is in an outcome record. So a crash can repeat at most one email for each open connection.
//!
//! ```text
//! queue ─(claim)─► dispatch ─► a channel's sender ─► outcome_log ─(finish and claim the next)─► queue
//!                              mailing: email_template, email, dkim, smtp
//! ```
//!
//! This module never reads the incident, because a notice is frozen. Of the directory it reads only the
//! accounts and the secrets of endpoints. It never loses an outcome.

pub mod apprise;
pub mod as_sent;
pub mod calling;
pub mod channel;
pub mod dispatch;
pub mod dkim;
pub mod email;
pub mod email_template;
pub mod endpoints;
pub mod header;
pub mod mail_servers;
pub mod mailer;
pub mod mailing;
pub mod ntfy;
pub mod opt_out;
pub mod outbox;
mod outcome;
pub mod outcome_log;
pub mod outcome_record;
pub mod queue;
pub mod refusal;
mod secret_url;
mod sender;
pub mod sending_context;
pub mod sending_settings;
pub mod sent_message;
pub mod slack;
mod sms;
pub mod sms_gateway;
pub mod smtp;
pub mod task;
pub mod teams;
pub mod verp;
pub mod waves;
pub mod webhook;
pub mod who_got_it;
pub mod worker;

use std::time::Duration;

use diesel::prelude::*;
use serde::Serialize;

use crate::audit::Tx;
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, delivery_attempts as da, notice_recipients as nr};
use crate::directory::endpoint;
use crate::directory::erased::is_placeholder;
use crate::notice::again;
use crate::notice::delivery_state::exceptions;
use crate::notice::state::{self, Again};
use crate::notice::{DeliveryState, EMAIL, NoticeRow};
pub use email::Mail;
pub use outcome::Outcome;

/// A delivery, as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Delivery {
    /// The ID of the delivery.
    pub id: i64,
    /// The position in the frozen list, from 1.
    #[serde(skip)]
    pub ordinal: i64,
    /// The notice that the delivery belongs to.
    pub notice: NoticeId,
    /// The recipient. Null if the delivery goes to an endpoint of an account.
    pub person: Option<DeliveryPerson>,
    /// The endpoint. Null if the delivery is an email.
    pub endpoint: Option<DeliveryEndpoint>,
    /// The email address, or the URL of the endpoint.
    pub address: String,
    /// `email`, or the channel of the endpoint, such as `webhook`.
    pub channel: String,
    /// The state of the delivery.
    pub state: DeliveryState,
    /// The Message-ID of the email, or the `webhook-id` of the call to the endpoint. It is the same in every
    /// attempt.
    pub message_id: String,
    /// The attempts so far, in their order.
    pub attempts: Vec<Attempt>,
    /// When the next attempt is due. Null if none is planned, or if a worker has claimed the delivery.
    pub next_attempt_at: Option<Timestamp>,
    /// When the server accepted the message.
    pub sent_at: Option<Timestamp>,
    /// The mail server that accepted the email: its host and port. Null if it was not accepted, if the delivery is no email, or if a
    /// version of Candor sent it that did not record this.
    pub relay: Option<String>,
    /// Why the delivery failed: `refused` (the server rejected it), `expired` (it was tried for too long), or
    /// `gone` (the endpoint wants no further calls).
    pub reason: Option<String>,
}

/// The recipient of an email.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeliveryPerson {
    /// The ID of the person in the directory.
    pub id: String,
    /// The name of the person when the notice was frozen.
    pub name: String,
}

/// The endpoint of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeliveryEndpoint {
    /// The ID of the endpoint.
    pub id: String,
    /// The ID of the account that the endpoint belongs to. Null if it is the phone of a person.
    pub account: Option<String>,
    /// The ID of the person whose phone it is. Left out if it is an endpoint of an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// The name of the account when the notice was frozen, or the name of the person now.
    pub name: String,
}

/// One attempt to make a delivery, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Attempt {
    /// The attempt number, from 1. A number is missing if no attempt was made after all.
    pub number: i64,
    /// When the attempt was recorded.
    pub at: Timestamp,
    /// The outcome: sent, retry, failed, or ambiguous (the connection was lost between the last byte and the
    /// reply).
    pub outcome: String,
    /// The reply of the server, or the reason why there was none.
    pub reply: String,
    /// The SHA-256 of the email that the attempt handed over, in hexadecimal. Null if it handed over no email, or if a version of Candor
    /// made it that did not record this.
    pub sha256: Option<String>,
    /// The mail server that the email was given to, or was to be given to: its host and port. Null if this was not recorded.
    pub relay: Option<String>,
}

/// The columns that a delivery is shown from.
type DeliveryColumns = (
    (i64, i64),
    NoticeId,
    String,
    String,
    DeliveryState,
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
    (state, channel): (Option<DeliveryState>, Option<&str>),
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
        if state.is_exception() {
            query = query.filter(exceptions());
        }
    }
    if let Some(channel) = channel {
        query = query.filter(d::channel.eq(channel));
    }
    if let Some(id) = one {
        query = query.filter(d::id.eq(id));
    }
    let rows: Vec<(DeliveryColumns, Timestamp)> = query
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
    type AttemptColumns = (
        (i64, i64),
        Timestamp,
        String,
        String,
        Option<Vec<u8>>,
        Option<String>,
    );
    let found: Vec<AttemptColumns> = da::table
        .filter(da::delivery_id.eq_any(&ids))
        .order((da::delivery_id, da::attempt))
        .select((
            (da::delivery_id, da::attempt),
            da::at,
            da::outcome,
            da::reply,
            da::mail_hash,
            da::relay,
        ))
        .load(conn)?;
    for ((id, number), at, outcome, reply, hash, relay) in found {
        attempts.entry(id).or_default().push(Attempt {
            number,
            at,
            outcome,
            reply,
            sha256: hash.map(|hash| hex(&hash)),
            relay,
        });
    }
    let endpoints: Vec<&str> = rows
        .iter()
        .filter(|(row, _)| row.3 != EMAIL)
        .map(|(row, _)| row.7.as_str())
        .collect();
    let owners = endpoint::owners_of(conn, &endpoints)?;
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
                let owner = owners.get(&person);
                let attempts = attempts.remove(&id).unwrap_or_default();
                let accepted = attempts.iter().rev().find(|attempt| attempt.outcome == "sent");
                Delivery {
                    relay: accepted.and_then(|attempt| attempt.relay.clone()),
                    attempts,
                    next_attempt_at: (state == DeliveryState::Pending && lease.is_none()).then_some(next),
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
                        account: owner.and_then(|owner| owner.account.clone()),
                        person: owner.and_then(|owner| owner.person.clone()),
                        name: match owner {
                            Some(owner) if owner.person.is_some() => owner.name.clone(),
                            _ => name,
                        },
                        id: person,
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

/// Returns the deliveries of a notice after the given position in its frozen list.
///
/// # Errors
/// `NotFound` if the notice does not exist, `Invalid` if the state is unknown.
pub fn list(
    conn: &mut Conn,
    notice: &NoticeId,
    state: Option<&str>,
    channel: Option<&str>,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<Delivery>> {
    crate::notice::get(conn, notice)?;
    let state = match state.map(DeliveryState::parse).transpose() {
        Ok(state) => state,
        Err(_) => {
            let words: Vec<&str> = DeliveryState::ALL.iter().map(|state| state.as_str()).collect();
            return Err(Error::invalid(
                "?state",
                format!("is not one of {}", words.join(", ")),
            ));
        }
    };
    load(
        conn,
        Some(notice),
        (state, channel),
        None,
        after.unwrap_or(0),
        limit,
    )
}

/// Returns one delivery.
///
/// # Errors
/// `NotFound` if it does not exist.
pub fn get(conn: &mut Conn, id: i64) -> Result<Delivery> {
    load(conn, None, (None, None), Some(id), 0, 1)?
        .pop()
        .ok_or_else(|| Error::NotFound(format!("delivery {id}")))
}

/// Queues a delivery again that failed or bounced. It keeps its Message-ID.
///
/// # Errors
/// - `NotFound` if the delivery does not exist.
/// - `Conflict` if it was sent, is pending or is suppressed, because nobody may get the same email twice.
/// - `Conflict` if the notice was stopped, or if a correction was sent since. Its catch-up goes to the people
///   who were not notified.
/// - `Conflict` if the person has another address now, or got the notice by another email ([`again`]).
/// - `Conflict` if the endpoint was disabled or deleted.
pub fn resend(tx: &mut Tx<'_>, id: i64, lifetime: Duration) -> Result<Delivery> {
    let delivery = get(tx.conn, id)?;
    let notice = lock_for_resending(tx, &delivery.notice)?;
    // Another transaction can have changed the delivery before this one got the lock.
    let delivery = get(tx.conn, id)?;
    if is_placeholder(&delivery.address) {
        let detail = "the address was erased, so the email cannot be sent again";
        return Err(Error::Conflict(detail.to_owned()).code(Code::Erased));
    }
    if !delivery.state.may_be_sent_again() {
        return Err(Error::Conflict(format!(
            "the delivery is {}; only a delivery that failed or bounced can be sent again",
            delivery.state
        ))
        .code(Code::NothingToResend));
    }
    if let Some(left_out) = again::left_out(tx.conn, &delivery.notice, &[id])?.get(&id) {
        return Err(
            Error::Conflict(format!("the email is not sent again: {}", left_out.why()))
                .code(Code::NothingToResend),
        );
    }
    let lifetime = match &delivery.endpoint {
        None => lifetime,
        Some(to) if endpoint::secrets(tx.conn, &[&to.id])?.is_empty() => {
            return Err(Error::Conflict(
                "the endpoint is disabled or deleted; enable it first".to_owned(),
            ));
        }
        Some(_) => calling::LIFETIME,
    };
    state::send_again(tx, &notice, Again::One(id, delivery.state), lifetime)?;
    get(tx.conn, id)
}

/// Queues every delivery of a notice again that failed, and returns how many there are. Emails that [`again`] leaves out are not sent.
///
/// # Errors
/// `NotFound` if the notice does not exist, `Conflict` if none failed or all are left out, if the notice was stopped, or if a
/// correction was sent since.
pub fn resend_failed(tx: &mut Tx<'_>, notice: &NoticeId, lifetime: Duration) -> Result<i64> {
    let notice = lock_for_resending(tx, notice)?;
    let left_out = again::lost_left_out(tx.conn, &notice.id)?.failed;
    let resent = state::send_again(tx, &notice, Again::Failed(&left_out), lifetime)?;
    if resent == 0 {
        let detail = match left_out.is_empty() {
            true => "no delivery of the notice has failed",
            false => {
                "no failed email can be sent again: each person got this notice by another email or has another address now"
            }
        };
        return Err(Error::Conflict(detail.to_owned()).code(Code::NothingToResend));
    }
    Ok(resent as i64)
}

/// Locks a notice whose deliveries are sent again, and returns its row.
fn lock_for_resending(tx: &mut Tx<'_>, notice: &NoticeId) -> Result<NoticeRow> {
    let notice = crate::notice::locked(tx, notice)?;
    state::check_may_send_again(&notice)?;
    notice.check_still_true(tx.conn)?;
    notice.check_not_corrected_since(tx.conn)?;
    notice.check_still_restored(tx.conn)?;
    Ok(notice)
}
