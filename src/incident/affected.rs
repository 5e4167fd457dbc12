//! The resources that an incident affects: added one by one, found by a selector, or named by alerts.
//!
//! A resource becomes affected only if somebody named it or a selector found it at the time of its use. A
//! selector that is not valid or that finds nothing is an error, and nothing is added.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::affected_rows::{FoundBy, RESOURCES};
use super::stored::get;
use super::timeline;
use crate::audit::{Action, Event, Tx};
use crate::base::count::grouped;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::IncidentId;
use crate::base::like::pattern;
use crate::base::time::Timestamp;
use crate::db::schema::{
    alert_references, directory_lookups as dl, incident_resources as ir, resources as r,
};
use crate::db::{Conn, Statement, dialect};
use crate::directory::selector::{Json, Selector, SelectorSchema, check_as_of};
use crate::directory::{ResourceRef, resource};

pub use super::affected_rows::{Added, Relevance, Removed, Source};

/// The resources to add: either a list or a selector.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddAffected {
    /// Adds these resources. Each must be in the directory and not archived. Give either these or a selector.
    #[serde(default)]
    pub resources: Option<Vec<ResourceRef>>,
    /// Adds the resources that this selector finds now, as an object or as text. Resources that match it
    /// later are not added.
    #[serde(default)]
    #[schema(value_type = Option<SelectorSchema>)]
    pub selector: Option<Json>,
    /// Evaluates the selector as of this time, with the labels, the parents and the accounts that the directory knew then. So a label
    /// that is gone can be asked for. If not set, the selector is evaluated as of now.
    #[serde(default)]
    pub as_of: Option<Timestamp>,
    /// How certain it is that the resources are affected. If not set, new resources are `impaired`, and
    /// resources that are affected already do not change.
    #[serde(default)]
    pub relevance: Option<Relevance>,
}

/// The resources to remove: either a list or a selector.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveAffected {
    /// Removes these resources. Each must be in the directory, archived or not. Give either these or a selector.
    #[serde(default)]
    pub resources: Option<Vec<ResourceRef>>,
    /// Removes those of the affected resources that this selector finds now.
    #[serde(default)]
    #[schema(value_type = Option<SelectorSchema>)]
    pub selector: Option<Json>,
    /// Evaluates the selector as of this time, with the labels, the parents and the accounts that the directory knew then. So a label
    /// that is gone can be asked for. If not set, the selector is evaluated as of now.
    #[serde(default)]
    pub as_of: Option<Timestamp>,
}

/// A resource that an incident affects, with how and when it became affected.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Affected {
    /// The type and ID of the resource.
    pub resource: ResourceRef,
    /// The name of the resource.
    pub name: Option<String>,
    /// How the resource became affected.
    pub source: Source,
    /// How certain it is that the resource is affected.
    pub relevance: Relevance,
    /// When the resource was added to the incident.
    pub added_at: Timestamp,
    /// The time as of which a selector found the resource. Left out if it was found as of the time at which it was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// When the resource was archived in the directory. Nobody is notified because of an archived resource.
    /// Null if it is not archived.
    pub gone_at: Option<Timestamp>,
    #[serde(skip)]
    pub(crate) key: i64,
}

