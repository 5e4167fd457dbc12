//! Decides whether each person of an audience was notified. The API and the pages use the same computation,
//! so that their numbers agree.

use std::collections::HashMap;

use super::counts::Partition;
use super::told::Reached;
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
    pub fn of(addressee: &Addressee, reached: &HashMap<String, Reached>) -> Standing {
        let reached = reached.get(&addressee.person.id);
        match reached {
            Some(reached) if reached.accepted => Standing::Accepted,
            Some(reached) if reached.sending => Standing::Sending,
            _ if addressee.unreachable.is_some() => Standing::Unreachable,
            Some(reached) if reached.lost_at(&addressee.person.email) => Standing::Failed,
            _ => Standing::NotNotified,
        }
    }
}

/// Returns the number of people of an audience for each value.
pub fn partition(people: &[Addressee], reached: &HashMap<String, Reached>) -> Partition {
    let mut parts = Partition::default();
    for addressee in people {
        parts.people += 1;
        let part = match Standing::of(addressee, reached) {
            Standing::Accepted => &mut parts.accepted,
            Standing::Sending => &mut parts.sending,
            Standing::Failed => &mut parts.failed,
            Standing::Unreachable => &mut parts.unreachable,
            Standing::NotNotified => &mut parts.not_notified,
        };
        *part += 1;
    }
    parts
}
