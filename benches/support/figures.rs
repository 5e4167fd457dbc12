//! Series of figures, ratios, their range, and the table at the end.

use std::fmt;

/// The figures of one row, one for each round.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// Adds the figure of one more round.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Returns the last figure, or NaN if there are no figures.
    pub fn last(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// Returns the figure in the middle, or the mean of the two in the middle, or NaN if there are no
    /// figures.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    /// Shows the median. If there are several figures, also shows the lowest and the highest. The function
    /// formats one figure.
    fn shown(&self, one: fn(f64) -> String) -> String {
        let sorted = self.sorted();
        match sorted.as_slice() {
            [] => "–".to_owned(),
            [only] => one(*only),
            [least, .., most] => format!("{} ({}–{})", one(self.median()), one(*least), one(*most)),
        }
    }
}

/// A value to reach, from the project's performance goals.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    at_least: f64,
    aim: f64,
    /// Whether a lower value is better.
    ceiling: bool,
    unit: &'static str,
}

impl Goal {
    /// Makes a goal for a ratio that must be reached.
    pub const fn ratio(at_least: f64, aim: f64) -> Self {
        Self {
            at_least,
            aim,
            ceiling: false,
            unit: "",
        }
    }

    /// Makes a goal for a value that must not be exceeded.
    pub const fn at_most(limit: f64, aim: f64, unit: &'static str) -> Self {
        Self {
            at_least: limit,
            aim,
            ceiling: true,
            unit,
        }
    }

    fn verdict(self, value: f64) -> &'static str {
        let reaches = |goal: f64| {
            if self.ceiling {
                value <= goal
            } else {
                value >= goal
            }
        };
        if reaches(self.aim) {
            "aim met"
        } else if reaches(self.at_least) {
            "met"
        } else {
            "MISSED"
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.ceiling { "≤ " } else { "" };
        let unit = self.unit;
        write!(out, "{sign}{}{unit} / {sign}{}{unit}", self.at_least, self.aim)
    }
}

/// A line of the table.
pub struct Line {
    /// The work that was measured.
    pub work: String,
    /// The rate or another figure, as text.
    pub figure: String,
    /// The name of what the line is compared with.
    pub against: &'static str,
    /// The ratios to the compared figure, or the amounts that the goal limits.
    pub ratios: Series,
    /// The value to reach, if there is one.
    pub goal: Option<Goal>,
}

impl Line {
    /// Makes a line with a rate per second.
    pub fn rate(work: impl Into<String>, rates: &Series) -> Self {
        Line {
            work: work.into(),
            figure: format!("{}/s", rates.shown(grouped)),
            against: "",
            ratios: Series::default(),
            goal: None,
        }
    }

    /// Makes a line with any other figure, as text.
    pub fn figure(work: impl Into<String>, figure: impl Into<String>) -> Self {
        Line {
            work: work.into(),
            figure: figure.into(),
            against: "",
            ratios: Series::default(),
            goal: None,
        }
    }

    /// Adds the comparison with another figure, and the goal.
    pub fn against(mut self, what: &'static str, ratios: Series, goal: Option<Goal>) -> Self {
        self.against = what;
        self.ratios = ratios;
        self.goal = goal;
        self
    }
}

/// Prints the table. Verdicts are left out if the run is too short for them.
pub fn print(lines: &[Line], judged: bool) {
    let mut rows = vec![
        [
            "work",
            "median (min–max)",
            "compared with",
            "ratio (min–max)",
            "at least / aim",
            "",
        ]
        .map(str::to_owned),
    ];
    for line in lines {
        let goal = line.goal.filter(|_| judged);
        rows.push([
            line.work.clone(),
            line.figure.clone(),
            line.against.to_owned(),
            if line.against.is_empty() {
                String::new()
            } else {
                line.ratios.shown(ratio)
            },
            goal.map(|goal| goal.to_string()).unwrap_or_default(),
            goal.map(|goal| goal.verdict(line.ratios.median()))
                .unwrap_or_default()
                .to_owned(),
        ]);
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    println!();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

/// Formats a ratio or an amount. Larger values get fewer decimal places.
pub fn ratio(value: f64) -> String {
    match value {
        v if v.abs() >= 100.0 => grouped(v),
        v if v.abs() >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Formats a whole number with commas between the thousands.
pub fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
