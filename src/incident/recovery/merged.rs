//! The states of recovery when incidents are merged, and when a merge is undone.
//!
//! - An incident gets the states that it does not have, with their history. The merged incident keeps its own.
//! - Where both have a state, a resource stays recovered only if its evidence is newer than the time at which the other incident saw it
//!   to be wrong. Otherwise it is impaired again, so that nobody is told too early that everything is restored.
//! - An undo takes back what came and has not changed since.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use serde::{Deserialize, Serialize};

use super::state::State;
use super::work::{Cause, Effect, Work};
use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::dialect::recovery as write;
use crate::db::schema::{merged_rows as m, recovery_states as s};
use crate::db::{Conn, Statement};
use crate::incident::stored::Incident;

/// The word of these rows in `merged_rows`.
const KIND: &str = "recovery";

/// The state of a resource before a merge made it impaired again.
#[derive(Serialize, Deserialize)]
struct Before {
    expected: Option<String>,
    impaired_from: i64,
    wrong_at: i64,
    changed_at: i64,
    recovered_at: Option<i64>,
    attested: bool,
}

/// Copies the states that `into` does not have, of resources that affect it, with their history. `undoable` says whether an undo takes
/// them back.
///
/// # Errors
/// An error of the database.
pub(in crate::incident) fn copy(
    tx: &mut Tx<'_>,
    from: &IncidentId,
    into: &IncidentId,
    undoable: bool,
) -> Result<()> {
    let new = |statement: &mut Statement, alias: &str| {
        statement
            .push(&format!(
                " WHERE {alias}.incident_id = "
            ))
            .text(from.as_str())
            .push(&format!(
                " AND EXISTS (SELECT 1 FROM incident_resources ir WHERE ir.resource_key = {alias}.resource_key \
                 AND ir.removed_at IS NULL AND ir.incident_id = "
            ))
            .text(into.as_str())
            .push(&format!(
                ") AND NOT EXISTS (SELECT 1 FROM recovery_states own WHERE own.resource_key = {alias}.resource_key \
                 AND own.incident_id = "
            ))
            .text(into.as_str())
            .push(")");
    };
    let mut history = Statement::default();
    history
        .push(
            "INSERT INTO recovery_changes (incident_id, resource_key, was, state, happened_at, recorded_at, source, evidence, actor) \
             SELECT ",
        )
        .text(into.as_str())
        .push(
            ", c.resource_key, c.was, c.state, c.happened_at, c.recorded_at, c.source, c.evidence, c.actor FROM recovery_changes c",
        );
    new(&mut history, "c");
    // An incident that was merged and separated before has this history already.
    history
        .push(
            " AND NOT EXISTS (SELECT 1 FROM recovery_changes own WHERE own.resource_key = c.resource_key AND own.state = c.state \
             AND own.happened_at = c.happened_at AND own.recorded_at = c.recorded_at AND own.source = c.source AND own.incident_id = ",
        )
        .text(into.as_str())
        .push(") ORDER BY c.id");
    history.finish().execute(tx.conn)?;
    let mut remember = Statement::default();
    remember
        .push("INSERT INTO merged_rows (into_id, kind, key, taken_at) SELECT ")
        .text(into.as_str())
        .push(", ")
        .text(KIND)
        .push(", f.resource_key, ")
        .time(tx.now)
        .push(" FROM recovery_states f");
    new(&mut remember, "f");
    remember.push(" ON CONFLICT (into_id, kind, key) DO NOTHING");
    if undoable {
        remember.finish().execute(tx.conn)?;
    }
    let mut states = Statement::default();
    states
        .push(
            "INSERT INTO recovery_states (incident_id, resource_key, state, expected, impaired_from, wrong_at, changed_at, \
             recovered_at, attested) SELECT ",
        )
        .text(into.as_str())
        .push(
            ", f.resource_key, f.state, f.expected, f.impaired_from, f.wrong_at, f.changed_at, f.recovered_at, f.attested \
             FROM recovery_states f",
        );
    new(&mut states, "f");
    states.finish().execute(tx.conn)?;
    Ok(())
}

#[derive(QueryableByName)]
struct Worse {
    #[diesel(sql_type = BigInt)]
    key: i64,
    #[diesel(sql_type = BigInt)]
    impaired_from: Timestamp,
    #[diesel(sql_type = BigInt)]
    wrong_at: Timestamp,
}

