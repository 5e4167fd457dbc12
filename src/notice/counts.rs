//! The numbers of deliveries of a notice in each state. They are stored separately, so that a million
//! deliveries need not be counted when a notice is shown.
//!
//! This module reads the numbers. `delivery_state` changes them, together with the states of the deliveries,
//! so the counts never differ from the deliveries.

use std::collections::{BTreeMap, HashMap};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde::Serialize;

use super::delivery_state::DeliveryState;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::db::Conn;
use crate::db::schema::delivery_counts as dc;

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
    /// Returns the number of deliveries in a state.
    pub fn of(&self, state: DeliveryState) -> i64 {
        match state {
            DeliveryState::Pending => self.pending,
            DeliveryState::Sent => self.sent,
            DeliveryState::Failed => self.failed,
            DeliveryState::Bounced => self.bounced,
            DeliveryState::Suppressed => self.suppressed,
            DeliveryState::Stopped => self.stopped,
        }
    }

    /// Returns the number of deliveries in a state, to change it.
    pub(super) fn of_mut(&mut self, state: DeliveryState) -> &mut i64 {
        match state {
            DeliveryState::Pending => &mut self.pending,
            DeliveryState::Sent => &mut self.sent,
            DeliveryState::Failed => &mut self.failed,
            DeliveryState::Bounced => &mut self.bounced,
            DeliveryState::Suppressed => &mut self.suppressed,
            DeliveryState::Stopped => &mut self.stopped,
        }
    }

    /// Returns the number of all deliveries.
    pub fn total(&self) -> i64 {
        self.pending + self.sent + self.failed + self.bounced + self.suppressed + self.stopped
    }

    /// Adds the frozen recipients that are not in the queue yet, as deliveries in this state.
    pub(super) fn with_waiting(mut self, frozen: i64, state: DeliveryState) -> DeliveryCounts {
        *self.of_mut(state) += (frozen - self.total()).max(0);
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

/// The counts of deliveries, by the name of the channel.
pub type ByChannel = BTreeMap<String, DeliveryCounts>;

/// Returns the counts of the deliveries of these notices that are in the queue.
pub(super) fn of(conn: &mut Conn, notices: &[&str]) -> Result<HashMap<NoticeId, ByChannel>> {
    let rows: Vec<(NoticeId, String, DeliveryState, i64)> = dc::table
        .filter(dc::notice_id.eq_any(notices))
        .select((dc::notice_id, dc::channel, dc::state, dc::count))
        .load(conn)?;
    let mut counts: HashMap<NoticeId, ByChannel> = HashMap::new();
    for (notice, channel, state, count) in rows {
        let of_notice = counts.entry(notice).or_default();
        *of_notice.entry(channel).or_default().of_mut(state) = count;
    }
    Ok(counts)
}

/// Returns the channels of a notice that have deliveries in one of these states, with the number of these
/// deliveries.
///
/// # Errors
/// An error of the database.
pub fn in_states(
    conn: &mut Conn,
    notice: &NoticeId,
    states: &[DeliveryState],
) -> Result<BTreeMap<String, i64>> {
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

/// Returns the number of pending deliveries of all notices.
///
/// # Errors
/// An error of the database.
pub fn pending(conn: &mut Conn) -> Result<i64> {
    let counts: Vec<i64> = dc::table
        // The text is that of the partial index.
        .filter(sql::<Bool>("delivery_counts.state = 'pending' AND delivery_counts.count > 0"))
        .select(dc::count)
        .load(conn)?;
    Ok(counts.into_iter().sum())
}
