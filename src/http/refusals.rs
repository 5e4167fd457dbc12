//! Refusals of requests without a valid token, session link or signature: counted, limited, and summarised on the audit trail.
//!
//! One refusal costs a look into a table in memory. For each source address and minute the trail gets one event, which
//! says how often the address was refused and what it tried. Above a limit the refusal is a 429 with `Retry-After`. The
//! secret is always checked first: whoever has a valid one is let in, whatever else comes from the same address.
//!
//! The summaries are written when their minute is over, and when the process shuts down. Several processes count on their own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::HttpRequest;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::client::{Source, client};
use super::problem::Problem;
use crate::audit::{Action, Actor, Event};
use crate::base::network::Networks;
use crate::base::time::Timestamp;
use crate::db::Db;

/// Refusals of one address in one minute that are answered as what they are; all others are a 429.
const MOST: u64 = 100;
/// The same at the sign-in, where a person types.
const MOST_SIGN_INS: u64 = 20;
/// Refusals of an integration's hook, of one address in one minute, that are an event each, with its reason.
const AT_ONCE: u64 = 20;
/// Addresses that are counted one by one at the same time. All others are counted together.
const MOST_SOURCES: usize = 10_000;
/// Events of one minute on the trail: the addresses that were refused most often, and one for all others together.
const MOST_EVENTS: usize = 200;
/// Different things that an address tried in one minute which are named; all others are counted together.
const MOST_TRIED: usize = 10;
/// How often the table is looked at for minutes that are over.
const EVERY: Duration = Duration::from_secs(1);

/// What was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// A request without a valid token: of the API, of a hook, of a link.
    Token,
    /// A sign-in with a wrong token.
    SignIn,
    /// A request to this integration's hook that does not prove that its sender knows the secret.
    Integration(String),
}

impl Door {
    fn most(&self) -> u64 {
        match self {
            Door::SignIn => MOST_SIGN_INS,
            Door::Token | Door::Integration(_) => MOST,
        }
    }
}

/// An address at a door. No address: all those for which there was no room.
type Key = (Option<Source>, Door);

/// What one address was refused at one door, in one minute.
struct Count {
    minute: i64,
    first: Timestamp,
    last: Timestamp,
    /// All refusals, by which they are limited.
    seen: u64,
    /// Refusals that are not on the trail yet.
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
        if self.tried.len() >= MOST_TRIED && !self.tried.contains_key(what) {
            *self.tried.entry("other".to_owned()).or_default() += times;
        } else {
            *self.tried.entry(what.to_owned()).or_default() += times;
        }
    }

    fn join(&mut self, other: &Count) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        let told: u64 = other.tried.values().sum();
        for (what, times) in &other.tried {
            self.add(what, *times);
        }
        self.unwritten += other.unwritten.saturating_sub(told);
    }
}

fn minute(now: Timestamp) -> i64 {
    now.as_micros().div_euclid(60_000_000)
}

#[derive(Default)]
struct Table {
    open: HashMap<Key, Count>,
    /// Minutes that are over and not on the trail yet.
    over: HashMap<(Key, i64), Count>,
}

