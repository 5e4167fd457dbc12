//! What a change of recovery states writes on the timeline and in the audit trail.

use serde_json::json;

use crate::audit::{Action, Event, Tx};
use crate::base::count::counted;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::text::one_line;
use crate::incident::timeline;

/// Writes that recovered resources are impaired again. Operators are notified because of this event.
pub(super) fn relapsed(tx: &mut Tx<'_>, incident: &IncidentId, source: &str, relapsed: i64) -> Result<()> {
    if relapsed == 0 {
        return Ok(());
    }
    let what = counted(relapsed, "recovered resource is", "recovered resources are");
    let text = format!("{what} impaired again ({})", one_line(source, 200));
    timeline::note(tx, incident, timeline::Kind::Note, tx.now, &text)?;
    tx.record(
        Event::new(Action::RecoveryRelapsed, "incident", incident.as_str())
            .incident(incident)
            .after(json!({"relapsed": relapsed, "source": source})),
    );
    Ok(())
}

/// Writes that resources are recovered, and when nothing is left to recover. `left` is how many are not recovered.
pub(super) fn recovered(
    tx: &mut Tx<'_>,
    incident: &IncidentId,
    source: &str,
    (recovered, left): (i64, i64),
) -> Result<()> {
    if recovered == 0 {
        return Ok(());
    }
    let source = one_line(source, 200);
    let what = counted(recovered, "resource is", "resources are");
    let mut text = format!("{what} recovered ({source})");
    if left == 0 {
        text.push_str("; all affected resources are recovered");
    }
    timeline::note(tx, incident, timeline::Kind::Note, tx.now, &text).map(drop)
}
