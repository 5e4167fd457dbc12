//! The SMTP connections of the email channel. Each sender has its own connection.
//!
//! The transports of lettre keep Nagle's algorithm on, which takes 40 ms for each email on a local relay.
//! They also have no limits and no pipelining. So each sender uses lettre's `AsyncSmtpConnection` over its
//! own stream ([`wire`]). There are as many senders as the settings allow. A connection that hangs delays
//! only its own sender.
//!
//! - An email counts as sent only after a 2xx reply of the server to its last byte.
//! - An email that the server may have accepted is never repeated at once.
//! - No address and no credential ever appears in a log.

mod dialogue;
mod relay;
mod wire;

use std::time::{Duration, Instant};

use tokio::time::timeout;

pub use relay::{Relay, RelayStanding};

use super::channel::PossiblyReceived;
use super::email::Mail;
use super::outcome::Outcome;
use dialogue::{Dialogue, NoConnection, Transfer};

/// How the reason of an attempt begins that got no connection to the mail server.
pub const NO_CONNECTION: &str = "no connection to the mail server";
/// After this idle time, the server is asked with NOOP whether it still answers.
const ASK_AFTER: Duration = Duration::from_secs(5);

/// One sender. It has a relay and, while there are emails to send, a connection to it.
pub struct Sender {
    relay: Relay,
    open: Option<(Dialogue, Instant)>,
    possibly_received: PossiblyReceived,
}

impl Sender {
    /// Creates a sender without a connection.
    pub fn new(relay: Relay) -> Self {
        Sender {
            relay,
            open: None,
            possibly_received: PossiblyReceived::no(),
        }
    }

    /// Sends one email. If the server closed the open connection before this email, the sender opens another
    /// one, once. This is safe, because the server cannot have accepted the email.
    pub async fn deliver(&mut self, mail: &Mail) -> Outcome {
        self.possibly_received.reset();
        for _ in 0..2 {
            let mut dialogue = match self.connection().await {
                Ok(dialogue) => dialogue,
                // An error during the greeting or the authentication is about Candor and not about the
                // recipient.
                Err(NoConnection { step, reason }) => {
                    self.relay.is_ill(step);
                    return Outcome::Retry(None, format!("{NO_CONNECTION}: {reason}"));
                }
            };
            match dialogue.transfer(mail, &self.possibly_received).await {
                Transfer::Done(outcome) => {
                    if dialogue.is_usable() {
                        self.open = Some((dialogue, Instant::now()));
                    }
                    return outcome;
                }
                Transfer::Stale { limit } => {
                    if let Some(mails) = limit {
                        self.relay.learn_message_limit(mails);
                    }
                }
            }
        }
        Outcome::Retry(
            None,
            "the mail server closed two connections before it accepted the email".to_owned(),
        )
    }

    /// Returns the open connection if it still works, or opens a new one.
    async fn connection(&mut self) -> Result<Dialogue, NoConnection> {
        if let Some((mut dialogue, since)) = self.open.take() {
            let full = self
                .relay
                .message_limit()
                .is_some_and(|limit| dialogue.carried() >= limit)
                || dialogue.is_full();
            if full {
                dialogue.quit().await;
            } else if dialogue.listens() && (since.elapsed() < ASK_AFTER || dialogue.noop().await) {
                return Ok(dialogue);
            }
        }
        let dialogue = Dialogue::open(&self.relay).await?;
        self.relay.is_well();
        Ok(dialogue)
    }

    /// Closes the connection when there is nothing to send.
    pub async fn close(&mut self) {
        if let Some((mut dialogue, _)) = self.open.take() {
            // An error does not matter here, because the server may already have closed the connection.
            let _ = timeout(Duration::from_secs(2), dialogue.quit()).await;
        }
    }

    /// Returns the flag that says whether the server can have received the email that is being sent.
    pub fn possibly_received(&self) -> PossiblyReceived {
        self.possibly_received.clone()
    }

    /// Returns whether a connection is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Returns when the next connection may be tried, if the last ones failed.
    pub fn closed_until(&self) -> Option<Instant> {
        if self.is_open() {
            None
        } else {
            self.relay.closed_until()
        }
    }
}
