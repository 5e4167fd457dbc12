//! Limits how often something may be asked for from one network address. Each process counts separately, in memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::client::Source;
use crate::base::time::Timestamp;

/// The largest number of addresses that are counted separately. All others are counted together.
const MAX_SOURCES: usize = 10_000;
/// The time in which requests are counted.
const PERIOD: Duration = Duration::from_secs(3_600);

/// How often each address asked in the current hour.
#[derive(Debug)]
pub struct SourceLimit {
    /// How often an address may ask in an hour.
    most: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    period: i64,
    by_source: HashMap<Option<Source>, u32>,
}

impl SourceLimit {
    /// Creates a limit of `most` requests in an hour.
    pub fn new(most: u32) -> Self {
        SourceLimit {
            most,
            counts: Mutex::default(),
        }
    }

    /// Counts a request. If it is one too many, returns the number of seconds after which the address may ask again.
    pub fn ask(&self, source: Option<Source>, now: Timestamp) -> Result<(), u64> {
        let length = PERIOD.as_secs() as i64;
        let (seconds, _) = now.unix();
        let seconds = seconds as i64;
        let period = seconds.div_euclid(length);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.period != period {
            *counts = Counts {
                period,
                by_source: HashMap::new(),
            };
        }
        let known = counts.by_source.contains_key(&source);
        let source = match known || counts.by_source.len() < MAX_SOURCES {
            true => source,
            false => None,
        };
        let count = counts.by_source.entry(source).or_default();
        *count = count.saturating_add(1);
        match *count <= self.most {
            true => Ok(()),
            false => Err((length - seconds.rem_euclid(length)).unsigned_abs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn each_address_has_its_own_count_in_each_hour() {
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let source = |text: &str| Some(Source::from(text.parse::<IpAddr>().unwrap()));
        let limit = SourceLimit::new(2);
        let noon = at("2024-03-14T12:00:00Z");
        for _ in 0..2 {
            assert_eq!(limit.ask(source("192.0.2.1"), noon), Ok(()));
        }
        assert_eq!(limit.ask(source("192.0.2.1"), noon), Err(3_600));
        assert_eq!(limit.ask(source("192.0.2.2"), noon), Ok(()));
        // Addresses of one IPv6 network belong together.
        assert_eq!(limit.ask(source("2001:db8::1"), noon), Ok(()));
        assert_eq!(limit.ask(source("2001:db8::2"), noon), Ok(()));
        assert_eq!(
            limit.ask(source("2001:db8::3"), at("2024-03-14T12:59:30Z")),
            Err(30)
        );
        assert_eq!(limit.ask(source("192.0.2.1"), at("2024-03-14T13:00:00Z")), Ok(()));
    }
}
