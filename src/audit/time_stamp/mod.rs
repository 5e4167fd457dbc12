//! Time stamps (RFC 3161): an authority confirms with its signature that it has seen a hash at a time.
//!
//! This module writes requests, reads answers and verifies them, without I/O. Whoever has an answer and the certificate authorities
//! verifies it without Candor, for example with `openssl ts -verify`.
//!
//! - An answer proves a time only if its hash, its signature and its certificate were verified.
//! - No input makes a function of this module panic. Nesting is limited by the parser.

mod algorithm;
mod request;
mod token;
mod trust;

pub use request::{MEDIA, Nonce, request};
pub use token::{MAX, Token, imprint};
pub use trust::Trust;
