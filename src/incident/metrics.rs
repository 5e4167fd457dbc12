//! How long it took: to detect, to notify, to mitigate, to resolve. Computed from the timeline, never stored.
//!
//! What somebody wrote by hand wins over what Candor noted itself: times are often corrected afterwards. Times arrive in any
//! order: an alert may be received after it ended, and clocks disagree. So no duration is negative, and no mitigation
//! comes after the end.

use serde::Serialize;

use super::timeline::{Entry, Kind, entries};
use super::{Incident, Reopening, get, reopenings};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::Conn;

/// Durations in whole seconds; null where one of the two times is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Metrics {
    /// From the start to the detection.
    pub time_to_detect: Option<i64>,
    /// From the detection to the first notice that reached somebody.
    pub time_to_notify: Option<i64>,
    /// From the detection to the mitigation; 0 where it was mitigated before it was detected. Null while the last episode is
    /// not mitigated.
    pub time_to_mitigate: Option<i64>,
    /// From the detection to the end; 0 where it ended before it was detected. Null while the last episode has not ended.
    pub time_to_resolve: Option<i64>,
    /// How long customers felt it: from the start to the mitigation, or to the end, over all episodes. Null while the last
    /// episode is not mitigated.
    pub impact: Option<i64>,
    /// The incident from each opening or reopening to its end, oldest first.
    pub episodes: Vec<EpisodeMetrics>,
    /// The times behind them, in UTC.
    pub times: Times<Timestamp>,
    /// The zone of `local_times`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The same times in the zone that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_times: Option<Times<String>>,
}

/// One episode of an incident: from its opening or a reopening to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct EpisodeMetrics {
    /// Its number, from 1.
    pub episode: i64,
    /// Since when customers felt it: the start of the incident, or the reopening.
    pub started_at: Timestamp,
    /// When the first customer was notified in it.
    pub notified_at: Option<Timestamp>,
    /// When customers felt it no more.
    pub mitigated_at: Option<Timestamp>,
    /// When it was over.
    pub resolved_at: Option<Timestamp>,
    /// Seconds from its start to its mitigation, or to its end.
    pub impact: Option<i64>,
}

/// The times that matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Times<T> {
    /// Since when customers felt it.
    pub started_at: T,
    /// When it was noticed.
    pub detected_at: T,
    /// When the first customer was told.
    #[schema(value_type = Option<String>)]
    pub notified_at: Option<T>,
    /// When customers felt it no more.
    #[schema(value_type = Option<String>)]
    pub mitigated_at: Option<T>,
    /// When it was over.
    #[schema(value_type = Option<String>)]
    pub resolved_at: Option<T>,
}

/// The metrics of an incident, with the times in `zone` too where it is given.
///
/// # Errors
/// `NotFound`; `Invalid` where the zone is not known.
pub fn metrics(conn: &mut Conn, id: &IncidentId, zone: Option<&str>) -> Result<Metrics> {
    let incident = get(conn, id)?;
    let entries = entries(conn, id)?;
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
        // One episode that goes on makes the sum unknown.
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

/// Whole seconds from one time to another; 0 where the other is not later.
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
            // What was written of a time before the first start belongs to the first episode.
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

/// The times of one episode, from what was written within it.
fn episode(number: i64, start: Timestamp, end: Option<Timestamp>, entries: &[&Entry]) -> EpisodeMetrics {
    let of = |kind: Kind, automatic: bool| {
        entries
            .iter()
            .filter(move |e| e.kind == kind && e.automatic == automatic)
    };
    let resolved_at = of(Kind::Resolved, false)
        .map(|e| e.at)
        .max()
        .or(end)
        .map(|at| at.max(start));
    // Work that goes on after a time of watching says that it was not mitigated then. Entries are numbered as they were
    // written; their times may be set back.
    let work = of(Kind::Investigating, true)
        .chain(of(Kind::Identified, true))
        .map(|e| e.id)
        .max();
    let watched = of(Kind::Monitoring, true)
        .filter(|e| work.is_none_or(|work| e.id > work))
        .map(|e| e.at)
        .min();
    let mitigated_at = of(Kind::Mitigated, false)
        .map(|e| e.at)
        .min()
        .or(watched)
        .or(resolved_at)
        .map(|at| resolved_at.map_or(at, |end| at.min(end)).max(start));
    let notified = of(Kind::Notified, false).map(|e| e.at).min();
    EpisodeMetrics {
        episode: number,
        started_at: start,
        notified_at: notified.or(of(Kind::Notified, true).map(|e| e.at).min()),
        mitigated_at,
        resolved_at,
        impact: mitigated_at.map(|end| seconds(start, end)),
    }
}
