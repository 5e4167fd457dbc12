//! Connects the several keys of one problem, for example a key that the caller chose and the sender's own ID.
//! A message may contain only one of them. All keys of a problem lead to the fingerprint of one alert, so
//! that one problem never becomes two alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use diesel::prelude::*;

use super::source::Batch;
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::alert_keys as k;

/// How long an unused key is stored.
const RETENTION: Duration = Duration::from_secs(180 * 24 * 3_600);

/// The keys of the problems of one integration, and the fingerprints that they lead to.
pub(super) struct Keys {
    integration: String,
    known: BTreeMap<String, String>,
    used: BTreeSet<String>,
}

impl Keys {
    /// Reads the stored keys that occur in these batches of one integration. Returns None if no alert has
    /// several keys.
    pub fn of<'b>(
        conn: &mut Conn,
        integration: &str,
        batches: impl IntoIterator<Item = &'b Batch>,
    ) -> Result<Option<Self>> {
        let names: BTreeSet<&str> = batches
            .into_iter()
            .flat_map(|batch| &batch.alerts)
            .flat_map(|alert| alert.keys.iter().map(String::as_str))
            .collect();
        if names.is_empty() {
            return Ok(None);
        }
        let names: Vec<&str> = names.into_iter().collect();
        let mut known = BTreeMap::new();
        for chunk in names.chunks(500) {
            let found: Vec<(String, String)> = k::table
                .filter(k::integration_id.eq(integration))
                .filter(k::key.eq_any(chunk))
                .select((k::key, k::fingerprint))
                .load(conn)?;
            known.extend(found);
        }
        Ok(Some(Keys {
            integration: integration.to_owned(),
            known,
            used: BTreeSet::new(),
        }))
    }

    /// Returns the batch with the fingerprints that its keys lead to. The most specific key that is known
    /// decides.
    pub fn linked(&mut self, batch: &Batch) -> Batch {
        let mut batch = batch.clone();
        for alert in batch.alerts.iter_mut().filter(|alert| !alert.keys.is_empty()) {
            if let Some(known) = alert.keys.iter().find_map(|key| self.known.get(key)) {
                alert.fingerprint = known.clone();
            }
            for key in &alert.keys {
                self.known
                    .entry(key.clone())
                    .or_insert_with(|| alert.fingerprint.clone());
                self.used.insert(key.clone());
            }
        }
        batch
    }

    /// Stores the fingerprints of the keys that were used.
    pub fn store(&self, conn: &mut Conn, now: Timestamp) -> Result<()> {
        let rows: Vec<_> = self
            .known
            .iter()
            .filter(|(key, _)| self.used.contains(*key))
            .map(|(key, fingerprint)| {
                (
                    k::integration_id.eq(&self.integration),
                    k::key.eq(key),
                    k::fingerprint.eq(fingerprint),
                    k::used_at.eq(now),
                )
            })
            .collect();
        for chunk in rows.chunks(500) {
            on_backend!(&mut *conn, c => diesel::insert_into(k::table)
                .values(chunk.to_vec())
                .on_conflict((k::integration_id, k::key))
                .do_update()
                .set(k::used_at.eq(now))
                .execute(c))?;
        }
        Ok(())
    }
}

/// Deletes the keys that nobody has used for a long time. Returns how many were deleted.
pub(super) fn forget(conn: &mut Conn, now: Timestamp) -> Result<usize> {
    Ok(diesel::delete(k::table.filter(k::used_at.lt(now.minus(RETENTION)))).execute(conn)?)
}
