//! Backup and restore: one consistent file, taken while the service runs. The file is an embedded database, from
//! whichever kind it was taken, so that a backup can be looked at, and can move a service from one kind to the other.
//!
//! Must never happen here: a file that is half a backup under the name of a whole one, or data replaced without being
//! asked twice.

use std::path::Path;

use diesel::prelude::*;

use crate::audit::{self, Action, Actor, Event};
use crate::auth::sessions;
use crate::base::error::{Error, Result};
use crate::base::time::Clock;
use crate::config::Config;
use crate::db::schema::{accounts, audit_events, incidents, integrations, people};
use crate::db::{Conn, DatabaseUrl, Db, connect_alone, dialect, file, migrate, migrate_conn};

/// Writes a consistent copy to a file that does not exist yet.
///
/// # Errors
/// `Conflict` where the file exists; `Internal` where it cannot be written.
pub async fn backup(db: &Db, file: &Path) -> Result<()> {
    if file.exists() {
        return Err(Error::Conflict(format!("{} exists already", file.display())));
    }
    let part = file.with_extension("part");
    let name = part
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::invalid("", "the file's name is not UTF-8"))?;
    // What an interrupted backup left is in the way.
    remove(&name)?;
    file::create_private(&name).map_err(Error::internal)?;
    let copied = if db.url().sqlite_path().is_some() {
        let name = name.clone();
        db.bare(move |conn| dialect::copy_to_file(conn, &name, || Err(Error::internal("not needed"))))
            .await
    } else {
        let name = name.clone();
        // One read transaction sees one state, however long it takes.
        db.read(move |conn| dialect::copy_to_file(conn, &name, || fresh_file(&name)))
            .await
    };
    if let Err(error) = copied {
        remove(&name)?;
        return Err(error);
    }
    blocking(move || dialect::fold_log(&mut connect_alone(&DatabaseUrl::Sqlite(name))?)).await?;
    std::fs::File::open(&part)
        .and_then(|file| file.sync_all())
        .map_err(Error::internal)?;
    std::fs::rename(&part, file).map_err(Error::internal)
}

fn fresh_file(name: &str) -> Result<Conn> {
    let mut conn = connect_alone(&DatabaseUrl::Sqlite(name.to_owned()))?;
    migrate_conn(&mut conn)?;
    Ok(conn)
}

/// Removes an embedded database that is only a part of an attempt.
fn remove(name: &str) -> Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::remove_file(format!("{name}{suffix}")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::internal(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Whether nobody has put anything into a database.
fn is_empty(conn: &mut Conn) -> Result<bool> {
    let mut rows: i64 = accounts::table.count().get_result(conn)?;
    rows += people::table.count().get_result::<i64>(conn)?;
    rows += incidents::table.count().get_result::<i64>(conn)?;
    rows += integrations::table.count().get_result::<i64>(conn)?;
    Ok(rows == 0)
}

/// Puts a backup in the place of the settings' database, whole or not at all.
///
/// # Errors
/// `Conflict` where the database holds something and `force` is not given; `Unavailable` where a process is connected to
/// it; `Invalid` where the file is no backup, or its audit trail does not hold.
pub async fn restore(config: &Config, file: &Path, force: bool) -> Result<()> {
    let url =
        DatabaseUrl::parse(&config.database_url).map_err(|reason| Error::invalid("database_url", reason))?;
    if !file.is_file() {
        return Err(Error::NotFound(file.display().to_string()));
    }
    // A checked copy, so that the backup itself stays as it is. Beside an embedded target, to be moved in one step.
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
    // Held to the end, so that no process begins to serve from what is being replaced.
    let locks = target.as_deref().map(file::lock).transpose()?;
    remove(&part)?;
    std::fs::copy(file, &part).map_err(Error::internal)?;
    file::make_private(Path::new(&part));
    let (to, from) = (target.map_or(url.clone(), DatabaseUrl::Sqlite), part.clone());
    let replaced = blocking(move || {
        check(&from)?;
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
        // Some may have been ended since the backup.
        sessions::end_all(tx.conn)?;
        tx.record(Event::new(Action::DatabaseRestored, "database", from));
        Ok(())
    });
    recorded.await?;
    drop((locks, replacement));
    Ok(())
}

/// Whether a file is a backup of ours whose audit trail holds; then all of it is in the one file.
fn check(part: &str) -> Result<()> {
    let no_backup = |_| Error::invalid("", "the file is no backup of Candor's");
    // One connection, no pool: nobody else may have the file open when it is sealed and moved.
    let mut conn = connect_alone(&DatabaseUrl::Sqlite(part.to_owned())).map_err(no_backup)?;
    audit_events::table
        .count()
        .get_result::<i64>(&mut conn)
        .map_err(|error| no_backup(error.into()))?;
    migrate_conn(&mut conn)?;
    if let Some(reason) = audit::verify(&mut conn)?.reason {
        return Err(Error::invalid(
            "",
            format!("the backup's audit trail does not hold: {reason}"),
        ));
    }
    dialect::fold_log(&mut conn)
}

/// Runs work that blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

/// Replaces the database. Of an embedded one, answers the lock of its new file: the old one is on a file that is gone.
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
            std::fs::rename(part, target).map_err(Error::internal)?;
            Ok(Some(lock))
        }
        None => {
            let mut file = connect_alone(&DatabaseUrl::Sqlite(part.to_owned()))?;
            dialect::replace_from_file(&mut conn, &mut file)?;
            Ok(None)
        }
    }
}
