//! The time for which resources and accounts were impaired, as CSV with a first line of names.

use super::impact::{of_accounts, of_resources};
use crate::base::error::{Error, Result};
use crate::base::id::IncidentId;
use crate::base::text::cell;
use crate::base::time::Timestamp;
use crate::db::Conn;

/// The number of resources that are read at once.
const STEP: i64 = 5_000;

fn write(writer: &mut csv::Writer<Vec<u8>>, cells: &[String]) -> Result<()> {
    let cells = cells.iter().map(|text| cell(text));
    writer
        .write_record(cells.map(std::borrow::Cow::into_owned))
        .map_err(Error::internal)
}

fn finish(writer: csv::Writer<Vec<u8>>) -> Result<Vec<u8>> {
    writer
        .into_inner()
        .map_err(|error| Error::internal(error.error().to_string()))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Returns how long each affected resource was impaired.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn resources(conn: &mut Conn, incident: &IncidentId, now: Timestamp) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let columns = [
        "type",
        "id",
        "name",
        "account",
        "impaired_from",
        "impaired_to",
        "impairments",
        "affected_minutes",
        "finding",
    ];
    write(&mut writer, &names(&columns))?;
    let mut after = None;
    loop {
        let rows = of_resources(conn, incident, (after, STEP), now)?;
        let Some(last) = rows.last().map(|row| row.key) else {
            break;
        };
        after = Some(last);
        for row in &rows {
            let cells = [
                row.resource.type_.to_string(),
                row.resource.id.to_string(),
                row.name.clone().unwrap_or_default(),
                row.account.clone().unwrap_or_default(),
                row.impaired_from.to_string(),
                row.impaired_to.map(|at| at.to_string()).unwrap_or_default(),
                row.impairments.to_string(),
                row.affected_minutes.to_string(),
                row.finding.clone().unwrap_or_default(),
            ];
            write(&mut writer, &cells)?;
        }
        if (rows.len() as i64) < STEP {
            break;
        }
    }
    finish(writer)
}

/// Returns how long each account was impaired.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn accounts(conn: &mut Conn, incident: &IncidentId, now: Timestamp) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let columns = [
        "account",
        "name",
        "resources",
        "impaired_from",
        "impaired_to",
        "affected_minutes",
        "resource_minutes",
    ];
    write(&mut writer, &names(&columns))?;
    for row in of_accounts(conn, incident, now)? {
        let cells = [
            row.account,
            row.name,
            row.resources.to_string(),
            row.impaired_from.to_string(),
            row.impaired_to.map(|at| at.to_string()).unwrap_or_default(),
            row.affected_minutes.to_string(),
            row.resource_minutes.to_string(),
        ];
        write(&mut writer, &cells)?;
    }
    finish(writer)
}
