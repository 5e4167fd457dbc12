//! Brings the record of an emergency notice onto an incident: the people in it count as notified there. The timeline gets an entry, the audit
//! trail an event, and the incident a list of the people. No address is stored.
//!
//! A record can be imported again after it has grown. Then only what is new is added.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::record::{Content, Delivered};
use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::{EmergencyId, IncidentId};
use crate::base::text::{hex, one_line};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::{self, Lock, on_backend};
use crate::db::schema::{emergency_notices as n, emergency_recipients as r};
use crate::directory::erased::placeholders_of;
use crate::directory::person;
use crate::incident::{self, timeline};

word_enum! {
    /// What became of the email to a person.
    #[schema(as = EmergencyState)]
    State, "a state" {
        /// The mail server accepted it.
        Accepted = "accepted",
        /// The mail server refused it.
        Refused = "refused",
        /// The mail server did not accept it yet.
        NotYet = "not_yet",
        /// It may have arrived.
        Unknown = "unknown",
    }
}

impl From<Delivered> for State {
    fn from(delivered: Delivered) -> State {
        match delivered {
            Delivered::Accepted => State::Accepted,
            Delivered::Refused => State::Refused,
            Delivered::NotYet => State::NotYet,
            Delivered::Unknown => State::Unknown,
        }
    }
}

/// How many people of an emergency notice have each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EmergencyCounts)]
pub struct Counts {
    /// The number of all people of the emergency notice.
    pub people: i64,
    /// The mail server accepted the email.
    pub accepted: i64,
    /// The mail server refused it.
    pub refused: i64,
    /// The mail server did not accept it yet.
    pub not_yet: i64,
    /// It may have arrived.
    pub unknown: i64,
}

/// A message that was sent while the database was away, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct EmergencyNotice {
    /// The ID, which is the ID of the record.
    pub id: EmergencyId,
    /// The ID of the incident that the record was imported onto.
    pub incident: IncidentId,
    /// The subject of the emails.
    pub subject: String,
    /// The text of the emails. Empty lines separate paragraphs.
    pub message: String,
    /// The SHA-256 hash of subject and text.
    pub digest: String,
    /// The time of the first line of the record, before the first email was tried.
    pub began_at: Timestamp,
    /// The time of the last line of the record.
    pub ended_at: Timestamp,
    /// The number of lines of the record that were imported.
    pub lines: i64,
    /// The hash of the last of them. Keep the record: it proves the rest.
    pub head: String,
    /// The name of the actor who last imported the record, for example of a token.
    pub imported_by: String,
    /// When it was last imported.
    pub imported_at: Timestamp,
    /// How many people have each state.
    pub counts: Counts,
}

/// A person who was notified by an emergency notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct EmergencyRecipient {
    /// The caller's ID of the person.
    pub person: String,
    /// The name, if the directory knows the person now.
    pub name: Option<String>,
    /// The accounts because of which the person was chosen.
    pub accounts: Vec<String>,
    /// What became of the email.
    pub state: State,
    /// When this state was recorded: the time of the outcome, or of the attempt if there is no outcome.
    pub at: Timestamp,
}

type Row = (
    EmergencyId,
    IncidentId,
    String,
    String,
    String,
    Timestamp,
    Timestamp,
    i64,
    String,
    String,
    Timestamp,
);

fn view(conn: &mut Conn, row: Row) -> Result<EmergencyNotice> {
    let (id, incident, subject, message, digest, began_at, ended_at, lines, head, imported_by, imported_at) =
        row;
    let states: Vec<(String, i64)> = r::table
        .filter(r::notice_id.eq(id.as_str()))
        .group_by(r::state)
        .select((r::state, diesel::dsl::count_star()))
        .load(conn)?;
    let mut counts = Counts::default();
    for (state, people) in states {
        counts.people += people;
        match State::parse(&state).map_err(Error::internal)? {
            State::Accepted => counts.accepted = people,
            State::Refused => counts.refused = people,
            State::NotYet => counts.not_yet = people,
            State::Unknown => counts.unknown = people,
        }
    }
    Ok(EmergencyNotice {
        id,
        incident,
        subject,
        message,
        digest,
        began_at,
        ended_at,
        lines,
        head,
        imported_by,
        imported_at,
        counts,
    })
}

