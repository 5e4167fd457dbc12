//! Parses times in the formats of the senders.
//!
//! A time without a zone is never read as UTC, unless the documents of the sender say that its times are in
//! UTC. Otherwise it is not a time.

use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{Offset, TimeZone};
use serde_json::Value;

use crate::base::time::Timestamp;

type Read = Result<Option<Timestamp>, String>;

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Returns whether a text means that there is no time.
fn none(text: &str) -> bool {
    let text = text.trim();
    text.is_empty()
        || text.starts_with("0001-01-01T00:00:00")
        || ["none", "null", "nil", "n/a", "-"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
        || super::text::unresolved(text)
}

/// Parses RFC 3339, also with a space instead of the T, with an offset without a colon, and with more digits
/// than Candor stores.
pub(super) fn rfc3339(value: &Value) -> Read {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if none(text) => Ok(None),
        Value::String(text) => Timestamp::parse(&colon(text.trim())).map(Some),
        _ => Err("must be an RFC 3339 time".to_owned()),
    }
}

/// Writes an offset in the form of RFC 3339: `+0000` of Amazon and ` +0100` of Icinga get a colon.
fn colon(text: &str) -> String {
    let Some(at) = text.rfind(['+', '-']).filter(|at| *at >= 16) else {
        return text.to_owned();
    };
    let (before, offset) = text.split_at(at);
    let digits = &offset[1..];
    let before = before.trim_end();
    match digits.len() {
        4 if digits.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{before}{}{}:{}", &offset[..1], &digits[..2], &digits[2..])
        }
        _ => format!("{before}{offset}"),
    }
}

/// Parses RFC 3339, or a date and time without a zone that is in UTC by the documents of the sender.
pub(super) fn utc(value: &Value) -> Read {
    rfc3339(value).or_else(|reason| {
        let text = value.as_str().unwrap_or_default().trim();
        civil(text)
            .and_then(|civil| civil.to_zoned(TimeZone::UTC).ok())
            .map(|at| Some(Timestamp::from_micros(at.timestamp().as_microsecond())))
            .ok_or(reason)
    })
}

fn civil(text: &str) -> Option<jiff::civil::DateTime> {
    let pieces = DateTimeParser::new().parse_pieces(text).ok()?;
    if pieces.to_numeric_offset().is_some() || pieces.time_zone_annotation().is_some() {
        return None;
    }
    Some(pieces.date().to_datetime(pieces.time()?))
}

/// Parses a date and time without a zone, and its offset (`+02:00`) from another field.
pub(super) fn beside(text: &str, offset: &str) -> Option<Timestamp> {
    let civil = civil(text.trim())?;
    let (sign, digits) = match offset.trim().split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_once(':')?;
    let seconds = hours
        .parse::<i32>()
        .ok()?
        .checked_mul(60)?
        .checked_add(minutes.parse().ok()?)?;
    let offset = Offset::from_seconds(seconds.checked_mul(60)?.checked_mul(sign)?).ok()?;
    let at = offset.to_timestamp(civil).ok()?;
    Some(Timestamp::from_micros(at.as_microsecond()))
}

/// Parses RFC 2822, which AWS Health uses, or RFC 3339.
pub(super) fn rfc2822(value: &Value) -> Read {
    rfc3339(value).or_else(|reason| {
        let text = value.as_str().unwrap_or_default().trim();
        jiff::fmt::rfc2822::DateTimeParser::new()
            .parse_timestamp(text)
            .map(|at| Some(Timestamp::from_micros(at.as_microsecond())))
            .map_err(|_| reason)
    })
}

