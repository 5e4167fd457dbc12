//! Matchers in a form: a row each, of a field, a condition and a value; and in words.
//!
//! Must never happen here: a row that is passed over, or a condition that changes by being shown and sent back.

use serde_json::{Value, json};

use super::filled::{Fields, Wrong, lines};
use super::view::cut;
use crate::alert::matcher::Matcher;

/// Rows of a form at most; a rule may have as many.
const MOST: usize = 20;
/// Empty rows behind those that are filled.
const SPARE: usize = 2;
/// Rows of an empty form.
const LEAST: usize = 3;
/// The conditions, and how they read.
const CONDITIONS: [(&str, &str); 3] = [("is", "is"), ("matches", "matches (regex)"), ("in", "is one of")];

/// A row as it was typed.
#[derive(Clone, Default)]
struct Row {
    field: String,
    condition: String,
    value: String,
}

/// The rows of a form.
#[derive(Clone, Default)]
pub struct Rows(Vec<Row>);

impl Rows {
    /// The rows of a form that are filled.
    pub fn read(fields: &mut Fields) -> Rows {
        let rows = (0..MOST).map(|index| Row {
            field: fields.take(&format!("matchers.{index}.field")),
            condition: fields.take(&format!("matchers.{index}.condition")),
            value: fields.take(&format!("matchers.{index}.value")),
        });
        Rows(
            rows.filter(|row| !row.field.is_empty() || !row.value.is_empty())
                .collect(),
        )
    }

    /// The rows of what is stored.
    pub fn of(matchers: &[Matcher]) -> Rows {
        let rows = matchers.iter().map(|matcher| {
            let (condition, value) = match (&matcher.is, &matcher.matches, &matcher.one_of) {
                (Some(value), _, _) => ("is", value.clone()),
                (_, Some(pattern), _) => ("matches", pattern.clone()),
                (_, _, values) => (
                    "in",
                    values.iter().flatten().cloned().collect::<Vec<_>>().join("\n"),
                ),
            };
            Row {
                field: matcher.field.clone(),
                condition: condition.to_owned(),
                value,
            }
        });
        Rows(rows.collect())
    }

    /// As a browser would send them: without the space around each field.
    pub fn as_sent(&self) -> Rows {
        let rows = self.0.iter().map(|row| Row {
            field: row.field.trim().to_owned(),
            condition: row.condition.clone(),
            value: row
                .value
                .replace("\r\n", "\n")
                .replace('\r', "\n")
                .trim()
                .to_owned(),
        });
        Rows(rows.collect())
    }

    /// What they say.
    pub fn matchers(&self, wrong: &mut Wrong) -> Vec<Matcher> {
        let mut matchers = Vec::with_capacity(self.0.len());
        for (index, row) in self.0.iter().enumerate() {
            let mut matcher = Matcher {
                field: row.field.clone(),
                is: None,
                matches: None,
                one_of: None,
            };
            match row.condition.as_str() {
                "is" => matcher.is = Some(row.value.clone()),
                "matches" => matcher.matches = Some(row.value.clone()),
                "in" => matcher.one_of = Some(lines(&row.value).map(str::to_owned).collect()),
                _ => wrong.add(format!("/matchers/{index}"), "needs one of is, matches and in"),
            }
            matchers.push(matcher);
        }
        matchers
    }

    /// For the page, with what is wrong with each.
    pub fn view(&self, wrong: &mut Wrong) -> Value {
        let shown = (self.0.len() + SPARE).clamp(LEAST, MOST.max(self.0.len()));
        let rows: Vec<Value> = (0..shown)
            .map(|index| {
                let row = self.0.get(index).cloned().unwrap_or_default();
                json!({
                    "index": index,
                    "number": index + 1,
                    "field": row.field,
                    "conditions": CONDITIONS.map(|(value, label)| json!({
                        "value": value, "label": label, "selected": row.condition == value,
                    })),
                    "value": row.value,
                    "rows": row.value.lines().count().clamp(1, 8),
                    "errors": wrong.at(&format!("/matchers/{index}")),
                })
            })
            .collect();
        json!({"rows": rows, "errors": wrong.at("/matchers")})
    }
}

/// Matchers as people read them.
pub fn in_words(matchers: &[Matcher]) -> Vec<Value> {
    const SHOWN: usize = 200;
    matchers
        .iter()
        .map(|matcher| {
            let (condition, value) = match (&matcher.is, &matcher.matches, &matcher.one_of) {
                (Some(value), _, _) => ("is", value.clone()),
                (_, Some(pattern), _) => ("matches", pattern.clone()),
                (_, _, values) => (
                    "is one of",
                    values.iter().flatten().cloned().collect::<Vec<_>>().join(", "),
                ),
            };
            json!({"field": matcher.field, "condition": condition, "value": cut(&value, SHOWN)})
        })
        .collect()
}
