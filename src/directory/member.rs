//! Roles of people: members of accounts and collaborators on resources.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ResourceRef, resource, write};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::ExternalId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{accounts as a, collaborators as k, members as m, people as p, resources as r};

/// The role of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleInput {
    /// The name of the role. An `owner` of an account is notified of everything about the account. All other
    /// names are the caller's own.
    pub role: ExternalId,
}

/// A person and the role of this person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Membership {
    /// The ID of the person.
    pub person: String,
    /// The name of the person.
    pub name: String,
    /// The name of the role.
    pub role: String,
    /// When the role ended. Null if it has not ended.
    pub gone_at: Option<Timestamp>,
    /// When the role was first stored.
    pub created_at: Timestamp,
}

type MembershipRow = (String, String, String, Option<Timestamp>, Timestamp);

fn view((person, name, role, gone_at, created_at): MembershipRow) -> Membership {
    Membership {
        person,
        name,
        role,
        gone_at,
        created_at,
    }
}

fn not_found(what: impl std::fmt::Display) -> Error {
    Error::NotFound(what.to_string())
}

fn person_key(conn: &mut Conn, id: &str) -> Result<i64> {
    write::person_keys(conn, &[id])?
        .remove(id)
        .ok_or_else(|| not_found(format!("person '{id}'")))
}

fn account_key(conn: &mut Conn, id: &str) -> Result<i64> {
    write::account_keys(conn, &[id])?
        .remove(id)
        .ok_or_else(|| not_found(format!("account '{id}'")))
}

fn resource_key(conn: &mut Conn, at: &ResourceRef) -> Result<i64> {
    write::resource_keys(conn, &[at], false)?
        .remove(at)
        .ok_or_else(|| not_found(format!("{} '{}'", at.type_, at.id)))
}

/// Returns the current members of an account, ordered by the ID of the person.
///
/// # Errors
/// `NotFound` if the account does not exist.
pub fn members(conn: &mut Conn, account: &str, after: Option<&str>, limit: i64) -> Result<Vec<Membership>> {
    let key: i64 = a::table
        .filter(a::id.eq(account))
        .select(a::key)
        .first(conn)
        .optional()?
        .ok_or_else(|| not_found(format!("account '{account}'")))?;
    let rows: Vec<MembershipRow> = m::table
        .inner_join(p::table)
        .filter(m::account_key.eq(key))
        .filter(m::gone_at.is_null())
        .filter(p::id.gt(after.unwrap_or("")))
        .order(p::id)
        .limit(limit)
        .select((p::id, p::name, m::role, m::gone_at, m::created_at))
        .load(conn)?;
    Ok(rows.into_iter().map(view).collect())
}

/// Returns one member of an account, even if the membership has ended.
///
/// # Errors
/// `NotFound` if this person was never a member of the account.
pub fn member(conn: &mut Conn, account: &str, person: &str) -> Result<Membership> {
    m::table
        .inner_join(p::table)
        .inner_join(a::table)
        .filter(a::id.eq(account))
        .filter(p::id.eq(person))
        .select((p::id, p::name, m::role, m::gone_at, m::created_at))
        .first::<MembershipRow>(conn)
        .optional()?
        .map(view)
        .ok_or_else(|| not_found(format!("member '{person}' of account '{account}'")))
}

/// Makes a person a member of an account, or changes the role. Returns the member, and whether it is new.
///
/// # Errors
/// `NotFound` if the account or the person does not exist.
pub fn put_member(
    tx: &mut Tx<'_>,
    account: &str,
    person: &str,
    role: &ExternalId,
) -> Result<(Membership, bool)> {
    let keys = (account_key(tx.conn, account)?, person_key(tx.conn, person)?);
    let before = member(tx.conn, account, person).ok();
    write::members(tx.conn, tx.now, &[(keys.0, keys.1, role.as_str())])?;
    let event =
        Event::new(Action::MemberPut, "member", format!("{account}/{person}")).after(json!({"role": role}));
    tx.record(match &before {
        Some(old) => event.before(json!({"role": old.role, "gone_at": old.gone_at})),
        None => event,
    });
    Ok((member(tx.conn, account, person)?, before.is_none()))
}

/// Ends a membership.
///
/// # Errors
/// `NotFound` if there is no such member or the membership has already ended.
pub fn delete_member(tx: &mut Tx<'_>, account: &str, person: &str) -> Result<()> {
    let missing = || not_found(format!("member '{person}' of account '{account}'"));
    let keys: (i64, i64) = m::table
        .inner_join(p::table)
        .inner_join(a::table)
        .filter(a::id.eq(account))
        .filter(p::id.eq(person))
        .filter(m::gone_at.is_null())
        .select((m::account_key, m::person_key))
        .first(tx.conn)
        .optional()?
        .ok_or_else(missing)?;
    diesel::update(m::table.find(keys))
        .set(m::gone_at.eq(Some(tx.now)))
        .execute(tx.conn)?;
    tx.record(Event::new(
        Action::MemberDeleted,
        "member",
        format!("{account}/{person}"),
    ));
    Ok(())
}

