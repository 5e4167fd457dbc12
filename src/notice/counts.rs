//! How many deliveries of a notice are in each state, kept beside them: whoever shows a notice must not count a million.
//!
//! Whoever changes the state of deliveries says so here, in the same transaction and at its end: the rows of a notice's
//! counts are where the transactions of all workers meet, and should be held briefly.
//!
//! Must never happen here: counts that differ from the deliveries.

use std::collections::{BTreeMap, HashMap};

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use serde::Serialize;

use super::State;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::db::schema::delivery_counts as dc;
use crate::db::{Conn, Fix};

/// How many deliveries are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeliveryCounts {
    /// Not yet.
    pub pending: i64,
    /// Accepted by the recipient's server or the relay.
    pub sent: i64,
    /// Refused for good, or given up.
    pub failed: i64,
    /// Accepted first, and came back.
    pub bounced: i64,
    /// Not sent, as the person opted out.
    pub suppressed: i64,
    /// Not sent, as the notice was stopped.
    pub stopped: i64,
}

impl DeliveryCounts {
    pub(super) fn set(&mut self, state: &str, count: i64) {
        match state {
            "pending" => self.pending = count,
            "sent" => self.sent = count,
            "failed" => self.failed = count,
            "bounced" => self.bounced = count,
            "suppressed" => self.suppressed = count,
            _ => self.stopped = count,
        }
    }

    /// All of them.
    pub fn total(&self) -> i64 {
        self.pending + self.sent + self.failed + self.bounced + self.suppressed + self.stopped
    }

    /// With those of `frozen` that are not in the queue yet: they wait, or will never be queued.
    pub(super) fn with_waiting(mut self, frozen: i64, state: State) -> DeliveryCounts {
        let waiting = (frozen - self.total()).max(0);
        match state {
            State::Stopped => self.stopped += waiting,
            _ => self.pending += waiting,
        }
        self
    }
}

/// Where everybody stands, each in one part: `people = accepted + sending + failed + unreachable + not_notified`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Partition {
    /// All of them.
    pub people: i64,
    /// A mail server accepted the mail. Where mails are written to an outbox, the file was written.
    pub accepted: i64,
    /// Queued, or being sent.
    pub sending: i64,
    /// Refused, given up, or bounced after it was accepted.
    pub failed: i64,
    /// No usable address is known.
    pub unreachable: i64,
    /// Nothing was sent to them, and nothing is being sent.
    pub not_notified: i64,
}

/// What became of the mails of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct NoticeCounts {
    /// The mails by state.
    #[serde(flatten)]
    pub mails: DeliveryCounts,
    /// The same as parts that add up: the recipients, one for each address, and the people for whom the notice was meant
    /// and who had no usable address when it was sent. All are 0 while it is a draft.
    pub partition: Partition,
}

impl NoticeCounts {
    /// From the mails by state, and the people without a usable address.
    pub(super) fn new(mails: DeliveryCounts, unreachable: i64) -> Self {
        NoticeCounts {
            partition: Partition {
                people: mails.total() + unreachable,
                accepted: mails.sent,
                sending: mails.pending,
                failed: mails.failed + mails.bounced,
                unreachable,
                not_notified: mails.suppressed + mails.stopped,
            },
            mails,
        }
    }
}

impl std::ops::Deref for NoticeCounts {
    type Target = DeliveryCounts;

    fn deref(&self) -> &DeliveryCounts {
        &self.mails
    }
}

/// Deliveries that are neither waiting nor accepted: those that have an index. As in the index, word for word: with
/// bound values neither database would use it.
pub fn exceptions() -> SqlLiteral<Bool> {
    sql("deliveries.state NOT IN ('pending', 'sent')")
}

/// What a transaction did to the states of deliveries.
#[derive(Debug, Default)]
pub struct Changes(BTreeMap<(String, String, String), i64>);

impl Changes {
    /// `count` deliveries of the notice and channel went from one state to another.
    pub fn moved(&mut self, notice: &NoticeId, channel: &str, from: &str, to: &str, count: usize) {
        let count = count as i64;
        *self.of(notice, channel, from) -= count;
        *self.of(notice, channel, to) += count;
    }

    /// `count` deliveries of the notice and channel are new, in this state.
    pub fn made(&mut self, notice: &NoticeId, channel: &str, state: &str, count: usize) {
        *self.of(notice, channel, state) += count as i64;
    }

    fn of(&mut self, notice: &NoticeId, channel: &str, state: &str) -> &mut i64 {
        self.0
            .entry((notice.to_string(), channel.to_owned(), state.to_owned()))
            .or_default()
    }

    /// Stores them. The last thing that a transaction does, but for its audit events. Always in the same order: two
    /// transactions must not wait for each other.
    ///
    /// # Errors
    /// What the database answers.
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

/// By channel.
pub(super) type ByChannel = BTreeMap<String, DeliveryCounts>;

/// The deliveries of these notices that are in the queue.
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

/// The channels of a notice by which deliveries are in one of these states, with how many.
///
/// # Errors
/// What the database answers.
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

/// Deliveries of all notices in one state.
///
/// # Errors
/// What the database answers.
pub fn all_in(conn: &mut Conn, state: &str) -> Result<i64> {
    let counts: Vec<i64> = dc::table
        .filter(dc::state.eq(state))
        .filter(dc::count.gt(0))
        .select(dc::count)
        .load(conn)?;
    Ok(counts.into_iter().sum())
}
