//! Alerts: what told us. Integrations with a secret URL, the bodies they send, the alerts read from them.
//!
//! Must never happen here: a customer told by an alert, a repeat that opens a second incident, a reference that is
//! dropped because the directory does not know it, or a body that is lost because it was not understood.

pub mod grouping;
pub mod intake;
pub mod integration;
pub mod integration_change;
pub mod kept;
mod keys;
pub mod lookup;
pub mod matcher;
pub mod messages;
pub mod order;
mod pattern;
pub mod people;
pub mod provider;
pub mod queue;
pub mod quiet;
pub mod rehearsal;
pub mod rules;
pub mod signature;
pub mod source;
pub mod trial;

use std::collections::HashMap;

use diesel::prelude::*;
use serde::Serialize;
use serde_json::Value;

use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::id::{AlertId, AlertRuleId, IncidentId, IntegrationId, QuietId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::alerts as a;

word_enum! {
    /// Whether the problem is there.
    #[schema(as = AlertStatus)]
    Status, "a status of an alert" {
        /// It is.
        Firing = "firing",
        /// It was.
        Resolved = "resolved",
    }
}

/// An alert, as shown.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct AlertView {
    /// Its id.
    pub id: AlertId,
    /// Where it came from.
    pub integration: IntegrationId,
    /// What makes it the same problem again.
    pub fingerprint: String,
    /// Whether the problem is there.
    pub status: String,
    /// The source's own word for how bad it is; `unknown` where it says none.
    pub severity: String,
    /// One line.
    pub title: String,
    /// More.
    pub text: String,
    /// Since when, by the source.
    pub started_at: Timestamp,
    /// Until when, by the source.
    pub ended_at: Option<Timestamp>,
    /// The incident it belongs to; null where it only was recorded.
    pub incident: Option<IncidentId>,
    /// How often it came again while it was firing.
    pub repeats: i64,
    /// The rule that it matched, where it was placed by one.
    pub rule: Option<AlertRuleId>,
    /// The fields and values of its group by that rule.
    pub group: Option<Value>,
    /// The silence by which it was silenced when it came last.
    pub silence: Option<QuietId>,
    /// The maintenance window in which it came last.
    pub maintenance_window: Option<QuietId>,
    /// Where to look at it.
    pub link: Option<String>,
    /// Its labels.
    pub labels: Value,
    /// When it came first.
    pub received_at: Timestamp,
    /// When it came last.
    pub last_received_at: Timestamp,
    /// Of an alert that fires and about which nothing came for more than an hour: since when. A sender that silences an
    /// alert says nothing more, not even that it is over.
    pub no_word_since: Option<Timestamp>,
    /// The sender's own time of the newest event that changed it; null where the sender gives no time.
    pub event_at: Option<Timestamp>,
    /// How many events came that were older than what was known by then. They changed nothing.
    pub late_events: i64,
    /// Why it is on record and opens no incident, where the sender itself says that it is no outage: it is planned, it
    /// informs, or it is a test.
    pub recorded_why: Option<String>,
    /// Details of it that could not be read, or that a rule did not look at, when it came first; it was taken without them.
    pub notes: Vec<String>,
}

type Row = (
    AlertId,
    IntegrationId,
    String,
    String,
    String,
    String,
    String,
    String,
    Option<String>,
    Timestamp,
    Option<Timestamp>,
    Option<IncidentId>,
    i64,
    Timestamp,
    Timestamp,
    Option<AlertRuleId>,
    Option<String>,
    Option<QuietId>,
    Option<Timestamp>,
    Option<Timestamp>,
    i64,
    Option<String>,
    Option<String>,
);

/// Silence about an alert that fires, in seconds, after which it is shown.
const NO_WORD: i64 = 3_600;

fn view(row: Row, kinds: &HashMap<String, quiet::Kind>, now: Timestamp) -> Result<AlertView> {
    let (
        id,
        integration,
        fingerprint,
        status,
        severity,
        title,
        text,
        labels,
        link,
        started_at,
        ended_at,
        incident,
        repeats,
        received_at,
        last_received_at,
        rule,
        group,
        quiet,
        event_at,
        _,
        late_events,
        recorded_why,
        notes,
    ) = row;
    let silent = status == Status::Firing.as_str() && now.seconds_since(last_received_at) > NO_WORD;
    let of = |kind| {
        quiet
            .clone()
            .filter(|quiet| kinds.get(quiet.as_str()) == Some(&kind))
    };
    Ok(AlertView {
        id,
        integration,
        fingerprint,
        status,
        severity,
        title,
        text,
        started_at,
        ended_at,
        incident,
        repeats,
        rule,
        group: group.as_deref().map(serde_json::from_str).transpose()?,
        silence: of(quiet::Kind::Silence),
        maintenance_window: of(quiet::Kind::Maintenance),
        link,
        labels: serde_json::from_str(&labels)?,
        received_at,
        last_received_at,
        no_word_since: silent.then_some(last_received_at),
        event_at,
        late_events,
        recorded_why,
        notes: notes
            .as_deref()
            .map(serde_json::from_str)
            .transpose()?
            .unwrap_or_default(),
    })
}

/// Alerts that match, newest first, before the given one.
///
/// # Errors
/// `NotFound` where the incident or the integration does not exist.
pub fn list(
    conn: &mut Conn,
    integration: Option<&IntegrationId>,
    incident: Option<&IncidentId>,
    status: Option<Status>,
    before: Option<&str>,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<AlertView>> {
    let mut query = a::table.into_boxed::<crate::db::Backend>();
    if let Some(integration) = integration {
        integration::get(conn, integration)?;
        query = query.filter(a::integration_id.eq(integration.as_str()));
    }
    if let Some(incident) = incident {
        crate::incident::get(conn, incident)?;
        query = query.filter(a::incident_id.eq(incident.as_str()));
    }
    if let Some(status) = status {
        query = query.filter(a::status.eq(status.as_str()));
    }
    if let Some(before) = before {
        query = query.filter(a::id.lt(before));
    }
    let rows: Vec<Row> = query.order(a::id.desc()).limit(limit).load(conn)?;
    let mut ids: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.17.as_ref().map(QuietId::as_str))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let kinds = quiet::kinds(conn, &ids)?;
    rows.into_iter().map(|row| view(row, &kinds, now)).collect()
}
