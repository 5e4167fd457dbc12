//! The limits within which a policy sends. Outside the limits its notice stays a draft, with the reason.
//!
//! A limit that cannot be computed is never treated as fulfilled. A warning that only a person can judge
//! keeps the notice a draft.

use std::collections::BTreeSet;
use std::time::Duration;

use diesel::prelude::*;
use diesel::upsert::excluded;
use serde::{Deserialize, Serialize};

use crate::audit::Tx;
use crate::base::count::grouped;
use crate::base::error::{FieldError, Result};
use crate::base::id::IncidentId;
use crate::base::time::{Timestamp, time_zone};
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::automation_told as t;
use crate::directory::source::status;
use crate::notice::template::Phase;
use crate::notice::{self, Packed, Plan, Sending};

/// The period for `per_account_per_hour`.
const HOUR: Duration = Duration::from_secs(3_600);
/// How long it is stored which accounts were notified.
const KEPT: Duration = Duration::from_secs(86_400);
/// How long after its due time a policy still sends. After that, the situation can have changed, and a person
/// should check it.
pub const LATEST: Duration = Duration::from_secs(15 * 60);

/// The limits within which a policy sends automatically.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PolicyLimits)]
pub struct Limits {
    /// The largest number of people and endpoints together. The limits on all notices apply too.
    pub audience_at_most: u32,
    /// The largest number of detection notices that policies send to one account within one hour: 1 to 60, or
    /// null for no limit. The default is 1. It does not hold back the notice that an incident is back after a
    /// notice said that it is over, and no recovery.
    #[serde(default = "once")]
    pub per_account_per_hour: Option<u32>,
    /// The hours of the day in which the policy sends. If not set, it sends at any time.
    #[serde(default)]
    pub hours: Option<Hours>,
}

fn once() -> Option<u32> {
    Some(1)
}

/// A period of the day. If `until` is earlier than `from`, the period includes midnight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PolicyHours)]
pub struct Hours {
    /// The beginning of the period, as `HH:MM`.
    pub from: String,
    /// The end of the period, which does not belong to it, as `HH:MM`, up to `24:00`.
    pub until: String,
    /// The IANA time zone of both times, for example `Europe/Berlin`.
    pub time_zone: String,
}

/// Returns the minutes since midnight, up to 24:00.
fn minutes(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let at = hours * 60 + minutes;
    (minutes < 60 && at <= 24 * 60).then_some(at)
}

impl Hours {
    /// Returns whether the time is within the period. None if the period is not valid.
    fn hold(&self, now: Timestamp) -> Option<bool> {
        let zone = time_zone(&self.time_zone).ok()?;
        let (from, until) = (minutes(&self.from)?, minutes(&self.until)?);
        let at = now.minute_of_day(&zone);
        Some(if from < until {
            (from..until).contains(&at)
        } else {
            at >= from || at < until
        })
    }
}

impl std::fmt::Display for Hours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {} ({})", self.from, self.until, self.time_zone)
    }
}

impl Limits {
    /// Returns an error for each limit that is not valid. `pointer` is the JSON pointer of the limits in the
    /// input.
    pub fn check(&self, pointer: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut wrong =
            |field: &str, detail: &str| errors.push(FieldError::at(format!("{pointer}/{field}"), detail));
        if self.audience_at_most == 0 {
            wrong("audience_at_most", "must be a whole number above 0");
        }
        if self.per_account_per_hour.is_some_and(|n| !(1..=60).contains(&n)) {
            wrong(
                "per_account_per_hour",
                "must be a whole number from 1 to 60, or null for any number",
            );
        }
        if let Some(hours) = &self.hours {
            let (from, until) = (minutes(&hours.from), minutes(&hours.until));
            let time = "must be a time of day such as 08:30";
            if from.is_none_or(|from| from == 24 * 60) {
                wrong("hours/from", time);
            }
            if until.is_none() {
                wrong("hours/until", time);
            }
            if from.is_some() && from == until {
                wrong(
                    "hours/until",
                    "must not be the same as from; leave hours out to send at any time",
                );
            }
            if let Err(detail) = time_zone(&hours.time_zone) {
                wrong("hours/time_zone", &detail);
            }
        }
        errors
    }

    /// Returns why a notice stays a draft, or None if it may be sent.
    pub fn judge(
        &self,
        conn: &mut Conn,
        incident: &IncidentId,
        plan: &Plan,
        sending: &Sending,
        now: Timestamp,
    ) -> Result<Option<String>> {
        if plan.recipients.is_empty() && plan.endpoints.is_empty() {
            return Ok(Some("the notice has no recipients".to_owned()));
        }
        // Endpoints count like people.
        let recipients = plan.recipients.len() + plan.endpoints.len();
        if recipients > self.audience_at_most as usize {
            let what = if plan.endpoints.is_empty() {
                "people"
            } else {
                "people and systems of accounts"
            };
            return Ok(Some(format!(
                "{} {what} are above the limit of the policy ({})",
                grouped(recipients as i64),
                grouped(i64::from(self.audience_at_most))
            )));
        }
        if let Some(above) = plan.above(conn, incident, sending, now)? {
            return Ok(Some(format!("{above} it")));
        }
        if let Some(hours) = &self.hours
            && hours.hold(now) != Some(true)
        {
            return Ok(Some(format!(
                "the present time is outside the hours {hours} of the policy"
            )));
        }
        // People who were notified that the incident is resolved must be notified that it is not. This cannot happen more
        // often than people resolve the incident, so the limit on the account is not needed.
        // Each person hears a recovery once, and a policy about recoveries waits between two notices.
        if plan.content.phase != Phase::Recovery
            && !notice::was_said_to_be_over(conn, incident)?
            && let Some(reason) = self.lately(conn, plan, now)?
        {
            return Ok(Some(reason));
        }
        // Stale data can name the wrong people, and only a person can judge whether it does.
        let stale = status::warnings(&status::ages(conn, now)?);
        Ok(stale.into_iter().next())
    }

