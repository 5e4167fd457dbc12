//! The waves of a notice: who asks for them, where each of them ends in the frozen list, and which one is current.
//!
//! - A wave is a range of the frozen list. The ranges are frozen with the list, so nobody is in two waves or in none.
//! - The list of a notice with waves is ordered so that the first wave contains people of as many accounts as possible.
//! - The calls to the systems of accounts follow the last email, so they belong to the last wave.
//!
//! `wave_steps` begins, holds and ends waves. `delivery` creates deliveries only up to the end of the current wave.

use std::collections::HashMap;
use std::time::Duration;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::recipients::{Packed, Recipients};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::{IncidentId, NoticeId};
use crate::base::shared::Shared;
use crate::base::time::{Timestamp, duration};
use crate::db::Conn;
use crate::db::schema::notice_waves as w;

/// The largest number of waves.
const MAX: usize = 10;
/// The shortest pause between two waves: one minute.
const SHORTEST: Duration = Duration::from_secs(60);
/// The longest pause between two waves: one day.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// What is sent: exactly what the preview with this digest showed, to everybody at once or in waves.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendNotice {
    /// The digest that the preview returned.
    pub digest: String,
    /// The waves, from 1 to 10. The last one is the rest. Without waves the notice is sent to everybody at once.
    #[serde(default)]
    pub waves: Option<Vec<Wave>>,
    /// The pause between two waves: a duration from one minute to one day such as `PT10M`, or `manual`, so that a person begins
    /// each wave. The default is `manual`.
    #[serde(default)]
    pub pause: Option<String>,
}

/// The size of a wave. Exactly one of the fields is set.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// This number of recipients, at least 1.
    #[serde(default)]
    pub people: Option<i64>,
    /// This share of all recipients in percent, from 1 to 100. It is rounded up.
    #[serde(default)]
    pub percent: Option<i64>,
    /// Everybody who is in no wave before. It is always true.
    #[serde(default)]
    pub rest: Option<bool>,
}

/// The size of a wave, after it was checked.
#[derive(Clone, Copy, Debug)]
enum Size {
    People(i64),
    Percent(i64),
    Rest,
}

/// The waves that were asked for.
pub(super) struct Waves {
    sizes: Vec<Size>,
    /// `None` if a person begins each wave.
    pause: Option<Duration>,
}

impl SendNotice {
    /// Checks the waves. Returns `None` if everything is sent at once.
    ///
    /// # Errors
    /// `Invalid` with each wrong field.
    pub(super) fn waves(&self) -> Result<Option<Waves>> {
        let mut errors = Vec::new();
        let pause = match self.pause.as_deref().map(pause) {
            None => None,
            Some(Ok(pause)) => pause,
            Some(Err(detail)) => {
                errors.push(FieldError::at("/pause", detail));
                None
            }
        };
        let Some(waves) = &self.waves else {
            if self.pause.is_some() {
                errors.push(FieldError::at("/pause", "is allowed only with waves"));
            }
            return match errors.is_empty() {
                true => Ok(None),
                false => Err(Error::fields(errors)),
            };
        };
        if waves.is_empty() || waves.len() > MAX {
            let detail = format!("must contain from 1 to {MAX} waves");
            errors.push(FieldError::at("/waves", detail));
        }
        let mut sizes = Vec::with_capacity(waves.len());
        for (index, wave) in waves.iter().enumerate() {
            match wave.size(index + 1 == waves.len()) {
                Ok(size) => sizes.push(size),
                Err((field, detail)) => errors.push(FieldError::at(format!("/waves/{index}{field}"), detail)),
            }
        }
        match errors.is_empty() {
            true => Ok(Some(Waves { sizes, pause })),
            false => Err(Error::fields(errors)),
        }
    }
}

