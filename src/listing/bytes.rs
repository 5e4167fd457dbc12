//! The bytes of a listing: unpacked, without a byte order mark, and with clear errors.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use crate::base::error::{Error, FieldError, Result};

/// The size of the buffers between a listing and its reader, in bytes.
pub(super) const BUFFER: usize = 64 * 1024;

/// The largest window of a zstd stream, as a power of two. It is the memory that unpacking needs.
const ZSTD_WINDOW: u32 = 25;

/// How a listing is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// It is not packed.
    Identity,
    /// gzip, in one or more members.
    Gzip,
    /// zstd, in one or more frames.
    Zstd,
}

impl Encoding {
    /// Reads the value of a `Content-Encoding` header. Without a header it is `Identity`.
    ///
    /// # Errors
    /// A sentence, for an encoding that cannot be unpacked.
    pub fn of_header(value: Option<&str>) -> std::result::Result<Self, String> {
        match value.map(str::trim).map(str::to_ascii_lowercase).as_deref() {
            None | Some("" | "identity") => Ok(Encoding::Identity),
            Some("gzip" | "x-gzip") => Ok(Encoding::Gzip),
            Some("zstd") => Ok(Encoding::Zstd),
            Some(_) => Err("must be gzip, zstd or identity".to_owned()),
        }
    }

    /// Recognises a packed listing by its first bytes. No listing in a text format begins with them.
    fn of_beginning(beginning: &[u8]) -> Self {
        match beginning {
            [0x1f, 0x8b, ..] => Encoding::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Encoding::Zstd,
            _ => Encoding::Identity,
        }
    }
}

/// Says that the bytes of a listing are not what they should be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Damaged(pub String);

impl Damaged {
    pub fn error(detail: impl Into<String>) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Damaged(detail.into()))
    }
}

/// An error of the input itself, and not of what unpacks it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct OfInput(#[source] io::Error);

/// Marks the errors of the input, so that they are not mistaken for errors of the packed stream.
struct Marked<R>(R);

impl<R: Read> Read for Marked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io::Error::other(OfInput(error))),
                read => return read,
            }
        }
    }
}

type Input<R> = BufReader<Marked<R>>;

enum Unpacker<R: Read> {
    Identity(Input<R>),
    Gzip(Box<MultiGzDecoder<Input<R>>>),
    Zstd(Box<zstd::Decoder<'static, Input<R>>>),
}

/// The unpacked bytes of a listing.
pub struct Unpacked<R: Read>(Unpacker<R>);

impl<R: Read> Unpacked<R> {
    /// Returns the input after its end.
    pub(super) fn into_inner(self) -> R {
        match self.0 {
            Unpacker::Identity(input) => input.into_inner().0,
            Unpacker::Gzip(decoder) => decoder.into_inner().into_inner().0,
            Unpacker::Zstd(decoder) => decoder.finish().into_inner().0,
        }
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (read, name) = match &mut self.0 {
            Unpacker::Identity(input) => (input.read(buffer), ""),
            Unpacker::Gzip(decoder) => (decoder.read(buffer), "gzip"),
            Unpacker::Zstd(decoder) => (decoder.read(buffer), "zstd"),
        };
        read.map_err(|error| clear(error, name))
    }
}

/// Turns an error of unpacking into one that says what is wrong, and returns an error of the input as it was.
fn clear(error: io::Error, name: &str) -> io::Error {
    let kind = error.kind();
    let text = error.to_string();
    match error.into_inner().map(|inner| inner.downcast::<OfInput>()) {
        Some(Ok(of_input)) => of_input.0,
        _ if kind == io::ErrorKind::UnexpectedEof => Damaged::error(format!(
            "the {name} stream ends in the middle: the listing is cut"
        )),
        _ => Damaged::error(format!("the {name} stream is damaged: {text}")),
    }
}

/// Unpacks a listing. Several members or frames are read one after the other.
///
/// # Errors
/// `Internal` if there is no memory for it.
pub fn unpack<R: Read>(input: R, encoding: Encoding) -> Result<Unpacked<R>> {
    let input = BufReader::with_capacity(BUFFER, Marked(input));
    Ok(Unpacked(match encoding {
        Encoding::Identity => Unpacker::Identity(input),
        Encoding::Gzip => Unpacker::Gzip(Box::new(MultiGzDecoder::new(input))),
        Encoding::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input).map_err(Error::internal)?;
            decoder.window_log_max(ZSTD_WINDOW).map_err(Error::internal)?;
            Unpacker::Zstd(Box::new(decoder))
        }
    }))
}

