//! The people who are named directly: they were added to an incident because they themselves are affected and not a
//! resource of theirs, from a list or with a selector over people.
//!
//! A person is added only if somebody named the person or a selector found the person at the time of its use. If
//! any part of a request is wrong, nobody is added. An archived person stays in the list, and is not notified.

use std::collections::{BTreeMap, HashSet};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::affected_rows::{Added, FoundBy, PEOPLE, Relevance, Removed, Source};
use super::finding::Finding;
use super::stored::get;
use super::timeline;
use crate::audit::Tx;
use crate::base::count::grouped;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{ExternalId, IncidentId};
use crate::base::like::pattern;
use crate::base::time::Timestamp;
use crate::db::schema::{incident_people as ip, people as p};
use crate::db::{Conn, Statement, dialect};
use crate::directory::selector::{Json, PeopleSelector, PeopleSelectorSchema, check_as_of};
use crate::directory::{normal_address, person};

/// The number of people that an audit event names. The rest is only counted.
const NAMED: usize = 50;

/// The people to add: either a list or a selector.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddPeople {
    /// Adds the people with these IDs.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub people: Option<Vec<ExternalId>>,
    /// Adds the people that this selector finds now. People who match it later are not added.
    #[serde(default)]
    #[schema(value_type = Option<PeopleSelectorSchema>)]
    pub selector: Option<Json>,
    /// Evaluates the selector as of this time, with the members and the labels of accounts that the directory knew then. So a label
    /// that is gone can be asked for. If not set, the selector is evaluated as of now.
    #[serde(default)]
    pub as_of: Option<Timestamp>,
    /// How certain it is that the people are affected. If not set, new people are `impaired`, and people who
    /// were added already do not change.
    #[serde(default)]
    pub relevance: Option<Relevance>,
}

/// The people to remove: either a list or a selector.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemovePeople {
    /// Removes the people with these IDs.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub people: Option<Vec<ExternalId>>,
    /// Removes those of the added people that this selector finds now.
    #[serde(default)]
    #[schema(value_type = Option<PeopleSelectorSchema>)]
    pub selector: Option<Json>,
    /// Evaluates the selector as of this time, with the members and the labels of accounts that the directory knew then. So a label
    /// that is gone can be asked for. If not set, the selector is evaluated as of now.
    #[serde(default)]
    pub as_of: Option<Timestamp>,
}

/// A person who is named directly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AffectedPerson {
    /// The ID, the name and the email address of the person.
    pub person: AddedPerson,
    /// How the person was added: `operator` or `selector`.
    pub source: Source,
    /// How certain it is that the person is affected.
    pub relevance: Relevance,
    /// When the person was added to the incident.
    pub added_at: Timestamp,
    /// The time as of which a selector found the person. Left out if it was found as of the time at which it was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// When the person was archived in the directory. An archived person is not notified. Null if the person is
    /// not archived.
    pub gone_at: Option<Timestamp>,
    #[serde(skip)]
    pub(crate) key: i64,
}

/// The data of a person who is named directly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AddedPerson {
    /// The caller's ID of the person.
    pub id: String,
    /// The name of the person.
    pub name: String,
    /// The email address. Empty if none is known.
    pub email: String,
}

/// That a person is named directly.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[schema(as = NamedDirectly)]
pub struct Named {
    /// How the person was added: `operator` or `selector`.
    pub source: Source,
    /// When the person was added to the incident.
    pub added_at: Timestamp,
    /// The time as of which a selector found the person. Left out if it was found as of the time at which it was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// What a comparison found about the person. Left out if no comparison found the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
    #[serde(skip)]
    pub(crate) relevance: Relevance,
    /// When the person was removed from the incident.
    #[serde(skip)]
    pub(crate) removed_at: Option<Timestamp>,
}

/// What a request means: a list of people by key, with their description for the audit event, or a selector.
enum Meant {
    Listed(Vec<i64>, serde_json::Value),
    Found(PeopleSelector),
}

/// Parses a request. `archived` says whether archived people can be listed.
fn meant(
    tx: &mut Tx<'_>,
    people: Option<&Vec<ExternalId>>,
    (selector, as_of): (Option<&Json>, Option<Timestamp>),
    archived: bool,
) -> Result<Meant> {
    check_as_of(as_of, selector.is_some())?;
    match (people, selector) {
        (Some(people), None) => {
            let keys = keys(tx.conn, people, archived)?;
            let named: Vec<&str> = people.iter().take(NAMED).map(ExternalId::as_str).collect();
            Ok(Meant::Listed(keys, json!({"people": named})))
        }
        (None, Some(selector)) => {
            let selector = PeopleSelector::parse("/selector", selector)?.at(tx.conn, as_of, tx.now)?;
            Ok(Meant::Found(selector))
        }
        _ => Err(Error::invalid("", "give either people or selector")),
    }
}

