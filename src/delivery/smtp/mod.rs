//! The SMTP connections of the email channel. Each sender has its own connection.
//!
//! The transports of lettre keep Nagle's algorithm on, which takes 40 ms for each email on a local relay.
//! They also have no limits and no pipelining. So each sender uses lettre's `AsyncSmtpConnection` over its
//! own stream ([`wire`]). There are as many senders as the settings allow. A connection that hangs delays
//! only its own sender.
//!
//! - An email counts as sent only after a 2xx reply of the server to its last byte.
//! - An email that the server may have accepted is never repeated at once.
//! - An email that a server may have accepted is never given to the other one at once.
//! - No address and no credential ever appears in a log.

mod breaker;
mod dialogue;
mod relay;
mod relays;
mod trouble;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

pub use relay::{Relay, RelayStanding};
pub use relays::Relays;

use super::channel::PossiblyReceived;
use super::email::Mail;
use super::outcome::Outcome;
use dialogue::{Dialogue, NoConnection, Transfer};

/// How the reason of an attempt begins that got no connection to the mail server.
pub const NO_CONNECTION: &str = "no connection to the mail server";
/// After this idle time, the server is asked with NOOP whether it still answers.
const ASK_AFTER: Duration = Duration::from_secs(5);

/// One sender. It has the mail servers and, while there are emails to send, a connection to one of them.
pub struct Sender {
    relays: Relays,
    open: Option<Open>,
    possibly_received: PossiblyReceived,
    /// The mail server that the last email was given to.
    used: Option<Arc<str>>,
}

/// The open connection of a sender.
struct Open {
    /// The place of the mail server in the settings, from 0.
    place: usize,
    dialogue: Dialogue,
    since: Instant,
}

/// What a mail server did with an email.
enum Handed {
    /// The outcome of the email is decided. No other server gets the email in this attempt.
    Done(Outcome),
    /// The server itself has a fault, and it has certainly not accepted the email. Another server may get it.
    NotTaken {
        outcome: Outcome,
        /// The reason, if there was no connection at all.
        no_connection: Option<String>,
    },
}

impl Sender {
    /// Creates a sender without a connection.
    pub fn new(relays: Relays) -> Self {
        Sender {
            relays,
            open: None,
            possibly_received: PossiblyReceived::no(),
            used: None,
        }
    }

    /// Sends one email. The first mail server gets it, unless too many attempts there have failed. If that server has a
    /// fault and has certainly not accepted the email, the other one gets it. An email that may have been accepted and an
    /// email that was refused because of its recipient stay with the server that answered.
    pub async fn deliver(&mut self, mail: &Mail) -> Outcome {
        self.used = None;
        let relays = self.relays.clone();
        let mut last = None;
        let mut unconnected = Vec::new();
        for (place, relay) in relays.all().iter().enumerate() {
            if !relay.admits() {
                continue;
            }
            match self.through(place, relay, mail).await {
                Handed::Done(outcome) => return outcome,
                Handed::NotTaken {
                    outcome,
                    no_connection,
                } => {
                    unconnected.push(no_connection.map(|reason| (relay, reason)));
                    last = Some(outcome);
                }
            }
        }
        let place = relays.next_to_try();
        if let Some(relay) = relays.all().get(place).filter(|_| last.is_none()) {
            last = Some(match self.through(place, relay, mail).await {
                Handed::Done(outcome) | Handed::NotTaken { outcome, .. } => outcome,
            });
        }
        // If no server could be connected to, the reason names all of them.
        let all: Option<Vec<_>> = unconnected.into_iter().collect();
        if let Some(all) = all.filter(|all| all.len() > 1) {
            let reasons = all
                .iter()
                .map(|(relay, reason)| format!("{}: {reason}", relay.name()));
            let reasons = reasons.collect::<Vec<_>>().join("; ");
            return Outcome::Retry(None, format!("{NO_CONNECTION}: {reasons}"));
        }
        last.unwrap_or_else(|| Outcome::Retry(None, "there is no mail server".to_owned()))
    }

