//! Reads what decides about alerts: the alert rules, the silences and the maintenance windows. They are read
//! once for many alerts.

use crate::alert::grouping::{self, Group, Policy};
use crate::alert::matcher::Subject;
use crate::alert::quiet::{self, Kind, Named, Quiet};
use crate::alert::{rules, source};
use crate::base::error::Result;
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::directory::ResourceRef;
use crate::incident::Severity;

/// The number of notes on one alert about conditions that did not examine it.
const MOST_NOTES: usize = 10;

/// The alert rules, silences and maintenance windows that decide about alerts.
pub(in crate::alert) struct Ground {
    rules: Vec<grouping::Ready>,
    quiets: Vec<quiet::Ready>,
}

/// The decision about one alert.
pub(in crate::alert) struct Judged<'g> {
    /// The first alert rule that matches.
    pub rule: Option<&'g grouping::Ready>,
    /// The group by that rule. Without a rule, the group that the sender put the alert in.
    pub group: Option<Group>,
    /// The silence that covers the alert, or else the maintenance window.
    pub quiet: Option<&'g Quiet>,
    /// What happens with the alert.
    pub policy: Policy,
    /// The severity of an incident that this alert opens.
    pub severity: Severity,
    /// The references of the alert, and the resources that the rule adds.
    pub chains: Vec<Vec<ResourceRef>>,
    /// Conditions that did not examine the alert because its texts are too long for them.
    pub notes: Vec<String>,
}

impl Judged<'_> {
    /// Returns whether a silence covers the alert.
    pub fn silenced(&self) -> bool {
        self.quiet.is_some_and(|quiet| quiet.kind == Kind::Silence)
    }

    /// Returns whether a maintenance window covers the alert.
    pub fn in_maintenance(&self) -> bool {
        self.quiet.is_some_and(|quiet| quiet.kind == Kind::Maintenance)
    }
}

struct Chains<'c> {
    chains: &'c [Vec<ResourceRef>],
    hit: Option<Vec<i64>>,
}

impl Named for Chains<'_> {
    fn hit(&mut self, conn: &mut Conn) -> Result<Vec<i64>> {
        if self.hit.is_none() {
            self.hit = Some(rules::resolve(conn, self.chains)?.hit);
        }
        Ok(self.hit.clone().unwrap_or_default())
    }
}

impl Ground {
    /// Reads the rules, and the silences and maintenance windows that apply now.
    pub fn read(conn: &mut Conn, now: Timestamp) -> Result<Self> {
        Ok(Ground {
            rules: grouping::ready(conn)?,
            quiets: quiet::ready(conn, now)?,
        })
    }

    /// Returns the same with these rules instead of the stored ones.
    pub fn with_rules(self, rules: Vec<grouping::Ready>) -> Self {
        Ground { rules, ..self }
    }

    /// Decides about one alert.
    pub fn judge<'g>(&'g self, conn: &mut Conn, subject: Subject<'_>) -> Result<Judged<'g>> {
        let Subject { integration, alert } = subject;
        let rule = self.rules.iter().find(|rule| rule.holds(subject));
        let mut chains = rules::chains(&integration.resource_rules, alert);
        if let Some(rule) = rule {
            chains.extend(rule.rule.resources.iter().map(|at| vec![at.clone()]));
        }
        let mut quiet = None;
        let mut named = Chains {
            chains: &chains,
            hit: None,
        };
        for one in &self.quiets {
            if one.holds(conn, subject, &mut named)? {
                quiet = Some(&one.quiet);
                break;
            }
        }
        Ok(Judged {
            group: match rule {
                Some(rule) => Some(rule.group(subject)),
                None => alert
                    .group
                    .as_deref()
                    .filter(|_| integration.open_incident)
                    .map(|name| grouping::of_source(&integration.id, name)),
            },
            quiet,
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
            notes: self.unseen(subject),
        })
    }

    /// Describes the conditions that do not examine an alert because a value is too long.
    fn unseen(&self, subject: Subject<'_>) -> Vec<String> {
        let rules = self.rules.iter().flat_map(|ready| {
            let fields = ready.too_long(subject).into_iter();
            fields.map(move |field| ("alert rule", ready.rule.name.as_str(), field))
        });
        let quiets = self.quiets.iter().flat_map(|ready| {
            let fields = ready.too_long(subject).into_iter();
            fields.map(move |field| (ready.quiet.kind.as_str(), ready.quiet.name.as_str(), field))
        });
        rules
            .chain(quiets)
            .take(MOST_NOTES)
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
