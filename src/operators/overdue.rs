//! When customers should hear again: so long after the last notice as the settings say, while an incident is unresolved
//! and somebody has been told of it. After a reopening the time counts from the reopening: what customers heard before
//! was that it is over. An incident of which no customer knows has no deadline.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;

/// Incidents that are looked at in one go.
const MOST: i64 = 500;

/// An incident whose customers wait.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Overdue {
    /// The incident.
    #[diesel(sql_type = Text)]
    pub incident: IncidentId,
    /// When they heard last.
    #[diesel(sql_type = BigInt)]
    pub last: Timestamp,
    /// From when the time counts: the last notice, or the reopening after it.
    #[diesel(sql_type = BigInt)]
    pub since: Timestamp,
}

/// A notice that was stopped before anybody got it tells nothing; one that is on its way does.
const LAST: &str = "SELECT n.incident_id AS incident, MAX(n.queued_at) AS last, \
                    MAX(CASE WHEN e.reopened_at > n.queued_at THEN e.reopened_at ELSE n.queued_at END) AS since \
                    FROM notices n JOIN incidents i ON i.id = n.incident_id AND i.status <> 'resolved' \
                    LEFT JOIN incident_episodes e ON e.incident_id = i.id AND e.episode = i.episode \
                    WHERE n.queued_at IS NOT NULL AND (n.state <> 'stopped' OR EXISTS \
                        (SELECT 1 FROM delivery_counts c WHERE c.notice_id = n.id AND c.state = 'sent' AND c.count > 0))";

/// Incidents whose customers have heard nothing for `every` or longer.
///
/// # Errors
/// What the database answers.
pub fn all(conn: &mut Conn, every: Duration, now: Timestamp) -> Result<Vec<Overdue>> {
    Ok(diesel::sql_query(format!(
        "{LAST} GROUP BY n.incident_id HAVING MAX(CASE WHEN e.reopened_at > n.queued_at \
         THEN e.reopened_at ELSE n.queued_at END) <= $1 ORDER BY 3 DESC LIMIT $2"
    ))
    .bind::<BigInt, _>(now.minus(every))
    .bind::<BigInt, _>(MOST)
    .load(conn)?)
}

/// When the customers of an incident should hear again; none where nobody was told, or it is over.
///
/// # Errors
/// What the database answers.
pub fn due_at(conn: &mut Conn, incident: &IncidentId, every: Duration) -> Result<Option<Timestamp>> {
    let found: Vec<Overdue> =
        diesel::sql_query(format!("{LAST} AND n.incident_id = $1 GROUP BY n.incident_id"))
            .bind::<Text, _>(incident.as_str())
            .load(conn)?;
    Ok(found.first().map(|found| found.since.plus(every)))
}
