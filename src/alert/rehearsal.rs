//! What would happen to the alerts of a body: decided as intake decides it, one after another, in memory alone.
//!
//! Must never happen here: a write, or an answer that intake would not give.

use std::collections::HashMap;

use serde::Serialize;

use super::Status;
use super::intake::RecordedReason;
use super::intake::ground::Ground;
use super::intake::memory::{Known, Memory};
use super::intake::place::{Fate, fate};
use super::intake::unchanged::unchanged;
use super::integration::Integration;
use super::matcher::Subject;
use super::rules;
use super::source::Alert;
use super::trial::{Found, TriedAlert};
use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::id::{AlertId, AlertRuleId, IncidentId, QuietId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::incident::{self, Standing};

/// A rule that an alert matches.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TriedRule {
    /// Its id; null where it is only tried.
    pub id: Option<AlertRuleId>,
    /// Its place, from 1.
    pub position: i64,
    /// What it is called.
    pub name: String,
}

/// A silence or maintenance window that is about an alert.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TriedQuiet {
    /// Its id.
    pub id: QuietId,
    /// The window's name, or why there is a silence.
    pub name: String,
}

word_enum! {
    /// What would happen to an alert.
    TriedFate, "what happens to an alert" {
        /// It would open an incident.
        Opens = "opens",
        /// It would join an open incident.
        Attaches = "attaches",
        /// It would open again an incident that was closed a moment ago.
        Reopens = "reopens",
        /// It would be on record, and no more.
        Records = "records",
        /// It fires already: it would be counted.
        Repeats = "repeats",
        /// It would end its alert.
        Resolves = "resolves",
        /// Its alert has ended already, or the event is older than what is known of it: nothing.
        Nothing = "nothing",
    }
}

/// What would happen.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Would {
    /// In a word.
    pub happens: TriedFate,
    /// The incident that it would join, open again, or be counted in.
    pub incident: Option<TriedIncident>,
    /// Where that is opened by another alert of the body: which one, from 0.
    pub opened_by: Option<usize>,
    /// The earlier incident that a new one would name.
    pub earlier: Option<TriedIncident>,
}

/// An incident that is there.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TriedIncident {
    /// Its id.
    pub id: IncidentId,
    /// Its number.
    pub number: i64,
}

/// Takes alerts in as intake does, and writes it down nowhere but here: what one of a body does to the next.
pub(super) struct Rehearsal {
    integration: Integration,
    ground: Ground,
    /// Whether the rules are the stored ones.
    stored: bool,
    now: Timestamp,
    memory: Memory,
    /// Incidents that alerts of this body would open, and which of them.
    opened: HashMap<IncidentId, usize>,
}

impl Rehearsal {
    /// With these rules and silences; `stored` says whether the rules are the stored ones.
    pub fn new(integration: Integration, ground: Ground, stored: bool, now: Timestamp) -> Self {
        Rehearsal {
            integration,
            ground,
            stored,
            now,
            memory: Memory::looking(),
            opened: HashMap::new(),
        }
    }

