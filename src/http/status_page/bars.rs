//! The picture of a history: one bar for each day. Days that follow each other and have the same state are one line, which the style
//! divides into bars. So the picture of a component needs few bytes.

use serde_json::{Value, json};

use crate::status::{ComponentState, Day};

/// The class of a state in the style.
fn class(state: Option<ComponentState>) -> &'static str {
    match state {
        None => "none",
        Some(ComponentState::Operational) => "ok",
        Some(ComponentState::UnderMaintenance) => "info",
        Some(ComponentState::DegradedPerformance) => "warn",
        Some(ComponentState::PartialOutage) => "part",
        Some(ComponentState::MajorOutage) => "bad",
    }
}

/// Returns the number of days on which the component did not work.
pub fn problems(days: &[Day]) -> usize {
    let bad = |day: &&Day| day.state > Some(ComponentState::UnderMaintenance);
    days.iter().filter(bad).count()
}

/// Returns the lines of the picture, each with its class, its beginning and its length in days.
pub fn runs(days: &[Day]) -> Vec<Value> {
    let mut runs: Vec<(&str, usize, usize)> = Vec::new();
    for (index, day) in days.iter().enumerate() {
        let class = class(day.state);
        match runs.last_mut() {
            Some((last, _, length)) if *last == class => *length += 1,
            _ => runs.push((class, index, 1)),
        }
    }
    let runs = runs.into_iter();
    runs.map(|(class, from, length)| json!({"class": class, "from": from, "length": length}))
        .collect()
}
