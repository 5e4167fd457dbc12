//! Creates, changes and deletes sources. Each input is checked, and each change is recorded.
//!
//! The audit trail never contains a URL or a secret. A source that is known not to work is rejected.

use std::os::unix::fs::MetadataExt;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::stored::{Queries, Source, SourceKind, SourceRow, by_name, existing, places};
use super::{callout, cron, run};
use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::given::given;
use crate::base::id::SourceId;
use crate::base::sealed::seal;
use crate::base::shown_once::ShownOnce;
use crate::base::time::Timestamp;
use crate::db::dialect::{self, Lock};
use crate::db::schema::{directory_origins, directory_sources as s};
use crate::directory::address_mark;
use crate::directory::endpoint::{fresh_secret, key_of};
use crate::egress::{Policy, check_url};

/// The longest query, in bytes.
pub(super) const MAX_QUERY: usize = 20_000;
/// The largest number of sources.
pub(super) const MAX: i64 = 100;
/// The default share of a source's rows that may be archived without a confirmation, in percent.
pub(super) const GONE_PERCENT: i64 = 10;
/// The default share of the rows of a kind that may be left out, in percent.
pub(super) const LEFT_OUT_PERCENT: i64 = 10;
/// The default number of seconds after which the data of a source counts as stale.
pub(super) const STALE_AFTER: i64 = 24 * 3600;

/// A source of the directory that is to be created.
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
    /// The new name of the source. It must be unique and have at most 500 characters.
    #[serde(default)]
    pub name: Option<String>,
    /// The whole new URL, including the password.
    #[serde(default)]
    pub url: Option<String>,
    /// All queries of the source. They replace the present queries.
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

/// A new source. The secret of a service is shown only in this answer.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct CreatedSource {
    /// The source that was created.
    #[serde(flatten)]
    pub source: Source,
    /// The secret that signs the requests to a service. The answer to a repeat of the request omits it and
    /// lists it in `withheld`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<ShownOnce>,
}

/// Returns a text as it is stored.
fn sealed(text: Option<&str>, place: &str) -> Result<Option<String>> {
    text.map(|text| seal(text, place)).transpose()
}

/// Returns the audited values of a source: everything except its secret, and a hash of its URL that shows
/// whether it changed.
fn mark(row: &SourceRow) -> Result<Value> {
    Ok(json!({
        "name": row.name, "kind": row.kind, "queries": row.queries()?, "schedule": row.schedule,
        "max_gone_percent": row.max_gone_percent, "max_left_out_percent": row.max_left_out_percent, "stale_after": row.stale_after,
        "url": row.url.as_deref().map(address_mark),
    }))
}

/// The settings that a source is checked against.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// The path of Candor's own database, if it is a file.
    pub own_file: Option<&'a str>,
    /// Which addresses a service may have.
    pub callout_allow: Policy,
}

