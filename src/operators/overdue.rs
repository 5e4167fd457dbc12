//! When the next update to customers is due: a configured time after the last notice, while an incident is
//! not resolved and somebody was notified of it.
//!
//! After a reopening, the time counts from the reopening, because the last notice reported the end of the
//! incident. An incident of which no customer was notified has no deadline.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::notice::template::Phase;
use crate::notice::{DeliveryState, NoticeState};

/// The number of incidents that are examined in one step.
const MAX: i64 = 500;

/// An incident with an overdue update.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Overdue {
    /// The incident.
    #[diesel(sql_type = Text)]
    pub incident: IncidentId,
    /// When customers were last notified.
    #[diesel(sql_type = BigInt)]
    pub last: Timestamp,
    /// When the time began to count: at the last notice, or at the reopening after it.
    #[diesel(sql_type = BigInt)]
    pub since: Timestamp,
}

/// Returns the beginning of the query. A correction does not count, because it is not for the people that the incident affects. A
/// notice that was stopped before anybody got it does not count. A notice
/// that is still being sent does.
fn last() -> String {
    format!(
        "SELECT n.incident_id AS incident, MAX(n.queued_at) AS last, \
         MAX(CASE WHEN e.reopened_at > n.queued_at THEN e.reopened_at ELSE n.queued_at END) AS since \
         FROM notices n JOIN incidents i ON i.id = n.incident_id AND i.status <> 'resolved' \
         LEFT JOIN incident_episodes e ON e.incident_id = i.id AND e.episode = i.episode \
         WHERE n.queued_at IS NOT NULL AND n.phase <> '{}' \
         AND NOT EXISTS (SELECT 1 FROM answer_reminders r WHERE r.notice_id = n.id) \
         AND (n.state <> '{}' OR EXISTS \
             (SELECT 1 FROM delivery_counts c WHERE c.notice_id = n.id AND c.state = '{}' AND c.count > 0))",
        Phase::Correction,
        NoticeState::Stopped,
        DeliveryState::Sent
    )
}

/// Returns the incidents whose customers were not notified for `every` or longer.
pub fn all(conn: &mut Conn, every: Duration, now: Timestamp) -> Result<Vec<Overdue>> {
    Ok(diesel::sql_query(format!(
        "{} GROUP BY n.incident_id HAVING MAX(CASE WHEN e.reopened_at > n.queued_at \
         THEN e.reopened_at ELSE n.queued_at END) <= $1 ORDER BY 3 DESC LIMIT $2",
        last()
    ))
    .bind::<BigInt, _>(now.minus(every))
    .bind::<BigInt, _>(MAX)
    .load(conn)?)
}

/// Returns when the next update of an incident is due. None if nobody was notified or the incident is
/// resolved.
pub fn due_at(conn: &mut Conn, incident: &IncidentId, every: Duration) -> Result<Option<Timestamp>> {
    let found: Vec<Overdue> = diesel::sql_query(format!(
        "{} AND n.incident_id = $1 GROUP BY n.incident_id",
        last()
    ))
    .bind::<Text, _>(incident.as_str())
    .load(conn)?;
    Ok(found.first().map(|found| found.since.plus(every)))
}
