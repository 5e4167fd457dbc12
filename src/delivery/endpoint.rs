//! What a channel to an account's own systems is: something that takes a call and answers an outcome.
//!
//! Planning, freezing, the queue, claims, leases, the record, the API and the pages know channels by their names alone.
//! A channel of its own is one file that implements [`Channel`], and one line in [`Channels::builtin`]; see
//! `docs/channels.md`.
//!
//! Must never happen here: a channel that reads or writes the database, or one that decides by itself who is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::Outcome;
use super::webhook::Webhook;
use crate::egress::Policy;
use crate::egress::client::Unanswered;
use crate::error::Result;
use crate::notice::payload::Payload;
use crate::time::Timestamp;

/// How long a delivery to an endpoint is tried before it is given up. Longer than a mail: it is a machine that is mended
/// after the weekend, not a person who needs to know now.
pub const LIFETIME: Duration = Duration::from_secs(4 * 24 * 3600);

/// One attempt to tell an endpoint something.
#[derive(Clone)]
pub struct Call {
    /// Where.
    pub url: String,
    /// The endpoint's secret, `whsec_…`.
    pub secret: String,
    /// Names what is told: the same in every attempt, and never used for anything else.
    pub id: String,
    /// The how-many-th attempt this is, from 1.
    pub attempt: u32,
    /// The present.
    pub now: Timestamp,
    /// What is told.
    pub payload: Payload,
}

impl std::fmt::Debug for Call {
    /// Without the secret, and without the URL, which may hold one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// A way to speak to an account's own systems.
pub trait Channel: Send + Sync {
    /// Its name, as in an endpoint's `channel`. Never `email`, which is the people's.
    fn name(&self) -> &'static str;

    /// Checks the URL of a new endpoint and gives its normal form.
    ///
    /// # Errors
    /// A sentence for the caller, which does not repeat the URL.
    fn check(&self, url: &str) -> std::result::Result<String, String>;

    /// Makes one attempt. Ends within [`MOST_PATIENCE`].
    fn deliver<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Outcome>;
}

/// How long an attempt may take. Well inside a lease: the outcome is recorded before the claim ends.
pub const MOST_PATIENCE: Duration = Duration::from_secs(20);

/// The channels of a process, by name.
#[derive(Clone, Default)]
pub struct Channels(Arc<BTreeMap<&'static str, Arc<dyn Channel>>>);

impl Channels {
    /// Those that come with Candor.
    ///
    /// # Errors
    /// `Internal` where one cannot be set up.
    pub fn builtin(policy: Policy) -> Result<Channels> {
        Ok(Channels::default().with(Arc::new(Webhook::new(policy)?)))
    }

    /// The same and one more.
    pub fn with(&self, channel: Arc<dyn Channel>) -> Channels {
        let mut all = BTreeMap::clone(&self.0);
        all.insert(channel.name(), channel);
        Channels(Arc::new(all))
    }

    /// The channel of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Channel>> {
        self.0.get(name)
    }

    /// All names.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.keys().copied().collect()
    }
}

/// The wait before the next attempt by a schedule whose last wait repeats. Spread by up to a fifth, so that an endpoint
/// that comes back is not met by everything at once.
pub fn wait(schedule: &[Duration], call: &Call) -> Duration {
    let index = (call.attempt.saturating_sub(1) as usize).min(schedule.len().saturating_sub(1));
    let base = schedule.get(index).copied().unwrap_or(Duration::from_secs(60));
    // The spread is the delivery's own, not random: nothing here needs to be unpredictable.
    let own = call.id.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    base + base.mul_f64(f64::from(own % 21) / 100.0)
}

/// What follows from there being no answer to a request; where it may help, it is tried again after `wait`.
pub fn unanswered(reason: Unanswered, wait: Duration) -> Outcome {
    match reason {
        Unanswered::Refused(reason) => Outcome::Failed(reason),
        Unanswered::Away(reason) => Outcome::Retry(Some(wait), reason),
    }
}

/// What names a delivery to an endpoint, made from its Message-ID: `msg_`, the notice and the place in its list.
pub fn call_id(message_id: &str) -> String {
    let local = message_id.split('@').next().unwrap_or_default();
    match local.split_once('.') {
        Some((ordinal, notice)) => format!("msg_{}_{ordinal}", notice.replace('-', "")),
        None => format!("msg_{local}"),
    }
}
