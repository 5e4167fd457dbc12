//! The rows of which each incident has its own about the same thing: affected resources, people who are named directly, and states of
//! recovery. A merged incident keeps its rows, and the other incident gets what it did not have.
//!
//! `merged_rows` lists what an incident got, and what its row was before. A row that somebody adds to the incident again is its own from
//! then on (see `affected_rows`).

use diesel::prelude::*;

use crate::audit::Tx;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::{Conn, Statement};
use crate::incident::recovery;
use crate::incident::stored::Incident;

struct Rows {
    word: &'static str,
    table: &'static str,
    key: &'static str,
}

const ROWS: [Rows; 2] = [
    Rows {
        word: "resource",
        table: "incident_resources",
        key: "resource_key",
    },
    Rows {
        word: "person",
        table: "incident_people",
        key: "person_key",
    },
];

/// How certain a relevance is, as a number.
fn strength(column: &str) -> String {
    format!("CASE {column} WHEN 'impaired' THEN 2 WHEN 'possibly' THEN 1 ELSE 0 END")
}

/// Gives an incident what another one has and it has not.
///
/// # Errors
/// An error of the database.
pub(super) fn take(tx: &mut Tx<'_>, from: &Incident, into: &Incident) -> Result<()> {
    for rows in &ROWS {
        take_rows(tx, rows, &from.id, &into.id)?;
    }
    recovery::merged::take(tx, from, into)
}

fn take_rows(tx: &mut Tx<'_>, rows: &Rows, from: &IncidentId, into: &IncidentId) -> Result<()> {
    let Rows { word, table, key } = rows;
    // What the incident has not, or not any more.
    let mut remember = Statement::default();
    remember
        .push("INSERT INTO merged_rows (into_id, kind, key, taken_at, removed_at) SELECT ")
        .text(into.as_str())
        .push(", ")
        .text(word)
        .push(&format!(", f.{key}, "))
        .time(tx.now)
        .push(&format!(
            ", own.removed_at FROM {table} f LEFT JOIN {table} own ON own.{key} = f.{key} AND own.incident_id = "
        ))
        .text(into.as_str())
        .push(" WHERE f.incident_id = ")
        .text(from.as_str())
        .push(
            " AND f.removed_at IS NULL AND (own.incident_id IS NULL OR own.removed_at IS NOT NULL) \
             ON CONFLICT (into_id, kind, key) DO NOTHING",
        );
    remember.finish().execute(tx.conn)?;
    let mut add = Statement::default();
    add.push(&format!(
        "INSERT INTO {table} (incident_id, {key}, source, added_at, relevance, finding) SELECT "
    ))
    .text(into.as_str())
    .push(&format!(
        ", f.{key}, f.source, f.added_at, f.relevance, f.finding FROM {table} f WHERE f.incident_id = "
    ))
    .text(from.as_str())
    .push(&format!(
        " AND f.removed_at IS NULL ON CONFLICT (incident_id, {key}) DO UPDATE SET removed_at = NULL, source = excluded.source, \
         added_at = excluded.added_at, relevance = excluded.relevance, finding = excluded.finding \
         WHERE {table}.removed_at IS NOT NULL"
    ));
    add.finish().execute(tx.conn)?;
    // What both have, and the other one is more certain about.
    let stronger = format!(
        "{} > {}",
        strength("f.relevance"),
        strength(&format!("{table}.relevance"))
    );
    let mut remember = Statement::default();
    remember
        .push("INSERT INTO merged_rows (into_id, kind, key, taken_at, relevance) SELECT ")
        .text(into.as_str())
        .push(", ")
        .text(word)
        .push(&format!(", {table}.{key}, "))
        .time(tx.now)
        .push(&format!(
            ", {table}.relevance FROM {table} JOIN {table} f ON f.{key} = {table}.{key} AND f.removed_at IS NULL AND f.incident_id = "
        ))
        .text(from.as_str())
        .push(&format!(" WHERE {table}.incident_id = "))
        .text(into.as_str())
        .push(&format!(
            " AND {table}.removed_at IS NULL AND {stronger} ON CONFLICT (into_id, kind, key) DO NOTHING"
        ));
    remember.finish().execute(tx.conn)?;
    let mut raise = Statement::default();
    raise
        .push(&format!(
            "UPDATE {table} SET relevance = (SELECT f.relevance FROM {table} f WHERE f.{key} = {table}.{key} AND f.incident_id = "
        ))
        .text(from.as_str())
        .push(") WHERE incident_id = ")
        .text(into.as_str())
        .push(&format!(
            " AND removed_at IS NULL AND EXISTS (SELECT 1 FROM {table} f WHERE f.{key} = {table}.{key} AND f.removed_at IS NULL \
             AND {stronger} AND f.incident_id = "
        ))
        .text(from.as_str())
        .push(")");
    raise.finish().execute(tx.conn)?;
    Ok(())
}

