//! How long to wait before the next attempt.

use std::time::Duration;

/// The waits between attempts. The last one repeats.
#[derive(Clone, Copy, Debug)]
pub struct Backoff<'a> {
    waits: &'a [Duration],
}

impl<'a> Backoff<'a> {
    /// A backoff with these waits. Without any, each wait is a minute.
    pub const fn new(waits: &'a [Duration]) -> Backoff<'a> {
        Backoff { waits }
    }

    /// The wait after this attempt, counted from 1.
    pub fn after(&self, attempt: i64) -> Duration {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(0);
        let last = self.waits.len().saturating_sub(1);
        self.waits
            .get(index.min(last))
            .copied()
            .unwrap_or(Duration::from_secs(60))
    }

    /// The wait after this attempt, up to a fifth shorter or longer by chance, so that not all attempts come at the same
    /// moment.
    pub fn spread_after(&self, attempt: i64) -> Duration {
        self.after(attempt).mul_f64(0.8 + 0.4 * chance())
    }
}

/// A number from 0 to 1. Without randomness it is a half: all wait equally long, and nothing else depends on it.
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
