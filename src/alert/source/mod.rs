//! The alert sources. Each is a small file that turns the requests of one source into alerts, or returns the
//! reason why it cannot.
//!
//! The sources do no I/O. No input causes a panic. A value that the source does not give is left out and not
//! guessed.

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

/// The sources that this release supports.
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

/// Sources that can send a GET request with their fields in the query.
pub const BY_GET: [&str; 4] = ["healthchecks", "statuscake", "uptime_kuma", "uptimerobot"];

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
    /// The labels.
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
    /// The alerts.
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

/// Why a body is not in the format of its source: a JSON pointer into the body, and a reason.
pub type Refusal = (String, String);

/// Parses a request.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not in the format of the source.
pub fn parse(source: &str, mapping: Option<&generic::Mapping>, request: &Request) -> Result<Batch, Refusal> {
    let (batch, notes) = notes::collecting(|| by_source(source, mapping, request));
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

/// Returns whether a body of this source can name resources itself, without a rule.
pub fn names_resources(source: &str) -> bool {
    matches!(source, "generic" | "cloudevents")
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

/// Returns a text, number or boolean as text.
pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}
