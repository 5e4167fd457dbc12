//! Reads the roles on accounts and resources, and the people who have them. There is one query for each few
//! thousand keys, or one that reads a whole table if most of it is needed. There is never one query for each
//! person.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::at::{At, THERE, UNKNOWN};
use super::graph::{AccountIndex, Graph, NodeIndex};
use crate::base::error::Result;
use crate::base::shared::Shared;
use crate::db::Conn;
use crate::db::keyed::{self, CHUNK, Keyed, Word, load, load_keyed};

/// The names of roles, by index. Any name is possible, but there are few of them.
#[derive(Default)]
pub(super) struct Words(Vec<Shared>);

impl Words {
    /// The number of names that are searched for an existing one. After that, each name is stored again.
    const FEW: usize = 100;

    fn place(&mut self, word: &str) -> u32 {
        let known = self.0.iter().take(Words::FEW).position(|known| **known == *word);
        known.unwrap_or_else(|| {
            self.0.push(word.into());
            self.0.len() - 1
        }) as u32
    }

    /// Returns the name at an index.
    pub fn get(&self, place: u32) -> &Shared {
        &self.0[place as usize]
    }
}

/// A person with a role.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub person: i64,
    /// The index of the name of the role.
    pub role: u32,
}

/// The people with roles, by the index of the account or resource in the graph.
pub(super) struct HeldOn {
    /// The index of the first person of each account or resource, and one more for the end.
    starts: Vec<u32>,
    held: Vec<Held>,
}

impl HeldOn {
    fn new(places: usize, rows: &[(u32, Held)]) -> HeldOn {
        let mut starts = vec![0_u32; places + 1];
        for (place, _) in rows {
            starts[*place as usize + 1] += 1;
        }
        for place in 0..places {
            starts[place + 1] += starts[place];
        }
        let mut held = vec![Held { person: 0, role: 0 }; rows.len()];
        let mut next = starts.clone();
        for (place, one) in rows {
            let next = &mut next[*place as usize];
            held[*next as usize] = *one;
            *next += 1;
        }
        HeldOn { starts, held }
    }

    /// Returns the people of the account or resource at this index.
    pub fn at(&self, place: usize) -> &[Held] {
        match (self.starts.get(place), self.starts.get(place + 1)) {
            (Some(start), Some(end)) => &self.held[*start as usize..*end as usize],
            _ => &[],
        }
    }
}

/// Returns the people with one of `roles` on these keys. With None, every role counts. `table` is `members`
/// or `collaborators`.
fn held(
    conn: &mut Conn,
    at: At,
    (table, history, on): (&str, &str, &str),
    keys: &[i64],
    roles: Option<&[&str]>,
) -> Result<Vec<(i64, i64, Word)>> {
    let role = at.column("t", "role");
    let on = format!("t.{on}");
    let query = Keyed {
        columns: &format!("{on}, t.person_key, {role}"),
        table: &format!("{table} t"),
        joined: &at.history(
            history,
            &format!(
                "{} = {on} AND h.person_key = t.person_key",
                on.replacen("t.", "h.", 1)
            ),
        ),
        on: &on,
        condition: &at.active_condition("t"),
    };
    if keyed::is_most(conn, table, keys)? {
        return keyed::held(conn, &query, None, (&role, roles));
    }
    let mut rows = Vec::new();
    for chunk in keys.chunks(CHUNK) {
        rows.extend(keyed::held(conn, &query, Some(chunk), (&role, roles))?);
    }
    Ok(rows)
}

/// Returns the members of these accounts with one of these roles.
pub(super) fn members(
    conn: &mut Conn,
    graph: &Graph,
    accounts: &[AccountIndex],
    roles: &[&str],
    words: &mut Words,
) -> Result<HeldOn> {
    let keys: Vec<i64> = accounts.iter().map(|index| graph.account(*index).key).collect();
    let table = ("members", "member_history", "account_key");
    let rows = held(conn, graph.at, table, &keys, Some(roles))?;
    let place = |key| Some(graph.find_account(key)?.get());
    Ok(by_place(graph.accounts_len(), rows, place, words))
}

/// Returns the collaborators on these resources with one of these roles, or with any role.
pub(super) fn collaborators(
    conn: &mut Conn,
    graph: &Graph,
    resources: &[NodeIndex],
    roles: Option<&[&str]>,
    words: &mut Words,
) -> Result<HeldOn> {
    let keys: Vec<i64> = resources.iter().map(|index| graph.node(*index).key).collect();
    let table = ("collaborators", "collaborator_history", "resource_key");
    let rows = match roles {
        Some([]) => Vec::new(),
        roles => held(conn, graph.at, table, &keys, roles)?,
    };
    let place = |key| Some(graph.find(key)?.get());
    Ok(by_place(graph.len(), rows, place, words))
}

/// Orders the rows by the index of their account or resource. If the whole table was read, other rows have no
/// index and are left out.
fn by_place(
    places: usize,
    rows: Vec<(i64, i64, Word)>,
    place: impl Fn(i64) -> Option<usize>,
    words: &mut Words,
) -> HeldOn {
    let rows: Vec<(u32, Held)> = rows
        .into_iter()
        .filter_map(|(on, person, Word(role))| {
            let place = place(on)? as u32;
            let role = words.place(&role);
            Some((place, Held { person, role }))
        })
        .collect();
    HeldOn::new(places, &rows)
}

/// A person, with the data that the audience needs.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub key: i64,
    pub id: String,
    pub name: String,
    pub email: String,
    pub locale: Option<String>,
    pub time_zone: Option<String>,
    /// Whether the person was active at the time that is asked about.
    pub there: bool,
    /// Whether the directory knew the person at that time, active or archived.
    pub known: bool,
    /// Whether the person is archived now.
    pub gone_now: bool,
}

/// Returns these people in no particular order. The result can contain other people too.
pub(super) fn people(conn: &mut Conn, at: At, wanted: &[i64]) -> Result<Vec<Person>> {
    type Columns = (
        BigInt,
        Text,
        Text,
        Text,
        Nullable<Text>,
        Nullable<Text>,
        Nullable<BigInt>,
        BigInt,
    );
    type Row = (
        i64,
        String,
        String,
        String,
        Option<String>,
        Option<String>,
        Option<i64>,
        i64,
    );
    let query = Keyed {
        columns: &format!(
            "p.key, p.id, p.name, p.email, COALESCE(pc.locale, p.locale), COALESCE(pc.time_zone, p.time_zone), p.gone_at, {}",
            at.standing("p")
        ),
        table: "people p",
        // What a person chose takes precedence over the directory.
        joined: &format!(
            " LEFT JOIN person_choices pc ON pc.person_key = p.key {}",
            at.history("person_history", "h.person_key = p.key")
        ),
        on: "p.key",
        condition: "TRUE",
    };
    let person = |(key, id, name, email, locale, time_zone, gone_at, standing): Row| Person {
        key,
        id,
        name,
        email,
        locale,
        time_zone,
        there: standing == THERE,
        known: standing != UNKNOWN,
        gone_now: gone_at.is_some(),
    };
    if keyed::is_most(conn, "people", wanted)? {
        let rows: Vec<Row> = load!(conn, Columns, query.whole());
        return Ok(rows.into_iter().map(person).collect());
    }
    let mut people = Vec::with_capacity(wanted.len());
    for chunk in wanted.chunks(CHUNK) {
        let rows: Vec<Row> = load_keyed!(conn, Columns, query, chunk);
        people.extend(rows.into_iter().map(person));
    }
    Ok(people)
}
