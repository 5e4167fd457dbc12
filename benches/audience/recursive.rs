//! The audience as a person would query it at an SQL console: one recursive query from the affected resources
//! to their ancestors, joined with the owners and the collaborators. It returns only keys. It reads no names,
//! and it does not group the rows by person.

use std::time::Instant;

use candor::base::error::Result;
use candor::base::id::IncidentId;
use candor::db::Conn;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

/// Selects each affected resource with all of its ancestors, and for these the owners of their account and
/// the collaborators.
const QUERY: &str = "WITH RECURSIVE up(start, node, parent, account) AS ( \
        SELECT r.key, r.key, r.parent_key, r.account_key FROM incident_resources ir JOIN resources r ON r.key = ir.resource_key \
        WHERE ir.incident_id = $1 AND ir.removed_at IS NULL AND r.gone_at IS NULL \
        UNION ALL SELECT up.start, r.key, r.parent_key, r.account_key FROM up JOIN resources r ON r.key = up.parent \
        WHERE r.gone_at IS NULL) \
    SELECT up.start AS resource_key, up.node AS node_key, m.person_key, m.role FROM up \
        JOIN members m ON m.account_key = up.account AND m.role = 'owner' AND m.gone_at IS NULL \
        JOIN people p ON p.key = m.person_key AND p.gone_at IS NULL \
    UNION ALL SELECT up.start, up.node, c.person_key, c.role FROM up \
        JOIN collaborators c ON c.resource_key = up.node AND c.gone_at IS NULL \
        JOIN people p ON p.key = c.person_key AND p.gone_at IS NULL";

#[derive(QueryableByName)]
#[allow(dead_code)]
struct Row {
    #[diesel(sql_type = BigInt)]
    resource_key: i64,
    #[diesel(sql_type = BigInt)]
    node_key: i64,
    #[diesel(sql_type = BigInt)]
    person_key: i64,
    #[diesel(sql_type = Text)]
    role: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

/// Runs the query twice. Returns the seconds with the rows fetched, the number of rows, and the seconds with
/// the rows only counted in the database.
///
/// # Errors
/// An error of the database.
pub fn seconds(conn: &mut Conn, incident: &IncidentId) -> Result<(f64, usize, f64)> {
    let started = Instant::now();
    let rows: Vec<Row> = diesel::sql_query(QUERY)
        .bind::<Text, _>(incident.as_str())
        .load(conn)?;
    let fetched = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let count: Count = diesel::sql_query(format!("SELECT COUNT(*) AS rows FROM ({QUERY}) AS found"))
        .bind::<Text, _>(incident.as_str())
        .get_result(conn)?;
    let counted = started.elapsed().as_secs_f64();
    debug_assert_eq!(count.rows, rows.len() as i64);
    Ok((fetched, rows.len(), counted))
}
