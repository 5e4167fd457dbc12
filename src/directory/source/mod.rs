//! Where the directory comes from: databases that are read on a schedule, and services that are asked.
//!
//! A source of SQL is read into a staging table, compared with the directory, and applied in one transaction with the
//! upserts that the import uses; see `sync`. One of HTTP is asked about references that nobody knows; see `callout`.
//! What tells one SQL database from another is in `db::foreign`.
//!
//! Must never happen here: a password or a secret in what is shown, logged or audited, or a row of one source that
//! another one marks as gone.

pub mod callout;
pub mod cron;
mod current;
mod gone;
pub mod mapping;
pub mod run;
pub mod runner;
mod stage;
pub mod status;
pub mod sync;
pub mod table;

pub mod trial;

use diesel::prelude::*;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::endpoint::{fresh_secret, key_of};
use super::line::LineKind;
use super::{Check, address_mark};
use crate::audit::{Action, Event, Tx};
use crate::db::Conn;
use crate::db::dialect::{self, Lock};
use crate::db::foreign::{Engine, shown_url};
use crate::db::schema::{directory_origins, directory_runs as dr, directory_sources as s};
use crate::egress::{Policy, check_url};
use crate::error::{Error, FieldError, Result};
use crate::id::SourceId;
use crate::time::Timestamp;

/// Longest query, in bytes.
const MAX_QUERY: usize = 20_000;
/// Sources at most.
const MOST: i64 = 100;
/// Share of what a source brought that may be marked as gone without asking.
const GONE_PERCENT: i64 = 10;
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
    /// `postgres://…`, `mysql://…`, `sqlite:///PATH`, or the URL of a service. The password in it is never shown.
    pub url: String,
    /// What is asked of a database; needed there, at least one of them.
    #[serde(default)]
    pub queries: Queries,
    /// When a database is read by itself: five fields of cron, in UTC.
    #[serde(default)]
    pub schedule: Option<String>,
    /// Share of what it brought before that a sync may mark as gone without asking, in percent; 10 if not given.
    #[serde(default)]
    pub max_gone_percent: Option<i64>,
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
    /// Signs what a service is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// A source, as shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
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
            stale_after: self.stale_after,
            next_run_at: self.next_run_at,
            last_success_at: self.last_success_at,
            gone_at: self.gone_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// What the audit trail holds of a source: everything but its URL and secret, and a mark that tells whether the URL changed.
fn mark(row: &Row) -> Result<Value> {
    Ok(json!({
        "name": row.name, "kind": row.kind, "queries": row.queries()?, "schedule": row.schedule,
        "max_gone_percent": row.max_gone_percent, "stale_after": row.stale_after,
        "url": row.url.as_deref().map(address_mark),
    }))
}

/// What a source is checked against.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// The path of Candor's own database, where it is a file.
    pub own_file: Option<&'a str>,
    /// Where a service may be.
    pub callout_allow: Policy,
}

/// Checks what a caller says of a source, and collects what is wrong.
struct Checked<'a> {
    kind: SourceKind,
    check: Check,
    settings: Settings<'a>,
}

