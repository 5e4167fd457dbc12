//! What Candor stored about its checkpoints: the signed notes, and the time stamps of them. And which ranges of the trail are anchored
//! by what.
//!
//! An event is anchored if a checkpoint that contains it stands somewhere that a later change of the database does not reach: at an
//! authority for time stamps, or in emails. A checkpoint in the database itself finds only careless changes.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diesel::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::action::Action;
use super::checkpoint::{self, Checkpoint};
use super::merkle::Hash;
use super::note::{self, SigningKey, VerifierKey};
use super::time_stamp::{self, Token, Trust};
use super::write::{Event, Tx};
use crate::base::error::{Error, Result};
use crate::base::id::TimeStampId;
use crate::base::time::Timestamp;
use crate::db::schema::{
    audit_checkpoints as c, audit_events as e, audit_time_stamps as s, delivery_attempts as da,
    sending_contexts as sc,
};
use crate::db::{Conn, dialect};

/// The number of ranges of one kind that are listed. Earlier ones are joined to one.
const LISTED: usize = 50;
/// How long an event waits at least for the checkpoint of the hour.
const WAITS: Duration = Duration::from_secs(600);

/// A checkpoint that Candor stored.
#[derive(Clone, Debug, Queryable)]
pub struct StoredCheckpoint {
    /// The number of events.
    pub size: i64,
    /// When it was stored.
    pub at: Timestamp,
    /// The name of the installation at that time.
    pub origin: String,
    /// The root of the tree.
    pub root: Vec<u8>,
    /// The signed note of the checkpoint, as text in the format `signed-note` of C2SP.
    pub note: String,
    /// The key that verifies the note.
    pub key: String,
}

/// A time stamp that Candor stored.
#[derive(Clone, Debug, Queryable)]
pub struct StoredStamp {
    /// The ID of the time stamp.
    pub id: TimeStampId,
    /// The size of the checkpoint that was stamped.
    pub size: i64,
    /// When it was stored.
    pub at: Timestamp,
    /// The URL of the authority.
    pub authority: String,
    /// The time that the authority confirms.
    pub stamped_at: Timestamp,
    /// The serial number, in hexadecimal.
    pub serial: String,
    /// The whole answer of the authority, in DER.
    pub response: Vec<u8>,
}

/// A time stamp, as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct StampView {
    /// The ID of the time stamp.
    pub id: TimeStampId,
    /// The number of events in the checkpoint that was stamped.
    pub size: i64,
    /// The URL of the authority.
    pub authority: String,
    /// The time that the authority confirms.
    pub stamped_at: Timestamp,
    /// The serial number that the authority gave, in hexadecimal.
    pub serial: String,
}

impl From<StoredStamp> for StampView {
    fn from(stamp: StoredStamp) -> Self {
        StampView {
            id: stamp.id,
            size: stamp.size,
            authority: stamp.authority,
            stamped_at: stamp.stamped_at,
            serial: stamp.serial,
        }
    }
}

/// By what a range of events is anchored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnchoredBy {
    /// By a signed checkpoint in the database.
    Checkpoint,
    /// By a time stamp of an authority.
    TimeStamp,
    /// By a checkpoint in emails.
    Email,
}

/// A range of events and what anchors it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Anchor {
    /// The first event of the range.
    pub from: i64,
    /// The last event of the range.
    pub to: i64,
    /// By what it is anchored.
    pub by: AnchoredBy,
    /// Since when. For a time stamp, this is the time of the authority.
    pub at: Timestamp,
    /// The URL of the authority that stamped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Whether the certificate of the authority was verified with `CANDOR_AUDIT_TIMESTAMP_CA_FILE`. It is missing if that setting is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted: Option<bool>,
}

/// One checkpoint as an anchor, before the ranges are known.
pub(super) struct Point {
    pub(super) size: i64,
    pub(super) by: AnchoredBy,
    pub(super) at: Timestamp,
    pub(super) authority: Option<String>,
    pub(super) trusted: Option<bool>,
}

