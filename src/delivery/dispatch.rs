//! Chooses the next delivery. Claimed deliveries are kept by domain, so that a slow domain delays only its
//! own deliveries.
//!
//! Each domain has a queue and a limit for the number of its connections. The limit begins small and grows
//! with every successful delivery. It falls if the domain is slow while other domains wait, or if the domain
//! refuses deliveries for now. Settings can cap the number of connections and the number of deliveries per
//! time.
//!
//! A delivery is never handed out twice. A domain never waits while a connection is free that no other domain
//! wants.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The connections of a new domain, and of a domain that is slow while others wait.
const FIRST: usize = 2;
/// If no other domain wants a free connection, a domain may exceed its limit by one connection after this
/// time. The time is short enough for a slow server that is alone, and long enough for deliveries of other
/// domains to arrive.
const GRACE: Duration = Duration::from_millis(40);
/// A domain is slow if a delivery takes this many times as long as the average delivery. It must also take
/// longer than [`SLOW_LEAST`].
const SLOW_FACTOR: f64 = 4.0;
/// The duration, in seconds, above which a domain can count as slow.
const SLOW_LEAST: f64 = 0.1;
/// No more deliveries are claimed for a domain that has this many waiting for each of its connections.
const AHEAD: usize = 32;
/// The number of domains that are kept in memory. Above it, a domain is removed as soon as it has no
/// delivery.
const REMEMBERED: usize = 4_096;
/// The largest number of domains that one claim leaves out.
const LEFT_OUT: usize = 200;

/// The limits that the settings give for a domain.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Limit {
    connections: usize,
    /// The shortest time between the starts of two deliveries.
    pause: Option<Duration>,
}

/// The setting `CANDOR_DOMAIN_LIMITS`: the largest number of connections, and of deliveries per time, for
/// each domain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    by_domain: BTreeMap<String, Limit>,
    others: Option<Limit>,
}

impl Limits {
    /// Parses entries of the form `DOMAIN=CONNECTIONS[@COUNT/UNIT]`, separated by commas. The unit is s, m or
    /// h, and `*` stands for every domain without its own entry. Example: `example.com=4@20/s,*=16`.
    ///
    /// # Errors
    /// A sentence that names the wrong entry.
    pub fn parse(text: &str) -> Result<Limits, String> {
        let mut limits = Limits::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let wrong =
                || format!("'{entry}' is not DOMAIN=CONNECTIONS or DOMAIN=CONNECTIONS@COUNT/s (or /m, /h)");
            let (domain, rule) = entry.split_once('=').ok_or_else(wrong)?;
            let (connections, rate) = match rule.split_once('@') {
                Some((connections, rate)) => (connections, Some(rate)),
                None => (rule, None),
            };
            let connections = connections
                .trim()
                .parse()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(wrong)?;
            let pause = match rate {
                None => None,
                Some(rate) => {
                    let (count, unit) = rate.split_once('/').ok_or_else(wrong)?;
                    let count: u32 = count.trim().parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
                    let unit = match unit.trim() {
                        "s" => 1,
                        "m" => 60,
                        "h" => 3600,
                        _ => return Err(wrong()),
                    };
                    Some(Duration::from_secs(unit) / count)
                }
            };
            let limit = Limit { connections, pause };
            match domain.trim() {
                "" => return Err(wrong()),
                "*" => limits.others = Some(limit),
                domain => {
                    limits.by_domain.insert(domain.to_ascii_lowercase(), limit);
                }
            }
        }
        Ok(limits)
    }

    fn of(&self, domain: &str) -> Option<Limit> {
        self.by_domain.get(domain).copied().or(self.others)
    }
}

struct Domain<T> {
    queue: VecDeque<T>,
    in_use: usize,
    /// The number of connections that it may use now.
    limit: usize,
    /// The largest number of connections that it may ever use.
    most: usize,
    pause: Option<Duration>,
    not_before: Option<Instant>,
    /// When the domain last got an additional connection or reached its limit.
    grown: Option<Instant>,
    /// The recent average duration of a delivery, in seconds.
    takes: f64,
    in_ring: bool,
}

