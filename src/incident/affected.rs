//! Which resources an incident affects: named one by one, found by a selector, or read from alerts.
//!
//! Must never happen here: a selector that means "everything" by accident. Unknown types and labels,
//! empty selectors and selectors that match nothing are errors, and nothing is added then.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::{get, word_enum};
use crate::audit::{Action, Event, Tx};
use crate::db::schema::{
    alert_references, directory_lookups as dl, incident_resources as ir, resource_labels as l, resources as r,
};
use crate::db::{Conn, dialect};
use crate::directory::{ResourceRef, resource};
use crate::error::{Error, FieldError, Result};
use crate::id::{ExternalId, IncidentId};
use crate::time::Timestamp;

/// Resources added at once of which the database is told, so that it plans for them.
const MANY: i64 = 1_000;

word_enum! {
    /// How a resource came to be affected.
    Source, "a source" {
        /// An alert named it.
        Alert = "alert",
        /// Somebody named it.
        Operator = "operator",
        /// A selector found it.
        Selector = "selector",
    }
}

/// Finds resources by type and labels; everything that is given must hold.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// Of this type.
    #[serde(
        rename = "type",
        default,
        deserialize_with = "not_null",
        skip_serializing_if = "Option::is_none"
    )]
    pub type_: Option<ExternalId>,
    /// With these labels.
    #[serde(
        default,
        deserialize_with = "not_null",
        skip_serializing_if = "Option::is_none"
    )]
    pub labels: Option<BTreeMap<String, String>>,
}

/// A null is a forgotten value, not a wish for everything.
fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// What to add: either a list or a selector.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddAffected {
    /// These resources.
    #[serde(default)]
    pub resources: Option<Vec<ResourceRef>>,
    /// What this finds.
    #[serde(default)]
    pub selector: Option<Selector>,
}

/// What was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Added {
    /// Newly affected.
    pub added: i64,
    /// Affected before.
    pub already: i64,
}

/// An affected resource, as shown.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Affected {
    /// Which.
    pub resource: ResourceRef,
    /// Its name.
    pub name: Option<String>,
    /// How it came to be affected.
    pub source: Source,
    /// Since when it is known.
    pub added_at: Timestamp,
    /// When it was deleted from the directory: nobody is told through it any more.
    pub gone_at: Option<Timestamp>,
    #[serde(skip)]
    pub(crate) key: i64,
}

