//! Endpoints: where notices go in addition to emails. An endpoint belongs to an account, whose systems get the notices for the account,
//! or to a person, whose phone gets a short message.
//!
//! A secret is shown only once. The audit trail never contains the URL of an endpoint, because its path can
//! be a secret too. A phone number is stored like a secret and is shown nowhere.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diesel::prelude::*;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::address_mark;
use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::id::EndpointId;
use crate::base::sealed::{open, seal};
use crate::base::shown_once::ShownOnce;
use crate::base::text::{hex, one_line};
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::{self, Lock};
use crate::db::schema::{accounts as a, endpoints as e, people as p};

/// The prefix of a secret, as in Standard Webhooks.
const PREFIX: &str = "whsec_";
/// The length of a secret that Candor creates, in bytes.
const SECRET: usize = 32;
/// The largest number of endpoints of one account.
const MAX: i64 = 20;
/// The largest length of the note that says how a person agreed, in characters.
const CONSENT: usize = 500;

/// An endpoint that is to be created.
#[derive(Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEndpoint {
    /// The HTTPS URL to call. It must have a public address and no credentials, and no other endpoint may
    /// have the same URL. The URL of `slack`, `teams`, `ntfy` and `apprise` is a secret: it is encrypted and never shown again.
    pub url: String,
    /// The channel of the endpoint: `webhook` (signed JSON), `slack`, `teams`, `ntfy` or `apprise`. The default is `webhook`.
    #[serde(default = "webhook")]
    pub channel: String,
    /// The secret that signs the requests: `whsec_` and 24 to 64 bytes in base64. If not set, Candor creates
    /// one. Only for `webhook`.
    #[serde(default)]
    pub secret: Option<String>,
}

fn webhook() -> String {
    "webhook".to_owned()
}

/// A phone number of a person that is to be stored.
#[derive(Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPersonEndpoint {
    /// The number with its country code, such as `+254 700 123456`. It is encrypted and never shown again.
    pub url: String,
    /// The channel of the endpoint. The only one for people is `sms`, which is also the default.
    #[serde(default = "sms")]
    pub channel: String,
    /// How and when the person agreed to get messages, such as "asked on the phone on 1 December". At most 500 characters.
    pub consent: String,
}

fn sms() -> String {
    "sms".to_owned()
}

impl NewPersonEndpoint {
    /// Returns how the person agreed.
    ///
    /// # Errors
    /// `Invalid` if nothing is written, or too much.
    fn checked_consent(&self) -> Result<String> {
        let consent = one_line(&self.consent, CONSENT + 1);
        let detail = match consent.chars().count() {
            0 => "must say how and when the person agreed".to_owned(),
            n if n > CONSENT => format!("must have at most {CONSENT} characters"),
            _ => return Ok(consent),
        };
        Err(Error::invalid("/consent", detail))
    }
}

/// A new endpoint with its secret. The secret is shown only in this answer.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct CreatedEndpoint {
    /// The endpoint that was created.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// The secret that signs the requests to the endpoint. The answer to a repeat of the request omits it and
    /// lists it in `withheld`. It is left out if the URL is the secret.
    #[schema(required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<ShownOnce>,
}

/// An endpoint of an account or of a person, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Endpoint {
    /// The ID of the endpoint.
    pub id: EndpointId,
    /// The ID of the account whose systems receive the notices. Null if it is the endpoint of a person.
    pub account: Option<String>,
    /// The ID of the person whose phone gets the messages. Left out if it is the endpoint of an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// The channel of the endpoint.
    pub channel: String,
    /// The URL that is called. If it is a secret, only its origin is shown, and `***#` with a part of the ID of the endpoint. Of a phone
    /// number, only `sms:***#` with a part of the ID is shown.
    pub url: String,
    /// How and when the person agreed to get messages. Left out if it is the endpoint of an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consent: Option<String>,
    /// Whether notices are sent to the endpoint.
    pub enabled: bool,
    /// When the endpoint was disabled because it answered that it no longer exists. Null if it is not
    /// disabled.
    pub disabled_at: Option<Timestamp>,
    /// Why the endpoint was disabled.
    pub disabled_reason: Option<String>,
    /// When the endpoint was deleted. Null if it is not deleted.
    pub gone_at: Option<Timestamp>,
    /// When the endpoint was created.
    pub created_at: Timestamp,
}

