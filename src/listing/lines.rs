//! Reads formats in which each line is about one file: the lines of `sha256sum`, and of `rclone check --combined`.

use std::borrow::Cow;
use std::io::{BufReader, Read};

use super::bytes::{BUFFER, Line, failed, read_line, too_long};
use super::cells::{Cell, Next, Slots, Source};
use super::layout::Side;
use crate::base::error::Result;

/// The lines of an input, with their numbers.
struct Numbered<R> {
    input: BufReader<R>,
    buffer: Vec<u8>,
    line: u64,
}

impl<R: Read> Numbered<R> {
    fn of(input: R) -> Self {
        Numbered {
            input: BufReader::with_capacity(BUFFER, input),
            buffer: Vec::new(),
            line: 0,
        }
    }

    fn next(&mut self) -> Result<Line> {
        loop {
            self.line += 1;
            let line = self.line;
            match read_line(&mut self.input, &mut self.buffer).map_err(|error| failed(error, Some(line)))? {
                Line::Whole
                    if self
                        .buffer
                        .iter()
                        .all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) => {}
                read => return Ok(read),
            }
        }
    }
}

/// The lines of `sha256sum`, `md5sum` and their relatives.
pub(super) struct Sums<R> {
    lines: Numbered<R>,
    name: Option<usize>,
    checksum: Option<usize>,
}

impl<R: Read> Sums<R> {
    pub fn begin(input: R, slots: &Slots) -> Self {
        Sums {
            lines: Numbered::of(input),
            name: slots.place("name"),
            checksum: slots.place("checksum"),
        }
    }
}

impl<R: Read> Source for Sums<R> {
    fn next(&mut self, cells: &mut [Cell]) -> Result<Next> {
        match self.lines.next()? {
            Line::End => return Ok(Next::End),
            Line::TooLong => return Ok(Next::Rejected(self.lines.line, Cow::Owned(too_long()))),
            Line::Whole => {}
        }
        let line = self.lines.buffer.as_slice();
        // A carriage return in a name is escaped.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some((sum, name)) = sum_and_name(line) else {
            return Ok(Next::Rejected(
                self.lines.line,
                Cow::Borrowed("is not a checksum, two spaces and a name, as sha256sum writes it"),
            ));
        };
        for cell in cells.iter_mut() {
            cell.clear();
        }
        if let Some(at) = self.name {
            cells[at].set_bytes(&name);
        }
        if let Some(at) = self.checksum {
            cells[at].set_bytes(sum);
        }
        Ok(Next::Line(self.lines.line))
    }
}

/// Splits a line into the checksum and the name: `HASH  NAME`, `HASH *NAME`, or `SHA256 (NAME) = HASH`. With a backslash at
/// its beginning, the name is escaped.
fn sum_and_name(line: &[u8]) -> Option<(&[u8], Cow<'_, [u8]>)> {
    let (line, escaped) = match line.strip_prefix(b"\\") {
        Some(rest) => (rest, true),
        None => (line, false),
    };
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (sum, name) = match &line[digits..] {
        [b' ', b' ' | b'*', name @ ..] if digits >= 8 => (&line[..digits], name),
        _ => tagged(line)?,
    };
    if name.is_empty() {
        return None;
    }
    if escaped {
        Some((sum, Cow::Owned(unescaped(name)?)))
    } else {
        Some((sum, Cow::Borrowed(name)))
    }
}

/// Splits a line in the format of `sha256sum --tag`.
fn tagged(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let opening = line.windows(2).position(|pair| pair == b" (")?;
    let closing = line.windows(4).rposition(|four| four == b") = ")?;
    let name = line.get(opening + 2..closing)?;
    let sum = &line[closing + 4..];
    let algorithm = line[..opening]
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    (algorithm && opening > 0).then_some((sum, name))
}

fn unescaped(name: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            other => *other,
        });
    }
    Some(bytes)
}

/// The lines of `rclone check --combined`, which are the result of a comparison of a source with a destination. One such
/// file stands for either of the two:
///
/// | line | source | destination |
/// |---|---|---|
/// | `= path` | has it | has the same |
/// | `* path` | has it | has another content |
/// | `+ path` | has it | does not have it |
/// | `- path` | does not have it | has it |
/// | `! path` | has it | may have it; it could not be read |
///
/// In the column `content`, a file has `as in the source` or `different`. So a comparison of both sides of one file finds
/// exactly what rclone found.
pub(super) struct Checked<R> {
    lines: Numbered<R>,
    side: Side,
    path: Option<usize>,
    content: Option<usize>,
}

impl<R: Read> Checked<R> {
    pub fn begin(input: R, side: Side, slots: &Slots) -> Self {
        Checked {
            lines: Numbered::of(input),
            side,
            path: slots.place("path"),
            content: slots.place("content"),
        }
    }
}

impl<R: Read> Source for Checked<R> {
    fn next(&mut self, cells: &mut [Cell]) -> Result<Next> {
        const SAME: &str = "as in the source";
        match self.lines.next()? {
            Line::End => return Ok(Next::End),
            Line::TooLong => return Ok(Next::Rejected(self.lines.line, Cow::Owned(too_long()))),
            Line::Whole => {}
        }
        let (sign, path) = match self.lines.buffer.as_slice() {
            [sign @ (b'=' | b'*' | b'+' | b'-' | b'!'), b' ', path @ ..] if !path.is_empty() => (*sign, path),
            _ => {
                return Ok(Next::Rejected(
                    self.lines.line,
                    Cow::Borrowed("is not one of = * + - ! and a path, as rclone check --combined writes it"),
                ));
            }
        };
        for cell in cells.iter_mut() {
            cell.clear();
        }
        if let Some(at) = self.path {
            cells[at].set_bytes(path);
        }
        let content = self.content.map(|at| &mut cells[at]);
        match (self.side, sign) {
            (Side::Source, b'-') | (Side::Destination, b'+') => return Ok(Next::LeftOut),
            (Side::Destination, b'!') => {
                if let Some(content) = content {
                    content.wrong("unknown", "could not be read or hashed by rclone");
                }
            }
            (Side::Destination, b'*') => {
                if let Some(content) = content {
                    content.set("different");
                }
            }
            _ => {
                if let Some(content) = content {
                    content.set(SAME);
                }
            }
        }
        Ok(Next::Line(self.lines.line))
    }
}
