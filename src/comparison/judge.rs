//! Decides about one key: whether what was observed is what was expected. This module does no I/O.
//!
//! All rows with the key are given, from both listings. Expected rows that are marked as gone, or that were written outside
//! the window, are counted and not compared. Observed rows that are marked as gone count as not there. If the rest has
//! more than one row on a side, the key is a duplicate and nothing else. A key that is expected only by rows that are
//! not compared says nothing about the observed rows.

use std::fmt::Write as _;
use std::time::Duration;

use super::definition::{Definition, Window};
use super::kind::Kind;
use super::row::Row;
use crate::listing::{self, ColumnKind, Comparison as Compared};

/// The number of lines that a finding about a duplicate key names on each side.
const LINES: usize = 5;

/// How values are compared.
pub struct Rules {
    columns: Vec<(String, ColumnKind)>,
    window: Option<Window>,
    tolerance: Duration,
}

/// A finding about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFinding {
    /// How the rows with this key differ.
    pub kind: Kind,
    /// The value of the key column.
    pub key: String,
    /// What names the resource or the person.
    pub reference: Option<String>,
    /// The column that the values below are of.
    pub column: Option<String>,
    /// The expected value of the column, as it is shown. For a duplicate key, the lines of the expected listing.
    pub expected: Option<String>,
    /// The observed value of the column, as it is shown. For a duplicate key, the lines of the observed listing.
    pub observed: Option<String>,
    /// All expected values, as a JSON object.
    pub expected_values: Option<String>,
    /// When the expected row was written, in microseconds.
    pub written_at: Option<i64>,
}

/// What is known about a key as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All columns are equal.
    Equal,
    /// There is a finding of this kind.
    Found(Kind),
    /// The key was not compared.
    NotCompared,
}

/// The rows of one listing with the same key, as far as they are needed.
#[derive(Default)]
pub struct Side {
    /// The first row that counts, packed.
    first: Vec<u8>,
    /// The number of rows that count.
    counted: u64,
    /// The number of all rows.
    all: u64,
    lines: Vec<u64>,
}

impl Side {
    /// Forgets the rows, so that the next key can be gathered.
    pub fn clear(&mut self) {
        self.first.clear();
        self.lines.clear();
        (self.counted, self.all) = (0, 0);
    }

    fn count(&mut self, row: &Row<'_>, packed: &[u8]) {
        if self.counted == 0 {
            self.first.extend_from_slice(packed);
        }
        self.counted += 1;
        if self.lines.len() < LINES {
            self.lines.push(row.line);
        }
    }

    /// Returns the first row that counts.
    fn row(&self) -> Option<Row<'_>> {
        super::row::unpack(&self.first).map(|(row, _)| row)
    }

    /// Returns the lines, such as `lines 3, 9 and 2 more`.
    fn lines(&self) -> Option<String> {
        let (first, rest) = self.lines.split_first()?;
        let mut text = match rest {
            [] => format!("line {first}"),
            _ => format!("lines {first}"),
        };
        for line in rest {
            // Writing to a string cannot fail.
            let _ = write!(text, ", {line}");
        }
        let more = self.counted - self.lines.len() as u64;
        if more > 0 {
            let _ = write!(text, " and {more} more");
        }
        Some(text)
    }
}

impl Rules {
    /// Returns the rules of a definition.
    pub fn of(definition: &Definition) -> Rules {
        Rules {
            columns: definition
                .compare
                .iter()
                .map(|one| (one.column.clone(), one.kind))
                .collect(),
            window: definition.window,
            tolerance: definition.tolerance(),
        }
    }

    /// Gathers an expected row. `found` gets the finding about a row that is not compared.
    pub fn gather_expected(
        &self,
        side: &mut Side,
        row: &Row<'_>,
        packed: &[u8],
        found: &mut impl FnMut(NewFinding),
    ) {
        side.all += 1;
        let outside = self.window.is_some_and(|window| !window.contains(row.written_at));
        let kind = match (row.gone, outside) {
            (true, _) => Kind::Gone,
            (false, true) => Kind::OutsideWindow,
            (false, false) => return side.count(row, packed),
        };
        let mut finding = self.about(kind, row);
        finding.expected_values = None;
        found(finding);
    }

    /// Gathers an observed row.
    pub fn gather_observed(&self, side: &mut Side, row: &Row<'_>, packed: &[u8]) {
        side.all += 1;
        if !row.gone {
            side.count(row, packed);
        }
    }

