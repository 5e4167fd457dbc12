//! Reads the current state of the directory as import lines, so that an unchanged row of a source is equal to
//! its line.
//!
//! `line` writes these lines too, so that there is only one form.

use std::collections::HashMap;

use diesel::prelude::*;
use serde::de::IgnoredAny;

use crate::base::check::Labels;
use crate::base::error::{Error, Result};
use crate::base::id::ExternalId;
use crate::db::Conn;
use crate::db::schema::{
    accounts as a, collaborators as k, members as m, people as p, resource_labels as l, resources as r,
};
use crate::directory::line::{
    AccountLine, CollaboratorLine, Line, LineKind, MemberLine, PersonLine, ResourceLine,
};
use crate::directory::{ResourceRef, resource, write};

/// Returns the current lines of these entries, by key. Entries that do not exist or are archived are left
/// out.
pub(super) fn lines(conn: &mut Conn, kind: LineKind, wanted: &[&Line]) -> Result<HashMap<String, String>> {
    let found = match kind {
        LineKind::Account => accounts(conn, wanted)?,
        LineKind::Person => people(conn, wanted)?,
        LineKind::Resource => resources(conn, wanted)?,
        LineKind::Member => members(conn, wanted)?,
        LineKind::Collaborator => collaborators(conn, wanted)?,
    };
    Ok(found
        .into_iter()
        .map(|line| (line.key(), line.to_json()))
        .collect())
}

fn id(text: &str) -> Result<ExternalId> {
    ExternalId::parse(text).map_err(Error::internal)
}

fn accounts(conn: &mut Conn, wanted: &[&Line]) -> Result<Vec<Line>> {
    let ids = wanted.iter().filter_map(|line| match line {
        Line::Account(line) => Some(line.id.as_str()),
        _ => None,
    });
    type Row = (String, String, Option<String>, Option<String>, String);
    let rows: Vec<Row> = a::table
        .filter(a::id.eq_any(ids))
        .filter(a::gone_at.is_null())
        .select((a::id, a::name, a::locale, a::time_zone, a::labels))
        .load(conn)?;
    rows.into_iter()
        .map(|(account, name, locale, time_zone, labels)| {
            Ok(Line::Account(AccountLine {
                _kind: IgnoredAny,
                id: id(&account)?,
                name,
                locale,
                time_zone,
                labels: serde_json::from_str(&labels)?,
            }))
        })
        .collect()
}

fn people(conn: &mut Conn, wanted: &[&Line]) -> Result<Vec<Line>> {
    let ids = wanted.iter().filter_map(|line| match line {
        Line::Person(line) => Some(line.id.as_str()),
        _ => None,
    });
    type Row = (String, String, String, Option<String>, Option<String>);
    let rows: Vec<Row> = p::table
        .filter(p::id.eq_any(ids))
        .filter(p::gone_at.is_null())
        .select((p::id, p::name, p::email, p::locale, p::time_zone))
        .load(conn)?;
    rows.into_iter()
        .map(|(person, name, email, locale, time_zone)| {
            Ok(Line::Person(PersonLine {
                _kind: IgnoredAny,
                id: id(&person)?,
                name,
                email,
                locale,
                time_zone,
            }))
        })
        .collect()
}

