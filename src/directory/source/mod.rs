//! The sources of the directory: databases that are read on a schedule, and services that are asked.
//!
//! An SQL source is read into a staging table, compared with the directory, and applied in one transaction
//! with the same upserts as the import; see `sync`. An HTTP source is asked about unknown references; see
//! `callout`. The differences between SQL databases are in `db::foreign`.
//!
//! A password or a secret is never shown, logged or audited. A source never archives a row of another source.

mod applying;
pub mod callout;
pub mod cancel;
pub mod changes;
pub mod cron;
mod current;
mod gone;
mod left_out;
pub mod manage;
pub mod mapping;
mod reading;
mod references;
pub mod run;
pub mod runner;
mod settle;
mod stage;
pub mod status;
pub mod sync;
pub mod table;

pub mod trial;

use diesel::prelude::*;
use serde::{Deserialize, Deserializer, Serialize};

use super::line::LineKind;
use crate::audit::Tx;
use crate::base::error::{Error, Result};
use crate::base::id::SourceId;
use crate::base::shown_once::ShownOnce;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::{self, Lock};
use crate::db::foreign::{Engine, shown_url};
use crate::db::schema::{directory_runs as dr, directory_sources as s};

/// The longest query, in bytes.
const MAX_QUERY: usize = 20_000;
/// The largest number of sources.
const MOST: i64 = 100;
/// The setting that limits how long a run may read its source.
pub const SYNC_LIMIT: &str = "CANDOR_SOURCE_SYNC_LIMIT";
/// The setting that limits how long a test may read its source.
pub const TEST_LIMIT: &str = "CANDOR_SOURCE_TEST_LIMIT";
/// The default share of a source's rows that may be archived without a confirmation, in percent.
const GONE_PERCENT: i64 = 10;
/// The default share of the rows of a kind that may be left out, in percent.
const LEFT_OUT_PERCENT: i64 = 10;
/// The default number of seconds after which the data of a source counts as stale.
const STALE_AFTER: i64 = 24 * 3600;

/// The kind of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// A PostgreSQL database.
    Postgres,
    /// A MySQL or MariaDB database.
    Mysql,
    /// A SQLite file on the machine that Candor runs on.
    Sqlite,
    /// A service that is asked about references.
    Http,
}

impl SourceKind {
    const ALL: [(SourceKind, &'static str); 4] = [
        (SourceKind::Postgres, "postgres"),
        (SourceKind::Mysql, "mysql"),
        (SourceKind::Sqlite, "sqlite"),
        (SourceKind::Http, "http"),
    ];

    /// Returns the kind as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("http", |(_, word)| *word)
    }

    fn parse(text: &str) -> Result<Self> {
        Self::ALL
            .iter()
            .find(|(_, word)| *word == text)
            .map(|(kind, _)| *kind)
            .ok_or_else(|| Error::internal("a source of an unknown kind"))
    }

    /// Returns the database engine. None for a service.
    pub fn engine(self) -> Option<Engine> {
        match self {
            SourceKind::Postgres => Some(Engine::Postgres),
            SourceKind::Mysql => Some(Engine::Mysql),
            SourceKind::Sqlite => Some(Engine::Sqlite),
            SourceKind::Http => None,
        }
    }
}

/// The queries, one for each kind of row. If a query is not set, rows of that kind are not read, and the
/// entries that it brought before stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Queries {
    /// Columns: `id`, `name`. Optional: `locale`, `time_zone`, `labels` (a JSON object), `label_NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<String>,
    /// Columns: `id`, `name`, `email`. Optional: `locale`, `time_zone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub people: Option<String>,
    /// Columns: `type`, `id`. Optional: `name`, `account`, `parent_type`, `parent_id`, `labels`,
    /// `label_NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<String>,
    /// Columns: `account`, `person`, `role`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<String>,
    /// Columns: `resource_type`, `resource_id`, `person`, `role`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collaborators: Option<String>,
}

impl Queries {
    /// Returns the query of a kind.
    pub fn of(&self, kind: LineKind) -> Option<&str> {
        match kind {
            LineKind::Account => self.accounts.as_deref(),
            LineKind::Person => self.people.as_deref(),
            LineKind::Resource => self.resources.as_deref(),
            LineKind::Member => self.members.as_deref(),
            LineKind::Collaborator => self.collaborators.as_deref(),
        }
    }

