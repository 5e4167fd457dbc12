//! The service that makes backups: by the schedule, and because somebody asked. It also makes the restore drills and removes old
//! files. It runs in every process that has a folder for backups.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::check;
use super::claims::{self, Claimed, Work};
use super::copy;
use super::history::{self, Cause};
use super::retention;
use super::settings::BackupSettings;
use crate::audit::{Action, Actor, Event};
use crate::base::error::{Error, Result};
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::{Db, dialect};
use crate::directory::source::cron;
use crate::work::{Lease, Next, Service, Stop};

/// How long a claim lasts without being renewed.
const LEASE: Duration = Duration::from_secs(60);
/// After a backup of the schedule failed, the next one is tried after this time.
const AGAIN: Duration = Duration::from_secs(15 * 60);
/// How far back a time of the schedule is made up for that passed while no process ran.
const MISSED: Duration = Duration::from_secs(24 * 3_600);
/// The longest text of an error that is stored, in characters.
const LONGEST: usize = 1_000;

/// The background service that makes and checks backups, and removes old files.
pub struct Backups {
    db: Db,
    settings: BackupSettings,
    /// Since when this process looks at the schedule.
    since: Timestamp,
    /// Whether what an earlier process left was ended.
    began: bool,
}

impl Backups {
    /// Creates the service, and the folder for backups if it does not exist. Nobody else may read the new folder.
    ///
    /// # Errors
    /// `Invalid` if the folder cannot be created or is not a folder.
    pub fn new(db: Db, settings: BackupSettings) -> Result<Backups> {
        private_folder(&settings.folder)?;
        Ok(Backups {
            since: db.clock().now(),
            db,
            settings,
            began: false,
        })
    }

    /// Returns the time of the schedule that is to be served now.
    fn due(&self, last: Option<(Timestamp, Option<Timestamp>)>, now: Timestamp) -> Option<Timestamp> {
        let schedule = self.settings.schedule.as_deref()?;
        if let Some((_, Some(failed))) = last
            && failed.plus(AGAIN) <= now
        {
            return Some(failed.plus(AGAIN));
        }
        let after = last.map_or(self.since, |(due, _)| due).max(now.minus(MISSED));
        let mut due = cron::next(schedule, after).filter(|next| *next <= now)?;
        // One backup makes up for all times that were missed.
        while let Some(next) = cron::next(schedule, due).filter(|next| *next <= now) {
            due = next;
        }
        Some(due)
    }

    async fn queue_due(&self, due: Timestamp) -> Result<()> {
        self.db
            .write(&actor(), move |tx| {
                if let Some(id) = history::queue_due(tx.conn, due, tx.now)? {
                    tx.record(
                        Event::new(Action::BackupRequested, "backup", id.as_str())
                            .after(json!({"cause": Cause::Schedule, "due_at": due})),
                    );
                }
                Ok(())
            })
            .await
    }

    async fn carry_out(&self, claimed: Claimed, stop: &Stop) -> Result<()> {
        match &claimed.work {
            Work::Write(cause) => self.write(&claimed, *cause, stop).await,
            Work::Check(file) => self.check(&claimed, file, stop).await,
        }
    }

    async fn write(&self, claimed: &Claimed, cause: Cause, stop: &Stop) -> Result<()> {
        let folder = &self.settings.folder;
        let name = retention::name(self.db.clock().now());
        let path = folder.join(&name);
        let (cleared, work) = (folder.clone(), async {
            private_folder(folder)?;
            copy::backup(&self.db, &path).await
        });
        copy::blocking(move || {
            retention::remove_unfinished(&cleared);
            Ok(())
        })
        .await?;
        let written = match self.held(claimed, work, stop).await {
            Some(Ok(written)) => written,
            ended => {
                let why = match ended {
                    Some(Err(error)) => one_line(&error.chain(), LONGEST),
                    _ => "the process stopped before it was complete".to_owned(),
                };
                tracing::warn!(error = why, "a backup failed");
                let id = claimed.id.clone();
                return self
                    .db
                    .write(&actor(), move |tx| claims::failed(tx, &id, &why))
                    .await;
            }
        };
        let (claimed, file) = (claimed.clone(), name.clone());
        let check = cause == Cause::Schedule && self.settings.check;
        self.db
            .write(&actor(), move |tx| {
                claims::done(tx, &claimed, &file, written)?;
                if check {
                    history::queue_check(tx.conn, &claimed.id, tx.now)?;
                }
                Ok(())
            })
            .await?;
        self.remove_old(name).await
    }

