//! The status page: what the public reads about incidents.
//!
//! Only three things are public: the components, the posts of operators, and the published reports. A post is apart from a notice:
//! who is affected gets notices, and no email about a post. Nothing else of an incident is ever public, not even its title.
//!
//! The state of a component follows from the posts of the incidents that are open publicly. The worst state wins.

pub mod component;
mod history;
mod maintenance;
mod page;
pub mod post;
mod public_incident;
mod state;

pub use history::{DAYS, Day, days};
pub use maintenance::{Maintenance, MaintenanceState};
pub use page::{StatusPage, incident_path, last_change, read};
pub use public_incident::PublicIncident;
pub use state::{ComponentState, Indicator, PostStatus};
