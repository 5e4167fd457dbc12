//! Scheduled work: a clock and nothing more. Each job is one idempotent function; every deadline is in the tables.
//!
//! Must never happen here: a job whose second run does harm, or one that runs on while the process closes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_cron_scheduler::{Job, JobScheduler};

use crate::alert::{kept, people};
use crate::audit::Actor;
use crate::base::error::{Error, Result};
use crate::db::Db;
use crate::directory::source::runner;
use crate::feedback::record;

/// How long the answer to an idempotency key is kept.
const KEY_LIFETIME: Duration = Duration::from_secs(48 * 3600);

/// The running scheduler.
pub struct Schedule {
    scheduler: JobScheduler,
    // A tick can still run after the scheduler's shutdown; jobs look here first.
    stopped: Arc<AtomicBool>,
}

impl Schedule {
    /// Starts the jobs. Bodies of hooks that are older than `body_retention` are forgotten, at once and each hour.
    ///
    /// # Errors
    /// `Internal` where the scheduler does not start.
    pub async fn start(db: Db, body_retention: Option<Duration>) -> Result<Schedule> {
        // A process that is started more often than the hour comes must not keep them for ever.
        forget_bodies(&db, body_retention).await;
        let scheduler = JobScheduler::new().await.map_err(Error::internal)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let (early, due, learnt) = (db.clone(), db.clone(), db.clone());
        let flag = stopped.clone();
        // Every hour, at minute 7: not when everybody else's jobs run.
        let job = Job::new_async("0 7 * * * *", move |_, _| {
            let (db, flag) = (db.clone(), flag.clone());
            Box::pin(async move {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                let oldest = db.clock().now().minus(KEY_LIFETIME);
                let forgotten = db
                    .transaction(move |conn| crate::audit::idempotency::forget(conn, oldest))
                    .await;
                if let Err(error) = forgotten {
                    tracing::warn!(error = error.chain(), "old idempotency keys could not be removed");
                }
                forget_bodies(&db, body_retention).await;
            })
        })
        .map_err(Error::internal)?;
        scheduler.add(job).await.map_err(Error::internal)?;
        let flag = stopped.clone();
        let job = Job::new_async("*/10 * * * * *", move |_, _| {
            let (db, flag) = (early.clone(), flag.clone());
            Box::pin(async move {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                if let Err(error) = apply_early(&db).await {
                    tracing::warn!(error = error.chain(), "early bounces could not be looked at");
                }
            })
        })
        .map_err(Error::internal)?;
        scheduler.add(job).await.map_err(Error::internal)?;
        let flag = stopped.clone();
        // A source says itself when it is read; here it is only looked whether that time has come.
        let job = Job::new_async("* * * * * *", move |_, _| {
            let (db, flag) = (due.clone(), flag.clone());
            Box::pin(async move {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                if let Err(error) = runner::queue_due(&db).await {
                    tracing::warn!(error = error.chain(), "sources that are due could not be queued");
                }
            })
        })
        .map_err(Error::internal)?;
        scheduler.add(job).await.map_err(Error::internal)?;
        let flag = stopped.clone();
        let follower = Arc::new(people::Follower::default());
        let job = Job::new_async("*/2 * * * * *", move |_, _| {
            let (db, flag, follower) = (learnt.clone(), flag.clone(), follower.clone());
            Box::pin(async move {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                if let Err(error) = people::identify(&db, &follower).await {
                    tracing::warn!(error = error.chain(), "unknown users could not be looked for");
                }
            })
        })
        .map_err(Error::internal)?;
        scheduler.add(job).await.map_err(Error::internal)?;
        scheduler.start().await.map_err(Error::internal)?;
        Ok(Schedule { scheduler, stopped })
    }

    /// Stops the jobs.
    pub async fn stop(mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::warn!(%error, "the scheduler did not stop in order");
        }
    }
}

/// Forgets bodies that were kept long enough.
async fn forget_bodies(db: &Db, retention: Option<Duration>) {
    let Some(retention) = retention else { return };
    let oldest = db.clock().now().minus(retention);
    let forgotten = db.transaction(move |conn| kept::forget(conn, oldest)).await;
    if let Err(error) = forgotten {
        tracing::warn!(error = error.chain(), "old bodies of hooks could not be removed");
    }
}

/// Applies bounces that came before the outcome of their attempt was recorded.
async fn apply_early(db: &Db) -> Result<()> {
    if db.read(record::any_early).await? {
        db.write(&Actor::system("feedback"), record::apply_early).await?;
    }
    Ok(())
}
