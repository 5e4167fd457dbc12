//! Writes the whole status page as files, so that it can be served when Candor is not there. The files are those of the live page.
//!
//! The new files are written beside the folder, and then both are exchanged in one step. So a reader never sees a part of an export.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::address::Address;
use super::site::Site;
use crate::base::error::{Error, Result};
use crate::base::language::Language;
use crate::base::random::random_secret;
use crate::db::Db;
use crate::http::static_files;
use crate::status::{self, StatusPage};

/// The file by which a folder is recognised as an export. Another folder is never replaced.
const MARK: &str = ".candor-status";

/// The files that an address has in the folder. Pages have the name that servers of files look for.
fn files(address: &Address) -> Vec<String> {
    let path = address.path();
    let path = path.trim_start_matches('/');
    let page = |path: &str| format!("{path}/index.html");
    match address {
        Address::Home(Language::En) => vec![page(path), page("status"), "index.html".to_owned()],
        Address::Incident(Language::En, number) => {
            vec![page(path), page(&format!("status/incidents/{number}"))]
        }
        Address::Component(Language::En, id) => vec![page(path), page(&format!("status/components/{id}"))],
        Address::Home(_) | Address::Incident(..) | Address::Component(..) => vec![page(path)],
        Address::Json(_) | Address::Atom | Address::Rss | Address::Calendar => vec![path.to_owned()],
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::Unavailable(format!("cannot {what} {}: {error}", path.display()))
}

fn write(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    let file = folder.join(name);
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent).map_err(|error| failed("create", parent, &error))?;
    }
    fs::write(&file, content).map_err(|error| failed("write", &file, &error))
}

/// Checks that a folder may be replaced: it does not exist, is empty, or is an earlier export.
fn check(folder: &Path) -> Result<bool> {
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("read", folder, &error)),
    };
    if entries.next().is_some() && !folder.join(MARK).exists() {
        return Err(Error::Conflict(format!(
            "{} is not empty and is not an export of the status page, so it is not replaced",
            folder.display()
        )));
    }
    Ok(true)
}

/// Writes all files into a folder that does not exist yet. Returns their number.
fn fill(folder: &Path, page: &StatusPage, site: &Site) -> Result<usize> {
    let mut written = 0;
    for address in Address::all(page) {
        let Some(content) = address.content(page, site)? else {
            continue;
        };
        for name in files(&address) {
            write(folder, &name, content.text.as_bytes())?;
            written += 1;
        }
    }
    for (path, content) in static_files::of_status_page() {
        write(folder, path.trim_start_matches('/'), content.as_bytes())?;
        written += 1;
    }
    for (path, content) in &page.brand_files {
        write(folder, path.trim_start_matches('/'), content)?;
        written += 1;
    }
    write(
        folder,
        MARK,
        b"This folder is written by `candor status export`.\n",
    )?;
    Ok(written)
}

/// Writes the status page to a folder, and replaces an earlier export in one step. Returns the number of files.
///
/// # Errors
/// `Conflict` if the folder has other files. `Unavailable` if it cannot be written. The earlier export then stays.
pub fn write_to(folder: &Path, page: &StatusPage, site: &Site) -> Result<usize> {
    let exists = check(folder)?;
    let name = folder
        .file_name()
        .ok_or_else(|| Error::invalid("DIR", "must be the path of a folder"))?
        .to_string_lossy()
        .into_owned();
    let beside = folder.with_file_name(format!(".{name}.{}", &random_secret()?[..12]));
    let result = fill(&beside, page, site).and_then(|written| {
        let flags = match exists {
            true => RenameFlags::EXCHANGE,
            false => RenameFlags::NOREPLACE,
        };
        renameat_with(CWD, &beside, CWD, folder, flags).map_err(|error| {
            Error::Unavailable(format!(
                "cannot replace {}: {error}; it must not be a mount point, so name a folder below one",
                folder.display()
            ))
        })?;
        Ok(written)
    });
    // After the exchange this is the earlier export.
    if let Err(error) = fs::remove_dir_all(&beside)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the earlier export of the status page could not be removed");
    }
    result
}

/// Reads the status page and writes it to a folder. Returns the number of files.
///
/// # Errors
/// An error of the database, or as [`write_to`].
pub async fn export(db: &Db, site: Site, folder: PathBuf) -> Result<usize> {
    let now = db.clock().now();
    let page = db.read(move |conn| status::read(conn, now)).await?;
    tokio::task::spawn_blocking(move || write_to(&folder, &page, &site))
        .await
        .map_err(Error::internal)?
}

/// Where and when the status page is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportSettings {
    /// The folder that each export replaces, from the setting `CANDOR_STATUS_EXPORT_DIR`.
    pub folder: PathBuf,
    /// A cron expression in UTC. The page is also exported after each change.
    pub schedule: String,
}
