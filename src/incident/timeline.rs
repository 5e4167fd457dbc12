//! The timeline of an incident: what happened and when. Entries are written as things happen or afterwards,
//! with the time and the UTC offset in which they were observed.

use std::collections::HashSet;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::check::{check_past, finish};
use super::lineage;
use super::stored::get;
use crate::audit::{Action, Event, Tx};
use crate::base::check::check_text;
use crate::base::enums::word_enum;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::IncidentId;
use crate::base::time::{Timestamp, ZonedTime};
use crate::db::Conn;
use crate::db::schema::timeline_entries as t;

word_enum! {
    /// The kind of an entry. Some kinds are used to compute the metrics.
    #[schema(as = TimelineKind)]
    Kind, "a kind of timeline entry" {
        /// A general note, for everything that has no other kind.
        Note = "note",
        /// Customers began to be affected.
        Started = "started",
        /// The incident was detected.
        Detected = "detected",
        /// Somebody took responsibility for the incident.
        Acknowledged = "acknowledged",
        /// The incident was escalated to somebody else.
        Escalated = "escalated",
        /// The investigation began or continued.
        Investigating = "investigating",
        /// The cause is known.
        Identified = "identified",
        /// Customers were notified of the incident.
        Notified = "notified",
        /// A change was deployed.
        Deployed = "deployed",
        /// Customers are no longer affected.
        Mitigated = "mitigated",
        /// The fix is observed.
        Monitoring = "monitoring",
        /// The incident is over.
        Resolved = "resolved",
        /// A report was written or sent.
        Reported = "reported",
        /// A task for later.
        FollowUp = "follow_up",
    }
}

/// A new timeline entry.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEntry {
    /// When it happened. The default is now.
    #[serde(default)]
    pub at: Option<ZonedTime>,
    /// The kind of the entry.
    pub kind: Kind,
    /// What happened, as text of at most 20,000 characters. It must not be empty.
    pub text: String,
    /// Whether the entry is internal. Candor never sends timeline entries to customers: other
    /// programs use this flag to decide which entries they may show to customers. The default is true.
    #[serde(default = "internal_by_default")]
    pub internal: bool,
}

fn internal_by_default() -> bool {
    true
}

/// An entry of the timeline, which a person or Candor wrote.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Entry {
    /// The ID of the entry.
    pub id: i64,
    /// When it happened, in UTC.
    pub at: Timestamp,
    /// The same time with the UTC offset in which it was given.
    pub local_at: String,
    /// The kind of the entry.
    pub kind: Kind,
    /// What happened, in the words of the author.
    pub text: String,
    /// Whether the entry is internal. Other programs may show the entry to customers only if this is false.
    pub internal: bool,
    /// Whether Candor wrote the entry automatically.
    pub automatic: bool,
    /// Who wrote the entry.
    pub author: String,
    /// When the entry was written.
    pub created_at: Timestamp,
}

type TimelineRow = (
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

/// Returns the entries of an incident, ordered by time.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn list(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Entry>> {
    get(conn, incident)?;
    entries(conn, incident)
}

pub(super) fn entries(conn: &mut Conn, incident: &IncidentId) -> Result<Vec<Entry>> {
    of(conn, incident)?
        .order((t::at, t::id))
        .load::<TimelineRow>(conn)?
        .into_iter()
        .map(entry)
        .collect()
}

/// Begins a query for the entries of an incident. A merged incident shows its own entries too, which are assigned to the other one.
fn of<'a>(conn: &mut Conn, incident: &'a IncidentId) -> Result<t::BoxedQuery<'a, crate::db::Backend>> {
    let query = t::table.into_boxed::<crate::db::Backend>();
    if lineage::merged_into(conn, incident)?.is_none() {
        return Ok(query.filter(t::incident_id.eq(incident.as_str())));
    }
    let own = sql::<Bool>(
        "timeline_entries.id IN (SELECT CAST(l.key AS BIGINT) FROM merged_links l WHERE l.kind = 'timeline' AND l.home_id = ",
    )
    .bind::<Text, _>(incident.as_str())
    .sql(")");
    Ok(query.filter(t::incident_id.eq(incident.as_str()).or(own)))
}

/// Returns the IDs of the entries that came from incidents that are merged into this one.
///
/// # Errors
/// An error of the database.
pub(super) fn merged_ids(conn: &mut Conn, incident: &IncidentId) -> Result<HashSet<i64>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT t.id FROM merged_links l JOIN timeline_entries t ON t.id = CAST(l.key AS BIGINT) \
         WHERE l.kind = 'timeline' AND t.incident_id = $1 AND l.home_id <> $2",
    )
    .bind::<Text, _>(incident.as_str())
    .bind::<Text, _>(incident.as_str())
    .load(conn)?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Returns the last entries of an incident before the given time and ID, the last one first.
///
/// # Errors
/// An error of the database.
pub fn newest(
    conn: &mut Conn,
    incident: &IncidentId,
    before: Option<(Timestamp, i64)>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let mut query = of(conn, incident)?
        .order((t::at.desc(), t::id.desc()))
        .limit(limit);
    if let Some((at, id)) = before {
        query = query.filter(t::at.lt(at).or(t::at.eq(at).and(t::id.lt(id))));
    }
    query.load::<TimelineRow>(conn)?.into_iter().map(entry).collect()
}

fn entry(row: TimelineRow) -> Result<Entry> {
    let (id, _, at, offset, kind, text, internal, automatic, author, created_at) = row;
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
}

/// Adds an entry that a person wrote.
///
/// # Errors
/// `NotFound` if the incident does not exist. `Invalid` if the text is empty or the time is in the future.
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

/// Returns whether the timeline contains an entry with exactly this text.
pub(crate) fn says(conn: &mut Conn, incident: &IncidentId, text: &str) -> Result<bool> {
    let said: i64 = t::table
        .filter(t::incident_id.eq(incident.as_str()))
        .filter(t::text.eq(text))
        .count()
        .get_result(conn)?;
    Ok(said > 0)
}

/// Adds an automatic entry. The caller records the audit event.
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
