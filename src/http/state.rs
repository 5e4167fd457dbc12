//! What every request can reach.

use std::sync::Arc;

use tokio::sync::Notify;

use super::hooks::Hooks;
use super::memo::Memo;
use super::metrics::{FeedbackStats, HttpStats};
use super::pages::Pages;
use super::refusals::Refusals;
use crate::alert::provider::sns::Sns;
use crate::alert::queue::Queue;
use crate::auth::Links;
use crate::base::time::Clock;
use crate::db::Db;
use crate::delivery::calling::Endpoints;
use crate::delivery::worker::{Stats, Wake};
use crate::egress::Policy;
use crate::feedback::Keys;
use crate::notice::Sending;
use crate::work::WorkStats;

/// What every request can reach.
pub struct App {
    /// The database.
    pub db: Db,
    /// Signs links and sessions.
    pub links: Links,
    /// What notices need to know of the settings.
    pub sending: Sending,
    /// How accounts' own systems are spoken to.
    pub endpoints: Endpoints,
    /// Wakes the delivery workers of this process.
    pub wake: Arc<Wake>,
    /// Wakes what reads sources of the directory in this process.
    pub sources: Arc<Notify>,
    /// Wakes what asks about references in this process.
    pub lookups: Arc<Notify>,
    /// Where a service that is asked may be.
    pub callout_allow: Policy,
    /// Where HTTP checks may lead.
    pub check_allow: Policy,
    /// How often customers should hear of an unresolved incident.
    pub update_every: Option<std::time::Duration>,
    /// Whether mails are written to files, as no mail server is set.
    pub outbox: bool,
    /// Delivery counts of this process.
    pub stats: Arc<Stats>,
    /// What proves that a report is about a mail of ours.
    pub feedback: Keys,
    /// Reports that this process took in.
    pub feedback_stats: FeedbackStats,
    /// Checks what comes through Amazon SNS.
    pub sns: Sns,
    /// Where alerts wait to be stored.
    pub intake: Queue,
    /// The integrations of hooks that were used.
    pub hooks: Hooks,
    /// How long the body of a request may take at least.
    pub body_grace: std::time::Duration,
    /// Refusals of requests without a valid token.
    pub refusals: Arc<Refusals>,
    /// HTTP counts of this process.
    pub http_stats: HttpStats,
    /// Counts of the background work of this process.
    pub work_stats: WorkStats,
    /// What was computed over whole audiences.
    pub memo: Arc<Memo>,
    /// Compiled pages.
    pub pages: Pages,
    /// Whether this process delivers.
    pub delivers: bool,
    /// How long a delivery is tried before it is given up.
    pub lifetime: std::time::Duration,
}

impl App {
    /// The clock.
    pub fn clock(&self) -> &Clock {
        self.db.clock()
    }
}
