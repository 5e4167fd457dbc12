//! Finds the places of a page in the frozen lists. Each query reads one index from the cursor on and stops after the page.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::entry::Place;
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::db::{Conn, Statement};

/// By what the rows are found.
pub(super) enum Source {
    /// The emails to a person.
    Person(String),
    /// The emails to everybody who is or was a member of the account with this key, and the calls to its endpoints.
    Account(i64),
    /// The emails to an address, in any of these spellings. Each is in lower case.
    Address(Vec<String>),
}

/// A page of places.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    /// The place after which the page begins.
    pub before: Option<&'a Place>,
    /// The largest number of rows.
    pub limit: i64,
}

const NEWEST_FIRST: &str = " ORDER BY notice_id DESC, ordinal DESC LIMIT ";

/// Adds a query for the places of a page, the newest first. Its columns are `notice_id` and `ordinal`.
pub(super) fn push(to: &mut Statement, source: &Source, window: Window<'_>) {
    to.push("SELECT notice_id, ordinal FROM (");
    match source {
        Source::Person(id) => {
            let own = |to: &mut Statement| {
                to.push("channel = 'email' AND person_id = ").text(id);
            };
            let shared = |to: &mut Statement| {
                to.push("person_id = ").text(id);
            };
            part(to, "notice_recipients", own, window);
            to.push(" UNION ");
            part(to, "shared_recipients", shared, window);
        }
        Source::Account(key) => {
            let people = format!(
                "person_id IN (SELECT p.id FROM members m JOIN people p ON p.key = m.person_key WHERE m.account_key = {key})"
            );
            let endpoints = format!(
                "channel <> 'email' AND person_id IN (SELECT e.id FROM endpoints e WHERE e.account_key = {key})"
            );
            let own = |to: &mut Statement| {
                to.push("channel = 'email' AND ").push(&people);
            };
            let shared = |to: &mut Statement| {
                to.push(&people);
            };
            let called = |to: &mut Statement| {
                to.push(&endpoints);
            };
            part(to, "notice_recipients", own, window);
            to.push(" UNION ");
            part(to, "shared_recipients", shared, window);
            to.push(" UNION ");
            part(to, "notice_recipients", called, window);
        }
        Source::Address(spellings) => {
            for (index, spelling) in spellings.iter().enumerate() {
                if index > 0 {
                    to.push(" UNION ");
                }
                let at = |to: &mut Statement| {
                    to.push("channel = 'email' AND LOWER(address) = ").text(spelling);
                };
                part(to, "notice_recipients", at, window);
            }
        }
    }
    to.push(") places")
        .push(NEWEST_FIRST)
        .push(&window.limit.to_string());
}

/// Adds a query for all places of the emails to a person.
pub(super) fn push_all_of_person(to: &mut Statement, person: &str) {
    to.push("SELECT notice_id, ordinal FROM notice_recipients WHERE channel = 'email' AND person_id = ")
        .text(person)
        .push(" UNION SELECT notice_id, ordinal FROM shared_recipients WHERE person_id = ")
        .text(person);
}

/// Adds the query for the places of one table. A limit stands in its own query, so that no more of the index is read.
fn part(to: &mut Statement, table: &str, condition: impl Fn(&mut Statement), window: Window<'_>) {
    to.push("SELECT notice_id, ordinal FROM (SELECT notice_id, ordinal FROM ")
        .push(table)
        .push(" WHERE ");
    condition(to);
    if let Some((notice, ordinal)) = window.before {
        to.push(" AND (notice_id, ordinal) < (")
            .text(notice.as_str())
            .push(&format!(", {ordinal})"));
    }
    to.push(NEWEST_FIRST)
        .push(&window.limit.to_string())
        .push(") part");
}

/// Returns the places of the newest emails to a person, the notice that was drafted last first. Emails to a mailbox whose first
/// person is another one are not among them.
///
/// # Errors
/// An error of the database.
pub fn newest_of_person(conn: &mut Conn, person: &str, limit: i64) -> Result<Vec<Place>> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Text)]
        notice_id: NoticeId,
        #[diesel(sql_type = BigInt)]
        ordinal: i64,
    }
    let mut statement = Statement::default();
    let own = |to: &mut Statement| {
        to.push("channel = 'email' AND person_id = ").text(person);
    };
    part(
        &mut statement,
        "notice_recipients",
        own,
        Window { before: None, limit },
    );
    let found: Vec<Found> = statement.finish().load(conn)?;
    Ok(found
        .into_iter()
        .map(|one| (one.notice_id, one.ordinal))
        .collect())
}
