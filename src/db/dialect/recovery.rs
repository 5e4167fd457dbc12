//! Writes many recovery states and changes of them, in one statement each. The text of the statements does not depend on the number
//! of rows.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text};

use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::time::Timestamp;
use crate::db::{Conn, FixedText};

/// A state to write.
#[allow(missing_docs)]
pub(crate) struct StateRow<'a> {
    pub resource_key: i64,
    pub state: &'a str,
    pub expected: Option<&'a str>,
    pub impaired_from: Timestamp,
    pub wrong_at: Timestamp,
    pub changed_at: Timestamp,
    pub recovered_at: Option<Timestamp>,
    pub attested: bool,
}

/// Inserts or updates states. One call must not contain a resource twice.
///
/// # Errors
/// An error of the database.
pub(crate) fn put_states(conn: &mut Conn, incident: &IncidentId, rows: &[StateRow<'_>]) -> Result<()> {
    const HEAD: &str = "INSERT INTO recovery_states (incident_id, resource_key, state, expected, impaired_from, wrong_at, \
        changed_at, recovered_at, attested)";
    const TAIL: &str = "ON CONFLICT (incident_id, resource_key) DO UPDATE SET state = excluded.state, \
        expected = excluded.expected, impaired_from = excluded.impaired_from, wrong_at = excluded.wrong_at, \
        changed_at = excluded.changed_at, recovered_at = excluded.recovered_at, attested = excluded.attested";
    if rows.is_empty() {
        return Ok(());
    }
    match conn {
        Conn::Sqlite(conn) => {
            let lists: Vec<_> = rows
                .iter()
                .map(|row| {
                    (
                        row.resource_key,
                        row.state,
                        row.expected,
                        row.impaired_from.as_micros(),
                        row.wrong_at.as_micros(),
                        row.changed_at.as_micros(),
                        row.recovered_at.map(Timestamp::as_micros),
                        row.attested,
                    )
                })
                .collect();
            diesel::sql_query(format!("{HEAD} {} {TAIL}", places(8, "", "$2")))
                .bind::<Text, _>(incident.as_str())
                .bind::<Text, _>(serde_json::to_string(&lists)?)
                .fixed()
                .execute(conn)?;
        }
        Conn::Pg(conn) => {
            diesel::sql_query(format!(
                "{HEAD} SELECT $1, n.* FROM UNNEST($2, $3, $4, $5, $6, $7, $8, $9) AS n {TAIL}"
            ))
            .bind::<Text, _>(incident.as_str())
            .bind::<Array<BigInt>, _>(column(rows, |row| row.resource_key))
            .bind::<Array<Text>, _>(column(rows, |row| row.state))
            .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.expected))
            .bind::<Array<BigInt>, _>(column(rows, |row| row.impaired_from))
            .bind::<Array<BigInt>, _>(column(rows, |row| row.wrong_at))
            .bind::<Array<BigInt>, _>(column(rows, |row| row.changed_at))
            .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.recovered_at))
            .bind::<Array<Bool>, _>(column(rows, |row| row.attested))
            .fixed()
            .execute(conn)?;
        }
    }
    Ok(())
}

/// A change of a state to write.
#[allow(missing_docs)]
pub(crate) struct ChangeRow<'a> {
    pub resource_key: i64,
    pub was: Option<&'a str>,
    pub state: &'a str,
    pub happened_at: Timestamp,
    pub source: &'a str,
    pub evidence: Option<&'a str>,
}

/// Inserts changes, in this order. `recorded_at` and `actor` are the same for all of them.
///
/// # Errors
/// An error of the database.
pub(crate) fn add_changes(
    conn: &mut Conn,
    incident: &IncidentId,
    (recorded_at, actor): (Timestamp, &str),
    rows: &[ChangeRow<'_>],
) -> Result<()> {
    const HEAD: &str = "INSERT INTO recovery_changes (incident_id, resource_key, was, state, happened_at, source, evidence, \
        recorded_at, actor)";
    if rows.is_empty() {
        return Ok(());
    }
    match conn {
        Conn::Sqlite(conn) => {
            let lists: Vec<_> = rows
                .iter()
                .map(|row| {
                    (
                        row.resource_key,
                        row.was,
                        row.state,
                        row.happened_at.as_micros(),
                        row.source,
                        row.evidence,
                    )
                })
                .collect();
            // SQLite numbers parameters in the order in which they first appear.
            diesel::sql_query(format!("{HEAD} {}", places(6, ", $2, $3", "$4")))
                .bind::<Text, _>(incident.as_str())
                .bind::<BigInt, _>(recorded_at)
                .bind::<Text, _>(actor)
                .bind::<Text, _>(serde_json::to_string(&lists)?)
                .fixed()
                .execute(conn)?;
        }
        Conn::Pg(conn) => {
            diesel::sql_query(format!(
                "{HEAD} SELECT $1, n.a, n.b, n.c, n.d, n.e, n.f, $8, $9 \
                 FROM UNNEST($2, $3, $4, $5, $6, $7) WITH ORDINALITY AS n (a, b, c, d, e, f, place) ORDER BY n.place"
            ))
            .bind::<Text, _>(incident.as_str())
            .bind::<Array<BigInt>, _>(column(rows, |row| row.resource_key))
            .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.was))
            .bind::<Array<Text>, _>(column(rows, |row| row.state))
            .bind::<Array<BigInt>, _>(column(rows, |row| row.happened_at))
            .bind::<Array<Text>, _>(column(rows, |row| row.source))
            .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.evidence))
            .bind::<BigInt, _>(recorded_at)
            .bind::<Text, _>(actor)
            .fixed()
            .execute(conn)?;
        }
    }
    Ok(())
}

/// Returns the query with which SQLite reads the rows: the first parameter, and then the positions of each inner list of the
/// parameter `list`, and then `rest`. Binary JSON and the limit keep SQLite from parsing an inner list once for each column.
fn places(columns: usize, rest: &str, list: &str) -> String {
    let places: Vec<String> = (0..columns)
        .map(|place| format!("list ->> '$[{place}]'"))
        .collect();
    format!(
        "SELECT $1, {}{rest} FROM (SELECT value AS list FROM jsonb_each({list}) LIMIT -1) WHERE TRUE",
        places.join(", ")
    )
}

fn column<'a, R, V>(rows: &'a [R], of: impl Fn(&'a R) -> V) -> Vec<V> {
    rows.iter().map(of).collect()
}
