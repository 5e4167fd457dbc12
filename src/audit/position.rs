//! How far the trail has come for what is computed over the audience of an incident.

use diesel::prelude::*;

use super::action::Action;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::Conn;
use crate::db::schema::audit_events;

/// The actions that do not influence anything that is computed from an audience. Delivery attempts influence
/// some of it and are checked separately.
const WITHOUT_INFLUENCE: &[Action] = &[
    Action::DeliveryAttempts,
    Action::AccessDenied,
    Action::AccessForbidden,
    Action::AdminSignedIn,
    Action::AdminSignedOut,
    Action::AlertRepeated,
    Action::HookRefused,
    Action::HookInvalid,
    Action::HookIgnored,
    Action::CheckState,
    Action::HeartbeatState,
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
];

/// The actions that influence only their own incident.
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
    Action::NextStepAdded,
    Action::NextStepChanged,
    Action::ReportWritten,
    Action::ReportPublished,
    Action::NoticeDrafted,
    Action::NoticeCorrects,
    Action::NoticeChanged,
    Action::NoticeApproved,
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

/// Returns the position in the trail for results that are computed from the audience of an incident.
///
/// # Errors
/// An error of the database.
pub fn position(conn: &mut Conn, incident: &IncidentId) -> Result<TrailPosition> {
    let words = |actions: &[Action]| actions.iter().map(|action| action.as_str()).collect::<Vec<_>>();
    let change: Option<i64> = audit_events::table
        .filter(audit_events::action.ne_all(words(WITHOUT_INFLUENCE)))
        .filter(
            audit_events::action
                .ne_all(words(OF_ONE_INCIDENT))
                .or(audit_events::incident_id.is_null())
                .or(audit_events::incident_id.eq(incident.as_str())),
        )
        .order(audit_events::seq.desc())
        .select(audit_events::seq)
        .first(conn)
        .optional()?;
    let attempts: Option<i64> = audit_events::table
        .filter(audit_events::action.eq(Action::DeliveryAttempts.as_str()))
        .order(audit_events::seq.desc())
        .select(audit_events::seq)
        .first(conn)
        .optional()?;
    Ok(TrailPosition {
        change: change.unwrap_or_default(),
        attempts: attempts.unwrap_or_default(),
    })
}
