//! The contexts that emails are written in: the settings of the process, and the checkpoint of the audit trail that each email shows.
//!
//! A context is stored in the transaction that claims the first emails with it. So no email is sent whose context is not stored. An
//! attempt records the ID of its context. A process makes a new context at most every few seconds, so there are few of them, however
//! many emails are sent.

use diesel::prelude::*;

use super::sending_settings::{SendingSettings, StoredSettings};
use super::sent_message::hash;
use crate::audit::checkpoint;
use crate::base::error::Result;
use crate::base::text::hex;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{sending_contexts as c, sending_settings as s};

/// The context that emails are written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendingContext {
    /// The ID of the context, which an attempt records.
    pub id: i64,
    /// The checkpoint of the audit trail, as the header of an email shows it.
    pub checkpoint: String,
}

/// What a new context is made from.
#[derive(Clone, Copy, Debug)]
pub struct NewContext<'a> {
    /// The digest of the stored settings of the process.
    pub settings: &'a str,
    /// The name of the audit trail, which its checkpoints begin with.
    pub origin: &'a str,
}

/// Stores the settings of a process, unless they are stored already.
///
/// # Errors
/// An error of the database.
pub fn keep_settings(conn: &mut Conn, settings: &StoredSettings, now: Timestamp) -> Result<()> {
    // SQLite refuses a row that is there, before it looks at what to do about the conflict.
    let there: i64 = s::table.find(&settings.digest).count().get_result(conn)?;
    if there > 0 {
        return Ok(());
    }
    let row = (
        s::digest.eq(&settings.digest),
        s::body.eq(&settings.body),
        s::created_at.eq(now),
    );
    on_backend!(conn, conn => diesel::insert_into(s::table)
        .values(row)
        .on_conflict(s::digest)
        .do_nothing()
        .execute(conn))?;
    Ok(())
}

/// Stores a context with the current checkpoint.
///
/// # Errors
/// An error of the database.
pub fn create(conn: &mut Conn, new: &NewContext<'_>, now: Timestamp) -> Result<SendingContext> {
    let checkpoint = checkpoint::current(conn, new.origin)?.header_value();
    let id = diesel::insert_into(c::table)
        .values((
            c::settings.eq(new.settings),
            c::checkpoint.eq(&checkpoint),
            c::created_at.eq(now),
        ))
        .returning(c::id)
        .get_result(conn)?;
    Ok(SendingContext { id, checkpoint })
}

/// Reads a context with its settings. Returns `None` if they are not there, were changed, or cannot be read by this version of Candor.
///
/// # Errors
/// An error of the database.
pub fn load(conn: &mut Conn, id: i64) -> Result<Option<(SendingContext, SendingSettings)>> {
    let found: Option<(String, String, String)> = c::table
        .inner_join(s::table.on(s::digest.eq(c::settings)))
        .filter(c::id.eq(id))
        .select((c::checkpoint, s::digest, s::body))
        .first(conn)
        .optional()?;
    Ok(found.and_then(|(checkpoint, digest, body)| {
        if hex(&hash(body.as_bytes())) != digest {
            return None;
        }
        let settings = serde_json::from_str(&body).ok()?;
        Some((SendingContext { id, checkpoint }, settings))
    }))
}
