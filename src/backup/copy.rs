//! Writes a backup to a file, and replaces a database with one.
//!
//! - An incomplete backup never has the name of a complete one.
//! - A backup holds up no write of the service.
//! - Existing data is never replaced without an explicit option.

use std::path::Path;

use diesel::prelude::*;

use crate::audit::{self, Action, Actor, Event};
use crate::auth::sessions;
use crate::base::error::{Error, Result};
use crate::base::time::Clock;
use crate::db::schema::{accounts, audit_events, backups, incidents, integrations, people};
use crate::db::{Conn, DatabaseUrl, Db, connect_alone, connect_beside, dialect, file, migrate, migrate_conn};

/// A backup that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The size of the file, in bytes.
    pub bytes: u64,
    /// The number of the last audit event that the backup contains.
    pub events: i64,
}

/// Writes a consistent copy of the database to a file that must not exist yet. Everything that was committed before the
/// call is in it. Only the owner of the file may read it.
///
/// # Errors
/// `Conflict` if the file exists, `Internal` if it cannot be written.
pub async fn backup(db: &Db, file: &Path) -> Result<Written> {
    if file.exists() {
        return Err(Error::Conflict(format!("{} already exists", file.display())));
    }
    let part = file.with_extension("part");
    let name = part
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::invalid("", "the file's name is not UTF-8"))?;
    // An interrupted backup may have left this file.
    remove(&name)?;
    file::create_private(&name).map_err(Error::internal)?;
    let copied = if dialect::copies_while_it_reads(db.url()) {
        let name = name.clone();
        // One read transaction sees one consistent state, even if it takes long.
        db.read(move |conn| dialect::copy_to_file(conn, &name, || fresh_file(&name)))
            .await
    } else {
        let (name, url) = (name.clone(), db.url().clone());
        // A connection of its own, because the pool has only one that writes: it would hold up every change until the copy is
        // complete.
        blocking(move || {
            let mut conn = connect_beside(&url)?;
            dialect::copy_to_file(&mut conn, &name, || Err(Error::internal("not needed")))
        })
        .await
    };
    if let Err(error) = copied {
        remove(&name)?;
        return Err(error);
    }
    let events = blocking(move || {
        let mut conn = connect_alone(&DatabaseUrl::Sqlite(name))?;
        dialect::fold_log(&mut conn)?;
        Ok(dialect::audit_head(&mut conn)?.0)
    })
    .await?;
    let file = file.to_owned();
    blocking(move || {
        let written = std::fs::File::open(&part).map_err(Error::internal)?;
        written.sync_all().map_err(Error::internal)?;
        let bytes = written.metadata().map_err(Error::internal)?.len();
        std::fs::rename(&part, &file).map_err(Error::internal)?;
        sync_folder(&file)?;
        Ok(Written { bytes, events })
    })
    .await
}

/// Makes the name of a file survive a loss of power.
fn sync_folder(file: &Path) -> Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::internal)
}

fn fresh_file(name: &str) -> Result<Conn> {
    let mut conn = connect_alone(&DatabaseUrl::Sqlite(name.to_owned()))?;
    migrate_conn(&mut conn)?;
    Ok(conn)
}

