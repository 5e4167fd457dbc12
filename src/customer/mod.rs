//! What one customer sees of their own: the feed in the product, and the page "My incidents".
//!
//! A reader is one person of the directory. Candor knows who it is by a token that the product signed ([`token`], [`keys`]), or by a
//! signed link in an email. Everything here is about this person, or about an account that the person owns.
//!
//! Invariants:
//! - A reader sees only what was sent to them: a place in a frozen list whose email a mail server accepted. A drill reaches no customer,
//!   so it is not shown.
//! - The title of an incident, which is internal, is never shown.
//! - Reading changes nothing. Marking as read only moves a time forward.

pub mod feed;
pub mod hints;
pub mod keys;
pub mod mine;
pub mod pass;
pub mod phase_words;
pub mod preferences;
pub mod read;
pub mod reader;
pub mod status;
pub mod token;
