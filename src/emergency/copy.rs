//! The service that refreshes the copy of the contacts by its schedule, and what is known about the last copy.

use std::path::PathBuf;
use std::time::Duration;

use diesel::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::contacts::{self, Counts};
use crate::audit::{Action, Actor, Event, Tx};
use crate::base::error::Result;
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::dialect::on_backend;
use crate::db::schema::contacts_copies as c;
use crate::db::{Conn, Db};
use crate::directory::source::cron;
use crate::work::{Next, Service, Stop};

/// The longest text of an error that is stored, in characters.
const LONGEST: usize = 1_000;

/// Where the copy is written, with which key, and when.
#[derive(Clone)]
pub struct CopySettings {
    /// The path of the file that the copy is written to.
    pub file: PathBuf,
    /// The secret that the key is derived from.
    pub key: String,
    /// A cron expression in UTC.
    pub schedule: String,
}

/// What is known about a copy of the contacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ContactsCopy {
    /// The path of the file on the server, as it is configured.
    pub file: String,
    /// When it was last written. Null if it was never written.
    pub made_at: Option<Timestamp>,
    /// The size of the file in bytes.
    pub bytes: Option<i64>,
    /// The number of accounts in it.
    pub accounts: Option<i64>,
    /// The number of people in it.
    pub people: Option<i64>,
    /// Since when it cannot be written. Null if the last attempt succeeded.
    pub failed_at: Option<Timestamp>,
    /// Why it cannot be written.
    pub error: Option<String>,
}

type Row = (
    String,
    Option<Timestamp>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<Timestamp>,
    Option<String>,
);

impl From<Row> for ContactsCopy {
    fn from((file, made_at, bytes, accounts, people, failed_at, error): Row) -> Self {
        ContactsCopy {
            file,
            made_at,
            bytes,
            accounts,
            people,
            failed_at,
            error,
        }
    }
}

/// Returns what is known about all copies, by file.
///
/// # Errors
/// An error of the database.
pub fn standing(conn: &mut Conn) -> Result<Vec<ContactsCopy>> {
    let rows: Vec<Row> = c::table.order(c::file).load(conn)?;
    Ok(rows.into_iter().map(ContactsCopy::from).collect())
}

fn find(conn: &mut Conn, file: &str) -> Result<Option<ContactsCopy>> {
    let row: Option<Row> = c::table.find(file).first(conn).optional()?;
    Ok(row.map(ContactsCopy::from))
}

/// The background service that writes the copy when it starts and then at the times of the schedule.
pub struct Copies {
    db: Db,
    settings: CopySettings,
    /// When this process tried it last. None before the first time.
    tried: Option<Timestamp>,
}

impl Copies {
    /// Creates the service. The first copy is made at once.
    pub fn new(db: Db, settings: CopySettings) -> Copies {
        Copies {
            db,
            settings,
            tried: None,
        }
    }

    fn name(&self) -> String {
        self.settings.file.display().to_string()
    }

    async fn refresh(&self, now: Timestamp) -> Result<()> {
        let (file, key) = (self.settings.file.clone(), self.settings.key.clone());
        let made = self
            .db
            .read(move |conn| contacts::write(conn, &file, &key, now))
            .await;
        let made = made.map_err(|error| one_line(&error.chain(), LONGEST));
        if let Err(reason) = &made {
            tracing::warn!(error = reason, "the copy of the contacts cannot be written");
        }
        let name = self.name();
        self.db
            .write(&Actor::system("contacts"), move |tx| store(tx, &name, &made))
            .await
    }
}

/// Adds the row of a file, unless there is one.
fn add(conn: &mut Conn, file: &str) -> Result<()> {
    on_backend!(conn, conn => diesel::insert_into(c::table)
        .values(c::file.eq(file))
        .on_conflict_do_nothing()
        .execute(conn))?;
    Ok(())
}

/// Stores how an attempt ended. Only a change is an event, because the copy is refreshed often.
fn store(tx: &mut Tx<'_>, file: &str, made: &std::result::Result<Counts, String>) -> Result<()> {
    let before = find(tx.conn, file)?;
    let now = tx.now;
    match made {
        Ok(counts) => {
            let same = before.as_ref().is_some_and(|before| {
                before.failed_at.is_none()
                    && before.accounts == Some(counts.accounts)
                    && before.people == Some(counts.people)
            });
            add(tx.conn, file)?;
            diesel::update(c::table.find(file))
                .set((
                    c::made_at.eq(Some(now)),
                    c::bytes.eq(Some(counts.bytes)),
                    c::accounts.eq(Some(counts.accounts)),
                    c::people.eq(Some(counts.people)),
                    c::failed_at.eq(None::<Timestamp>),
                    c::error.eq(None::<String>),
                ))
                .execute(tx.conn)?;
            if !same {
                tx.record(Event::new(Action::ContactsCopied, "file", file).after(
                    json!({"accounts": counts.accounts, "people": counts.people, "bytes": counts.bytes}),
                ));
            }
        }
        Err(reason) => {
            let since = before.as_ref().and_then(|before| before.failed_at);
            add(tx.conn, file)?;
            diesel::update(c::table.find(file))
                .set((
                    c::failed_at.eq(Some(since.unwrap_or(now))),
                    c::error.eq(Some(reason)),
                ))
                .execute(tx.conn)?;
            if since.is_none() {
                tx.record(Event::new(Action::ContactsFailed, "file", file).after(json!({"error": reason})));
            }
        }
    }
    Ok(())
}

impl Service for Copies {
    const NAME: &'static str = "contacts";
    const POLL: Duration = Duration::from_secs(1);

    async fn step(&mut self, _: bool, _: &Stop) -> Result<Next> {
        let now = self.db.clock().now();
        let due = match self.tried {
            None => true,
            Some(tried) => cron::next(&self.settings.schedule, tried).is_some_and(|next| next <= now),
        };
        if due {
            self.refresh(now).await?;
            self.tried = Some(now);
        }
        Ok(Next::Wait)
    }
}
