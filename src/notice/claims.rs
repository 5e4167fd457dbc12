//! Whether a plan claims more than is true: that the incident is over for somebody whose affected resources are not all restored.

use super::plan::Plan;
use crate::base::code::Code;
use crate::base::error::{Error, Result};

impl Plan {
    /// Returns why the plan must not be sent: somebody would read that the incident is over although something of theirs is not restored,
    /// and the notice does not acknowledge it.
    pub(super) fn claims_too_much(&self) -> Option<String> {
        let impaired = self.still_impaired.as_ref().filter(|one| !one.acknowledged)?;
        Some(format!(
            "{}; set acknowledge_impaired to true, so that the emails to them say so",
            impaired.reason()
        ))
    }

    /// Checks that nobody would read that the incident is over although something of theirs is not restored, unless the notice
    /// acknowledges it.
    ///
    /// # Errors
    /// `Conflict` with the code `still_impaired` and the number of people.
    pub(super) fn require_no_false_claim(&self) -> Result<()> {
        match self.claims_too_much() {
            Some(why) => Err(Error::Conflict(why).code(Code::StillImpaired)),
            None => Ok(()),
        }
    }
}
