//! Draws the series of a recovery as an SVG image.

use super::series::Point;
use crate::base::chart::{self, Colour, Line, Words};
use crate::base::error::Result;

/// Returns the chart of these points as an SVG document.
///
/// # Errors
/// `Internal` if it cannot be drawn.
pub fn svg(points: &[Point]) -> Result<String> {
    let title = match points.last() {
        Some(last) => format!(
            "Recovery: {} impaired, {} recovering, {} recovered",
            last.impaired, last.recovering, last.recovered
        ),
        None => "Recovery: no states".to_owned(),
    };
    let words = Words {
        title,
        unit: "resources",
        empty: "No resource has a state of recovery.",
    };
    let line = |label, colour, value: fn(&Point) -> i64| Line {
        label,
        colour,
        values: points.iter().map(|point| (point.at, value(point))).collect(),
    };
    let lines = [
        line("Recovered", Colour::Good, |point| point.recovered),
        line("Impaired", Colour::Bad, |point| point.impaired),
        line("Recovering", Colour::Between, |point| point.recovering),
    ];
    chart::svg(&words, &lines)
}
