//! The upserts that single calls and imports share, a batch at a time, and the checks on the tree of resources.
//!
//! A batch is written first and checked afterwards, inside the caller's transaction: rows of one batch may then be
//! each other's parents in any depth, and a wrong one rolls everything back.
//!
//! Must never happen here: a batch of more than [`BATCH`] rows (bind limits), or a row replaced by delete and insert.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};
use diesel::upsert::excluded;

use super::{Labels, ResourceRef};
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{accounts, collaborators, members, people, resource_labels, resources};
use crate::error::Result;
use crate::time::Timestamp;

/// Rows of one statement at most.
pub(super) const BATCH: usize = 500;

/// Where a row's parent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parent {
    None,
    /// In the database.
    Key(i64),
    /// Another row of the same batch, by its index.
    InBatch(usize),
}

/// A resource to write, its references looked up.
pub(super) struct ResourceRow<'a> {
    pub at: &'a ResourceRef,
    pub name: Option<&'a str>,
    pub account: Option<i64>,
    pub parent: Parent,
    pub labels: &'a Labels,
}

/// Upserts up to [`BATCH`] resources, no two of them the same.
/// Answers what is wrong, by index into the batch; then the caller must roll back.
pub(super) fn resources(
    conn: &mut Conn,
    now: Timestamp,
    rows: &[ResourceRow<'_>],
) -> Result<Vec<(usize, String)>> {
    let (keys, existing) = store(conn, now, rows)?;
    check_tree(conn, rows, &keys, &existing)
}

/// The same where more batches follow that belong to the change: only what is above a row is checked, and the caller checks
/// the rest at the end, by [`check_shape`]. Answers what is wrong, and the rows that were there before with their keys.
#[allow(clippy::type_complexity)]
pub(super) fn resources_of_many(
    conn: &mut Conn,
    now: Timestamp,
    rows: &[ResourceRow<'_>],
) -> Result<(Vec<(usize, String)>, Vec<(usize, i64)>)> {
    let (keys, existing) = store(conn, now, rows)?;
    let wrong = check_owners(conn, rows, &keys)?;
    let before = keys
        .into_iter()
        .enumerate()
        .filter(|(_, key)| existing.contains(key))
        .collect();
    Ok((wrong, before))
}

/// Whether these may be where they are: not above themselves, and nothing below them that is another account's.
pub(super) fn check_shape(conn: &mut Conn, keys: &[i64]) -> Result<Vec<(i64, &'static str)>> {
    let mut wrong: Vec<(i64, &str)> = in_a_circle(conn, keys)?
        .into_iter()
        .map(|key| (key, CIRCULAR))
        .collect();
    if wrong.is_empty() {
        let split = contradicting_descendants(conn, keys)?;
        wrong.extend(split.into_iter().map(|key| (key, SPLIT)));
    }
    Ok(wrong)
}

const CIRCULAR: &str = "its parent is itself or below it: parents must not form a cycle";
const SPLIT: &str = "a resource below it belongs to another account";

/// Upserts the rows; answers their keys, and which of those were there before.
fn store(conn: &mut Conn, now: Timestamp, rows: &[ResourceRow<'_>]) -> Result<(Vec<i64>, HashSet<i64>)> {
    use resources as r;
    #[derive(Insertable)]
    #[diesel(table_name = resources)]
    #[diesel(treat_none_as_default_value = false)]
    struct New<'a> {
        type_: &'a str,
        id: &'a str,
        name: Option<&'a str>,
        account_key: Option<i64>,
        parent_key: Option<i64>,
        gone_at: Option<Timestamp>,
        created_at: Timestamp,
        updated_at: Timestamp,
    }
    let refs: Vec<&ResourceRef> = rows.iter().map(|row| row.at).collect();
    let known = resource_keys(conn, &refs, true)?;
    let existing: HashSet<i64> = known.values().copied().collect();
    let new: Vec<New<'_>> = rows
        .iter()
        .map(|row| New {
            type_: row.at.type_.as_str(),
            id: row.at.id.as_str(),
            name: row.name,
            account_key: row.account,
            parent_key: match row.parent {
                Parent::None => None,
                Parent::Key(key) => Some(key),
                // One that is there has its key already. Without it the row would move away and back, which history
                // would keep.
                Parent::InBatch(index) => known.get(rows[index].at).copied(),
            },
            gone_at: None,
            created_at: now,
            updated_at: now,
        })
        .collect();
    let written: Vec<(i64, String, String)> = on_backend!(conn, c => diesel::insert_into(r::table)
        .values(&new)
        .on_conflict((r::type_, r::id))
        .do_update()
        .set((
            r::name.eq(excluded(r::name)),
            r::account_key.eq(excluded(r::account_key)),
            r::parent_key.eq(excluded(r::parent_key)),
            r::gone_at.eq(excluded(r::gone_at)),
            r::updated_at.eq(excluded(r::updated_at)),
        ))
        .returning((r::key, r::type_, r::id))
        .get_results(c))?;
    // RETURNING has no order.
    let by_ref: HashMap<(&str, &str), i64> = written
        .iter()
        .map(|(key, type_, id)| ((type_.as_str(), id.as_str()), *key))
        .collect();
    let keys: Vec<i64> = rows
        .iter()
        .map(|row| by_ref[&(row.at.type_.as_str(), row.at.id.as_str())])
        .collect();
    set_parents_in_batch(conn, rows, &keys)?;
    replace_labels(conn, rows, &keys, &existing)?;
    Ok((keys, existing))
}

fn set_parents_in_batch(conn: &mut Conn, rows: &[ResourceRow<'_>], keys: &[i64]) -> Result<()> {
    let pairs: Vec<String> = rows
        .iter()
        .zip(keys)
        .filter_map(|(row, key)| match row.parent {
            Parent::InBatch(index) => Some(format!("({key},{})", keys[index])),
            _ => None,
        })
        .collect();
    if !pairs.is_empty() {
        diesel::sql_query(format!(
            "WITH v(child, parent) AS (VALUES {}) UPDATE resources SET parent_key = v.parent FROM v WHERE key = v.child",
            pairs.join(",")
        ))
        .execute(conn)?;
    }
    Ok(())
}

fn replace_labels(
    conn: &mut Conn,
    rows: &[ResourceRow<'_>],
    keys: &[i64],
    existing: &HashSet<i64>,
) -> Result<()> {
    use resource_labels as l;
    let known: Vec<i64> = keys
        .iter()
        .copied()
        .filter(|key| existing.contains(key))
        .collect();
    if !known.is_empty() {
        diesel::delete(l::table.filter(l::resource_key.eq_any(known))).execute(conn)?;
    }
    let labels: Vec<_> = rows
        .iter()
        .zip(keys)
        .flat_map(|(row, key)| {
            row.labels.iter().map(|(name, value)| {
                (
                    l::resource_key.eq(*key),
                    l::name.eq(name.as_str()),
                    l::value.eq(value.as_str()),
                )
            })
        })
        .collect();
    for chunk in labels.chunks(BATCH) {
        on_backend!(conn, c => diesel::insert_into(l::table).values(chunk.to_vec()).execute(c))?;
    }
    Ok(())
}

fn parent_key(row: &ResourceRow<'_>, keys: &[i64]) -> Option<i64> {
    match row.parent {
        Parent::None => None,
        Parent::Key(key) => Some(key),
        Parent::InBatch(index) => Some(keys[index]),
    }
}

fn check_tree(
    conn: &mut Conn,
    rows: &[ResourceRow<'_>],
    keys: &[i64],
    existing: &HashSet<i64>,
) -> Result<Vec<(usize, String)>> {
    let by_index = |found: &HashSet<i64>, detail: &str| -> Vec<(usize, String)> {
        keys.iter()
            .enumerate()
            .filter(|(_, key)| found.contains(key))
            .map(|(index, _)| (index, detail.to_owned()))
            .collect()
    };
    // A new row cannot close a circle: nothing points to it but rows after it.
    let moved: Vec<i64> = rows
        .iter()
        .zip(keys)
        .filter(|(row, key)| row.parent != Parent::None && existing.contains(key))
        .map(|(_, key)| *key)
        .collect();
    let wrong = by_index(&in_a_circle(conn, &moved)?, CIRCULAR);
    if !wrong.is_empty() {
        return Ok(wrong);
    }
    let mut wrong = check_owners(conn, rows, keys)?;
    let changed: Vec<i64> = keys
        .iter()
        .copied()
        .filter(|key| existing.contains(key))
        .collect();
    wrong.extend(by_index(&contradicting_descendants(conn, &changed)?, SPLIT));
    Ok(wrong)
}

/// Whether a row that names an account is below another one's.
fn check_owners(conn: &mut Conn, rows: &[ResourceRow<'_>], keys: &[i64]) -> Result<Vec<(usize, String)>> {
    let parents: Vec<i64> = rows
        .iter()
        .filter(|row| row.account.is_some())
        .filter_map(|row| parent_key(row, keys))
        .collect();
    let owners = effective_accounts(conn, &parents)?;
    let mut wrong = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        if let (Some(account), Some(parent)) = (row.account, parent_key(row, keys))
            && owners.get(&parent).is_some_and(|owner| *owner != account)
        {
            wrong.push((index, "its parent belongs to another account".to_owned()));
        }
    }
    Ok(wrong)
}

/// Integers of ours, written into a statement: no bind limit, and nothing to inject.
fn list(keys: &[i64]) -> String {
    let mut unique = keys.to_vec();
    unique.sort_unstable();
    unique.dedup();
    unique.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}

#[derive(QueryableByName)]
struct KeyAndAccount {
    #[diesel(sql_type = BigInt)]
    key: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    account: Option<i64>,
}

fn in_a_circle(conn: &mut Conn, keys: &[i64]) -> Result<HashSet<i64>> {
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    // UNION, not UNION ALL: it ends on a circle too.
    let rows: Vec<KeyAndAccount> = diesel::sql_query(format!(
        "WITH RECURSIVE up(start, node) AS ( \
             SELECT key, parent_key FROM resources WHERE key IN ({}) \
             UNION SELECT up.start, r.parent_key FROM up JOIN resources r ON r.key = up.node) \
         SELECT start AS key, NULL AS account FROM up WHERE start = node",
        list(keys)
    ))
    .load(conn)?;
    Ok(rows.into_iter().map(|row| row.key).collect())
}

/// The account of each resource: the one named on it or on its nearest ancestor. None: not in the map.
pub(super) fn effective_accounts(conn: &mut Conn, keys: &[i64]) -> Result<HashMap<i64, i64>> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<KeyAndAccount> = diesel::sql_query(format!(
        "WITH RECURSIVE up(start, node) AS ( \
             SELECT key, key FROM resources WHERE key IN ({}) \
             UNION SELECT up.start, r.parent_key FROM up JOIN resources r ON r.key = up.node \
                   WHERE r.account_key IS NULL AND r.parent_key IS NOT NULL) \
         SELECT up.start AS key, r.account_key AS account FROM up JOIN resources r ON r.key = up.node \
         WHERE r.account_key IS NOT NULL",
        list(keys)
    ))
    .load(conn)?;
    Ok(rows
        .into_iter()
        .filter_map(|row| row.account.map(|account| (row.key, account)))
        .collect())
}

/// Those of `keys` below which a resource names another account than theirs.
fn contradicting_descendants(conn: &mut Conn, keys: &[i64]) -> Result<HashSet<i64>> {
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let named: Vec<KeyAndAccount> = diesel::sql_query(format!(
        "WITH RECURSIVE down(start, node, account) AS ( \
             SELECT r.parent_key, r.key, r.account_key FROM resources r WHERE r.parent_key IN ({}) \
             UNION SELECT d.start, r.key, r.account_key FROM down d JOIN resources r ON r.parent_key = d.node \
                   WHERE d.account IS NULL) \
         SELECT start AS key, account FROM down WHERE account IS NOT NULL",
        list(keys)
    ))
    .load(conn)?;
    let starts: Vec<i64> = named.iter().map(|row| row.key).collect();
    let owners = effective_accounts(conn, &starts)?;
    Ok(named
        .into_iter()
        .filter(|row| {
            owners
                .get(&row.key)
                .is_some_and(|owner| Some(*owner) != row.account)
        })
        .map(|row| row.key)
        .collect())
}

/// Upserts members: (account, person, role).
pub(super) fn members(conn: &mut Conn, now: Timestamp, rows: &[(i64, i64, &str)]) -> Result<()> {
    use members as m;
    for chunk in rows.chunks(BATCH) {
        let new: Vec<_> = chunk
            .iter()
            .map(|(account, person, role)| {
                (
                    m::account_key.eq(*account),
                    m::person_key.eq(*person),
                    m::role.eq(*role),
                    m::created_at.eq(now),
                    m::updated_at.eq(now),
                )
            })
            .collect();
        on_backend!(conn, c => diesel::insert_into(m::table)
            .values(&new)
            .on_conflict((m::account_key, m::person_key))
            .do_update()
            .set((
                m::role.eq(excluded(m::role)),
                m::gone_at.eq(None::<Timestamp>),
                m::updated_at.eq(excluded(m::updated_at)),
            ))
            .execute(c))?;
    }
    Ok(())
}

/// Upserts collaborators: (resource, person, role).
pub(super) fn collaborators(conn: &mut Conn, now: Timestamp, rows: &[(i64, i64, &str)]) -> Result<()> {
    use collaborators as k;
    for chunk in rows.chunks(BATCH) {
        let new: Vec<_> = chunk
            .iter()
            .map(|(resource, person, role)| {
                (
                    k::resource_key.eq(*resource),
                    k::person_key.eq(*person),
                    k::role.eq(*role),
                    k::created_at.eq(now),
                    k::updated_at.eq(now),
                )
            })
            .collect();
        on_backend!(conn, c => diesel::insert_into(k::table)
            .values(&new)
            .on_conflict((k::resource_key, k::person_key))
            .do_update()
            .set((
                k::role.eq(excluded(k::role)),
                k::gone_at.eq(None::<Timestamp>),
                k::updated_at.eq(excluded(k::updated_at)),
            ))
            .execute(c))?;
    }
    Ok(())
}

/// The keys of accounts that are there.
pub(super) fn account_keys(conn: &mut Conn, ids: &[&str]) -> Result<HashMap<String, i64>> {
    let mut found = HashMap::new();
    for chunk in ids.chunks(BATCH) {
        let rows: Vec<(String, i64)> = accounts::table
            .filter(accounts::id.eq_any(chunk.iter().copied()))
            .filter(accounts::gone_at.is_null())
            .select((accounts::id, accounts::key))
            .load(conn)?;
        found.extend(rows);
    }
    Ok(found)
}

/// The keys of people who are there.
pub(super) fn person_keys(conn: &mut Conn, ids: &[&str]) -> Result<HashMap<String, i64>> {
    let mut found = HashMap::new();
    for chunk in ids.chunks(BATCH) {
        let rows: Vec<(String, i64)> = people::table
            .filter(people::id.eq_any(chunk.iter().copied()))
            .filter(people::gone_at.is_null())
            .select((people::id, people::key))
            .load(conn)?;
        found.extend(rows);
    }
    Ok(found)
}

/// The keys of resources that are there, or with `gone` also of those that were.
pub(super) fn resource_keys(
    conn: &mut Conn,
    refs: &[&ResourceRef],
    gone: bool,
) -> Result<HashMap<ResourceRef, i64>> {
    use resources as r;
    let mut by_type: HashMap<&str, Vec<&ResourceRef>> = HashMap::new();
    for reference in refs {
        by_type
            .entry(reference.type_.as_str())
            .or_default()
            .push(reference);
    }
    let mut found = HashMap::new();
    for (type_, refs) in by_type {
        for chunk in refs.chunks(BATCH) {
            let mut query = r::table
                .filter(r::type_.eq(type_))
                .filter(r::id.eq_any(chunk.iter().map(|reference| reference.id.as_str())))
                .select((r::id, r::key))
                .into_boxed::<crate::db::Backend>();
            if !gone {
                query = query.filter(r::gone_at.is_null());
            }
            let keys: HashMap<String, i64> = query.load::<(String, i64)>(conn)?.into_iter().collect();
            for reference in chunk {
                if let Some(key) = keys.get(reference.id.as_str()) {
                    found.insert((*reference).clone(), *key);
                }
            }
        }
    }
    Ok(found)
}
