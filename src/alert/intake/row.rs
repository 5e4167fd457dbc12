//! The stored row of an alert. Values of the source that are too long or empty are shortened or replaced, so
//! that every alert can be stored.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use serde_json::json;

use super::conditions::RuleDecision;
use crate::alert::Status;
use crate::alert::integration::Integration;
use crate::alert::order::LastEvent;
use crate::alert::source::Alert;
use crate::audit::{Action, Event};
use crate::base::error::Result;
use crate::base::id::{AlertId, IncidentId, IntegrationId};
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::many::insert_many;
use crate::db::schema::alerts as a;

/// Returns a title of one line that is never empty. An alert must not be lost because of its title.
pub(in crate::alert) fn title(alert: &Alert) -> String {
    Some(one_line(&alert.title, 300))
        .filter(|title| !title.is_empty())
        .unwrap_or("Alert without a title".to_owned())
}

/// The row of a new alert.
#[derive(Insertable)]
#[diesel(table_name = a)]
#[diesel(treat_none_as_default_value = false)]
pub(super) struct NewRow {
    pub id: AlertId,
    integration_id: IntegrationId,
    fingerprint: String,
    status: &'static str,
    severity: String,
    title: String,
    text: String,
    labels: String,
    link: Option<String>,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    incident_id: Option<IncidentId>,
    repeats: i64,
    received_at: Timestamp,
    last_received_at: Timestamp,
    rule_id: Option<String>,
    group_shown: Option<String>,
    quiet_id: Option<String>,
    event_at: Option<Timestamp>,
    event_seen_at: Option<Timestamp>,
    late_events: i64,
    recorded_why: Option<String>,
    notes: Option<String>,
}

impl NewRow {
    pub fn of(
        now: Timestamp,
        integration: &Integration,
        alert: &Alert,
        incident: Option<&IncidentId>,
        decision: Option<&RuleDecision<'_>>,
        event: LastEvent,
    ) -> Result<Self> {
        let status = if alert.firing {
            Status::Firing
        } else {
            Status::Resolved
        };
        let severity = Some(one_line(&alert.severity, 100))
            .filter(|word| !word.is_empty())
            .unwrap_or("unknown".to_owned());
        let text: String = alert
            .text
            .chars()
            .take(crate::base::check::MAX_TEXT)
            .filter(|c| *c != '\0')
            .collect();
        let unseen = decision.into_iter().flat_map(|decision| decision.notes);
        let notes: Vec<&String> = alert.notes.iter().chain(unseen).collect();
        let rule = decision.and_then(|decision| decision.rule);
        let group = decision.and_then(|decision| decision.group.as_ref());
        let mute = decision.and_then(|decision| decision.mute);
        Ok(NewRow {
            id: AlertId::new(now),
            integration_id: integration.id.clone(),
            fingerprint: alert.fingerprint.clone(),
            status: status.as_str(),
            severity,
            title: title(alert),
            text,
            labels: serde_json::to_string(&alert.labels)?,
            link: alert
                .link
                .clone()
                .filter(|link| !link.chars().any(char::is_control)),
            // If the firing event was never received, the end is the earliest known time.
            started_at: alert.started_at.or(alert.ended_at).unwrap_or(now),
            ended_at: alert.ended_at,
            incident_id: incident.cloned(),
            repeats: 0,
            received_at: now,
            last_received_at: now,
            rule_id: rule.map(|rule| rule.rule.id.to_string()),
            group_shown: group.map(|group| group.shown.to_string()),
            quiet_id: mute.map(|mute| mute.id.to_string()),
            event_at: event.at,
            event_seen_at: event.seen_at,
            late_events: 0,
            recorded_why: alert.informs.as_deref().map(|why| one_line(why, 300)),
            notes: match notes.as_slice() {
                [] => None,
                notes => Some(serde_json::to_string(notes)?),
            },
        })
    }

    /// Returns the audit event which says that this alert was received.
    pub fn event(&self, integration: &Integration, alert: &Alert) -> Event {
        let mut after = json!({
            "integration": integration.id, "fingerprint": alert.fingerprint, "status": self.status, "title": self.title,
            "severity": self.severity, "started_at": alert.started_at,
        });
        for (name, value) in [("rule", &self.rule_id), ("quiet", &self.quiet_id)] {
            if let Some(value) = value {
                after[name] = json!(value);
            }
        }
        let event = Event::new(Action::AlertReceived, "alert", self.id.as_str()).after(after);
        match &self.incident_id {
            Some(incident) => event.incident(incident),
            None => event,
        }
    }
}

/// Stores new alerts. It replaces no stored alert.
pub(super) fn insert(conn: &mut Conn, rows: &[NewRow]) -> Result<()> {
    insert_many!(conn, a::table, "alerts", rows, {
        id: Text = |row| row.id.as_str(),
        integration_id: Text = |row| row.integration_id.as_str(),
        fingerprint: Text = |row| row.fingerprint.as_str(),
        status: Text = |row| row.status,
        severity: Text = |row| row.severity.as_str(),
        title: Text = |row| row.title.as_str(),
        text: Text = |row| row.text.as_str(),
        labels: Text = |row| row.labels.as_str(),
        link: Nullable<Text> = |row| row.link.as_deref(),
        started_at: BigInt = |row| row.started_at,
        ended_at: Nullable<BigInt> = |row| row.ended_at,
        incident_id: Nullable<Text> = |row| row.incident_id.as_ref().map(IncidentId::as_str),
        repeats: BigInt = |row| row.repeats,
        received_at: BigInt = |row| row.received_at,
        last_received_at: BigInt = |row| row.last_received_at,
        rule_id: Nullable<Text> = |row| row.rule_id.as_deref(),
        group_shown: Nullable<Text> = |row| row.group_shown.as_deref(),
        quiet_id: Nullable<Text> = |row| row.quiet_id.as_deref(),
        event_at: Nullable<BigInt> = |row| row.event_at,
        event_seen_at: Nullable<BigInt> = |row| row.event_seen_at,
        late_events: BigInt = |row| row.late_events,
        recorded_why: Nullable<Text> = |row| row.recorded_why.as_deref(),
        notes: Nullable<Text> = |row| row.notes.as_deref(),
    });
    Ok(())
}
