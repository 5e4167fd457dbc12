//! The mail channel's way out: SMTP connections of our own, each held by one sender.
//!
//! lettre's transports leave Nagle's algorithm on, which costs 40 ms a mail on a local relay, cap nothing and pipeline
//! nothing. So each sender keeps one of lettre's `AsyncSmtpConnection`s over a [`wire`] of ours, and there are as many
//! senders as the settings allow. One that hangs holds up nobody but itself.
//!
//! Must never happen here: a mail that counts as sent without the server's 2xx after the last byte, a mail that is tried
//! again at once after the server may have taken it, or an address or a credential in a log.

mod dialogue;
mod relay;
mod wire;

use std::time::{Duration, Instant};

use tokio::time::timeout;

pub use relay::Relay;

use super::channel::Doubt;
use super::{Mail, Outcome};
use dialogue::{Dialogue, Transfer};

/// How long a connection may idle before the server is asked whether it still listens.
const ASK_AFTER: Duration = Duration::from_secs(5);

/// One sender: a relay and, while there is work, a connection to it.
pub struct Sender {
    relay: Relay,
    open: Option<(Dialogue, Instant)>,
    doubt: Doubt,
}

impl Sender {
    /// A sender without a connection yet.
    pub fn new(relay: Relay) -> Self {
        Sender {
            relay,
            open: None,
            doubt: Doubt::none(),
        }
    }

    /// Sends one mail. A connection that turns out to have ended before this mail is replaced once, at no cost to the
    /// mail: the server cannot have taken it.
    pub async fn deliver(&mut self, mail: &Mail) -> Outcome {
        self.doubt.begin();
        for _ in 0..2 {
            let mut dialogue = match self.connection().await {
                Ok(dialogue) => dialogue,
                // Whatever the server says while greeting or signing in is about us, not about the recipient.
                Err(reason) => {
                    self.relay.is_ill();
                    return Outcome::Retry(None, format!("no connection to the mail server: {reason}"));
                }
            };
            match dialogue.transfer(mail, &self.doubt).await {
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
            "the mail server ended two connections before the mail".to_owned(),
        )
    }

    /// The open connection, where it still serves, or a new one.
    async fn connection(&mut self) -> Result<Dialogue, String> {
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

    /// Says good-bye, when there is nothing to send.
    pub async fn close(&mut self) {
        if let Some((mut dialogue, _)) = self.open.take() {
            // The server may have hung up already; then there is nobody to say it to.
            let _ = timeout(Duration::from_secs(2), dialogue.quit()).await;
        }
    }

    /// Tells whether the server may have the mail that is being sent.
    pub fn doubt(&self) -> Doubt {
        self.doubt.clone()
    }

    /// Whether a connection is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// When the next connection may be tried, where the last ones failed.
    pub fn closed_until(&self) -> Option<Instant> {
        if self.is_open() {
            None
        } else {
            self.relay.closed_until()
        }
    }
}
