//! Work at fixed times. tokio-cron-scheduler is used only as a clock. Each job is one idempotent function,
//! and every deadline is stored in the database.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_cron_scheduler::{Job, JobScheduler};
use tracing::Instrument;

use crate::alert::{messages, people, saved_requests};
use crate::audit::{Actor, idempotency, tiles};
use crate::auth::sessions;
use crate::base::error::{Error, Result};
use crate::base::outage::Outage;
use crate::db::Db;
use crate::delivery::queue;
use crate::directory::source::runner;
use crate::feedback::record;
use crate::forgetting;
use crate::forgetting::retention::{self, LastRun, Retention};
use crate::time_stamps::{self, Authorities};
use crate::work::Part;

/// How long the answer to an idempotency key is kept.
const KEY_LIFETIME: Duration = Duration::from_secs(48 * 3600);

/// The shortest time between two tries to clean up after erasures.
const CLEAN_EVERY: Duration = Duration::from_secs(60);

/// The scheduler and its jobs, which run at fixed intervals.
pub struct Schedule {
    scheduler: JobScheduler,
    // A tick can still run after the scheduler's shutdown. Each job checks this first.
    stopped: Arc<AtomicBool>,
}

impl Schedule {
    /// Starts the jobs. Saved requests that are older than `body_retention` are deleted at once and every
    /// hour. Checkpoints of the audit trail are stored every hour and stamped by the authorities. What is older than `retention` says is
    /// removed every hour. `outbox` is the folder of emails, if there is no mail server.
    ///
    /// # Errors
    /// `Internal` if the scheduler does not start.
    pub async fn start(
        db: Db,
        body_retention: Option<Duration>,
        authorities: Authorities,
        retention: Retention,
        outbox: Option<PathBuf>,
    ) -> Result<Schedule> {
        // A process that restarts more often than once an hour must delete them too.
        forget_bodies(&db, body_retention).await;
        let schedule = Schedule {
            scheduler: JobScheduler::new().await.map_err(Error::internal)?,
            stopped: Arc::default(),
        };
        let (hourly, early, due, trail, stamps, users) = (
            db.clone(),
            db.clone(),
            db.clone(),
            db.clone(),
            db.clone(),
            db.clone(),
        );
        // The job runs at minute 7, because most other scheduled jobs of a machine run at minute 0.
        schedule
            .job("0 7 * * * *", "cleanup", move || {
                cleanup(hourly.clone(), body_retention)
            })
            .await?;
        schedule
            .job("*/10 * * * * *", "early bounces", move || {
                apply_early(early.clone())
            })
            .await?;
        // The times of the sources are in the database. This job only compares them with the clock.
        schedule
            .job("* * * * * *", "due sources", move || {
                let db = due.clone();
                async move { runner::queue_due(&db).await }
            })
            .await?;
        // The tree of the audit trail stays at most some thousand events behind, so that a checkpoint is made quickly.
        schedule
            .job("*/5 * * * * *", "audit tree", move || {
                let db = trail.clone();
                async move { tiles::catch_up(&db).await }
            })
            .await?;
        schedule
            .job("0 11 * * * *", "audit checkpoint", move || {
                let (db, authorities) = (stamps.clone(), authorities.clone());
                async move { time_stamps::hourly(&db, &authorities).await }
            })
            .await?;
        let position = Arc::new(people::SearchPosition::default());
        schedule
            .job("*/2 * * * * *", "unknown users", move || {
                let (db, position) = (users.clone(), position.clone());
                async move { people::identify(&db, &position).await }
            })
            .await?;
        let last = Arc::new((LastRun::default(), LastRun::default()));
        schedule
            .job("*/5 * * * * *", "retention", move || {
                let (db, last, outbox) = (db.clone(), last.clone(), outbox.clone());
                async move {
                    retention::run_if_due(&db, retention, &last.0).await?;
                    // This also repeats what failed after an erasure. It rewrites the file of an embedded database.
                    if last.1.is_due(db.clock().now(), CLEAN_EVERY) {
                        forgetting::clean(&db, outbox.as_deref()).await?;
                    }
                    Ok(())
                }
            })
            .await?;
        schedule.scheduler.start().await.map_err(Error::internal)?;
        Ok(schedule)
    }

    /// Adds a job that runs by this cron expression (with seconds, in UTC). If it fails, it runs again at the next time. The log
    /// says when it begins to fail and when it succeeds again.
    async fn job<F, Work, Done>(&self, cron: &str, name: &'static str, work: F) -> Result<()>
    where
        F: Fn() -> Work + Send + Sync + 'static,
        Work: Future<Output = Result<Done>> + Send + 'static,
        Done: Send,
    {
        let stopped = self.stopped.clone();
        let outage = Arc::new(Outage::new());
        let job = Job::new_async(cron, move |_, _| {
            let run = (!stopped.load(Ordering::SeqCst)).then(&work);
            let outage = outage.clone();
            let watched = async move {
                let Some(run) = run else { return };
                match run.await {
                    Ok(_) => {
                        if outage.ends() {
                            tracing::info!("the scheduled job succeeds again");
                        }
                    }
                    Err(error) => {
                        if outage.begins() {
                            tracing::warn!(
                                error = error.chain(),
                                "a scheduled job fails; it runs again at its next time, and the next line about it says that \
                                 it succeeds"
                            );
                        }
                    }
                }
            };
            Box::pin(watched.instrument(tracing::info_span!("job", name)))
        })
        .map_err(Error::internal)?;
        self.scheduler.add(job).await.map_err(Error::internal)?;
        Ok(())
    }
}

impl Part for Schedule {
    fn stop(mut self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            self.stopped.store(true, Ordering::SeqCst);
            if let Err(error) = self.scheduler.shutdown().await {
                tracing::warn!(%error, "the scheduler did not stop in order");
            }
        })
    }
}

/// Deletes ended sessions, old idempotency keys, outcome records of dead workers, and old saved requests.
async fn cleanup(db: Db, body_retention: Option<Duration>) -> Result<()> {
    let now = db.clock().now();
    db.transaction(move |conn| sessions::forget(conn, now)).await?;
    let oldest = now.minus(KEY_LIFETIME);
    db.transaction(move |conn| idempotency::forget(conn, oldest))
        .await?;
    db.transaction(queue::clear_records).await?;
    forget_bodies(&db, body_retention).await;
    Ok(())
}

/// Deletes saved requests that are older than the retention, and the IDs of messages that are too old to be
/// sent again.
async fn forget_bodies(db: &Db, retention: Option<Duration>) {
    let now = db.clock().now();
    if let Err(error) = db.transaction(move |conn| messages::forget(conn, now)).await {
        tracing::warn!(error = error.chain(), "ids of old messages could not be removed");
    }
    let Some(retention) = retention else { return };
    let oldest = db.clock().now().minus(retention);
    let forgotten = db
        .transaction(move |conn| saved_requests::delete_before(conn, oldest))
        .await;
    if let Err(error) = forgotten {
        tracing::warn!(error = error.chain(), "old saved requests could not be deleted");
    }
}

/// Applies bounces that arrived before the outcome of their attempt was recorded.
async fn apply_early(db: Db) -> Result<()> {
    if db.read(record::any_early).await? {
        db.write(&Actor::system("feedback"), record::apply_early).await?;
    }
    Ok(())
}
