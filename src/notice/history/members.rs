//! Who was a member of an account when a notice was queued.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;

use super::entry::HistoryEntry;
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{member_history as h, members as m, people as p};

/// The number of people that are looked up in one statement.
const CHUNK: usize = 500;

/// The membership of one person in the account.
struct Membership {
    created_at: Timestamp,
    /// Whether it has not ended.
    is_active: bool,
    /// The states that have ended: from, to, and whether the person was a member.
    ended: Vec<(Timestamp, Timestamp, bool)>,
}

impl Membership {
    fn was_active(&self, at: Timestamp) -> bool {
        match self.ended.iter().find(|(from, to, _)| *from <= at && at < *to) {
            Some((_, _, was_member)) => *was_member,
            None => self.is_active && self.created_at <= at,
        }
    }
}

/// Keeps the emails to people of whom one was a member of the account when the notice was queued, and all calls to endpoints.
///
/// # Errors
/// An error of the database.
pub(super) fn keep(conn: &mut Conn, account: i64, entries: Vec<HistoryEntry>) -> Result<Vec<HistoryEntry>> {
    let people: HashSet<&str> = entries
        .iter()
        .flat_map(|entry| entry.people.iter().map(String::as_str))
        .collect();
    let people: Vec<&str> = people.into_iter().collect();
    let members = read(conn, account, &people)?;
    Ok(entries
        .into_iter()
        .filter(|entry| {
            let was_member = |id: &String| {
                members
                    .get(id)
                    .is_some_and(|member| member.was_active(entry.queued_at))
            };
            entry.endpoint.is_some() || entry.people.iter().any(was_member)
        })
        .collect())
}

fn read(conn: &mut Conn, account: i64, people: &[&str]) -> Result<HashMap<String, Membership>> {
    let mut found = HashMap::new();
    for chunk in people.chunks(CHUNK) {
        type Row = (String, i64, Timestamp, Option<Timestamp>);
        let rows: Vec<Row> = m::table
            .inner_join(p::table)
            .filter(m::account_key.eq(account))
            .filter(p::id.eq_any(chunk))
            .select((p::id, m::person_key, m::created_at, m::gone_at))
            .load(conn)?;
        let keys: Vec<i64> = rows.iter().map(|(_, key, _, _)| *key).collect();
        let ended: Vec<(i64, Timestamp, Timestamp, bool)> = h::table
            .filter(h::account_key.eq(account))
            .filter(h::person_key.eq_any(keys))
            .select((h::person_key, h::valid_from, h::valid_to, h::gone))
            .load(conn)?;
        let mut of: HashMap<i64, Vec<(Timestamp, Timestamp, bool)>> = HashMap::new();
        for (key, from, to, gone) in ended {
            of.entry(key).or_default().push((from, to, !gone));
        }
        found.extend(rows.into_iter().map(|(id, key, created_at, gone_at)| {
            let member = Membership {
                created_at,
                is_active: gone_at.is_none(),
                ended: of.remove(&key).unwrap_or_default(),
            };
            (id, member)
        }));
    }
    Ok(found)
}
