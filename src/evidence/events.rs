//! Which audit events belong into a file, and how they stand in it: exactly as they were hashed, each with the proof that it is part of
//! the tree of the checkpoint.
//!
//! A file about everybody has all events of the incident. A file about a customer has only events of kinds that cannot contain anything
//! about somebody else: not the drafts, the notes and the alerts, which people wrote for themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diesel::prelude::*;
use sha2::{Digest, Sha256};

use super::bundle::{Bundle, Spool};
use super::recipients::Gathered;
use super::scope::Scope;
use crate::audit::{Action, proof};
use crate::base::error::{Error, Result};
use crate::base::text::hex;
use crate::db::Conn;
use crate::db::schema::audit_events as e;

/// The number of events that are read at once.
const STEP: usize = 500;

/// The events about the incident that a customer may read. They contain states and times.
const OF_INCIDENT: [Action; 2] = [Action::IncidentStatus, Action::IncidentReopened];
/// The events about a notice to the customer. They contain digests, numbers and who acted.
const OF_NOTICE: [Action; 4] = [
    Action::NoticeApproved,
    Action::NoticeQueued,
    Action::NoticeFinished,
    Action::NoticeCorrects,
];
/// The events about one delivery to the customer.
const OF_DELIVERY: [Action; 2] = [Action::DeliveryBounced, Action::DeliveryResent];

/// The events of a file: their numbers with their hashes.
pub(super) type Chosen = BTreeMap<i64, String>;

/// Returns those of the events whose stored text does not give their hash: an erasure redacted them, or somebody changed them. The file
/// has their hashes and proofs without the text.
///
/// # Errors
/// An error of the database.
pub(super) fn redacted(conn: &mut Conn, chosen: &Chosen) -> Result<BTreeSet<i64>> {
    let mut found = BTreeSet::new();
    let seqs: Vec<i64> = chosen.keys().copied().collect();
    for chunk in seqs.chunks(STEP) {
        for event in proof::sealed(conn, chunk)? {
            if hex(&Sha256::digest(&event.canonical)) != event.hash {
                found.insert(event.seq);
            }
        }
    }
    Ok(found)
}

/// Returns the events of a file. `batches` are the numbers of the events about attempts, and `answered` the people whose answers are in it.
///
/// # Errors
/// An error of the database.
pub(super) fn choose(
    conn: &mut Conn,
    scope: &Scope,
    gathered: &Gathered,
    batches: &[i64],
    answered: &BTreeSet<String>,
) -> Result<Chosen> {
    let mut chosen = Chosen::new();
    for incident in &scope.incidents {
        let mut after = 0;
        loop {
            let rows: Vec<(i64, String, String, String, String)> = e::table
                .filter(e::incident_id.eq(incident.as_str()))
                .filter(e::seq.gt(after))
                .order(e::seq)
                .limit(STEP as i64)
                .select((e::seq, e::hash, e::action, e::subject_type, e::subject_id))
                .load(conn)?;
            let Some((seq, ..)) = rows.last() else { break };
            after = *seq;
            for (seq, hash, action, subject_type, subject) in rows {
                let belongs =
                    scope.is_whole() || belongs(gathered, answered, &action, (&subject_type, &subject));
                if belongs {
                    chosen.insert(seq, hash);
                }
            }
        }
    }
    for chunk in batches.chunks(STEP) {
        let rows: Vec<(i64, String)> = e::table
            .filter(e::seq.eq_any(chunk))
            .select((e::seq, e::hash))
            .load(conn)?;
        chosen.extend(rows);
    }
    Ok(chosen)
}

/// Whether an event belongs into a file about a customer.
fn belongs(
    gathered: &Gathered,
    answered: &BTreeSet<String>,
    action: &str,
    (subject_type, subject): (&str, &str),
) -> bool {
    let is_of = |actions: &[Action]| actions.iter().any(|one| one.as_str() == action);
    match subject_type {
        "incident" => is_of(&OF_INCIDENT),
        "notice" => is_of(&OF_NOTICE) && gathered.notices.iter().any(|id| id.as_str() == subject),
        "delivery" => {
            let is_own = subject
                .parse()
                .is_ok_and(|id: i64| gathered.deliveries.contains(&id));
            is_of(&OF_DELIVERY) && is_own
        }
        "person" => is_of(&[Action::AnswerRecorded]) && answered.contains(subject),
        _ => false,
    }
}

/// Writes the events and their proofs. The `redacted` ones have only a proof. `sizes` are the sizes of earlier checkpoints, such as those in the headers of the emails, that
/// are proven to be a beginning of the tree with `size` events.
///
/// # Errors
/// An error of the database, or `Internal` if they cannot be written.
pub(super) fn write(
    conn: &mut Conn,
    (chosen, redacted): (&Chosen, &BTreeSet<i64>),
    sizes: &BTreeSet<i64>,
    size: i64,
    bundle: &mut Bundle,
) -> Result<()> {
    let (mut lines, mut proofs) = (Spool::new()?, Spool::new()?);
    write!(proofs, "{{\"size\":{size},\"events\":{{").map_err(Error::internal)?;
    let seqs: Vec<i64> = chosen.keys().copied().collect();
    let mut separator = "";
    for chunk in seqs.chunks(STEP) {
        for event in proof::sealed(conn, chunk)? {
            if !redacted.contains(&event.seq) {
                writeln!(lines, "{}", event.canonical).map_err(Error::internal)?;
            }
            let path = texts(proof::inclusion(conn, event.seq, size)?);
            write!(
                proofs,
                "{separator}\n\"{}\":{}",
                event.seq,
                serde_json::to_string(&path)?
            )
            .map_err(Error::internal)?;
            separator = ",";
        }
    }
    write!(proofs, "\n}},\"consistency\":{{").map_err(Error::internal)?;
    separator = "";
    for old in sizes.iter().filter(|old| **old <= size) {
        let path = texts(proof::consistency(conn, *old, size)?);
        write!(proofs, "{separator}\n\"{old}\":{}", serde_json::to_string(&path)?)
            .map_err(Error::internal)?;
        separator = ",";
    }
    writeln!(proofs, "\n}}}}").map_err(Error::internal)?;
    bundle.add_spool("audit/events.ndjson", lines)?;
    bundle.add_spool("audit/proofs.json", proofs)
}

fn texts(path: Vec<[u8; 32]>) -> Vec<String> {
    path.iter().map(|hash| STANDARD.encode(hash)).collect()
}
