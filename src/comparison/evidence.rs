//! What a later run says about the resources that became affected through the comparison. A resource fits only if all of
//! its keys fit. A resource about which the run says nothing is left as it is.

use diesel::prelude::*;

use super::judge::Verdict;
use super::kind::Kind;
use crate::base::error::Result;
use crate::base::id::ComparisonId;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::db::dialect::comparison::{SeenRow, set_seen};
use crate::db::schema::comparison_applied as ca;
use crate::incident::recovery::Observation;

/// The number of keys that are read at once.
pub(super) const STEP: i64 = 2_000;
/// The number of resources that are read at once. What is observed of them together is one entry on the timeline.
const TOGETHER: i64 = 50_000;

/// Returns the next keys of listings through which something became affected, in the order of the merge.
pub(super) fn watched(
    conn: &mut Conn,
    comparison: &ComparisonId,
    after: Option<&str>,
) -> Result<Vec<String>> {
    let mut query = ca::table
        .filter(ca::comparison_id.eq(comparison.as_str()))
        .into_boxed::<crate::db::Backend>();
    if let Some(after) = after {
        query = query.filter(ca::listing_key.gt(after.to_owned()));
    }
    Ok(query
        .select(ca::listing_key)
        .distinct()
        .order(ca::listing_key)
        .limit(STEP)
        .load(conn)?)
}

/// Stores what a run decided about keys: the key, the decision, and the observed values.
pub(super) fn store(
    conn: &mut Conn,
    comparison: &ComparisonId,
    run: i64,
    decided: &[(String, Verdict, String)],
) -> Result<()> {
    let rows: Vec<SeenRow<'_>> = decided
        .iter()
        .map(|(key, verdict, observed)| SeenRow {
            key,
            fits: match verdict {
                Verdict::Equal => Some(true),
                Verdict::NotCompared
                | Verdict::Found(Kind::Incomparable | Kind::Gone | Kind::OutsideWindow) => None,
                Verdict::Found(_) => Some(false),
            },
            observed,
        })
        .collect();
    set_seen(conn, comparison.as_str(), run, &rows)
}

/// Returns what a run says about the next resources, and the last of them. None if there are no more.
pub(super) fn next(
    conn: &mut Conn,
    comparison: &ComparisonId,
    run: i64,
    after: i64,
    observed_at: Timestamp,
) -> Result<Option<(Vec<Observation>, i64)>> {
    let targets: Vec<i64> = ca::table
        .filter(ca::comparison_id.eq(comparison.as_str()))
        .filter(ca::target_key.gt(after))
        .select(ca::target_key)
        .distinct()
        .order(ca::target_key)
        .limit(TOGETHER)
        .load(conn)?;
    let (Some(first), Some(last)) = (targets.first(), targets.last()) else {
        return Ok(None);
    };
    let rows: Vec<StoredRow> = ca::table
        .filter(ca::comparison_id.eq(comparison.as_str()))
        .filter(ca::target_key.between(*first, *last))
        .order((ca::target_key, ca::listing_key))
        .select((ca::target_key, ca::kind, ca::seen_run, ca::fits, ca::observed))
        .load(conn)?;
    let observations = rows
        .chunk_by(|a, b| a.0 == b.0)
        .filter_map(|rows| observation(rows, run, observed_at))
        .collect();
    Ok(Some((observations, *last)))
}

/// The columns: resource, kind of the finding, run that saw it last, whether it fits, what was observed.
type StoredRow = (i64, String, Option<i64>, Option<bool>, Option<String>);

fn observation(rows: &[StoredRow], run: i64, observed_at: Timestamp) -> Option<Observation> {
    let absent = r#"{"present":false}"#;
    let mut all_fit = true;
    let mut shown = None;
    for (_, kind, seen, fits, observed) in rows {
        let seen = *seen == Some(run);
        let fits = match (seen, kind.as_str()) {
            (true, _) => *fits,
            // The key is in neither listing. If it was not expected, that is as it should be.
            (false, "unexpected") => Some(true),
            (false, _) => None,
        };
        let observed = observed.as_deref().filter(|_| seen).unwrap_or(absent);
        match fits {
            Some(false) => {
                return Some(Observation {
                    resource_key: rows[0].0,
                    fits: false,
                    observed: observed.to_owned(),
                    observed_at,
                });
            }
            Some(true) => shown = shown.or(Some(observed)),
            None => all_fit = false,
        }
    }
    shown.filter(|_| all_fit).map(|observed| Observation {
        resource_key: rows[0].0,
        fits: true,
        observed: observed.to_owned(),
        observed_at,
    })
}
