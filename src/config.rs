//! The settings, from the environment first and from `candor.toml` second.
//!
//! A wrong or unknown setting is never ignored. A secret never appears in the text of an error.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::alert::provider::fetch::Fetch;
use crate::alert::queue::QueueLimits;
use crate::audit::checkpoint::check_origin;
use crate::audit::note::SigningKey;
use crate::backup::{self, BackupSettings, Keep};
use crate::base::error::Error;
use crate::base::language::Language;
use crate::base::mailbox::{self, Mailbox};
use crate::base::network::Networks;
use crate::base::sealed::SHORTEST_KEY;
use crate::db::DatabaseUrl;
use crate::delivery::dispatch::Limits;
use crate::delivery::endpoints::SmsSettings;
use crate::delivery::sms_gateway::{self, SmsGateway};
use crate::delivery::smtp::Relays;
use crate::delivery::verp::Verp;
use crate::directory::source::cron;
use crate::egress::Policy;
use crate::forgetting::retention::Retention;
use crate::http::status_page::ExportSettings;
use crate::notice::{SmsPrice, SmsTerms};

/// Variables with the prefix that are not settings. Tests and CI set them.
const NOT_SETTINGS: &[&str] = &[
    "CANDOR_TEST_POSTGRES_URL",
    "CANDOR_TEST_MYSQL_URL",
    "CANDOR_REQUIRE_POSTGRES",
    // Only a debug build reads it (`http/template_source.rs`).
    #[cfg(debug_assertions)]
    "CANDOR_TEMPLATES_FROM_DISK",
];

const NAMES: &[&str] = &[
    "database_url",
    "listen",
    "public_url",
    "trusted_proxies",
    "smtp_url",
    "smtp_url_2",
    "smtp_ca_file",
    "mail_from",
    "reply_to",
    "support_url",
    "language",
    "bounce_address",
    "admin_token",
    "secret_key",
    "encryption_key",
    "encryption_key_old",
    "send_concurrency",
    "max_audience",
    "drill_to",
    "outbox",
    "retry_schedule",
    "delivery_lifetime",
    "domain_limits",
    "dkim_keys",
    "sms_url",
    "sms_headers",
    "sms_body",
    "sms_price",
    "sms_segments",
    "webhook_allow",
    "callout_allow",
    "check_allow",
    "listing_allow",
    "update_every",
    "body_retention",
    "mail_retention",
    "answer_retention",
    "archived_people_retention",
    "source_sync_limit",
    "source_test_limit",
    "audit_origin",
    "audit_key",
    "audit_timestamp_urls",
    "audit_timestamp_allow",
    "audit_timestamp_ca_file",
    "log_format",
    "backup_dir",
    "backup_schedule",
    "backup_keep",
    "backup_check",
    "contacts_file",
    "contacts_key",
    "contacts_schedule",
    "status_export_dir",
    "status_export_schedule",
];

/// The settings that contain a secret or may contain one. Each of them can also be given as the path of a
/// file that contains the value. The name of this setting ends in `_file`.
const SECRETS: [&str; 11] = [
    "database_url",
    "smtp_url",
    "smtp_url_2",
    "admin_token",
    "secret_key",
    "audit_key",
    "contacts_key",
    "encryption_key",
    "encryption_key_old",
    "sms_url",
    "sms_headers",
];

/// The largest size of a file that contains a secret, in bytes.
const LONGEST_SECRET: u64 = 64 * 1024;

/// The smallest length of an admin token, in characters. Short tokens can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Each line is text that a person can read easily.
    Text,
    /// One JSON object on each line.
    Json,
}

