//! The circuit breaker of a mail server: whether it gets emails at the moment, if there is another mail server.
//!
//! ```text
//! closed ─(several failures in a row, or half of the last ones)─► open ─(the pause ends)─► one probe ─► closed
//!                                                                   ▲                          │ fails
//!                                                                   └────(a longer pause)──────┘
//! ```
//!
//! The breaker knows no email and does no I/O. Whoever uses it passes the time.

use std::time::{Duration, Instant};

/// How many failures in a row open the breaker.
const IN_A_ROW: u32 = 3;
/// The number of the last attempts whose share of failures counts.
const WINDOW: u32 = 20;
/// The number of attempts from which on the share of failures counts.
const ENOUGH: u32 = 10;
/// The first pause of an open breaker. It doubles with every probe that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause of an open breaker.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After this time, a probe that gave no result counts as lost, and another one is admitted.
const PROBE: Duration = Duration::from_secs(120);
/// When somebody who waits for a probe looks again.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The mail server gets emails.
    Closed,
    /// The mail server gets nothing until this time.
    Open(Instant),
    /// One attempt finds out whether the mail server works again. If it gives no result until this time, it is lost.
    Probing(Instant),
}

/// The circuit breaker of one mail server.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    in_a_row: u32,
    /// The last attempts, one bit each. A set bit is a failure.
    recent: u32,
    seen: u32,
    /// The number of probes in a row that failed.
    failed_probes: u32,
    /// When it opened. A probe that fails does not change this.
    since: Option<Instant>,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker {
            state: State::Closed,
            in_a_row: 0,
            recent: 0,
            seen: 0,
            failed_probes: 0,
            since: None,
        }
    }
}

impl Breaker {
    /// Returns whether the mail server may be used now. When a pause has ended, exactly one caller gets `true`, and what
    /// it then reports decides for all.
    pub fn admits(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open(until) | State::Probing(until) if until > now => false,
            State::Open(_) | State::Probing(_) => {
                self.state = State::Probing(now + PROBE);
                true
            }
        }
    }

    #[cfg(test)]
    fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Returns since when the mail server gets no emails. `None` if it gets them.
    pub fn open_since(&self) -> Option<Instant> {
        self.since
    }

    /// Returns when the mail server may be tried again. `None` if it may be tried now.
    pub fn closed_until(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Open(until) => Some(until).filter(|until| *until > now),
            State::Probing(until) => Some(until.min(now + LOOK)).filter(|until| *until > now),
        }
    }

    /// Records that the mail server did its work. It also did so if it rejected a mailbox.
    pub fn succeeded(&mut self) {
        match self.state {
            State::Closed => self.count(false),
            // An email that was under way when the breaker opened proves nothing about new connections.
            State::Open(_) => {}
            State::Probing(_) => *self = Breaker::default(),
        }
    }

    /// Records that the mail server did not do its work. `spread` is a random factor around 1 for the pause.
    pub fn failed(&mut self, now: Instant, spread: f64) {
        self.count(true);
        match self.state {
            State::Closed => {
                let share = self.seen >= ENOUGH && self.recent.count_ones() * 2 >= self.seen;
                if self.in_a_row >= IN_A_ROW || share {
                    self.since = Some(now);
                    self.state = State::Open(now + FIRST_PAUSE.mul_f64(spread));
                }
            }
            State::Open(_) => {}
            State::Probing(_) => {
                self.failed_probes = self.failed_probes.saturating_add(1).min(16);
                let pause = FIRST_PAUSE
                    .saturating_mul(2_u32.saturating_pow(self.failed_probes))
                    .min(LONGEST_PAUSE);
                self.state = State::Open(now + pause.mul_f64(spread));
            }
        }
    }

    fn count(&mut self, failure: bool) {
        self.in_a_row = match failure {
            true => self.in_a_row.saturating_add(1),
            false => 0,
        };
        self.recent = ((self.recent << 1) | u32::from(failure)) & ((1 << WINDOW) - 1);
        self.seen = (self.seen + 1).min(WINDOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_admits_one_probe() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..IN_A_ROW {
            assert!(breaker.admits(start));
            breaker.failed(start, 1.0);
        }
        assert!(!breaker.admits(start));
        assert_eq!(breaker.closed_until(start), Some(start + FIRST_PAUSE));
        assert_eq!(breaker.open_since(), Some(start));
        let later = start + FIRST_PAUSE;
        assert!(breaker.admits(later), "the probe");
        assert!(!breaker.admits(later), "only one probe");
        breaker.failed(later, 1.0);
        assert_eq!(breaker.closed_until(later), Some(later + seconds(2)), "longer");
        assert_eq!(breaker.open_since(), Some(start));
        let again = later + seconds(2);
        assert!(breaker.admits(again));
        breaker.succeeded();
        assert!(breaker.admits(again) && breaker.admits(again));
        assert_eq!(breaker.open_since(), None);
    }

    #[test]
    fn it_opens_at_a_share_of_failures() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        let mut made = 0;
        while breaker.is_closed() {
            assert!(made < 100, "it never opens");
            match made % 2 {
                0 => breaker.succeeded(),
                _ => breaker.failed(now, 1.0),
            }
            made += 1;
        }
        assert_eq!(made, ENOUGH);
        let mut rarely = Breaker::default();
        for one in 0..1_000 {
            match one % 3 {
                0 => rarely.failed(now, 1.0),
                _ => rarely.succeeded(),
            }
        }
        assert!(rarely.is_closed(), "one in three is below the share");
    }

    #[test]
    fn a_late_success_proves_nothing_and_a_lost_probe_is_replaced() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..IN_A_ROW {
            breaker.failed(start, 1.0);
        }
        breaker.succeeded();
        assert!(!breaker.is_closed());
        let later = start + FIRST_PAUSE;
        assert!(breaker.admits(later) && !breaker.admits(later + seconds(60)));
        assert!(breaker.admits(later + PROBE));
    }

    #[test]
    fn the_pause_has_an_end() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..100 {
            breaker.failed(now, 1.0);
            if let Some(until) = breaker.closed_until(now) {
                assert!(until - now <= LONGEST_PAUSE);
                now = until;
                assert!(breaker.admits(now));
            }
        }
    }
}
