//! What this process counts for the metrics while it answers requests.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};

use crate::base::outage::Outage;
use crate::feedback::Tally;

/// The numbers and durations of the requests of this process.
pub struct HttpStats {
    pub(super) requests: HistogramVec,
    /// Whether the database cannot be read, as `/readyz` finds it.
    pub(super) unreadable: Outage,
}

impl Default for HttpStats {
    fn default() -> Self {
        let options = HistogramOpts::new(
            "candor_http_request_seconds",
            "Requests, by route and status, in seconds",
        );
        // The names above are valid, and nothing else can fail here.
        let requests = match HistogramVec::new(options, &["route", "method", "status"]) {
            Ok(requests) => requests,
            Err(never) => unreachable!("{never}"),
        };
        HttpStats {
            requests,
            unreadable: Outage::new(),
        }
    }
}

/// The numbers of reports about emails that this process received.
pub struct FeedbackStats {
    pub(super) reports: IntCounterVec,
}

impl Default for FeedbackStats {
    fn default() -> Self {
        let options = Opts::new(
            "candor_feedback_reports_total",
            "Delivery reports that this process received, by kind and by whether a delivery was found",
        );
        // The names above are valid, and nothing else can fail here.
        let reports = match IntCounterVec::new(options, &["kind", "matched"]) {
            Ok(reports) => reports,
            Err(never) => unreachable!("{never}"),
        };
        FeedbackStats { reports }
    }
}

impl FeedbackStats {
    /// Counts the new reports of a body.
    pub fn count(&self, taken: &Tally) {
        for (kind, matched) in &taken.new {
            let matched = if *matched { "true" } else { "false" };
            self.reports.with_label_values(&[kind.as_str(), matched]).inc();
        }
    }
}
