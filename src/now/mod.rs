//! What goes on now, on one page: what is wrong with Candor itself, what will be sent by itself, what needs a person, which incidents
//! are open, what is being sent, and what was resolved lately.
//!
//! Each part is a bounded list that is read from an index. Only the numbers of people are computed from whole audiences, so the caller
//! gives them, from a cache.

mod faults;
mod known;
mod needs;
mod people;
mod read;
mod row;

pub use faults::{Fault, FaultKind};
pub use known::{Numbers, Settings};
pub use needs::{Need, NeedKind};
pub use people::{Approval, People};
pub use read::{Now, OPEN, OfIncident, of_incident, read, rows};
pub use row::{Automatic, AutomaticKind, BeingSent, LastNotice, NowIncident, OpenIncident};
