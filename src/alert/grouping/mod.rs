//! Alert rules: the first rule that matches an alert decides what happens with it.
//!
//! A rule decides which incident the alert belongs to, the severity of the incident, what is affected, and
//! whether an incident is opened at all. A rule must not match every alert by mistake, so a rule without an
//! integration needs at least one matcher. A group never contains alerts that have nothing in common.

mod manage;
mod rule;

use diesel::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::matcher::{Budget, Matchers, Subject};
use super::source;
use crate::base::error::Result;
use crate::base::id::IntegrationId;
use crate::base::text::{hex, one_line};
use crate::db::Conn;
use crate::db::schema::alert_rules as r;
use crate::incident::Severity;
pub use manage::{check, create, delete, get, list, order, replace};
use rule::AlertRuleRow;
pub(super) use rule::check_resources;
pub use rule::{AlertRule, NewAlertRule, Policy};

/// An alert rule with its compiled matchers.
pub(super) struct CompiledRule {
    pub rule: AlertRule,
    matchers: Matchers,
}

impl CompiledRule {
    /// Compiles the matchers of a stored rule.
    ///
    /// # Errors
    /// `Internal` if a matcher is not valid. The matchers are checked before a rule is stored.
    pub fn of(rule: AlertRule) -> Result<Self> {
        let matchers = Matchers::compile(&rule.matchers)?;
        Ok(CompiledRule { rule, matchers })
    }

    /// Returns whether the rule matches an alert, as far as the time is enough.
    pub fn holds(&self, subject: Subject<'_>, budget: &mut Budget) -> bool {
        let only = self.rule.integration.as_ref();
        only.is_none_or(|id| *id == subject.integration.id) && self.matchers.hold(subject, budget)
    }

    /// Returns whether a condition of the rule is about this field.
    pub fn examines(&self, field: &str) -> bool {
        self.matchers.examine(field)
    }

    /// Returns the fields with a value that is too long for its regular expression.
    pub fn too_long(&self, subject: Subject<'_>) -> Vec<&str> {
        let only = self.rule.integration.as_ref();
        if only.is_some_and(|id| *id != subject.integration.id) {
            return Vec::new();
        }
        self.matchers.too_long(subject)
    }

    /// Returns the severity of an incident that this alert opens. `word` is the severity of the source.
    pub fn severity(&self, word: &str) -> Severity {
        let mapped = self.rule.severity.get(&word.trim().to_lowercase());
        mapped.copied().unwrap_or_else(|| source::severity(word))
    }

    /// Returns the group of an alert that matches.
    pub fn group(&self, subject: Subject<'_>) -> Group {
        let mut fields: Vec<&String> = self.rule.group_by.iter().collect();
        // Rules with the same fields in a different order have the same groups.
        fields.sort();
        let mut missing = false;
        let mut shown = serde_json::Map::new();
        let values: Vec<Value> = fields
            .into_iter()
            .map(|field| {
                let values = subject.values(field);
                missing |= values.is_empty();
                let text = one_line(&values.join(", "), 200);
                shown.insert(
                    field.clone(),
                    if values.is_empty() {
                        Value::Null
                    } else {
                        json!(text)
                    },
                );
                json!([field, values])
            })
            .collect();
        // An alert that lacks a field has nothing in common with other alerts, so it is a group of its own.
        let alone = missing.then(|| {
            let (id, fingerprint) = (&subject.integration.id, &subject.alert.fingerprint);
            shown.insert("fingerprint".to_owned(), json!(one_line(fingerprint, 200)));
            json!([id, fingerprint])
        });
        Group {
            key: hex(&Sha256::digest(json!([values, alone]).to_string().as_bytes())),
            shown: Value::Object(shown),
        }
    }
}

/// Returns the group that the sender put an alert in, within its integration. If no alert rule matches, the
/// alerts of one such group are one incident.
pub(super) fn of_source(integration: &IntegrationId, name: &str) -> Group {
    let key = json!(["source", integration, name]).to_string();
    Group {
        key: hex(&Sha256::digest(key.as_bytes())),
        shown: json!({"group_key": one_line(name, 200)}),
    }
}

/// A group of alerts that belong to one incident.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Identifies the group. The same for all rules with the same fields.
    pub key: String,
    /// The fields and values of the group.
    pub shown: Value,
}

impl Group {
    /// Returns the group as text, for example `labels.service = media, title = Disk full`.
    pub fn in_words(&self) -> String {
        let pairs = self.shown.as_object().into_iter().flatten();
        let words: Vec<String> = pairs
            .map(|(field, value)| format!("{field} = {}", value.as_str().unwrap_or("none")))
            .collect();
        if words.is_empty() {
            return "all alerts that match".to_owned();
        }
        one_line(&words.join(", "), 500)
    }
}

/// Returns all alert rules that are not deleted, in order.
pub(super) fn stored(conn: &mut Conn) -> Result<Vec<AlertRule>> {
    r::table
        .filter(r::gone_at.is_null())
        .order((r::position, r::id))
        .load::<AlertRuleRow>(conn)?
        .into_iter()
        .map(AlertRuleRow::view)
        .collect()
}
