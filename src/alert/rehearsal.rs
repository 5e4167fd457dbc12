//! Computes what would happen to the alerts of a body. It decides about one alert after another with the same
//! code as intake, but only in memory.
//!
//! It writes nothing, and its answer is the same as that of intake.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::Value;

use super::grouping::Policy;
use super::intake::RecordedReason;
use super::intake::cache::{IntakeCache, KnownAlert};
use super::intake::conditions::{CompiledConditions, ConditionMatch};
use super::intake::placement::{Placement, placement};
use super::intake::unchanged::unchanged;
use super::integration::Integration;
use super::matcher::Subject;
use super::source::{Alert, PersonRef};
use super::{Status, rules};
use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::id::{AlertId, AlertRuleId, IncidentId, MuteId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::incident::{self, Standing};

/// An alert as it would be stored.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TriedAlert {
    /// Identifies the problem within the integration. An alert with the same fingerprint is the same problem.
    pub fingerprint: String,
    /// Whether the problem still exists.
    pub status: Status,
    /// The severity in the words of the source.
    pub severity: String,
    /// The severity of the incident that the alert would open.
    pub incident_severity: crate::incident::Severity,
    /// The title, on one line.
    pub title: String,
    /// The description, which can have several lines. Empty if the source gives none.
    pub text: String,
    /// When the problem began, by the source.
    pub started_at: Option<Timestamp>,
    /// When the problem ended, by the source.
    pub ended_at: Option<Timestamp>,
    /// A link to the alert at the source.
    pub link: Option<String>,
    /// The labels of the alert.
    pub labels: BTreeMap<String, String>,
    /// The annotations of the alert.
    pub annotations: BTreeMap<String, String>,
    /// The resources that the alert names.
    pub references: Vec<AlertResource>,
    /// The people that the alert names.
    pub people: Vec<PersonRef>,
    /// The sender's own time of the event. Null if the sender gives none.
    pub event_at: Option<Timestamp>,
    /// Details of the alert that could not be read, or that a resource rule did not search.
    pub notes: Vec<String>,
    /// Why the event would change nothing and only be recorded. Null if it counts.
    pub recorded: Option<RecordedReason>,
    /// The first alert rule that matches: a stored one, or the one at `position` in the tried rules.
    pub rule: Option<TriedRule>,
    /// The fields and values of the group that the alert would belong to.
    #[schema(value_type = Option<Object>)]
    pub group: Option<Value>,
    /// What would happen with the alert by that rule. If no rule matches, `open_incident` of the integration
    /// decides.
    pub policy: Policy,
    /// The silence that covers the alert.
    pub silence: Option<TriedMute>,
    /// The maintenance window that covers the alert.
    pub maintenance_window: Option<TriedMute>,
    /// What would happen with the alert, and which incident it would belong to.
    pub would: Would,
}

/// A resource that an alert names.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AlertResource)]
pub struct AlertResource {
    /// The type of the resource.
    #[serde(rename = "type")]
    pub type_: crate::base::id::ExternalId,
    /// The ID of the resource.
    pub id: crate::base::id::ExternalId,
    /// Whether the directory knows the resource.
    pub known: bool,
    /// Whether the resource would become affected. Of each match, only the deepest known resource does.
    pub affected: bool,
}

/// The alert rule that an alert matches.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TriedRule {
    /// The ID of the rule. Null if the rule was given for the trial and is not stored.
    pub id: Option<AlertRuleId>,
    /// The position of the rule, from 1.
    pub position: i64,
    /// The name of the rule.
    pub name: String,
}

/// The silence or maintenance window that covers an alert.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = TriedQuiet)]
pub struct TriedMute {
    /// The ID of the silence or maintenance window.
    pub id: MuteId,
    /// The name of the maintenance window, or the reason of the silence.
    pub name: String,
}

