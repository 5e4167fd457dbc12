//! Alerts: integrations with a secret URL, the requests that they receive, and the alerts in these requests.
//!
//! An alert notifies no customer. A repeat opens no second incident. A reference that the directory does not
//! know is stored as unmatched. A body that was not understood is saved.

pub mod grouping;
pub mod intake;
pub mod integration;
pub mod integration_change;
mod keys;
pub mod lookup;
pub mod matcher;
pub mod messages;
pub mod mute;
pub mod order;
mod pattern;
pub mod people;
pub mod provider;
pub mod queue;
pub mod rehearsal;
pub mod rules;
pub mod saved_requests;
pub mod sender;
pub mod signature;
pub mod source;
pub mod trial;

use std::collections::HashMap;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde::Serialize;
use serde_json::Value;

use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::id::{AlertId, AlertRuleId, IncidentId, IntegrationId, MuteId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::alerts as a;

word_enum! {
    /// Whether the problem still exists.
    #[schema(as = AlertStatus)]
    Status, "a status of an alert" {
        /// The problem still exists.
        Firing = "firing",
        /// The problem has ended.
        Resolved = "resolved",
    }
}

/// An alert as it is stored, with the incident that it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct AlertView {
    /// The ID of the alert.
    pub id: AlertId,
    /// The integration that received the alert.
    pub integration: IntegrationId,
    /// Identifies the problem within the integration. An alert with the same fingerprint is the same problem.
    pub fingerprint: String,
    /// `firing` while the problem exists, `resolved` after it has ended.
    pub status: String,
    /// The severity by the source, in the words of the source. `unknown` if the source gives none.
    pub severity: String,
    /// The title, on one line.
    pub title: String,
    /// The description, which can have several lines.
    pub text: String,
    /// When the problem began, by the source.
    pub started_at: Timestamp,
    /// When the problem ended, by the source.
    pub ended_at: Option<Timestamp>,
    /// The incident that the alert belongs to. Null if the alert was only recorded.
    pub incident: Option<IncidentId>,
    /// How many times the alert was repeated while it was firing.
    pub repeats: i64,
    /// The alert rule that matched. Null if no rule matched.
    pub rule: Option<AlertRuleId>,
    /// The fields and values of the group that the alert belongs to.
    pub group: Option<Value>,
    /// The silence that covered the alert when it was last received.
    pub silence: Option<MuteId>,
    /// The maintenance window that covered the alert when it was last received.
    pub maintenance_window: Option<MuteId>,
    /// A link to the alert at the source.
    pub link: Option<String>,
    /// The labels of the alert.
    pub labels: Value,
    /// When the alert was first received.
    pub received_at: Timestamp,
    /// When the alert was last received.
    pub last_received_at: Timestamp,
    /// When the alert was last received, if it is firing and nothing was received about it for more than an
    /// hour. A sender that silences an alert sends nothing more, not even the end of the problem.
    pub no_word_since: Option<Timestamp>,
    /// The sender's own time of the newest event that changed the alert. Null if the sender gives no time.
    pub event_at: Option<Timestamp>,
    /// The number of events that were older than the known state of the alert. They changed nothing.
    pub late_events: i64,
    /// Why the alert was recorded and opened no incident, if the sender says that it is not an outage: it is
    /// planned, it is information, or it is a test.
    pub recorded_why: Option<String>,
    /// Details of the alert that could not be read, or that a rule did not examine. The alert was accepted
    /// without them.
    pub notes: Vec<String>,
}

type AlertRow = (
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
    Option<MuteId>,
    Option<Timestamp>,
    Option<Timestamp>,
    i64,
    Option<String>,
    Option<String>,
);

/// Seconds without a message about an alert that fires, after which `no_word_since` is shown.
const NO_WORD: i64 = 3_600;

