//! An alert rule as it is requested, stored and shown, and the checks of its fields.

use std::collections::BTreeMap;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::alert::matcher::{self, Matcher};
use crate::base::check::Check;
use crate::base::enums::word_enum;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{AlertRuleId, IntegrationId};
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::directory::{ResourceRef, resource};
use crate::incident::Severity;

word_enum! {
    /// What happens with an alert that matches the rule.
    #[schema(as = AlertRulePolicy)]
    Policy, "a policy" {
        /// The alert joins the open incident of its group, or opens a new incident.
        Open = "open",
        /// The alert joins an open incident of a group with the same fields and values, even if another rule
        /// opened that incident. If there is none, the alert is only recorded.
        Attach = "attach",
        /// The alert is only recorded.
        Record = "record",
    }
}

/// The content of a new alert rule, or the new content of an existing one.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAlertRule {
    /// The name of the rule. It is shown on timelines.
    pub name: String,
    /// The rule applies only to alerts of this integration.
    #[serde(default)]
    pub integration: Option<IntegrationId>,
    /// Conditions on the alert. All of them must match. They can be left out if `integration` is set.
    #[serde(default)]
    pub matchers: Vec<Matcher>,
    /// The fields whose values form a group: alerts with the same values in all these fields belong to one
    /// group. A group has at most one open incident. If the list is empty, all alerts that match the rule are
    /// one group. An alert that lacks one of the fields is a group of its own.
    #[serde(default)]
    pub group_by: Vec<String>,
    /// Maps the severity of the source to the severity of the incident. A value that is not listed here is
    /// mapped as if there were no rule.
    #[serde(default)]
    pub severity: BTreeMap<String, Severity>,
    /// Resources that become affected by each alert that matches, in addition to the resources that the alert
    /// names.
    #[serde(default)]
    pub resources: Vec<ResourceRef>,
    /// What happens with an alert that matches the rule.
    pub policy: Policy,
    /// Seconds after the end of an incident within which the same alert reopens it. A later alert opens a new
    /// incident that refers to the earlier one. The default is 0: an incident is never reopened.
    #[serde(default)]
    pub reopen_within: i64,
}

/// An alert rule as it is stored: which alerts it matches, and what happens with them.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct AlertRule {
    /// The ID of the rule.
    pub id: AlertRuleId,
    /// The position of the rule in the order, from 1. The first rule that matches an alert applies.
    pub position: i64,
    /// The name of the rule. It is shown on timelines.
    pub name: String,
    /// The rule applies only to alerts of this integration. If null, it applies to all integrations.
    pub integration: Option<IntegrationId>,
    /// Conditions on the alert. All of them must match.
    pub matchers: Vec<Matcher>,
    /// The fields whose values form a group.
    pub group_by: Vec<String>,
    /// Maps the severity of the source, in lower case, to the severity of the incident.
    pub severity: BTreeMap<String, Severity>,
    /// Resources that become affected by each alert that matches.
    pub resources: Vec<ResourceRef>,
    /// What happens with an alert that matches the rule.
    pub policy: Policy,
    /// Seconds after the end of an incident within which the same alert reopens it. 0 means never.
    pub reopen_within: i64,
    /// When the rule was deleted. Null if it is not deleted.
    pub gone_at: Option<Timestamp>,
    /// When the rule was created.
    pub created_at: Timestamp,
    /// When the rule was last changed.
    pub updated_at: Timestamp,
}

/// The number of fields that can form a group.
const MAX_FIELDS: usize = 20;
/// The number of severities that a rule can map, and of resources that it can name.
pub(super) const MAX: usize = 500;
/// The longest time for `reopen_within`: 30 days, in seconds.
const LONGEST_REOPENING: i64 = 30 * 24 * 3600;

