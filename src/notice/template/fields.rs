//! Which fields each object of an email has, for the text of an error: somebody who misspelt the field of a recipient wants to
//! read the fields of a recipient.

use handlebars::{Path, PathSeg};

use super::names::NAMES;
use crate::base::text::one_line;

/// What a value in a template is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The whole email.
    Mail,
    Incident,
    Recipient,
    Action,
    Report,
    Answers,
    /// One of a list, or the list itself.
    Resource,
    Time,
    Section,
    /// A text, a number or a truth value, which has no fields. A list of texts too.
    Plain,
    /// Not known before rendering.
    Unknown,
}

impl Shape {
    /// The fields, each with what it is; and what the object is called.
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
                    ("answers", Shape::Answers),
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
                ],
            ),
            Shape::Time => ("a time", &[("label", Shape::Plain), ("text", Shape::Plain)]),
            Shape::Section => (
                "a section of the report",
                &[("heading", Shape::Plain), ("paragraphs", Shape::Plain)],
            ),
            Shape::Plain => ("a text", &[]),
            Shape::Unknown => ("this place", &[]),
        }
    }

    /// What one of a list is.
    pub(super) fn element(self) -> Shape {
        match self {
            Shape::Resource | Shape::Time | Shape::Section | Shape::Plain => self,
            _ => Shape::Unknown,
        }
    }

    /// What the field of this name is.
    pub(super) fn field(self, name: &str) -> Shape {
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            // An element of a list, which has the shape of its list.
            return self;
        }
        let (_, fields) = self.fields();
        fields
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(Shape::Unknown, |(_, shape)| *shape)
    }
}

/// Says that an object has no such field, which one is close to it, and which there are.
pub(super) fn unknown(name: &str, of: Shape) -> String {
    let (object, fields) = of.fields();
    let shown = one_line(name, 60);
    let names: Vec<&str> = match of {
        Shape::Plain => return format!("there is no variable '{shown}' here: {object} has no fields"),
        // Every name that there is anywhere.
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

/// Says what is wrong with a variable that a rendering did not find. `path` is the variable as it was written.
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

/// How many letters to change, add or leave out make one word of the other.
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
    use super::super::{Phase, samples};
    use super::*;

    /// Collects the names of all objects, and compares each object with what is said of its shape.
    fn compare(value: &Value, shape: Shape, names: &mut BTreeSet<String>) {
        match value {
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
             type, id, label, account"
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
