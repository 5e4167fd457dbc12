//! Turns the lines of a listing into rows, whatever its format.

use std::io::Read as Input;

use jiff::tz::TimeZone;

use super::bytes::{text, unpack_if_packed};
use super::cells::{Cell, MAX_KEY, MAX_VALUE, Next, Slots, Source};
use super::column::ColumnKind;
use super::delimited::Delimited;
use super::layout::{Format, Layout, Side};
use super::lines::{Checked, Sums};
use super::manifest::Files;
use super::moment;
use super::objects::{Array, Lines};
use super::row::{Read, Row};
use super::share::Share;
use super::value::{normalise, unreadable};
use super::wanted::Wanted;
use crate::base::error::Result;

/// The rows of a listing, and the lines that cannot be read. After an error there is nothing more.
pub struct Rows<'a> {
    source: Box<dyn Source + Send + 'a>,
    maker: Maker,
    cells: Vec<Cell>,
    share: Share,
    /// The row of a line that was returned as rejected.
    waiting: Option<Row>,
    rows: u64,
    ended: bool,
}

/// Begins to read a listing. It blocks, and keeps only a few lines in memory. A listing in gzip or zstd is recognised by its
/// first bytes and unpacked, except for the files of an inventory, which its manifest describes.
///
/// # Errors
/// `Invalid` if the listing does not have the columns that are needed, or is no text. An error that the input carries as the
/// inner error of an [`std::io::Error`] is returned as it is.
pub fn rows<'a, R: Input + Send + 'a>(input: R, layout: &Layout, wanted: &Wanted<'_>) -> Result<Rows<'a>> {
    layout.check("", wanted)?;
    let slots = Slots::of(layout, wanted);
    let input: Box<dyn Input + Send + 'a> = match (&layout.manifest, layout.format) {
        (Some(manifest), Format::S3Inventory) => text(Files::of(input, manifest))?,
        _ => text(unpack_if_packed(input)?)?,
    };
    let source: Box<dyn Source + Send + 'a> = match layout.format {
        Format::Tsv | Format::Csv | Format::S3Inventory => Box::new(Delimited::begin(input, layout, &slots)?),
        Format::Ndjson => Box::new(Lines::begin(input, &slots)),
        Format::RcloneLsjson => Box::new(Array::begin(input, &slots)),
        Format::RcloneCheck => {
            let side = layout.side.unwrap_or(Side::Source);
            Box::new(Checked::begin(input, side, &slots))
        }
        Format::Sha256sum => Box::new(Sums::begin(input, &slots)),
    };
    Ok(Rows {
        source,
        cells: slots.cells(),
        share: Share::of(layout.max_rejected),
        maker: Maker {
            kinds: wanted.compare.iter().map(|column| column.kind).collect(),
            gone: layout
                .gone
                .as_ref()
                .map(|gone| gone.values.clone())
                .unwrap_or_default(),
            null: layout.null.clone(),
            zone: layout.zone()?,
            slots,
        },
        waiting: None,
        rows: 0,
        ended: false,
    })
}

impl Rows<'_> {
    fn step(&mut self) -> Result<Option<Read>> {
        if let Some(row) = self.waiting.take() {
            self.rows += 1;
            return Ok(Some(Read::Row(row)));
        }
        loop {
            let (line, detail) = match self.source.next(&mut self.cells)? {
                Next::End => {
                    self.share.end(self.rows)?;
                    return Ok(None);
                }
                Next::LeftOut => continue,
                Next::Rejected(line, detail) => (line, detail.into_owned()),
                Next::Line(line) => match self.maker.row(line, &self.cells) {
                    Ok(Made { row, wrong: None }) => {
                        self.share.line();
                        self.rows += 1;
                        return Ok(Some(Read::Row(row)));
                    }
                    Ok(Made {
                        row,
                        wrong: Some(detail),
                    }) => {
                        self.waiting = Some(row);
                        (line, detail)
                    }
                    Err(detail) => (line, detail),
                },
            };
            self.share.line();
            let detail = self.share.reject(line, &detail)?;
            return Ok(Some(Read::Rejected { line, detail }));
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Read>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step().transpose();
        self.ended = !matches!(step, Some(Ok(_)));
        step
    }
}

