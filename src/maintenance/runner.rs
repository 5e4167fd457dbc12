//! The service that begins and ends planned maintenances by the clock. It sends nothing.

use std::time::Duration;

use super::stored;
use crate::audit::Actor;
use crate::base::error::Result;
use crate::db::Db;
use crate::work::{Next, Service, Stop};

/// Begins and ends what is due.
pub struct Maintenances {
    /// The access to the database.
    pub db: Db,
}

impl Service for Maintenances {
    const NAME: &'static str = "maintenances";
    const POLL: Duration = Duration::from_secs(5);

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        let now = self.db.clock().now();
        if !self.db.read(move |conn| stored::is_due(conn, now)).await? {
            return Ok(Next::Wait);
        }
        let changed = self.db.write(&Actor::system("schedule"), stored::advance).await?;
        Ok(match changed {
            0 => Next::Wait,
            _ => Next::AtOnce,
        })
    }
}
