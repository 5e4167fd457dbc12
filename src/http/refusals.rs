//! Refusals of requests without a valid token, session, link or signature. They are counted, limited and
//! summarised in the audit trail.
//!
//! A refusal needs only a lookup in a table in memory. For each source address and minute, the trail gets one
//! event that says how often the address was refused and what it tried. Above a limit, the answer is a 429
//! with `Retry-After`. The secret is always checked first, so a caller with a valid one is never refused
//! because of other requests from the same address.
//!
//! The summaries are written when their minute has passed, and when the process stops. Each process counts
//! separately.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::HttpRequest;
use serde_json::json;

use super::client::{Source, client};
use super::problem::Problem;
use crate::audit::{Action, Actor, Event};
use crate::base::error::Result;
use crate::base::network::Networks;
use crate::base::time::Timestamp;
use crate::db::Db;
use crate::work::{Next, Service, Stop};

/// The number of refusals of one address in one minute that get their normal answer. All others get a 429.
const MAX: u64 = 100;
/// The same number for the sign-in page, where a person types.
const MAX_SIGN_INS: u64 = 20;
/// The number of refusals of an integration's hook, from one address in one minute, that are one event each
/// with its reason.
const AT_ONCE: u64 = 20;
/// The largest number of addresses that are counted separately. All others are counted together.
const MAX_SOURCES: usize = 10_000;
/// The largest number of events of one minute in the trail: the addresses with the most refusals, and one
/// event for all others.
const MAX_EVENTS: usize = 200;
/// The largest number of different requests of an address in one minute that are named. All others are
/// counted together.
const MAX_TRIED: usize = 10;
/// How often the table is checked for minutes that have passed.
const EVERY: Duration = Duration::from_secs(1);

/// The kind of request that was refused. Each kind is counted on its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// A request without a valid token: for the API, a hook or a link.
    Token,
    /// A sign-in with a wrong token.
    SignIn,
    /// A request to the hook of this integration that does not prove that its sender knows the secret.
    Integration(String),
}

impl RefusalKind {
    fn most(&self) -> u64 {
        match self {
            RefusalKind::SignIn => MAX_SIGN_INS,
            RefusalKind::Token | RefusalKind::Integration(_) => MAX,
        }
    }
}

/// An address and what it was refused. Without an address, it stands for all addresses that had no space in
/// the table.
type Key = (Option<Source>, RefusalKind);

/// The refusals of one address for one kind of request, in one minute.
struct Count {
    minute: i64,
    first: Timestamp,
    last: Timestamp,
    /// The number of all refusals, which the limit uses.
    seen: u64,
    /// The number of refusals that are not in the trail yet.
    unwritten: u64,
    tried: BTreeMap<String, u64>,
}

impl Count {
    fn new(now: Timestamp) -> Self {
        Count {
            minute: minute(now),
            first: now,
            last: now,
            seen: 0,
            unwritten: 0,
            tried: BTreeMap::new(),
        }
    }

    fn add(&mut self, what: &str, times: u64) {
        self.unwritten += times;
        if self.tried.len() >= MAX_TRIED && !self.tried.contains_key(what) {
            *self.tried.entry("other".to_owned()).or_default() += times;
        } else {
            *self.tried.entry(what.to_owned()).or_default() += times;
        }
    }

    fn join(&mut self, other: &Count) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        let named: u64 = other.tried.values().sum();
        for (what, times) in &other.tried {
            self.add(what, *times);
        }
        self.unwritten += other.unwritten.saturating_sub(named);
    }
}

fn minute(now: Timestamp) -> i64 {
    now.as_micros().div_euclid(60_000_000)
}

#[derive(Default)]
struct Table {
    open: HashMap<Key, Count>,
    /// The minutes that have passed and are not in the trail yet.
    over: HashMap<(Key, i64), Count>,
}

