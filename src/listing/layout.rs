//! How a listing is read: its format, the names of its columns and what they mean.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use super::wanted::Wanted;
use crate::base::error::{Error, FieldError, Result};
use crate::base::time::time_zone;

crate::base::enums::word_enum! {
    /// The format of a listing.
    #[schema(as = ListingFormat)]
    Format, "a format of a listing" {
        /// Columns separated by tabs.
        Tsv = "tsv",
        /// Columns separated by commas.
        Csv = "csv",
        /// One JSON object on each line.
        Ndjson = "ndjson",
        /// The CSV files of an S3 Inventory, described by its `manifest.json` or by `columns`.
        S3Inventory = "s3_inventory",
        /// The JSON array that `rclone lsjson` writes. Folders are left out.
        RcloneLsjson = "rclone_lsjson",
        /// The file that `rclone check --combined` writes. It has the columns `path` and `content`.
        RcloneCheck = "rclone_check",
        /// The lines that `sha256sum` and its relatives write. It has the columns `name` and `checksum`.
        Sha256sum = "sha256sum",
    }
}

crate::base::enums::word_enum! {
    /// The side of `rclone check` that a listing stands for.
    #[schema(as = ListingSide)]
    Side, "a side" {
        /// The first folder that `rclone check` was given.
        Source = "source",
        /// The second folder that `rclone check` was given.
        Destination = "destination",
    }
}

impl Format {
    /// Whether the columns of the format are separated by a character.
    pub fn is_table(self) -> bool {
        matches!(self, Format::Tsv | Format::Csv)
    }
}

/// Which rows of a listing stand for entries that were deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListingGone)]
pub struct Gone {
    /// The column that says it.
    pub column: String,
    /// The values of this column that mean deleted, for example `true`.
    pub values: Vec<String>,
}

/// How a listing is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListingLayout)]
pub struct Layout {
    /// The format in which the listing is written.
    pub format: Format,
    /// The names of the columns, if the listing has no line with names. Only for `tsv`, `csv` and `s3_inventory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// The columns whose names differ from those of the comparison: from the name in the comparison to the name in this
    /// listing, for example `{"identifier": "Key"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mapping: BTreeMap<String, String>,
    /// Which rows stand for deleted entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Gone>,
    /// The column with the time at which the entry was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_at: Option<String>,
    /// The IANA time zone of times without an offset. Without it, such a time cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// A text that stands for no value, for example `NULL`. An empty cell is always no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null: Option<String>,
    /// The character between columns, if it is not the usual one of the format. Only for `tsv` and `csv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Whether a cell may stand in quotation marks. The default is true. Only for `tsv` and `csv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quotes: Option<bool>,
    /// The side that the listing stands for. Only for `rclone_check`. The default is `source` for the expected listing and
    /// `destination` for the observed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// The `manifest.json` of the inventory. The listing is then all of its files, one after the other as they are
    /// stored, in the order of the manifest. Only for `s3_inventory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// The largest share of lines that may be unreadable, from 0 to 1. Above it, reading stops with an error. The default
    /// is 0.01, and ten lines are always allowed then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rejected: Option<f64>,
}

impl Layout {
    /// Creates a layout with the defaults of a format.
    pub fn of(format: Format) -> Self {
        Layout {
            format,
            columns: None,
            mapping: BTreeMap::new(),
            gone: None,
            written_at: None,
            time_zone: None,
            null: None,
            separator: None,
            quotes: None,
            side: None,
            manifest: None,
            max_rejected: None,
        }
    }

    /// Says for which side of `rclone check` the listing stands, if it does not say it itself.
    pub fn standing_for(mut self, side: Side) -> Self {
        if self.format == Format::RcloneCheck {
            self.side = self.side.or(Some(side));
        }
        self
    }

    /// Returns the name that a column of the comparison has in this listing.
    pub fn name_of<'a>(&'a self, column: &'a str) -> &'a str {
        self.mapping.get(column).map_or(column, String::as_str)
    }

    /// Returns the names of the columns, as far as they are known before the listing is read.
    pub(super) fn known_columns(&self) -> Option<Vec<String>> {
        match self.format {
            Format::Tsv | Format::Csv => self.columns.clone(),
            Format::S3Inventory => match &self.manifest {
                Some(manifest) => Some(manifest.columns()),
                None => self.columns.clone(),
            },
            Format::Sha256sum => Some(vec!["name".to_owned(), "checksum".to_owned()]),
            Format::RcloneCheck => Some(vec!["path".to_owned(), "content".to_owned()]),
            Format::Ndjson | Format::RcloneLsjson => None,
        }
    }

    /// Returns the time zone of times without an offset.
    pub(super) fn zone(&self) -> Result<Option<TimeZone>> {
        self.time_zone
            .as_deref()
            .map(|name| time_zone(name).map_err(|reason| Error::invalid("/time_zone", reason)))
            .transpose()
    }

