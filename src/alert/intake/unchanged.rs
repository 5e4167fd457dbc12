//! Events that change nothing and are only recorded: late events, repeated messages, and events that are not
//! an outage by the word of the sender.

use super::cache::KnownAlert;
use super::taken::{Recorded, RecordedReason};
use super::work::{AlertReferences, RepeatedAlert, Work};
use crate::alert::integration::Integration;
use crate::alert::source::Alert;
use crate::audit::Tx;
use crate::base::text::one_line;
use crate::base::time::Timestamp;

/// Returns why an event does not change the known alert, or None if the event counts.
pub(in crate::alert) fn unchanged(
    known: &KnownAlert,
    alert: &Alert,
    now: Timestamp,
) -> Option<RecordedReason> {
    if alert.informs.is_some() && known.firing && known.incident.is_some() {
        return Some(RecordedReason::Informational);
    }
    // An event of an error is not a change of state. It counts in any order while the alert fires.
    if alert.event && alert.firing && known.firing && known.incident.is_some() {
        return None;
    }
    known
        .last_event()
        .makes_late(alert.firing, alert.event_at, now)
        .then_some(RecordedReason::Late)
}

impl<'b> Work<'b> {
    /// Adds an event that changed nothing to the answer and to the saved request.
    pub(super) fn recorded(&mut self, alert: &Alert, reason: RecordedReason, detail: &str) {
        let recorded = Recorded {
            fingerprint: Some(alert.fingerprint.clone()),
            reason,
            detail: one_line(detail, 300),
        };
        self.outcome().recorded.push(recorded);
    }

    /// Records an event that does not change its alert.
    pub(super) fn keep_unchanged(
        &mut self,
        tx: &mut Tx<'_>,
        integration: &Integration,
        alert: &'b Alert,
        known: &KnownAlert,
        reason: RecordedReason,
    ) {
        let detail = match reason {
            RecordedReason::Late => {
                let from = |at: Option<Timestamp>| at.map(|at| format!(" from {at}")).unwrap_or_default();
                format!(
                    "this event{} says \u{201c}{}\u{201d} and is older than the known state of the alert{}, so it changed nothing",
                    from(alert.event_at.map(|event| event.at)),
                    if alert.firing { "firing" } else { "resolved" },
                    from(known.event_at),
                )
            }
            _ => alert.informs.clone().unwrap_or_default(),
        };
        self.recorded(alert, reason, &detail);
        let again = self.again_of(tx, known);
        if reason == RecordedReason::Late {
            again.late += 1;
        }
        self.remember(integration, alert, known.clone());
        if alert.event && !alert.people.is_empty() {
            // The users of the event hit the error, even though the event changes nothing.
            self.named.push(AlertReferences {
                alert,
                id: known.id.clone(),
                incident: known.incident.clone(),
                chains: Vec::new(),
                outcome: self.outcomes.len() - 1,
            });
        }
    }

    /// Returns the pending update of an alert that is stored already. It is written at the end of the
    /// transaction.
    pub(super) fn again_of(&mut self, tx: &Tx<'_>, known: &KnownAlert) -> &mut RepeatedAlert {
        self.again
            .entry(known.id.clone())
            .or_insert_with(|| RepeatedAlert {
                times: 0,
                total: known.repeats,
                late: 0,
                last: known.last_event(),
                incident: known.incident.clone(),
                mute: None,
                actor: tx.actor.clone(),
            })
    }

    /// Updates the cached state of an alert.
    pub(super) fn remember(&mut self, integration: &Integration, alert: &Alert, known: KnownAlert) {
        if let Some(again) = self.again.get_mut(&known.id) {
            again.last = known.last_event();
        }
        self.cache
            .set_alert(integration.id.as_str(), &alert.fingerprint, known);
    }
}
