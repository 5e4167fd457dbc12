//! Who was told what about an incident: the basis of "nobody twice" and of "who heard the beginning hears the end".

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::compose::RecipientContext;
use crate::db::{Conn, Fix};
use crate::directory::normal_address;
use crate::error::Result;
use crate::id::{IncidentId, NoticeId};

/// Somebody whom a notice of the incident reached, or is on its way to.
pub(super) struct Told {
    pub phase: String,
    pub address: String,
    /// Accepted first, and came back.
    pub bounced: bool,
    pub context: RecipientContext,
    /// Whether their server took the mail; otherwise it is on its way.
    pub accepted: bool,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    phase: String,
    #[diesel(sql_type = Text)]
    notice_state: String,
    #[diesel(sql_type = Text)]
    address: String,
    #[diesel(sql_type = Text)]
    context: String,
    #[diesel(sql_type = Nullable<Text>)]
    delivery_state: Option<String>,
}

/// Everybody told so far, by notice and address. Refused, stopped and suppressed mails told nobody anything.
pub(super) fn told(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Told>> {
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT n.phase, n.state AS notice_state, nr.address, nr.context, d.state AS delivery_state \
         FROM notices n JOIN notice_recipients nr ON nr.notice_id = n.id AND nr.channel = 'email' \
         LEFT JOIN deliveries d ON d.notice_id = nr.notice_id AND d.ordinal = nr.ordinal \
         WHERE n.incident_id = $1 ORDER BY n.created_at, nr.notice_id, nr.ordinal",
    )
    .bind::<Text, _>(incident.as_str())
    .fixed()
    .load(conn)?;
    rows.into_iter()
        .filter(|row| match row.delivery_state.as_deref() {
            Some("sent" | "pending" | "bounced") => true,
            Some(_) => false,
            // Frozen, not yet queued one by one: it will be told, unless it was stopped before.
            None => matches!(row.notice_state.as_str(), "queued" | "sending"),
        })
        .map(|row| {
            Ok(Told {
                phase: row.phase,
                bounced: row.delivery_state.as_deref() == Some("bounced"),
                address: normal_address(&row.address),
                context: serde_json::from_str(&row.context)?,
                accepted: row.delivery_state.as_deref() == Some("sent"),
            })
        })
        .collect()
}

/// The ids of the people who were told anything about the incident. Whose mails all came back was not.
///
/// # Errors
/// What the database answers.
pub fn told_people(conn: &mut Conn, incident: &IncidentId) -> Result<HashSet<String>> {
    Ok(reached_people(conn, incident)?.into_keys().collect())
}

/// The same people, each with whether a mail was accepted for them; otherwise one is on its way.
///
/// # Errors
/// What the database answers.
pub fn reached_people(conn: &mut Conn, incident: &IncidentId) -> Result<HashMap<String, bool>> {
    let mut reached = HashMap::new();
    for told in told(conn, incident)?.into_iter().filter(|told| !told.bounced) {
        for person in told.context.people {
            *reached.entry(person).or_default() |= told.accepted;
        }
    }
    Ok(reached)
}

/// A mail that did not reach its people: refused, given up, or come back.
pub struct Missed {
    /// The delivery.
    pub delivery: i64,
    /// Its notice.
    pub notice: NoticeId,
    /// What the notice is about.
    pub phase: String,
    /// Where it went.
    pub address: String,
    /// Whether it was accepted first.
    pub bounced: bool,
    /// The people behind the address, by id, with their names as they were then.
    pub people: Vec<String>,
    /// Their names, together.
    pub name: String,
}

#[derive(QueryableByName)]
struct MissedRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    notice_id: NoticeId,
    #[diesel(sql_type = Text)]
    phase: String,
    #[diesel(sql_type = Text)]
    address: String,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Text)]
    context: String,
}

fn by_state(conn: &mut Conn, incident: &IncidentId, states: &str) -> Result<Vec<MissedRow>> {
    // The states are words of ours.
    Ok(diesel::sql_query(format!(
        "SELECT d.id, d.notice_id, n.phase, d.address, d.state, nr.context \
         FROM notices n JOIN deliveries d ON d.notice_id = n.id AND d.channel = 'email' AND d.state IN ({states}) \
         JOIN notice_recipients nr ON nr.notice_id = d.notice_id AND nr.ordinal = d.ordinal \
         WHERE n.incident_id = $1 ORDER BY n.created_at, d.id"
    ))
    .bind::<Text, _>(incident.as_str())
    .fixed()
    .load(conn)?)
}

/// The mails that did not reach their people, oldest first, each with those of its people whom no other mail of the same
/// phase reached or is on its way to.
///
/// # Errors
/// What the database answers.
pub fn missed(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Missed>> {
    let lost = by_state(conn, incident, "'failed', 'bounced'")?;
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let mut reached: HashSet<(String, String)> = HashSet::new();
    for row in by_state(conn, incident, "'sent', 'pending'")? {
        let context: RecipientContext = serde_json::from_str(&row.context)?;
        reached.extend(
            context
                .people
                .into_iter()
                .map(|person| (row.phase.clone(), person)),
        );
    }
    let mut missed = Vec::new();
    for row in lost {
        let context: RecipientContext = serde_json::from_str(&row.context)?;
        let people: Vec<String> = context
            .people
            .into_iter()
            .filter(|person| !reached.contains(&(row.phase.clone(), person.clone())))
            .collect();
        if !people.is_empty() {
            missed.push(Missed {
                delivery: row.id,
                notice: row.notice_id,
                phase: row.phase,
                address: row.address,
                bounced: row.state == "bounced",
                people,
                name: context.name,
            });
        }
    }
    Ok(missed)
}
