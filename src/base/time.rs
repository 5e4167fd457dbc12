//! Times: the stored form (microseconds in UTC), the clock, and the formats for people.
//!
//! The time zone of a time is never guessed. The clock of the machine is read only in [`Clock::now`] (clippy
//! bans it elsewhere), so that tests and the demo can set the time.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::sql_types::BigInt;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, as microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = BigInt)]
pub struct Timestamp(i64);

crate::base::columns::newtype_columns!(Timestamp, BigInt, i64);

impl Timestamp {
    /// Creates a time from microseconds since the epoch, which is the stored form.
    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    /// Returns the microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Parses an RFC 3339 time with an offset. Digits after the microseconds are cut off.
    ///
    /// # Errors
    /// A sentence for the caller, if the text is not a time or has no offset.
    pub fn parse(text: &str) -> Result<Self, String> {
        ZonedTime::parse(text).map(|time| time.at)
    }

    /// Parses the local time of a form in a time zone, for example `2024-03-14T09:56`.
    ///
    /// # Errors
    /// A sentence for the caller, if the text is not such a time, or if the time does not exist or exists
    /// twice because the clocks change.
    pub fn on_clock(text: &str, zone: &TimeZone) -> Result<Self, String> {
        let shown: String = text.chars().take(60).collect();
        let wrong = || format!("'{shown}' is not a date and a time of day such as 2024-03-14 09:56");
        let (_, clock) = text.split_once(['T', ' ']).ok_or_else(wrong)?;
        // Without this check, an offset would be ignored.
        let plain = |c: char| c.is_ascii_digit() || matches!(c, ':' | '.');
        if !clock.contains(':') || !clock.chars().all(plain) {
            return Err(wrong());
        }
        let at: jiff::civil::DateTime = text.parse().map_err(|_| wrong())?;
        let at = zone.to_ambiguous_timestamp(at).unambiguous().map_err(|_| {
            format!(
                "'{shown}' does not exist or exists twice in this time zone, because the clocks \
            change then"
            )
        })?;
        Ok(Timestamp(at.as_microsecond()))
    }

    /// Returns the local time in a time zone for a form, for example `2024-03-14T09:56`. Seconds are added if
    /// they are not zero.
    pub fn clock_in(self, zone: &TimeZone) -> String {
        let local = self.to_jiff().to_zoned(zone.clone());
        let format = if local.second() == 0 {
            "%Y-%m-%dT%H:%M"
        } else {
            "%Y-%m-%dT%H:%M:%S"
        };
        local.strftime(format).to_string()
    }

