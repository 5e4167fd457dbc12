//! The rows that belong to exactly one incident: a merge assigns them to the other one, and stores where they belonged before.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::moved::Moved;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::db::{Conn, Statement};

/// A table whose rows a merge assigns to another incident.
pub(super) struct Kind {
    /// The word in `merged_links`.
    pub word: &'static str,
    table: &'static str,
    /// The key of a row, as text.
    key: &'static str,
}

pub(super) const ALERTS: Kind = Kind {
    word: "alert",
    table: "alerts",
    key: "id",
};

/// All tables. The last two decide where later alerts go.
const KINDS: [Kind; 7] = [
    ALERTS,
    Kind {
        word: "timeline",
        table: "timeline_entries",
        key: "CAST(id AS TEXT)",
    },
    Kind {
        word: "next_step",
        table: "next_steps",
        key: "id",
    },
    Kind {
        word: "comparison",
        table: "comparisons",
        key: "id",
    },
    Kind {
        word: "attestation",
        table: "recovery_attestations",
        key: "id",
    },
    Kind {
        word: "alert_group",
        table: "alert_groups",
        key: "rule_id || '|' || key",
    },
    Kind {
        word: "source_group",
        table: "alert_source_groups",
        key: "key",
    },
];

/// Adds a list of texts as values.
pub(super) fn list<'a>(statement: &mut Statement, texts: impl IntoIterator<Item = &'a str>) {
    for (index, text) in texts.into_iter().enumerate() {
        statement.push(if index == 0 { "" } else { ", " }).text(text);
    }
}

/// Counts what a merge assigns.
///
/// # Errors
/// An error of the database.
pub(super) fn count(conn: &mut Conn, from: &IncidentId) -> Result<Moved> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        alerts: i64,
        #[diesel(sql_type = BigInt)]
        affected: i64,
        #[diesel(sql_type = BigInt)]
        people: i64,
        #[diesel(sql_type = BigInt)]
        timeline: i64,
        #[diesel(sql_type = BigInt)]
        next_steps: i64,
        #[diesel(sql_type = BigInt)]
        comparisons: i64,
        #[diesel(sql_type = BigInt)]
        drafts: i64,
        #[diesel(sql_type = BigInt)]
        notices: i64,
    }
    let mut statement = Statement::default();
    statement.push("SELECT ");
    let parts = [
        ("alerts", "alerts", ""),
        ("affected", "incident_resources", " AND removed_at IS NULL"),
        ("people", "incident_people", " AND removed_at IS NULL"),
        ("timeline", "timeline_entries", ""),
        ("next_steps", "next_steps", ""),
        ("comparisons", "comparisons", ""),
        ("drafts", "notices", " AND state = 'draft'"),
    ];
    for (name, table, condition) in parts {
        statement
            .push(&format!("(SELECT COUNT(*) FROM {table} WHERE incident_id = "))
            .text(from.as_str())
            .push(&format!("{condition}) AS {name}, "));
    }
    // The notices of an incident that is merged into this one count too.
    statement.push("(SELECT COUNT(*) FROM notices WHERE state <> 'draft' AND incident_id IN (");
    let counted = crate::incident::lineage::ids_with_merged(conn, from)?;
    list(&mut statement, counted.iter().map(IncidentId::as_str));
    statement.push(")) AS notices");
    let row: Row = statement.finish().get_result(conn)?;
    Ok(Moved {
        alerts: row.alerts,
        affected: row.affected,
        people: row.people,
        timeline: row.timeline,
        next_steps: row.next_steps,
        notices: row.notices,
        comparisons: row.comparisons,
        drafts_left: row.drafts,
    })
}

