//! Events that change nothing but the record: those that are late, messages that were taken already, and what a sender
//! says that is no outage.

use serde::Serialize;

use super::memory::Known;
use super::named::Named;
use super::{Again, Work};
use crate::alert::integration::Integration;
use crate::alert::source::Alert;
use crate::audit::Tx;
use crate::base::enums::word_enum;
use crate::base::text::one_line;
use crate::base::time::Timestamp;

word_enum! {
    /// Why an event changed nothing but the record.
    RecordedReason, "a reason to record only" {
        /// It is older than what is known of its alert.
        Late = "late",
        /// Its message was taken before.
        RepeatedMessage = "repeated_message",
        /// Its sender says that it is no outage: it is planned, it informs, or it is a test.
        Informational = "informational",
        /// It is no alert at all: a note on an incident, a test of the connection.
        NoAlert = "no_alert",
    }
}

/// An event that changed nothing but the record.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = RecordedEvent)]
pub struct Recorded {
    /// The alert that it is about; null where it is about none.
    pub fingerprint: Option<String>,
    /// Why it changed nothing.
    pub reason: RecordedReason,
    /// The same in words.
    pub detail: String,
}

/// Why an event leaves the alert that is known as it is. None where it counts.
pub(in crate::alert) fn unchanged(known: &Known, alert: &Alert, now: Timestamp) -> Option<RecordedReason> {
    if alert.informs.is_some() && known.firing && known.incident.is_some() {
        return Some(RecordedReason::Informational);
    }
    // What happened to somebody is no change of state: it counts in any order while the problem is there.
    if alert.event && alert.firing && known.firing && known.incident.is_some() {
        return None;
    }
    known
        .last_event()
        .makes_late(alert.firing, alert.event_at, now)
        .then_some(RecordedReason::Late)
}

impl<'b> Work<'b> {
    /// Says in the answer, and with the kept body, that an event changed nothing.
    pub(super) fn recorded(&mut self, alert: &Alert, reason: RecordedReason, detail: &str) {
        let recorded = Recorded {
            fingerprint: Some(alert.fingerprint.clone()),
            reason,
            detail: one_line(detail, 300),
        };
        self.outcome().recorded.push(recorded);
    }

    /// Records an event that leaves its alert as it is.
    pub(super) fn keep_unchanged(
        &mut self,
        tx: &mut Tx<'_>,
        integration: &Integration,
        alert: &'b Alert,
        known: &Known,
        reason: RecordedReason,
    ) {
        let detail = match reason {
            RecordedReason::Late => {
                let at = alert.event_at.map(|event| event.at.to_string());
                let newest = known.event_at.map(|at| at.to_string());
                format!(
                    "\u{201c}{}\u{201d} of {} is older than the newest event of its alert, of {}: nothing changes",
                    if alert.firing { "firing" } else { "resolved" },
                    at.unwrap_or_default(),
                    newest.unwrap_or_default()
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
            // Whoever was in it hit the error all the same.
            self.named.push(Named {
                alert,
                id: known.id.clone(),
                incident: known.incident.clone(),
                chains: Vec::new(),
                outcome: self.outcomes.len() - 1,
            });
        }
    }

    /// What is to be written at the end of an alert that is stored already.
    pub(super) fn again_of(&mut self, tx: &Tx<'_>, known: &Known) -> &mut Again {
        self.again.entry(known.id.clone()).or_insert_with(|| Again {
            times: 0,
            total: known.repeats,
            late: 0,
            last: known.last_event(),
            incident: known.incident.clone(),
            quiet: None,
            actor: tx.actor.clone(),
        })
    }

    /// Says what is known of an alert from here on.
    pub(super) fn remember(&mut self, integration: &Integration, alert: &Alert, known: Known) {
        if let Some(again) = self.again.get_mut(&known.id) {
            again.last = known.last_event();
        }
        self.memory
            .set_alert(integration.id.as_str(), &alert.fingerprint, known);
    }
}