/// Returns the keys of people, each once.
fn keys(conn: &mut Conn, people: &[ExternalId], archived: bool) -> Result<Vec<i64>> {
    if people.is_empty() {
        return Err(Error::invalid("/people", "must list at least one person"));
    }
    let ids: Vec<&str> = people.iter().map(ExternalId::as_str).collect();
    let known = person::known(conn, &ids, &[])?;
    let wrong: Vec<FieldError> = ids
        .iter()
        .enumerate()
        .filter_map(|(index, id)| {
            let detail = match known.by_id.get(*id) {
                None => format!("person '{id}' is not in the directory"),
                Some(key) if !archived && known.archived.contains(key) => {
                    format!("person '{id}' is archived in the directory")
                }
                Some(_) => return None,
            };
            Some(FieldError::at(format!("/people/{index}"), detail))
        })
        .collect();
    if !wrong.is_empty() {
        return Err(Error::fields(wrong));
    }
    let mut keys: Vec<i64> = known.by_id.into_values().collect();
    keys.sort_unstable();
    Ok(keys)
}

/// Adds the people of a request.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if the request has neither or both of list and selector, if
/// the list is empty or a person is unknown or archived, or if the selector contains an unknown name or finds
/// nobody. Nobody is added then.
pub fn add(tx: &mut Tx<'_>, incident: &IncidentId, request: &AddPeople) -> Result<Added> {
    get(tx.conn, incident)?;
    let selector = (request.selector.as_ref(), request.as_of);
    match meant(tx, request.people.as_ref(), selector, false)? {
        Meant::Listed(keys, what) => {
            PEOPLE.add_keys(tx, incident, &keys, Source::Operator, request.relevance, what)
        }
        Meant::Found(selector) => {
            dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
            let (found, _) = selector.count(tx.conn)?;
            let note = |tx: &mut Tx<'_>, added| {
                let text = format!(
                    "Selector {}: {} of {} matching people added to the affected people",
                    selector.described(),
                    grouped(added),
                    grouped(found)
                );
                timeline::note(tx, incident, timeline::Kind::Note, tx.now, &text).map(drop)
            };
            PEOPLE.add_found(
                tx,
                incident,
                FoundBy {
                    selector: &selector.to_string(),
                    number: found,
                    as_of: selector.as_of(),
                },
                |conn, to| selector.keys(conn, to),
                request.relevance,
                note,
            )
        }
    }
}

/// Removes the people of a request from those who are named directly. A person who is affected for another reason
/// too stays affected. A person who was already notified still gets the resolution.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` as for [`add`], but archived people can be removed. Nobody
/// is removed then.
pub fn remove(tx: &mut Tx<'_>, incident: &IncidentId, request: &RemovePeople) -> Result<Removed> {
    get(tx.conn, incident)?;
    let selector = (request.selector.as_ref(), request.as_of);
    let meant = meant(tx, request.people.as_ref(), selector, true)?;
    dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
    match meant {
        Meant::Listed(keys, what) => PEOPLE.remove_keys(tx, incident, &keys, what),
        Meant::Found(selector) => {
            let (number, _) = selector.count(tx.conn)?;
            let note = |tx: &mut Tx<'_>, removed| {
                let text = format!(
                    "Selector {}: {} people removed from the affected people",
                    selector.described(),
                    grouped(removed)
                );
                timeline::note(tx, incident, timeline::Kind::Note, tx.now, &text).map(drop)
            };
            let query = |conn: &Conn, to: &mut Statement| selector.keys(conn, to);
            let found = FoundBy {
                selector: &selector.to_string(),
                number,
                as_of: selector.as_of(),
            };
            PEOPLE.remove_found(tx, incident, found, query, note)
        }
    }
}

/// Returns the IDs of people who are given by ID or by email address, one in each line. `archived` says whether the
/// IDs of archived people are accepted.
///
/// # Errors
/// `Invalid` if a line is no ID and no address of a person, or if several people have the address.
pub fn by_id_or_address(conn: &mut Conn, lines: &[&str], archived: bool) -> Result<Vec<ExternalId>> {
    let addresses: Vec<String> = lines.iter().map(|line| normal_address(line)).collect();
    let spelled: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let known = person::known(conn, lines, &spelled)?;
    let mut ids = Vec::with_capacity(lines.len());
    let mut wrong = Vec::new();
    for (index, (line, address)) in lines.iter().zip(&addresses).enumerate() {
        let id = if let Some(key) = known.by_id.get(*line) {
            match !archived && known.archived.contains(key) {
                true => Err("is archived in the directory".to_owned()),
                false => Ok(ExternalId::stored(line)),
            }
        } else if known.shared.contains(address) {
            Err("is the address of several people; give the ID of one of them".to_owned())
        } else {
            match known.id_by_address.get(address) {
                Some(id) => Ok(ExternalId::stored(id)),
                None => Err("is no ID and no address of a person in the directory".to_owned()),
            }
        };
        match id {
            Ok(id) => ids.push(id),
            Err(detail) => wrong.push(FieldError::at(format!("/people/{index}"), detail)),
        }
    }
    match wrong.is_empty() {
        true => Ok(ids),
        false => Err(Error::fields(wrong)),
    }
}

