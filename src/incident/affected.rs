//! The resources that an incident affects: added one by one, found by a selector, or named by alerts.
//!
//! A resource becomes affected only if somebody named it or a selector found it at the time of its use. A
//! selector that is not valid or that finds nothing is an error, and nothing is added.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::stored::get;
use super::timeline;
use crate::audit::{Action, Event, Tx};
use crate::base::enums::word_enum;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::schema::{
    alert_references, directory_lookups as dl, incident_resources as ir, resources as r,
};
use crate::db::{Conn, Statement, dialect, keyed};
use crate::directory::selector::{Json, Selector, SelectorSchema};
use crate::directory::{ResourceRef, resource};

/// The number of resources added at once from which the database updates its statistics, so that it plans
/// well.
const MANY: i64 = 1_000;

word_enum! {
    /// How a resource became affected.
    #[schema(as = AffectedSource)]
    Source, "a source" {
        /// An alert named the resource.
        Alert = "alert",
        /// An operator added the resource.
        Operator = "operator",
        /// A selector found the resource.
        Selector = "selector",
    }
}

word_enum! {
    /// How certain it is that a resource is affected.
    #[derive(Default)]
    Relevance, "a relevance" {
        /// The resource is affected.
        #[default]
        Impaired = "impaired",
        /// The resource is possibly affected.
        Possibly = "possibly",
        /// It is not known yet whether the resource is affected.
        Unknown = "unknown",
    }
}

impl Relevance {
    fn strength(self) -> u8 {
        match self {
            Relevance::Impaired => 2,
            Relevance::Possibly => 1,
            Relevance::Unknown => 0,
        }
    }
}

/// The more certain one is greater.
impl Ord for Relevance {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.strength().cmp(&other.strength())
    }
}

impl PartialOrd for Relevance {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The resources to add: either a list or a selector.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddAffected {
    /// Adds these resources.
    #[serde(default)]
    pub resources: Option<Vec<ResourceRef>>,
    /// Adds the resources that this selector finds now, as an object or as text. Resources that match it
    /// later are not added.
    #[serde(default)]
    #[schema(value_type = Option<SelectorSchema>)]
    pub selector: Option<Json>,
    /// How certain it is that the resources are affected. If not set, new resources are `impaired`, and
    /// resources that are affected already do not change.
    #[serde(default)]
    pub relevance: Option<Relevance>,
}

/// The result of adding resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Added {
    /// The number of resources that became affected.
    pub added: i64,
    /// The number of resources that were affected before.
    pub already: i64,
    /// The number of resources that were affected before and got another relevance.
    #[serde(skip_serializing_if = "is_zero")]
    pub changed: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so
fn is_zero(count: &i64) -> bool {
    *count == 0
}

/// An affected resource.
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
    match (&request.resources, &request.selector) {
        (Some(resources), None) => {
            let (keys, what) = named(tx.conn, resources)?;
            add_keys_as(tx, incident, &keys, Source::Operator, request.relevance, what)
        }
        (None, Some(selector)) => {
            let selector = Selector::parse("/selector", selector)?;
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
    let (keys, what) = named(tx.conn, resources)?;
    add_keys(tx, incident, &keys, source, what)
}

/// Returns the keys of these resources, and the description for the audit event.
fn named(conn: &mut Conn, resources: &[ResourceRef]) -> Result<(Vec<i64>, serde_json::Value)> {
    if resources.is_empty() {
        return Err(Error::invalid("/resources", "must list at least one resource"));
    }
    let refs: Vec<&ResourceRef> = resources.iter().collect();
    let known = resource::keys(conn, &refs)?;
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

/// Adds the resources that a selector finds now. The resources are stored and not the selector, so a resource
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
    let mut statement = Statement::default();
    statement
        .push(
            "INSERT INTO incident_resources (incident_id, resource_key, source, added_at, relevance) SELECT ",
        )
        .text(incident.as_str())
        .push(", found.key, ")
        .text(Source::Selector.as_str())
        .push(", ")
        .time(tx.now)
        .push(", ")
        .text(relevance.unwrap_or_default().as_str())
        .push(" FROM (");
    selector.keys(tx.conn, &mut statement);
    // Without the `WHERE`, SQLite would parse `ON` as the condition of a join.
    statement.push(") found WHERE TRUE").push(AGAIN);
    let added = statement.finish().execute(tx.conn)? as i64;
    if added > 0 {
        let text = format!(
            "Selector {selector}: {added} of {found} matching resources added to the affected resources"
        );
        timeline::note(tx, incident, timeline::Kind::Note, tx.now, &text)?;
    }
    let mut changed = 0;
    if let Some(relevance) = relevance {
        let mut statement = Statement::default();
        judge(&mut statement, incident, relevance).push("SELECT key FROM (");
        selector.keys(tx.conn, &mut statement);
        statement.push(") found)");
        changed = statement.finish().execute(tx.conn)? as i64;
    }
    let what = json!({"selector": selector.to_string(), "relevance": relevance});
    let counts = Added {
        added,
        changed,
        already: (found - added).max(0),
    };
    finish_adding(tx, incident, counts, Source::Selector, what)
}

/// A resource that was removed becomes affected again. A resource that is affected does not change.
const AGAIN: &str = " ON CONFLICT (incident_id, resource_key) DO UPDATE \
     SET removed_at = NULL, source = excluded.source, added_at = excluded.added_at, relevance = excluded.relevance \
     WHERE incident_resources.removed_at IS NOT NULL";

/// Begins a statement that changes the relevance of the affected resources with the keys that follow.
fn judge<'a>(statement: &'a mut Statement, incident: &IncidentId, relevance: Relevance) -> &'a mut Statement {
    statement
        .push("UPDATE incident_resources SET relevance = ")
        .text(relevance.as_str())
        .push(" WHERE incident_id = ")
        .text(incident.as_str())
        .push(" AND removed_at IS NULL AND relevance <> ")
        .text(relevance.as_str())
        .push(" AND resource_key IN (")
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
    add_keys_as(tx, incident, keys, source, None, what)
}

