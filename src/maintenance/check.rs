//! What a request about a planned maintenance says, and what it must be.

use std::time::Duration;

use serde::Deserialize;

use crate::base::check::{MAX_HEADLINE, check_text};
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::ExternalId;
use crate::base::time::Timestamp;
use crate::directory::ResourceRef;
use crate::directory::selector::{Json, SelectorSchema};

/// The longest duration of a maintenance: 31 days.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);
/// How far ahead a maintenance can be planned.
const AHEAD: Duration = Duration::from_secs(2 * 366 * 86_400);
/// The largest number of components.
const COMPONENTS: usize = 50;

/// A maintenance that is to be planned.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMaintenance {
    /// What is maintained, in words for customers. It stands in subjects. At most 120 characters.
    pub title: String,
    /// When it starts. It must be in the future.
    pub starts_at: Timestamp,
    /// When it ends. At most 31 days after the start.
    pub ends_at: Timestamp,
    /// The affected resources. Give either these or a selector.
    #[serde(default)]
    pub affected: Option<Vec<ResourceRef>>,
    /// A selector that finds the affected resources now, as an object or as text.
    #[serde(default)]
    #[schema(value_type = Option<SelectorSchema>)]
    pub selector: Option<Json>,
    /// The message to customers, in plain text. Empty lines separate paragraphs.
    pub message: String,
    /// The IDs of the components of the status page that it affects. Default: none.
    #[serde(default)]
    pub components: Vec<String>,
}

/// Other times of a maintenance.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MoveMaintenance)]
pub struct Move {
    /// When it starts. It must be in the future.
    pub starts_at: Timestamp,
    /// When it ends. At most 31 days after the start.
    pub ends_at: Timestamp,
    /// The message to customers. Without it, it is the message of the announcement.
    #[serde(default)]
    pub message: Option<String>,
}

/// What a maintenance affects from now on. Fields that are left out change nothing.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChangeMaintenance)]
pub struct ChangeAffected {
    /// Adds these resources. Each must be in the directory and not archived.
    #[serde(default)]
    pub add: Option<Vec<ResourceRef>>,
    /// Adds the resources that this selector finds now, as an object or as text.
    #[serde(default)]
    #[schema(value_type = Option<SelectorSchema>)]
    pub selector: Option<Json>,
    /// Removes these resources. People who were notified because of them get the later notices too.
    #[serde(default)]
    pub remove: Option<Vec<ResourceRef>>,
    /// The IDs of the components of the status page that it affects. They replace those that it had.
    #[serde(default)]
    pub components: Option<Vec<String>>,
}

/// The cancellation of a maintenance.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CancelMaintenance)]
pub struct Cancel {
    /// The message to customers. Without it, the email says only that the maintenance is cancelled.
    #[serde(default)]
    pub message: Option<String>,
}

/// A message to those whom a maintenance affects.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MaintenanceMessage)]
pub struct Said {
    /// The message to customers, in plain text. Empty lines separate paragraphs.
    pub message: String,
}

fn finish(errors: Vec<FieldError>) -> Result<()> {
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Error::fields(errors)),
    }
}

fn check_message(errors: &mut Vec<FieldError>, message: &str) {
    if message.trim().is_empty() {
        errors.push(FieldError::at("/message", "must not be empty"));
    }
    check_text(errors, "/message", message);
}

fn check_times(errors: &mut Vec<FieldError>, starts: Timestamp, ends: Timestamp, now: Timestamp) {
    if starts <= now {
        let detail = format!("must be in the future; the time of this server is {now}");
        errors.push(FieldError::at("/starts_at", detail));
    } else if starts > now.plus(AHEAD) {
        errors.push(FieldError::at("/starts_at", "must be within the next two years"));
    }
    if ends <= starts {
        errors.push(FieldError::at("/ends_at", "must be after starts_at"));
    } else if ends > starts.plus(LONGEST) {
        errors.push(FieldError::at(
            "/ends_at",
            "must be at most 31 days after starts_at",
        ));
    }
}

fn check_components(errors: &mut Vec<FieldError>, components: &[String]) {
    if components.len() > COMPONENTS {
        let detail = format!("has more than {COMPONENTS} entries");
        errors.push(FieldError::at("/components", detail));
    }
    for (index, id) in components.iter().enumerate() {
        if let Err(detail) = ExternalId::parse(id) {
            errors.push(FieldError::at(format!("/components/{index}"), detail));
        }
    }
}

impl NewMaintenance {
    /// Checks every field except the affected resources, which need the directory.
    ///
    /// # Errors
    /// `Invalid` with each wrong field.
    pub fn check(&self, now: Timestamp) -> Result<()> {
        let mut errors = Vec::new();
        if self.title.trim().is_empty() {
            errors.push(FieldError::at("/title", "must not be empty"));
        }
        if self.title.chars().count() > MAX_HEADLINE {
            let detail = format!("is longer than {MAX_HEADLINE} characters");
            errors.push(FieldError::at("/title", detail));
        }
        if self.title.chars().any(char::is_control) {
            let detail = "contains a control character, such as a line break";
            errors.push(FieldError::at("/title", detail));
        }
        check_times(&mut errors, self.starts_at, self.ends_at, now);
        check_message(&mut errors, &self.message);
        check_components(&mut errors, &self.components);
        if self.affected.is_some() == self.selector.is_some() {
            errors.push(FieldError::at("", "give either affected or selector"));
        }
        finish(errors)
    }
}

impl Move {
    /// Checks every field.
    ///
    /// # Errors
    /// `Invalid` with each wrong field.
    pub fn check(&self, now: Timestamp) -> Result<()> {
        let mut errors = Vec::new();
        check_times(&mut errors, self.starts_at, self.ends_at, now);
        if let Some(message) = &self.message {
            check_message(&mut errors, message);
        }
        finish(errors)
    }
}

impl ChangeAffected {
    /// Checks that something changes, and the IDs of the components.
    ///
    /// # Errors
    /// `Invalid` with each wrong field.
    pub fn check(&self) -> Result<()> {
        let mut errors = Vec::new();
        let lists = self.add.is_some() || self.selector.is_some() || self.remove.is_some();
        if !lists && self.components.is_none() {
            let detail = "give at least one of add, selector, remove and components";
            errors.push(FieldError::at("", detail));
        }
        check_components(&mut errors, self.components.as_deref().unwrap_or_default());
        finish(errors)
    }
}

impl Cancel {
    /// Checks the message.
    ///
    /// # Errors
    /// `Invalid` if it is empty or too long.
    pub fn check(&self) -> Result<()> {
        let mut errors = Vec::new();
        if let Some(message) = &self.message {
            check_message(&mut errors, message);
        }
        finish(errors)
    }
}

impl Said {
    /// Checks the message.
    ///
    /// # Errors
    /// `Invalid` if it is empty or too long.
    pub fn check(&self) -> Result<()> {
        let mut errors = Vec::new();
        check_message(&mut errors, &self.message);
        finish(errors)
    }
}
