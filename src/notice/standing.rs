//! Decides whether a person of an audience was notified.

use super::notified::Reached;
use crate::audience::Addressee;

/// Whether one person was notified in the current episode of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A mail server accepted an email to the person, or it was written to the outbox.
    Accepted,
    /// An email to the person is queued or being sent.
    Sending,
    /// Every email to the current address of the person was rejected, expired or bounced.
    Failed,
    /// No valid address is known.
    Unreachable,
    /// Nothing was sent to the current address of the person, and nothing is being sent.
    NotNotified,
}

impl Standing {
    /// Returns the value for a person of the audience, from what is known about the emails to this person.
    pub(super) fn of(addressee: &Addressee, reached: Option<&Reached>) -> Standing {
        match reached {
            Some(reached) if reached.accepted => Standing::Accepted,
            Some(reached) if reached.sending => Standing::Sending,
            _ if addressee.unreachable.is_some() => Standing::Unreachable,
            Some(reached) if reached.lost_at(&addressee.person.email) => Standing::Failed,
            _ => Standing::NotNotified,
        }
    }
}
