//! What works when the database is gone: an encrypted copy of the contacts that is refreshed while all is well, a message that is sent
//! with nothing but this file and a mail server, and a record of that message which is imported into the audit trail afterwards.
//!
//! `sealed` is the encrypted file, `contacts` is what it contains, and `copy` refreshes it. `audience` chooses who gets the message,
//! `record` is the file that says what was tried, and `send` sends. `import` brings the record onto an incident.
//!
//! - Nobody is emailed who was not chosen: an unknown account is an error, and there is no choice that means everybody by omission.
//! - An address gets the message at most once, whatever happens: the record is on disk before each attempt, and an attempt whose outcome
//!   is not known is never repeated.
//! - No address reaches the database or the audit trail.

pub mod audience;
pub mod contacts;
pub mod copy;
pub mod import;
pub mod record;
mod sealed;
pub mod send;
