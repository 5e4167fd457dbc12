//! The answers to the emails of a page. An answer by a link or a reply names its email. One that an operator recorded names only
//! the incident and the person, so it belongs to the last email about the incident that the person got before it.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::entry::{HistoryAnswer, HistoryEntry};
use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::schema::answers as a;
use crate::db::{Conn, Statement};

type Row = (String, Option<String>, String, Timestamp, String);

fn answer((person, answer, text, at, source): Row) -> HistoryAnswer {
    HistoryAnswer {
        person,
        answer,
        text,
        at,
        source,
    }
}

/// Adds the answers. With a person, only those of this person.
pub(super) fn add(conn: &mut Conn, entries: &mut [HistoryEntry], person: Option<&str>) -> Result<()> {
    let mut by_delivery = to_emails(conn, entries, person)?;
    let recorded = recorded(conn, entries, person)?;
    for entry in entries {
        let given = entry.delivery.and_then(|id| by_delivery.remove(&id));
        let recorded = recorded
            .iter()
            .filter(|(notice, answer)| *notice == entry.notice && entry.people.contains(&answer.person))
            .map(|(_, answer)| answer.clone());
        entry.answer = given.into_iter().chain(recorded).max_by_key(|answer| answer.at);
    }
    Ok(())
}

/// Returns the last answer to each email.
fn to_emails(
    conn: &mut Conn,
    entries: &[HistoryEntry],
    person: Option<&str>,
) -> Result<HashMap<i64, HistoryAnswer>> {
    let deliveries: Vec<Option<i64>> = entries
        .iter()
        .filter(|entry| entry.delivery.is_some())
        .map(|entry| entry.delivery)
        .collect();
    let mut found = HashMap::new();
    for chunk in deliveries.chunks(500) {
        let mut query = a::table
            .filter(a::delivery_id.eq_any(chunk.to_vec()))
            .order((a::at, a::id))
            .select((
                a::delivery_id,
                (a::person_id, a::answer, a::text, a::at, a::source),
            ))
            .into_boxed::<crate::db::Backend>();
        if let Some(person) = person {
            query = query.filter(a::person_id.eq(person));
        }
        let rows: Vec<(Option<i64>, Row)> = query.load(conn)?;
        found.extend(rows.into_iter().filter_map(|(id, row)| Some((id?, answer(row)))));
    }
    Ok(found)
}

/// Returns the answers that operators recorded about the incidents of the page, each with the notice that it belongs to.
fn recorded(
    conn: &mut Conn,
    entries: &[HistoryEntry],
    person: Option<&str>,
) -> Result<Vec<(NoticeId, HistoryAnswer)>> {
    let incidents: HashSet<&str> = entries.iter().map(|entry| entry.incident.id.as_str()).collect();
    let people: HashSet<&str> = match person {
        Some(person) => HashSet::from([person]),
        None => entries
            .iter()
            .flat_map(|entry| entry.people.iter().map(String::as_str))
            .collect(),
    };
    let incidents: Vec<&str> = incidents.into_iter().collect();
    let people: Vec<&str> = people.into_iter().collect();
    let mut found = Vec::new();
    for chunk in people.chunks(500) {
        for some in incidents.chunks(500) {
            let rows: Vec<(IncidentId, Row)> = a::table
                .filter(a::incident_id.eq_any(some))
                .filter(a::person_id.eq_any(chunk))
                .filter(a::delivery_id.is_null())
                .select((
                    a::incident_id,
                    (a::person_id, a::answer, a::text, a::at, a::source),
                ))
                .load(conn)?;
            for (incident, row) in rows {
                let answer = answer(row);
                if let Some(notice) = last_before(conn, &incident, &answer.person, answer.at)? {
                    found.push((notice, answer));
                }
            }
        }
    }
    Ok(found)
}

/// Returns the last notice of an incident that was queued for a person at this time.
fn last_before(
    conn: &mut Conn,
    incident: &IncidentId,
    person: &str,
    at: Timestamp,
) -> Result<Option<NoticeId>> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Text)]
        id: NoticeId,
    }
    let mut statement = Statement::default();
    statement
        .push("SELECT n.id FROM notices n WHERE n.incident_id = ")
        .text(incident.as_str())
        .push(" AND n.queued_at <= ")
        .time(at)
        .push(
            " AND (EXISTS (SELECT 1 FROM notice_recipients r WHERE r.notice_id = n.id AND r.channel = 'email' AND r.person_id = ",
        )
        .text(person)
        .push(") OR EXISTS (SELECT 1 FROM shared_recipients s WHERE s.notice_id = n.id AND s.person_id = ")
        .text(person)
        .push(")) ORDER BY n.queued_at DESC, n.id DESC LIMIT 1");
    let found: Option<Found> = statement.finish().get_result(conn).optional()?;
    Ok(found.map(|found| found.id))
}
