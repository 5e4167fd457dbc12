//! What a merge assigns to another incident, as numbers.

use serde::Serialize;

/// What counts for the other incident from a merge on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Moved {
    /// The number of alerts.
    pub alerts: i64,
    /// The number of affected resources.
    pub affected: i64,
    /// The number of people who are named directly.
    pub people: i64,
    /// The number of timeline entries.
    pub timeline: i64,
    /// The number of next steps.
    pub next_steps: i64,
    /// The number of notices that were sent. They are not changed, and whoever got them counts as notified.
    pub notices: i64,
    /// The number of comparisons of listings.
    pub comparisons: i64,
    /// The number of drafts that stay with the merged incident. They cannot be sent while it is merged.
    pub drafts_left: i64,
}

impl std::ops::AddAssign for Moved {
    fn add_assign(&mut self, more: Moved) {
        self.alerts += more.alerts;
        self.affected += more.affected;
        self.people += more.people;
        self.timeline += more.timeline;
        self.next_steps += more.next_steps;
        self.notices += more.notices;
        self.comparisons += more.comparisons;
        self.drafts_left += more.drafts_left;
    }
}
