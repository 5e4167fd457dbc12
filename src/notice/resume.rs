//! Resumes a stopped notice: it goes on to exactly those of its frozen list who were not sent.
//!
//! Nobody gets a notice twice. Whoever was sent the notice, whose email bounced or failed, and whose email may have arrived is left
//! out. So is whoever was notified by another notice that stands for this one, such as a catch-up that was sent after the stop.
//! The list and the texts are those that were previewed and approved.

use std::collections::HashSet;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::delivery_state::{DeliveryState, resumable};
use super::notified::{EmailState, NotifiedAddress, each};
use super::row::{EMAIL, Row, locked, row};
use super::state::{self, NoticeState};
use super::view::{Notice, get};
use super::{asked, counts, reminders, wave_steps};
use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, notice_recipients as nr, notices as n};
use crate::directory::normal_address;
use crate::incident::{self, timeline};
use crate::notice::template::Phase;

/// Why a stopped delivery is not sent when its notice is resumed: its people were notified by another notice.
const NOTIFIED: &str = "notified";
/// The number of positions of the frozen list that are read at once.
const STEP: i64 = 10_000;

/// A notice that was resumed.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Resumed {
    /// The notice.
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
    settled(conn, &row)
}

fn settled(conn: &mut Conn, row: &Row) -> Result<bool> {
    let all = row.recipients + row.endpoints;
    Ok(row.expand_cursor >= all && counts::in_states(conn, &row.id, &[DeliveryState::Pending])?.is_empty())
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
/// the stop are not known yet, or if nobody is left.
pub fn resume(tx: &mut Tx<'_>, id: &NoticeId) -> Result<Resumed> {
    let row = locked(tx, id)?;
    let state = row.state()?;
    if state != NoticeState::Stopped {
        return Err(Error::Conflict(format!(
            "the notice is {state}; only a stopped notice can be resumed"
        )));
    }
    check_still_correct(tx.conn, &row)?;
    if !settled(tx.conn, &row)? {
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
    wave_steps::resumed(tx, &row, |conn, upto| Ok(left(conn, id, Some(upto))? > 0))?;
    state::resume(tx, id)?;
    tx.record(
        Event::new(Action::NoticeResumed, "notice", id.as_str())
            .incident(&row.incident_id)
            .before(json!({"state": state}))
            .after(json!({"deliveries": resumed, "left_out": left_out})),
    );
    let others = match left_out {
        0 => String::new(),
        more => format!("; {more} are left out, because another notice notified them"),
    };
    let text = format!("{} notice resumed for {resumed} recipients{others}", row.phase);
    timeline::note(tx, &row.incident_id, timeline::Kind::Note, tx.now, &text)?;
    Ok(Resumed {
        notice: get(tx.conn, id)?,
        resumed,
        left_out,
    })
}

/// Checks that the text of the notice is still correct.
///
/// # Errors
/// `Conflict` if the incident was reopened since, or if customers were told since that it is over.
fn check_still_correct(conn: &mut Conn, row: &Row) -> Result<()> {
    row.check_still_true(conn)?;
    if row.episode < incident::episode_of(conn, &row.incident_id)? {
        return Err(Error::Conflict(
            "the incident was reopened after this notice was sent; draft a new notice, which goes to everybody who is \
             affected"
                .to_owned(),
        ));
    }
    match row.phase()? {
        Phase::Detection | Phase::Update if super::was_said_to_be_over(conn, &row.incident_id)? => {
            Err(Error::Conflict(
                "a later notice says that the incident is over, so the text of this notice is no longer correct".to_owned(),
            ))
        }
        Phase::Detection | Phase::Update | Phase::Resolution | Phase::Report => Ok(()),
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
struct Others {
    people: HashSet<String>,
    addresses: HashSet<String>,
}

/// Marks the stopped emails whose people were notified by another notice since, and returns how many there are.
fn leave_out_notified(conn: &mut Conn, row: &Row) -> Result<i64> {
    let others = others(conn, row)?;
    if others.people.is_empty() {
        return Ok(0);
    }
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
        for ids in covered.chunks(500) {
            marked += diesel::update(d::table.filter(d::id.eq_any(ids)))
                .set(d::reason.eq(Some(NOTIFIED)))
                .execute(conn)?;
        }
    }
    i64::try_from(marked).map_err(Error::internal)
}

impl Others {
    /// Returns whether a person of the email gets nothing new by it: its address was reached, or each of its people was.
    fn cover(&self, address: &str, context: &str) -> Result<bool> {
        #[derive(Deserialize)]
        struct People {
            people: Vec<String>,
        }
        if self.addresses.contains(&*normal_address(address)) {
            return Ok(true);
        }
        let People { people } = serde_json::from_str(context)?;
        Ok(!people.is_empty() && people.iter().all(|person| self.people.contains(person)))
    }

    fn add(&mut self, email: &NotifiedAddress) {
        self.addresses.insert(email.address.to_string());
        self.people
            .extend(email.people.iter().map(|person| person.to_string()));
    }
}

/// Returns who was notified by a notice that stands for this one: by its catch-ups and its original, and for a detection by every
/// detection of the episode. For a reminder, these are the people who have answered.
fn others(conn: &mut Conn, row: &Row) -> Result<Others> {
    let mut found = Others::default();
    if reminders::is_one(conn, &row.id)? {
        found.people = asked::answered(conn, &row.incident_id)?;
        return Ok(found);
    }
    let notices: Vec<(NoticeId, Option<NoticeId>)> = n::table
        .filter(n::incident_id.eq(row.incident_id.as_str()))
        .filter(n::phase.eq(&row.phase))
        .filter(n::episode.eq(row.episode))
        .filter(n::state.ne(NoticeState::Draft))
        .filter(n::id.ne(row.id.as_str()))
        .select((n::id, n::catch_up_of))
        .load(conn)?;
    let original = |id: &NoticeId, of: &Option<NoticeId>| of.clone().unwrap_or_else(|| id.clone());
    let own = original(&row.id, &row.catch_up_of);
    let is_detection = row.phase()? == Phase::Detection;
    let standing: HashSet<String> = notices
        .iter()
        .filter(|(id, of)| is_detection || original(id, of) == own)
        .map(|(id, _)| id.to_string())
        .collect();
    if standing.is_empty() {
        return Ok(found);
    }
    each(conn, &row.incident_id, |email| {
        let reached = match email.state {
            EmailState::Accepted | EmailState::Waiting | EmailState::Frozen => true,
            EmailState::Bounced | EmailState::Failed => false,
        };
        if reached && standing.contains(&*email.notice) {
            found.add(&email);
        }
    })?;
    Ok(found)
}
