//! Whether the text of a notice is still correct for those of its list who have not got it. It is checked before a stopped notice is
//! resumed and before a further wave begins.
//!
//! Nobody gets a notice that other notices, a reopening or the time have made false, and nobody hears that they are affected after
//! they were removed from the incident.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;

use super::delivery_state::DeliveryState;
use super::impaired::{self, Truth};
use super::notified::{People, Shifts};
use super::planned_change;
use super::row::Row;
use super::state::NoticeState;
use super::{corrections, counts, reminders};
use crate::audience::{self, At};
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, notice_recipients as nr, notices as n};
use crate::incident::{self, recovery};
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
    if let Some(why) = planned_change::why_not(conn, row)? {
        return Ok(Some(why));
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

/// Why a notice must not go to the rest of its list.
pub(super) struct WhyNot {
    /// The reason, as a sentence that says what to do instead.
    pub text: String,
    /// The code of the error.
    code: Code,
}

/// Checks that everybody who is after this position of the list and has not got the notice is still affected, and that what it says
/// about what is restored is still true.
///
/// # Errors
/// `Conflict` with the reason if somebody is not.
pub(super) fn check_list(conn: &mut Conn, row: &Row, after: i64) -> Result<()> {
    match list_why_not(conn, row, after)? {
        Some(why) => Err(Error::Conflict(why.text).code(why.code)),
        None => Ok(()),
    }
}

/// Returns why the rest of the list after a position must not get the notice: somebody of it is not affected any more, or resources of
/// somebody are impaired again. This reads the audience, so it is asked only when a wave is about to begin.
///
/// # Errors
/// An error of the database.
pub(super) fn list_why_not(conn: &mut Conn, row: &Row, after: i64) -> Result<Option<WhyNot>> {
    rest_why_not(conn, row, after, Rest::NotGot)
}

impl Row {
    /// Checks that what the notice says about what is restored is still true for those whose emails failed or bounced, so that they may
    /// be sent again.
    ///
    /// # Errors
    /// `Conflict` with the reason if it is not.
    pub(crate) fn check_still_restored(&self, conn: &mut Conn) -> Result<()> {
        match rest_why_not(conn, self, 0, Rest::Lost)? {
            Some(why) => Err(Error::Conflict(why.text).code(why.code)),
            None => Ok(()),
        }
    }
}

/// The recipients that are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Those who have not got the notice.
    NotGot,
    /// Those whose emails failed or bounced.
    Lost,
}

fn rest_why_not(conn: &mut Conn, row: &Row, after: i64, rest: Rest) -> Result<Option<WhyNot>> {
    let phase = row.phase()?;
    let for_the_affected = match phase {
        // After a reopening, a detection also goes to those who were told that it was over.
        Phase::Detection => row.episode == 1,
        Phase::Update => !reminders::is_one(conn, &row.id)?,
        Phase::Recovery => true,
        Phase::Resolution | Phase::Report | Phase::Correction | Phase::Maintenance => false,
    };
    // A single email can be sent again to somebody who is not affected any more.
    let for_the_affected = for_the_affected && rest == Rest::NotGot;
    let says_what_is_restored = matches!(phase, Phase::Update | Phase::Recovery | Phase::Resolution)
        && recovery::in_use(conn, &row.incident_id)?;
    if !(for_the_affected || says_what_is_restored) || incident::get(conn, &row.incident_id)?.drill {
        return Ok(None);
    }
    let rule = row.rule()?;
    let audience = audience::resolve_by(conn, &row.incident_id, &rule, At::Now)?;
    let others = match phase {
        Phase::Resolution => impaired::by_other_rules(conn, row, &rule)?,
        _ => Vec::new(),
    };
    let affected: HashSet<&str> = audience.people.iter().map(|one| &*one.person.id).collect();
    let truth = Truth::of(phase, audience.people.iter().chain(&others));
    let (mut gone, mut wrong) = (0, 0);
    for from in (after..row.recipients).step_by(STEP as usize) {
        let upto = (from + STEP).min(row.recipients);
        let deliveries: Vec<(i64, DeliveryState)> = d::table
            .filter(d::notice_id.eq(row.id.as_str()))
            .filter(d::ordinal.gt(from).and(d::ordinal.le(upto)))
            .select((d::ordinal, d::state))
            .load(conn)?;
        let is_lost = |state: &DeliveryState| matches!(state, DeliveryState::Failed | DeliveryState::Bounced);
        let states: HashMap<i64, DeliveryState> = deliveries.into_iter().collect();
        let is_asked_for = |ordinal: &i64| match (rest, states.get(ordinal)) {
            (Rest::NotGot, state) => state.is_none_or(|state| *state == DeliveryState::Stopped),
            (Rest::Lost, state) => state.is_some_and(is_lost),
        };
        let listed: Vec<(i64, String)> = nr::table
            .filter(nr::notice_id.eq(row.id.as_str()))
            .filter(nr::ordinal.gt(from).and(nr::ordinal.le(upto)))
            .select((nr::ordinal, nr::context))
            .load(conn)?;
        for (ordinal, context) in listed {
            if !is_asked_for(&ordinal) {
                continue;
            }
            if for_the_affected {
                let People { people } = People::of(&context)?;
                gone += usize::from(!people.iter().any(|person| affected.contains(&**person)));
            }
            wrong += usize::from(says_what_is_restored && truth.is_false(&context)?);
        }
    }
    let who = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 recipient who has not got it {one}"),
        n => format!("{n} recipients who have not got it {many}"),
    };
    let (who, code) = match (gone, wrong) {
        (0, 0) => return Ok(None),
        (0, n) => (
            who(
                n,
                "has resources that are not restored, and the notice says more",
                "have resources that are not restored, and the notice says more",
            ),
            Code::StillImpaired,
        ),
        (n, _) => (
            who(n, "is not affected any more", "are not affected any more"),
            Code::Conflict,
        ),
    };
    Ok(Some(WhyNot {
        text: format!("{who}; {}", instead(conn, row)?),
        code,
    }))
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
        false if row.phase()? == Phase::Recovery => {
            "a catch-up, which goes to those whose affected resources are all restored now"
        }
        false => "a catch-up, which goes to those who are affected now",
    };
    Ok(format!("{first} {what}"))
}

/// Returns whether a notice that was queued after this one says that the incident is over. A notice that nobody got, because it was
/// stopped before, does not count.
fn was_said_to_be_over_since(conn: &mut Conn, row: &Row) -> Result<bool> {
    let over = [Phase::Resolution.as_str(), Phase::Report.as_str()];
    let shifts = Shifts::of(conn, &row.incident_id)?;
    let mut others: Vec<Row> = n::table
        .filter(n::incident_id.eq_any(shifts.ids()))
        .filter(n::phase.eq_any(over))
        .filter(n::state.ne(NoticeState::Draft))
        .load(conn)?;
    // That an incident was over before it was merged into this one, which went on, says nothing about this one.
    others.retain(|other| {
        other.incident_id == row.incident_id
            || shifts.episode(&other.incident_id, other.episode) >= row.episode
    });
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
