//! Works on the runs of sources in the background: a few at a time, oldest first.
//!
//! Must never happen here: a process that ends while it holds a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::{run, sync};
use crate::audit::Actor;
use crate::base::error::Result;
use crate::base::id::{RunId, new_uuid};
use crate::db::Db;

/// Runs at the same time at most, each of another source.
const MOST: usize = 2;
/// How often it is looked for what another process queued.
const LOOK: Duration = Duration::from_secs(1);

/// The running background work.
pub struct Runner {
    stop: Arc<AtomicBool>,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Runner {
    /// Starts it; `wake` says that something was queued in this process.
    pub fn start(db: Db, wake: Arc<Notify>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(work(db, wake.clone(), stop.clone()));
        Runner { stop, wake, task }
    }

    /// Gives runs back, or ends those that are just being stored.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake.notify_one();
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the runs of sources ended badly");
        }
    }
}

async fn work(db: Db, wake: Arc<Notify>, stop: Arc<AtomicBool>) {
    let mut running: JoinSet<()> = JoinSet::new();
    while !stop.load(Ordering::SeqCst) {
        while running.try_join_next().is_some() {}
        if running.len() < MOST {
            match claim(&db, None).await {
                Ok(Some(claimed)) => {
                    let (db, stop) = (db.clone(), stop.clone());
                    running.spawn(async move {
                        let id = claimed.id().clone();
                        if let Err(error) = sync::execute(&db, claimed, &stop).await {
                            tracing::warn!(run = %id, error = error.chain(), "a run of a source broke off");
                        }
                    });
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(
                        error = error.chain(),
                        "the runs of sources could not be looked at"
                    );
                }
            }
        }
        // Woken or not, it is looked again.
        let _ = timeout(LOOK, wake.notified()).await;
    }
    while running.join_next().await.is_some() {}
}

/// Takes the oldest run that waits, or the wanted one.
///
/// # Errors
/// What the database answers.
pub async fn claim(db: &Db, wanted: Option<RunId>) -> Result<Option<run::Claimed>> {
    let now = db.clock().now();
    if wanted.is_none() && !db.read(move |conn| run::any_waiting(conn, now)).await? {
        return Ok(None);
    }
    let lease = new_uuid(now).simple().to_string();
    db.transaction(move |conn| run::claim(conn, now, &lease, wanted.as_ref()))
        .await
}

/// Queues a run for each source whose time has come.
///
/// # Errors
/// What the database answers.
pub async fn queue_due(db: &Db) -> Result<()> {
    let now = db.clock().now();
    if db.read(move |conn| super::any_due(conn, now)).await? {
        db.write(&Actor::system("schedule"), super::queue_due).await?;
    }
    Ok(())
}