fn resources(conn: &mut Conn, wanted: &[&Line]) -> Result<Vec<Line>> {
    let refs: Vec<ResourceRef> = wanted
        .iter()
        .filter_map(|line| match line {
            Line::Resource(line) => Some(ResourceRef {
                type_: line.type_.clone(),
                id: line.id.clone(),
            }),
            _ => None,
        })
        .collect();
    let keys: Vec<i64> = write::resource_keys(conn, &refs.iter().collect::<Vec<_>>(), false)?
        .into_values()
        .collect();
    type Row = (i64, String, String, Option<String>, Option<i64>, Option<i64>);
    let rows: Vec<Row> = r::table
        .filter(r::key.eq_any(&keys))
        .select((r::key, r::type_, r::id, r::name, r::account_key, r::parent_key))
        .load(conn)?;
    let mut labels: HashMap<i64, Labels> = HashMap::new();
    let found: Vec<(i64, String, String)> = l::table
        .filter(l::resource_key.eq_any(&keys))
        .select((l::resource_key, l::name, l::value))
        .load(conn)?;
    for (key, name, value) in found {
        labels.entry(key).or_default().insert(name, value);
    }
    let mut parents: Vec<i64> = rows.iter().filter_map(|row| row.5).collect();
    parents.sort_unstable();
    parents.dedup();
    let parents: HashMap<i64, ResourceRef> = r::table
        .filter(r::key.eq_any(&parents))
        .select((r::key, r::type_, r::id))
        .load::<(i64, String, String)>(conn)?
        .into_iter()
        .filter_map(|(key, type_, id)| Some((key, resource::reference(&type_, &id)?)))
        .collect();
    let mut owners: Vec<i64> = rows.iter().filter_map(|row| row.4).collect();
    owners.sort_unstable();
    owners.dedup();
    let owners: HashMap<i64, String> = a::table
        .filter(a::key.eq_any(&owners))
        .select((a::key, a::id))
        .load::<(i64, String)>(conn)?
        .into_iter()
        .collect();
    rows.into_iter()
        .map(|(key, type_, resource, name, account, parent)| {
            let account = account.and_then(|key| owners.get(&key));
            Ok(Line::Resource(ResourceLine {
                _kind: IgnoredAny,
                type_: id(&type_)?,
                id: id(&resource)?,
                name,
                account: account.map(|account| id(account)).transpose()?,
                parent: parent.and_then(|key| parents.get(&key).cloned()),
                labels: labels.remove(&key).unwrap_or_default(),
            }))
        })
        .collect()
}

fn members(conn: &mut Conn, wanted: &[&Line]) -> Result<Vec<Line>> {
    let lines: Vec<&MemberLine> = wanted
        .iter()
        .filter_map(|line| match line {
            Line::Member(line) => Some(line),
            _ => None,
        })
        .collect();
    let accounts = write::account_keys(conn, &unique(lines.iter().map(|line| line.account.as_str())))?;
    let people = write::person_keys(conn, &unique(lines.iter().map(|line| line.person.as_str())))?;
    let rows: Vec<(i64, i64, String)> = m::table
        .filter(m::account_key.eq_any(accounts.values()))
        .filter(m::person_key.eq_any(people.values()))
        .filter(m::gone_at.is_null())
        .select((m::account_key, m::person_key, m::role))
        .load(conn)?;
    let roles: HashMap<(i64, i64), String> = rows
        .into_iter()
        .map(|(account, person, role)| ((account, person), role))
        .collect();
    lines
        .into_iter()
        .filter_map(|line| {
            let account = accounts.get(line.account.as_str())?;
            let role = roles.get(&(*account, *people.get(line.person.as_str())?))?;
            Some(id(role).map(|role| Line::Member(MemberLine { role, ..line.clone() })))
        })
        .collect()
}

fn collaborators(conn: &mut Conn, wanted: &[&Line]) -> Result<Vec<Line>> {
    let lines: Vec<&CollaboratorLine> = wanted
        .iter()
        .filter_map(|line| match line {
            Line::Collaborator(line) => Some(line),
            _ => None,
        })
        .collect();
    let mut refs: Vec<&ResourceRef> = lines.iter().map(|line| &line.resource).collect();
    refs.sort_unstable();
    refs.dedup();
    let resources = write::resource_keys(conn, &refs, false)?;
    let people = write::person_keys(conn, &unique(lines.iter().map(|line| line.person.as_str())))?;
    let rows: Vec<(i64, i64, String)> = k::table
        .filter(k::resource_key.eq_any(resources.values()))
        .filter(k::person_key.eq_any(people.values()))
        .filter(k::gone_at.is_null())
        .select((k::resource_key, k::person_key, k::role))
        .load(conn)?;
    let roles: HashMap<(i64, i64), String> = rows
        .into_iter()
        .map(|(resource, person, role)| ((resource, person), role))
        .collect();
    lines
        .into_iter()
        .filter_map(|line| {
            let resource = resources.get(&line.resource)?;
            let role = roles.get(&(*resource, *people.get(line.person.as_str())?))?;
            Some(id(role).map(|role| Line::Collaborator(CollaboratorLine { role, ..line.clone() })))
        })
        .collect()
}

fn unique<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut words: Vec<&str> = words.collect();
    words.sort_unstable();
    words.dedup();
    words
}
