//! Candor's behaviours, tested from outside: through HTTP, SMTP, the program and its databases.
//!
//! All of them are one binary, so that they are linked once. Each file holds the tests of one
//! behaviour and is named after it; what they share is in `support`. A behaviour that touches the
//! database is tested on SQLite and on PostgreSQL (`on_both_databases!`).

// Here a failure is a panic, wherever it happens.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod support;

mod admin_pages_show_what_the_api_knows;
mod the_program_starts_and_stops;