/// All settings, after they were checked.
#[derive(Clone)]
pub struct Config {
    /// The URL of the database: `sqlite://PATH` or `postgres://…`.
    pub database_url: String,
    /// The address and port to listen on. Port 0 means any free port.
    pub listen: String,
    /// Whether `listen` was set. It is false for the default.
    pub listen_is_set: bool,
    /// The base URL of all links. Without it, `http://` and the listen address are used.
    pub public_url: Option<String>,
    /// The proxies whose `X-Forwarded-For` and `Forwarded` headers are trusted.
    pub trusted_proxies: Networks,
    /// The URL of the mail server. Without it, emails are written to files in `outbox`.
    pub smtp_url: Option<String>,
    /// The URL of the mail server that takes over when the first one fails.
    pub smtp_url_2: Option<String>,
    /// A PEM file with certificate authorities for the mail server, in addition to those that the machine
    /// trusts.
    pub smtp_ca_file: Option<PathBuf>,
    /// The sender of every email.
    pub mail_from: String,
    /// The address that replies to emails go to. Without it, replies go to the sender.
    pub reply_to: Option<String>,
    /// The page where customers get help, which every email links.
    pub support_url: Option<String>,
    /// The language of people and accounts without one, and of the messages that operators write.
    pub language: Language,
    /// The bounce address. The envelope sender of every email is made from it and contains the delivery.
    /// Without it, the address of `mail_from` is used.
    pub bounce_address: Option<String>,
    /// An API token with the role admin.
    pub admin_token: Option<String>,
    /// The key that signs links and sessions. Without it, a key is created at the first start and stored in
    /// the database.
    pub secret_key: Option<String>,
    /// The key that encrypts stored secrets. Without it, they are stored as they are.
    pub encryption_key: Option<String>,
    /// An earlier key, with which stored secrets can still be read.
    pub encryption_key_old: Option<String>,
    /// The largest number of open SMTP connections.
    pub send_concurrency: usize,
    /// The largest number of people that a notice may have without the approval of a second person.
    pub max_audience: usize,
    /// The addresses that all emails of drills go to. Without them, no drill can be opened.
    pub drill_to: Vec<String>,
    /// The folder that emails are written to if there is no mail server.
    pub outbox: PathBuf,
    /// The waits between attempts. The last one repeats until the delivery expires.
    pub retry_schedule: Vec<Duration>,
    /// How long a delivery is tried before it fails.
    pub delivery_lifetime: Duration,
    /// The limits of connections and rates for domains.
    pub domain_limits: Limits,
    /// The keys for DKIM signatures, as `SELECTOR:FILE`, separated by commas.
    pub dkim_keys: Option<String>,
    /// The HTTP gateway that sends short messages (SMS). Without it, none are sent.
    pub sms_url: Option<String>,
    /// The headers of a request to the gateway, one on each line.
    pub sms_headers: Option<String>,
    /// The template of the body of a request to the gateway.
    pub sms_body: Option<String>,
    /// What one segment of a short message costs.
    pub sms_price: Option<SmsPrice>,
    /// The largest number of segments of a short message.
    pub sms_segments: usize,
    /// Which addresses endpoints may have.
    pub webhook_allow: Policy,
    /// Which addresses call-outs may have.
    pub callout_allow: Policy,
    /// Which addresses HTTP checks may have.
    pub check_allow: Policy,
    /// Which addresses the listings of comparisons may be downloaded from.
    pub listing_allow: Policy,
    /// How often customers should get an update about an unresolved incident. `None` means that operators are
    /// not reminded.
    pub update_every: Option<Duration>,
    /// How long saved requests are kept. `None` means until 100 newer ones have arrived.
    pub body_retention: Option<Duration>,
    /// How long the personal parts of emails, the texts of answers, and archived people are kept. By default nothing is deleted.
    pub retention: Retention,
    /// How long a run may read a source of the directory.
    pub source_sync_limit: Duration,
    /// How long a test may read a source of the directory.
    pub source_test_limit: Duration,
    /// The name of this installation in checkpoints of the audit trail. Without it, the name of the key of the settings, or else
    /// the host of the public URL.
    pub audit_origin: Option<String>,
    /// The key that signs checkpoints. Without it, a key is created at the first start and stored in the database.
    pub audit_key: Option<SigningKey>,
    /// The authorities that stamp checkpoints with the time.
    pub audit_timestamp_urls: Vec<String>,
    /// Which addresses these authorities may have.
    pub audit_timestamp_allow: Policy,
    /// A PEM file with the certificate authorities that time stamps are verified with.
    pub audit_timestamp_ca_file: Option<PathBuf>,
    /// Whether this process does background work and sends deliveries.
    pub workers: bool,
    /// The number of threads that answer HTTP requests. This cannot be set by a user.
    pub http_threads: usize,
    /// How long the body of a request may take to arrive, for every size. This cannot be set by a user.
    pub body_grace: Duration,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// The folder for backups. Without it, Candor makes no backups by itself.
    pub backup_dir: Option<PathBuf>,
    /// When a backup is made: a cron expression in UTC. `None` means only when somebody asks.
    pub backup_schedule: Option<String>,
    /// Which backups are kept.
    pub backup_keep: Keep,
    /// Whether each backup of the schedule is restored into a temporary place and verified.
    pub backup_check: bool,
    /// The encrypted copy of the contacts. Without it, no copy is made.
    pub contacts_file: Option<PathBuf>,
    /// The key of the copy of the contacts.
    pub contacts_key: Option<String>,
    /// When the copy of the contacts is refreshed: a cron expression in UTC.
    pub contacts_schedule: String,
    /// The folder to which the status page is exported. Without it, it is exported only by the command.
    pub status_export_dir: Option<PathBuf>,
    /// When it is exported, also if nothing was changed: a cron expression in UTC.
    pub status_export_schedule: String,
    /// How the certificates of SNS are fetched and its subscriptions confirmed: over https, or by a test.
    /// This cannot be set by a user.
    pub sns: Fetch,
    /// How many alerts may wait to be stored, and for how long. This cannot be set by a user.
    pub intake: QueueLimits,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            database_url: "sqlite://candor.db".to_owned(),
            listen: "127.0.0.1:8080".to_owned(),
            listen_is_set: false,
            public_url: None,
            trusted_proxies: Networks::default(),
            smtp_url: None,
            smtp_url_2: None,
            smtp_ca_file: None,
            mail_from: "Candor <candor@localhost>".to_owned(),
            reply_to: None,
            support_url: None,
            language: Language::En,
            bounce_address: None,
            admin_token: None,
            secret_key: None,
            encryption_key: None,
            encryption_key_old: None,
            send_concurrency: 32,
            max_audience: 500,
            drill_to: Vec::new(),
            outbox: PathBuf::from("outbox"),
            retry_schedule: [5, 30, 120, 600, 1800, 3600, 10_800, 21_600, 43_200]
                .map(Duration::from_secs)
                .to_vec(),
            delivery_lifetime: Duration::from_secs(48 * 3600),
            domain_limits: Limits::default(),
            dkim_keys: None,
            sms_url: None,
            sms_headers: None,
            sms_body: None,
            sms_price: None,
            sms_segments: 3,
            webhook_allow: Policy::Public,
            callout_allow: Policy::Public,
            check_allow: Policy::Public,
            listing_allow: Policy::Public,
            update_every: Some(Duration::from_secs(3_600)),
            body_retention: Some(Duration::from_secs(30 * 24 * 3_600)),
            retention: Retention::default(),
            source_sync_limit: Duration::from_secs(30 * 60),
            source_test_limit: Duration::from_secs(60),
            audit_origin: None,
            audit_key: None,
            audit_timestamp_urls: Vec::new(),
            audit_timestamp_allow: Policy::Public,
            audit_timestamp_ca_file: None,
            workers: true,
            http_threads: std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)),
            body_grace: Duration::from_secs(20),
            log_format: LogFormat::Text,
            backup_dir: None,
            backup_schedule: Some("0 2 * * *".to_owned()),
            backup_keep: Keep::Files(14),
            backup_check: true,
            contacts_file: None,
            contacts_key: None,
            contacts_schedule: "*/15 * * * *".to_owned(),
            status_export_dir: None,
            status_export_schedule: "0 * * * *".to_owned(),
            sns: Fetch::https(),
            intake: QueueLimits::default(),
        }
    }
}

