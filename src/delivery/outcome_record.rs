//! The outcome record of one attempt, as it is stored until its outcome is in the tables.

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;

/// The outcome of one claimed delivery.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// The lease of the claim.
    pub lease: String,
    /// The ID of the delivery.
    pub delivery: i64,
    /// The attempt number, from 1.
    pub attempt: i64,
    /// The outcome of the attempt.
    pub outcome: Outcome,
}
