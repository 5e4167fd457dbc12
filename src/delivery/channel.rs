//! The interface between the queue and a channel. A channel is one file. It says how many deliveries it makes
//! at the same time and how long it waits between attempts, and it makes the deliveries. The queue does
//! everything else: claims, leases, outcome records, repeated attempts and the audit trail.
//!
//! Neither this module nor a channel accesses the database. A task contains all data that is needed, and this
//! data is frozen.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::outcome::Outcome;
use super::sent_message::SentMessage;
use super::task::Task;

/// A future that a channel returns.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A channel, such as email or webhook.
pub trait Channel: Send + Sync {
    /// Returns the name that is stored in `deliveries.channel`.
    fn name(&self) -> &'static str;

    /// Returns how many deliveries may be under way at the same time.
    fn concurrency(&self) -> usize;

    /// Returns the waits between attempts. The last one repeats until the delivery expires.
    fn schedule(&self) -> &[Duration];

    /// Returns a new sender, which makes deliveries one after another.
    fn sender(&self) -> Box<dyn Sender>;
}

/// Whether the other side can have received the delivery that is being made. Clones share the value.
#[derive(Clone, Debug)]
pub struct PossiblyReceived(Arc<AtomicBool>);

impl PossiblyReceived {
    /// Starts with the value that nothing was handed over.
    pub fn no() -> Self {
        PossiblyReceived(Arc::new(AtomicBool::new(false)))
    }

    /// Starts with the value that the delivery can have been handed over at any time.
    pub fn always() -> Self {
        PossiblyReceived(Arc::new(AtomicBool::new(true)))
    }

    /// Marks the beginning of a new delivery, of which nothing was handed over yet.
    pub fn reset(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// Marks that the other side can have received the delivery from now on.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Returns whether the other side can have received the delivery.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Makes deliveries one at a time. A sender may keep a connection open between them.
pub trait Sender: Send {
    /// Makes one delivery and returns its outcome.
    fn deliver<'a>(&'a mut self, task: &'a Task) -> Pending<'a, Outcome>;

    /// Returns the flag that says, during a delivery and after it was interrupted, whether the other side can
    /// have received it.
    fn possibly_received(&self) -> PossiblyReceived {
        PossiblyReceived::always()
    }

    /// Returns what is recorded about the email that the last delivery handed over, or that it may have handed over. It is empty if the
    /// delivery was no email.
    fn sent_message(&mut self) -> Option<SentMessage> {
        None
    }

    /// Returns the mail server that the last delivery was given to, or was to be given to: its host and port.
    fn relay(&self) -> Option<Arc<str>> {
        None
    }

    /// Returns whether a connection is open. [`Sender::close`] closes it.
    fn is_open(&self) -> bool {
        false
    }

    /// Returns when the other side may be tried again, if the last attempt to connect failed.
    fn closed_until(&self) -> Option<Instant> {
        None
    }

    /// Closes the connection as the protocol requires.
    fn close(&mut self) -> Pending<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
