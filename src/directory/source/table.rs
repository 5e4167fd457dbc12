//! The import of a table: CSV or TSV with a header row. Each row becomes one line, and all rows have the same
//! kind.
//!
//! A mapping says which column is which field: `FIELD:COLUMN` takes the values of a column, and
//! `FIELD:=VALUE` is the same for every row. Without a mapping, the columns have the names of the fields. The
//! separator is detected from the header. Empty rows are skipped.
//!
//! The file is never in memory as a whole and never stored in part. The text of an error never contains a
//! value.

use std::cell::{Cell, RefCell};
use std::io::{self, Cursor, Read};
use std::rc::Rc;

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::mapping::{self, check_field};
use crate::audit::{Action, Event, Tx};
use crate::base::error::{Error, FieldError, Result};
use crate::base::text::hex;
use crate::directory::import::{Counts, Import, with_room};
use crate::directory::line::LineKind;

/// The longest row, in bytes. A longer row probably lacks a quote.
const MAX_ROW: u64 = 256 * 1024;

/// Where the values of a field come from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Column(String),
    Value(String),
}

/// The kind of the rows, and which column is which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    kind: LineKind,
    /// None if the header contains the names of the fields.
    fields: Option<Vec<(String, Origin)>>,
}

/// How cells are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Cells are separated by commas.
    Csv,
    /// Cells are separated by tabs.
    Tsv,
}

impl Columns {
    /// Parses the parameters of a table import.
    ///
    /// # Errors
    /// `Invalid` at `?kind` or `?columns`.
    pub fn parse(kind: Option<&str>, columns: Option<&str>) -> Result<Self> {
        let kind = kind.ok_or_else(|| {
            let detail = "is missing; give the kind of the rows of the table: account, person, resource, member \
            or collaborator";
            Error::invalid("?kind", detail)
        })?;
        let kind = LineKind::parse(kind).map_err(|detail| Error::invalid("?kind", detail))?;
        let fields = columns
            .map(|text| parse_fields(kind, text))
            .transpose()
            .map_err(|detail| Error::invalid("?columns", detail))?;
        Ok(Columns { kind, fields })
    }
}

fn parse_fields(kind: LineKind, text: &str) -> std::result::Result<Vec<(String, Origin)>, String> {
    let mut fields: Vec<(String, Origin)> = Vec::new();
    for part in text.split(',') {
        let (field, origin) = part
            .split_once(':')
            .ok_or_else(|| format!("'{part}' is not FIELD:COLUMN or FIELD:=VALUE"))?;
        check_field(kind, field).map_err(|detail| format!("'{field}' {detail}"))?;
        if fields.iter().any(|(other, _)| other == field) {
            return Err(format!("'{field}' is given twice"));
        }
        let origin = match origin.strip_prefix('=') {
            Some(value) => Origin::Value(value.to_owned()),
            None => Origin::Column(origin.to_owned()),
        };
        if matches!(&origin, Origin::Column(name) if name.is_empty()) {
            return Err(format!("'{field}' has no column"));
        }
        fields.push((field.to_owned(), origin));
    }
    complete(kind, fields.iter().map(|(field, _)| field.as_str()))?;
    Ok(fields)
}

/// Checks that all fields of the key exist. Otherwise no row could be valid.
fn complete<'a>(
    kind: LineKind,
    fields: impl Iterator<Item = &'a str> + Clone,
) -> std::result::Result<(), String> {
    match mapping::key(kind)
        .iter()
        .find(|needed| !fields.clone().any(|field| field == **needed))
    {
        Some(missing) => Err(format!("has no '{missing}', which every {} needs", kind.as_str())),
        None => Ok(()),
    }
}

/// Limits the length of a row and computes the digest of all bytes.
struct Watched<R> {
    inner: R,
    since: Rc<Cell<u64>>,
    digest: Rc<RefCell<Sha256>>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since.get() > MAX_ROW {
            return Err(io::Error::other(TOO_LONG));
        }
        let read = self.inner.read(buffer)?;
        self.since.set(self.since.get() + read as u64);
        self.digest.borrow_mut().update(&buffer[..read]);
        Ok(read)
    }
}

