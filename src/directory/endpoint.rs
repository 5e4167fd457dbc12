//! Endpoints: where an account's own systems hear what its people are mailed, with the secret that signs it.
//!
//! Must never happen here: a secret shown a second time, or a URL in the audit trail (its path may be a secret too).

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diesel::prelude::*;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

use super::address_mark;
use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::EndpointId;
use crate::base::shown_once::ShownOnce;
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::{accounts as a, endpoints as e};

/// What a secret begins with (Standard Webhooks).
const PREFIX: &str = "whsec_";
/// Bytes of a secret that we make.
const SECRET: usize = 32;
/// Endpoints of one account at most.
const MOST: i64 = 20;

/// An endpoint to make.
#[derive(Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEndpoint {
    /// Where to send: https, a public address, no credentials. No other endpoint may have the same.
    pub url: String,
    /// How it is spoken to; unset: `webhook`.
    #[serde(default = "webhook")]
    pub channel: String,
    /// `whsec_` and 24 to 64 bytes in base64; unset: made here.
    #[serde(default)]
    pub secret: Option<String>,
}

fn webhook() -> String {
    "webhook".to_owned()
}

/// A new endpoint; the only time that its secret is shown.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct CreatedEndpoint {
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// Signs what is sent there. The answer to a repeat of the request leaves it out, and names it in `withheld`.
    #[schema(required = false)]
    pub secret: ShownOnce,
}

/// An endpoint, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose systems these are.
    pub account: String,
    /// How it is spoken to.
    pub channel: String,
    /// Where.
    pub url: String,
    /// Whether notices are sent there.
    pub enabled: bool,
    /// When it was disabled: it said that it is gone.
    pub disabled_at: Option<Timestamp>,
    /// Why.
    pub disabled_reason: Option<String>,
    /// When it was deleted.
    pub gone_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

type Row = (
    EndpointId,
    String,
    String,
    String,
    Option<Timestamp>,
    Option<String>,
    Option<Timestamp>,
    Timestamp,
);

/// The columns of [`Row`].
type Columns = (
    e::id,
    a::id,
    e::channel,
    e::url,
    e::disabled_at,
    e::disabled_reason,
    e::gone_at,
    e::created_at,
);

const COLUMNS: Columns = (
    e::id,
    a::id,
    e::channel,
    e::url,
    e::disabled_at,
    e::disabled_reason,
    e::gone_at,
    e::created_at,
);

fn view((id, account, channel, url, disabled_at, disabled_reason, gone_at, created_at): Row) -> Endpoint {
    Endpoint {
        id,
        account,
        channel,
        url,
        enabled: disabled_at.is_none() && gone_at.is_none(),
        disabled_at,
        disabled_reason,
        gone_at,
        created_at,
    }
}

/// What the audit trail holds of an endpoint: where it is without what may be secret in it.
fn mark(account: &str, channel: &str, url: &str) -> Value {
    let origin = url::Url::parse(url).map(|url| url.origin().ascii_serialization());
    json!({"account": account, "channel": channel, "origin": origin.ok(), "url": address_mark(url)})
}

/// The key in a secret.
///
/// # Errors
/// A sentence for the caller where it is none.
pub fn key_of(secret: &str) -> std::result::Result<Vec<u8>, String> {
    let wrong = || format!("must be {PREFIX} and 24 to 64 bytes in base64");
    let text = secret.strip_prefix(PREFIX).ok_or_else(wrong)?;
    STANDARD
        .decode(text)
        .ok()
        .filter(|key| (24..=64).contains(&key.len()))
        .ok_or_else(wrong)
}

/// `v1,` and the base64 of HMAC-SHA256 over the id, the seconds and the body, with the key in the secret (Standard Webhooks).
///
/// # Errors
/// A sentence where the secret is none.
pub(crate) fn sign(secret: &str, id: &str, seconds: u64, body: &[u8]) -> std::result::Result<String, String> {
    let key = key_of(secret).map_err(|_| "the endpoint's secret is not usable")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|error| error.to_string())?;
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

pub(super) fn fresh_secret() -> Result<String> {
    let mut bytes = [0_u8; SECRET];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(error.to_string()))?;
    Ok(format!("{PREFIX}{}", STANDARD.encode(bytes)))
}

