//! Claims stored emails with a lease, and stores the outcome of each attempt. An email is tried until it is sent or out of date.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde_json::json;

use super::subscriber::{self, Subscriber};
use super::subscribing;
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::PostId;
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::dialect;
use crate::db::schema::status_mails as m;
use crate::db::{Conn, FixedText};
use crate::delivery::Outcome;
use crate::delivery::opt_out::SuppressionReason;
use crate::status::post;
use crate::work::Lease;
use crate::work::backoff::Backoff;

/// The waits between attempts. The last one repeats. Each wait is changed by a random amount of up to a fifth.
const SCHEDULE: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(1_800),
];
/// How long a claim lasts. It is longer than an attempt can take.
const LEASE: Duration = Duration::from_secs(600);

/// An email that a worker has claimed.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The ID of the email.
    pub id: i64,
    lease: Lease,
    /// The attempt number, from 1.
    attempts: i64,
    /// Who gets it. `None` if the subscription ended.
    pub to: Option<Subscriber>,
    /// The post that it is about. `None`: it asks to confirm the subscription.
    pub post: Option<PostId>,
    /// Whether the post was taken back.
    is_gone: bool,
    expires_at: Timestamp,
    /// When the email was stored.
    pub created_at: Timestamp,
}

/// Returns whether an email is due.
///
/// # Errors
/// An error of the database.
pub fn any_due(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    let first: Option<i64> = m::table
        .filter(sql::<Bool>("status_mails.state = 'pending'"))
        .filter(m::next_attempt_at.le(now))
        .order((m::next_attempt_at, m::id))
        .select(m::id)
        .limit(1)
        .fixed()
        .get_result(conn)
        .optional()?;
    Ok(first.is_some())
}

/// What a claim found.
#[derive(Clone, Debug)]
pub enum Found {
    /// Nothing is due, or another process has it.
    Nothing,
    /// An email that was due, and that is not sent any more.
    Over,
    /// An email to send.
    Email(Box<Claimed>),
}

/// Claims an email that is due. An email whose claim ended without an outcome is not sent again, because a process ended while the mail
/// server may have got it. Emails are claimed one at a time, so that such an end concerns one email.
///
/// # Errors
/// An error of the database.
pub fn claim(conn: &mut Conn, now: Timestamp) -> Result<Found> {
    let Some(id) = dialect::due_status_mail(conn, now)? else {
        return Ok(Found::Nothing);
    };
    let over = |state: &'static str, reply: &'static str| {
        (
            m::state.eq(state),
            m::lease.eq(None::<String>),
            m::finished_at.eq(Some(now)),
            m::reply.eq(Some(reply)),
        )
    };
    let lost = diesel::update(m::table.find(id).filter(m::lease.is_not_null()))
        .set(over("uncertain", "the process ended while the email was sent"))
        .execute(conn)?;
    let late = diesel::update(
        m::table
            .find(id)
            .filter(m::lease.is_null())
            .filter(m::expires_at.le(now)),
    )
    .set(over("failed", "the email was out of date"))
    .execute(conn)?;
    if lost + late > 0 {
        return Ok(Found::Over);
    }
    let lease = Lease::new(now, LEASE);
    let (subscriber, post, attempts, expires_at, created_at): (
        i64,
        Option<PostId>,
        i64,
        Timestamp,
        Timestamp,
    ) = diesel::update(m::table.find(id))
        .set((
            m::lease.eq(Some(lease.id())),
            m::attempts.eq(m::attempts + 1),
            m::next_attempt_at.eq(lease.until(now)),
        ))
        .returning((
            m::subscriber_id,
            m::post_id,
            m::attempts,
            m::expires_at,
            m::created_at,
        ))
        .get_result(conn)?;
    let to = match subscriber::get(conn, subscriber) {
        Ok(one) => Some(one),
        Err(Error::NotFound(_)) => None,
        Err(error) => return Err(error),
    };
    let is_gone = match &post {
        Some(post) => !post::exists(conn, post)?,
        None => false,
    };
    Ok(Found::Email(Box::new(Claimed {
        id,
        lease,
        attempts,
        to,
        post,
        is_gone,
        expires_at,
        created_at,
    })))
}

impl Claimed {
    /// Returns who gets the email. `None` if nobody may get it any more: the subscription ended or was confirmed in the meantime, the
    /// address was suppressed after the email was stored, or the post was taken back.
    pub fn recipient(&self) -> Option<&Subscriber> {
        self.to.as_ref().filter(|to| match self.post {
            Some(_) => !self.is_gone && to.gets_posts(),
            None => !to.gets_posts() && matches!(to.suppressed, None | Some(SuppressionReason::OptedOut)),
        })
    }
}

/// How a claim ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// An attempt was made.
    Tried(Outcome),
    /// No attempt was made, because nobody may get the email any more, or because the post was taken back.
    Stopped,
    /// No attempt was made. The email is due again.
    NotTried,
}

/// Stores how a claim ended. If its lease has ended in the meantime, nothing changes.
///
/// # Errors
/// An error of the database.
pub fn finish(tx: &mut Tx<'_>, claimed: &Claimed, ended: &Ended) -> Result<()> {
    let usual = Backoff::new(&SCHEDULE).spread_after(claimed.attempts);
    let now = tx.now;
    let (state, next, reply) = match ended {
        Ended::NotTried => ("pending", now, ""),
        Ended::Stopped => ("stopped", now, ""),
        Ended::Tried(Outcome::Sent(reply)) => ("sent", now, reply.as_str()),
        Ended::Tried(Outcome::Failed(reply) | Outcome::NoMailbox(reply) | Outcome::Gone(reply)) => {
            ("failed", now, reply.as_str())
        }
        Ended::Tried(Outcome::Ambiguous(reply)) => ("uncertain", now, reply.as_str()),
        Ended::Tried(Outcome::Retry(asked, reply)) => {
            let next = now.plus(asked.unwrap_or_default().max(usual));
            match next > claimed.expires_at {
                true => ("failed", now, reply.as_str()),
                false => ("pending", next, reply.as_str()),
            }
        }
    };
    let over = state != "pending";
    // A reply can repeat the address, which is removed when a subscription ends.
    let subscribed = match &claimed.to {
        Some(to) => subscriber::get(tx.conn, to.id).is_ok(),
        None => false,
    };
    let changed = diesel::update(
        m::table
            .find(claimed.id)
            .filter(m::lease.eq(claimed.lease.id()))
            .filter(m::state.eq("pending")),
    )
    .set((
        m::state.eq(state),
        m::lease.eq(None::<String>),
        m::next_attempt_at.eq(next),
        m::finished_at.eq(over.then_some(now)),
        m::reply.eq(Some(one_line(reply, 500)).filter(|reply| subscribed && !reply.is_empty())),
    ))
    .execute(tx.conn)?;
    if changed == 0 {
        return Ok(());
    }
    if let (Ended::Tried(Outcome::NoMailbox(_)), Some(to)) = (ended, &claimed.to) {
        subscribing::end_suppressed(tx, to.id, SuppressionReason::Bounced)?;
    }
    if over {
        let action = match state {
            "sent" => Action::StatusMailSent,
            _ => Action::StatusMailNotSent,
        };
        // The event does not contain the reply, because the reply can repeat an address.
        tx.record(
            Event::new(action, "status_mail", claimed.id.to_string()).after(json!({
                "subscriber": claimed.to.as_ref().map(|to| to.id), "post": claimed.post, "state": state,
                "attempts": claimed.attempts,
            })),
        );
    }
    Ok(())
}