impl Config {
    /// Returns the defaults for a test, with the given database and a free port.
    pub fn for_test(database_url: &str) -> Self {
        Config {
            database_url: database_url.to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            // Each thread has its own table of routes, and creating it takes longer than most tests need it.
            http_threads: 1,
            ..Config::default()
        }
    }

    /// Reads the environment of this process and `candor.toml` in the current directory.
    ///
    /// # Errors
    /// One line that names the setting and says what is wrong with it.
    pub fn load() -> Result<Self, String> {
        Self::from_sources(environment()?, Path::new(FILE))
    }

    /// Returns the format for errors in the other settings. It reads only this one setting, and uses the
    /// default if it cannot be read.
    pub fn log_format_alone() -> LogFormat {
        let of_file = || {
            let text = std::fs::read_to_string(FILE).ok()?;
            let table: toml::Table = text.parse().ok()?;
            Some(table.get("log_format")?.as_str()?.to_owned())
        };
        match std::env::var("CANDOR_LOG_FORMAT").ok().or_else(of_file) {
            Some(format) if format.trim() == "json" => LogFormat::Json,
            _ => LogFormat::Text,
        }
    }

    /// Reads the given variables first, and then the file if it exists.
    ///
    /// # Errors
    /// One line that names the setting and says what is wrong with it.
    pub fn from_sources(environment: Vec<(String, String)>, file: &Path) -> Result<Self, String> {
        let mut values = Values::new();
        if file.exists() {
            let shown = file.display();
            let text = std::fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
            let table: toml::Table = text
                .parse()
                .map_err(|error: toml::de::Error| format!("{shown}: {}", error.message()))?;
            let mut of_file = Values::new();
            for (name, value) in table {
                if setting_of(&name).is_none() {
                    return Err(format!("{shown}: unknown setting '{name}'; {}", known()));
                }
                let value = match value {
                    toml::Value::String(text) => text,
                    toml::Value::Integer(number) => number.to_string(),
                    _ => return Err(format!("{shown}: {name}: must be a text or a number")),
                };
                insert(&mut of_file, &name, format!("{shown}: {name}"), value)?;
            }
            values = of_file;
        }
        let mut of_environment = Values::new();
        for (variable, value) in environment {
            if NOT_SETTINGS.contains(&variable.as_str()) {
                continue;
            }
            let name = variable
                .strip_prefix("CANDOR_")
                .unwrap_or(&variable)
                .to_ascii_lowercase();
            // A variable in lower case would be a second spelling of the same setting.
            if setting_of(&name).is_none() || variable != format!("CANDOR_{}", name.to_ascii_uppercase()) {
                return Err(format!("{variable}: unknown setting; {}", known()));
            }
            insert(&mut of_environment, &name, variable, value)?;
        }
        values.extend(of_environment);
        let mut config = Config::default();
        for (
            name,
            GivenValue {
                shown,
                value,
                in_file,
            },
        ) in values
        {
            let value = if in_file {
                secret_in(&value).map_err(|reason| format!("{shown}: {reason}"))?
            } else {
                value
            };
            config
                .set(&name, value)
                .map_err(|reason| format!("{shown}: {reason}"))?;
        }
        config.check_together()?;
        Ok(config)
    }