/// Returns the emergency notices of an incident, oldest first.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn list(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<EmergencyNotice>> {
    incident::get(conn, incident)?;
    let rows: Vec<Row> = n::table
        .filter(n::incident_id.eq(incident.as_str()))
        .order((n::began_at, n::id))
        .load(conn)?;
    rows.into_iter().map(|row| view(conn, row)).collect()
}

/// Returns an emergency notice.
///
/// # Errors
/// `NotFound` if there is none with this ID.
pub fn get(conn: &mut Conn, id: &EmergencyId) -> Result<EmergencyNotice> {
    let row: Option<Row> = n::table.find(id.as_str()).first(conn).optional()?;
    let row = row.ok_or_else(|| Error::NotFound("an emergency notice with this ID".to_owned()))?;
    view(conn, row)
}

/// Returns the people of an emergency notice after the given ID, ordered by ID.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn recipients(
    conn: &mut Conn,
    id: &EmergencyId,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<EmergencyRecipient>> {
    get(conn, id)?;
    let rows: Vec<(String, String, String, Timestamp)> = r::table
        .filter(r::notice_id.eq(id.as_str()))
        .filter(r::person_id.gt(after.unwrap_or("")))
        .order(r::person_id)
        .limit(limit)
        .select((r::person_id, r::accounts, r::state, r::at))
        .load(conn)?;
    let ids: Vec<&str> = rows.iter().map(|(person, ..)| person.as_str()).collect();
    let mut names: BTreeMap<String, String> = person::some(conn, &ids)?
        .into_iter()
        .map(|one| (one.id, one.name))
        .collect();
    rows.into_iter()
        .map(|(person, accounts, state, at)| {
            Ok(EmergencyRecipient {
                name: names.remove(&person),
                accounts: serde_json::from_str(&accounts)?,
                state: State::parse(&state).map_err(Error::internal)?,
                person,
                at,
            })
        })
        .collect()
}

