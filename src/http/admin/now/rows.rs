//! The lists of the page: open incidents, notices that are being sent, and incidents that were resolved lately.

use serde_json::{Value, json};

use crate::base::time::Timestamp;
use crate::http::admin::partition;
use crate::http::admin::view::{When, cut, duration, grouped};
use crate::now::{BeingSent, NowIncident, OpenIncident};

/// The number of characters of a title in a list.
const TITLE: usize = 160;

/// Returns an incident, as rows name it.
pub(super) fn named(incident: &NowIncident) -> Value {
    json!({
        "number": incident.number,
        "path": format!("/admin/incidents/{}", incident.number),
        "title": cut(&incident.title, TITLE),
        "severity": incident.severity,
        "status": incident.status,
        "drill": incident.drill,
        "resolved": When::maybe(incident.resolved_at, None),
    })
}

/// Returns the row of an incident in a list.
pub(in crate::http::admin) fn open_row(row: &OpenIncident, now: Timestamp, outbox: bool) -> Value {
    let incident = &row.incident;
    let path = format!("/admin/incidents/{}", incident.number);
    let until = incident.resolved_at.unwrap_or(now);
    let mut shown = named(incident);
    shown["age"] = json!(duration(rounded(until.seconds_since(incident.started_at).max(0))));
    shown["started"] = json!(When::utc(incident.started_at));
    shown["owner"] = json!(incident.owner);
    shown["people"] = partition::shown(&row.people, &path, outbox);
    shown["last"] = json!(row.last_notice.as_ref().map(|last| json!({
        "phase": last.phase, "path": format!("/admin/notices/{}", last.id), "at": When::utc(last.at),
    })));
    shown["due"] = json!(
        row.next_update_due_at
            .map(|due| json!({"at": When::utc(due), "overdue": due <= now}))
    );
    shown
}

/// Rounds a duration down, so that a list does not count seconds.
pub(in crate::http::admin) fn rounded(seconds: i64) -> i64 {
    match seconds {
        ..60 => seconds,
        60..86_400 => seconds / 60 * 60,
        _ => seconds / 3_600 * 3_600,
    }
}

/// Returns the row of a notice that is being sent.
pub(super) fn sending(one: &BeingSent, may_change: bool) -> Value {
    let share = |n: i64| (n as f64 * 10_000.0 / one.emails.max(1) as f64).round() / 100.0;
    let rate = one.per_second.map(|rate| match rate {
        rate if rate < 10.0 => format!("{rate:.1}/s"),
        rate => format!("{}/s", grouped(rate.round() as i64)),
    });
    let path = format!("/admin/notices/{}", one.notice);
    json!({
        "incident": named(&one.incident),
        "phase": one.phase,
        "path": path,
        "text": format!("{} of {}", grouped(one.accepted), grouped(one.emails)),
        "rate": rate,
        "left": one.seconds_left.map(|left| duration(rounded(left))),
        "failed": (one.failed > 0).then(|| grouped(one.failed)),
        "wave": one.wave.as_ref().map(|wave| format!("wave {} of {}", wave.current, wave.of)),
        "bar": {
            "label": format!("{} of {} emails accepted, {} failed", grouped(one.accepted), grouped(one.emails), grouped(one.failed)),
            "done": share(one.accepted), "lost_from": share(one.accepted), "lost": share(one.failed),
        },
        "stop": may_change.then(|| json!({
            "action": format!("{path}/stop"), "label": "Stop", "button": "Stop sending", "fields": [],
            "text": format!("{} emails that are not sent yet will not be sent. You can resume later.", grouped(one.pending)),
        })),
    })
}
