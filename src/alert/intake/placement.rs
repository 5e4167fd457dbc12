//! Decides the placement of an alert that fires. It changes nothing, so that a trial can use the same code.
//!
//! An alert never joins a closed incident, unless a rule reopens that incident. A group never takes an alert
//! that its rule does not match. A silence or a maintenance window prevents that an incident is opened. An alert never joins,
//! repeats in or reopens a drill, because a drill notifies no customer.

use crate::alert::grouping::Policy;
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::incident::Standing;

use super::cache::{IntakeCache, KnownAlert};
use super::conditions::RuleDecision;

/// The placement of an alert that fires.
#[derive(Clone, Debug)]
pub(in crate::alert) enum Placement {
    /// The alert already fires in this open incident.
    Repeats(Standing),
    /// The alert joins an open incident.
    Joins {
        /// The incident that the alert joins.
        incident: Standing,
        /// Whether a group, of a rule or of the sender, leads to this incident. If false, the alert was in
        /// this incident before.
        grouped: bool,
    },
    /// The incident of the alert was closed recently and is reopened.
    Reopens(Standing),
    /// The alert opens a new incident. This is the last earlier incident of the alert or of its group.
    Opens(Option<Standing>),
    /// The alert is only recorded.
    Records,
}

fn open(standing: &Standing) -> bool {
    standing.status.is_open() && !standing.drill
}

/// Decides the placement of an alert that fires.
pub(in crate::alert) fn placement(
    conn: &mut Conn,
    cache: &mut IntakeCache,
    now: Timestamp,
    decision: &RuleDecision<'_>,
    known: Option<&KnownAlert>,
) -> Result<Placement> {
    let last = known.and_then(|known| known.incident.as_ref().or(known.before.as_ref()));
    let own = match last {
        Some(incident) => Some(cache.incident(conn, incident)?).filter(|incident| !incident.drill),
        None => None,
    };
    let own_open = own.clone().filter(open);
    let there = known.is_some_and(|known| known.firing && known.incident.is_some());
    if let Some(incident) = own_open.clone().filter(|_| there) {
        return Ok(Placement::Repeats(incident));
    }
    if decision.silenced() || decision.policy == Policy::Record {
        return Ok(Placement::Records);
    }
    if let Some(incident) = own_open {
        return Ok(Placement::Joins {
            incident,
            grouped: false,
        });
    }
    let mut last = None;
    if let (None, Some(group)) = (decision.rule, &decision.group)
        && let Some(incident) = cache.source_group(conn, &group.key)?
    {
        let incident = cache.incident(conn, &incident)?;
        if open(&incident) {
            return Ok(Placement::Joins {
                incident,
                grouped: true,
            });
        }
        last = Some(incident).filter(|incident| !incident.drill);
    }
    if let (Some(rule), Some(group)) = (decision.rule, &decision.group) {
        for (of, incident) in cache.group(conn, &group.key)? {
            if decision.policy == Policy::Open && of != rule.rule.id {
                continue;
            }
            let incident = cache.incident(conn, &incident)?;
            if open(&incident) {
                return Ok(Placement::Joins {
                    incident,
                    grouped: true,
                });
            }
            last = last.or(Some(incident).filter(|incident| !incident.drill));
        }
    }
    if decision.in_maintenance() || decision.policy == Policy::Attach {
        return Ok(Placement::Records);
    }
    let within = decision.rule.map_or(0, |rule| rule.rule.reopen_within);
    let flaps = |closed: &Standing| {
        within > 0
            && closed
                .resolved_at
                .is_some_and(|at| now.seconds_since(at) <= within)
    };
    Ok(match own {
        Some(closed) if flaps(&closed) => Placement::Reopens(closed),
        own => Placement::Opens(own.or(last)),
    })
}
