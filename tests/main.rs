//! Candor's behaviours, tested from outside: through HTTP, SMTP, the program and its databases.
//!
//! All of them are one binary, so that they are linked once. Each file holds the tests of one
//! behaviour and is named after it; what they share is in `support`. A behaviour that touches the
//! database is tested on SQLite and on PostgreSQL (`on_both_databases!`).

// Here a failure is a panic, wherever it happens.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod a_backup_brings_everything_back;
mod a_notice_is_sent_once;
mod a_notice_reaches_exactly_the_previewed_people;
mod a_stop_halts_a_running_send;
mod admin_pages_show_what_the_api_knows;
mod approval_needs_a_second_person;
mod deliveries_are_retried_and_given_up;
mod kill_9_loses_nobody_and_repeats_little;
mod late_found_people_are_caught_up;
mod mails_are_well_formed;
mod mails_go_to_the_outbox_without_smtp;
mod resolution_says_what_is_left_to_do;
mod stories;
mod the_audience_equals_a_naive_reference;
mod the_directory_is_imported_whole_or_not_at_all;
mod the_directory_keeps_its_shape;
mod the_program_starts_and_stops;
mod who_heard_the_detection_hears_the_end;
mod who_is_affected;

mod support;
