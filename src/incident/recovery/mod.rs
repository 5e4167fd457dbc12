//! The recovery of the affected resources of an incident: which are impaired, which are being recovered, and which are
//! recovered, with the evidence.
//!
//! Invariants:
//! - A resource becomes recovered only by evidence that fits what was expected, or by the attestation of two people where nothing
//!   can be measured. Nobody's word alone makes it recovered.
//! - Evidence that is older than the last time at which the resource was seen to be wrong counts for nothing.
//! - Only `work` changes a state, and `merged` when incidents are merged or separated. They write the history of each change in the same transaction.
//! - An affected resource without a state counts as impaired. A resource that is not affected any more does not count.
//! - A resource that is archived in the directory still counts: that the product has deleted it does not prove that it was restored.

mod attest;
mod batch;
pub mod chart;
mod checked;
mod chosen;
pub mod csv;
mod evidence;
mod expected;
mod impact;
mod impair;
mod list;
pub(in crate::incident) mod merged;
mod observe;
pub(in crate::incident) mod owned;
mod progress;
mod relapses;
mod series;
mod standing;
mod state;
mod told;
mod work;

pub use attest::{
    Attestation, AttestationState, Confirmed, NewAttestation, ask, attestations, confirm, withdraw,
};
pub use batch::{Batch, Begun, change};
pub use checked::{Passed, checked};
pub use chosen::Chosen;
pub use evidence::{Evidence, Line, Refused, Taken, give, parse, parse_csv};
pub use impact::{OfAccount, OfResource, of_accounts, of_resources};
pub use impair::{Impairing, Impairment, impair};
pub use list::{Change, Recovery, Wanted, history, list};
pub use observe::{Observation, Observed, observe};
pub use progress::{AccountProgress, Counts, Progress, accounts, progress, totals};
pub use relapses::{Relapses, relapses};
pub use series::{Point, series};
pub use standing::in_use;
pub use state::State;
