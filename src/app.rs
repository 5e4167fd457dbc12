//! Builds the parts of a process, starts them and stops them.
//!
//! A start either succeeds completely or fails. A wrong setting, a broken template or a locked database makes
//! it fail.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::alert::intake::ConditionCache;
use crate::alert::lookup::Lookups;
use crate::alert::provider::sns::Sns;
use crate::alert::queue::Queue;
use crate::answers;
use crate::audit::time_stamp::Trust;
use crate::audit::{self, Actor};
use crate::auth::uses::TokenUses;
use crate::auth::{self, Links};
use crate::automation::worker::Policies;
use crate::backup::Backups;
use crate::base::error::{Error, Result};
use crate::base::sealed;
use crate::base::time::Clock;
use crate::comparison::{self, Comparisons};
use crate::config::Config;
use crate::customer::hints::Watching;
use crate::db::file::{self, FileLock};
use crate::db::foreign::Limit;
use crate::db::{DatabaseUrl, Db, dialect, migrate};
use crate::delivery::channel::Channel;
use crate::delivery::dkim::Signer;
use crate::delivery::email::parse_sender;
use crate::delivery::endpoints::Endpoints;
use crate::delivery::mail_servers::MailServers;
use crate::delivery::mailer::Mailer;
use crate::delivery::mailing::{Exit, Mailing, Writer};
use crate::delivery::outbox;
use crate::delivery::smtp::Relays;
use crate::delivery::verp::Verp;
use crate::delivery::waves::Waves;
use crate::delivery::worker::{Setup, Stats, Wake as DeliveryWake, Workers};
use crate::directory::source;
use crate::directory::source::cancel::Cancel;
use crate::directory::source::runner::SourceRuns;
use crate::egress::client::Client;
use crate::emergency::copy::{Copies, CopySettings};
use crate::feedback::Keys;
use crate::http::App;
use crate::http::brand::BrandReadings;
use crate::http::pages::Pages;
use crate::http::refusals::{Refusals, Summaries};
use crate::http::source_limit::SourceLimit;
use crate::http::stats::{FeedbackStats, HttpStats};
use crate::http::status_page::{Site, StatusPages};
use crate::http::status_work::{StatusExports, StatusMails, StatusUpdates};
use crate::http::token_uses::StoredUses;
use crate::maintenance::runner::Maintenances;
use crate::notice::{Sending, templates};
use crate::operators::worker as operators;
use crate::schedule::Schedule;
use crate::system::secrets;
use crate::time_stamps::Authorities;
use crate::watch::beats;
use crate::watch::runner::Checks;
use crate::work::{Part, Supervisor, Wake, WorkStats};

/// How often somebody may ask for a subscription to the status page from one network address in an hour. An office shares one address.
const SUBSCRIPTIONS: u32 = 30;

/// A running process. `serve`, the demo and the tests hold it.
pub struct Running {
    /// The address that the server listens on.
    pub address: SocketAddr,
    /// The state that all requests share.
    pub app: Arc<App>,
    server: ServerHandle,
    serving: JoinHandle<std::io::Result<()>>,
    background: Background,
}

/// The background work, with the lock that keeps a second process away from an SQLite database. A process that takes requests
/// has background work even if it does not deliver: it writes what it refused to the audit trail.
pub struct Background {
    work: Supervisor,
    _lock: Option<FileLock>,
}

impl Background {
    /// Finishes the work that is being done, and then ends.
    pub async fn stop(self) {
        self.work.stop().await;
    }
}

impl Running {
    /// Returns the URL of the server, `http://ADDRESS:PORT`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers the requests that are being handled, finishes the emails that are being sent, and then ends.
    pub async fn stop(self) {
        // A test of a source waits for a database of somebody else, and its caller is answered at once.
        self.app.trials.set();
        // A stream of the feed would otherwise be under way until its token expires.
        self.app.feed.end();
        self.server.stop(true).await;
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the server ended badly");
        }
        self.background.stop().await;
    }

    /// Serves until `stop` completes, and then ends in the same way as [`Running::stop`].
    ///
    /// # Errors
    /// An I/O error, if the server ended without being stopped.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> std::io::Result<()> {
        tokio::select! {
            ended = &mut self.serving => {
                self.background.stop().await;
                ended.map_err(std::io::Error::other)?
            }
            () = stop => {
                self.stop().await;
                Ok(())
            }
        }
    }
}

