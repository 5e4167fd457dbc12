//! The affected resources with their state of recovery and the latest evidence.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use serde::Serialize;
use serde_json::Value;

use super::owned::{owners, with_owned};
use super::state::State;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::like::pattern;
use crate::base::time::Timestamp;
use crate::db::schema::recovery_changes as c;
use crate::db::{Conn, Statement};
use crate::directory::{ResourceRef, resource};
use crate::incident::stored::get;

/// Which resources are listed.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only resources in this state.
    pub state: Option<State>,
    /// Only resources of the account with this ID.
    pub account: Option<String>,
    /// Only resources whose type, ID or name contains this text.
    pub text: Option<String>,
}

/// An affected resource and its recovery.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = ResourceRecovery)]
pub struct Recovery {
    /// The type and ID of the resource.
    pub resource: ResourceRef,
    /// The name of the resource.
    pub name: Option<String>,
    /// The ID of the account that it belongs to.
    pub account: Option<String>,
    /// How far its recovery is.
    pub state: State,
    /// Whether two people attested that it is recovered, because nothing can be measured.
    pub attested: bool,
    /// The expected values of the compared columns, normalised. Null if nothing can be measured.
    #[schema(value_type = Option<Object>)]
    pub expected: Option<Value>,
    /// When the current or last impairment began. Null if the resource has no state yet.
    pub impaired_from: Option<Timestamp>,
    /// When the resource was last seen to be wrong.
    pub last_seen_wrong_at: Option<Timestamp>,
    /// The time of the evidence that it is recovered.
    pub recovered_at: Option<Timestamp>,
    /// The latest change of the state, with what says so.
    pub evidence: Option<Change>,
    /// When the resource was archived in the directory. It counts as long as it is affected.
    pub gone_at: Option<Timestamp>,
    #[serde(skip)]
    pub(crate) key: i64,
}

/// A change of the state of a resource.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = RecoveryChange)]
pub struct Change {
    /// The state after the change.
    pub state: State,
    /// When it happened: for evidence, when it was observed.
    pub happened_at: Timestamp,
    /// When Candor recorded it.
    pub recorded_at: Timestamp,
    /// What says so: a comparison, the source of a line of evidence, a batch, a check, an attestation, a merge (`merge of #7`), or that the
    /// resource became affected (`affected by the incident`).
    pub source: String,
    /// The evidence as an object, for example with the observed size and checksum, with the passed check, or with the names of the two
    /// people who attested it. Null if the change has no evidence, for example the change of a batch.
    #[schema(value_type = Option<Object>)]
    pub observed: Option<Value>,
    /// The name of the token, of the integration, or of the part of Candor that recorded the change.
    pub by: String,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    key: i64,
    #[diesel(sql_type = Text)]
    type_: String,
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    gone_at: Option<Timestamp>,
    #[diesel(sql_type = Nullable<Text>)]
    state: Option<String>,
    #[diesel(sql_type = Nullable<Bool>)]
    attested: Option<bool>,
    #[diesel(sql_type = Nullable<Text>)]
    expected: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    impaired_from: Option<Timestamp>,
    #[diesel(sql_type = Nullable<BigInt>)]
    wrong_at: Option<Timestamp>,
    #[diesel(sql_type = Nullable<BigInt>)]
    recovered_at: Option<Timestamp>,
}