    /// Returns this time plus `duration`, but at most the largest possible time.
    pub fn plus(self, duration: Duration) -> Self {
        Timestamp(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// Returns this time minus `duration`, but at least the smallest possible time.
    pub fn minus(self, duration: Duration) -> Self {
        Timestamp(
            self.0
                .saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// Returns the whole seconds from `earlier` to this time. The result is negative if `earlier` is in fact
    /// later.
    pub fn seconds_since(self, earlier: Timestamp) -> i64 {
        (self.0 - earlier.0).div_euclid(1_000_000)
    }

    fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// Returns the time for people: `14 March 2024, 06:56 UTC`, followed by ` (09:56 EAT)` if a time zone is
    /// given. The local date is added if it differs.
    pub fn for_people(self, zone: Option<&TimeZone>) -> String {
        let utc = self.to_jiff().to_zoned(TimeZone::UTC);
        let shown = utc.strftime("%-d %B %Y, %H:%M UTC").to_string();
        match zone {
            Some(zone) if *zone != TimeZone::UTC => {
                let local = self.to_jiff().to_zoned(zone.clone());
                let format = if local.date() == utc.date() {
                    "%H:%M %Z"
                } else {
                    "%-d %B, %H:%M %Z"
                };
                format!("{shown} ({})", local.strftime(format))
            }
            _ => shown,
        }
    }

    /// Returns the time for a customer, first in the time zone of the customer: `14 March 2024, 09:56 (Africa/Nairobi), 06:56 UTC`.
    /// The date in UTC is added if it differs. Without a time zone, it is `14 March 2024, 06:56 UTC`.
    pub fn for_reader(self, zone: Option<&TimeZone>) -> String {
        let utc = self.to_jiff().to_zoned(TimeZone::UTC);
        let named = zone.and_then(|zone| Some((zone, zone.iana_name()?)));
        let Some((zone, name)) = named.filter(|(_, name)| !name.ends_with("UTC")) else {
            return utc.strftime("%-d %B %Y, %H:%M UTC").to_string();
        };
        let local = self.to_jiff().to_zoned(zone.clone());
        let format = if local.date() == utc.date() {
            "%H:%M UTC"
        } else {
            "%-d %B, %H:%M UTC"
        };
        format!(
            "{} ({name}), {}",
            local.strftime("%-d %B %Y, %H:%M"),
            utc.strftime(format)
        )
    }

    /// Returns the parts of the time in a time zone, from which a text in any language is made.
    pub fn local(self, zone: &TimeZone) -> LocalTime {
        let local = self.to_jiff().to_zoned(zone.clone());
        let name = local.strftime("%Z").to_string();
        LocalTime {
            year: local.year(),
            month: local.month().unsigned_abs(),
            day: local.day().unsigned_abs(),
            clock: local.strftime("%H:%M").to_string(),
            zone: match name.chars().all(|c| c.is_ascii_alphabetic()) {
                true => name,
                false => by_offset(local.offset().seconds()),
            },
        }
    }

    /// Returns the time as `2024-03-14 06:56:00 UTC`, or in `zone` with the abbreviation of the zone.
    pub fn short(self, zone: &TimeZone) -> String {
        let format = if *zone == TimeZone::UTC {
            "%Y-%m-%d %H:%M:%S UTC"
        } else {
            "%Y-%m-%d %H:%M:%S %Z"
        };
        self.to_jiff().to_zoned(zone.clone()).strftime(format).to_string()
    }

    /// Returns the time in RFC 3339 in `zone`, for example `2024-03-14T09:56:00+03:00`.
    pub fn rfc3339_in(self, zone: &TimeZone) -> String {
        self.to_jiff()
            .to_zoned(zone.clone())
            .strftime("%Y-%m-%dT%H:%M:%S%.f%:z")
            .to_string()
    }

    /// Returns the time in RFC 3339 with a fixed offset of `seconds` east of UTC.
    pub fn rfc3339_at_offset(self, seconds: i64) -> String {
        let offset = i32::try_from(seconds)
            .ok()
            .and_then(|s| jiff::tz::Offset::from_seconds(s).ok());
        self.rfc3339_in(&offset.map_or(TimeZone::UTC, TimeZone::fixed))
    }

    /// Returns the minutes since midnight in `zone`, from 0 to 1439.
    pub fn minute_of_day(self, zone: &TimeZone) -> i64 {
        let local = self.to_jiff().to_zoned(zone.clone());
        i64::from(local.hour()) * 60 + i64::from(local.minute())
    }

    /// Returns the seconds and nanoseconds since the epoch, for UUIDv7 and the dates of emails.
    pub fn unix(self) -> (u64, u32) {
        let seconds = self.0.div_euclid(1_000_000).max(0);
        let nanos = self.0.rem_euclid(1_000_000) * 1_000;
        (seconds as u64, nanos as u32)
    }
}

/// A time in a time zone, in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// The year in the Gregorian calendar, such as 2026.
    pub year: i16,
    /// The month, from 1.
    pub month: u8,
    /// The day of the month, from 1.
    pub day: u8,
    /// The time of day, such as `09:51`.
    pub clock: String,
    /// The short name of the zone, such as `EAT`. A zone without one has its offset, such as `UTC-3`.
    pub zone: String,
}

/// Returns the name of a zone that is known only by its offset, in seconds east of UTC: `UTC+5:30`.
fn by_offset(seconds: i32) -> String {
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs() / 60);
    match (minutes / 60, minutes % 60) {
        (0, 0) => "UTC".to_owned(),
        (hours, 0) => format!("UTC{sign}{hours}"),
        (hours, minutes) => format!("UTC{sign}{hours}:{minutes:02}"),
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_jiff())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Timestamp::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type};
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339 with an offset; answered in UTC."))
            .into()
    }
}
impl utoipa::ToSchema for Timestamp {}

/// A time with the offset in which it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZonedTime {
    /// The point in time, which does not depend on the offset.
    pub at: Timestamp,
    /// The offset, in seconds east of UTC.
    pub offset: i64,
}

impl ZonedTime {
    /// Parses an RFC 3339 time. The offset is required.
    ///
    /// # Errors
    /// A sentence for the caller, if the text is not a time or has no offset.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(60).collect();
        let pieces = jiff::fmt::temporal::DateTimeParser::new()
            .parse_pieces(text)
            .map_err(|_| format!("'{shown}' is not an RFC 3339 time such as 2024-03-14T09:56:00+03:00"))?;
        if pieces.time().is_none() {
            return Err(format!("'{shown}' has a date but no time of day"));
        }
        let Some(offset) = pieces.to_numeric_offset() else {
            return Err(format!(
                "'{shown}' has no time zone; write an offset such as Z or +03:00"
            ));
        };
        if pieces.time_zone_annotation().is_some() {
            return Err(format!(
                "'{shown}' has a bracketed zone; write an offset alone, such as +03:00"
            ));
        }
        let datetime = pieces.date().to_datetime(pieces.time().unwrap_or_default());
        let at = offset
            .to_timestamp(datetime)
            .map_err(|_| format!("'{shown}' is outside the times that can be stored"))?;
        Ok(ZonedTime {
            at: Timestamp(at.as_microsecond()),
            offset: i64::from(offset.seconds()),
        })
    }
}

impl<'de> Deserialize<'de> for ZonedTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        ZonedTime::parse(&text).map_err(serde::de::Error::custom)
    }
}
impl utoipa::PartialSchema for ZonedTime {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        Timestamp::schema()
    }
}
impl utoipa::ToSchema for ZonedTime {}