impl Table {
    fn close(&mut self, key: Key, count: Count) {
        if count.unwritten == 0 {
            return;
        }
        let at = (key, count.minute);
        // If the trail is slow or cannot be written, the counts stay limited in number, and no refusal is
        // lost.
        let at = if self.over.len() < MAX_SOURCES || self.over.contains_key(&at) {
            at
        } else {
            ((None, at.0.1), 0)
        };
        match self.over.get_mut(&at) {
            Some(there) => there.join(&count),
            None => drop(self.over.insert(at, count)),
        }
    }
}

/// How a counted refusal is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The refusal gets its normal answer.
    Within {
        /// Whether the caller must record it, because it is in no summary.
        record: bool,
    },
    /// The refusal gets a 429 with this number of seconds to wait.
    Above(u64),
}

/// The refusals of this process.
pub struct Refusals {
    table: Mutex<Table>,
    trusted: Networks,
    total: prometheus::IntCounter,
}

impl Refusals {
    /// Creates an empty table. The headers of these proxies are trusted.
    pub fn new(trusted: Networks) -> Self {
        let total = prometheus::IntCounter::new(
            "candor_refusals_total",
            "Requests without a valid token or signature that this process refused",
        );
        // The name above is valid, and nothing else can fail here.
        let total = match total {
            Ok(total) => total,
            Err(never) => unreachable!("{never}"),
        };
        Refusals {
            table: Mutex::default(),
            trusted,
            total,
        }
    }

    /// Returns the number of all refusals.
    pub fn total(&self) -> &prometheus::IntCounter {
        &self.total
    }

    /// Returns the source of a request. Returns `None` if its connection is closed.
    pub fn source(&self, req: &HttpRequest) -> Option<Source> {
        let peer = req.peer_addr()?.ip();
        Some(client(peer, req.headers(), &self.trusted).into())
    }

    /// Counts a refusal of `what`, which must contain neither a secret nor a name.
    pub fn count(&self, source: Option<Source>, door: RefusalKind, what: &str, now: Timestamp) -> Counted {
        self.total.inc();
        let most = door.most();
        let at_once = if matches!(door, RefusalKind::Integration(_)) {
            AT_ONCE
        } else {
            0
        };
        let mut table = self.table();
        let key = (source, door);
        let key = if table.open.len() < MAX_SOURCES || table.open.contains_key(&key) {
            key
        } else {
            (None, RefusalKind::Token)
        };
        // The refusals of addresses without space in the table are all in a summary.
        let at_once = if key.0.is_some() { at_once } else { 0 };
        if table
            .open
            .get(&key)
            .is_some_and(|count| count.minute != minute(now))
            && let Some(count) = table.open.remove(&key)
        {
            table.close(key.clone(), count);
        }
        let count = table.open.entry(key).or_insert_with(|| Count::new(now));
        count.last = now;
        count.seen += 1;
        let record = count.seen <= at_once;
        if !record {
            count.add(what, 1);
        }
        if count.seen <= most {
            Counted::Within { record }
        } else {
            let seconds = 60 - now.as_micros().rem_euclid(60_000_000) / 1_000_000;
            Counted::Above(u64::try_from(seconds).unwrap_or(60))
        }
    }

    /// Counts a refusal of a request, and returns its answer: `usually`, or a 429 if there were too many.
    pub fn refuse(&self, req: &HttpRequest, door: RefusalKind, now: Timestamp, usually: Problem) -> Problem {
        // The route is used and not the path, because the path may contain a token.
        let route = req.match_pattern().unwrap_or_else(|| "unknown path".to_owned());
        let what = format!("{} {route}", req.method());
        match self.count(self.source(req), door, &what, now) {
            Counted::Within { .. } => usually,
            Counted::Above(seconds) => Problem::TooManyRefusals(seconds),
        }
    }

