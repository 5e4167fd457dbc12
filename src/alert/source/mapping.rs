//! Where the parts of an alert are in the body of the source `generic`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::error::FieldError;

/// Where each part of an alert is in the body. Each value is a JSON pointer such as `/event/title`. All
/// fields are optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mapping {
    /// The array of alerts. The other pointers then start at each of its elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alerts: Option<String>,
    /// The text that identifies the problem. If not set, the title is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Whether the alert is firing or resolved. See `resolved_values`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The severity. See `severity_values`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// The title, on one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The description, which can have several lines. If not set, the first of `text`, `description`, `message` and `details` is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// When the problem began: RFC 3339, or seconds or milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When the problem ended, in the same formats as `started_at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// When the state changed that the message reports, in the same formats as `started_at`. Messages can
    /// arrive late, and an older one changes nothing. If not set, the start time is used while the alert
    /// fires, and the end time when it is resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_at: Option<String>,
    /// The sender's own ID of the message. It must be the same in each attempt to deliver the message,
    /// because a message is processed once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// A link to the alert at the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// A pointer to an object of labels, or one pointer for each label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelPointers>,
    /// Values of `status` that mean resolved. The default is `resolved`, `ok`, `closed`, `up`, `recovered`
    /// and similar words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_values: Option<Vec<String>>,
    /// Maps the severities in the body to other severities. The mapped severity is then handled like one that
    /// the body contains.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub severity_values: BTreeMap<String, String>,
}

/// Where the labels are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum LabelPointers {
    /// A pointer to an object of labels.
    Object(String),
    /// One pointer for each label.
    Each(BTreeMap<String, String>),
}

impl Mapping {
    /// Returns an error for each value that is not a JSON pointer.
    pub fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut pointer = |field: String, value: &str| {
            if !value.is_empty() && !value.starts_with('/') {
                errors.push(FieldError::at(
                    field,
                    "is not a JSON pointer such as /event/title",
                ));
            }
        };
        for (name, value) in [
            ("alerts", &self.alerts),
            ("fingerprint", &self.fingerprint),
            ("status", &self.status),
            ("severity", &self.severity),
            ("title", &self.title),
            ("text", &self.text),
            ("started_at", &self.started_at),
            ("ended_at", &self.ended_at),
            ("event_at", &self.event_at),
            ("message_id", &self.message_id),
            ("link", &self.link),
        ] {
            if let Some(value) = value {
                pointer(format!("/mapping/{name}"), value);
            }
        }
        match &self.labels {
            Some(LabelPointers::Object(value)) => pointer("/mapping/labels".to_owned(), value),
            Some(LabelPointers::Each(each)) => {
                each.iter()
                    .for_each(|(name, value)| pointer(format!("/mapping/labels/{name}"), value));
            }
            None => {}
        }
        errors
    }
}
