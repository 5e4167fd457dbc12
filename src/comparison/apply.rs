//! Makes the resources or people of findings affected, with the finding as the reason. Either all findings of the chosen
//! kinds are applied, or none of them. What the directory does not know is counted and stays in the list of findings.
//!
//! What cannot be said to be wrong cannot become affected: rows that are marked as gone, rows that were written outside the
//! window, and values that cannot be compared.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::definition::Definition;
use super::kind::Kind;
use super::stored::{self, Comparison, State};
use super::{resolve, runs};
use crate::audit::{Action, Event, Tx};
use crate::base::code::Code;
use crate::base::error::{Error, FieldError, Result};
use crate::base::id::ComparisonId;
use crate::base::time::Timestamp;
use crate::db::dialect::{self, Lock};
use crate::db::{Conn, Statement};
use crate::incident::affected::{self, Source};
use crate::incident::finding::Finding;
use crate::incident::recovery::{Impairing, Impairment};
use crate::incident::{self, affected_people, reasons};

/// The number of resources or people whose reasons are stored at once.
const STEP: i64 = 10_000;

/// Which findings are applied.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ApplyFindings)]
pub struct Apply {
    /// The kinds: `missing`, `differs`, `unexpected` or `duplicate`.
    pub kinds: Vec<Kind>,
    /// Whether only the numbers are returned, and nothing is changed.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was applied, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = AppliedFindings)]
pub struct Applied {
    /// The resources or people that became affected.
    pub added: i64,
    /// Those that were affected before. They get the finding as a reason too.
    pub already: i64,
    /// The findings whose resource or person the directory does not know.
    pub unknown: i64,
}

/// Checks what is asked for, and returns the comparison.
fn check(conn: &mut Conn, id: &ComparisonId, apply: &Apply) -> Result<(Comparison, runs::Run)> {
    let mut comparison = stored::get(conn, id)?;
    if apply.kinds.is_empty() {
        return Err(Error::invalid("/kinds", "must list at least one kind"));
    }
    let wrong = apply.kinds.iter().enumerate().filter_map(|(index, kind)| {
        let why = match kind.applied() {
            None => "cannot become affected, because nothing says that it is wrong",
            Some(_) if apply.kinds[..index].contains(kind) => "is listed twice",
            Some(_) => return None,
        };
        Some(FieldError::at(format!("/kinds/{index}"), format!("{kind} {why}")))
    });
    let wrong: Vec<FieldError> = wrong.collect();
    if !wrong.is_empty() {
        return Err(Error::fields(wrong));
    }
    match (comparison.state, comparison.run.take()) {
        (State::Done, Some(run)) => Ok((comparison, run)),
        (State::Running, _) => {
            runs::check_idle(conn, id)?;
            Err(Error::internal("a running comparison has no run"))
        }
        _ => Err(Error::Conflict(
            "the listings were not compared since the last one was uploaded; run the comparison first"
                .to_owned(),
        )
        .code(Code::ComparisonNotDone)),
    }
}

/// Returns what applying would do, and the keys of the resources or people that would become affected.
///
/// # Errors
/// The same errors as [`apply`].
pub fn preview(conn: &mut Conn, id: &ComparisonId, request: &Apply) -> Result<(Applied, Vec<i64>)> {
    let (comparison, run) = check(conn, id, request)?;
    let definition = comparison.definition();
    let unknown = resolve::unknown(conn, definition, run.id, &run.counts, &request.kinds)? as i64;
    let mut keys = resolve::targets(conn, definition, run.id, &request.kinds)?;
    let found = keys.len() as i64;
    let held = match definition.is_about_people() {
        true => affected_people::among(conn, &comparison.incident, &keys)?,
        false => affected::among(conn, &comparison.incident, &keys)?,
    };
    keys.retain(|key| !held.contains(key));
    let added = keys.len() as i64;
    let applied = Applied {
        added,
        already: found - added,
        unknown,
    };
    Ok((applied, keys))
}

/// Makes the resources or people of the findings affected.
///
/// # Errors
/// `NotFound` if the comparison does not exist or was discarded. `Invalid` if a kind cannot be applied. `Conflict` if the
/// listings were not compared yet, or a run is in progress. Nothing is applied then.
pub fn apply(tx: &mut Tx<'_>, id: &ComparisonId, request: &Apply) -> Result<Applied> {
    dialect::lock(tx.conn, Lock::Comparison, id.as_str())?;
    let (comparison, run) = check(tx.conn, id, request)?;
    let definition = comparison.definition();
    let incident = &comparison.incident;
    let unknown = resolve::unknown(tx.conn, definition, run.id, &run.counts, &request.kinds)? as i64;
    let keys = resolve::targets(tx.conn, definition, run.id, &request.kinds)?;
    let what = json!({"comparison": id, "name": comparison.name, "run": run.number, "kinds": request.kinds});
    let added = match definition.is_about_people() {
        true => affected_people::add_keys(tx, incident, &keys, Source::Comparison, what)?,
        false => affected::add_keys(tx, incident, &keys, Source::Comparison, what)?,
    };
    if !keys.is_empty() {
        remember(tx.conn, definition, id, run.id, &request.kinds)?;
        give_reasons(tx, &comparison, &run, &request.kinds)?;
    }
    let applied = Applied {
        added: added.added,
        already: added.already,
        unknown,
    };
    tx.record(
        Event::new(Action::ComparisonApplied, "comparison", id.as_str())
            .incident(incident)
            .after(json!({"run": run.number, "kinds": request.kinds, "result": applied})),
    );
    Ok(applied)
}

/// Stores through which keys what becomes affected.
fn remember(
    conn: &mut Conn,
    definition: &Definition,
    id: &ComparisonId,
    run: i64,
    kinds: &[Kind],
) -> Result<()> {
    let mut statement = Statement::default();
    statement
        .push("INSERT INTO comparison_applied (comparison_id, listing_key, target_key, kind, run_id, seq) SELECT ")
        .text(id.as_str())
        .push(", f.key, t.key, f.kind, f.run_id, f.seq FROM comparison_findings f");
    resolve::join(definition, &mut statement);
    resolve::of_kinds(run, kinds, &mut statement);
    // A key is once in a run, apart from rows that were not compared.
    statement.push(
        " ON CONFLICT (comparison_id, listing_key, target_key) \
         DO UPDATE SET kind = excluded.kind, run_id = excluded.run_id, seq = excluded.seq",
    );
    statement.finish().execute(conn)?;
    Ok(())
}

#[derive(QueryableByName)]
struct Reason {
    #[diesel(sql_type = BigInt)]
    target: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<Text>)]
    compared_column: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    expected: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    observed: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    expected_values: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    written_at: Option<Timestamp>,
}

