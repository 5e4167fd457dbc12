//! The conditions that decide about alerts: those of the alert rules, the silences and the maintenance windows. They are
//! read once for many alerts.
//!
//! A decision has two parts. `examine` matches the conditions. This can take seconds of processor time and needs
//! no database, so it happens before the transaction. `decide` uses the result to decide inside the transaction.

use std::time::Duration;

use diesel::prelude::*;

use super::cache::IntakeCache;
use crate::alert::grouping::{self, AlertRule, Group, Policy};
use crate::alert::integration::Integration;
use crate::alert::matcher::{Budget, Subject};
use crate::alert::mute::{self, Kind, Mute};
use crate::alert::source::Alert;
use crate::alert::{rules, source};
use crate::base::error::Result;
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::counters as c;
use crate::directory::ResourceRef;
use crate::incident::Severity;

/// The number of notes on one alert about conditions that did not examine it.
const MAX_NOTES: usize = 10;
/// The counter of the changes of alert rules, silences and maintenance windows.
const VERSION: &str = "alert_conditions";
/// How long a read state can be used. It contains what has not ended when it was read, so it grows old without a
/// change.
const FRESH: Duration = Duration::from_secs(3_600);

/// The stored alert rules, silences and maintenance windows. Their expressions are not compiled yet.
pub(in crate::alert) struct StoredConditions {
    version: i64,
    read_at: Timestamp,
    rules: Vec<AlertRule>,
    mutes: Vec<Mute>,
}

impl StoredConditions {
    /// Reads the rules, and the silences and maintenance windows that have not ended.
    pub fn read(conn: &mut Conn, now: Timestamp) -> Result<Self> {
        Ok(StoredConditions {
            version: version(conn)?,
            read_at: now,
            rules: grouping::stored(conn)?,
            mutes: mute::stored(conn, now)?,
        })
    }

    /// Compiles the expressions. This can take seconds of processor time, so call it outside of a transaction.
    pub fn compile(self) -> Result<CompiledConditions> {
        let rules: Vec<_> = self
            .rules
            .into_iter()
            .map(grouping::CompiledRule::of)
            .collect::<Result<_>>()?;
        let mutes: Vec<_> = self
            .mutes
            .into_iter()
            .map(mute::CompiledMute::of)
            .collect::<Result<_>>()?;
        Ok(CompiledConditions {
            version: self.version,
            read_at: self.read_at,
            rules,
            mutes,
        })
    }
}

/// Returns the number of changes of alert rules, silences and maintenance windows. As long as it is the same, what
/// was read before is still true.
pub(in crate::alert) fn version(conn: &mut Conn) -> Result<i64> {
    let version: Option<i64> = c::table.find(VERSION).select(c::value).first(conn).optional()?;
    Ok(version.unwrap_or_default())
}

/// The alert rules, silences and maintenance windows that decide about alerts.
pub(in crate::alert) struct CompiledConditions {
    version: i64,
    read_at: Timestamp,
    rules: Vec<grouping::CompiledRule>,
    mutes: Vec<mute::CompiledMute>,
}

/// What the conditions say about one alert.
#[derive(Clone, Debug)]
pub(in crate::alert) struct ConditionMatch {
    /// The fingerprint with which the conditions were matched.
    fingerprint: String,
    /// The index of the first alert rule that matches.
    rule: Option<usize>,
    /// The indexes of the silences and maintenance windows whose conditions match, in order. The list ends with the
    /// first that names no resources, because it covers the alert in any case.
    mutes: Vec<usize>,
    /// Conditions that did not examine the alert, with the reason.
    notes: Vec<String>,
}

/// The decision about one alert.
pub(in crate::alert) struct RuleDecision<'g> {
    /// The first alert rule that matches.
    pub rule: Option<&'g grouping::CompiledRule>,
    /// The group by that rule. Without a rule, the group that the sender put the alert in.
    pub group: Option<Group>,
    /// The silence that covers the alert, or else the maintenance window.
    pub mute: Option<&'g Mute>,
    /// What happens with the alert.
    pub policy: Policy,
    /// The severity of an incident that this alert opens.
    pub severity: Severity,
    /// The references of the alert, and the resources that the rule adds.
    pub chains: Vec<Vec<ResourceRef>>,
    /// Conditions that did not examine the alert, with the reason.
    pub notes: &'g [String],
}

impl RuleDecision<'_> {
    /// Returns whether a silence covers the alert.
    pub fn silenced(&self) -> bool {
        self.mute.is_some_and(|mute| mute.kind == Kind::Silence)
    }

    /// Returns whether a maintenance window covers the alert.
    pub fn in_maintenance(&self) -> bool {
        self.mute.is_some_and(|mute| mute.kind == Kind::Maintenance)
    }
}

impl CompiledConditions {
    /// Returns the same with these rules instead of the stored ones.
    pub fn with_rules(self, rules: Vec<grouping::CompiledRule>) -> Self {
        CompiledConditions { rules, ..self }
    }

