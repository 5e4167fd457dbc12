//! Who has which role on accounts and resources, and who these people are: a query for each few thousand keys.
//!
//! Must never happen here: a query for each person.

use std::collections::{BTreeMap, HashMap};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::at::{At, CHUNK, THERE, UNKNOWN, keys};
use crate::db::{Conn, Statement};
use crate::error::Result;

/// A person with a role on something.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub person: i64,
    pub role: String,
}

#[derive(QueryableByName)]
struct HeldRow {
    #[diesel(sql_type = BigInt)]
    on_key: i64,
    #[diesel(sql_type = BigInt)]
    person_key: i64,
    #[diesel(sql_type = Text)]
    role: String,
}

/// Who has one of `roles` (none given: any) on these keys, by key. `table` is `members` or `collaborators`.
fn held(
    conn: &mut Conn,
    at: At,
    (table, history, on): (&str, &str, &str),
    on_keys: &[i64],
    roles: Option<&[&str]>,
) -> Result<HashMap<i64, Vec<Held>>> {
    let mut found: HashMap<i64, Vec<Held>> = HashMap::new();
    for chunk in on_keys.chunks(CHUNK) {
        let mut statement = Statement::default();
        statement.push(&format!(
            "SELECT x.on_key, x.person_key, x.role FROM (SELECT t.{on} AS on_key, t.person_key, {} AS role, {} AS standing \
             FROM {table} t{} WHERE t.{on} IN ({})) x WHERE x.standing = {THERE}",
            at.column("t", "role"),
            at.standing("t"),
            at.history(history, &format!("h.{on} = t.{on} AND h.person_key = t.person_key")),
            keys(chunk)
        ));
        if let Some(roles) = roles {
            statement.push(" AND x.role IN (");
            for (index, role) in roles.iter().enumerate() {
                if index > 0 {
                    statement.push(",");
                }
                statement.text(role);
            }
            statement.push(")");
        }
        let rows: Vec<HeldRow> = statement.finish().load(conn)?;
        for row in rows {
            found.entry(row.on_key).or_default().push(Held {
                person: row.person_key,
                role: row.role,
            });
        }
    }
    Ok(found)
}

/// The members of these accounts in these roles.
pub(super) fn members(
    conn: &mut Conn,
    at: At,
    accounts: &[i64],
    roles: &[&str],
) -> Result<HashMap<i64, Vec<Held>>> {
    held(
        conn,
        at,
        ("members", "member_history", "account_key"),
        accounts,
        Some(roles),
    )
}

/// The collaborators on these resources, in these roles or in any.
pub(super) fn collaborators(
    conn: &mut Conn,
    at: At,
    resources: &[i64],
    roles: Option<&[&str]>,
) -> Result<HashMap<i64, Vec<Held>>> {
    held(
        conn,
        at,
        ("collaborators", "collaborator_history", "resource_key"),
        resources,
        roles,
    )
}

/// A person, as the audience needs them.
#[derive(Clone, Debug)]
pub(super) struct Person {
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

/// These people, by key.
pub(super) fn people(conn: &mut Conn, at: At, wanted: &[i64]) -> Result<BTreeMap<i64, Person>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        key: i64,
        #[diesel(sql_type = Text)]
        id: String,
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = Text)]
        email: String,
        #[diesel(sql_type = Nullable<Text>)]
        locale: Option<String>,
        #[diesel(sql_type = Nullable<Text>)]
        time_zone: Option<String>,
        #[diesel(sql_type = Nullable<BigInt>)]
        gone_at: Option<i64>,
        #[diesel(sql_type = BigInt)]
        standing: i64,
    }
    let mut people = BTreeMap::new();
    for chunk in wanted.chunks(CHUNK) {
        let rows: Vec<Row> = diesel::sql_query(format!(
            "SELECT p.key, p.id, p.name, p.email, p.locale, p.time_zone, p.gone_at, {} AS standing FROM people p{} \
             WHERE p.key IN ({})",
            at.standing("p"),
            at.history("person_history", "h.person_key = p.key"),
            keys(chunk)
        ))
        .load(conn)?;
        people.extend(rows.into_iter().map(|row| {
            let person = Person {
                id: row.id,
                name: row.name,
                email: row.email,
                locale: row.locale,
                time_zone: row.time_zone,
                there: row.standing == THERE,
                known: row.standing != UNKNOWN,
                gone_now: row.gone_at.is_some(),
            };
            (row.key, person)
        }));
    }
    Ok(people)
}
