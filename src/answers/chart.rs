//! Draws the series of an incident's answers as an SVG image. The image loads nothing and contains no text of a customer.

use std::fmt::Display;

use plotters::prelude::*;

use super::series::{Course, Point};
use super::{Choice, counts::Choices};
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;

const SIZE: (u32, u32) = (640, 300);
/// The number of times at which the lines are drawn.
const POINTS: u32 = 240;
const INK: RGBColor = RGBColor(27, 33, 38);
const QUIET: RGBColor = RGBColor(90, 101, 112);
const RULE: RGBColor = RGBColor(221, 225, 229);
const CARD: RGBColor = RGBColor(255, 255, 255);

/// The same colours in a dark page. The library writes colours as attributes, which these rules replace.
const STYLE: &str = "<style>text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}\
@media (prefers-color-scheme:dark){\
[fill=\"#FFFFFF\"]{fill:#1b1f24}[fill=\"#1B2126\"]{fill:#e4e8ec}[fill=\"#5A6570\"]{fill:#9ba6b1}\
[stroke=\"#5A6570\"]{stroke:#9ba6b1}[stroke=\"#DDE1E5\"]{stroke:#30373f}\
[stroke=\"#1A6E3C\"]{stroke:#7bd19a}[stroke=\"#B3201F\"]{stroke:#ff9c96}[stroke=\"#8A5A00\"]{stroke:#f0c05a}}</style>";

fn colour(choice: Choice) -> RGBColor {
    match choice {
        Choice::Works => RGBColor(26, 110, 60),
        Choice::Broken => RGBColor(179, 32, 31),
        Choice::Help => RGBColor(138, 90, 0),
    }
}

fn of(choices: Choices, choice: Choice) -> i64 {
    match choice {
        Choice::Works => choices.works,
        Choice::Broken => choices.broken,
        Choice::Help => choices.help,
    }
}

/// The unit of the time axis for this number of seconds: its length in seconds, and its name.
fn unit(seconds: i64) -> (f64, &'static str) {
    match seconds {
        ..=7_200 => (60.0, "minutes"),
        7_201..=345_600 => (3_600.0, "hours"),
        _ => (86_400.0, "days"),
    }
}

fn failed(error: impl Display) -> Error {
    Error::internal(format!("the chart could not be drawn: {error}"))
}

/// Returns the chart as an SVG document.
///
/// # Errors
/// `Internal` if it cannot be drawn.
pub fn svg(course: &Course, now: Timestamp) -> Result<String> {
    let points = course.in_points(POINTS, now)?;
    let mut image = String::new();
    draw(&mut image, &points).map_err(failed)?;
    let last = points.last().map(|point| point.choices).unwrap_or_default();
    let title = format!(
        "Answers: {} works for me, {} still broken, {} need help",
        last.works, last.broken, last.help
    );
    let (open, rest) = image
        .split_once('>')
        .ok_or_else(|| failed("the image has no element"))?;
    Ok(format!("{open} role=\"img\"><title>{title}</title>{STYLE}{rest}"))
}

fn draw(image: &mut String, points: &[Point]) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(image, SIZE).into_drawing_area();
    area.fill(&CARD)?;
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        let text = TextStyle::from(("sans-serif", 15).into_font()).color(&QUIET);
        area.draw_text("Nobody was asked for an answer.", &text, (24, 24))?;
        area.present()?;
        return Ok(());
    };
    let (per, name) = unit(last.at.seconds_since(first.at));
    let since = |at: Timestamp| (at.as_micros() - first.at.as_micros()) as f64 / 1_000_000.0 / per;
    let width = since(last.at).max(1.0);
    let most = points
        .iter()
        .flat_map(|point| Choice::ALL.map(|choice| of(point.choices, choice)))
        .max()
        .unwrap_or_default()
        .max(4);
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(50)
        .y_label_area_size(58)
        .build_cartesian_2d(0.0..width, 0..most + most.div_euclid(8).max(1))?;
    let small = TextStyle::from(("sans-serif", 15).into_font()).color(&QUIET);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RULE)
        .axis_style(QUIET)
        .label_style(small.clone())
        .axis_desc_style(small)
        .x_labels(8)
        .y_labels(5)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .x_desc(format!("{name} after {}", first.at.for_people(None)))
        .y_desc("people")
        .draw()?;
    for choice in Choice::ALL {
        // A number stays the same until the next answer, so the line has steps.
        let mut line: Vec<(f64, i64)> = Vec::with_capacity(points.len() * 2);
        for point in points {
            let (x, y) = (since(point.at).min(width), of(point.choices, choice));
            if let Some((_, before)) = line.last().copied()
                && before != y
            {
                line.push((x, before));
            }
            line.push((x, y));
        }
        if let [only] = line.as_slice() {
            line.push((width, only.1));
        }
        let style = colour(choice).stroke_width(2);
        chart
            .draw_series(std::iter::once(PathElement::new(line, style)))?
            .label(choice.label())
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(CARD)
        .border_style(RULE)
        .label_font(TextStyle::from(("sans-serif", 15).into_font()).color(&INK))
        .draw()?;
    area.present()?;
    Ok(())
}
