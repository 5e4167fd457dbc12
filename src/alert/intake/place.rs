//! Where an alert that fires belongs: decided without changing anything, so that a trial can ask the same.
//!
//! Must never happen here: an alert that a closed incident swallows, a group that takes what its rule does not match, or an
//! incident that a silence or a window did not keep from being opened.

use crate::alert::grouping::Policy;
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::incident::{Standing, Status};

use super::ground::Judged;
use super::memory::{Known, Memory};

/// What becomes of an alert that fires.
#[derive(Clone, Debug)]
pub(in crate::alert) enum Fate {
    /// It fires already, on an open incident.
    Repeats(Standing),
    /// It joins an open incident: its own of before, or (`grouped`) its group's.
    Joins {
        /// The incident.
        incident: Standing,
        /// Whether its group says so, be it a rule's or its sender's.
        grouped: bool,
    },
    /// Its own incident was closed a moment ago, and is opened again.
    Reopens(Standing),
    /// It opens an incident; this one was the last of it before.
    Opens(Option<Standing>),
    /// It is on record, and that is all.
    Records,
}

fn open(standing: &Standing) -> bool {
    standing.status != Status::Resolved
}

/// What becomes of an alert that fires.
///
/// # Errors
/// What the database answers.
pub(in crate::alert) fn fate(
    conn: &mut Conn,
    memory: &mut Memory,
    now: Timestamp,
    judged: &Judged<'_>,
    known: Option<&Known>,
) -> Result<Fate> {
    let last = known.and_then(|known| known.incident.as_ref().or(known.before.as_ref()));
    let own = match last {
        Some(incident) => Some(memory.incident(conn, incident)?),
        None => None,
    };
    let own_open = own.clone().filter(open);
    let there = known.is_some_and(|known| known.firing && known.incident.is_some());
    if let Some(incident) = own_open.clone().filter(|_| there) {
        return Ok(Fate::Repeats(incident));
    }
    if judged.silenced() || judged.policy == Policy::Record {
        return Ok(Fate::Records);
    }
    if let Some(incident) = own_open {
        return Ok(Fate::Joins {
            incident,
            grouped: false,
        });
    }
    let mut last = None;
    if let (None, Some(group)) = (judged.rule, &judged.group)
        && let Some(incident) = memory.source_group(conn, &group.key)?
    {
        let incident = memory.incident(conn, &incident)?;
        if open(&incident) {
            return Ok(Fate::Joins {
                incident,
                grouped: true,
            });
        }
        last = Some(incident);
    }
    if let (Some(rule), Some(group)) = (judged.rule, &judged.group) {
        for (of, incident) in memory.group(conn, &group.key)? {
            if judged.policy == Policy::Open && of != rule.rule.id {
                continue;
            }
            let incident = memory.incident(conn, &incident)?;
            if open(&incident) {
                return Ok(Fate::Joins {
                    incident,
                    grouped: true,
                });
            }
            last = last.or(Some(incident));
        }
    }
    if judged.in_maintenance() || judged.policy == Policy::Attach {
        return Ok(Fate::Records);
    }
    let within = judged.rule.map_or(0, |rule| rule.rule.reopen_within);
    let flaps = |closed: &Standing| {
        within > 0
            && closed
                .resolved_at
                .is_some_and(|at| now.seconds_since(at) <= within)
    };
    Ok(match own {
        Some(closed) if flaps(&closed) => Fate::Reopens(closed),
        own => Fate::Opens(own.or(last)),
    })
}