/// Assigns all rows of an incident to another one.
///
/// # Errors
/// An error of the database.
pub(super) fn assign(conn: &mut Conn, from: &IncidentId, into: &IncidentId) -> Result<()> {
    for Kind { word, table, key } in &KINDS {
        // A row that came with an earlier merge keeps the place where it belonged first.
        let mut remember = Statement::default();
        remember
            .push("INSERT INTO merged_links (kind, key, home_id) SELECT ")
            .text(word)
            .push(&format!(", {key}, "))
            .text(from.as_str())
            .push(&format!(" FROM {table} WHERE incident_id = "))
            .text(from.as_str())
            .push(" ON CONFLICT (kind, key) DO NOTHING");
        remember.finish().execute(conn)?;
        change(conn, table, from, into)?;
    }
    change(conn, "alert_references", from, into)
}

fn change(conn: &mut Conn, table: &str, from: &IncidentId, into: &IncidentId) -> Result<()> {
    let mut statement = Statement::default();
    statement
        .push(&format!("UPDATE {table} SET incident_id = "))
        .text(into.as_str())
        .push(" WHERE incident_id = ")
        .text(from.as_str());
    statement.finish().execute(conn)?;
    Ok(())
}

/// Gives an incident its rows back, which are assigned to `holder` now: its own, and those of the incidents that are merged into it.
/// `homes` are all of these incidents. A row that was assigned to a third incident since, by a split, stays there.
///
/// # Errors
/// An error of the database.
pub(super) fn give_back(
    conn: &mut Conn,
    to: &IncidentId,
    homes: &[IncidentId],
    holder: &IncidentId,
) -> Result<()> {
    for Kind { word, table, key } in &KINDS {
        let mut back = Statement::default();
        back.push(&format!("UPDATE {table} SET incident_id = "))
            .text(to.as_str())
            .push(" WHERE incident_id = ")
            .text(holder.as_str())
            .push(&format!(
                " AND {key} IN (SELECT l.key FROM merged_links l WHERE l.kind = "
            ))
            .text(word)
            .push(" AND l.home_id IN (");
        list(&mut back, homes.iter().map(IncidentId::as_str));
        back.push("))");
        back.finish().execute(conn)?;
    }
    let mut forget = Statement::default();
    forget
        .push("DELETE FROM merged_links WHERE home_id = ")
        .text(to.as_str());
    forget.finish().execute(conn)?;
    follow_alerts(conn, holder, to)
}

/// Assigns the references of alerts to the incident that the alerts are assigned to.
///
/// # Errors
/// An error of the database.
pub(super) fn follow_alerts(conn: &mut Conn, from: &IncidentId, to: &IncidentId) -> Result<()> {
    let mut statement = Statement::default();
    statement
        .push("UPDATE alert_references SET incident_id = ")
        .text(to.as_str())
        .push(" WHERE incident_id = ")
        .text(from.as_str())
        .push(" AND alert_id IN (SELECT a.id FROM alerts a WHERE a.incident_id = ")
        .text(to.as_str())
        .push(")");
    statement.finish().execute(conn)?;
    Ok(())
}

/// Forgets where these rows belonged before. From now on they belong where they are assigned.
///
/// # Errors
/// An error of the database.
pub(super) fn settle(conn: &mut Conn, kind: &Kind, keys: &[&str]) -> Result<()> {
    for chunk in keys.chunks(500) {
        let mut statement = Statement::default();
        statement
            .push("DELETE FROM merged_links WHERE kind = ")
            .text(kind.word)
            .push(" AND key IN (");
        list(&mut statement, chunk.iter().copied());
        statement.push(")");
        statement.finish().execute(conn)?;
    }
    Ok(())
}

/// Counts the alerts of incidents again.
///
/// # Errors
/// An error of the database.
pub(super) fn recount(conn: &mut Conn, incidents: &[&IncidentId]) -> Result<()> {
    let mut statement = Statement::default();
    statement.push(
        "UPDATE incidents SET alert_count = (SELECT COUNT(*) FROM alerts a WHERE a.incident_id = incidents.id), \
         alerts_received = (SELECT CAST(COALESCE(SUM(a.repeats + 1), 0) AS BIGINT) FROM alerts a WHERE a.incident_id = incidents.id) \
         WHERE id IN (",
    );
    list(&mut statement, incidents.iter().map(|id| id.as_str()));
    statement.push(")");
    statement.finish().execute(conn)?;
    Ok(())
}