type EndpointRow = (
    EndpointId,
    Option<String>,
    Option<String>,
    String,
    String,
    Option<String>,
    Option<Timestamp>,
    Option<String>,
    Option<Timestamp>,
    Timestamp,
);

/// Selects an [`EndpointRow`], with the IDs of its owner.
macro_rules! endpoints {
    () => {
        e::table.left_join(a::table).left_join(p::table).select((
            e::id,
            a::id.nullable(),
            p::id.nullable(),
            e::channel,
            e::url,
            e::consent,
            e::disabled_at,
            e::disabled_reason,
            e::gone_at,
            e::created_at,
        ))
    };
}

fn view(row: EndpointRow) -> Endpoint {
    let (id, account, person, channel, url, consent, disabled_at, disabled_reason, gone_at, created_at) = row;
    Endpoint {
        id,
        account,
        person,
        channel,
        url,
        consent,
        enabled: disabled_at.is_none() && gone_at.is_none(),
        disabled_at,
        disabled_reason,
        gone_at,
        created_at,
    }
}

/// Returns what the audit trail contains of an endpoint: its origin and a hash of its URL, because the URL
/// can contain a secret.
fn mark(account: &str, channel: &str, url: &str) -> Value {
    let origin = url::Url::parse(url).map(|url| url.origin().ascii_serialization());
    json!({"account": account, "channel": channel, "origin": origin.ok(), "url": address_mark(url)})
}

/// Decodes the key in a secret.
///
/// # Errors
/// A sentence for the caller that says what a secret looks like.
pub fn key_of(secret: &str) -> std::result::Result<Vec<u8>, String> {
    let wrong = || format!("must be {PREFIX} and 24 to 64 bytes in base64");
    let text = secret.strip_prefix(PREFIX).ok_or_else(wrong)?;
    STANDARD
        .decode(text)
        .ok()
        .filter(|key| (24..=64).contains(&key.len()))
        .ok_or_else(wrong)
}

/// Signs a request as in Standard Webhooks: `v1,` and the base64 of HMAC-SHA256 over the ID, the seconds and
/// the body.
///
/// # Errors
/// A sentence if the secret is not valid.
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

/// A URL that its channel has checked and normalised.
#[derive(Clone, Debug)]
pub enum CheckedUrl {
    /// It may be shown.
    Shown(String),
    /// Whoever knows it can send, so it is stored sealed and shown nowhere.
    Secret(String),
}

/// Returns what is shown of a secret URL: its origin, and a part of the ID of the endpoint, so that each endpoint has an address of its own.
fn hidden(url: &str, id: &EndpointId) -> String {
    let origin = url::Url::parse(url).map(|url| url.origin().ascii_serialization());
    let origin = origin.unwrap_or_else(|_| "https://unknown.invalid".to_owned());
    format!("{origin}/***#{}", tail(id))
}

fn tail(id: &EndpointId) -> &str {
    let id = id.as_str();
    id.get(id.len().saturating_sub(12)..).unwrap_or(id)
}

/// Creates an endpoint of an account. `url` is the URL of `new`, as its channel has checked it.
///
/// # Errors
/// `NotFound` if the account does not exist. `Invalid` if the secret is not valid. `Conflict` if an endpoint
/// has this URL, or if the account has 20 endpoints.
pub fn create(
    tx: &mut Tx<'_>,
    account: &str,
    new: &NewEndpoint,
    url: &CheckedUrl,
) -> Result<CreatedEndpoint> {
    let id = EndpointId::new(tx.now);
    let (url, secret, is_shown) = match (url, &new.secret) {
        (CheckedUrl::Secret(_), Some(_)) => {
            let detail =
                "must be left out: requests of this channel are not signed, and the URL is the secret";
            return Err(Error::invalid("/secret", detail));
        }
        (CheckedUrl::Secret(url), None) => (hidden(url, &id), url.clone(), false),
        (CheckedUrl::Shown(url), Some(secret)) => {
            key_of(secret).map_err(|detail| Error::invalid("/secret", detail))?;
            (url.clone(), secret.clone(), true)
        }
        (CheckedUrl::Shown(url), None) => (url.clone(), fresh_secret()?, true),
    };
    let url = url.as_str();
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
    if !is_shown {
        check_not_taken(tx.conn, key, &new.channel, &secret, account)?;
    }
    let held: i64 = e::table
        .filter(e::account_key.eq(key))
        .filter(e::gone_at.is_null())
        .count()
        .get_result(tx.conn)?;
    if held >= MAX {
        return Err(Error::Conflict(format!(
            "the account already has {MAX} endpoints, and no more are \
            allowed"
        ))
        .code(Code::LimitReached));
    }
    diesel::insert_into(e::table)
        .values((
            e::id.eq(id.as_str()),
            e::account_key.eq(Some(key)),
            e::channel.eq(&new.channel),
            e::url.eq(url),
            e::secret.eq(Some(seal(&secret, &secret_place(id.as_str()))?)),
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
        secret: is_shown.then(|| ShownOnce::new(secret)),
    })
}

