//! Rates, ratios, their spread, and the table at the end.

use std::fmt;

/// The figures of one row, one a round.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// One more.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The last one. Not a number where there are none.
    pub fn last(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The middle one, or the mean of the two in the middle. Not a number where there are none.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    /// Shows the median and, where there are several, the least and the most; by the given format of one.
    fn shown(&self, one: fn(f64) -> String) -> String {
        let sorted = self.sorted();
        match sorted.as_slice() {
            [] => "–".to_owned(),
            [only] => one(*only),
            [least, .., most] => format!("{} ({}–{})", one(self.median()), one(*least), one(*most)),
        }
    }
}

/// What to reach, from the project's performance goals.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    at_least: f64,
    aim: f64,
    /// Whether less is better.
    ceiling: bool,
    unit: &'static str,
}

impl Goal {
    /// A ratio to reach.
    pub const fn ratio(at_least: f64, aim: f64) -> Self {
        Self {
            at_least,
            aim,
            ceiling: false,
            unit: "",
        }
    }

    /// An amount not to exceed.
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
    /// What was done.
    pub work: String,
    /// How fast, or how much, as text.
    pub figure: String,
    /// What it is held against.
    pub against: &'static str,
    /// The ratios to it, or the amounts that the goal is about.
    pub ratios: Series,
    /// What to reach.
    pub goal: Option<Goal>,
}

impl Line {
    /// A rate, in something a second.
    pub fn rate(work: impl Into<String>, rates: &Series) -> Self {
        Line {
            work: work.into(),
            figure: format!("{}/s", rates.shown(grouped)),
            against: "",
            ratios: Series::default(),
            goal: None,
        }
    }

    /// Any other figure, as text.
    pub fn figure(work: impl Into<String>, figure: impl Into<String>) -> Self {
        Line {
            work: work.into(),
            figure: figure.into(),
            against: "",
            ratios: Series::default(),
            goal: None,
        }
    }

    /// Held against something.
    pub fn against(mut self, what: &'static str, ratios: Series, goal: Option<Goal>) -> Self {
        self.against = what;
        self.ratios = ratios;
        self.goal = goal;
        self
    }
}

/// Prints the table. A run that is too short to be judged has no verdicts.
pub fn print(lines: &[Line], judged: bool) {
    let mut rows = vec![
        [
            "work",
            "median (min–max)",
            "against",
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

/// A ratio or an amount, with as many digits as mean something.
pub fn ratio(value: f64) -> String {
    match value {
        v if v.abs() >= 100.0 => grouped(v),
        v if v.abs() >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// A whole number with its thousands apart.
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
