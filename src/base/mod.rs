//! IDs, times, errors, text, enums and checks of fields. Every other module may use this one, and it uses
//! none of them.

pub mod check;
pub mod code;
pub(crate) mod columns;
pub(crate) mod enums;
pub mod error;
pub(crate) mod given;
pub mod id;
mod json_reason;
pub mod json_repair;
pub mod mailbox;
pub mod mime;
pub mod network;
pub mod outage;
pub mod shared;
pub mod shown_once;
pub mod text;
pub mod time;