    /// Returns the number of changes that had happened when this was read.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Returns whether this can be used now, unless something changed.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.read_at <= now && self.read_at.plus(FRESH) > now
    }

    /// Returns whether there are no conditions, so that to match them takes no time.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.mutes.is_empty()
    }

    /// Returns whether what was said about an alert is true for the same alert with this fingerprint. A fingerprint
    /// is replaced inside the transaction if the alert has several keys.
    pub fn is_valid_for(&self, hit: &ConditionMatch, alert: &Alert) -> bool {
        let examined = || {
            let rules = self.rules.iter().any(|rule| rule.examines("fingerprint"));
            rules || self.mutes.iter().any(|mute| mute.examines("fingerprint"))
        };
        hit.fingerprint == alert.fingerprint || !examined()
    }

    /// Matches the conditions with the alerts of one body that fire. Returns one result for each alert, and None for
    /// an alert that does not fire, because no condition is asked about it. This can take seconds of processor time,
    /// so call it outside of a transaction. The time for a body is limited: if it is over, no rule, silence or
    /// maintenance window is applied to the alerts that are left, and their notes say so.
    pub fn examine(
        &self,
        integration: &Integration,
        alerts: &[Alert],
        now: Timestamp,
    ) -> Vec<Option<ConditionMatch>> {
        let fires = |alert: &Alert| alert.firing;
        self.examine_if(integration, alerts, now, fires).collect()
    }

    /// The same for all alerts, also for those that do not fire.
    pub fn examine_all(
        &self,
        integration: &Integration,
        alerts: &[Alert],
        now: Timestamp,
    ) -> Vec<ConditionMatch> {
        self.examine_if(integration, alerts, now, |_| true)
            .flatten()
            .collect()
    }

    fn examine_if(
        &self,
        integration: &Integration,
        alerts: &[Alert],
        now: Timestamp,
        asked: impl Fn(&Alert) -> bool,
    ) -> impl Iterator<Item = Option<ConditionMatch>> {
        let mut budget = Budget::of_body();
        let mutes: Vec<(usize, &mute::CompiledMute)> = self
            .mutes
            .iter()
            .enumerate()
            .filter(|(_, ready)| ready.mute.in_force(now))
            .collect();
        alerts.iter().map(move |alert| {
            let subject = Subject { integration, alert };
            asked(alert).then(|| self.examine_one(subject, &mutes, &mut budget))
        })
    }

    fn examine_one(
        &self,
        subject: Subject<'_>,
        in_force: &[(usize, &mute::CompiledMute)],
        budget: &mut Budget,
    ) -> ConditionMatch {
        let mut rule = self.rules.iter().position(|rule| rule.holds(subject, budget));
        let mut mutes = Vec::new();
        for (index, ready) in in_force {
            if ready.holds(subject, budget) {
                mutes.push(*index);
                if !ready.mute.names_resources() {
                    break;
                }
            }
        }
        let mut notes = self.too_long_values(subject, in_force);
        if budget.take_skipped() {
            // A rule that was not tried could be the one that matters, so a later one must not take its place.
            rule = None;
            mutes.clear();
            let limit = Budget::seconds();
            notes.insert(
                0,
                format!(
                    "no alert rule, silence or maintenance window was applied: to match the conditions with this body took longer than {limit} s"
                ),
            );
        }
        ConditionMatch {
            fingerprint: subject.alert.fingerprint.clone(),
            rule,
            mutes,
            notes,
        }
    }

    /// Decides about one alert. `hit` is what these conditions said about it.
    pub fn decide<'g>(
        &'g self,
        conn: &mut Conn,
        cache: &mut IntakeCache,
        now: Timestamp,
        subject: Subject<'_>,
        hit: &'g ConditionMatch,
    ) -> Result<RuleDecision<'g>> {
        let Subject { integration, alert } = subject;
        let rule = hit.rule.and_then(|index| self.rules.get(index));
        let mut chains = rules::chains(&integration.resource_rules, alert);
        if let Some(rule) = rule {
            chains.extend(rule.rule.resources.iter().map(|at| vec![at.clone()]));
        }
        let mut mute = None;
        // The resources of the alert are looked up only if a window needs them.
        let mut affected: Option<Vec<i64>> = None;
        for index in &hit.mutes {
            // It can have ended since the conditions were matched.
            let Some(one) = self.mutes.get(*index).filter(|one| one.mute.is_active(now)) else {
                continue;
            };
            if one.mute.names_resources() {
                let hit = match affected.take() {
                    Some(known) => known,
                    None => rules::resolve(conn, &chains)?.hit,
                };
                let window = cache.window(conn, &one.mute)?;
                let covered = mute::covers(conn, window, &hit)?;
                affected = Some(hit);
                if !covered {
                    continue;
                }
            }
            mute = Some(&one.mute);
            break;
        }
        Ok(RuleDecision {
            group: match rule {
                Some(rule) => Some(rule.group(subject)),
                None => alert
                    .group
                    .as_deref()
                    .filter(|_| integration.open_incident)
                    .map(|name| grouping::of_source(&integration.id, name)),
            },
            mute,
            policy: match rule {
                // The sender says that this is not an outage.
                _ if alert.informs.is_some() => Policy::Record,
                Some(rule) => rule.rule.policy,
                None if integration.open_incident => Policy::Open,
                None => Policy::Attach,
            },
            severity: rule.map_or_else(
                || source::severity(&alert.severity),
                |rule| rule.severity(&alert.severity),
            ),
            rule,
            chains,
            notes: &hit.notes,
        })
    }

    /// Describes the conditions that do not examine an alert because a value is too long.
    fn too_long_values(
        &self,
        subject: Subject<'_>,
        in_force: &[(usize, &mute::CompiledMute)],
    ) -> Vec<String> {
        let rules = self.rules.iter().flat_map(|ready| {
            let fields = ready.too_long(subject).into_iter();
            fields.map(move |field| ("alert rule", ready.rule.name.as_str(), field))
        });
        let mutes = in_force.iter().flat_map(|(_, ready)| {
            let fields = ready.too_long(subject).into_iter();
            fields.map(move |field| (ready.mute.kind.as_str(), ready.mute.name.as_str(), field))
        });
        rules
            .chain(mutes)
            .take(MAX_NOTES)
            .map(|(what, name, field)| {
                let (name, field) = (one_line(name, 100), one_line(field, 100));
                format!(
                    "{what} \u{201c}{name}\u{201d}: the value of {field} is too long for the regular expression, \
                    so it does not match"
                )
            })
            .collect()
    }
}