/// Stores a phone number of a person. `number` is the number of `new`, as its channel has checked it. A person has one number, so that
/// nobody gets a message twice.
///
/// # Errors
/// `NotFound` if the person does not exist. `Invalid` if it does not say how the person agreed. `Conflict` if the person has a number.
pub fn create_of_person(
    tx: &mut Tx<'_>,
    person: &str,
    new: &NewPersonEndpoint,
    number: &str,
) -> Result<Endpoint> {
    let consent = new.checked_consent()?;
    // Two numbers that are stored at the same time would both be the first.
    dialect::lock(tx.conn, Lock::Person, person)?;
    let key: i64 = p::table
        .filter(p::id.eq(person))
        .filter(p::gone_at.is_null())
        .select(p::key)
        .first(tx.conn)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("person '{person}'")))?;
    let held: i64 = e::table
        .filter(e::person_key.eq(key))
        .filter(e::channel.eq(&new.channel))
        .filter(e::gone_at.is_null())
        .count()
        .get_result(tx.conn)?;
    if held > 0 {
        let detail = "the person has a number already; delete it first";
        return Err(Error::Conflict(detail.to_owned()).code(Code::AlreadyExists));
    }
    let id = EndpointId::new(tx.now);
    diesel::insert_into(e::table)
        .values((
            e::id.eq(id.as_str()),
            e::person_key.eq(Some(key)),
            e::channel.eq(&new.channel),
            e::url.eq(format!("{}:***#{}", new.channel, tail(&id))),
            e::secret.eq(Some(seal(number, &secret_place(id.as_str()))?)),
            e::consent.eq(Some(&consent)),
            e::created_at.eq(tx.now),
            e::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    // The hash shows that the note was not changed later. The note itself can name the person, and an erasure removes it.
    let digest = hex(&Sha256::digest(&consent));
    tx.record(
        Event::new(Action::EndpointCreated, "endpoint", id.as_str())
            .after(json!({"person": person, "channel": new.channel, "consent_sha256": digest})),
    );
    get(tx.conn, &id)
}

/// Refuses a secret URL that an endpoint of the account already has. Different accounts may have the same one, for example if one
/// team looks after several accounts.
fn check_not_taken(conn: &mut Conn, account_key: i64, channel: &str, url: &str, account: &str) -> Result<()> {
    let stored: Vec<(String, Option<String>)> = e::table
        .filter(e::account_key.eq(account_key))
        .filter(e::channel.eq(channel))
        .filter(e::gone_at.is_null())
        .select((e::id, e::secret))
        .load(conn)?;
    for (id, secret) in stored {
        if let Some(secret) = secret
            && open(&secret, &secret_place(&id))? == url
        {
            return Err(taken_by(account));
        }
    }
    Ok(())
}

fn taken_by(owner: &str) -> Error {
    Error::Conflict(format!(
        "an endpoint of {owner} already has this URL; make the URLs different, for example with ?account=…"
    ))
    .code(Code::AlreadyExists)
}

/// Returns the endpoint with this ID, even if it is deleted.
///
/// # Errors
/// `NotFound` if no endpoint has this ID.
pub fn get(conn: &mut Conn, id: &EndpointId) -> Result<Endpoint> {
    endpoints!()
        .filter(e::id.eq(id.as_str()))
        .first::<EndpointRow>(conn)
        .optional()?
        .map(view)
        .ok_or_else(|| Error::NotFound(format!("endpoint {id}")))
}

/// Returns the endpoints of an account that are not deleted, oldest first, after the given ID.
///
/// # Errors
/// `NotFound` if the account does not exist.
pub fn list(conn: &mut Conn, account: &str, after: Option<&str>, limit: i64) -> Result<Vec<Endpoint>> {
    super::account::get(conn, account)?;
    let rows: Vec<EndpointRow> = endpoints!()
        .filter(a::id.eq(account))
        .filter(e::gone_at.is_null())
        .filter(e::id.gt(after.unwrap_or("")))
        .order(e::id)
        .limit(limit)
        .load(conn)?;
    Ok(rows.into_iter().map(view).collect())
}

/// Returns the endpoints of a person that are not deleted, oldest first.
///
/// # Errors
/// `NotFound` if the person does not exist.
pub fn list_of_person(conn: &mut Conn, person: &str) -> Result<Vec<Endpoint>> {
    super::person::get(conn, person)?;
    let rows: Vec<EndpointRow> = endpoints!()
        .filter(p::id.eq(person))
        .filter(e::gone_at.is_null())
        .order(e::id)
        .load(conn)?;
    Ok(rows.into_iter().map(view).collect())
}

/// Returns the IDs of all endpoints that a person has or had.
///
/// # Errors
/// An error of the database.
pub fn all_of_person(conn: &mut Conn, person: &str) -> Result<Vec<String>> {
    Ok(e::table
        .inner_join(p::table)
        .filter(p::id.eq(person))
        .order(e::id)
        .select(e::id)
        .load(conn)?)
}

/// Returns the phone numbers that are held about a person, for the person.
///
/// # Errors
/// An error of the database, or `Internal` if a number cannot be decrypted.
pub fn numbers_of_person(conn: &mut Conn, person: i64) -> Result<Vec<HeldNumber>> {
    type Held = (String, Option<String>, Option<String>, Timestamp);
    let rows: Vec<Held> = e::table
        .filter(e::person_key.eq(person))
        .filter(e::secret.is_not_null())
        .order(e::id)
        .select((e::id, e::secret, e::consent, e::created_at))
        .load(conn)?;
    rows.into_iter()
        .map(|(id, secret, consent, stored_at)| {
            let number = open(&secret.unwrap_or_default(), &secret_place(&id))?;
            Ok(HeldNumber {
                number,
                consent,
                stored_at,
            })
        })
        .collect()
}

/// A phone number, as an export for its person shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct HeldNumber {
    /// The number.
    pub number: String,
    /// How and when the person agreed.
    pub consent: Option<String>,
    /// When it was stored.
    pub stored_at: Timestamp,
}

