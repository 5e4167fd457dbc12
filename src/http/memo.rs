//! What was computed over a whole audience, kept until something changes that it could depend on.
//!
//! No change is without its event in the audit trail, so the last event that could matter says whether what is kept still
//! holds: whatever is not known to be without influence counts. While mails go out their attempts are recorded many times
//! a second; what took long to compute may then be a little older than they are, and says as of when it is.
//!
//! Must never happen here: an answer from before a change of the directory, of what is affected, or of a notice.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::audit::{self, Mark};
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;

/// Answers that are kept.
const KEPT: usize = 256;
/// What takes less to compute is never older than the last attempt.
const QUICK: Duration = Duration::from_millis(100);
/// How many times as long as it took to compute an answer may be shown although attempts were recorded since: computing
/// it takes a tenth of one processor at most.
const SHARE: u32 = 10;

/// Keeps answers.
#[derive(Default)]
pub struct Memo {
    kept: Mutex<HashMap<String, Kept>>,
}

struct Kept {
    mark: Mark,
    /// When it was computed, on the machine's clock.
    at: Instant,
    /// How long that took.
    took: Duration,
    as_of: Timestamp,
    value: Arc<dyn Any + Send + Sync>,
}

/// An answer.
pub struct Known<T> {
    /// What was computed.
    pub value: Arc<T>,
    /// As of when, where mails have been attempted since.
    pub as_of: Option<Timestamp>,
}

impl Memo {
    /// What `compute` answers about the incident, computed before under the same name or now.
    ///
    /// # Errors
    /// What `compute` answers.
    pub fn of<T: Send + Sync + 'static>(
        &self,
        conn: &mut Conn,
        incident: &IncidentId,
        name: &str,
        now: Timestamp,
        compute: impl FnOnce(&mut Conn) -> Result<T>,
    ) -> Result<Known<T>> {
        let mark = audit::mark(conn, incident)?;
        let name = format!("{incident} {name}");
        if let Some(known) = self.find(&name, &mark) {
            return Ok(known);
        }
        let at = Instant::now();
        let value = Arc::new(compute(conn)?);
        let kept = Kept {
            mark,
            at,
            took: at.elapsed(),
            as_of: now,
            value: value.clone(),
        };
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT
            && !all.contains_key(&name)
            && let Some(oldest) = all
                .iter()
                .min_by_key(|(_, kept)| kept.at)
                .map(|(name, _)| name.clone())
        {
            all.remove(&oldest);
        }
        all.insert(name, kept);
        Ok(Known { value, as_of: None })
    }

    fn find<T: Send + Sync + 'static>(&self, name: &str, mark: &Mark) -> Option<Known<T>> {
        let all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.get(name).filter(|kept| kept.mark.change == mark.change)?;
        let value = kept.value.clone().downcast::<T>().ok()?;
        if kept.mark.attempts == mark.attempts {
            return Some(Known { value, as_of: None });
        }
        let still = kept.took > QUICK && kept.at.elapsed() < kept.took * SHARE;
        still.then_some(Known {
            value,
            as_of: Some(kept.as_of),
        })
    }
}
