//! Candor's behaviours, tested from outside: through HTTP, SMTP, the program and its databases.
//!
//! All of them are one binary, so that they are linked once. Each file holds the tests of one
//! behaviour and is named after it; what they share is in `support`. A behaviour that touches the
//! database is tested on SQLite and on PostgreSQL (`on_both_databases!`).

// Here a failure is a panic, wherever it happens.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod a_backup_brings_everything_back;
mod a_channel_is_one_file;
mod a_dropped_connection_loses_nobody;
mod a_full_disk_stops_sending;
mod a_hanging_server_does_not_hold_the_end;
mod a_lying_mail_server_is_not_believed;
mod a_mail_from_pieces_equals_the_whole;
mod a_misspelt_filter_is_an_error;
mod a_notice_is_for_the_roles_of_its_rule;
mod a_notice_is_sent_once;
mod a_notice_reaches_exactly_the_previewed_people;
mod a_policy_keeps_its_limits;
mod a_selector_equals_a_naive_reading;
mod a_selector_never_means_more_than_it_says;
mod a_slow_domain_slows_nobody_else;
mod a_stop_halts_a_running_send;
mod a_storm_of_alerts_is_one_incident;
mod access_is_guarded_and_audited;
mod admin_pages_show_what_the_api_knows;
mod alerts_are_placed_by_rules;
mod alerts_open_incidents;
mod any_json_can_be_mapped;
mod approval_needs_a_second_person;
mod automation_is_on_its_page;
mod bounces_reach_the_incident;
mod checks_ask_by_themselves;
mod deliveries_are_retried_and_given_up;
mod errors_are_problem_documents;
mod every_sample_is_taken_or_refused_with_a_reason;
mod hooks_prove_the_secret;
mod idempotency_keys_repeat_the_answer;
mod integrations_are_changed_in_place;
mod kept_bodies_are_tried_and_taken_again;
mod kill_9_loses_nobody_and_repeats_little;
mod late_found_people_are_caught_up;
mod mail_is_encrypted_as_asked;
mod mails_are_signed;
mod mails_are_well_formed;
mod mails_go_to_the_outbox_without_smtp;
mod modules_use_only_what_is_below_them;
mod no_hook_body_is_a_fault_of_ours;
mod no_sender_can_break_a_source;
mod odd_mail_servers_are_put_up_with;
mod one_process_serves_a_file;
mod openapi_document;
mod openapi_snapshots;
mod operation;
mod operators_hear_of_it;
mod policies_act_without_a_person;
mod processes_start_beside_each_other;
mod resolution_says_what_is_left_to_do;
mod rules_and_quiet_times_are_made_on_pages;
mod secrets_are_shown_once;
mod senders_are_understood_as_they_are;
mod senders_prove_themselves_in_their_own_way;
mod sessions_end_on_the_server;
mod settings_fail_at_the_start;
mod silence_is_the_alert;
mod silences_and_windows_keep_quiet;
mod sources_are_encrypted_as_asked;
mod sources_are_read_and_never_written;
mod stories;
mod tables_are_imported;
mod the_audience_equals_a_naive_reference;
mod the_audit_chain_holds;
mod the_commands_speak_for_programs;
mod the_database_may_go_away;
mod the_demo_tells_whether_every_mail_arrived;
mod the_directory_is_imported_whole_or_not_at_all;
mod the_directory_keeps_its_shape;
mod the_program_starts_and_stops;
mod the_samples_are_understood;
mod the_schema_is_the_same_in_both_databases;
mod unknown_references_are_asked_about;
mod users_of_errors_are_affected;
mod webhook_addresses_are_checked;
mod webhooks_reach_an_accounts_systems;
mod what_comes_back_is_classified;
mod what_comes_back_reaches_operators;
mod what_is_frozen_cannot_change;
mod who_heard_the_detection_hears_the_end;
mod who_is_affected;
mod who_owned_it_then;
mod why_somebody_is_told_or_not;

mod support;
