//! The numbers of deliveries of a notice in each state. They are stored separately, so that a million
//! deliveries need not be counted when a notice is shown.
//!
//! Code that changes the state of deliveries must also update the counts, in the same transaction and at its
//! end. All workers update the same rows of a notice, so these rows should be locked only briefly.
//!
//! The counts never differ from the deliveries.

use std::collections::{BTreeMap, HashMap};

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use serde::Serialize;

use super::row::State;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::db::schema::delivery_counts as dc;
use crate::db::{Conn, FixedText};

/// The number of deliveries in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeliveryCounts {
    /// The delivery is not finished yet.
    pub pending: i64,
    /// The recipient's server or the relay accepted the email.
    pub sent: i64,
    /// The server rejected the email, or the delivery expired.
    pub failed: i64,
    /// The email was accepted and bounced later.
    pub bounced: i64,
    /// The email was not sent, because the address is suppressed.
    pub suppressed: i64,
    /// The email was not sent, because the notice was stopped.
    pub stopped: i64,
}

impl DeliveryCounts {
    pub(super) fn set(&mut self, state: &str, count: i64) {
        *self.of(state) = count;
    }

    /// Returns the number of deliveries in a state.
    pub(super) fn of(&mut self, state: &str) -> &mut i64 {
        match state {
            "pending" => &mut self.pending,
            "sent" => &mut self.sent,
            "failed" => &mut self.failed,
            "bounced" => &mut self.bounced,
            "suppressed" => &mut self.suppressed,
            _ => &mut self.stopped,
        }
    }

    /// Returns the number of all deliveries.
    pub fn total(&self) -> i64 {
        self.pending + self.sent + self.failed + self.bounced + self.suppressed + self.stopped
    }

    /// Adds the frozen recipients that are not in the queue yet. They are pending, or they will not be queued
    /// because the notice was stopped.
    pub(super) fn with_waiting(mut self, frozen: i64, state: State) -> DeliveryCounts {
        let waiting = (frozen - self.total()).max(0);
        match state {
            State::Stopped => self.stopped += waiting,
            _ => self.pending += waiting,
        }
        self
    }
}

/// The number of people in each state of being notified. Each person counts once: `people = accepted +
/// sending + failed + unreachable + not_notified`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Partition {
    /// The number of all people.
    pub people: i64,
    /// A mail server accepted the email. With an outbox, the file was written.
    pub accepted: i64,
    /// The email is queued or being sent.
    pub sending: i64,
    /// The email was rejected, expired, or bounced after it was accepted.
    pub failed: i64,
    /// No valid address is known.
    pub unreachable: i64,
    /// Nothing was sent to the person, and nothing is being sent.
    pub not_notified: i64,
}

/// The numbers of deliveries of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct NoticeCounts {
    /// The numbers of emails in each state.
    #[serde(flatten)]
    pub mails: DeliveryCounts,
    /// The people as parts that add up, as in the counts of the audience: the recipients, and the people of the
    /// audience who had no valid address when the notice was sent. People who share an address get one email,
    /// and each of them counts. All numbers are 0 while the notice is a draft.
    pub partition: Partition,
    /// The people by the state of the email to them.
    #[serde(skip)]
    pub people: DeliveryCounts,
}

impl NoticeCounts {
    /// Makes the counts from the emails by state, the people by the state of the email to them, and the number
    /// of people without a valid address.
    pub(super) fn new(mails: DeliveryCounts, people: DeliveryCounts, unreachable: i64) -> Self {
        NoticeCounts {
            partition: Partition {
                people: people.total() + unreachable,
                accepted: people.sent,
                sending: people.pending,
                failed: people.failed + people.bounced,
                unreachable,
                not_notified: people.suppressed + people.stopped,
            },
            mails,
            people,
        }
    }
}

impl std::ops::Deref for NoticeCounts {
    type Target = DeliveryCounts;

    fn deref(&self) -> &DeliveryCounts {
        &self.mails
    }
}

