//! Resource rules: which ids an alert names.
//!
//! Must never happen here: a reference that widens. A match names one chain of resources; the deepest one that the
//! directory knows is affected, and every one that it does not know is kept to be shown.

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::source::{Alert, as_text};
use crate::directory::ResourceRef;
use crate::error::FieldError;
use crate::id::ExternalId;

/// A rule: a field's value is an id of a type, or a pattern's named groups are ids of the types that they name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceRule {
    /// Where to look: `labels.NAME`, `annotations.NAME`, `title`, `text`, `link`, a dotted path into the alert's body,
    /// or a JSON pointer into it.
    pub field: String,
    /// The type of the id that the field holds.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ExternalId>,
    /// A regular expression with named groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
}

/// Matches of one pattern that are looked at in one text.
const MAX_MATCHES: usize = 1_000;

impl ResourceRule {
    /// What is wrong with the rule at that place of the input.
    pub fn check(&self, pointer: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.field.is_empty() {
            errors.push(FieldError::at(format!("{pointer}/field"), "must not be empty"));
        }
        match (&self.type_, &self.pattern) {
            (Some(_), None) => {}
            (None, Some(pattern)) => match compile(pattern) {
                Ok(regex) if regex.capture_names().flatten().count() == 0 => {
                    let detail = "has no named group such as (?<project>[^/]+)";
                    errors.push(FieldError::at(format!("{pointer}/pattern"), detail));
                }
                Ok(_) => {}
                Err(detail) => errors.push(FieldError::at(format!("{pointer}/pattern"), detail)),
            },
            _ => errors.push(FieldError::at(pointer, "needs either type or pattern")),
        }
        errors
    }

    /// The references that an alert holds by this rule: one list for each match, outermost first.
    pub fn matches(&self, alert: &Alert) -> Vec<Vec<ResourceRef>> {
        let Some(text) = lookup(alert, &self.field) else {
            return Vec::new();
        };
        let reference = |type_: &str, id: &str| {
            Some(ResourceRef {
                type_: ExternalId::parse(type_).ok()?,
                id: ExternalId::parse(id.trim()).ok()?,
            })
        };
        match (&self.type_, self.pattern.as_deref().map(compile)) {
            (Some(type_), _) => reference(type_.as_str(), &text)
                .map(|one| vec![one])
                .into_iter()
                .collect(),
            (None, Some(Ok(regex))) => regex
                .captures_iter(&text)
                .take(MAX_MATCHES)
                .map(|captures| {
                    regex
                        .capture_names()
                        .flatten()
                        .filter_map(|name| reference(name, captures.name(name)?.as_str()))
                        .collect()
                })
                .filter(|chain: &Vec<ResourceRef>| !chain.is_empty())
                .collect(),
            _ => Vec::new(),
        }
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    // The regex crate runs in linear time; only its size needs a bound.
    RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(|error| {
            format!(
                "is not a regular expression: {}",
                crate::template::one_line(&error.to_string(), 200)
            )
        })
}

fn lookup(alert: &Alert, field: &str) -> Option<String> {
    if let Some(name) = field.strip_prefix("labels.") {
        return alert
            .labels
            .get(name)
            .cloned()
            .or_else(|| in_body(&alert.raw, field));
    }
    if let Some(name) = field.strip_prefix("annotations.") {
        return alert
            .annotations
            .get(name)
            .cloned()
            .or_else(|| in_body(&alert.raw, field));
    }
    match field {
        "title" => Some(alert.title.clone()),
        "text" => Some(alert.text.clone()),
        "fingerprint" => Some(alert.fingerprint.clone()),
        "severity" => Some(alert.severity.clone()),
        "link" => alert.link.clone(),
        _ => in_body(&alert.raw, field),
    }
}

fn in_body(body: &Value, field: &str) -> Option<String> {
    let value = if field.starts_with('/') {
        body.pointer(field)?
    } else {
        field.split('.').try_fold(body, |value, part| match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            other => other.get(part),
        })?
    };
    as_text(value)
}