/// Reads the certificate authorities that time stamps are verified with, if the settings name a file.
///
/// # Errors
/// `Invalid` with what is wrong with the file.
pub fn trust(config: &Config) -> Result<Option<Trust>> {
    config
        .audit_timestamp_ca_file
        .as_deref()
        .map(Trust::load)
        .transpose()
        .map_err(|reason| Error::invalid("audit_timestamp_ca_file", reason))
}

/// Opens the database of the settings and migrates it.
///
/// # Errors
/// `Invalid` if the database URL is not valid, `Unavailable` if the database cannot be opened, `Internal` if
/// a migration fails.
pub async fn open_database(config: &Config, clock: Clock) -> Result<Db> {
    open_serving(config, clock, None).await
}

async fn open_serving(config: &Config, clock: Clock, admin: Option<&str>) -> Result<Db> {
    let url =
        DatabaseUrl::parse(&config.database_url).map_err(|reason| Error::invalid("database_url", reason))?;
    let old: Vec<String> = config.encryption_key_old.iter().cloned().collect();
    sealed::set_keys(config.encryption_key.as_deref(), &old)?;
    let db = Db::open_serving(url, clock, admin).await?;
    migrate(&db).await?;
    let others = db.read(secrets::check).await?;
    if others > 0 {
        tracing::warn!(
            "{others} stored secrets are not encrypted with CANDOR_ENCRYPTION_KEY; `candor rotate-key` encrypts them"
        );
    }
    Ok(db)
}

/// Starts everything: the database, the background work (if the settings want it) and HTTP.
///
/// # Errors
/// The first thing that is wrong. In this case nothing is served.
pub async fn start(config: Config, clock: Clock) -> Result<Running> {
    let endpoints = Endpoints::builtin(config.webhook_allow, config.sms()?.as_ref())?;
    start_with(config, clock, endpoints).await
}

/// Starts everything, with these channels to systems of accounts.
///
/// # Errors
/// The first thing that is wrong. In this case nothing is served.
pub async fn start_with(config: Config, clock: Clock, endpoints: Endpoints) -> Result<Running> {
    let listener = TcpListener::bind(&config.listen)
        .map_err(|error| Error::Unavailable(format!("cannot listen on {}: {error}", config.listen)))?;
    let address = listener.local_addr().map_err(Error::internal)?;
    let public_url = config
        .public_url
        .clone()
        .unwrap_or_else(|| format!("http://{address}"));
    // The lock is taken before anything is changed, so that a second process that is refused leaves no trace.
    let lock = take_lock(&config)?;
    let (app, setup, mailer) = prepare(&config, clock, public_url, Tokens::AsSet, endpoints).await?;
    // A heartbeat is not missing for the time in which no process could receive it.
    let now = app.clock().now();
    app.db.transaction(move |conn| beats::grant(conn, now)).await?;
    // The server serves nothing before it is spawned. Everything that can fail comes before that.
    let server = crate::http::server(app.clone(), listener).map_err(Error::internal)?;
    let mut work = Supervisor::new(app.work_stats.clone());
    if config.workers {
        start_background(&mut work, setup, mailer, &app, &config).await?;
    }
    let refusals = Summaries {
        refusals: app.refusals.clone(),
        db: app.db.clone(),
    };
    work.start(refusals, Wake::Never);
    work.start(StoredUses { app: app.clone() }, Wake::Never);
    let updates = StatusUpdates { app: app.clone() };
    work.start(updates, Wake::Commit(app.db.written()));
    work.start(
        Watching::new(app.feed.clone(), app.db.clone()),
        Wake::Commit(app.db.written()),
    );
    work.start(BrandReadings { app: app.clone() }, Wake::Never);
    let handle = server.handle();
    let serving = tokio::spawn(server);
    Ok(Running {
        address,
        app,
        server: handle,
        serving,
        background: Background { work, _lock: lock },
    })
}