/// An input of which the first bytes were looked at.
pub(super) type Seen<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// Reads the first bytes, at most four, and returns them beside the whole input.
pub(super) fn look<R: Read>(mut input: R) -> io::Result<(Vec<u8>, Seen<R>)> {
    let mut beginning = Vec::with_capacity(4);
    input.by_ref().take(4).read_to_end(&mut beginning)?;
    Ok((beginning.clone(), Cursor::new(beginning).chain(input)))
}

/// Unpacks an input if its first bytes say that it is packed.
///
/// # Errors
/// An error of the input, or of unpacking.
pub(super) fn unpack_if_packed<R: Read>(input: R) -> Result<Unpacked<Seen<R>>> {
    let (beginning, input) = look(input).map_err(|error| failed(error, None))?;
    unpack(input, Encoding::of_beginning(&beginning))
}

/// Removes the byte order mark of UTF-8, and refuses what is no text in UTF-8 at all.
///
/// # Errors
/// `Invalid` for an empty listing, UTF-16 and archives.
pub(super) fn text<'a, R: Read + Send + 'a>(input: R) -> Result<Box<dyn Read + Send + 'a>> {
    let (beginning, input) = look(input).map_err(|error| failed(error, None))?;
    let refused = |detail: &str| Err(Error::fields(vec![FieldError::on_line(1, detail)]));
    match beginning.as_slice() {
        [] => refused("the listing is empty: not even a line break was sent"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => refused("the listing is UTF-16; write it in UTF-8"),
        b"PK\x03\x04" => {
            refused("the listing is an archive or a spreadsheet; send it as text, with gzip or zstd at most")
        }
        b"PAR1" | [b'O', b'R', b'C', ..] => refused("the listing is Parquet or ORC; write it as CSV"),
        [0xef, 0xbb, 0xbf, ..] => {
            let (first, rest) = input.into_inner();
            Ok(Box::new(Cursor::new(first.into_inner().split_off(3)).chain(rest)))
        }
        _ => Ok(Box::new(input)),
    }
}

/// Turns an error of reading into an error of the domain. `line` is the line that was being read.
///
/// An [`Error`] that the input itself carries is returned as it is.
pub(super) fn failed(error: io::Error, line: Option<u64>) -> Error {
    let kind = error.kind();
    let text = error.to_string();
    let Some(inner) = error.into_inner() else {
        return if kind == io::ErrorKind::UnexpectedEof {
            damaged("the listing is cut", line)
        } else {
            Error::internal(io::Error::new(kind, text))
        };
    };
    match inner.downcast::<Error>() {
        Ok(error) => *error,
        Err(inner) => match inner.downcast::<Damaged>() {
            Ok(wrong) => damaged(&wrong.0, line),
            Err(inner) => Error::Internal(inner),
        },
    }
}

/// Creates the error for a listing that cannot be read any further.
pub(super) fn damaged(detail: &str, line: Option<u64>) -> Error {
    Error::fields(vec![match line {
        Some(line) => FieldError::on_line(line, detail),
        None => FieldError::at("", detail),
    }])
}

/// The longest line, in bytes.
pub(super) const MAX_LINE: usize = 1024 * 1024;

/// One line of an input.
pub(super) enum Line {
    /// The line is in the buffer, without its line feed.
    Whole,
    /// The line is longer than [`MAX_LINE`]. It was skipped.
    TooLong,
    /// There are no more lines.
    End,
}

/// Reads a line into the buffer.
///
/// # Errors
/// An I/O error if the input cannot be read.
pub(super) fn read_line<R: BufRead>(input: &mut R, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let most = MAX_LINE as u64 + 1;
    let read = input.by_ref().take(most).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(Line::End);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Line::Whole);
    }
    if read <= MAX_LINE {
        // The last line has no line feed.
        return Ok(Line::Whole);
    }
    line.clear();
    input.skip_until(b'\n')?;
    Ok(Line::TooLong)
}

/// The reason for a line that is too long.
pub(super) fn too_long() -> String {
    format!("is longer than {} KiB", MAX_LINE / 1024)
}
