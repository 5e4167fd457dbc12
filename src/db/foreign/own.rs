//! Which tables are Candor's own, so that a source that could read them is refused.

/// Tables that exist together only in a database of Candor or in a copy of it.
pub(super) const MARKS: [&str; 4] = [
    "audit_head",
    "directory_sources",
    "directory_origins",
    "trail_cursors",
];

/// All of Candor's tables. Each of them holds something that a source must not bring: keys, tokens, addresses.
pub(super) const TABLES: [&str; 120] = [
    "account_history",
    "account_label_history",
    "accounts",
    "admin_sessions",
    "alert_chains",
    "alert_groups",
    "alert_keys",
    "alert_messages",
    "alert_people",
    "alert_references",
    "alert_rules",
    "alert_source_groups",
    "alerts",
    "answer_reminders",
    "answers",
    "api_tokens",
    "approved_notices",
    "audit_checkpoints",
    "audit_events",
    "audit_head",
    "audit_tiles",
    "audit_time_stamps",
    "automation_policies",
    "automation_recoveries",
    "automation_recovery_runs",
    "automation_runs",
    "automation_told",
    "backups",
    "brand_logos",
    "checks",
    "collaborator_history",
    "collaborators",
    "comparison_applied",
    "comparison_blocks",
    "comparison_findings",
    "comparison_listings",
    "comparison_runs",
    "comparisons",
    "contacts_copies",
    "counters",
    "current_templates",
    "deliveries",
    "delivery_attempts",
    "delivery_counts",
    "delivery_receipts",
    "directory_lookups",
    "directory_origins",
    "directory_runs",
    "directory_sources",
    "directory_staged",
    "discarded_notices",
    "drill_addresses",
    "emergency_notices",
    "emergency_recipients",
    "endpoints",
    "erased_recipients",
    "erased_rows",
    "erasure_marks",
    "erasures",
    "feed_keys",
    "feed_reads",
    "feedback",
    "feedback_tokens",
    "heartbeats",
    "hook_requests",
    "idempotency_keys",
    "incident_episodes",
    "incident_merges",
    "incident_people",
    "incident_resources",
    "incident_starts",
    "incident_titles",
    "incidents",
    "integrations",
    "mail_servers",
    "maintenance_notices",
    "maintenances",
    "member_history",
    "members",
    "merged_links",
    "merged_rows",
    "missed_updates",
    "next_steps",
    "notice_approvals",
    "notice_authors",
    "notice_corrections",
    "notice_recipients",
    "notice_values",
    "notice_waves",
    "notices",
    "operator_messages",
    "operators",
    "opt_outs",
    "people",
    "person_choices",
    "person_history",
    "preferences",
    "public_posts",
    "quiet_periods",
    "recovery_attestations",
    "recovery_attested",
    "recovery_changes",
    "recovery_states",
    "report_versions",
    "reports",
    "resource_history",
    "resource_label_history",
    "resource_labels",
    "resources",
    "sending_contexts",
    "sending_settings",
    "settings",
    "shared_recipients",
    "status_components",
    "status_mails",
    "status_subscribers",
    "template_versions",
    "templates",
    "timeline_entries",
    "trail_cursors",
];

/// The reason why a database is refused.
pub(super) const REFUSED: &str =
    "contains Candor's own tables; a source must not be Candor's own database or a copy of it";

/// The names as a list of SQL literals.
pub(super) fn literals(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("'{name}'"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_table_is_forgotten() {
        let mut declared = BTreeSet::new();
        let mut begins = false;
        let mut renamed = None;
        for line in include_str!("../schema.rs").lines().map(str::trim) {
            if line.starts_with("diesel::table!") {
                begins = true;
            } else if begins && line.starts_with("#[sql_name = \"") {
                renamed = line.split('"').nth(1);
            } else if begins && let Some((name, _)) = line.split_once(" (") {
                declared.insert(renamed.take().unwrap_or(name));
                begins = false;
            }
        }
        assert!(declared.len() > 50, "{declared:?}");
        assert_eq!(BTreeSet::from(TABLES), declared);
        for mark in MARKS {
            assert!(declared.contains(mark), "{mark}");
        }
    }
}
