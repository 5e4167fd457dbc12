//! Feed keys: the secrets with which the backends of products sign the tokens of their users, each with the origins whose pages may read
//! the feed in a browser.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::audit::{Action, Event, Tx};
use crate::base::check::Check;
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::FeedKeyId;
use crate::base::random::random_secret;
use crate::base::sealed::{open, seal};
use crate::base::shown_once::ShownOnce;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::feed_keys as f;

/// What every secret begins with, so that scanners of source code find it.
const PREFIX: &str = "feed_";
/// The largest number of keys that are not revoked.
const MOST: i64 = 50;
/// The largest number of origins of a key.
const MOST_ORIGINS: usize = 50;

/// A new feed key.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewFeedKey {
    /// The name of the product.
    pub name: String,
    /// The origins whose pages may read the feed, such as `https://app.example.com`. Without any, only programs that are not browsers
    /// can read it.
    pub origins: Vec<String>,
}

/// A new feed key with its secret. The secret is shown only in this answer.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct CreatedFeedKey {
    /// The fields of the new key, without its secret.
    #[serde(flatten)]
    pub key: FeedKey,
    /// The secret that signs tokens with HMAC-SHA256. Its bytes are used as they are, including the prefix. The answer to a repeat of the
    /// request omits it and lists it in `withheld`.
    #[schema(required = false)]
    pub secret: ShownOnce,
}

/// A feed key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FeedKey {
    /// The ID of the key, which is the `iss` of a token.
    pub id: FeedKeyId,
    /// The name of the product.
    pub name: String,
    /// The origins whose pages may read the feed.
    pub origins: Vec<String>,
    /// When the key was created.
    pub created_at: Timestamp,
}

type Row = (FeedKeyId, String, String, Timestamp);
type Columns = (f::id, f::name, f::origins, f::created_at);
const COLUMNS: Columns = (f::id, f::name, f::origins, f::created_at);

fn view((id, name, origins, created_at): Row) -> Result<FeedKey> {
    Ok(FeedKey {
        id,
        name,
        origins: serde_json::from_str(&origins)?,
        created_at,
    })
}

/// Returns an origin in the form in which browsers send it.
///
/// # Errors
/// A sentence for the caller.
fn origin(text: &str) -> std::result::Result<String, String> {
    let wrong = || "must be an origin such as https://app.example.com, without a path".to_owned();
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && !text.ends_with('/')
        && !text.contains('*');
    if !plain || !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong());
    }
    Ok(url.origin().ascii_serialization())
}

fn origins(given: &[String], errors: &mut Vec<FieldError>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    if given.len() > MOST_ORIGINS {
        let detail = format!("has {} origins; at most {MOST_ORIGINS} are allowed", given.len());
        errors.push(FieldError::at("/origins", detail));
    }
    for (index, text) in given.iter().enumerate() {
        match origin(text) {
            Ok(origin) if found.contains(&origin) => {}
            Ok(origin) => found.push(origin),
            Err(detail) => errors.push(FieldError::at(format!("/origins/{index}"), detail)),
        }
    }
    found
}

/// The place of a secret, to which it is bound when it is encrypted.
fn place(id: &str) -> String {
    format!("feed_keys.secret/{id}")
}

/// Creates a key.
///
/// # Errors
/// `Invalid` if the name or an origin is not valid. `Conflict` if there are 50 keys.
pub fn create(tx: &mut Tx<'_>, new: &NewFeedKey) -> Result<CreatedFeedKey> {
    let mut check = Check::default();
    check.name("/name", &new.name);
    let origins = origins(&new.origins, &mut check.errors);
    check.finish()?;
    let held: i64 = f::table
        .filter(f::revoked_at.is_null())
        .count()
        .get_result(tx.conn)?;
    if held >= MOST {
        let full = format!("there are already {MOST} feed keys, and no more are allowed");
        return Err(Error::Conflict(full).code(Code::LimitReached));
    }
    let secret = format!("{PREFIX}{}", random_secret()?);
    let key = FeedKey {
        id: FeedKeyId::new(tx.now),
        name: new.name.trim().to_owned(),
        origins,
        created_at: tx.now,
    };
    diesel::insert_into(f::table)
        .values((
            f::id.eq(key.id.as_str()),
            f::name.eq(&key.name),
            f::secret.eq(seal(&secret, &place(key.id.as_str()))?),
            f::origins.eq(serde_json::to_string(&key.origins)?),
            f::created_at.eq(tx.now),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::FeedKeyCreated, "feed_key", key.id.as_str())
            .after(json!({"name": key.name, "origins": key.origins})),
    );
    Ok(CreatedFeedKey {
        key,
        secret: ShownOnce::new(secret),
    })
}

