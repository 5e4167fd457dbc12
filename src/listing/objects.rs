//! Reads JSON objects: one on each line (NDJSON), or the elements of an array (`rclone lsjson`).
//!
//! A column is a field of the object. A name with a dot, such as `Hashes.md5`, is a field of an object within it.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::bytes::{BUFFER, Line, MAX_LINE, damaged, failed, read_line, too_long};
use super::cells::{Cell, Next, Slots, Source};
use crate::base::error::{Result, json_reason};
use crate::base::text::one_line;

/// A field that is needed.
struct Field {
    name: String,
    /// The field of the outer object and the field within it, if the name has a dot.
    within: Option<(String, String)>,
    /// The number of lines that have the field.
    seen: u64,
    needed: bool,
}

/// Reads the fields of objects.
struct Fields {
    fields: Vec<Field>,
    /// The place of the field that says whether an element is a folder.
    is_folder: Option<usize>,
    /// The place of the size of a file.
    size: Option<usize>,
}

impl Fields {
    fn of(slots: &Slots) -> Self {
        let field = |name: &str, needed| Field {
            within: name
                .split_once('.')
                .map(|(outer, inner)| (outer.to_owned(), inner.to_owned())),
            name: name.to_owned(),
            seen: 0,
            needed,
        };
        Fields {
            fields: slots
                .all
                .iter()
                .map(|slot| field(&slot.name, slot.needed))
                .collect(),
            is_folder: None,
            size: None,
        }
    }

    /// Reads an object into the cells.
    fn read(&mut self, object: &[u8], cells: &mut [Cell]) -> std::result::Result<(), Cow<'static, str>> {
        for cell in cells.iter_mut() {
            cell.clear();
        }
        let mut json = serde_json::Deserializer::from_slice(object);
        let visited = json.deserialize_map(Object {
            fields: &mut self.fields,
            cells,
        });
        visited.and_then(|()| json.end()).map_err(|error| {
            Cow::Owned(format!(
                "is not a JSON object: {}",
                one_line(&json_reason(&error), 200)
            ))
        })
    }

    /// Returns the first needed field that no object had.
    fn never_seen(&self) -> Option<&str> {
        self.fields
            .iter()
            .find(|field| field.needed && field.seen == 0)
            .map(|field| field.name.as_str())
    }
}

