//! Hard or soft: what [`refusal`] says of a failure, in the terms of a report.

pub use crate::delivery::refusal::{enhanced, reply};

use super::ReportKind;
use crate::delivery::refusal::{self, Blame};

fn kind(blame: Blame) -> ReportKind {
    match blame {
        Blame::Mailbox => ReportKind::Hard,
        Blame::Other => ReportKind::Soft,
    }
}

/// What a failure means for its address: `status` as the report has it, `diagnostic` what the server said.
pub fn of_failure(status: Option<&str>, diagnostic: &str) -> ReportKind {
    kind(refusal::judge(status, diagnostic))
}

/// What a failure means that a provider calls permanent and the address's fault.
pub fn of_permanent(diagnostic: &str) -> ReportKind {
    kind(refusal::judge_permanent(diagnostic))
}

/// What a text says of an address; none where it says nothing that is known here.
pub fn of_words(text: &str) -> Option<ReportKind> {
    refusal::judge_words(text).map(kind)
}
