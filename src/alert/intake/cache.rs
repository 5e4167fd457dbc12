//! The cache of an intake transaction: what is known of alerts, incidents and groups. Each entry is read
//! once, and the code that changes the database also updates the cache.
//!
//! An incident is locked before it is read, and stays locked until the transaction ends. So intake never
//! treats an incident as open that somebody else has just closed.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use diesel::prelude::*;

use crate::alert::Status;
use crate::alert::mute::Mute;
use crate::alert::order::LastEvent;
use crate::base::error::Result;
use crate::base::id::{AlertId, AlertRuleId, IncidentId, MuteId};
use crate::base::time::Timestamp;
use crate::db::schema::{alert_groups as g, alert_source_groups as sg, alerts as a};
use crate::db::{Conn, dialect};
use crate::incident::{self, Standing};

/// The newest stored alert of a problem.
#[derive(Clone, Debug)]
pub(in crate::alert) struct KnownAlert {
    pub id: AlertId,
    pub firing: bool,
    pub incident: Option<IncidentId>,
    /// If the alert has no incident: the last incident of an earlier alert of the same problem.
    pub before: Option<IncidentId>,
    pub repeats: i64,
    /// The sender's own time of the newest event.
    pub event_at: Option<Timestamp>,
    /// When that event arrived. None if the event had no time.
    pub event_seen_at: Option<Timestamp>,
}

impl KnownAlert {
    /// Returns the newest event of the alert.
    pub fn last_event(&self) -> LastEvent {
        LastEvent {
            firing: self.firing,
            at: self.event_at,
            seen_at: self.event_seen_at,
        }
    }

    /// Returns the same alert after an event that is not late.
    pub fn with_event(self, event: LastEvent) -> KnownAlert {
        KnownAlert {
            firing: event.firing,
            event_at: event.at,
            event_seen_at: event.seen_at,
            ..self
        }
    }

    /// Returns whether the alert fires and is only recorded.
    pub fn recorded(&self) -> bool {
        self.firing && self.incident.is_none()
    }
}

/// The cache of an intake transaction or of a trial.
pub(in crate::alert) struct IntakeCache {
    alerts: HashMap<(String, String), Option<KnownAlert>>,
    incidents: HashMap<IncidentId, Standing>,
    groups: HashMap<String, Vec<(AlertRuleId, IncidentId)>>,
    source_groups: HashMap<String, Option<IncidentId>>,
    /// The keys of the resources of maintenance windows.
    windows: HashMap<MuteId, HashSet<i64>>,
    locks: bool,
}

impl IntakeCache {
    /// Creates a cache for changes. It locks each incident that it reads.
    pub fn locking() -> Self {
        IntakeCache {
            alerts: HashMap::new(),
            incidents: HashMap::new(),
            groups: HashMap::new(),
            source_groups: HashMap::new(),
            windows: HashMap::new(),
            locks: true,
        }
    }

    /// Creates a cache for a trial, which changes nothing. It takes no locks.
    pub fn without_locks() -> Self {
        IntakeCache {
            locks: false,
            ..IntakeCache::locking()
        }
    }

    /// Reads the newest alerts of these fingerprints with few queries.
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
                let known = KnownAlert {
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

    /// Returns the newest alert of a problem.
    pub fn alert(
        &mut self,
        conn: &mut Conn,
        integration: &str,
        fingerprint: &str,
    ) -> Result<Option<KnownAlert>> {
        let key = (integration.to_owned(), fingerprint.to_owned());
        if !self.alerts.contains_key(&key) {
            self.read(conn, integration, &[fingerprint])?;
        }
        Ok(self.alerts.get(&key).cloned().flatten())
    }

    /// Sets the newest alert of a problem.
    pub fn set_alert(&mut self, integration: &str, fingerprint: &str, known: KnownAlert) {
        self.alerts
            .insert((integration.to_owned(), fingerprint.to_owned()), Some(known));
    }

    /// Returns the state of an incident.
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

    /// Sets the state of an incident.
    pub fn set_incident(&mut self, standing: Standing) {
        self.incidents.insert(standing.id.clone(), standing);
    }

    /// Returns the last incidents of a group, each with the alert rule that placed alerts in it. The newest
    /// is first.
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

    /// Returns the last incident of a group that the sender made.
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

    /// Returns the keys of the resources of a maintenance window. Archived resources are not among them.
    pub fn window(&mut self, conn: &mut Conn, window: &Mute) -> Result<&HashSet<i64>> {
        match self.windows.entry(window.id.clone()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(free) => Ok(free.insert(window.resource_keys(conn)?)),
        }
    }

    /// Sets the last incident of a group that the sender made.
    pub fn set_source_group(&mut self, key: &str, incident: &IncidentId) {
        self.source_groups.insert(key.to_owned(), Some(incident.clone()));
    }

    /// Sets the last incident of a group for one alert rule.
    pub fn set_group(&mut self, key: &str, rule: &AlertRuleId, incident: &IncidentId) {
        let held = self.groups.entry(key.to_owned()).or_default();
        held.retain(|(of, _)| of != rule);
        held.insert(0, (rule.clone(), incident.clone()));
    }
}