impl Checked<'_> {
    fn error(&mut self, pointer: &str, detail: impl Into<String>) {
        self.check.errors.push(FieldError::at(pointer, detail));
    }

    fn url(&mut self, url: &str) {
        let result = match self.kind.engine() {
            _ if url.contains(":***@") => {
                Err("holds *** in the place of the password; give the whole URL".to_owned())
            }
            Some(engine) => engine.check(url).and_then(|()| self.not_our_own(url)),
            None => check_url(url, self.settings.callout_allow).map(drop),
        };
        if let Err(detail) = result {
            self.error("/url", detail);
        }
    }

    /// Candor's own file holds secrets, and reading it would copy the directory from itself.
    fn not_our_own(&self, url: &str) -> std::result::Result<(), String> {
        let whole = |path: &str| std::fs::canonicalize(path).ok();
        match (self.settings.own_file, url.strip_prefix("sqlite://")) {
            (Some(own), Some(path))
                if path == own || (whole(path).is_some() && whole(path) == whole(own)) =>
            {
                Err("is Candor's own database".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn queries(&mut self, queries: &Queries) {
        let kinds = queries.kinds();
        match (self.kind.engine(), kinds.is_empty()) {
            (Some(_), true) => {
                self.error(
                    "/queries",
                    "needs at least one of accounts, people, resources, members, collaborators",
                );
            }
            (None, false) => self.error(
                "/queries",
                "a service is asked about references; it has no queries",
            ),
            _ => {}
        }
        for kind in kinds {
            let query = queries.of(kind).unwrap_or_default();
            let at = format!("/queries/{}", kind.plural());
            if query.trim().is_empty() {
                self.error(&at, "must not be empty; leave it out to bring no such rows");
            } else if query.len() > MAX_QUERY {
                self.error(&at, format!("is longer than {MAX_QUERY} bytes"));
            } else if query.contains('\0') {
                self.error(&at, "holds a NUL character");
            } else if query.trim_end().ends_with(';') {
                self.error(
                    &at,
                    "ends with a semicolon; leave it out, for Candor reads the query in pages",
                );
            }
        }
    }

    fn rest(&mut self, schedule: Option<&str>, gone: Option<i64>, stale: Option<i64>) {
        if let Some(schedule) = schedule {
            if self.kind.engine().is_none() {
                self.error(
                    "/schedule",
                    "a service is asked when an alert names what is unknown; it has no schedule",
                );
            } else if let Err(detail) = cron::check(schedule) {
                self.error("/schedule", detail);
            }
        }
        if gone.is_some_and(|percent| !(0..=100).contains(&percent)) {
            self.error("/max_gone_percent", "must be a number from 0 to 100");
        }
        if stale.is_some_and(|seconds| !(60..=366 * 24 * 3600).contains(&seconds)) {
            self.error(
                "/stale_after",
                "must be a number of seconds from 60 to 31622400 (a year)",
            );
        }
    }
}

fn taken(name: &str) -> Error {
    Error::Conflict(format!("there is a source named '{name}' already"))
}

fn on_taken(name: &str) -> impl FnOnce(diesel::result::Error) -> Error {
    let name = name.to_owned();
    move |error| match error {
        diesel::result::Error::DatabaseError(diesel::result::DatabaseErrorKind::UniqueViolation, _) => {
            taken(&name)
        }
        error => error.into(),
    }
}

/// Makes a source.
///
/// # Errors
/// `Invalid`, field by field; `Conflict` where the name is taken.
pub fn create(tx: &mut Tx<'_>, new: &NewSource, settings: Settings<'_>) -> Result<CreatedSource> {
    let mut checked = Checked {
        kind: new.kind,
        check: Check::default(),
        settings,
    };
    checked.check.name("/name", &new.name);
    checked.url(&new.url);
    checked.queries(&new.queries);
    checked.rest(new.schedule.as_deref(), new.max_gone_percent, new.stale_after);
    let secret = match (new.kind, &new.secret) {
        (SourceKind::Http, Some(secret)) => {
            if let Err(detail) = key_of(secret) {
                checked.error("/secret", detail);
            }
            Some(secret.clone())
        }
        (SourceKind::Http, None) => Some(fresh_secret()?),
        (_, Some(_)) => {
            checked.error(
                "/secret",
                "is for services; a database's password is part of its URL",
            );
            None
        }
        (_, None) => None,
    };
    checked.check.finish()?;
    let held: i64 = s::table
        .filter(s::gone_at.is_null())
        .count()
        .get_result(tx.conn)?;
    if held >= MOST {
        return Err(Error::Conflict(format!("there are {MOST} sources already")));
    }
    if by_name(tx.conn, &new.name)?.is_some() {
        return Err(taken(&new.name));
    }
    if new.kind == SourceKind::Http && callout::service(tx.conn)?.is_some() {
        return Err(Error::Conflict(
            "there is a service that is asked already; two could contradict each other".to_owned(),
        ));
    }
    let row = Row {
        id: SourceId::new(tx.now),
        name: new.name.clone(),
        kind: new.kind.as_str().to_owned(),
        url: Some(new.url.clone()),
        secret: secret.clone(),
        queries: serde_json::to_string(&new.queries)?,
        schedule: new.schedule.clone(),
        max_gone_percent: new.max_gone_percent.unwrap_or(GONE_PERCENT),
        stale_after: new.stale_after.unwrap_or(STALE_AFTER),
        next_run_at: new
            .schedule
            .as_deref()
            .and_then(|schedule| cron::next(schedule, tx.now)),
        last_success_at: None,
        gone_at: None,
        created_at: tx.now,
        updated_at: tx.now,
    };
    diesel::insert_into(s::table)
        .values((
            s::id.eq(row.id.as_str()),
            s::name.eq(&row.name),
            s::kind.eq(&row.kind),
            s::url.eq(&row.url),
            s::secret.eq(&row.secret),
            s::queries.eq(&row.queries),
            s::schedule.eq(&row.schedule),
            s::max_gone_percent.eq(row.max_gone_percent),
            s::stale_after.eq(row.stale_after),
            s::next_run_at.eq(row.next_run_at),
            s::created_at.eq(tx.now),
            s::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)
        .map_err(on_taken(&new.name))?;
    tx.record(Event::new(Action::SourceCreated, "source", row.id.as_str()).after(mark(&row)?));
    Ok(CreatedSource {
        source: row.view()?,
        secret,
    })
}

/// Changes a source.
///
/// # Errors
/// `NotFound`; `Invalid`, field by field; `Conflict` where the name is taken.
pub fn change(
    tx: &mut Tx<'_>,
    id: &SourceId,
    change: &SourceChange,
    settings: Settings<'_>,
) -> Result<Source> {
    dialect::lock(tx.conn, Lock::Source, id.as_str())?;
    let before = there(tx.conn, id)?;
    let mut row = before.clone();
    let mut checked = Checked {
        kind: row.kind()?,
        check: Check::default(),
        settings,
    };
    if let Some(name) = &change.name {
        checked.check.name("/name", name);
        if by_name(tx.conn, name)?.is_some_and(|other| other.id != *id) {
            return Err(taken(name));
        }
        row.name = name.clone();
    }
    if let Some(url) = &change.url {
        checked.url(url);
        row.url = Some(url.clone());
    }
    if let Some(queries) = &change.queries {
        checked.queries(queries);
        row.queries = serde_json::to_string(queries)?;
    }
    if let Some(schedule) = &change.schedule {
        row.schedule = schedule.clone();
        row.next_run_at = schedule
            .as_deref()
            .and_then(|schedule| cron::next(schedule, tx.now));
    }
    let schedule = change.schedule.clone().flatten();
    checked.rest(schedule.as_deref(), change.max_gone_percent, change.stale_after);
    checked.check.finish()?;
    row.max_gone_percent = change.max_gone_percent.unwrap_or(row.max_gone_percent);
    row.stale_after = change.stale_after.unwrap_or(row.stale_after);
    row.updated_at = tx.now;
    diesel::update(s::table.find(id.as_str()))
        .set((
            s::name.eq(&row.name),
            s::url.eq(&row.url),
            s::queries.eq(&row.queries),
            s::schedule.eq(&row.schedule),
            s::max_gone_percent.eq(row.max_gone_percent),
            s::stale_after.eq(row.stale_after),
            s::next_run_at.eq(row.next_run_at),
            s::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)
        .map_err(on_taken(&row.name))?;
    tx.record(
        Event::new(Action::SourceChanged, "source", id.as_str())
            .before(mark(&before)?)
            .after(mark(&row)?),
    );
    row.view()
}

/// Ends a source and forgets its URL and secret. What it brought stays, and belongs to no source any more.
///
/// # Errors
/// `NotFound`, also where it has ended already; `Conflict` while it is being read.
pub fn delete(tx: &mut Tx<'_>, id: &SourceId) -> Result<()> {
    dialect::lock(tx.conn, Lock::Source, id.as_str())?;
    let row = there(tx.conn, id)?;
    if run::active(tx.conn, id)?.is_some() {
        return Err(Error::Conflict(
            "the source is being read; wait until the run has ended".to_owned(),
        ));
    }
    run::supersede(tx.conn, id, tx.now)?;
    diesel::delete(directory_origins::table.filter(directory_origins::source_id.eq(id.as_str())))
        .execute(tx.conn)?;
    diesel::update(s::table.find(id.as_str()))
        .set((
            s::gone_at.eq(Some(tx.now)),
            s::url.eq(None::<String>),
            s::secret.eq(None::<String>),
            s::next_run_at.eq(None::<Timestamp>),
            s::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(Event::new(Action::SourceDeleted, "source", id.as_str()).before(mark(&row)?));
    Ok(())
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
