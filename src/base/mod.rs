//! IDs, times, errors, text, enums and checks of fields. Every other module may use this one, and it uses
//! none of them.

pub mod chart;
pub mod check;
pub mod code;
pub(crate) mod columns;
pub mod count;
pub mod diff;
pub(crate) mod enums;
pub mod error;
pub(crate) mod given;
pub mod id;
pub mod json_reason;
pub mod json_repair;
pub mod language;
pub mod like;
pub mod mailbox;
pub(crate) mod merge_patch;
pub mod mime;
pub mod network;
pub mod outage;
pub mod random;
pub mod sealed;
pub mod shared;
pub mod shown_once;
pub mod text;
pub mod time;
