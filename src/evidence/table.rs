//! A table of the evidence, which is written twice: as a JSON array for programs and as CSV for spreadsheets.

use std::io::Write as _;

use serde_json::{Map, Value};

use super::bundle::{Bundle, Spool};
use crate::base::error::{Error, Result};
use crate::base::text::cell;

/// A table that is being written.
pub(super) struct Table {
    name: &'static str,
    columns: &'static [&'static str],
    json: Spool,
    csv: csv::Writer<Spool>,
    rows: u64,
}

impl Table {
    /// Starts a table. `name` is the name of its files without the extension.
    ///
    /// # Errors
    /// `Internal` if there is no room for temporary files.
    pub fn new(name: &'static str, columns: &'static [&'static str]) -> Result<Self> {
        let mut csv = csv::Writer::from_writer(Spool::new()?);
        csv.write_record(columns).map_err(Error::internal)?;
        Ok(Table {
            name,
            columns,
            json: Spool::new()?,
            csv,
            rows: 0,
        })
    }

    /// Adds a row. `cells` has one value for each column.
    ///
    /// # Errors
    /// `Internal` if it cannot be written.
    pub fn add(&mut self, cells: Vec<Value>) -> Result<()> {
        let texts = cells.iter().map(text);
        self.csv.write_record(texts).map_err(Error::internal)?;
        let begin: &[u8] = if self.rows == 0 { b"[\n" } else { b",\n" };
        self.json.write_all(begin).map_err(Error::internal)?;
        let names = self.columns.iter().map(|name| (*name).to_owned());
        let row: Map<String, Value> = names.zip(cells).collect();
        serde_json::to_writer(&mut self.json, &row)?;
        self.rows += 1;
        Ok(())
    }

    /// Writes both files into the bundle.
    ///
    /// # Errors
    /// `Internal` if they cannot be written.
    pub fn finish(mut self, bundle: &mut Bundle) -> Result<()> {
        let end: &[u8] = if self.rows == 0 { b"[]\n" } else { b"\n]\n" };
        self.json.write_all(end).map_err(Error::internal)?;
        bundle.add_spool(&format!("data/{}.json", self.name), self.json)?;
        let csv = self
            .csv
            .into_inner()
            .map_err(|error| Error::internal(error.error().to_string()))?;
        bundle.add_spool(&format!("data/{}.csv", self.name), csv)
    }
}

/// Returns a value as the text of a cell.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => cell(text).into_owned(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            cell(&items.join(", ")).into_owned()
        }
        other => other.to_string(),
    }
}
