//! What every other module may use, and what uses none of them: ids, times, errors, words and checks of fields.

pub mod check;
pub mod code;
pub(crate) mod columns;
pub(crate) mod enums;
pub mod error;
pub mod id;
pub mod mailbox;
pub mod mime;
pub mod network;
pub mod shared;
pub mod shown_once;
pub mod text;
pub mod time;
