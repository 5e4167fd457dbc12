//! The restore drill: a backup is restored into a temporary place, with the steps of a real restore, and its audit trail is
//! verified there. The backup itself and the database of the service are not touched, and nothing is left behind.

use std::path::Path;

use diesel::prelude::*;

use super::copy::{self, blocking};
use crate::base::error::{Error, Result};
use crate::db::schema::{accounts, incidents, people};
use crate::db::{DatabaseUrl, connect_alone, dialect, file};

/// What a backup contains, as the drill found it after the restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drill {
    /// The number of audit events, whose chain is intact.
    pub events: i64,
    /// The number of accounts, with archived ones.
    pub accounts: i64,
    /// The number of people, with archived ones.
    pub people: i64,
    /// The number of incidents.
    pub incidents: i64,
}

/// Restores a backup into a temporary folder within `place`, verifies it there, and removes the folder.
///
/// # Errors
/// - `NotFound` if the file does not exist.
/// - `Invalid` with the fault, if the file cannot be restored or its audit trail is not intact.
/// - `Unavailable` if there is no room for the copy.
pub async fn check(backup: &Path, place: &Path) -> Result<Drill> {
    let (backup, place) = (backup.to_owned(), place.to_owned());
    blocking(move || check_blocking(&backup, &place)).await
}

fn check_blocking(backup: &Path, place: &Path) -> Result<Drill> {
    if !backup.is_file() {
        return Err(Error::NotFound(backup.display().to_string()));
    }
    let folder = tempfile::Builder::new()
        .prefix(".candor-check-")
        .tempdir_in(place)
        .map_err(|error| Error::Unavailable(format!("{}: {error}", place.display())))?;
    let restored = folder.path().join("restored.db");
    std::fs::copy(backup, &restored)
        .map_err(|error| Error::Unavailable(format!("the backup cannot be copied: {error}")))?;
    file::make_private(&restored);
    let name = restored
        .to_str()
        .ok_or_else(|| Error::invalid("", "the name of the temporary folder is not UTF-8"))?
        .to_owned();
    copy::verify(&name)?;
    let mut conn = connect_alone(&DatabaseUrl::Sqlite(name))?;
    if let Some(fault) = dialect::damage(&mut conn)? {
        return Err(Error::invalid("", format!("the file is damaged: {fault}")));
    }
    Ok(Drill {
        events: dialect::audit_head(&mut conn)?.0,
        accounts: accounts::table.count().get_result(&mut conn)?,
        people: people::table.count().get_result(&mut conn)?,
        incidents: incidents::table.count().get_result(&mut conn)?,
    })
}
