//! The schedule of a source or of a maintenance window in words: `every day at 02:00 UTC` for `0 2 * * *`. People choose one of a few kinds. Everything else
//! stays a cron expression, and is shown as it is.

/// A schedule that has words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// The source is only read when somebody requests it.
    Never,
    /// The schedule has a time every 15 minutes: `*/15 * * * *`.
    QuarterHourly,
    /// Every hour, at this minute.
    Hourly(u8),
    /// Every six hours, at this minute of the hours 0, 6, 12 and 18.
    SixHourly(u8),
    /// Every day at this time.
    Daily(u8, u8),
    /// Every week, on this day (0 is Sunday) at this time.
    Weekly(u8, u8, u8),
    /// An expression without words.
    Cron(String),
}

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Returns the number of a day that an expression names, such as `SUN`.
fn weekday(text: &str) -> Option<u8> {
    let named = |day: &&str| day.get(..3).is_some_and(|short| short.eq_ignore_ascii_case(text));
    (0_u8..)
        .zip(DAYS)
        .find(|(_, day)| named(day))
        .map(|(number, _)| number)
}

impl Schedule {
    /// Returns the schedule that a cron expression means.
    pub fn of(expression: Option<&str>) -> Schedule {
        let Some(expression) = expression else {
            return Schedule::Never;
        };
        let fields: Vec<&str> = expression.split_whitespace().collect();
        let number = |text: &str, most: u8| text.parse::<u8>().ok().filter(|number| *number <= most);
        let known = match fields.as_slice() {
            ["*/15", "*", "*", "*", "*"] => Some(Schedule::QuarterHourly),
            [minute, "*", "*", "*", "*"] => number(minute, 59).map(Schedule::Hourly),
            [minute, "*/6" | "0,6,12,18", "*", "*", "*"] => number(minute, 59).map(Schedule::SixHourly),
            [minute, hour, "*", "*", "*"] => number(hour, 23)
                .zip(number(minute, 59))
                .map(|(hour, minute)| Schedule::Daily(hour, minute)),
            [minute, hour, "*", "*", day] => number(day, 7)
                .or_else(|| weekday(day))
                .zip(number(hour, 23))
                .zip(number(minute, 59))
                .map(|((day, hour), minute)| Schedule::Weekly(day % 7, hour, minute)),
            _ => None,
        };
        known.unwrap_or_else(|| Schedule::Cron(expression.to_owned()))
    }

    /// Returns the cron expression. None if the source is not read automatically.
    pub fn cron(&self) -> Option<String> {
        Some(match self {
            Schedule::Never => return None,
            Schedule::QuarterHourly => "*/15 * * * *".to_owned(),
            Schedule::Hourly(minute) => format!("{minute} * * * *"),
            Schedule::SixHourly(minute) => format!("{minute} */6 * * *"),
            Schedule::Daily(hour, minute) => format!("{minute} {hour} * * *"),
            Schedule::Weekly(day, hour, minute) => format!("{minute} {hour} * * {day}"),
            Schedule::Cron(expression) => expression.clone(),
        })
    }

    /// Returns the schedule in words.
    pub fn in_words(&self) -> String {
        match self {
            Schedule::Never => "only when somebody starts a sync".to_owned(),
            Schedule::QuarterHourly => "every 15 minutes".to_owned(),
            Schedule::Hourly(minute) => format!("every hour at minute {minute}"),
            Schedule::SixHourly(minute) => format!("every 6 hours, at minute {minute}"),
            Schedule::Daily(hour, minute) => format!("every day at {hour:02}:{minute:02} UTC"),
            Schedule::Weekly(day, hour, minute) => {
                let day = DAYS.get(usize::from(*day)).copied().unwrap_or("Sunday");
                format!("every {day} at {hour:02}:{minute:02} UTC")
            }
            Schedule::Cron(expression) => format!("at {expression} (cron, UTC)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn what_has_words_keeps_its_meaning() {
        for (cron, words) in [
            ("0 2 * * *", "every day at 02:00 UTC"),
            ("*/15 * * * *", "every 15 minutes"),
            ("5 * * * *", "every hour at minute 5"),
            ("0 */6 * * *", "every 6 hours, at minute 0"),
            ("30 3 * * 1", "every Monday at 03:30 UTC"),
            ("0 0 1 * *", "at 0 0 1 * * (cron, UTC)"),
            ("0 25 * * *", "at 0 25 * * * (cron, UTC)"),
        ] {
            let schedule = Schedule::of(Some(cron));
            assert_eq!(schedule.in_words(), words);
            assert_eq!(schedule.cron().as_deref(), Some(cron));
        }
        assert_eq!(Schedule::of(None).cron(), None);
        assert_eq!(Schedule::of(Some("0 2 * * 7")), Schedule::Weekly(0, 2, 0));
        assert_eq!(Schedule::of(Some("0 22 * * SUN")), Schedule::Weekly(0, 22, 0));
        assert_eq!(Schedule::of(Some("5 4 * * fri")), Schedule::Weekly(5, 4, 5));
        assert!(matches!(Schedule::of(Some("0 22 * * SUNDAY")), Schedule::Cron(_)));
    }
}
