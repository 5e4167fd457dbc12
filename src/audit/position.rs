//! How far the trail has come for what is computed over the audience of an incident.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::action::Action;
use super::lineage;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::schema::{audit_events, incident_merges as m};
use crate::db::{Conn, Statement};

/// The actions that do not influence anything that is computed from an audience. Delivery attempts influence
/// some of it and are checked separately.
const WITHOUT_INFLUENCE: &[Action] = &[
    Action::DeliveryAttempts,
    Action::AccessDenied,
    Action::AccessForbidden,
    Action::AdminSignedIn,
    Action::AdminSignedOut,
    Action::AlertRepeated,
    Action::PersonExported,
    Action::PersonAllowed,
    Action::SecretsRotated,
    Action::HookRefused,
    Action::HookInvalid,
    Action::HookIgnored,
    Action::CheckState,
    Action::HeartbeatState,
    Action::ComponentPut,
    Action::ComponentDeleted,
    Action::PostAdded,
    Action::PostChanged,
    Action::PostDeleted,
    Action::PolicyCreated,
    Action::PolicyChanged,
    Action::PolicyDeleted,
    Action::OperatorCreated,
    Action::OperatorChanged,
    Action::OperatorDeleted,
    Action::OperatorTold,
    Action::OperatorGivenUp,
    Action::AnswerRecorded,
    Action::AnswersReminded,
    Action::NoticeApprovalAsked,
    Action::NoticeTested,
    Action::ComparisonCreated,
    Action::ComparisonUploaded,
    Action::ComparisonRequested,
    Action::ComparisonDone,
    Action::ComparisonDiscarded,
    Action::EvidenceExported,
    Action::AuditCheckpointStored,
    Action::AuditTimeStamped,
];

/// The actions that influence only their own incident. Without an incident they influence none.
const OF_ONE_INCIDENT: &[Action] = &[
    Action::AlertReceived,
    Action::AlertResolved,
    Action::PeopleSeen,
    Action::PeopleIdentified,
    Action::IncidentOpened,
    Action::IncidentChanged,
    Action::IncidentStatus,
    Action::IncidentReopened,
    Action::TimelineAdded,
    Action::AffectedAdded,
    Action::AffectedRemoved,
    Action::PeopleAdded,
    Action::PeopleRemoved,
    Action::ComparisonApplied,
    Action::RecoveryImpaired,
    Action::RecoveryBegun,
    Action::RecoveryObserved,
    Action::RecoveryRelapsed,
    Action::AttestationConfirmed,
    Action::NextStepAdded,
    Action::NextStepChanged,
    Action::ReportWritten,
    Action::ReportPublished,
    Action::NoticeDrafted,
    Action::NoticeCorrects,
    Action::NoticeChanged,
    Action::NoticeApproved,
    Action::NoticeDiscarded,
    Action::NoticeQueued,
    Action::NoticeExpanded,
    Action::NoticeStopped,
    Action::NoticeResumed,
    Action::NoticeHeld,
    Action::WaveBegan,
    Action::WaveEnded,
    Action::NoticeFinished,
    Action::DeliveryResent,
    Action::DeliveryBounced,
    Action::AutomationWaits,
    Action::AutomationDecided,
    Action::AutomationHeld,
    Action::AutomationReleased,
];

/// A position in the trail. A result that was computed from the database stays valid as long as this position
/// does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailPosition {
    /// The number of the last event that can influence the result.
    pub change: i64,
    /// The number of the last event about delivery attempts.
    pub attempts: i64,
}

/// How far the trail has come for all incidents.
#[derive(Clone, Copy, Debug)]
pub struct Everywhere {
    change: i64,
    attempts: i64,
}

#[derive(QueryableByName)]
struct Newest {
    #[diesel(sql_type = Nullable<BigInt>)]
    seq: Option<i64>,
}

fn words(actions: &[Action]) -> Vec<&'static str> {
    actions.iter().map(|action| action.as_str()).collect()
}

/// Returns the number of the last event with one of these actions. Each action costs one search of an index, however long the
/// trail is. The actions are rows and not a query each, because PostgreSQL needs 30 ms to plan a hundred queries.
fn newest_of(conn: &mut Conn, actions: &[&str]) -> Result<i64> {
    let rows: Vec<String> = actions.iter().map(|action| format!("('{action}')")).collect();
    // Both databases name the column of these rows `column1`.
    let newest: Newest = diesel::sql_query(format!(
        "SELECT MAX(seq) AS seq FROM (SELECT (SELECT MAX(e.seq) FROM audit_events e WHERE e.action = k.column1) AS seq \
         FROM (VALUES {}) AS k) AS newest",
        rows.join(", ")
    ))
    .get_result(conn)?;
    Ok(newest.seq.unwrap_or_default())
}

