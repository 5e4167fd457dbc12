//! Silences and maintenance windows: times in which an alert opens nothing.
//!
//! A silenced alert is only recorded. One in a maintenance window joins the incident that is open for it, and opens none.
//! Both say by which silence or window that was, and stay as history when they have ended.
//!
//! Must never happen here: one that hides everything, one that never ends, or one that hides a problem of something that
//! it does not name.

mod manage;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::matcher::{Matcher, Matchers, Subject};
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::QuietId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::quiet_periods as q;
use crate::directory::source::cron;
use crate::directory::{ResourceRef, resource};
pub use manage::{check_silence, check_window, end, get, list, open_window, silence};

word_enum! {
    /// Which of the two.
    #[schema(as = QuietKind)]
    Kind, "a kind" {
        /// A silence.
        Silence = "silence",
        /// A maintenance window.
        Maintenance = "maintenance",
    }
}

word_enum! {
    /// Whether it holds.
    QuietState, "a state" {
        /// It has not begun.
        Pending = "pending",
        /// It has begun and not ended.
        Active = "active",
        /// It is over.
        Ended = "ended",
    }
}

/// A silence to make.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSilence {
    /// All of them have to hold.
    pub matchers: Vec<Matcher>,
    /// From when; unset: now.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// Until when; a year at most.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
}

/// A maintenance window to make.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewMaintenanceWindow)]
pub struct NewWindow {
    /// What people call it; timelines name it.
    pub name: String,
    /// From when; unset: now.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// Until when; a year at most.
    pub until: Timestamp,
    /// Only for `duration` seconds from each time of this cron expression (five fields, in UTC).
    #[serde(default)]
    pub schedule: Option<String>,
    /// How long it holds each time, in seconds.
    #[serde(default)]
    pub duration: Option<i64>,
    /// All of them have to hold.
    #[serde(default)]
    pub matchers: Vec<Matcher>,
    /// Alerts that name only these resources, or what is part of them. With `matchers` too, both have to hold.
    #[serde(default)]
    pub resources: Vec<ResourceRef>,
}

/// A silence, as shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Silence {
    /// Its id.
    pub id: QuietId,
    /// All of them have to hold.
    pub matchers: Vec<Matcher>,
    /// From when.
    pub from: Timestamp,
    /// Until when it was meant to hold.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// Whether it holds.
    pub state: QuietState,
    /// When it was ended early.
    pub ended_at: Option<Timestamp>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A maintenance window, as shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = MaintenanceWindow)]
pub struct Window {
    /// Its id.
    pub id: QuietId,
    /// What people call it.
    pub name: String,
    /// From when.
    pub from: Timestamp,
    /// Until when it was meant to last.
    pub until: Timestamp,
    /// The times at which it holds.
    pub schedule: Option<String>,
    /// How long it holds each time, in seconds.
    pub duration: Option<i64>,
    /// All of them have to hold.
    pub matchers: Vec<Matcher>,
    /// The resources that it is about.
    pub resources: Vec<ResourceRef>,
    /// Whether it has begun, and ended. One with a schedule may be between two of its times.
    pub state: QuietState,
    /// Whether it holds at this moment.
    pub in_force: bool,
    /// When it was ended early.
    pub ended_at: Option<Timestamp>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(Clone, Queryable)]
struct Row {
    id: QuietId,
    kind: String,
    name: String,
    matchers: String,
    resources: String,
    starts_at: Timestamp,
    ends_at: Timestamp,
    schedule: Option<String>,
    duration: Option<i64>,
    ended_at: Option<Timestamp>,
    created_by: String,
    created_at: Timestamp,
}

/// A silence or a window, as stored.
#[derive(Clone, Debug)]
pub struct Quiet {
    pub(super) id: QuietId,
    pub(super) kind: Kind,
    /// A window's name, or why there is a silence.
    pub(super) name: String,
    matchers: Vec<Matcher>,
    resources: Vec<ResourceRef>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    schedule: Option<String>,
    duration: Option<i64>,
    ended_at: Option<Timestamp>,
    created_by: String,
    created_at: Timestamp,
}

impl Row {
    fn view(self) -> Result<Quiet> {
        Ok(Quiet {
            id: self.id,
            kind: Kind::parse(&self.kind).map_err(Error::internal)?,
            name: self.name,
            matchers: serde_json::from_str(&self.matchers)?,
            resources: serde_json::from_str(&self.resources)?,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            schedule: self.schedule,
            duration: self.duration,
            ended_at: self.ended_at,
            created_by: self.created_by,
            created_at: self.created_at,
        })
    }
}