/// An unmatched ID: an alert named it, and the directory does not know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
pub struct Unresolved {
    /// The type that the resource rule gave to the ID.
    #[serde(rename = "type")]
    pub type_: String,
    /// The ID in the alert.
    pub id: String,
    /// Why the ID is still unmatched, if a service was asked about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Adds the resources of a request.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if the request has neither or both of list and
/// selector, and in the cases of [`add`] and [`add_selected`].
pub fn add_requested(tx: &mut Tx<'_>, incident: &IncidentId, request: &AddAffected) -> Result<Added> {
    get(tx.conn, incident)?;
    check_as_of(request.as_of, request.selector.is_some())?;
    match (&request.resources, &request.selector) {
        (Some(resources), None) => {
            let (keys, what) = named(tx.conn, resources, resource::keys)?;
            RESOURCES.add_keys(tx, incident, &keys, Source::Operator, request.relevance, what)
        }
        (None, Some(selector)) => {
            let selector = Selector::parse("/selector", selector)?.at(tx.conn, request.as_of, tx.now)?;
            add_selected(tx, incident, &selector, request.relevance)
        }
        _ => Err(Error::invalid("", "give either resources or selector")),
    }
}

/// Adds these resources.
///
/// # Errors
/// `Invalid` if the list is empty or a resource is not known. Nothing is added then.
pub fn add(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    resources: &[ResourceRef],
    source: Source,
) -> Result<Added> {
    let (keys, what) = named(tx.conn, resources, resource::keys)?;
    add_keys(tx, incident, &keys, source, what)
}

/// Reads the keys of resources.
type Keys = fn(&mut Conn, &[&ResourceRef]) -> Result<std::collections::HashMap<ResourceRef, i64>>;

/// Returns the keys of these resources, and the description for the audit event. `keys` decides whether archived
/// resources are accepted.
fn named(conn: &mut Conn, resources: &[ResourceRef], keys: Keys) -> Result<(Vec<i64>, serde_json::Value)> {
    if resources.is_empty() {
        return Err(Error::invalid("/resources", "must list at least one resource"));
    }
    let refs: Vec<&ResourceRef> = resources.iter().collect();
    let known = keys(conn, &refs)?;
    let unknown: Vec<FieldError> = resources
        .iter()
        .enumerate()
        .filter(|(_, at)| !known.contains_key(at))
        .map(|(index, at)| {
            FieldError::at(
                format!("/resources/{index}"),
                format!("{at} is not in the directory"),
            )
        })
        .collect();
    if !unknown.is_empty() {
        return Err(Error::fields(unknown));
    }
    let keys: Vec<i64> = known.values().copied().collect();
    let named: Vec<String> = resources
        .iter()
        .take(50)
        .map(|at| format!("{}/{}", at.type_, at.id))
        .collect();
    Ok((keys, json!({"resources": named})))
}

/// Adds the resources that a selector finds. The resources are stored and not the selector, so a resource
/// that is moved, labelled or created later does not become affected.
///
/// # Errors
/// `Invalid` if the selector contains an unknown name or finds nothing. Nothing is added then.
pub fn add_selected(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    selector: &Selector,
    relevance: Option<Relevance>,
) -> Result<Added> {
    dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
    let found: i64 = selector.count(tx.conn)?.values().sum();
    let note = |tx: &mut Tx<'_>, added| {
        let text = format!(
            "Selector {}: {} of {} matching resources added to the affected resources",
            selector.described(),
            grouped(added),
            grouped(found)
        );
        timeline::note(tx, incident, timeline::Kind::Note, tx.now, &text).map(drop)
    };
    RESOURCES.add_found(
        tx,
        incident,
        FoundBy {
            selector: &selector.to_string(),
            number: found,
            as_of: selector.as_of(),
        },
        |conn, to| selector.keys(conn, to),
        relevance,
        note,
    )
}

/// Returns which of these keys are affected.
pub(crate) fn among(
    conn: &mut Conn,
    incident: &IncidentId,
    keys: &[i64],
) -> Result<std::collections::HashSet<i64>> {
    let mut found = std::collections::HashSet::new();
    for chunk in keys.chunks(5_000) {
        let held: Vec<i64> = ir::table
            .filter(ir::incident_id.eq(incident.as_str()))
            .filter(ir::removed_at.is_null())
            .filter(ir::resource_key.eq_any(chunk))
            .select(ir::resource_key)
            .load(conn)?;
        found.extend(held);
    }
    Ok(found)
}

/// Adds resources by key. `what` is the description for the audit event.
pub(crate) fn add_keys(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    keys: &[i64],
    source: Source,
    what: serde_json::Value,
) -> Result<Added> {
    RESOURCES.add_keys(tx, incident, keys, source, None, what)
}

