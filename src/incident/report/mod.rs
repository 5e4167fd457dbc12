//! The report after an incident: one record for three audiences. Each section names the widest audience that may read it, and is never
//! shown to a wider one.
//!
//! `stored` is the report and its sections, `versions` keeps every state that was saved, `publishing` decides what the public reads, and
//! `render` writes a report as Markdown and as HTML.
//!
//! - A version that was saved never changes.
//! - What is public changes only when somebody publishes.
//! - A section without text is shown only to our own team.

mod publishing;
mod render;
mod stored;
mod versions;

pub use publishing::{Publish, Published, publish, published, unpublish};
pub use render::{Block, blocks, html, markdown};
pub use stored::{Audience, Correction, Report, ReportInput, Section, SectionKind, find, get, put};
pub use versions::{DiffChange, ReportDiff, ReportLine, ReportVersion, diff, list, version};
