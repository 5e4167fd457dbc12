//! Which affected resources a request is about: a list, or those that a selector finds.

use diesel::prelude::*;
use diesel::sql_types::BigInt;
use serde::Deserialize;

use crate::audit::Tx;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::{Conn, Statement};
use crate::directory::selector::{Json, Selector, SelectorSchema, check_as_of};
use crate::directory::{ResourceRef, resource};
use crate::incident::affected;

/// The number of wrong entries of a list that an answer names.
const MAX_ERRORS: usize = 50;

/// Affected resources: either a list or a selector.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[schema(as = RecoveryResources)]
pub struct Chosen {
    /// These resources. Each must be affected.
    #[serde(default)]
    pub resources: Option<Vec<ResourceRef>>,
    /// Those of the affected resources that this selector finds.
    #[serde(default)]
    #[schema(value_type = Option<SelectorSchema>)]
    pub selector: Option<Json>,
    /// Evaluates the selector as of this time, with the labels, the parents and the accounts that the directory knew then. Only those
    /// that are affected now are chosen. If not set, the selector is evaluated as of now.
    #[serde(default)]
    pub as_of: Option<Timestamp>,
}

/// The keys of the chosen resources, and how a request named them.
pub(super) struct Keys {
    /// The keys, each once. For a list, they are in its order.
    pub keys: Vec<i64>,
    /// The description for the audit event.
    pub what: serde_json::Value,
    /// The pointer of each key. A selector has one for all.
    pub is_list: bool,
}

impl Keys {
    /// Returns the pointer of the entry at this position.
    pub fn pointer(&self, index: usize) -> String {
        match self.is_list {
            true => format!("/resources/{index}"),
            false => "/selector".to_owned(),
        }
    }
}

impl Chosen {
    /// Returns the keys of the chosen resources.
    ///
    /// # Errors
    /// `Invalid` if neither or both of list and selector are given, if a resource is unknown or not affected, if the list is empty, or
    /// if the selector contains an unknown name or finds no affected resource. `Invalid` at `/as_of` if the directory has no history of
    /// that time.
    pub(super) fn keys(&self, tx: &mut Tx<'_>, incident: &IncidentId) -> Result<Keys> {
        check_as_of(self.as_of, self.selector.is_some())?;
        match (&self.resources, &self.selector) {
            (Some(resources), None) => listed(tx.conn, incident, resources),
            (None, Some(selector)) => {
                let selector = Selector::parse("/selector", selector)?.at(tx.conn, self.as_of, tx.now)?;
                found(tx.conn, incident, &selector)
            }
            _ => Err(Error::invalid("", "give either resources or selector")),
        }
    }
}

fn listed(conn: &mut Conn, incident: &IncidentId, resources: &[ResourceRef]) -> Result<Keys> {
    if resources.is_empty() {
        return Err(Error::invalid("/resources", "must list at least one resource"));
    }
    let refs: Vec<&ResourceRef> = resources.iter().collect();
    let known = resource::keys_even_archived(conn, &refs)?;
    let all: Vec<i64> = known.values().copied().collect();
    let affected = affected::among(conn, incident, &all)?;
    let (mut keys, mut wrong) = (Vec::with_capacity(resources.len()), Vec::new());
    let mut seen = std::collections::HashSet::new();
    for (index, at) in resources.iter().enumerate() {
        let (code, detail) = match known.get(at) {
            Some(key) if affected.contains(key) => {
                if seen.insert(*key) {
                    keys.push(*key);
                }
                continue;
            }
            Some(_) => (
                Code::NotAffected,
                format!("{at} is not affected by this incident"),
            ),
            None => (Code::UnknownResource, format!("{at} is not in the directory")),
        };
        if wrong.len() < MAX_ERRORS {
            wrong.push(FieldError::at(format!("/resources/{index}"), detail).code(code));
        }
    }
    if !wrong.is_empty() {
        return Err(Error::fields(wrong));
    }
    let named: Vec<String> = resources
        .iter()
        .take(50)
        .map(|at| format!("{}/{}", at.type_, at.id))
        .collect();
    Ok(Keys {
        keys,
        what: serde_json::json!({"resources": named}),
        is_list: true,
    })
}

fn found(conn: &mut Conn, incident: &IncidentId, selector: &Selector) -> Result<Keys> {
    #[derive(QueryableByName)]
    struct Key {
        #[diesel(sql_type = BigInt)]
        key: i64,
    }
    // This refuses names that the directory does not know.
    selector.count(conn)?;
    let mut statement = Statement::default();
    statement
        .push("SELECT resource_key AS key FROM incident_resources WHERE incident_id = ")
        .text(incident.as_str())
        .push(" AND removed_at IS NULL AND resource_key IN (SELECT key FROM (");
    selector.keys(conn, &mut statement);
    statement.push(") found) ORDER BY resource_key");
    let found: Vec<Key> = statement.finish().load(conn)?;
    if found.is_empty() {
        let detail = format!("{selector} finds no affected resource");
        return Err(Error::fields(vec![
            FieldError::at("/selector", detail).code(Code::NotAffected),
        ]));
    }
    Ok(Keys {
        keys: found.into_iter().map(|row| row.key).collect(),
        what: match selector.as_of() {
            None => serde_json::json!({"selector": selector.to_string()}),
            Some(at) => serde_json::json!({"selector": selector.to_string(), "as_of": at}),
        },
        is_list: false,
    })
}