/// Takes from an incident what it got only from an incident that is not merged into it any more. What it has for another reason stays:
/// an alert of its own names the resource, somebody added it since, or another merged incident has it.
///
/// # Errors
/// An error of the database.
pub(super) fn release(tx: &mut Tx<'_>, into: &IncidentId) -> Result<()> {
    own_what_alerts_name(tx.conn, into)?;
    for rows in &ROWS {
        release_rows(tx, rows, into)?;
    }
    recovery::merged::release(tx, into)
}

/// Makes the resources the incident's own that alerts of its own name.
fn own_what_alerts_name(conn: &mut Conn, into: &IncidentId) -> Result<()> {
    // `m` is the row of the list.
    let named = |statement: &mut Statement| {
        statement
            .push(
                "EXISTS (SELECT 1 FROM resources r JOIN alert_references ar \
                 ON ar.resource_type = r.type AND ar.resource_id = r.id AND ar.resolved \
                 LEFT JOIN merged_links l ON l.kind = 'alert' AND l.key = ar.alert_id \
                 WHERE r.key = m.key AND ((l.home_id IS NULL AND ar.incident_id = ",
            )
            .text(into.as_str())
            .push(") OR l.home_id = ")
            .text(into.as_str())
            .push("))");
    };
    let begin = |statement: &mut Statement| {
        statement
            .push("(SELECT m.key FROM merged_rows m WHERE m.into_id = ")
            .text(into.as_str())
            .push(" AND m.kind = 'resource' AND m.relevance IS NULL AND ");
        named(statement);
        statement.push(")");
    };
    let mut source = Statement::default();
    source
        .push("UPDATE incident_resources SET source = 'alert' WHERE incident_id = ")
        .text(into.as_str())
        .push(" AND resource_key IN ");
    begin(&mut source);
    source.finish().execute(conn)?;
    let mut own = Statement::default();
    own.push("DELETE FROM merged_rows WHERE into_id = ")
        .text(into.as_str())
        .push(" AND kind = 'resource' AND relevance IS NULL AND key IN ");
    begin(&mut own);
    own.finish().execute(conn)?;
    Ok(())
}

fn release_rows(tx: &mut Tx<'_>, rows: &Rows, into: &IncidentId) -> Result<()> {
    let Rows { word, table, key } = rows;
    // The rows of the list that no merged incident gives any more. `{more}` is a further condition on the row `f` of such an incident.
    let unheld = |statement: &mut Statement, of: &str, more: &str| {
        statement
            .push(" FROM merged_rows m WHERE m.into_id = ")
            .text(into.as_str())
            .push(" AND m.kind = ")
            .text(word)
            .push(&format!(
                " AND m.relevance IS {of} AND NOT EXISTS (SELECT 1 FROM {table} f JOIN incidents c ON c.id = f.incident_id \
                 WHERE f.{key} = m.key AND f.removed_at IS NULL{more} AND c.merged_into = "
            ))
            .text(into.as_str())
            .push(")");
    };
    let stronger = format!(" AND {} > {}", strength("f.relevance"), strength("m.relevance"));
    let mut remove = Statement::default();
    remove
        .push(&format!("UPDATE {table} SET removed_at = COALESCE((SELECT m.removed_at FROM merged_rows m WHERE m.into_id = "))
        .text(into.as_str())
        .push(" AND m.kind = ")
        .text(word)
        .push(&format!(" AND m.key = {table}.{key}), "))
        .time(tx.now)
        .push(") WHERE incident_id = ")
        .text(into.as_str())
        .push(&format!(" AND removed_at IS NULL AND {key} IN (SELECT m.key"));
    unheld(&mut remove, "NULL", "");
    remove.push(")");
    remove.finish().execute(tx.conn)?;
    let mut lower = Statement::default();
    lower
        .push(&format!(
            "UPDATE {table} SET relevance = (SELECT m.relevance FROM merged_rows m WHERE m.into_id = "
        ))
        .text(into.as_str())
        .push(" AND m.kind = ")
        .text(word)
        .push(&format!(" AND m.key = {table}.{key}) WHERE incident_id = "))
        .text(into.as_str())
        .push(&format!(" AND {key} IN (SELECT m.key"));
    unheld(&mut lower, "NOT NULL", &stronger);
    lower.push(")");
    lower.finish().execute(tx.conn)?;
    for (of, more) in [("NULL", ""), ("NOT NULL", stronger.as_str())] {
        let mut forget = Statement::default();
        forget
            .push("DELETE FROM merged_rows WHERE into_id = ")
            .text(into.as_str())
            .push(" AND kind = ")
            .text(word)
            .push(" AND key IN (SELECT m.key");
        unheld(&mut forget, of, more);
        forget.push(")");
        forget.finish().execute(tx.conn)?;
    }
    Ok(())
}