/// Checks the input for a source and collects the errors.
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
                Err("contains *** instead of the password; give the complete URL".to_owned())
            }
            Some(engine) => engine.check(url).and_then(|()| self.not_our_own(url)),
            None => check_url(url, self.settings.callout_allow).map(drop),
        };
        if let Err(detail) = result {
            self.error("/url", detail);
        }
    }

    /// Rejects Candor's own database file. It contains secrets, and the directory would be copied from
    /// itself.
    fn not_our_own(&self, url: &str) -> std::result::Result<(), String> {
        let whole = |path: &str| std::fs::canonicalize(path).ok();
        // A file can have several names without a symbolic link between them.
        let file = |path: &str| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.dev(), found.ino()))
        };
        match (self.settings.own_file, url.strip_prefix("sqlite://")) {
            (Some(own), Some(path))
                if path == own
                    || (whole(path).is_some() && whole(path) == whole(own))
                    || (file(path).is_some() && file(path) == file(own)) =>
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
                "must be left out: a service of the kind http has no queries, because Candor asks it about single IDs",
            ),
            _ => {}
        }
        for kind in kinds {
            let query = queries.query(kind).unwrap_or_default();
            let at = format!("/queries/{}", kind.plural());
            if query.trim().is_empty() {
                self.error(
                    &at,
                    "must not be empty; leave it out if the source has no such rows",
                );
            } else if query.len() > MAX_QUERY {
                self.error(&at, format!("is longer than {MAX_QUERY} bytes"));
            } else if query.contains('\0') {
                self.error(&at, "contains a NUL character");
            } else if query.trim_end().ends_with(';') {
                self.error(
                    &at,
                    "must not end with a semicolon, because Candor adds to the query to read it in pages",
                );
            }
        }
    }

    fn rest(&mut self, schedule: Option<&str>, gone: Option<i64>, left_out: Option<i64>, stale: Option<i64>) {
        if let Some(schedule) = schedule {
            if self.kind.engine().is_none() {
                self.error(
                    "/schedule",
                    "must be left out: a service of the kind http has no schedule, because Candor asks it when an \
                    alert contains an unknown ID",
                );
            } else if let Err(detail) = cron::check(schedule) {
                self.error("/schedule", detail);
            }
        }
        for (pointer, percent) in [("/max_gone_percent", gone), ("/max_left_out_percent", left_out)] {
            if percent.is_some_and(|percent| !(0..=100).contains(&percent)) {
                self.error(pointer, "must be a number from 0 to 100");
            }
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
    Error::Conflict(format!("there is already a source with the name '{name}'")).code(Code::AlreadyExists)
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

/// Creates a source.
///
/// # Errors
/// `Invalid` with one error for each wrong field. `Conflict` if the name is in use, there are 100 sources, or
/// there is already a service.
pub fn create(tx: &mut Tx<'_>, new: &NewSource, settings: Settings<'_>) -> Result<CreatedSource> {
    let mut checked = Checked {
        kind: new.kind,
        check: Check::default(),
        settings,
    };
    checked.check.name("/name", &new.name);
    checked.url(&new.url);
    checked.queries(&new.queries);
    checked.rest(
        new.schedule.as_deref(),
        new.max_gone_percent,
        new.max_left_out_percent,
        new.stale_after,
    );
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
                "is only for the kind http; the password of a database is part of its URL",
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
    if held >= MAX {
        return Err(Error::Conflict(format!(
            "there are already {MAX} sources, and no more are \
        allowed"
        ))
        .code(Code::LimitReached));
    }
    if by_name(tx.conn, &new.name)?.is_some() {
        return Err(taken(&new.name));
    }
    if new.kind == SourceKind::Http && callout::service(tx.conn)?.is_some() {
        return Err(Error::Conflict(
            "there is already a source of the kind http, and a second one could contradict it".to_owned(),
        ));
    }
    let row = SourceRow {
        id: SourceId::new(tx.now),
        name: new.name.clone(),
        kind: new.kind.as_str().to_owned(),
        url: Some(new.url.clone()),
        secret: secret.clone(),
        queries: serde_json::to_string(&new.queries)?,
        schedule: new.schedule.clone(),
        max_gone_percent: new.max_gone_percent.unwrap_or(GONE_PERCENT),
        max_left_out_percent: new.max_left_out_percent.unwrap_or(LEFT_OUT_PERCENT),
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
    let (url_place, secret_place) = places(&row.id);
    diesel::insert_into(s::table)
        .values((
            s::id.eq(row.id.as_str()),
            s::name.eq(&row.name),
            s::kind.eq(&row.kind),
            s::url.eq(sealed(row.url.as_deref(), &url_place)?),
            s::secret.eq(sealed(row.secret.as_deref(), &secret_place)?),
            s::queries.eq(&row.queries),
            s::schedule.eq(&row.schedule),
            s::max_gone_percent.eq(row.max_gone_percent),
            s::max_left_out_percent.eq(row.max_left_out_percent),
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
        secret: secret.map(ShownOnce::new),
    })
}

/// Changes a source.
///
/// # Errors
/// `NotFound` if the source does not exist. `Invalid` with one error for each wrong field. `Conflict` if the
/// name is in use.
pub fn change(
    tx: &mut Tx<'_>,
    id: &SourceId,
    change: &SourceChange,
    settings: Settings<'_>,
) -> Result<Source> {
    dialect::lock(tx.conn, Lock::Source, id.as_str())?;
    let before = existing(tx.conn, id)?;
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
    checked.rest(
        schedule.as_deref(),
        change.max_gone_percent,
        change.max_left_out_percent,
        change.stale_after,
    );
    checked.check.finish()?;
    row.max_gone_percent = change.max_gone_percent.unwrap_or(row.max_gone_percent);
    row.max_left_out_percent = change.max_left_out_percent.unwrap_or(row.max_left_out_percent);
    row.stale_after = change.stale_after.unwrap_or(row.stale_after);
    row.updated_at = tx.now;
    let (url_place, _) = places(id);
    diesel::update(s::table.find(id.as_str()))
        .set((
            s::name.eq(&row.name),
            s::url.eq(sealed(row.url.as_deref(), &url_place)?),
            s::queries.eq(&row.queries),
            s::schedule.eq(&row.schedule),
            s::max_gone_percent.eq(row.max_gone_percent),
            s::max_left_out_percent.eq(row.max_left_out_percent),
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

/// Deletes a source with its URL and secret. The entries that it brought stay and no longer belong to a
/// source. If the source is being read or tested, the reading is cancelled and stores nothing.
///
/// # Errors
/// `NotFound` if the source does not exist or is already deleted. `Conflict` while a run is being stored.
pub fn delete(tx: &mut Tx<'_>, id: &SourceId) -> Result<()> {
    dialect::lock(tx.conn, Lock::Source, id.as_str())?;
    let row = existing(tx.conn, id)?;
    let cancelled = run::end_of_deleted(tx.conn, id, tx.now)?;
    if run::active(tx.conn, id)?.is_some() {
        return Err(Error::Conflict(
            "the rows of the source are being stored; try again after the run has ended".to_owned(),
        )
        .code(Code::RunInProgress));
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
    let mut event = Event::new(Action::SourceDeleted, "source", id.as_str()).before(mark(&row)?);
    if let Some(run) = cancelled {
        event = event.after(json!({"cancelled_run": run}));
    }
    tx.record(event);
    Ok(())
}
