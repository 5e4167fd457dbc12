//! Where each person of an audience stands: one computation for the API and the pages, so that their figures add up.

use std::collections::HashMap;

use super::counts::Partition;
use super::told::Reached;
use crate::audience::Addressee;

/// Where one person stands in the present episode of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A mail server accepted a mail to them, or it was written to the outbox.
    Accepted,
    /// A mail to them is queued or being sent.
    Sending,
    /// Every mail to the address that they have was refused or bounced.
    Failed,
    /// No usable address is known.
    Unreachable,
    /// Nothing was sent to them at the address that they have, and nothing is being sent.
    NotNotified,
}

impl Standing {
    /// Of a person of the audience, by what is known of the mails to them.
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

/// How many people of an audience stand where.
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
