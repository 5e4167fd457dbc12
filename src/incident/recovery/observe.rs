//! Resources are observed again: those that fit what was expected are recovered, and those that do not are impaired again.

use serde::Serialize;
use serde_json::json;

use super::standing::count_not_recovered;
use super::told;
use super::work::{Cause, Effect, Work};
use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::dialect;

/// A resource that was observed.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The key of the resource.
    pub resource_key: i64,
    /// Whether it is as expected.
    pub fits: bool,
    /// What was seen, as JSON.
    pub observed: String,
    /// When it was seen.
    pub observed_at: Timestamp,
}

/// The numbers of resources whose state changed, and did not change, because of observations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RecoveryObserved)]
pub struct Observed {
    /// The number of resources that became recovered.
    pub recovered: i64,
    /// The number of recovered resources that are impaired again.
    pub relapsed: i64,
    /// The number of observations that changed no state of these kinds. Observations that are older than the impairment are among
    /// them.
    pub unchanged: i64,
}

/// Stores observations of resources that have a state. Others are ignored. One call writes one entry on the timeline, so
/// observations that belong together should be given together.
///
/// # Errors
/// An error of the database.
pub fn observe(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    source: &str,
    items: &[Observation],
) -> Result<Observed> {
    dialect::lock(tx.conn, dialect::Lock::Incident, incident.as_str())?;
    let keys: Vec<i64> = items.iter().map(|item| item.resource_key).collect();
    let mut work = Work::read(tx.conn, incident, &keys)?;
    let mut counts = Observed::default();
    let mut failed = 0;
    for item in items {
        let cause = Cause {
            at: item.observed_at,
            source,
            evidence: Some(&item.observed),
        };
        let effect = match item.fits {
            true => work.fits(item.resource_key, false, cause),
            false => work.wrong(item.resource_key, cause),
        };
        match effect {
            Effect::Recovered => counts.recovered += 1,
            Effect::Relapsed => counts.relapsed += 1,
            Effect::Changed => {
                failed += 1;
                counts.unchanged += 1;
            }
            Effect::Unchanged | Effect::TooOld => counts.unchanged += 1,
            Effect::NoState => {}
        }
    }
    work.store(tx)?;
    record(tx, incident, source, counts, failed)?;
    Ok(counts)
}

/// Writes what observations changed on the timeline and in the audit trail. `failed` is the number of attempts that failed.
pub(super) fn record(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    source: &str,
    counts: Observed,
    failed: i64,
) -> Result<()> {
    if counts.recovered > 0 || failed > 0 {
        let mut after = json!({"recovered": counts.recovered, "source": source});
        if failed > 0 {
            after["failed"] = json!(failed);
        }
        tx.record(
            Event::new(Action::RecoveryObserved, "incident", incident.as_str())
                .incident(incident)
                .after(after),
        );
    }
    let left = count_not_recovered(tx.conn, incident)?;
    told::recovered(tx, incident, source, (counts.recovered, left))?;
    told::relapsed(tx, incident, source, counts.relapsed)
}
