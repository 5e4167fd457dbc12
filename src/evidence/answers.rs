//! What customers answered. The event of an answer contains a hash of its text, so that the text in the file can be compared with it.

use std::collections::BTreeSet;

use diesel::prelude::*;
use serde_json::json;

use super::bundle::Bundle;
use super::recipients::Gathered;
use super::scope::Scope;
use super::summary::{Answered, Summary};
use super::table::Table;
use crate::base::error::Result;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::schema::answers as a;

/// The number of answers that are read at once.
const STEP: i64 = 500;

#[derive(Queryable)]
struct Row {
    id: i64,
    incident: String,
    person: String,
    address: String,
    notice: Option<String>,
    delivery: Option<i64>,
    answer: Option<String>,
    text: String,
    at: Timestamp,
    received_at: Timestamp,
    by: String,
    recorded_by: Option<String>,
}

/// Writes the answers. Returns the people who gave them.
///
/// # Errors
/// An error of the database, or `Internal` if they cannot be written.
pub(super) fn write(
    conn: &mut Conn,
    scope: &Scope,
    gathered: &Gathered,
    bundle: &mut Bundle,
    summary: &mut Summary,
) -> Result<BTreeSet<String>> {
    let mut people = BTreeSet::new();
    let mut table = Table::new(
        "answers",
        &[
            "incident",
            "notice",
            "delivery",
            "person",
            "address",
            "answer",
            "text",
            "at",
            "received_at",
            "by",
            "recorded_by",
        ],
    )?;
    let mut after = 0;
    loop {
        let rows: Vec<Row> = a::table
            .filter(a::incident_id.eq_any(scope.incident_texts()))
            .filter(a::id.gt(after))
            .order(a::id)
            .limit(STEP)
            .select((
                a::id,
                a::incident_id,
                a::person_id,
                a::address,
                a::notice_id,
                a::delivery_id,
                a::answer,
                a::text,
                a::at,
                a::received_at,
                a::source,
                a::recorded_by,
            ))
            .load(conn)?;
        let Some(last) = rows.last() else { break };
        after = last.id;
        for row in rows {
            let asked_here = row.delivery.is_some_and(|id| gathered.deliveries.contains(&id));
            if !scope.has_entry_of(&row.person, asked_here) {
                continue;
            }
            summary.answered(Answered {
                person: row.person.clone(),
                answer: row.answer.clone(),
                text: row.text.clone(),
                at: row.at,
            });
            table.add(vec![
                json!(row.incident),
                json!(row.notice),
                json!(row.delivery),
                json!(row.person),
                json!(row.address),
                json!(row.answer),
                json!(row.text),
                json!(row.at),
                json!(row.received_at),
                json!(row.by),
                json!(row.recorded_by),
            ])?;
            if !scope.is_whole() {
                people.insert(row.person);
            }
        }
    }
    table.finish(bundle)?;
    Ok(people)
}
