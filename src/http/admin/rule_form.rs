//! The form of an alert rule: from a stored rule to form fields, and back.
//!
//! Opening and saving a rule never changes it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::filled::{Fields, Wrong, choice, field, lined, lines, typed};
use super::matchers::Rows;
use crate::alert::grouping::{AlertRule, NewAlertRule, Policy};
use crate::base::id::IntegrationId;
use crate::directory::{ResourceRef, resource};
use crate::incident::Severity;

/// The fields as they were typed.
#[derive(Clone, Default)]
pub struct RuleForm {
    name: String,
    integration: String,
    matchers: Rows,
    policy: String,
    group_by: String,
    severity: String,
    resources: String,
    reopen_within: String,
    /// The saved request to test the rule with, as `INTEGRATION/BODY`.
    pub body: String,
}

impl RuleForm {
    /// Reads the fields of the form.
    pub fn read(fields: &mut Fields) -> RuleForm {
        RuleForm {
            name: fields.take("name"),
            integration: fields.take("integration"),
            matchers: Rows::read(fields),
            policy: fields.take("policy"),
            group_by: fields.take("group_by"),
            severity: fields.take("severity"),
            resources: fields.take("resources"),
            reopen_within: fields.take("reopen_within"),
            body: fields.take("body"),
        }
    }

    /// Returns the form for a new rule, with the default values.
    pub fn empty() -> RuleForm {
        RuleForm {
            policy: Policy::Open.as_str().to_owned(),
            reopen_within: "0".to_owned(),
            ..RuleForm::default()
        }
    }

    /// Makes the form of a stored rule. Returns `None` if the form cannot represent it, for example because a
    /// value begins with a space.
    pub fn of(rule: &AlertRule) -> Option<RuleForm> {
        let form = RuleForm {
            name: rule.name.clone(),
            integration: rule
                .integration
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
            matchers: Rows::of(&rule.matchers),
            policy: rule.policy.as_str().to_owned(),
            group_by: rule.group_by.join("\n"),
            severity: rule
                .severity
                .iter()
                .map(|(word, severity)| format!("{word} = {severity}"))
                .collect::<Vec<_>>()
                .join("\n"),
            resources: shown(&rule.resources),
            reopen_within: rule.reopen_within.to_string(),
            body: String::new(),
        };
        let same = |new: &NewAlertRule| {
            new.name == rule.name
                && new.integration == rule.integration
                && new.matchers == rule.matchers
                && new.policy == rule.policy
                && new.group_by == rule.group_by
                && new.severity == rule.severity
                && new.resources == rule.resources
                && new.reopen_within == rule.reopen_within
        };
        let (sent, wrong) = form.as_sent().rule();
        (wrong.is_empty() && same(&sent)).then_some(form)
    }

    /// Returns the form as a browser would send it, without white space around each field.
    fn as_sent(&self) -> RuleForm {
        let trimmed = |text: &String| text.trim().to_owned();
        RuleForm {
            name: trimmed(&self.name),
            integration: self.integration.clone(),
            matchers: self.matchers.as_sent(),
            policy: self.policy.clone(),
            group_by: trimmed(&self.group_by),
            severity: trimmed(&self.severity),
            resources: trimmed(&self.resources),
            reopen_within: self.reopen_within.clone(),
            body: self.body.clone(),
        }
    }

    /// Returns the rule and the errors. If there are no errors, the rule is exactly what was typed.
    pub fn rule(&self) -> (NewAlertRule, Wrong) {
        let mut wrong = Wrong::default();
        let integration = match self.integration.as_str() {
            "" => None,
            id => IntegrationId::parse(id)
                .map_err(|_| wrong.add("/integration", "is not an integration that exists"))
                .ok(),
        };
        let policy = Policy::parse(&self.policy)
            .map_err(|_| wrong.add("/policy", "must be open, attach or record"))
            .unwrap_or(Policy::Record);
        let mut severity = BTreeMap::new();
        for line in lines(&self.severity) {
            let said = line.rsplit_once('=').and_then(|(word, severity)| {
                Some((word.trim().to_lowercase(), Severity::parse(severity.trim()).ok()?))
            });
            match said {
                None => wrong.add(
                    "/severity",
                    format!("\u{201c}{line}\u{201d} must be a severity of the source, =, and critical, major or minor, such as page = critical"),
                ),
                Some((word, of)) => {
                    if severity.insert(word, of).is_some() {
                        wrong.add(
                            "/severity",
                            format!("\u{201c}{line}\u{201d} repeats a severity that another line has"),
                        );
                    }
                }
            }
        }
        let resources = resources(&self.resources, &mut wrong);
        let reopen_within = match self.reopen_within.as_str() {
            "" => 0,
            text => text.parse().unwrap_or_else(|_| {
                wrong.add("/reopen_within", "must be a whole number of seconds, such as 600");
                0
            }),
        };
        let rule = NewAlertRule {
            name: self.name.clone(),
            integration,
            matchers: self.matchers.matchers(&mut wrong),
            group_by: lines(&self.group_by).map(str::to_owned).collect(),
            severity,
            resources,
            policy,
            reopen_within,
        };
        (rule, wrong)
    }