    /// Returns a reason if policies notified one of the accounts too often in the last hour.
    fn lately(&self, conn: &mut Conn, plan: &Plan, now: Timestamp) -> Result<Option<String>> {
        let Some(most) = self.per_account_per_hour else {
            return Ok(None);
        };
        let accounts = accounts(plan);
        let mut often: Vec<String> = Vec::new();
        for chunk in accounts.iter().collect::<Vec<_>>().chunks(500) {
            let counted: Vec<(String, i64)> = t::table
                .filter(t::account_id.eq_any(chunk.iter().map(|account| account.as_str())))
                .filter(t::at.gt(now.minus(HOUR)))
                .group_by(t::account_id)
                .select((t::account_id, diesel::dsl::count_star()))
                .load(conn)?;
            often.extend(
                counted
                    .into_iter()
                    .filter(|(_, count)| *count >= i64::from(most))
                    .map(|(account, _)| account),
            );
        }
        often.sort();
        Ok(often.first().map(|first| {
            let others = match often.len() - 1 {
                0 => String::new(),
                1 => " and 1 other".to_owned(),
                more => format!(" and {more} others"),
            };
            format!(
                "policies already notified the account {first}{others} as often as allowed within the last \
            hour (at most {most})"
            )
        }))
    }
}

/// Returns the accounts through which somebody is notified.
fn accounts(plan: &Plan) -> BTreeSet<String> {
    let people = plan.recipients.iter().flat_map(Packed::accounts);
    people
        .map(|account| account.to_string())
        .chain(
            plan.endpoints
                .iter()
                .map(|endpoint| endpoint.context.account.id.clone()),
        )
        .collect()
}

/// Stores which accounts a policy has notified.
pub fn remember(tx: &mut Tx<'_>, incident: &IncidentId, episode: i64, plan: &Plan) -> Result<()> {
    diesel::delete(t::table.filter(t::at.lt(tx.now.minus(KEPT)))).execute(tx.conn)?;
    let rows: Vec<_> = accounts(plan)
        .into_iter()
        .map(|account| {
            (
                t::account_id.eq(account),
                t::incident_id.eq(incident.as_str()),
                t::at.eq(tx.now),
                t::episode.eq(episode),
            )
        })
        .collect();
    for chunk in rows.chunks(500) {
        on_backend!(&mut *tx.conn, c => diesel::insert_into(t::table)
            .values(chunk.to_vec())
            .on_conflict((t::account_id, t::incident_id, t::episode))
            .do_update()
            .set(t::at.eq(excluded(t::at)))
            .execute(c))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_begin_at_their_first_minute_and_end_before_their_last() {
        let hours = |from: &str, until: &str, zone: &str| Hours {
            from: from.to_owned(),
            until: until.to_owned(),
            time_zone: zone.to_owned(),
        };
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let day = hours("08:00", "18:00", "Africa/Nairobi");
        for (time, within) in [
            ("2024-03-14T04:59:59Z", false),
            ("2024-03-14T05:00:00Z", true),
            ("2024-03-14T14:59:59Z", true),
            ("2024-03-14T15:00:00Z", false),
        ] {
            assert_eq!(day.hold(at(time)), Some(within), "{time}");
        }
        let night = hours("22:00", "06:00", "UTC");
        for (time, within) in [
            ("2024-03-14T21:59:59Z", false),
            ("2024-03-14T22:00:00Z", true),
            ("2024-03-14T00:00:00Z", true),
            ("2024-03-14T05:59:59Z", true),
            ("2024-03-14T06:00:00Z", false),
        ] {
            assert_eq!(night.hold(at(time)), Some(within), "{time}");
        }
        let whole = hours("00:00", "24:00", "UTC");
        assert_eq!(whole.hold(at("2024-03-14T23:59:59Z")), Some(true));
        // Clocks are set forward there at 02:00, so 02:30 does not exist. It must not count as within the
        // period.
        let spring = hours("02:00", "03:00", "Europe/Berlin");
        assert_eq!(spring.hold(at("2024-03-31T00:59:59Z")), Some(false));
        assert_eq!(spring.hold(at("2024-03-31T01:00:00Z")), Some(false));
    }

    #[test]
    fn a_time_of_day_is_four_digits() {
        assert_eq!(minutes("08:30"), Some(510));
        assert_eq!(minutes("24:00"), Some(1_440));
        for wrong in ["24:01", "8:30", "08:60", "0830", "+8:30", "08:30:00", "", "ab:cd"] {
            assert_eq!(minutes(wrong), None, "{wrong}");
        }
    }
}
