//! Ends, holds and begins the waves of a notice, by themselves or by a person.
//!
//! - A wave has ended when each of its deliveries has an outcome or waits for another attempt. An address that is tried for two
//!   days does not delay the next wave for two days.
//! - The next wave begins after the pause, or when a person continues. While a notice is held, it begins only when a person
//!   continues.
//! - A further wave does not begin when the text of the notice is not correct any more ([`super::still_correct`]). Then the notice is
//!   held, and a person cannot continue either.
//! - The shares of [`super::hold_if`] are checked during the whole pause and in the transaction that begins the next wave. So a
//!   bounce that arrives late counts too.
//!
//! Each step decides from the database alone, after it has locked the incident and the notice. So any number of processes may
//! run it, and repeating it changes nothing.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde::Deserialize;
use serde_json::json;

use super::delivery_state::{Changes, DeliveryState};
use super::row::{Row, locked, row};
use super::state::{self, NoticeState};
use super::view::{Notice, get};
use super::waves::{self, WaveRow};
use super::{counts, hold_if, still_correct};
use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{deliveries as d, notice_waves as w, notices as n};
use crate::incident::timeline;

/// The largest length of a reason, in characters.
const MAX_REASON: usize = 500;

/// Which wave is to begin.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContinueWith {
    /// The number of the wave that is to begin. If another wave is next, nothing happens, so a request that is sent twice begins
    /// only one wave. It can be left out only if the current wave has ended.
    #[serde(default)]
    pub wave: Option<i64>,
}

/// Why a notice is held.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// The reason, for the timeline and for everybody who sees the notice.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What is due for a notice with waves.
enum Due {
    Ended,
    Held(String),
    Next,
}

/// Begins the next wave of a notice now.
///
/// # Errors
/// `NotFound` if the notice does not exist. `Conflict` if it is not being sent, has no further wave, another wave is next, the current
/// wave is still being sent and the next one is not named, or its text is not correct any more.
pub fn continue_with(tx: &mut Tx<'_>, id: &NoticeId, with: &ContinueWith) -> Result<Notice> {
    let row = locked(tx, id)?;
    let wave = further(tx.conn, &row)?;
    let next = wave.wave + 1;
    if let Some(wanted) = with.wave.filter(|wanted| *wanted != next) {
        let detail = format!("the next wave is wave {next}, and not wave {wanted}");
        return Err(Error::Conflict(detail));
    }
    // A request without a number that is repeated, for example after a lost answer, would begin one wave after the other.
    let is_over = wave.ended_at.is_some() || (row.expand_cursor >= wave.upto && has_ended(tx.conn, id)?);
    if with.wave.is_none() && !is_over {
        let current = wave.wave;
        let detail = format!(
            "wave {current} is still being sent; to begin wave {next} before it has ended, send {{\"wave\": {next}}}"
        );
        return Err(Error::Conflict(detail).code(Code::NameTheWave));
    }
    still_correct::check(tx.conn, &row, tx.now)?;
    still_correct::check_list(tx.conn, &row, wave.upto)?;
    let by = tx.actor.name().to_owned();
    begin(tx, &row, &wave, Some(&by))?;
    get(tx.conn, id)
}

/// Holds a notice: the current wave is sent to its end, and the next one begins only when a person continues.
///
/// # Errors
/// `NotFound` if the notice does not exist. `Conflict` if it is not being sent, has no further wave or is held already. `Invalid`
/// if the reason is too long.
pub fn hold(tx: &mut Tx<'_>, id: &NoticeId, why: &Hold) -> Result<Notice> {
    let reason = why.reason.as_deref().map(str::trim).filter(|why| !why.is_empty());
    if reason.is_some_and(|why| why.chars().count() > MAX_REASON) {
        let detail = format!("is longer than {MAX_REASON} characters");
        return Err(Error::invalid("/reason", detail));
    }
    if reason.is_some_and(|why| why.chars().any(char::is_control)) {
        let error = FieldError::at("/reason", "contains a control character, such as a line break");
        return Err(Error::fields(vec![error]));
    }
    let row = locked(tx, id)?;
    let wave = further(tx.conn, &row)?;
    if let Some(because) = &wave.held_because {
        return Err(Error::Conflict(format!(
            "the notice is held already: {because}; nothing was changed"
        )));
    }
    let by = tx.actor.name();
    let because = match reason {
        Some(why) => format!("{by} held it: {why}"),
        None => format!("{by} held it"),
    };
    keep(tx, &row, &wave, &because)?;
    get(tx.conn, id)
}

