//! Resumes a stopped notice: it goes on to exactly those of its frozen list who were not sent.
//!
//! Nobody gets a notice twice. Whoever was sent the notice, whose email bounced or failed, and whose email may have arrived is left
//! out. So is every person and every endpoint that was notified by another notice that stands for this one, such as a catch-up that
//! was sent after the stop.
//! The list and the texts are those that were previewed and approved.

use std::collections::HashSet;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde::Serialize;
use serde_json::json;

use super::delivery_state::{Changes, DeliveryState, resumable, stop_unclaimed};
use super::notified::{EmailState, NotifiedAddress, People, Shifts, each_of};
use super::row::{EMAIL, Row, locked, row};
use super::sending::Sending;
use super::state::{self, NoticeState};
use super::view::{Notice, get};
use super::{above, asked, counts, endpoints, limits, reminders, still_correct, wave_steps};
use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::count::counted;
use crate::base::error::{Error, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::db::Conn;
use crate::db::schema::{approved_notices as an, deliveries as d, notice_recipients as nr, notices as n};
use crate::directory::normal_address;
use crate::incident::timeline;
use crate::notice::template::Phase;

/// Why a stopped delivery is not sent when its notice is resumed: its people or its endpoint were notified by another notice.
const NOTIFIED: &str = "notified";
/// The number of positions of the frozen list that are read at once.
const STEP: i64 = 10_000;

/// A notice that was resumed.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Resumed {
    /// The notice, which is being sent again.
    #[serde(flatten)]
    pub notice: Notice,
    /// The number of deliveries that are sent now or with a later wave.
    pub resumed: i64,
    /// The number of recipients who were not sent and are left out, because another notice notified them since.
    pub left_out: i64,
}

/// Returns whether the outcome of each delivery that was being sent when the notice was stopped is known, and whether the list of
/// those who were not sent is complete. Only then can the notice be resumed.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn is_settled(conn: &mut Conn, id: &NoticeId) -> Result<bool> {
    let row = row(conn, id)?;
    if !is_listed(&row) {
        return Ok(false);
    }
    if counts::in_states(conn, &row.id, &[DeliveryState::Pending])?.is_empty() {
        return Ok(true);
    }
    // A pending delivery that no worker has claimed is stopped by [`resume`].
    let claimed: Option<i64> = d::table
        .filter(d::notice_id.eq(id.as_str()))
        .filter(sql::<Bool>("deliveries.state = 'pending'"))
        .filter(d::lease.is_not_null())
        .select(d::id)
        .first(conn)
        .optional()?;
    Ok(claimed.is_none())
}

/// Returns whether each recipient of a stopped notice has a delivery.
fn is_listed(row: &Row) -> bool {
    row.expand_cursor >= row.recipients + row.endpoints
}

/// Stops the pending deliveries that no worker has claimed, and returns whether none is pending any more. A worker that was sending
/// one of them when the notice was stopped may have put it back into the queue since.
fn settle(tx: &mut Tx<'_>, row: &Row, changes: &mut Changes) -> Result<bool> {
    let pending = counts::in_states(tx.conn, &row.id, &[DeliveryState::Pending])?;
    if pending.is_empty() {
        return Ok(true);
    }
    stop_unclaimed(tx.conn, &row.id, pending.into_keys(), changes)?;
    let left: Option<i64> = d::table
        .filter(d::notice_id.eq(row.id.as_str()))
        .filter(sql::<Bool>("deliveries.state = 'pending'"))
        .select(d::id)
        .first(tx.conn)
        .optional()?;
    Ok(left.is_none())
}

/// Returns the number of deliveries that resuming the notice would send, without regard to other notices. It is 0 if the notice is
/// not stopped.
///
/// # Errors
/// `NotFound` if the notice does not exist.
pub fn unsent(conn: &mut Conn, id: &NoticeId) -> Result<i64> {
    match row(conn, id)?.state()? {
        NoticeState::Stopped => left(conn, id, None),
        NoticeState::Draft | NoticeState::Queued | NoticeState::Sending | NoticeState::Sent => Ok(0),
    }
}