word_enum! {
    /// What would happen to an alert.
    #[schema(as = TriedFate)]
    TriedOutcome, "what happens to an alert" {
        /// The alert would open an incident.
        Opens = "opens",
        /// The alert would join an open incident.
        Attaches = "attaches",
        /// The alert would reopen an incident that was closed recently.
        Reopens = "reopens",
        /// The alert would only be recorded.
        Records = "records",
        /// The alert is already firing: it would be counted as a repeat.
        Repeats = "repeats",
        /// The event would resolve its alert.
        Resolves = "resolves",
        /// Nothing would change: the alert is already resolved, or the event is older than the known state of
        /// the alert.
        Nothing = "nothing",
    }
}

/// What would happen to one alert.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Would {
    /// The kind of result.
    pub happens: TriedOutcome,
    /// The incident that the alert would join, reopen, or be counted in.
    pub incident: Option<TriedIncident>,
    /// If another alert of the same body would open the incident: the index of that alert, from 0.
    pub opened_by: Option<usize>,
    /// The earlier incident that a new incident would refer to.
    pub earlier: Option<TriedIncident>,
}

/// An incident that exists already, so that it has an ID and a number.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TriedIncident {
    /// The ID of the incident.
    pub id: IncidentId,
    /// The number of the incident.
    pub number: i64,
}

/// Places alerts as intake does, and stores the results only in memory, because an alert of a body can change
/// the result of the next one.
pub(super) struct Rehearsal {
    integration: Integration,
    conditions: CompiledConditions,
    /// Whether the alert rules are the stored ones.
    stored: bool,
    now: Timestamp,
    cache: IntakeCache,
    /// Incidents that alerts of this body would open, with the index of the alert.
    opened: HashMap<IncidentId, usize>,
}

impl Rehearsal {
    /// Creates a trial with these rules and silences. `stored` says whether the rules are the stored ones.
    pub fn new(
        integration: Integration,
        conditions: CompiledConditions,
        stored: bool,
        now: Timestamp,
    ) -> Self {
        Rehearsal {
            integration,
            conditions,
            stored,
            now,
            cache: IntakeCache::without_locks(),
            opened: HashMap::new(),
        }
    }

    /// Matches the conditions with all alerts of a body, also with those that do not fire.
    pub fn examine(&self, alerts: &[Alert]) -> Vec<ConditionMatch> {
        self.conditions.examine_all(&self.integration, alerts, self.now)
    }

