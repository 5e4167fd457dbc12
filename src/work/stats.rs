//! Metrics of the services of this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};

/// The duration, the failures and the state of the services.
#[derive(Clone)]
pub struct WorkStats {
    seconds: HistogramVec,
    failures: IntCounterVec,
    failing: IntGaugeVec,
    last: Arc<Mutex<BTreeMap<&'static str, Last>>>,
}

/// When the last steps of a service were.
#[derive(Clone, Copy, Default)]
struct Last {
    succeeded: Option<Instant>,
    failed: Option<Instant>,
    failing: bool,
}

/// What is known about a service of this process.
#[derive(Clone, Debug)]
pub struct ServiceStanding {
    /// The name of the service.
    pub name: &'static str,
    /// How long ago a step last succeeded.
    pub succeeded: Option<Duration>,
    /// How long ago a step last failed.
    pub failed: Option<Duration>,
    /// Whether the last step failed.
    pub failing: bool,
}

impl Default for WorkStats {
    fn default() -> Self {
        let labels = ["service"];
        let seconds = HistogramOpts::new(
            "candor_work_step_seconds",
            "Duration of one step of background work, by service, in seconds",
        );
        let failures = Opts::new(
            "candor_work_failures_total",
            "Steps of background work that failed, by service",
        );
        let failing = Opts::new(
            "candor_work_failing",
            "1 while the last step of a service failed, 0 otherwise",
        );
        match (
            HistogramVec::new(seconds, &labels),
            IntCounterVec::new(failures, &labels),
            IntGaugeVec::new(failing, &labels),
        ) {
            (Ok(seconds), Ok(failures), Ok(failing)) => WorkStats {
                seconds,
                failures,
                failing,
                last: Arc::default(),
            },
            // The names above are valid, and nothing else can fail here.
            _ => unreachable!("a metric of background work has an invalid name"),
        }
    }
}

impl WorkStats {
    /// Counts one step of a service, with its duration and whether it failed.
    pub(super) fn count(&self, service: &'static str, took: Duration, failed: bool) {
        self.seconds
            .with_label_values(&[service])
            .observe(took.as_secs_f64());
        if failed {
            self.failures.with_label_values(&[service]).inc();
        }
        self.failing.with_label_values(&[service]).set(i64::from(failed));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.entry(service).or_default();
        last.failing = failed;
        *(if failed {
            &mut last.failed
        } else {
            &mut last.succeeded
        }) = Some(Instant::now());
    }

    /// Returns what is known about each service, by name.
    pub fn standing(&self) -> Vec<ServiceStanding> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let ago = |at: Option<Instant>| at.map(|at| at.elapsed());
        let of = last.iter().map(|(name, last)| ServiceStanding {
            name,
            succeeded: ago(last.succeeded),
            failed: ago(last.failed),
            failing: last.failing,
        });
        of.collect()
    }

    /// Returns the metrics, so that they can be registered.
    pub fn collectors(&self) -> [Box<dyn Collector>; 3] {
        [
            Box::new(self.seconds.clone()),
            Box::new(self.failures.clone()),
            Box::new(self.failing.clone()),
        ]
    }
}
