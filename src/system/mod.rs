//! The state of Candor itself: version, database, queue, mail server, background work and sizes.
//!
//! Every figure is cheap: no table is read as a whole. No secret and no address is among them.

pub mod secrets;

use serde::Serialize;

use crate::backup::{self, Backup, BackupSettings};
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::dialect::{TableSize, applied_migrations, backup_hint, database_size, table_sizes};
use crate::db::{Conn, DatabaseUrl};
use crate::delivery::queue::{self, QueueStanding};
use crate::delivery::smtp::RelayStanding;
use crate::directory::source::schedule::Schedule;
use crate::emergency::copy::{self, ContactsCopy};
use crate::work::ServiceStanding;

/// The tables that grow with use.
const GROWING: [&str; 14] = [
    "audit_events",
    "deliveries",
    "delivery_attempts",
    "notice_recipients",
    "alerts",
    "hook_requests",
    "incidents",
    "people",
    "resources",
    "operator_messages",
    "comparison_blocks",
    "comparison_findings",
    "recovery_changes",
    "status_mails",
];

/// The state of Candor.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct System {
    /// The version of this process.
    pub version: &'static str,
    /// When this process started.
    pub started_at: Timestamp,
    /// Whether this process sends deliveries and does background work.
    pub delivers: bool,
    /// The health of this process.
    pub health: Health,
    /// The database that this process uses.
    pub database: Database,
    /// The queue of deliveries.
    pub queue: QueueStanding,
    /// The mail server, as this process knows it. Null if emails are written to files.
    pub mail_server: Option<MailServer>,
    /// The mail server that takes over when the first one fails. Null if there is none.
    pub second_mail_server: Option<MailServer>,
    /// The services of this process, by name. Empty if the process does no background work.
    pub services: Vec<ServiceState>,
    /// The tables that grow with use, with approximate sizes.
    pub tables: Vec<TableSize>,
    /// How long what is kept, by the settings.
    pub kept: Kept,
    /// The backups that Candor makes by itself.
    pub backups: Backups,
}

/// How long what is kept, in seconds. Null means that nothing is deleted by age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = SystemKept)]
pub struct Kept {
    /// Saved requests of hooks.
    pub saved_requests: Option<u64>,
    /// The personal parts of emails, after the end of their incident.
    pub mails: Option<u64>,
    /// The texts and addresses of answers.
    pub answers: Option<u64>,
    /// Archived people, after they were archived.
    pub archived_people: Option<u64>,
}

/// The backups that Candor makes by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = SystemBackups)]
pub struct Backups {
    /// Whether this process makes backups.
    pub enabled: bool,
    /// When a backup is made, in words. Null if this process makes them only when somebody asks, or not at all.
    pub schedule: Option<String>,
    /// The last complete backup.
    pub last_good: Option<Backup>,
    /// The last backup that a drill restored into a temporary place and verified.
    pub last_drill: Option<Backup>,
    /// The backup that ended last, complete or failed.
    pub last: Option<Backup>,
    /// The encrypted copies of the contacts.
    pub contacts: Vec<ContactsCopy>,
}

/// Whether the process is ready, as `/readyz` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = SystemHealth)]
pub struct Health {
    /// Whether the process is ready: the database can be read and written, and the outcomes of sent emails can be stored.
    pub ready: bool,
    /// What does not work. Null if everything works.
    pub reason: Option<String>,
}

/// The database of Candor: its kind, its size and its migrations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = SystemDatabase)]
pub struct Database {
    /// The kind of database: `SQLite` or `PostgreSQL`.
    pub kind: &'static str,
    /// The size in bytes.
    pub bytes: i64,
    /// The number of migrations that were applied.
    pub migrations: usize,
    /// The version of the last one.
    pub last_migration: Option<String>,
    /// How to back it up.
    pub backup: &'static str,
}

/// A mail server that Candor sends emails to, as this process knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = SystemMailServer)]
pub struct MailServer {
    /// The host and the port.
    pub address: String,
    /// When a connection last succeeded. Null if this process has not connected yet.
    pub last_connected_at: Option<Timestamp>,
    /// Since when no connection succeeds. Null if the last one succeeded, or there was none yet.
    pub unreachable_since: Option<Timestamp>,
    /// Since when it gets no emails, because too many attempts failed and the other mail server takes them. Null if it gets them.
    pub passed_over_since: Option<Timestamp>,
    /// The number of emails that it accepted from this process.
    pub accepted: u64,
    /// The number of attempts of this process that failed because of it, and not because of a recipient.
    pub failures: u64,
}

/// A service of the background work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ServiceState {
    /// The name of the service, as in the log and the metrics.
    pub name: String,
    /// When a step last succeeded.
    pub last_success_at: Option<Timestamp>,
    /// When a step last failed.
    pub last_failure_at: Option<Timestamp>,
    /// Whether the last step failed.
    pub failing: bool,
}

/// What this process knows about itself.
pub struct Process {
    /// When the process started.
    pub started_at: Timestamp,
    /// Whether it does background work.
    pub delivers: bool,
    /// Whether the process is ready, and why not.
    pub health: Health,
    /// The mail servers. Empty if emails are written to files.
    pub relays: Vec<RelayStanding>,
    /// The services that the process runs in the background, with their last success and failure.
    pub services: Vec<ServiceStanding>,
    /// How long what is kept, by its settings.
    pub kept: Kept,
    /// Its settings for backups. None if it makes none.
    pub backups: Option<BackupSettings>,
}

/// Returns the state of Candor.
///
/// # Errors
/// An error of the database.
pub fn read(conn: &mut Conn, url: &DatabaseUrl, process: Process, now: Timestamp) -> Result<System> {
    let migrations = applied_migrations(conn)?;
    let ago = |ago: Option<std::time::Duration>| ago.map(|ago| now.minus(ago));
    let services = process.services.into_iter().map(|one| ServiceState {
        name: one.name.to_owned(),
        last_success_at: ago(one.succeeded),
        last_failure_at: ago(one.failed),
        failing: one.failing,
    });
    let mut mail_servers = process.relays.into_iter().map(|relay| MailServer {
        address: relay.address,
        last_connected_at: ago(relay.connected),
        unreachable_since: ago(relay.unreachable),
        passed_over_since: ago(relay.passed_over),
        accepted: relay.accepted,
        failures: relay.failures,
    });
    Ok(System {
        version: env!("CARGO_PKG_VERSION"),
        started_at: process.started_at,
        delivers: process.delivers,
        health: process.health,
        database: Database {
            kind: url.kind(),
            bytes: database_size(conn)?,
            migrations: migrations.len(),
            last_migration: migrations.last().cloned(),
            backup: backup_hint(url),
        },
        queue: queue::standing(conn)?,
        mail_server: mail_servers.next(),
        second_mail_server: mail_servers.next(),
        services: services.collect(),
        tables: table_sizes(conn, &GROWING)?,
        backups: backups(conn, process.backups.as_ref())?,
        kept: process.kept,
    })
}

fn backups(conn: &mut Conn, settings: Option<&BackupSettings>) -> Result<Backups> {
    let standing = backup::standing(conn)?;
    Ok(Backups {
        enabled: settings.is_some(),
        schedule: settings
            .and_then(|settings| settings.schedule.as_deref())
            .map(|schedule| Schedule::of(Some(schedule)).in_words()),
        last_good: standing.last_good,
        last_drill: standing.last_drill,
        last: standing.last,
        contacts: copy::standing(conn)?,
    })
}
