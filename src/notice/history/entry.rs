//! One row of a history, as the API shows it.

use serde::{Serialize, Serializer};

use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::incident::planned::incident_number;
use crate::notice::delivery_state::DeliveryState;
use crate::notice::template::Phase;

/// The place of a row in a history: the notice, and the position in its frozen list.
pub type Place = (NoticeId, i64);

/// One notice to one recipient, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct HistoryEntry {
    /// The incident that the notice is about.
    pub incident: HistoryIncident,
    /// The ID of the notice.
    pub notice: NoticeId,
    /// The phase of the notice.
    pub phase: Phase,
    /// Whether the notice is a reminder to answer.
    pub reminder: bool,
    /// Whether the incident is a drill, so that no customer got this.
    pub drill: bool,
    /// The IDs of the people with this address. Empty for a call to an endpoint.
    pub people: Vec<String>,
    /// The name of the person, the names of all people with the address, or the name of the account of the endpoint. It is the name
    /// that the notice was frozen with.
    pub name: String,
    /// The endpoint that was called. Null for an email.
    pub endpoint: Option<String>,
    /// `email`, or the channel of the endpoint, such as `webhook`.
    pub channel: String,
    /// The address that the email goes to, or the URL of the endpoint.
    pub address: String,
    /// The delivery. Null if it is not queued yet.
    pub delivery: Option<i64>,
    /// The state of the delivery. A recipient whose delivery is not queued yet is `pending`, or `stopped` if the notice was stopped.
    pub state: DeliveryState,
    /// When the server accepted it. If it has not, when it was last tried, and before that, when the notice was queued.
    pub at: Timestamp,
    /// When the notice was queued.
    pub queued_at: Timestamp,
    /// The number of attempts.
    pub attempts: i64,
    /// What the server said to the last attempt, or why there was no reply. Null before the first attempt.
    pub reply: Option<String>,
    /// The mail server of the last attempt: its host and port. Null if this was not recorded.
    pub relay: Option<String>,
    /// When the email bounced. Null if no bounce was reported.
    pub bounced_at: Option<Timestamp>,
    /// What the report of the bounce says.
    pub bounce: Option<String>,
    /// The last answer to this email. An answer that an operator recorded belongs to the last email before it.
    pub answer: Option<HistoryAnswer>,
    /// The correction of this notice that the recipient is told by. Null if there is none.
    pub corrected: Option<HistoryCorrection>,
    /// The notice that this one corrects, if it is a correction.
    pub corrects: Option<NoticeId>,
    /// Why the recipient gets the notice, in the words of the email.
    pub reason: String,
    #[serde(skip)]
    pub(super) ordinal: i64,
    /// Whether the recipient can opt out of the notice.
    #[serde(skip)]
    pub(super) optional: bool,
    /// When the server accepted the email.
    #[serde(skip)]
    pub(super) sent_at: Option<Timestamp>,
    /// The frozen data of the recipient, as JSON.
    #[serde(skip)]
    pub(super) context: String,
}

impl HistoryEntry {
    /// Returns the place of the row, for the next page.
    pub fn place(&self) -> Place {
        (self.notice.clone(), self.ordinal)
    }

    /// Returns the position in the frozen list of the notice, from 1.
    pub fn ordinal(&self) -> i64 {
        self.ordinal
    }
}

/// The incident of a row, or the planned maintenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct HistoryIncident {
    /// The ID of the incident, or of the planned maintenance.
    pub id: IncidentId,
    /// The number of the incident. Null for a planned maintenance.
    #[serde(serialize_with = "of_incident")]
    #[schema(value_type = Option<i64>)]
    pub number: i64,
    /// The title. Customers do not see that of an incident.
    pub title: String,
}

fn of_incident<S: Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    incident_number(*number).serialize(serializer)
}

/// An answer to an email.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct HistoryAnswer {
    /// The person who answered.
    pub person: String,
    /// `works`, `broken` or `help`. Null for a reply by email, which contains no choice.
    pub answer: Option<String>,
    /// What the person wrote.
    pub text: String,
    /// When the person answered.
    pub at: Timestamp,
    /// How the answer was given: `link`, `reply` or `token` (an operator recorded it).
    pub source: String,
}

/// The correction of a notice, to the same recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct HistoryCorrection {
    /// The ID of the notice that is the correction.
    pub notice: NoticeId,
    /// The state of its delivery to the recipient.
    pub state: DeliveryState,
    /// When the server accepted it, or when the correction was queued.
    pub at: Timestamp,
}
