//! When the next update to customers is due, while an incident is not resolved and somebody was notified of it: at the time that the
//! last notice promised, or a configured time after it if it promised none.
//!
//! After a reopening, the configured time counts from the reopening, because the last notice reported the end of the incident. An
//! incident of which no customer was notified has no deadline. A catch-up repeats a notice for other people, so it keeps no promise.

use std::collections::HashMap;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::{Conn, Statement};
use crate::notice::template::Phase;
use crate::notice::{DeliveryState, NoticeState};

/// The number of incidents that are examined in one step.
const MAX: i64 = 500;
/// The number of incidents in one statement.
const CHUNK: usize = 200;
/// How long before a promised time operators are reminded of it.
pub const REMIND: Duration = Duration::from_secs(10 * 60);

/// An incident with an overdue update.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Overdue {
    /// The ID of the incident whose update is overdue.
    #[diesel(sql_type = Text)]
    pub incident: IncidentId,
    /// When customers were last notified.
    #[diesel(sql_type = BigInt)]
    pub last: Timestamp,
    /// When the time began to count: at the last notice, or at the reopening after it.
    #[diesel(sql_type = BigInt)]
    pub since: Timestamp,
    /// The time that the last notice promised, if it promised one.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub promised: Option<Timestamp>,
}

/// A promise of the last notice of an incident.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Promise {
    /// The notice with the promise.
    #[diesel(sql_type = Text)]
    pub notice: NoticeId,
    /// The ID of the incident that the notice is about.
    #[diesel(sql_type = Text)]
    pub incident: IncidentId,
    /// The time until which the notice promised the next update.
    #[diesel(sql_type = BigInt)]
    pub due: Timestamp,
}

/// The condition on a notice that counts as an update. A correction does not count, because it is not for the people that the
/// incident affects, and a recovery does not, because the others still wait for news. A notice that was stopped before anybody got it does not count. A notice that
/// is still being sent does. `n` is the name of the table.
fn counts(n: &str) -> String {
    format!(
        "{n}.queued_at IS NOT NULL AND {n}.phase NOT IN ('{}', '{}') AND NOT EXISTS (SELECT 1 FROM answer_reminders r WHERE r.notice_id = {n}.id) \
         AND ({n}.state <> '{}' OR EXISTS \
             (SELECT 1 FROM delivery_counts c WHERE c.notice_id = {n}.id AND c.state = '{}' AND c.count > 0))",
        Phase::Correction,
        Phase::Recovery,
        NoticeState::Stopped,
        DeliveryState::Sent
    )
}

/// The time that the last notice of the incident promised.
fn promised() -> String {
    format!(
        "(SELECT p.next_update_due_at FROM notices p WHERE p.incident_id = n.incident_id AND p.catch_up_of IS NULL AND {} \
         ORDER BY p.queued_at DESC, p.id DESC LIMIT 1)",
        counts("p")
    )
}

/// When the time began to count: at the last notice, or at the reopening after it.
const SINCE: &str = "MAX(CASE WHEN e.reopened_at > n.queued_at THEN e.reopened_at ELSE n.queued_at END)";

/// Returns the beginning of the query.
fn last() -> String {
    format!(
        "SELECT n.incident_id AS incident, MAX(n.queued_at) AS last, {SINCE} AS since, {} AS promised \
         FROM notices n JOIN incidents i ON i.id = n.incident_id AND i.status <> 'resolved' AND i.status <> 'merged' \
         LEFT JOIN incident_episodes e ON e.incident_id = i.id AND e.episode = i.episode WHERE {}",
        promised(),
        counts("n")
    )
}

/// Returns the incidents whose customers were not notified for `every` or longer, and whose last notice promised no time.
pub fn all(conn: &mut Conn, every: Duration, now: Timestamp) -> Result<Vec<Overdue>> {
    Ok(diesel::sql_query(format!(
        "{} GROUP BY n.incident_id HAVING {SINCE} <= $1 AND {} IS NULL ORDER BY 3 DESC LIMIT $2",
        last(),
        promised()
    ))
    .bind::<BigInt, _>(now.minus(every))
    .bind::<BigInt, _>(MAX)
    .load(conn)?)
}

/// Returns the promises that are due until a time, that no later notice has kept, and that are not recorded as missed. The status of
/// the incident does not matter: customers wait for the notice, whatever we know. The promise of a merged incident is on the timeline
/// of the other one.
pub fn promises(conn: &mut Conn, until: Timestamp) -> Result<Vec<Promise>> {
    Ok(diesel::sql_query(format!(
        "SELECT n.id AS notice, n.incident_id AS incident, n.next_update_due_at AS due \
         FROM notices n JOIN incidents i ON i.id = n.incident_id AND i.merged_into IS NULL WHERE n.next_update_due_at <= $1 AND n.catch_up_of IS NULL AND {} \
         AND NOT EXISTS (SELECT 1 FROM missed_updates x WHERE x.notice_id = n.id) \
         AND NOT EXISTS (SELECT 1 FROM notices m WHERE m.incident_id = n.incident_id AND m.catch_up_of IS NULL \
             AND (m.queued_at > n.queued_at OR (m.queued_at = n.queued_at AND m.id > n.id)) AND {}) \
         ORDER BY n.next_update_due_at DESC LIMIT $2",
        counts("n"),
        counts("m")
    ))
    .bind::<BigInt, _>(until)
    .bind::<BigInt, _>(MAX)
    .load(conn)?)
}

/// Returns when the next update of an incident is due. None if nobody was notified, if the incident is resolved, or if the last
/// notice promised no time and `every` is not set.
pub fn due_at(conn: &mut Conn, incident: &IncidentId, every: Option<Duration>) -> Result<Option<Timestamp>> {
    Ok(due_of(conn, &[incident], every)?.remove(incident))
}

/// Returns the same for many incidents, by the ID of the incident. Incidents without such a time are left out.
///
/// # Errors
/// An error of the database.
pub fn due_of(
    conn: &mut Conn,
    incidents: &[&IncidentId],
    every: Option<Duration>,
) -> Result<HashMap<IncidentId, Timestamp>> {
    let mut due = HashMap::new();
    for chunk in incidents.chunks(CHUNK) {
        let mut statement = Statement::default();
        statement.push(&last()).push(" AND n.incident_id IN (");
        for (index, id) in chunk.iter().enumerate() {
            statement
                .push(if index == 0 { "" } else { ", " })
                .text(id.as_str());
        }
        statement.push(") GROUP BY n.incident_id");
        let found: Vec<Overdue> = statement.finish().load(conn)?;
        due.extend(found.into_iter().filter_map(|found| {
            let at = found.promised.or_else(|| Some(found.since.plus(every?)))?;
            Some((found.incident, at))
        }));
    }
    Ok(due)
}
