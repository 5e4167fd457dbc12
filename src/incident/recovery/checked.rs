//! The answer of a check as evidence, for resources of which nothing can be measured.

use serde_json::json;

use super::chosen::Chosen;
use super::observe::{Observed, record};
use super::work::{Cause, Effect, Work, fill};
use crate::audit::Tx;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::dialect;
use crate::directory::resource;
use crate::incident::stored::get;

/// The number of wrong entries that an answer names.
const MAX_ERRORS: usize = 50;
/// The number of resources whose ancestors are read at once.
const CHUNK: usize = 500;

/// A check that passed.
#[derive(Clone, Copy, Debug)]
pub struct Passed<'a> {
    /// The name of the check.
    pub name: &'a str,
    /// When the check passed. This is the time of the evidence.
    pub at: Timestamp,
    /// The keys of the resources that the check is about.
    pub about: &'a [i64],
}

/// Takes a passed check as evidence for the chosen resources. Each must be one of those that the check is about, or below one of
/// them, and must have no expected value.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if the resources are wrong, if the check is not about one of them, if an
/// expected value of one is known, or if the check passed before one was last seen to be wrong. Nothing is changed then.
pub fn checked(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    chosen: &Chosen,
    passed: Passed<'_>,
) -> Result<Observed> {
    dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
    let stored = get(tx.conn, incident)?;
    let chosen = chosen.keys(tx, incident)?;
    fill(tx, incident, stored.started_at)?;
    let mut covered = std::collections::HashSet::new();
    for chunk in chosen.keys.chunks(CHUNK) {
        let above = resource::above(tx.conn, chunk)?;
        covered.extend(
            above
                .into_iter()
                .filter(|(_, node)| passed.about.contains(node))
                .map(|(start, _)| start),
        );
    }
    let mut work = Work::read(tx.conn, incident, &chosen.keys)?;
    let mut wrong = Vec::new();
    for (index, key) in chosen.keys.iter().enumerate() {
        let Some(row) = work.row(*key) else { continue };
        let (code, detail) = if !covered.contains(key) {
            (
                Code::NothingComparable,
                "is not one of the resources that the check is about",
            )
        } else if row.expected.is_some() {
            (
                Code::Measurable,
                "has an expected value, so it can be measured: give evidence of that",
            )
        } else if passed.at < row.wrong_at.max(row.impaired_from) {
            (Code::EvidenceTooOld, "was impaired after the check passed")
        } else {
            continue;
        };
        if wrong.len() < MAX_ERRORS {
            wrong.push(FieldError::at(chosen.pointer(index), detail).code(code));
        }
        if !chosen.is_list {
            break;
        }
    }
    if !wrong.is_empty() {
        return Err(Error::fields(wrong));
    }
    let source = format!("check {}", passed.name);
    let seen = json!({"check": passed.name, "passed_at": passed.at}).to_string();
    let mut counts = Observed::default();
    for key in &chosen.keys {
        let cause = Cause {
            at: passed.at,
            source: &source,
            evidence: Some(&seen),
        };
        match work.fits(*key, false, cause) {
            Effect::Recovered => counts.recovered += 1,
            _ => counts.unchanged += 1,
        }
    }
    work.store(tx)?;
    record(tx, incident, &source, counts, 0)?;
    Ok(counts)
}
