//! Candor's behaviours, tested from outside: through HTTP, SMTP, the program and its databases.
//!
//! All of them are one binary, so that they are linked once. Each file holds the tests of one
//! behaviour and is named after it; what they share is in `support`. A behaviour that touches the
//! database is tested on SQLite and on PostgreSQL (`on_both_databases!`).

// Here a failure is a panic, wherever it happens.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod support;

mod a_misspelt_filter_is_an_error;
mod access_is_guarded_and_audited;
mod alerts_open_incidents;
mod errors_are_problem_documents;
mod idempotency_keys_repeat_the_answer;
mod settings_fail_at_the_start;
mod the_audit_chain_holds;
mod the_audience_equals_a_naive_reference;
mod the_directory_is_imported_whole_or_not_at_all;
mod the_directory_keeps_its_shape;
mod the_program_starts_and_stops;
mod who_is_affected;