/// Returns the people who are named directly, by the key of the person. With `removed`, those who were removed again are
/// returned too.
pub fn named(conn: &mut Conn, incident: &IncidentId, removed: bool) -> Result<BTreeMap<i64, Named>> {
    type Row = (
        i64,
        String,
        String,
        Timestamp,
        Option<Timestamp>,
        Option<Timestamp>,
        Option<String>,
    );
    let mut query = ip::table
        .filter(ip::incident_id.eq(incident.as_str()))
        .select((
            ip::person_key,
            ip::source,
            ip::relevance,
            ip::added_at,
            ip::as_of,
            ip::removed_at,
            ip::finding,
        ))
        .into_boxed::<crate::db::Backend>();
    if !removed {
        query = query.filter(ip::removed_at.is_null());
    }
    let rows: Vec<Row> = query.load(conn)?;
    rows.into_iter()
        .map(|(key, source, relevance, added_at, as_of, removed_at, finding)| {
            let finding = finding.and_then(|json| serde_json::from_str::<Finding>(&json).ok());
            let named = Named {
                source: Source::parse(&source).map_err(Error::internal)?,
                added_at,
                as_of,
                finding: finding.map(|finding| finding.internal()),
                relevance: Relevance::parse(&relevance).map_err(Error::internal)?,
                removed_at,
            };
            Ok((key, named))
        })
        .collect()
}

/// The condition that the ID, the name or the address of a person contains a text.
macro_rules! contains {
    ($text:expr) => {
        sql::<Bool>("(LOWER(people.id) LIKE ")
            .bind::<Text, _>(pattern($text))
            .sql(" ESCAPE '!' OR LOWER(people.name) LIKE ")
            .bind::<Text, _>(pattern($text))
            .sql(" ESCAPE '!' OR LOWER(people.email) LIKE ")
            .bind::<Text, _>(pattern($text))
            .sql(" ESCAPE '!')")
    };
}

/// Returns the number of people who are named directly and whose ID, name or address contains `text`.
pub fn count(conn: &mut Conn, incident: &IncidentId, text: Option<&str>) -> Result<i64> {
    let mut query = ip::table
        .inner_join(p::table)
        .filter(ip::incident_id.eq(incident.as_str()))
        .filter(ip::removed_at.is_null())
        .into_boxed::<crate::db::Backend>();
    if let Some(text) = text {
        query = query.filter(contains!(text));
    }
    Ok(query.count().get_result(conn)?)
}

/// Returns whether a comparison found one of the people who are named directly.
pub fn any_found(conn: &mut Conn, incident: &IncidentId) -> Result<bool> {
    let found = ip::table
        .filter(ip::incident_id.eq(incident.as_str()))
        .filter(ip::removed_at.is_null())
        .filter(ip::finding.is_not_null());
    Ok(diesel::select(diesel::dsl::exists(found)).get_result(conn)?)
}

/// Returns the people who are named directly, after the given key, in the order in which they were added to the directory.
/// With `text`, only the people whose ID, name or address contains it are returned.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn list(
    conn: &mut Conn,
    incident: &IncidentId,
    text: Option<&str>,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<AffectedPerson>> {
    get(conn, incident)?;
    type Row = (
        i64,
        String,
        String,
        String,
        String,
        String,
        Timestamp,
        Option<Timestamp>,
        Option<Timestamp>,
    );
    let mut query = ip::table
        .inner_join(p::table)
        .filter(ip::incident_id.eq(incident.as_str()))
        .filter(ip::removed_at.is_null())
        .filter(ip::person_key.gt(after.unwrap_or(0)))
        .order(ip::person_key)
        .limit(limit)
        .select((
            p::key,
            p::id,
            p::name,
            p::email,
            ip::source,
            ip::relevance,
            ip::added_at,
            ip::as_of,
            p::gone_at,
        ))
        .into_boxed::<crate::db::Backend>();
    if let Some(text) = text {
        query = query.filter(contains!(text));
    }
    let rows: Vec<Row> = query.load(conn)?;
    rows.into_iter()
        .map(
            |(key, id, name, email, source, relevance, added_at, as_of, gone_at)| {
                Ok(AffectedPerson {
                    person: AddedPerson { id, name, email },
                    source: Source::parse(&source).map_err(Error::internal)?,
                    relevance: Relevance::parse(&relevance).map_err(Error::internal)?,
                    added_at,
                    as_of,
                    gone_at,
                    key,
                })
            },
        )
        .collect()
}

/// Returns which of these keys are those of people who are named directly.
pub(crate) fn among(conn: &mut Conn, incident: &IncidentId, keys: &[i64]) -> Result<HashSet<i64>> {
    let mut found = HashSet::new();
    for chunk in keys.chunks(5_000) {
        let held: Vec<i64> = ip::table
            .filter(ip::incident_id.eq(incident.as_str()))
            .filter(ip::removed_at.is_null())
            .filter(ip::person_key.eq_any(chunk))
            .select(ip::person_key)
            .load(conn)?;
        found.extend(held);
    }
    Ok(found)
}

/// Adds people by key. `what` is the description for the audit event.
pub(crate) fn add_keys(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    keys: &[i64],
    source: Source,
    what: serde_json::Value,
) -> Result<Added> {
    PEOPLE.add_keys(tx, incident, keys, source, None, what)
}
