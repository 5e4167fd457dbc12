//! Rules for alerts, in order: the first one that an alert matches says what becomes of it. Which incident it belongs to,
//! how bad that is, what it affects, and whether one is opened at all.
//!
//! Must never happen here: a rule that matches everything by a slip, or a group that holds alerts of which nothing is
//! known to be the same.

mod manage;

use std::collections::BTreeMap;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::matcher::{self, Matcher, Matchers, Subject};
use super::source;
use crate::base::check::Check;
use crate::base::enums::word_enum;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{AlertRuleId, IntegrationId};
use crate::base::text::hex;
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::alert_rules as r;
use crate::directory::{ResourceRef, resource};
use crate::incident::Severity;
pub use manage::{check, create, delete, get, list, order, replace};

word_enum! {
    /// What becomes of an alert that matches.
    #[schema(as = AlertRulePolicy)]
    Policy, "a policy" {
        /// It joins the open incident of its group, or opens one.
        Open = "open",
        /// It joins an open incident of a group of the same fields and values, whichever rule opened it; otherwise it is
        /// only recorded.
        Attach = "attach",
        /// It is only recorded.
        Record = "record",
    }
}

/// A rule to make, or what one is to be from now on.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAlertRule {
    /// What people call it; timelines name it.
    pub name: String,
    /// Only alerts of this integration.
    #[serde(default)]
    pub integration: Option<IntegrationId>,
    /// All of them have to hold. They may be left out where an integration is named.
    #[serde(default)]
    pub matchers: Vec<Matcher>,
    /// Alerts whose values of these fields are the same are one group, and a group has one open incident; without any, all
    /// that match are. An alert that lacks one of the fields is a group of its own.
    #[serde(default)]
    pub group_by: Vec<String>,
    /// The source's words for how bad it is, and ours. Others mean what they mean without a rule.
    #[serde(default)]
    pub severity: BTreeMap<String, Severity>,
    /// What is affected by any alert that matches, beside what it names itself.
    #[serde(default)]
    pub resources: Vec<ResourceRef>,
    /// What becomes of an alert that matches.
    pub policy: Policy,
    /// Seconds after the end of an incident within which the same alert opens it again; after that it opens another, which
    /// names the earlier one. 0 if not given: never.
    #[serde(default)]
    pub reopen_within: i64,
}

/// A rule, as shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct AlertRule {
    /// Its id.
    pub id: AlertRuleId,
    /// Its place, from 1.
    pub position: i64,
    /// What people call it.
    pub name: String,
    /// Only alerts of this integration.
    pub integration: Option<IntegrationId>,
    /// All of them have to hold.
    pub matchers: Vec<Matcher>,
    /// The fields whose values make a group.
    pub group_by: Vec<String>,
    /// The source's words for how bad it is, and ours.
    pub severity: BTreeMap<String, Severity>,
    /// What is affected by any alert that matches.
    pub resources: Vec<ResourceRef>,
    /// What becomes of an alert that matches.
    pub policy: Policy,
    /// Seconds within which a closed incident is opened again.
    pub reopen_within: i64,
    /// When it was deleted.
    pub gone_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Fields of one group.
const MAX_FIELDS: usize = 20;
/// Words that are mapped, and resources that are named.
const MOST: usize = 500;
/// A month.
const LONGEST_REOPENING: i64 = 30 * 24 * 3600;

impl NewAlertRule {
    /// What is wrong with it at that place of the input.
    pub(super) fn check(&self, conn: &mut Conn, check: &mut Check, at: &str) -> Result<()> {
        check.name(&format!("{at}/name"), &self.name);
        matcher::check(check, &format!("{at}/matchers"), &self.matchers);
        let mut wrong = |field: &str, detail: &str| {
            check.errors.push(FieldError::at(format!("{at}/{field}"), detail));
        };
        if self.matchers.is_empty() && self.integration.is_none() {
            wrong(
                "matchers",
                "must not be empty unless an integration is named: every alert would match",
            );
        }
        if let Some(id) = &self.integration {
            match super::integration::get(conn, id) {
                Ok(one) if one.gone_at.is_some() => wrong("integration", "has ended"),
                Ok(one) if super::provider::is_one(&one.source) => {
                    wrong(
                        "integration",
                        "takes what mail providers report: it has no alerts",
                    );
                }
                Ok(_) => {}
                Err(Error::NotFound(_)) => wrong("integration", "is not known"),
                Err(error) => return Err(error),
            }
        }
        if self.group_by.len() > MAX_FIELDS {
            wrong("group_by", "holds more than 20 fields");
        }
        if self.policy == Policy::Attach && self.group_by.is_empty() {
            wrong(
                "group_by",
                "must not be empty to attach: any open incident would do",
            );
        }
        for (index, field) in self.group_by.iter().take(MAX_FIELDS).enumerate() {
            if let Err(detail) = matcher::check_field(field) {
                wrong(&format!("group_by/{index}"), &detail);
            } else if self.group_by[..index].contains(field) {
                wrong(&format!("group_by/{index}"), "is named twice");
            }
        }
        if self.severity.len() > MOST {
            wrong("severity", "holds more than 500 words");
        }
        if let Some(word) = self.severity.keys().find(|word| {
            word.trim().is_empty() || word.chars().count() > 100 || word.chars().any(char::is_control)
        }) {
            let word = word.replace('~', "~0").replace('/', "~1");
            wrong(
                &format!("severity/{}", one_line(&word, 100)),
                "is no word: it is empty, longer than 100 characters, or holds a control character",
            );
        }
        if self.resources.len() > MOST {
            wrong("resources", "holds more than 500");
        }
        if !(0..=LONGEST_REOPENING).contains(&self.reopen_within) {
            wrong(
                "reopen_within",
                "must be a number of seconds from 0 to 2592000 (30 days)",
            );
        }
        check_resources(conn, check, &format!("{at}/resources"), &self.resources)
    }

