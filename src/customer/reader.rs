//! Who reads: the person of a token, as the directory knows them now.

use diesel::prelude::*;

use super::keys;
use super::token::{Proven, Unproven};
use crate::base::error::Result;
use crate::base::id::FeedKeyId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::people as p;
use crate::directory::erased::is_placeholder;

/// A person who reads, and how Candor knows that it is them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The key of the person in the database.
    pub key: i64,
    /// The ID of the person.
    pub person: String,
    /// The feed key that signed the token.
    pub signed_by: FeedKeyId,
    /// The origins whose pages may read with this token.
    pub origins: Vec<String>,
    /// When the token expires.
    pub expires_at: Timestamp,
}

/// Returns the key of a person who may read: one who is not archived and was not erased.
///
/// # Errors
/// An error of the database.
pub fn active(conn: &mut Conn, person: &str) -> Result<Option<i64>> {
    if is_placeholder(person) {
        return Ok(None);
    }
    Ok(p::table
        .filter(p::id.eq(person))
        .filter(p::gone_at.is_null())
        .select(p::key)
        .first(conn)
        .optional()?)
}

/// Returns who sends a token. `None` if the token is not valid, whatever the reason. `audience` is the URL of this instance.
///
/// # Errors
/// An error of the database.
pub fn of_token(conn: &mut Conn, token: &str, audience: &str, now: Timestamp) -> Result<Option<Reader>> {
    let Some(unproven) = Unproven::read(token) else {
        return Ok(None);
    };
    let Ok(id) = FeedKeyId::parse(unproven.key()) else {
        return Ok(None);
    };
    let Some((key, secret)) = keys::with_secret(conn, id.as_str())? else {
        return Ok(None);
    };
    let Some(Proven { person, expires_at }) = unproven.prove(&secret, audience, now) else {
        return Ok(None);
    };
    Ok(active(conn, person.as_str())?.map(|number| Reader {
        key: number,
        person: person.as_str().to_owned(),
        signed_by: key.id,
        origins: key.origins,
        expires_at,
    }))
}