impl NewAlertRule {
    /// Adds an error for each wrong field. `at` is the JSON pointer of the rule in the input.
    pub(in crate::alert) fn check(&self, conn: &mut Conn, check: &mut Check, at: &str) -> Result<()> {
        check.name(&format!("{at}/name"), &self.name);
        matcher::check(check, &format!("{at}/matchers"), &self.matchers);
        let mut wrong = |field: &str, detail: &str| {
            check.errors.push(FieldError::at(format!("{at}/{field}"), detail));
        };
        if self.matchers.is_empty() && self.integration.is_none() {
            wrong(
                "matchers",
                "must not be empty if no integration is given, because every alert would match",
            );
        }
        if let Some(id) = &self.integration {
            match crate::alert::integration::get(conn, id) {
                Ok(one) if one.gone_at.is_some() => wrong("integration", "is deleted"),
                Ok(one) if crate::alert::provider::is_one(&one.source) => {
                    wrong(
                        "integration",
                        "receives reports of a mail provider, so it has no alerts",
                    );
                }
                Ok(_) => {}
                Err(Error::NotFound(_)) => wrong("integration", "is not the ID of an integration"),
                Err(error) => return Err(error),
            }
        }
        if self.group_by.len() > MAX_FIELDS {
            wrong("group_by", "has more than 20 fields");
        }
        if self.policy == Policy::Attach && self.group_by.is_empty() {
            wrong(
                "group_by",
                "must not be empty for the policy attach, because every open incident would match",
            );
        }
        for (index, field) in self.group_by.iter().take(MAX_FIELDS).enumerate() {
            if let Err(detail) = matcher::check_field(field) {
                wrong(&format!("group_by/{index}"), &detail);
            } else if self.group_by[..index].contains(field) {
                wrong(&format!("group_by/{index}"), "is listed twice");
            }
        }
        if self.severity.len() > MAX {
            wrong("severity", "has more than 500 severities");
        }
        if let Some(word) = self.severity.keys().find(|word| {
            word.trim().is_empty() || word.chars().count() > 100 || word.chars().any(char::is_control)
        }) {
            let word = word.replace('~', "~0").replace('/', "~1");
            wrong(
                &format!("severity/{}", one_line(&word, 100)),
                "is not a valid severity: it is empty, has more than 100 characters, or contains a control character",
            );
        }
        if self.resources.len() > MAX {
            wrong("resources", "has more than 500 resources");
        }
        if !(0..=LONGEST_REOPENING).contains(&self.reopen_within) {
            wrong(
                "reopen_within",
                "must be a number of seconds from 0 to 2592000 (30 days)",
            );
        }
        check_resources(conn, check, &format!("{at}/resources"), &self.resources)
    }

    /// Returns the rule as it would be stored.
    pub(in crate::alert) fn tried(&self, id: AlertRuleId, position: i64, now: Timestamp) -> AlertRule {
        AlertRule {
            id,
            position,
            name: self.name.trim().to_owned(),
            integration: self.integration.clone(),
            matchers: self.matchers.clone(),
            group_by: self.group_by.clone(),
            severity: self.words(),
            resources: self.resources.clone(),
            policy: self.policy,
            reopen_within: self.reopen_within,
            gone_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Returns the mapping of severities with its keys in lower case, because the sources give severities in
    /// lower case.
    fn words(&self) -> BTreeMap<String, Severity> {
        self.severity
            .iter()
            .map(|(word, severity)| (word.trim().to_lowercase(), *severity))
            .collect()
    }
}

/// Adds an error for each resource that the directory does not know.
pub(in crate::alert) fn check_resources(
    conn: &mut Conn,
    check: &mut Check,
    pointer: &str,
    resources: &[ResourceRef],
) -> Result<()> {
    let known = resource::keys(conn, &resources.iter().take(MAX).collect::<Vec<_>>())?;
    for (index, at) in resources.iter().take(MAX).enumerate() {
        if !known.contains_key(at) {
            let detail = format!("{at} is not in the directory");
            check
                .errors
                .push(FieldError::at(format!("{pointer}/{index}"), detail));
        }
    }
    Ok(())
}

#[derive(Queryable)]
pub(super) struct AlertRuleRow {
    pub(super) id: AlertRuleId,
    pub(super) position: i64,
    pub(super) name: String,
    integration_id: Option<IntegrationId>,
    pub(super) matchers: String,
    pub(super) group_by: String,
    pub(super) severity: String,
    pub(super) resources: String,
    pub(super) policy: String,
    pub(super) reopen_within: i64,
    pub(super) gone_at: Option<Timestamp>,
    pub(super) created_at: Timestamp,
    updated_at: Timestamp,
}

impl AlertRuleRow {
    pub(super) fn view(self) -> Result<AlertRule> {
        Ok(AlertRule {
            id: self.id,
            position: self.position,
            name: self.name,
            integration: self.integration_id,
            matchers: serde_json::from_str(&self.matchers)?,
            group_by: serde_json::from_str(&self.group_by)?,
            severity: serde_json::from_str(&self.severity)?,
            resources: serde_json::from_str(&self.resources)?,
            policy: Policy::parse(&self.policy).map_err(Error::internal)?,
            reopen_within: self.reopen_within,
            gone_at: self.gone_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}