    /// The same as a rule, for a trial.
    pub(super) fn tried(&self, id: AlertRuleId, position: i64, now: Timestamp) -> AlertRule {
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

    /// The mapping of severities, in lower case as the sources give the words.
    fn words(&self) -> BTreeMap<String, Severity> {
        self.severity
            .iter()
            .map(|(word, severity)| (word.trim().to_lowercase(), *severity))
            .collect()
    }
}

/// Each of these has to be known to the directory.
pub(super) fn check_resources(
    conn: &mut Conn,
    check: &mut Check,
    pointer: &str,
    resources: &[ResourceRef],
) -> Result<()> {
    let known = resource::keys(conn, &resources.iter().take(MOST).collect::<Vec<_>>())?;
    for (index, at) in resources.iter().take(MOST).enumerate() {
        if !known.contains_key(at) {
            let detail = format!("{at} is not known to the directory");
            check
                .errors
                .push(FieldError::at(format!("{pointer}/{index}"), detail));
        }
    }
    Ok(())
}

#[derive(Queryable)]
struct Row {
    id: AlertRuleId,
    position: i64,
    name: String,
    integration_id: Option<IntegrationId>,
    matchers: String,
    group_by: String,
    severity: String,
    resources: String,
    policy: String,
    reopen_within: i64,
    gone_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Row {
    fn view(self) -> Result<AlertRule> {
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

/// A rule that is ready to be asked.
pub(super) struct Ready {
    pub rule: AlertRule,
    matchers: Matchers,
}

impl Ready {
    /// Makes a rule ready.
    ///
    /// # Errors
    /// Where it was not checked before.
    pub fn of(rule: AlertRule) -> Result<Self> {
        let matchers = Matchers::compile(&rule.matchers)?;
        Ok(Ready { rule, matchers })
    }

    /// Whether an alert matches.
    pub fn holds(&self, subject: Subject<'_>) -> bool {
        let of = self.rule.integration.as_ref();
        of.is_none_or(|id| *id == subject.integration.id) && self.matchers.hold(subject)
    }

    /// The fields that are longer than its expressions look at.
    pub fn too_long(&self, subject: Subject<'_>) -> Vec<&str> {
        let of = self.rule.integration.as_ref();
        if of.is_some_and(|id| *id != subject.integration.id) {
            return Vec::new();
        }
        self.matchers.too_long(subject)
    }

    /// How bad an incident of this alert is.
    pub fn severity(&self, word: &str) -> Severity {
        let mapped = self.rule.severity.get(&word.trim().to_lowercase());
        mapped.copied().unwrap_or_else(|| source::severity(word))
    }

    /// The group of an alert that matches.
    pub fn group(&self, subject: Subject<'_>) -> Group {
        let mut fields: Vec<&String> = self.rule.group_by.iter().collect();
        // Rules that name the same fields in another order speak of the same groups.
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
        // What lacks a field is not known to be the same as anything but itself.
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

/// The group that the sender itself put an alert in, within its integration. Where no rule says otherwise, the alerts of
/// one such group are one incident.
pub(super) fn of_source(integration: &IntegrationId, name: &str) -> Group {
    let key = json!(["source", integration, name]).to_string();
    Group {
        key: hex(&Sha256::digest(key.as_bytes())),
        shown: json!({"group_key": one_line(name, 200)}),
    }
}

/// What alerts of one incident have in common.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Names it, whatever the rule.
    pub key: String,
    /// Its fields and values.
    pub shown: Value,
}

impl Group {
    /// `labels.service = media, title = Disk full`
    pub fn in_words(&self) -> String {
        let pairs = self.shown.as_object().into_iter().flatten();
        let words: Vec<String> = pairs
            .map(|(field, value)| format!("{field} = {}", value.as_str().unwrap_or("none")))
            .collect();
        if words.is_empty() {
            return "everything that matches".to_owned();
        }
        one_line(&words.join(", "), 500)
    }
}

/// All rules that are there, in order, ready to be asked.
///
/// # Errors
/// What the database answers.
pub(super) fn ready(conn: &mut Conn) -> Result<Vec<Ready>> {
    r::table
        .filter(r::gone_at.is_null())
        .order((r::position, r::id))
        .load::<Row>(conn)?
        .into_iter()
        .map(|row| Ready::of(row.view()?))
        .collect()
}
