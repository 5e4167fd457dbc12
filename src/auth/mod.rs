//! Authentication and authorisation: API tokens with roles, and signatures with the secret key of the
//! instance (for links and sessions).
//!
//! - A token is never stored or logged in plain text.
//! - The duration of a comparison never reveals how much of a guess was correct.

mod email_links;
mod person;
pub mod preferences;
pub mod sessions;
pub mod uses;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::prelude::*;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use email_links::{ANSWERS, MINE, SIGNATURE, SUBSCRIPTION, UNSUBSCRIBE, signed};
pub use email_links::{EmailLinks, LINK_SIGNATURES};
use person::ADMIN_NAME;
pub use person::{Holder, holders, tokens_of_person};

use crate::audit::{Action, Actor, Event, Tx};
use crate::base::enums::word_enum;
use crate::base::error::{Error, Result};
use crate::base::id::TokenId;
use crate::base::random::random_secret;
use crate::base::shown_once::ShownOnce;
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::serves_with;
use crate::db::own_key::OwnKey;
use crate::db::schema::{admin_sessions, api_tokens as t, audit_events as e};

word_enum! {
    /// What a token is allowed to do. Each role includes the roles before it.
    Role, "a role" {
        /// The role may read everything except tokens. It may change nothing.
        Viewer = "viewer",
        /// The role may also write, and send within the limits.
        Operator = "operator",
        /// The role may also approve notices.
        Approver = "approver",
        /// The role may also manage tokens, integrations and templates.
        Admin = "admin",
    }
}

impl Role {
    /// Returns whether this role includes `needed`.
    pub fn covers(self, needed: Role) -> bool {
        let rank = |role| match role {
            Role::Viewer => 0,
            Role::Operator => 1,
            Role::Approver => 2,
            Role::Admin => 3,
        };
        rank(self) >= rank(needed)
    }
}

/// A caller with a valid token.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The ID of the token.
    pub id: TokenId,
    /// The name of the token.
    pub name: String,
    /// The role of the token.
    pub role: Role,
}

impl Caller {
    /// Returns the caller as an actor for the audit trail.
    pub fn actor(&self) -> Actor {
        Actor::token(&self.id, &self.name)
    }
}

/// The name and the role of an API token that is created.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// The name of the person or the program that gets the token.
    pub name: String,
    /// The role of the token.
    pub role: Role,
    /// The person who uses the token, for example an email address. Tokens with the same person are one person wherever two
    /// people are needed. Without it, the token is its own person.
    #[serde(default)]
    pub person: Option<String>,
    /// When the token stops working. Without it, the token works until it is revoked.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// A new token. Its secret is shown only once.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct CreatedToken {
    /// The ID of the token.
    pub id: TokenId,
    /// The secret, for `Authorization: Bearer`. If the request is repeated, the answer leaves it out and
    /// names it in `withheld`.
    #[schema(required = false)]
    pub token: ShownOnce,
}

/// A token, as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TokenView {
    /// The ID of the token.
    pub id: TokenId,
    /// The name of the person or the program that has the token.
    pub name: String,
    /// The role of the token.
    pub role: Role,
    /// The person who uses the token. Null if the token is its own person.
    pub person: Option<String>,
    /// When the token was created.
    pub created_at: Timestamp,
    /// When the token stops working. Null if it works until it is revoked.
    pub expires_at: Option<Timestamp>,
    /// When the token was last used. Uses in other processes can be missing for about a minute. Null if it was never used.
    pub last_used_at: Option<Timestamp>,
}

type TokenRow = (
    TokenId,
    String,
    String,
    String,
    Timestamp,
    Option<Timestamp>,
    Option<String>,
    Option<Timestamp>,
    Option<Timestamp>,
);

/// Returns the hash of a secret, which is stored instead of it. A plain hash is enough, because the secrets
/// are long and random.
pub fn hash_secret(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// Creates a token.
///
/// # Errors
/// `Invalid` if the name or the person is empty, too long, or has control characters, or if the name is that of the token
/// from the settings.
pub fn create(tx: &mut Tx<'_>, new: &NewToken) -> Result<CreatedToken> {
    let name = new.name.trim();
    if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
        return Err(Error::invalid("/name", "must be one line of 1 to 200 characters"));
    }
    if name == ADMIN_NAME {
        return Err(Error::invalid(
            "/name",
            "is reserved for the token of the setting CANDOR_ADMIN_TOKEN",
        ));
    }
    let person = new.person.as_deref().map(person::check).transpose();
    let person = person.map_err(|detail| Error::invalid("/person", detail))?;
    if new.expires_at.is_some_and(|at| at <= tx.now) {
        return Err(Error::invalid("/expires_at", "must be in the future"));
    }
    let secret = format!("cnd_{}", random_secret()?);
    let id = TokenId::new(tx.now);
    let holder = (name, person.as_deref());
    insert(tx, &id, holder, new.role, &secret, new.expires_at)?;
    Ok(CreatedToken {
        id,
        token: ShownOnce::new(secret),
    })
}