    /// Returns the form for the template, with the errors of each field. `integrations` are the options to
    /// choose from.
    pub fn view(&self, mut wrong: Wrong, integrations: &[(IntegrationId, String)]) -> Value {
        let matchers = self.matchers.view(&mut wrong);
        let name = field(
            "name",
            "Name",
            "Timelines of incidents show this name.",
            &self.name,
            wrong.at("/name"),
        );
        let of = field(
            "integration",
            "Alerts of",
            "",
            &self.integration,
            wrong.at("/integration"),
        );
        let known = integrations.iter().map(|(id, name)| (id.as_str(), name.clone()));
        let of = choice(
            of,
            std::iter::once(("", "any integration".to_owned())).chain(known),
        );
        let policy = field(
            "policy",
            "What happens to these alerts",
            "",
            &self.policy,
            wrong.at("/policy"),
        );
        let policy = choice(
            policy,
            [
                (
                    "open",
                    "They join the open incident of their group, or open an incident",
                ),
                (
                    "attach",
                    "They join an open incident of their group, and are otherwise only recorded",
                ),
                ("record", "They are only recorded"),
            ]
            .map(|(word, text)| (word, text.to_owned())),
        );
        let group_by = field(
            "group_by",
            "One incident for each value of",
            "Write a field on each line, such as labels.service. If empty, all alerts that match are one group.",
            &self.group_by,
            wrong.at_lines("/group_by", &self.group_by),
        );
        let severity = field(
            "severity",
            "Severity",
            "On each line, write a severity of the source and the severity of the incident, such as page = critical. Other severities are read as they are without this rule.",
            &self.severity,
            wrong.at("/severity"),
        );
        let resources = resources_field(
            "Affected resources",
            "Candor adds these resources in addition to those that the alert names. Write a type and an ID on each line, such as project savanna.",
            &self.resources,
            &mut wrong,
        );
        let reopen_within = field(
            "reopen_within",
            "Reopen a resolved incident within",
            "Seconds after the incident was resolved. With 0, and later than this, a new incident is opened that refers to the resolved one.",
            &self.reopen_within,
            wrong.at("/reopen_within"),
        );
        json!({
            "name": name, "integration": of, "policy": policy, "group_by": lined(group_by, 2),
            "severity": lined(severity, 2), "resources": resources, "reopen_within": typed(reopen_within, "number"),
            "matchers": matchers, "others": wrong.rest(),
        })
    }
}

/// Returns resources as text, one on each line.
pub fn shown(resources: &[ResourceRef]) -> String {
    let lines: Vec<String> = resources.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Parses the resources of a field. Each line has a type, a space and an ID.
pub fn resources(text: &str, wrong: &mut Wrong) -> Vec<ResourceRef> {
    let mut found = Vec::new();
    for line in lines(text) {
        let named = line
            .split_once(char::is_whitespace)
            .ok_or_else(|| "must be a type and an ID, such as project savanna".to_owned())
            .and_then(|(type_, id)| resource::at(type_, id.trim()));
        match named {
            Ok(at) => found.push(at),
            Err(detail) => wrong.add("/resources", format!("\u{201c}{line}\u{201d} {detail}")),
        }
    }
    found
}

/// Returns the field for resources for its template.
pub fn resources_field(label: &str, hint: &str, text: &str, wrong: &mut Wrong) -> Value {
    let errors = wrong.at_lines("/resources", text);
    lined(field("resources", label, hint, text, errors), 2)
}