/// An id that an alert named and the directory does not know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
pub struct Unresolved {
    /// The type that the rule gave it.
    #[serde(rename = "type")]
    pub type_: String,
    /// The id in the alert.
    pub id: String,
    /// Why it is still unknown, where a service was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Adds what the request names.
///
/// # Errors
/// `NotFound`; `Invalid` for neither or both of list and selector, and as [`add`] and [`select`] say.
pub fn add_requested(tx: &mut Tx<'_>, incident: &IncidentId, request: &AddAffected) -> Result<Added> {
    get(tx.conn, incident)?;
    match (&request.resources, &request.selector) {
        (Some(resources), None) => add(tx, incident, resources, Source::Operator),
        (None, Some(selector)) => {
            let keys = select(tx.conn, selector)?;
            add_keys(
                tx,
                incident,
                &keys,
                Source::Selector,
                json!({"selector": selector}),
            )
        }
        _ => Err(Error::invalid("", "give either resources or selector")),
    }
}

/// Adds the named resources.
///
/// # Errors
/// `Invalid` for an empty list or for each resource that is not known; nothing is added then.
pub fn add(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    resources: &[ResourceRef],
    source: Source,
) -> Result<Added> {
    if resources.is_empty() {
        return Err(Error::invalid("/resources", "names nothing"));
    }
    let refs: Vec<&ResourceRef> = resources.iter().collect();
    let known = resource::keys(tx.conn, &refs)?;
    let unknown: Vec<FieldError> = resources
        .iter()
        .enumerate()
        .filter(|(_, at)| !known.contains_key(at))
        .map(|(index, at)| {
            FieldError::at(
                format!("/resources/{index}"),
                format!("{at} is not known to the directory"),
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
    add_keys(tx, incident, &keys, source, json!({"resources": named}))
}

/// The keys of what a selector finds.
///
/// # Errors
/// `Invalid`: empty, an unknown type or label, or nothing found.
pub fn select(conn: &mut Conn, selector: &Selector) -> Result<Vec<i64>> {
    if selector.type_.is_none() && selector.labels.is_none() {
        return Err(Error::invalid(
            "/selector",
            "is empty; name a type, labels, or both",
        ));
    }
    let mut query = r::table
        .filter(r::gone_at.is_null())
        .select(r::key)
        .into_boxed::<crate::db::Backend>();
    if let Some(type_) = &selector.type_ {
        resource::check_type(conn, "/selector/type", type_.as_str())?;
        query = query.filter(r::type_.eq(type_.as_str()));
    }
    if let Some(labels) = &selector.labels {
        if labels.is_empty() {
            return Err(Error::invalid(
                "/selector/labels",
                "is empty; name a label or leave labels out",
            ));
        }
        for (name, value) in labels {
            let pointer = format!("/selector/labels/{}", name.replace('~', "~0").replace('/', "~1"));
            resource::check_label(conn, &pointer, name)?;
            query = query.filter(
                r::key.eq_any(
                    l::table
                        .filter(l::name.eq(name))
                        .filter(l::value.eq(value))
                        .select(l::resource_key),
                ),
            );
        }
    }
    let keys: Vec<i64> = query.load(conn)?;
    if keys.is_empty() {
        return Err(Error::invalid("/selector", "matches nothing"));
    }
    Ok(keys)
}

/// Adds resources by key; `what` goes into the audit event.
pub(crate) fn add_keys(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    keys: &[i64],
    source: Source,
    what: serde_json::Value,
) -> Result<Added> {
    dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
    let mut added = 0;
    for chunk in keys.chunks(5_000) {
        let list = chunk.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        added += diesel::sql_query(format!(
            "INSERT INTO incident_resources (incident_id, resource_key, source, added_at) \
             SELECT $1, key, $2, $3 FROM resources WHERE key IN ({list}) \
             ON CONFLICT (incident_id, resource_key) DO UPDATE \
             SET removed_at = NULL, source = excluded.source, added_at = excluded.added_at \
             WHERE incident_resources.removed_at IS NOT NULL"
        ))
        .bind::<Text, _>(incident.as_str())
        .bind::<Text, _>(source.as_str())
        .bind::<BigInt, _>(tx.now)
        .execute(tx.conn)? as i64;
    }
    if added >= MANY {
        dialect::analyze(tx.conn, &["incident_resources"])?;
    }
    if added > 0 {
        tx.record(
            Event::new(Action::AffectedAdded, "incident", incident.as_str())
                .incident(incident)
                .after(json!({"added": added, "source": source, "what": what})),
        );
    }
    Ok(Added {
        added,
        already: keys.len() as i64 - added,
    })
}

/// Takes a resource off an incident. Whoever was told stays told, and hears the end.
///
/// # Errors
/// `NotFound` where it is not affected.
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

/// The affected resources, in the order in which they entered the directory, after the given key.
///
/// # Errors
/// `NotFound`.
pub fn list(conn: &mut Conn, incident: &IncidentId, after: Option<i64>, limit: i64) -> Result<Vec<Affected>> {
    get(conn, incident)?;
    type Row = (
        i64,
        String,
        String,
        Option<String>,
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
            ir::added_at,
            r::gone_at,
        ))
        .load(conn)?;
    rows.into_iter()
        .map(|(key, type_, id, name, source, added_at, gone_at)| {
            Ok(Affected {
                resource: resource::reference(&type_, &id)
                    .ok_or_else(|| Error::internal("a stored id is invalid"))?,
                name,
                source: Source::parse(&source).map_err(Error::internal)?,
                added_at,
                gone_at,
                key,
            })
        })
        .collect()
}

/// The ids that alerts of this incident named and the directory does not know.
///
/// # Errors
/// What the database answers.
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
