//! The order of events: senders deliver late, twice and out of order, so the sender's own time decides what is news.
//!
//! An event that is older than the newest one that is known of the same alert changes nothing. At the same time, the end
//! counts: "resolved" is taken after "firing", and "firing" is not taken after "resolved". Events without a time are taken
//! in the order in which they arrive.

use crate::base::time::Timestamp;

/// How far a sender's clock may be ahead of ours, in seconds, before its times are not believed.
const AHEAD: i64 = 300;
/// How long after the end of an alert an older beginning is taken for a late message, in seconds. Only for senders whose
/// time is that of the beginning: such a time may also belong to a problem that has come back. Alertmanager tries again
/// for a few minutes, SNS for an hour.
const LATE_FOR: i64 = 3_600;

/// What the time of an event is the time of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeOf {
    /// The time at which the state changed, or at which the sender said so.
    Change,
    /// The time at which the problem began: it stays the same in all messages about it.
    Beginning,
}

/// The sender's own time of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTime {
    /// When it was.
    pub at: Timestamp,
    /// What it is the time of.
    pub of: TimeOf,
}

impl EventTime {
    /// The time of a change of state.
    pub fn change(at: Timestamp) -> Self {
        EventTime {
            at,
            of: TimeOf::Change,
        }
    }

    /// The time at which a problem began.
    pub fn beginning(at: Timestamp) -> Self {
        EventTime {
            at,
            of: TimeOf::Beginning,
        }
    }
}

/// The newest event that is known of an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastEvent {
    /// Whether the alert fires since then.
    pub firing: bool,
    /// The sender's time of it; where it had none, the time of the newest event before it that had one.
    pub at: Option<Timestamp>,
    /// When it arrived; none where it had no time.
    pub seen_at: Option<Timestamp>,
}

impl LastEvent {
    /// Whether an event that arrives now is older than this one, and so changes nothing.
    pub fn makes_late(&self, firing: bool, event: Option<EventTime>, now: Timestamp) -> bool {
        let (Some(known), Some(event)) = (self.at, event) else {
            return false;
        };
        let Some(seen) = self.seen_at else {
            // The newest event had no time. What is older than the one before it is late beyond doubt.
            return event.at < known;
        };
        // A clock that was ahead and was set right must not make everything late that comes after.
        let was_ahead = known.seconds_since(seen) > AHEAD;
        let is_ahead = event.at.seconds_since(now) > AHEAD;
        let known = if was_ahead && !is_ahead { seen } else { known };
        let older = event.at < known || (event.at == known && firing && !self.firing);
        let came_back =
            firing && !self.firing && event.of == TimeOf::Beginning && now.seconds_since(seen) > LATE_FOR;
        older && !came_back
    }

    /// The newest event once this one was taken, which is not late.
    pub fn after(&self, firing: bool, event: Option<EventTime>, now: Timestamp) -> LastEvent {
        LastEvent {
            firing,
            at: event.map(|event| event.at).or(self.at),
            seen_at: event.map(|_| now),
        }
    }
}
