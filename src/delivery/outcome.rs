//! The outcome of one attempt to make a delivery.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The result of one attempt. A channel returns it and changes nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The next server accepted the message. The text is its reply.
    Sent(String),
    /// The attempt failed for now and is repeated. The duration is the wait that the channel asks for.
    /// Without it, the schedule decides.
    Retry(Option<Duration>, String),
    /// It is not known whether the message arrived, because the connection was lost between the last byte and
    /// the reply. The attempt is repeated with the same Message-ID, so that the recipient's server can
    /// recognise a duplicate.
    Ambiguous(String),
    /// The attempt failed permanently. The text is the reply or the reason.
    Failed(String),
    /// The attempt failed permanently, because the mail server says that the mailbox does not exist. This has
    /// the same effect as a bounce with this reason.
    NoMailbox(String),
    /// The attempt failed permanently, and the endpoint wants no further calls.
    Gone(String),
}

impl Outcome {
    /// Returns the word that is stored and shown.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Sent(_) => "sent",
            Outcome::Retry(..) => "retry",
            Outcome::Ambiguous(_) => "ambiguous",
            Outcome::Failed(_) | Outcome::NoMailbox(_) | Outcome::Gone(_) => "failed",
        }
    }

    /// Returns the reply of the server, or the reason why there was none.
    pub fn reply(&self) -> &str {
        match self {
            Outcome::Sent(text)
            | Outcome::Retry(_, text)
            | Outcome::Ambiguous(text)
            | Outcome::Failed(text)
            | Outcome::NoMailbox(text)
            | Outcome::Gone(text) => text,
        }
    }
}
