//! Why a sync ends before its end.

use super::run::RunError;
use crate::base::error::Error;

/// Why a run stopped.
pub(super) enum Stop {
    /// This process is stopping, or nobody waits for the trial any more. Another process starts a run again.
    Leaving,
    /// Somebody has ended the run, for example by deleting the source.
    Ended,
    /// There is an error in the source.
    Wrong(Vec<RunError>),
    /// There is an error in Candor.
    Fault(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Fault(error)
    }
}

pub(super) fn wrong(detail: impl Into<String>) -> Stop {
    Stop::Wrong(vec![RunError::plain(detail)])
}