/// Returns the ranges between the points, each kind for itself. A point anchors everything up to its size, so a range names the
/// first point that anchors it.
pub(super) fn ranges(mut points: Vec<Point>) -> Vec<Anchor> {
    points.sort_by_key(|point| (point.by, point.size, point.at));
    let mut anchors: Vec<Anchor> = Vec::new();
    for kind in [AnchoredBy::Checkpoint, AnchoredBy::TimeStamp, AnchoredBy::Email] {
        let mut last = 0;
        let mut own: Vec<Anchor> = Vec::new();
        for point in points.iter().filter(|point| point.by == kind) {
            if point.size <= last {
                continue;
            }
            own.push(Anchor {
                from: last + 1,
                to: point.size,
                by: kind,
                at: point.at,
                authority: point.authority.clone(),
                trusted: point.trusted,
            });
            last = point.size;
        }
        if own.len() > LISTED {
            let listed = own.split_off(own.len() - LISTED);
            // All of the earlier events were anchored at the latest of these times at the latest.
            if let Some(joined) = own.pop() {
                anchors.push(Anchor { from: 1, ..joined });
            }
            own = listed;
        }
        anchors.extend(own);
    }
    anchors
}

/// Returns all stored checkpoints, the smallest first.
///
/// # Errors
/// An error of the database.
pub fn checkpoints(conn: &mut Conn) -> Result<Vec<StoredCheckpoint>> {
    Ok(c::table.order(c::size).load(conn)?)
}

/// A checkpoint that stands in emails which a mail server accepted.
pub(super) struct Mailed {
    pub(super) checkpoint: Checkpoint,
    /// When the first of these emails was written.
    pub(super) at: Timestamp,
}

/// Returns the checkpoints in emails that were sent.
///
/// # Errors
/// An error of the database, `Internal` if a stored checkpoint cannot be read.
pub(super) fn mailed(conn: &mut Conn) -> Result<Vec<Mailed>> {
    let sent: Vec<Option<i64>> = da::table
        .filter(da::mail_context.is_not_null().and(da::outcome.eq("sent")))
        .select(da::mail_context)
        .distinct()
        .load(conn)?;
    let contexts: Vec<(i64, String, Timestamp)> = sc::table
        .order(sc::id)
        .select((sc::id, sc::checkpoint, sc::created_at))
        .load(conn)?;
    let sent: BTreeSet<i64> = sent.into_iter().flatten().collect();
    contexts
        .into_iter()
        .filter(|(id, ..)| sent.contains(id))
        .map(|(_, checkpoint, at)| {
            let checkpoint = Checkpoint::parse_header(&checkpoint)
                .map_err(|reason| Error::internal(format!("a stored checkpoint of emails: {reason}")))?;
            Ok(Mailed { checkpoint, at })
        })
        .collect()
}

/// Compares a checkpoint of emails with the root that the events of today have for its size. Returns what is wrong, if anything is.
pub(super) fn check_mailed(mailed: &Mailed, root: Option<&Hash>) -> Option<String> {
    let when = format!(
        "the checkpoint of {} events, which stands in emails from {}",
        mailed.checkpoint.size, mailed.at
    );
    match root {
        None => Some(format!(
            "{when}, has more events than the trail: events were removed"
        )),
        Some(root) if *root != mailed.checkpoint.root => Some(format!(
            "{when}, does not belong to these events: an event up to it was changed"
        )),
        Some(_) => None,
    }
}

/// Returns the newest stored checkpoint.
///
/// # Errors
/// An error of the database.
pub fn newest(conn: &mut Conn) -> Result<Option<StoredCheckpoint>> {
    Ok(c::table.order(c::size.desc()).first(conn).optional()?)
}

/// Returns the stored checkpoint of this size.
///
/// # Errors
/// An error of the database.
pub fn of_size(conn: &mut Conn, size: i64) -> Result<Option<StoredCheckpoint>> {
    Ok(c::table.find(size).first(conn).optional()?)
}

