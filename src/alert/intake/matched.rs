//! Matches the conditions of alert rules, silences and maintenance windows with the alerts. This can take long, so it
//! happens before the intake transaction.
//!
//! The transaction compares the number of changes of these conditions. If the number is different, nothing of the body is
//! stored, and the conditions are matched again outside. After a few rounds, or when the time of the body would not
//! suffice for another one, the last result counts: the rules that it was made with were in force while the body waited, and no
//! body may be lost because somebody changes rules.

use std::sync::Arc;

use super::conditions::{CompiledConditions, ConditionMatch, StoredConditions};
use crate::alert::integration::Integration;
use crate::alert::source::Batch;
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::Db;

/// The number of rounds after which the last result counts, even if the conditions changed again.
pub(crate) const ROUNDS: u32 = 3;

/// The conditions of alert rules, silences and maintenance windows, as this process read them last.
pub struct ConditionCache {
    db: Db,
    /// The lock is held while the conditions are read, so that many bodies that need them read them once.
    held: tokio::sync::Mutex<Option<Arc<CompiledConditions>>>,
}

impl ConditionCache {
    /// Creates the holder. It reads the conditions when they are needed.
    pub fn new(db: Db) -> Self {
        ConditionCache {
            db,
            held: tokio::sync::Mutex::new(None),
        }
    }

    /// Returns the database that the conditions are read from.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Returns the conditions. They can have changed since they were read; the transaction notices it. `outdated` is a
    /// state that is known to be old.
    pub(in crate::alert) async fn latest(&self, outdated: Option<i64>) -> Result<Arc<CompiledConditions>> {
        let mut held = self.held.lock().await;
        let now = self.db.clock().now();
        if let Some(known) = held.as_ref()
            && outdated != Some(known.version())
            && known.is_fresh(now)
        {
            return Ok(known.clone());
        }
        let stored = self
            .db
            .read(move |conn| StoredConditions::read(conn, now))
            .await?;
        let conditions = tokio::task::spawn_blocking(|| stored.compile())
            .await
            .map_err(Error::internal)??;
        let conditions = Arc::new(conditions);
        *held = Some(conditions.clone());
        Ok(conditions)
    }
}

/// What the conditions say about the alerts of one batch.
#[derive(Clone)]
pub(crate) struct MatchedBatch {
    conditions: Option<Arc<CompiledConditions>>,
    hits: Vec<Option<ConditionMatch>>,
    /// Whether this counts even if the conditions have changed since.
    last: bool,
}

impl MatchedBatch {
    /// Matches the conditions with a batch. This can take seconds of processor time.
    pub(in crate::alert) fn of(
        conditions: Arc<CompiledConditions>,
        integration: &Integration,
        batch: &Batch,
        now: Timestamp,
        last: bool,
    ) -> Self {
        MatchedBatch {
            hits: conditions.examine(integration, &batch.alerts, now),
            conditions: Some(conditions),
            last,
        }
    }

    /// Returns the result for a batch without alerts that fire, about which no condition is asked.
    pub(super) fn without_firing_alerts() -> Self {
        MatchedBatch {
            conditions: None,
            hits: Vec::new(),
            last: true,
        }
    }

    /// Returns the state of the conditions that this was made with.
    pub(in crate::alert) fn version(&self) -> Option<i64> {
        self.conditions.as_ref().map(|conditions| conditions.version())
    }

    /// Returns whether this is true for the present state of the conditions.
    pub(super) fn is_current(&self, version: i64) -> bool {
        self.last || self.version() == Some(version)
    }

    /// Returns whether this is true for a batch whose fingerprints were replaced.
    pub(super) fn is_valid_for(&self, batch: &Batch) -> bool {
        self.last
            || self
                .hits
                .iter()
                .zip(&batch.alerts)
                .all(|(hit, alert)| match (hit, &self.conditions) {
                    (Some(hit), Some(conditions)) => conditions.is_valid_for(hit, alert),
                    _ => true,
                })
    }

    /// Returns the conditions and what they say about the alert at this index.
    pub(super) fn hit(&self, index: usize) -> Result<(&CompiledConditions, &ConditionMatch)> {
        let hit = self.hits.get(index).and_then(Option::as_ref);
        self.conditions
            .as_deref()
            .zip(hit)
            .ok_or_else(|| Error::internal("an alert that fires was not matched with the conditions"))
    }
}