impl Table {
    fn close(&mut self, key: Key, count: Count) {
        if count.unwritten == 0 {
            return;
        }
        let at = (key, count.minute);
        // The trail cannot be written, or is slow: what is counted stays bounded, and no refusal is lost.
        let at = if self.over.len() < MOST_SOURCES || self.over.contains_key(&at) {
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

/// How a refusal that was counted is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// As what it is.
    Within {
        /// Whether the caller has to record it: it is in no summary.
        record: bool,
    },
    /// With 429, to come back after that many seconds.
    Above(u64),
}

/// The refusals of this process.
pub struct Refusals {
    table: Mutex<Table>,
    trusted: Networks,
    total: prometheus::IntCounter,
}

impl Refusals {
    /// None yet; the headers of these proxies are believed.
    pub fn new(trusted: Networks) -> Self {
        let total = prometheus::IntCounter::new(
            "candor_refusals_total",
            "Requests without a valid token or signature that this process refused",
        );
        // The name above is valid, which is all that can fail here.
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

    /// How often anything was refused.
    pub fn total(&self) -> &prometheus::IntCounter {
        &self.total
    }

    /// Where a request comes from. None where its connection is gone.
    pub fn source(&self, req: &HttpRequest) -> Option<Source> {
        let peer = req.peer_addr()?.ip();
        Some(client(peer, req.headers(), &self.trusted).into())
    }

    /// Counts a refusal of `what`, which holds neither a secret nor a name.
    pub fn count(&self, source: Option<Source>, door: Door, what: &str, now: Timestamp) -> Counted {
        self.total.inc();
        let most = door.most();
        let at_once = if matches!(door, Door::Integration(_)) {
            AT_ONCE
        } else {
            0
        };
        let mut table = self.table();
        let key = (source, door);
        let key = if table.open.len() < MOST_SOURCES || table.open.contains_key(&key) {
            key
        } else {
            (None, Door::Token)
        };
        // All those for which there is no room are in a summary.
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

    /// Counts a refusal of a request, and answers what it is answered with: `usually`, or 429 where there were too many.
    pub fn refuse(&self, req: &HttpRequest, door: Door, now: Timestamp, usually: Problem) -> Problem {
        // The route and not the path: that may hold a token.
        let route = req.match_pattern().unwrap_or_else(|| "unknown path".to_owned());
        let what = format!("{} {route}", req.method());
        match self.count(self.source(req), door, &what, now) {
            Counted::Within { .. } => usually,
            Counted::Above(seconds) => Problem::TooManyRefusals(seconds),
        }
    }

    /// Whether the source of a request was refused in this minute: then a look costs less than a transaction that fails.
    pub fn suspects(&self, req: &HttpRequest, now: Timestamp) -> bool {
        let key = (self.source(req), Door::Token);
        let table = self.table();
        let count = table
            .open
            .get(&key)
            .or_else(|| table.open.get(&(None, Door::Token)));
        count.is_some_and(|count| count.minute == minute(now))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is to be written out of the table: the minutes that are over, or all.
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

    /// Writes the summaries of the minutes that are over, or of all, in one transaction. What cannot be written stays.
    pub async fn write(&self, db: &Db, all: bool) {
        let due = self.due(db.clock().now(), all);
        if due.is_empty() {
            return;
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
        if let Err(error) = written {
            tracing::warn!(
                error = error.chain(),
                "refusals could not be put on the audit trail yet"
            );
            let mut table = self.table();
            for (key, _, count) in due {
                table.close(key, count);
            }
        }
    }
}

/// The events of what is due: one for each address and minute, and one for all that are too many.
fn summaries(due: &[(Key, i64, Count)]) -> Vec<Event> {
    // At the sign-in and elsewhere without a token is one event: the limits differ, not the kind.
    let mut merged: HashMap<(Option<Source>, Option<&str>, i64), Count> = HashMap::new();
    for ((source, door), minute, count) in due {
        let integration = match door {
            Door::Integration(id) => Some(id.as_str()),
            Door::Token | Door::SignIn => None,
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
    let rest = merged.split_off(merged.len().min(MOST_EVENTS));
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

/// Writes the summaries while the process runs, and the last ones when it stops.
pub struct Writer {
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Begins.
    pub fn start(refusals: Arc<Refusals>, db: Db) -> Self {
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            loop {
                let last = tokio::select! {
                    () = stopped.notified() => true,
                    () = tokio::time::sleep(EVERY) => false,
                };
                refusals.write(&db, last).await;
                if last {
                    return;
                }
            }
        });
        Writer { stop, task }
    }

    /// Writes what is left, then ends.
    pub async fn stop(self) {
        self.stop.notify_one();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the writer of refusals ended badly");
        }
    }
}
