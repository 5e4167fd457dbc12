//! What a comparison found about one affected resource or person. It is stored with the affected row, as the
//! reason why it is affected.
//!
//! A finding has two texts. The internal one names the values. The one for customers contains no value, no column and no key.

use serde::{Deserialize, Serialize};

use crate::base::count::grouped_digits;
use crate::base::enums::word_enum;
use crate::base::id::ComparisonId;
use crate::base::text::one_line;

/// The largest number of characters of a value that a text shows.
const SHOWN: usize = 80;

word_enum! {
    /// How what is stored differs from what should be stored.
    #[derive(PartialOrd, Ord)]
    FindingKind, "a kind of finding" {
        /// It should be stored and is not.
        Missing = "missing",
        /// It is stored, and a compared column has another value.
        Differs = "differs",
        /// It is stored and should not be.
        Unexpected = "unexpected",
        /// Several rows of one listing have the same key.
        Duplicate = "duplicate",
    }
}

/// What a comparison found about one resource or person.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Finding {
    /// How what is stored differs from what should be stored.
    pub kind: FindingKind,
    /// The compared column that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The expected value, normalised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The observed value, normalised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// The ID of the comparison that found it.
    pub comparison: ComparisonId,
}

/// What the values of a column are, as its name says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Measure {
    Size,
    Checksum,
    Other,
}

fn measure(column: Option<&str>) -> Measure {
    let name = column.unwrap_or_default().to_lowercase();
    let ends = |words: &[&str]| words.iter().any(|word| name.ends_with(word));
    if ends(&["size", "bytes", "length"]) {
        Measure::Size
    } else if ends(&[
        "checksum", "hash", "etag", "md5", "sha1", "sha256", "sha512", "crc32", "crc32c", "digest",
    ]) {
        Measure::Checksum
    } else {
        Measure::Other
    }
}

impl Finding {
    /// Returns the finding for the people who work on the incident, for example
    /// `expected 642,111,856 bytes, stored 0`.
    pub fn internal(&self) -> String {
        let measure = measure(self.column.as_deref());
        let value = |value: &Option<String>| match value {
            Some(value) if measure == Measure::Size => with_commas(value),
            Some(value) if value.is_empty() => "nothing".to_owned(),
            Some(value) => one_line(value, SHOWN),
            None => "nothing".to_owned(),
        };
        let (expected, observed) = (value(&self.expected), value(&self.observed));
        let unit = if measure == Measure::Size { " bytes" } else { "" };
        let what = match measure {
            Measure::Size => String::new(),
            Measure::Checksum => "checksum ".to_owned(),
            Measure::Other => match &self.column {
                Some(column) => format!("{} ", one_line(column, SHOWN)),
                None => String::new(),
            },
        };
        match (self.kind, &self.expected, &self.observed) {
            (FindingKind::Missing, Some(_), _) => format!("expected {what}{expected}{unit}, not found"),
            (FindingKind::Missing, None, _) => "expected, not found".to_owned(),
            (FindingKind::Differs, ..) => format!("expected {what}{expected}{unit}, stored {observed}"),
            (FindingKind::Unexpected, _, Some(_)) => format!("not expected, stored {what}{observed}{unit}"),
            (FindingKind::Unexpected, _, None) => "not expected, stored".to_owned(),
            (FindingKind::Duplicate, ..) => "several rows have this key".to_owned(),
        }
    }

    /// Returns the key of the sentence for customers, which stands in `templates/words/phrases.toml` in each language. It contains
    /// no value and no name of a column.
    pub fn for_customers(&self) -> &'static str {
        let empty = self.observed.as_deref().is_some_and(|value| value.trim() == "0");
        match (self.kind, measure(self.column.as_deref())) {
            (FindingKind::Missing, _) => "finding_missing",
            (FindingKind::Differs, Measure::Size) if empty => "finding_empty",
            (FindingKind::Differs, Measure::Size) => "finding_size",
            (FindingKind::Differs, Measure::Checksum) => "finding_damaged",
            (FindingKind::Differs, Measure::Other) => "finding_wrong",
            (FindingKind::Unexpected, _) => "finding_unexpected",
            (FindingKind::Duplicate, _) => "finding_duplicate",
        }
    }
}

/// Returns a number with commas between groups of three digits, and any other text as one line.
fn with_commas(value: &str) -> String {
    let value = value.trim();
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return one_line(value, SHOWN);
    }
    grouped_digits(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Timestamp;

    fn finding(
        kind: FindingKind,
        column: Option<&str>,
        expected: Option<&str>,
        observed: Option<&str>,
    ) -> Finding {
        Finding {
            kind,
            column: column.map(str::to_owned),
            expected: expected.map(str::to_owned),
            observed: observed.map(str::to_owned),
            comparison: ComparisonId::new(Timestamp::from_micros(0)),
        }
    }

    #[test]
    fn the_internal_text_names_the_values() {
        let empty = finding(FindingKind::Differs, Some("size"), Some("642111856"), Some("0"));
        assert_eq!(empty.internal(), "expected 642,111,856 bytes, stored 0");
        let wrong = finding(
            FindingKind::Differs,
            Some("size"),
            Some("999"),
            Some("842354926880"),
        );
        assert_eq!(wrong.internal(), "expected 999 bytes, stored 842,354,926,880");
        let missing = finding(FindingKind::Missing, Some("size"), Some("1000"), None);
        assert_eq!(missing.internal(), "expected 1,000 bytes, not found");
        assert_eq!(
            finding(FindingKind::Missing, None, None, None).internal(),
            "expected, not found"
        );
        let role = finding(FindingKind::Differs, Some("role"), Some("owner"), Some(""));
        assert_eq!(role.internal(), "expected role owner, stored nothing");
    }

    #[test]
    fn the_text_for_customers_contains_no_value() {
        for kind in [
            FindingKind::Missing,
            FindingKind::Differs,
            FindingKind::Unexpected,
            FindingKind::Duplicate,
        ] {
            for column in [None, Some("size"), Some("sha256"), Some("secret_column")] {
                let text = finding(kind, column, Some("secret-1"), Some("secret-2")).for_customers();
                assert!(!text.contains("secret"), "{text}");
            }
        }
        let empty = finding(FindingKind::Differs, Some("size"), Some("642111856"), Some("0"));
        assert_eq!(empty.for_customers(), "finding_empty");
    }
}
