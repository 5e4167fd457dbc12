//! Lists the answers of an incident: one entry for each person, all entries of one person, or the people without an answer.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use serde::{Deserialize, Serialize};

use super::counts::current_entries;
use super::{AnsweredBy, Choice};
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{answers as a, people as p};
use crate::notice;
use crate::notice::AskedPeople;

/// The entry of a person, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = CustomerAnswer)]
pub struct Answer {
    /// The ID of the entry. Null if the person has not answered.
    pub id: Option<i64>,
    /// The ID of the person.
    pub person: String,
    /// The name of the person. Null if the directory does not know the person.
    pub name: Option<String>,
    /// The address of the email that asked. Null if an operator recorded the answer.
    pub address: Option<String>,
    /// The current answer. Null if the person has not answered, or only wrote a reply.
    pub answer: Option<Choice>,
    /// The text of the answer or of the reply. It may be empty.
    pub text: String,
    /// When the person answered.
    pub at: Option<Timestamp>,
    /// The notice whose email was answered. If the person has not answered, the last notice that asked.
    pub notice: Option<NoticeId>,
    /// How the answer was given.
    pub by: Option<AnsweredBy>,
    /// The name of the operator's token, if an operator recorded the answer.
    pub recorded_by: Option<String>,
    /// The number of all entries of the person. `?person=` lists them.
    pub entries: i64,
    /// The last reply by email of the person.
    pub reply: Option<LastReply>,
}

/// A reply by email.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LastReply {
    /// When the reply was received.
    pub at: Timestamp,
    /// The text without the quoted email.
    pub text: String,
}

/// Which people to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AnswerFilter)]
pub enum Filter {
    /// People for whom it works.
    Works,
    /// People for whom it is still broken.
    Broken,
    /// People who need help.
    Help,
    /// People who wrote a reply by email and made no choice.
    Replied,
    /// People who were asked and have not answered.
    None,
}

impl Filter {
    /// All filters, in the order in which they are shown.
    pub const ALL: [Filter; 5] = [
        Filter::Works,
        Filter::Broken,
        Filter::Help,
        Filter::Replied,
        Filter::None,
    ];

    /// Returns the word of the parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Filter::Works => "works",
            Filter::Broken => "broken",
            Filter::Help => "help",
            Filter::Replied => "replied",
            Filter::None => "none",
        }
    }
}

/// The place of an entry in the list: its time and its ID.
pub type Place = (i64, i64);

#[derive(QueryableByName, Queryable)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    person_id: String,
    #[diesel(sql_type = Text)]
    address: String,
    #[diesel(sql_type = Nullable<Text>)]
    answer: Option<String>,
    #[diesel(sql_type = Text)]
    text: String,
    #[diesel(sql_type = BigInt)]
    at: Timestamp,
    #[diesel(sql_type = Nullable<Text>)]
    notice_id: Option<NoticeId>,
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = Nullable<Text>)]
    recorded_by: Option<String>,
    #[diesel(sql_type = BigInt)]
    entries: i64,
}

/// Returns the place of an entry, for the next page.
pub fn place(answer: &Answer) -> Place {
    (
        answer.at.map_or(0, Timestamp::as_micros),
        answer.id.unwrap_or_default(),
    )
}

