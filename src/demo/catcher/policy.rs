//! What the mail catcher does with each recipient.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// What the server does with one recipient. The decision is made at RCPT. The last two kinds take effect
/// after the data of the email.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The recipient is accepted with 250.
    Accept,
    /// The recipient is refused for now, with 451 or with the 4xx code at the beginning of the text.
    Temporary(String),
    /// The recipient is refused permanently, with 550 or with the 5xx code at the beginning of the text.
    Permanent(String),
    /// The email is accepted, and the connection is closed without a reply, so the sender cannot know the
    /// outcome.
    DropAfterData,
    /// The email is accepted, and the reply waits for a permit of this semaphore. The permit is used up.
    Hold(Arc<Semaphore>),
}

/// One RCPT command, as the policy gets it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The recipient address as the client wrote it.
    pub recipient: &'a str,
    /// The number of this command for this recipient, from 1.
    pub number: usize,
}

type Decide = dyn Fn(&Attempt<'_>) -> Decision + Send + Sync;

/// Decides what happens to each attempt.
#[derive(Clone)]
pub struct Policy(pub(super) Arc<Decide>);

impl Policy {
    /// Creates a policy from a function. Several connections may call the function at the same time.
    pub fn new(decide: impl Fn(&Attempt<'_>) -> Decision + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    /// Creates a policy that accepts every email.
    pub fn accept_all() -> Self {
        Self::new(|_| Decision::Accept)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::accept_all()
    }
}
