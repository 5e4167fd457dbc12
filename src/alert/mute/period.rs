//! A silence or a maintenance window as it is requested, stored and shown.

use std::collections::HashSet;
use std::time::Duration;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::alert::matcher::Matcher;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::MuteId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::directory::source::cron;
use crate::directory::{ResourceRef, resource};

word_enum! {
    /// Whether a mute is a silence or a maintenance window.
    #[schema(as = QuietKind)]
    Kind, "a kind" {
        /// A silence: alerts that match are only recorded.
        Silence = "silence",
        /// A maintenance window: alerts that match open no incident.
        Maintenance = "maintenance",
    }
}

word_enum! {
    /// Whether a silence or a maintenance window is active.
    #[schema(as = QuietState)]
    MuteState, "a state" {
        /// It has not begun.
        Pending = "pending",
        /// It has begun and has not ended.
        Active = "active",
        /// The silence or maintenance window has ended, by plan or early.
        Ended = "ended",
    }
}

/// The content of a new silence. Alerts that match it are only recorded.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSilence {
    /// Conditions on the alert. All of them must match.
    pub matchers: Vec<Matcher>,
    /// When the silence begins. The default is now.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// When the silence ends. At most 366 days after `from`.
    pub until: Timestamp,
    /// Why the alerts are silenced.
    pub reason: String,
}

/// A new maintenance window.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewMaintenanceWindow)]
pub struct NewWindow {
    /// The name of the maintenance window. It is shown on timelines.
    pub name: String,
    /// When the window begins. The default is now.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// When the window ends. At most 366 days after `from`.
    pub until: Timestamp,
    /// A cron expression with five fields, in UTC. If set, the window is in force only for `duration` seconds
    /// from each time of the expression.
    #[serde(default)]
    pub schedule: Option<String>,
    /// How long the window is in force at each time of `schedule`, in seconds: 60 to 604800.
    #[serde(default)]
    pub duration: Option<i64>,
    /// Conditions on the alert. All of them must match.
    #[serde(default)]
    pub matchers: Vec<Matcher>,
    /// The window covers alerts that name only these resources or parts of them. If `matchers` is set too,
    /// both must match.
    #[serde(default)]
    pub resources: Vec<ResourceRef>,
}

/// A silence as it is stored. Alerts that match it while it is active are only recorded.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Silence {
    /// The ID of the silence.
    pub id: MuteId,
    /// Conditions on the alert. All of them must match.
    pub matchers: Vec<Matcher>,
    /// When the silence begins.
    pub from: Timestamp,
    /// When the silence was planned to end.
    pub until: Timestamp,
    /// Why the alerts are silenced.
    pub reason: String,
    /// Whether the silence is active.
    pub state: MuteState,
    /// When the silence was ended early. Null if it was not.
    pub ended_at: Option<Timestamp>,
    /// Who created the silence.
    pub created_by: String,
    /// When the silence was created.
    pub created_at: Timestamp,
}

/// A maintenance window as it is stored. Alerts that match it while it is in force open no incident.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = MaintenanceWindow)]
pub struct Window {
    /// The ID of the maintenance window.
    pub id: MuteId,
    /// The name of the maintenance window.
    pub name: String,
    /// When the window begins.
    pub from: Timestamp,
    /// When the window was planned to end.
    pub until: Timestamp,
    /// The cron expression of the times at which the window is in force, in UTC.
    pub schedule: Option<String>,
    /// How long the window is in force at each time of `schedule`, in seconds.
    pub duration: Option<i64>,
    /// Conditions on the alert. All of them must match.
    pub matchers: Vec<Matcher>,
    /// The window covers alerts that name only these resources or parts of them.
    pub resources: Vec<ResourceRef>,
    /// Whether the window has begun and ended. An active window with a schedule can be between two of its
    /// times; see `in_force`.
    pub state: MuteState,
    /// Whether the window covers alerts at this moment.
    pub in_force: bool,
    /// When the window was ended early. Null if it was not.
    pub ended_at: Option<Timestamp>,
    /// Who created the maintenance window.
    pub created_by: String,
    /// When the maintenance window was created.
    pub created_at: Timestamp,
}

#[derive(Clone, Queryable)]
pub(super) struct MuteRow {
    pub(super) id: MuteId,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) matchers: String,
    pub(super) resources: String,
    pub(super) starts_at: Timestamp,
    pub(super) ends_at: Timestamp,
    pub(super) schedule: Option<String>,
    pub(super) duration: Option<i64>,
    ended_at: Option<Timestamp>,
    pub(super) created_by: String,
    created_at: Timestamp,
}

/// A silence or a maintenance window, as it is stored.
#[derive(Clone, Debug)]
pub struct Mute {
    pub(in crate::alert) id: MuteId,
    pub(in crate::alert) kind: Kind,
    /// The name of a maintenance window, or the reason of a silence.
    pub(in crate::alert) name: String,
    pub(super) matchers: Vec<Matcher>,
    pub(super) resources: Vec<ResourceRef>,
    pub(super) starts_at: Timestamp,
    pub(super) ends_at: Timestamp,
    pub(super) schedule: Option<String>,
    pub(super) duration: Option<i64>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) created_by: String,
    pub(super) created_at: Timestamp,
}

impl MuteRow {
    pub(super) fn view(self) -> Result<Mute> {
        Ok(Mute {
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

impl Mute {
    pub(super) fn state(&self, now: Timestamp) -> MuteState {
        if self.ended_at.is_some() || self.ends_at <= now {
            MuteState::Ended
        } else if self.starts_at > now {
            MuteState::Pending
        } else {
            MuteState::Active
        }
    }

    /// Returns whether it has begun and has not ended. With a schedule it can be between two of its times.
    pub(in crate::alert) fn is_active(&self, now: Timestamp) -> bool {
        self.state(now) == MuteState::Active
    }

    /// Returns whether it covers only alerts about certain resources.
    pub(in crate::alert) fn names_resources(&self) -> bool {
        !self.resources.is_empty()
    }

    /// Returns the keys of its resources. Archived resources are not among them.
    pub(in crate::alert) fn resource_keys(&self, conn: &mut Conn) -> Result<HashSet<i64>> {
        let keys = resource::keys(conn, &self.resources.iter().collect::<Vec<_>>())?;
        Ok(keys.into_values().collect())
    }

    /// Returns whether it covers alerts now.
    pub(in crate::alert) fn in_force(&self, now: Timestamp) -> bool {
        if self.state(now) != MuteState::Active {
            return false;
        }
        match (&self.schedule, self.duration) {
            // Find the first scheduled time whose occurrence could still be in force, and check whether it
            // has begun.
            (Some(schedule), Some(seconds)) => {
                let since = now.minus(Duration::from_secs(seconds.unsigned_abs()));
                cron::next(schedule, since).is_some_and(|at| at <= now && at >= self.starts_at)
            }
            _ => true,
        }
    }

    /// Returns whether this is a silence or a maintenance window.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the ID, from which the next page continues.
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// Converts it to a silence.
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

    /// Converts it to a maintenance window.
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
