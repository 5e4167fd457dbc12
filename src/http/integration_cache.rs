//! The integrations of hooks that were used before, so that not every request reads the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::alert::integration::Integration;
use crate::alert::provider;

/// The cache of integrations whose hooks were used. A request for an integration that has changed since is
/// not stored (see `alert/queue.rs`). If a cached integration refuses a request, the stored integration is
/// checked again. So an old integration never decides.
#[derive(Default)]
pub struct IntegrationCache(Mutex<HashMap<String, Arc<Integration>>>);

impl IntegrationCache {
    /// The largest number of integrations in the cache.
    const MAX: usize = 1_000;

    pub(super) fn get(&self, token: &str) -> Option<Arc<Integration>> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cached.get(token).cloned()
    }

    pub(super) fn insert(&self, token: &str, integration: &Arc<Integration>) {
        // Reports of mail providers are handled in another module, and messages that Amazon signs are
        // verified with Amazon, so these are not cached.
        if provider::is_one(&integration.source) || is_amazon(&integration.source) {
            return;
        }
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.len() >= Self::MAX {
            cached.clear();
        }
        cached.insert(token.to_owned(), integration.clone());
    }

    pub(super) fn remove(&self, token: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(token);
    }
}

pub(super) fn is_amazon(source: &str) -> bool {
    matches!(source, "aws_sns" | "aws_cloudwatch")
}
