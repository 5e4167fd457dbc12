//! Resources: the things of a customer that can fail. They form trees of any depth. A resource belongs to the
//! account that is set on itself or on its nearest ancestor.

use std::collections::HashMap;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::write::{self, Parent, ResourceRow};
use super::{Archived, ResourceRef};
use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::check::Labels;
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::schema::{accounts as a, resource_labels as l, resources as r};
use crate::db::{Conn, dialect, keyed};

/// The content of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceInput {
    /// The name of the resource. It is shown in emails.
    #[serde(default)]
    pub name: Option<String>,
    /// The ID of the account that the resource belongs to. If not set, it belongs to the account of its
    /// nearest ancestor.
    #[serde(default)]
    pub account: Option<crate::base::id::ExternalId>,
    /// The parent: the resource that this one is part of.
    #[serde(default)]
    pub parent: Option<ResourceRef>,
    /// Labels, which selectors can use.
    #[serde(default)]
    pub labels: Labels,
}

impl ResourceInput {
    pub(crate) fn check(&self, check: &mut Check) {
        if let Some(name) = &self.name {
            check.name("/name", name);
        }
        check.labels("/labels", &self.labels);
    }
}

/// A resource of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Resource {
    /// The type of the resource.
    #[serde(rename = "type")]
    pub type_: String,
    /// The ID of the resource. It is unique among the resources of the same type.
    pub id: String,
    /// The name of the resource.
    pub name: Option<String>,
    /// The ID of the account that is set on the resource itself.
    pub account: Option<String>,
    /// The ID of the account that the resource belongs to, which can be set on an ancestor.
    pub belongs_to: Option<String>,
    /// The parent: the resource that this one is part of.
    pub parent: Option<ResourceRef>,
    /// The labels of the resource.
    pub labels: Labels,
    /// When the resource was archived. Null if it is not archived.
    pub gone_at: Option<Timestamp>,
    /// When the resource was created.
    pub created_at: Timestamp,
    /// When the resource was last written.
    pub updated_at: Timestamp,
}

