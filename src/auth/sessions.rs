//! Sessions of the admin pages. Each session is a row in the database. So signing out, revoking the token and
//! the end of its lifetime end it on the server and in every process. A copied cookie then does not work
//! either.

use std::time::Duration;

use diesel::prelude::*;

use super::{Caller, hash_secret, session_holder};
use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::TokenId;
use crate::base::random::random_secret;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::admin_sessions as s;

/// How long a session lasts, which is one shift.
pub const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Starts a session for a caller and returns its secret, which is stored in the cookie.
///
/// # Errors
/// `Internal` if the operating system has no random bytes, or an error of the database.
pub fn begin(tx: &mut Tx<'_>, caller: &Caller) -> Result<String> {
    let secret = random_secret()?;
    diesel::insert_into(s::table)
        .values((
            s::id.eq(hash_secret(&secret)),
            s::token_id.eq(caller.id.as_str()),
            s::created_at.eq(tx.now),
            s::expires_at.eq(tx.now.plus(LIFETIME)),
        ))
        .execute(tx.conn)?;
    tx.record(Event::new(Action::AdminSignedIn, "token", caller.id.to_string()));
    Ok(secret)
}

/// Returns the caller of a session if the session has not ended and its token is valid.
///
/// # Errors
/// An error of the database.
pub fn holder(conn: &mut Conn, secret: &str, now: Timestamp) -> Result<Option<Caller>> {
    let token: Option<TokenId> = s::table
        .find(hash_secret(secret))
        .filter(s::expires_at.gt(now))
        .select(s::token_id)
        .first(conn)
        .optional()?;
    match token {
        Some(token) => session_holder(conn, &token, now),
        None => Ok(None),
    }
}

/// Ends a session at once. If it has already ended, nothing changes.
///
/// # Errors
/// An error of the database.
pub fn end(tx: &mut Tx<'_>, caller: &Caller, secret: &str) -> Result<()> {
    let ended = diesel::delete(s::table.find(hash_secret(secret))).execute(tx.conn)?;
    if ended > 0 {
        tx.record(Event::new(Action::AdminSignedOut, "token", caller.id.to_string()));
    }
    Ok(())
}

/// Deletes the sessions that have expired, and returns how many there were.
///
/// # Errors
/// An error of the database.
pub fn forget(conn: &mut Conn, now: Timestamp) -> Result<usize> {
    Ok(diesel::delete(s::table.filter(s::expires_at.le(now))).execute(conn)?)
}

/// Ends every session, and returns how many there were. This is needed after a restore, because a backup may
/// contain sessions that were ended later.
///
/// # Errors
/// An error of the database.
pub fn end_all(conn: &mut Conn) -> Result<usize> {
    Ok(diesel::delete(s::table).execute(conn)?)
}