    /// Returns the kinds that have a query.
    pub fn kinds(&self) -> Vec<LineKind> {
        LineKind::ALL
            .into_iter()
            .filter(|kind| self.of(*kind).is_some())
            .collect()
    }
}

/// A new source.
#[derive(Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSource {
    /// The name of the source. It must be unique.
    pub name: String,
    /// The kind of the source.
    pub kind: SourceKind,
    /// `postgres://…`, `mysql://…` (over TLS with `?tls=required`, and `tls_ca` for a file of certificate
    /// authorities), `sqlite:///PATH`, or the URL of a service. The password in it is never shown. The URL of
    /// a server contains a user and a password, or has `passwordless=yes`.
    pub url: String,
    /// The queries. A database needs at least one of them, and a service has none.
    #[serde(default)]
    pub queries: Queries,
    /// When a database is read automatically: a cron expression with five fields, in UTC.
    #[serde(default)]
    pub schedule: Option<String>,
    /// The share of the entries which this source brought before that a sync may archive without a
    /// confirmation, in percent. It applies to all entries together, and to each kind with ten or more
    /// entries. The default is 10.
    #[serde(default)]
    pub max_gone_percent: Option<i64>,
    /// The share of the rows of a kind that may be unusable and left out before a sync stops, in percent. The
    /// default is 10. Up to two rows are left out whatever the share is, unless it is 0. A sync stops if no
    /// row of a kind can be used.
    #[serde(default)]
    pub max_left_out_percent: Option<i64>,
    /// Seconds after which the data of the source counts as stale and notices warn of it. The default is
    /// 86400 (one day).
    #[serde(default)]
    pub stale_after: Option<i64>,
    /// For a service: the secret that signs the requests to it, `whsec_` and 24 to 64 bytes in base64. If not
    /// set, Candor creates one.
    #[serde(default)]
    pub secret: Option<String>,
}

/// A change of a source. Fields that are left out do not change.
#[derive(Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceChange {
    /// The new name.
    #[serde(default)]
    pub name: Option<String>,
    /// The whole new URL, including the password.
    #[serde(default)]
    pub url: Option<String>,
    /// All new queries.
    #[serde(default)]
    pub queries: Option<Queries>,
    /// The new schedule. With null, the source is no longer read automatically.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub schedule: Option<Option<String>>,
    /// The new share that may be archived without a confirmation, in percent.
    #[serde(default)]
    pub max_gone_percent: Option<i64>,
    /// The new share of the rows of a kind that may be left out, in percent.
    #[serde(default)]
    pub max_left_out_percent: Option<i64>,
    /// The new number of seconds after which the data counts as stale.
    #[serde(default)]
    pub stale_after: Option<i64>,
}

/// Distinguishes a null from a field that is left out.
fn given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A new source. The secret of a service is shown only in this answer.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct CreatedSource {
    /// The source.
    #[serde(flatten)]
    pub source: Source,
    /// The secret that signs the requests to a service. The answer to a repeat of the request omits it and
    /// lists it in `withheld`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<ShownOnce>,
}

/// A source of the directory.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = DirectorySource)]
pub struct Source {
    /// The ID of the source.
    pub id: SourceId,
    /// The name of the source.
    pub name: String,
    /// The kind of the source.
    pub kind: SourceKind,
    /// The URL of the source. Secrets in it are replaced by `***`.
    pub url: String,
    /// The queries of the source.
    pub queries: Queries,
    /// When the source is read automatically: a cron expression in UTC.
    pub schedule: Option<String>,
    /// The share that may be archived without a confirmation, in percent.
    pub max_gone_percent: i64,
    /// The share of the rows of a kind that may be left out before a sync stops, in percent.
    pub max_left_out_percent: i64,
    /// Seconds after which the data of the source counts as stale.
    pub stale_after: i64,
    /// When the source is next read automatically.
    pub next_run_at: Option<Timestamp>,
    /// The time that the data is from: the beginning of the last successful sync. For a service, the time of
    /// its last answer.
    pub last_success_at: Option<Timestamp>,
    /// When the source was deleted. Null if it is not deleted.
    pub gone_at: Option<Timestamp>,
    /// When the source was created.
    pub created_at: Timestamp,
    /// When the source was last changed.
    pub updated_at: Timestamp,
}

