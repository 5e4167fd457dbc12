//! The fields of the forms for an integration, and the way between the forms and the input of the API.

use serde_json::{Map, Value, json};

use super::field::Field;
use super::filled::lines;

/// Resource rules and what happens with new problems.
const NAME: Field = Field::text("name", "Name", "Incidents and the audit trail show this name.");
const RULES: Field = Field::own(
    "resource_rules",
    "Resource rules",
    "How Candor finds the affected resources in an alert. On each line, write a field, an equals sign and a type, such as labels.project_id = project. Or a field, a ~ and a pattern with named groups, such as text ~ /projects/(?<project>[^/]+).",
    read_rules,
    write_rules,
);
const OPENS: Field = Field::flag(
    "open_incident",
    "New problems",
    "A rule of the alert grouping that matches decides instead.",
    "Each new problem opens an incident",
    "New problems are only recorded",
);
const SECRET_KIND: Field = Field::choice(
    "secret_kind",
    "Proof of the sender",
    "With a secret, each request must prove that its sender knows it. Without one, everybody who knows the URL can send.",
    &[
        ("generated", "Candor generates a secret"),
        ("given", "I enter the secret below"),
        ("none", "No secret: the URL is enough"),
    ],
    "must be generated, given or none",
);
const SECRET: Field = Field::secret(
    "secret",
    "Secret",
    "At least 8 characters. Only with the second choice.",
)
.beside();
const THEIR_KIND: Field = Field::choice(
    "secret_kind",
    "Proof of the sender",
    "This sender signs its requests with a secret of its own.",
    &[
        ("given", "I enter the secret below"),
        ("none", "No secret: the URL is enough"),
    ],
    "must be given or none",
);

const fn pointer(name: &'static str, label: &'static str, hint: &'static str) -> Field {
    Field::text(name, label, hint).optional()
}

const ALERTS: Field = pointer(
    "mapping.alerts",
    "Place of the list of alerts",
    "A JSON pointer such as /alerts. The other places then start within each alert. If empty, the whole body is one alert.",
);
const FINGERPRINT: Field = pointer(
    "mapping.fingerprint",
    "Place of the key",
    "What identifies the problem, such as /event/id. If empty, the title does.",
)
.beside();
const STATUS: Field = pointer("mapping.status", "Place of the status", "Firing or resolved.");
const SEVERITY: Field = pointer("mapping.severity", "Place of the severity", "").beside();
const TITLE: Field = pointer("mapping.title", "Place of the title", "");
const TEXT: Field = pointer("mapping.text", "Place of the description", "").beside();
const STARTED: Field = pointer("mapping.started_at", "Place of the start", "");
const ENDED: Field = pointer("mapping.ended_at", "Place of the end", "").beside();
const CHANGED: Field = pointer(
    "mapping.event_at",
    "Place of the time of the event",
    "An older event than the known one changes nothing.",
);
const MESSAGE: Field = pointer(
    "mapping.message_id",
    "Place of the ID of the message",
    "A message is processed once.",
)
.beside();
const LINK: Field = pointer("mapping.link", "Place of the link", "");
const LABELS: Field = Field::own(
    "mapping.labels",
    "Places of the labels",
    "One pointer to an object of labels, such as /labels. Or on each line a name, an equals sign and a pointer.",
    read_labels,
    write_labels,
);
const RESOLVED: Field = Field::lines(
    "mapping.resolved_values",
    "Statuses that mean resolved",
    "One on each line. If empty: resolved, ok, closed, up, recovered and similar words.",
);
const SEVERITIES: Field = Field::own(
    "mapping.severity_values",
    "Severities",
    "On each line a severity of the sender, an equals sign and another severity, such as P1 = critical.",
    |text| {
        read_pairs(
            text,
            "a severity, an equals sign and a severity, such as P1 = critical",
        )
    },
    write_pairs,
);

/// The form for a new integration.
pub const NEW: &[Field] = &[NAME, SECRET_KIND, SECRET, RULES, OPENS];
/// The form for a new integration whose sender has a secret of its own.
pub const NEW_THEIRS: &[Field] = &[NAME, THEIR_KIND, SECRET, RULES, OPENS];
/// The form for a new integration of the source `generic`.
pub const NEW_GENERIC: &[Field] = &[
    NAME,
    SECRET_KIND,
    SECRET,
    RULES,
    OPENS,
    ALERTS,
    FINGERPRINT,
    STATUS,
    SEVERITY,
    TITLE,
    TEXT,
    STARTED,
    ENDED,
    CHANGED,
    MESSAGE,
    LINK,
    LABELS,
    RESOLVED,
    SEVERITIES,
];
/// The form for a new integration that receives delivery reports.
pub const NEW_REPORTS: &[Field] = &[NAME, SECRET_KIND, SECRET];
/// The same for a sender with a secret of its own.
pub const NEW_REPORTS_THEIRS: &[Field] = &[NAME, THEIR_KIND, SECRET];
/// The form for the change of an integration.
pub const CHANGE: &[Field] = &[NAME, RULES, OPENS];
/// The form for the change of an integration of the source `generic`.
pub const CHANGE_GENERIC: &[Field] = &[
    NAME,
    RULES,
    OPENS,
    ALERTS,
    FINGERPRINT,
    STATUS,
    SEVERITY,
    TITLE,
    TEXT,
    STARTED,
    ENDED,
    CHANGED,
    MESSAGE,
    LINK,
    LABELS,
    RESOLVED,
    SEVERITIES,
];
/// The form for the change of an integration that receives delivery reports.
pub const CHANGE_REPORTS: &[Field] = &[NAME];

