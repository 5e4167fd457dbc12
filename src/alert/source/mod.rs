//! The sources: each a small file that turns its own requests into alerts. Pure: a request in, alerts or a reason out.
//!
//! Must never happen here: a panic on any input, or a guess where the source says nothing.

pub mod alertmanager;
mod aws;
mod azure_monitor;
mod betterstack;
mod cloudevents;
mod datadog;
mod doc;
mod freshping;
mod freshstatus;
mod gcp_monitoring;
pub mod generic;
mod grafana;
mod healthchecks;
mod mend;
mod nagios;
mod new_relic;
mod notes;
mod notification;
mod opsgenie;
pub mod pagerduty;
mod pingdom;
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

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use self::request::Request;
use crate::alert::order::EventTime;
use crate::base::time::Timestamp;
use crate::directory::ResourceRef;
use crate::incident::Severity;

/// Sources that this release understands.
pub const KNOWN: [&str; 25] = [
    "alertmanager",
    "aws_cloudwatch",
    "aws_sns",
    "azure_monitor",
    "betterstack",
    "cloudevents",
    "datadog",
    "freshping",
    "freshstatus",
    "gcp_monitoring",
    "generic",
    "grafana",
    "healthchecks",
    "nagios",
    "new_relic",
    "opsgenie",
    "pagerduty",
    "pingdom",
    "sentry",
    "statuscake",
    "statuspage",
    "updown",
    "uptime_kuma",
    "uptimerobot",
    "zabbix",
];

/// Sources that may ask by GET, with their fields in the query.
pub const BY_GET: [&str; 4] = ["healthchecks", "statuscake", "uptime_kuma", "uptimerobot"];

/// A person that an alert names, by whatever its sender knows them by: the user of an event of Sentry, or what the field
/// `people` of our own format says. Kept beside the alert for whoever looks people up; never in labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = AlertPerson)]
pub struct PersonRef {
    /// The sender's id of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Their address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What they sign in by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// One alert, whatever sent it.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// Resources that the body names as such: a field `resources` of `{type, id}`. Others are found by rules.
    pub resources: Vec<ResourceRef>,
    /// Whether it is an event that happened to somebody: then whom it names counts, and also that it names nobody.
    pub event: bool,
    /// People that the body names.
    pub people: Vec<PersonRef>,
    /// The sender's own time of this event; none where the sender gives no time.
    pub event_at: Option<EventTime>,
    /// The sender's own id of the message, the same in every attempt to deliver it.
    pub message_id: Option<String>,
    /// The group that the sender itself put it in: `groupKey` of Alertmanager and Grafana.
    pub group: Option<String>,
    /// Why it is no outage: the sender says that it is planned, that it informs, or that it is a test. It is on record, opens
    /// no incident, and ends none that is about an outage.
    pub informs: Option<String>,
    /// Details that could not be read; it is taken without them.
    pub notes: Vec<String>,
    /// All names that the sender has for the problem, the most specific first, where it has several: not every message
    /// holds all of them.
    pub keys: Vec<String>,
    /// The references that resource rules found in it, with those of `resources`; none where they did not look yet.
    pub found: Option<Vec<Vec<ResourceRef>>>,
    /// The alert's part of the body as it came: where rules look.
    pub raw: Value,
}

/// The alerts of one body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The alerts.
    pub alerts: Vec<Alert>,
    /// Alerts that the sender left out for length: the impact is incomplete.
    pub truncated: u64,
    /// What was understood and is no alert: a test of the connection, a note on an incident.
    pub ignored: Vec<String>,
    /// The key by which a sender that let us choose one can resolve its alert: PagerDuty's Events API answers it.
    pub dedup_key: Option<String>,
    /// Details of the body that could not be read; it is taken without them.
    pub notes: Vec<String>,
}

impl Batch {
    fn of(alerts: Vec<Alert>) -> Self {
        Batch {
            alerts,
            ..Batch::default()
        }
    }

    fn ignored(why: impl Into<String>) -> Self {
        Batch {
            ignored: vec![why.into()],
            ..Batch::default()
        }
    }

    fn add(&mut self, other: Batch) {
        self.alerts.extend(other.alerts);
        self.truncated += other.truncated;
        self.ignored.extend(other.ignored);
        self.dedup_key = self.dedup_key.take().or(other.dedup_key);
        self.notes.extend(other.notes);
    }
}

/// Why a body is not of its source's format: a pointer into it and a reason.
pub type Refusal = (String, String);

/// Reads a request.
///
/// # Errors
/// Where in the body, and why it is not of the source's format.
pub fn parse(source: &str, mapping: Option<&generic::Mapping>, request: &Request) -> Result<Batch, Refusal> {
    let (batch, notes) = notes::collecting(|| by_source(source, mapping, request));
    let mut batch = batch?;
    // Standard Webhooks, whoever sends them.
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

/// Whether a sender made up an event to show what its events look like.
fn is_sample(alert: &Alert) -> bool {
    let label = |name: &str| alert.labels.get(name).map(|value| value.to_lowercase());
    matches!(label("sample_event").as_deref(), Some("yes" | "true" | "1"))
        || alert.title.starts_with("This is an example")
}

fn by_source(source: &str, mapping: Option<&generic::Mapping>, request: &Request) -> Result<Batch, Refusal> {
    match source {
        "alertmanager" => alertmanager::parse(&request.document()?),
        "aws_cloudwatch" | "aws_sns" => aws::parse(request),
        "azure_monitor" => azure_monitor::parse(&request.document()?),
        "betterstack" => betterstack::parse(&request.document()?),
        "cloudevents" => cloudevents::parse(request),
        "datadog" => datadog::parse(request),
        "freshping" => freshping::parse(&request.document()?),
        "freshstatus" => freshstatus::parse(&request.document()?),
        "gcp_monitoring" => gcp_monitoring::parse(&request.document()?),
        "grafana" => grafana::parse(&request.document()?),
        "healthchecks" => healthchecks::parse(request),
        "nagios" => nagios::parse(request),
        "new_relic" => new_relic::parse(&request.document()?),
        "opsgenie" => opsgenie::parse(&request.document()?),
        "pagerduty" => pagerduty::parse(&request.document()?),
        "pingdom" => pingdom::parse(&request.document()?),
        "sentry" => sentry::parse(request),
        "statuscake" => statuscake::parse(request),
        "statuspage" => statuspage::parse(&request.document()?),
        "updown" => updown::parse(&request.document()?),
        "uptime_kuma" => uptime_kuma::parse(request),
        "uptimerobot" => uptimerobot::parse(request),
        "zabbix" => zabbix::parse(request),
        _ => generic::parse(
            mapping.unwrap_or(&generic::Mapping::default()),
            &request.document()?,
        ),
    }
}

/// Whether bodies of a source may name resources by themselves, without a rule.
pub fn names_resources(source: &str) -> bool {
    matches!(source, "generic" | "cloudevents")
}

/// A fingerprint as it is stored and looked up: one that is long or holds control characters is named by its hash.
fn storable(fingerprint: String) -> String {
    if fingerprint.len() <= 500 && !fingerprint.chars().any(char::is_control) {
        return fingerprint;
    }
    format!(
        "sha256:{}",
        crate::base::text::hex(&Sha256::digest(fingerprint.as_bytes()))
    )
}

/// How bad the sources' words are for an incident. Unknown words and none are major: neither cried nor whispered.
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

/// A text value, or a number or boolean as text.
pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}
