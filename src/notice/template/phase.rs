//! The phases of notices. Each has a template of its own.

use crate::base::enums::word_enum;

word_enum! {
    /// The phase of a notice.
    Phase, "a phase" {
        /// The incident was detected.
        Detection = "detection",
        /// There is news about the incident.
        Update = "update",
        /// Everything of the recipient that the incident affected is restored.
        Recovery = "recovery",
        /// The incident is resolved.
        Resolution = "resolution",
        /// The report after the incident.
        Report = "report",
        /// A notice reached people whom the incident does not affect, and this one tells them so.
        Correction = "correction",
        /// A planned maintenance is announced, moved, cancelled, has begun or is over.
        Maintenance = "maintenance",
    }
}

impl Phase {
    /// All phases, in the order in which they happen. A correction can happen at any time, and a maintenance is no incident.
    pub const ALL: [Phase; 7] = [
        Phase::Detection,
        Phase::Update,
        Phase::Recovery,
        Phase::Resolution,
        Phase::Report,
        Phase::Correction,
        Phase::Maintenance,
    ];

    /// Returns whether a person may opt out of the notices of this phase. Notices of the other phases are
    /// always sent.
    pub fn optional(self) -> bool {
        self == Phase::Update
    }

    /// Returns whether the emails of this phase ask whether the service works for the recipient. A report does not ask, because
    /// it comes after the end of the incident. A correction does not ask, because the incident does not affect its readers, and a
    /// maintenance is no problem that somebody works on.
    pub fn asks(self) -> bool {
        match self {
            Phase::Detection | Phase::Update | Phase::Recovery | Phase::Resolution => true,
            Phase::Report | Phase::Correction | Phase::Maintenance => false,
        }
    }
}
