//! Times, as programs write them into listings. A time without an offset is never guessed.

use jiff::tz::TimeZone;

use crate::base::time::Timestamp;

/// The number of digits of a time since 1970: seconds, milliseconds and microseconds. Between 2001 and 2286 no two of
/// them have the same number of digits.
const SINCE_1970: [(usize, i64); 3] = [(10, 1_000_000), (13, 1_000), (16, 1)];

/// Parses a time: RFC 3339, with `T` or a space, with an offset such as `Z`, ` UTC`, `+03:00` or ` -0500`; or the seconds,
/// milliseconds or microseconds since 1970. A time without an offset is in `zone`.
///
/// # Errors
/// A sentence that says what is wrong with the text.
pub(super) fn parse(text: &str, zone: Option<&TimeZone>) -> Result<Timestamp, String> {
    let text = text.trim_ascii();
    if text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && let Some(at) = since_1970(text)
    {
        return Ok(at);
    }
    let parsed = match without_space(text) {
        Some(joined) => Timestamp::parse(&joined),
        None => Timestamp::parse(text),
    };
    match (parsed, zone) {
        (Ok(at), _) => Ok(at),
        (Err(_), Some(zone)) => Timestamp::on_clock(text, zone),
        (Err(reason), None) => Err(reason),
    }
}

/// Returns a time with an offset behind a space, as RFC 3339: `2017-02-22 10:00:00 UTC` is `2017-02-22 10:00:00Z`.
fn without_space(text: &str) -> Option<String> {
    let (time, offset) = text.rsplit_once(' ')?;
    // A space between date and time is none before an offset.
    if !time.contains(':') {
        return None;
    }
    match offset {
        "UTC" | "GMT" | "Z" => Some(format!("{time}Z")),
        _ if offset.starts_with(['+', '-']) => Some(format!("{time}{offset}")),
        _ => None,
    }
}

/// Returns a time that is written as a number. None if its number of digits is none of those that are read.
fn since_1970(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let unit = SINCE_1970.iter().find(|(digits, _)| *digits == whole.len())?.1;
    let whole: i64 = whole.parse().ok()?;
    let micros = whole.checked_mul(unit)?;
    let Some(fraction) = fraction else {
        return Some(Timestamp::from_micros(micros));
    };
    // Only seconds are written with a fraction.
    if unit != 1_000_000 || fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let six: String = fraction.chars().chain("000000".chars()).take(6).collect();
    Some(Timestamp::from_micros(micros.checked_add(six.parse().ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::time_zone;

    #[test]
    fn times_are_read_as_programs_write_them() {
        let ten = "2017-02-22T10:00:00Z";
        for text in [
            "2017-02-22T10:00:00Z",
            "2017-02-22T10:00:00.000Z",
            "2017-02-22 10:00:00 UTC",
            "2017-02-22 10:00:00 GMT",
            "2017-02-22 10:00:00Z",
            "2017-02-22 10:00:00+00",
            "2017-02-22 05:00:00 -0500",
            "2017-02-22 11:00:00 +01:00",
            "2017-02-22T13:00:00+03:00",
            "1487757600",
            "1487757600000",
            "1487757600000000",
            "1487757600.0000000000",
        ] {
            assert_eq!(
                parse(text, None).map(|at| at.to_string()).as_deref(),
                Ok(ten),
                "{text}"
            );
        }
        let at = parse("1487757600.2534560", None).unwrap();
        assert_eq!(at.to_string(), "2017-02-22T10:00:00.253456Z");
    }

    #[test]
    fn a_time_without_an_offset_needs_a_zone() {
        let new_york = time_zone("America/New_York").unwrap();
        for text in ["2017-02-22 05:00:00", "2017-02-22T05:00:00"] {
            assert!(parse(text, None).is_err());
            let at = parse(text, Some(&new_york)).unwrap();
            assert_eq!(at.to_string(), "2017-02-22T10:00:00Z");
        }
        // An offset in the text counts.
        let at = parse("2017-02-22 10:00:00 UTC", Some(&new_york)).unwrap();
        assert_eq!(at.to_string(), "2017-02-22T10:00:00Z");
        // This hour does not exist there.
        assert!(parse("2017-03-12 02:30:00", Some(&new_york)).is_err());
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "yesterday",
            "2017-02-22",
            "2017-02-22 10:00:00 EST",
            "22.02.2017 10:00",
            "148775760",
            "1487757600000.5",
            "1.2.3",
            "2017-13-01T00:00:00Z",
            "20170222",
        ] {
            assert!(parse(text, None).is_err(), "{text}");
        }
    }
}