    /// Returns what would happen to the alert at this index of the body. `hit` is what the conditions say about it.
    pub fn tried(
        &mut self,
        conn: &mut Conn,
        index: usize,
        alert: Alert,
        hit: &ConditionMatch,
    ) -> Result<TriedAlert> {
        let subject = Subject {
            integration: &self.integration,
            alert: &alert,
        };
        let decision = self
            .conditions
            .decide(conn, &mut self.cache, self.now, subject, hit)?;
        let known = self
            .cache
            .alert(conn, self.integration.id.as_str(), &alert.fingerprint)?;
        let resolved = rules::resolve(conn, &decision.chains)?;
        let unchanged = known
            .as_ref()
            .and_then(|known| unchanged(known, &alert, self.now));
        let would = if unchanged.is_some() {
            self.would(TriedOutcome::Nothing, None, None)
        } else if alert.firing {
            let placement = placement(conn, &mut self.cache, self.now, &decision, known.as_ref())?;
            let mut at = known.as_ref().and_then(|known| known.incident.clone());
            let would = match placement {
                Placement::Repeats(incident) => self.would(TriedOutcome::Repeats, Some(incident), None),
                Placement::Records => {
                    at = None;
                    let again = known.as_ref().is_some_and(KnownAlert::recorded);
                    let happens = if again {
                        TriedOutcome::Repeats
                    } else {
                        TriedOutcome::Records
                    };
                    self.would(happens, None, None)
                }
                Placement::Joins { incident, .. } => {
                    at = Some(incident.id.clone());
                    self.would(TriedOutcome::Attaches, Some(incident), None)
                }
                Placement::Reopens(incident) => {
                    at = Some(incident.id.clone());
                    self.cache.set_incident(Standing {
                        status: incident::Status::Investigating,
                        resolved_at: None,
                        ..incident.clone()
                    });
                    self.would(TriedOutcome::Reopens, Some(incident), None)
                }
                Placement::Opens(earlier) => {
                    let id = IncidentId::new(self.now);
                    self.opened.insert(id.clone(), index);
                    self.cache.set_incident(Standing {
                        id: id.clone(),
                        number: 0,
                        status: incident::Status::Investigating,
                        resolved_at: None,
                        drill: false,
                    });
                    at = Some(id);
                    self.would(TriedOutcome::Opens, None, earlier)
                }
            };
            if let (Some(rule), Some(group), Some(at)) = (decision.rule, &decision.group, &at)
                && matches!(would.happens, TriedOutcome::Opens | TriedOutcome::Reopens)
            {
                self.cache.set_group(&group.key, &rule.rule.id, at);
            }
            if let (None, Some(group), Some(at)) = (decision.rule, &decision.group, &at)
                && matches!(would.happens, TriedOutcome::Opens | TriedOutcome::Reopens)
            {
                self.cache.set_source_group(&group.key, at);
            }
            let last = known.as_ref().map(KnownAlert::last_event).unwrap_or_default();
            let last = last.after(true, alert.event_at, self.now);
            let now = KnownAlert {
                id: AlertId::new(self.now),
                firing: true,
                incident: at,
                before: known.and_then(|known| known.incident.or(known.before)),
                repeats: 0,
                event_at: last.at,
                event_seen_at: last.seen_at,
            };
            self.cache
                .set_alert(self.integration.id.as_str(), &alert.fingerprint, now);
            would
        } else {
            match known {
                Some(known) if known.firing => {
                    let incident = match &known.incident {
                        Some(id) => Some(self.cache.incident(conn, id)?),
                        None => None,
                    };
                    let last = known.last_event().after(false, alert.event_at, self.now);
                    let ended = known.with_event(last);
                    self.cache
                        .set_alert(self.integration.id.as_str(), &alert.fingerprint, ended);
                    self.would(TriedOutcome::Resolves, incident, None)
                }
                Some(_) => self.would(TriedOutcome::Nothing, None, None),
                None => self.would(TriedOutcome::Records, None, None),
            }
        };
        let mute = |wanted: bool| {
            decision.mute.filter(|_| wanted).map(|mute| TriedMute {
                id: mute.id.clone(),
                name: mute.name.clone(),
            })
        };
        let references = resolved.all.iter().map(|at| {
            let key = resolved.keys.get(at);
            AlertResource {
                type_: at.type_.clone(),
                id: at.id.clone(),
                known: key.is_some(),
                affected: key.is_some_and(|key| resolved.hit.contains(key)),
            }
        });
        Ok(TriedAlert {
            references: references.collect(),
            rule: decision.rule.map(|rule| TriedRule {
                id: self.stored.then(|| rule.rule.id.clone()),
                position: rule.rule.position,
                name: rule.rule.name.clone(),
            }),
            group: decision.group.as_ref().map(|group| group.shown.clone()),
            policy: decision.policy,
            silence: mute(decision.silenced()),
            maintenance_window: mute(decision.in_maintenance()),
            would,
            incident_severity: decision.severity,
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

    fn would(&self, happens: TriedOutcome, incident: Option<Standing>, earlier: Option<Standing>) -> Would {
        let shown = |standing: Standing| TriedIncident {
            id: standing.id,
            number: standing.number,
        };
        let opened_by = incident
            .as_ref()
            .and_then(|incident| self.opened.get(&incident.id).copied());
        Would {
            happens,
            // An incident that another alert of the body would open does not exist and has no number.
            incident: incident.filter(|_| opened_by.is_none()).map(shown),
            opened_by,
            earlier: earlier
                .filter(|earlier| !self.opened.contains_key(&earlier.id))
                .map(shown),
        }
    }
}
