//! The incidents as they are stored: the type of an incident, and how one or many are read.

use std::collections::HashMap;

use diesel::prelude::*;
use serde::Serialize;

use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::incidents as i;

word_enum! {
    /// The severity of an incident.
    Severity, "a severity" {
        /// Nothing works, or data is lost.
        Critical = "critical",
        /// An important function does not work.
        Major = "major",
        /// A problem with little effect.
        Minor = "minor",
    }
}

word_enum! {
    /// The state of the work on an incident.
    #[schema(as = IncidentStatus)]
    Status, "a status" {
        /// The cause is not known yet.
        Investigating = "investigating",
        /// The cause is known.
        Identified = "identified",
        /// The problem appears to be fixed and is observed.
        Monitoring = "monitoring",
        /// The incident is over.
        Resolved = "resolved",
        /// The incident is merged into another one, and takes nothing new.
        Merged = "merged",
    }
}

impl Status {
    /// Returns whether the incident is worked on: it is neither resolved nor merged into another one.
    pub fn is_open(self) -> bool {
        match self {
            Status::Investigating | Status::Identified | Status::Monitoring => true,
            Status::Resolved | Status::Merged => false,
        }
    }
}

/// The condition of the partial indexes of open incidents. On SQLite it must be a literal.
pub const OPEN: &str = "(incidents.status <> 'resolved' AND incidents.status <> 'merged')";

/// An incident, with its status, its times and the numbers of its alerts.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Incident {
    /// The ID of the incident.
    pub id: IncidentId,
    /// The number of the incident, from 1. Pages and messages show it as `#17`.
    pub number: i64,
    /// The title, for the people who work on the incident.
    pub title: String,
    /// The severity of the incident: `critical`, `major` or `minor`.
    pub severity: Severity,
    /// The state of the work.
    pub status: Status,
    /// A description for the people who work on the incident.
    pub summary: Option<String>,
    /// The IANA time zone in which the people who work on the incident read times.
    pub time_zone: Option<String>,
    /// When customers began to be affected.
    pub started_at: Timestamp,
    /// When the incident was detected.
    pub detected_at: Timestamp,
    /// When the incident was resolved. Null while it is not resolved.
    pub resolved_at: Option<Timestamp>,
    /// When the incident was opened in Candor.
    pub created_at: Timestamp,
    /// When the incident was last changed.
    pub updated_at: Timestamp,
    /// The number of alerts of the incident, each counted once.
    pub alerts: i64,
    /// The number of messages about these alerts, including repeats.
    pub alerts_received: i64,
    /// The earlier incident of the same problem, which was resolved before this one was opened.
    pub earlier: Option<IncidentId>,
    /// The number of the current episode: 1, and one more after each reopening. Notifications are counted for
    /// each episode.
    pub episode: i64,
    /// Whether the incident is a drill: its emails go only to the addresses for drills. This never changes.
    pub drill: bool,
    /// What customers read about the incident in the subjects and titles of emails. Null if nobody wrote it.
    pub headline: Option<String>,
    /// The person or team that leads the work. Null if nobody does.
    pub owner: Option<String>,
    /// The incident that this one is merged into. Null unless the status is `merged`.
    pub merged_into: Option<IncidentId>,
}

#[derive(Insertable, Queryable)]
#[diesel(table_name = i)]
#[diesel(treat_none_as_default_value = false)]
pub(super) struct IncidentRow {
    pub(super) id: IncidentId,
    pub(super) number: i64,
    pub(super) title: String,
    pub(super) severity: String,
    pub(super) status: String,
    pub(super) summary: Option<String>,
    pub(super) time_zone: Option<String>,
    pub(super) started_at: Timestamp,
    pub(super) detected_at: Timestamp,
    pub(super) resolved_at: Option<Timestamp>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) earlier_id: Option<IncidentId>,
    pub(super) alerts_received: i64,
    pub(super) alert_count: i64,
    pub(super) episode: i64,
    pub(super) drill: bool,
    pub(super) headline: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) merged_into: Option<IncidentId>,
}

