//! Where the directory comes from: databases that are read on a schedule, and services that are asked.
//!
//! A source of SQL is read into a staging table, compared with the directory, and applied in one transaction with the
//! upserts that the import uses; see `sync`. One of HTTP is asked about references that nobody knows; see `callout`.
//! What tells one SQL database from another is in `db::foreign`.
//!
//! Must never happen here: a password or a secret in what is shown, logged or audited, or a row of one source that
//! another one marks as gone.

mod applying;
pub mod callout;
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

/// Longest query, in bytes.
const MAX_QUERY: usize = 20_000;
/// Sources at most.
const MOST: i64 = 100;
/// Share of what a source brought that may be marked as gone without asking.
const GONE_PERCENT: i64 = 10;
/// Share of the rows of a kind that may be left out.
const LEFT_OUT_PERCENT: i64 = 10;
/// Seconds after which a source counts as old.
const STALE_AFTER: i64 = 24 * 3600;

/// What kind of source it is.
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

    /// As stored and shown.
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

    /// The database that it is; none: it is a service.
    pub fn engine(self) -> Option<Engine> {
        match self {
            SourceKind::Postgres => Some(Engine::Postgres),
            SourceKind::Mysql => Some(Engine::Mysql),
            SourceKind::Sqlite => Some(Engine::Sqlite),
            SourceKind::Http => None,
        }
    }
}

/// A query for each kind of row; one that is unset is not asked, and what was brought by it stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Queries {
    /// Columns: id, name; locale, time_zone, labels (a JSON object), label_NAME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<String>,
    /// Columns: id, name, email; locale, time_zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub people: Option<String>,
    /// Columns: type, id; name, account, parent_type, parent_id, labels, label_NAME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<String>,
    /// Columns: account, person, role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<String>,
    /// Columns: resource_type, resource_id, person, role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collaborators: Option<String>,
}

impl Queries {
    /// The query of a kind.
    pub fn of(&self, kind: LineKind) -> Option<&str> {
        match kind {
            LineKind::Account => self.accounts.as_deref(),
            LineKind::Person => self.people.as_deref(),
            LineKind::Resource => self.resources.as_deref(),
            LineKind::Member => self.members.as_deref(),
            LineKind::Collaborator => self.collaborators.as_deref(),
        }
    }

    /// The kinds that it asks for.
    pub fn kinds(&self) -> Vec<LineKind> {
        LineKind::ALL
            .into_iter()
            .filter(|kind| self.of(*kind).is_some())
            .collect()
    }
}

/// A source to make.
#[derive(Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSource {
    /// What it is called; no other source may be called so.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// `postgres://…`, `mysql://…` (over TLS with `?tls=required`, and `tls_ca` for a file of authorities), `sqlite:///PATH`, or the
    /// URL of a service. The password in it is never shown. A server's URL names a user and a password, or has `passwordless=yes`.
    pub url: String,
    /// What is asked of a database; needed there, at least one of them.
    #[serde(default)]
    pub queries: Queries,
    /// When a database is read by itself: five fields of cron, in UTC.
    #[serde(default)]
    pub schedule: Option<String>,
    /// Share of what it brought before that a sync may mark as gone without asking, in percent, of all rows and of each kind of which
    /// it brought ten or more; 10 if not given.
    #[serde(default)]
    pub max_gone_percent: Option<i64>,
    /// Share of the rows of a kind that cannot be used and are left out before a sync stops, in percent; 10 if not given. Up to two rows
    /// are left out whatever the share is, unless it is 0. A sync stops where no row of a kind can be used.
    #[serde(default)]
    pub max_left_out_percent: Option<i64>,
    /// Seconds after which the copy counts as old, and notices warn of it; a day if not given.
    #[serde(default)]
    pub stale_after: Option<i64>,
    /// Signs what a service is asked: `whsec_` and 24 to 64 bytes in base64; unset: made here.
    #[serde(default)]
    pub secret: Option<String>,
}

/// What changes about a source; what is not given stays.
#[derive(Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceChange {
    /// What it is called.
    #[serde(default)]
    pub name: Option<String>,
    /// The whole URL, with the password.
    #[serde(default)]
    pub url: Option<String>,
    /// All queries.
    #[serde(default)]
    pub queries: Option<Queries>,
    /// When it is read by itself; null: not any more.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub schedule: Option<Option<String>>,
    /// Share that may be marked as gone without asking, in percent.
    #[serde(default)]
    pub max_gone_percent: Option<i64>,
    /// Share of the rows of a kind that may be left out, in percent.
    #[serde(default)]
    pub max_left_out_percent: Option<i64>,
    /// Seconds after which the copy counts as old.
    #[serde(default)]
    pub stale_after: Option<i64>,
}

/// A null is a value, and not the same as nothing.
fn given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A new source; the only time that the secret of a service is shown.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct CreatedSource {
    /// The source.
    #[serde(flatten)]
    pub source: Source,
    /// Signs what a service is asked. The answer to a repeat of the request leaves it out, and names it in `withheld`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<ShownOnce>,
}

/// A source, as shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = DirectorySource)]
pub struct Source {
    /// Its id.
    pub id: SourceId,
    /// What it is called.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// Where it is, with `***` in the place of what is secret.
    pub url: String,
    /// What is asked of it.
    pub queries: Queries,
    /// When it is read by itself.
    pub schedule: Option<String>,
    /// Share that may be marked as gone without asking, in percent.
    pub max_gone_percent: i64,
    /// Share of the rows of a kind that may be left out before a sync stops, in percent.
    pub max_left_out_percent: i64,
    /// Seconds after which the copy counts as old.
    pub stale_after: i64,
    /// When it is read by itself next.
    pub next_run_at: Option<Timestamp>,
    /// What the copy shows is how it was then; for a service, when it last answered.
    pub last_success_at: Option<Timestamp>,
    /// When it was deleted.
    pub gone_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
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

/// The source of that name.
///
/// # Errors
/// `NotFound`.
pub fn named(conn: &mut Conn, name: &str) -> Result<Source> {
    by_name(conn, name)?
        .ok_or_else(|| Error::NotFound(format!("source '{name}'")))?
        .view()
}

/// A source, also one that was deleted.
///
/// # Errors
/// `NotFound`.
pub fn get(conn: &mut Conn, id: &SourceId) -> Result<Source> {
    s::table
        .find(id.as_str())
        .first::<Row>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("source {id}")))?
        .view()
}

/// The sources that are there, oldest first.
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

/// Queues a run for each source whose time has come. Answers whether there was one.
///
/// # Errors
/// What the database answers.
pub fn queue_due(tx: &mut Tx<'_>) -> Result<bool> {
    let due: Vec<SourceId> = s::table
        .filter(s::gone_at.is_null())
        .filter(s::next_run_at.le(tx.now))
        .select(s::id)
        .load(tx.conn)?;
    for id in &due {
        dialect::lock(tx.conn, Lock::Source, id.as_str())?;
        // Another process may have been quicker.
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

/// Whether the time of a source has come.
///
/// # Errors
/// What the database answers.
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

/// Whether anything waits for confirmation: the run's id.
pub(super) fn waiting(conn: &mut Conn, id: &SourceId) -> Result<Option<String>> {
    Ok(dr::table
        .filter(dr::source_id.eq(id.as_str()))
        .filter(dr::state.eq(run::State::NeedsConfirmation.as_str()))
        .order(dr::id.desc())
        .select(dr::id)
        .first(conn)
        .optional()?)
}
