//! What depends on an entry of the directory, so that a page can say it before somebody deletes the entry.
//!
//! Nothing is counted without a limit: a customer can have a million files.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::ResourceRef;
use crate::base::error::Result;
use crate::db::Conn;
use crate::db::schema::{accounts as a, collaborators as k, members as m, people as p, resources as r};

/// The largest number that is counted.
pub const MOST: i64 = 1_000;

/// A number of entries that depend on another one. At [`MOST`] there can be more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dependants {
    /// The people with a role on the entry, or the accounts that a person is a member of.
    pub members: usize,
    /// The resources that belong to the entry directly, or on which a person is a collaborator.
    pub resources: usize,
}

/// Counts the entries of a table that are not archived and have this key, up to [`MOST`].
macro_rules! counted {
    ($conn:expr, $table:ident, $column:ident = $key:expr) => {{
        let found: Vec<i64> = $table::table
            .filter($table::$column.eq($key))
            .filter($table::gone_at.is_null())
            .limit(MOST)
            .select(sql::<BigInt>("CAST(1 AS BIGINT)"))
            .load($conn)?;
        found.len()
    }};
}

/// Returns what depends on an account: its members, and the resources on which it is set.
///
/// # Errors
/// An error of the database.
pub fn of_account(conn: &mut Conn, id: &str) -> Result<Dependants> {
    let account: Option<i64> = a::table
        .filter(a::id.eq(id))
        .select(a::key)
        .first(conn)
        .optional()?;
    let Some(account) = account else {
        return Ok(Dependants::default());
    };
    let members = counted!(conn, m, account_key = account);
    let resources = counted!(conn, r, account_key = account);
    Ok(Dependants { members, resources })
}

/// Returns what a person has a role on.
///
/// # Errors
/// An error of the database.
pub fn of_person(conn: &mut Conn, id: &str) -> Result<Dependants> {
    let person: Option<i64> = p::table
        .filter(p::id.eq(id))
        .select(p::key)
        .first(conn)
        .optional()?;
    let Some(person) = person else {
        return Ok(Dependants::default());
    };
    let members = counted!(conn, m, person_key = person);
    let resources = counted!(conn, k, person_key = person);
    Ok(Dependants { members, resources })
}

/// Returns what depends on a resource: its collaborators, and the resources that are part of it.
///
/// # Errors
/// An error of the database.
pub fn of_resource(conn: &mut Conn, at: &ResourceRef) -> Result<Dependants> {
    let resource: Option<i64> = r::table
        .filter(r::type_.eq(at.type_.as_str()))
        .filter(r::id.eq(at.id.as_str()))
        .select(r::key)
        .first(conn)
        .optional()?;
    let Some(resource) = resource else {
        return Ok(Dependants::default());
    };
    let members = counted!(conn, k, resource_key = resource);
    let resources = counted!(conn, r, parent_key = resource);
    Ok(Dependants { members, resources })
}
