//! The history of a component: its worst state on each of the last days, in UTC.

use super::public_incident::PublicIncident;
use super::state::ComponentState;
use crate::base::time::Timestamp;

/// The number of days of the history, with today.
pub const DAYS: usize = 90;

/// The length of a day, in microseconds.
const DAY: i64 = 86_400_000_000;

/// A day of the history of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// The beginning of the day, in UTC.
    pub begins: Timestamp,
    /// The worst state on this day. None if nobody knew the component then.
    pub state: Option<ComponentState>,
    /// The numbers of the incidents that affected the component on this day.
    pub incidents: Vec<i64>,
}

/// Returns the number of the day of a time, in UTC.
pub(super) fn day_of(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(DAY)
}

/// Returns when a day begins.
pub(super) fn begin_of(day: i64) -> Timestamp {
    Timestamp::from_micros(day * DAY)
}

/// Returns the history of a component that was created at `known`, oldest day first.
pub fn days(component: &str, known: Timestamp, incidents: &[PublicIncident], now: Timestamp) -> Vec<Day> {
    let today = day_of(now);
    let first = today + 1 - DAYS as i64;
    let known = day_of(known);
    let mut days: Vec<Day> = (first..=today)
        .map(|day| Day {
            begins: begin_of(day),
            state: (day >= known).then_some(ComponentState::Operational),
            incidents: Vec::new(),
        })
        .collect();
    for incident in incidents {
        let changes: Vec<(Timestamp, ComponentState)> = incident.states_of(component);
        for (index, (from, state)) in changes.iter().enumerate() {
            if *state == ComponentState::Operational {
                continue;
            }
            let until = changes.get(index + 1).map_or(now, |(until, _)| *until);
            // A state that ends at midnight does not touch the day that begins then.
            let last = match until > *from {
                true => day_of(Timestamp::from_micros(until.as_micros() - 1)),
                false => day_of(*from),
            };
            for day in day_of(*from).max(first)..=last.min(today) {
                let Some(day) = usize::try_from(day - first).ok().and_then(|at| days.get_mut(at)) else {
                    continue;
                };
                day.state = day.state.max(Some(*state));
                if day.incidents.last() != Some(&incident.number) {
                    day.incidents.push(incident.number);
                }
            }
        }
    }
    days
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::public_incident::tests::{incident, post};

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn state(days: &[Day], date: &str) -> Option<ComponentState> {
        let day = days.iter().find(|day| day.begins.to_string().starts_with(date));
        day.expect("a day of the history").state
    }

    #[test]
    fn the_worst_state_of_each_day_counts() {
        use ComponentState::{DegradedPerformance, MajorOutage, Operational};
        let posts = vec![
            post(
                "2026-03-01T22:00:00Z",
                "investigating",
                &[("uploads", MajorOutage)],
            ),
            post(
                "2026-03-02T01:00:00Z",
                "identified",
                &[("uploads", DegradedPerformance)],
            ),
            post("2026-03-03T05:00:00Z", "monitoring", &[]),
            post("2026-03-05T00:00:00Z", "resolved", &[]),
        ];
        let now = at("2026-03-10T12:00:00Z");
        let days = days("uploads", at("2026-02-20T00:00:00Z"), &[incident(7, posts)], now);
        assert_eq!(days.len(), DAYS);
        assert_eq!(state(&days, "2026-02-19"), None);
        assert_eq!(state(&days, "2026-02-28"), Some(Operational));
        assert_eq!(state(&days, "2026-03-01"), Some(MajorOutage));
        assert_eq!(state(&days, "2026-03-02"), Some(MajorOutage));
        assert_eq!(state(&days, "2026-03-03"), Some(DegradedPerformance));
        assert_eq!(state(&days, "2026-03-04"), Some(DegradedPerformance));
        assert_eq!(state(&days, "2026-03-05"), Some(Operational));
        assert_eq!(days.iter().filter(|day| day.incidents == [7]).count(), 4);
    }

    #[test]
    fn an_open_incident_lasts_until_now() {
        let posts = vec![post(
            "2025-01-01T00:00:00Z",
            "investigating",
            &[("uploads", ComponentState::PartialOutage)],
        )];
        let now = at("2026-03-10T12:00:00Z");
        let days = days("uploads", now, &[incident(1, posts)], now);
        assert!(
            days.iter()
                .all(|day| day.state == Some(ComponentState::PartialOutage))
        );
        assert_eq!(days[DAYS - 1].begins, at("2026-03-10T00:00:00Z"));
    }
}
