//! The words of the status page. They are those of Statuspage, so that its readers understand them.

use crate::base::enums::word_enum;

word_enum! {
    /// The state of the work on an incident, as the public reads it.
    #[derive(PartialOrd, Ord)]
    PostStatus, "a status of a post" {
        /// The cause is not known yet.
        Investigating = "investigating",
        /// The cause is known.
        Identified = "identified",
        /// The problem appears to be fixed and is observed.
        Monitoring = "monitoring",
        /// The incident is over.
        Resolved = "resolved",
    }
}

word_enum! {
    /// The state of a component, from the best to the worst.
    #[derive(PartialOrd, Ord)]
    ComponentState, "a state of a component" {
        /// The component works, and is not being maintained.
        Operational = "operational",
        /// It is being maintained.
        UnderMaintenance = "under_maintenance",
        /// It is slow, or a small part of it does not work.
        DegradedPerformance = "degraded_performance",
        /// A part of it does not work.
        PartialOutage = "partial_outage",
        /// It does not work.
        MajorOutage = "major_outage",
    }
}

impl ComponentState {
    /// All states, from the best to the worst.
    pub const ALL: [ComponentState; 5] = [
        ComponentState::Operational,
        ComponentState::UnderMaintenance,
        ComponentState::DegradedPerformance,
        ComponentState::PartialOutage,
        ComponentState::MajorOutage,
    ];
}

word_enum! {
    /// How bad everything together is, from the best to the worst.
    #[derive(PartialOrd, Ord)]
    Indicator, "an indicator" {
        /// Every component works, and no incident is open. For one incident: it affected no component.
        None = "none",
        /// Something is being maintained.
        Maintenance = "maintenance",
        /// Something is slow, or there is an incident that names no component.
        Minor = "minor",
        /// A part of something does not work.
        Major = "major",
        /// Something does not work.
        Critical = "critical",
    }
}

impl From<ComponentState> for Indicator {
    fn from(state: ComponentState) -> Self {
        match state {
            ComponentState::Operational => Indicator::None,
            ComponentState::UnderMaintenance => Indicator::Maintenance,
            ComponentState::DegradedPerformance => Indicator::Minor,
            ComponentState::PartialOutage => Indicator::Major,
            ComponentState::MajorOutage => Indicator::Critical,
        }
    }
}
