//! When a source is read automatically: a cron expression in UTC, so that a time of day does not change with
//! daylight saving time.

use std::str::FromStr;

use chrono::DateTime;
use croner::Cron;

use crate::base::time::Timestamp;

/// The longest expression, in bytes.
const LONGEST: usize = 200;

/// Checks a cron expression.
///
/// # Errors
/// A sentence for the caller that says what is wrong.
pub fn check(expression: &str) -> Result<(), String> {
    if expression.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} characters"));
    }
    let fields = expression.split_whitespace().count();
    if fields != 5 && !expression.starts_with('@') {
        return Err(
            "must be five fields of cron, such as 15 * * * * (minute, hour, day, month, weekday), in UTC"
                .to_owned(),
        );
    }
    let cron = Cron::from_str(expression).map_err(|error| format!("is not a cron expression: {error}"))?;
    let start = DateTime::from_timestamp(0, 0).ok_or("is not a cron expression")?;
    cron.find_next_occurrence(&start, false)
        .map(drop)
        .map_err(|_| "matches no time in the future".to_owned())
}

/// Returns the next time after the given one. None if there is none.
pub fn next(expression: &str, after: Timestamp) -> Option<Timestamp> {
    let cron = Cron::from_str(expression).ok()?;
    let start = DateTime::from_timestamp_micros(after.as_micros())?;
    let next = cron.find_next_occurrence(&start, false).ok()?;
    Timestamp::parse(&next.format("%Y-%m-%dT%H:%M:%SZ").to_string()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_after_this_one() {
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let noon = at("2024-03-14T12:00:00Z");
        assert_eq!(next("0 12 * * *", noon), Some(at("2024-03-15T12:00:00Z")));
        assert_eq!(next("*/15 * * * *", noon), Some(at("2024-03-14T12:15:00Z")));
        for wrong in [
            "",
            "* * * *",
            "61 * * * *",
            "every hour",
            "* * * * * *",
            "0 0 31 2 *",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        assert!(check("15 3 * * 1-5").is_ok());
        assert!(check(&format!("{}0 * * * *", "0,".repeat(100_000))).is_err());
    }
}