impl Wave {
    fn size(&self, is_last: bool) -> std::result::Result<Size, (&'static str, &'static str)> {
        match (self.people, self.percent, self.rest) {
            (Some(people), None, None) if people < 1 => Err(("/people", "must be at least 1")),
            (None, Some(percent), None) if !(1..=100).contains(&percent) => {
                Err(("/percent", "must be from 1 to 100"))
            }
            (None, None, Some(false)) => Err(("/rest", "must be true")),
            (Some(_), None, None) | (None, Some(_), None) if is_last => {
                Err(("", "is the last wave and must be {\"rest\": true}"))
            }
            (None, None, Some(true)) if !is_last => Err(("/rest", "is allowed only in the last wave")),
            (Some(people), None, None) => Ok(Size::People(people)),
            (None, Some(percent), None) => Ok(Size::Percent(percent)),
            (None, None, Some(true)) => Ok(Size::Rest),
            _ => Err(("", "must contain exactly one of people, percent and rest")),
        }
    }
}

/// Parses a pause. Returns `None` if a person begins each wave.
fn pause(text: &str) -> std::result::Result<Option<Duration>, String> {
    if text == "manual" {
        return Ok(None);
    }
    let pause = duration(text).map_err(|detail| format!("{detail}, and not the word manual"))?;
    if !(SHORTEST..=LONGEST).contains(&pause) {
        return Err("must be from one minute (PT1M) to one day (P1D), or manual".to_owned());
    }
    Ok(Some(pause))
}

impl Waves {
    /// Returns the last position of each wave in a list of this many emails, followed by this many calls. A wave without
    /// anybody is left out.
    fn ends(&self, people: i64, calls: i64) -> Vec<i64> {
        let mut ends: Vec<i64> = Vec::new();
        for size in &self.sizes {
            let before = ends.last().copied().unwrap_or_default();
            let end = match *size {
                Size::People(count) => before.saturating_add(count),
                Size::Percent(percent) => before + (percent.saturating_mul(people).saturating_add(99)) / 100,
                Size::Rest => people,
            };
            if end.min(people) > before {
                ends.push(end.min(people));
            }
        }
        match ends.last_mut() {
            Some(last) => *last += calls,
            None => ends.push(calls),
        }
        ends
    }
}

/// Orders the recipients so that the beginning of the list contains people of as many accounts as possible: first one recipient
/// of each account, then a second one, and so on. A recipient of several accounts counts for the one with the fewest so far. The
/// same recipients always get the same order. Who gets what does not change, so the digest of the preview stays valid.
pub(super) fn spread(recipients: &mut Recipients) {
    recipients.reorder(|list| {
        let mut taken: HashMap<Option<Shared>, u32> = HashMap::new();
        let mut ranked: Vec<(u32, Packed)> = Vec::with_capacity(list.len());
        for packed in std::mem::take(list) {
            let fewest = packed
                .accounts()
                .iter()
                .min_by_key(|account| taken.get(&Some((*account).clone())).copied().unwrap_or_default())
                .cloned();
            let count = taken.entry(fewest).or_default();
            ranked.push((*count, packed));
            *count += 1;
        }
        // The sort is stable, so recipients of the same rank stay ordered by address.
        ranked.sort_by_key(|(rank, _)| *rank);
        list.extend(ranked.into_iter().map(|(_, packed)| packed));
    });
}

/// Stores the waves of a notice that this transaction has frozen, and writes the audit event. The first wave is current.
pub(super) fn store(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    id: &NoticeId,
    waves: &Waves,
    people: usize,
    calls: usize,
) -> Result<()> {
    let ends = waves.ends(people as i64, calls as i64);
    let pause = waves
        .pause
        .map(|pause| i64::try_from(pause.as_micros()))
        .transpose()
        .map_err(Error::internal)?;
    let first = ends.first().copied().unwrap_or_default();
    diesel::insert_into(w::table)
        .values((
            w::notice_id.eq(id.as_str()),
            w::ends.eq(serde_json::to_string(&ends)?),
            w::pause.eq(pause),
            w::wave.eq(1),
            w::upto.eq(first),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::WaveBegan, "notice", id.as_str())
            .incident(incident)
            .after(json!({
                "wave": 1, "of": ends.len(), "upto": first, "ends": ends,
                "pause_seconds": waves.pause.map(|pause| pause.as_secs()),
            })),
    );
    Ok(())
}

