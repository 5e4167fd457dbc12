//! The integrations whose hooks were used lately, so that an alert storm does not read the same row for every alert.
//!
//! An integration from here never decides alone: `hooks` reads it again before it refuses a request, and the transaction that
//! stores a request compares the version of the integration.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::alert::integration::Integration;

/// The largest number of integrations that are kept. If there are more, all of them are forgotten and read again.
const MAX: usize = 1_000;

/// The integrations that were used, by the token of their hook.
#[derive(Default)]
pub struct UsedIntegrations(Mutex<HashMap<String, Arc<Integration>>>);

impl UsedIntegrations {
    /// Returns the integration of this token, as it was when it was read last.
    pub(super) fn get(&self, token: &str) -> Option<Arc<Integration>> {
        let used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        used.get(token).cloned()
    }

    /// Keeps the integration of this token.
    pub(super) fn put(&self, token: &str, integration: &Arc<Integration>) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= MAX {
            used.clear();
        }
        used.insert(token.to_owned(), integration.clone());
    }

    /// Forgets the integration of this token.
    pub(super) fn remove(&self, token: &str) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        used.remove(token);
    }
}
