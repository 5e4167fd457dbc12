//! Decides whether an event is late. Senders deliver events late, twice and out of order, so the sender's own
//! time decides.
//!
//! An event that is older than the newest known event of the same alert changes nothing. If both have the
//! same time, the end wins: "resolved" counts after "firing", and "firing" does not count after "resolved".
//! Events without a time count in the order of their arrival.

use crate::base::time::Timestamp;

/// How far, in seconds, a sender's clock may be ahead of the clock of Candor before its times are ignored.
const AHEAD: i64 = 300;
/// How long after the end of an alert, in seconds, an older beginning is treated as a late message. This
/// applies only to senders whose time is the time of the beginning, because such a time can also belong to a
/// problem that has come back. Alertmanager retries for a few minutes, and SNS for one hour.
const LATE_FOR: i64 = 3_600;

/// What the time of an event refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeOf {
    /// The time at which the state changed, or at which the sender reported it.
    Change,
    /// The time at which the problem began. It is the same in all messages about the problem.
    Beginning,
}

/// The sender's own time of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTime {
    /// The time that the sender gave.
    pub at: Timestamp,
    /// What the time refers to.
    pub of: TimeOf,
}

impl EventTime {
    /// Creates the time of a change of state.
    pub fn change(at: Timestamp) -> Self {
        EventTime {
            at,
            of: TimeOf::Change,
        }
    }

    /// Creates the time at which a problem began.
    pub fn beginning(at: Timestamp) -> Self {
        EventTime {
            at,
            of: TimeOf::Beginning,
        }
    }
}

/// The newest known event of an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastEvent {
    /// Whether the alert is firing since this event.
    pub firing: bool,
    /// The sender's time of the event. If the event had none, the time of the newest earlier event that had
    /// one.
    pub at: Option<Timestamp>,
    /// When the event arrived. None if the event had no time.
    pub seen_at: Option<Timestamp>,
}

impl LastEvent {
    /// Returns whether an event that arrives now is older than this one, and so changes nothing.
    pub fn makes_late(&self, firing: bool, event: Option<EventTime>, now: Timestamp) -> bool {
        let (Some(known), Some(event)) = (self.at, event) else {
            return false;
        };
        let Some(seen) = self.seen_at else {
            // The newest event had no time. An event that is older than an earlier event is certainly late.
            return event.at < known;
        };
        // If a clock was ahead and was corrected, the events after the correction must not be late.
        let was_ahead = known.seconds_since(seen) > AHEAD;
        let is_ahead = event.at.seconds_since(now) > AHEAD;
        let known = if was_ahead && !is_ahead { seen } else { known };
        let older = event.at < known || (event.at == known && firing && !self.firing);
        let came_back =
            firing && !self.firing && event.of == TimeOf::Beginning && now.seconds_since(seen) > LATE_FOR;
        older && !came_back
    }

    /// Returns the newest event after an event that is not late.
    pub fn after(&self, firing: bool, event: Option<EventTime>, now: Timestamp) -> LastEvent {
        LastEvent {
            firing,
            at: event.map(|event| event.at).or(self.at),
            seen_at: event.map(|_| now),
        }
    }
}