    /// Returns the byte between columns.
    pub(super) fn separator(&self) -> u8 {
        let usual = if self.format == Format::Tsv { b'\t' } else { b',' };
        self.separator
            .as_ref()
            .and_then(|text| text.bytes().next())
            .unwrap_or(usual)
    }

    /// Checks the layout together with the columns that are wanted. `pointer` is the JSON pointer of the layout in the
    /// request.
    ///
    /// # Errors
    /// `Invalid` with every wrong field and its reason.
    pub fn check(&self, pointer: &str, wanted: &Wanted<'_>) -> Result<()> {
        let mut errors = Vec::new();
        self.check_fields(pointer, &mut errors);
        self.check_names(pointer, wanted, &mut errors);
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Error::fields(errors))
        }
    }

    fn check_fields(&self, pointer: &str, errors: &mut Vec<FieldError>) {
        let mut wrong =
            |field: &str, detail: String| errors.push(FieldError::at(format!("{pointer}/{field}"), detail));
        let format = self.format;
        let only = |formats: &str| format!("is only for the formats {formats}, and this one is {format}");
        if let Some(columns) = &self.columns {
            if !(format.is_table() || format == Format::S3Inventory) {
                wrong("columns", only("tsv, csv and s3_inventory"));
            }
            let mut seen = BTreeSet::new();
            if columns.is_empty() {
                wrong("columns", "must name at least one column".to_owned());
            }
            for (index, name) in columns.iter().enumerate() {
                if !name.is_empty() && !seen.insert(name) {
                    wrong(&format!("columns/{index}"), format!("'{name}' is there twice"));
                }
            }
        }
        if let Some(separator) = &self.separator {
            if !format.is_table() {
                wrong("separator", only("tsv and csv"));
            } else if separator.len() != 1 || matches!(separator.as_str(), "\"" | "\n" | "\r" | "\0") {
                let detail =
                    "must be one ASCII character, such as ; or |, and no quotation mark or line break";
                wrong("separator", detail.to_owned());
            }
        }
        if self.quotes.is_some() && !format.is_table() {
            wrong("quotes", only("tsv and csv"));
        }
        if let Some(gone) = &self.gone
            && gone.values.is_empty()
        {
            wrong("gone/values", "must contain at least one value".to_owned());
        }
        if let Some(name) = &self.time_zone
            && let Err(reason) = time_zone(name)
        {
            wrong("time_zone", reason);
        }
        if let Some(share) = self.max_rejected
            && !(0.0..=1.0).contains(&share)
        {
            wrong(
                "max_rejected",
                "must be a share from 0 to 1, such as 0.01".to_owned(),
            );
        }
        match (format, self.side) {
            (Format::RcloneCheck, None) => wrong(
                "side",
                "is missing: a file of rclone check is about two folders; say source or destination"
                    .to_owned(),
            ),
            (Format::RcloneCheck, Some(_)) | (_, None) => {}
            (_, Some(_)) => wrong("side", only("rclone_check")),
        }
        match (format, &self.manifest) {
            (Format::S3Inventory, Some(manifest)) => {
                for (field, detail) in manifest.wrong() {
                    wrong(&format!("manifest/{field}"), detail);
                }
                if self.columns.is_some() {
                    wrong("columns", "is given by the manifest; leave it out".to_owned());
                }
            }
            (Format::S3Inventory, None) if self.columns.is_none() => wrong(
                "manifest",
                "is missing: give the manifest.json of the inventory, or the names of its columns in columns"
                    .to_owned(),
            ),
            (Format::S3Inventory, None) | (_, None) => {}
            (_, Some(_)) => wrong("manifest", only("s3_inventory")),
        }
    }

    fn check_names(&self, pointer: &str, wanted: &Wanted<'_>, errors: &mut Vec<FieldError>) {
        for name in self.mapping.keys() {
            if !wanted.names().any(|column| column == name) {
                let detail = format!("the comparison has no column '{name}'");
                errors.push(FieldError::at(format!("{pointer}/mapping/{name}"), detail));
            }
        }
        let Some(known) = self.known_columns() else { return };
        // Without its columns, the error is about the columns.
        if known.is_empty() {
            return;
        }
        let mut need = |field: &str, name: &str| {
            if !known.iter().any(|column| column == name) {
                let detail = format!(
                    "the listing has no column '{name}'; its columns are {}",
                    known.join(", ")
                );
                errors.push(FieldError::at(format!("{pointer}/{field}"), detail));
            }
        };
        for column in wanted.needed() {
            let name = self.name_of(column);
            if self.mapping.contains_key(column) {
                need(&format!("mapping/{column}"), name);
            } else if self.columns.is_some() {
                need("columns", name);
            } else {
                need("format", name);
            }
        }
        if let Some(gone) = &self.gone {
            need("gone/column", &gone.column);
        }
        if let Some(name) = &self.written_at {
            need("written_at", name);
        }
    }
}