/// Returns the waves of a notice that is being sent and has a further wave.
fn further(conn: &mut Conn, row: &Row) -> Result<WaveRow> {
    let state = row.state()?;
    if !state.is_being_sent() {
        return Err(Error::Conflict(format!(
            "the notice is {state}; only a notice that is being sent has a next wave"
        )));
    }
    let no_further = |detail: &str| Error::Conflict(detail.to_owned()).code(Code::NoFurtherWave);
    let wave = waves::find(conn, &row.id)?
        .ok_or_else(|| no_further("the notice is sent to everybody at once, not in waves"))?;
    match wave.next_end()? {
        Some(_) => Ok(wave),
        None => Err(no_further("the last wave of the notice has begun already")),
    }
}

/// Returns whether something is due for a notice with waves.
///
/// # Errors
/// An error of the database.
pub fn has_work(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    for id in waiting(conn)? {
        let row = row(conn, &id)?;
        if due(conn, &row, now)?.is_some() {
            return Ok(true);
        }
    }
    Ok(unlisted(conn)?.is_some())
}

/// Does one thing that is due: ends a wave, holds a notice, begins a wave, or completes the list of a stopped notice. `domain` is
/// the part of a Message-ID after the @. Returns whether something was due.
///
/// # Errors
/// An error of the database.
pub fn step(tx: &mut Tx<'_>, domain: &str) -> Result<bool> {
    for id in waiting(tx.conn)? {
        let row = row(tx.conn, &id)?;
        if due(tx.conn, &row, tx.now)?.is_none() {
            continue;
        }
        let row = locked(tx, &id)?;
        // Another process may have done it before this one got the lock.
        let (Some(due), Some(wave)) = (due(tx.conn, &row, tx.now)?, waves::find(tx.conn, &id)?) else {
            return Ok(true);
        };
        match due {
            Due::Ended => end(tx, &row, &wave)?,
            Due::Held(because) => keep(tx, &row, &wave, &because)?,
            Due::Next => match still_correct::list_why_not(tx.conn, &row, wave.upto)? {
                Some(why) => keep(tx, &row, &wave, &why.text)?,
                None => begin(tx, &row, &wave, None)?,
            },
        }
        return Ok(true);
    }
    let Some(id) = unlisted(tx.conn)? else {
        return Ok(false);
    };
    let row = locked(tx, &id)?;
    if row.state()? == NoticeState::Stopped {
        let mut changes = Changes::default();
        state::list_rest(tx, &id, domain, &mut changes)?;
        changes.store(tx.conn)?;
    }
    Ok(true)
}

/// Returns the notices whose current wave is expanded and is not the last one.
fn waiting(conn: &mut Conn) -> Result<Vec<NoticeId>> {
    Ok(n::table
        .inner_join(w::table.on(w::notice_id.eq(n::id)))
        // The text is the same as in the partial index.
        .filter(sql::<Bool>("notices.state IN ('queued', 'sending')"))
        .filter(n::state.eq(NoticeState::Sending))
        .filter(n::expand_cursor.lt(n::recipients + n::endpoints))
        .order(n::queued_at)
        .select(n::id)
        .load(conn)?)
}

/// Returns a stopped notice whose list contains recipients without a delivery.
fn unlisted(conn: &mut Conn) -> Result<Option<NoticeId>> {
    Ok(n::table
        // The text is the same as in the partial index.
        .filter(sql::<Bool>(
            "notices.state = 'stopped' AND notices.expand_cursor < notices.recipients + notices.endpoints",
        ))
        .select(n::id)
        .first(conn)
        .optional()?)
}

/// Decides what is due for a notice.
fn due(conn: &mut Conn, row: &Row, now: Timestamp) -> Result<Option<Due>> {
    match row.state()? {
        NoticeState::Sending => {}
        NoticeState::Draft | NoticeState::Queued | NoticeState::Sent | NoticeState::Stopped => {
            return Ok(None);
        }
    }
    let Some(wave) = waves::find(conn, &row.id)? else {
        return Ok(None);
    };
    if wave.next_end()?.is_none() {
        return Ok(None);
    }
    if wave.ended_at.is_none() {
        return Ok(has_ended(conn, &row.id)?.then_some(Due::Ended));
    }
    if wave.held_because.is_some() {
        return Ok(None);
    }
    if let Some(because) = still_correct::why_not(conn, row, now)? {
        return Ok(Some(Due::Held(because)));
    }
    if let Some(because) = hold_if::reason(conn, row)? {
        return Ok(Some(Due::Held(because)));
    }
    Ok(wave.next_at.is_some_and(|at| at <= now).then_some(Due::Next))
}