#[derive(Clone, Queryable)]
pub(super) struct Row {
    pub id: SourceId,
    pub name: String,
    pub kind: String,
    pub url: Option<String>,
    pub secret: Option<String>,
    pub queries: String,
    pub schedule: Option<String>,
    pub max_gone_percent: i64,
    pub stale_after: i64,
    pub next_run_at: Option<Timestamp>,
    pub last_success_at: Option<Timestamp>,
    pub gone_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub max_left_out_percent: i64,
}

impl Row {
    pub fn kind(&self) -> Result<SourceKind> {
        SourceKind::parse(&self.kind)
    }

    pub fn queries(&self) -> Result<Queries> {
        Ok(serde_json::from_str(&self.queries)?)
    }

    pub fn view(self) -> Result<Source> {
        Ok(Source {
            kind: self.kind()?,
            queries: self.queries()?,
            url: self.url.as_deref().map(shown_url).unwrap_or_default(),
            id: self.id,
            name: self.name,
            schedule: self.schedule,
            max_gone_percent: self.max_gone_percent,
            max_left_out_percent: self.max_left_out_percent,
            stale_after: self.stale_after,
            next_run_at: self.next_run_at,
            last_success_at: self.last_success_at,
            gone_at: self.gone_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

pub(super) fn there(conn: &mut Conn, id: &SourceId) -> Result<Row> {
    s::table
        .find(id.as_str())
        .filter(s::gone_at.is_null())
        .first(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("source {id}")))
}

fn by_name(conn: &mut Conn, name: &str) -> Result<Option<Row>> {
    Ok(s::table
        .filter(s::name.eq(name))
        .filter(s::gone_at.is_null())
        .first(conn)
        .optional()?)
}

/// Returns the source with this name.
///
/// # Errors
/// `NotFound` if no source has this name.
pub fn named(conn: &mut Conn, name: &str) -> Result<Source> {
    by_name(conn, name)?
        .ok_or_else(|| Error::NotFound(format!("source '{name}'")))?
        .view()
}

/// Returns the source with this ID, even if it is deleted.
///
/// # Errors
/// `NotFound` if no source has this ID.
pub fn get(conn: &mut Conn, id: &SourceId) -> Result<Source> {
    s::table
        .find(id.as_str())
        .first::<Row>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("source {id}")))?
        .view()
}

/// Returns the sources that are not deleted, oldest first, after the given ID.
pub fn list(conn: &mut Conn, after: Option<&str>, limit: i64) -> Result<Vec<Source>> {
    s::table
        .filter(s::gone_at.is_null())
        .filter(s::id.gt(after.unwrap_or("")))
        .order(s::id)
        .limit(limit)
        .load::<Row>(conn)?
        .into_iter()
        .map(Row::view)
        .collect()
}

/// Queues a run for each source whose scheduled time has come. Returns whether there was one.
pub fn queue_due(tx: &mut Tx<'_>) -> Result<bool> {
    let due: Vec<SourceId> = s::table
        .filter(s::gone_at.is_null())
        .filter(s::next_run_at.le(tx.now))
        .select(s::id)
        .load(tx.conn)?;
    for id in &due {
        dialect::lock(tx.conn, Lock::Source, id.as_str())?;
        // Another process may have queued the run already.
        let Ok(row) = there(tx.conn, id) else { continue };
        if row.next_run_at.is_none_or(|at| at > tx.now) {
            continue;
        }
        let next = row
            .schedule
            .as_deref()
            .and_then(|schedule| cron::next(schedule, tx.now));
        diesel::update(s::table.find(id.as_str()))
            .set(s::next_run_at.eq(next))
            .execute(tx.conn)?;
        if run::active(tx.conn, id)?.is_none() {
            run::request(tx, id, run::Cause::Schedule)?;
        }
    }
    Ok(!due.is_empty())
}

/// Returns whether the scheduled time of a source has come.
pub fn any_due(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    let due: Option<SourceId> = s::table
        .filter(s::gone_at.is_null())
        .filter(s::next_run_at.le(now))
        .select(s::id)
        .limit(1)
        .first(conn)
        .optional()?;
    Ok(due.is_some())
}

/// Returns the ID of the run that waits for a confirmation.
pub(super) fn waiting(conn: &mut Conn, id: &SourceId) -> Result<Option<String>> {
    Ok(dr::table
        .filter(dr::source_id.eq(id.as_str()))
        .filter(dr::state.eq(run::State::NeedsConfirmation.as_str()))
        .order(dr::id.desc())
        .select(dr::id)
        .first(conn)
        .optional()?)
}
