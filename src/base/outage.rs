//! Whether something fails at the moment, so that the log gets one line when it begins to fail and one when it works again,
//! instead of one for each attempt.

use std::sync::atomic::{AtomicBool, Ordering};

/// The state of one thing that may fail many times in a row.
#[derive(Debug, Default)]
pub struct Outage(AtomicBool);

impl Outage {
    /// Nothing has failed yet.
    pub const fn new() -> Outage {
        Outage(AtomicBool::new(false))
    }

    /// Notes a failure. Returns whether it is the first one since the last success: then it belongs in the log.
    pub fn begins(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }

    /// Notes a success. Returns whether it is the first one after a failure: then it belongs in the log.
    pub fn ends(&self) -> bool {
        // Successes are frequent, and a load costs less than a swap.
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_told() {
        let outage = Outage::new();
        let told = [
            outage.ends(),
            outage.begins(),
            outage.begins(),
            outage.ends(),
            outage.ends(),
            outage.begins(),
        ];
        assert_eq!(told, [false, true, false, true, false, true]);
    }
}
