//! Lists the fields of each object of an email. The errors of templates use the lists: if an author misspells a field of a
//! recipient, the error lists the fields of a recipient.

use handlebars::{Path, PathSeg};

use super::names::NAMES;
use super::sentences::is_sentence;
use super::values::is_key;
use crate::base::text::one_line;

/// The kind of a value in a template, which says what fields the value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The whole email, which is the root of all paths.
    Mail,
    /// The incident, with the fields `number` and `severity`.
    Incident,
    /// The recipient, with the field `name`.
    Recipient,
    /// The action that customers need to take.
    Action,
    /// The report after the incident.
    Report,
    /// The links for the three answers.
    Answers,
    /// An affected resource, or the list of them.
    Resource,
    /// A time of the incident, or the list of them.
    Time,
    /// A section of the report, or the list of them.
    Section,
    /// What a recipient who was found late is told in addition.
    Late,
    /// The wrong email that a correction is about.
    Corrects,
    /// The values of the recipient's own. Their keys are those that the operator gave.
    Values,
    /// How much of what is affected of the recipient is restored.
    Recovery,
    /// The fixed sentences in the language of the reader. Their keys are those of `templates/words/mail.toml`.
    Sentences,
    /// The brand of the sender.
    Brand,
    /// The planned maintenance. An email has it only in the phase `maintenance`.
    Maintenance,
    /// A text, a number, a truth value or a list of texts. It has no fields.
    Plain,
    /// A value whose kind is known only when the template is rendered.
    Unknown,
}