    async fn remove_old(&self, made: String) -> Result<()> {
        let (folder, keep, now) = (
            self.settings.folder.clone(),
            self.settings.keep,
            self.db.clock().now(),
        );
        let removed = copy::blocking(move || retention::apply(&folder, keep, &made, now)).await?;
        if removed.is_empty() {
            return Ok(());
        }
        self.db
            .write(&actor(), move |tx| claims::removed(tx, &removed))
            .await
    }

    async fn check(&self, claimed: &Claimed, file: &str, stop: &Stop) -> Result<()> {
        let folder = &self.settings.folder;
        let path = folder.join(file);
        let work = check::check(&path, folder);
        let found = match self.held(claimed, work, stop).await {
            Some(Ok(drill)) => Ok(drill),
            Some(Err(error)) => {
                let fault = one_line(&error.chain(), LONGEST);
                tracing::warn!(file, error = fault, "a backup cannot be restored");
                Err(fault)
            }
            None => {
                let id = claimed.id.clone();
                return self
                    .db
                    .write(&actor(), move |tx| claims::interrupted(tx, &id))
                    .await;
            }
        };
        let claimed = claimed.clone();
        self.db
            .write(&actor(), move |tx| claims::checked(tx, &claimed, &found))
            .await
    }

    /// Waits for work while the lease is renewed. Returns None if the process stops.
    async fn held<T>(
        &self,
        claimed: &Claimed,
        work: impl Future<Output = Result<T>>,
        stop: &Stop,
    ) -> Option<Result<T>> {
        let mut stop = stop.clone();
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                () = stop.wait() => return None,
                () = tokio::time::sleep(claimed.lease.renew_after()) => {
                    let (claimed, now) = (claimed.clone(), self.db.clock().now());
                    let renewed = self.db.transaction(move |conn| claims::renew(conn, &claimed, now)).await;
                    if let Err(error) = renewed {
                        tracing::debug!(error = error.chain(), "the lease of a backup could not be renewed");
                    }
                }
            }
        }
    }
}

impl Service for Backups {
    const NAME: &'static str = "backups";
    const POLL: Duration = Duration::from_secs(1);

    async fn step(&mut self, _: bool, stop: &Stop) -> Result<Next> {
        let now = self.db.clock().now();
        if !self.began {
            // On a database that only this process uses, no other process can be making one.
            if !dialect::is_shared(self.db.url()) {
                self.db
                    .transaction(move |conn| claims::release_all(conn, now))
                    .await?;
            }
            self.began = true;
        }
        let (last, waiting) = self
            .db
            .read(move |conn| Ok((history::last_due(conn)?, claims::any_waiting(conn, now)?)))
            .await?;
        let due = self.due(last, now);
        if let Some(due) = due {
            self.queue_due(due).await?;
        }
        if due.is_none() && !waiting {
            return Ok(Next::Wait);
        }
        self.db.write(&actor(), claims::end_abandoned).await?;
        let claimed = self
            .db
            .transaction(move |conn| claims::claim(conn, now, Lease::new(now, LEASE)))
            .await?;
        match claimed {
            Some(claimed) => {
                self.carry_out(claimed, stop).await?;
                Ok(Next::AtOnce)
            }
            None => Ok(Next::Wait),
        }
    }
}

fn actor() -> Actor {
    Actor::system("backups")
}

/// Creates a folder that only its owner may use, unless it exists.
fn private_folder(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let wrong = |reason: String| Error::invalid("backup_dir", format!("{}: {reason}", folder.display()));
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| wrong(error.to_string()))
}