/// Makes an endpoint of an account. `url` is the normal form of the one in `new`: its channel has checked it.
///
/// # Errors
/// `NotFound` where there is no such account; `Invalid` for a secret that is none; `Conflict` where there is an endpoint
/// of this URL.
pub fn create(tx: &mut Tx<'_>, account: &str, new: &NewEndpoint, url: &str) -> Result<CreatedEndpoint> {
    let secret = match &new.secret {
        Some(secret) => {
            key_of(secret).map_err(|detail| Error::invalid("/secret", detail))?;
            secret.clone()
        }
        None => fresh_secret()?,
    };
    let key: i64 = a::table
        .filter(a::id.eq(account))
        .filter(a::gone_at.is_null())
        .select(a::key)
        .first(tx.conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("account '{account}'")))?;
    let taken: Option<String> = e::table
        .inner_join(a::table)
        .filter(e::channel.eq(&new.channel))
        .filter(e::url.eq(url))
        .filter(e::gone_at.is_null())
        .select(a::id)
        .first(tx.conn)
        .optional()?;
    if let Some(owner) = taken {
        return Err(taken_by(&owner));
    }
    let held: i64 = e::table
        .filter(e::account_key.eq(key))
        .filter(e::gone_at.is_null())
        .count()
        .get_result(tx.conn)?;
    if held >= MOST {
        return Err(
            Error::Conflict(format!("the account has {MOST} endpoints already")).code(Code::LimitReached),
        );
    }
    let id = EndpointId::new(tx.now);
    diesel::insert_into(e::table)
        .values((
            e::id.eq(id.as_str()),
            e::account_key.eq(key),
            e::channel.eq(&new.channel),
            e::url.eq(url),
            e::secret.eq(Some(&secret)),
            e::created_at.eq(tx.now),
            e::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)
        .map_err(|error| match error {
            diesel::result::Error::DatabaseError(diesel::result::DatabaseErrorKind::UniqueViolation, _) => {
                taken_by("another account")
            }
            error => error.into(),
        })?;
    tx.record(
        Event::new(Action::EndpointCreated, "endpoint", id.as_str()).after(mark(account, &new.channel, url)),
    );
    Ok(CreatedEndpoint {
        endpoint: get(tx.conn, &id)?,
        secret: ShownOnce::new(secret),
    })
}

fn taken_by(owner: &str) -> Error {
    Error::Conflict(format!(
        "an endpoint of {owner} has this URL; make them differ, such as by ?account=…"
    ))
    .code(Code::AlreadyExists)
}

/// The endpoint of that id, gone or not.
///
/// # Errors
/// `NotFound`.
pub fn get(conn: &mut Conn, id: &EndpointId) -> Result<Endpoint> {
    e::table
        .inner_join(a::table)
        .filter(e::id.eq(id.as_str()))
        .select(COLUMNS)
        .first::<Row>(conn)
        .optional()?
        .map(view)
        .ok_or_else(|| Error::NotFound(format!("endpoint {id}")))
}

/// The endpoints of an account that are there, oldest first, after the given one.
///
/// # Errors
/// `NotFound` where the account is not known.
pub fn list(conn: &mut Conn, account: &str, after: Option<&str>, limit: i64) -> Result<Vec<Endpoint>> {
    super::account::get(conn, account)?;
    let rows: Vec<Row> = e::table
        .inner_join(a::table)
        .filter(a::id.eq(account))
        .filter(e::gone_at.is_null())
        .filter(e::id.gt(after.unwrap_or("")))
        .order(e::id)
        .limit(limit)
        .select(COLUMNS)
        .load(conn)?;
    Ok(rows.into_iter().map(view).collect())
}

/// Whether there is any endpoint: where there is none, nobody has to look for those of an audience.
///
/// # Errors
/// What the database answers.
pub fn any(conn: &mut Conn) -> Result<bool> {
    let first: Option<EndpointId> = e::table
        .filter(e::gone_at.is_null())
        .select(e::id)
        .first(conn)
        .optional()?;
    Ok(first.is_some())
}

/// The endpoints of these accounts that notices are sent to, with the accounts' names, by account and id.
///
/// # Errors
/// What the database answers.
pub fn enabled_of(conn: &mut Conn, accounts: &[&str]) -> Result<Vec<(Endpoint, String)>> {
    let mut found = Vec::new();
    for accounts in accounts.chunks(500) {
        let rows: Vec<(Row, String)> = e::table
            .inner_join(a::table)
            .filter(a::id.eq_any(accounts))
            .filter(a::gone_at.is_null())
            .filter(e::gone_at.is_null())
            .filter(e::disabled_at.is_null())
            .order((a::id, e::id))
            .select((COLUMNS, a::name))
            .load(conn)?;
        found.extend(rows.into_iter().map(|(row, name)| (view(row), name)));
    }
    Ok(found)
}

