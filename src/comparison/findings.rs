//! The findings of a run, in the order of their keys.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::Serialize;

use super::definition::Definition;
use super::kind::Kind;
use super::{resolve, runs, stored};
use crate::base::error::Result;
use crate::base::id::ComparisonId;
use crate::base::time::Timestamp;
use crate::db::schema::comparison_findings as cf;
use crate::db::{Conn, FixedText, Statement};
use crate::directory::{ResourceRef, resource};

/// A finding of a run: a key whose rows in the two listings are not equal, or were not compared.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = ComparisonFinding)]
pub struct Finding {
    /// How the rows with this key differ.
    pub kind: Kind,
    /// The value of the key column, as the listing has it.
    pub key: String,
    /// The resource that the finding is about. Null if the listing does not name one, or if the listings are about people.
    pub resource: Option<ResourceRef>,
    /// The ID of the person that the finding is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Whether the directory has this resource or person, and it is not archived.
    pub known: bool,
    /// The column that the values are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What was expected, in its normal form. For a duplicate key, the lines of the expected listing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was observed, in its normal form. For a duplicate key, the lines of the observed listing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// When the expected row was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_at: Option<Timestamp>,
    #[serde(skip)]
    seq: i64,
}

impl Finding {
    /// Returns the place of the finding among those of its run.
    pub fn place(&self) -> i64 {
        self.seq
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = cf)]
struct FindingRow {
    seq: i64,
    kind: Kind,
    key: String,
    reference: Option<String>,
    compared_column: Option<String>,
    expected: Option<String>,
    observed: Option<String>,
    written_at: Option<Timestamp>,
}

/// Returns the findings of a run after a place. Without the number of a run, it is the last one; without any run, the list is
/// empty.
///
/// # Errors
/// `NotFound` if the comparison does not exist or was discarded, or if it has no run with this number.
pub fn list(
    conn: &mut Conn,
    id: &ComparisonId,
    (run, kind): (Option<i64>, Option<Kind>),
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<Finding>> {
    let comparison = stored::get(conn, id)?;
    let run = match run {
        Some(number) => runs::get(conn, id, number)?,
        None => match comparison.run {
            Some(run) => run,
            None => return Ok(Vec::new()),
        },
    };
    let mut query = cf::table
        .filter(cf::run_id.eq(run.id))
        .filter(cf::seq.gt(after.unwrap_or(-1)))
        .into_boxed::<crate::db::Backend>();
    if let Some(kind) = kind {
        query = query.filter(cf::kind.eq(kind.as_str()));
    }
    let rows: Vec<FindingRow> = query
        .order(cf::seq)
        .limit(limit)
        .select(FindingRow::as_select())
        .load(conn)?;
    views(conn, &comparison.definition, run.id, rows)
}

#[derive(QueryableByName)]
struct Known {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    id: String,
}

fn views(conn: &mut Conn, definition: &Definition, run: i64, rows: Vec<FindingRow>) -> Result<Vec<Finding>> {
    let people = definition.is_about_people();
    let by_label = definition.resource.label.is_some();
    let mut known: HashMap<i64, String> = HashMap::new();
    if !rows.is_empty() {
        let seqs: Vec<String> = rows.iter().map(|row| row.seq.to_string()).collect();
        let mut statement = Statement::default();
        statement.push("SELECT f.seq AS seq, t.id AS id FROM comparison_findings f");
        resolve::join(definition, &mut statement);
        statement.push(&format!(
            " WHERE f.run_id = {run} AND f.seq IN ({}) ORDER BY f.seq, t.key DESC",
            seqs.join(", ")
        ));
        let found: Vec<Known> = statement.finish().load(conn)?;
        known.extend(found.into_iter().map(|row| (row.seq, row.id)));
    }
    let seen: HashSet<i64> = known.keys().copied().collect();
    let type_ = definition.resource.type_.as_deref().unwrap_or_default();
    Ok(rows
        .into_iter()
        .map(|row| {
            let found = known.remove(&row.seq);
            // A label may be that of several resources, or of none.
            let id = match by_label {
                true => found,
                false => row.reference,
            };
            Finding {
                kind: row.kind,
                key: row.key,
                resource: id
                    .as_deref()
                    .filter(|_| !people)
                    .and_then(|id| resource::at(type_, id).ok()),
                person: id.filter(|_| people),
                known: seen.contains(&row.seq),
                column: row.compared_column,
                expected: row.expected,
                observed: row.observed,
                written_at: row.written_at,
                seq: row.seq,
            }
        })
        .collect())
}

/// The number of findings that one statement deletes.
const STEP: i64 = 10_000;

#[derive(QueryableByName)]
struct RunId {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// Returns a run of a discarded comparison whose findings are still stored. Nothing became affected through such a comparison.
pub(super) fn next_discarded(conn: &mut Conn) -> Result<Option<i64>> {
    let run: Option<RunId> = diesel::sql_query(
        "SELECT r.id FROM comparisons c JOIN comparison_runs r ON r.comparison_id = c.id \
         WHERE c.discarded_at IS NOT NULL \
         AND EXISTS (SELECT 1 FROM comparison_findings f WHERE f.run_id = r.id) LIMIT 1",
    )
    .fixed()
    .get_result(conn)
    .optional()?;
    Ok(run.map(|run| run.id))
}

/// Deletes the next findings of a run.
pub(super) fn delete_some(conn: &mut Conn, run: i64) -> Result<()> {
    diesel::sql_query(format!(
        "DELETE FROM comparison_findings WHERE run_id = $1 AND seq IN \
         (SELECT seq FROM comparison_findings WHERE run_id = $1 ORDER BY seq LIMIT {STEP})"
    ))
    .bind::<BigInt, _>(run)
    .fixed()
    .execute(conn)?;
    Ok(())
}