/// Starts the background work without HTTP.
///
/// # Errors
/// The first thing that is wrong. In this case nothing is sent.
pub async fn start_worker(config: Config, clock: Clock) -> Result<Background> {
    let public_url = config.base_url();
    let lock = take_lock(&config)?;
    let endpoints = Endpoints::builtin(config.webhook_allow, config.sms()?.as_ref())?;
    let (app, setup, mailer) = prepare(&config, clock, public_url, Tokens::LeftAlone, endpoints).await?;
    let mut work = Supervisor::new(app.work_stats.clone());
    start_background(&mut work, setup, mailer, &app, &config).await?;
    Ok(Background { work, _lock: lock })
}

/// Whether the admin token of the settings is made valid. A worker accepts no requests. So the token in its
/// settings, or a missing one, must not revoke the token of a process that serves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tokens {
    AsSet,
    LeftAlone,
}

async fn prepare(
    config: &Config,
    clock: Clock,
    public_url: String,
    tokens: Tokens,
    endpoints: Endpoints,
) -> Result<(Arc<App>, Setup, Mailer)> {
    let from = parse_sender(&config.mail_from).map_err(|reason| Error::invalid("mail_from", reason))?;
    let reply_to = config
        .reply_to
        .as_deref()
        .map(parse_sender)
        .transpose()
        .map_err(|reason| Error::invalid("reply_to", reason))?;
    let exit = match &config.smtp_url {
        Some(url) => {
            let (second, authorities) = (config.smtp_url_2.as_deref(), config.smtp_ca_file.as_deref());
            let relays = Relays::of_settings(url, second, authorities);
            Exit::Relay(relays.map_err(|(setting, reason)| Error::invalid(setting, reason))?)
        }
        None => {
            outbox::make_private(&config.outbox);
            Exit::Outbox(config.outbox.clone())
        }
    };
    let dkim = config
        .dkim_keys
        .as_deref()
        .map(|keys| Signer::load(keys, from.email.domain()))
        .transpose()
        .map_err(|reason| Error::invalid("dkim_keys", reason))?;
    let trust = trust(config)?;
    let admin = config.admin_token.clone().filter(|_| tokens == Tokens::AsSet);
    let hash = admin.as_deref().map(auth::hash_secret);
    let db = open_serving(config, clock, hash.as_deref()).await?;
    let key = config.secret_key.clone();
    let (origin, audit_key) = (config.audit_origin(&public_url), config.audit_key.clone());
    let (key, accepted, audit_key) = db
        .write(&Actor::system(auth::STARTING), move |tx| {
            dialect::lock_start(tx.conn)?;
            let accepted = match &admin {
                Some(admin) => auth::ensure_admin(tx, admin)?,
                None => true,
            };
            audit::follow::begin(tx.conn)?;
            let audit_key = audit::key::signing_key(tx, audit_key.as_ref(), &origin)?;
            Ok((auth::secret_key(tx, key.as_deref())?, accepted, audit_key))
        })
        .await?;
    db.read(templates::warn_of_unsafe).await?;
    if !accepted {
        tracing::warn!(
            "CANDOR_ADMIN_TOKEN holds a token that was revoked; set another token, or remove the setting"
        );
    }
    let verp = config
        .bounce_address
        .as_deref()
        .map(|address| Verp::new(&key, address))
        .transpose()
        .map_err(|reason| Error::invalid("bounce_address", reason))?;
    let links = Links::new(key, public_url.clone());
    let wake = Arc::new(DeliveryWake::default());
    let stats = Arc::new(Stats::default());
    let sender = from
        .name
        .clone()
        .unwrap_or_else(|| from.email.domain().to_owned());
    let site = site(config, public_url.clone())?;
    let pages = Pages::default();
    pages.brand.refresh(&db).await?;
    let conditions = Arc::new(ConditionCache::new(db.clone()));
    let mailer = Mailer {
        exit: exit.clone(),
        from: from.clone(),
        reply_to: reply_to.clone(),
        dkim: dkim.clone(),
    };
    let app = Arc::new(App {
        db: db.clone(),
        links: links.clone(),
        sending: Sending {
            max_audience: config.max_audience,
            drill_to: config.drill_to.clone(),
            public_url,
            sender,
            domain: from.email.domain().to_owned(),
            support_url: config.support_url.clone(),
            language: config.language,
            audit_origin: audit_key.origin().to_owned(),
            sms: config.sms()?.map(|sms| sms.terms),
        },
        authorities: Authorities {
            client: Arc::new(Client::new(config.audit_timestamp_allow)?),
            urls: config.audit_timestamp_urls.clone(),
            trust,
            key: audit_key,
        },
        endpoints: endpoints.clone(),
        wake: wake.clone(),
        sources: Arc::new(Notify::new()),
        trials: Cancel::default(),
        trial_limit: Limit {
            most: config.source_test_limit,
            setting: source::TEST_LIMIT,
        },
        lookups: Arc::new(Notify::new()),
        comparisons: Arc::new(Notify::new()),
        backups: Arc::new(Notify::new()),
        backup_settings: config.backups(),
        callout_allow: config.callout_allow,
        check_allow: config.check_allow,
        listings: Client::new(config.listing_allow)?,
        listing_limit: Limit {
            most: config.source_sync_limit,
            setting: source::SYNC_LIMIT,
        },
        update_every: config.update_every,
        outbox: config.smtp_url.is_none(),
        kept: kept(config),
        outbox_folder: config.smtp_url.is_none().then(|| config.outbox.clone()),
        stats: stats.clone(),
        feedback: Keys {
            links: links.clone(),
            verp: verp.clone(),
        },
        feedback_stats: FeedbackStats::default(),
        sns: Sns::new(config.sns.clone()),
        intake: Queue::start(conditions.clone(), config.intake),
        used_integrations: Default::default(),
        conditions,
        answers: answers::queue::Queue::start(db.clone(), stats.clone()),
        feed: Arc::default(),
        body_grace: config.body_grace,
        http_threads: config.http_threads,
        subscribing: SourceLimit::new(SUBSCRIPTIONS),
        refusals: Arc::new(Refusals::new(config.trusted_proxies.clone())),
        started_at: db.clock().now(),
        relays: match &exit {
            Exit::Relay(relays) => Some(relays.clone()),
            Exit::Outbox(_) => None,
        },
        token_uses: TokenUses::default(),
        http_stats: HttpStats::default(),
        work_stats: WorkStats::default(),
        audience_cache: Arc::default(),
        plans: Arc::default(),
        mailer: mailer.clone(),
        pages,
        status: StatusPages::new(&db, site),
        delivers: config.workers,
        lifetime: config.delivery_lifetime,
    });
    let domain = from.email.domain().to_owned();
    let writer = Writer {
        from,
        reply_to,
        verp,
        links: links.clone(),
        clock: db.clock().clone(),
        dkim,
    };
    let settings = writer.settings();
    let schedule = config.retry_schedule.clone();
    let mails: Arc<dyn Channel> = Arc::new(Mailing::new(exit, config.send_concurrency, schedule, writer));
    let setup = Setup {
        sending: settings,
        origin: app.sending.audit_origin.clone(),
        receipts: db
            .url()
            .sqlite_path()
            .map(|path| format!("{}.receipts", file::real_path(path)).into()),
        channels: [vec![mails], endpoints.for_queue(db.clock(), &links)].concat(),
        db,
        domain,
        lifetime: config.delivery_lifetime,
        limits: config.domain_limits.clone(),
        wake,
        stats,
    };
    Ok((app, setup, mailer))
}