    /// What would become of the alert at that place of the body.
    ///
    /// # Errors
    /// What the database answers.
    pub fn tried(&mut self, conn: &mut Conn, index: usize, alert: Alert) -> Result<TriedAlert> {
        let subject = Subject {
            integration: &self.integration,
            alert: &alert,
        };
        let judged = self.ground.judge(conn, subject)?;
        let known = self
            .memory
            .alert(conn, self.integration.id.as_str(), &alert.fingerprint)?;
        let resolved = rules::resolve(conn, &judged.chains)?;
        let unchanged = known
            .as_ref()
            .and_then(|known| unchanged(known, &alert, self.now));
        let would = if unchanged.is_some() {
            self.would(TriedFate::Nothing, None, None)
        } else if alert.firing {
            let fate = fate(conn, &mut self.memory, self.now, &judged, known.as_ref())?;
            let mut at = known.as_ref().and_then(|known| known.incident.clone());
            let would = match fate {
                Fate::Repeats(incident) => self.would(TriedFate::Repeats, Some(incident), None),
                Fate::Records => {
                    at = None;
                    let again = known.as_ref().is_some_and(Known::recorded);
                    let happens = if again {
                        TriedFate::Repeats
                    } else {
                        TriedFate::Records
                    };
                    self.would(happens, None, None)
                }
                Fate::Joins { incident, .. } => {
                    at = Some(incident.id.clone());
                    self.would(TriedFate::Attaches, Some(incident), None)
                }
                Fate::Reopens(incident) => {
                    at = Some(incident.id.clone());
                    self.memory.set_incident(Standing {
                        status: incident::Status::Investigating,
                        resolved_at: None,
                        ..incident.clone()
                    });
                    self.would(TriedFate::Reopens, Some(incident), None)
                }
                Fate::Opens(earlier) => {
                    let id = IncidentId::new(self.now);
                    self.opened.insert(id.clone(), index);
                    self.memory.set_incident(Standing {
                        id: id.clone(),
                        number: 0,
                        status: incident::Status::Investigating,
                        resolved_at: None,
                    });
                    at = Some(id);
                    self.would(TriedFate::Opens, None, earlier)
                }
            };
            if let (Some(rule), Some(group), Some(at)) = (judged.rule, &judged.group, &at)
                && matches!(would.happens, TriedFate::Opens | TriedFate::Reopens)
            {
                self.memory.set_group(&group.key, &rule.rule.id, at);
            }
            if let (None, Some(group), Some(at)) = (judged.rule, &judged.group, &at)
                && matches!(would.happens, TriedFate::Opens | TriedFate::Reopens)
            {
                self.memory.set_source_group(&group.key, at);
            }
            let last = known.as_ref().map(Known::last_event).unwrap_or_default();
            let last = last.after(true, alert.event_at, self.now);
            let now = Known {
                id: AlertId::new(self.now),
                firing: true,
                incident: at,
                before: known.and_then(|known| known.incident.or(known.before)),
                repeats: 0,
                event_at: last.at,
                event_seen_at: last.seen_at,
            };
            self.memory
                .set_alert(self.integration.id.as_str(), &alert.fingerprint, now);
            would
        } else {
            match known {
                Some(known) if known.firing => {
                    let incident = match &known.incident {
                        Some(id) => Some(self.memory.incident(conn, id)?),
                        None => None,
                    };
                    let last = known.last_event().after(false, alert.event_at, self.now);
                    let ended = known.with_event(last);
                    self.memory
                        .set_alert(self.integration.id.as_str(), &alert.fingerprint, ended);
                    self.would(TriedFate::Resolves, incident, None)
                }
                Some(_) => self.would(TriedFate::Nothing, None, None),
                None => self.would(TriedFate::Records, None, None),
            }
        };
        let quiet = |wanted: bool| {
            judged.quiet.filter(|_| wanted).map(|quiet| TriedQuiet {
                id: quiet.id.clone(),
                name: quiet.name.clone(),
            })
        };
        let references = resolved.all.iter().map(|at| {
            let key = resolved.keys.get(at);
            Found {
                type_: at.type_.clone(),
                id: at.id.clone(),
                known: key.is_some(),
                affected: key.is_some_and(|key| resolved.hit.contains(key)),
            }
        });
        Ok(TriedAlert {
            references: references.collect(),
            rule: judged.rule.map(|rule| TriedRule {
                id: self.stored.then(|| rule.rule.id.clone()),
                position: rule.rule.position,
                name: rule.rule.name.clone(),
            }),
            group: judged.group.as_ref().map(|group| group.shown.clone()),
            policy: judged.policy,
            silence: quiet(judged.silenced()),
            maintenance_window: quiet(judged.in_maintenance()),
            would,
            incident_severity: judged.severity,
            fingerprint: alert.fingerprint,
            status: if alert.firing {
                Status::Firing
            } else {
                Status::Resolved
            },
            severity: alert.severity,
            title: alert.title,
            text: alert.text,
            started_at: alert.started_at,
            ended_at: alert.ended_at,
            link: alert.link,
            labels: alert.labels,
            annotations: alert.annotations,
            people: alert.people,
            event_at: alert.event_at.map(|event| event.at),
            notes: alert.notes,
            recorded: unchanged.or(alert.informs.map(|_| RecordedReason::Informational)),
        })
    }

    fn would(&self, happens: TriedFate, incident: Option<Standing>, earlier: Option<Standing>) -> Would {
        let shown = |standing: Standing| TriedIncident {
            id: standing.id,
            number: standing.number,
        };
        let opened_by = incident
            .as_ref()
            .and_then(|incident| self.opened.get(&incident.id).copied());
        Would {
            happens,
            // One that another alert of the body would open is not there, and has no number.
            incident: incident.filter(|_| opened_by.is_none()).map(shown),
            opened_by,
            earlier: earlier
                .filter(|earlier| !self.opened.contains_key(&earlier.id))
                .map(shown),
        }
    }
}
