//! How the answers of an incident developed: the number of people with each current answer, at regular times.

use std::collections::HashMap;
use std::time::Duration;

use diesel::prelude::*;
use serde::Serialize;

use super::Choice;
use super::counts::Choices;
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{answers as a, notices as n};
use crate::incident;
use crate::notice;
use crate::notice::template::Phase;

/// The largest number of points of a series.
const MAX: u128 = 1_000;
/// The smallest step between two points of a series: one minute.
const LEAST: Duration = Duration::from_secs(60);
/// The step without a parameter.
const USUAL: Duration = Duration::from_secs(3_600);

/// The numbers at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = AnswersPoint)]
pub struct Point {
    /// The time as of which the answers are counted.
    pub at: Timestamp,
    /// The number of people with each choice.
    #[serde(flatten)]
    pub choices: Choices,
}

/// The answers with a choice, in the order of their times, and when people were first asked.
pub struct Course {
    answers: Vec<(Timestamp, String, Choice)>,
    start: Option<Timestamp>,
}

impl Course {
    /// Reads the answers of an incident since it was opened or reopened.
    ///
    /// # Errors
    /// `NotFound` if the incident does not exist.
    pub fn read(conn: &mut Conn, incident: &IncidentId) -> Result<Self> {
        let episode = incident::episode_of(conn, incident)?;
        let from = notice::counted_from(conn, incident)?;
        let asking: Vec<&str> = Phase::ALL
            .iter()
            .filter(|phase| phase.asks())
            .map(|phase| phase.as_str())
            .collect();
        let counted = incident::lineage::counted_for(conn, incident)?;
        let mut first: Vec<Timestamp> = Vec::new();
        for of in &counted {
            let asked: Option<Option<Timestamp>> = n::table
                .filter(n::incident_id.eq(of.id.as_str()))
                .filter(n::phase.eq_any(&asking))
                .filter(n::episode.eq(episode - of.shift))
                .filter(n::queued_at.is_not_null())
                .filter(n::recipients.gt(0))
                .order(n::queued_at)
                .select(n::queued_at)
                .first(conn)
                .optional()?;
            first.extend(asked.flatten());
        }
        let incidents: Vec<&str> = counted.iter().map(|of| of.id.as_str()).collect();
        let rows: Vec<(Timestamp, String, Option<String>)> = a::table
            .filter(a::incident_id.eq_any(incidents))
            .filter(a::at.ge(from))
            .filter(a::answer.is_not_null())
            .order((a::at, a::id))
            .select((a::at, a::person_id, a::answer))
            .load(conn)?;
        let answers = rows
            .into_iter()
            .filter_map(|(at, person, choice)| Some((at, person, choice?)))
            .map(|(at, person, choice)| Ok((at, person, Choice::parse(&choice).map_err(Error::internal)?)))
            .collect::<Result<Vec<_>>>()?;
        let start = first.into_iter().chain(answers.first().map(|(at, ..)| *at));
        Ok(Course {
            start: start.min(),
            answers,
        })
    }

    /// Returns when the series starts and when the last person answered. `None` if nobody was asked and nobody answered.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let start = self.start?;
        Some((start, self.answers.last().map_or(start, |(at, ..)| *at)))
    }

    /// Returns the numbers at the start, after each step, and last at a time not before the last answer and not after
    /// `now`. Without a step, it is an hour, or longer if there would be too many points.
    ///
    /// # Errors
    /// `Invalid` with `?step`, if the step is shorter than a minute or if there would be too many points.
    pub fn series(&self, step: Option<Duration>, now: Timestamp) -> Result<Vec<Point>> {
        let step = match (step, self.span()) {
            (Some(step), _) => step,
            (None, None) => USUAL,
            (None, Some((start, end))) => {
                let micros = (end.as_micros() - start.as_micros()).unsigned_abs();
                let least = micros.div_ceil(u64::try_from(MAX - 1).unwrap_or(1));
                let hours = least.div_ceil(USUAL.as_secs() * 1_000_000).max(1);
                USUAL * u32::try_from(hours).unwrap_or(u32::MAX)
            }
        };
        if step < LEAST {
            return Err(Error::invalid("?step", "must be at least PT1M"));
        }
        let Some((start, end)) = self.span() else {
            return Ok(Vec::new());
        };
        let micros = u128::try_from(end.as_micros() - start.as_micros()).unwrap_or_default();
        let steps = micros.div_ceil(step.as_micros());
        if steps + 1 > MAX {
            let least = micros.div_ceil((MAX - 1) * 60_000_000);
            let detail = format!(
                "gives {} points, and at most {MAX} are allowed; use PT{least}M or more",
                steps + 1
            );
            return Err(Error::invalid("?step", detail));
        }
        let mut points = Vec::new();
        let mut current: HashMap<&str, Choice> = HashMap::new();
        let mut choices = Choices::default();
        let mut answers = self.answers.iter().peekable();
        let mut at = start;
        for _ in 0..=steps {
            while let Some((_, person, choice)) = answers.next_if(|(given, ..)| *given <= at) {
                if let Some(before) = current.insert(person, *choice) {
                    *choices.of(before) -= 1;
                }
                *choices.of(*choice) += 1;
            }
            points.push(Point {
                at: at.min(now.max(end)),
                choices,
            });
            at = at.plus(step);
        }
        Ok(points)
    }

    /// Returns the series with a step that gives at most this number of points.
    ///
    /// # Errors
    /// None that depends on the answers.
    pub fn in_points(&self, most: u32, now: Timestamp) -> Result<Vec<Point>> {
        let micros = self.span().map_or(0, |(start, end)| {
            (end.as_micros() - start.as_micros()).unsigned_abs()
        });
        let step = Duration::from_micros(micros.div_ceil(u64::from(most.max(2)) - 1));
        self.series(Some(step.max(LEAST)), now)
    }
}
