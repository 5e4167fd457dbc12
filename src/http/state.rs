//! What every request can reach.

use std::sync::Arc;

use tokio::sync::Notify;

use super::metrics::HttpStats;
use super::pages::Pages;
use crate::access::Links;
use crate::db::Db;
use crate::delivery::channel::Channels;
use crate::delivery::worker::Stats;
use crate::notice::Sending;
use crate::time::Clock;

/// What every request can reach.
pub struct App {
    /// The database.
    pub db: Db,
    /// Signs links and sessions.
    pub links: Links,
    /// What notices need to know of the settings.
    pub sending: Sending,
    /// How accounts' own systems are spoken to.
    pub channels: Channels,
    /// Wakes the delivery workers of this process.
    pub wake: Arc<Notify>,
    /// Delivery counts of this process.
    pub stats: Arc<Stats>,
    /// HTTP counts of this process.
    pub http_stats: HttpStats,
    /// Compiled pages.
    pub pages: Pages,
    /// Whether this process delivers.
    pub delivers: bool,
}

impl App {
    /// The clock.
    pub fn clock(&self) -> &Clock {
        self.db.clock()
    }
}
