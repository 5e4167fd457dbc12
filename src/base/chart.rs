//! Draws how numbers developed over time as an SVG image. The image loads nothing, and it contains no text except Candor's own.

use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plotters::prelude::*;
use sha2::{Digest as _, Sha256};

use super::error::{Error, Result};
use super::time::Timestamp;

const SIZE: (u32, u32) = (640, 300);
const INK: RGBColor = RGBColor(27, 33, 38);
const QUIET: RGBColor = RGBColor(90, 101, 112);
const RULE: RGBColor = RGBColor(221, 225, 229);
const CARD: RGBColor = RGBColor(255, 255, 255);

/// The same colours in a dark page. The library writes colours as attributes, which these rules replace.
const STYLE: &str = "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}\
@media (prefers-color-scheme:dark){\
[fill=\"#FFFFFF\"]{fill:#1b1f24}[fill=\"#1B2126\"]{fill:#e4e8ec}[fill=\"#5A6570\"]{fill:#9ba6b1}\
[stroke=\"#5A6570\"]{stroke:#9ba6b1}[stroke=\"#DDE1E5\"]{stroke:#30373f}\
[stroke=\"#1A6E3C\"]{stroke:#7bd19a}[stroke=\"#B3201F\"]{stroke:#ff9c96}[stroke=\"#8A5A00\"]{stroke:#f0c05a}}";

/// The colour of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// The line is green, for example for resources that are recovered.
    Good,
    /// The line is red, for example for resources that are impaired.
    Bad,
    /// The line is amber, for example for resources that are recovering.
    Between,
}

impl Colour {
    fn rgb(self) -> RGBColor {
        match self {
            Colour::Good => RGBColor(26, 110, 60),
            Colour::Bad => RGBColor(179, 32, 31),
            Colour::Between => RGBColor(138, 90, 0),
        }
    }
}

/// A line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// What the legend calls it.
    pub label: &'static str,
    /// The colour of the line.
    pub colour: Colour,
    /// The numbers in the order of their times. A number holds until the next one.
    pub values: Vec<(Timestamp, i64)>,
}

/// What a chart says in words.
#[derive(Clone, Debug)]
pub struct Words {
    /// The title of the image, which names the last numbers.
    pub title: String,
    /// What is counted, for example `people`.
    pub unit: &'static str,
    /// What stands in a chart without numbers.
    pub empty: &'static str,
}

/// The unit of the time axis for this number of seconds: its length in seconds, and its name.
fn unit(seconds: i64) -> (f64, &'static str) {
    match seconds {
        ..=120 => (1.0, "seconds"),
        121..=7_200 => (60.0, "minutes"),
        7_201..=345_600 => (3_600.0, "hours"),
        _ => (86_400.0, "days"),
    }
}

/// Returns the label of a place on the time axis. Labels half a unit apart differ.
fn tick(x: f64) -> String {
    match (x - x.round()).abs() < 0.05 {
        true => format!("{x:.0}"),
        false => format!("{x:.1}"),
    }
}

fn failed(error: impl Display) -> Error {
    Error::internal(format!("the chart could not be drawn: {error}"))
}

/// Returns the hash of the only style of the image, for the policy of its answer.
pub fn style_hash() -> String {
    STANDARD.encode(Sha256::digest(STYLE))
}

/// Returns the chart as an SVG document. All lines must have the same times.
///
/// # Errors
/// `Internal` if it cannot be drawn.
pub fn svg(words: &Words, lines: &[Line]) -> Result<String> {
    let mut image = String::new();
    draw(&mut image, words, lines).map_err(failed)?;
    let (open, rest) = image
        .split_once('>')
        .ok_or_else(|| failed("the image has no element"))?;
    Ok(format!(
        "{open} role=\"img\"><title>{}</title><style>{STYLE}</style>{rest}",
        words.title
    ))
}

fn draw(
    image: &mut String,
    words: &Words,
    lines: &[Line],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(image, SIZE).into_drawing_area();
    area.fill(&CARD)?;
    let times = || {
        lines
            .iter()
            .flat_map(|line| line.values.iter().map(|(at, _)| *at))
    };
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        let text = TextStyle::from(("sans-serif", 15).into_font()).color(&QUIET);
        area.draw_text(words.empty, &text, (24, 24))?;
        area.present()?;
        return Ok(());
    };
    let (per, name) = unit(last.seconds_since(first));
    let since = |at: Timestamp| (at.as_micros() - first.as_micros()) as f64 / 1_000_000.0 / per;
    let width = since(last).max(1.0);
    let most = lines
        .iter()
        .flat_map(|line| line.values.iter().map(|(_, value)| *value))
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
        .x_label_formatter(&|x| tick(*x))
        .x_desc(format!("{name} after {}", first.for_people(None)))
        .y_desc(words.unit)
        .draw()?;
    for line in lines {
        // A number stays the same until the next one, so the line has steps.
        let mut path: Vec<(f64, i64)> = Vec::with_capacity(line.values.len() * 2);
        for (at, value) in &line.values {
            let x = since(*at).min(width);
            if let Some((_, before)) = path.last().copied()
                && before != *value
            {
                path.push((x, before));
            }
            path.push((x, *value));
        }
        if let [only] = path.as_slice() {
            path.push((width, only.1));
        }
        let style = line.colour.rgb().stroke_width(2);
        chart
            .draw_series(std::iter::once(PathElement::new(path, style)))?
            .label(line.label)
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
