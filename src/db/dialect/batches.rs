//! Statements about many rows that differ between the databases: staged rows of sources, and alerts.
//!
//! One call never writes the same row twice.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use crate::base::error::Result;
use crate::base::id::{AlertId, IncidentId};
use crate::base::time::Timestamp;
use crate::db::{Conn, FixedText};

/// A row of a source that will be staged.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct StagedRow<'a> {
    pub kind: i64,
    pub key: &'a str,
    pub parent: Option<&'a str>,
    pub seq: i64,
    pub line: &'a str,
    pub left_out: Option<&'a str>,
    pub reason: Option<&'a str>,
}

/// Stages rows of a run. Returns how many of them were new.
///
/// # Errors
/// An error of the database.
pub fn stage<'a>(conn: &mut Conn, run: &str, rows: impl Iterator<Item = StagedRow<'a>>) -> Result<usize> {
    const INTO: &str =
        "INSERT INTO directory_staged (run_id, kind, key, parent, level, seq, line, left_out, reason)";
    const LEVEL: &str = "CASE WHEN r.parent IS NULL THEN 0 END";
    Ok(match conn {
        Conn::Sqlite(conn) => {
            let rows: Vec<_> = rows
                .map(|row| {
                    (
                        row.kind,
                        row.key,
                        row.parent,
                        row.seq,
                        row.line,
                        row.left_out,
                        row.reason,
                    )
                })
                .collect();
            diesel::sql_query(format!(
                "{INTO} SELECT $1, r.kind, r.key, r.parent, {LEVEL}, r.seq, r.line, r.left_out, r.reason FROM ( \
                     SELECT json_extract(value, '$[0]') AS kind, json_extract(value, '$[1]') AS key, \
                            json_extract(value, '$[2]') AS parent, json_extract(value, '$[3]') AS seq, \
                            json_extract(value, '$[4]') AS line, json_extract(value, '$[5]') AS left_out, \
                            json_extract(value, '$[6]') AS reason FROM json_each($2)) AS r \
                 WHERE TRUE ON CONFLICT (run_id, kind, key) DO NOTHING"
            ))
            .bind::<Text, _>(run)
            .bind::<Text, _>(serde_json::to_string(&rows)?)
            .execute(conn)?
        }
        Conn::Pg(conn) => {
            let (mut kinds, mut keys, mut parents, mut seqs, mut lines) =
                (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
            let (mut left_out, mut reasons) = (Vec::new(), Vec::new());
            for row in rows {
                kinds.push(row.kind);
                keys.push(row.key);
                parents.push(row.parent);
                seqs.push(row.seq);
                lines.push(row.line);
                left_out.push(row.left_out);
                reasons.push(row.reason);
            }
            diesel::sql_query(format!(
                "{INTO} SELECT $1, r.kind, r.key, r.parent, {LEVEL}, r.seq, r.line, r.left_out, r.reason \
                 FROM UNNEST($2, $3, $4, $5, $6, $7, $8) AS r(kind, key, parent, seq, line, left_out, reason) \
                 ON CONFLICT (run_id, kind, key) DO NOTHING"
            ))
            .bind::<Text, _>(run)
            .bind::<Array<BigInt>, _>(kinds)
            .bind::<Array<Text>, _>(keys)
            .bind::<Array<Nullable<Text>>, _>(parents)
            .bind::<Array<BigInt>, _>(seqs)
            .bind::<Array<Text>, _>(lines)
            .bind::<Array<Nullable<Text>>, _>(left_out)
            .bind::<Array<Nullable<Text>>, _>(reasons)
            .execute(conn)?
        }
    })
}

/// Makes the source the owner of everything that a run staged and uses.
///
/// # Errors
/// An error of the database.
pub fn own_staged(conn: &mut Conn, run: &str, source: &str) -> Result<()> {
    // The text is the same for both databases. It is written by hand, because diesel cannot build ON CONFLICT
    // for both at once.
    diesel::sql_query(
        "INSERT INTO directory_origins (kind, key, source_id) \
         SELECT s.kind, s.key, $1 FROM directory_staged s WHERE s.run_id = $2 AND s.left_out IS NULL \
         ON CONFLICT (kind, key) DO UPDATE SET source_id = excluded.source_id \
         WHERE directory_origins.source_id <> excluded.source_id",
    )
    .bind::<Text, _>(source)
    .bind::<Text, _>(run)
    .execute(conn)?;
    Ok(())
}

/// The newest alert of a fingerprint.
#[derive(Clone, Debug, QueryableByName)]
#[allow(missing_docs)]
pub struct LatestAlert {
    #[diesel(sql_type = Text)]
    pub id: AlertId,
    #[diesel(sql_type = Text)]
    pub fingerprint: String,
    #[diesel(sql_type = Text)]
    pub status: String,
    #[diesel(sql_type = Nullable<Text>)]
    pub incident_id: Option<IncidentId>,
    #[diesel(sql_type = BigInt)]
    pub repeats: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub event_at: Option<Timestamp>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub event_seen_at: Option<Timestamp>,
}

/// Returns the newest alert of each of these fingerprints. Older alerts, of which a fingerprint can have
/// many, are not read.
///
/// # Errors
/// An error of the database.
pub fn latest_alerts(conn: &mut Conn, integration: &str, fingerprints: &[&str]) -> Result<Vec<LatestAlert>> {
    const NEWEST: &str = "FROM alerts b WHERE b.integration_id = $2 AND b.fingerprint = k.value \
                          ORDER BY b.received_at DESC, b.id DESC LIMIT 1";
    const SHOWN: &str =
        "SELECT a.id, a.fingerprint, a.status, a.incident_id, a.repeats, a.event_at, a.event_seen_at";
    Ok(match conn {
        // SQLite numbers parameters in the order in which they appear.
        Conn::Sqlite(conn) => diesel::sql_query(format!(
            "{SHOWN} FROM json_each($1) AS k JOIN alerts a ON a.id = (SELECT b.id {NEWEST})"
        ))
        .bind::<Text, _>(serde_json::to_string(fingerprints)?)
        .bind::<Text, _>(integration)
        .fixed()
        .load(conn)?,
        // The lateral join uses the index for each fingerprint, even if PostgreSQL has no current statistics
        // of a table that grew quickly.
        Conn::Pg(conn) => diesel::sql_query(format!(
            "{SHOWN} FROM UNNEST($1) AS k(value), LATERAL (SELECT b.* {NEWEST}) AS a"
        ))
        .bind::<Array<Text>, _>(fingerprints)
        .bind::<Text, _>(integration)
        .fixed()
        .load(conn)?,
    })
}

/// An alert that was repeated.
#[derive(Clone, Copy, Debug)]
pub struct RepeatRow<'a> {
    /// The ID of the alert.
    pub id: &'a str,
    /// How often the alert was repeated in this transaction.
    pub times: i64,
    /// The silence or maintenance window of the last repeat.
    pub mute: Option<&'a str>,
    /// The time of the newest event, from the clock of the sender.
    pub event_at: Option<Timestamp>,
    /// When this event was received, if it had a time.
    pub event_seen_at: Option<Timestamp>,
    /// The number of events that were older than the known state.
    pub late: i64,
}

