//! What an account's systems are sent: the JSON beside the mails. Pure: made of what is frozen with the notice and with
//! the recipient, so the preview shows what will be sent and the digest covers it.
//!
//! Must never happen here: what customers are not told, such as the incident's internal title, or another account's
//! resources.

use serde::{Deserialize, Serialize};

use super::compose::Content;
use crate::base::id::{EndpointId, NoticeId};
use crate::base::time::Timestamp;
use crate::directory::ResourceRef;
use crate::notice::template::{MailAction, MailReport, Phase};

/// Resources that a payload lists; of the rest it gives the number.
pub const LISTED: usize = 100;

/// What is one endpoint's own; frozen when the notice is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointContext {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Whose systems these are.
    pub account: PayloadAccount,
    /// The account's affected resources, the first ones.
    pub resources: Vec<PayloadResource>,
    /// How many more there are.
    pub more_resources: usize,
}

impl EndpointContext {
    /// For the account's affected resources, each once, the first ones by type and id.
    pub fn new(endpoint: EndpointId, account: PayloadAccount, mut resources: Vec<PayloadResource>) -> Self {
        resources.sort();
        resources.dedup();
        let more_resources = resources.len().saturating_sub(LISTED);
        resources.truncate(LISTED);
        EndpointContext {
            endpoint,
            account,
            resources,
            more_resources,
        }
    }
}

/// The account in a payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PayloadAccount {
    /// The caller's id.
    pub id: String,
    /// Display name.
    pub name: String,
}

/// A resource in a payload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PayloadResource {
    /// Its type and id.
    #[serde(flatten)]
    pub at: PayloadRef,
    /// Its name.
    pub name: Option<String>,
}

/// A resource's type and id in a payload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PayloadRef {
    /// Its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// Its id among those of its type.
    pub id: String,
}

impl From<&ResourceRef> for PayloadRef {
    fn from(at: &ResourceRef) -> Self {
        PayloadRef {
            type_: at.type_.to_string(),
            id: at.id.to_string(),
        }
    }
}

/// The body of a request to an endpoint.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Payload {
    /// What this tells of: `incident.notice`, or `endpoint.test`.
    #[serde(rename = "type")]
    pub type_: &'static str,
    /// When the notice was sent off; the same in every attempt. Null in a preview.
    pub timestamp: Option<Timestamp>,
    /// What is told.
    pub data: PayloadData,
}

/// What a payload tells.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PayloadData {
    /// The incident; null in a test.
    pub incident: Option<PayloadIncident>,
    /// The notice; null in a test.
    pub notice: Option<PayloadNotice>,
    /// Whose systems this is sent to.
    pub account: PayloadAccount,
    /// The account's affected resources.
    pub resources: Vec<PayloadResource>,
    /// How many more there are.
    pub more_resources: usize,
    /// Times worth knowing; what has not happened is left out.
    pub times: PayloadTimes,
}

/// The incident in a payload.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PayloadIncident {
    /// Its number.
    pub number: i64,
    /// critical, major or minor.
    pub severity: String,
}

/// The notice in a payload.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PayloadNotice {
    /// Its id.
    pub id: NoticeId,
    /// What it is about.
    pub phase: Phase,
    /// The operator's own subject.
    pub subject: Option<String>,
    /// What it tells, in plain text.
    pub message: String,
    /// What the customer has to do; null where it does not say.
    pub customer_action: Option<PayloadAction>,
    /// The customers' version of the report, in a notice of that phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<PayloadReport>,
}

/// What the customer has to do.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PayloadAction {
    /// Whether anything.
    pub required: bool,
    /// What; left out where nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl From<&MailAction> for PayloadAction {
    fn from(action: &MailAction) -> Self {
        PayloadAction {
            required: action.required,
            text: action.text.clone(),
        }
    }
}

/// A report in a payload.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PayloadReport {
    /// Title.
    pub title: String,
    /// Sections.
    pub sections: Vec<PayloadSection>,
}

/// A section of a report in a payload.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PayloadSection {
    /// Heading.
    pub heading: String,
    /// Plain text; empty lines separate paragraphs.
    pub text: String,
}

impl From<&MailReport> for PayloadReport {
    fn from(report: &MailReport) -> Self {
        PayloadReport {
            title: report.title.clone(),
            sections: report
                .sections
                .iter()
                .map(|section| PayloadSection {
                    heading: section.heading.clone(),
                    text: section.paragraphs.join("\n\n"),
                })
                .collect(),
        }
    }
}

/// Times in a payload.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct PayloadTimes {
    /// When the incident began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it was noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detected_at: Option<Timestamp>,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
}

impl PayloadTimes {
    fn of(content: &Content) -> Self {
        let at = |wanted: &str| {
            content
                .times
                .iter()
                .find(|(label, _)| label == wanted)
                .map(|(_, at)| *at)
        };
        PayloadTimes {
            started_at: at(super::plan::STARTED),
            detected_at: at(super::plan::DETECTED),
            resolved_at: at(super::plan::RESOLVED),
        }
    }
}

/// What an endpoint is sent of a notice that was sent off at `at`.
pub fn payload(
    notice: &NoticeId,
    content: &Content,
    own: &EndpointContext,
    at: Option<Timestamp>,
) -> Payload {
    Payload {
        type_: "incident.notice",
        timestamp: at,
        data: PayloadData {
            incident: Some(PayloadIncident {
                number: content.number,
                severity: content.severity.clone(),
            }),
            notice: Some(PayloadNotice {
                id: notice.clone(),
                phase: content.phase,
                subject: content.subject.clone(),
                message: content.message.clone(),
                customer_action: content.action.as_ref().map(PayloadAction::from),
                report: content.report.as_ref().map(PayloadReport::from),
            }),
            account: own.account.clone(),
            resources: own.resources.clone(),
            more_resources: own.more_resources,
            times: PayloadTimes::of(content),
        },
    }
}

/// What an endpoint is sent to try it out.
pub fn test(account: PayloadAccount, at: Timestamp) -> Payload {
    Payload {
        type_: "endpoint.test",
        timestamp: Some(at),
        data: PayloadData {
            incident: None,
            notice: None,
            account,
            resources: Vec::new(),
            more_resources: 0,
            times: PayloadTimes::default(),
        },
    }
}
