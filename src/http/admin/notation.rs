//! How forms write durations and shares: `1 hour` for `PT1H`, and `5 %` for `0.05`. What the API takes is accepted too.
//!
//! A stored value is shown in words only if the words mean exactly this value. So a form never changes what nobody touched.

use serde_json::{Value, json};

/// The units of durations: their words, and how many seconds they have.
const UNITS: [(&[&str], u64); 4] = [
    (&["day", "days", "d"], 86_400),
    (&["hour", "hours", "h"], 3_600),
    (&["minute", "minutes", "min"], 60),
    (&["second", "seconds", "s"], 1),
];
const DURATION: &str = "must be a number and a unit, such as 1 hour, 30 minutes or 7 days";
const SHARE: &str = "must be a share, such as 5 % or 0.05";

/// Reads a duration, such as `1 hour` or `PT1H`.
pub(super) fn read_duration(text: &str) -> Result<Value, Vec<String>> {
    duration(text)
        .map(Value::String)
        .ok_or_else(|| vec![DURATION.to_owned()])
}

/// Reads a duration that can be left out.
pub(super) fn read_optional_duration(text: &str) -> Result<Value, Vec<String>> {
    match text.trim() {
        "" => Ok(Value::Null),
        text => read_duration(text),
    }
}

/// Returns a duration as the API takes it.
fn duration(text: &str) -> Option<String> {
    let text = text.trim();
    if text.starts_with('P') {
        return Some(text.to_owned());
    }
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, word) = text.split_at(digits);
    let (number, word): (u64, _) = (number.parse().ok()?, word.trim().to_lowercase());
    let (_, seconds) = UNITS.iter().find(|(words, _)| words.contains(&word.as_str()))?;
    Some(match seconds {
        86_400 => format!("P{number}D"),
        3_600 => format!("PT{number}H"),
        60 => format!("PT{number}M"),
        _ => format!("PT{number}S"),
    })
}

/// Returns a stored duration in words.
pub(super) fn write_duration(stored: &Value) -> String {
    let stored = stored.as_str().unwrap_or_default();
    let words = UNITS.iter().find_map(|(words, _)| {
        let digits: String = stored.chars().filter(char::is_ascii_digit).collect();
        let word = if digits == "1" {
            words.first()
        } else {
            words.get(1)
        }?;
        let words = format!("{digits} {word}");
        (duration(&words).as_deref() == Some(stored)).then_some(words)
    });
    words.unwrap_or_else(|| stored.to_owned())
}

/// Reads a share that can be left out, such as `5 %` or `0.05`.
pub(super) fn read_share(text: &str) -> Result<Value, Vec<String>> {
    match text.trim() {
        "" => Ok(Value::Null),
        text => share(text)
            .map(|share| json!(share))
            .ok_or_else(|| vec![SHARE.to_owned()]),
    }
}

/// Returns a share as a number from 0 to 1.
pub(super) fn share(text: &str) -> Option<f64> {
    let number = |text: &str| text.parse().ok().filter(|number: &f64| number.is_finite());
    match text.trim().strip_suffix('%') {
        // The decimal point is moved in the text, because a division by 100 could give a neighbour of the number.
        Some(percent) => {
            let percent = percent.trim();
            let plain = percent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            number(&format!("{percent}e-2")).filter(|_| plain)
        }
        None => number(text.trim()),
    }
}

/// Returns a stored share as a percentage.
pub(super) fn write_share(stored: &Value) -> String {
    let Some(stored) = stored.as_f64() else {
        return String::new();
    };
    let percent = (0..=10)
        .map(|digits| format!("{:.digits$} %", stored * 100.0))
        .find(|text| share(text) == Some(stored));
    percent.unwrap_or_else(|| stored.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_words() {
        for (text, stored) in [
            ("1 hour", "PT1H"),
            ("90 minutes", "PT90M"),
            ("7 days", "P7D"),
            ("2 seconds", "PT2S"),
        ] {
            assert_eq!(read_duration(text), Ok(json!(stored)));
            assert_eq!(write_duration(&json!(stored)), text);
        }
        for (text, stored) in [(" 2h ", "PT2H"), ("10min", "PT10M"), ("PT1H30M", "PT1H30M")] {
            assert_eq!(read_duration(text), Ok(json!(stored)));
        }
        assert_eq!(write_duration(&json!("PT1H30M")), "PT1H30M");
        assert_eq!(write_duration(&json!("PT0.5S")), "PT0.5S");
        for wrong in ["an hour", "1", "", "hour", "-1 hour", "1 month", "1 hour 30"] {
            assert!(read_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read_optional_duration(" "), Ok(Value::Null));
    }

    #[test]
    fn shares_are_read_as_percentages() {
        for (text, stored) in [
            ("5 %", 0.05),
            ("0.2 %", 0.002),
            ("20 %", 0.2),
            ("100 %", 1.0),
            ("0 %", 0.0),
            ("33.3 %", 0.333),
        ] {
            assert_eq!(read_share(text), Ok(json!(stored)), "{text}");
            assert_eq!(write_share(&json!(stored)), text);
        }
        assert_eq!(read_share("0.05"), Ok(json!(0.05)));
        assert_eq!(read_share("5%"), Ok(json!(0.05)));
        assert_eq!(read_share(""), Ok(Value::Null));
        for wrong in ["a fifth", "%", "5 % of all", "inf", "inf %", "1e3 %", "-5 %"] {
            assert!(read_share(wrong).is_err(), "{wrong}");
        }
        let odd = 1.0 / 3.0;
        assert_eq!(read_share(&write_share(&json!(odd))), Ok(json!(odd)));
    }
}