struct Object<'a> {
    fields: &'a mut [Field],
    cells: &'a mut [Cell],
}

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        // A field may be there only once: which of two values counts is not defined.
        let mut set = 0_u128;
        while let Some(Key(key)) = map.next_key()? {
            let outer = |field: &Field| field.within.as_ref().is_some_and(|(outer, _)| *outer == key);
            if !self.fields.iter().any(|field| field.name == key || outer(field)) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &RawValue = map.next_value()?;
            for (index, field) in self.fields.iter_mut().enumerate() {
                let cell = &mut self.cells[index];
                if field.name == key {
                    let bit = 1_u128.checked_shl(index as u32).unwrap_or(0);
                    if set & bit != 0 {
                        return Err(A::Error::custom(format_args!("the field '{key}' is there twice")));
                    }
                    set |= bit;
                    field.seen += 1;
                    put(cell, value.get()).map_err(A::Error::custom)?;
                } else if outer(field)
                    && let Some((_, inner)) = &field.within
                {
                    let mut json = serde_json::Deserializer::from_str(value.get());
                    let within = Within { name: inner, cell };
                    // Another type than an object has no such field.
                    if let Ok(true) = within.deserialize(&mut json) {
                        field.seen += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Reads one field of an object within the object.
struct Within<'a> {
    name: &'a str,
    cell: &'a mut Cell,
}

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> std::result::Result<bool, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<bool, A::Error> {
        let mut found = false;
        while let Some(Key(key)) = map.next_key()? {
            if key == self.name {
                let value: &RawValue = map.next_value()?;
                put(self.cell, value.get()).map_err(A::Error::custom)?;
                found = true;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Sets a cell to a JSON value. Null is no value.
fn put(cell: &mut Cell, json: &str) -> serde_json::Result<()> {
    match json.as_bytes().first() {
        Some(b'"') => {
            let Key(text) = serde_json::from_str(json)?;
            cell.set(&text);
        }
        Some(b'{' | b'[') => cell.wrong(json, "is an object or a list"),
        Some(b'n') | None => cell.clear(),
        Some(_) => cell.set(json),
    }
    Ok(())
}

/// A reader of NDJSON, which has one JSON object on each line.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    buffer: Vec<u8>,
    fields: Fields,
    line: u64,
    read: u64,
}

impl<R: Read> Lines<R> {
    pub fn begin(input: R, slots: &Slots) -> Self {
        Lines {
            input: BufReader::with_capacity(BUFFER, input),
            buffer: Vec::new(),
            fields: Fields::of(slots),
            line: 0,
            read: 0,
        }
    }
}

impl<R: Read> Source for Lines<R> {
    fn next(&mut self, cells: &mut [Cell]) -> Result<Next> {
        loop {
            self.line += 1;
            let line = self.line;
            match read_line(&mut self.input, &mut self.buffer).map_err(|error| failed(error, Some(line)))? {
                Line::End => {
                    return match self.fields.never_seen().filter(|_| self.read > 0) {
                        Some(name) => Err(absent(name)),
                        None => Ok(Next::End),
                    };
                }
                Line::TooLong => return Ok(Next::Rejected(line, Cow::Owned(too_long()))),
                Line::Whole if self.buffer.trim_ascii().is_empty() => {}
                Line::Whole => {
                    return Ok(match self.fields.read(&self.buffer, cells) {
                        Ok(()) => {
                            self.read += 1;
                            Next::Line(line)
                        }
                        Err(detail) => Next::Rejected(line, detail),
                    });
                }
            }
        }
    }
}

fn absent(name: &str) -> crate::base::error::Error {
    damaged(&format!("no line has the field '{name}'"), None)
}

/// The elements of a JSON array, of which only one is in memory.
pub(super) struct Array<R> {
    input: BufReader<R>,
    buffer: Vec<u8>,
    fields: Fields,
    /// Cells for the fields of the array itself, behind those of the caller.
    own: Vec<Cell>,
    line: u64,
    read: u64,
    state: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    /// Behind `[` or a comma.
    AtElement,
    Behind,
}

impl<R: Read> Array<R> {
    pub fn begin(input: R, slots: &Slots) -> Self {
        let mut fields = Fields::of(slots);
        fields.size = slots.place("Size");
        let folder = slots.place("IsDir").unwrap_or(fields.fields.len());
        if folder == fields.fields.len() {
            fields.fields.push(Field {
                name: "IsDir".to_owned(),
                within: None,
                seen: 0,
                needed: false,
            });
        }
        fields.is_folder = Some(folder);
        Array {
            input: BufReader::with_capacity(BUFFER, input),
            buffer: Vec::new(),
            own: fields.fields.iter().map(|_| Cell::default()).collect(),
            fields,
            line: 1,
            read: 0,
            state: Place::Before,
        }
    }

    /// Returns the next byte that is no white space, without taking it.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            let given = self.input.fill_buf()?;
            if given.is_empty() {
                return Ok(None);
            }
            let blank = given.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.line += given[..blank].iter().filter(|byte| **byte == b'\n').count() as u64;
            let next = given.get(blank).copied();
            self.input.consume(blank);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    fn wrong(&self, detail: &str) -> crate::base::error::Error {
        damaged(detail, Some(self.line))
    }

    /// Reads an element into the buffer: up to a comma or the end of the array. Returns false if it is too long. Its bytes
    /// are skipped then.
    fn element(&mut self) -> Result<bool> {
        self.buffer.clear();
        let (mut depth, mut in_text, mut escaped, mut fits) = (0_u32, false, false, true);
        loop {
            let line = self.line;
            let given = self.input.fill_buf().map_err(|error| failed(error, Some(line)))?;
            if given.is_empty() {
                return Err(damaged(CUT, Some(line)));
            }
            let mut end = None;
            for (at, byte) in given.iter().enumerate() {
                if in_text {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => in_text = false,
                        _ => {}
                    }
                    continue;
                }
                match byte {
                    b'"' => in_text = true,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' if depth > 0 => depth -= 1,
                    b']' | b',' if depth == 0 => {
                        end = Some(at);
                        break;
                    }
                    _ => {}
                }
            }
            let part = &given[..end.unwrap_or(given.len())];
            let taken = part.len();
            self.line += part.iter().filter(|byte| **byte == b'\n').count() as u64;
            fits &= self.buffer.len() + taken <= MAX_LINE;
            if fits {
                self.buffer.extend_from_slice(part);
            }
            self.input.consume(taken);
            if end.is_some() {
                return Ok(fits);
            }
        }
    }
}

const CUT: &str = "the array has no end: the listing is cut";

impl<R: Read> Source for Array<R> {
    fn next(&mut self, cells: &mut [Cell]) -> Result<Next> {
        let line = self.line;
        let peeked = self.peek().map_err(|error| failed(error, Some(line)))?;
        match (self.state, peeked) {
            (Place::Before, Some(b'[')) => {
                self.input.consume(1);
                self.state = Place::AtElement;
                let peeked = self.peek().map_err(|error| failed(error, Some(line)))?;
                if peeked == Some(b']') {
                    self.input.consume(1);
                    self.state = Place::Behind;
                }
                return self.next(cells);
            }
            (Place::Before, _) => return Err(self.wrong("is not a JSON array, as rclone lsjson writes it")),
            (Place::Behind, None) => {
                return match self.fields.never_seen().filter(|_| self.read > 0) {
                    Some(name) => Err(absent(name)),
                    None => Ok(Next::End),
                };
            }
            (Place::Behind, Some(_)) => {
                return Err(self.wrong("the listing goes on behind the end of the array"));
            }
            (Place::AtElement, None) => return Err(self.wrong(CUT)),
            (Place::AtElement, Some(_)) => {}
        }
        let line = self.line;
        let fits = self.element()?;
        let end = self.peek().map_err(|error| failed(error, Some(line)))?;
        self.input.consume(1);
        if end == Some(b']') {
            self.state = Place::Behind;
        }
        if !fits {
            return Ok(Next::Rejected(line, Cow::Owned(too_long())));
        }
        if let Err(detail) = self.fields.read(&self.buffer, &mut self.own) {
            return Ok(Next::Rejected(line, detail));
        }
        let says = |place: Option<usize>, word| {
            place
                .and_then(|at| self.own.get(at))
                .is_some_and(|cell| cell.get() == Ok(Some(word)))
        };
        let folder = says(self.fields.is_folder, "true");
        let no_size = says(self.fields.size, "-1");
        if let Some(size) = self.fields.size.filter(|_| no_size) {
            // rclone does not know the size of this file.
            self.own[size].clear();
        }
        if folder {
            return Ok(Next::LeftOut);
        }
        self.read += 1;
        for (cell, own) in cells.iter_mut().zip(&mut self.own) {
            std::mem::swap(cell, own);
        }
        Ok(Next::Line(line))
    }
}