/// Resumes a stopped notice. An approval of its list and texts still stands.
///
/// # Errors
/// `NotFound` if the notice does not exist. `Conflict` if it is not stopped, if it is not correct any more, if outcomes from before
/// the stop are not known yet, or if nobody is left. `Forbidden` if nobody approved it and it is above the limit for one hour now.
pub fn resume(tx: &mut Tx<'_>, id: &NoticeId, sending: &Sending) -> Result<Resumed> {
    let row = locked(tx, id)?;
    let state = row.state()?;
    if state != NoticeState::Stopped {
        return Err(Error::Conflict(format!(
            "the notice is {state}; only a stopped notice can be resumed"
        )));
    }
    still_correct::check(tx.conn, &row, tx.now)?;
    still_correct::check_list(tx.conn, &row, 0)?;
    let mut changes = Changes::default();
    if !is_listed(&row) || !settle(tx, &row, &mut changes)? {
        return Err(Error::Conflict(
            "some emails were being sent when the notice was stopped, and their outcome is not known yet; try again in a minute"
                .to_owned(),
        ));
    }
    let left_out = leave_out_notified(tx.conn, &row)?;
    let resumed = left(tx.conn, id, None)?;
    if resumed == 0 {
        return Err(
            Error::Conflict("nobody is left to whom the notice could be sent".to_owned())
                .code(Code::NothingToResend),
        );
    }
    require_below_limit(tx, &row, resumed, sending)?;
    wave_steps::resumed(tx, &row, |conn, upto| Ok(left(conn, id, Some(upto))? > 0))?;
    state::resume(tx, id)?;
    changes.store(tx.conn)?;
    tx.record(
        Event::new(Action::NoticeResumed, "notice", id.as_str())
            .incident(&row.incident_id)
            .before(json!({"state": state}))
            .after(json!({"deliveries": resumed, "left_out": left_out})),
    );
    let others = match left_out {
        0 => String::new(),
        more => format!(
            "; {} left out, because another notice notified them",
            counted(more, "is", "are")
        ),
    };
    let who = counted(resumed, "recipient", "recipients");
    let text = format!("{} notice resumed for {who}{others}", row.phase);
    timeline::note(tx, &row.incident_id, timeline::Kind::Note, tx.now, &text)?;
    Ok(Resumed {
        notice: get(tx.conn, id)?,
        resumed,
        left_out,
    })
}

/// Checks that a notice that nobody approved stays below the limit for one hour, together with what was sent since. Otherwise a notice
/// could be stopped and resumed to send more than the limit. Until the transaction ends, nobody else counts.
///
/// # Errors
/// `Forbidden` if it is above the limit.
fn require_below_limit(tx: &mut Tx<'_>, row: &Row, resumed: i64, sending: &Sending) -> Result<()> {
    let approved: Option<String> = an::table
        .filter(an::notice_id.eq(row.id.as_str()))
        .select(an::notice_id)
        .first(tx.conn)
        .optional()?;
    if approved.is_some() {
        return Ok(());
    }
    limits::hold(tx.conn)?;
    match above::hour_exceeded(tx.conn, row, sending, resumed, tx.now)? {
        None => Ok(()),
        Some(above) => Err(Error::Forbidden(format!(
            "{above}; draft a catch-up of the notice, which can be approved"
        ))
        .code(Code::ApprovalRequired)),
    }
}

/// Returns the number of stopped deliveries that are sent if the notice is resumed, up to a position of the list.
fn left(conn: &mut Conn, id: &NoticeId, upto: Option<i64>) -> Result<i64> {
    Ok(d::table
        .filter(d::notice_id.eq(id.as_str()))
        .filter(resumable())
        .filter(d::ordinal.le(upto.unwrap_or(i64::MAX)))
        .count()
        .get_result(conn)?)
}

/// The people and addresses that other notices reached or will reach.
#[derive(Default)]
pub(super) struct Others {
    people: HashSet<String>,
    addresses: HashSet<String>,
    /// The IDs of endpoints.
    endpoints: HashSet<String>,
}

/// Marks the stopped deliveries whose people or endpoint were notified by another notice since, and returns how many there are.
fn leave_out_notified(conn: &mut Conn, row: &Row) -> Result<i64> {
    let others = others(conn, row)?;
    let mails = match others.people.is_empty() && others.addresses.is_empty() {
        true => 0,
        false => leave_out_mails(conn, row, &others)?,
    };
    let calls = match others.endpoints.is_empty() {
        true => 0,
        false => leave_out_calls(conn, row, &others)?,
    };
    i64::try_from(mails + calls).map_err(Error::internal)
}

fn leave_out_calls(conn: &mut Conn, row: &Row, others: &Others) -> Result<usize> {
    let stopped: Vec<(i64, String)> = d::table
        .inner_join(nr::table.on(nr::notice_id.eq(d::notice_id).and(nr::ordinal.eq(d::ordinal))))
        .filter(d::notice_id.eq(row.id.as_str()))
        .filter(d::channel.ne(EMAIL))
        .filter(resumable())
        .select((d::id, nr::person_id))
        .load(conn)?;
    let covered: Vec<i64> = stopped
        .into_iter()
        .filter(|(_, endpoint)| others.endpoints.contains(endpoint))
        .map(|(id, _)| id)
        .collect();
    mark_notified(conn, &covered)
}

