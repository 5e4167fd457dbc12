//! The sources: each a small file that turns its own body into alerts. Pure: bytes in, alerts or a reason out.
//!
//! Must never happen here: a panic on any input, or a guess where the source says nothing.

pub mod alertmanager;
pub mod generic;

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::incident::Severity;
use crate::time::Timestamp;

/// Sources that this release understands.
pub const KNOWN: [&str; 2] = ["alertmanager", "generic"];

/// One alert, whatever sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What makes it the same problem again, within its integration.
    pub fingerprint: String,
    /// Whether the problem is there.
    pub firing: bool,
    /// The source's own word for how bad it is, in lower case; empty where it says none.
    pub severity: String,
    /// One line.
    pub title: String,
    /// More.
    pub text: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations, where the source has them apart from labels.
    pub annotations: BTreeMap<String, String>,
    /// Since when; none where the source does not say.
    pub started_at: Option<Timestamp>,
    /// Until when; none while it fires or where the source does not say.
    pub ended_at: Option<Timestamp>,
    /// Where to look at it.
    pub link: Option<String>,
    /// The alert's part of the body as it came.
    pub raw: Value,
}

/// The alerts of one body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The alerts.
    pub alerts: Vec<Alert>,
    /// Alerts that the sender left out for length: the impact is incomplete.
    pub truncated: u64,
}

/// Why a body is not of its source's format: a pointer into it and a reason.
pub type Refusal = (String, String);

/// Reads a body.
///
/// # Errors
/// Where in the body, and why it is not of the source's format.
pub fn parse(source: &str, mapping: Option<&generic::Mapping>, body: &[u8]) -> Result<Batch, Refusal> {
    let json: Value = serde_json::from_slice(body).map_err(|error| {
        (
            String::new(),
            format!("is not JSON: {}", crate::error::json_reason(&error)),
        )
    })?;
    let mut batch = match source {
        "alertmanager" => alertmanager::parse(&json),
        _ => generic::parse(mapping.unwrap_or(&generic::Mapping::default()), &json),
    }?;
    for alert in &mut batch.alerts {
        alert.fingerprint = storable(std::mem::take(&mut alert.fingerprint));
    }
    Ok(batch)
}

/// A fingerprint as it is stored and looked up: one that is long or holds control characters is named by its hash.
fn storable(fingerprint: String) -> String {
    if fingerprint.len() <= 500 && !fingerprint.chars().any(char::is_control) {
        return fingerprint;
    }
    format!(
        "sha256:{}",
        crate::audit::hex(&Sha256::digest(fingerprint.as_bytes()))
    )
}

/// How bad the sources' words are for an incident. Unknown words and none are major: neither cried nor whispered.
pub fn severity(word: &str) -> Severity {
    match word.trim().to_lowercase().as_str() {
        "critical" | "crit" | "page" | "emergency" | "disaster" | "fatal" | "p1" | "sev1" | "blocker" => {
            Severity::Critical
        }
        "minor" | "info" | "information" | "informational" | "low" | "none" | "notice" | "debug" | "ok"
        | "p4" | "p5" | "sev4" => Severity::Minor,
        _ => Severity::Major,
    }
}

/// A text value, or a number or boolean as text.
pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}