    /// Checks the settings that depend on each other.
    /// Returns how short messages are sent. `None` if they are not set up.
    ///
    /// # Errors
    /// `Invalid` with the wrong setting.
    pub fn sms(&self) -> crate::base::error::Result<Option<SmsSettings>> {
        self.sms_settings()
            .map_err(|(setting, reason)| Error::invalid(setting, reason))
    }

    fn sms_settings(&self) -> Result<Option<SmsSettings>, (&'static str, String)> {
        let Some(url) = &self.sms_url else {
            return Ok(None);
        };
        let headers = self.sms_headers.as_deref().unwrap_or_default();
        let body = self.sms_body.as_deref().unwrap_or(sms_gateway::BODY);
        Ok(Some(SmsSettings {
            gateway: SmsGateway::new(url, headers, body)?,
            terms: SmsTerms {
                segments: self.sms_segments,
                price: self.sms_price.clone(),
            },
        }))
    }

    fn check_together(&self) -> Result<(), String> {
        match (&self.smtp_url, &self.smtp_url_2) {
            (None, Some(_)) => {
                return Err(
                    "smtp_url_2: is the mail server that takes over from the first one, so CANDOR_SMTP_URL is needed too".to_owned(),
                );
            }
            (Some(first), Some(second)) => {
                // The file with certificate authorities is read at the start.
                Relays::of_settings(first, Some(second), None)
                    .map_err(|(setting, reason)| format!("{setting}: {reason}"))?;
            }
            (_, None) => {}
        }
        if self.sms_url.is_none() {
            let others = [
                ("sms_headers", self.sms_headers.is_some()),
                ("sms_body", self.sms_body.is_some()),
                ("sms_price", self.sms_price.is_some()),
            ];
            if let Some((name, _)) = others.iter().find(|(_, is_set)| *is_set) {
                return Err(format!(
                    "{name}: is about the gateway for short messages, so CANDOR_SMS_URL is needed too"
                ));
            }
        }
        self.sms_settings()
            .map_err(|(setting, reason)| format!("{setting}: {reason}"))?;
        if self.contacts_file.is_some() && self.contacts_key.is_none() {
            return Err(
                "CANDOR_CONTACTS_FILE: the copy of the contacts is encrypted, so CANDOR_CONTACTS_KEY or CANDOR_CONTACTS_KEY_FILE \
                 is needed too"
                    .to_owned(),
            );
        }
        if let (Some(origin), Some(key)) = (&self.audit_origin, &self.audit_key)
            && origin != key.origin()
        {
            return Err(format!(
                "audit_origin: is {origin}, but audit_key is the key of {}; leave audit_origin out, or create another key",
                key.origin()
            ));
        }
        for url in &self.audit_timestamp_urls {
            crate::egress::check_url(url, self.audit_timestamp_allow).map_err(|reason| {
                format!(
                    "audit_timestamp_urls: a URL {reason} (audit_timestamp_allow decides what is allowed)"
                )
            })?;
        }
        Ok(())
    }