fn insert(
    tx: &mut Tx<'_>,
    id: &TokenId,
    (name, person): (&str, Option<&str>),
    role: Role,
    secret: &str,
    expires_at: Option<Timestamp>,
) -> Result<()> {
    diesel::insert_into(t::table)
        .values((
            t::id.eq(id.as_str()),
            t::name.eq(name),
            t::role.eq(role.as_str()),
            t::hash.eq(hash_secret(secret)),
            t::created_at.eq(tx.now),
            t::person.eq(person),
            t::expires_at.eq(expires_at),
        ))
        .execute(tx.conn)?;
    let mut after = json!({"name": name, "role": role});
    if let Some(person) = person {
        after["person"] = json!(person);
    }
    if let Some(at) = expires_at {
        after["expires_at"] = json!(at);
    }
    tx.record(Event::new(Action::TokenCreated, "token", id.as_str()).after(after));
    Ok(())
}

/// Returns the tokens after the given one that are not revoked, oldest first. Tokens that have expired are included.
///
/// # Errors
/// An error of the database.
pub fn list(conn: &mut Conn, after: Option<&str>, limit: i64) -> Result<Vec<TokenView>> {
    let rows: Vec<TokenRow> = t::table
        .filter(t::revoked_at.is_null())
        .filter(t::id.gt(after.unwrap_or("")))
        .order(t::id)
        .limit(limit)
        .load(conn)?;
    rows.into_iter().map(view).collect()
}

fn view(row: TokenRow) -> Result<TokenView> {
    let (id, name, role, _, created_at, _, person, expires_at, last_used_at) = row;
    Ok(TokenView {
        id,
        name,
        role: Role::parse(&role).map_err(Error::internal)?,
        person,
        created_at,
        expires_at,
        last_used_at,
    })
}

/// Returns a token, even if it has expired.
///
/// # Errors
/// `NotFound` if it does not exist or was revoked.
pub fn get(conn: &mut Conn, id: &TokenId) -> Result<TokenView> {
    t::table
        .find(id.as_str())
        .filter(t::revoked_at.is_null())
        .first::<TokenRow>(conn)
        .optional()?
        .map(view)
        .transpose()?
        .ok_or_else(|| Error::NotFound(format!("token {id}")))
}

/// Revokes a token at once, and ends the sessions that were started with it.
///
/// # Errors
/// `NotFound` if it does not exist or was already revoked.
pub fn revoke(tx: &mut Tx<'_>, id: &TokenId) -> Result<()> {
    let changed = diesel::update(t::table.find(id.as_str()).filter(t::revoked_at.is_null()))
        .set(t::revoked_at.eq(Some(tx.now)))
        .execute(tx.conn)?;
    if changed == 0 {
        return Err(Error::NotFound(format!("token {id}")));
    }
    diesel::delete(admin_sessions::table.filter(admin_sessions::token_id.eq(id.as_str())))
        .execute(tx.conn)?;
    tx.record(Event::new(Action::TokenRevoked, "token", id.as_str()));
    Ok(())
}

fn caller((id, name, role, ..): TokenRow) -> Result<Caller> {
    Ok(Caller {
        id,
        name,
        role: Role::parse(&role).map_err(Error::internal)?,
    })
}

/// Returns the caller of this token if the token is valid. The lookup uses the hash, so its duration reveals
/// nothing about the secret.
///
/// # Errors
/// An error of the database.
pub fn authenticate(conn: &mut Conn, secret: &str, now: Timestamp) -> Result<Option<Caller>> {
    t::table
        .filter(t::hash.eq(hash_secret(secret)))
        .filter(t::revoked_at.is_null())
        .filter(t::expires_at.is_null().or(t::expires_at.gt(now)))
        .first::<TokenRow>(conn)
        .optional()?
        .map(caller)
        .transpose()
}

/// Returns the caller of a session if its token is still valid.
///
/// # Errors
/// An error of the database.
pub fn session_holder(conn: &mut Conn, id: &TokenId, now: Timestamp) -> Result<Option<Caller>> {
    t::table
        .find(id.as_str())
        .filter(t::revoked_at.is_null())
        .filter(t::expires_at.is_null().or(t::expires_at.gt(now)))
        .first::<TokenRow>(conn)
        .optional()?
        .map(caller)
        .transpose()
}

