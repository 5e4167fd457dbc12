//! Explains what the events of an incident say about one person.

use super::step::{Step, StepAbout};
use crate::incident::users_in_events::{RecognisedBy, UsersInEvents};

/// The number of alerts that are described separately.
const NAMED: usize = 5;

/// Adds the events whose user the person was. If the incident has events and none of them is of this person,
/// a step says so.
pub(super) fn steps(events: &UsersInEvents, person: i64, steps: &mut Vec<Step>) {
    let step = |ok, detail| Step {
        about: StepAbout::Events,
        ok,
        detail,
    };
    let count = |n: i64, one: &str, many: &str| match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    };
    if let Some(seen) = events.people.get(&person) {
        for one in seen.iter().take(NAMED) {
            let by = match one.recognised_by {
                RecognisedBy::Id => "by ID",
                RecognisedBy::Address => "by address",
            };
            let when = match one.first_seen_at == one.last_seen_at {
                true => format!("at {}", one.first_seen_at),
                false => format!("between {} and {}", one.first_seen_at, one.last_seen_at),
            };
            let events = count(one.events, "event", "events");
            let detail = format!(
                "was the user of {events} of the alert “{}” {when}, identified {by}",
                one.title
            );
            steps.push(step(true, detail));
        }
        if seen.len() > NAMED {
            let more = format!("was the user of events of {} more alerts", seen.len() - NAMED);
            steps.push(step(true, more));
        }
        return;
    }
    let without: i64 = events.unidentified.iter().map(|one| one.without_user).sum();
    let mut unknown = Vec::new();
    if events.unidentified_users > 0 {
        let users = i64::try_from(events.unidentified_users).unwrap_or(i64::MAX);
        unknown.push(count(
            users,
            "user who is not in the directory",
            "users who are not in the directory",
        ));
    }
    if without > 0 {
        unknown.push(count(without, "event without a user", "events without a user"));
    }
    if !events.people.is_empty() || !unknown.is_empty() {
        let beside = match unknown.is_empty() {
            true => String::new(),
            false => format!("; there are also {}", unknown.join(" and ")),
        };
        let detail = format!("is not a known user of any event{beside}");
        steps.push(step(false, detail));
    }
}