/// Returns the enabled endpoints of all people who are not archived, by the ID of the person.
///
/// # Errors
/// An error of the database.
pub fn enabled_of_people(conn: &mut Conn) -> Result<HashMap<String, Endpoint>> {
    let rows: Vec<EndpointRow> = endpoints!()
        .filter(e::person_key.is_not_null())
        .filter(p::gone_at.is_null())
        .filter(e::gone_at.is_null())
        .filter(e::disabled_at.is_null())
        .order(e::id)
        .load(conn)?;
    let found = rows.into_iter().map(view);
    Ok(found
        .filter_map(|endpoint| Some((endpoint.person.clone()?, endpoint)))
        .collect())
}

/// Returns whether any endpoint exists. If none does, the endpoints of an audience need not be searched.
pub fn any_exists(conn: &mut Conn) -> Result<bool> {
    let first: Option<EndpointId> = e::table
        .filter(e::gone_at.is_null())
        .select(e::id)
        .first(conn)
        .optional()?;
    Ok(first.is_some())
}

/// Returns the enabled endpoints of these accounts with the names of the accounts, ordered by account and ID.
pub fn enabled_of(conn: &mut Conn, accounts: &[&str]) -> Result<Vec<(Endpoint, String)>> {
    let mut found = Vec::new();
    for accounts in accounts.chunks(500) {
        let rows: Vec<EndpointRow> = endpoints!()
            .filter(a::id.eq_any(accounts))
            .filter(a::gone_at.is_null())
            .filter(e::gone_at.is_null())
            .filter(e::disabled_at.is_null())
            .order((a::id, e::id))
            .load(conn)?;
        let names: HashMap<String, String> = a::table
            .filter(a::id.eq_any(accounts))
            .select((a::id, a::name))
            .load(conn)?
            .into_iter()
            .collect();
        for endpoint in rows.into_iter().map(view) {
            let name = endpoint.account.as_ref().and_then(|id| names.get(id));
            let name = name.cloned().unwrap_or_default();
            found.push((endpoint, name));
        }
    }
    Ok(found)
}

/// Whom an endpoint belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointOwner {
    /// The ID of the account.
    pub account: Option<String>,
    /// The ID of the person.
    pub person: Option<String>,
    /// The name of the account or the person now.
    pub name: String,
}

