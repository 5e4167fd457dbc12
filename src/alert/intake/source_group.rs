//! Groups that the sender makes, for example `groupKey` of Alertmanager and Grafana.
//!
//! If no alert rule matches, the alerts of such a group are one incident. The title of the incident says how
//! many alerts there are, until somebody writes a title or a notice is created.

use diesel::prelude::*;
use serde_json::json;

use super::conditions::RuleDecision;
use super::placement::Placement;
use super::row::title;
use super::work::{GrownGroup, Work};
use crate::alert::integration::Integration;
use crate::alert::source::Alert;
use crate::audit::Tx;
use crate::base::count::counted;
use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::text::one_line;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{alert_source_groups as sg, alerts as a, notices as n};
use crate::incident;

/// The number of alert names that are stored for a group.
const NAMES: usize = 50;

/// Returns the name of an alert. All alerts of one rule of the sender have the same name.
fn name(alert: &Alert) -> String {
    let name = alert.labels.get("alertname").map(|name| one_line(name, 100));
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| title(alert))
}

/// Makes the title of a group, for example `HighLatency (8 alerts)` or `HighLatency and 4 others (40
/// alerts)`.
fn of_group(names: &[String], alerts: i64) -> String {
    let first = names.first().map_or("Alerts", String::as_str);
    let alerts = counted(alerts, "alert", "alerts");
    match names.len() {
        0 | 1 => format!("{first} ({alerts})"),
        2 => format!("{first} and 1 other ({alerts})"),
        NAMES => format!("{first} and many others ({alerts})"),
        count => format!("{first} and {} others ({alerts})", count - 1),
    }
}

/// Counts the different alerts of an incident. This reads all of them, so it is done only when a group comes to an
/// incident that has alerts.
fn count(conn: &mut Conn, incident: &IncidentId) -> Result<i64> {
    Ok(a::table
        .filter(a::incident_id.eq(incident.as_str()))
        .select(diesel::dsl::count(a::fingerprint).aggregate_distinct())
        .first(conn)?)
}

impl Work<'_> {
    /// Stores which incident the group of a sender has, and that the group got an alert. `new` says whether the alert
    /// was not in the incident before.
    pub(super) fn joins_source_group(
        &mut self,
        tx: &mut Tx<'_>,
        decision: &RuleDecision<'_>,
        integration: &Integration,
        alert: &Alert,
        incident: &IncidentId,
        (placement, mut new): (&Placement, bool),
    ) -> Result<()> {
        let (None, Some(group)) = (decision.rule, &decision.group) else {
            return Ok(());
        };
        let held = self.cache.source_group(tx.conn, &group.key)?;
        if held.as_ref() != Some(incident) {
            if let Some(held) = &held
                && self.cache.incident(tx.conn, held)?.status.is_open()
            {
                // The alert was in another incident before and stays there.
                return Ok(());
            }
            let shown = incident::get(tx.conn, incident)?.title;
            let names = json!([name(alert)]).to_string();
            let mut alerts = 0;
            if !matches!(placement, Placement::Opens(_)) {
                // The group comes to an incident that has alerts, also this one. They are counted once for the group.
                self.insert_fresh(tx)?;
                alerts = count(tx.conn, incident)?;
                new = false;
            }
            on_backend!(&mut *tx.conn, c => diesel::insert_into(sg::table)
                .values((
                    sg::key.eq(&group.key),
                    sg::integration_id.eq(integration.id.as_str()),
                    sg::incident_id.eq(incident.as_str()),
                    sg::names.eq(&names),
                    sg::title.eq(&shown),
                    sg::alerts.eq(alerts),
                    sg::updated_at.eq(tx.now),
                ))
                .on_conflict(sg::key)
                .do_update()
                .set((
                    sg::incident_id.eq(incident.as_str()),
                    sg::names.eq(&names),
                    sg::title.eq(&shown),
                    sg::alerts.eq(alerts),
                    sg::updated_at.eq(tx.now),
                ))
                .execute(c))?;
            self.cache.set_source_group(&group.key, incident);
        }
        if matches!(placement, Placement::Joins { grouped: true, .. }) {
            let text = format!("The sender groups alerts: {}", group.in_words());
            self.say_once(tx, incident, &text)?;
        }
        let grown = self.grown.entry(group.key.clone()).or_insert_with(|| GrownGroup {
            incident: incident.clone(),
            names: Vec::new(),
            new: 0,
            actor: tx.actor.clone(),
        });
        grown.new += i64::from(new);
        let name = name(alert);
        if !grown.names.contains(&name) && grown.names.len() < NAMES {
            grown.names.push(name);
        }
        Ok(())
    }

    /// Updates the titles of incidents with the size of their groups. All alerts are stored at this point.
    pub(super) fn name_groups(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        for (key, grown) in std::mem::take(&mut self.grown) {
            let row: Option<(IncidentId, String, String, i64)> = sg::table
                .find(&key)
                .select((sg::incident_id, sg::names, sg::title, sg::alerts))
                .first(tx.conn)
                .optional()?;
            let Some((incident, names, shown, before)) = row.filter(|row| row.0 == grown.incident) else {
                continue;
            };
            let mut names: Vec<String> = serde_json::from_str(&names)?;
            for name in grown.names {
                if names.len() < NAMES && !names.contains(&name) {
                    names.push(name);
                }
            }
            let alerts = before + grown.new;
            let wanted = one_line(&of_group(&names, alerts), 300);
            let mut title = shown;
            if alerts >= 2 && wanted != title {
                let notice: Option<NoticeId> = n::table
                    .filter(n::incident_id.eq(incident.as_str()))
                    .select(n::id)
                    .first(tx.conn)
                    .optional()?;
                // A title that is another one is not of this group.
                let own = notice.is_none() && incident::get(tx.conn, &incident)?.title == title;
                tx.actor = grown.actor;
                if own && incident::rename(tx, &incident, &wanted)? {
                    title = wanted;
                }
            }
            diesel::update(sg::table.find(&key))
                .set((
                    sg::names.eq(serde_json::to_string(&names)?),
                    sg::title.eq(title),
                    sg::alerts.eq(alerts),
                    sg::updated_at.eq(tx.now),
                ))
                .execute(tx.conn)?;
        }
        Ok(())
    }
}
