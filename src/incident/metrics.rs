//! Metrics of an incident: the time to detect, to notify, to mitigate and to resolve. They are computed from
//! the timeline and never stored.
//!
//! An entry that a person wrote takes precedence over an automatic one, because times are often corrected
//! afterwards. Times can be in any order, because an alert can arrive after its end, and clocks differ. So no
//! duration is negative, and no mitigation is after the end.

use serde::Serialize;

use super::stored::{Incident, get};
use super::timeline::{self, Entry, Kind, entries};
use super::{Reopening, reopenings};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;

/// Durations in whole seconds. Null if one of the two times is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Metrics {
    /// Seconds from the start to the detection.
    pub time_to_detect: Option<i64>,
    /// Seconds from the detection to the first notice that was sent to somebody.
    pub time_to_notify: Option<i64>,
    /// Seconds from the detection to the mitigation. 0 if the mitigation was before the detection. Null while
    /// the last episode is not mitigated.
    pub time_to_mitigate: Option<i64>,
    /// Seconds from the detection to the end. 0 if the end was before the detection. Null while the last
    /// episode has not ended.
    pub time_to_resolve: Option<i64>,
    /// Seconds in which customers were affected: from the start to the mitigation or to the end, over all
    /// episodes. Null while the last episode is not mitigated.
    pub impact: Option<i64>,
    /// The episodes of the incident, oldest first. Each opening or reopening begins one.
    pub episodes: Vec<EpisodeMetrics>,
    /// The times from which the durations are computed, in UTC.
    pub times: Times<Timestamp>,
    /// The time zone of `local_times`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The same times in the requested time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_times: Option<Times<String>>,
}

/// One episode of an incident: from its opening or a reopening to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct EpisodeMetrics {
    /// The number of the episode, from 1.
    pub episode: i64,
    /// When customers began to be affected: the start of the incident, or the reopening.
    pub started_at: Timestamp,
    /// When the first customer was notified in this episode.
    pub notified_at: Option<Timestamp>,
    /// When customers were no longer affected.
    pub mitigated_at: Option<Timestamp>,
    /// When the episode ended.
    pub resolved_at: Option<Timestamp>,
    /// Seconds from the start of the episode to its mitigation or its end.
    pub impact: Option<i64>,
}

/// The important times of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Times<T> {
    /// When customers began to be affected.
    pub started_at: T,
    /// When the incident was detected.
    pub detected_at: T,
    /// When the first customer was notified.
    #[schema(value_type = Option<String>)]
    pub notified_at: Option<T>,
    /// When customers were no longer affected.
    #[schema(value_type = Option<String>)]
    pub mitigated_at: Option<T>,
    /// When the incident was resolved.
    #[schema(value_type = Option<String>)]
    pub resolved_at: Option<T>,
}

/// Returns the metrics of an incident. If `zone` is given, the times are also returned in this time zone.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if the time zone is not known.
pub fn metrics(conn: &mut Conn, id: &IncidentId, zone: Option<&str>) -> Result<Metrics> {
    let incident = get(conn, id)?;
    let mut entries = entries(conn, id)?;
    // What another incident went through before it was merged into this one is not the course of this one.
    let merged = timeline::merged_ids(conn, id)?;
    entries.retain(|entry| !(merged.contains(&entry.id) && is_course(entry)));
    let reopenings = reopenings(conn, id)?;
    let (times, episodes) = times(&incident, &entries, &reopenings);
    let local = match zone {
        None => None,
        Some(name) => {
            Some(crate::base::time::time_zone(name).map_err(|detail| Error::invalid("?time_zone", detail))?)
        }
    };
    let since_detected = |at: Option<Timestamp>| at.map(|at| seconds(times.detected_at, at));
    Ok(Metrics {
        time_to_detect: Some(seconds(times.started_at, times.detected_at)),
        time_to_notify: since_detected(times.notified_at),
        time_to_mitigate: since_detected(times.mitigated_at),
        time_to_resolve: since_detected(times.resolved_at),
        // The sum is unknown while one episode is not mitigated.
        impact: episodes.iter().map(|episode| episode.impact).sum(),
        episodes,
        local_times: local.map(|zone| Times {
            started_at: times.started_at.rfc3339_in(&zone),
            detected_at: times.detected_at.rfc3339_in(&zone),
            notified_at: times.notified_at.map(|at| at.rfc3339_in(&zone)),
            mitigated_at: times.mitigated_at.map(|at| at.rfc3339_in(&zone)),
            resolved_at: times.resolved_at.map(|at| at.rfc3339_in(&zone)),
        }),
        time_zone: zone.map(str::to_owned),
        times,
    })
}

