//! The sources as they are stored: the type of a source, and how one or many are read.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::id::SourceId;
use crate::base::sealed::open;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::foreign::{Engine, shown_url};
use crate::db::schema::directory_sources as s;
use crate::directory::line::LineKind;

/// The kind of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// A PostgreSQL database that is read with queries.
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

    pub(super) fn parse(text: &str) -> Result<Self> {
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
    pub fn query(&self, kind: LineKind) -> Option<&str> {
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
            .filter(|kind| self.query(*kind).is_some())
            .collect()
    }
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
pub(super) struct SourceRow {
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

/// The places of the URL and the secret of a source, for their encryption.
pub(super) fn places(id: &SourceId) -> (String, String) {
    (
        format!("directory_sources.url/{id}"),
        format!("directory_sources.secret/{id}"),
    )
}

impl SourceRow {
    /// Returns the row as it was read, with its URL and its secret decrypted. Every row that is read goes through this.
    pub fn opened(mut self) -> Result<Self> {
        let (url, secret) = places(&self.id);
        self.url = self.url.map(|text| open(&text, &url)).transpose()?;
        self.secret = self.secret.map(|text| open(&text, &secret)).transpose()?;
        Ok(self)
    }

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

pub(super) fn existing(conn: &mut Conn, id: &SourceId) -> Result<SourceRow> {
    s::table
        .find(id.as_str())
        .filter(s::gone_at.is_null())
        .first::<SourceRow>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("source {id}")))?
        .opened()
}

pub(super) fn by_name(conn: &mut Conn, name: &str) -> Result<Option<SourceRow>> {
    s::table
        .filter(s::name.eq(name))
        .filter(s::gone_at.is_null())
        .first::<SourceRow>(conn)
        .optional()?
        .map(SourceRow::opened)
        .transpose()
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
        .first::<SourceRow>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("source {id}")))?
        .opened()?
        .view()
}

/// Returns the sources that are not deleted, oldest first, after the given ID.
pub fn list(conn: &mut Conn, after: Option<&str>, limit: i64) -> Result<Vec<Source>> {
    s::table
        .filter(s::gone_at.is_null())
        .filter(s::id.gt(after.unwrap_or("")))
        .order(s::id)
        .limit(limit)
        .load::<SourceRow>(conn)?
        .into_iter()
        .map(|row| row.opened()?.view())
        .collect()
}