impl Quiet {
    fn state(&self, now: Timestamp) -> QuietState {
        if self.ended_at.is_some() || self.ends_at <= now {
            QuietState::Ended
        } else if self.starts_at > now {
            QuietState::Pending
        } else {
            QuietState::Active
        }
    }

    /// Whether it holds now.
    fn in_force(&self, now: Timestamp) -> bool {
        if self.state(now) != QuietState::Active {
            return false;
        }
        match (&self.schedule, self.duration) {
            // The first of its times after the last that could still hold: it has come, or not.
            (Some(schedule), Some(seconds)) => {
                let since = now.minus(Duration::from_secs(seconds.unsigned_abs()));
                cron::next(schedule, since).is_some_and(|at| at <= now && at >= self.starts_at)
            }
            _ => true,
        }
    }

    /// Which of the two.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its id, as pages go on from it.
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// As a silence.
    pub fn silence(self, now: Timestamp) -> Silence {
        Silence {
            state: self.state(now),
            id: self.id,
            matchers: self.matchers,
            from: self.starts_at,
            until: self.ends_at,
            reason: self.name,
            ended_at: self.ended_at,
            created_by: self.created_by,
            created_at: self.created_at,
        }
    }

    /// As a maintenance window.
    pub fn window(self, now: Timestamp) -> Window {
        Window {
            state: self.state(now),
            in_force: self.in_force(now),
            id: self.id,
            name: self.name,
            from: self.starts_at,
            until: self.ends_at,
            schedule: self.schedule,
            duration: self.duration,
            matchers: self.matchers,
            resources: self.resources,
            ended_at: self.ended_at,
            created_by: self.created_by,
            created_at: self.created_at,
        }
    }
}

/// One that holds now, ready to be asked.
pub(super) struct Ready {
    pub quiet: Quiet,
    matchers: Matchers,
    /// The keys of its resources. One that is gone is none any more.
    resources: HashSet<i64>,
}

/// All that hold now: silences first, the oldest of each kind first.
///
/// # Errors
/// What the database answers.
pub(super) fn ready(conn: &mut Conn, now: Timestamp) -> Result<Vec<Ready>> {
    let rows: Vec<Row> = q::table
        .filter(q::ended_at.is_null())
        .filter(q::ends_at.gt(now))
        .filter(q::starts_at.le(now))
        .order((q::kind.desc(), q::id))
        .load(conn)?;
    let mut ready = Vec::new();
    for row in rows {
        let quiet = row.view()?;
        if !quiet.in_force(now) {
            continue;
        }
        let keys = resource::keys(conn, &quiet.resources.iter().collect::<Vec<_>>())?;
        ready.push(Ready {
            matchers: Matchers::compile(&quiet.matchers)?,
            resources: keys.into_values().collect(),
            quiet,
        });
    }
    Ok(ready)
}

/// What an alert names, for windows that are about resources; looked up when one asks.
pub(super) trait Named {
    /// The keys of the resources that the alert makes affected.
    ///
    /// # Errors
    /// What the database answers.
    fn hit(&mut self, conn: &mut Conn) -> Result<Vec<i64>>;
}

impl Ready {
    /// The fields that are longer than its expressions look at.
    pub fn too_long(&self, subject: Subject<'_>) -> Vec<&str> {
        self.matchers.too_long(subject)
    }

    /// Whether it is about this alert.
    ///
    /// # Errors
    /// What the database answers.
    pub fn holds(&self, conn: &mut Conn, subject: Subject<'_>, named: &mut impl Named) -> Result<bool> {
        if !self.matchers.hold(subject) {
            return Ok(false);
        }
        if self.quiet.resources.is_empty() {
            return Ok(true);
        }
        let hit = named.hit(conn)?;
        let mut within: HashMap<i64, bool> = hit.iter().map(|key| (*key, false)).collect();
        for (start, node) in resource::above(conn, &hit)? {
            if self.resources.contains(&node) {
                within.insert(start, true);
            }
        }
        // All that it names: what is named beside them is not being worked on.
        Ok(!within.is_empty() && within.values().all(|inside| *inside))
    }
}

/// The kinds of these, by id.
///
/// # Errors
/// What the database answers.
pub(super) fn kinds(conn: &mut Conn, ids: &[&str]) -> Result<HashMap<String, Kind>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, String)> = q::table
        .filter(q::id.eq_any(ids))
        .select((q::id, q::kind))
        .load(conn)?;
    rows.into_iter()
        .map(|(id, kind)| Ok((id, Kind::parse(&kind).map_err(Error::internal)?)))
        .collect()
}
