//! Which incidents are merged into which.
//!
//! - A merged incident takes nothing new. Every change has its event, so this is checked once for all changes: where the events of
//!   a transaction are stored. Only what follows from emails that were sent before is still recorded.
//! - What was told about a merged incident counts for the one that it is merged into. Nothing is moved for this: whoever asks reads
//!   the notices of all of them.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::action::Action;
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::db::schema::incidents as i;
use crate::db::{Conn, dialect};

/// The actions that a merged incident still has: its merge and the end of it, and what becomes of the emails that were sent before.
const OF_MERGED: &[Action] = &[
    Action::IncidentMerged,
    Action::IncidentUnmerged,
    Action::IncidentTookMerged,
    Action::IncidentGaveBack,
    // A wrong text that the public reads can always be corrected or taken back.
    Action::PostChanged,
    Action::PostDeleted,
    Action::AccessDenied,
    Action::AccessForbidden,
    Action::NoticeExpanded,
    Action::NoticeStopped,
    Action::NoticeHeld,
    Action::NoticeFinished,
    Action::WaveEnded,
    Action::DeliveryAttempts,
    Action::DeliveryBounced,
    Action::FeedbackReceived,
    Action::AnswerRecorded,
    Action::OptedOut,
    Action::OptedIn,
    Action::AddressSuppressed,
    Action::SuppressionLifted,
    Action::AutomationDecided,
    Action::OperatorTold,
    Action::OperatorGivenUp,
    Action::EvidenceExported,
];

/// Returns whether an event with this action may be recorded for a merged incident.
pub(super) fn is_of_merged(action: Action) -> bool {
    OF_MERGED.contains(&action)
}

/// The incidents whose notices count for an incident, each with the difference between the numbers of their episodes.
const LINEAGE: &str = "WITH RECURSIVE merged (id, shift) AS (\
     SELECT CAST($1 AS TEXT), CAST(0 AS BIGINT) UNION ALL \
     SELECT m.incident_id, merged.shift + m.episode_shift FROM incident_merges m JOIN merged ON m.into_id = merged.id) \
     SELECT id, shift FROM merged";

/// The IDs of these incidents, as a part of a statement in which `$1` is the ID of the incident.
pub const IDS: &str = "(WITH RECURSIVE merged (id) AS (SELECT CAST($1 AS TEXT) UNION ALL \
     SELECT m.incident_id FROM incident_merges m JOIN merged ON m.into_id = merged.id) SELECT id FROM merged)";

/// An incident whose notices count for another one.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Counted {
    /// The ID of the incident.
    #[diesel(sql_type = Text)]
    pub id: IncidentId,
    /// A notice of episode `n` of this incident counts for episode `n + shift` of the other one.
    #[diesel(sql_type = BigInt)]
    pub shift: i64,
}

/// Returns the incidents whose notices count for this one: itself first, and all that are merged into it, directly or not.
///
/// # Errors
/// An error of the database.
pub fn counted_for(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Counted>> {
    Ok(diesel::sql_query(LINEAGE)
        .bind::<Text, _>(incident.as_str())
        .load(conn)?)
}

/// Returns the IDs of these incidents.
///
/// # Errors
/// An error of the database.
pub fn ids_with_merged(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<IncidentId>> {
    let counted = counted_for(conn, incident)?;
    Ok(counted.into_iter().map(|one| one.id).collect())
}

/// Returns the incident that this one is part of now: the one that it is merged into, directly or not, or itself.
///
/// # Errors
/// An error of the database.
pub fn root(conn: &mut Conn, incident: &IncidentId) -> Result<IncidentId> {
    let mut at = incident.clone();
    while let Some(into) = merged_into(conn, &at)? {
        at = into;
    }
    Ok(at)
}

/// Returns the incident that this one is merged into. `None` if it is not merged.
///
/// # Errors
/// An error of the database.
pub fn merged_into(conn: &mut Conn, incident: &IncidentId) -> Result<Option<IncidentId>> {
    let into: Option<Option<IncidentId>> = i::table
        .find(incident.as_str())
        .select(i::merged_into)
        .first(conn)
        .optional()?;
    Ok(into.flatten())
}

/// Checks that an incident is not merged.
///
/// # Errors
/// `Conflict` with the code `merged` if the incident is merged.
pub fn check_not_merged(conn: &mut Conn, incident: &IncidentId) -> Result<()> {
    match merged_into(conn, incident)? {
        Some(into) => Err(refusal(conn, incident, &into)),
        None => Ok(()),
    }
}

/// Checks that none of these incidents is merged. On PostgreSQL it waits for a transaction that is merging one of them.
///
/// # Errors
/// `Conflict` with the code `merged` if one of the incidents is merged.
pub(super) fn check_none_merged(conn: &mut Conn, incidents: &[&str]) -> Result<()> {
    for chunk in incidents.chunks(500) {
        if let Some((id, into)) = dialect::merged_among(conn, chunk)?.into_iter().next() {
            let (id, into) = (
                IncidentId::parse(&id).map_err(Error::internal)?,
                IncidentId::parse(&into).map_err(Error::internal)?,
            );
            return Err(refusal(conn, &id, &into));
        }
    }
    Ok(())
}

fn refusal(conn: &mut Conn, merged: &IncidentId, into: &IncidentId) -> Error {
    let mut number =
        |id: &IncidentId| -> Result<i64> { Ok(i::table.find(id.as_str()).select(i::number).first(conn)?) };
    let (merged, into) = match (number(merged), number(into)) {
        (Ok(merged), Ok(into)) => (merged, into),
        (Err(error), _) | (_, Err(error)) => return error,
    };
    Error::Conflict(format!(
        "incident #{merged} is merged into #{into} and takes nothing new; work on #{into}, or undo the merge"
    ))
    .code(Code::Merged)
}
