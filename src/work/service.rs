//! The interface of a service, the ways to wake it, and the signal that the process stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::base::error::Result;

/// What a service wants after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The service wants another step at once, because there may be more to do.
    AtOnce,
    /// Nothing is due. The next step comes when something wakes the service, or after the poll interval.
    Wait,
}

/// One kind of background work.
pub trait Service: Send + 'static {
    /// The name of the service in logs, spans and metrics.
    const NAME: &'static str;
    /// The longest time between two steps. This is how work is found that another process stored.
    const POLL: Duration;
    /// The time between a wake-up and the step, so that work that comes in bursts is done together.
    const SETTLE: Duration = Duration::ZERO;

    /// Does what is due now, or a part of it. `woken` is false if only the poll interval has passed, or if
    /// the step before asked for another one. A service may then first check with a cheap query whether
    /// anything is due. A step that waits for a server of somebody else ends early when `stop` is set.
    ///
    /// # Errors
    /// The reason why the step failed. The supervisor logs it and waits before the next step.
    fn step(&mut self, woken: bool, stop: &Stop) -> impl Future<Output = Result<Next>> + Send;

    /// Ends the work that earlier steps left running. It is called once, after the last step.
    fn finish(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// What wakes a service before its poll interval has passed.
pub enum Wake {
    /// A commit in this process that wrote something which subscribers of the audit trail wait for.
    Commit(watch::Receiver<u64>),
    /// A notification in this process.
    Notify(Arc<Notify>),
    /// Nothing wakes the service. It only polls.
    Never,
}

impl Wake {
    /// Forgets earlier wake-ups. A later write wakes the service again.
    pub(super) fn forget(&mut self) {
        if let Wake::Commit(written) = self {
            written.mark_unchanged();
        }
    }

    /// Waits until something wakes the service. If nothing can wake it, it waits without an end.
    pub(super) async fn wait(&mut self) {
        match self {
            Wake::Commit(written) => {
                if written.changed().await.is_err() {
                    // Every writer has ended, so no wake-up can come.
                    std::future::pending::<()>().await;
                }
            }
            Wake::Notify(notify) => notify.notified().await,
            Wake::Never => std::future::pending().await,
        }
    }
}

/// The signal that the process stops.
#[derive(Clone)]
pub struct Stop(pub(super) watch::Receiver<bool>);

impl Stop {
    /// Returns whether the process stops.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns the result of an attempt. `None` if the process stops and the attempt does not end within `grace`.
    pub async fn unless_set<T>(&self, grace: Duration, attempt: impl Future<Output = T>) -> Option<T> {
        let mut stop = self.clone();
        tokio::pin!(attempt);
        tokio::select! {
            result = &mut attempt => return Some(result),
            () = stop.wait() => {}
        }
        tokio::time::timeout(grace, attempt).await.ok()
    }

    /// Waits until the process stops.
    pub async fn wait(&mut self) {
        // An error means that the supervisor has ended, so the process stops too.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
