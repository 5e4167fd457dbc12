//! The form of an alert rule.

use serde_json::{Value, json};

use super::field::Field;
use super::filled::lines;
use crate::incident::Severity;

/// The fields of the form. `of` is the rule that the form changes, and `body` the saved request that a rule is tested with, as
/// `INTEGRATION/BODY`.
pub const RULE: &[Field] = &[
    Field::text("name", "Name", "Timelines of incidents show this name."),
    Field::one_of(
        "integration",
        "Alerts of",
        "",
        "is not an integration that exists",
    ),
    Field::matchers(),
    Field::choice(
        "policy",
        "What happens to these alerts",
        "",
        &[
            (
                "open",
                "They join the open incident of their group, or open an incident",
            ),
            (
                "attach",
                "They join an open incident of their group, and are otherwise only recorded",
            ),
            ("record", "They are only recorded"),
        ],
        "must be open, attach or record",
    ),
    Field::lines(
        "group_by",
        "One incident for each value of",
        "Write a field on each line, such as labels.service. If empty, all alerts that match are one group.",
    ),
    Field::own(
        "severity",
        "Severity",
        "On each line, write a severity of the source and the severity of the incident, such as page = critical. Other severities are read as they are without this rule.",
        read_severity,
        write_severity,
    ),
    Field::resources(
        "Affected resources",
        "Candor adds these resources in addition to those that the alert names. Write a type and an ID on each line, such as project savanna.",
    ),
    Field::number(
        "reopen_within",
        "Reopen a resolved incident within",
        "Seconds after the incident was resolved. With 0, and later than this, a new incident is opened that refers to the resolved one.",
        (i64::MIN, i64::MAX, 1),
        "must be a whole number of seconds, such as 600",
    ),
    Field::kept("of"),
    Field::kept("body"),
];

/// Reads a map of severities. Each line has a severity of the source, an equals sign, and a severity of an incident.
fn read_severity(text: &str) -> Result<Value, Vec<String>> {
    let (mut read, mut wrong) = (serde_json::Map::new(), Vec::new());
    for line in lines(text) {
        let said = line.rsplit_once('=').and_then(|(word, severity)| {
            Some((word.trim().to_lowercase(), Severity::parse(severity.trim()).ok()?))
        });
        match said {
            None => wrong.push(format!(
                "\u{201c}{line}\u{201d} must be a severity of the source, =, and critical, major or minor, such as page = critical"
            )),
            Some((word, of)) => {
                if read.insert(word, json!(of)).is_some() {
                    wrong.push(format!(
                        "\u{201c}{line}\u{201d} repeats a severity that another line has"
                    ));
                }
            }
        }
    }
    if wrong.is_empty() {
        Ok(Value::Object(read))
    } else {
        Err(wrong)
    }
}

fn write_severity(stored: &Value) -> String {
    let severities = stored.as_object().into_iter().flatten();
    let lines = severities.map(|(word, of)| format!("{word} = {}", of.as_str().unwrap_or_default()));
    lines.collect::<Vec<_>>().join("\n")
}