/// Returns the affected resources after the given key, in the order in which they were added to the directory.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if there is no such account.
pub fn list(
    conn: &mut Conn,
    incident: &IncidentId,
    wanted: &Wanted,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<Recovery>> {
    get(conn, incident)?;
    let mut statement = Statement::default();
    let mut account_key = None;
    if let Some(account) = &wanted.account {
        let key: Option<i64> = crate::db::schema::accounts::table
            .filter(crate::db::schema::accounts::id.eq(account))
            .select(crate::db::schema::accounts::key)
            .first(conn)
            .optional()?;
        // A misspelt filter must not look like an account whose resources are all recovered.
        account_key =
            Some(key.ok_or_else(|| Error::invalid("?account", "there is no account with this ID"))?);
        with_owned(&mut statement, incident, None);
    }
    statement
        .push(
            "SELECT r.key, r.type AS type_, r.id, r.name, r.gone_at, s.state, s.attested, s.expected, s.impaired_from, s.wrong_at, \
             s.recovered_at FROM incident_resources ir JOIN resources r ON r.key = ir.resource_key ",
        )
        .push(if account_key.is_some() { "JOIN owned o ON o.key = ir.resource_key " } else { "" })
        .push(
            "LEFT JOIN recovery_states s ON s.incident_id = ir.incident_id AND s.resource_key = ir.resource_key \
             WHERE ir.incident_id = ",
        )
        .text(incident.as_str())
        .push(&format!(
            " AND ir.removed_at IS NULL AND ir.resource_key > {}",
            after.unwrap_or(0)
        ));
    if let Some(key) = account_key {
        statement.push(&format!(" AND o.account_key = {key}"));
    }
    if let Some(state) = wanted.state {
        statement
            .push(" AND COALESCE(s.state, 'impaired') = ")
            .text(state.as_str());
    }
    if let Some(text) = &wanted.text {
        statement
            .push(" AND (LOWER(r.type || ' ' || r.id) LIKE ")
            .text(&pattern(text))
            .push(" ESCAPE '!' OR LOWER(r.name) LIKE ")
            .text(&pattern(text))
            .push(" ESCAPE '!')");
    }
    statement.push(&format!(" ORDER BY ir.resource_key LIMIT {limit}"));
    let rows: Vec<Row> = statement.finish().load(conn)?;
    let keys: Vec<i64> = rows.iter().map(|row| row.key).collect();
    let owners = owners(conn, incident, Some(&keys))?;
    let mut changes = latest(conn, incident, &keys)?;
    rows.into_iter()
        .map(|row| {
            let state = row.state.as_deref().map(State::parse).transpose();
            Ok(Recovery {
                resource: resource::reference(&row.type_, &row.id)
                    .ok_or_else(|| Error::internal("a stored id is invalid"))?,
                name: row.name,
                account: owners.get(&row.key).map(|owner| owner.id.clone()),
                state: state.map_err(Error::internal)?.unwrap_or(State::Impaired),
                attested: row.attested.unwrap_or(false),
                expected: row.expected.map(|text| serde_json::from_str(&text)).transpose()?,
                impaired_from: row.impaired_from,
                last_seen_wrong_at: row.wrong_at,
                recovered_at: row.recovered_at,
                evidence: changes.remove(&row.key),
                gone_at: row.gone_at,
                key: row.key,
            })
        })
        .collect()
}

type ChangeRow = (i64, String, Timestamp, Timestamp, String, Option<String>, String);

fn change(row: ChangeRow) -> Result<(i64, Change)> {
    let (key, state, happened_at, recorded_at, source, observed, by) = row;
    let change = Change {
        state: State::parse(&state).map_err(Error::internal)?,
        happened_at,
        recorded_at,
        source,
        observed: observed.map(|text| serde_json::from_str(&text)).transpose()?,
        by,
    };
    Ok((key, change))
}

/// Returns the latest change of each of these resources.
fn latest(conn: &mut Conn, incident: &IncidentId, keys: &[i64]) -> Result<HashMap<i64, Change>> {
    let newest: Vec<Option<i64>> = c::table
        .filter(c::incident_id.eq(incident.as_str()))
        .filter(c::resource_key.eq_any(keys))
        .group_by(c::resource_key)
        .select(diesel::dsl::max(c::id))
        .load(conn)?;
    let newest: Vec<i64> = newest.into_iter().flatten().collect();
    let rows: Vec<ChangeRow> = c::table
        .filter(c::id.eq_any(&newest))
        .select((
            c::resource_key,
            c::state,
            c::happened_at,
            c::recorded_at,
            c::source,
            c::evidence,
            c::actor,
        ))
        .load(conn)?;
    rows.into_iter().map(change).collect()
}

/// Returns every change of the state of one resource, in the order in which they were recorded.
///
/// # Errors
/// `NotFound` if the incident does not exist, or if the resource has no state in it.
pub fn history(conn: &mut Conn, incident: &IncidentId, at: &ResourceRef) -> Result<Vec<Change>> {
    get(conn, incident)?;
    let key = resource::keys_even_archived(conn, &[at])?.remove(at);
    let rows: Vec<ChangeRow> = c::table
        .filter(c::incident_id.eq(incident.as_str()))
        .filter(c::resource_key.eq(key.unwrap_or(0)))
        .order(c::id)
        .select((
            c::resource_key,
            c::state,
            c::happened_at,
            c::recorded_at,
            c::source,
            c::evidence,
            c::actor,
        ))
        .load(conn)?;
    if rows.is_empty() {
        return Err(Error::NotFound(format!("recovery of {at}")));
    }
    rows.into_iter()
        .map(|row| change(row).map(|(_, change)| change))
        .collect()
}
