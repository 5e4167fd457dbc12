//! Compares what somebody observed with what was expected of a resource.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::text::one_line;
use crate::listing::{ColumnKind, Comparison, compare, normalise, shown};

/// The number of characters of a value that a reason shows.
const SHOWN: usize = 120;

/// What was observed of a resource, normalised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The size in bytes, as decimal digits.
    pub size: Option<String>,
    /// The checksum with its algorithm.
    pub checksum: Option<String>,
}

/// Whether what was observed is what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every given value that can be compared is the expected one, and at least one was compared.
    Fits,
    /// A value differs, with the reason.
    Differs(String),
    /// The checksum cannot be compared with the expected one, with the reason.
    ChecksumType(String),
    /// No given value can be compared, with what is expected.
    NothingComparable(String),
    /// No expected value of the resource is known.
    NothingExpected,
}

/// Returns the kind of an expected value: a checksum has the form `ALGORITHM:DIGITS`, and a size consists of digits and stands in
/// a column that is called so.
fn kind(column: &str, value: &str) -> ColumnKind {
    let hexadecimal =
        |text: &str| text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    match value.split_once(':') {
        Some((name, digits))
            if name.bytes().all(|byte| byte.is_ascii_alphanumeric()) && hexadecimal(digits) =>
        {
            return ColumnKind::Checksum;
        }
        _ => {}
    }
    let name = column.to_lowercase();
    let is_size = ["size", "bytes", "length"].iter().any(|word| name.contains(word));
    match is_size && !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        true => ColumnKind::Size,
        false => ColumnKind::Text,
    }
}

/// Normalises a size and a checksum that somebody gave.
///
/// # Errors
/// The name of the field and a sentence that says what is wrong.
pub(super) fn seen(size: Option<&str>, checksum: Option<&str>) -> Result<Seen, (&'static str, String)> {
    let of = |field, kind, value: Option<&str>| match value {
        Some(value) => match normalise(kind, value, None) {
            Ok(value) => Ok(Some(value)),
            Err(detail) => Err((field, detail)),
        },
        None => Ok(None),
    };
    Ok(Seen {
        size: of("size", ColumnKind::Size, size)?,
        checksum: of("checksum", ColumnKind::Checksum, checksum)?,
    })
}

/// Compares what was observed with `expected`, a JSON object with the normalised value of each compared column.
///
/// A checksum that cannot be compared is never ignored, even if the size fits: whoever gave it meant it as evidence.
pub(super) fn judge(expected: Option<&str>, seen: &Seen) -> Verdict {
    let values: BTreeMap<String, Option<String>> = match expected.map(serde_json::from_str) {
        Some(Ok(values)) => values,
        Some(Err(_)) | None => return Verdict::NothingExpected,
    };
    let values: Vec<(ColumnKind, &str, &str)> = values
        .iter()
        .filter_map(|(column, value)| Some((column.as_str(), value.as_deref()?)))
        .map(|(column, value)| (kind(column, value), column, value))
        .collect();
    if values.is_empty() {
        return Verdict::NothingExpected;
    }
    let mut compared = 0;
    if let Some(size) = &seen.size {
        for (_, _, value) in values.iter().filter(|(kind, ..)| *kind == ColumnKind::Size) {
            match compare(ColumnKind::Size, value, size, Duration::ZERO) {
                Comparison::Same => compared += 1,
                Comparison::Different => {
                    return Verdict::Differs(format!(
                        "the expected size is {}, and {size} was observed",
                        show(value)
                    ));
                }
                Comparison::Incomparable => {}
            }
        }
    }
    let sums: Vec<&str> = values
        .iter()
        .filter(|(kind, ..)| *kind == ColumnKind::Checksum)
        .map(|(_, _, value)| *value)
        .collect();
    if let Some(checksum) = &seen.checksum
        && !sums.is_empty()
    {
        let mut comparable = 0;
        for value in &sums {
            match compare(ColumnKind::Checksum, value, checksum, Duration::ZERO) {
                Comparison::Same => comparable += 1,
                Comparison::Different => {
                    let detail = format!(
                        "the expected checksum is {}, and {} was observed",
                        show(value),
                        show(checksum)
                    );
                    return Verdict::Differs(detail);
                }
                Comparison::Incomparable => {}
            }
        }
        if comparable == 0 {
            let sums: Vec<String> = sums.iter().map(|value| algorithm(value)).collect();
            return Verdict::ChecksumType(format!(
                "the checksum is of the type {}, and {} is expected",
                algorithm(checksum),
                sums.join(" or ")
            ));
        }
        compared += comparable;
    }
    if compared > 0 {
        return Verdict::Fits;
    }
    let columns: Vec<&str> = values.iter().map(|(_, column, _)| *column).collect();
    Verdict::NothingComparable(format!("an expected value is known of: {}", columns.join(", ")))
}

fn show(value: &str) -> String {
    one_line(shown(value), SHOWN)
}

/// Returns the algorithm of a normalised checksum.
fn algorithm(checksum: &str) -> String {
    one_line(checksum.split(':').next().unwrap_or_default(), 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

    fn verdict(expected: &str, size: Option<&str>, checksum: Option<&str>) -> Verdict {
        judge(Some(expected), &seen(size, checksum).unwrap())
    }

    #[test]
    fn what_is_given_must_fit_and_something_must_be_compared() {
        let size = r#"{"size":"642111856"}"#;
        assert_eq!(verdict(size, Some("642111856"), None), Verdict::Fits);
        assert!(matches!(
            verdict(size, Some("842354926880"), None),
            Verdict::Differs(_)
        ));
        assert!(matches!(
            verdict(size, None, Some(MD5)),
            Verdict::NothingComparable(_)
        ));
        assert!(matches!(verdict(size, None, None), Verdict::NothingComparable(_)));
        assert_eq!(judge(None, &Seen::default()), Verdict::NothingExpected);
        assert_eq!(verdict("{}", Some("1"), None), Verdict::NothingExpected);
    }

    #[test]
    fn a_checksum_of_another_type_is_never_ignored() {
        let both = format!(r#"{{"size":"0","checksum":"sha256:{SHA256}"}}"#);
        assert_eq!(verdict(&both, None, Some(SHA256)), Verdict::Fits);
        assert!(matches!(
            verdict(&both, Some("0"), Some(MD5)),
            Verdict::ChecksumType(_)
        ));
        let parts = format!("{MD5}-12");
        assert!(matches!(
            verdict(&both, Some("0"), Some(&parts)),
            Verdict::ChecksumType(_)
        ));
        assert!(matches!(
            verdict(&both, Some("0"), Some(&SHA256.replace("e3", "e4"))),
            Verdict::Differs(_)
        ));
        assert!(matches!(
            verdict(&both, Some("1"), Some(SHA256)),
            Verdict::Differs(_)
        ));
    }
}