/// Returns time stamps, newest first, before the one with the given ID.
///
/// # Errors
/// An error of the database.
pub fn stamps(conn: &mut Conn, before: Option<&TimeStampId>, limit: i64) -> Result<Vec<StoredStamp>> {
    let mut query = s::table.into_boxed::<crate::db::Backend>();
    if let Some(before) = before {
        query = query.filter(s::id.lt(before.as_str()));
    }
    Ok(query.order(s::id.desc()).limit(limit).load(conn)?)
}

/// Returns a time stamp and the checkpoint that was stamped.
///
/// # Errors
/// `NotFound` if there is no such time stamp.
pub fn stamp(conn: &mut Conn, id: &TimeStampId) -> Result<(StoredStamp, StoredCheckpoint)> {
    let stamp: Option<StoredStamp> = s::table.find(id.as_str()).first(conn).optional()?;
    let stamp = stamp.ok_or_else(|| Error::NotFound("time stamp".to_owned()))?;
    let checkpoint = of_size(conn, stamp.size)?
        .ok_or_else(|| Error::internal("the checkpoint of a time stamp is missing"))?;
    Ok((stamp, checkpoint))
}

/// Stores the checkpoint of the trail as it is now, and records it.
///
/// # Errors
/// An error of the database.
pub fn store(tx: &mut Tx<'_>, key: &SigningKey) -> Result<StoredCheckpoint> {
    dialect::lock_tiles(tx.conn)?;
    let now = checkpoint::current(tx.conn, key.origin())?;
    if let Some(stored) = of_size(tx.conn, now.size)? {
        return Ok(stored);
    }
    let stored = StoredCheckpoint {
        size: now.size,
        at: tx.now,
        origin: now.origin.clone(),
        root: now.root.to_vec(),
        note: note::signed(&now, key),
        key: key.verifier().to_string(),
    };
    diesel::insert_into(c::table)
        .values((
            c::size.eq(stored.size),
            c::at.eq(stored.at),
            c::origin.eq(&stored.origin),
            c::root.eq(&stored.root),
            c::note.eq(&stored.note),
            c::key.eq(&stored.key),
        ))
        .execute(tx.conn)?;
    tx.record(
        Event::new(Action::AuditCheckpointStored, "checkpoint", stored.size.to_string()).after(json!({
            "origin": stored.origin, "size": stored.size, "root": STANDARD.encode(&stored.root), "key": stored.key,
        })),
    );
    Ok(stored)
}

/// Does the same if an event waits for a checkpoint for [`WAITS`]. The storing of checkpoints and time stamps does not count, so that
/// an idle installation does not write for ever.
///
/// # Errors
/// An error of the database.
pub fn store_if_due(tx: &mut Tx<'_>, key: &SigningKey) -> Result<Option<StoredCheckpoint>> {
    // Several processes do it at the same minute.
    dialect::lock_tiles(tx.conn)?;
    let last = newest(tx.conn)?.map_or(0, |stored| stored.size);
    let own = [
        Action::AuditCheckpointStored.as_str(),
        Action::AuditTimeStamped.as_str(),
    ];
    let waits: Option<Timestamp> = e::table
        .filter(e::seq.gt(last))
        .filter(e::action.ne_all(own))
        .order(e::seq)
        .select(e::at)
        .first(tx.conn)
        .optional()?;
    match waits {
        Some(since) if since <= tx.now.minus(WAITS) => store(tx, key).map(Some),
        _ => Ok(None),
    }
}

