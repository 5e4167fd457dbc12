//! Following the trail: work that begins when something was done, whoever did it.
//!
//! Events are numbered in the order in which their transactions commit, as each takes the end of the chain last. So a
//! follower needs nothing but the number that it has come to: it holds its cursor, reads what is behind it, does its work
//! and moves the cursor in one transaction. What it does is done once, whatever ends in between and however many
//! processes there are. It is woken when something was written, and looks by itself now and then.
//!
//! Must never happen here: a follower that changes what was done, or one that begins with the past. A new one begins at
//! the end of the trail.

use diesel::prelude::*;
use serde_json::Value;

use super::Action;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::dialect::{self, Lock, on_backend};
use crate::db::schema::{audit_events as e, audit_head as h, trail_cursors as c};
use crate::db::{Conn, Fix};

/// The followers there are.
pub const FOLLOWERS: [&str; 3] = ["automation", "operators", "operators.syncs"];

/// Whether a follower should be woken for it.
pub(super) fn waited_for(action: Action) -> bool {
    matches!(
        action,
        Action::IncidentOpened
            | Action::IncidentReopened
            | Action::NoticeFinished
            | Action::DeliveryBounced
            | Action::AutomationDecided
            | Action::SyncFailed
            | Action::SyncStopped
    )
}

/// An event, as far as followers need it.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Its number.
    pub seq: i64,
    /// When it was.
    pub at: Timestamp,
    /// What was done.
    pub action: String,
    /// token, integration, system or anonymous.
    pub actor_kind: String,
    /// Id of the actor.
    pub actor_id: String,
    /// On what.
    pub subject: String,
    /// The incident it belongs to.
    pub incident: Option<IncidentId>,
    /// How it is since.
    pub after: Option<Value>,
}

/// Makes the cursors that are missing: they begin at the end of the trail.
///
/// # Errors
/// What the database answers.
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

/// How far a follower has come. Holds nothing.
///
/// # Errors
/// What the database answers.
pub fn cursor(conn: &mut Conn, follower: &str) -> Result<i64> {
    Ok(c::table.find(follower).select(c::seq).first(conn)?)
}

/// Takes a follower's cursor until the transaction ends, and says how far it has come.
///
/// # Errors
/// What the database answers.
pub fn hold(conn: &mut Conn, follower: &str) -> Result<i64> {
    dialect::lock(conn, Lock::Cursor, follower)?;
    cursor(conn, follower)
}

/// Moves a cursor that is held.
///
/// # Errors
/// What the database answers.
pub fn advance(conn: &mut Conn, follower: &str, seq: i64) -> Result<()> {
    diesel::update(c::table.find(follower))
        .set(c::seq.eq(seq))
        .execute(conn)?;
    Ok(())
}

/// Whether there is anything of these actions behind a cursor. Holds nothing.
///
/// # Errors
/// What the database answers.
pub fn any(conn: &mut Conn, follower: &str, actions: &[Action]) -> Result<bool> {
    let seq = cursor(conn, follower)?;
    Ok(!behind(conn, seq, actions, 1)?.is_empty())
}

type Row = (
    i64,
    Timestamp,
    String,
    String,
    String,
    String,
    Option<IncidentId>,
    Option<String>,
);

/// The next events of these actions behind a place of the trail.
///
/// # Errors
/// What the database answers.
pub fn behind(conn: &mut Conn, seq: i64, actions: &[Action], limit: i64) -> Result<Vec<Followed>> {
    let words: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
    let rows: Vec<Row> = e::table
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
        // Each follower asks for its own few actions.
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
