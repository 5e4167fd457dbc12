//! The attempts exactly as they were hashed. The event of a batch contains a digest of all its attempts.
//!
//! A batch may also contain attempts of other incidents, and in a file about one customer nothing of others may stand. So the file has
//! either all attempts of a batch, whose digest anybody computes, or the own ones with the proof that each is part of the batch.

use std::collections::HashSet;
use std::io::Write as _;

use diesel::prelude::*;
use serde::Serialize;
use serde_json::Value;

use super::bundle::{Bundle, Spool};
use super::erasures::Erasures;
use super::recipients::Gathered;
use super::scope::Scope;
use crate::audit::row_tree::{RowProof, RowTree, Salts};
use crate::audit::{self, Action};
use crate::base::error::{Error, Result};
use crate::db::Conn;
use crate::db::schema::{audit_events as e, deliveries as d, notices as n};

/// One attempt in the file.
#[derive(Serialize)]
struct Line<'a> {
    batch: &'a str,
    /// The attempt as it was hashed: delivery, number of the attempt, time in microseconds, outcome, reply, the SHA-256 of the email, and the
    /// mail server.
    line: &'a str,
    /// What proves the attempt: `batch` (the file has all attempts of the batch), `proof`, or `nothing`.
    proven_by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<RowProof>,
}

/// Writes the attempts of the deliveries of a file. Returns the numbers of the events of their batches.
///
/// # Errors
/// An error of the database, or `Internal` if they cannot be written.
pub(super) fn write(
    conn: &mut Conn,
    scope: &Scope,
    gathered: &Gathered,
    bundle: &mut Bundle,
) -> Result<Vec<i64>> {
    let (salts, erasures) = (Salts::stored(conn)?, Erasures::read(conn)?);
    let mut spool = Spool::new()?;
    let mut events = Vec::new();
    for batch in &gathered.batches {
        let event: Option<(i64, Option<String>)> = e::table
            .filter(e::subject_id.eq(batch))
            .filter(e::action.eq(Action::DeliveryAttempts.as_str()))
            .select((e::seq, e::after_json))
            .first(conn)
            .optional()?;
        let mut lines: Vec<(i64, Vec<u8>)> = Vec::new();
        audit::attempt_lines(conn, batch, |delivery, line| {
            lines.push((delivery, line.to_vec()));
        })?;
        let own = own(conn, scope, gathered, &lines)?;
        let root = event.as_ref().and_then(|(_, after)| root(after.as_deref()));
        events.extend(event.map(|(seq, _)| seq));
        let all = lines.iter().all(|(delivery, _)| own.contains(delivery));
        let erased = erasures.changed(batch);
        let mut tree = None;
        if !all
            && !erased
            && let (Some(salts), Some(_)) = (&salts, &root)
        {
            let mut rows = RowTree::for_proofs(salts.clone(), batch);
            for (_, line) in &lines {
                rows.add(line);
            }
            tree = Some(rows);
        }
        for (position, (delivery, line)) in lines.iter().enumerate() {
            if !own.contains(delivery) {
                continue;
            }
            let proof = tree.as_ref().and_then(|tree| tree.prove(position as u64));
            let line = Line {
                batch,
                line: std::str::from_utf8(line).map_err(Error::internal)?,
                proven_by: match (all && !erased, &proof) {
                    (true, _) => "batch",
                    (false, Some(_)) => "proof",
                    (false, None) => "nothing",
                },
                proof,
            };
            serde_json::to_writer(&mut spool, &line)?;
            spool.write_all(b"\n").map_err(Error::internal)?;
        }
    }
    bundle.add_spool("data/attempts.ndjson", spool)?;
    Ok(events)
}

fn root(after: Option<&str>) -> Option<String> {
    let after: Value = serde_json::from_str(after?).ok()?;
    Some(after["root"].as_str()?.to_owned())
}

/// Returns those of the deliveries of a batch that belong into the file.
fn own(
    conn: &mut Conn,
    scope: &Scope,
    gathered: &Gathered,
    lines: &[(i64, Vec<u8>)],
) -> Result<HashSet<i64>> {
    let ids: Vec<i64> = lines.iter().map(|(delivery, _)| *delivery).collect();
    if !scope.is_whole() {
        return Ok(ids
            .into_iter()
            .filter(|id| gathered.deliveries.contains(id))
            .collect());
    }
    let mut own = HashSet::new();
    for chunk in ids.chunks(500) {
        let found: Vec<i64> = d::table
            .inner_join(n::table.on(n::id.eq(d::notice_id)))
            .filter(d::id.eq_any(chunk))
            .filter(n::incident_id.eq_any(scope.incident_texts()))
            .select(d::id)
            .load(conn)?;
        own.extend(found);
    }
    Ok(own)
}
