//! What the status page says, without the requests for it: the content of each address, from memory or as files.

mod address;
mod bars;
mod cache;
mod calendar;
mod export;
mod feeds;
mod site;
mod v2;
mod view;

pub use address::Address;
pub use cache::StatusPages;
pub use export::{ExportSettings, export};
pub use site::Site;
pub use v2::Document;
