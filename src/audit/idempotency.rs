//! Idempotency keys: which requests are running, which were carried out, and what they were answered.
//!
//! A key is taken before the work, marked as carried out in the transaction of the work itself (see
//! [`crate::audit`]), and completed with the answer afterwards. A crash before the work leaves the key to whoever
//! asks again later; a crash after it leaves the mark, and the work is not done again.
//!
//! Must never happen here: the work done twice under one key.

use std::time::Duration;

use diesel::prelude::*;

use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::schema::idempotency_keys as k;
use crate::db::{Conn, dialect::on_backend};

/// After this long a request that was never carried out is taken for dead. Its own late commit is then refused.
const DEAD: Duration = Duration::from_secs(15 * 60);

/// A stored answer.
pub struct Stored {
    /// Status code.
    pub status: i64,
    /// Content type.
    pub content_type: Option<String>,
    /// Body.
    pub body: Vec<u8>,
}

/// What to do with a request that carries a key.
pub enum Begin {
    /// Carry it out.
    Run,
    /// Answer this again.
    Answer(Stored),
}

/// One request with a key.
pub struct Request<'a> {
    /// Names the row; the caller makes it.
    pub id: &'a str,
    /// Whose key it is.
    pub owner: &'a str,
    /// The key.
    pub key: &'a str,
    /// Hash of the request.
    pub hash: &'a str,
}

type Row = (
    String,
    String,
    String,
    String,
    String,
    Option<i64>,
    Option<String>,
    Option<Vec<u8>>,
    Timestamp,
);

/// Takes a key, or finds the answer that it had.
///
/// # Errors
/// `Invalid` where the key was used for another request; `Conflict` where its request is still running, or was carried
/// out and its answer lost.
pub fn begin(conn: &mut Conn, request: &Request<'_>, now: Timestamp) -> Result<Begin> {
    let new = (
        k::id.eq(request.id),
        k::owner.eq(request.owner),
        k::key.eq(request.key),
        k::request_hash.eq(request.hash),
        k::state.eq("running"),
        k::created_at.eq(now),
    );
    let inserted = on_backend!(&mut *conn, c => diesel::insert_into(k::table)
        .values(new)
        .on_conflict((k::owner, k::key))
        .do_nothing()
        .execute(c))?;
    if inserted == 1 {
        return Ok(Begin::Run);
    }
    let (id, _, _, hash, state, status, content_type, body, since): Row = k::table
        .filter(k::owner.eq(request.owner))
        .filter(k::key.eq(request.key))
        .first(conn)?;
    if hash != request.hash {
        let detail = "was used for another request; a key belongs to one request";
        return Err(Error::invalid("Idempotency-Key", detail).code(Code::IdempotencyKeyReused));
    }
    match (state.as_str(), status) {
        ("done", Some(status)) => Ok(Begin::Answer(Stored { status, content_type, body: body.unwrap_or_default() })),
        ("carried_out", _) => Err(Error::Conflict(
            "the request of this key is being answered, or was carried out and its answer lost: look before you repeat it"
                .to_owned(),
        ).code(Code::IdempotencyKeyInUse)),
        _ if since.plus(DEAD) < now => take_over(conn, &id, request, now),
        _ => Err(Error::Conflict("the request of this key is still running".to_owned()).code(Code::IdempotencyKeyInUse)),
    }
}

/// Gives the key to a new request. The old one no longer finds its row, and so cannot commit any more.
fn take_over(conn: &mut Conn, dead: &str, request: &Request<'_>, now: Timestamp) -> Result<Begin> {
    let taken = diesel::update(k::table.filter(k::id.eq(dead)).filter(k::state.eq("running")))
        .set((k::id.eq(request.id), k::created_at.eq(now)))
        .execute(conn)?;
    if taken == 1 {
        Ok(Begin::Run)
    } else {
        Err(
            Error::Conflict("the request of this key is still running".to_owned())
                .code(Code::IdempotencyKeyInUse),
        )
    }
}

/// Marks a request as carried out, in the transaction of its work.
///
/// # Errors
/// `Conflict` where the key was given to a later request meanwhile; then the work must not be committed.
pub(crate) fn carried_out(conn: &mut Conn, id: &str) -> Result<()> {
    let marked = diesel::update(k::table.find(id))
        .set(k::state.eq("carried_out"))
        .execute(conn)?;
    if marked == 1 {
        return Ok(());
    }
    Err(Error::Conflict(
        "the request took too long: its key was taken over by a later one".to_owned(),
    ))
}

/// Keeps the answer.
///
/// # Errors
/// What the database answers.
pub fn complete(
    conn: &mut Conn,
    id: &str,
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<()> {
    diesel::update(k::table.find(id))
        .set((
            k::state.eq("done"),
            k::status.eq(Some(i64::from(status))),
            k::content_type.eq(content_type),
            k::body.eq(Some(body)),
        ))
        .execute(conn)?;
    Ok(())
}

/// Gives a key free that was not carried out.
///
/// # Errors
/// What the database answers.
pub fn release(conn: &mut Conn, id: &str) -> Result<()> {
    diesel::delete(k::table.find(id).filter(k::state.eq("running"))).execute(conn)?;
    Ok(())
}

/// Removes keys made before `oldest`.
///
/// # Errors
/// What the database answers.
pub fn forget(conn: &mut Conn, oldest: Timestamp) -> Result<usize> {
    Ok(diesel::delete(k::table.filter(k::created_at.lt(oldest))).execute(conn)?)
}
