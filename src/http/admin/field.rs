//! A field of a form of the admin pages: how it is typed, what it is in the body that the API takes, and how it is shown.

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use uuid::Uuid;

use super::filled::{Wrong, lines};
use super::matchers::Rows;
use crate::base::time::Timestamp;
use crate::directory::{ResourceRef, resource};

/// A field of a form. Its name is also the name of the field in the body of the API.
pub struct Field {
    pub(super) name: &'static str,
    label: &'static str,
    hint: &'static str,
    pub(super) kind: Kind,
    /// Whether it stands beside the field before it.
    pub(super) beside: bool,
}

/// How a field is typed, and what it is in the body.
pub(super) enum Kind {
    /// A text. An empty one is left out of the body if it is optional.
    Text { rows: usize, optional: bool },
    /// A list of texts, one on each line.
    Lines,
    /// A whole number of units. An empty one is left out.
    Number {
        least: i64,
        most: i64,
        unit: i64,
        wrong: &'static str,
    },
    /// One of the words, each with its label.
    Choice {
        options: &'static [(&'static str, &'static str)],
        wrong: &'static str,
    },
    /// The ID of one of the things that the page lists, or nothing.
    OneOf { wrong: &'static str },
    /// True or false, each with its label.
    Flag { yes: &'static str, no: &'static str },
    /// A time on the clock of the time zone in the field `time_zone`. `needed` is what is said if it is empty.
    Clock { needed: Option<&'static str> },
    /// The time zone of the times of the form. It is not in the body.
    Zone,
    /// Conditions on alerts, each on a row with a field, a condition and a value.
    Matchers,
    /// Resources, one on each line.
    Resources,
    /// A value with a notation of its own: from the text, and back. `line` says that it stands on one line.
    Own {
        read: fn(&str) -> std::result::Result<Value, Vec<String>>,
        write: fn(&Value) -> String,
        line: bool,
    },
    /// A secret. It is never shown again, and an empty one is left out.
    Secret,
    /// Some of the words, each with its label and a box. Without `options`, the page lists them. If none is chosen, the field is
    /// left out where `none_is_all` says so.
    Set {
        options: &'static [(&'static str, &'static str)],
        none_is_all: bool,
    },
    /// A value for the page alone. It is not in the body, and the page itself shows it.
    Kept,
}

/// The name of the field with the time zone.
pub(super) const ZONE: &str = "time_zone";

impl Field {
    const fn new(name: &'static str, label: &'static str, hint: &'static str, kind: Kind) -> Field {
        Field {
            name,
            label,
            hint,
            kind,
            beside: false,
        }
    }

    /// A text of one line that the API requires.
    pub const fn text(name: &'static str, label: &'static str, hint: &'static str) -> Field {
        let (rows, optional) = (0, false);
        Field::new(name, label, hint, Kind::Text { rows, optional })
    }

    /// A text of several lines that the API requires.
    pub const fn long_text(name: &'static str, label: &'static str, hint: &'static str) -> Field {
        let (rows, optional) = (3, false);
        Field::new(name, label, hint, Kind::Text { rows, optional })
    }

    /// A list of texts, one on each line.
    pub const fn lines(name: &'static str, label: &'static str, hint: &'static str) -> Field {
        Field::new(name, label, hint, Kind::Lines)
    }

    /// A whole number. The API takes `unit` for each. `wrong` says what it must be.
    pub const fn number(
        name: &'static str,
        label: &'static str,
        hint: &'static str,
        (least, most, unit): (i64, i64, i64),
        wrong: &'static str,
    ) -> Field {
        let kind = Kind::Number {
            least,
            most,
            unit,
            wrong,
        };
        Field::new(name, label, hint, kind)
    }

    /// A word that is chosen by its label. The first one is chosen at the beginning. `wrong` says what it must be.
    pub const fn choice(
        name: &'static str,
        label: &'static str,
        hint: &'static str,
        options: &'static [(&'static str, &'static str)],
        wrong: &'static str,
    ) -> Field {
        Field::new(name, label, hint, Kind::Choice { options, wrong })
    }

    /// The ID of one of the things that the page lists with [`Form::options`], or nothing.
    pub const fn one_of(
        name: &'static str,
        label: &'static str,
        hint: &'static str,
        wrong: &'static str,
    ) -> Field {
        Field::new(name, label, hint, Kind::OneOf { wrong })
    }

    /// True or false. It is true at the beginning.
    pub const fn flag(
        name: &'static str,
        label: &'static str,
        hint: &'static str,
        yes: &'static str,
        no: &'static str,
    ) -> Field {
        Field::new(name, label, hint, Kind::Flag { yes, no })
    }

    /// A time in the time zone of the form.
    pub const fn clock(name: &'static str, label: &'static str, hint: &'static str) -> Field {
        Field::new(name, label, hint, Kind::Clock { needed: None })
    }

    /// A time that is needed. `needed` is what is said if it is empty.
    pub const fn needed_clock(
        name: &'static str,
        label: &'static str,
        hint: &'static str,
        needed: &'static str,
    ) -> Field {
        let needed = Some(needed);
        Field::new(name, label, hint, Kind::Clock { needed })
    }

    /// The time zone of the times of the form.
    pub const fn zone() -> Field {
        let hint = "The time zone of these times, such as UTC or Africa/Nairobi.";
        Field::new(ZONE, "Time zone", hint, Kind::Zone).beside()
    }

    /// Conditions on alerts, in the field `matchers`.
    pub const fn matchers() -> Field {
        Field::new("matchers", "Conditions (all must match)", "", Kind::Matchers)
    }

    /// Resources, one on each line, in the field `resources`.
    pub const fn resources(label: &'static str, hint: &'static str) -> Field {
        Field::new("resources", label, hint, Kind::Resources)
    }

    /// The same field under another name.
    pub const fn named(mut self, name: &'static str) -> Field {
        self.name = name;
        self
    }

    /// Lines with a notation of their own. `read` returns the value in the body or what is wrong, and `write` the text of a
    /// stored value.
    pub const fn own(
        name: &'static str,
        label: &'static str,
        hint: &'static str,
        read: fn(&str) -> std::result::Result<Value, Vec<String>>,
        write: fn(&Value) -> String,
    ) -> Field {
        let line = false;
        Field::new(name, label, hint, Kind::Own { read, write, line })
    }

    /// A secret, which may be left empty.
    pub const fn secret(name: &'static str, label: &'static str, hint: &'static str) -> Field {
        Field::new(name, label, hint, Kind::Secret)
    }

    /// Some of these words, each with a box. Without words, the page lists them with [`Form::options`]. `none_is_all` says that no
    /// choice means all of them.
    pub const fn set(
        name: &'static str,
        label: &'static str,
        hint: &'static str,
        options: &'static [(&'static str, &'static str)],
        none_is_all: bool,
    ) -> Field {
        Field::new(name, label, hint, Kind::Set { options, none_is_all })
    }

    /// Puts a value with a notation of its own on one line.
    pub const fn one_line(mut self) -> Field {
        if let Kind::Own { read, write, .. } = self.kind {
            let line = true;
            self.kind = Kind::Own { read, write, line };
        }
        self
    }

    /// A value for the page alone.
    pub const fn kept(name: &'static str) -> Field {
        Field::new(name, "", "", Kind::Kept)
    }

    /// Makes a text optional: an empty one is left out.
    pub const fn optional(mut self) -> Field {
        if let Kind::Text { rows, .. } = self.kind {
            self.kind = Kind::Text { rows, optional: true };
        }
        self
    }

    /// Puts the field beside the one before it.
    pub const fn beside(mut self) -> Field {
        self.beside = true;
        self
    }

    /// The text of a value for people: of a choice, its label.
    pub(super) fn label_of(&self, text: &str) -> String {
        let label = match &self.kind {
            Kind::Choice { options, .. } => options.iter().find(|(word, _)| *word == text),
            _ => None,
        };
        label.map_or(text, |(_, label)| label).to_owned()
    }

    pub(super) fn pointer(&self) -> String {
        format!("/{}", self.name.replace('.', "/"))
    }

    /// What the field has in a new form.
    pub(super) fn initial(&self) -> &'static str {
        match &self.kind {
            Kind::Choice { options, .. } => options.first().map_or("", |(word, _)| word),
            Kind::Flag { .. } => "true",
            Kind::Zone => "UTC",
            _ => "",
        }
    }

    /// The text of a stored value.
    pub(super) fn write(&self, stored: &Value) -> String {
        match (&self.kind, stored) {
            (Kind::Secret, _) | (_, Value::Null) => String::new(),
            (Kind::Own { write, .. }, value) => write(value),
            (Kind::Lines | Kind::Set { .. }, Value::Array(items)) => {
                let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                items.join("\n")
            }
            (Kind::Resources, value) => {
                let resources: Vec<ResourceRef> = serde_json::from_value(value.clone()).unwrap_or_default();
                let shown: Vec<String> = resources.iter().map(ToString::to_string).collect();
                shown.join("\n")
            }
            (Kind::Number { unit, .. }, value) => value
                .as_i64()
                .map_or_else(String::new, |number| (number / unit).to_string()),
            (Kind::Clock { .. }, Value::String(at)) => {
                Timestamp::parse(at).map_or_else(|_| String::new(), |at| at.clock_in(&TimeZone::UTC))
            }
            (_, Value::String(text)) => text.clone(),
            (_, value) => value.to_string(),
        }
    }

    /// The value in the body. None if the field is left out. Without a time zone, a time says nothing.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(super) fn read(
        &self,
        text: &str,
        zone: Option<&TimeZone>,
    ) -> std::result::Result<Option<Value>, Vec<String>> {
        let said = |what: &str| Err(vec![what.to_owned()]);
        match &self.kind {
            Kind::Kept | Kind::Zone | Kind::Matchers => Ok(None),
            Kind::Text { optional: true, .. } | Kind::Number { .. } | Kind::OneOf { .. } | Kind::Secret
                if text.is_empty() =>
            {
                Ok(None)
            }
            Kind::Set {
                none_is_all: true, ..
            } if text.is_empty() => Ok(None),
            // A choice can have an option for "not said".
            Kind::Choice { options, .. }
                if text.is_empty() && options.iter().any(|(word, _)| word.is_empty()) =>
            {
                Ok(None)
            }
            Kind::Text { .. } | Kind::Secret => Ok(Some(json!(text))),
            Kind::Lines | Kind::Set { .. } => Ok(Some(lines(text).collect())),
            Kind::Number {
                least,
                most,
                unit,
                wrong,
            } => match text.parse() {
                Ok(number) if (*least..=*most).contains(&number) => Ok(Some(json!(number * unit))),
                _ => said(wrong),
            },
            Kind::Choice { options, wrong } if options.iter().all(|(word, _)| *word != text) => said(wrong),
            Kind::OneOf { wrong } if Uuid::try_parse(text).is_err() => said(wrong),
            Kind::Choice { .. } | Kind::OneOf { .. } => Ok(Some(json!(text))),
            Kind::Flag { .. } => match text {
                "true" => Ok(Some(json!(true))),
                "false" => Ok(Some(json!(false))),
                _ => said("must be true or false"),
            },
            Kind::Clock { needed } => match (zone, text, needed) {
                (None, ..) | (_, "", None) => Ok(None),
                (_, "", Some(needed)) => said(needed),
                (Some(zone), text, _) => match Timestamp::on_clock(text, zone) {
                    Ok(at) => Ok(Some(json!(at.rfc3339_in(zone)))),
                    Err(detail) => said(&detail),
                },
            },
            Kind::Resources => resources(text).map(Some),
            Kind::Own { read, .. } => read(text).map(Some),
        }
    }