#[derive(Queryable)]
struct StoredResource {
    key: i64,
    type_: String,
    id: String,
    name: Option<String>,
    account_key: Option<i64>,
    parent_key: Option<i64>,
    gone_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

fn views(conn: &mut Conn, rows: Vec<StoredResource>) -> Result<Vec<Resource>> {
    let keys: Vec<i64> = rows.iter().map(|row| row.key).collect();
    let mut labels: HashMap<i64, Labels> = HashMap::new();
    let found: Vec<(i64, String, String)> = l::table
        .filter(l::resource_key.eq_any(&keys))
        .select((l::resource_key, l::name, l::value))
        .load(conn)?;
    for (key, name, value) in found {
        labels.entry(key).or_default().insert(name, value);
    }
    let parent_keys: Vec<i64> = rows.iter().filter_map(|row| row.parent_key).collect();
    let parents: HashMap<i64, ResourceRef> = r::table
        .filter(r::key.eq_any(&parent_keys))
        .select((r::key, r::type_, r::id))
        .load::<(i64, String, String)>(conn)?
        .into_iter()
        .filter_map(|(key, type_, id)| Some((key, reference(&type_, &id)?)))
        .collect();
    let owners = write::effective_accounts(conn, &keys)?;
    let account_keys: Vec<i64> = owners.values().copied().collect();
    let accounts: HashMap<i64, String> = a::table
        .filter(a::key.eq_any(&account_keys))
        .select((a::key, a::id))
        .load::<(i64, String)>(conn)?
        .into_iter()
        .collect();
    Ok(rows
        .into_iter()
        .map(|row| Resource {
            account: row.account_key.and_then(|key| accounts.get(&key).cloned()),
            belongs_to: owners.get(&row.key).and_then(|key| accounts.get(key).cloned()),
            parent: row.parent_key.and_then(|key| parents.get(&key).cloned()),
            labels: labels.remove(&row.key).unwrap_or_default(),
            type_: row.type_,
            id: row.id,
            name: row.name,
            gone_at: row.gone_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
        .collect())
}

/// Makes a reference from stored texts, which were checked when they were stored.
pub(crate) fn reference(type_: &str, id: &str) -> Option<ResourceRef> {
    at(type_, id).ok()
}

/// Returns the resource with this type and ID, even if it is archived.
///
/// # Errors
/// `NotFound` if there is no such resource.
pub fn get(conn: &mut Conn, at: &ResourceRef) -> Result<Resource> {
    let row: Option<StoredResource> = r::table
        .filter(r::type_.eq(at.type_.as_str()))
        .filter(r::id.eq(at.id.as_str()))
        .first(conn)
        .optional()?;
    let row = row.ok_or_else(|| Error::NotFound(format!("{} '{}'", at.type_, at.id)))?;
    views(conn, vec![row])?
        .pop()
        .ok_or_else(|| Error::NotFound(format!("{} '{}'", at.type_, at.id)))
}

/// Which resources to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only resources of this type.
    pub type_: Option<String>,
    /// Only resources on which this account is set.
    pub account: Option<String>,
    /// Only direct children of this resource.
    pub parent: Option<ResourceRef>,
    /// Only resources with this label, `name=value`.
    pub label: Option<(String, String)>,
}

/// Returns the resources that match the filter, ordered by type and ID, after the given one.
///
/// # Errors
/// `Invalid` if the filter contains an unknown type, account, parent or label.
pub fn list(
    conn: &mut Conn,
    filter: &Filter,
    gone: Archived,
    after: Option<&(String, String)>,
    limit: i64,
) -> Result<Vec<Resource>> {
    let mut query = r::table.into_boxed::<crate::db::Backend>();
    if let Some(type_) = &filter.type_ {
        check_type(conn, "?type", type_)?;
        query = query.filter(r::type_.eq(type_));
    }
    if let Some(account) = &filter.account {
        let key = write::account_keys(conn, &[account])?
            .remove(account)
            .ok_or_else(|| {
                Error::invalid("?account", format!("account '{account}' is not in the directory"))
            })?;
        query = query.filter(r::account_key.eq(key));
    }
    if let Some(parent) = &filter.parent {
        let key = write::resource_keys(conn, &[parent], true)?
            .remove(parent)
            .ok_or_else(|| Error::invalid("?parent", format!("{parent} is not in the directory")))?;
        query = query.filter(r::parent_key.eq(key));
    }
    if let Some((name, value)) = &filter.label {
        check_label(conn, "?label", name)?;
        query = query.filter(
            r::key.eq_any(
                l::table
                    .filter(l::name.eq(name))
                    .filter(l::value.eq(value))
                    .select(l::resource_key),
            ),
        );
    }
    if gone == Archived::Hidden {
        query = query.filter(r::gone_at.is_null());
    }
    if let Some((type_, id)) = after {
        query = query.filter(r::type_.gt(type_).or(r::type_.eq(type_).and(r::id.gt(id))));
    }
    let rows: Vec<StoredResource> = query.order((r::type_, r::id)).limit(limit).load(conn)?;
    views(conn, rows)
}

/// Returns these resources, ordered by type and ID. Archived ones are returned too.
///
/// # Errors
/// An error of the database.
pub fn some(conn: &mut Conn, refs: &[&ResourceRef]) -> Result<Vec<Resource>> {
    let keys: Vec<i64> = keys_even_archived(conn, refs)?.into_values().collect();
    let rows: Vec<StoredResource> = r::table
        .filter(r::key.eq_any(&keys))
        .order((r::type_, r::id))
        .load(conn)?;
    views(conn, rows)
}

/// Checks that a resource has this type. A type that no resource has is probably misspelt.
pub(crate) fn check_type(conn: &mut Conn, pointer: &str, type_: &str) -> Result<()> {
    let seen: Option<i64> = r::table
        .filter(r::type_.eq(type_))
        .select(r::key)
        .limit(1)
        .first(conn)
        .optional()?;
    match seen {
        Some(_) => Ok(()),
        None => Err(Error::invalid(
            pointer,
            format!("no resource has the type '{type_}'"),
        )),
    }
}

/// Checks that a resource has this label. A label that no resource has is probably misspelt.
pub(crate) fn check_label(conn: &mut Conn, pointer: &str, name: &str) -> Result<()> {
    let seen: Option<i64> = l::table
        .filter(l::name.eq(name))
        .select(l::resource_key)
        .limit(1)
        .first(conn)
        .optional()?;
    match seen {
        Some(_) => Ok(()),
        None => Err(Error::invalid(
            pointer,
            format!("no resource has a label '{name}'"),
        )),
    }
}

/// Returns the keys of the resources that are not archived. An unknown resource is not in the map.
pub fn keys(conn: &mut Conn, refs: &[&ResourceRef]) -> Result<HashMap<ResourceRef, i64>> {
    write::resource_keys(conn, refs, false)
}

/// Returns the keys of the resources, including archived ones. An unknown resource is not in the map.
pub fn keys_even_archived(conn: &mut Conn, refs: &[&ResourceRef]) -> Result<HashMap<ResourceRef, i64>> {
    write::resource_keys(conn, refs, true)
}

/// Returns the depth of each of these resources: the number of its ancestors, plus one.
pub fn depths(conn: &mut Conn, keys: &[i64]) -> Result<HashMap<i64, i64>> {
    use diesel::sql_types::BigInt;
    #[derive(QueryableByName)]
    struct Depth {
        #[diesel(sql_type = BigInt)]
        key: i64,
        #[diesel(sql_type = BigInt)]
        depth: i64,
    }
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let list = keyed::list(keys);
    let rows: Vec<Depth> = diesel::sql_query(format!(
        "WITH RECURSIVE up(start, node) AS ( \
             SELECT key, key FROM resources WHERE key IN ({list}) \
             UNION SELECT up.start, r.parent_key FROM up JOIN resources r ON r.key = up.node \
                   WHERE r.parent_key IS NOT NULL) \
         SELECT start AS key, COUNT(*) AS depth FROM up GROUP BY start"
    ))
    .load(conn)?;
    Ok(rows.into_iter().map(|row| (row.key, row.depth)).collect())
}

/// Returns pairs of each of these resources and itself or one of its ancestors. The chain ends at an archived
/// resource.
pub fn above(conn: &mut Conn, keys: &[i64]) -> Result<Vec<(i64, i64)>> {
    use diesel::sql_types::BigInt;
    #[derive(QueryableByName)]
    struct Pair {
        #[diesel(sql_type = BigInt)]
        start: i64,
        #[diesel(sql_type = BigInt)]
        node: i64,
    }
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let list = keyed::list(keys);
    let rows: Vec<Pair> = diesel::sql_query(format!(
        "WITH RECURSIVE up(start, node) AS ( \
             SELECT key, key FROM resources WHERE key IN ({list}) \
             UNION SELECT up.start, r.parent_key FROM up JOIN resources r ON r.key = up.node \
                   WHERE r.parent_key IS NOT NULL AND r.gone_at IS NULL) \
         SELECT start, node FROM up"
    ))
    .load(conn)?;
    Ok(rows.into_iter().map(|row| (row.start, row.node)).collect())
}

/// Creates or replaces a resource. Returns the resource, and whether it is new.
///
/// # Errors
/// `Invalid` if a field is wrong, the account or the parent is not known, parents would form a cycle, or the
/// parent belongs to another account.
pub fn put(tx: &mut Tx<'_>, at: &ResourceRef, input: &ResourceInput) -> Result<(Resource, bool)> {
    let mut check = Check::default();
    input.check(&mut check);
    check.finish()?;
    dialect::lock_directory(tx.conn)?;
    let before = get(tx.conn, at).ok();
    let account = match &input.account {
        None => None,
        Some(id) => Some(
            write::account_keys(tx.conn, &[id.as_str()])?
                .remove(id.as_str())
                .ok_or_else(|| {
                    Error::invalid("/account", format!("account '{id}' is not in the directory"))
                })?,
        ),
    };
    let parent = match &input.parent {
        None => Parent::None,
        Some(parent) => Parent::Key(
            write::resource_keys(tx.conn, &[parent], false)?
                .remove(parent)
                .ok_or_else(|| Error::invalid("/parent", format!("{parent} is not in the directory")))?,
        ),
    };
    let row = ResourceRow {
        at,
        name: input.name.as_deref(),
        account,
        parent,
        labels: &input.labels,
    };
    let wrong = write::resources(tx.conn, tx.now, &[row])?.wrong;
    if let Some((_, detail)) = wrong.into_iter().next() {
        return Err(Error::invalid("/parent", detail));
    }
    let event = Event::new(Action::ResourcePut, "resource", format!("{}/{}", at.type_, at.id))
        .after(serde_json::to_value(input)?);
    tx.record(match &before {
        Some(old) => event.before(serde_json::json!({
            "name": old.name, "account": old.account, "parent": old.parent, "labels": old.labels,
        })),
        None => event,
    });
    Ok((get(tx.conn, at)?, before.is_none()))
}

/// Archives a resource. Nobody is notified through it any more, and the resources below it no longer belong
/// to an account through it.
///
/// # Errors
/// `NotFound` if the resource does not exist or is already archived.
pub fn delete(tx: &mut Tx<'_>, at: &ResourceRef) -> Result<()> {
    let changed = diesel::update(
        r::table
            .filter(r::type_.eq(at.type_.as_str()))
            .filter(r::id.eq(at.id.as_str()))
            .filter(r::gone_at.is_null()),
    )
    .set(r::gone_at.eq(Some(tx.now)))
    .execute(tx.conn)?;
    if changed == 0 {
        return Err(Error::NotFound(format!("{} '{}'", at.type_, at.id)));
    }
    tx.record(Event::new(
        Action::ResourceDeleted,
        "resource",
        format!("{}/{}", at.type_, at.id),
    ));
    Ok(())
}

/// Makes a reference from a type and an ID.
///
/// # Errors
/// A sentence for the caller if one of them is not a valid ID.
pub fn at(type_: &str, id: &str) -> Result<ResourceRef, String> {
    Ok(ResourceRef {
        type_: crate::base::id::ExternalId::parse(type_)?,
        id: crate::base::id::ExternalId::parse(id)?,
    })
}