const TOO_LONG: &str = "the row is too long; is a quote missing at its end?";

/// The meaning of the columns: for each field its name, the name to show in errors, and its place in a row.
struct Plan {
    fields: Vec<(String, String, Place)>,
    /// The columns without a name, for example after a separator at the end of the header.
    unnamed: Vec<usize>,
    /// The number of cells that a row must have: up to the last column with a name.
    least: usize,
}

enum Place {
    At(usize),
    Constant(Value),
}

fn plan(columns: &Columns, header: &StringRecord) -> std::result::Result<Plan, String> {
    let names: Vec<String> = header.iter().map(one_spaced).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (index, name) in names.iter().enumerate() {
        if !name.is_empty() && names[..index].contains(name) {
            return Err(format!("the column '{name}' is there twice"));
        }
    }
    let fields = match &columns.fields {
        None => names
            .iter()
            .enumerate()
            .filter(|(_, name)| !name.is_empty())
            .map(|(index, name)| {
                check_field(columns.kind, name).map_err(|detail| {
                    format!("the column '{name}' {detail}; map the columns to fields, or rename this column")
                })?;
                Ok(((*name).to_owned(), (*name).to_owned(), Place::At(index)))
            })
            .collect::<std::result::Result<Vec<_>, String>>()?,
        Some(fields) => fields
            .iter()
            .map(|(field, origin)| match origin {
                Origin::Value(value) => Ok((
                    field.clone(),
                    field.clone(),
                    Place::Constant(Value::from(value.as_str())),
                )),
                Origin::Column(column) => names
                    .iter()
                    .position(|name| *name == one_spaced(column))
                    .map(|index| (field.clone(), column.clone(), Place::At(index)))
                    .ok_or_else(|| {
                        format!("the header has no column '{column}', to which {field} is mapped")
                    }),
            })
            .collect::<std::result::Result<Vec<_>, String>>()?,
    };
    complete(columns.kind, fields.iter().map(|(field, _, _)| field.as_str()))
        .map_err(|detail| format!("the header {detail}"))?;
    // If a mapping chooses columns, the other columns do not matter.
    let unnamed: Vec<usize> = (0..names.len())
        .filter(|index| columns.fields.is_none() && names[*index].is_empty())
        .collect();
    let least = names
        .iter()
        .rposition(|name| !name.is_empty())
        .map_or(0, |last| last + 1);
    Ok(Plan {
        fields,
        unnamed,
        least,
    })
}

