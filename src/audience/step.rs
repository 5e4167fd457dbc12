//! One checked fact of an explanation.

use serde::Serialize;

use crate::base::enums::word_enum;

word_enum! {
    /// What a step of an explanation is about.
    StepAbout, "a step" {
        /// Whether the directory knows the person.
        Directory = "directory",
        /// Whether the email address is valid.
        Address = "address",
        /// Whether the person gets optional notices.
        Suppression = "suppression",
        /// A membership of an account.
        Membership = "membership",
        /// A role on a resource.
        Collaboration = "collaboration",
        /// Events whose user the person was.
        Events = "events",
        /// Whether the person is named directly.
        Named = "named",
    }
}

/// One fact that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Step {
    /// What the step is about.
    pub about: StepAbout,
    /// Whether the fact is in favour of notifying the person, for example a role that leads to an affected
    /// resource, or a valid address.
    pub ok: bool,
    /// The fact as a sentence.
    pub detail: String,
}