/// Returns the keys after the given one that are not revoked, oldest first.
///
/// # Errors
/// An error of the database.
pub fn list(conn: &mut Conn, after: Option<&str>, limit: i64) -> Result<Vec<FeedKey>> {
    let rows: Vec<Row> = f::table
        .filter(f::revoked_at.is_null())
        .filter(f::id.gt(after.unwrap_or("")))
        .order(f::id)
        .limit(limit)
        .select(COLUMNS)
        .load(conn)?;
    rows.into_iter().map(view).collect()
}

/// Returns a key.
///
/// # Errors
/// `NotFound` if it does not exist or was revoked.
pub fn get(conn: &mut Conn, id: &FeedKeyId) -> Result<FeedKey> {
    f::table
        .find(id.as_str())
        .filter(f::revoked_at.is_null())
        .select(COLUMNS)
        .first::<Row>(conn)
        .optional()?
        .map(view)
        .transpose()?
        .ok_or_else(|| Error::NotFound(format!("feed key {id}")))
}

/// Revokes a key at once. All tokens that were signed with it are refused from then on.
///
/// # Errors
/// `NotFound` if it does not exist or was already revoked.
pub fn revoke(tx: &mut Tx<'_>, id: &FeedKeyId) -> Result<()> {
    let changed = diesel::update(f::table.find(id.as_str()).filter(f::revoked_at.is_null()))
        .set(f::revoked_at.eq(Some(tx.now)))
        .execute(tx.conn)?;
    if changed == 0 {
        return Err(Error::NotFound(format!("feed key {id}")));
    }
    tx.record(Event::new(Action::FeedKeyRevoked, "feed_key", id.as_str()));
    Ok(())
}

/// Returns a key that is not revoked, with its secret. `None` if there is none with this ID.
///
/// # Errors
/// An error of the database, or `Internal` if the secret cannot be decrypted.
pub(super) fn with_secret(conn: &mut Conn, id: &str) -> Result<Option<(FeedKey, String)>> {
    let found: Option<(Row, String)> = f::table
        .find(id)
        .filter(f::revoked_at.is_null())
        .select((COLUMNS, f::secret))
        .first(conn)
        .optional()?;
    found
        .map(|(row, secret)| {
            let key = view(row)?;
            let secret = open(&secret, &place(key.id.as_str()))?;
            Ok((key, secret))
        })
        .transpose()
}

/// Returns whether a key that is not revoked names this origin.
///
/// # Errors
/// An error of the database.
pub fn any_names(conn: &mut Conn, origin: &str) -> Result<bool> {
    Ok(list(conn, None, MOST)?
        .iter()
        .any(|key| key.origins.iter().any(|one| one == origin)))
}

#[cfg(test)]
mod tests {
    use super::origin;

    #[test]
    fn an_origin_has_one_form() {
        let good = |text: &str| origin(text).unwrap();
        assert_eq!(good("https://app.example.com"), "https://app.example.com");
        assert_eq!(good("https://APP.example.com:443"), "https://app.example.com");
        assert_eq!(good("http://localhost:3000"), "http://localhost:3000");
        for wrong in [
            "",
            "*",
            "null",
            "https://*.example.com",
            "https://app.example.com/",
            "https://app.example.com/x",
            "https://u@app.example.com",
            "https://app.example.com?x",
            "file:///x",
            "app.example.com",
            "data:text/html,x",
        ] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }
}
