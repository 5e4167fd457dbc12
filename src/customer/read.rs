//! Up to which time a reader has read the notices. The time only moves forward, so that an old page never makes a notice unread.
//!
//! It is a note of the reader to themselves, like the time at which a token was last used, so it has no audit event.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::reader::Reader;
use crate::audit::Tx;
use crate::base::error::{Error, Result};
use crate::base::id::NoticeId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::on_backend;
use crate::db::schema::{deliveries as d, feed_reads as f, notice_recipients as nr, shared_recipients as sr};
use crate::notice::EMAIL;

/// The time before everything.
const NEVER: Timestamp = Timestamp::from_micros(0);

/// A mark that says up to which notice, or up to which time, the reader has read.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMark {
    /// The `at` or the `id` of the newest notice that was read. Everything that was sent until then is read.
    pub up_to: String,
}

/// What has been read.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
pub struct Marked {
    /// Everything that was sent until then is read.
    pub read_up_to: Timestamp,
    /// The number of notices that have not been read.
    pub unread: i64,
}

/// Returns up to which time a person has read. `person` is the key of the person.
///
/// # Errors
/// An error of the database.
pub fn mark(conn: &mut Conn, person: i64) -> Result<Timestamp> {
    let stored: Option<Timestamp> = f::table
        .find(person)
        .select(f::read_up_to)
        .first(conn)
        .optional()?;
    Ok(stored.unwrap_or(NEVER))
}

/// Marks everything until a time or a notice as read. A mark never goes back.
///
/// # Errors
/// `Invalid` if the mark is neither, if it is in the future, or if the notice was not sent to the reader.
pub fn advance(tx: &mut Tx<'_>, reader: &Reader, new: &NewMark) -> Result<Marked> {
    let wanted = match NoticeId::parse(&new.up_to) {
        Ok(notice) => sent_at(tx.conn, &reader.person, &notice)?
            .ok_or_else(|| Error::invalid("/up_to", "is no notice that was sent to this person"))?,
        Err(_) => Timestamp::parse(&new.up_to).map_err(|_| {
            let form = "must be the `id` of a notice, or its `at`, such as 2024-03-14T07:00:00Z";
            Error::invalid("/up_to", form)
        })?,
    };
    if wanted > tx.now {
        return Err(Error::invalid("/up_to", "must not be in the future"));
    }
    let before = mark(tx.conn, reader.key)?;
    if wanted > before {
        let row = (
            f::person_key.eq(reader.key),
            f::read_up_to.eq(wanted),
            f::updated_at.eq(tx.now),
        );
        on_backend!(&mut *tx.conn, conn => diesel::insert_into(f::table)
            .values(&row)
            .on_conflict(f::person_key)
            .do_nothing()
            .execute(conn))?;
        // Another request may have stored a later mark since.
        diesel::update(f::table.find(reader.key).filter(f::read_up_to.lt(wanted)))
            .set((f::read_up_to.eq(wanted), f::updated_at.eq(tx.now)))
            .execute(tx.conn)?;
    }
    let read_up_to = mark(tx.conn, reader.key)?;
    Ok(Marked {
        read_up_to,
        unread: crate::notice::history::tally(tx.conn, &reader.person, read_up_to)?.after,
    })
}

/// Returns when the email of a notice to a person was accepted. `None` if the person was not sent it.
fn sent_at(conn: &mut Conn, person: &str, notice: &NoticeId) -> Result<Option<Timestamp>> {
    let own: Vec<i64> = nr::table
        .filter(nr::notice_id.eq(notice.as_str()))
        .filter(nr::channel.eq(EMAIL))
        .filter(nr::person_id.eq(person))
        .select(nr::ordinal)
        .load(conn)?;
    let shared: Vec<i64> = sr::table
        .filter(sr::person_id.eq(person))
        .filter(sr::notice_id.eq(notice.as_str()))
        .select(sr::ordinal)
        .load(conn)?;
    let at: Vec<Option<Timestamp>> = d::table
        .filter(d::notice_id.eq(notice.as_str()))
        .filter(d::ordinal.eq_any([own, shared].concat()))
        .filter(d::channel.eq(EMAIL))
        .select(d::sent_at)
        .load(conn)?;
    Ok(at.into_iter().flatten().max())
}
