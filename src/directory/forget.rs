//! Removes a person from the directory: the name and the address, the memberships, the roles on resources, their history, and what
//! sources said about the person. An empty archived entry stays instead of the person, because incidents refer to it.

use diesel::prelude::*;

use super::line::{LineKind, key};
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{
    collaborator_history as ch, collaborators as c, directory_origins as o, directory_staged as ds,
    member_history as mh, members as m, people as p,
};

/// How many rows of the directory are about a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DirectoryRows {
    /// The memberships of accounts and the roles on resources, with those that ended.
    pub roles: i64,
    /// The rows that sources staged, and the notes about which source brought something.
    pub sources: i64,
}

/// Returns what the keys of members and collaborators end with.
fn end_of_key(id: &str) -> String {
    // A key is a JSON array, whose last text is the ID of the person.
    let whole = key(&[id]);
    format!(",{}", whole.trim_start_matches('['))
}

/// The keys about a person, among those of all members and collaborators.
fn keys_of(found: Vec<(i64, String)>, id: &str) -> Vec<(i64, String)> {
    let (whole, end) = (key(&[id]), end_of_key(id));
    found
        .into_iter()
        .filter(|(kind, key)| {
            if *kind == LineKind::Person.number() {
                *key == whole
            } else {
                key.ends_with(&end)
            }
        })
        .collect()
}

fn pattern(id: &str) -> String {
    let mut pattern = String::from("%");
    for c in key(&[id]).trim_start_matches('[').chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern
}

fn kinds() -> [i64; 3] {
    [LineKind::Person, LineKind::Member, LineKind::Collaborator].map(LineKind::number)
}

fn origins(conn: &mut Conn, id: &str) -> Result<Vec<(i64, String)>> {
    let found = o::table
        .filter(o::kind.eq_any(kinds()))
        .filter(o::key.like(pattern(id)).escape('!'))
        .select((o::kind, o::key))
        .load(conn)?;
    Ok(keys_of(found, id))
}

fn staged(conn: &mut Conn, id: &str) -> Result<Vec<(i64, String)>> {
    let found = ds::table
        .filter(ds::kind.eq_any(kinds()))
        .filter(ds::key.like(pattern(id)).escape('!'))
        .select((ds::kind, ds::key))
        .load(conn)?;
    Ok(keys_of(found, id))
}

/// Counts the rows about a person, apart from the entry of the person.
///
/// # Errors
/// An error of the database.
pub(crate) fn count(conn: &mut Conn, person: i64, id: &str) -> Result<DirectoryRows> {
    let mut roles: i64 = m::table
        .filter(m::person_key.eq(person))
        .count()
        .get_result(conn)?;
    roles += c::table
        .filter(c::person_key.eq(person))
        .count()
        .get_result::<i64>(conn)?;
    roles += mh::table
        .filter(mh::person_key.eq(person))
        .count()
        .get_result::<i64>(conn)?;
    roles += ch::table
        .filter(ch::person_key.eq(person))
        .count()
        .get_result::<i64>(conn)?;
    Ok(DirectoryRows {
        roles,
        sources: (origins(conn, id)?.len() + staged(conn, id)?.len()) as i64,
    })
}

/// Returns the key of a person.
///
/// # Errors
/// An error of the database, also if there is no such person.
pub(crate) fn key_of(conn: &mut Conn, id: &str) -> Result<i64> {
    Ok(p::table.filter(p::id.eq(id)).select(p::key).first(conn)?)
}

/// Removes a person. `placeholder` becomes the ID of the entry that stays.
///
/// # Errors
/// An error of the database.
pub(crate) fn forget(
    conn: &mut Conn,
    now: Timestamp,
    person: i64,
    id: &str,
    placeholder: &str,
) -> Result<()> {
    for (kind, key) in origins(conn, id)? {
        diesel::delete(o::table.find((kind, key))).execute(conn)?;
    }
    for (kind, key) in staged(conn, id)? {
        diesel::delete(ds::table.filter(ds::kind.eq(kind)).filter(ds::key.eq(key))).execute(conn)?;
    }
    diesel::delete(m::table.filter(m::person_key.eq(person))).execute(conn)?;
    diesel::delete(c::table.filter(c::person_key.eq(person))).execute(conn)?;
    diesel::delete(mh::table.filter(mh::person_key.eq(person))).execute(conn)?;
    diesel::delete(ch::table.filter(ch::person_key.eq(person))).execute(conn)?;
    // An archived entry keeps the time at which it was archived.
    diesel::update(p::table.find(person).filter(p::gone_at.is_null()))
        .set((p::gone_at.eq(Some(now)), p::updated_at.eq(now)))
        .execute(conn)?;
    diesel::update(p::table.find(person))
        .set((
            p::id.eq(placeholder),
            p::name.eq(NAME),
            p::email.eq(""),
            p::locale.eq(None::<String>),
            p::time_zone.eq(None::<String>),
            p::updated_at.eq(now),
        ))
        .execute(conn)?;
    Ok(())
}

/// The name of the entry that stays instead of a person.
pub const NAME: &str = "Erased person";
