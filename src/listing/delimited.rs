//! Reads tables whose columns are separated by a character: TSV, CSV, and the files of an S3 Inventory.

use std::borrow::Cow;
use std::io::{self, Read};

use csv::{ByteRecord, ReaderBuilder};

use super::bytes::{BUFFER, Damaged, MAX_LINE, damaged, failed, too_long};
use super::cells::{Cell, Next, Slots, Source};
use super::checksum::OPAQUE;
use super::layout::{Format, Layout};
use crate::base::error::Result;
use crate::base::text::one_line;

/// What is added behind the end of a table. If the last row contains it, a quotation mark was still open, and the table is
/// cut.
const END: &[u8] = b"\n\x02end of the listing 5d0c7a1e9b3f4c28\x03";

/// Adds [`END`] to a table and limits the length of its rows.
struct Watched<R> {
    input: R,
    /// The number of bytes since the current row was begun.
    since: usize,
    /// The number of bytes of [`END`] that were given. `None` before the end of the input.
    ended: Option<usize>,
    /// Whether the first line ends in a carriage return and a line feed. `None` until it was read.
    crlf: Option<bool>,
    last: u8,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since > MAX_LINE {
            return Err(Damaged::error(format!(
                "{}; is a quotation mark missing at its end?",
                too_long()
            )));
        }
        let mut read = 0;
        if self.ended.is_none() {
            read = loop {
                match self.input.read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read?,
                }
            };
        }
        let given = &buffer[..read];
        if self.crlf.is_none()
            && let Some(end) = given.iter().position(|byte| *byte == b'\n')
        {
            let before = if end == 0 { self.last } else { given[end - 1] };
            self.crlf = Some(before == b'\r');
        }
        if let Some(last) = given.last() {
            self.last = *last;
        } else {
            let done = self.ended.unwrap_or(0);
            let rest = &END[done..];
            read = rest.len().min(buffer.len());
            buffer[..read].copy_from_slice(&rest[..read]);
            self.ended = Some(done + read);
        }
        self.since += read;
        Ok(read)
    }
}

/// The columns of an S3 Inventory that decide about a row.
#[derive(Default)]
struct Inventory {
    key: Option<usize>,
    is_latest: Option<usize>,
    is_delete_marker: Option<usize>,
    encryption: Option<usize>,
    /// The cell of the ETag.
    etag: Option<usize>,
}

/// A reader of a table in TSV or CSV, or of a file of an S3 Inventory.
pub(super) struct Delimited<R> {
    reader: csv::Reader<Watched<R>>,
    record: ByteRecord,
    format: Format,
    /// The place of each cell in a row.
    places: Vec<Option<usize>>,
    /// The number of columns.
    width: usize,
    inventory: Inventory,
}

impl<R: Read> Delimited<R> {
    /// Begins to read a table, and reads the line with the names of the columns if there is one.
    ///
    /// # Errors
    /// `Invalid` if a column is missing.
    pub fn begin(input: R, layout: &Layout, slots: &Slots) -> Result<Self> {
        let watched = Watched {
            input,
            since: 0,
            ended: None,
            crlf: None,
            last: 0,
        };
        let reader = ReaderBuilder::new()
            .delimiter(layout.separator())
            .quoting(layout.quotes.unwrap_or(true))
            .has_headers(false)
            .flexible(true)
            // A line feed ends a line. A carriage return before it is removed, see `cell`.
            .terminator(csv::Terminator::Any(b'\n'))
            .buffer_capacity(BUFFER)
            .from_reader(watched);
        let mut table = Delimited {
            reader,
            record: ByteRecord::new(),
            format: layout.format,
            places: Vec::new(),
            width: 0,
            inventory: Inventory::default(),
        };
        let names = match layout.known_columns() {
            Some(names) => names,
            None => table.header()?,
        };
        table.places = places(&names, slots)?;
        table.width = names.len();
        if table.format == Format::S3Inventory {
            let column = |name: &str| names.iter().position(|column| column == name);
            table.inventory = Inventory {
                key: column("Key"),
                is_latest: column("IsLatest"),
                is_delete_marker: column("IsDeleteMarker"),
                encryption: column("EncryptionStatus"),
                etag: slots.place("ETag"),
            };
        }
        Ok(table)
    }

    fn header(&mut self) -> Result<Vec<String>> {
        match self.record()? {
            Some(line) => self
                .record
                .iter()
                .map(|name| match std::str::from_utf8(name) {
                    Ok(name) => Ok(name.trim().to_owned()),
                    Err(_) => Err(damaged(
                        "the line with the names of the columns is not UTF-8",
                        Some(line),
                    )),
                })
                .collect(),
            None => Err(damaged(
                "the first line must contain the names of the columns; without it, give them in columns",
                Some(1),
            )),
        }
    }

    /// Reads the next row that is not blank, and returns its line.
    fn record(&mut self) -> Result<Option<u64>> {
        loop {
            let line = self.row()?;
            let blank = self.record.len() == 1 && self.record.get(0) == Some(b"\r");
            if line.is_none() || !blank {
                return Ok(line);
            }
        }
    }

