//! Which limits a plan is above. What went out without an approval counts against later notices of the same incident and of
//! the same hour, so several notices below a limit cannot be above it together.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::Serialize;

use super::limits::{self, Limits};
use super::plan::{Plan, Sending};
use super::row::Row;
use crate::base::count::{self, grouped};
use crate::base::enums::word_enum;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::{Conn, FixedText};

/// The period of the limit `recipients_per_hour`.
const HOUR: Duration = Duration::from_secs(3_600);

word_enum! {
    /// The name of a limit.
    LimitName, "a limit" {
        /// The recipients of one notice.
        Recipients = "recipients",
        /// The recipients of the notices of one incident that were sent without an approval, and of this one.
        RecipientsPerIncident = "recipients_per_incident",
        /// The recipients of all notices that were sent without an approval within one hour, and of this one.
        RecipientsPerHour = "recipients_per_hour",
        /// The share of the people in the directory who have an address.
        ShareOfDirectory = "share_of_directory",
        /// What the short messages of one notice cost at most.
        SmsPrice = "sms_price",
    }
}

/// A number of recipients, a share from 0 to 1, or a price.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Figure {
    /// A number of recipients.
    Count(i64),
    /// A share from 0 to 1.
    Share(f64),
    /// A price in the currency of the installation.
    Price(f64),
}

/// A limit that a notice is above.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Exceeded {
    /// The name of the limit.
    pub name: LimitName,
    /// The number or the share above which an approval is needed.
    #[schema(value_type = f64)]
    pub limit: Figure,
    /// The value of this notice, which is above the limit.
    #[schema(value_type = f64)]
    pub value: Figure,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Returns the number that the limit applies to: people and endpoints.
pub(super) fn counted(plan: &Plan) -> i64 {
    i64::try_from(plan.recipients.len() + plan.endpoints.len()).unwrap_or(i64::MAX)
}

/// Returns the limits that the plan is above if it is sent now, in the order of their names in the limits.
///
/// # Errors
/// An error of the database.
pub(super) fn exceeded(
    conn: &mut Conn,
    incident: &IncidentId,
    plan: &Plan,
    limits: &Limits,
    now: Timestamp,
) -> Result<Vec<Exceeded>> {
    let count = counted(plan);
    let mut found = Vec::new();
    let mut add = |name, limit: i64, value: i64| {
        if value > limit {
            let (limit, value) = (Figure::Count(limit), Figure::Count(value));
            found.push(Exceeded { name, limit, value });
        }
    };
    let own = limits.recipients_of(&plan.content.severity, plan.content.phase);
    add(LimitName::Recipients, own, count);
    if let Some(limit) = limits.recipients_per_incident {
        let before = unapproved_of(conn, incident)?;
        add(
            LimitName::RecipientsPerIncident,
            limit,
            before.saturating_add(count),
        );
    }
    if let Some(limit) = limits.recipients_per_hour {
        let before = unapproved_since(conn, now.minus(HOUR))?;
        add(LimitName::RecipientsPerHour, limit, before.saturating_add(count));
    }
    let people = plan.recipients.len();
    if let Some(limit) = limits.share_of_directory
        && people > 0
    {
        let all = reachable_people(conn)?;
        // People who were notified before can have left the directory.
        let share = (people as f64 / all.max(1) as f64).min(1.0);
        if share > limit {
            found.push(Exceeded {
                name: LimitName::ShareOfDirectory,
                limit: Figure::Share(limit),
                value: Figure::Share(share),
            });
        }
    }
    if let (Some(limit), Some(price)) = (limits.sms_price, plan.sms.price)
        && price > limit
    {
        found.push(Exceeded {
            name: LimitName::SmsPrice,
            limit: Figure::Price(limit),
            value: Figure::Price(price),
        });
    }
    Ok(found)
}

/// Returns the number of recipients of the notices of an incident that were sent without an approval. Stopped notices count
/// with all their recipients.
fn unapproved_of(conn: &mut Conn, incident: &IncidentId) -> Result<i64> {
    // What was sent about incidents that were merged into this one counts, so that a merge is no way round the limit.
    let number: Number = diesel::sql_query(format!(
        "SELECT CAST(COALESCE(SUM(n.recipients + n.endpoints), 0) AS BIGINT) AS n FROM notices n \
         WHERE n.incident_id IN {} AND n.queued_at IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM approved_notices a WHERE a.notice_id = n.id)",
        crate::incident::lineage::IDS
    ))
    .bind::<Text, _>(incident.as_str())
    .fixed()
    .get_result(conn)?;
    Ok(number.n)
}

/// Returns why resuming a stopped notice for this number of recipients is above the limit for one hour, together with what was sent
/// without an approval. `None` if it is not.
///
/// # Errors
/// An error of the database.
pub(super) fn hour_exceeded(
    conn: &mut Conn,
    row: &Row,
    sending: &Sending,
    resumed: i64,
    now: Timestamp,
) -> Result<Option<String>> {
    let Some(limit) = limits::read(conn, sending)?.recipients_per_hour else {
        return Ok(None);
    };
    let since = now.minus(HOUR);
    let more = if is_counted(row, since) { 0 } else { resumed };
    let value = unapproved_since(conn, since)?.saturating_add(more);
    Ok((value > limit).then(|| hour_sentence(&value.to_string(), &limit.to_string())))
}

