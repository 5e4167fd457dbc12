//! Channels to accounts' own systems: each takes a call and answers an outcome, and what all of them share is here.
//!
//! Planning, freezing, the queue, claims, leases, the record, the API and the pages know these channels by their names
//! alone. One more is one file that implements [`EndpointChannel`], and one line in [`Endpoints::builtin`]; see
//! `docs/channels.md`.
//!
//! Must never happen here: a channel that reads or writes the database, or one that decides by itself who is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Outcome;
use super::channel::{Channel, Pending, Recipient, Sender, Task};
use super::webhook::Webhook;
use crate::base::error::Result;
use crate::base::time::{Clock, Timestamp};
use crate::egress::Policy;
use crate::egress::client::Unanswered;
use crate::notice::payload::{self, Payload};

/// How long a delivery to an endpoint is tried before it is given up. Longer than a mail: it is a machine that is mended
/// after the weekend, not a person who needs to know now.
pub const LIFETIME: Duration = Duration::from_secs(4 * 24 * 3600);

/// How long one call may take.
pub const MOST_PATIENCE: Duration = Duration::from_secs(20);

/// Calls of one channel at the same time at most. Most of them wait for a distant server.
const CALLS: usize = 64;

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
pub trait EndpointChannel: Send + Sync {
    /// Its name, as in an endpoint's `channel`. Never `email`, which is the people's.
    fn name(&self) -> &'static str;

    /// Checks the URL of a new endpoint and gives its normal form.
    ///
    /// # Errors
    /// A sentence for the caller, which does not repeat the URL.
    fn check(&self, url: &str) -> std::result::Result<String, String>;

    /// Waits between attempts; the last one repeats until the delivery is given up.
    fn schedule(&self) -> &[Duration];

    /// Makes one attempt, within [`MOST_PATIENCE`].
    fn deliver<'a>(&'a self, call: &'a Call) -> Pending<'a, Outcome>;
}

/// The channels to endpoints of a process, by name.
#[derive(Clone, Default)]
pub struct Endpoints(Arc<BTreeMap<&'static str, Arc<dyn EndpointChannel>>>);

impl Endpoints {
    /// Those that come with Candor.
    ///
    /// # Errors
    /// `Internal` where one cannot be set up.
    pub fn builtin(policy: Policy) -> Result<Endpoints> {
        Ok(Endpoints::default().with(Arc::new(Webhook::new(policy)?)))
    }

    /// The same and one more.
    pub fn with(&self, channel: Arc<dyn EndpointChannel>) -> Endpoints {
        let mut all = BTreeMap::clone(&self.0);
        all.insert(channel.name(), channel);
        Endpoints(Arc::new(all))
    }

    /// The channel of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn EndpointChannel>> {
        self.0.get(name)
    }

    /// All names.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.keys().copied().collect()
    }

    /// As the queue knows channels.
    pub fn for_queue(&self, clock: &Clock) -> Vec<Arc<dyn Channel>> {
        self.0
            .values()
            .map(|channel| {
                Arc::new(Calling {
                    channel: channel.clone(),
                    clock: clock.clone(),
                }) as Arc<dyn Channel>
            })
            .collect()
    }
}

/// Makes calls of the queue's tasks.
#[derive(Clone)]
struct Calling {
    channel: Arc<dyn EndpointChannel>,
    clock: Clock,
}

impl Channel for Calling {
    fn name(&self) -> &'static str {
        self.channel.name()
    }

    fn concurrency(&self) -> usize {
        CALLS
    }

    fn schedule(&self) -> &[Duration] {
        self.channel.schedule()
    }

    fn sender(&self) -> Box<dyn Sender> {
        Box::new(self.clone())
    }
}

impl Sender for Calling {
    fn deliver<'a>(&'a mut self, task: &'a Task) -> Pending<'a, Outcome> {
        Box::pin(async move {
            match self.call(task) {
                Ok(call) => timeout(MOST_PATIENCE, self.channel.deliver(&call))
                    .await
                    .unwrap_or_else(|_| Outcome::Retry(None, "the channel did not end in time".to_owned())),
                Err(reason) => Outcome::Failed(reason.to_owned()),
            }
        })
    }
}

impl Calling {
    fn call(&self, task: &Task) -> std::result::Result<Call, &'static str> {
        let Recipient::Endpoint { own, secret } = &task.to else {
            return Err("this is for people");
        };
        let secret = secret
            .clone()
            .ok_or("the endpoint was disabled or deleted since")?;
        let (claimed, notice) = (&task.claimed, &task.notice);
        Ok(Call {
            url: claimed.address.clone(),
            secret,
            id: call_id(&claimed.message_id),
            attempt: u32::try_from(claimed.attempt).unwrap_or(u32::MAX),
            now: self.clock.now(),
            payload: payload::payload(&notice.notice, &notice.content, own, notice.queued_at),
        })
    }
}

/// What follows from there being no answer to a request.
pub fn unanswered(reason: Unanswered) -> Outcome {
    match reason {
        Unanswered::Refused(reason) => Outcome::Failed(reason),
        Unanswered::Away(reason) => Outcome::Retry(None, reason),
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
