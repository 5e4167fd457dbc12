//! Subscribers of the audit trail. A subscriber starts its work when an event is written, no matter who
//! caused it.
//!
//! Transactions number their events in the order of their commits, because each of them locks the end of the
//! chain last. So a subscriber needs only the number of the last event that it has handled. In one
//! transaction it locks its cursor, reads the events after it, does its work and moves the cursor. So its
//! work is done once, even after a crash and with several processes. A subscriber is woken after a write and
//! also polls.
//!
//! Most events concern no subscriber. So that a subscriber does not read all of them again each time, it moves its cursor over
//! them now and then ([`skip`]). One look at the trail reads about [`FAR`] events at most, however long the trail is.
//!
//! A subscriber never changes what was done before. A new subscriber begins at the end of the trail and does
//! not handle earlier events.

use diesel::prelude::*;
use serde_json::Value;

use super::action::Action;
use super::write::Actor;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::dialect::{self, Lock, on_backend};
use crate::db::schema::{audit_events as e, audit_head as h, trail_cursors as c};
use crate::db::{Conn, Db, FixedText};

/// The names of all subscribers.
pub const FOLLOWERS: [&str; 4] = [
    "automation",
    "automation.recovery",
    "operators",
    "operators.syncs",
];

/// The number of events that do not concern a subscriber before it moves its cursor over them.
const FAR: i64 = 1_000;

/// The part of an event that subscribers need.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The number of the event in the chain.
    pub seq: i64,
    /// The time of the transaction that appended the event.
    pub at: Timestamp,
    /// The action, such as `incident.opened`.
    pub action: String,
    /// The kind of the actor: token, integration, system or anonymous.
    pub actor_kind: String,
    /// The ID of the actor.
    pub actor_id: String,
    /// The ID of the subject that was changed.
    pub subject: String,
    /// The incident that the event belongs to, if there is one.
    pub incident: Option<IncidentId>,
    /// The state of the subject after the event.
    pub after: Option<Value>,
}

/// Creates the cursors that do not exist yet. They begin at the end of the trail.
///
/// # Errors
/// An error of the database.
pub fn begin(conn: &mut Conn) -> Result<()> {
    for name in FOLLOWERS {
        let seq: i64 = h::table.select(h::seq).first(conn)?;
        on_backend!(&mut *conn, conn => diesel::insert_into(c::table)
            .values((c::name.eq(name), c::seq.eq(seq)))
            .on_conflict(c::name)
            .do_nothing()
            .execute(conn))?;
    }
    Ok(())
}

/// Returns the number of the last event that a subscriber has handled, without a lock.
///
/// # Errors
/// An error of the database.
pub fn cursor(conn: &mut Conn, subscriber: &str) -> Result<i64> {
    Ok(c::table.find(subscriber).select(c::seq).first(conn)?)
}

/// Locks the cursor of a subscriber until the transaction ends, and returns the number of the last event that
/// it has handled.
///
/// # Errors
/// An error of the database.
pub fn hold(conn: &mut Conn, subscriber: &str) -> Result<i64> {
    dialect::lock(conn, Lock::Cursor, subscriber)?;
    cursor(conn, subscriber)
}

/// Moves a locked cursor to this event.
///
/// # Errors
/// An error of the database.
pub fn advance(conn: &mut Conn, subscriber: &str, seq: i64) -> Result<()> {
    diesel::update(c::table.find(subscriber))
        .set(c::seq.eq(seq))
        .execute(conn)?;
    Ok(())
}

/// Returns whether there is an event with one of these actions after the cursor, without a lock.
///
/// # Errors
/// An error of the database.
pub fn any(conn: &mut Conn, subscriber: &str, actions: &[Action]) -> Result<bool> {
    let seq = cursor(conn, subscriber)?;
    Ok(!behind(conn, seq, actions, 1)?.is_empty())
}

/// Moves the cursor of a subscriber over events without any of these actions, if there are many of them. A subscriber calls this
/// when it has found nothing to do.
///
/// # Errors
/// An error of the database. The cursor does not move then.
pub async fn skip(
    db: &Db,
    actor: &Actor,
    subscriber: &'static str,
    actions: &'static [Action],
) -> Result<()> {
    let over = db.read(move |conn| {
        let seq = cursor(conn, subscriber)?;
        // Both are read in one snapshot: an event that is committed later has a higher number.
        let end: i64 = h::table.select(h::seq).first(conn)?;
        if end - seq < FAR {
            return Ok(None);
        }
        let next = behind(conn, seq, actions, 1)?.pop();
        let until = next.map_or(end, |event| event.seq - 1);
        Ok((until - seq >= FAR).then_some((seq, until)))
    });
    let Some((seq, until)) = over.await? else {
        return Ok(());
    };
    db.write(actor, move |tx| {
        // Another process may have moved the cursor in the meantime.
        if hold(tx.conn, subscriber)? == seq {
            advance(tx.conn, subscriber, until)?;
        }
        Ok(())
    })
    .await
}

type FollowedRow = (
    i64,
    Timestamp,
    String,
    String,
    String,
    String,
    Option<IncidentId>,
    Option<String>,
);

/// Returns the next events with one of these actions after the given event.
///
/// # Errors
/// An error of the database.
pub fn behind(conn: &mut Conn, seq: i64, actions: &[Action], limit: i64) -> Result<Vec<Followed>> {
    let words: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
    let rows: Vec<FollowedRow> = e::table
        .filter(e::action.eq_any(words))
        .filter(e::seq.gt(seq))
        .order(e::seq)
        .limit(limit)
        .select((
            e::seq,
            e::at,
            e::action,
            e::actor_kind,
            e::actor_id,
            e::subject_id,
            e::incident_id.nullable(),
            e::after_json,
        ))
        // The statement may be prepared, because each subscriber always asks for the same few actions.
        .fixed()
        .load(conn)?;
    rows.into_iter()
        .map(
            |(seq, at, action, actor_kind, actor_id, subject, incident, after)| {
                Ok(Followed {
                    seq,
                    at,
                    action,
                    actor_kind,
                    actor_id,
                    subject,
                    incident,
                    after: after.as_deref().map(serde_json::from_str).transpose()?,
                })
            },
        )
        .collect()
}
