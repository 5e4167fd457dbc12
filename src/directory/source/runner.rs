//! The service that executes the runs of directory sources, a few at a time and the oldest first. A process
//! that stops gives its runs back, but completes those that are being stored.

use std::time::Duration;

use tokio::task::JoinSet;

use super::cancel::Cancel;
use super::{run, sync};
use crate::audit::Actor;
use crate::base::error::Result;
use crate::base::id::RunId;
use crate::db::Db;
use crate::db::foreign::Limit;
use crate::work::{Lease, Next, Service, Stop};

/// The largest number of runs at the same time, each of another source.
const MAX: usize = 2;

/// The background service that executes the runs of sources.
pub struct SourceRuns {
    db: Db,
    running: JoinSet<()>,
    /// Tells the runs that the process is stopping.
    stopping: Cancel,
    limit: Limit,
}

impl SourceRuns {
    /// Creates the service. A run may read its source for as long as `limit` allows.
    pub fn new(db: Db, limit: Limit) -> SourceRuns {
        SourceRuns {
            db,
            running: JoinSet::new(),
            stopping: Cancel::default(),
            limit,
        }
    }
}

impl Service for SourceRuns {
    const NAME: &'static str = "directory_sources";
    const POLL: Duration = Duration::from_secs(1);

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        while let Some(ended) = self.running.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a run of a source ended by a fault");
            }
        }
        if self.running.len() >= MAX {
            return Ok(Next::Wait);
        }
        let Some(claimed) = claim(&self.db, None).await? else {
            return Ok(Next::Wait);
        };
        let (db, stopping, limit) = (self.db.clone(), self.stopping.clone(), self.limit);
        self.running.spawn(async move {
            let id = claimed.id().clone();
            if let Err(error) = sync::execute(&db, claimed, &stopping, limit).await {
                tracing::warn!(run = %id, error = error.chain(), "a run of a source failed");
            }
        });
        Ok(Next::AtOnce)
    }

    async fn finish(&mut self) {
        self.stopping.set();
        while self.running.join_next().await.is_some() {}
    }
}

/// Claims the oldest run that waits, or the wanted one.
pub async fn claim(db: &Db, wanted: Option<RunId>) -> Result<Option<run::Claimed>> {
    let now = db.clock().now();
    if wanted.is_none() && !db.read(move |conn| run::any_waiting(conn, now)).await? {
        return Ok(None);
    }
    let lease = Lease::new(now, run::LEASE);
    db.transaction(move |conn| run::claim(conn, now, lease, wanted.as_ref()))
        .await
}

/// Queues a run for each source whose scheduled time has come.
pub async fn queue_due(db: &Db) -> Result<()> {
    let now = db.clock().now();
    if db.read(move |conn| super::any_due(conn, now)).await? {
        db.write(&Actor::system("schedule"), super::queue_due).await?;
    }
    Ok(())
}
