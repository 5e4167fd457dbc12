//! Accounts: the customers.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Archived;
use super::write::BATCH;
use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::check::Labels;
use crate::base::error::{Error, Result};
use crate::base::id::ExternalId;
use crate::base::time::Timestamp;
use crate::db::schema::accounts as a;
use crate::db::{Conn, bulk};

/// The content of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountInput {
    /// The name of the account.
    pub name: String,
    /// A language tag, for example `en`.
    #[serde(default)]
    pub locale: Option<String>,
    /// An IANA time zone, for example `Africa/Nairobi`. Times in emails to this account are also shown in
    /// this zone.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Labels, which can be chosen freely.
    #[serde(default)]
    pub labels: Labels,
}

impl AccountInput {
    pub(crate) fn check(&self, check: &mut Check) {
        check.name("/name", &self.name);
        check.locale("/locale", self.locale.as_deref());
        check.time_zone("/time_zone", self.time_zone.as_deref());
        check.labels("/labels", &self.labels);
    }
}

/// An account of the directory, which is a customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Account {
    /// The caller's ID of the account.
    pub id: String,
    /// The name of the account.
    pub name: String,
    /// A language tag, for example `en`.
    pub locale: Option<String>,
    /// An IANA time zone, for example `Africa/Nairobi`.
    pub time_zone: Option<String>,
    /// The labels of the account.
    pub labels: Labels,
    /// When the account was archived. Null if it is not archived.
    pub gone_at: Option<Timestamp>,
    /// When the account was created.
    pub created_at: Timestamp,
    /// When the account was last written.
    pub updated_at: Timestamp,
}

#[derive(Queryable)]
struct AccountRow {
    _key: i64,
    id: String,
    name: String,
    locale: Option<String>,
    time_zone: Option<String>,
    labels: String,
    gone_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl AccountRow {
    fn view(self) -> Result<Account> {
        Ok(Account {
            id: self.id,
            name: self.name,
            locale: self.locale,
            time_zone: self.time_zone,
            labels: serde_json::from_str(&self.labels)?,
            gone_at: self.gone_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// Returns the account with this ID, even if it is archived.
///
/// # Errors
/// `NotFound` if no account has this ID.
pub fn get(conn: &mut Conn, id: &str) -> Result<Account> {
    a::table
        .filter(a::id.eq(id))
        .first::<AccountRow>(conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("account '{id}'")))?
        .view()
}

/// Returns the accounts after the given ID, ordered by ID.
pub fn list(conn: &mut Conn, gone: Archived, after: Option<&str>, limit: i64) -> Result<Vec<Account>> {
    let mut query = a::table.into_boxed::<crate::db::Backend>();
    if gone == Archived::Hidden {
        query = query.filter(a::gone_at.is_null());
    }
    if let Some(after) = after {
        query = query.filter(a::id.gt(after));
    }
    query
        .order(a::id)
        .limit(limit)
        .load::<AccountRow>(conn)?
        .into_iter()
        .map(AccountRow::view)
        .collect()
}

/// Returns the accounts with these IDs, ordered by ID.
///
/// # Errors
/// An error of the database.
pub fn some(conn: &mut Conn, ids: &[&str]) -> Result<Vec<Account>> {
    let rows = a::table
        .filter(a::id.eq_any(ids))
        .order(a::id)
        .load::<AccountRow>(conn)?;
    rows.into_iter().map(AccountRow::view).collect()
}

/// Creates or replaces an account. Returns the account, and whether it is new.
///
/// # Errors
/// `Invalid` with one error for each wrong field.
pub fn put(tx: &mut Tx<'_>, id: &ExternalId, input: &AccountInput) -> Result<(Account, bool)> {
    let mut check = Check::default();
    input.check(&mut check);
    check.finish()?;
    let before = get(tx.conn, id.as_str()).ok();
    upsert(tx.conn, tx.now, &[(id.as_str(), input)])?;
    let event = Event::new(Action::AccountPut, "account", id.as_str()).after(serde_json::to_value(input)?);
    tx.record(match &before {
        Some(old) => event.before(
            json!({"name": old.name, "locale": old.locale, "time_zone": old.time_zone, "labels": old.labels}),
        ),
        None => event,
    });
    Ok((get(tx.conn, id.as_str())?, before.is_none()))
}

/// Archives an account. Nobody is notified because of its resources any more.
///
/// # Errors
/// `NotFound` if the account does not exist or is already archived.
pub fn delete(tx: &mut Tx<'_>, id: &str) -> Result<()> {
    let changed = diesel::update(a::table.filter(a::id.eq(id)).filter(a::gone_at.is_null()))
        .set(a::gone_at.eq(Some(tx.now)))
        .execute(tx.conn)?;
    if changed == 0 {
        return Err(Error::NotFound(format!("account '{id}'")));
    }
    tx.record(Event::new(Action::AccountDeleted, "account", id));
    Ok(())
}

/// Creates or replaces accounts. Archived accounts become active again. Each account must occur only once.
pub(super) fn upsert(conn: &mut Conn, now: Timestamp, rows: &[(&str, &AccountInput)]) -> Result<()> {
    for chunk in rows.chunks(BATCH) {
        let new = chunk
            .iter()
            .map(|(id, input)| {
                Ok(bulk::NewAccount {
                    id,
                    name: &input.name,
                    locale: input.locale.as_deref(),
                    time_zone: input.time_zone.as_deref(),
                    labels: serde_json::to_string(&input.labels)?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        bulk::accounts(conn, now, &new)?;
    }
    Ok(())
}
