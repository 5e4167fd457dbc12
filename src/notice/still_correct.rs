//! Whether the text of a notice is still correct for those of its list who have not got it. It is checked before a stopped notice is
//! resumed and before a further wave begins.
//!
//! Nobody gets a notice that other notices, a reopening or the time have made false, and nobody hears that they are affected after
//! they were removed from the incident.

use std::collections::HashSet;

use diesel::prelude::*;
use serde::Deserialize;

use super::delivery_state::DeliveryState;
use super::row::Row;
use super::state::NoticeState;
use super::{corrections, counts, reminders};
use crate::audience::{self, At};
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, notice_recipients as nr, notices as n};
use crate::incident;
use crate::notice::template::Phase;

/// The number of recipients that are read at a time.
const STEP: i64 = 10_000;

/// Checks that the text of a sent notice is still correct.
///
/// # Errors
/// `Conflict` with the reason if it is not.
pub(super) fn check(conn: &mut Conn, row: &Row, now: Timestamp) -> Result<()> {
    match why_not(conn, row, now)? {
        Some(why) => Err(Error::Conflict(why)),
        None => Ok(()),
    }
}

/// Returns why the text of a sent notice is not correct any more, as a sentence that says what to do instead. `None` if it is
/// correct.
///
/// # Errors
/// An error of the database.
pub(super) fn why_not(conn: &mut Conn, row: &Row, now: Timestamp) -> Result<Option<String>> {
    let phase = row.phase()?;
    if phase == Phase::Correction {
        // Somebody of the list may be affected now.
        let why = "a correction cannot be resumed; draft a new one, which goes to everybody who is not corrected yet";
        return Ok(Some(why.to_owned()));
    }
    if row.episode < incident::episode_of(conn, &row.incident_id)? {
        let why = "the incident was reopened after this notice was sent; draft a new notice, which goes to everybody who is \
                   affected";
        return Ok(Some(why.to_owned()));
    }
    let says_not_over = matches!(phase, Phase::Detection | Phase::Update);
    if says_not_over && was_said_to_be_over_since(conn, row)? {
        let why =
            "a later notice says that the incident is over, so the text of this notice is no longer correct";
        return Ok(Some(why.to_owned()));
    }
    if corrections::was_one_sent_since(conn, row)? {
        return Ok(Some(format!(
            "a correction was sent since; {}",
            instead(conn, row)?
        )));
    }
    match row.next_update_due_at.filter(|due| *due <= now) {
        Some(due) => Ok(Some(format!(
            "the notice promises the next update by {due}, which has passed; {}",
            instead(conn, row)?
        ))),
        None => Ok(None),
    }
}

/// Checks that everybody who is after this position of the list and has not got the notice is still affected.
///
/// # Errors
/// `Conflict` with the reason if somebody is not.
pub(super) fn check_list(conn: &mut Conn, row: &Row, after: i64) -> Result<()> {
    match list_why_not(conn, row, after)? {
        Some(why) => Err(Error::Conflict(why)),
        None => Ok(()),
    }
}

/// Returns why the rest of the list after a position must not get the notice: somebody of it is not affected any more. This reads
/// the audience, so it is asked only when a wave is about to begin.
///
/// # Errors
/// An error of the database.
pub(super) fn list_why_not(conn: &mut Conn, row: &Row, after: i64) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct People {
        people: Vec<String>,
    }
    let for_the_affected = match row.phase()? {
        // After a reopening, a detection also goes to those who were told that it was over.
        Phase::Detection => row.episode == 1,
        Phase::Update => !reminders::is_one(conn, &row.id)?,
        Phase::Resolution | Phase::Report | Phase::Correction => false,
    };
    if !for_the_affected || incident::get(conn, &row.incident_id)?.drill {
        return Ok(None);
    }
    let audience = audience::resolve_by(conn, &row.incident_id, &row.rule()?, At::Now)?;
    let affected: HashSet<&str> = audience.people.iter().map(|one| &*one.person.id).collect();
    let mut gone = 0;
    for from in (after..row.recipients).step_by(STEP as usize) {
        let upto = (from + STEP).min(row.recipients);
        let done: HashSet<i64> = d::table
            .filter(d::notice_id.eq(row.id.as_str()))
            .filter(d::ordinal.gt(from).and(d::ordinal.le(upto)))
            .filter(d::state.ne(DeliveryState::Stopped))
            .select(d::ordinal)
            .load::<i64>(conn)?
            .into_iter()
            .collect();
        let listed: Vec<(i64, String)> = nr::table
            .filter(nr::notice_id.eq(row.id.as_str()))
            .filter(nr::ordinal.gt(from).and(nr::ordinal.le(upto)))
            .select((nr::ordinal, nr::context))
            .load(conn)?;
        for (ordinal, context) in listed {
            if !done.contains(&ordinal) {
                let People { people } = serde_json::from_str(&context)?;
                gone += usize::from(!people.iter().any(|person| affected.contains(person.as_str())));
            }
        }
    }
    let who = match gone {
        0 => return Ok(None),
        1 => "1 recipient who has not got it is".to_owned(),
        n => format!("{n} recipients who have not got it are"),
    };
    Ok(Some(format!(
        "{who} not affected any more; {}",
        instead(conn, row)?
    )))
}

/// Returns what the operator does to tell the others, as the end of a sentence.
fn instead(conn: &mut Conn, row: &Row) -> Result<String> {
    let first = match row.state()?.is_being_sent() {
        // Whoever is in a further wave counts as told, so a catch-up does not reach them before the notice is stopped.
        true => "stop this notice and draft",
        false => "draft",
    };
    let what = match reminders::is_one(conn, &row.id)? {
        true => "a new reminder",
        false => "a catch-up, which goes to those who are affected now",
    };
    Ok(format!("{first} {what}"))
}

/// Returns whether a notice that was queued after this one says that the incident is over. A notice that nobody got, because it was
/// stopped before, does not count.
fn was_said_to_be_over_since(conn: &mut Conn, row: &Row) -> Result<bool> {
    let over = [Phase::Resolution.as_str(), Phase::Report.as_str()];
    let others: Vec<Row> = n::table
        .filter(n::incident_id.eq(row.incident_id.as_str()))
        .filter(n::phase.eq_any(over))
        .filter(n::state.ne(NoticeState::Draft))
        .load(conn)?;
    for other in others {
        if !row.was_queued_before(&other.id, other.queued_at) {
            continue;
        }
        let got = [DeliveryState::Sent, DeliveryState::Bounced];
        if other.state()? != NoticeState::Stopped || !counts::in_states(conn, &other.id, &got)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
