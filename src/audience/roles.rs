//! Who has which role on accounts and resources, and who these people are: a query for each few thousand keys, or one
//! that reads a whole table where most of it is wanted.
//!
//! Must never happen here: a query for each person.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::at::{At, THERE, UNKNOWN};
use super::graph::{AccountIndex, Graph, NodeIndex};
use crate::db::Conn;
use crate::db::keyed::{self, CHUNK, about_rows, load, load_keyed};
use crate::error::Result;
use crate::shared::Shared;

/// Of a table that has fewer rows than this for each key that is wanted, all of it is read: rows in a row cost less than
/// a search for each key.
const WHOLE: i64 = 3;
/// Keys below which a table is not looked at as a whole.
const MANY: usize = 1_000;

/// A person with a role on something.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub person: i64,
    pub role: Shared,
}

/// Who has roles, by the place of the account or resource in the graph.
pub(super) struct HeldOn {
    /// Where those of each place begin; one more than there are places.
    starts: Vec<u32>,
    held: Vec<Held>,
}

impl HeldOn {
    fn new(places: usize, rows: Vec<(usize, i64, String)>) -> HeldOn {
        let mut roles: Vec<Shared> = Vec::new();
        let mut starts = vec![0_u32; places + 1];
        for (place, _, _) in &rows {
            starts[place + 1] += 1;
        }
        for place in 0..places {
            starts[place + 1] += starts[place];
        }
        let mut order: Vec<u32> = vec![0; rows.len()];
        let mut next = starts.clone();
        for (index, (place, _, _)) in rows.iter().enumerate() {
            order[next[*place] as usize] = index as u32;
            next[*place] += 1;
        }
        let held = order
            .into_iter()
            .map(|index| {
                let (_, person, role) = &rows[index as usize];
                let role = match roles.iter().find(|known| **known == **role) {
                    Some(known) => known.clone(),
                    None => {
                        let new = Shared::from(role.as_str());
                        // Roles are any words, but few of them.
                        if roles.len() < 100 {
                            roles.push(new.clone());
                        }
                        new
                    }
                };
                Held {
                    person: *person,
                    role,
                }
            })
            .collect();
        HeldOn { starts, held }
    }

    /// Those at a place.
    pub fn at(&self, place: usize) -> &[Held] {
        match (self.starts.get(place), self.starts.get(place + 1)) {
            (Some(start), Some(end)) => &self.held[*start as usize..*end as usize],
            _ => &[],
        }
    }
}

/// Who has one of `roles` (none given: any) on these keys. `table` is `members` or `collaborators`.
fn held(
    conn: &mut Conn,
    at: At,
    (table, history, on): (&str, &str, &str),
    keys: &[i64],
    roles: Option<&[&str]>,
) -> Result<Vec<(i64, i64, String)>> {
    let select = format!(
        "SELECT x.on_key, x.person_key, x.role FROM (SELECT t.{on} AS on_key, t.person_key, {} AS role, {} AS standing \
         FROM {table} t{}) x WHERE x.standing = {THERE}",
        at.column("t", "role"),
        at.standing("t"),
        at.history(
            history,
            &format!("h.{on} = t.{on} AND h.person_key = t.person_key")
        ),
    );
    let (on, role) = ("x.on_key", "x.role");
    if whole(conn, table, keys)? {
        return keyed::held(conn, &select, (on, None), (role, roles));
    }
    let mut rows = Vec::new();
    for chunk in keys.chunks(CHUNK) {
        rows.extend(keyed::held(conn, &select, (on, Some(chunk)), (role, roles))?);
    }
    Ok(rows)
}

fn whole(conn: &mut Conn, table: &str, keys: &[i64]) -> Result<bool> {
    Ok(keys.len() >= MANY && about_rows(conn, table)? / WHOLE <= keys.len() as i64)
}

/// The members of these accounts in these roles.
pub(super) fn members(
    conn: &mut Conn,
    graph: &Graph,
    accounts: &[AccountIndex],
    roles: &[&str],
) -> Result<HeldOn> {
    let keys: Vec<i64> = accounts.iter().map(|index| graph.account(*index).key).collect();
    let rows = held(
        conn,
        graph.at,
        ("members", "member_history", "account_key"),
        &keys,
        Some(roles),
    )?;
    let rows = rows.into_iter().filter_map(|(account, person, role)| {
        let place = graph.find_account(account)?.get();
        Some((place, person, role))
    });
    Ok(HeldOn::new(graph.accounts_len(), rows.collect()))
}

/// The collaborators on these resources, in these roles or in any.
pub(super) fn collaborators(
    conn: &mut Conn,
    graph: &Graph,
    resources: &[NodeIndex],
    roles: Option<&[&str]>,
) -> Result<HeldOn> {
    let keys: Vec<i64> = resources.iter().map(|index| graph.node(*index).key).collect();
    let rows = if roles.is_some_and(<[&str]>::is_empty) {
        Vec::new()
    } else {
        held(
            conn,
            graph.at,
            ("collaborators", "collaborator_history", "resource_key"),
            &keys,
            roles,
        )?
    };
    let rows = rows.into_iter().filter_map(|(resource, person, role)| {
        let place = graph.find(resource)?.get();
        Some((place, person, role))
    });
    Ok(HeldOn::new(graph.len(), rows.collect()))
}

/// A person, as the audience needs them.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub key: i64,
    pub id: String,
    pub name: String,
    pub email: String,
    pub locale: Option<String>,
    pub time_zone: Option<String>,
    /// Whether they were there as of the time that is asked about.
    pub there: bool,
    /// Whether the directory knew them then, there or gone.
    pub known: bool,
    /// Whether they are gone now.
    pub gone_now: bool,
}

/// These people, in no order; others may be among them.
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
    let select = format!(
        "SELECT p.key, p.id, p.name, p.email, p.locale, p.time_zone, p.gone_at, {} FROM people p{}",
        at.standing("p"),
        at.history("person_history", "h.person_key = p.key"),
    );
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
    if whole(conn, "people", wanted)? {
        let rows: Vec<Row> = load!(conn, Columns, select);
        return Ok(rows.into_iter().map(person).collect());
    }
    let select = format!("{select} WHERE");
    let mut people = Vec::with_capacity(wanted.len());
    for chunk in wanted.chunks(CHUNK) {
        let rows: Vec<Row> = load_keyed!(conn, Columns, select, "p.key", chunk);
        people.extend(rows.into_iter().map(person));
    }
    Ok(people)
}
