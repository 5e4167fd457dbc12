//! Resources become impaired because a comparison found them to be wrong.

use serde_json::json;

use super::told;
use super::work::{Cause, Effect, Work, fill};
use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::dialect;
use crate::incident::stored::get;

/// A resource that is impaired.
#[derive(Clone, Copy, Debug)]
pub struct Impairment<'a> {
    /// The key of the resource.
    pub resource_key: i64,
    /// The normalised value of each compared column, as a JSON object. None if nothing can be measured, or if what is known stays.
    pub expected: Option<&'a str>,
    /// When the impairment began.
    pub since: Timestamp,
    /// When it was seen to be wrong, which is the time of the listing. Older evidence of its recovery does not count.
    pub seen_at: Timestamp,
}

/// Makes resources impaired in several parts, so that the caller needs the memory of one part. The other affected resources get a state only
/// at the end, because any of them can be in a later part.
pub struct Impairing<'a> {
    incident: &'a IncidentId,
    source: &'a str,
    began: Timestamp,
    new: i64,
    relapsed: i64,
}

impl<'a> Impairing<'a> {
    /// Begins, and locks the incident.
    ///
    /// # Errors
    /// `NotFound` if the incident does not exist.
    pub fn begin(tx: &mut Tx<'_>, incident: &'a IncidentId, source: &'a str) -> Result<Impairing<'a>> {
        dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
        Ok(Impairing {
            incident,
            source,
            began: get(tx.conn, incident)?.started_at,
            new: 0,
            relapsed: 0,
        })
    }

    /// Makes these resources impaired that have no state or are recovered. The latter is a relapse. A resource that is impaired or being
    /// recovered only gets the new expected value.
    ///
    /// # Errors
    /// An error of the database.
    pub fn add(&mut self, tx: &mut Tx<'_>, items: &[Impairment<'_>]) -> Result<()> {
        let keys: Vec<i64> = items.iter().map(|item| item.resource_key).collect();
        let mut work = Work::read(tx.conn, self.incident, &keys)?;
        for item in items {
            let cause = Cause {
                at: item.since,
                source: self.source,
                evidence: None,
            };
            match work.impair(item.resource_key, item.expected, item.seen_at, cause) {
                Effect::Relapsed => self.relapsed += 1,
                Effect::Changed => self.new += 1,
                _ => {}
            }
        }
        work.store(tx)
    }

    /// Gives every other affected resource without a state one, impaired from the start of the incident, and records what changed. Returns
    /// how many resources of the parts changed.
    ///
    /// # Errors
    /// An error of the database.
    pub fn finish(self, tx: &mut Tx<'_>) -> Result<i64> {
        let Impairing {
            incident,
            source,
            began,
            new,
            relapsed,
        } = self;
        let filled = fill(tx, incident, began)?;
        if new > 0 || filled > 0 {
            let mut after = json!({"impaired": new, "source": source});
            if filled > 0 {
                after["without_expected_value"] = json!(filled);
            }
            tx.record(
                Event::new(Action::RecoveryImpaired, "incident", incident.as_str())
                    .incident(incident)
                    .after(after),
            );
        }
        told::relapsed(tx, incident, source, relapsed)?;
        Ok(new + relapsed)
    }
}

/// Makes resources impaired as [`Impairing`] does, in one part.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn impair(tx: &mut Tx<'_>, incident: &IncidentId, source: &str, items: &[Impairment<'_>]) -> Result<i64> {
    let mut impairing = Impairing::begin(tx, incident, source)?;
    impairing.add(tx, items)?;
    impairing.finish(tx)
}
