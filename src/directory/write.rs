//! The upserts that single calls and imports share, in batches, and the checks on the tree of resources.
//!
//! A batch is written first and checked afterwards, in the caller's transaction. The rows of a batch get
//! their keys before they are written, so they can be each other's parents at any depth. An error rolls
//! everything back.
//!
//! A batch has at most [`BATCH`] rows, to limit the memory. A row is never replaced by a deletion and an
//! insertion.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::ResourceRef;
use crate::base::check::Labels;
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::schema::resource_labels;
use crate::db::{Conn, bulk, keyed};

/// The largest number of rows in one statement.
pub(super) const BATCH: usize = 4_000;

/// The parent of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parent {
    None,
    /// The key of a resource in the database.
    Key(i64),
    /// The index of another row in the same batch.
    InBatch(usize),
}

/// A resource to write, with the keys of its references.
pub(super) struct ResourceRow<'a> {
    pub at: &'a ResourceRef,
    pub name: Option<&'a str>,
    pub account: Option<i64>,
    pub parent: Parent,
    pub labels: &'a Labels,
}

/// The result of writing a batch of resources.
pub(super) struct Written {
    /// The keys of the resources, in the order of the batch.
    pub keys: Vec<i64>,
    /// The errors, by index in the batch. If there are any, the caller must roll back.
    pub wrong: Vec<(usize, String)>,
    existing: HashSet<i64>,
}

impl Written {
    /// Returns the rows that existed before, by index in the batch, with their keys.
    pub fn before(&self) -> impl Iterator<Item = (usize, i64)> {
        self.keys
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, key)| self.existing.contains(key))
    }
}

/// Creates or replaces up to [`BATCH`] resources. Each of them must occur only once.
pub(super) fn resources(conn: &mut Conn, now: Timestamp, rows: &[ResourceRow<'_>]) -> Result<Written> {
    let (keys, existing) = store(conn, now, rows)?;
    let wrong = check_tree(conn, rows, &keys, &existing)?;
    Ok(Written {
        keys,
        wrong,
        existing,
    })
}

/// Does the same if more batches of the same change follow. Only the ancestors of a row are checked here. The
/// caller checks the rest at the end with [`check_shape`].
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

/// Checks the place of these resources: their parents must form no cycle, and no resource below them may
/// belong to another account.
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

const CIRCULAR: &str = "its parent is itself or is part of it: parents must not form a cycle";
const SPLIT: &str = "a resource that is part of it belongs to another account";

/// Creates or replaces the rows. Returns their keys, and which of them existed before.
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
    // New rows are written first, because existing resources can move below them.
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
    replace_labels(conn, now, rows, &keys, &existing)?;
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

/// Writes the labels that differ from the stored ones, so that a value that stays keeps the time since when it has been there.
fn replace_labels(
    conn: &mut Conn,
    now: Timestamp,
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
    let mut stored: HashMap<i64, Vec<(String, String)>> = HashMap::new();
    if !known.is_empty() {
        let found: Vec<(i64, String, String)> = l::table
            .filter(l::resource_key.eq_any(known))
            .select((l::resource_key, l::name, l::value))
            .load(conn)?;
        for (key, name, value) in found {
            stored.entry(key).or_default().push((name, value));
        }
    }
    let mut written: Vec<(i64, &str, &str)> = Vec::new();
    let mut ended: Vec<(i64, String)> = Vec::new();
    for (row, key) in rows.iter().zip(keys) {
        let before = stored.remove(key).unwrap_or_default();
        written.extend(row.labels.iter().filter_map(|(name, value)| {
            let stays = before.iter().any(|(known, was)| known == name && was == value);
            (!stays).then_some((*key, name.as_str(), value.as_str()))
        }));
        ended.extend(
            before
                .into_iter()
                .filter(|(name, _)| !row.labels.contains_key(name))
                .map(|(name, _)| (*key, name)),
        );
    }
    for chunk in ended.chunks(BATCH) {
        bulk::end_labels(conn, chunk)?;
    }
    for chunk in written.chunks(BATCH) {
        bulk::labels(conn, now, chunk)?;
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
    // A new row cannot close a cycle, because only later rows can refer to it.
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

/// Checks that no row with an account is below a resource of another account.
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

/// Writes keys into a statement. They are Candor's own integers, so there is no limit on bound values and no
/// injection.
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
    // UNION instead of UNION ALL, so that the query also ends if there is a cycle.
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

/// Returns the account of each resource: the one that is set on itself or on its nearest ancestor. A resource
/// without an account is not in the map.
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

/// Returns which of `keys` have a resource below them with another account.
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

/// Creates or replaces members: account, person and role. Each of them must occur only once.
pub(super) fn members(conn: &mut Conn, now: Timestamp, rows: &[(i64, i64, &str)]) -> Result<()> {
    rows.chunks(BATCH)
        .try_for_each(|chunk| bulk::members(conn, now, chunk))
}

/// Creates or replaces collaborators: resource, person and role. Each of them must occur only once.
pub(super) fn collaborators(conn: &mut Conn, now: Timestamp, rows: &[(i64, i64, &str)]) -> Result<()> {
    rows.chunks(BATCH)
        .try_for_each(|chunk| bulk::collaborators(conn, now, chunk))
}

/// Returns the keys of accounts that are not archived.
pub(super) fn account_keys(conn: &mut Conn, ids: &[&str]) -> Result<HashMap<String, i64>> {
    keys_of(conn, "accounts", ids)
}

/// Returns the keys of people who are not archived.
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

/// Returns the keys of resources that are not archived. With `gone`, archived ones are returned too.
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
