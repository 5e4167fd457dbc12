//! The reports that somebody still has to write or to publish.

use std::collections::HashSet;
use std::time::Duration;

use diesel::prelude::*;
use serde::Serialize;

use super::stored::{Severity, Status};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{incidents as i, reports as r};

/// How long after its end an incident without a report is listed.
const RECENT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How many of the last incidents are looked at, so that a long history makes no page slow.
const LOOKED_AT: i64 = 200;

/// A report that is written and not published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct UnpublishedReport {
    /// The ID of the incident.
    pub incident: IncidentId,
    /// The number of the incident.
    pub number: i64,
    /// The title of the report.
    pub title: String,
    /// When the report was last written.
    pub updated_at: Timestamp,
}

/// An incident that ended without a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MissingReport {
    /// The ID of the incident.
    pub incident: IncidentId,
    /// The number of the incident.
    pub number: i64,
    /// The title of the incident.
    pub title: String,
    /// The severity of the incident.
    pub severity: Severity,
    /// When the incident ended.
    pub resolved_at: Timestamp,
}

/// The reports that are left to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ReportsDue {
    /// Reports that are written and not published, last written first. At most 50.
    pub unpublished: Vec<UnpublishedReport>,
    /// Critical and major incidents that ended in the last 30 days and have no report, newest first. Drills are left out.
    pub missing: Vec<MissingReport>,
}

/// Returns the reports that are left to do.
///
/// # Errors
/// An error of the database.
pub fn read(conn: &mut Conn, now: Timestamp) -> Result<ReportsDue> {
    let unpublished: Vec<(IncidentId, i64, String, Timestamp)> = r::table
        .inner_join(i::table.on(i::id.eq(r::incident_id)))
        .filter(r::published_at.is_null())
        .filter(i::drill.eq(false))
        .order((r::updated_at.desc(), r::incident_id))
        .limit(50)
        .select((i::id, i::number, r::title, r::updated_at))
        .load(conn)?;
    type Ended = (IncidentId, i64, String, String, Option<Timestamp>, bool);
    let ended: Vec<Ended> = i::table
        .filter(i::status.eq(Status::Resolved.as_str()))
        .order(i::number.desc())
        .limit(LOOKED_AT)
        .select((i::id, i::number, i::title, i::severity, i::resolved_at, i::drill))
        .load(conn)?;
    let ids: Vec<&str> = ended.iter().map(|(id, ..)| id.as_str()).collect();
    let written: HashSet<String> = r::table
        .filter(r::incident_id.eq_any(&ids))
        .select(r::incident_id)
        .load::<String>(conn)?
        .into_iter()
        .collect();
    let mut missing = Vec::new();
    for (incident, number, title, severity, resolved_at, drill) in ended {
        let Some(resolved_at) = resolved_at.filter(|at| at.plus(RECENT) > now) else {
            continue;
        };
        let severity = Severity::parse(&severity).map_err(Error::internal)?;
        if drill || severity == Severity::Minor || written.contains(incident.as_str()) {
            continue;
        }
        missing.push(MissingReport {
            incident,
            number,
            title,
            severity,
            resolved_at,
        });
    }
    Ok(ReportsDue {
        unpublished: unpublished
            .into_iter()
            .map(|(incident, number, title, updated_at)| UnpublishedReport {
                incident,
                number,
                title,
                updated_at,
            })
            .collect(),
        missing,
    })
}