/// Returns the number of the last event with one of these actions, or 0 if there is none.
///
/// # Errors
/// An error of the database.
pub fn last_of(conn: &mut Conn, actions: &[Action]) -> Result<i64> {
    newest_of(conn, &words(actions))
}

/// Returns how far the trail has come for all incidents. It can be used for many incidents in one view of the database.
///
/// # Errors
/// An error of the database.
pub fn everywhere(conn: &mut Conn) -> Result<Everywhere> {
    let known = [words(WITHOUT_INFLUENCE), words(OF_ONE_INCIDENT)].concat();
    let general: Vec<&str> = Action::ALL
        .iter()
        .copied()
        .filter(|action| !known.contains(action))
        .collect();
    Ok(Everywhere {
        change: newest_of(conn, &general)?,
        attempts: newest_of(conn, &words(&[Action::DeliveryAttempts]))?,
    })
}

/// Returns the position in the trail for results that are computed from the audience of an incident.
///
/// # Errors
/// An error of the database.
pub fn position(conn: &mut Conn, incident: &IncidentId) -> Result<TrailPosition> {
    let everywhere = everywhere(conn)?;
    position_in(conn, everywhere, incident)
}

/// Returns the same position. [`everywhere`] was read in the same view of the database.
///
/// # Errors
/// An error of the database.
pub fn position_in(conn: &mut Conn, everywhere: Everywhere, incident: &IncidentId) -> Result<TrailPosition> {
    let mut change = everywhere.change;
    // What happens to the emails of a merged incident counts for the one that it is merged into.
    for one in lineage::ids_with_merged(conn, incident)? {
        let own: Option<i64> = audit_events::table
            .filter(audit_events::incident_id.eq(one.as_str()))
            .filter(audit_events::action.ne_all(words(WITHOUT_INFLUENCE)))
            .order(audit_events::seq.desc())
            .select(audit_events::seq)
            .first(conn)
            .optional()?;
        change = change.max(own.unwrap_or_default());
    }
    Ok(TrailPosition {
        change,
        attempts: everywhere.attempts,
    })
}

#[derive(QueryableByName)]
struct NewestOf {
    #[diesel(sql_type = Text)]
    incident: IncidentId,
    #[diesel(sql_type = Nullable<BigInt>)]
    seq: Option<i64>,
}

/// Returns the same positions for many incidents, with a few statements for all of them.
///
/// # Errors
/// An error of the database.
pub fn positions_in(
    conn: &mut Conn,
    everywhere: Everywhere,
    incidents: &[&IncidentId],
) -> Result<HashMap<IncidentId, TrailPosition>> {
    let mut found = HashMap::new();
    let without: Vec<String> = WITHOUT_INFLUENCE
        .iter()
        .map(|action| format!("'{}'", action.as_str()))
        .collect();
    for chunk in incidents.chunks(CHUNK) {
        let ids: Vec<&str> = chunk.iter().map(|id| id.as_str()).collect();
        let with_merged: HashSet<IncidentId> = m::table
            .filter(m::into_id.eq_any(&ids))
            .select(m::into_id)
            .distinct()
            .load(conn)?
            .into_iter()
            .collect();
        let mut statement = Statement::default();
        // Both databases name the column of these rows `column1`.
        statement.push(&format!(
            "SELECT k.column1 AS incident, (SELECT MAX(e.seq) FROM audit_events e WHERE e.incident_id = k.column1 \
             AND e.action NOT IN ({})) AS seq FROM (VALUES ",
            without.join(", ")
        ));
        for (index, id) in ids.iter().enumerate() {
            statement
                .push(if index == 0 { "(" } else { ", (" })
                .text(id)
                .push(")");
        }
        statement.push(") AS k");
        let newest: Vec<NewestOf> = statement.finish().load(conn)?;
        for NewestOf { incident, seq } in newest {
            let position = match with_merged.contains(&incident) {
                true => position_in(conn, everywhere, &incident)?,
                false => TrailPosition {
                    change: everywhere.change.max(seq.unwrap_or_default()),
                    attempts: everywhere.attempts,
                },
            };
            found.insert(incident, position);
        }
    }
    Ok(found)
}

/// The number of incidents in one statement.
const CHUNK: usize = 200;

/// Returns the time of the last event with this action.
///
/// # Errors
/// An error of the database.
pub fn last_at(conn: &mut Conn, action: Action) -> Result<Option<Timestamp>> {
    Ok(audit_events::table
        .filter(audit_events::action.eq(action.as_str()))
        .order(audit_events::seq.desc())
        .select(audit_events::at)
        .first(conn)
        .optional()?)
}