/// Makes the admin token from the settings valid. An earlier token from the settings is revoked, unless
/// another running process still uses it. Returns false if a person or a program has revoked the token,
/// because it then stays revoked.
///
/// Starting processes must call this one after another, see [`crate::db::dialect::lock_start`].
///
/// # Errors
/// An error of the database.
pub fn ensure_admin(tx: &mut Tx<'_>, secret: &str) -> Result<bool> {
    let hash = hash_secret(secret);
    let stored: Vec<(TokenId, String)> = t::table
        .filter(t::name.eq(ADMIN_NAME))
        .filter(t::revoked_at.is_null())
        .select((t::id, t::hash))
        .load(tx.conn)?;
    for (id, other) in &stored {
        if *other != hash && !serves_with(tx.conn, other)? {
            revoke(tx, id)?;
        }
    }
    if stored.iter().any(|(_, stored)| *stored == hash) {
        return Ok(true);
    }
    let old: Option<TokenId> = t::table
        .filter(t::hash.eq(&hash))
        .select(t::id)
        .first(tx.conn)
        .optional()?;
    match old {
        Some(id) if revoked_by_somebody(tx.conn, &id)? => return Ok(false),
        // The token was in the settings before, was replaced by another one, and is in the settings again.
        Some(id) => {
            diesel::update(t::table.find(id.as_str()))
                .set((
                    t::revoked_at.eq(None::<Timestamp>),
                    // The secret may be that of a token that expired.
                    t::expires_at.eq(None::<Timestamp>),
                    t::role.eq(Role::Admin.as_str()),
                    t::name.eq(ADMIN_NAME),
                ))
                .execute(tx.conn)?;
            tx.record(Event::new(Action::TokenCreated, "token", id.as_str()).after(json!({"role": "admin"})));
        }
        None => {
            let id = TokenId::new(tx.now);
            insert(tx, &id, (ADMIN_NAME, None), Role::Admin, secret, None)?;
        }
    }
    Ok(true)
}

/// Returns whether a token was last revoked by a person or a program, and not by the start of a process.
fn revoked_by_somebody(conn: &mut Conn, id: &TokenId) -> Result<bool> {
    let by: Option<(String, String)> = e::table
        .filter(e::subject_id.eq(id.as_str()))
        .filter(e::action.eq(Action::TokenRevoked.as_str()))
        .order(e::seq.desc())
        .select((e::actor_kind, e::actor_id))
        .first(conn)
        .optional()?;
    Ok(by.is_some_and(|(kind, id)| (kind.as_str(), id.as_str()) != ("system", STARTING)))
}

/// The name of the part of Candor that acts while a process starts.
pub const STARTING: &str = "start";

/// Returns the secret key of this instance. It comes from the settings, or is created once and stored in the
/// database.
///
/// # Errors
/// An error of the database.
pub fn secret_key(tx: &mut Tx<'_>, configured: Option<&str>) -> Result<Vec<u8>> {
    if let Some(key) = configured {
        return Ok(key.as_bytes().to_vec());
    }
    Ok(OwnKey::Links.stored_or(tx.conn, random_secret)?.into_bytes())
}

/// Signs and verifies links and sessions.
#[derive(Clone)]
pub struct Links {
    key: Vec<u8>,
    public_url: String,
}

impl Links {
    /// Creates links below `public_url`, which are signed with `key`.
    pub fn new(key: Vec<u8>, public_url: String) -> Self {
        Links { key, public_url }
    }