/// Imports a record onto an incident.
///
/// # Errors
/// - `NotFound` if the incident does not exist.
/// - `Invalid` if the record contains no attempt, or is another one than what was imported with its ID.
/// - `Conflict` if it was already imported as far as it goes (code `already_exists`), or onto another incident.
pub fn import(tx: &mut Tx<'_>, incident: &IncidentId, content: &Content) -> Result<EmergencyNotice> {
    let about = incident::get(tx.conn, incident)?;
    if about.drill {
        return Err(Error::Conflict(
            "the incident is a drill, and a drill reaches no customer".to_owned(),
        ));
    }
    let id =
        EmergencyId::parse(&content.id).map_err(|_| Error::invalid("", "the record has no usable ID"))?;
    let (Some(began_at), Some(ended_at), Some(head)) =
        (content.began_at, content.ended_at, content.hashes.last())
    else {
        return Err(Error::invalid("", "the record is empty"));
    };
    if content.mailboxes.is_empty() {
        return Err(Error::invalid(
            "",
            "the record contains no attempt, so there is nothing to import",
        ));
    }
    dialect::lock(tx.conn, Lock::Incident, incident.as_str())?;
    let before: Option<(IncidentId, i64, String)> = n::table
        .find(id.as_str())
        .select((n::incident_id, n::lines, n::head))
        .first(tx.conn)
        .optional()?;
    let lines = content.hashes.len() as i64;
    let digest = digest(content);
    match &before {
        None => {
            diesel::insert_into(n::table)
                .values((
                    n::id.eq(id.as_str()),
                    n::incident_id.eq(incident.as_str()),
                    n::subject.eq(&content.subject),
                    n::message.eq(&content.text),
                    n::digest.eq(&digest),
                    n::began_at.eq(began_at),
                    n::ended_at.eq(ended_at),
                    n::lines.eq(lines),
                    n::head.eq(head),
                    n::imported_by.eq(tx.actor.name()),
                    n::imported_at.eq(tx.now),
                ))
                .execute(tx.conn)?;
        }
        Some((other, ..)) if other != incident => {
            return Err(
                Error::Conflict("the record was imported onto another incident".to_owned())
                    .code(Code::AlreadyExists),
            );
        }
        Some((_, known, _)) if *known >= lines => {
            return Err(
                Error::Conflict("the record was already imported as far as it goes".to_owned())
                    .code(Code::AlreadyExists),
            );
        }
        Some((_, known, old)) => {
            let at = usize::try_from(*known).unwrap_or(0);
            if at == 0 || content.hashes.get(at - 1) != Some(old) {
                return Err(Error::invalid(
                    "",
                    "is not a continuation of the record that was imported with this ID",
                ));
            }
            diesel::update(n::table.find(id.as_str()))
                .set((
                    n::ended_at.eq(ended_at),
                    n::lines.eq(lines),
                    n::head.eq(head),
                    n::imported_by.eq(tx.actor.name()),
                    n::imported_at.eq(tx.now),
                ))
                .execute(tx.conn)?;
        }
    }
    people(tx, &id, content)?;
    let notice = get(tx.conn, &id)?;
    let counts = notice.counts;
    let text = format!(
        "Emergency notice \u{201c}{}\u{201d}, sent without the database: {} people, {} accepted, {} refused, {} not accepted yet, {} not known",
        one_line(&content.subject, 120),
        counts.people,
        counts.accepted,
        counts.refused,
        counts.not_yet,
        counts.unknown
    );
    timeline::note(tx, incident, timeline::Kind::Notified, began_at, &text)?;
    tx.record(
        Event::new(Action::EmergencyImported, "emergency_notice", id.as_str())
            .incident(incident)
            .after(json!({
                "subject": content.subject, "digest": digest, "began_at": began_at, "ended_at": ended_at, "lines": lines,
                "head": head, "counts": counts, "again": before.is_some(),
            })),
    );
    Ok(notice)
}

fn digest(content: &Content) -> String {
    use sha2::{Digest, Sha256};
    hex(&Sha256::digest(
        format!("{}\n{}", content.subject, content.text).as_bytes(),
    ))
}

/// Stores the people of a record. The later state of a person replaces the earlier one.
fn people(tx: &mut Tx<'_>, id: &EmergencyId, content: &Content) -> Result<()> {
    type Told = (BTreeSet<String>, Delivered, Timestamp);
    let mut told: BTreeMap<&str, Told> = BTreeMap::new();
    for standing in content.mailboxes.values() {
        for one in &standing.people {
            let accounts = one.reasons.iter().map(|reason| reason.account.clone());
            let entry = told
                .entry(&one.person)
                .or_insert_with(|| (BTreeSet::new(), standing.outcome, standing.at));
            entry.0.extend(accounts);
            // A person whose address was changed between two runs may have two mailboxes. The accepted one counts.
            if standing.outcome == Delivered::Accepted
                || (entry.1 != Delivered::Accepted && standing.at > entry.2)
            {
                (entry.1, entry.2) = (standing.outcome, standing.at);
            }
        }
    }
    // Somebody may have been erased after the message was sent and before its record is imported.
    let ids: Vec<&str> = told.keys().copied().collect();
    let erased = placeholders_of(tx.conn, &ids)?;
    for (person, (accounts, outcome, at)) in told {
        let person = erased.get(person).map_or(person, String::as_str);
        let accounts = serde_json::to_string(&accounts)?;
        let state = State::from(outcome).as_str();
        on_backend!(&mut *tx.conn, conn => diesel::insert_into(r::table)
            .values((
                r::notice_id.eq(id.as_str()),
                r::person_id.eq(person),
                r::accounts.eq(&accounts),
                r::state.eq(state),
                r::at.eq(at),
            ))
            .on_conflict((r::notice_id, r::person_id))
            .do_update()
            .set((r::accounts.eq(&accounts), r::state.eq(state), r::at.eq(at)))
            .execute(conn))?;
    }
    Ok(())
}