    /// Gives one email to one mail server, and records how the server did.
    async fn through(&mut self, place: usize, relay: &Relay, mail: &Mail) -> Handed {
        self.possibly_received.reset();
        self.used = Some(relay.name().clone());
        let handed = self.hand_over(place, relay, mail).await;
        match &handed {
            Handed::NotTaken { .. } | Handed::Done(Outcome::Ambiguous(_)) => relay.failed(),
            Handed::Done(outcome) => relay.did(matches!(outcome, Outcome::Sent(_))),
        }
        handed
    }

    /// If the server closed the open connection before this email, the sender opens another one, once. This is safe,
    /// because the server cannot have accepted the email.
    async fn hand_over(&mut self, place: usize, relay: &Relay, mail: &Mail) -> Handed {
        for _ in 0..2 {
            let mut dialogue = match self.connection(place, relay).await {
                Ok(dialogue) => dialogue,
                // An error during the greeting or the authentication is about Candor and not about the
                // recipient.
                Err(NoConnection { step, reason }) => {
                    relay.is_ill(step);
                    return Handed::NotTaken {
                        outcome: Outcome::Retry(None, format!("{NO_CONNECTION}: {reason}")),
                        no_connection: Some(reason),
                    };
                }
            };
            match dialogue.transfer(mail, &self.possibly_received).await {
                Transfer::Done(outcome) => {
                    self.keep(place, dialogue);
                    return Handed::Done(outcome);
                }
                Transfer::NotTaken(outcome) => {
                    self.keep(place, dialogue);
                    return Handed::NotTaken {
                        outcome,
                        no_connection: None,
                    };
                }
                Transfer::Stale { limit } => {
                    if let Some(mails) = limit {
                        relay.learn_message_limit(mails);
                    }
                }
            }
        }
        Handed::NotTaken {
            outcome: Outcome::Retry(
                None,
                "the mail server closed two connections before it accepted the email".to_owned(),
            ),
            no_connection: None,
        }
    }

    /// Keeps a connection for the next email, if it can be used.
    fn keep(&mut self, place: usize, dialogue: Dialogue) {
        if dialogue.is_usable() {
            self.open = Some(Open {
                place,
                dialogue,
                since: Instant::now(),
            });
        }
    }

    /// Returns the open connection to this mail server if it still works, or opens a new one. A sender has one connection,
    /// so a connection to the other mail server is closed.
    async fn connection(&mut self, place: usize, relay: &Relay) -> Result<Dialogue, NoConnection> {
        if let Some(Open {
            place: of,
            mut dialogue,
            since,
        }) = self.open.take()
        {
            let full = relay
                .message_limit()
                .is_some_and(|limit| dialogue.carried() >= limit)
                || dialogue.is_full();
            if of != place || full {
                dialogue.quit().await;
            } else if dialogue.listens() && (since.elapsed() < ASK_AFTER || dialogue.noop().await) {
                return Ok(dialogue);
            }
        }
        let dialogue = Dialogue::open(relay).await?;
        relay.is_well();
        Ok(dialogue)
    }

    /// Closes the connection when there is nothing to send.
    pub async fn close(&mut self) {
        if let Some(Open { mut dialogue, .. }) = self.open.take() {
            // An error does not matter here, because the server may already have closed the connection.
            let _ = timeout(Duration::from_secs(2), dialogue.quit()).await;
        }
    }

    /// Returns the flag that says whether the server can have received the email that is being sent.
    pub fn possibly_received(&self) -> PossiblyReceived {
        self.possibly_received.clone()
    }

    /// Returns the mail server that the last email was given to, or was to be given to.
    pub fn used(&self) -> Option<&Arc<str>> {
        self.used.as_ref()
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
            self.relays.closed_until()
        }
    }
}

/// Finds out whether a mail server that gets no emails can be connected to again, if its pause is over. It sends no email.
pub async fn probe(relay: &Relay) {
    if relay.standing().passed_over.is_none() || !relay.admits() {
        return;
    }
    match Dialogue::open(relay).await {
        Ok(mut dialogue) => {
            relay.is_well();
            relay.did(false);
            dialogue.quit().await;
        }
        Err(NoConnection { step, .. }) => {
            relay.is_ill(step);
            relay.failed();
        }
    }
}
