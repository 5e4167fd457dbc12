//! The JSON that is sent to endpoints, in addition to the emails. This module does no I/O. The payload is
//! made from the frozen data of the notice and of the recipient. So the preview shows exactly what is sent,
//! and the digest covers it.
//!
//! A payload never contains data that customers do not get, such as the internal title of the incident, or
//! resources of another account.

use serde::{Deserialize, Serialize};

use super::compose::Content;
use super::planned_mail::Change;
use crate::base::id::{EndpointId, NoticeId};
use crate::base::language::Language;
use crate::base::time::Timestamp;
use crate::directory::ResourceRef;
use crate::notice::template::{MailAction, MailReport, Phase, hide};

/// The number of resources that a payload lists. The rest is only counted.
pub const LISTED: usize = 100;

/// What stands in a payload for a value that each recipient has of their own.
const VALUE: &str = "(a value in the email)";

/// The data of one endpoint. It is frozen when the notice is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointContext {
    /// The ID of the endpoint.
    pub endpoint: EndpointId,
    /// The account that the endpoint belongs to.
    pub account: PayloadAccount,
    /// The locale of the account, which decides the language of texts for people. `None` if the account has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// The first of the affected resources of the account.
    pub resources: Vec<PayloadResource>,
    /// The number of further resources that are not listed.
    pub more_resources: usize,
    /// How many of the resources are restored. `None` if the incident has no recovery states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<PayloadRecovery>,
    /// The position of the email to the same person in the frozen list. Only the phone of a person has one: its message has the link of
    /// this email.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<i64>,
}

impl EndpointContext {
    /// Makes the data from the affected resources of the account. Each resource appears once, ordered by type
    /// and ID, and the list is limited.
    pub fn new(
        endpoint: EndpointId,
        account: PayloadAccount,
        locale: Option<String>,
        mut resources: Vec<PayloadResource>,
    ) -> Self {
        resources.sort();
        resources.dedup();
        let recovery = resources
            .iter()
            .any(|resource| resource.restored.is_some())
            .then(|| PayloadRecovery {
                restored: resources.iter().filter(|one| one.restored == Some(true)).count(),
                affected: resources.len(),
            });
        // Those that are not restored come first.
        resources.sort_by_key(|resource| resource.restored == Some(true));
        let more_resources = resources.len().saturating_sub(LISTED);
        resources.truncate(LISTED);
        EndpointContext {
            endpoint,
            account,
            locale,
            resources,
            more_resources,
            recovery,
            email: None,
        }
    }

    /// Makes the data of the phone of a person, whose message is in this language. `account` is one through which the person is affected.
    pub fn of_phone(endpoint: EndpointId, account: PayloadAccount, language: Language) -> Self {
        EndpointContext {
            endpoint,
            account,
            locale: Some(language.to_string()),
            resources: Vec::new(),
            more_resources: 0,
            recovery: None,
            email: None,
        }
    }
}

/// Returns the language of texts for the people of an account with this locale. `otherwise` is the language of the installation.
pub fn language(locale: Option<&str>, otherwise: Language) -> Language {
    locale.and_then(Language::of_tag).unwrap_or(otherwise)
}

/// How many of the affected resources of an account are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PayloadRecovery {
    /// The number of restored resources.
    pub restored: usize,
    /// The number of affected resources, restored or not.
    pub affected: usize,
}

/// The account in a payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PayloadAccount {
    /// The ID of the account in the directory.
    pub id: String,
    /// The display name of the account.
    pub name: String,
}

/// A resource in a payload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PayloadResource {
    /// The type and ID of the resource.
    #[serde(flatten)]
    pub at: PayloadRef,
    /// The name of the resource, if it has one.
    pub name: Option<String>,
    /// Whether the resource is restored. Left out if the incident has no recovery states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<bool>,
}

/// The type and ID of a resource in a payload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PayloadRef {
    /// The type of the resource.
    #[serde(rename = "type")]
    pub type_: String,
    /// The ID of the resource, which is unique within its type.
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
    /// The kind of the payload: `incident.notice`, `maintenance.notice` or `endpoint.test`.
    #[serde(rename = "type")]
    pub type_: &'static str,
    /// When the notice was queued. It is the same in every attempt. Null in a preview.
    pub timestamp: Option<Timestamp>,
    /// What the endpoint is notified of.
    pub data: PayloadData,
}

/// The content of a payload.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PayloadData {
    /// The incident. Null in a test and for a maintenance.
    pub incident: Option<PayloadIncident>,
    /// The planned maintenance, if the notice is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<PayloadMaintenance>,
    /// The notice. Null in a test.
    pub notice: Option<PayloadNotice>,
    /// The account that the endpoint belongs to.
    pub account: PayloadAccount,
    /// The first of the affected resources of the account.
    pub resources: Vec<PayloadResource>,
    /// The number of further resources that are not listed.
    pub more_resources: usize,
    /// How many of the affected resources are restored. Left out if the incident has no recovery states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<PayloadRecovery>,
    /// Important times. A time that has not come is left out.
    pub times: PayloadTimes,
    /// The language of the account, for channels that show texts to people.
    #[serde(skip)]
    pub language: Language,
}

