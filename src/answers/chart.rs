//! Draws the series of an incident's answers as an SVG image. The image loads nothing and contains no text of a customer.

use super::Choice;
use super::counts::Choices;
use super::series::Course;
use crate::base::chart::{self, Colour, Line, Words};
use crate::base::error::Result;
use crate::base::time::Timestamp;

/// The number of times at which the lines are drawn.
const POINTS: u32 = 240;

fn colour(choice: Choice) -> Colour {
    match choice {
        Choice::Works => Colour::Good,
        Choice::Broken => Colour::Bad,
        Choice::Help => Colour::Between,
    }
}

fn of(choices: Choices, choice: Choice) -> i64 {
    match choice {
        Choice::Works => choices.works,
        Choice::Broken => choices.broken,
        Choice::Help => choices.help,
    }
}

/// Returns the chart as an SVG document.
///
/// # Errors
/// `Internal` if it cannot be drawn.
pub fn svg(course: &Course, now: Timestamp) -> Result<String> {
    let points = course.in_points(POINTS, now)?;
    let last = points.last().map(|point| point.choices).unwrap_or_default();
    let words = Words {
        title: format!(
            "Answers: {} works for me, {} still broken, {} need help",
            last.works, last.broken, last.help
        ),
        unit: "people",
        empty: "Nobody was asked for an answer.",
    };
    let lines = Choice::ALL.map(|choice| Line {
        label: choice.label(),
        colour: colour(choice),
        values: points
            .iter()
            .map(|point| (point.at, of(point.choices, choice)))
            .collect(),
    });
    chart::svg(&words, &lines)
}
