//! The service that runs policies. A commit that opened an incident wakes it, so that an incident does not
//! wait for the next poll. A policy that fails is postponed, so that it does not delay the others.

use std::sync::Arc;
use std::time::Duration;

use super::ACTOR;
use super::run::{self, Step};
use crate::audit::Actor;
use crate::base::error::Result;
use crate::db::Db;
use crate::delivery::worker::Wake as DeliveryWake;
use crate::notice::Sending;
use crate::work::{Next, Service, Stop};

/// The background service that runs the policies.
pub struct Policies {
    /// The database.
    pub db: Db,
    /// The settings with which a policy sends a notice.
    pub sending: Sending,
    /// Wakes the delivery workers when a notice was queued.
    pub delivery: Arc<DeliveryWake>,
}

impl Policies {
    async fn act(&self, woken: bool) -> Result<Step> {
        if !woken {
            // A read does not wait for writers, and usually nothing is due.
            let now = self.db.clock().now();
            if !self.db.read(move |conn| run::has_work(conn, now)).await? {
                return Ok(Step::Idle);
            }
        }
        let sending = self.sending.clone();
        self.db
            .write(&Actor::system(ACTOR), move |tx| run::step(tx, &sending))
            .await
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
            Err(error) => {
                tracing::warn!(
                    error = error.chain(),
                    "a policy failed; its incident is set aside"
                );
                self.db.write(&Actor::system(ACTOR), run::set_aside).await?;
                Ok(Next::AtOnce)
            }
        }
    }
}