/// Returns whom these endpoints belong to, including deleted endpoints.
///
/// # Errors
/// An error of the database.
pub fn owners_of(conn: &mut Conn, ids: &[&str]) -> Result<HashMap<String, EndpointOwner>> {
    type Row = (String, Option<(String, String)>, Option<(String, String)>);
    let rows: Vec<Row> = e::table
        .left_join(a::table)
        .left_join(p::table)
        .filter(e::id.eq_any(ids))
        .select((e::id, (a::id, a::name).nullable(), (p::id, p::name).nullable()))
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(id, account, person)| {
            let name = account.as_ref().or(person.as_ref()).map(|(_, name)| name.clone());
            let owner = EndpointOwner {
                account: account.map(|(id, _)| id),
                person: person.map(|(id, _)| id),
                name: name.unwrap_or_default(),
            };
            (id, owner)
        })
        .collect())
}

/// Returns the secrets of these endpoints. Disabled and deleted endpoints are left out, because nothing is
/// sent to them.
pub fn secrets(conn: &mut Conn, ids: &[impl AsRef<str>]) -> Result<HashMap<String, String>> {
    let ids: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
    let rows: Vec<(String, Option<String>)> = e::table
        .filter(e::id.eq_any(ids))
        .filter(e::gone_at.is_null())
        .filter(e::disabled_at.is_null())
        .select((e::id, e::secret))
        .load(conn)?;
    rows.into_iter()
        .filter_map(|(id, secret)| Some((id, secret?)))
        .map(|(id, secret)| {
            let secret = open(&secret, &secret_place(&id))?;
            Ok((id, secret))
        })
        .collect()
}

/// The place of the secret of an endpoint, for its encryption.
fn secret_place(id: &str) -> String {
    format!("endpoints.secret/{id}")
}

/// Deletes an endpoint and its secret.
///
/// # Errors
/// `NotFound` if the endpoint does not exist or is already deleted.
pub fn delete(tx: &mut Tx<'_>, id: &EndpointId) -> Result<()> {
    let endpoint = existing(tx.conn, id)?;
    diesel::update(e::table.find(id.as_str()))
        .set((
            e::gone_at.eq(Some(tx.now)),
            e::secret.eq(None::<String>),
            e::updated_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    let before = match (&endpoint.account, &endpoint.person) {
        (Some(account), _) => mark(account, &endpoint.channel, &endpoint.url),
        (None, person) => json!({"person": person, "channel": endpoint.channel}),
    };
    tx.record(Event::new(Action::EndpointDeleted, "endpoint", id.as_str()).before(before));
    Ok(())
}

fn existing(conn: &mut Conn, id: &EndpointId) -> Result<Endpoint> {
    get(conn, id).and_then(|endpoint| match endpoint.gone_at {
        None => Ok(endpoint),
        Some(_) => Err(Error::NotFound(format!("endpoint {id}"))),
    })
}

/// Enables an endpoint again, so that notices are sent to it. If it is already enabled, nothing changes.
///
/// # Errors
/// `NotFound` if the endpoint does not exist or is deleted.
pub fn enable(tx: &mut Tx<'_>, id: &EndpointId) -> Result<Endpoint> {
    let before = existing(tx.conn, id)?;
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

/// Disables an endpoint because it answered that it no longer exists. If it is already disabled or deleted,
/// nothing changes.
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
        // The event does not contain the reason itself, because it is a text of the endpoint and can contain
        // anything.
        tx.record(
            Event::new(Action::EndpointDisabled, "endpoint", id)
                .after(json!({"because": "it answered that it no longer exists"})),
        );
    }
    Ok(())
}

/// Returns an endpoint and its secret for a test request. The endpoint may be disabled.
///
/// # Errors
/// `NotFound` if the endpoint does not exist or is deleted.
pub fn for_test(conn: &mut Conn, id: &EndpointId) -> Result<(Endpoint, String)> {
    let endpoint = existing(conn, id)?;
    let secret: Option<String> = e::table.find(id.as_str()).select(e::secret).first(conn)?;
    let secret = open(&secret.unwrap_or_default(), &secret_place(id.as_str()))?;
    Ok((endpoint, secret))
}

/// Records that a test request was sent, with its outcome.
pub fn tested(tx: &mut Tx<'_>, id: &EndpointId, outcome: &str) {
    tx.record(Event::new(Action::EndpointTested, "endpoint", id.as_str()).after(json!({"outcome": outcome})));
}
