//! Stores the result of one request of a check, and sends an alert if the state changes: after a number of
//! failures in a row the check is down, and after a number of good answers in a row it is up again.
//!
//! The result of a request counts only if the check was not changed while the request ran.

use diesel::prelude::*;
use serde_json::json;

use super::check::{CheckResult, CheckState, alarm, row};
use super::without_query;
use crate::alert::intake::Prepared;
use crate::audit::{Action, Event, Tx};
use crate::base::error::Result;
use crate::base::id::CheckId;
use crate::db::schema::checks as c;

/// Stores the result of a request, and sends an alert to the intake if the check starts or stops failing, or
/// still fails.
pub(super) fn record(
    tx: &mut Tx<'_>,
    prepared: &Prepared,
    id: &CheckId,
    version: i64,
    result: &CheckResult,
) -> Result<()> {
    let row = row(tx.conn, id)?;
    // The check was changed, paused or deleted while the request ran, so the result does not count.
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
            prepared,
            &alarm(&row, &given, true, format!("Check failed: {name}"), text, since),
        )?
    } else if changed && before == CheckState::Down {
        let text = String::new();
        super::tell(
            tx,
            prepared,
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
