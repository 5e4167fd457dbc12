//! Compares a listing of what should be there with a listing of what is there, and makes what does not fit affected.
//!
//! `definition` says what is compared. `upload` stores a listing as it arrives, in sorted blocks (`row`, `sorted`,
//! `listings`); `fetch` takes it from a URL or a database instead. `runner` carries out `runs`: `merge` reads both listings in the order of their keys, and `judge`
//! decides about each key. `findings` lists the result, `apply` makes the resources or people of findings affected, and
//! `evidence` says what a later run shows about them.
//!
//! A listing that is cut, a crash or a full disk never leaves half a result: a listing counts only after its last
//! transaction, a run only after its last step, and findings are applied in one transaction. The same listings always
//! give the same result. Nothing becomes affected because a row could not be read or compared.

mod apply;
mod definition;
mod evidence;
pub mod fetch;
mod findings;
mod judge;
mod kind;
mod listings;
mod merge;
mod resolve;
mod row;
mod runner;
mod runs;
mod side;
mod sorted;
mod stored;
mod upload;

pub use apply::{Applied, Apply, apply, preview};
pub use definition::{Compared, ComparedKind, Definition, NewComparison, Target, Window};
pub use findings::{Finding, list as findings};
pub use kind::{Counts, Kind};
pub use listings::{Line, Listing};
pub use runner::{Comparisons, begin};
pub use runs::{Inputs, Run, RunState};
pub use side::Side;
pub use stored::{Comparison, Listings, State, count, create, discard, get, list, request_run, runs};
pub use upload::{Target as UploadTarget, Upload, Uploaded};
