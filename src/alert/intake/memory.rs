//! What is known of alerts, incidents and groups while bodies are taken in: read once, and kept true by whoever changes it.
//!
//! Must never happen here: an incident that is taken for open although somebody has closed it. Each is locked before it is
//! looked at, and stays so until the transaction ends.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::alert::Status;
use crate::alert::order::LastEvent;
use crate::base::error::Result;
use crate::base::id::{AlertId, AlertRuleId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::schema::{alert_groups as g, alert_source_groups as sg, alerts as a};
use crate::db::{Conn, dialect};
use crate::incident::{self, Standing};

/// The newest alert of a problem.
#[derive(Clone, Debug)]
pub(in crate::alert) struct Known {
    pub id: AlertId,
    pub firing: bool,
    pub incident: Option<IncidentId>,
    /// Where it has none: the last incident of an earlier alert of the same problem.
    pub before: Option<IncidentId>,
    pub repeats: i64,
    /// The sender's own time of its newest event.
    pub event_at: Option<Timestamp>,
    /// When that event came, where it had a time.
    pub event_seen_at: Option<Timestamp>,
}

impl Known {
    /// The newest event of it.
    pub fn last_event(&self) -> LastEvent {
        LastEvent {
            firing: self.firing,
            at: self.event_at,
            seen_at: self.event_seen_at,
        }
    }

    /// The same after an event that is not late.
    pub fn with_event(self, event: LastEvent) -> Known {
        Known {
            firing: event.firing,
            event_at: event.at,
            event_seen_at: event.seen_at,
            ..self
        }
    }

    /// Whether it fires and was only recorded.
    pub fn recorded(&self) -> bool {
        self.firing && self.incident.is_none()
    }
}

/// What is known.
pub(in crate::alert) struct Memory {
    alerts: HashMap<(String, String), Option<Known>>,
    incidents: HashMap<IncidentId, Standing>,
    groups: HashMap<String, Vec<(AlertRuleId, IncidentId)>>,
    source_groups: HashMap<String, Option<IncidentId>>,
    locks: bool,
}

impl Memory {
    /// For changes: what is looked at is locked.
    pub fn locking() -> Self {
        Memory {
            alerts: HashMap::new(),
            incidents: HashMap::new(),
            groups: HashMap::new(),
            source_groups: HashMap::new(),
            locks: true,
        }
    }

    /// For looking only.
    pub fn looking() -> Self {
        Memory {
            locks: false,
            ..Memory::locking()
        }
    }

    /// Reads the newest alerts of these fingerprints at once.
    ///
    /// # Errors
    /// What the database answers.
    pub fn read(&mut self, conn: &mut Conn, integration: &str, fingerprints: &[&str]) -> Result<()> {
        for chunk in fingerprints.chunks(1_000) {
            let found = dialect::latest_alerts(conn, integration, chunk)?;
            for fingerprint in chunk {
                let key = (integration.to_owned(), (*fingerprint).to_owned());
                self.alerts.entry(key).or_insert(None);
            }
            for row in found {
                let before = match &row.incident_id {
                    Some(_) => None,
                    None => a::table
                        .filter(a::integration_id.eq(integration))
                        .filter(a::fingerprint.eq(&row.fingerprint))
                        .filter(a::incident_id.is_not_null())
                        .order((a::received_at.desc(), a::id.desc()))
                        .select(a::incident_id)
                        .first::<Option<IncidentId>>(conn)
                        .optional()?
                        .flatten(),
                };
                let known = Known {
                    before,
                    id: row.id,
                    firing: row.status == Status::Firing.as_str(),
                    incident: row.incident_id,
                    repeats: row.repeats,
                    event_at: row.event_at,
                    event_seen_at: row.event_seen_at,
                };
                self.alerts
                    .insert((integration.to_owned(), row.fingerprint), Some(known));
            }
        }
        Ok(())
    }

    /// The newest alert of a problem.
    ///
    /// # Errors
    /// What the database answers.
    pub fn alert(&mut self, conn: &mut Conn, integration: &str, fingerprint: &str) -> Result<Option<Known>> {
        let key = (integration.to_owned(), fingerprint.to_owned());
        if !self.alerts.contains_key(&key) {
            self.read(conn, integration, &[fingerprint])?;
        }
        Ok(self.alerts.get(&key).cloned().flatten())
    }

    /// Says what the newest alert of a problem is now.
    pub fn set_alert(&mut self, integration: &str, fingerprint: &str, known: Known) {
        self.alerts
            .insert((integration.to_owned(), fingerprint.to_owned()), Some(known));
    }

    /// Where an incident stands.
    ///
    /// # Errors
    /// What the database answers.
    pub fn incident(&mut self, conn: &mut Conn, id: &IncidentId) -> Result<Standing> {
        if let Some(standing) = self.incidents.get(id) {
            return Ok(standing.clone());
        }
        if self.locks {
            dialect::lock(conn, dialect::Lock::Incident, id.as_str())?;
        }
        let standing = incident::standing(conn, id)?;
        self.incidents.insert(id.clone(), standing.clone());
        Ok(standing)
    }

    /// Says where an incident stands now.
    pub fn set_incident(&mut self, standing: Standing) {
        self.incidents.insert(standing.id.clone(), standing);
    }

    /// The last incidents of a group, by the rules that placed alerts in them.
    ///
    /// # Errors
    /// What the database answers.
    pub fn group(&mut self, conn: &mut Conn, key: &str) -> Result<Vec<(AlertRuleId, IncidentId)>> {
        if let Some(held) = self.groups.get(key) {
            return Ok(held.clone());
        }
        let rows: Vec<(AlertRuleId, IncidentId)> = g::table
            .filter(g::key.eq(key))
            .order((g::updated_at.desc(), g::incident_id.desc()))
            .select((g::rule_id, g::incident_id))
            .load(conn)?;
        self.groups.insert(key.to_owned(), rows.clone());
        Ok(rows)
    }

    /// The last incident of a group that the sender itself made.
    ///
    /// # Errors
    /// What the database answers.
    pub fn source_group(&mut self, conn: &mut Conn, key: &str) -> Result<Option<IncidentId>> {
        if let Some(held) = self.source_groups.get(key) {
            return Ok(held.clone());
        }
        let incident: Option<IncidentId> = sg::table
            .find(key)
            .select(sg::incident_id)
            .first(conn)
            .optional()?;
        self.source_groups.insert(key.to_owned(), incident.clone());
        Ok(incident)
    }

    /// Says which incident is the last one of a group that the sender itself made.
    pub fn set_source_group(&mut self, key: &str, incident: &IncidentId) {
        self.source_groups.insert(key.to_owned(), Some(incident.clone()));
    }

    /// Says which incident a group's last one is by a rule.
    pub fn set_group(&mut self, key: &str, rule: &AlertRuleId, incident: &IncidentId) {
        let held = self.groups.entry(key.to_owned()).or_default();
        held.retain(|(of, _)| of != rule);
        held.insert(0, (rule.clone(), incident.clone()));
    }
}