/// Whether [`unapproved_since`] counts a stopped notice already.
fn is_counted(row: &Row, since: Timestamp) -> bool {
    let times = [row.queued_at, row.finished_at];
    times.into_iter().flatten().any(|at| at > since)
}

/// Returns what people read about the limit for one hour.
fn hour_sentence(value: &str, limit: &str) -> String {
    format!(
        "{value} recipients within one hour, with all notices that were sent without an approval, are above the limit of \
         {limit} for one hour"
    )
}

/// Returns the number of recipients of all notices without an approval that were queued after a time, or that are still being sent
/// or were finished after it. So a notice that is stopped or sent in waves counts when its emails leave. Drills do not count.
fn unapproved_since(conn: &mut Conn, since: Timestamp) -> Result<i64> {
    let number: Number = diesel::sql_query(
        "SELECT CAST(COALESCE(SUM(n.recipients + n.endpoints), 0) AS BIGINT) AS n FROM notices n \
         JOIN incidents i ON i.id = n.incident_id AND NOT i.drill \
         WHERE (n.queued_at > $1 OR n.finished_at > $1 OR n.state IN ('queued', 'sending')) \
         AND NOT EXISTS (SELECT 1 FROM approved_notices a WHERE a.notice_id = n.id)",
    )
    .bind::<BigInt, _>(since)
    .fixed()
    .get_result(conn)?;
    Ok(number.n)
}

/// Returns the number of people in the directory who have an address and are not archived.
fn reachable_people(conn: &mut Conn) -> Result<i64> {
    let number: Number = diesel::sql_query(
        "SELECT CAST(COUNT(*) AS BIGINT) AS n FROM people WHERE gone_at IS NULL AND email <> ''",
    )
    .fixed()
    .get_result(conn)?;
    Ok(number.n)
}

impl Exceeded {
    /// Returns the part of a sentence: "412 recipients of this incident … are above the limit of 400".
    fn say(&self, plan: &Plan) -> String {
        let systems = match plan.endpoints.len() {
            0 => String::new(),
            n => format!(
                " ({} and {})",
                count::counted(plan.recipients.len(), "person", "people"),
                count::counted(n, "system of accounts", "systems of accounts")
            ),
        };
        let what = if systems.is_empty() {
            "people"
        } else {
            "recipients"
        };
        let (value, limit) = (self.value.shown(), self.limit.shown());
        match self.name {
            LimitName::Recipients => format!("{value} {what}{systems} are above the limit of {limit}"),
            LimitName::RecipientsPerIncident => format!(
                "{value} recipients of this incident, with the earlier notices that were sent without an approval, are \
                 above the limit of {limit} for one incident"
            ),
            LimitName::RecipientsPerHour => hour_sentence(&value, &limit),
            LimitName::ShareOfDirectory => {
                format!("{value} of the people in the directory are above the limit of {limit}")
            }
            LimitName::SmsPrice => {
                let currency = plan.sms.currency.as_deref().unwrap_or_default();
                format!("{value} {currency} for short messages are above the limit of {limit}")
            }
        }
    }
}

impl Figure {
    /// Returns a number, or a share as a percentage.
    pub fn shown(self) -> String {
        match self {
            Figure::Count(count) => grouped(count),
            Figure::Share(share) => {
                let percent = format!("{:.2}", share * 100.0);
                format!("{}%", percent.trim_end_matches('0').trim_end_matches('.'))
            }
            Figure::Price(price) => format!("{price:.2}"),
        }
    }
}

/// Returns what people read about exceeded limits: which they are, and how many people must approve. `None` if there are
/// none.
pub(super) fn sentence(exceeded: &[Exceeded], plan: &Plan, approvals: usize) -> Option<String> {
    if exceeded.is_empty() {
        return None;
    }
    let limits: Vec<String> = exceeded.iter().map(|one| one.say(plan)).collect();
    let who = match approvals {
        1 => "a second person must approve".to_owned(),
        n => format!("{n} other people must approve"),
    };
    Some(format!("{}: {who}", limits.join("; ")))
}

impl Plan {
    /// Returns why other people must approve the plan. Returns `None` if no approval is needed.
    ///
    /// # Errors
    /// An error of the database.
    pub fn above(
        &self,
        conn: &mut Conn,
        incident: &IncidentId,
        sending: &Sending,
        now: Timestamp,
    ) -> Result<Option<String>> {
        let limits = limits::read(conn, sending)?;
        let exceeded = exceeded(conn, incident, self, &limits, now)?;
        Ok(sentence(&exceeded, self, limits.approvals()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_shown_as_a_percentage() {
        for (share, shown) in [
            (0.2, "20%"),
            (0.425, "42.5%"),
            (0.002, "0.2%"),
            (1.0, "100%"),
            (0.0, "0%"),
        ] {
            assert_eq!(Figure::Share(share).shown(), shown);
        }
        assert_eq!(Figure::Count(500).shown(), "500");
        assert_eq!(Figure::Price(12.5).shown(), "12.50");
        assert_eq!(Figure::Count(1_259).shown(), "1,259");
    }
}
