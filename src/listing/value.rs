//! The normal form of values, so that the same size, checksum or time is the same text however it was written.
//!
//! - A size has decimal digits without leading zeros.
//! - A checksum is `ALGORITHM:` and hexadecimal digits in lower case. The algorithm follows from the length if it is not
//!   written. The checksum of an object that was uploaded in parts begins with `multipart:`.
//! - A time is RFC 3339 in UTC.
//! - A text is as it was written.
//! - A value that cannot be read is the character U+0001 and the text. It is never the same as another value.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::checksum;
use super::column::ColumnKind;
use super::moment;
use crate::base::text::one_line;
use crate::base::time::Timestamp;

/// The first character of a value that cannot be read.
const UNREADABLE: char = '\u{1}';

/// The number of characters of an unreadable value that are kept.
const KEPT: usize = 100;

/// How two values of a column relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// They are the same, within the tolerance.
    Same,
    /// The values differ. Two times differ only if they are further apart than the tolerance.
    Different,
    /// They cannot be compared: one of them cannot be read, or they are checksums of different algorithms or of objects
    /// that were uploaded in parts.
    Incomparable,
}

/// Returns the normal form of a value. `zone` is the time zone of times without an offset.
///
/// # Errors
/// A sentence that says what is wrong with the value.
pub fn normalise(kind: ColumnKind, text: &str, zone: Option<&TimeZone>) -> Result<String, String> {
    match kind {
        ColumnKind::Size => size(text),
        ColumnKind::Checksum => checksum::normalise(text),
        ColumnKind::Time => moment::parse(text, zone).map(|at| at.to_string()),
        ColumnKind::Text => Ok(text.to_owned()),
    }
}

/// Marks a value that cannot be read.
pub(super) fn unreadable(text: &str) -> String {
    format!("{UNREADABLE}{}", one_line(text, KEPT))
}

/// Returns whether a normalised value stands for one that cannot be read.
pub fn is_unreadable(value: &str) -> bool {
    value.starts_with(UNREADABLE)
}

/// Returns a normalised value as it is shown to people.
pub fn shown(value: &str) -> &str {
    value.strip_prefix(UNREADABLE).unwrap_or(value)
}

/// Compares two normalised values. `tolerance` is how far two times may be apart and still be the same.
pub fn compare(kind: ColumnKind, expected: &str, observed: &str, tolerance: Duration) -> Comparison {
    if is_unreadable(expected) || is_unreadable(observed) {
        return Comparison::Incomparable;
    }
    if expected == observed {
        return Comparison::Same;
    }
    match kind {
        ColumnKind::Size | ColumnKind::Text => Comparison::Different,
        ColumnKind::Checksum if checksum::comparable(expected, observed) => Comparison::Different,
        ColumnKind::Checksum => Comparison::Incomparable,
        ColumnKind::Time => match (Timestamp::parse(expected), Timestamp::parse(observed)) {
            (Ok(expected), Ok(observed)) => {
                let apart = expected.as_micros().abs_diff(observed.as_micros());
                if u128::from(apart) <= tolerance.as_micros() {
                    Comparison::Same
                } else {
                    Comparison::Different
                }
            }
            _ => Comparison::Incomparable,
        },
    }
}

/// Returns the normal form of a number of bytes. A fraction is accepted if it has only zeros, because programs that work
/// with tables write whole numbers so.
fn size(text: &str) -> Result<String, String> {
    let text = text.trim_ascii();
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() && fraction.bytes().all(|byte| byte == b'0') => whole,
        _ => text,
    };
    let digits = !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit());
    match whole.parse::<u64>() {
        Ok(size) if digits => Ok(size.to_string()),
        _ if digits => Err(format!("'{}' is larger than any size", one_line(text, 60))),
        _ => Err(format!(
            "'{}' is not a number of bytes in digits, such as 642111856",
            one_line(text, 60)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACTLY: Duration = Duration::ZERO;

    #[test]
    fn sizes_have_one_form() {
        for (text, form) in [
            ("0", "0"),
            ("642111856", "642111856"),
            (" 007 ", "7"),
            ("123.0", "123"),
            ("842354926880", "842354926880"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            assert_eq!(normalise(ColumnKind::Size, text, None).as_deref(), Ok(form));
        }
        for text in [
            "",
            "-1",
            "+1",
            "1,234",
            "1.5",
            "1.",
            "1e3",
            "12 KB",
            "0x10",
            "18446744073709551616",
            "१२",
        ] {
            assert!(normalise(ColumnKind::Size, text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_not_called_different() {
        let md5 = "md5:d41d8cd98f00b204e9800998ecf8427e";
        let sum = |expected, observed| compare(ColumnKind::Checksum, expected, observed, EXACTLY);
        assert_eq!(sum(md5, md5), Comparison::Same);
        assert_eq!(
            sum(md5, "md5:00000000000000000000000000000000"),
            Comparison::Different
        );
        assert_eq!(
            sum(md5, "multipart:d41d8cd98f00b204e9800998ecf8427e-12"),
            Comparison::Incomparable
        );
        assert_eq!(sum("multipart:aa-2", "multipart:aa-2"), Comparison::Same);
        assert_eq!(sum("multipart:aa-2", "multipart:bb-3"), Comparison::Incomparable);
        assert_eq!(
            sum(md5, "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            Comparison::Incomparable
        );
        let bad = unreadable("n/a");
        assert_eq!(
            compare(ColumnKind::Size, &bad, &bad, EXACTLY),
            Comparison::Incomparable
        );
        assert_eq!(
            compare(ColumnKind::Size, "0", "642111856", EXACTLY),
            Comparison::Different
        );
        assert_eq!(shown(&bad), "n/a");
    }

    #[test]
    fn clocks_may_differ_a_little() {
        let times = |seconds| {
            compare(
                ColumnKind::Time,
                "2017-02-22T10:00:00Z",
                "2017-02-22T10:00:02Z",
                Duration::from_secs(seconds),
            )
        };
        assert_eq!(times(0), Comparison::Different);
        assert_eq!(times(1), Comparison::Different);
        assert_eq!(times(2), Comparison::Same);
    }
}