/// Returns whether each delivery so far has an outcome or waits for another attempt.
fn has_ended(conn: &mut Conn, id: &NoticeId) -> Result<bool> {
    if counts::in_states(conn, id, &[DeliveryState::Pending])?.is_empty() {
        return Ok(true);
    }
    let untried: Option<i64> = d::table
        .filter(d::notice_id.eq(id.as_str()))
        // The text is the same as in the partial index.
        .filter(sql::<Bool>("deliveries.state = 'pending'"))
        .filter(d::deferred_until.is_null())
        .select(d::id)
        .first(conn)
        .optional()?;
    Ok(untried.is_none())
}

/// Stores the end of the current wave, and when the next one begins.
fn end(tx: &mut Tx<'_>, row: &Row, wave: &WaveRow) -> Result<()> {
    let next_at = match wave.held_because {
        None => wave.pause().map(|pause| tx.now.plus(pause)),
        Some(_) => None,
    };
    diesel::update(w::table.find(row.id.as_str()))
        .set((w::ended_at.eq(Some(tx.now)), w::next_at.eq(next_at)))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::WaveEnded, "notice", row.id.as_str())
            .incident(&row.incident_id)
            .after(json!({"wave": wave.wave, "of": wave.of()?, "next_at": next_at})),
    );
    Ok(())
}

/// Stores why the next wave does not begin by itself.
fn keep(tx: &mut Tx<'_>, row: &Row, wave: &WaveRow, because: &str) -> Result<()> {
    diesel::update(w::table.find(row.id.as_str()))
        .set((
            w::held_because.eq(Some(because)),
            w::next_at.eq(None::<Timestamp>),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::NoticeHeld, "notice", row.id.as_str())
            .incident(&row.incident_id)
            .before(json!({"held_because": wave.held_because}))
            .after(json!({
                "held_because": because, "phase": row.phase, "wave": wave.wave, "of": wave.of()?,
            })),
    );
    let text = format!(
        "{} notice held after wave {} of {}: {because}",
        row.phase,
        wave.wave,
        wave.of()?
    );
    timeline::note(tx, &row.incident_id, timeline::Kind::Note, tx.now, &text)?;
    Ok(())
}

/// Begins the wave after the current one. `by` is the name of the person who continues.
pub(super) fn begin(tx: &mut Tx<'_>, row: &Row, wave: &WaveRow, by: Option<&str>) -> Result<()> {
    let Some(upto) = wave.next_end()? else {
        return Ok(());
    };
    let next = wave.wave + 1;
    diesel::update(w::table.find(row.id.as_str()))
        .set((
            w::wave.eq(next),
            w::upto.eq(upto),
            w::ended_at.eq(None::<Timestamp>),
            w::next_at.eq(None::<Timestamp>),
            w::held_because.eq(None::<String>),
        ))
        .execute(tx.conn)?;
    state::begin_wave(tx, &row.id)?;
    tx.record(
        Event::new(Action::WaveBegan, "notice", row.id.as_str())
            .incident(&row.incident_id)
            .before(json!({"wave": wave.wave, "held_because": wave.held_because}))
            .after(json!({"wave": next, "of": wave.of()?, "upto": upto})),
    );
    let by = by.map(|by| format!(", continued by {by}")).unwrap_or_default();
    let text = format!("{} notice: wave {next} of {} begins{by}", row.phase, wave.of()?);
    timeline::note(tx, &row.incident_id, timeline::Kind::Note, tx.now, &text)?;
    Ok(())
}

/// Prepares the waves of a notice that is resumed. What is held stays held. Otherwise, if nobody is left in the current wave, the next
/// one begins. `is_left` says whether somebody up to this position was not sent.
pub(super) fn resumed(
    tx: &mut Tx<'_>,
    row: &Row,
    is_left: impl FnOnce(&mut Conn, i64) -> Result<bool>,
) -> Result<()> {
    let Some(wave) = waves::find(tx.conn, &row.id)? else {
        return Ok(());
    };
    diesel::update(w::table.find(row.id.as_str()))
        .set((
            w::ended_at.eq(None::<Timestamp>),
            w::next_at.eq(None::<Timestamp>),
        ))
        .execute(tx.conn)?;
    if wave.held_because.is_some() || is_left(tx.conn, wave.upto)? {
        return Ok(());
    }
    let by = tx.actor.name().to_owned();
    begin(tx, row, &wave, Some(&by))
}
