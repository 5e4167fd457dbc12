//! Stores an alert that fires: as a repeat, as a record without an incident, or in an incident that is open,
//! is opened or is reopened.
//!
//! At most one alert of a fingerprint fires at a time. The timeline of an incident names each alert rule that
//! brought alerts to it.

use diesel::prelude::*;
use serde_json::json;

use super::cache::KnownAlert;
use super::conditions::RuleDecision;
use super::matched::MatchedBatch;
use super::placement::{Placement, placement};
use super::row::{NewRow, title};
use super::work::{AlertReferences, Work};
use crate::alert::Status;
use crate::alert::integration::Integration;
use crate::alert::matcher::Subject;
use crate::alert::source::Alert;
use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::{AlertId, IncidentId};
use crate::db::dialect::on_backend;
use crate::db::schema::{alert_groups as g, alert_references as ar, alerts as a};
use crate::incident::{self, NewIncident, StatusChange, timeline};

impl<'b> Work<'b> {
    /// Stores an alert that fires. `matched` is what the conditions say about the alerts of the body, and `index` is
    /// the place of this one among them. Returns the incident that the alert is in, or None if the alert is only
    /// recorded.
    pub(super) fn fire(
        &mut self,
        tx: &mut Tx<'_>,
        (matched, index): (&'b MatchedBatch, usize),
        integration: &'b Integration,
        alert: &'b Alert,
    ) -> Result<Option<IncidentId>> {
        let (conditions, hit) = matched.hit(index)?;
        let subject = Subject { integration, alert };
        let decision = conditions.decide(tx.conn, &mut self.cache, tx.now, subject, hit)?;
        let known = self
            .cache
            .alert(tx.conn, integration.id.as_str(), &alert.fingerprint)?;
        if decision.silenced() {
            self.outcome().silenced += 1;
        }
        let placement = placement(tx.conn, &mut self.cache, tx.now, &decision, known.as_ref())?;
        let (incident, returns) = match &placement {
            Placement::Repeats(incident) => {
                if let Some(known) = known {
                    self.repeat(tx, integration, alert, &decision, known)?;
                }
                self.attach(&incident.id);
                return Ok(Some(incident.id.clone()));
            }
            Placement::Records => {
                match known {
                    Some(known) if known.recorded() => {
                        self.repeat(tx, integration, alert, &decision, known)?
                    }
                    known => {
                        self.leave(tx, known)?;
                        self.insert(tx, integration, alert, &decision, None)?;
                    }
                }
                return Ok(None);
            }
            Placement::Joins { incident, .. } => (incident.id.clone(), true),
            Placement::Reopens(incident) => {
                self.reopen(tx, &decision, &incident.id, alert)?;
                (incident.id.clone(), false)
            }
            Placement::Opens(earlier) => (self.open(tx, &decision, alert, earlier.as_ref())?, false),
        };
        // Whether this problem was not in the incident before.
        let last = known
            .as_ref()
            .and_then(|known| known.incident.as_ref().or(known.before.as_ref()));
        let new = last != Some(&incident);
        match known.as_ref() {
            Some(recorded) if recorded.recorded() => {
                self.adopt(tx, integration, alert, &decision, recorded, &incident)?;
            }
            known => {
                let returning = known.is_some();
                self.leave(tx, known.cloned())?;
                if returns {
                    self.fires_again(tx, &incident, returning)?;
                }
                self.insert(tx, integration, alert, &decision, Some(&incident))?;
            }
        }
        self.group(tx, &decision, &incident, &placement)?;
        self.joins_source_group(tx, &decision, integration, alert, &incident, (&placement, new))?;
        match placement {
            Placement::Opens(_) => self.outcome().opened.push(incident.clone()),
            Placement::Reopens(_) => self.outcome().reopened.push(incident.clone()),
            _ => self.attach(&incident),
        }
        Ok(Some(incident))
    }

    fn attach(&mut self, incident: &IncidentId) {
        let outcome = self.outcome();
        if !outcome.opened.contains(incident)
            && !outcome.reopened.contains(incident)
            && !outcome.attached.contains(incident)
        {
            outcome.attached.push(incident.clone());
        }
    }

    fn open(
        &mut self,
        tx: &mut Tx<'_>,
        decision: &RuleDecision<'_>,
        alert: &Alert,
        earlier: Option<&incident::Standing>,
    ) -> Result<IncidentId> {
        let incident = incident::open_after(
            tx,
            &NewIncident {
                title: title(alert),
                severity: decision.severity,
                summary: None,
                started_at: Some(alert.started_at.unwrap_or(tx.now).min(tx.now)),
                detected_at: None,
                time_zone: None,
                affected: Vec::new(),
                drill: false,
                headline: None,
            },
            earlier.map(|earlier| &earlier.id),
        )?;
        if let Some(earlier) = earlier {
            let text = format!(
                "The same problem as in #{}, which is resolved: this is a new incident that refers to the earlier one",
                earlier.number
            );
            timeline::note(tx, &incident.id, timeline::Kind::Note, tx.now, &text)?;
        }
        self.cache.set_incident(incident::Standing {
            id: incident.id.clone(),
            number: incident.number,
            status: incident.status,
            resolved_at: None,
            drill: false,
        });
        Ok(incident.id)
    }

    fn reopen(
        &mut self,
        tx: &mut Tx<'_>,
        decision: &RuleDecision<'_>,
        id: &IncidentId,
        alert: &Alert,
    ) -> Result<()> {
        let rule = decision.rule.map_or("", |rule| rule.rule.name.as_str());
        let change = StatusChange {
            status: incident::Status::Investigating,
            message: Some(format!(
                "Reopened: \u{201c}{}\u{201d} fires again within the time that the rule \u{201c}{rule}\u{201d} allows",
                title(alert)
            )),
            at: None,
        };
        incident::set_status(tx, id, &change)?;
        let standing = incident::standing(tx.conn, id)?;
        self.cache.set_incident(standing);
        Ok(())
    }

    /// Stores which incident the group has, and notes on the timeline which rule brings alerts there.
    fn group(
        &mut self,
        tx: &mut Tx<'_>,
        decision: &RuleDecision<'_>,
        incident: &IncidentId,
        placement: &Placement,
    ) -> Result<()> {
        if let (Some(rule), Some(group)) = (decision.rule, &decision.group) {
            let held = self.cache.group(tx.conn, &group.key)?;
            let own = held.iter().find(|(of, _)| *of == rule.rule.id);
            let other = match own {
                Some((_, held)) if held != incident => self.cache.incident(tx.conn, held)?.status.is_open(),
                _ => false,
            };
            if own.is_none_or(|(_, held)| held != incident) && !other {
                on_backend!(&mut *tx.conn, c => diesel::insert_into(g::table)
                    .values((
                        g::rule_id.eq(rule.rule.id.as_str()),
                        g::key.eq(&group.key),
                        g::incident_id.eq(incident.as_str()),
                        g::updated_at.eq(tx.now),
                    ))
                    .on_conflict((g::rule_id, g::key))
                    .do_update()
                    .set((g::incident_id.eq(incident.as_str()), g::updated_at.eq(tx.now)))
                    .execute(c))?;
                self.cache.set_group(&group.key, &rule.rule.id, incident);
            }
            let name = &rule.rule.name;
            if matches!(
                placement,
                Placement::Opens(_) | Placement::Joins { grouped: true, .. }
            ) {
                let text = format!(
                    "The alert rule \u{201c}{name}\u{201d} groups alerts in this incident: {}",
                    group.in_words()
                );
                self.say_once(tx, incident, &text)?;
            }
        }
        if let Some(mute) = decision.mute.filter(|_| decision.in_maintenance()) {
            let text = format!(
                "Alerts arrived during the maintenance window \u{201c}{}\u{201d}",
                mute.name
            );
            self.say_once(tx, incident, &text)?;
        }
        Ok(())
    }

    /// Adds a note to a timeline, unless the timeline contains the same text already.
    pub(super) fn say_once(&mut self, tx: &mut Tx<'_>, incident: &IncidentId, text: &str) -> Result<()> {
        if !self.said.insert((incident.clone(), text.to_owned())) || timeline::says(tx.conn, incident, text)?
        {
            return Ok(());
        }
        timeline::note(tx, incident, timeline::Kind::Note, tx.now, text)?;
        Ok(())
    }

    fn names(
        &mut self,
        alert: &'b Alert,
        decision: &RuleDecision<'_>,
        id: &AlertId,
        incident: Option<&IncidentId>,
    ) {
        self.named.push(AlertReferences {
            alert,
            id: id.clone(),
            incident: incident.cloned(),
            chains: decision.chains.clone(),
            outcome: self.outcomes.len() - 1,
        });
    }

    /// Counts a repeat of an alert.
    fn repeat(
        &mut self,
        tx: &mut Tx<'_>,
        integration: &'b Integration,
        alert: &'b Alert,
        decision: &RuleDecision<'_>,
        mut known: KnownAlert,
    ) -> Result<()> {
        let notes: Vec<&String> = alert.notes.iter().chain(decision.notes).collect();
        if !notes.is_empty() {
            self.insert_fresh(tx)?;
            diesel::update(a::table.find(known.id.as_str()))
                .set(a::notes.eq(Some(serde_json::to_string(&notes)?)))
                .execute(tx.conn)?;
        }
        known.repeats += 1;
        self.count(known.incident.as_ref(), 0, 1);
        let last = known.last_event();
        // An older event of an error counts too, but it does not become the newest event.
        if !last.makes_late(true, alert.event_at, tx.now) {
            known = known.with_event(last.after(true, alert.event_at, tx.now));
        }
        let again = self.again_of(tx, &known);
        again.times += 1;
        again.total = known.repeats;
        again.incident = known.incident.clone();
        again.mute = decision.mute.map(|mute| mute.id.clone());
        let (id, incident) = (known.id.clone(), known.incident.clone());
        self.remember(integration, alert, known);
        self.names(alert, decision, &id, incident.as_ref());
        Ok(())
    }

    /// Ends the stored alert of an incident that a person closed while the alert was firing. The next event
    /// of the alert is a new problem.
    fn leave(&mut self, tx: &mut Tx<'_>, known: Option<KnownAlert>) -> Result<()> {
        if let Some(known) = known.filter(|known| known.firing) {
            self.insert_fresh(tx)?;
            diesel::update(a::table.find(known.id.as_str()))
                .set(a::status.eq(Status::Resolved.as_str()))
                .execute(tx.conn)?;
        }
        Ok(())
    }

    /// Moves an alert that was only recorded into an incident.
    fn adopt(
        &mut self,
        tx: &mut Tx<'_>,
        integration: &'b Integration,
        alert: &'b Alert,
        decision: &RuleDecision<'_>,
        recorded: &KnownAlert,
        incident: &IncidentId,
    ) -> Result<()> {
        self.insert_fresh(tx)?;
        let known = KnownAlert {
            repeats: recorded.repeats + 1,
            incident: Some(incident.clone()),
            ..recorded
                .clone()
                .with_event(recorded.last_event().after(true, alert.event_at, tx.now))
        };
        diesel::update(a::table.find(known.id.as_str()))
            .set((
                a::incident_id.eq(incident.as_str()),
                a::repeats.eq(a::repeats + 1),
                a::last_received_at.eq(tx.now),
                a::rule_id.eq(decision.rule.map(|rule| rule.rule.id.as_str())),
                a::group_shown.eq(decision.group.as_ref().map(|group| group.shown.to_string())),
                a::quiet_id.eq(decision.mute.map(|mute| mute.id.as_str())),
                a::event_at.eq(known.event_at),
                a::event_seen_at.eq(known.event_seen_at),
                a::recorded_why.eq(None::<String>),
            ))
            .execute(tx.conn)?;
        diesel::update(ar::table.filter(ar::alert_id.eq(known.id.as_str())))
            .set(ar::incident_id.eq(incident.as_str()))
            .execute(tx.conn)?;
        for named in self.named.iter_mut().filter(|named| named.id == known.id) {
            named.incident = Some(incident.clone());
        }
        if let Some(again) = self.again.get_mut(&known.id) {
            again.incident = Some(incident.clone());
        }
        tx.record(
            Event::new(Action::AlertReceived, "alert", known.id.as_str())
                .incident(incident)
                .after(json!({"recorded_before": true, "repeats": known.repeats, "rule": decision.rule.map(|rule| &rule.rule.id)})),
        );
        // The incident counts all messages of the alert: the earlier ones that were only recorded, and this
        // one.
        self.count(Some(incident), 1, known.repeats + 1);
        self.names(alert, decision, &known.id, Some(incident));
        self.remember(integration, alert, known);
        Ok(())
    }

    fn insert(
        &mut self,
        tx: &mut Tx<'_>,
        integration: &'b Integration,
        alert: &'b Alert,
        decision: &RuleDecision<'_>,
        incident: Option<&IncidentId>,
    ) -> Result<()> {
        let last = self
            .cache
            .alert(tx.conn, integration.id.as_str(), &alert.fingerprint)?;
        let event = last.as_ref().map(KnownAlert::last_event).unwrap_or_default();
        let event = event.after(true, alert.event_at, tx.now);
        let row = NewRow::of(tx.now, integration, alert, incident, Some(decision), event)?;
        tx.record(row.event(integration, alert));
        self.count(incident, 1, 1);
        self.names(alert, decision, &row.id, incident);
        let known = KnownAlert {
            id: row.id.clone(),
            firing: alert.firing,
            incident: incident.cloned(),
            before: last.and_then(|last| last.incident.or(last.before)),
            repeats: 0,
            event_at: event.at,
            event_seen_at: event.seen_at,
        };
        self.remember(integration, alert, known);
        self.fresh.push(row);
        Ok(())
    }
}
