//! Counts the lines that cannot be read, and says when there are too many of them.

use crate::base::error::{Error, FieldError};
use crate::base::text::one_line;

/// The share that may be unreadable if the layout says nothing.
const USUAL: f64 = 0.01;
/// The number of unreadable lines that are always allowed if the layout says nothing.
const ALWAYS: u64 = 10;
/// Before this many lines, the share of the lines so far says little about the whole listing.
const ENOUGH: u64 = 10_000;
/// Before the end, so many times the share must be unreadable. Unreadable lines may stand close together.
const FAR_ABOVE: f64 = 10.0;
/// The number of unreadable lines that are kept, the first ones.
pub const SHOWN: usize = 100;

/// The lines of a listing so far.
#[derive(Debug)]
pub(super) struct Share {
    most: f64,
    always: u64,
    lines: u64,
    rejected: u64,
    first: Vec<(u64, String)>,
}

impl Share {
    /// `most` is the share that the layout allows.
    pub fn of(most: Option<f64>) -> Self {
        Share {
            most: most.unwrap_or(USUAL),
            always: if most.is_some() { 0 } else { ALWAYS },
            lines: 0,
            rejected: 0,
            first: Vec::new(),
        }
    }

    /// Counts a line of the listing, whether it can be read or not.
    pub fn line(&mut self) {
        self.lines += 1;
    }

    /// Counts one of the counted lines as unreadable, and returns the reason as it is shown.
    ///
    /// # Errors
    /// `Invalid` if there are too many.
    pub fn reject(&mut self, line: u64, detail: &str) -> Result<String, Error> {
        let detail = one_line(detail, 300);
        self.rejected += 1;
        if self.first.len() < SHOWN {
            self.first.push((line, detail.clone()));
        }
        let far_above = (self.most * FAR_ABOVE).min((1.0 + self.most) / 2.0);
        if self.lines >= ENOUGH && self.is_over(far_above) {
            return Err(self.error());
        }
        Ok(detail)
    }

    fn is_over(&self, most: f64) -> bool {
        self.rejected > self.always && self.rejected as f64 > most * self.lines as f64
    }

    /// Checks the complete listing. `rows` is the number of rows that were read.
    ///
    /// # Errors
    /// `Invalid` if there are too many unreadable lines, or nothing else.
    pub fn end(&self, rows: u64) -> Result<(), Error> {
        if self.is_over(self.most) || (self.rejected > 0 && rows == 0) {
            return Err(self.error());
        }
        Ok(())
    }

    fn error(&self) -> Error {
        Error::Invalid {
            detail: format!(
                "{} of {} lines cannot be read, more than max_rejected allows ({} %)",
                self.rejected,
                self.lines,
                self.most * 100.0
            ),
            errors: self
                .first
                .iter()
                .map(|(line, detail)| FieldError::on_line(*line, detail.clone()))
                .collect(),
        }
    }
}
