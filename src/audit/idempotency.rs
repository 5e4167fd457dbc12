//! Idempotency keys. They store which requests are running, which were carried out, and their answers.
//!
//! A key is reserved before the work. It is marked as carried out in the transaction of the work (see
//! [`crate::audit`]), and the answer is stored afterwards. After a crash before the work, the key goes to a
//! later request. After a crash that comes later, the mark stays, and the work is not repeated.
//!
//! The work is never done twice with the same key.

use std::time::Duration;

use diesel::prelude::*;

use crate::base::code::Code;
use crate::base::error::{Error, Result};
use crate::base::time::Timestamp;
use crate::db::schema::idempotency_keys as k;
use crate::db::{Conn, dialect::on_backend};

/// After this time, a request that was not carried out counts as dead. If it tries to commit later, the
/// commit is refused.
const DEAD: Duration = Duration::from_secs(15 * 60);

/// The answer to the first request with a key. A repeated request gets it again.
pub struct Stored {
    /// The HTTP status code of the answer.
    pub status: i64,
    /// The content type, if the answer has one.
    pub content_type: Option<String>,
    /// The body of the answer, without secrets that are shown only once.
    pub body: Vec<u8>,
}

/// What the caller must do with a request that has a key.
pub enum Begin {
    /// The request must be carried out.
    Run,
    /// This answer must be returned again.
    Answer(Stored),
}

/// A request with a key.
pub struct Request<'a> {
    /// The ID of the row. The caller creates it.
    pub id: &'a str,
    /// The owner of the key.
    pub owner: &'a str,
    /// The idempotency key that the client sent.
    pub key: &'a str,
    /// A hash of the request.
    pub hash: &'a str,
}

type KeyRow = (
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

/// Reserves a key, or returns the answer that is stored for it.
///
/// # Errors
/// `Invalid` if the key was used for another request. `Conflict` if the first request is still running, or if
/// it was carried out and its answer was lost.
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
    let (id, _, _, hash, state, status, content_type, body, since): KeyRow = k::table
        .filter(k::owner.eq(request.owner))
        .filter(k::key.eq(request.key))
        .first(conn)?;
    if hash != request.hash {
        let detail = "was already used for another request; use a new key";
        return Err(Error::invalid("Idempotency-Key", detail).code(Code::IdempotencyKeyReused));
    }
    match (state.as_str(), status) {
        ("done", Some(status)) => Ok(Begin::Answer(Stored { status, content_type, body: body.unwrap_or_default() })),
        ("carried_out", _) => Err(Error::Conflict(
            "a request with this key was carried out, but its answer is not stored yet or was lost; check its \
            result before you repeat it with a new key"
                .to_owned(),
        ).code(Code::IdempotencyKeyInUse)),
        _ if since.plus(DEAD) < now => take_over(conn, &id, request, now),
        _ => Err(Error::Conflict("a request with this key is still running; repeat it \
        later".to_owned()).code(Code::IdempotencyKeyInUse)),
    }
}

/// Gives the key to a new request. The dead request does not find its row any more, so it cannot commit.
fn take_over(conn: &mut Conn, dead: &str, request: &Request<'_>, now: Timestamp) -> Result<Begin> {
    let taken = diesel::update(k::table.filter(k::id.eq(dead)).filter(k::state.eq("running")))
        .set((k::id.eq(request.id), k::created_at.eq(now)))
        .execute(conn)?;
    if taken == 1 {
        Ok(Begin::Run)
    } else {
        Err(
            Error::Conflict("a request with this key is still running; repeat it later".to_owned())
                .code(Code::IdempotencyKeyInUse),
        )
    }
}

/// Marks a request as carried out, in the transaction of its work.
///
/// # Errors
/// `Conflict` if the key was given to a later request in the meantime. The work must then not be committed.
pub(crate) fn carried_out(conn: &mut Conn, id: &str) -> Result<()> {
    let marked = diesel::update(k::table.find(id))
        .set(k::state.eq("carried_out"))
        .execute(conn)?;
    if marked == 1 {
        return Ok(());
    }
    Err(Error::Conflict(
        "the request took too long, and a later request with the same key replaced it".to_owned(),
    ))
}

/// Stores the answer of a request.
///
/// # Errors
/// An error of the database.
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

/// Deletes the key of a request that was not carried out.
///
/// # Errors
/// An error of the database.
pub fn release(conn: &mut Conn, id: &str) -> Result<()> {
    diesel::delete(k::table.find(id).filter(k::state.eq("running"))).execute(conn)?;
    Ok(())
}

/// Deletes the keys that were created before `oldest`, and returns how many there were.
///
/// # Errors
/// An error of the database.
pub fn forget(conn: &mut Conn, oldest: Timestamp) -> Result<usize> {
    Ok(diesel::delete(k::table.filter(k::created_at.lt(oldest))).execute(conn)?)
}
