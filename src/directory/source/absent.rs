//! The rows that a source brought before and does not bring any more: they are counted and archived. A row
//! that another source or nobody brought is never archived.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::key;
use super::stage::STEP;
use crate::base::error::Result;
use crate::base::id::{RunId, SourceId};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{
    accounts as a, collaborators as k, directory_origins as o, members as m, people as p, resources as r,
};
use crate::directory::line::LineKind;
use crate::directory::{ResourceRef, resource, write};

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Key {
    #[diesel(sql_type = Text)]
    key: String,
}

const MISSING: &str = "FROM directory_origins o WHERE o.source_id = $1 AND o.kind = $2 AND NOT EXISTS ( \
     SELECT 1 FROM directory_staged s WHERE s.run_id = $3 AND s.kind = o.kind AND s.key = o.key)";

/// Returns how many rows the source has brought.
pub(super) fn brought(conn: &mut Conn, source: &SourceId) -> Result<u64> {
    let rows: i64 = o::table
        .filter(o::source_id.eq(source.as_str()))
        .count()
        .get_result(conn)?;
    Ok(rows.unsigned_abs())
}

/// Returns how many rows of a kind the source has brought.
pub(super) fn brought_of(conn: &mut Conn, source: &SourceId, kind: LineKind) -> Result<u64> {
    let rows: i64 = o::table
        .filter(o::source_id.eq(source.as_str()))
        .filter(o::kind.eq(kind.number()))
        .count()
        .get_result(conn)?;
    Ok(rows.unsigned_abs())
}

/// Returns how many rows of a kind the source has brought before and not in this run.
pub(super) fn count(conn: &mut Conn, source: &SourceId, run: &RunId, kind: LineKind) -> Result<u64> {
    let counted: Counted = diesel::sql_query(format!("SELECT COUNT(*) AS n {MISSING}"))
        .bind::<Text, _>(source.as_str())
        .bind::<BigInt, _>(kind.number())
        .bind::<Text, _>(run.as_str())
        .get_result(conn)?;
    Ok(counted.n.unsigned_abs())
}

/// Returns the keys of some of these rows.
pub(super) fn some(
    conn: &mut Conn,
    source: &SourceId,
    run: &RunId,
    kind: LineKind,
    limit: usize,
) -> Result<Vec<String>> {
    let keys: Vec<Key> = diesel::sql_query(format!("SELECT o.key {MISSING} ORDER BY o.key LIMIT {limit}"))
        .bind::<Text, _>(source.as_str())
        .bind::<BigInt, _>(kind.number())
        .bind::<Text, _>(run.as_str())
        .load(conn)?;
    Ok(keys.into_iter().map(|row| row.key).collect())
}

/// Archives these rows. The source no longer brings them, so it no longer owns them. Returns how many there
/// were.
pub(super) fn mark(
    conn: &mut Conn,
    source: &SourceId,
    run: &RunId,
    kind: LineKind,
    now: Timestamp,
) -> Result<u64> {
    let mut marked = 0;
    loop {
        let keys = some(conn, source, run, kind, STEP)?;
        if keys.is_empty() {
            return Ok(marked);
        }
        marked += keys.len() as u64;
        let words: Vec<Vec<String>> = keys.iter().map(|key| key::words(key)).collect();
        mark_these(conn, kind, &words, now)?;
        diesel::delete(
            o::table
                .filter(o::kind.eq(kind.number()))
                .filter(o::key.eq_any(&keys)),
        )
        .execute(conn)?;
    }
}

fn mark_these(conn: &mut Conn, kind: LineKind, keys: &[Vec<String>], now: Timestamp) -> Result<()> {
    let word = |key: &'_ Vec<String>, index: usize| key.get(index).cloned().unwrap_or_default();
    match kind {
        LineKind::Account => {
            diesel::update(
                a::table
                    .filter(a::id.eq_any(keys.iter().map(|key| word(key, 0))))
                    .filter(a::gone_at.is_null()),
            )
            .set(a::gone_at.eq(Some(now)))
            .execute(conn)?;
        }
        LineKind::Person => {
            diesel::update(
                p::table
                    .filter(p::id.eq_any(keys.iter().map(|key| word(key, 0))))
                    .filter(p::gone_at.is_null()),
            )
            .set(p::gone_at.eq(Some(now)))
            .execute(conn)?;
        }
        LineKind::Resource => {
            let refs = references(keys);
            let found = write::resource_keys(conn, &refs.iter().collect::<Vec<_>>(), false)?;
            diesel::update(
                r::table
                    .filter(r::key.eq_any(found.values()))
                    .filter(r::gone_at.is_null()),
            )
            .set(r::gone_at.eq(Some(now)))
            .execute(conn)?;
        }
        LineKind::Member => {
            let accounts = keys_by_id(conn, keys, 0, AccountOrPerson::Account)?;
            let people = keys_by_id(conn, keys, 1, AccountOrPerson::Person)?;
            for key in keys {
                let pair = (accounts.get(&word(key, 0)), people.get(&word(key, 1)));
                if let (Some(account), Some(person)) = pair {
                    diesel::update(m::table.find((account, person)).filter(m::gone_at.is_null()))
                        .set(m::gone_at.eq(Some(now)))
                        .execute(conn)?;
                }
            }
        }
        LineKind::Collaborator => {
            let refs = references(keys);
            let resources = write::resource_keys(conn, &refs.iter().collect::<Vec<_>>(), true)?;
            let people = keys_by_id(conn, keys, 2, AccountOrPerson::Person)?;
            for key in keys {
                let at = resource::reference(&word(key, 0), &word(key, 1));
                let pair = (
                    at.and_then(|at| resources.get(&at).copied()),
                    people.get(&word(key, 2)),
                );
                if let (Some(resource), Some(person)) = pair {
                    diesel::update(k::table.find((resource, *person)).filter(k::gone_at.is_null()))
                        .set(k::gone_at.eq(Some(now)))
                        .execute(conn)?;
                }
            }
        }
    }
    Ok(())
}

fn references(keys: &[Vec<String>]) -> Vec<ResourceRef> {
    let mut refs: Vec<ResourceRef> = keys
        .iter()
        .filter_map(|key| resource::reference(key.first()?, key.get(1)?))
        .collect();
    refs.sort_unstable();
    refs.dedup();
    refs
}

#[derive(Clone, Copy)]
enum AccountOrPerson {
    Account,
    Person,
}

/// Returns the keys of accounts or people, including archived ones, because a role ends in the same run as
/// its person.
fn keys_by_id(
    conn: &mut Conn,
    keys: &[Vec<String>],
    index: usize,
    which: AccountOrPerson,
) -> Result<HashMap<String, i64>> {
    let mut ids: Vec<&str> = keys
        .iter()
        .filter_map(|key| key.get(index))
        .map(String::as_str)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let rows: Vec<(String, i64)> = match which {
        AccountOrPerson::Account => a::table
            .filter(a::id.eq_any(ids))
            .select((a::id, a::key))
            .load(conn)?,
        AccountOrPerson::Person => p::table
            .filter(p::id.eq_any(ids))
            .select((p::id, p::key))
            .load(conn)?,
    };
    Ok(rows.into_iter().collect())
}