/// Stores the answer of an authority for a stored checkpoint. The answer was verified.
///
/// # Errors
/// An error of the database.
pub fn store_stamp(
    tx: &mut Tx<'_>,
    checkpoint: &StoredCheckpoint,
    (authority, token, response): (&str, &Token, Vec<u8>),
) -> Result<StoredStamp> {
    let stored = StoredStamp {
        id: TimeStampId::new(tx.now),
        size: checkpoint.size,
        at: tx.now,
        authority: authority.to_owned(),
        stamped_at: token.at(),
        serial: token.serial(),
        response,
    };
    diesel::insert_into(s::table)
        .values((
            s::id.eq(stored.id.as_str()),
            s::size.eq(stored.size),
            s::at.eq(stored.at),
            s::authority.eq(&stored.authority),
            s::stamped_at.eq(stored.stamped_at),
            s::serial.eq(&stored.serial),
            s::response.eq(&stored.response),
        ))
        .execute(tx.conn)?;
    tx.record(Event::new(Action::AuditTimeStamped, "time_stamp", stored.id.as_str()).after(json!({
        "size": stored.size, "authority": stored.authority, "stamped_at": stored.stamped_at, "serial": stored.serial,
    })));
    Ok(stored)
}

/// Compares a stored checkpoint with the root that the events of today have for its size. Returns what is wrong, if anything is.
pub(super) fn check(stored: &StoredCheckpoint, root: Option<&Hash>) -> Option<String> {
    let when = format!(
        "the checkpoint of {} events, which was stored at {}",
        stored.size, stored.at
    );
    match root {
        None => {
            return Some(format!(
                "{when}, has more events than the trail: events were removed"
            ));
        }
        Some(root) if stored.root != root => {
            return Some(format!(
                "{when}, does not belong to these events: an event up to it was changed"
            ));
        }
        Some(_) => {}
    }
    let opened = VerifierKey::parse(&stored.key)
        .and_then(|key| key.open(&stored.note).and_then(Checkpoint::parse))
        .map_err(|reason| format!("{when}, is not valid: {reason}"));
    match opened {
        Err(reason) => Some(reason),
        Ok(said) if said.size != stored.size || stored.root != said.root || said.origin != stored.origin => {
            Some(format!("{when}, does not say what its note says"))
        }
        Ok(_) => None,
    }
}

/// Verifies a stored time stamp against the note of its checkpoint. Returns whether its authority is trusted.
///
/// # Errors
/// A sentence that says what is wrong.
pub(super) fn check_stamp(
    stamp: &StoredStamp,
    note: &str,
    trust: Option<&Trust>,
) -> std::result::Result<Option<bool>, String> {
    let about = |reason: String| {
        format!(
            "the time stamp {} of the checkpoint of {} events is not valid: {reason}",
            stamp.id, stamp.size
        )
    };
    let token = Token::read(&stamp.response).map_err(about)?;
    if token.at() != stamp.stamped_at {
        return Err(about("its time is not the stored one".to_owned()));
    }
    token
        .verify(&time_stamp::imprint(note.as_bytes()), trust)
        .map_err(about)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(size: i64, by: AnchoredBy, at: i64) -> Point {
        Point {
            size,
            by,
            at: Timestamp::from_micros(at),
            authority: None,
            trusted: None,
        }
    }

    #[test]
    fn ranges_name_the_first_anchor_of_each_event() {
        let shown = |points| -> Vec<(i64, i64, AnchoredBy, i64)> {
            ranges(points)
                .into_iter()
                .map(|range| (range.from, range.to, range.by, range.at.as_micros()))
                .collect()
        };
        assert_eq!(shown(Vec::new()), []);
        use AnchoredBy::{Checkpoint, Email};
        let points = vec![
            point(9, Checkpoint, 30),
            point(4, Checkpoint, 10),
            point(4, Checkpoint, 20),
            point(0, Email, 5),
            point(6, Email, 7),
        ];
        assert_eq!(
            shown(points),
            [(1, 4, Checkpoint, 10), (5, 9, Checkpoint, 30), (1, 6, Email, 7)]
        );
        let many = shown((1..=60).map(|n| point(n * 10, Checkpoint, n)).collect());
        assert_eq!(many.len(), LISTED + 1);
        assert_eq!(
            (many[0], many[1]),
            ((1, 100, Checkpoint, 10), (101, 110, Checkpoint, 11))
        );
    }
}
