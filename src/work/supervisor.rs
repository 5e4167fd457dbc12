//! Starts the services of a process, keeps them running, and stops them.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Instant;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::service::{Next, Service, Stop, Wake};
use super::stats::WorkStats;
use crate::base::error::Error;
use crate::base::outage::Outage;

/// A part of the process that is stopped with the services and manages its own tasks.
pub trait Part: Send {
    /// Finishes the work that is being done, and then ends the part.
    fn stop(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The background work of a process.
pub struct Supervisor {
    stop: watch::Sender<bool>,
    services: Vec<(&'static str, JoinHandle<()>)>,
    parts: Vec<Box<dyn Part>>,
    stats: WorkStats,
}

impl Supervisor {
    /// Creates a supervisor without services. `stats` counts the steps of all services that it starts.
    pub fn new(stats: WorkStats) -> Supervisor {
        Supervisor {
            stop: watch::channel(false).0,
            services: Vec::new(),
            parts: Vec::new(),
            stats,
        }
    }

    /// Starts a service in its own task. `wake` says what wakes the service before its poll interval has
    /// passed.
    pub fn start<S: Service>(&mut self, service: S, wake: Wake) {
        let stop = Stop(self.stop.subscribe());
        let span = tracing::info_span!("work", service = S::NAME);
        let task = tokio::spawn(run(service, wake, stop, self.stats.clone()).instrument(span));
        self.services.push((S::NAME, task));
    }

    /// Adds a part that already runs. It is stopped after the services. The part that was added last is
    /// stopped first.
    pub fn adopt(&mut self, part: impl Part + 'static) {
        self.parts.push(Box::new(part));
    }

    /// Tells all services to stop and waits for them, then stops the parts.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for (service, task) in self.services {
            if let Err(error) = task.await {
                tracing::error!(service, %error, "background work ended by a fault");
            }
        }
        for part in self.parts.into_iter().rev() {
            part.stop().await;
        }
    }
}

async fn run<S: Service>(mut service: S, mut wake: Wake, mut stop: Stop, stats: WorkStats) {
    let mut woken = true;
    let outage = Outage::new();
    while !stop.is_set() {
        wake.forget();
        // Only the duration is needed here, so the clock of the database is not used.
        let began = Instant::now();
        // A panic in one step must not end the service.
        let result = AssertUnwindSafe(service.step(woken, &stop))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Error::internal("a step of background work ended by a fault")));
        let failed = result.is_err();
        stats.count(S::NAME, began.elapsed(), failed);
        let next = match result {
            Ok(next) => {
                if outage.ends() {
                    tracing::info!("background work succeeds again");
                }
                next
            }
            Err(error) => {
                if outage.begins() {
                    tracing::warn!(
                        error = error.chain(),
                        "background work fails; it is tried again, and the next line about it says that it works again"
                    );
                }
                Next::Wait
            }
        };
        woken = false;
        // After a failure a wake-up must not lead to the next attempt at once.
        if next == Next::Wait {
            tokio::select! {
                () = wake.wait(), if !failed => woken = true,
                () = tokio::time::sleep(S::POLL) => {}
                () = stop.wait() => {}
            }
            if woken && !S::SETTLE.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(S::SETTLE) => {}
                    () = stop.wait() => {}
                }
            }
        }
    }
    service.finish().await;
}
