//! Finds the places of a page in the frozen lists. Each query reads one index from the cursor on and stops after the page.

use std::collections::{BTreeSet, HashMap};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::entry::Place;
use crate::base::error::Result;
use crate::base::id::{IncidentId, NoticeId};
use crate::db::schema::{endpoints as e, members as m, notices as n, people as p};
use crate::db::{Conn, Statement};

/// By what the rows are found.
pub(super) enum Source {
    /// The emails to a person, and the short messages to these endpoints of the person.
    Person(String, Vec<String>),
    /// The emails to everybody who is or was a member of the account with this key, and the calls to its endpoints.
    Account(i64),
    /// The same for an account with few members and endpoints, which have these IDs.
    FewOf(Vec<String>, Vec<String>),
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

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Text)]
    notice_id: NoticeId,
    #[diesel(sql_type = BigInt)]
    ordinal: i64,
}

const NEWEST_FIRST: &str = " ORDER BY notice_id DESC, ordinal DESC LIMIT ";

/// Adds a query for the places of a page, the newest first. Its columns are `notice_id` and `ordinal`.
pub(super) fn push(to: &mut Statement, source: &Source, window: Window<'_>) {
    to.push("SELECT notice_id, ordinal FROM (");
    match source {
        Source::Person(id, phones) => {
            let own = |to: &mut Statement| {
                to.push("channel = 'email' AND person_id = ").text(id);
            };
            let shared = |to: &mut Statement| {
                to.push("person_id = ").text(id);
            };
            part(to, "notice_recipients", own, window);
            to.push(" UNION ");
            part(to, "shared_recipients", shared, window);
            for phone in phones {
                let called = |to: &mut Statement| {
                    to.push("channel <> 'email' AND person_id = ").text(phone);
                };
                to.push(" UNION ");
                part(to, "notice_recipients", called, window);
            }
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
        // A database cannot merge the places of several people in the order of an index. It would read all of them and sort them.
        // So each person has a query of their own, which stops after the page.
        Source::FewOf(people, endpoints) => {
            let mut first = true;
            let mut next = |to: &mut Statement, table: &str, channel: &str, id: &str| {
                if !std::mem::take(&mut first) {
                    to.push(" UNION ");
                }
                let of = |to: &mut Statement| {
                    to.push(channel).push("person_id = ").text(id);
                };
                part(to, table, of, window);
            };
            for id in people {
                next(to, "notice_recipients", "channel = 'email' AND ", id);
                next(to, "shared_recipients", "", id);
            }
            for id in endpoints {
                next(to, "notice_recipients", "channel <> 'email' AND ", id);
            }
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

/// The largest number of people and endpoints together for which a statement has a query for each. SQLite allows 500 queries in one
/// statement, and each person needs two.
const FEW: usize = 100;

/// Returns how the rows of an account are found.
///
/// # Errors
/// An error of the database.
pub(super) fn of_account(conn: &mut Conn, key: i64) -> Result<Source> {
    let most = FEW as i64 + 1;
    let people: Vec<String> = m::table
        .inner_join(p::table)
        .filter(m::account_key.eq(key))
        .select(p::id)
        .limit(most)
        .load(conn)?;
    let endpoints: Vec<String> = e::table
        .filter(e::account_key.eq(key))
        .select(e::id)
        .limit(most)
        .load(conn)?;
    let few = (1..=FEW).contains(&(people.len() + endpoints.len()));
    Ok(match few {
        true => Source::FewOf(people, endpoints),
        false => Source::Account(key),
    })
}

/// Returns the incidents of the newest notices to these people, the one of the newest notice first. Each is read from an index that
/// stops after the newest notices, so that a person with many notices costs no more than one with few.
///
/// # Errors
/// An error of the database.
pub fn newest_incidents(conn: &mut Conn, people: &[String], limit: usize) -> Result<Vec<IncidentId>> {
    // An incident has a few notices.
    let window = Window {
        before: None,
        limit: limit.saturating_mul(10).max(50) as i64,
    };
    let mut notices: BTreeSet<NoticeId> = BTreeSet::new();
    for chunk in people.chunks(FEW) {
        let mut statement = Statement::default();
        push(&mut statement, &Source::FewOf(chunk.to_vec(), Vec::new()), window);
        let found: Vec<Found> = statement.finish().load(conn)?;
        notices.extend(found.into_iter().map(|one| one.notice_id));
    }
    let newest: Vec<&str> = notices
        .iter()
        .rev()
        .take(window.limit as usize)
        .map(NoticeId::as_str)
        .collect();
    let mut of: HashMap<String, IncidentId> = HashMap::new();
    for chunk in newest.chunks(500) {
        let rows: Vec<(String, IncidentId)> = n::table
            .filter(n::id.eq_any(chunk))
            .select((n::id, n::incident_id))
            .load(conn)?;
        of.extend(rows);
    }
    let mut incidents: Vec<IncidentId> = Vec::new();
    for id in newest.iter().filter_map(|notice| of.remove(*notice)) {
        if incidents.len() < limit && !incidents.contains(&id) {
            incidents.push(id);
        }
    }
    Ok(incidents)
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
