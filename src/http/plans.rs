//! The plans of drafts that pages show, for a short time. A page of the list of recipients, or the email to one of them, needs the
//! whole plan, which takes long for many people.
//!
//! A plan is used again only while nothing happened that it may depend on, and for a minute at most. What is sent is always planned
//! again, so an old plan can only lead to a refusal.
//!
//! Also here: which addresses a page with a digest showed, so that a refusal can say how many people were added and dropped since.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::audit::{self, TrailPosition};
use crate::base::error::Result;
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::notice::{self, Previewed, Sending};

/// How long a plan is used.
const LONGEST: Duration = Duration::from_secs(60);
/// A plan that took less time than this is never older than the last attempt of a delivery.
const QUICK: Duration = Duration::from_millis(100);
/// How long a plan may be used although attempts were recorded since, as a multiple of the time that it took.
const SHARE: u32 = 10;
/// The largest number of plans.
const PLANS: usize = 8;
/// The largest number of recipients in all plans together, except for the last plan.
const RECIPIENTS: usize = 400_000;
/// The largest number of lists that pages showed.
const LISTS: usize = 32;
/// The largest number of addresses in these lists together, except for the last list.
const ADDRESSES: usize = 3_000_000;
/// The number of rendered emails in a preview.
const SAMPLES: usize = 3;

/// The plans and lists that pages showed.
#[derive(Default)]
pub struct Plans {
    kept: Mutex<VecDeque<Kept>>,
    shown: Mutex<VecDeque<Shown>>,
    hashes: RandomState,
}

struct Kept {
    notice: NoticeId,
    position: TrailPosition,
    at: Instant,
    took: Duration,
    plan: Arc<Previewed>,
}

/// A list that a page showed: a hash of each address, with the number of people.
struct Shown {
    digest: String,
    people: Vec<(u64, u32)>,
}

/// How two lists differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The number of people who were added.
    pub added: i64,
    /// The number of people who were dropped.
    pub dropped: i64,
}

impl Plans {
    /// Returns the plan of a draft, from a moment ago if nothing has happened since. `again` plans it again.
    ///
    /// # Errors
    /// The errors of [`notice::previewed`].
    pub fn get(
        &self,
        conn: &mut Conn,
        id: &NoticeId,
        sending: &Sending,
        now: Timestamp,
        again: bool,
    ) -> Result<Arc<Previewed>> {
        let incident = notice::get(conn, id)?.incident;
        let position = audit::position(conn, &incident)?;
        if !again && let Some(found) = self.find(id, &position) {
            return Ok(found);
        }
        let at = Instant::now();
        let plan = Arc::new(notice::previewed(conn, id, sending, SAMPLES, now)?);
        self.note(&plan);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.notice != *id && one.at.elapsed() < LONGEST);
        kept.push_back(Kept {
            notice: id.clone(),
            position,
            at,
            took: at.elapsed(),
            plan: plan.clone(),
        });
        while kept.len() > PLANS
            || (kept.len() > 1 && kept.iter().map(|one| one.plan.len()).sum::<usize>() > RECIPIENTS)
        {
            kept.pop_front();
        }
        Ok(plan)
    }

    fn find(&self, id: &NoticeId, position: &TrailPosition) -> Option<Arc<Previewed>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|one| one.notice == *id)?;
        let age = found.at.elapsed();
        if found.position.change != position.change || age > LONGEST {
            return None;
        }
        let is_current = found.position.attempts == position.attempts;
        (is_current || (found.took > QUICK && age < found.took * SHARE)).then(|| found.plan.clone())
    }

    /// Stores which list belongs to the digest of a plan.
    fn note(&self, plan: &Previewed) {
        let digest = &plan.preview.digest;
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|one| one.digest != *digest);
        let people = plan
            .list()
            .map(|(address, people)| (self.hashes.hash_one(address), people));
        shown.push_back(Shown {
            digest: digest.clone(),
            people: people.collect(),
        });
        while shown.len() > LISTS
            || (shown.len() > 1 && shown.iter().map(|one| one.people.len()).sum::<usize>() > ADDRESSES)
        {
            shown.pop_front();
        }
    }

    /// Returns how the list of a plan differs from the list that a page of this process showed with a digest. `None` if the digest is
    /// not known any more.
    pub fn difference(&self, digest: &str, plan: &Previewed) -> Option<Difference> {
        if digest == plan.preview.digest {
            return Some(Difference { added: 0, dropped: 0 });
        }
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let then = shown.iter().find(|one| one.digest == digest)?;
        let mut before: HashMap<u64, i64> = HashMap::with_capacity(then.people.len());
        for (address, people) in &then.people {
            before.insert(*address, i64::from(*people));
        }
        let mut found = Difference { added: 0, dropped: 0 };
        for (address, people) in plan.list() {
            let was = before.remove(&self.hashes.hash_one(address)).unwrap_or_default();
            let more = i64::from(people) - was;
            found.added += more.max(0);
            found.dropped += (-more).max(0);
        }
        found.dropped += before.values().sum::<i64>();
        Some(found)
    }
}