    /// Returns the name of this installation in checkpoints, where `public_url` is the base of its links.
    pub fn audit_origin(&self, public_url: &str) -> String {
        if let Some(origin) = &self.audit_origin {
            return origin.clone();
        }
        if let Some(key) = &self.audit_key {
            return key.origin().to_owned();
        }
        url::Url::parse(public_url)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned))
            .filter(|host| check_origin(host).is_ok())
            .unwrap_or_else(|| "candor".to_owned())
    }

    /// Returns the base URL of all links: the one of the settings, or else the listen address.
    pub fn base_url(&self) -> String {
        self.public_url
            .clone()
            .unwrap_or_else(|| format!("http://{}", self.listen))
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let value = value.trim().to_owned();
        if value.is_empty() {
            return Err("must not be empty; leave it out to use the default".to_owned());
        }
        match name {
            "database_url" => {
                DatabaseUrl::parse(&value)?;
                self.database_url = value;
            }
            "listen" => {
                value
                    .rsplit_once(':')
                    .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
                    .ok_or("must be ADDRESS:PORT, such as 127.0.0.1:8080")?;
                self.listen = value;
                self.listen_is_set = true;
            }
            "public_url" => self.public_url = Some(public_url(&value)?),
            "trusted_proxies" => self.trusted_proxies = Networks::parse(&value)?,
            "smtp_url" => {
                crate::delivery::smtp::Relay::parse(&value)?;
                self.smtp_url = Some(value);
            }
            "smtp_url_2" => {
                crate::delivery::smtp::Relay::parse(&value)?;
                self.smtp_url_2 = Some(value);
            }
            // The file is read and checked at the start.
            "smtp_ca_file" => self.smtp_ca_file = Some(PathBuf::from(value)),
            "mail_from" => {
                crate::delivery::email::parse_sender(&value)?;
                self.mail_from = value;
            }
            "reply_to" => {
                crate::delivery::email::parse_sender(&value)?;
                self.reply_to = Some(value);
            }
            "support_url" => self.support_url = Some(support_url(&value)?),
            "language" => self.language = Language::parse(&value)?,
            "bounce_address" => {
                Verp::check(&value)?;
                self.bounce_address = Some(value);
            }
            "admin_token" => {
                if value.chars().count() < SHORTEST_TOKEN {
                    return Err(format!(
                        "is too short; use at least {SHORTEST_TOKEN} random characters"
                    ));
                }
                self.admin_token = Some(value);
            }
            "secret_key" => {
                if value.len() < 32 {
                    return Err("is too short; use at least 32 characters".to_owned());
                }
                self.secret_key = Some(value);
            }
            "encryption_key" => self.encryption_key = Some(encryption_key(value)?),
            "encryption_key_old" => self.encryption_key_old = Some(encryption_key(value)?),
            "send_concurrency" => self.send_concurrency = number(&value, 1, 1_000)?,
            "max_audience" => self.max_audience = number(&value, 0, 100_000_000)?,
            "drill_to" => self.drill_to = drill_to(&value)?,
            "outbox" => self.outbox = PathBuf::from(value),
            "retry_schedule" => self.retry_schedule = schedule(&value)?,
            "delivery_lifetime" => {
                self.delivery_lifetime = wait(&value)
                    .filter(|time| *time >= Duration::from_secs(60))
                    .ok_or("must be a time of at least a minute, such as 48h")?;
            }
            "domain_limits" => self.domain_limits = Limits::parse(&value)?,
            // The keys are read and checked at the start, when the domain is known.
            "dkim_keys" => self.dkim_keys = Some(value),
            "sms_url" => self.sms_url = Some(value),
            "sms_headers" => self.sms_headers = Some(value),
            "sms_body" => self.sms_body = Some(value),
            "sms_price" => self.sms_price = Some(sms_price(&value)?),
            "sms_segments" => self.sms_segments = number(&value, 1, 10)?,
            "webhook_allow" => self.webhook_allow = policy(&value)?,
            "callout_allow" => self.callout_allow = policy(&value)?,
            "check_allow" => self.check_allow = policy(&value)?,
            "listing_allow" => self.listing_allow = policy(&value)?,
            "update_every" => {
                self.update_every = match value.as_str() {
                    "off" => None,
                    time => Some(
                        wait(time)
                            .filter(|time| *time >= Duration::from_secs(60))
                            .ok_or("must be a time of at least a minute, such as 1h, or off")?,
                    ),
                };
            }
            "source_sync_limit" => self.source_sync_limit = source_limit(&value)?,
            "source_test_limit" => self.source_test_limit = source_limit(&value)?,
            "body_retention" => {
                self.body_retention = match value.as_str() {
                    "off" => None,
                    time => Some(
                        wait(time)
                            .filter(|time| *time >= Duration::from_secs(3_600))
                            .ok_or("must be a time of at least an hour, such as 720h, or off")?,
                    ),
                };
            }
            "mail_retention" => self.retention.mails = kept_for(&value)?,
            "answer_retention" => self.retention.answers = kept_for(&value)?,
            "archived_people_retention" => self.retention.archived_people = kept_for(&value)?,
            "audit_origin" => {
                check_origin(&value)?;
                self.audit_origin = Some(value);
            }
            "audit_key" => self.audit_key = Some(SigningKey::parse(&value)?),
            "audit_timestamp_urls" => self.audit_timestamp_urls = urls(&value)?,
            "audit_timestamp_allow" => self.audit_timestamp_allow = policy(&value)?,
            // The file is read and checked at the start.
            "audit_timestamp_ca_file" => self.audit_timestamp_ca_file = Some(PathBuf::from(value)),
            "log_format" => {
                self.log_format = match value.as_str() {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    _ => return Err("must be text or json".to_owned()),
                }
            }
            // The folder is created at the start.
            "backup_dir" => self.backup_dir = Some(PathBuf::from(value)),
            "backup_schedule" => self.backup_schedule = backup::settings::schedule(&value)?,
            "backup_keep" => self.backup_keep = Keep::parse(&value)?,
            "backup_check" => self.backup_check = on_or_off(&value)?,
            "contacts_file" => self.contacts_file = Some(PathBuf::from(value)),
            "contacts_key" => {
                if value.len() < 32 {
                    return Err("is too short; use at least 32 random characters".to_owned());
                }
                self.contacts_key = Some(value);
            }
            "contacts_schedule" => {
                cron::check(&value)?;
                self.contacts_schedule = value;
            }
            "status_export_dir" => self.status_export_dir = Some(PathBuf::from(value)),
            "status_export_schedule" => {
                cron::check(&value)?;
                self.status_export_schedule = value;
            }
            _ => return Err(format!("unknown setting; {}", known())),
        }
        Ok(())
    }

    /// Returns where and when the status page is exported. None if it is not.
    pub fn status_export(&self) -> Option<ExportSettings> {
        Some(ExportSettings {
            folder: self.status_export_dir.clone()?,
            schedule: self.status_export_schedule.clone(),
        })
    }

    /// Returns the settings of the backups that Candor makes by itself. None if it makes none.
    pub fn backups(&self) -> Option<BackupSettings> {
        Some(BackupSettings {
            folder: self.backup_dir.clone()?,
            schedule: self.backup_schedule.clone(),
            keep: self.backup_keep,
            check: self.backup_check,
        })
    }
}

