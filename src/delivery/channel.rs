//! What a way out looks like to the queue. A channel is one file: it says how many deliveries it makes at a time and how
//! often it tries again, and makes them. Everything else (claims, leases, receipts, retries, audit) is the queue's.
//!
//! Must never happen here or in a channel: a look at the database. A task holds all that is needed, frozen.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Outcome;
use super::queue::{Claimed, Frozen};
use crate::notice::compose::RecipientContext;
use crate::notice::payload::EndpointContext;

/// A future of a channel.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One delivery to make.
pub struct Task {
    /// Which, to where.
    pub claimed: Claimed,
    /// What is the same for all of the notice.
    pub notice: Arc<Frozen>,
    /// Who it is for.
    pub to: Recipient,
}

/// What is frozen of a recipient.
#[derive(Clone)]
pub enum Recipient {
    /// People behind a mail address.
    People {
        /// What is their own.
        own: RecipientContext,
        /// Whether they may opt out of it.
        optional: bool,
    },
    /// An account's own system.
    Endpoint {
        /// What is its own.
        own: EndpointContext,
        /// Signs what is sent there, as it is now; none where the endpoint was disabled or deleted since.
        secret: Option<String>,
    },
}

/// A way out.
pub trait Channel: Send + Sync {
    /// The word in `deliveries.channel`.
    fn name(&self) -> &'static str;

    /// Deliveries that may be under way at a time.
    fn concurrency(&self) -> usize;

    /// Waits between attempts; the last one repeats until the delivery expires.
    fn schedule(&self) -> &[Duration];

    /// One that makes deliveries, one after another.
    fn sender(&self) -> Box<dyn Sender>;
}

/// Whether the other side may have what is being delivered, as far as is known. Clones share it.
#[derive(Clone, Debug)]
pub struct Doubt(Arc<AtomicBool>);

impl Doubt {
    /// Nothing has been handed over.
    pub fn none() -> Self {
        Doubt(Arc::new(AtomicBool::new(false)))
    }

    /// It may have been handed over at any time.
    pub fn always() -> Self {
        Doubt(Arc::new(AtomicBool::new(true)))
    }

    /// A new delivery begins, and nothing of it has been handed over.
    pub fn begin(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// From now on the other side may have it.
    pub fn arise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the other side may have it.
    pub fn exists(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Makes deliveries, one at a time; it may keep a connection between them.
pub trait Sender: Send {
    /// Makes one delivery.
    fn deliver<'a>(&'a mut self, task: &'a Task) -> Pending<'a, Outcome>;

    /// Tells, while a delivery is made and after it was broken off, whether the other side may have it.
    fn doubt(&self) -> Doubt {
        Doubt::always()
    }

    /// Whether a connection is open, which [`Sender::close`] would end.
    fn is_open(&self) -> bool {
        false
    }

    /// When the other side may be tried again, where it could not be reached at all lately.
    fn closed_until(&self) -> Option<Instant> {
        None
    }

    /// Ends the connection politely.
    fn close(&mut self) -> Pending<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