    /// Returns whether the source of a request was refused in this minute. Then a read is cheaper than a
    /// transaction that probably fails.
    pub fn suspects(&self, req: &HttpRequest, now: Timestamp) -> bool {
        let key = (self.source(req), RefusalKind::Token);
        let table = self.table();
        let count = table
            .open
            .get(&key)
            .or_else(|| table.open.get(&(None, RefusalKind::Token)));
        count.is_some_and(|count| count.minute == minute(now))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes and returns the counts that must be written: those of minutes that have passed, or all.
    fn due(&self, now: Timestamp, all: bool) -> Vec<(Key, i64, Count)> {
        let mut table = self.table();
        let over: Vec<Key> = table
            .open
            .iter()
            .filter(|(_, count)| all || count.minute != minute(now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            if let Some(count) = table.open.remove(&key) {
                table.close(key, count);
            }
        }
        let due = std::mem::take(&mut table.over);
        due.into_iter()
            .map(|((key, minute), count)| (key, minute, count))
            .collect()
    }

    /// Writes the summaries of the minutes that have passed, or of all, in one transaction.
    ///
    /// # Errors
    /// The error of the database. The counts then stay in the table.
    async fn write(&self, db: &Db, all: bool) -> Result<()> {
        let due = self.due(db.clock().now(), all);
        if due.is_empty() {
            return Ok(());
        }
        let events = summaries(&due);
        let written = db
            .write(&Actor::anonymous(), move |tx| {
                for event in events {
                    tx.record(event);
                }
                Ok(())
            })
            .await;
        if written.is_err() {
            let mut table = self.table();
            for (key, _, count) in due {
                table.close(key, count);
            }
        }
        written
    }
}

/// Returns the events to write: one for each address and minute, and one for all above the limit.
fn summaries(due: &[(Key, i64, Count)]) -> Vec<Event> {
    // Refusals at the sign-in page and elsewhere without a token become one event. Only their limits differ.
    let mut merged: HashMap<(Option<Source>, Option<&str>, i64), Count> = HashMap::new();
    for ((source, door), minute, count) in due {
        let integration = match door {
            RefusalKind::Integration(id) => Some(id.as_str()),
            RefusalKind::Token | RefusalKind::SignIn => None,
        };
        merged
            .entry((*source, integration, *minute))
            .or_insert_with(|| Count::new(count.first))
            .join(count);
    }
    let mut merged: Vec<_> = merged.into_iter().collect();
    merged.sort_by(|(one_key, one), (other_key, other)| {
        (other.unwritten, other.first)
            .cmp(&(one.unwritten, one.first))
            .then_with(|| one_key.cmp(other_key))
    });
    let rest = merged.split_off(merged.len().min(MAX_EVENTS));
    let mut events: Vec<Event> = merged
        .iter()
        .map(|((source, integration, _), count)| event(*source, *integration, count, None))
        .collect();
    let mut rest = rest.into_iter();
    if let Some((_, mut count)) = rest.next() {
        let mut addresses = 1_usize;
        for (_, other) in rest {
            count.join(&other);
            addresses += 1;
        }
        events.push(event(None, None, &count, Some(addresses)));
    }
    events
}

fn event(
    source: Option<Source>,
    integration: Option<&str>,
    count: &Count,
    addresses: Option<usize>,
) -> Event {
    let address = source.map_or_else(|| "other addresses".to_owned(), |source| source.to_string());
    let mut after = json!({
        "address": address, "count": count.unwritten, "tried": count.tried,
        "first_at": count.first, "last_at": count.last,
    });
    if let Some(addresses) = addresses {
        after["addresses"] = json!(addresses);
    }
    match integration {
        Some(id) => Event::new(Action::HookRefused, "integration", id),
        None => Event::new(Action::AccessDenied, "address", address),
    }
    .after(after)
}

/// The service that writes the summaries: those of the minutes that are over while the process runs, and the last ones when it
/// stops. It runs in every process that takes requests.
pub struct Summaries {
    /// The counts of refusals in this process.
    pub refusals: Arc<Refusals>,
    /// The database with the audit trail, to which the summaries are written.
    pub db: Db,
}

impl Service for Summaries {
    const NAME: &'static str = "refusals";
    const POLL: Duration = EVERY;

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        self.refusals.write(&self.db, false).await?;
        Ok(Next::Wait)
    }

    async fn finish(&mut self) {
        if let Err(error) = self.refusals.write(&self.db, true).await {
            tracing::error!(
                error = error.chain(),
                "the last refusals could not be written to the audit trail, and are lost"
            );
        }
    }
}
