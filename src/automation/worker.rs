//! The service that runs policies. A commit that opened an incident wakes it, so that an incident does not
//! wait for the next poll. A policy that fails is postponed, so that it does not delay the others.

use std::sync::Arc;
use std::time::Duration;

use super::ACTOR;
use super::recovery;
use super::run::{self, Step};
use crate::audit::Actor;
use crate::base::error::{Error, Result};
use crate::db::Db;
use crate::delivery::worker::Wake as DeliveryWake;
use crate::notice::Sending;
use crate::work::{Next, Service, Stop};

/// The background service that runs the policies.
pub struct Policies {
    /// The database that contains the policies and their runs.
    pub db: Db,
    /// The settings with which a policy sends a notice.
    pub sending: Sending,
    /// Wakes the delivery workers when a notice was queued.
    pub delivery: Arc<DeliveryWake>,
}

/// The part of the work that failed.
enum Failed {
    Opened(Error),
    Recovery(Error),
}

impl Policies {
    async fn act(&self, woken: bool) -> std::result::Result<Step, Failed> {
        let actor = Actor::system(ACTOR);
        if !woken {
            // A read does not wait for writers, and usually nothing is due.
            let now = self.db.clock().now();
            let has_work = self
                .db
                .read(move |conn| Ok(run::has_work(conn, now)? || recovery::has_work(conn, now)?));
            if !has_work.await.map_err(Failed::Opened)? {
                run::skip(&self.db, &actor).await.map_err(Failed::Opened)?;
                recovery::skip(&self.db, &actor).await.map_err(Failed::Recovery)?;
                return Ok(Step::Idle);
            }
        }
        let sending = self.sending.clone();
        let opened = self.db.write(&actor, move |tx| run::step(tx, &sending));
        let step = opened.await.map_err(Failed::Opened)?;
        if step != Step::Idle {
            return Ok(step);
        }
        let sending = self.sending.clone();
        let recovered = self.db.write(&actor, move |tx| recovery::step(tx, &sending));
        recovered.await.map_err(Failed::Recovery)
    }
}

impl Service for Policies {
    const NAME: &'static str = "automation";
    const POLL: Duration = Duration::from_millis(500);

    async fn step(&mut self, woken: bool, _: &Stop) -> Result<Next> {
        match self.act(woken).await {
            Ok(Step::Idle) => Ok(Next::Wait),
            Ok(done) => {
                if let Step::Queued(stopped) = done {
                    for resolution in stopped {
                        self.delivery.stopped(resolution);
                    }
                    self.delivery.due();
                }
                Ok(Next::AtOnce)
            }
            Err(failed) => {
                let (Failed::Opened(error) | Failed::Recovery(error)) = &failed;
                tracing::warn!(
                    error = error.chain(),
                    "a policy failed; its incident is set aside"
                );
                let set_aside = match failed {
                    Failed::Opened(_) => run::set_aside,
                    Failed::Recovery(_) => recovery::set_aside,
                };
                self.db.write(&Actor::system(ACTOR), set_aside).await?;
                Ok(Next::AtOnce)
            }
        }
    }
}
