//! The timeline: what happened when, written as it happens or afterwards, with the time and zone in which it was seen.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{check_past, finish, get};
use crate::audit::{Action, Event, Tx};
use crate::base::check::check_text;
use crate::base::enums::word_enum;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::IncidentId;
use crate::base::time::{Timestamp, ZonedTime};
use crate::db::Conn;
use crate::db::schema::timeline_entries as t;

word_enum! {
    /// What an entry is about. The metrics are computed from some of these.
    #[schema(as = TimelineKind)]
    Kind, "a kind of timeline entry" {
        /// Anything.
        Note = "note",
        /// Customers felt it from here.
        Started = "started",
        /// It was noticed.
        Detected = "detected",
        /// Somebody took it on.
        Acknowledged = "acknowledged",
        /// Somebody else was called.
        Escalated = "escalated",
        /// Work goes on, again.
        Investigating = "investigating",
        /// The cause is known.
        Identified = "identified",
        /// Customers were told.
        Notified = "notified",
        /// A change went out.
        Deployed = "deployed",
        /// Customers feel it no more.
        Mitigated = "mitigated",
        /// It is being watched.
        Monitoring = "monitoring",
        /// It is over.
        Resolved = "resolved",
        /// A report was written or sent.
        Reported = "reported",
        /// Something to do afterwards.
        FollowUp = "follow_up",
    }
}

/// An entry to write.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEntry {
    /// When it happened; unset: now.
    #[serde(default)]
    pub at: Option<ZonedTime>,
    /// What it is about.
    pub kind: Kind,
    /// What happened.
    pub text: String,
    /// Whether it stays inside; unset: true.
    #[serde(default = "internal_by_default")]
    pub internal: bool,
}

fn internal_by_default() -> bool {
    true
}

/// An entry, as shown.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Entry {
    /// Its id.
    pub id: i64,
    /// When it happened, in UTC.
    pub at: Timestamp,
    /// The same with the offset in which it was given.
    pub local_at: String,
    /// What it is about.
    pub kind: Kind,
    /// What happened.
    pub text: String,
    /// Whether it stays inside.
    pub internal: bool,
    /// Whether Candor wrote it by itself.
    pub automatic: bool,
    /// Who wrote it.
    pub author: String,
    /// When it was written.
    pub created_at: Timestamp,
}

type Row = (
    i64,
    String,
    Timestamp,
    i64,
    String,
    String,
    bool,
    bool,
    String,
    Timestamp,
);

/// The entries of an incident, by time.
///
/// # Errors
/// `NotFound` where there is no such incident.
pub fn list(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Entry>> {
    get(conn, incident)?;
    entries(conn, incident)
}

pub(super) fn entries(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Entry>> {
    t::table
        .filter(t::incident_id.eq(incident.as_str()))
        .order((t::at, t::id))
        .load::<Row>(conn)?
        .into_iter()
        .map(
            |(id, _, at, offset, kind, text, internal, automatic, author, created_at)| {
                Ok(Entry {
                    id,
                    at,
                    local_at: at.rfc3339_at_offset(offset),
                    kind: Kind::parse(&kind).map_err(Error::internal)?,
                    text,
                    internal,
                    automatic,
                    author,
                    created_at,
                })
            },
        )
        .collect()
}

/// Writes an entry by hand.
///
/// # Errors
/// `NotFound`; `Invalid` for an empty text or a time in the future.
pub fn add(tx: &mut Tx<'_>, incident: &IncidentId, new: &NewEntry) -> Result<Entry> {
    let mut errors = Vec::new();
    if new.text.trim().is_empty() {
        errors.push(FieldError::at("/text", "must not be empty"));
    }
    check_text(&mut errors, "/text", &new.text);
    check_past(&mut errors, "/at", new.at.map(|zoned| zoned.at), tx.now);
    finish(errors)?;
    get(tx.conn, incident)?;
    let at = new.at.unwrap_or(ZonedTime {
        at: tx.now,
        offset: 0,
    });
    let entry = insert(tx, incident, new.kind, at, new.text.trim(), new.internal, false)?;
    tx.record(
        Event::new(Action::TimelineAdded, "incident", incident.as_str())
            .incident(incident)
            .after(json!({"entry": entry.id, "at": entry.at, "kind": entry.kind, "text": entry.text, "internal": entry.internal})),
    );
    Ok(entry)
}

/// Whether an entry says exactly this.
pub(crate) fn says(conn: &mut Conn, incident: &IncidentId, text: &str) -> Result<bool> {
    let said: i64 = t::table
        .filter(t::incident_id.eq(incident.as_str()))
        .filter(t::text.eq(text))
        .count()
        .get_result(conn)?;
    Ok(said > 0)
}

/// An entry that Candor writes by itself, beside an event that the caller records.
pub(crate) fn note(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    kind: Kind,
    at: Timestamp,
    text: &str,
) -> Result<Entry> {
    insert(tx, incident, kind, ZonedTime { at, offset: 0 }, text, true, true)
}

pub(super) fn insert(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    kind: Kind,
    at: ZonedTime,
    text: &str,
    internal: bool,
    automatic: bool,
) -> Result<Entry> {
    let id: i64 = diesel::insert_into(t::table)
        .values((
            t::incident_id.eq(incident.as_str()),
            t::at.eq(at.at),
            t::utc_offset.eq(at.offset),
            t::kind.eq(kind.as_str()),
            t::text.eq(text),
            t::internal.eq(internal),
            t::automatic.eq(automatic),
            t::author.eq(tx.actor.name()),
            t::created_at.eq(tx.now),
        ))
        .returning(t::id)
        .get_result(tx.conn)?;
    Ok(Entry {
        id,
        at: at.at,
        local_at: at.at.rfc3339_at_offset(at.offset),
        kind,
        text: text.to_owned(),
        internal,
        automatic,
        author: tx.actor.name().to_owned(),
        created_at: tx.now,
    })
}