/// Returns a name on one line, with single spaces.
fn one_spaced(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Imports a table in the caller's transaction.
///
/// # Errors
/// `Invalid` with up to 100 errors by line and column. Nothing of the table is stored then.
pub fn import(tx: &mut Tx<'_>, input: impl Read, format: Format, columns: &Columns) -> Result<Counts> {
    with_room(tx, |tx| import_all(tx, input, format, columns))
}

fn import_all(tx: &mut Tx<'_>, input: impl Read, format: Format, columns: &Columns) -> Result<Counts> {
    let since = Rc::new(Cell::new(0));
    let digest = Rc::new(RefCell::new(Sha256::new()));
    let mut watched = Watched {
        inner: input,
        since: since.clone(),
        digest: digest.clone(),
    };
    let mut beginning = Vec::new();
    watched
        .by_ref()
        .take(BEGINNING)
        .read_to_end(&mut beginning)
        .map_err(|error| Error::internal(error.to_string()))?;
    let on_first = |detail: String| Error::fields(vec![FieldError::on_line(1, detail)]);
    let Layout {
        delimiter,
        plan,
        columns: width,
        skip,
    } = layout(columns, format, &beginning).map_err(on_first)?;
    beginning.drain(..skip);
    let skipped = u64::from(skip > BOM.len());
    // The library counts a line at its line feed, and reads the line feed of `\r\n` only with the next record.
    let first_end = beginning.iter().position(|byte| *byte == b'\n');
    let late = u64::from(first_end.is_some_and(|end| end > 0 && beginning[end - 1] == b'\r'));
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(Cursor::new(beginning).chain(watched));
    let mut import = Import::begin(tx)?;
    let mut record = StringRecord::new();
    let mut header_read = false;
    while !import.has_enough() {
        since.set(0);
        match reader.read_record(&mut record) {
            Ok(true) if is_blank(&record) => {}
            Ok(true) if !header_read => header_read = true,
            Ok(true) => {
                let line = skipped + late + record.position().map_or(0, csv::Position::line);
                match row(columns.kind, &plan, width, &record) {
                    Ok(parsed) => import.take(tx, line, parsed)?,
                    Err(errors) => errors
                        .into_iter()
                        .try_for_each(|detail| import.wrong(tx, line, detail))?,
                }
            }
            Ok(false) => break,
            Err(error) => match failure(&error) {
                Some((line, detail)) => {
                    let line = line.map_or_else(|| reader.position().line(), |line| line + late);
                    import.wrong(tx, skipped + line, detail)?;
                    if matches!(error.kind(), ErrorKind::Io(_)) {
                        break;
                    }
                }
                None => return Err(Error::internal(error.to_string())),
            },
        }
    }
    let counts = import.finish(tx)?;
    let digest = hex(&digest.borrow().clone().finalize());
    tx.record(
        Event::new(Action::DirectoryImported, "directory", "import")
            .after(serde_json::json!({"counts": counts, "table_sha256": digest, "kind": columns.kind})),
    );
    Ok(counts)
}

/// The number of bytes in which the header must be.
const BEGINNING: u64 = 64 * 1024;
/// The byte order mark that some programs write before UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// How a table is read.
struct Layout {
    delimiter: u8,
    plan: Plan,
    /// The number of columns in the header.
    columns: usize,
    /// The number of bytes before the header that are skipped.
    skip: usize,
}

/// Returns whether a row contains no value.
fn is_blank(record: &StringRecord) -> bool {
    record.iter().all(|cell| cell.trim().is_empty())
}

/// Detects from its beginning how a table is read. If the header does not fit the expected separator, another
/// separator is tried, because spreadsheets in some languages write semicolons into CSV.
fn layout(columns: &Columns, format: Format, beginning: &[u8]) -> std::result::Result<Layout, String> {
    if beginning.starts_with(b"\xff\xfe") || beginning.starts_with(b"\xfe\xff") {
        return Err("the file is UTF-16; save it as UTF-8".to_owned());
    }
    if beginning.starts_with(b"PK\x03\x04") {
        return Err("the file is a spreadsheet or an archive; save the sheet as CSV UTF-8".to_owned());
    }
    let mut skip = if beginning.starts_with(BOM) { BOM.len() } else { 0 };
    let said = match format {
        Format::Csv => b',',
        Format::Tsv => b'\t',
    };
    let mut delimiters = vec![said];
    // A first line such as `sep=;` tells spreadsheet programs the separator.
    if let Some(line) = beginning[skip..].split_inclusive(|byte| *byte == b'\n').next()
        && let Some([separator, rest @ ..]) = line.strip_prefix(b"sep=")
        && rest.iter().all(u8::is_ascii_whitespace)
    {
        skip += line.len();
        delimiters = vec![*separator];
    }
    let beginning = &beginning[skip.min(beginning.len())..];
    for other in [b',', b';', b'\t', b'|'] {
        if !delimiters.contains(&other) {
            delimiters.push(other);
        }
    }
    // If no separator fits, the error is about the one that gives the most columns.
    let mut most = 0;
    let mut best = (delimiters[0], String::new());
    for delimiter in &delimiters {
        let header = header(beginning, *delimiter);
        let columns_found = header.as_ref().map_or(0, StringRecord::len);
        let found = header.and_then(|header| {
            let plan = plan(columns, &header)?;
            Ok(Layout {
                delimiter: *delimiter,
                columns: header.len(),
                plan,
                skip,
            })
        });
        match found {
            Ok(layout) => return Ok(layout),
            Err(error) if best.1.is_empty() || columns_found > most => {
                most = columns_found;
                best = (*delimiter, error);
            }
            Err(_) => {}
        }
    }
    let (delimiter, error) = best;
    if delimiter == delimiters[0] {
        return Err(error);
    }
    let name = match delimiter {
        b',' => "commas",
        b';' => "semicolons",
        b'\t' => "tabs",
        _ => "vertical bars",
    };
    Err(format!("the columns are separated by {name}, and {error}"))
}

/// Returns the first row that contains a value.
fn header(beginning: &[u8], delimiter: u8) -> std::result::Result<StringRecord, String> {
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(beginning);
    for record in reader.records() {
        let record = record.map_err(|error| {
            failure(&error).map_or_else(|| "the header cannot be read".to_owned(), |(_, detail)| detail)
        })?;
        if !is_blank(&record) {
            if record.iter().any(|name| name.contains('\0')) {
                return Err(
                    "the header contains NUL characters: the file may be UTF-16; save it as UTF-8".to_owned(),
                );
            }
            return Ok(record);
        }
    }
    Err("the first row must contain the names of the columns".to_owned())
}

/// Returns why the file cannot be read, and on which line. None if the file is not the cause.
fn failure(error: &csv::Error) -> Option<(Option<u64>, String)> {
    let line = error.position().map(csv::Position::line);
    match error.kind() {
        ErrorKind::Utf8 { .. } => Some((line, "is not UTF-8; save the file as UTF-8".to_owned())),
        ErrorKind::Io(error) if error.to_string() == TOO_LONG => Some((line, TOO_LONG.to_owned())),
        _ => None,
    }
}

/// Turns a row into an import line. An empty cell is no value.
fn row(
    kind: LineKind,
    plan: &Plan,
    width: usize,
    record: &StringRecord,
) -> std::result::Result<crate::directory::line::Line, Vec<String>> {
    let more = record.iter().skip(width).any(|cell| !cell.trim().is_empty());
    if more || record.len() < plan.least {
        let cells = record.len();
        return Err(vec![format!("has {cells} cells, but the header has {width}")]);
    }
    if let Some(number) = plan
        .unnamed
        .iter()
        .find(|index| record.get(**index).is_some_and(|cell| !cell.trim().is_empty()))
    {
        return Err(vec![format!(
            "has a value in column {}, which has no name in the header",
            number + 1
        )]);
    }
    let values: Vec<(&str, Value)> = plan
        .fields
        .iter()
        .map(|(field, _, cell)| {
            let value = match cell {
                Place::Constant(value) => value.clone(),
                Place::At(index) => match record.get(*index) {
                    None | Some("") => Value::Null,
                    Some(text) => Value::from(text),
                },
            };
            (field.as_str(), value)
        })
        .collect();
    // A reference is complete or absent: a constant type of a parent without an ID is no reference.
    let empty = |name: &str| {
        values
            .iter()
            .any(|(field, value)| *field == name && value.is_null())
    };
    let cells = values
        .iter()
        .filter(|(field, _)| *field != "parent_type" || !empty("parent_id"))
        .map(|(field, value)| (*field, value));
    mapping::line(kind, cells).map_err(|wrong| {
        wrong
            .into_iter()
            .map(|wrong| {
                let column = plan
                    .fields
                    .iter()
                    .find(|(field, _, _)| *field == wrong.field)
                    .map(|(_, column, _)| column.as_str());
                let detail = match wrong.detail.as_str() {
                    "is missing or null" if column.is_some() => "is empty",
                    detail => detail,
                };
                match column {
                    Some(column) => format!("column '{column}': {detail}"),
                    None if wrong.field.is_empty() => detail.to_owned(),
                    None => format!("{}: {detail}", wrong.field),
                }
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_checked() {
        let parsed = |text| Columns::parse(Some("resource"), Some(text)).map(|columns| columns.fields);
        assert_eq!(
            parsed("type:=file,id:file_id,label_tier:plan").unwrap().unwrap(),
            [
                ("type".to_owned(), Origin::Value("file".to_owned())),
                ("id".to_owned(), Origin::Column("file_id".to_owned())),
                ("label_tier".to_owned(), Origin::Column("plan".to_owned())),
            ]
        );
        for wrong in [
            "",
            "id",
            "id:a",
            "type:=f,id:",
            "type:=f,id:a,id:b",
            "type:=f,id:a,email:b",
            "type:=f,id:a,",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
        assert!(Columns::parse(None, None).is_err());
        assert!(Columns::parse(Some("thing"), None).is_err());
    }
}