impl Shape {
    /// Returns the name of the object for people, and its fields with their shapes.
    fn fields(self) -> (&'static str, &'static [(&'static str, Shape)]) {
        match self {
            Shape::Mail => (
                "the email",
                &[
                    ("phase", Shape::Plain),
                    ("incident", Shape::Incident),
                    ("subject", Shape::Plain),
                    ("what", Shape::Plain),
                    ("recipient", Shape::Recipient),
                    ("paragraphs", Shape::Plain),
                    ("action", Shape::Action),
                    ("resources", Shape::Resource),
                    ("more_resources", Shape::Plain),
                    ("times", Shape::Time),
                    ("report", Shape::Report),
                    ("sender", Shape::Plain),
                    ("reason", Shape::Plain),
                    ("optional", Shape::Plain),
                    ("unsubscribe_url", Shape::Plain),
                    ("mine_url", Shape::Plain),
                    ("answers", Shape::Answers),
                    ("late", Shape::Late),
                    ("corrects", Shape::Corrects),
                    ("recovery", Shape::Recovery),
                    ("drill", Shape::Plain),
                    ("headline", Shape::Plain),
                    ("update", Shape::Plain),
                    ("next_update", Shape::Plain),
                    ("support_url", Shape::Plain),
                    ("values", Shape::Values),
                    ("language", Shape::Plain),
                    ("direction", Shape::Plain),
                    ("rtl", Shape::Plain),
                    ("message_language", Shape::Plain),
                    ("t", Shape::Sentences),
                    ("brand", Shape::Brand),
                    ("maintenance", Shape::Maintenance),
                ],
            ),
            Shape::Incident => (
                "the incident",
                &[("number", Shape::Plain), ("severity", Shape::Plain)],
            ),
            Shape::Recipient => ("the recipient", &[("name", Shape::Plain)]),
            Shape::Action => (
                "the action",
                &[("required", Shape::Plain), ("text", Shape::Plain)],
            ),
            Shape::Report => (
                "the report",
                &[("title", Shape::Plain), ("sections", Shape::Section)],
            ),
            Shape::Answers => (
                "the links for answers",
                &[
                    ("works", Shape::Plain),
                    ("broken", Shape::Plain),
                    ("help", Shape::Plain),
                ],
            ),
            Shape::Resource => (
                "a resource",
                &[
                    ("type", Shape::Plain),
                    ("id", Shape::Plain),
                    ("label", Shape::Plain),
                    ("account", Shape::Plain),
                    ("finding", Shape::Plain),
                    ("restored", Shape::Plain),
                ],
            ),
            Shape::Time => ("a time", &[("label", Shape::Plain), ("text", Shape::Plain)]),
            Shape::Section => (
                "a section of the report",
                &[("heading", Shape::Plain), ("paragraphs", Shape::Plain)],
            ),
            Shape::Late => ("the words for late recipients", &[("began", Shape::Plain)]),
            Shape::Corrects => (
                "the wrong email",
                &[("subject", Shape::Plain), ("sent_at", Shape::Plain)],
            ),
            Shape::Recovery => (
                "the recovery",
                &[
                    ("restored", Shape::Plain),
                    ("affected", Shape::Plain),
                    ("left", Shape::Plain),
                    ("summary", Shape::Plain),
                ],
            ),
            Shape::Maintenance => (
                "the maintenance",
                &[
                    ("change", Shape::Plain),
                    ("title", Shape::Plain),
                    ("starts", Shape::Plain),
                    ("ends", Shape::Plain),
                    ("was_starts", Shape::Plain),
                    ("was_ends", Shape::Plain),
                    ("components", Shape::Plain),
                ],
            ),
            Shape::Brand => (
                "the brand",
                &[
                    ("color", Shape::Plain),
                    ("logo", Shape::Plain),
                    ("postal_address", Shape::Plain),
                    ("footer", Shape::Plain),
                ],
            ),
            Shape::Values => ("the values", &[]),
            Shape::Sentences => ("the sentences", &[]),
            Shape::Plain => ("a text", &[]),
            Shape::Unknown => ("this place", &[]),
        }
    }

    /// Returns the shape of an element of a list.
    pub(super) fn element(self) -> Shape {
        match self {
            Shape::Resource | Shape::Time | Shape::Section | Shape::Plain => self,
            _ => Shape::Unknown,
        }
    }

    /// Returns the shape of the field with this name.
    pub(super) fn field(self, name: &str) -> Shape {
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            // An element of a list, which has the shape of its list.
            return self;
        }
        if self == Shape::Values && is_key(name) || self == Shape::Sentences && is_sentence(name) {
            return Shape::Plain;
        }
        let (_, fields) = self.fields();
        fields
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(Shape::Unknown, |(_, shape)| *shape)
    }
}

/// Returns the error for a field that an object does not have. It names a field with a similar name and lists all fields.
pub(super) fn unknown(name: &str, of: Shape) -> String {
    let (object, fields) = of.fields();
    let shown = one_line(name, 60);
    let names: Vec<&str> = match of {
        Shape::Values => {
            return format!(
                "there is no value '{shown}': a value is written values.code, and its key is a lower-case letter followed by \
                 lower-case letters, digits or _"
            );
        }
        Shape::Sentences => {
            return format!("there is no sentence '{shown}': docs/languages.md says which sentences t has");
        }
        Shape::Plain => return format!("there is no variable '{shown}' here: {object} has no fields"),
        // The object is not known, so all names are listed.
        Shape::Unknown => NAMES.to_vec(),
        _ => fields.iter().map(|(name, _)| *name).collect(),
    };
    let close = |names: &[&'static str]| {
        names
            .iter()
            .map(|known| (distance(name, known), *known))
            .min()
            .filter(|(distance, known)| *distance <= 2 && *distance < known.len())
            .map(|(_, known)| known)
    };
    let meant = match (close(&names), close(&NAMES)) {
        (Some(known), _) => format!("; did you mean '{known}'?"),
        (None, Some(known)) if Shape::Mail.field(known) != Shape::Unknown => {
            format!(". The field '{known}' of the email is @root.{known}.")
        }
        _ => ".".to_owned(),
    };
    let which = match of {
        Shape::Unknown => "The names".to_owned(),
        _ => format!("The fields of {object}"),
    };
    format!(
        "there is no variable '{shown}'{meant} {which} are: {}",
        names.join(", ")
    )
}

/// Returns the error for a variable that was not found during the rendering. `path` is the variable as the author wrote it.
pub(super) fn missing(path: &str) -> String {
    let names: Vec<String> = match Path::parse(path) {
        Ok(Path::Relative((segments, _))) => segments
            .into_iter()
            .filter_map(|segment| match segment {
                PathSeg::Named(name) => Some(name),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    let Some((last, parents)) = names.split_last() else {
        return format!(
            "the variable '{}' does not exist at this place",
            one_line(path, 60)
        );
    };
    let parent = match parents {
        [] => Shape::Unknown,
        parents => parents.iter().fold(Shape::Mail, |shape, name| shape.field(name)),
    };
    if !matches!(parent, Shape::Unknown | Shape::Plain) && parent.field(last) == Shape::Unknown {
        unknown(last, parent)
    } else if NAMES.contains(&last.as_str()) {
        format!(
            "the variable '{}' does not exist at this place; the names of the whole email are reached with @root.",
            one_line(path, 60)
        )
    } else {
        unknown(last, Shape::Unknown)
    }
}

/// Returns how many letters must be changed, added or removed to turn one word into the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().take(60).enumerate() {
        let mut before = row[0];
        row[0] = line + 1;
        for (column, second) in other.iter().enumerate() {
            let changed = before + usize::from(letter != *second);
            before = row[column + 1];
            row[column + 1] = changed.min(before + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::names::NAMES;
    use super::super::phase::Phase;
    use super::super::samples::samples;
    use super::*;

    /// Collects the names of all objects, and compares the fields of each object with those of its shape.
    fn compare(value: &Value, shape: Shape, names: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) if shape == Shape::Sentences => {
                assert!(fields.keys().all(|key| is_sentence(key)));
            }
            Value::Object(fields) => {
                let (object, known) = shape.fields();
                let known: BTreeSet<&str> = known.iter().map(|(name, _)| *name).collect();
                let there: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
                assert_eq!(known, there, "{object}");
                for (name, value) in fields {
                    names.insert(name.clone());
                    compare(value, shape.field(name), names);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| compare(value, shape, names)),
            Value::Null => {}
            _ => assert_eq!(shape, Shape::Plain, "{value}"),
        }
    }

    #[test]
    fn the_fields_are_those_of_the_emails() {
        let mut names = BTreeSet::new();
        for phase in Phase::ALL {
            for sample in samples(phase) {
                compare(&serde_json::to_value(sample).unwrap(), Shape::Mail, &mut names);
            }
        }
        let listed: BTreeSet<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(names, listed);
    }

    #[test]
    fn an_unknown_field_is_answered_with_those_of_its_object() {
        assert_eq!(
            unknown("nam", Shape::Recipient),
            "there is no variable 'nam'; did you mean 'name'? The fields of the recipient are: name"
        );
        assert_eq!(
            unknown("colour", Shape::Time),
            "there is no variable 'colour'. The fields of a time are: label, text"
        );
        assert_eq!(
            unknown("sender", Shape::Resource),
            "there is no variable 'sender'. The field 'sender' of the email is @root.sender. The fields of a resource are: \
             type, id, label, account, finding, restored"
        );
        assert_eq!(
            missing("@root.incident.title"),
            "there is no variable 'title'. The fields of the incident are: number, severity"
        );
        assert_eq!(
            missing("resources.label"),
            "the variable 'resources.label' does not exist at this place; the names of the whole email are reached with @root."
        );
        assert_eq!(
            unknown("length", Shape::Plain),
            "there is no variable 'length' here: a text has no fields"
        );
    }
}