    /// Decides about a key after all its rows were gathered. `found` gets the finding, if there is one.
    pub fn judge(&self, expected: &Side, observed: &Side, found: &mut impl FnMut(NewFinding)) -> Verdict {
        if expected.all > 0 && expected.counted == 0 {
            return Verdict::NotCompared;
        }
        let (ours, theirs) = (expected.row(), observed.row());
        if expected.counted > 1 || observed.counted > 1 {
            let Some(row) = ours.or(theirs) else {
                return Verdict::NotCompared;
            };
            let mut finding = self.about(Kind::Duplicate, &row);
            (finding.column, finding.expected_values) = (None, None);
            (finding.expected, finding.observed) = (expected.lines(), observed.lines());
            found(finding);
            return Verdict::Found(Kind::Duplicate);
        }
        match (ours, theirs) {
            (None, None) => Verdict::NotCompared,
            (Some(row), None) => {
                found(self.about(Kind::Missing, &row));
                Verdict::Found(Kind::Missing)
            }
            (None, Some(row)) => {
                let mut finding = self.about(Kind::Unexpected, &row);
                finding.observed = finding.expected.take();
                (finding.expected_values, finding.written_at) = (None, None);
                found(finding);
                Verdict::Found(Kind::Unexpected)
            }
            (Some(ours), Some(theirs)) => self.compare(&ours, &theirs, found),
        }
    }

    fn compare(&self, ours: &Row<'_>, theirs: &Row<'_>, found: &mut impl FnMut(NewFinding)) -> Verdict {
        let mut incomparable = None;
        let values = ours.values().zip(theirs.values()).enumerate();
        for (index, (expected, observed)) in values {
            let kind = self
                .columns
                .get(index)
                .map_or(ColumnKind::Text, |(_, kind)| *kind);
            let compared = match (expected, observed) {
                (Some(expected), Some(observed)) => {
                    listing::compare(kind, expected, observed, self.tolerance)
                }
                _ => Compared::Incomparable,
            };
            match compared {
                Compared::Same => {}
                Compared::Incomparable => incomparable = incomparable.or(Some(index)),
                Compared::Different => {
                    found(self.between(Kind::Differs, index, ours, theirs));
                    return Verdict::Found(Kind::Differs);
                }
            }
        }
        match incomparable {
            None => Verdict::Equal,
            Some(index) => {
                found(self.between(Kind::Incomparable, index, ours, theirs));
                Verdict::Found(Kind::Incomparable)
            }
        }
    }

    /// Returns a finding about two rows, of which the column with this index is the reason.
    fn between(&self, kind: Kind, index: usize, ours: &Row<'_>, theirs: &Row<'_>) -> NewFinding {
        let value = |row: &Row<'_>| {
            row.values()
                .nth(index)
                .flatten()
                .map(|value| listing::shown(value).to_owned())
        };
        NewFinding {
            column: self.columns.get(index).map(|(name, _)| name.clone()),
            expected: value(ours),
            observed: value(theirs),
            ..self.about(kind, ours)
        }
    }

    /// Returns a finding about one row. Its expected value is the one of the first compared column.
    fn about(&self, kind: Kind, row: &Row<'_>) -> NewFinding {
        NewFinding {
            kind,
            key: row.key.to_owned(),
            reference: row.reference.map(str::to_owned),
            column: self.columns.first().map(|(name, _)| name.clone()),
            expected: row
                .values()
                .next()
                .flatten()
                .map(|value| listing::shown(value).to_owned()),
            observed: None,
            expected_values: self.values(row),
            written_at: row.written_at,
        }
    }

    /// Returns the values of a row as a JSON object, without the columns that have none or whose value could not be read. None if
    /// there are no values.
    pub fn values(&self, row: &Row<'_>) -> Option<String> {
        let values: serde_json::Map<String, serde_json::Value> = self
            .columns
            .iter()
            .zip(row.values())
            .filter_map(|((name, _), value)| Some((name, value?)))
            .filter(|(_, value)| !listing::is_unreadable(value))
            .map(|(name, value)| (name.clone(), value.into()))
            .collect();
        (!values.is_empty()).then(|| serde_json::Value::Object(values).to_string())
    }

    /// Returns the observed values of a key as a JSON object, or why there are none, for the evidence of a recovery.
    pub fn seen(&self, verdict: Verdict, observed: &Side) -> String {
        match (verdict, observed.counted, observed.row()) {
            (Verdict::Found(Kind::Duplicate), rows, _) => serde_json::json!({"rows": rows}).to_string(),
            (_, 0, _) | (_, _, None) => serde_json::json!({"present": false}).to_string(),
            (_, _, Some(row)) => self
                .values(&row)
                .unwrap_or_else(|| serde_json::json!({"present": true}).to_string()),
        }
    }
}
