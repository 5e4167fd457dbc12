//! Listings: files in which each line is about one entry, such as a stored file or a user. A comparison reads two of them,
//! what should be there and what is.
//!
//! This module turns the bytes of a listing into [`Row`]s whose values have one normal form, however the listing was
//! written. It stores nothing.
//!
//! - Only a few lines are in memory, whatever the size of the listing. A longest line and a largest window of a packed
//!   listing are the bounds.
//! - No input causes a panic. A line that cannot be read is counted and returned with its number and the reason, and the
//!   next one is read. A listing that is cut, damaged or mostly unreadable is an error.
//! - A row whose key can be read is never lost because another value cannot be read.
//! - Keys are never changed: white space and the forms of Unicode stay different.

mod bytes;
mod cells;
mod checksum;
mod column;
mod delimited;
mod layout;
mod lines;
mod manifest;
mod moment;
mod objects;
mod pump;
mod row;
mod rows;
mod share;
mod value;
mod wanted;

pub use bytes::{Encoding, Unpacked, unpack};
pub use column::{Column, ColumnKind};
pub use layout::{Format, Gone, Layout, Side};
pub use manifest::{InventoryFile, Manifest};
pub use pump::parts;
pub use row::{Read, Row};
pub use rows::{Rows, rows};
pub use share::SHOWN as SHOWN_REJECTED;
pub use value::{Comparison, compare, is_unreadable, normalise, shown};
pub use wanted::Wanted;

#[cfg(test)]
mod tests;
