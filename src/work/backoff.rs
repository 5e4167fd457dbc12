//! The waits between the attempts of background work.

use std::time::Duration;

/// The waits between attempts. The last one repeats.
#[derive(Clone, Copy, Debug)]
pub struct Backoff<'a> {
    waits: &'a [Duration],
}

impl<'a> Backoff<'a> {
    /// Creates a backoff with these waits. If there are none, each wait is one minute.
    pub const fn new(waits: &'a [Duration]) -> Backoff<'a> {
        Backoff { waits }
    }

    /// Returns the wait after this attempt number, from 1.
    pub fn after(&self, attempt: i64) -> Duration {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(0);
        let last = self.waits.len().saturating_sub(1);
        self.waits
            .get(index.min(last))
            .copied()
            .unwrap_or(Duration::from_secs(60))
    }

    /// Returns the wait after this attempt number, up to a fifth shorter or longer at random, so that not all
    /// attempts happen at the same time.
    pub fn spread_after(&self, attempt: i64) -> Duration {
        self.after(attempt).mul_f64(0.8 + 0.4 * chance())
    }
}

/// Returns a random number from 0 to 1. If the operating system has no random bytes, it returns 0.5, so that
/// all waits are equal. Nothing else depends on the number.
pub fn chance() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_wait_repeats_and_attempts_begin_at_one() {
        let waits = [Duration::from_secs(1), Duration::from_secs(5)];
        let backoff = Backoff::new(&waits);
        let seconds = |attempt| backoff.after(attempt).as_secs();
        assert_eq!(
            [seconds(1), seconds(2), seconds(3), seconds(i64::MAX)],
            [1, 5, 5, 5]
        );
        assert_eq!([seconds(0), seconds(-3), seconds(i64::MIN)], [1, 1, 1]);
        assert_eq!(Backoff::new(&[]).after(1), Duration::from_secs(60));
    }

    #[test]
    fn a_spread_wait_differs_by_a_fifth_at_most() {
        let waits = [Duration::from_secs(100)];
        for _ in 0..1_000 {
            let wait = Backoff::new(&waits).spread_after(1).as_secs_f64();
            assert!((80.0..=120.0).contains(&wait), "{wait}");
        }
    }
}
