//! Who was told what about an incident: the basis of "nobody twice" and of "who heard the beginning hears the end".

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};

use super::compose::RecipientContext;
use crate::db::Conn;
use crate::directory::normal_address;
use crate::error::Result;
use crate::id::IncidentId;

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
         LEFT JOIN deliveries d ON d.notice_id = nr.notice_id AND d.channel = 'email' AND d.address = nr.address \
         WHERE n.incident_id = $1 ORDER BY n.created_at, nr.notice_id, nr.ordinal",
    )
    .bind::<Text, _>(incident.as_str())
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
                accepted: matches!(row.delivery_state.as_deref(), Some("sent" | "bounced")),
            })
        })
        .collect()
}

/// The ids of the people who were told anything about the incident.
///
/// # Errors
/// What the database answers.
pub fn told_people(conn: &mut Conn, incident: &IncidentId) -> Result<HashSet<String>> {
    Ok(told(conn, incident)?
        .into_iter()
        .flat_map(|told| told.context.people)
        .collect())
}

/// The same people, each with whether a mail was accepted for them; otherwise one is on its way.
///
/// # Errors
/// What the database answers.
pub fn reached_people(conn: &mut Conn, incident: &IncidentId) -> Result<HashMap<String, bool>> {
    let mut reached = HashMap::new();
    for told in told(conn, incident)? {
        for person in told.context.people {
            *reached.entry(person).or_default() |= told.accepted;
        }
    }
    Ok(reached)
}
