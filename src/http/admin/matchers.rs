//! Matchers in a form, with one row for each field, condition and value, and matchers as sentences.
//!
//! A row is never ignored. Showing a condition and sending it back never changes it.

use serde_json::{Value, json};

use super::filled::{Fields, Wrong, lines};
use super::view::cut;
use crate::alert::matcher::Matcher;

/// The largest number of rows in a form, which is also the largest number in a rule.
const MAX: usize = 20;
/// The number of empty rows after the filled ones.
const SPARE: usize = 2;
/// The number of rows of an empty form.
const LEAST: usize = 3;
/// The conditions and their labels.
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
    /// Reads the filled rows of a form.
    pub fn read(fields: &mut Fields) -> Rows {
        let rows = (0..MAX).map(|index| Row {
            field: fields.take(&format!("matchers.{index}.field")),
            condition: fields.take(&format!("matchers.{index}.condition")),
            value: fields.take(&format!("matchers.{index}.value")),
        });
        Rows(
            rows.filter(|row| !row.field.is_empty() || !row.value.is_empty())
                .collect(),
        )
    }

    /// Makes the rows for stored matchers.
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

    /// Returns the rows as a browser would send them, without white space around each field.
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

    /// Returns the matchers of the rows.
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

    /// Returns the rows for the template, each with its errors.
    pub fn view(&self, wrong: &mut Wrong) -> Value {
        let shown = (self.0.len() + SPARE).clamp(LEAST, MAX.max(self.0.len()));
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

/// Returns matchers as text for people.
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
