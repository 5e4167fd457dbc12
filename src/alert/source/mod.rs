//! The alert sources. Each is a small file that turns the requests of one source into alerts, or returns the
//! reason why it cannot.
//!
//! The sources do no I/O. No input causes a panic. A value that the source does not give is left out and not
//! guessed.

pub mod alertmanager;
mod aws;
mod azure_monitor;
mod batch;
mod betterstack;
mod cloudevents;
mod datadog;
mod definition;
mod doc;
mod freshping;
mod freshstatus;
mod gcp_monitoring;
pub mod generic;
mod grafana;
mod healthchecks;
mod mapping;
mod nagios;
mod new_relic;
mod notes;
mod notification;
mod opsgenie;
pub mod pagerduty;
mod pingdom;
pub(in crate::alert) mod proof;
pub mod request;
mod sentry;
pub mod statuscake;
mod statuspage;
mod text;
mod times;
mod updown;
mod uptime_kuma;
mod uptimerobot;
mod zabbix;

use sha2::{Digest, Sha256};

pub use self::definition::Source;
pub use self::request::Request;
use crate::incident::Severity;
pub use batch::{Alert, Batch, PersonRef, Refusal};
pub(super) use text::as_text;

/// The sources that this release supports, ordered by their names. A new source is one file and one line here.
const SOURCES: [Source; 25] = [
    alertmanager::SOURCE,
    aws::CLOUDWATCH,
    aws::SNS,
    azure_monitor::SOURCE,
    betterstack::SOURCE,
    cloudevents::SOURCE,
    datadog::SOURCE,
    freshping::SOURCE,
    freshstatus::SOURCE,
    gcp_monitoring::SOURCE,
    generic::SOURCE,
    grafana::SOURCE,
    healthchecks::SOURCE,
    nagios::SOURCE,
    new_relic::SOURCE,
    opsgenie::SOURCE,
    pagerduty::SOURCE,
    pingdom::SOURCE,
    sentry::SOURCE,
    statuscake::SOURCE,
    statuspage::SOURCE,
    updown::SOURCE,
    uptime_kuma::SOURCE,
    uptimerobot::SOURCE,
    zabbix::SOURCE,
];

static ALL: [Source; SOURCES.len()] = SOURCES;

/// The names of the sources that this release supports.
pub const KNOWN: [&str; SOURCES.len()] = {
    let mut names = [""; SOURCES.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = SOURCES[at].name;
        at += 1;
    }
    names
};

/// Returns the source with this name.
pub fn named(name: &str) -> Option<&'static Source> {
    ALL.iter().find(|source| source.name == name)
}

/// Parses a request.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not in the format of the source.
pub fn parse(source: &str, mapping: Option<&generic::Mapping>, request: &Request) -> Result<Batch, Refusal> {
    // An integration of a source that an older or newer release knows is read as any JSON.
    let parse = named(source).unwrap_or(&generic::SOURCE).parse;
    let (batch, notes) = notes::collecting(|| parse(request, mapping));
    let mut batch = batch?;
    // The message ID of Standard Webhooks, which several senders use.
    let id = request.header("webhook-id").or(request.header("svix-id"));
    let alone = batch.alerts.len() == 1;
    for (index, alert) in batch.alerts.iter_mut().enumerate() {
        alert.fingerprint = storable(std::mem::take(&mut alert.fingerprint));
        for key in &mut alert.keys {
            *key = storable(std::mem::take(key));
        }
        alert.message_id = alert
            .message_id
            .take()
            .or(id.map(str::to_owned))
            .filter(|id| !id.trim().is_empty())
            .map(storable);
        if alert.informs.is_none() && is_sample(alert) {
            alert.informs = Some("a sample event of its sender".to_owned());
        }
        let place = index.to_string();
        alert.notes = notes
            .iter()
            .filter(|note| alone || note.at.split('/').any(|part| part == place))
            .map(said)
            .collect();
    }
    batch.notes = notes.iter().map(said).collect();
    Ok(batch)
}

fn said(note: &notes::Note) -> String {
    format!("{}: {}", note.at, note.reason)
}

/// Returns whether this is a sample event that the sender made up.
fn is_sample(alert: &Alert) -> bool {
    let label = |name: &str| alert.labels.get(name).map(|value| value.to_lowercase());
    matches!(label("sample_event").as_deref(), Some("yes" | "true" | "1"))
        || alert.title.starts_with("This is an example")
}

/// Returns a fingerprint that can be stored. A fingerprint that is long or contains control characters is
/// replaced by its hash.
fn storable(fingerprint: String) -> String {
    if fingerprint.len() <= 500 && !fingerprint.chars().any(char::is_control) {
        return fingerprint;
    }
    format!(
        "sha256:{}",
        crate::base::text::hex(&Sha256::digest(fingerprint.as_bytes()))
    )
}

/// Maps the severity of a source to the severity of an incident. An unknown or missing severity is major.
pub fn severity(word: &str) -> Severity {
    match word.trim().to_lowercase().as_str() {
        "critical" | "crit" | "page" | "emergency" | "disaster" | "fatal" | "p1" | "sev0" | "sev1"
        | "blocker" | "down" | "major_outage" => Severity::Critical,
        "minor"
        | "info"
        | "information"
        | "informational"
        | "low"
        | "none"
        | "notice"
        | "debug"
        | "sample"
        | "ok"
        | "not classified"
        | "p4"
        | "p5"
        | "sev4"
        | "degraded_performance"
        | "maintenance"
        | "under_maintenance"
        | "scheduledchange"
        | "accountnotification" => Severity::Minor,
        _ => Severity::Major,
    }
}
