//! What a source makes of a request: a batch of alerts, or the reason why it cannot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::alert::order::EventTime;
use crate::base::time::Timestamp;
use crate::directory::ResourceRef;

/// A person that an alert names, in any way that the sender knows the person: the user of a Sentry event, or
/// an element of the field `people` of the source `generic`. People are stored separately and never in
/// labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = AlertPerson)]
pub struct PersonRef {
    /// The ID of the person at the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The email address of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The name that the person signs in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// One alert, independent of its source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alert {
    /// Identifies the problem within the integration. An alert with the same fingerprint is the same problem.
    pub fingerprint: String,
    /// Whether the problem exists.
    pub firing: bool,
    /// The severity in the words of the source, in lower case. Empty if the source gives none.
    pub severity: String,
    /// The title, on one line.
    pub title: String,
    /// The description, which can have several lines.
    pub text: String,
    /// The labels of the alert, by name. Empty if the source gives none.
    pub labels: BTreeMap<String, String>,
    /// The annotations, if the source has them in addition to labels.
    pub annotations: BTreeMap<String, String>,
    /// When the problem began. None if the source does not say it.
    pub started_at: Option<Timestamp>,
    /// When the problem ended. None while the alert fires, or if the source does not say it.
    pub ended_at: Option<Timestamp>,
    /// A link to the alert at the source.
    pub link: Option<String>,
    /// Resources that the body itself names in a field `resources` of `{type, id}`. Resource rules find other
    /// references.
    pub resources: Vec<ResourceRef>,
    /// Whether this is an error that happened to a user. Then its users are counted, and an event without a
    /// user is counted too.
    pub event: bool,
    /// The people that the body names.
    pub people: Vec<PersonRef>,
    /// The sender's own time of this event. None if the sender gives no time.
    pub event_at: Option<EventTime>,
    /// The sender's own ID of the message, the same in every attempt to deliver it.
    pub message_id: Option<String>,
    /// The group that the sender put the alert in, for example `groupKey` of Alertmanager and Grafana.
    pub group: Option<String>,
    /// Why this is not an outage, if the sender says that it is planned, that it is information, or that it
    /// is a test. Such an alert is recorded. It opens no incident and resolves no alert of an outage.
    pub informs: Option<String>,
    /// Details that could not be read. The alert is accepted without them.
    pub notes: Vec<String>,
    /// All keys that the sender has for the problem, the most specific first, if there are several. A message
    /// may contain only some of them.
    pub keys: Vec<String>,
    /// The references that resource rules found, and those of `resources`. None if the rules did not run yet.
    pub found: Option<Vec<Vec<ResourceRef>>>,
    /// The part of the body that is about this alert, as it was received. Rules search it.
    pub raw: Value,
}

/// The alerts of one body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The alerts, in the order of the body. Empty if the body contains only parts that are not alerts.
    pub alerts: Vec<Alert>,
    /// The number of alerts that the sender left out because the message was too long. The impact is then
    /// incomplete.
    pub truncated: u64,
    /// Parts that were understood but are not alerts, for example a test of the connection or a note on an
    /// incident.
    pub ignored: Vec<String>,
    /// The key with which the sender can resolve its alert, if Candor chose the key. The Events API of
    /// PagerDuty returns it.
    pub dedup_key: Option<String>,
    /// Details of the body that could not be read. The body is accepted without them.
    pub notes: Vec<String>,
}

impl Batch {
    pub(super) fn of(alerts: Vec<Alert>) -> Self {
        Batch {
            alerts,
            ..Batch::default()
        }
    }

    pub(super) fn ignored(why: impl Into<String>) -> Self {
        Batch {
            ignored: vec![why.into()],
            ..Batch::default()
        }
    }

    pub(super) fn add(&mut self, other: Batch) {
        self.alerts.extend(other.alerts);
        self.truncated += other.truncated;
        self.ignored.extend(other.ignored);
        self.dedup_key = self.dedup_key.take().or(other.dedup_key);
        self.notes.extend(other.notes);
    }
}

/// Why a body is not in the format of its source: a JSON pointer into the body, and a reason.
pub type Refusal = (String, String);