/// Makes rows of cells.
struct Maker {
    slots: Slots,
    kinds: Vec<ColumnKind>,
    gone: Vec<String>,
    null: Option<String>,
    zone: Option<TimeZone>,
}

/// A row, and what is wrong with its values.
struct Made {
    row: Row,
    wrong: Option<String>,
}

/// What is wrong with values of a line, by column.
#[derive(Default)]
struct Wrong(Option<String>);

impl Wrong {
    fn add(&mut self, column: &str, reason: &str) {
        let detail = format!("column '{column}': {reason}");
        match &mut self.0 {
            Some(before) => {
                before.push_str("; ");
                before.push_str(&detail);
            }
            None => self.0 = Some(detail),
        }
    }
}

impl Maker {
    /// Makes the row of a line.
    ///
    /// # Errors
    /// Why there is no key, as a part of a sentence.
    fn row(&self, line: u64, cells: &[Cell]) -> std::result::Result<Made, String> {
        let name = |at: usize| self.slots.all[at].name.as_str();
        let about = |reason: &str| format!("column '{}': {reason}", name(self.slots.key));
        let key = match cells[self.slots.key].get() {
            Ok(Some(key)) if key.len() > MAX_KEY => {
                return Err(about(&format!("is longer than {MAX_KEY} bytes")));
            }
            Ok(Some(key)) => key.to_owned(),
            Ok(None) => return Err(about("is empty")),
            Err((_, reason)) => return Err(about(reason)),
        };
        let mut wrong = Wrong::default();
        let id = if self.slots.id == self.slots.key {
            Some(key.clone())
        } else {
            match cells[self.slots.id].get() {
                Ok(Some(id)) if id.len() > MAX_KEY => {
                    wrong.add(name(self.slots.id), &format!("is longer than {MAX_KEY} bytes"));
                    None
                }
                Ok(id) => self.not_null(id).map(str::to_owned),
                Err((_, reason)) => {
                    wrong.add(name(self.slots.id), reason);
                    None
                }
            }
        };
        let values = self
            .slots
            .compare
            .iter()
            .zip(&self.kinds)
            .map(|(at, kind)| {
                self.value(&cells[*at], *kind).unwrap_or_else(|(text, reason)| {
                    wrong.add(name(*at), &reason);
                    Some(unreadable(&text))
                })
            })
            .collect();
        let written_at = self.slots.written_at.and_then(|at| {
            let parsed = match cells[at].get() {
                Ok(text) => self
                    .not_null(text)
                    .map(|text| moment::parse(text, self.zone.as_ref()))
                    .transpose(),
                Err((_, reason)) => Err(reason.to_owned()),
            };
            parsed.unwrap_or_else(|reason| {
                wrong.add(name(at), &reason);
                None
            })
        });
        let gone = self.slots.gone.is_some_and(|at| match cells[at].get() {
            Ok(text) => {
                let text = text.unwrap_or_default().trim_ascii();
                self.gone.iter().any(|value| value == text)
            }
            Err((_, reason)) => {
                wrong.add(name(at), reason);
                false
            }
        });
        Ok(Made {
            row: Row {
                line,
                key,
                id,
                values,
                gone,
                written_at,
            },
            wrong: wrong.0,
        })
    }

    /// Returns the text unless it stands for no value.
    fn not_null<'a>(&self, text: Option<&'a str>) -> Option<&'a str> {
        text.filter(|text| self.null.as_deref() != Some(*text))
    }

    /// Returns the normal form of a cell.
    ///
    /// # Errors
    /// What the cell contains, and why it is no value.
    fn value(&self, cell: &Cell, kind: ColumnKind) -> std::result::Result<Option<String>, (String, String)> {
        let text = cell
            .get()
            .map_err(|(text, reason)| (text.to_owned(), reason.to_owned()))?;
        let Some(text) = self.not_null(text) else {
            return Ok(None);
        };
        // Only in a text, white space is a value.
        if kind != ColumnKind::Text && text.trim_ascii().is_empty() {
            return Ok(None);
        }
        if text.len() > MAX_VALUE {
            return Err((text.to_owned(), format!("is longer than {MAX_VALUE} bytes")));
        }
        normalise(kind, text, self.zone.as_ref())
            .map(Some)
            .map_err(|reason| (text.to_owned(), reason))
    }
}