    /// The name in the form of the box of a word of a set.
    pub(super) fn box_of(&self, word: &str) -> String {
        format!("{}.{word}", self.name)
    }

    /// The field for the partial `admin/field`.
    pub(super) fn shown(
        &self,
        text: &str,
        listed: Option<&Vec<(String, String)>>,
        typed: &Rows,
        wrong: &mut Wrong,
    ) -> Value {
        let option =
            |value: &str, label: &str| json!({"value": value, "label": label, "selected": value == text});
        let tall = |least: usize| json!(text.lines().count().clamp(least, 12));
        let (mut rows, mut options, mut matchers, mut input) =
            (Value::Null, Value::Null, Value::Null, "text");
        let mut boxes = Value::Null;
        match &self.kind {
            Kind::Text { rows: 0, .. } | Kind::Zone | Kind::Kept => {}
            Kind::Text { rows: least, .. } => rows = tall(*least),
            Kind::Own { line: true, .. } => {}
            Kind::Secret => input = "password",
            Kind::Set { options: words, .. } => {
                let listed = listed.map(Vec::as_slice).unwrap_or_default();
                let own = words.iter().map(|(word, label)| (*word, *label));
                let all = own.chain(listed.iter().map(|(word, label)| (word.as_str(), label.as_str())));
                boxes = all
                    .map(|(word, label)| {
                        json!({
                            "name": self.box_of(word), "label": label, "checked": lines(text).any(|one| one == word),
                        })
                    })
                    .collect();
            }
            Kind::Lines | Kind::Resources | Kind::Own { .. } => rows = tall(2),
            Kind::Number { .. } => input = "number",
            Kind::Clock { .. } => input = "datetime-local",
            Kind::Choice { options: words, .. } => {
                options = words.iter().map(|(word, label)| option(word, label)).collect();
            }
            Kind::Flag { yes, no } => options = json!([option("true", yes), option("false", no)]),
            Kind::OneOf { .. } => {
                let listed = listed.map(Vec::as_slice).unwrap_or_default();
                options = listed.iter().map(|(value, label)| option(value, label)).collect();
            }
            Kind::Matchers => matchers = typed.view(wrong),
        }
        let errors = match self.kind {
            Kind::Lines | Kind::Resources => wrong.at_lines(&self.pointer(), text),
            Kind::Matchers => Vec::new(),
            _ => wrong.at(&self.pointer()),
        };
        json!({
            "id": self.name, "name": self.name, "label": self.label, "hint": self.hint,
            "value": if matches!(self.kind, Kind::Secret) { "" } else { text }, "errors": errors, "type": input,
            "rows": rows, "options": options, "matchers": matchers, "boxes": boxes, "set": matches!(self.kind, Kind::Set { .. }),
        })
    }
}

/// Reads resources. Each line has a type, a space and an ID.
fn resources(text: &str) -> std::result::Result<Value, Vec<String>> {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for line in lines(text) {
        let named = line
            .split_once(char::is_whitespace)
            .ok_or_else(|| "must be a type and an ID, such as project savanna".to_owned())
            .and_then(|(type_, id)| resource::at(type_, id.trim()));
        match named {
            Ok(at) => found.push(at),
            Err(detail) => wrong.push(format!("\u{201c}{line}\u{201d} {detail}")),
        }
    }
    if wrong.is_empty() {
        Ok(json!(found))
    } else {
        Err(wrong)
    }
}
