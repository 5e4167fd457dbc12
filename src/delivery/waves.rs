//! The service that ends, holds and begins the waves of notices, and completes the list of a stopped notice.
//!
//! All decisions are in [`wave_steps`]. The service only asks often enough and wakes the workers.

use std::sync::Arc;
use std::time::Duration;

use super::worker::Wake as DeliveryWake;
use crate::audit::Actor;
use crate::base::error::Result;
use crate::db::Db;
use crate::notice::wave_steps;
use crate::work::{Next, Service, Stop};

/// The background service for the waves of notices.
pub struct Waves {
    /// The database that contains the notices and their waves.
    pub db: Db,
    /// The part of a Message-ID after the @.
    pub domain: String,
    /// Wakes the delivery workers when a wave begins.
    pub delivery: Arc<DeliveryWake>,
}

impl Service for Waves {
    const NAME: &'static str = "notice_waves";
    const POLL: Duration = Duration::from_millis(500);

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        // A read does not wait for writers, and usually nothing is due.
        let now = self.db.clock().now();
        if !self.db.read(move |conn| wave_steps::has_work(conn, now)).await? {
            return Ok(Next::Wait);
        }
        let domain = self.domain.clone();
        let did = self
            .db
            .write(&Actor::system("delivery"), move |tx| {
                wave_steps::step(tx, &domain)
            })
            .await?;
        if !did {
            return Ok(Next::Wait);
        }
        self.delivery.due();
        Ok(Next::AtOnce)
    }
}
