//! The file of an SQLite database: its permissions, and the lock that lets only one process serve from it.
//!
//! The lock is on the file itself, so a symlink or another spelling of the path leads to the same lock. It
//! uses `flock`, which does not affect the byte ranges that SQLite locks with `fcntl`. But there is one
//! connection between them. When a process closes any descriptor of a file, it loses all its `fcntl` locks on
//! this file, including those of SQLite. So a file that was opened here stays open until the process ends.
//!
//! A file with hard links is refused. SQLite finds its write-ahead log by the name of the file, so two
//! processes that use different names of one file write two logs, and neither sees what the other has written.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::error::{Error, Result};

/// The endings of the files that SQLite and the delivery workers create next to the database file.
const BESIDE: [&str; 4] = ["-wal", "-shm", "-journal", ".receipts"];

/// The device and the inode, which identify a file for every path to it.
type Identity = (u64, u64);

struct Opened {
    file: Arc<File>,
    held: bool,
}

/// The files that this process has opened to lock them. They are never closed, for the reason given above.
static OPENED: Mutex<BTreeMap<Identity, Opened>> = Mutex::new(BTreeMap::new());

/// The lock for serving from a file. It ends when this value is dropped, or with the process.
#[derive(Debug)]
pub struct FileLock {
    identity: Identity,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = opened.get_mut(&self.identity) {
            if let Err(error) = opened.file.unlock() {
                tracing::warn!(%error, "the lock of the database file could not be released");
            }
            opened.held = false;
        }
    }
}

fn identity(path: &str) -> io::Result<Identity> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Refuses a file that has more than one name. A file that does not exist is accepted.
///
/// # Errors
/// `Unavailable` if the file has hard links, or if its metadata cannot be read.
pub fn has_one_name(path: &str) -> Result<()> {
    let names = match fs::metadata(path) {
        Ok(metadata) => metadata.nlink(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Error::Unavailable(format!(
                "cannot open the database: {path}: {error}"
            )));
        }
    };
    if names > 1 {
        return Err(Error::Unavailable(format!(
            "the database file {path} has {names} names (hard links). SQLite keeps a separate write-ahead log for each name, \
             so processes that use different names would damage the database. Remove the other names (`find / -xdev -samefile {path}` \
             lists them), or use a symlink or a copy that `candor backup` makes"
        )));
    }
    Ok(())
}

/// Takes the lock for serving from the file at `path`. The file is created if it does not exist.
///
/// # Errors
/// `Unavailable` if another process holds the lock, if the file has hard links, or if it cannot be opened.
pub fn lock(path: &str) -> Result<FileLock> {
    let cannot = |error: io::Error| Error::Unavailable(format!("cannot open the database: {path}: {error}"));
    let busy = || {
        Error::Unavailable(format!(
            "another process already uses {path}; an SQLite database allows only one process (use PostgreSQL for more)"
        ))
    };
    // A restore may put another file at the path between two of these steps. Then the lock is on a file that
    // does not exist any more, so try again.
    for _ in 0..10 {
        has_one_name(path)?;
        create_private(path).map_err(cannot)?;
        let identity_now = identity(path).map_err(cannot)?;
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match opened.get(&identity_now) {
            Some(opened) if opened.held => return Err(busy()),
            Some(opened) => opened.file.clone(),
            None => {
                let file = File::options()
                    .read(true)
                    .write(true)
                    .open(path)
                    .map_err(cannot)?;
                let metadata = file.metadata().map_err(cannot)?;
                let file = Arc::new(file);
                let entry = Opened {
                    file: file.clone(),
                    held: false,
                };
                let own = (metadata.dev(), metadata.ino());
                opened.insert(own, entry);
                if own != identity_now {
                    continue;
                }
                file
            }
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(busy()),
            Err(fs::TryLockError::Error(error)) => return Err(cannot(error)),
        }
        if identity(path).is_ok_and(|identity| identity == identity_now) {
            if let Some(opened) = opened.get_mut(&identity_now) {
                opened.held = true;
            }
            return Ok(FileLock {
                identity: identity_now,
            });
        }
        file.unlock().map_err(cannot)?;
    }
    Err(Error::Unavailable(format!(
        "the database file {path} is being replaced again and again"
    )))
}

/// Returns the path of a file after following symlinks. If the file does not exist, the given path is
/// returned.
pub fn real_path(path: &str) -> String {
    match fs::canonicalize(path) {
        Ok(real) => real.to_str().unwrap_or(path).to_owned(),
        Err(_) => path.to_owned(),
    }
}

/// Returns whether both paths lead to the same file.
pub fn is_same(one: &str, other: &str) -> bool {
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

/// Creates the file if it does not exist, and removes the permissions of other users from it and from the
/// files next to it.
///
/// # Errors
/// An I/O error, if the file cannot be created. If the permissions cannot be changed because the file belongs
/// to another user, only a warning is logged.
pub fn create_private(path: &str) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // An existing file is not opened, because closing it would release the locks of SQLite.
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)?;
        }
        Err(error) => return Err(error),
    }
    make_private(Path::new(path));
    for suffix in BESIDE {
        make_private(Path::new(&format!("{path}{suffix}")));
    }
    Ok(())
}

/// Removes the permissions of other users from an existing file.
pub fn make_private(path: &Path) {
    let Ok(metadata) = fs::metadata(path) else { return };
    let mode = metadata.permissions().mode();
    if metadata.is_file()
        && mode & 0o077 != 0
        && let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode & 0o600))
    {
        tracing::warn!(path = %path.display(), %error, "other users may read this file, and its permissions \
        cannot be changed");
    }
}

/// Returns the bytes on the disk of the file that are free for a user without special rights.
///
/// # Errors
/// An error of the operating system.
pub fn free_space(path: &str) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
