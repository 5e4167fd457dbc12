//! The upserts that single calls and imports share, a batch at a time, and the checks on the tree of resources.
//!
//! A batch is written first and checked afterwards, inside the caller's transaction: rows of one batch have their keys before
//! they are written, so they may be each other's parents in any depth, and a wrong one rolls everything back.
//!
//! Must never happen here: a batch of more than [`BATCH`] rows (memory), or a row replaced by delete and insert.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::ResourceRef;
use crate::base::check::Labels;
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::schema::resource_labels;
use crate::db::{Conn, bulk, keyed};

/// Rows of one statement at most.
pub(super) const BATCH: usize = 4_000;

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

/// What became of a batch of resources.
pub(super) struct Written {
    /// Their keys, in the order of the batch.
    pub keys: Vec<i64>,
    /// What is wrong, by index into the batch; then the caller must roll back.
    pub wrong: Vec<(usize, String)>,
    existing: HashSet<i64>,
}

impl Written {
    /// The rows that were there before, by index into the batch, with their keys.
    pub fn before(&self) -> impl Iterator<Item = (usize, i64)> {
        self.keys
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, key)| self.existing.contains(key))
    }
}

/// Upserts up to [`BATCH`] resources, no two of them the same.
pub(super) fn resources(conn: &mut Conn, now: Timestamp, rows: &[ResourceRow<'_>]) -> Result<Written> {
    let (keys, existing) = store(conn, now, rows)?;
    let wrong = check_tree(conn, rows, &keys, &existing)?;
    Ok(Written {
        keys,
        wrong,
        existing,
    })
}

/// The same where more batches follow that belong to the change: only what is above a row is checked, and the caller checks
/// the rest at the end, by [`check_shape`].
pub(super) fn resources_of_many(
    conn: &mut Conn,
    now: Timestamp,
    rows: &[ResourceRow<'_>],
) -> Result<Written> {
    let (keys, existing) = store(conn, now, rows)?;
    let wrong = check_owners(conn, rows, &keys)?;
    Ok(Written {
        keys,
        wrong,
        existing,
    })
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
    let refs: Vec<&ResourceRef> = rows.iter().map(|row| row.at).collect();
    let known = resource_keys(conn, &refs, true)?;
    let existing: HashSet<i64> = known.values().copied().collect();
    let mut new = bulk::new_resource_keys(conn, rows.len() - known.len())?.into_iter();
    let keys: Vec<i64> = rows
        .iter()
        .map(|row| known.get(row.at).copied().or_else(|| new.next()))
        .collect::<Option<_>>()
        .ok_or_else(|| Error::internal("a resource has no key"))?;
    // New ones first: what was there may move below them.
    let (known, new): (Vec<_>, Vec<_>) = rows
        .iter()
        .zip(&keys)
        .partition(|(_, key)| existing.contains(key));
    let new: Vec<_> = new
        .into_iter()
        .map(|(row, key)| new_resource(row, *key, &keys))
        .collect();
    bulk::new_resources(conn, now, &new)?;
    let known: Vec<_> = known
        .into_iter()
        .map(|(row, key)| new_resource(row, *key, &keys))
        .collect();
    bulk::known_resources(conn, now, &known)?;
    replace_labels(conn, rows, &keys, &existing)?;
    Ok((keys, existing))
}

fn new_resource<'a>(row: &ResourceRow<'a>, key: i64, keys: &[i64]) -> bulk::NewResource<'a> {
    bulk::NewResource {
        key,
        type_: row.at.type_.as_str(),
        id: row.at.id.as_str(),
        name: row.name,
        account_key: row.account,
        parent_key: parent_key(row, keys),
    }
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
    let labels: Vec<(i64, &str, &str)> = rows
        .iter()
        .zip(keys)
        .flat_map(|(row, key)| {
            row.labels
                .iter()
                .map(|(name, value)| (*key, name.as_str(), value.as_str()))
        })
        .collect();
    for chunk in labels.chunks(BATCH) {
        bulk::labels(conn, chunk)?;
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
    keyed::list(&unique)
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

/// Upserts members, no two the same: (account, person, role).
pub(super) fn members(conn: &mut Conn, now: Timestamp, rows: &[(i64, i64, &str)]) -> Result<()> {
    rows.chunks(BATCH)
        .try_for_each(|chunk| bulk::members(conn, now, chunk))
}

/// Upserts collaborators, no two the same: (resource, person, role).
pub(super) fn collaborators(conn: &mut Conn, now: Timestamp, rows: &[(i64, i64, &str)]) -> Result<()> {
    rows.chunks(BATCH)
        .try_for_each(|chunk| bulk::collaborators(conn, now, chunk))
}

/// The keys of accounts that are there.
pub(super) fn account_keys(conn: &mut Conn, ids: &[&str]) -> Result<HashMap<String, i64>> {
    keys_of(conn, "accounts", ids)
}

/// The keys of people who are there.
pub(super) fn person_keys(conn: &mut Conn, ids: &[&str]) -> Result<HashMap<String, i64>> {
    keys_of(conn, "people", ids)
}

fn keys_of(conn: &mut Conn, table: &'static str, ids: &[&str]) -> Result<HashMap<String, i64>> {
    let named = bulk::Named {
        table,
        type_: None,
        gone: false,
    };
    let mut found = HashMap::with_capacity(ids.len());
    for chunk in ids.chunks(BATCH) {
        found.extend(bulk::keys(conn, named, chunk)?);
    }
    Ok(found)
}

/// The keys of resources that are there, or with `gone` also of those that were.
pub(super) fn resource_keys(
    conn: &mut Conn,
    refs: &[&ResourceRef],
    gone: bool,
) -> Result<HashMap<ResourceRef, i64>> {
    let mut refs = refs.to_vec();
    refs.sort_unstable();
    refs.dedup();
    let mut found = HashMap::new();
    for same in refs.chunk_by(|a, b| a.type_ == b.type_) {
        let named = bulk::Named {
            table: "resources",
            type_: Some(same[0].type_.as_str()),
            gone,
        };
        for chunk in same.chunks(BATCH) {
            let ids: Vec<&str> = chunk.iter().map(|at| at.id.as_str()).collect();
            for (id, key) in bulk::keys(conn, named, &ids)? {
                if let Ok(place) = ids.binary_search(&id.as_str()) {
                    found.insert(chunk[place].clone(), key);
                }
            }
        }
    }
    Ok(found)
}