/// The incident in a payload.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PayloadIncident {
    /// The number of the incident.
    pub number: i64,
    /// The severity: critical, major or minor.
    pub severity: String,
}

/// The planned maintenance in a payload.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PayloadMaintenance {
    /// The number of the maintenance.
    pub number: i64,
    /// What the notice says: announced, moved, cancelled, begun or over.
    pub change: Change,
    /// The title of the maintenance, which says in words for customers what is maintained.
    pub title: String,
    /// When the maintenance starts or started, by plan.
    pub starts_at: Timestamp,
    /// When the maintenance ends, by plan.
    pub ends_at: Timestamp,
    /// How often it was moved or cancelled.
    pub sequence: i64,
}

/// The notice in a payload.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PayloadNotice {
    /// The ID of the notice.
    pub id: NoticeId,
    /// The phase of the notice.
    pub phase: Phase,
    /// The subject that the operator wrote, if there is one. The texts of the operator are in the language of the account if the notice is
    /// written in it, else in the language of the installation.
    pub subject: Option<String>,
    /// The message, in plain text.
    pub message: String,
    /// What the customer must do. Null if the notice does not say it.
    pub customer_action: Option<PayloadAction>,
    /// The version of the report for customers, if the phase is `report`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<PayloadReport>,
    /// The wrong notice, if the phase is `correction`. The incident does not affect the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrects: Option<NoticeId>,
}

/// What the customer must do.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PayloadAction {
    /// Whether the customer must do anything.
    pub required: bool,
    /// What the customer must do. Left out if there is nothing to do.
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
    /// The title of the report.
    pub title: String,
    /// The sections of the report.
    pub sections: Vec<PayloadSection>,
}

/// A section of a report in a payload.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PayloadSection {
    /// The heading of the section.
    pub heading: String,
    /// The text of the section, in plain text. Empty lines separate paragraphs.
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

/// The times in a payload.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct PayloadTimes {
    /// When the incident began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the incident was detected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detected_at: Option<Timestamp>,
    /// When the incident was resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
}

impl PayloadTimes {
    /// Returns the times that a notice shows.
    pub fn of(content: &Content) -> Self {
        let at = |wanted: &str| {
            content
                .times
                .iter()
                .find(|(label, _)| label == wanted)
                .map(|(_, at)| *at)
        };
        PayloadTimes {
            started_at: at(super::compose::STARTED),
            detected_at: at(super::compose::DETECTED),
            resolved_at: at(super::compose::RESOLVED),
        }
    }
}

/// Returns the payload for an endpoint. `at` is the time at which the notice was queued.
pub fn payload(
    notice: &NoticeId,
    content: &Content,
    own: &EndpointContext,
    at: Option<Timestamp>,
) -> Payload {
    // A system is not one of the recipients, who each have values of their own.
    let without_values = |text: &str| match content.values.is_empty() {
        true => text.to_owned(),
        false => hide(text, VALUE),
    };
    let language = language(own.locale.as_deref(), content.language);
    let said = content.said_in(language);
    Payload {
        type_: match content.maintenance {
            Some(_) => "maintenance.notice",
            None => "incident.notice",
        },
        timestamp: at,
        data: PayloadData {
            incident: content.maintenance.is_none().then(|| PayloadIncident {
                number: content.number,
                severity: content.severity.clone(),
            }),
            maintenance: content.maintenance.as_ref().map(|planned| PayloadMaintenance {
                number: content.number,
                change: planned.change,
                title: planned.title.clone(),
                starts_at: planned.times.starts_at,
                ends_at: planned.times.ends_at,
                sequence: planned.sequence,
            }),
            notice: Some(PayloadNotice {
                id: notice.clone(),
                phase: content.phase,
                subject: said.subject.map(str::to_owned),
                message: without_values(said.message),
                customer_action: said.action.map(|action| PayloadAction {
                    text: without_values(&action.text),
                    ..PayloadAction::from(action)
                }),
                report: content.report.as_ref().map(PayloadReport::from),
                corrects: content.corrects.as_ref().map(|wrong| wrong.notice.clone()),
            }),
            account: own.account.clone(),
            resources: own.resources.clone(),
            more_resources: own.more_resources,
            recovery: own.recovery,
            times: PayloadTimes::of(content),
            language,
        },
    }
}

/// Returns the payload of a test call to an endpoint.
pub fn test(account: PayloadAccount, language: Language, at: Timestamp) -> Payload {
    Payload {
        type_: "endpoint.test",
        timestamp: Some(at),
        data: PayloadData {
            incident: None,
            maintenance: None,
            notice: None,
            account,
            resources: Vec::new(),
            more_resources: 0,
            recovery: None,
            times: PayloadTimes::default(),
            language,
        },
    }
}