fn on_or_off(value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("must be on or off".to_owned()),
    }
}

/// Parses the price of a segment, such as `0.0075 EUR`.
fn sms_price(text: &str) -> Result<SmsPrice, String> {
    let wrong = || "must be the price of a segment with its currency, such as 0.0075 EUR".to_owned();
    let (each, currency) = text.trim().split_once(' ').ok_or_else(wrong)?;
    let currency = currency.trim();
    let each: f64 = each.parse().map_err(|_| wrong())?;
    let is_code = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
    match is_code && each.is_finite() && (0.0..=1_000.0).contains(&each) {
        true => Ok(SmsPrice {
            each,
            currency: currency.to_owned(),
        }),
        false => Err(wrong()),
    }
}

/// Checks a key for the encryption of stored secrets.
fn encryption_key(text: String) -> Result<String, String> {
    if text.chars().count() < SHORTEST_KEY {
        return Err(format!(
            "is too short; use at least {SHORTEST_KEY} random characters"
        ));
    }
    Ok(text)
}

/// Returns how long something is kept. `None` means forever.
fn kept_for(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    wait(text)
        .filter(|time| *time >= SHORTEST_RETENTION)
        .map(Some)
        .ok_or_else(|| "must be a time of at least a day, such as 8760h, or off".to_owned())
}

