//! Turns the result of [`refusal`] into the kind of a report, which is hard or soft.

pub use crate::delivery::refusal::{enhanced, reply};

use super::report::ReportKind;
use crate::delivery::refusal::{self, FailureCause};

fn kind(blame: FailureCause) -> ReportKind {
    match blame {
        FailureCause::Mailbox => ReportKind::Hard,
        FailureCause::Other => ReportKind::Soft,
    }
}

/// Returns the kind of a failure. `status` is the status code of the report, and `diagnostic` is the text of
/// the server.
pub fn of_failure(status: Option<&str>, diagnostic: &str) -> ReportKind {
    kind(refusal::judge(status, diagnostic))
}

/// Returns the kind of a failure that a provider calls permanent and caused by the address.
pub fn of_permanent(diagnostic: &str) -> ReportKind {
    kind(refusal::judge_permanent(diagnostic))
}

/// Returns the kind of the failure that a text reports. Returns `None` if no known words report one.
pub fn of_words(text: &str) -> Option<ReportKind> {
    refusal::judge_words(text).map(kind)
}