/// Parses the output of `date`, for example `Sat Oct 26 23:20:39 UTC 2024`. Abbreviations other than UTC and
/// GMT belong to several zones and are rejected.
pub(super) fn of_date(value: &Value) -> Read {
    let Some(text) = value.as_str() else {
        return seconds(value);
    };
    if let Ok(Some(time)) = rfc3339(value) {
        return Ok(Some(time));
    }
    if let Ok(Some(time)) = seconds(value) {
        return Ok(Some(time));
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let wrong = || format!("'{}' is not a time with a known time zone", shown(text));
    let [_, month, day, time, "UTC" | "GMT", year] = words.as_slice() else {
        return if none(text) { Ok(None) } else { Err(wrong()) };
    };
    let plain = format!("{day} {month} {year} {time} +0000");
    jiff::Timestamp::strptime("%d %b %Y %H:%M:%S %z", &plain)
        .map(|at| Some(Timestamp::from_micros(at.as_microsecond())))
        .map_err(|_| wrong())
}

/// Parses a number since 1970. `up / down` is the number of microseconds in one unit.
fn unix(value: &Value, up: i128, down: i128, unit: &str) -> Read {
    let wrong = |text: String| format!("'{}' is not a time in {unit} since 1970", shown(&text));
    let micros = match value {
        Value::Null => return Ok(None),
        Value::String(text) if none(text) => return Ok(None),
        Value::String(text) => match text.trim().parse::<i64>() {
            Ok(whole) => i128::from(whole) * up / down,
            Err(_) => {
                let float: f64 = text.trim().parse().map_err(|_| wrong(text.clone()))?;
                fraction(float, up, down).ok_or_else(|| wrong(text.clone()))?
            }
        },
        Value::Number(number) => match number.as_i64() {
            Some(whole) => i128::from(whole) * up / down,
            None => number
                .as_f64()
                .and_then(|float| fraction(float, up, down))
                .ok_or_else(|| wrong(number.to_string()))?,
        },
        other => return Err(wrong(other.to_string())),
    };
    // Senders write zero if there is no time.
    if micros == 0 {
        return Ok(None);
    }
    i64::try_from(micros)
        .ok()
        .filter(|micros| *micros > 0 && *micros < 10_000_000_000_000_000)
        .map(|micros| Some(Timestamp::from_micros(micros)))
        .ok_or_else(|| wrong(value.to_string()))
}

fn fraction(float: f64, up: i128, down: i128) -> Option<i128> {
    let micros = float * up as f64 / down as f64;
    (micros.is_finite() && micros.abs() < 1e18).then_some(micros.round() as i128)
}

/// Parses seconds since 1970, with or without a fraction, also as text.
pub(super) fn seconds(value: &Value) -> Read {
    unix(value, 1_000_000, 1, "seconds")
}

/// Parses milliseconds since 1970, also as text.
pub(super) fn millis(value: &Value) -> Read {
    unix(value, 1_000, 1, "milliseconds")
}

/// Parses nanoseconds since 1970, also as text. They are read as integers, because a float does not have
/// enough digits.
pub(super) fn nanos(value: &Value) -> Read {
    unix(value, 1, 1_000, "nanoseconds")
}

/// Parses RFC 3339, or a number since 1970 whose size determines its unit.
pub(super) fn any(value: &Value) -> Read {
    let number = match value {
        Value::String(text) => text.trim().parse::<f64>().ok(),
        other => other.as_f64(),
    };
    match number.map(f64::abs) {
        None => rfc3339(value),
        // Seconds reach 1e11 in the year 5138, and milliseconds passed it in 1973. The other limits work in
        // the same way.
        Some(size) if size < 1e11 => seconds(value),
        Some(size) if size < 1e14 => millis(value),
        Some(size) if size < 1e17 => unix(value, 1, 1, "microseconds"),
        Some(_) => nanos(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(read: fn(&Value) -> Read, value: Value) -> Option<String> {
        read(&value)
            .unwrap_or_else(|reason| panic!("{value}: {reason}"))
            .map(|at| at.to_string())
    }

    #[test]
    fn each_way_of_writing_is_read() {
        let amazon = json!("2021-06-27T13:53:39.351+0000");
        assert_eq!(at(rfc3339, amazon).as_deref(), Some("2021-06-27T13:53:39.351Z"));
        let space = json!("2021-04-12 16:29:00+00:00");
        assert_eq!(at(rfc3339, space).as_deref(), Some("2021-04-12T16:29:00Z"));
        let icinga = json!("2016-01-31 10:46:20 +0100");
        assert_eq!(at(rfc3339, icinga).as_deref(), Some("2016-01-31T09:46:20Z"));
        let seven = json!("2018-02-28T10:44:10.1714014Z");
        assert_eq!(at(rfc3339, seven).as_deref(), Some("2018-02-28T10:44:10.171401Z"));
        assert_eq!(at(rfc3339, json!("0001-01-01T00:00:00Z")), None);
        assert_eq!(at(rfc3339, json!("None")), None);
        assert!(rfc3339(&json!("2021-04-12 16:29:00")).is_err());
        assert!(rfc3339(&json!("2016-01-31")).is_err());
        let kuma = json!("2022-08-26 01:02:24.123");
        assert_eq!(at(utc, kuma).as_deref(), Some("2022-08-26T01:02:24.123Z"));
        assert_eq!(
            beside("2022-08-26 01:02:24", "+02:00")
                .map(|at| at.to_string())
                .as_deref(),
            Some("2022-08-25T23:02:24Z")
        );
        assert_eq!(beside("2022-08-26 01:02:24", "CEST"), None);
        let health = json!("Wed, 6 Apr 2022 06:00:53 GMT");
        assert_eq!(at(rfc2822, health).as_deref(), Some("2022-04-06T06:00:53Z"));
        let date = json!("Sat Oct 26 23:20:39 UTC 2024");
        assert_eq!(at(of_date, date).as_deref(), Some("2024-10-26T23:20:39Z"));
        assert!(of_date(&json!("Wed Sep 19 15:29:14 CEST 2018")).is_err());
        assert_eq!(
            at(seconds, json!("1480215246")).as_deref(),
            Some("2016-11-27T02:54:06Z")
        );
        assert_eq!(
            at(seconds, json!(1_473_185_565.5)).as_deref(),
            Some("2016-09-06T18:12:45.5Z")
        );
        assert_eq!(at(seconds, json!(0)), None);
        assert_eq!(
            at(millis, json!(1_605_133_931_151_i64)).as_deref(),
            Some("2020-11-11T22:32:11.151Z")
        );
        assert!(millis(&json!(160_513_393_115_100_000_i64)).is_err());
        assert!(millis(&json!("1969-12-31 23:59:55")).is_err());
        let nano = json!(1_502_709_956_288_000_110_i64);
        assert_eq!(at(nanos, nano).as_deref(), Some("2017-08-14T11:25:56.288Z"));
        for wrong in [
            json!(-5),
            json!(1e300),
            json!("x"),
            json!({}),
            json!(i64::MAX),
            json!(u64::MAX),
        ] {
            assert!(seconds(&wrong).is_err(), "{wrong}");
        }
    }
}