/// Returns whose status page it is, by the settings.
///
/// # Errors
/// `Invalid` if the address of the sender is wrong.
pub fn site(config: &Config, public_url: String) -> Result<Site> {
    let from = parse_sender(&config.mail_from).map_err(|reason| Error::invalid("mail_from", reason))?;
    let domain = from.email.domain().to_owned();
    Ok(Site {
        company: from.name.unwrap_or(domain),
        public_url: public_url.trim_end_matches('/').to_owned(),
    })
}

/// Takes the lock of an SQLite database. PostgreSQL needs no lock, because any number of processes may
/// deliver.
fn take_lock(config: &Config) -> Result<Option<FileLock>> {
    let url =
        DatabaseUrl::parse(&config.database_url).map_err(|reason| Error::invalid("database_url", reason))?;
    url.sqlite_path().map(file::lock).transpose()
}

/// Starts the delivery workers, the schedule and the services.
///
/// # Errors
/// What is wrong. Then nothing is left running: everything that can fail comes before the first service, and the delivery
/// workers come last of it.
async fn start_background(
    work: &mut Supervisor,
    setup: Setup,
    mailer: Mailer,
    app: &Arc<App>,
    config: &Config,
) -> Result<()> {
    let db = setup.db.clone();
    let lookups = Lookups {
        db: db.clone(),
        client: Client::new(config.callout_allow)?,
    };
    let checks = Checks::new(app.conditions.clone(), Client::new(config.check_allow)?);
    let operators = operators::Setup {
        db: db.clone(),
        mailer: mailer.clone(),
        client: Client::new(config.callout_allow)?,
        public_url: app.sending.public_url.clone(),
        update_every: config.update_every,
    };
    let policies = Policies {
        db: db.clone(),
        sending: app.sending.clone(),
        delivery: setup.wake.clone(),
    };
    let waves = Waves {
        db: db.clone(),
        domain: setup.domain.clone(),
        delivery: setup.wake.clone(),
    };
    // The folder for backups is created here, so a wrong setting stops the start.
    let backups = config
        .backups()
        .map(|settings| Backups::new(db.clone(), settings))
        .transpose()?;
    comparison::begin(&db).await?;
    let schedule = Schedule::start(
        db.clone(),
        config.body_retention,
        app.authorities.clone(),
        config.retention,
        config.smtp_url.is_none().then(|| config.outbox.clone()),
    )
    .await?;
    let workers = match Workers::start(setup).await {
        Ok(workers) => workers,
        Err(error) => {
            Box::new(schedule).stop().await;
            return Err(error);
        }
    };
    // Parts stop after the services, and the last one stops first. So the delivery workers stop when nothing
    // more can be queued.
    work.adopt(workers);
    work.adopt(schedule);
    let sync_limit = Limit {
        most: config.source_sync_limit,
        setting: source::SYNC_LIMIT,
    };
    work.start(
        SourceRuns::new(db.clone(), sync_limit),
        Wake::Notify(app.sources.clone()),
    );
    work.start(
        Comparisons { db: db.clone() },
        Wake::Notify(app.comparisons.clone()),
    );
    if let Some(backups) = backups {
        work.start(backups, Wake::Notify(app.backups.clone()));
    }
    if let (Some(file), Some(key)) = (config.contacts_file.clone(), config.contacts_key.clone()) {
        let schedule = config.contacts_schedule.clone();
        work.start(
            Copies::new(db.clone(), CopySettings { file, key, schedule }),
            Wake::Never,
        );
    }
    if let Some(settings) = config.status_export() {
        let exports = StatusExports::new(app.clone(), settings);
        work.start(exports, Wake::Commit(db.written()));
    }
    work.start(StatusMails::new(app.clone(), mailer), Wake::Commit(db.written()));
    work.start(lookups, Wake::Notify(app.lookups.clone()));
    work.start(checks, Wake::Never);
    work.start(policies, Wake::Commit(db.written()));
    work.start(waves, Wake::Never);
    if let Some(relays) = app.relays.clone().filter(|relays| relays.second().is_some()) {
        work.start(MailServers::new(db.clone(), relays), Wake::Never);
    }
    work.start(Maintenances { db: db.clone() }, Wake::Never);
    operators::start(work, operators);
    if config.smtp_url.is_none() {
        tracing::warn!(
            "CANDOR_SMTP_URL is not set: emails are written to files in {}",
            config.outbox.display()
        );
    }
    Ok(())
}

/// How long what is kept, for the page of the system.
fn kept(config: &Config) -> crate::system::Kept {
    let seconds = |time: Option<std::time::Duration>| time.map(|time| time.as_secs());
    crate::system::Kept {
        saved_requests: seconds(config.body_retention),
        mails: seconds(config.retention.mails),
        answers: seconds(config.retention.answers),
        archived_people: seconds(config.retention.archived_people),
    }
}