/// Returns the current collaborators on a resource, ordered by the ID of the person.
///
/// # Errors
/// `NotFound` if the resource does not exist.
pub fn collaborators(
    conn: &mut Conn,
    at: &ResourceRef,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Membership>> {
    let key = resource_key(conn, at)?;
    let rows: Vec<MembershipRow> = k::table
        .inner_join(p::table)
        .filter(k::resource_key.eq(key))
        .filter(k::gone_at.is_null())
        .filter(p::id.gt(after.unwrap_or("")))
        .order(p::id)
        .limit(limit)
        .select((p::id, p::name, k::role, k::gone_at, k::created_at))
        .load(conn)?;
    Ok(rows.into_iter().map(view).collect())
}

/// Returns one collaborator on a resource, even if the role has ended.
///
/// # Errors
/// `NotFound` if this person was never a collaborator on the resource.
pub fn collaborator(conn: &mut Conn, at: &ResourceRef, person: &str) -> Result<Membership> {
    k::table
        .inner_join(p::table)
        .inner_join(r::table)
        .filter(r::type_.eq(at.type_.as_str()))
        .filter(r::id.eq(at.id.as_str()))
        .filter(p::id.eq(person))
        .select((p::id, p::name, k::role, k::gone_at, k::created_at))
        .first::<MembershipRow>(conn)
        .optional()?
        .map(view)
        .ok_or_else(|| not_found(format!("collaborator '{person}' on {at}")))
}

/// Makes a person a collaborator on a resource, or changes the role. Returns the collaborator, and whether it
/// is new.
///
/// # Errors
/// `NotFound` if the resource or the person does not exist.
pub fn put_collaborator(
    tx: &mut Tx<'_>,
    at: &ResourceRef,
    person: &str,
    role: &ExternalId,
) -> Result<(Membership, bool)> {
    let keys = (resource_key(tx.conn, at)?, person_key(tx.conn, person)?);
    let before = collaborator(tx.conn, at, person).ok();
    write::collaborators(tx.conn, tx.now, &[(keys.0, keys.1, role.as_str())])?;
    let subject = format!("{}/{}/{person}", at.type_, at.id);
    let event = Event::new(Action::CollaboratorPut, "collaborator", subject).after(json!({"role": role}));
    tx.record(match &before {
        Some(old) => event.before(json!({"role": old.role, "gone_at": old.gone_at})),
        None => event,
    });
    Ok((collaborator(tx.conn, at, person)?, before.is_none()))
}

/// Ends the role of a collaborator.
///
/// # Errors
/// `NotFound` if there is no such collaborator or the role has already ended.
pub fn delete_collaborator(tx: &mut Tx<'_>, at: &ResourceRef, person: &str) -> Result<()> {
    let keys: (i64, i64) = k::table
        .inner_join(p::table)
        .inner_join(r::table)
        .filter(r::type_.eq(at.type_.as_str()))
        .filter(r::id.eq(at.id.as_str()))
        .filter(p::id.eq(person))
        .filter(k::gone_at.is_null())
        .select((k::resource_key, k::person_key))
        .first(tx.conn)
        .optional()?
        .ok_or_else(|| not_found(format!("collaborator '{person}' on {at}")))?;
    diesel::update(k::table.find(keys))
        .set(k::gone_at.eq(Some(tx.now)))
        .execute(tx.conn)?;
    tx.record(Event::new(
        Action::CollaboratorDeleted,
        "collaborator",
        format!("{}/{}/{person}", at.type_, at.id),
    ));
    Ok(())
}

/// A role of a person on an account or a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRole<T> {
    /// The ID of the account, or the resource.
    pub on: T,
    /// The name of the account or the resource.
    pub name: Option<String>,
    /// The name of the role.
    pub role: String,
}

/// Returns the accounts that a person is a member of, ordered by ID. Ended roles and archived accounts are
/// left out.
pub fn accounts_of(conn: &mut Conn, person: &str, limit: i64) -> Result<Vec<HeldRole<String>>> {
    let rows: Vec<(String, String, String)> = m::table
        .inner_join(p::table)
        .inner_join(a::table)
        .filter(p::id.eq(person))
        .filter(m::gone_at.is_null())
        .filter(a::gone_at.is_null())
        .order(a::id)
        .limit(limit)
        .select((a::id, a::name, m::role))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(on, name, role)| HeldRole {
            on,
            name: Some(name),
            role,
        })
        .collect())
}

/// Returns the resources that a person is a collaborator on, ordered by type and ID. Ended roles and archived
/// resources are left out.
pub fn resources_of(conn: &mut Conn, person: &str, limit: i64) -> Result<Vec<HeldRole<ResourceRef>>> {
    let rows: Vec<(String, String, Option<String>, String)> = k::table
        .inner_join(p::table)
        .inner_join(r::table)
        .filter(p::id.eq(person))
        .filter(k::gone_at.is_null())
        .filter(r::gone_at.is_null())
        .order((r::type_, r::id))
        .limit(limit)
        .select((r::type_, r::id, r::name, k::role))
        .load(conn)?;
    rows.into_iter()
        .map(|(type_, id, name, role)| {
            let on =
                resource::reference(&type_, &id).ok_or_else(|| Error::internal("a stored id is invalid"))?;
            Ok(HeldRole { on, name, role })
        })
        .collect()
}