    fn row(&mut self) -> Result<Option<u64>> {
        self.reader.get_mut().since = 0;
        match self.reader.read_byte_record(&mut self.record) {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) => {
                let line = self.reader.position().line();
                return Err(match error.into_kind() {
                    csv::ErrorKind::Io(error) => failed(error, Some(line)),
                    _ => damaged("cannot be read", Some(line)),
                });
            }
        }
        let line = self.record.position().map_or(1, csv::Position::line);
        if self.reader.get_ref().ended.is_some() {
            let mark = &END[1..];
            match self.record.iter().next_back() {
                Some(last) if last == mark && self.record.len() == 1 => return Ok(None),
                Some(last) if last.ends_with(END) || last == mark => {
                    return Err(damaged(
                        "a quotation mark opens a cell, and the listing ends before the next one: it is cut, or \
                         quotation marks have no meaning in it (quotes: false)",
                        Some(line),
                    ));
                }
                _ => {}
            }
        }
        Ok(Some(line))
    }

    /// Returns a cell of the row.
    fn cell(&self, at: usize) -> Option<&[u8]> {
        let cell = self.record.get(at)?;
        let ends_line = at + 1 == self.record.len() && self.reader.get_ref().crlf == Some(true);
        Some(cell.strip_suffix(b"\r").filter(|_| ends_line).unwrap_or(cell))
    }

    /// Returns what is wrong with the number of cells of the row.
    fn misshapen(&self) -> Option<String> {
        let cells = self.record.len();
        let more = cells == self.width + 1 && self.cell(cells - 1).is_some_and(<[u8]>::is_empty);
        if cells == self.width || more {
            return None;
        }
        Some(format!(
            "has {cells} {}, but there are {} columns",
            if cells == 1 { "cell" } else { "cells" },
            self.width
        ))
    }

    /// Returns whether a row of an inventory is about an old version or a deleted object.
    fn is_left_out(&self) -> bool {
        let says = |place: Option<usize>, word: &[u8]| {
            place
                .and_then(|place| self.cell(place))
                .is_some_and(|cell| cell.eq_ignore_ascii_case(word))
        };
        says(self.inventory.is_latest, b"false") || says(self.inventory.is_delete_marker, b"true")
    }

    /// Corrects the cells of a row of an inventory.
    fn as_stored(&self, cells: &mut [Cell]) {
        if let Some(place) = self.inventory.key
            && let Some(key) = self.cell(place)
        {
            for (cell, at) in cells.iter_mut().zip(&self.places) {
                if *at == Some(place) {
                    match decoded(key) {
                        Some(key) => cell.set_bytes(&key),
                        None => cell.wrong(
                            &String::from_utf8_lossy(key),
                            "is not URL-encoded, as the keys of an inventory are",
                        ),
                    }
                }
            }
        }
        let encrypted = self.inventory.encryption.and_then(|place| self.cell(place));
        if let Some(place) = self.inventory.etag
            && encrypted.is_some_and(|how| matches!(how, b"SSE-KMS" | b"DSSE-KMS" | b"SSE-C"))
            && let Ok(Some(etag)) = cells[place].get()
            && !etag.contains('-')
        {
            // Such an ETag has the form of an MD5 checksum, and is none.
            let etag = format!("{OPAQUE}:{}", etag.trim_matches('"'));
            cells[place].set(&etag);
        }
    }
}

impl<R: Read> Source for Delimited<R> {
    fn next(&mut self, cells: &mut [Cell]) -> Result<Next> {
        let Some(line) = self.record()? else {
            return Ok(Next::End);
        };
        if let Some(detail) = self.misshapen() {
            // Behind a quotation mark that was never meant as one, other rows are within this one.
            if self.record.as_slice().contains(&b'\n') {
                let detail = format!(
                    "{detail}, and a cell in quotation marks goes on over several lines; if quotation marks have no meaning \
                     in this listing, set quotes to false"
                );
                return Err(damaged(&detail, Some(line)));
            }
            return Ok(Next::Rejected(line, Cow::Owned(detail)));
        }
        if self.format == Format::S3Inventory && self.is_left_out() {
            return Ok(Next::LeftOut);
        }
        for (cell, place) in cells.iter_mut().zip(&self.places) {
            match place.and_then(|place| self.cell(place)) {
                Some(text) => cell.set_bytes(text),
                None => cell.clear(),
            }
        }
        if self.format == Format::S3Inventory {
            self.as_stored(cells);
        }
        Ok(Next::Line(line))
    }
}

/// Returns the place of each needed column.
///
/// # Errors
/// `Invalid` if a column that must be there is missing, or if a needed column is there twice.
fn places(names: &[String], slots: &Slots) -> Result<Vec<Option<usize>>> {
    slots
        .all
        .iter()
        .map(|slot| {
            let mut found = names.iter().enumerate().filter(|(_, name)| **name == slot.name);
            match (found.next(), found.next()) {
                (Some(_), Some(_)) => Err(damaged(
                    &format!("the column '{}' is there twice", slot.name),
                    Some(1),
                )),
                (Some((at, _)), None) => Ok(Some(at)),
                (None, _) if slot.needed => Err(damaged(
                    &format!(
                        "the listing has no column '{}'; its columns are {}",
                        slot.name,
                        one_line(&names.join(", "), 300)
                    ),
                    Some(1),
                )),
                (None, _) => Ok(None),
            }
        })
        .collect()
}

/// Decodes a URL-encoded key. A plus sign stands for a space, because a real one is encoded.
fn decoded(key: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.iter();
    let digit = |rest: &mut std::slice::Iter<'_, u8>| {
        let value = char::from(*rest.next()?).to_digit(16)?;
        u8::try_from(value).ok()
    };
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => digit(&mut rest)? << 4 | digit(&mut rest)?,
            other => *other,
        });
    }
    Some(bytes)
}