/// Gives `into` the states of an incident that is being merged into it. The affected resources are merged already.
///
/// # Errors
/// An error of the database.
pub(in crate::incident) fn take(tx: &mut Tx<'_>, from: &Incident, into: &Incident) -> Result<()> {
    let mut worse = Statement::default();
    worse
        .push(
            "SELECT f.resource_key AS key, f.impaired_from, f.wrong_at FROM recovery_states f \
             JOIN recovery_states own ON own.resource_key = f.resource_key AND own.incident_id = ",
        )
        .text(into.id.as_str())
        .push(
            " JOIN incident_resources ir ON ir.incident_id = f.incident_id AND ir.resource_key = f.resource_key \
             AND ir.removed_at IS NULL WHERE f.incident_id = ",
        )
        .text(from.id.as_str())
        .push(" AND f.state <> 'recovered' AND own.state = 'recovered' AND f.wrong_at >= own.recovered_at ORDER BY f.resource_key");
    let worse: Vec<Worse> = worse.finish().load(tx.conn)?;
    let keys: Vec<i64> = worse.iter().map(|one| one.key).collect();
    let source = format!("merge of #{}", from.number);
    let mut work = Work::read(tx.conn, &into.id, &keys)?;
    for one in &worse {
        let Some(row) = work.row(one.key) else { continue };
        let before = Before {
            expected: row.expected.clone(),
            impaired_from: row.impaired_from.as_micros(),
            wrong_at: row.wrong_at.as_micros(),
            changed_at: row.changed_at.as_micros(),
            recovered_at: row.recovered_at.map(Timestamp::as_micros),
            attested: row.attested,
        };
        let cause = Cause {
            at: one.impaired_from,
            source: &source,
            evidence: None,
        };
        if work.impair(one.key, None, one.wrong_at, cause) == Effect::Relapsed {
            remember(tx, &into.id, one.key, &before)?;
        }
    }
    work.store(tx)?;
    copy(tx, &from.id, &into.id, true)
}

fn remember(tx: &mut Tx<'_>, into: &IncidentId, key: i64, before: &Before) -> Result<()> {
    let mut statement = Statement::default();
    statement
        .push("INSERT INTO merged_rows (into_id, kind, key, taken_at, was) VALUES (")
        .text(into.as_str())
        .push(", ")
        .text(KIND)
        .push(&format!(", {key}, "))
        .time(tx.now)
        .push(", ")
        .text(&serde_json::to_string(before)?)
        .push(") ON CONFLICT (into_id, kind, key) DO NOTHING");
    statement.finish().execute(tx.conn)?;
    Ok(())
}

/// Forgets or restores what came from incidents that are not merged into this one any more, unless it changed since.
///
/// # Errors
/// An error of the database.
pub(in crate::incident) fn release(tx: &mut Tx<'_>, into: &IncidentId) -> Result<()> {
    #[derive(QueryableByName)]
    struct Came {
        #[diesel(sql_type = BigInt)]
        key: i64,
        #[diesel(sql_type = BigInt)]
        taken_at: Timestamp,
        #[diesel(sql_type = Nullable<Text>)]
        was: Option<String>,
    }
    let mut statement = Statement::default();
    statement
        .push("SELECT m.key, m.taken_at, m.was FROM merged_rows m WHERE m.into_id = ")
        .text(into.as_str())
        .push(" AND m.kind = ")
        .text(KIND)
        .push(
            " AND NOT EXISTS (SELECT 1 FROM recovery_states f JOIN incidents c ON c.id = f.incident_id \
             WHERE f.resource_key = m.key AND c.merged_into = ",
        )
        .text(into.as_str())
        .push(") ORDER BY m.key");
    let came: Vec<Came> = statement.finish().load(tx.conn)?;
    let actor = tx.actor.name().to_owned();
    for Came { key, taken_at, was } in came {
        if !changed_since(tx.conn, into, key, taken_at)? {
            match was {
                None => {
                    diesel::delete(s::table.find((into.as_str(), key))).execute(tx.conn)?;
                }
                Some(before) => restore(tx, into, key, &serde_json::from_str(&before)?, &actor)?,
            }
        }
        diesel::delete(m::table.find((into.as_str(), KIND, key))).execute(tx.conn)?;
    }
    Ok(())
}

/// Returns whether a state changed after a merge.
fn changed_since(conn: &mut Conn, incident: &IncidentId, key: i64, since: Timestamp) -> Result<bool> {
    use crate::db::schema::recovery_changes as c;
    let later: i64 = c::table
        .filter(c::incident_id.eq(incident.as_str()))
        .filter(c::resource_key.eq(key))
        .filter(c::recorded_at.gt(since))
        .count()
        .get_result(conn)?;
    Ok(later > 0)
}

fn restore(tx: &mut Tx<'_>, incident: &IncidentId, key: i64, before: &Before, actor: &str) -> Result<()> {
    let state = State::Recovered.as_str();
    let recovered_at = before.recovered_at.map(Timestamp::from_micros);
    let row = write::StateRow {
        resource_key: key,
        state,
        expected: before.expected.as_deref(),
        impaired_from: Timestamp::from_micros(before.impaired_from),
        wrong_at: Timestamp::from_micros(before.wrong_at),
        changed_at: Timestamp::from_micros(before.changed_at),
        recovered_at,
        attested: before.attested,
    };
    write::put_states(tx.conn, incident, &[row])?;
    let change = write::ChangeRow {
        resource_key: key,
        was: Some(State::Impaired.as_str()),
        state,
        happened_at: recovered_at.unwrap_or(tx.now),
        source: "undo of a merge",
        evidence: None,
    };
    write::add_changes(tx.conn, incident, (tx.now, actor), &[change])
}
