//! How many people answered what. The numbers add up: everybody who was asked, or answered without being asked, is counted once.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use serde::Serialize;

use super::Choice;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::db::Conn;
use crate::incident::lineage;
use crate::notice::{self, AskedPeople};

/// The number of people whose current answer is each choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Choices {
    /// People for whom it works.
    pub works: i64,
    /// People for whom it is still broken.
    pub broken: i64,
    /// People who need help.
    pub help: i64,
}

impl Choices {
    /// Returns the number for a choice, to be changed.
    pub(super) fn of(&mut self, choice: Choice) -> &mut i64 {
        match choice {
            Choice::Works => &mut self.works,
            Choice::Broken => &mut self.broken,
            Choice::Help => &mut self.help,
        }
    }
}

/// The numbers of people by their current answers: `asked = works + broken + help + replied + none`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AnswerCounts {
    /// People to whom an email with the links was delivered to the mail server, and people who answered in another way.
    pub asked: i64,
    /// The number of people with each choice.
    #[serde(flatten)]
    pub choices: Choices,
    /// People who wrote a reply by email and made no choice.
    pub replied: i64,
    /// People who were asked and have not answered.
    pub none: i64,
}

/// The entry of each person that counts, of the incident `$1` and those that are merged into it, from the time `$2` on: the latest
/// choice, or the latest reply if there is no choice. `entries` is the number of all entries of the person.
pub(super) fn current_entries() -> String {
    format!(
        "SELECT * FROM (SELECT a.id, a.person_id, a.address, a.answer, a.text, a.at, a.notice_id, a.source, a.recorded_by, \
         ROW_NUMBER() OVER (PARTITION BY a.person_id ORDER BY CASE WHEN a.answer IS NULL THEN 1 ELSE 0 END, a.at DESC, a.id DESC) \
         AS place, COUNT(*) OVER (PARTITION BY a.person_id) AS entries FROM answers a WHERE a.incident_id IN {} AND a.at >= $2) latest \
         WHERE place = 1",
        lineage::IDS
    )
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = Nullable<Text>)]
    answer: Option<String>,
    #[diesel(sql_type = BigInt)]
    people: i64,
}

/// Returns the number of people for each choice, and the number of people who only wrote a reply.
///
/// # Errors
/// An error of the database.
pub fn choices(conn: &mut Conn, incident: &IncidentId) -> Result<(Choices, i64)> {
    let from = notice::counted_from(conn, incident)?;
    let rows: Vec<Counted> = diesel::sql_query(format!(
        "SELECT answer, COUNT(*) AS people FROM ({}) counted GROUP BY answer",
        current_entries()
    ))
    .bind::<Text, _>(incident.as_str())
    .bind::<BigInt, _>(from)
    .load(conn)?;
    let (mut choices, mut replied) = (Choices::default(), 0);
    for row in rows {
        match row.answer {
            Some(choice) => *choices.of(Choice::parse(&choice).map_err(Error::internal)?) = row.people,
            None => replied = row.people,
        }
    }
    Ok((choices, replied))
}

/// Returns the numbers of people by their current answers.
///
/// # Errors
/// An error of the database.
pub fn counts(conn: &mut Conn, incident: &IncidentId, asked: &AskedPeople) -> Result<AnswerCounts> {
    let (choices, replied) = choices(conn, incident)?;
    let answered = notice::answered(conn, incident)?;
    let none = asked.keys().filter(|person| !answered.contains(*person)).count();
    let none = i64::try_from(none).map_err(Error::internal)?;
    Ok(AnswerCounts {
        asked: choices.works + choices.broken + choices.help + replied + none,
        choices,
        replied,
        none,
    })
}