struct State<T> {
    domains: HashMap<Arc<str>, Domain<T>>,
    /// The domains with waiting deliveries, in the order in which they get a connection.
    ring: VecDeque<Arc<str>>,
    /// The recent average duration of a delivery to any domain, in seconds.
    typical: f64,
    closed: bool,
}

/// A delivery that was given to a sender. The sender returns it with [`Dispatcher::done`].
pub(super) struct Assignment<T> {
    pub(super) work: T,
    pub(super) domain: Arc<str>,
}

/// How a delivery pace. The limit of the domain depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PaceSignal {
    /// The server accepted or rejected the delivery permanently.
    Well,
    /// The attempt must be repeated.
    Refused,
    /// No attempt was made. The limit of the domain stays unchanged.
    Nowhere,
}

/// The queues of one channel in one process.
pub(super) struct Dispatcher<T> {
    state: Mutex<State<T>>,
    changed: Notify,
    concurrency: usize,
    limits: Limits,
}

impl<T> Dispatcher<T> {
    pub(super) fn new(concurrency: usize, limits: Limits) -> Self {
        Dispatcher {
            state: Mutex::new(State {
                domains: HashMap::new(),
                ring: VecDeque::new(),
                typical: 0.0,
                closed: false,
            }),
            changed: Notify::new(),
            concurrency,
            limits,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds claimed deliveries, each with its domain, and wakes senders.
    pub(super) fn push(&self, work: impl IntoIterator<Item = (String, T)>) {
        let mut added = 0;
        {
            let state = &mut *self.lock();
            for (name, work) in work {
                let name: Arc<str> = name.into();
                let domain = state.domains.entry(name.clone()).or_insert_with(|| {
                    let limit = self.limits.of(&name);
                    let most =
                        limit.map_or(self.concurrency, |limit| limit.connections.min(self.concurrency));
                    Domain {
                        queue: VecDeque::new(),
                        in_use: 0,
                        limit: FIRST.min(most),
                        most,
                        pause: limit.and_then(|limit| limit.pause),
                        not_before: None,
                        grown: None,
                        takes: 0.0,
                        in_ring: false,
                    }
                });
                domain.queue.push_back(work);
                added += 1;
                if !domain.in_ring {
                    domain.in_ring = true;
                    state.ring.push_back(name);
                }
            }
        }
        if added >= self.concurrency {
            return self.changed.notify_waiters();
        }
        // Wake one sender for each delivery. The senders that waited last still have their connections open.
        for _ in 0..added {
            self.changed.notify_last();
        }
    }

    /// Waits for the next delivery and returns it. Returns `None` when the dispatcher is closed.
    pub(super) async fn take(&self) -> Option<Assignment<T>> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Register before the check, so that a change between the check and the wait is not missed.
            changed.as_mut().enable();
            let earliest = {
                let mut state = self.lock();
                match state.next(Instant::now()) {
                    Next::Assignment(assignment) => return Some(assignment),
                    Next::At(_) | Next::Wait if state.closed => return None,
                    Next::At(at) => Some(at),
                    Next::Wait => None,
                }
            };
            match earliest {
                Some(at) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(at.into()) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Returns a delivery, with the way it pace and its duration.
    pub(super) fn done(&self, name: &Arc<str>, pace: PaceSignal, took: Duration) {
        let more = {
            let state = &mut *self.lock();
            let seconds = took.as_secs_f64();
            if pace != PaceSignal::Nowhere {
                state.typical = smooth(state.typical, seconds, 0.05);
            }
            let typical = state.typical;
            let others_wait = state.ring.iter().any(|other| other != name);
            let Some(domain) = state.domains.get_mut(name) else {
                return;
            };
            domain.in_use = domain.in_use.saturating_sub(1);
            match pace {
                PaceSignal::Nowhere => {}
                PaceSignal::Refused => {
                    domain.limit = domain.limit.saturating_sub(1).max(FIRST.min(domain.most))
                }
                PaceSignal::Well => {
                    domain.takes = smooth(domain.takes, seconds, 0.2);
                    let slow = domain.takes > SLOW_LEAST && domain.takes > typical * SLOW_FACTOR;
                    domain.limit = if slow && others_wait {
                        FIRST.min(domain.most)
                    } else {
                        (domain.limit + 1).min(domain.most)
                    };
                }
            }
            let more = !domain.queue.is_empty();
            if !more && domain.in_use == 0 && state.domains.len() > REMEMBERED {
                state.domains.remove(name);
            }
            more
        };
        // The sender that calls this takes the next delivery itself. A higher limit allows one more sender.
        if more {
            self.changed.notify_one();
        }
    }

    /// Returns the domains that have more deliveries waiting than can be sent soon. No more deliveries are
    /// claimed for them.
    pub(super) fn crowded(&self) -> Vec<String> {
        self.lock()
            .domains
            .iter()
            .filter(|(_, domain)| domain.queue.len() >= AHEAD * domain.limit)
            .map(|(name, _)| name.to_string())
            .take(LEFT_OUT)
            .collect()
    }

    /// Removes and returns the waiting deliveries that must not be made any more.
    pub(super) fn extract(&self, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let state = &mut *self.lock();
        let mut out = Vec::new();
        for domain in state.domains.values_mut() {
            if domain.queue.iter().any(&unwanted) {
                let (gone, kept) = std::mem::take(&mut domain.queue).into_iter().partition(&unwanted);
                domain.queue = kept;
                out.extend::<VecDeque<T>>(gone);
            }
        }
        out
    }

    /// Closes the dispatcher. Waiting senders get `None`, and the deliveries that still wait are returned.
    pub(super) fn close(&self) -> Vec<T> {
        let left = {
            let state = &mut *self.lock();
            state.closed = true;
            state.ring.clear();
            state
                .domains
                .values_mut()
                .flat_map(|domain| {
                    domain.in_ring = false;
                    std::mem::take(&mut domain.queue)
                })
                .collect()
        };
        self.changed.notify_waiters();
        left
    }
}

enum Next<T> {
    Assignment(Assignment<T>),
    /// No delivery may start before this time.
    At(Instant),
    /// No delivery may start until something changes.
    Wait,
}

impl<T> State<T> {
    fn next(&mut self, now: Instant) -> Next<T> {
        let mut earliest: Option<Instant> = None;
        let mut soonest = |at: Instant| earliest = Some(earliest.map_or(at, |other: Instant| other.min(at)));
        for may_grow in [false, true] {
            for _ in 0..self.ring.len() {
                let Some(name) = self.ring.pop_front() else { break };
                let Some(domain) = self.domains.get_mut(&name) else {
                    continue;
                };
                let waits_until = domain.waits_until(now, may_grow);
                if waits_until.is_none()
                    && let Some(work) = domain.queue.pop_front()
                {
                    domain.begin(now);
                    if domain.queue.is_empty() {
                        domain.in_ring = false;
                    } else {
                        self.ring.push_back(name.clone());
                    }
                    return Next::Assignment(Assignment { work, domain: name });
                }
                if domain.queue.is_empty() {
                    domain.in_ring = false;
                    continue;
                }
                self.ring.push_back(name);
                if let Some(Some(at)) = waits_until {
                    soonest(at);
                }
            }
        }
        earliest.map_or(Next::Wait, Next::At)
    }
}

impl<T> Domain<T> {
    /// Returns `None` if the next delivery of the domain may start now. Otherwise the inner value is the time
    /// at which it may start, or `None` if it must wait for another delivery to end.
    fn waits_until(&mut self, now: Instant, may_grow: bool) -> Option<Option<Instant>> {
        if let Some(at) = self.not_before.filter(|at| *at > now) {
            return Some(Some(at));
        }
        if self.in_use < self.limit {
            return None;
        }
        if self.limit >= self.most {
            return Some(None);
        }
        let at = *self.grown.get_or_insert(now) + GRACE;
        if may_grow && at <= now {
            self.limit += 1;
            self.grown = Some(now);
            return None;
        }
        Some(Some(at))
    }

    fn begin(&mut self, now: Instant) {
        self.in_use += 1;
        if self.in_use == self.limit {
            self.grown = Some(now);
        }
        if let Some(pause) = self.pause {
            self.not_before = Some(now + pause);
        }
    }
}

fn smooth(before: f64, now: f64, weight: f64) -> f64 {
    if before == 0.0 {
        now
    } else {
        before + (now - before) * weight
    }
}
