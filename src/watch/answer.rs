//! What an answer changes: so many failures in a row are an alert, so many good answers end it.
//!
//! Must never happen here: an alert before so many failures in a row, or the answer to another question.

use diesel::prelude::*;
use serde_json::json;

use super::check::{CheckResult, CheckState, alarm, row};
use super::without_query;
use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::CheckId;
use crate::db::schema::checks as c;

/// Records what came of asking, and tells the intake where that changes what is known.
///
/// # Errors
/// What the database answers.
pub(super) fn record(tx: &mut Tx<'_>, id: &CheckId, version: i64, result: &CheckResult) -> Result<()> {
    let row = row(tx.conn, id)?;
    // Changed, paused or deleted while it was asked: the answer is to another question.
    if row.version != version || row.gone_at.is_some() {
        return Ok(());
    }
    let given = row.given()?;
    let before = row.state()?;
    let (failures, successes) = match result.ok {
        true => (0, row.successes + 1),
        false => (row.failures + 1, 0),
    };
    let after = match (before, result.ok) {
        (CheckState::Down, true) if successes >= given.recoveries => CheckState::Up,
        (CheckState::New, true) => CheckState::Up,
        (_, false) if failures >= given.failures => CheckState::Down,
        (same, _) => same,
    };
    let failing_since = match (after, result.ok) {
        (CheckState::Down, _) | (_, false) => row.failing_since.or(Some(result.at)),
        (_, true) => None,
    };
    let changed = after != before;
    let again = after == CheckState::Down
        && !result.ok
        && row.told_at.is_none_or(|told| told.plus(super::AGAIN) <= tx.now);
    let fires = after == CheckState::Down && (changed || again);
    let stored = diesel::update(c::table.find(id.as_str()).filter(c::version.eq(version)))
        .set((
            c::state.eq(after.as_str()),
            c::failures.eq(failures),
            c::successes.eq(successes),
            c::failing_since.eq(failing_since),
            c::result.eq(Some(serde_json::to_string(result)?)),
            changed.then_some(c::changed_at.eq(Some(tx.now))),
            fires.then_some(c::told_at.eq(Some(tx.now))),
        ))
        .execute(tx.conn)?;
    if stored == 0 {
        return Ok(());
    }
    let name = &given.name;
    let incident = if fires {
        let since = failing_since.unwrap_or(result.at);
        let text = format!(
            "{} {}\n{}",
            given.method.as_str().to_ascii_uppercase(),
            without_query(&given.url),
            result.problems.join("\n")
        );
        super::tell(
            tx,
            &alarm(&row, &given, true, format!("Check failed: {name}"), text, since),
        )?
    } else if changed && before == CheckState::Down {
        let text = String::new();
        super::tell(
            tx,
            &alarm(
                &row,
                &given,
                false,
                format!("Check passes: {name}"),
                text,
                result.at,
            ),
        )?
    } else {
        None
    };
    if changed {
        let event = Event::new(Action::CheckState, "check", id.as_str())
            .before(json!({"state": before}))
            .after(json!({"state": after, "at": result.at, "problems": result.problems}));
        tx.record(match &incident {
            Some(incident) => event.incident(incident),
            None => event,
        });
    }
    Ok(())
}