/// Removes an SQLite database that is not needed.
///
/// # Errors
/// `Internal` if a file cannot be removed. A file that does not exist is no error.
pub(super) fn remove(name: &str) -> Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::remove_file(format!("{name}{suffix}")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::internal(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Returns whether a database contains no data of a user.
fn is_empty(conn: &mut Conn) -> Result<bool> {
    let mut rows: i64 = accounts::table.count().get_result(conn)?;
    rows += people::table.count().get_result::<i64>(conn)?;
    rows += incidents::table.count().get_result::<i64>(conn)?;
    rows += integrations::table.count().get_result::<i64>(conn)?;
    Ok(rows == 0)
}

/// Replaces the database at a URL with a backup. If this fails, the database stays unchanged.
///
/// # Errors
/// - `NotFound` if the file does not exist.
/// - `Conflict` if the database contains data and `force` is false, or if the file is the database itself.
/// - `Unavailable` if a process is connected to the database.
/// - `Invalid` if the file is not a backup or its audit trail is not intact.
pub async fn restore(database_url: &str, file: &Path, force: bool) -> Result<()> {
    let url = DatabaseUrl::parse(database_url).map_err(|reason| Error::invalid("database_url", reason))?;
    if !file.is_file() {
        return Err(Error::NotFound(file.display().to_string()));
    }
    // A checked copy is restored, so that the backup itself stays unchanged. If the target is SQLite, the
    // copy is in the same folder, so that it can be moved in one step.
    let folder = tempfile::tempdir().map_err(Error::internal)?;
    let target = url.sqlite_path().map(file::real_path);
    let part = match &target {
        Some(target) => format!("{target}.restoring"),
        None => folder.path().join("restoring.db").display().to_string(),
    };
    if let (Some(target), Some(file)) = (&target, file.to_str())
        && file::is_same(target, file)
    {
        return Err(Error::Conflict(format!("{file} is the database itself")));
    }
    // The locks are held until the end, so that no process starts to serve the database that is being
    // replaced.
    let locks = target.as_deref().map(file::lock).transpose()?;
    remove(&part)?;
    std::fs::copy(file, &part).map_err(Error::internal)?;
    file::make_private(Path::new(&part));
    let (to, from) = (target.map_or(url.clone(), DatabaseUrl::Sqlite), part.clone());
    let replaced = blocking(move || {
        verify(&from)?;
        replace(&to, &from, force)
    })
    .await;
    remove(&part)?;
    let replacement = replaced?;
    let db = Db::open(url, Clock::system()).await?;
    migrate(&db).await?;
    let from = file.display().to_string();
    let actor = Actor::system("command line");
    let recorded = db.write(&actor, move |tx| {
        // Some of these sessions may have been ended after the backup was made.
        sessions::end_all(tx.conn)?;
        // A backup that was queued or being made when this one was taken is of another process.
        diesel::delete(backups::table.filter(backups::active.is_not_null())).execute(tx.conn)?;
        tx.record(Event::new(Action::DatabaseRestored, "database", from));
        Ok(())
    });
    recorded.await?;
    drop((locks, replacement));
    Ok(())
}

/// Checks that a file is a backup of Candor with an intact audit trail. Afterwards it has the schema of this version, and
/// all data is in this one file.
///
/// # Errors
/// `Invalid` with the reason, if the file is not a backup or its audit trail is not intact.
pub(super) fn verify(part: &str) -> Result<()> {
    let no_backup = |_| Error::invalid("", "the file is not a backup of Candor");
    // One connection is used instead of a pool, because no other connection may have the file open when it is
    // closed and moved.
    let mut conn = connect_alone(&DatabaseUrl::Sqlite(part.to_owned())).map_err(no_backup)?;
    audit_events::table
        .count()
        .get_result::<i64>(&mut conn)
        .map_err(|error| no_backup(error.into()))?;
    migrate_conn(&mut conn)?;
    if let Some(reason) = audit::verify(&mut conn)?.reason {
        return Err(Error::invalid(
            "",
            format!("the audit trail in the backup is not intact: {reason}"),
        ));
    }
    dialect::fold_log(&mut conn)
}

/// Runs blocking work on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

/// Replaces the database. For SQLite, returns the lock of the new file, because the old lock belongs to a
/// file that does not exist any more.
fn replace(url: &DatabaseUrl, part: &str, force: bool) -> Result<Option<file::FileLock>> {
    let target = url.sqlite_path().map(str::to_owned);
    let mut conn = connect_alone(url)?;
    migrate_conn(&mut conn)?;
    if !force && !is_empty(&mut conn)? {
        return Err(Error::Conflict(
            "the database is not empty; give --force to replace it".to_owned(),
        ));
    }
    match target {
        Some(target) => {
            dialect::seize(&mut conn)?;
            let lock = file::lock(part)?;
            // After a loss of power there is either the old database or the whole new one.
            std::fs::File::open(part)
                .and_then(|file| file.sync_all())
                .map_err(Error::internal)?;
            std::fs::rename(part, &target).map_err(Error::internal)?;
            sync_folder(Path::new(&target))?;
            Ok(Some(lock))
        }
        None => {
            let mut file = connect_alone(&DatabaseUrl::Sqlite(part.to_owned()))?;
            dialect::replace_from_file(&mut conn, &mut file)?;
            Ok(None)
        }
    }
}