/// The shortest time that something is kept for. A mistake in a unit must not delete what is still needed.
const SHORTEST_RETENTION: Duration = Duration::from_secs(24 * 3_600);

/// Returns the addresses for drills, as they are sent to.
fn drill_to(text: &str) -> Result<Vec<String>, String> {
    let mut addresses: Vec<String> = Vec::new();
    for part in text.split(',') {
        let address = Mailbox::parse(part)
            .map_err(|reason| format!("'{}': {reason}", part.trim()))?
            .address();
        let same = |other: &String| mailbox::key_of(other) == mailbox::key_of(&address);
        if addresses.iter().any(same) {
            return Err(format!("'{address}' is given twice"));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

/// Returns a list of URLs, which are checked when all settings are known.
fn urls(text: &str) -> Result<Vec<String>, String> {
    let mut urls: Vec<String> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let url = url::Url::parse(part)
            .map_err(|_| "must be URLs such as https://stamps.example.com, separated by commas")?;
        if urls.iter().any(|other| other == url.as_str()) {
            return Err(format!("'{url}' is given twice"));
        }
        urls.push(url.to_string());
    }
    Ok(urls)
}

/// The file with settings, in the current directory.
const FILE: &str = "candor.toml";

/// A value and the place where it was given.
struct GivenValue {
    /// The variable, or the file and the key in it.
    shown: String,
    value: String,
    /// Whether the value is the path of a file that contains the value of the setting.
    in_file: bool,
}

/// The values that were given, by the name of the setting.
type Values = BTreeMap<String, GivenValue>;

/// Returns the setting that a name belongs to, and whether the value is in a file.
fn setting_of(name: &str) -> Option<(&str, bool)> {
    if NAMES.contains(&name) {
        return Some((name, false));
    }
    name.strip_suffix("_file")
        .filter(|setting| SECRETS.contains(setting))
        .map(|setting| (setting, true))
}

/// Adds a value of one source. A source may give each setting only once.
fn insert(values: &mut Values, name: &str, shown: String, value: String) -> Result<(), String> {
    let Some((setting, in_file)) = setting_of(name) else {
        return Err(format!("{shown}: unknown setting; {}", known()));
    };
    if let Some(other) = values.get(setting) {
        return Err(format!(
            "{shown}: {} is given too; give one of the two",
            other.shown
        ));
    }
    let given = GivenValue {
        shown,
        value,
        in_file,
    };
    values.insert(setting.to_owned(), given);
    Ok(())
}

/// Returns the secret in a file, without white space around it.
fn secret_in(path: &str) -> Result<String, String> {
    let path = path.trim();
    if path.is_empty() {
        return Err("must not be empty; leave it out to use the default".to_owned());
    }
    let about = |reason: String| format!("{path}: {reason}");
    let metadata = std::fs::metadata(path).map_err(|error| about(error.to_string()))?;
    if metadata.is_dir() || metadata.len() > LONGEST_SECRET {
        return Err(about(format!(
            "must be a file of at most {LONGEST_SECRET} bytes that contains the value"
        )));
    }
    let file = std::fs::File::open(path).map_err(|error| about(error.to_string()))?;
    let mut text = Vec::new();
    // A pipe has no size that could be checked before, so the read itself is limited.
    file.take(LONGEST_SECRET + 1)
        .read_to_end(&mut text)
        .map_err(|error| about(error.to_string()))?;
    let text = String::from_utf8(text).map_err(|_| about("is not UTF-8".to_owned()))?;
    if text.trim().is_empty() {
        return Err(about("contains no value".to_owned()));
    }
    if text.len() as u64 > LONGEST_SECRET {
        return Err(about(format!("is larger than {LONGEST_SECRET} bytes")));
    }
    Ok(text.trim().to_owned())
}

/// Returns the variables of this process that have Candor's prefix.
fn environment() -> Result<Vec<(String, String)>, String> {
    let mut values = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        if !name.starts_with("CANDOR_") {
            continue;
        }
        let value = value.into_string().map_err(|_| format!("{name}: is not UTF-8"))?;
        values.push((name, value));
    }
    Ok(values)
}

fn known() -> String {
    let files: Vec<String> = SECRETS.iter().map(|name| format!("{name}_file")).collect();
    format!("the settings are {}, {}", NAMES.join(", "), files.join(", "))
}

fn source_limit(value: &str) -> Result<Duration, String> {
    wait(value)
        .filter(|time| (Duration::from_secs(1)..=Duration::from_secs(24 * 3600)).contains(time))
        .ok_or_else(|| "must be a time from 1s to 24h, such as 30m".to_owned())
}

/// Returns `scheme://host` or `scheme://host:port`, in lower case. A path is refused, because every path of
/// Candor begins at the root of a host. The path of a cookie, a redirect and a link on a page do not contain
/// the path of a proxy.
fn public_url(value: &str) -> Result<String, String> {
    let url = url::Url::parse(value)
        .ok()
        .filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"))
        .ok_or("must be an http or https URL such as https://candor.example.com")?;
    let (wrong, origin) = (
        |what: &str, right: &str| Err(format!("{what}; it would be {right}")),
        url.origin(),
    );
    let right = origin.ascii_serialization();
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("must not hold a user name or password", &right);
    }
    // An empty query or fragment is also refused.
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("must be without query or fragment", &right);
    }
    if !matches!(url.path(), "" | "/") {
        return wrong(
            "must be without a path: Candor is served at the root of a host, give it a host name of its own",
            &right,
        );
    }
    Ok(right)
}

/// Returns the URL of the page where customers get help.
fn support_url(value: &str) -> Result<String, String> {
    let url = url::Url::parse(value)
        .ok()
        .filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"))
        .ok_or("must be an http or https URL such as https://support.example.com")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password".to_owned());
    }
    Ok(url.to_string())
}

fn policy(value: &str) -> Result<Policy, String> {
    match value {
        "public" => Ok(Policy::Public),
        "private" => Ok(Policy::Private),
        _ => Err("must be public or private".to_owned()),
    }
}

fn number(text: &str, least: usize, most: usize) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| (least..=most).contains(n))
        .ok_or(format!("must be a whole number from {least} to {most}"))
}

fn schedule(text: &str) -> Result<Vec<Duration>, String> {
    text.split(',')
        .map(|part| wait(part).ok_or("must be waits such as 5s,30s,2m,1h".to_owned()))
        .collect()
}

/// Parses a duration such as 5s, 2m or 1h.
fn wait(text: &str) -> Option<Duration> {
    let text = text.trim();
    let seconds = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    let count: u32 = text[..text.len() - 1].parse().ok()?;
    Some(Duration::from_secs(u64::from(count) * seconds))
}
