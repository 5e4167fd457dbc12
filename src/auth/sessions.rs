//! Sessions of the admin pages. Each is a row: signing out, revoking the token and the end of its time end it on the server,
//! for whoever has copied the cookie too, and in every process.

use std::time::Duration;

use diesel::prelude::*;

use super::{Caller, hash_secret, random_secret, session_holder};
use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::TokenId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::admin_sessions as s;

/// How long a session lasts: a shift.
pub const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Begins a session of a caller. Answers its secret, which the cookie holds.
///
/// # Errors
/// `Internal` where the system has no random bytes.
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

/// Whose session this is, if it has not ended and its token is valid.
///
/// # Errors
/// What the database answers.
pub fn holder(conn: &mut Conn, secret: &str, now: Timestamp) -> Result<Option<Caller>> {
    let token: Option<TokenId> = s::table
        .find(hash_secret(secret))
        .filter(s::expires_at.gt(now))
        .select(s::token_id)
        .first(conn)
        .optional()?;
    match token {
        Some(token) => session_holder(conn, &token),
        None => Ok(None),
    }
}

/// Ends a session at once. One that has ended already stays so.
///
/// # Errors
/// What the database answers.
pub fn end(tx: &mut Tx<'_>, caller: &Caller, secret: &str) -> Result<()> {
    let ended = diesel::delete(s::table.find(hash_secret(secret))).execute(tx.conn)?;
    if ended > 0 {
        tx.record(Event::new(Action::AdminSignedOut, "token", caller.id.to_string()));
    }
    Ok(())
}

/// Removes sessions whose time is over.
///
/// # Errors
/// What the database answers.
pub fn forget(conn: &mut Conn, now: Timestamp) -> Result<usize> {
    Ok(diesel::delete(s::table.filter(s::expires_at.le(now))).execute(conn)?)
}

/// Ends every session: those that a backup brings back may have been ended since.
///
/// # Errors
/// What the database answers.
pub fn end_all(conn: &mut Conn) -> Result<usize> {
    Ok(diesel::delete(s::table).execute(conn)?)
}
