//! When a notice that is sent in waves is held by itself: too many of the people of the earlier waves could not be reached,
//! complained, or still have the problem.
//!
//! The shares are over everything that was sent of the notice so far.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::counts;
use super::delivery_state::DeliveryState;
use super::limits;
use super::row::{EMAIL, Row};
use crate::base::error::Result;
use crate::db::{Conn, FixedText};

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Returns why the next wave of a notice must not begin by itself, or `None` if it may.
///
/// # Errors
/// An error of the database.
pub(super) fn reason(conn: &mut Conn, row: &Row) -> Result<Option<String>> {
    let mut mails = |state: DeliveryState| -> Result<i64> {
        let found = counts::in_states(conn, &row.id, &[state])?;
        Ok(found.get(EMAIL).copied().unwrap_or_default())
    };
    let (sent, bounced, failed) = (
        mails(DeliveryState::Sent)?,
        mails(DeliveryState::Bounced)?,
        mails(DeliveryState::Failed)?,
    );
    let all = sent + bounced + failed;
    if all == 0 {
        return Ok(None);
    }
    let limits = limits::hold_if(conn)?;
    let lost = bounced + failed;
    let verb = if failed > 0 {
        "bounced or were rejected"
    } else {
        "bounced"
    };
    if let Some(text) = above(lost, all, limits.bounced) {
        return Ok(Some(format!("{lost} of {all} emails {verb} {text}")));
    }
    let complained = complained(conn, row)?;
    if let Some(text) = above(complained, all, limits.complained) {
        return Ok(Some(format!(
            "{complained} of {all} emails were reported as spam {text}"
        )));
    }
    let broken = still_broken(conn, row)?;
    if let Some(text) = above(broken, all, limits.still_broken) {
        let (answers, verb) = match broken {
            1 => ("1 answer".to_owned(), "says"),
            more => (format!("{more} answers"), "say"),
        };
        return Ok(Some(format!(
            "{answers} to {all} emails {verb} that it is still broken {text}"
        )));
    }
    Ok(None)
}

/// Returns the share and the limit as text, if the share is above the limit.
fn above(part: i64, all: i64, limit: f64) -> Option<String> {
    let share = part as f64 / all as f64;
    (share > limit).then(|| format!("({} %), above the limit of {} %", percent(share), percent(limit)))
}

/// Returns a share in percent, with one decimal if it is not a whole number.
fn percent(share: f64) -> String {
    let rounded = (share * 1_000.0).round() / 10.0;
    rounded.to_string()
}

/// Returns the number of emails of the notice about which somebody complained.
fn complained(conn: &mut Conn, row: &Row) -> Result<i64> {
    let counted: Counted = diesel::sql_query(
        "SELECT COUNT(DISTINCT f.delivery_id) AS count FROM feedback f JOIN deliveries d ON d.id = f.delivery_id \
         WHERE d.notice_id = $1 AND f.kind = 'complaint' AND f.delivery_id IS NOT NULL",
    )
    .bind::<Text, _>(row.id.as_str())
    .fixed()
    .get_result(conn)?;
    Ok(counted.count)
}

/// Returns the number of people who answered that it is still broken, and did not change this answer since: by an email of the
/// notice, or through an operator after the notice was queued.
fn still_broken(conn: &mut Conn, row: &Row) -> Result<i64> {
    let counted: Counted = diesel::sql_query(
        "SELECT COUNT(DISTINCT a.person_id) AS count FROM answers a \
         WHERE a.incident_id = $1 AND (a.notice_id = $2 OR (a.notice_id IS NULL AND a.at >= $3)) AND a.answer = 'broken' AND NOT EXISTS \
         (SELECT 1 FROM answers b WHERE b.incident_id = a.incident_id AND b.person_id = a.person_id \
          AND b.answer IS NOT NULL AND b.answer <> 'broken' AND (b.at > a.at OR (b.at = a.at AND b.id > a.id)))",
    )
    .bind::<Text, _>(row.incident_id.as_str())
    .bind::<Text, _>(row.id.as_str())
    .bind::<BigInt, _>(row.queued_at.unwrap_or(row.created_at))
    .fixed()
    .get_result(conn)?;
    Ok(counted.count)
}