/// Returns the current entry of each person who answered, the latest first, before the given place. `filter` must not be `None`
/// of the enum: [`unanswered`] lists these people.
///
/// # Errors
/// An error of the database.
pub fn current(
    conn: &mut Conn,
    incident: &IncidentId,
    filter: Option<Filter>,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Answer>> {
    let matching = match filter {
        None => String::new(),
        Some(Filter::Replied) => " AND answer IS NULL".to_owned(),
        Some(filter) => format!(" AND answer = '{}'", filter.as_str()),
    };
    let (at, id) = before.unwrap_or((i64::MAX, i64::MAX));
    let from = notice::counted_from(conn, incident)?;
    let rows: Vec<Row> = diesel::sql_query(format!(
        "{}{matching} AND (at < $3 OR (at = $4 AND id < $5)) ORDER BY at DESC, id DESC LIMIT $6",
        current_entries()
    ))
    .bind::<Text, _>(incident.as_str())
    .bind::<BigInt, _>(from)
    .bind::<BigInt, _>(at)
    .bind::<BigInt, _>(at)
    .bind::<BigInt, _>(id)
    .bind::<BigInt, _>(limit)
    .load(conn)?;
    answers(conn, incident, rows)
}

/// Returns all entries of one person, the latest first, before the given place.
///
/// # Errors
/// An error of the database.
pub fn of_person(
    conn: &mut Conn,
    incident: &IncidentId,
    person: &str,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Answer>> {
    let (at, id) = before.unwrap_or((i64::MAX, i64::MAX));
    let rows: Vec<Row> = diesel::sql_query(format!(
        "SELECT a.id, a.person_id, a.address, a.answer, a.text, a.at, a.notice_id, a.source, a.recorded_by, \
         COUNT(*) OVER () AS entries FROM answers a WHERE a.incident_id IN {} AND a.person_id = $2 \
         AND (a.at < $3 OR (a.at = $4 AND a.id < $5)) ORDER BY a.at DESC, a.id DESC LIMIT $6",
        crate::incident::lineage::IDS
    ))
    .bind::<Text, _>(incident.as_str())
    .bind::<Text, _>(person)
    .bind::<BigInt, _>(at)
    .bind::<BigInt, _>(at)
    .bind::<BigInt, _>(id)
    .bind::<BigInt, _>(limit)
    .load(conn)?;
    answers(conn, incident, rows)
}

/// Returns the entry of a person that was stored last.
pub(super) fn last_stored(conn: &mut Conn, incident: &IncidentId, person: &str) -> Result<Answer> {
    let id: i64 = a::table
        .filter(a::incident_id.eq(incident.as_str()))
        .filter(a::person_id.eq(person))
        .order(a::id.desc())
        .select(a::id)
        .first(conn)?;
    let all = of_person(conn, incident, person, None, i64::MAX)?;
    all.into_iter()
        .find(|answer| answer.id == Some(id))
        .ok_or_else(|| Error::internal("an answer was not stored"))
}

/// Returns the people who were asked and have not answered, by ID, after the given one.
///
/// # Errors
/// An error of the database.
pub fn unanswered(
    conn: &mut Conn,
    incident: &IncidentId,
    asked: &AskedPeople,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Answer>> {
    let answered = notice::answered(conn, incident)?;
    let mut open: Vec<&String> = asked
        .keys()
        .filter(|person| after.is_none_or(|after| person.as_str() > after) && !answered.contains(*person))
        .collect();
    open.sort_unstable();
    open.truncate(usize::try_from(limit).unwrap_or_default());
    let names = names(conn, open.iter().map(|person| person.as_str()))?;
    open.into_iter()
        .map(|person| {
            let last = asked.get(person);
            Ok(Answer {
                id: None,
                person: person.clone(),
                name: names.get(person).cloned(),
                address: last.map(|last| last.address.to_string()),
                answer: None,
                text: String::new(),
                at: None,
                notice: last
                    .map(|last| NoticeId::parse(&last.notice))
                    .transpose()
                    .map_err(Error::internal)?,
                by: None,
                recorded_by: None,
                entries: 0,
                reply: None,
            })
        })
        .collect()
}

fn answers(conn: &mut Conn, incident: &IncidentId, rows: Vec<Row>) -> Result<Vec<Answer>> {
    let people: Vec<&str> = rows.iter().map(|row| row.person_id.as_str()).collect();
    let names = names(conn, people.iter().copied())?;
    let incidents = crate::incident::lineage::ids_with_merged(conn, incident)?;
    let mut replies: HashMap<String, LastReply> = HashMap::new();
    for chunk in people.chunks(500) {
        let found: Vec<(String, Timestamp, String)> = a::table
            .filter(a::incident_id.eq_any(&incidents))
            .filter(a::person_id.eq_any(chunk))
            .filter(a::source.eq(AnsweredBy::Reply.as_str()))
            .order((a::at, a::id))
            .select((a::person_id, a::at, a::text))
            .load(conn)?;
        for (person, at, text) in found {
            replies.insert(person, LastReply { at, text });
        }
    }
    rows.into_iter()
        .map(|row| {
            Ok(Answer {
                id: Some(row.id),
                name: names.get(&row.person_id).cloned(),
                reply: replies.get(&row.person_id).cloned(),
                person: row.person_id,
                address: Some(row.address).filter(|address| !address.is_empty()),
                answer: row
                    .answer
                    .as_deref()
                    .map(Choice::parse)
                    .transpose()
                    .map_err(Error::internal)?,
                text: row.text,
                at: Some(row.at),
                notice: row.notice_id,
                by: Some(AnsweredBy::parse(&row.source).map_err(Error::internal)?),
                recorded_by: row.recorded_by,
                entries: row.entries,
            })
        })
        .collect()
}

/// Returns the names of people, by ID.
fn names<'a>(conn: &mut Conn, people: impl Iterator<Item = &'a str>) -> Result<HashMap<String, String>> {
    let mut ids: Vec<&str> = people.collect();
    ids.sort_unstable();
    ids.dedup();
    let mut names = HashMap::new();
    for chunk in ids.chunks(500) {
        let rows: Vec<(String, String)> = p::table
            .filter(p::id.eq_any(chunk))
            .select((p::id, p::name))
            .load(conn)?;
        names.extend(rows);
    }
    Ok(names)
}