/// Counts repeats of alerts. Each alert must appear only once in the list.
///
/// # Errors
/// An error of the database.
pub fn repeat_alerts(conn: &mut Conn, now: Timestamp, rows: &[RepeatRow<'_>]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    match conn {
        Conn::Sqlite(conn) => {
            let rows: Vec<_> = rows
                .iter()
                .map(|row| {
                    let micros = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
                    (
                        row.id,
                        row.times,
                        row.mute,
                        micros(row.event_at),
                        micros(row.event_seen_at),
                        row.late,
                    )
                })
                .collect();
            diesel::sql_query(
                "UPDATE alerts SET repeats = repeats + r.times, last_received_at = $1, \
                        quiet_id = CASE WHEN r.times > 0 THEN r.quiet ELSE quiet_id END, \
                        event_at = r.event_at, event_seen_at = r.seen_at, late_events = late_events + r.late FROM ( \
                     SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS times, \
                            json_extract(value, '$[2]') AS quiet, json_extract(value, '$[3]') AS event_at, \
                            json_extract(value, '$[4]') AS seen_at, json_extract(value, '$[5]') AS late \
                     FROM json_each($2)) AS r \
                 WHERE alerts.id = r.id",
            )
            .bind::<BigInt, _>(now)
            .bind::<Text, _>(serde_json::to_string(&rows)?)
            .fixed()
            .execute(conn)?;
        }
        Conn::Pg(conn) => {
            diesel::sql_query(
                "UPDATE alerts SET repeats = repeats + r.times, last_received_at = $1, \
                        quiet_id = CASE WHEN r.times > 0 THEN r.quiet ELSE quiet_id END, \
                        event_at = r.event_at, event_seen_at = r.seen_at, late_events = late_events + r.late \
                 FROM UNNEST($2, $3, $4, $5, $6, $7) AS r(id, times, quiet, event_at, seen_at, late) \
                 WHERE alerts.id = r.id",
            )
            .bind::<BigInt, _>(now)
            .bind::<Array<Text>, _>(rows.iter().map(|row| row.id).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>(rows.iter().map(|row| row.times).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|row| row.mute).collect::<Vec<_>>())
            .bind::<Array<Nullable<BigInt>>, _>(rows.iter().map(|row| row.event_at).collect::<Vec<_>>())
            .bind::<Array<Nullable<BigInt>>, _>(rows.iter().map(|row| row.event_seen_at).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>(rows.iter().map(|row| row.late).collect::<Vec<_>>())
            .fixed()
            .execute(conn)?;
        }
    }
    Ok(())
}
