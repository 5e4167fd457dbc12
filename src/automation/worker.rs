//! Policies at work: woken when an incident opened, and looking by itself now and then.
//!
//! Must never happen here: an incident that waits for the next look although somebody could have been woken, or one that
//! keeps the others waiting.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::ACTOR;
use super::run::{self, Step};
use crate::audit::Actor;
use crate::base::error::Result;
use crate::db::Db;
use crate::delivery::worker::Wake;
use crate::notice::Sending;

/// How often it is looked when nobody wakes it.
const LOOK: Duration = Duration::from_millis(500);

/// The running background work.
pub struct Automation {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Automation {
    /// Starts it. `wake` tells the delivery workers that something was queued.
    pub fn start(db: Db, sending: Sending, wake: Arc<Wake>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(work(db, sending, wake, stopped));
        Automation { stop, task }
    }

    /// Ends what is being done, then ends.
    pub async fn stop(self) {
        // Nobody listens any more where it has ended by itself.
        let _ = self.stop.send(true);
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the policies ended badly");
        }
    }
}

async fn work(db: Db, sending: Sending, wake: Arc<Wake>, mut stop: watch::Receiver<bool>) {
    let mut written = db.written();
    let mut woken = true;
    while !*stop.borrow() {
        // What is written from here on wakes it again.
        written.mark_unchanged();
        match look(&db, &sending, woken).await {
            Ok(Step::Idle) => {}
            Ok(done) => {
                if done == Step::Queued {
                    wake.due();
                }
                // Most often there is no more; a look holds up nobody.
                woken = false;
                continue;
            }
            Err(error) => {
                tracing::warn!(error = error.chain(), "a policy could not act");
                if let Err(error) = db.write(&Actor::system(ACTOR), run::set_aside).await {
                    tracing::warn!(error = error.chain(), "nor could its incident be set aside");
                    // The database is away: there is no hurry.
                    let _ = timeout(LOOK, stop.changed()).await;
                }
                woken = true;
                continue;
            }
        }
        woken = tokio::select! {
            changed = written.changed() => changed.is_ok(),
            () = tokio::time::sleep(LOOK) => false,
            _ = stop.changed() => false,
        };
    }
}

/// One step. Where nobody woke it, it is looked first whether there is anything, which holds up nobody.
async fn look(db: &Db, sending: &Sending, woken: bool) -> Result<Step> {
    if !woken {
        let now = db.clock().now();
        if !db.read(move |conn| run::any(conn, now)).await? {
            return Ok(Step::Idle);
        }
    }
    let sending = sending.clone();
    db.write(&Actor::system(ACTOR), move |tx| run::step(tx, &sending))
        .await
}
