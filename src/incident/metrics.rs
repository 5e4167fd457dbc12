//! How long it took: to detect, to tell, to mitigate, to resolve. Computed from the timeline, never stored.
//!
//! What somebody wrote by hand wins over what Candor noted itself: times are often corrected afterwards.

use serde::Serialize;

use super::timeline::{Entry, Kind, entries};
use super::{Incident, get};
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
    /// From the detection to the mitigation.
    pub time_to_mitigate: Option<i64>,
    /// From the detection to the end.
    pub time_to_resolve: Option<i64>,
    /// How long customers felt it: from the start to the mitigation, or to the end.
    pub impact: Option<i64>,
    /// The times behind them, in UTC.
    pub times: Times<Timestamp>,
    /// The zone of `local_times`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The same times in the zone that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_times: Option<Times<String>>,
}

/// The times that matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Times<T> {
    /// Since when customers felt it.
    pub started_at: T,
    /// When it was noticed.
    pub detected_at: T,
    /// When the first customer was told.
    pub notified_at: Option<T>,
    /// When customers felt it no more.
    pub mitigated_at: Option<T>,
    /// When it was over.
    pub resolved_at: Option<T>,
}

/// The metrics of an incident, with the times in `zone` too where it is given.
///
/// # Errors
/// `NotFound`; `Invalid` where the zone is not known.
pub fn metrics(conn: &mut Conn, id: &IncidentId, zone: Option<&str>) -> Result<Metrics> {
    let incident = get(conn, id)?;
    let entries = entries(conn, id)?;
    let times = times(&incident, &entries);
    let local = match zone {
        None => None,
        Some(name) => {
            Some(crate::base::time::time_zone(name).map_err(|detail| Error::invalid("?time_zone", detail))?)
        }
    };
    let since_detected = |at: Option<Timestamp>| at.map(|at| at.seconds_since(times.detected_at));
    Ok(Metrics {
        time_to_detect: Some(times.detected_at.seconds_since(times.started_at)),
        time_to_notify: since_detected(times.notified_at),
        time_to_mitigate: since_detected(times.mitigated_at),
        time_to_resolve: since_detected(times.resolved_at),
        impact: times
            .mitigated_at
            .or(times.resolved_at)
            .map(|end| end.seconds_since(times.started_at)),
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

fn times(incident: &Incident, entries: &[Entry]) -> Times<Timestamp> {
    let by_hand = |kind: Kind| {
        entries
            .iter()
            .filter(move |e| e.kind == kind && !e.automatic)
            .map(|e| e.at)
    };
    let noted = |kind: Kind| {
        entries
            .iter()
            .filter(move |e| e.kind == kind && e.automatic)
            .map(|e| e.at)
    };
    let resolved_at = by_hand(Kind::Resolved).max().or(incident.resolved_at);
    Times {
        started_at: by_hand(Kind::Started).min().unwrap_or(incident.started_at),
        detected_at: by_hand(Kind::Detected).min().unwrap_or(incident.detected_at),
        notified_at: by_hand(Kind::Notified).min().or(noted(Kind::Notified).min()),
        mitigated_at: by_hand(Kind::Mitigated)
            .min()
            .or(noted(Kind::Monitoring).min())
            .or(resolved_at),
        resolved_at,
    }
}
