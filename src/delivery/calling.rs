//! The common part of all channels to systems of accounts. Each channel takes a call and returns an outcome.
//!
//! The planning, the freezing, the queue, the leases, the audit trail, the API and the pages know these
//! channels only by name. A new channel needs one file that implements [`EndpointChannel`], and one line in
//! [`Endpoints::builtin`](super::endpoints::Endpoints::builtin). See `docs/channels.md`.
//!
//! A channel never reads or writes the database, and never decides who is notified.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::channel::{Channel, Pending, Sender};
use super::outcome::Outcome;
use super::task::{Recipient, Task};
use crate::auth::Links;
use crate::base::time::{Clock, Timestamp};
use crate::egress::client::Unanswered;
use crate::notice::payload::{self, Payload};

/// How long a delivery to an endpoint is tried. It is longer than for an email, because a system that fails
/// may be repaired only after a weekend.
pub const LIFETIME: Duration = Duration::from_secs(4 * 24 * 3600);

/// How long one call may take.
pub const MAX_PATIENCE: Duration = Duration::from_secs(20);

/// The largest number of calls of one channel at the same time. Most calls wait for a distant server, so this
/// number can be high.
const CALLS: usize = 64;

/// One attempt to call an endpoint.
#[derive(Clone)]
pub struct Call {
    /// The URL of the endpoint.
    pub url: String,
    /// The secret of the endpoint, in the form `whsec_…`. Empty if the URL is the secret.
    pub secret: String,
    /// The ID of the message. It is the same in every attempt, and no other message has it.
    pub id: String,
    /// The attempt number, from 1.
    pub attempt: u32,
    /// The time of this attempt. The signature covers it, and a `Retry-After` with a date is compared with
    /// it.
    pub now: Timestamp,
    /// The content of the call.
    pub payload: Payload,
    /// The name of the company that sends the notice.
    pub sender: String,
    /// The page on which the person answers, or reads more. Only for a channel to people.
    pub link: Option<String>,
}

impl std::fmt::Debug for Call {
    /// Leaves out the secret, and the URL, because a URL may contain a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// A channel to systems of accounts.
pub trait EndpointChannel: Send + Sync {
    /// Returns the name that an endpoint has in its `channel`. It is never `email`, which is the channel to
    /// people.
    fn name(&self) -> &'static str;

    /// Checks the URL of a new endpoint and returns its normal form.
    ///
    /// # Errors
    /// A sentence for the caller, which does not repeat the URL.
    fn check(&self, url: &str) -> std::result::Result<String, String>;

    /// Returns whether the URL itself is a secret, because whoever knows it can send. It is then stored sealed, in the place of the
    /// signing secret, and shown nowhere.
    fn url_is_secret(&self) -> bool {
        false
    }

    /// Returns whether the channel reaches a person. Its endpoints belong to people, and all others to accounts.
    fn is_for_people(&self) -> bool {
        false
    }

    /// Returns the waits between attempts. The last one repeats until the delivery expires.
    fn schedule(&self) -> &[Duration];

    /// Makes one attempt, which may take at most [`MAX_PATIENCE`].
    fn deliver<'a>(&'a self, call: &'a Call) -> Pending<'a, Outcome>;
}

/// Turns the tasks of the queue into calls of a channel.
#[derive(Clone)]
pub(super) struct Calling {
    pub(super) channel: Arc<dyn EndpointChannel>,
    pub(super) clock: Clock,
    pub(super) links: Links,
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
                Ok(call) => timeout(MAX_PATIENCE, self.channel.deliver(&call))
                    .await
                    .unwrap_or_else(|_| {
                        Outcome::Retry(None, "the channel did not finish in time".to_owned())
                    }),
                Err(reason) => Outcome::Failed(reason.to_owned()),
            }
        })
    }
}

impl Calling {
    fn call(&self, task: &Task) -> std::result::Result<Call, &'static str> {
        let Recipient::Endpoint { own, secret, email } = &task.to else {
            return Err("this is for people");
        };
        let secret = secret
            .clone()
            .ok_or("the endpoint was disabled or deleted after the notice was sent")?;
        let (claimed, notice) = (&task.claimed, &task.notice);
        let (url, secret) = url_and_secret(self.channel.as_ref(), &claimed.address, secret);
        Ok(Call {
            url,
            secret,
            id: call_id(&claimed.message_id),
            attempt: u32::try_from(claimed.attempt).unwrap_or(u32::MAX),
            now: self.clock.now(),
            payload: payload::payload(&notice.notice, &notice.content, own, notice.queued_at),
            sender: notice.content.sender.clone(),
            link: email.map(|email| match notice.content.phase.asks() {
                true => self.links.answers(email),
                false => self.links.mine(email),
            }),
        })
    }
}

/// Returns the URL to call and the secret to sign with, from the URL that is shown and the secret that is stored.
pub fn url_and_secret(channel: &dyn EndpointChannel, shown: &str, secret: String) -> (String, String) {
    match channel.url_is_secret() {
        true => (secret, String::new()),
        false => (shown.to_owned(), secret),
    }
}

/// Returns the outcome of a request that got no answer.
pub fn unanswered(reason: Unanswered) -> Outcome {
    match reason {
        Unanswered::Refused(reason) => Outcome::Failed(reason),
        // Whoever gets a call twice knows it by its ID.
        Unanswered::Temporary(reason) | Unanswered::Lost(reason) => Outcome::Retry(None, reason),
    }
}

/// Makes the ID of a call from the Message-ID of its delivery: `msg_`, the notice, and the position in its
/// frozen list.
pub fn call_id(message_id: &str) -> String {
    let local = message_id.split('@').next().unwrap_or_default();
    match local.split_once('.') {
        Some((ordinal, notice)) => format!("msg_{}_{ordinal}", notice.replace('-', "")),
        None => format!("msg_{local}"),
    }
}