    fn sign(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.signature(text))
    }

    fn signature(&self, text: &str) -> [u8; SIGNATURE] {
        // HMAC accepts a key of any length.
        let mut mac = match Hmac::<Sha256>::new_from_slice(&self.key) {
            Ok(mac) => mac,
            Err(never) => unreachable!("{never}"),
        };
        mac.update(text.as_bytes());
        let whole = mac.finalize().into_bytes();
        std::array::from_fn(|index| whole[index])
    }

    fn holds(&self, text: &str, signature: &str) -> bool {
        use subtle::ConstantTimeEq;
        self.sign(text).as_bytes().ct_eq(signature.as_bytes()).into()
    }

    /// Returns the link with which the recipient of a delivery opts out.
    pub fn unsubscribe(&self, delivery: i64) -> String {
        self.of_delivery(UNSUBSCRIBE, delivery)
    }

    /// Returns the delivery of such a link. Returns `None` if this instance did not sign the link.
    pub fn unsubscribe_target(&self, token: &str) -> Option<i64> {
        self.target(UNSUBSCRIBE, token)
    }

    /// Returns the link with which the recipient of a delivery answers, without the chosen answer.
    pub fn answers(&self, delivery: i64) -> String {
        self.of_delivery(ANSWERS, delivery)
    }

    /// Returns the link that opens the page of the person of a delivery.
    pub fn mine(&self, delivery: i64) -> String {
        let signature = self.signature(&signed(ANSWERS, delivery));
        email_links::link(&self.public_url, MINE, delivery, &signature)
    }

    /// Returns the delivery of such a link. Returns `None` if this instance did not sign the link.
    pub fn answers_target(&self, token: &str) -> Option<i64> {
        self.target(ANSWERS, token)
    }

    /// Returns the delivery whose link opens the page of its person. It has the signature of the link for answers: both are in the same
    /// email, and what is stored of an email has room for two signatures.
    pub fn mine_target(&self, token: &str) -> Option<i64> {
        self.answers_target(token)
    }

    /// Returns the delivery of a link in an email, whatever the link is for. Returns `None` if this instance did not sign it.
    pub fn target_of_any(&self, token: &str) -> Option<i64> {
        self.unsubscribe_target(token)
            .or_else(|| self.answers_target(token))
    }

    /// Returns the link with which a subscriber of the status page confirms or ends the subscription.
    pub fn subscription(&self, subscriber: i64) -> String {
        self.of_delivery(SUBSCRIPTION, subscriber)
    }

    /// Returns the subscriber of such a link. Returns `None` if this instance did not sign the link.
    pub fn subscription_target(&self, token: &str) -> Option<i64> {
        self.target(SUBSCRIPTION, token)
    }

    /// Returns both links of the email of a delivery.
    pub fn of_email(&self, delivery: i64) -> EmailLinks {
        let mut signatures = [0; LINK_SIGNATURES];
        let (unsubscribe, answers) = signatures.split_at_mut(SIGNATURE);
        unsubscribe.copy_from_slice(&self.signature(&signed(UNSUBSCRIBE, delivery)));
        answers.copy_from_slice(&self.signature(&signed(ANSWERS, delivery)));
        EmailLinks::with(&self.public_url, delivery, signatures)
    }

    /// Returns the URL that the links are below.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    fn of_delivery(&self, page: &str, delivery: i64) -> String {
        let signature = self.signature(&signed(page, delivery));
        email_links::link(&self.public_url, page, delivery, &signature)
    }

    fn target(&self, page: &str, token: &str) -> Option<i64> {
        let (delivery, signature) = token.split_once('.')?;
        let delivery: i64 = delivery.parse().ok()?;
        self.holds(&signed(page, delivery), signature).then_some(delivery)
    }

    /// Returns the key that the forms of a session contain. A page of another site cannot know it. It looks different on each page,
    /// so that the size of compressed pages reveals nothing about it (the attack BREACH).
    pub fn form_key(&self, session: &str) -> String {
        let mut masked = [0_u8; 2 * SIGNATURE];
        let (pad, hidden) = masked.split_at_mut(SIGNATURE);
        // Without random bytes the key is not masked, but still valid.
        let _ = getrandom::fill(pad);
        for ((hidden, pad), key) in hidden
            .iter_mut()
            .zip(pad)
            .zip(self.signature(&format!("form:{session}")))
        {
            *hidden = *pad ^ key;
        }
        URL_SAFE_NO_PAD.encode(masked)
    }

    /// Returns a text with its signature for one purpose. No other purpose accepts it.
    pub fn signed_for(&self, purpose: &str, text: &str) -> String {
        format!("{text}.{}", self.sign(&format!("{purpose}:{text}")))
    }

    /// Returns the text that this instance signed for a purpose. `None` if it did not sign it.
    pub fn opened<'a>(&self, purpose: &str, signed: &'a str) -> Option<&'a str> {
        let (text, signature) = signed.rsplit_once('.')?;
        self.holds(&format!("{purpose}:{text}"), signature)
            .then_some(text)
    }

    /// Returns the key of a message about what was just done. Only Candor can make it.
    pub fn done_key(&self, text: &str) -> String {
        self.sign(&format!("done:{text}"))
    }

    /// Returns whether Candor wrote this message.
    pub fn is_done_key(&self, text: &str, key: &str) -> bool {
        self.holds(&format!("done:{text}"), key)
    }

    /// Returns whether a form came from a page of this session.
    pub fn is_form_key(&self, session: &str, key: &str) -> bool {
        use subtle::ConstantTimeEq;
        let Some(masked) = URL_SAFE_NO_PAD
            .decode(key)
            .ok()
            .filter(|masked| masked.len() == 2 * SIGNATURE)
        else {
            return false;
        };
        let (pad, hidden) = masked.split_at(SIGNATURE);
        let key: Vec<u8> = hidden.iter().zip(pad).map(|(hidden, pad)| hidden ^ pad).collect();
        key.ct_eq(&self.signature(&format!("form:{session}"))).into()
    }
}