fn leave_out_mails(conn: &mut Conn, row: &Row, others: &Others) -> Result<usize> {
    let mut marked = 0;
    for after in (0..row.recipients).step_by(STEP as usize) {
        let stopped: Vec<(i64, String, String)> = d::table
            .inner_join(nr::table.on(nr::notice_id.eq(d::notice_id).and(nr::ordinal.eq(d::ordinal))))
            .filter(d::notice_id.eq(row.id.as_str()))
            .filter(d::channel.eq(EMAIL))
            .filter(resumable())
            .filter(d::ordinal.gt(after).and(d::ordinal.le(after + STEP)))
            .select((d::id, nr::address, nr::context))
            .load(conn)?;
        let mut covered = Vec::new();
        for (id, address, context) in stopped {
            if others.cover(&address, &context)? {
                covered.push(id);
            }
        }
        marked += mark_notified(conn, &covered)?;
    }
    Ok(marked)
}

fn mark_notified(conn: &mut Conn, deliveries: &[i64]) -> Result<usize> {
    let mut marked = 0;
    for ids in deliveries.chunks(500) {
        marked += diesel::update(d::table.filter(d::id.eq_any(ids)))
            .set(d::reason.eq(Some(NOTIFIED)))
            .execute(conn)?;
    }
    Ok(marked)
}

impl Others {
    /// Returns whether a person of the email gets nothing new by it: its address was reached, or each of its people was.
    pub(super) fn cover(&self, address: &str, context: &str) -> Result<bool> {
        if self.addresses.contains(&*normal_address(address)) {
            return Ok(true);
        }
        let People { people } = People::of(context)?;
        Ok(!people.is_empty() && people.iter().all(|person| self.people.contains(&**person)))
    }

    /// Returns whether another notice reached this person.
    pub(super) fn reached(&self, person: &str) -> bool {
        self.people.contains(person)
    }

    fn add(&mut self, email: &NotifiedAddress) {
        self.addresses.insert(email.address.to_string());
        self.people
            .extend(email.people.iter().map(|person| person.to_string()));
    }
}

/// Returns who was notified by a notice that stands for this one: by its catch-ups and its original, and for a detection by every
/// detection of the episode. For a reminder, these are the people who have answered.
pub(super) fn others(conn: &mut Conn, row: &Row) -> Result<Others> {
    let mut found = Others::default();
    if reminders::is_one(conn, &row.id)? {
        found.people = asked::answered(conn, &row.incident_id)?;
        return Ok(found);
    }
    let shifts = Shifts::of(conn, &row.incident_id)?;
    type Sent = (NoticeId, Option<NoticeId>, IncidentId, i64);
    let mut notices: Vec<Sent> = n::table
        .filter(n::incident_id.eq_any(shifts.ids()))
        .filter(n::phase.eq(&row.phase))
        .filter(n::state.ne(NoticeState::Draft))
        .filter(n::id.ne(row.id.as_str()))
        .select((n::id, n::catch_up_of, n::incident_id, n::episode))
        .load(conn)?;
    notices.retain(|(.., of, episode)| shifts.episode(of, *episode) == row.episode);
    let original = |id: &NoticeId, of: &Option<NoticeId>| of.clone().unwrap_or_else(|| id.clone());
    let own = original(&row.id, &row.catch_up_of);
    // Each person hears a detection and a recovery once.
    let is_heard_once = matches!(row.phase()?, Phase::Detection | Phase::Recovery);
    let standing: HashSet<String> = notices
        .iter()
        .filter(|(id, of, ..)| is_heard_once || original(id, of) == own)
        .map(|(id, ..)| id.to_string())
        .collect();
    if standing.is_empty() {
        return Ok(found);
    }
    found.endpoints = endpoints::reached_by(conn, &row.incident_id, &standing)?;
    let stands = |id: &str| standing.contains(id);
    each_of(conn, &row.incident_id, stands, |email| {
        let reached = match email.state {
            EmailState::Accepted | EmailState::Waiting | EmailState::Frozen => true,
            EmailState::Bounced | EmailState::Failed | EmailState::Withheld => false,
        };
        if reached {
            found.add(&email);
        }
    })?;
    Ok(found)
}