/// Stores the finding of each resource or person as the reason, and begins the impairment of the resources.
fn give_reasons(tx: &mut Tx<'_>, comparison: &Comparison, run: &runs::Run, kinds: &[Kind]) -> Result<()> {
    let incident = &comparison.incident;
    let began = incident::get(tx.conn, incident)?.started_at;
    let people = comparison.definition().is_about_people();
    let source = format!("comparison “{}”, run {}", comparison.name, run.number);
    let kinds: Vec<String> = kinds.iter().map(|kind| format!("'{kind}'")).collect();
    let mut after = i64::MIN;
    // People have no recovery states.
    let mut impairing = match people {
        true => None,
        false => Some(Impairing::begin(tx, incident, &source)?),
    };
    loop {
        let mut statement = Statement::default();
        // Whole targets are read, because a resource may have several keys.
        statement
            .push(
                "SELECT a.target_key AS target, f.kind AS kind, f.compared_column, f.expected, f.observed, \
                 f.expected_values, f.written_at FROM comparison_applied a \
                 JOIN comparison_findings f ON f.run_id = a.run_id AND f.seq = a.seq WHERE a.comparison_id = ",
            )
            .text(comparison.id.as_str())
            .push(" AND a.target_key IN (SELECT b.target_key FROM comparison_applied b WHERE b.comparison_id = ")
            .text(comparison.id.as_str())
            .push(&format!(
                " AND b.run_id = {} AND b.kind IN ({}) AND b.target_key > {after} \
                 GROUP BY b.target_key ORDER BY b.target_key LIMIT {STEP}) ORDER BY a.target_key, a.run_id DESC, a.seq",
                run.id,
                kinds.join(", ")
            ));
        let rows: Vec<Reason> = statement.finish().load(tx.conn)?;
        let Some(last) = rows.last() else { break };
        after = last.target;
        let mut reasons = Vec::new();
        let mut impaired = Vec::new();
        for of_one in rows.chunk_by(|a, b| a.target == b.target) {
            let Some(first) = of_one.first() else { continue };
            let Some(kind) = Kind::parse(&first.kind).map_err(Error::internal)?.applied() else {
                continue;
            };
            let finding = Finding {
                kind,
                column: first.compared_column.clone(),
                expected: first.expected.clone(),
                observed: first.observed.clone(),
                comparison: comparison.id.clone(),
            };
            reasons.push((first.target, serde_json::to_string(&finding)?));
            impaired.push(Impairment {
                resource_key: first.target,
                // What is expected of several rows cannot be measured on one.
                expected: first.expected_values.as_deref().filter(|_| of_one.len() == 1),
                seen_at: run.observed_at,
                since: of_one
                    .iter()
                    .filter_map(|row| row.written_at)
                    .fold(began, Timestamp::max),
            });
        }
        match &mut impairing {
            None => reasons::of_people(tx.conn, incident, &reasons)?,
            Some(impairing) => {
                reasons::of_resources(tx.conn, incident, &reasons)?;
                impairing.add(tx, &impaired)?;
            }
        }
    }
    match impairing {
        None => Ok(()),
        Some(impairing) => impairing.finish(tx).map(drop),
    }
}