/// The accounts of these endpoints, gone or not.
///
/// # Errors
/// What the database answers.
pub fn accounts_of(conn: &mut Conn, ids: &[&str]) -> Result<HashMap<String, String>> {
    Ok(e::table
        .inner_join(a::table)
        .filter(e::id.eq_any(ids))
        .select((e::id, a::id))
        .load(conn)?
        .into_iter()
        .collect())
}

/// The secrets of these endpoints, as far as something may be sent there now: not of one that was disabled or deleted.
///
/// # Errors
/// What the database answers.
pub fn secrets(conn: &mut Conn, ids: &[impl AsRef<str>]) -> Result<HashMap<String, String>> {
    let ids: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
    let rows: Vec<(String, Option<String>)> = e::table
        .filter(e::id.eq_any(ids))
        .filter(e::gone_at.is_null())
        .filter(e::disabled_at.is_null())
        .select((e::id, e::secret))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .filter_map(|(id, secret)| Some((id, secret?)))
        .collect())
}

/// Ends an endpoint and forgets its secret.
///
/// # Errors
/// `NotFound`, also where it has ended already.
pub fn delete(tx: &mut Tx<'_>, id: &EndpointId) -> Result<()> {
    let endpoint = there(tx.conn, id)?;
    diesel::update(e::table.find(id.as_str()))
        .set((
            e::gone_at.eq(Some(tx.now)),
            e::secret.eq(None::<String>),
            e::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::EndpointDeleted, "endpoint", id.as_str()).before(mark(
            &endpoint.account,
            &endpoint.channel,
            &endpoint.url,
        )),
    );
    Ok(())
}

fn there(conn: &mut Conn, id: &EndpointId) -> Result<Endpoint> {
    get(conn, id).and_then(|endpoint| match endpoint.gone_at {
        None => Ok(endpoint),
        Some(_) => Err(Error::NotFound(format!("endpoint {id}"))),
    })
}

/// Lets notices go to an endpoint again. Doing it again changes nothing.
///
/// # Errors
/// `NotFound`, also where it was deleted.
pub fn enable(tx: &mut Tx<'_>, id: &EndpointId) -> Result<Endpoint> {
    let before = there(tx.conn, id)?;
    if before.enabled {
        return Ok(before);
    }
    diesel::update(e::table.find(id.as_str()))
        .set((
            e::disabled_at.eq(None::<Timestamp>),
            e::disabled_reason.eq(None::<String>),
            e::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::EndpointEnabled, "endpoint", id.as_str())
            .before(json!({"disabled_at": before.disabled_at, "reason": before.disabled_reason})),
    );
    get(tx.conn, id)
}

/// Sends nothing to an endpoint any more, as it said that it is gone. One that is disabled or deleted stays so.
///
/// # Errors
/// What the database answers.
pub fn disable(tx: &mut Tx<'_>, id: &str, reason: &str) -> Result<()> {
    let reason = one_line(reason, 500);
    let changed = diesel::update(
        e::table
            .find(id)
            .filter(e::gone_at.is_null())
            .filter(e::disabled_at.is_null()),
    )
    .set((
        e::disabled_at.eq(Some(tx.now)),
        e::disabled_reason.eq(Some(&reason)),
        e::updated_at.eq(tx.now),
    ))
    .execute(tx.conn)?;
    if changed > 0 {
        // Not the reason itself: it is the endpoint's own text, which may hold anything.
        tx.record(
            Event::new(Action::EndpointDisabled, "endpoint", id)
                .after(json!({"because": "it said that it is gone"})),
        );
    }
    Ok(())
}

/// The secret of an endpoint, to send it a test. Also of one that is disabled.
///
/// # Errors
/// `NotFound`, also where it was deleted.
pub fn for_test(conn: &mut Conn, id: &EndpointId) -> Result<(Endpoint, String)> {
    let endpoint = there(conn, id)?;
    let secret: Option<String> = e::table.find(id.as_str()).select(e::secret).first(conn)?;
    Ok((endpoint, secret.unwrap_or_default()))
}

/// Records that a test was sent, and what came of it.
pub fn tested(tx: &mut Tx<'_>, id: &EndpointId, outcome: &str) {
    tx.record(Event::new(Action::EndpointTested, "endpoint", id.as_str()).after(json!({"outcome": outcome})));
}
