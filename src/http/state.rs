//! The state that every request can use.

use std::sync::Arc;

use tokio::sync::Notify;

use super::audience_cache::AudienceCache;
use super::pages::Pages;
use super::plans::Plans;
use super::refusals::Refusals;
use super::source_limit::SourceLimit;
use super::stats::{FeedbackStats, HttpStats};
use super::status_page::StatusPages;
use super::used_integrations::UsedIntegrations;
use crate::alert::intake::ConditionCache;
use crate::alert::provider::sns::Sns;
use crate::alert::queue::Queue;
use crate::answers::queue::Queue as AnswerQueue;
use crate::auth::Links;
use crate::auth::uses::TokenUses;
use crate::backup::BackupSettings;
use crate::base::time::{Clock, Timestamp};
use crate::customer::hints::Hints;
use crate::db::Db;
use crate::db::foreign::Limit;
use crate::delivery::endpoints::Endpoints;
use crate::delivery::mailer::Mailer;
use crate::delivery::smtp::Relays;
use crate::delivery::worker::{Stats, Wake};
use crate::directory::source::cancel::Cancel;
use crate::egress::Policy;
use crate::egress::client::Client;
use crate::feedback::Keys;
use crate::notice::Sending;
use crate::time_stamps::Authorities;
use crate::work::WorkStats;

/// The state that every request can use.
pub struct App {
    /// The access to the database, which also contains the clock.
    pub db: Db,
    /// The key that signs and verifies links and sessions.
    pub links: Links,
    /// The key that signs checkpoints of the audit trail, and the authorities for time stamps of them.
    pub authorities: Authorities,
    /// The settings that notices need, for example the public URL.
    pub sending: Sending,
    /// The channels that call endpoints, for example to test one.
    pub endpoints: Endpoints,
    /// Wakes the delivery workers of this process.
    pub wake: Arc<Wake>,
    /// Wakes the service of this process that reads the sources of the directory.
    pub sources: Arc<Notify>,
    /// Ends the tests of sources that requests to this process wait for.
    pub trials: Cancel,
    /// How long a test may read a source.
    pub trial_limit: Limit,
    /// Wakes the service of this process that looks up unknown references.
    pub lookups: Arc<Notify>,
    /// Wakes the service of this process that compares listings.
    pub comparisons: Arc<Notify>,
    /// Wakes the service of this process that makes backups.
    pub backups: Arc<Notify>,
    /// Where backups are written, when, and how many are kept. None if this process makes none.
    pub backup_settings: Option<BackupSettings>,
    /// Which addresses call-outs may have.
    pub callout_allow: Policy,
    /// Which addresses HTTP checks may have.
    pub check_allow: Policy,
    /// Downloads the listings of comparisons.
    pub listings: Client,
    /// How long a listing may be read from the database of a source.
    pub listing_limit: Limit,
    /// How often customers should get an update about an unresolved incident.
    pub update_every: Option<std::time::Duration>,
    /// Whether emails are written to files, because no mail server is set.
    pub outbox: bool,
    /// The folder with these files. None if a mail server is set.
    pub outbox_folder: Option<std::path::PathBuf>,
    /// How long what is kept, by the settings.
    pub kept: crate::system::Kept,
    /// The delivery counters of this process.
    pub stats: Arc<Stats>,
    /// The keys that verify which email a report is about.
    pub feedback: Keys,
    /// The counters of the reports that this process received.
    pub feedback_stats: FeedbackStats,
    /// Verifies the messages of Amazon SNS.
    pub sns: Sns,
    /// The conditions of alert rules, silences and maintenance windows, as they were read last.
    pub conditions: Arc<ConditionCache>,
    /// The queue of alerts that wait to be stored.
    pub intake: Queue,
    /// The integrations whose hooks were used lately.
    pub used_integrations: UsedIntegrations,
    /// The queue of answers by link that wait to be stored.
    pub answers: AnswerQueue,
    /// The streams of the feed in this process.
    pub feed: Arc<Hints>,
    /// The time that every body of a request gets at least.
    pub body_grace: std::time::Duration,
    /// The number of threads that answer requests.
    pub http_threads: usize,
    /// How often somebody may ask for a subscription to the status page.
    pub subscribing: SourceLimit,
    /// The refusals of requests without a valid token.
    pub refusals: Arc<Refusals>,
    /// When this process started.
    pub started_at: Timestamp,
    /// The mail servers. None if emails are written to files.
    pub relays: Option<Relays>,
    /// When tokens were last used in this process.
    pub token_uses: TokenUses,
    /// The HTTP counters of this process.
    pub http_stats: HttpStats,
    /// The counters of the background work of this process.
    pub work_stats: WorkStats,
    /// The cache of results that are computed from whole audiences.
    pub audience_cache: Arc<AudienceCache>,
    /// The plans of drafts that pages showed a moment ago.
    pub plans: Arc<Plans>,
    /// How emails that are no deliveries are written and sent.
    pub mailer: Mailer,
    /// The templates of the pages for people.
    pub pages: Pages,
    /// The public status page, which this process keeps in memory.
    pub status: StatusPages,
    /// Whether this process sends deliveries.
    pub delivers: bool,
    /// How long a delivery is tried before it fails.
    pub lifetime: std::time::Duration,
}

impl App {
    /// Returns the clock that gives the current time. Tests and the demo can set it.
    pub fn clock(&self) -> &Clock {
        self.db.clock()
    }

    /// Returns the name of the company, as customers know it.
    pub fn company(&self) -> String {
        let brand = self.pages.brand.shown();
        brand.name.clone().unwrap_or_else(|| self.sending.sender.clone())
    }
}
