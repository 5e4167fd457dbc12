//! Stores the references of alerts, for many alerts at once. Resources that the directory knows become
//! affected.
//!
//! A reference that the directory does not know is stored as unmatched and is never dropped.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use diesel::prelude::*;
use serde_json::json;

use super::work::{AlertReferences, Outcome};
use crate::alert::people;
use crate::alert::rules::Lookup;
use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::dialect::on_backend;
use crate::db::schema::{alert_chains as ac, alert_references as ar};
use crate::directory::ResourceRef;
use crate::incident::{affected, window};

/// Makes the resources affected that the alerts name, and stores the references that the directory does not
/// know. At this point every alert is stored and has its final incident, so other work for each alert also
/// belongs here.
pub(super) fn refer(
    tx: &mut Tx<'_>,
    named: Vec<AlertReferences<'_>>,
    outcomes: &mut [Outcome<'_>],
) -> Result<()> {
    see(tx, &named, outcomes)?;
    let all: BTreeSet<&ResourceRef> = named.iter().flat_map(|one| one.chains.iter().flatten()).collect();
    if all.is_empty() {
        return Ok(());
    }
    let lookup = Lookup::of(tx.conn, &all.into_iter().collect::<Vec<_>>())?;
    let mut rows = BTreeMap::new();
    let mut chains = BTreeMap::new();
    let mut hits: BTreeMap<&IncidentId, BTreeSet<i64>> = BTreeMap::new();
    for one in &named {
        for at in one.chains.iter().flatten() {
            let known = lookup.keys.contains_key(at);
            rows.insert((&one.id, at), (one.incident.as_ref(), known));
            if !known {
                chains.insert(&one.id, &one.chains);
                if let Some(outcome) = outcomes.get_mut(one.outcome) {
                    outcome.unresolved.insert(at.clone());
                }
            }
        }
        if let Some(incident) = &one.incident {
            hits.entry(incident).or_default().extend(lookup.hit(&one.chains));
        }
    }
    for (id, chains) in chains {
        let chains = serde_json::to_string(chains)?;
        on_backend!(&mut *tx.conn, c => diesel::insert_into(ac::table)
            .values((ac::alert_id.eq(id.as_str()), ac::chains.eq(&chains)))
            .on_conflict(ac::alert_id)
            .do_update()
            .set(ac::chains.eq(&chains))
            .execute(c))?;
    }
    let rows: Vec<_> = rows
        .into_iter()
        .map(|((id, at), (incident, known))| {
            (
                ar::alert_id.eq(id.as_str()),
                ar::incident_id.eq(incident.map(IncidentId::as_str)),
                ar::resource_type.eq(at.type_.as_str()),
                ar::resource_id.eq(at.id.as_str()),
                ar::resolved.eq(known),
                ar::seen_at.eq(tx.now),
            )
        })
        .collect();
    for chunk in rows.chunks(500) {
        on_backend!(&mut *tx.conn, c => diesel::insert_into(ar::table)
            .values(chunk.to_vec())
            .on_conflict((ar::alert_id, ar::resource_type, ar::resource_id))
            .do_update()
            .set(ar::resolved.eq(diesel::upsert::excluded(ar::resolved)))
            .execute(c))?;
    }
    let mut missing: BTreeMap<IncidentId, HashSet<i64>> = BTreeMap::new();
    for (incident, keys) in hits {
        let keys: Vec<i64> = keys.into_iter().collect();
        let held = affected::among(tx.conn, incident, &keys)?;
        missing.insert(
            incident.clone(),
            keys.into_iter().filter(|key| !held.contains(key)).collect(),
        );
    }
    for one in &named {
        let Some(incident) = &one.incident else { continue };
        let Some(missing) = missing.get_mut(incident).filter(|missing| !missing.is_empty()) else {
            continue;
        };
        let hit = lookup.hit(&one.chains);
        if !hit.iter().any(|key| missing.remove(key)) {
            continue;
        }
        for key in &hit {
            missing.remove(key);
        }
        let mut names: Vec<&ResourceRef> = one.chains.iter().flatten().collect();
        names.sort_unstable();
        names.dedup();
        let names: Vec<String> = names
            .iter()
            .take(50)
            .map(|at| format!("{}/{}", at.type_, at.id))
            .collect();
        if let Some(outcome) = outcomes.get(one.outcome) {
            tx.actor = outcome.body.actor.clone();
        }
        affected::add_keys(
            tx,
            incident,
            &hit,
            affected::Source::Alert,
            json!({"alert": one.id, "named": names}),
        )?;
    }
    Ok(())
}

/// Stores the users who hit the errors, and moves the start time of each incident back to the earliest start
/// of its alerts.
fn see(tx: &mut Tx<'_>, named: &[AlertReferences<'_>], outcomes: &[Outcome<'_>]) -> Result<()> {
    let mut starts: BTreeMap<&IncidentId, (Timestamp, usize)> = BTreeMap::new();
    for one in named {
        if let (Some(incident), Some(at)) = (&one.incident, people::believed_start(one.alert, tx.now)) {
            let earliest = starts.entry(incident).or_insert((at, one.outcome));
            if at < earliest.0 {
                *earliest = (at, one.outcome);
            }
        }
    }
    for (incident, (at, outcome)) in starts {
        if let Some(outcome) = outcomes.get(outcome) {
            tx.actor = outcome.body.actor.clone();
        }
        window::widen(tx, incident, at)?;
    }
    for one in named.iter().filter(|one| one.alert.event) {
        if let Some(outcome) = outcomes.get(one.outcome) {
            tx.actor = outcome.body.actor.clone();
        }
        people::record_users(tx, one.alert, &one.id, one.incident.as_ref())?;
    }
    Ok(())
}
