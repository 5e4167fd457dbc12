//! Finds the resources or people that findings are about. The directory is asked each time, so that a resource that was
//! imported after the run is found.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::definition::Definition;
use super::kind::{Counts, Kind};
use crate::base::error::Result;
use crate::db::{Conn, Statement};

/// Writes the join from the findings `f` to what they are about, which is `t`. A finding can be about several resources if they
/// are found by a label.
pub(super) fn join(definition: &Definition, to: &mut Statement) {
    let target = &definition.resource;
    let type_ = target.type_.as_deref().unwrap_or_default();
    if definition.is_about_people() {
        to.push(" JOIN people t ON t.id = f.reference AND t.gone_at IS NULL");
    } else if let Some(label) = &target.label {
        to.push(" JOIN resource_labels l ON l.name = ")
            .text(label)
            .push(" AND l.value = f.reference JOIN resources t ON t.key = l.resource_key AND t.type = ")
            .text(type_)
            .push(" AND t.gone_at IS NULL");
    } else {
        to.push(" JOIN resources t ON t.type = ")
            .text(type_)
            .push(" AND t.id = f.reference AND t.gone_at IS NULL");
    }
}

/// Writes the condition that a finding is of a run and of one of these kinds.
pub(super) fn of_kinds(run: i64, kinds: &[Kind], to: &mut Statement) {
    let kinds: Vec<String> = kinds.iter().map(|kind| format!("'{kind}'")).collect();
    to.push(&format!(
        " WHERE f.run_id = {run} AND f.kind IN ({})",
        kinds.join(", ")
    ));
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Returns the number of findings of these kinds whose resource or person is not in the directory.
pub(super) fn unknown(
    conn: &mut Conn,
    definition: &Definition,
    run: i64,
    counts: &Counts,
    kinds: &[Kind],
) -> Result<u64> {
    if kinds.is_empty() {
        return Ok(0);
    }
    let mut statement = Statement::default();
    statement.push("SELECT COUNT(DISTINCT f.seq) AS n FROM comparison_findings f");
    join(definition, &mut statement);
    of_kinds(run, kinds, &mut statement);
    let known: Number = statement.finish().get_result(conn)?;
    let all: u64 = kinds.iter().map(|kind| counts.of(*kind)).sum();
    Ok(all.saturating_sub(known.n.unsigned_abs()))
}

/// Returns the keys of the resources or people that the findings of these kinds are about, in their order.
pub(super) fn targets(
    conn: &mut Conn,
    definition: &Definition,
    run: i64,
    kinds: &[Kind],
) -> Result<Vec<i64>> {
    let mut statement = Statement::default();
    statement.push("SELECT DISTINCT t.key AS n FROM comparison_findings f");
    join(definition, &mut statement);
    of_kinds(run, kinds, &mut statement);
    statement.push(" ORDER BY n");
    let rows: Vec<Number> = statement.finish().load(conn)?;
    Ok(rows.into_iter().map(|row| row.n).collect())
}