/// Returns the condition for deliveries that are neither pending nor accepted, which have an index. The text
/// is the same as in the index. With bound values, neither database would use the index.
pub fn exceptions() -> SqlLiteral<Bool> {
    sql("deliveries.state NOT IN ('pending', 'sent')")
}

/// The changes of a transaction to the states of deliveries.
#[derive(Debug, Default)]
pub struct Changes(BTreeMap<(String, String, String), i64>);

impl Changes {
    /// Notes that `count` deliveries of the notice and channel changed from one state to another.
    pub fn moved(&mut self, notice: &NoticeId, channel: &str, from: &str, to: &str, count: usize) {
        let count = count as i64;
        *self.of(notice, channel, from) -= count;
        *self.of(notice, channel, to) += count;
    }

    /// Notes that `count` new deliveries of the notice and channel have this state.
    pub fn made(&mut self, notice: &NoticeId, channel: &str, state: &str, count: usize) {
        *self.of(notice, channel, state) += count as i64;
    }

    fn of(&mut self, notice: &NoticeId, channel: &str, state: &str) -> &mut i64 {
        self.0
            .entry((notice.to_string(), channel.to_owned(), state.to_owned()))
            .or_default()
    }

    /// Stores the changes. This must be the last work of a transaction, apart from its audit events. The
    /// order is always the same, so that two transactions do not deadlock.
    ///
    /// # Errors
    /// An error of the database.
    pub fn store(self, conn: &mut Conn) -> Result<()> {
        for ((notice, channel, state), change) in self.0 {
            if change == 0 {
                continue;
            }
            diesel::sql_query(
                "INSERT INTO delivery_counts (notice_id, channel, state, count) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (notice_id, channel, state) DO UPDATE SET count = delivery_counts.count + excluded.count",
            )
            .bind::<Text, _>(notice)
            .bind::<Text, _>(channel)
            .bind::<Text, _>(state)
            .bind::<BigInt, _>(change)
            .fixed()
            .execute(conn)?;
        }
        Ok(())
    }
}

/// The counts of deliveries, by the name of the channel.
pub(super) type ByChannel = BTreeMap<String, DeliveryCounts>;

/// Returns the counts of the deliveries of these notices that are in the queue.
pub(super) fn of(conn: &mut Conn, notices: &[&str]) -> Result<HashMap<NoticeId, ByChannel>> {
    let rows: Vec<(NoticeId, String, String, i64)> = dc::table
        .filter(dc::notice_id.eq_any(notices))
        .select((dc::notice_id, dc::channel, dc::state, dc::count))
        .load(conn)?;
    let mut counts: HashMap<NoticeId, ByChannel> = HashMap::new();
    for (notice, channel, state, count) in rows {
        let of_notice = counts.entry(notice).or_default();
        of_notice.entry(channel).or_default().set(&state, count);
    }
    Ok(counts)
}

/// Returns the channels of a notice that have deliveries in one of these states, with the number of these
/// deliveries.
///
/// # Errors
/// An error of the database.
pub fn in_states(conn: &mut Conn, notice: &NoticeId, states: &[&str]) -> Result<BTreeMap<String, i64>> {
    let rows: Vec<(String, i64)> = dc::table
        .filter(dc::notice_id.eq(notice.as_str()))
        .filter(dc::state.eq_any(states))
        .filter(dc::count.gt(0))
        .select((dc::channel, dc::count))
        .load(conn)?;
    let mut channels = BTreeMap::new();
    for (channel, count) in rows {
        *channels.entry(channel).or_default() += count;
    }
    Ok(channels)
}

/// Returns the number of deliveries of all notices in one state.
///
/// # Errors
/// An error of the database.
pub fn all_in(conn: &mut Conn, state: &str) -> Result<i64> {
    let counts: Vec<i64> = dc::table
        .filter(dc::state.eq(state))
        .filter(dc::count.gt(0))
        .select(dc::count)
        .load(conn)?;
    Ok(counts.into_iter().sum())
}