type Read = Result<Value, Vec<String>>;

fn all(read: Vec<Value>, wrong: Vec<String>) -> Read {
    if wrong.is_empty() {
        Ok(Value::Array(read))
    } else {
        Err(wrong)
    }
}

fn read_rules(text: &str) -> Read {
    let (mut read, mut wrong) = (Vec::new(), Vec::new());
    for line in lines(text) {
        match rule(line) {
            Some(rule) => read.push(rule),
            None => wrong.push(format!(
                "\u{201c}{line}\u{201d} must be a field, = and a type, such as labels.project_id = project, or a field, ~ and a pattern"
            )),
        }
    }
    all(read, wrong)
}

fn rule(line: &str) -> Option<Value> {
    let at = line.find(['=', '~'])?;
    let (field, rest) = line.split_at(at);
    let (sign, value) = rest.split_at(1);
    let (field, value) = (field.trim(), value.trim());
    if field.is_empty() || value.is_empty() {
        return None;
    }
    Some(if sign == "=" {
        json!({"field": field, "type": value})
    } else {
        json!({"field": field, "pattern": value})
    })
}

fn write_rules(stored: &Value) -> String {
    let rules = stored.as_array().into_iter().flatten();
    let lines = rules.map(|rule| {
        let text = |name: &str| rule[name].as_str();
        let field = text("field").unwrap_or_default();
        match (text("type"), text("pattern")) {
            (_, Some(pattern)) => format!("{field} ~ {pattern}"),
            (type_, None) => format!("{field} = {}", type_.unwrap_or_default()),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn read_pairs(text: &str, what: &str) -> Read {
    let (mut read, mut wrong) = (Map::new(), Vec::new());
    for line in lines(text) {
        match line.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                if read.insert(name.trim().to_owned(), json!(value.trim())).is_some() {
                    wrong.push(format!(
                        "\u{201c}{line}\u{201d} repeats a name that another line has"
                    ));
                }
            }
            _ => wrong.push(format!("\u{201c}{line}\u{201d} must be {what}")),
        }
    }
    if wrong.is_empty() {
        Ok(Value::Object(read))
    } else {
        Err(wrong)
    }
}

fn write_pairs(stored: &Value) -> String {
    let pairs = stored.as_object().into_iter().flatten();
    let lines = pairs.map(|(name, value)| format!("{name} = {}", value.as_str().unwrap_or_default()));
    lines.collect::<Vec<_>>().join("\n")
}

fn read_labels(text: &str) -> Read {
    let mut given = lines(text);
    match (given.next(), given.next()) {
        (None, _) => Ok(Value::Null),
        (Some(one), None) if one.starts_with('/') => Ok(json!(one)),
        _ => read_pairs(
            text,
            "a name, an equals sign and a pointer, such as service = /tags/service",
        ),
    }
}

fn write_labels(stored: &Value) -> String {
    match stored {
        Value::String(pointer) => pointer.clone(),
        other => write_pairs(other),
    }
}

/// Leaves out of a mapping what says nothing, and the mapping itself if nothing is left.
pub fn without_empty(body: &mut Value) {
    let Some(fields) = body.as_object_mut() else {
        return;
    };
    let nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    if let Some(Value::Object(mapping)) = fields.get_mut("mapping") {
        mapping.retain(|_, value| !nothing(value));
    }
    if fields.get("mapping").is_some_and(nothing) {
        fields.remove("mapping");
    }
}

/// A stored integration as the form for its change compares it.
pub fn stored(mut integration: Value) -> Value {
    if integration["mapping"].is_null() {
        integration["mapping"] = json!({});
    }
    for (name, empty) in [("resolved_values", json!([])), ("severity_values", json!({}))] {
        if integration["mapping"][name].is_null() {
            integration["mapping"][name] = empty;
        }
    }
    integration
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_as_they_are_written() {
        let rules = json!([
            {"field": "labels.project_id", "type": "project"},
            {"field": "text", "pattern": "/p=(?<project>[^/~]+)"},
        ]);
        assert_eq!(read_rules(&write_rules(&rules)), Ok(rules));
        for wrong in ["labels.project_id", "= project", "text ~"] {
            assert!(read_rules(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn labels_are_one_pointer_or_one_for_each() {
        assert_eq!(read_labels("/labels"), Ok(json!("/labels")));
        let each = json!({"service": "/tags/service"});
        assert_eq!(read_labels(&write_labels(&each)), Ok(each));
        assert_eq!(read_labels(""), Ok(Value::Null));
    }
}
