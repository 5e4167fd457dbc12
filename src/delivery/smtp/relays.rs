//! The mail servers of the settings: the one of `CANDOR_SMTP_URL`, and the one of `CANDOR_SMTP_URL_2` that takes over when
//! the first fails.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::relay::{Relay, RelayStanding};

/// One mail server, or two in their order. Clones share what is known about them.
#[derive(Clone)]
pub struct Relays(Arc<[Relay]>);

impl Relays {
    /// Parses the URLs of the settings. `authorities` is the file with certificate authorities, for both mail servers.
    ///
    /// # Errors
    /// The name of the setting, and a sentence that does not repeat a URL, because a URL may contain a password.
    pub fn of_settings(
        first: &str,
        second: Option<&str>,
        authorities: Option<&Path>,
    ) -> Result<Relays, (&'static str, String)> {
        let mut relays = Vec::with_capacity(2);
        for (setting, url) in [("smtp_url", Some(first)), ("smtp_url_2", second)] {
            let Some(url) = url else { continue };
            let relay = Relay::parse(url).map_err(|reason| (setting, reason))?;
            relays.push(match authorities {
                Some(file) => relay.trusting(file).map_err(|reason| ("smtp_ca_file", reason))?,
                None => relay,
            });
        }
        check_different(&relays)?;
        Ok(Relays(match relays.len() {
            2 => relays.into_iter().map(Relay::replaceable).collect(),
            _ => relays.into(),
        }))
    }

    /// Returns the mail servers in their order.
    pub fn all(&self) -> &[Relay] {
        &self.0
    }

    /// Returns the second mail server, if there is one.
    pub fn second(&self) -> Option<&Relay> {
        self.0.get(1)
    }

    /// Returns what this process knows about each mail server, in their order.
    pub fn standing(&self) -> Vec<RelayStanding> {
        self.0.iter().map(Relay::standing).collect()
    }

    /// Returns when the next connection may be tried, if none may be tried now.
    pub(super) fn closed_until(&self) -> Option<Instant> {
        if let [only] = self.all() {
            return only.closed_until();
        }
        let now = Instant::now();
        let mut soonest: Option<Instant> = None;
        for relay in self.all() {
            let until = relay.breaker_until(now)?;
            soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
        }
        soonest
    }

    /// Returns the mail server whose pause ends first.
    pub(super) fn next_to_try(&self) -> usize {
        let now = Instant::now();
        let places = self.all().iter().enumerate();
        let next = places.min_by_key(|(_, relay)| relay.breaker_until(now).unwrap_or(now));
        next.map_or(0, |(place, _)| place)
    }
}

fn check_different(relays: &[Relay]) -> Result<(), (&'static str, String)> {
    match relays {
        [first, second] if first.name() == second.name() => Err((
            "smtp_url_2",
            "is the same mail server as CANDOR_SMTP_URL; it must be another one".to_owned(),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_checked_and_no_password_is_repeated() {
        let parse = |first, second| Relays::of_settings(first, second, None).err();
        assert_eq!(parse("smtp://a:25", Some("smtp://b:25")), None);
        assert_eq!(parse("smtp://a:25", None), None);
        for (first, second, setting) in [
            ("smtp://a", "smtp://A:25", "smtp_url_2"),
            ("smtp://a", "https://user:s3cret@b", "smtp_url_2"),
            ("smtp:/", "smtp://b", "smtp_url"),
        ] {
            let (named, reason) = parse(first, Some(second)).unwrap();
            assert_eq!(named, setting, "{first} {second}");
            assert!(!reason.contains("s3cret"), "{reason}");
        }
    }
}