/// Parses an ISO 8601 duration without months and years, such as `PT1H` or `P1D`. A day has 24 hours.
///
/// # Errors
/// A sentence for the caller, if the text is not such a duration, or if it is negative.
pub fn duration(text: &str) -> Result<Duration, String> {
    let shown: String = text.chars().take(60).collect();
    let wrong = || format!("'{shown}' is not an ISO 8601 duration such as PT1H or PT10M");
    if !text.starts_with('P') {
        return Err(wrong());
    }
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let signed = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

/// Returns the IANA time zone with this name, for example `Africa/Nairobi`.
///
/// # Errors
/// A sentence for the caller, if the time zone is unknown.
pub fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        let shown: String = name.chars().take(60).collect();
        format!("'{shown}' is not an IANA time zone such as Africa/Nairobi")
    })
}

/// The source of the current time: the clock of the machine, or a clock that is set by a test or the demo.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

/// The last reading of the machine's clocks, for the whole process.
static STEADY: Mutex<Option<Steady>> = Mutex::new(None);

/// Turns readings of a clock that can be set back into times that never go back.
///
/// If the clock jumps forward, the time follows at once, because the machine may have been suspended. If the
/// clock is set back, the time runs at half the speed of a monotonic clock until the clock has caught up. So
/// leases still end, schedules still become due, and events stay in the order of their times.
#[derive(Clone, Copy, Debug)]
struct Steady {
    /// The last returned time, in microseconds.
    answered: i64,
    /// The monotonic clock at that time, in microseconds.
    monotonic: i64,
}

impl Steady {
    /// Returns the time for a reading of both clocks, in microseconds, and the state for the next reading.
    fn next(last: Option<Steady>, wall: i64, monotonic: i64) -> Steady {
        let answered = match last {
            None => wall,
            Some(last) => {
                let passed = (monotonic - last.monotonic).max(0);
                wall.max(last.answered + passed / 2)
            }
        };
        Steady { answered, monotonic }
    }
}

impl Clock {
    /// Returns the clock of the machine.
    pub fn system() -> Self {
        Clock(Source::System)
    }

    /// Creates a clock that changes only when it is set, for tests and the demo.
    pub fn manual(start: Timestamp) -> Self {
        Clock(Source::Manual(Arc::new(AtomicI64::new(start.0))))
    }

    /// Returns the current time. The system time never goes back within a process, even if the clock is set
    /// back.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Manual(micros) => Timestamp(micros.load(Ordering::SeqCst)),
            Source::System => {
                let mut last = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
                // This is the only place that reads the clocks of the machine. It reads them under the lock,
                // so that the readings are in order.
                #[allow(clippy::disallowed_methods)]
                let (wall, monotonic) = (jiff::Timestamp::now().as_microsecond(), monotonic_micros());
                let next = Steady::next(*last, wall, monotonic);
                *last = Some(next);
                Timestamp(next.answered)
            }
        }
    }

    /// Sets a manual clock. It has no effect on the system clock.
    pub fn set(&self, now: Timestamp) {
        if let Source::Manual(micros) = &self.0 {
            micros.store(now.0, Ordering::SeqCst);
        }
    }

    /// Moves a manual clock forward. It has no effect on the system clock.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }
}

/// Returns the microseconds since the first call, from a monotonic clock.
fn monotonic_micros() -> i64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let passed = FIRST.get_or_init(Instant::now).elapsed();
    i64::try_from(passed.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the times for readings of the wall clock and the monotonic clock, in microseconds.
    fn answers(readings: &[(i64, i64)]) -> Vec<i64> {
        let mut last = None;
        let mut answers = Vec::new();
        for (wall, monotonic) in readings {
            let next = Steady::next(last, *wall, *monotonic);
            answers.push(next.answered);
            last = Some(next);
        }
        answers
    }

    #[test]
    fn time_follows_the_wall_clock_and_its_steps_forward() {
        assert_eq!(
            answers(&[(1_000, 0), (1_010, 10), (9_000, 20)]),
            [1_000, 1_010, 9_000]
        );
    }

    #[test]
    fn time_never_goes_back_and_does_not_stand_still_after_a_step_back() {
        // The wall clock is set back by 600. The time runs at half speed until both clocks agree, and then
        // follows the wall clock again.
        let readings = [(1_000, 0), (500, 100), (900, 500), (1_700, 1_300), (1_800, 1_400)];
        assert_eq!(answers(&readings), [1_000, 1_050, 1_250, 1_700, 1_800]);
    }

    #[test]
    fn a_clock_that_jumps_to_and_fro_yields_times_in_order() {
        let readings: Vec<(i64, i64)> = (0..200)
            .map(|n| (if n % 3 == 0 { 50 } else { 5_000 + n * 7 }, n * 10))
            .collect();
        let answers = answers(&readings);
        assert!(answers.is_sorted(), "{answers:?}");
    }
}