fn view(row: AlertRow, kinds: &HashMap<String, mute::Kind>, now: Timestamp) -> Result<AlertView> {
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
        mute,
        event_at,
        _,
        late_events,
        recorded_why,
        notes,
    ) = row;
    let silent = status == Status::Firing.as_str() && now.seconds_since(last_received_at) > NO_WORD;
    let mute_of_kind = |kind| {
        mute.clone()
            .filter(|mute| kinds.get(mute.as_str()) == Some(&kind))
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
        silence: mute_of_kind(mute::Kind::Silence),
        maintenance_window: mute_of_kind(mute::Kind::Maintenance),
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

/// Returns the alerts that match the filters, newest first, before the given ID.
///
/// # Errors
/// `NotFound` if the incident or the integration does not exist.
pub fn list(
    conn: &mut Conn,
    integration: Option<&IntegrationId>,
    incident: Option<&IncidentId>,
    status: Option<Status>,
    before: Option<&str>,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<AlertView>> {
    let filter = Filter {
        integration: integration.cloned(),
        incident: incident.cloned(),
        status,
        ..Filter::default()
    };
    filter.check(conn)?;
    let rows: Vec<AlertRow> = filter.query(before).order(a::id.desc()).limit(limit).load(conn)?;
    views(conn, rows, now)
}

/// Which alerts to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only alerts of this integration.
    pub integration: Option<IntegrationId>,
    /// Only alerts of this incident.
    pub incident: Option<IncidentId>,
    /// Only alerts with this status.
    pub status: Option<Status>,
    /// Only alerts with this severity, in the words of the source.
    pub severity: Option<String>,
    /// Only alerts whose title contains this text. Upper and lower case make no difference.
    pub title: Option<String>,
}

/// The number of alerts that one call examines for a severity or a part of a title.
const EXAMINED: i64 = 10_000;

impl Filter {
    fn check(&self, conn: &mut Conn) -> Result<()> {
        if let Some(integration) = &self.integration {
            integration::get(conn, integration)?;
        }
        if let Some(incident) = &self.incident {
            crate::incident::get(conn, incident)?;
        }
        Ok(())
    }

    /// The query for everything but the severity and the title, which no index finds.
    fn query<'a>(&'a self, before: Option<&'a str>) -> a::BoxedQuery<'a, crate::db::Backend> {
        let mut query = a::table.into_boxed::<crate::db::Backend>();
        if let Some(integration) = &self.integration {
            query = query.filter(a::integration_id.eq(integration.as_str()));
        }
        if let Some(incident) = &self.incident {
            query = query.filter(a::incident_id.eq(incident.as_str()));
        }
        // The words stand in the statement, so that the index over the alerts that fire can be used.
        query = match self.status {
            None => query,
            Some(Status::Firing) => query.filter(sql::<Bool>("alerts.status = 'firing'")),
            Some(Status::Resolved) => query.filter(sql::<Bool>("alerts.status = 'resolved'")),
        };
        if let Some(before) = before {
            query = query.filter(a::id.lt(before));
        }
        query
    }

    fn holds(&self, severity: &str, title: &str) -> bool {
        let same = |word: &String| severity.to_lowercase() == word.to_lowercase();
        let within = |part: &String| title.to_lowercase().contains(&part.to_lowercase());
        self.severity.as_ref().is_none_or(same) && self.title.as_ref().is_none_or(within)
    }
}

/// Returns up to `limit` alerts that match the filter, newest first, before the given ID, and the ID before which to go on. It
/// examines a limited number of alerts, so a page can have fewer rows although there are more.
///
/// # Errors
/// `NotFound` if the incident or the integration does not exist.
pub fn search(
    conn: &mut Conn,
    filter: &Filter,
    before: Option<&str>,
    limit: i64,
    now: Timestamp,
) -> Result<(Vec<AlertView>, Option<AlertId>)> {
    filter.check(conn)?;
    let examines = filter.severity.is_some() || filter.title.is_some();
    let most = if examines { EXAMINED } else { limit };
    let heads: Vec<(AlertId, String, String)> = filter
        .query(before)
        .order(a::id.desc())
        .limit(most + 1)
        .select((a::id, a::severity, a::title))
        .load(conn)?;
    let wanted = usize::try_from(limit).unwrap_or_default();
    let mut found: Vec<&AlertId> = Vec::new();
    let mut next = None;
    for (index, (id, severity, title)) in heads.iter().enumerate() {
        let full = found.len() >= wanted;
        if full || index as i64 >= most {
            next = index.checked_sub(1).map(|last| heads[last].0.clone());
            break;
        }
        if filter.holds(severity, title) {
            found.push(id);
        }
    }
    let ids: Vec<&str> = found.iter().map(|id| id.as_str()).collect();
    let rows: Vec<AlertRow> = a::table
        .filter(a::id.eq_any(ids))
        .order(a::id.desc())
        .load(conn)?;
    Ok((views(conn, rows, now)?, next))
}

/// Returns the number of alerts of an integration that are firing. It counts at most `most`.
///
/// # Errors
/// An error of the database.
pub fn firing_of(conn: &mut Conn, integration: &IntegrationId, most: i64) -> Result<i64> {
    let filter = Filter {
        integration: Some(integration.clone()),
        status: Some(Status::Firing),
        ..Filter::default()
    };
    let ids: Vec<AlertId> = filter.query(None).select(a::id).limit(most).load(conn)?;
    Ok(ids.len() as i64)
}

fn views(conn: &mut Conn, rows: Vec<AlertRow>, now: Timestamp) -> Result<Vec<AlertView>> {
    let mut ids: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.17.as_ref().map(MuteId::as_str))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let kinds = mute::kinds(conn, &ids)?;
    rows.into_iter().map(|row| view(row, &kinds, now)).collect()
}
