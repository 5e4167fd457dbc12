//! A cache for results that are computed from a whole audience. A result is used until something changes that
//! it may depend on.
//!
//! Every change has its event in the audit trail, so the last relevant event says whether a cached result is
//! still valid. Every action that is not known to be irrelevant counts as relevant. While emails are sent,
//! attempts are recorded many times per second. A result that took long to compute may then be a little
//! older, and it contains its time.
//!
//! A result from before a change of the directory, of the affected resources or of a notice is never
//! returned.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::audit::{self, TrailPosition};
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;

/// The largest number of results in the cache.
const MAX_RESULTS: usize = 256;
/// The largest number of large results in the cache, which contain every person of an audience.
const MAX_LARGE: usize = 4;
/// A result that took less time than this to compute is never older than the last attempt.
const QUICK: Duration = Duration::from_millis(100);
/// How long a result may be used although attempts were recorded since, as a multiple of the time that
/// computing it took. So computing it uses at most a tenth of one processor.
const SHARE: u32 = 10;

/// The cache of results about incidents. When it is full, the oldest result is removed.
pub struct AudienceCache {
    small: Results,
    large: Results,
}

struct Results {
    most: usize,
    cached: Mutex<HashMap<String, CachedResult>>,
}

struct CachedResult {
    position: TrailPosition,
    /// When it was computed, on a monotonic clock.
    at: Instant,
    /// How long computing it took.
    took: Duration,
    as_of: Timestamp,
    value: Arc<dyn Any + Send + Sync>,
}

/// A result that was computed now or that was in the cache.
pub struct Cached<T> {
    /// The value that `compute` returned. Other requests can share it.
    pub value: Arc<T>,
    /// The time of the result, if attempts were recorded since.
    pub as_of: Option<Timestamp>,
}

impl Default for AudienceCache {
    fn default() -> AudienceCache {
        let results = |most| Results {
            most,
            cached: Mutex::default(),
        };
        AudienceCache {
            small: results(MAX_RESULTS),
            large: results(MAX_LARGE),
        }
    }
}

impl AudienceCache {
    /// Does the same as [`AudienceCache::get_or_compute`] for a result with every person of the audience. Only a few of them are kept.
    ///
    /// # Errors
    /// The error of `compute`.
    pub fn get_or_compute_large<T: Send + Sync + 'static>(
        &self,
        conn: &mut Conn,
        incident: &IncidentId,
        name: &str,
        now: Timestamp,
        compute: impl FnOnce(&mut Conn) -> Result<T>,
    ) -> Result<Cached<T>> {
        let position = audit::position(conn, incident)?;
        self.large
            .get_or_compute_at(conn, position, incident, name, now, compute)
    }

    /// Returns the result of `compute` about the incident. It is computed now or comes from the cache, where
    /// it has this name.
    ///
    /// # Errors
    /// The error of `compute`.
    pub fn get_or_compute<T: Send + Sync + 'static>(
        &self,
        conn: &mut Conn,
        incident: &IncidentId,
        name: &str,
        now: Timestamp,
        compute: impl FnOnce(&mut Conn) -> Result<T>,
    ) -> Result<Cached<T>> {
        let position = audit::position(conn, incident)?;
        self.get_or_compute_at(conn, position, incident, name, now, compute)
    }

    /// Does the same at a position of the trail that was read in this view of the database.
    ///
    /// # Errors
    /// The error of `compute`.
    pub fn get_or_compute_at<T: Send + Sync + 'static>(
        &self,
        conn: &mut Conn,
        position: TrailPosition,
        incident: &IncidentId,
        name: &str,
        now: Timestamp,
        compute: impl FnOnce(&mut Conn) -> Result<T>,
    ) -> Result<Cached<T>> {
        self.small
            .get_or_compute_at(conn, position, incident, name, now, compute)
    }
}

impl Results {
    fn get_or_compute_at<T: Send + Sync + 'static>(
        &self,
        conn: &mut Conn,
        position: TrailPosition,
        incident: &IncidentId,
        name: &str,
        now: Timestamp,
        compute: impl FnOnce(&mut Conn) -> Result<T>,
    ) -> Result<Cached<T>> {
        let name = format!("{incident} {name}");
        if let Some(found) = self.find(&name, &position) {
            return Ok(found);
        }
        let at = Instant::now();
        let value = Arc::new(compute(conn)?);
        let cached = CachedResult {
            position,
            at,
            took: at.elapsed(),
            as_of: now,
            value: value.clone(),
        };
        let mut all = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= self.most
            && !all.contains_key(&name)
            && let Some(oldest) = all
                .iter()
                .min_by_key(|(_, cached)| cached.at)
                .map(|(name, _)| name.clone())
        {
            all.remove(&oldest);
        }
        all.insert(name, cached);
        Ok(Cached { value, as_of: None })
    }

    fn find<T: Send + Sync + 'static>(&self, name: &str, position: &TrailPosition) -> Option<Cached<T>> {
        let all = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = all
            .get(name)
            .filter(|cached| cached.position.change == position.change)?;
        let value = cached.value.clone().downcast::<T>().ok()?;
        if cached.position.attempts == position.attempts {
            return Some(Cached { value, as_of: None });
        }
        let still = cached.took > QUICK && cached.at.elapsed() < cached.took * SHARE;
        still.then_some(Cached {
            value,
            as_of: Some(cached.as_of),
        })
    }
}
