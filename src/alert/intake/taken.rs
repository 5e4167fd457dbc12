//! The answer to a request to a hook.

use serde::Serialize;

use crate::base::enums::word_enum;
use crate::incident::Incident;

word_enum! {
    /// Why an event changed nothing and was only recorded.
    RecordedReason, "a reason to record only" {
        /// The event is older than the known state of its alert.
        Late = "late",
        /// The message was processed before.
        RepeatedMessage = "repeated_message",
        /// The sender says that this is not an outage: it is planned, it is information, or it is a test.
        Informational = "informational",
        /// The body contains no alert, for example a note on an incident or a test of the connection.
        NoAlert = "no_alert",
    }
}

/// An event that changed nothing and was only recorded.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = RecordedEvent)]
pub struct Recorded {
    /// The fingerprint of the alert. Null if the event is not about an alert.
    pub fingerprint: Option<String>,
    /// The reason why the event changed nothing.
    pub reason: RecordedReason,
    /// The reason in words, for people.
    pub detail: String,
}

/// The result of one request to a hook.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct Taken {
    /// The number of alerts in the body.
    pub alerts: usize,
    /// Incidents that were opened.
    pub opened: Vec<Incident>,
    /// Open incidents that an alert of this body joined.
    pub attached: Vec<Incident>,
    /// Incidents that had been closed recently and were reopened.
    pub reopened: Vec<Incident>,
    /// The number of alerts that report the end of their problem.
    pub resolved: usize,
    /// The number of alerts that a silence covers. They are only recorded.
    pub silenced: usize,
    /// The number of IDs that the directory does not know.
    pub unresolved_references: usize,
    /// The number of parts of the body that were understood but are not alerts, for example a test of the
    /// connection or a note on an incident.
    pub ignored: usize,
    /// Events that changed nothing and were only recorded, with the reason.
    pub recorded: Vec<Recorded>,
    /// Details of the body that could not be read, or that a rule did not examine. The body was accepted
    /// without them.
    pub notes: Vec<String>,
}