pub(super) fn view(row: IncidentRow) -> Result<Incident> {
    Ok(Incident {
        severity: Severity::parse(&row.severity).map_err(Error::internal)?,
        status: Status::parse(&row.status).map_err(Error::internal)?,
        id: row.id,
        number: row.number,
        title: row.title,
        summary: row.summary,
        time_zone: row.time_zone,
        started_at: row.started_at,
        detected_at: row.detected_at,
        resolved_at: row.resolved_at,
        created_at: row.created_at,
        updated_at: row.updated_at,
        alerts: row.alert_count,
        alerts_received: row.alerts_received,
        earlier: row.earlier_id,
        episode: row.episode,
        drill: row.drill,
        headline: row.headline,
        owner: row.owner,
        merged_into: row.merged_into,
    })
}

/// Increases the counts of an incident by the number of new alerts and by the number of messages.
pub(crate) fn count_alerts(conn: &mut Conn, id: &IncidentId, new: i64, received: i64) -> Result<()> {
    diesel::update(i::table.find(id.as_str()))
        .set((
            i::alert_count.eq(i::alert_count + new),
            i::alerts_received.eq(i::alerts_received + received),
        ))
        .execute(conn)?;
    Ok(())
}

/// The state of an incident, without its texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The ID of the incident.
    pub id: IncidentId,
    /// The number of the incident.
    pub number: i64,
    /// The state of the work.
    pub status: Status,
    /// When the incident was resolved.
    pub resolved_at: Option<Timestamp>,
    /// Whether the incident is a drill.
    pub drill: bool,
}

/// Returns the state of an incident.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn standing(conn: &mut Conn, id: &IncidentId) -> Result<Standing> {
    let row: Option<(i64, String, Option<Timestamp>, bool)> = i::table
        .find(id.as_str())
        .select((i::number, i::status, i::resolved_at, i::drill))
        .first(conn)
        .optional()?;
    let (number, status, resolved_at, drill) =
        row.ok_or_else(|| Error::NotFound(format!("incident {id}")))?;
    Ok(Standing {
        id: id.clone(),
        number,
        status: Status::parse(&status).map_err(Error::internal)?,
        resolved_at,
        drill,
    })
}

/// Returns the number of the first later incident of the same problem, which refers to this one as the
/// earlier incident.
pub fn came_back_as(conn: &mut Conn, id: &IncidentId) -> Result<Option<i64>> {
    Ok(i::table
        .filter(i::earlier_id.eq(id.as_str()))
        .order(i::number)
        .select(i::number)
        .first(conn)
        .optional()?)
}

/// Returns the incident with this ID.
///
/// # Errors
/// `NotFound` if no incident has this ID.
pub fn get(conn: &mut Conn, id: &IncidentId) -> Result<Incident> {
    let row: Option<IncidentRow> = i::table.find(id.as_str()).first(conn).optional()?;
    view(row.ok_or_else(|| Error::NotFound(format!("incident {id}")))?)
}

/// Returns the incident with this number.
///
/// # Errors
/// `NotFound` if no incident has this number.
pub fn by_number(conn: &mut Conn, number: i64) -> Result<Incident> {
    let row: Option<IncidentRow> = i::table.filter(i::number.eq(number)).first(conn).optional()?;
    view(row.ok_or_else(|| Error::NotFound(format!("incident #{number}")))?)
}

/// Returns these incidents by their IDs.
///
/// # Errors
/// An error of the database.
pub fn of_ids(conn: &mut Conn, ids: &[&IncidentId]) -> Result<HashMap<IncidentId, Incident>> {
    let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
    let rows: Vec<IncidentRow> = i::table.filter(i::id.eq_any(ids)).load(conn)?;
    rows.into_iter()
        .map(|row| view(row).map(|incident| (incident.id.clone(), incident)))
        .collect()
}

/// Returns the numbers of these incidents.
///
/// # Errors
/// An error of the database.
pub fn numbers(conn: &mut Conn, ids: &[&str]) -> Result<Vec<(IncidentId, i64)>> {
    Ok(i::table
        .filter(i::id.eq_any(ids))
        .select((i::id, i::number))
        .load(conn)?)
}

/// Returns the number of an incident.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn number(conn: &mut Conn, id: &IncidentId) -> Result<i64> {
    i::table
        .find(id.as_str())
        .select(i::number)
        .first(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("incident {id}")))
}