/// Returns whether an entry says how far the work on its incident is.
fn is_course(entry: &Entry) -> bool {
    match entry.kind {
        Kind::Resolved => true,
        Kind::Detected | Kind::Investigating | Kind::Identified | Kind::Monitoring => entry.automatic,
        _ => false,
    }
}

/// Returns the whole seconds from one time to another, or 0 if the second time is not later.
fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.seconds_since(from).max(0)
}

fn times(
    incident: &Incident,
    entries: &[Entry],
    reopenings: &[Reopening],
) -> (Times<Timestamp>, Vec<EpisodeMetrics>) {
    let first = |kind: Kind| {
        let by_hand = entries.iter().filter(|e| e.kind == kind && !e.automatic);
        by_hand.map(|e| e.at).min()
    };
    let started_at = first(Kind::Started).unwrap_or(incident.started_at);
    let detected_at = first(Kind::Detected).unwrap_or(incident.detected_at);
    let starts = std::iter::once(started_at).chain(reopenings.iter().map(|one| one.reopened_at));
    let ends: Vec<Option<Timestamp>> = reopenings
        .iter()
        .map(|one| Some(one.resolved_before))
        .chain([incident.resolved_at])
        .collect();
    let until = |index: usize| reopenings.get(index).map(|next| next.reopened_at);
    let episodes: Vec<EpisodeMetrics> = starts
        .zip(ends)
        .enumerate()
        .map(|(index, (start, end))| {
            // An entry with a time before the start of the incident belongs to the first episode.
            let from = if index == 0 { None } else { Some(start) };
            let within: Vec<&Entry> = entries
                .iter()
                .filter(|e| from.is_none_or(|from| e.at >= from))
                .filter(|e| until(index).is_none_or(|until| e.at < until))
                .collect();
            episode(index as i64 + 1, start, end, &within)
        })
        .collect();
    let last = episodes.last();
    let times = Times {
        started_at,
        detected_at,
        notified_at: episodes.iter().find_map(|episode| episode.notified_at),
        mitigated_at: last.and_then(|episode| episode.mitigated_at),
        resolved_at: last.and_then(|episode| episode.resolved_at),
    };
    (times, episodes)
}

/// Computes the times of one episode from the entries within it.
fn episode(number: i64, start: Timestamp, end: Option<Timestamp>, entries: &[&Entry]) -> EpisodeMetrics {
    let of_kind = |kind: Kind, automatic: bool| {
        entries
            .iter()
            .filter(move |e| e.kind == kind && e.automatic == automatic)
    };
    let resolved_at = of_kind(Kind::Resolved, false)
        .map(|e| e.at)
        .max()
        .or(end)
        .map(|at| at.max(start));
    // If work continued after the status was monitoring, the incident was not mitigated then. Entries are
    // compared by ID, because their times can be changed.
    let work = of_kind(Kind::Investigating, true)
        .chain(of_kind(Kind::Identified, true))
        .map(|e| e.id)
        .max();
    let watched = of_kind(Kind::Monitoring, true)
        .filter(|e| work.is_none_or(|work| e.id > work))
        .map(|e| e.at)
        .min();
    let mitigated_at = of_kind(Kind::Mitigated, false)
        .map(|e| e.at)
        .min()
        .or(watched)
        .or(resolved_at)
        .map(|at| resolved_at.map_or(at, |end| at.min(end)).max(start));
    let notified = of_kind(Kind::Notified, false).map(|e| e.at).min();
    EpisodeMetrics {
        episode: number,
        started_at: start,
        notified_at: notified.or(of_kind(Kind::Notified, true).map(|e| e.at).min()),
        mitigated_at,
        resolved_at,
        impact: mitigated_at.map(|end| seconds(start, end)),
    }
}