/// Adds resources by key. A resource that is affected already keeps its relevance, unless one is given.
fn add_keys_as(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    keys: &[i64],
    source: Source,
    relevance: Option<Relevance>,
    mut what: serde_json::Value,
) -> Result<Added> {
    dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
    let mut added = 0;
    let mut changed = 0;
    for chunk in keys.chunks(5_000) {
        let list = keyed::list(chunk);
        added += diesel::sql_query(format!(
            "INSERT INTO incident_resources (incident_id, resource_key, source, added_at, relevance) \
             SELECT $1, key, $2, $3, $4 FROM resources WHERE key IN ({list}){AGAIN}"
        ))
        .bind::<Text, _>(incident.as_str())
        .bind::<Text, _>(source.as_str())
        .bind::<BigInt, _>(tx.now)
        .bind::<Text, _>(relevance.unwrap_or_default().as_str())
        .execute(tx.conn)? as i64;
        if let Some(relevance) = relevance {
            let mut statement = Statement::default();
            judge(&mut statement, incident, relevance).push(&list).push(")");
            changed += statement.finish().execute(tx.conn)? as i64;
        }
    }
    if let Some(relevance) = relevance {
        what["relevance"] = json!(relevance);
    }
    let already = keys.len() as i64 - added;
    finish_adding(
        tx,
        incident,
        Added {
            added,
            already,
            changed,
        },
        source,
        what,
    )
}

fn finish_adding(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    counts: Added,
    source: Source,
    what: serde_json::Value,
) -> Result<Added> {
    let Added { added, changed, .. } = counts;
    if added >= MANY {
        dialect::analyze(tx.conn, &["incident_resources"])?;
    }
    if added > 0 || changed > 0 {
        let mut after = json!({"added": added, "source": source, "what": what});
        if changed > 0 {
            after["changed"] = json!(changed);
        }
        tx.record(
            Event::new(Action::AffectedAdded, "incident", incident.as_str())
                .incident(incident)
                .after(after),
        );
    }
    Ok(counts)
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

/// Returns the affected resources after the given key, in the order in which they were added to the
/// directory.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn list(conn: &mut Conn, incident: &IncidentId, after: Option<i64>, limit: i64) -> Result<Vec<Affected>> {
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
    );
    let rows: Vec<Row> = ir::table
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
            r::gone_at,
        ))
        .load(conn)?;
    rows.into_iter()
        .map(|(key, type_, id, name, source, relevance, added_at, gone_at)| {
            Ok(Affected {
                resource: resource::reference(&type_, &id)
                    .ok_or_else(|| Error::internal("a stored id is invalid"))?,
                name,
                source: Source::parse(&source).map_err(Error::internal)?,
                relevance: Relevance::parse(&relevance).map_err(Error::internal)?,
                added_at,
                gone_at,
                key,
            })
        })
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
