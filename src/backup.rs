//! Backup and restore of an embedded database: one file, consistent, taken while it is in use.
//!
//! Must never happen here: a file that is half a backup under the name of a whole one, or data replaced without being asked twice.

use std::path::Path;

use diesel::prelude::*;

use crate::audit::{self, Action, Actor, Event};
use crate::config::Config;
use crate::db::schema::{accounts, audit_events, incidents, integrations, people};
use crate::db::{Conn, DatabaseUrl, Db, dialect, migrate};
use crate::error::{Error, Result};
use crate::time::Clock;

/// Writes a consistent copy to a file that does not exist yet.
///
/// # Errors
/// `Conflict` where the file exists; `Invalid` on PostgreSQL; `Internal` where it cannot be written.
pub async fn backup(db: &Db, file: &Path) -> Result<()> {
    if file.exists() {
        return Err(Error::Conflict(format!("{} exists already", file.display())));
    }
    let part = file.with_extension("part");
    let name = text(&part)?;
    // SQLite copies into a new file only; what an interrupted backup left is in the way.
    if part.exists() {
        std::fs::remove_file(&part).map_err(Error::internal)?;
    }
    db.bare(move |conn| dialect::copy_to_file(conn, &name)).await?;
    std::fs::File::open(&part)
        .and_then(|file| file.sync_all())
        .map_err(Error::internal)?;
    std::fs::rename(&part, file).map_err(Error::internal)
}

fn text(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::invalid("", "the file's name is not UTF-8"))
}

/// Whether somebody has put anything into a database.
fn is_empty(conn: &mut Conn) -> Result<bool> {
    let mut rows: i64 = accounts::table.count().get_result(conn)?;
    rows += people::table.count().get_result::<i64>(conn)?;
    rows += incidents::table.count().get_result::<i64>(conn)?;
    rows += integrations::table.count().get_result::<i64>(conn)?;
    Ok(rows == 0)
}

/// Puts a backup in the place of the settings' database.
///
/// # Errors
/// `Conflict` where the database holds something and `force` is not given, or is in use; `Invalid` where the file is
/// no backup, where its audit trail does not hold, or on PostgreSQL.
pub async fn restore(config: &Config, file: &Path, force: bool) -> Result<()> {
    let url =
        DatabaseUrl::parse(&config.database_url).map_err(|reason| Error::invalid("database_url", reason))?;
    let Some(target) = url.sqlite_path().map(str::to_owned) else {
        return Err(Error::invalid("", "this database is PostgreSQL: use pg_restore"));
    };
    if !file.is_file() {
        return Err(Error::NotFound(file.display().to_string()));
    }
    // A copy beside the target: checked first, then moved into place in one step.
    let part = format!("{target}.restoring");
    let copied = std::fs::copy(file, &part).map_err(Error::internal);
    let checked = match copied {
        Ok(_) => check(&part).await,
        Err(error) => Err(error),
    };
    let cleared = match checked {
        Ok(()) => clear(&url, &target, force).await,
        Err(error) => Err(error),
    };
    if let Err(error) = cleared {
        // What is left of the attempt must not lie about; the reason is what matters to the caller.
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{part}{suffix}"));
        }
        return Err(error);
    }
    std::fs::rename(&part, &target).map_err(Error::internal)?;
    let db = Db::open(url, Clock::system()).await?;
    migrate(&db).await?;
    let from = file.display().to_string();
    db.write(&Actor::system("command line"), move |tx| {
        tx.record(Event::new(Action::DatabaseRestored, "database", from));
        Ok(())
    })
    .await
}

/// Whether a file is a backup of ours whose audit trail holds.
async fn check(part: &str) -> Result<()> {
    let no_backup = |_| Error::invalid("", "the file is no backup of Candor's");
    let db = Db::open(DatabaseUrl::Sqlite(part.to_owned()), Clock::system())
        .await
        .map_err(no_backup)?;
    db.bare(|conn| Ok(audit_events::table.count().get_result::<i64>(conn)?))
        .await
        .map_err(no_backup)?;
    migrate(&db).await?;
    let found = db.read(audit::verify).await?;
    match found.reason {
        None => db.bare(dialect::fold_log).await,
        Some(reason) => Err(Error::invalid(
            "",
            format!("the backup's audit trail does not hold: {reason}"),
        )),
    }
}

/// Takes the present database out of the way.
async fn clear(url: &DatabaseUrl, target: &str, force: bool) -> Result<()> {
    if Path::new(target).exists() {
        let _lock = crate::app::lock_beside(target)?;
        let db = Db::open(url.clone(), Clock::system()).await?;
        migrate(&db).await?;
        if !force && !db.read(is_empty).await? {
            return Err(Error::Conflict(
                "the database is not empty; give --force to replace it".to_owned(),
            ));
        }
        drop(db);
    }
    for suffix in ["-wal", "-shm"] {
        let name = format!("{target}{suffix}");
        if Path::new(&name).exists() {
            std::fs::remove_file(&name).map_err(Error::internal)?;
        }
    }
    Ok(())
}
