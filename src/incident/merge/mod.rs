//! Merges incidents, undoes merges, and splits an incident.
//!
//! Invariants:
//! - A link is assigned to another incident and never deleted. For every row that a merge assigns, it is stored where the row belonged
//!   before, so an undo gives back exactly this.
//! - Where both incidents can have a row about the same thing (an affected resource, a person, a state of recovery), the merged incident
//!   keeps its own row, and the other one gets a row of its own that says so.
//! - Notices are not moved. They count for the other incident, because whoever asks what was told reads the notices of all merged
//!   incidents (`lineage`).
//! - What comes after the merge belongs to the other incident, and stays there after an undo.
//! - A merge and its undo notify nobody.

mod allowed;
mod links;
mod locks;
mod moved;
mod one;
mod rows;
mod several;
mod split;
mod suggested;
mod undo;

pub use moved::Moved;
pub use one::{Merge, Merged, merge, preview};
pub use several::{MergeSeveral, MergedSeveral, OneMerged, merge_several, preview_several};
pub use split::{Split, split};
pub use suggested::{Alike, AlikeIncident, alike, alike_to};
pub use undo::{MergedHere, Unmerged, into_this, unmerge};