/// The waves of a notice, as they are stored.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub(super) struct WaveRow {
    pub notice: NoticeId,
    ends: String,
    pause: Option<i64>,
    /// The current wave, from 1.
    pub wave: i64,
    /// The last position of the current wave.
    pub upto: i64,
    /// When each delivery of the current wave had been tried.
    pub ended_at: Option<Timestamp>,
    /// When the next wave begins by itself.
    pub next_at: Option<Timestamp>,
    /// Why the next wave does not begin by itself.
    pub held_because: Option<String>,
}

impl WaveRow {
    /// Returns the last position of each wave.
    fn ends(&self) -> Result<Vec<i64>> {
        Ok(serde_json::from_str(&self.ends)?)
    }

    /// Returns the number of waves.
    pub fn of(&self) -> Result<i64> {
        i64::try_from(self.ends()?.len()).map_err(Error::internal)
    }

    /// Returns the last position of the wave after the current one, or `None` if the current wave is the last one.
    pub fn next_end(&self) -> Result<Option<i64>> {
        // The waves count from 1, so this is the index of the next one.
        let next = usize::try_from(self.wave).map_err(Error::internal)?;
        Ok(self.ends()?.get(next).copied())
    }

    /// Returns the pause after a wave. `None` if a person begins the next one.
    pub fn pause(&self) -> Option<Duration> {
        self.pause
            .map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or_default()))
    }
}

/// The waves of a notice, as the API shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = NoticeWave)]
pub struct WaveView {
    /// The number of the current wave, from 1.
    pub current: i64,
    /// The number of waves.
    pub of: i64,
    /// The number of recipients in the waves so far, with the current one.
    pub recipients: i64,
    /// Whether each delivery of the current wave was tried. The deliveries that wait for another attempt do not delay the next
    /// wave.
    pub ended: bool,
    /// When the next wave begins. Null if no further wave begins by itself: during a wave, with the pause `manual`, and if the
    /// notice is held, stopped or sent.
    pub next_at: Option<Timestamp>,
    /// Why the next wave does not begin by itself.
    pub held_because: Option<String>,
}

impl WaveView {
    /// Returns whether a further wave follows.
    pub fn has_next(&self) -> bool {
        self.current < self.of
    }
}

/// Returns the waves of a notice. `None` if it is sent to everybody at once.
pub(super) fn find(conn: &mut Conn, id: &NoticeId) -> Result<Option<WaveRow>> {
    Ok(w::table.find(id.as_str()).first(conn).optional()?)
}

/// Returns the waves of these notices, as the API shows them.
pub(super) fn of(conn: &mut Conn, ids: &[&str]) -> Result<HashMap<NoticeId, WaveView>> {
    let rows: Vec<WaveRow> = w::table.filter(w::notice_id.eq_any(ids)).load(conn)?;
    rows.into_iter()
        .map(|row| {
            let view = WaveView {
                current: row.wave,
                of: row.of()?,
                recipients: row.upto,
                ended: row.ended_at.is_some(),
                next_at: row.next_at,
                held_because: row.held_because,
            };
            Ok((row.notice, view))
        })
        .collect()
}

/// Returns the position up to which deliveries of a notice may be created now. `None` if it has no waves, so that the whole list
/// may be.
///
/// # Errors
/// An error of the database.
pub fn end_of_current(conn: &mut Conn, id: &NoticeId) -> Result<Option<i64>> {
    Ok(w::table
        .find(id.as_str())
        .select(w::upto)
        .first(conn)
        .optional()?)
}