/// Removes the resources of a request. A person who was already notified because of them still gets the resolution.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if the request has neither or both of list and selector, if
/// the list is empty or a resource is not known, or if the selector contains an unknown name or finds nothing.
/// Nothing is removed then.
pub fn remove_requested(tx: &mut Tx<'_>, incident: &IncidentId, request: &RemoveAffected) -> Result<Removed> {
    get(tx.conn, incident)?;
    check_as_of(request.as_of, request.selector.is_some())?;
    match (&request.resources, &request.selector) {
        (Some(resources), None) => {
            let (keys, what) = named(tx.conn, resources, resource::keys_even_archived)?;
            dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
            RESOURCES.remove_keys(tx, incident, &keys, what)
        }
        (None, Some(selector)) => {
            let selector = Selector::parse("/selector", selector)?.at(tx.conn, request.as_of, tx.now)?;
            dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
            let number: i64 = selector.count(tx.conn)?.values().sum();
            let note = |tx: &mut Tx<'_>, removed| {
                let text = format!(
                    "Selector {}: {} resources removed from the affected resources",
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
            RESOURCES.remove_found(tx, incident, found, query, note)
        }
        _ => Err(Error::invalid("", "give either resources or selector")),
    }
}

/// Removes a resource from an incident. A person who was already notified because of it still gets the
/// resolution.
///
/// # Errors
/// `NotFound` if the incident does not exist or the resource is not affected.
pub fn remove(tx: &mut Tx<'_>, incident: &IncidentId, at: &ResourceRef) -> Result<()> {
    get(tx.conn, incident)?;
    dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
    let key: Option<i64> = ir::table
        .inner_join(r::table)
        .filter(ir::incident_id.eq(incident.as_str()))
        .filter(ir::removed_at.is_null())
        .filter(r::type_.eq(at.type_.as_str()))
        .filter(r::id.eq(at.id.as_str()))
        .select(ir::resource_key)
        .first(tx.conn)
        .optional()?;
    let key = key.ok_or_else(|| Error::NotFound(format!("affected {at}")))?;
    diesel::update(ir::table.find((incident.as_str(), key)))
        .set(ir::removed_at.eq(Some(tx.now)))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::AffectedRemoved, "incident", incident.as_str())
            .incident(incident)
            .before(json!({"resource": format!("{}/{}", at.type_, at.id)})),
    );
    Ok(())
}

/// Returns how many of the affected resources a selector finds now.
///
/// # Errors
/// `Invalid` if the selector contains an unknown name.
pub fn count_selected(conn: &mut Conn, incident: &IncidentId, selector: &Selector) -> Result<i64> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    let mut statement = Statement::default();
    statement
        .push("SELECT COUNT(*) AS n FROM incident_resources WHERE incident_id = ")
        .text(incident.as_str())
        .push(" AND removed_at IS NULL AND resource_key IN (SELECT key FROM (");
    selector.keys(conn, &mut statement);
    statement.push(") found)");
    let found: Found = statement.finish().get_result(conn)?;
    Ok(found.n)
}

/// Returns the affected resources after the given key, in the order in which they were added to the
/// directory. With `text`, only those whose type, ID or name contains it.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn list(
    conn: &mut Conn,
    incident: &IncidentId,
    text: Option<&str>,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<Affected>> {
    get(conn, incident)?;
    type Row = (
        i64,
        String,
        String,
        Option<String>,
        String,
        String,
        Timestamp,
        Option<Timestamp>,
        Option<Timestamp>,
    );
    let mut query = ir::table
        .inner_join(r::table)
        .filter(ir::incident_id.eq(incident.as_str()))
        .filter(ir::removed_at.is_null())
        .filter(ir::resource_key.gt(after.unwrap_or(0)))
        .order(ir::resource_key)
        .limit(limit)
        .select((
            r::key,
            r::type_,
            r::id,
            r::name,
            ir::source,
            ir::relevance,
            ir::added_at,
            ir::as_of,
            r::gone_at,
        ))
        .into_boxed::<crate::db::Backend>();
    if let Some(text) = text {
        query = query.filter(
            sql::<Bool>("(LOWER(resources.type || ' ' || resources.id) LIKE ")
                .bind::<Text, _>(pattern(text))
                .sql(" ESCAPE '!' OR LOWER(resources.name) LIKE ")
                .bind::<Text, _>(pattern(text))
                .sql(" ESCAPE '!')"),
        );
    }
    let rows: Vec<Row> = query.load(conn)?;
    rows.into_iter()
        .map(
            |(key, type_, id, name, source, relevance, added_at, as_of, gone_at)| {
                Ok(Affected {
                    resource: resource::reference(&type_, &id)
                        .ok_or_else(|| Error::internal("a stored id is invalid"))?,
                    name,
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

/// Returns the unmatched IDs of the alerts of this incident.
pub fn unresolved(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Unresolved>> {
    use alert_references as ar;
    let rows: Vec<(String, String, Option<String>)> = ar::table
        .left_join(
            dl::table.on(dl::resource_type
                .eq(ar::resource_type)
                .and(dl::resource_id.eq(ar::resource_id))),
        )
        .filter(ar::incident_id.eq(incident.as_str()))
        .filter(ar::resolved.eq(false))
        .select((ar::resource_type, ar::resource_id, dl::reason.nullable()))
        .distinct()
        .order((ar::resource_type, ar::resource_id))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(type_, id, reason)| Unresolved { type_, id, reason })
        .collect())
}
