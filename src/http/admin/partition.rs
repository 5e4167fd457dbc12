//! The people of an incident as parts that add up, as numbers with links and as a bar.

use serde_json::{Value, json};

use super::view::{count, grouped, link};
use crate::now::People;

/// Returns the numbers and the bar for the partials `admin/partition` and `admin/partition-bar`. `base` is the path of the
/// incident. `outbox` says that emails are written to files, so no mail server accepts anything.
pub(super) fn shown(people: &People, base: &str, outbox: bool) -> Value {
    let parts = people.partition;
    let list = |group: Option<&str>| link(&format!("{base}/people"), &[("people", group)]);
    let of = |label: &str, n: i64, group: &str, bad: bool| {
        json!({
            "label": label, "n": grouped(n), "any": n > 0, "path": list(Some(group)), "bad": bad && n > 0,
        })
    };
    let accepted = if outbox { "written to files" } else { "accepted" };
    let shown = [
        of(accepted, parts.accepted, "told", false),
        of("sending", parts.sending, "sending", false),
        of("failed or bounced", parts.failed, "failed", true),
        of("no address", parts.unreachable, "unreachable", true),
        of("not yet", parts.not_notified, "not_told", true),
    ];
    json!({
        "any": parts.people > 0,
        "people": count(usize::try_from(parts.people).unwrap_or_default(), "person", "people"),
        "people_n": grouped(parts.people),
        "people_path": list(None),
        "accounts": count(people.accounts, "account", "accounts"),
        "parts": shown,
        "bar": bar(people),
    })
}

/// Returns the bar: those who were notified, those who were not reached, and the rest.
fn bar(people: &People) -> Value {
    let parts = people.partition;
    let share = |n: i64| (n as f64 * 10_000.0 / parts.people.max(1) as f64).round() / 100.0;
    let lost = parts.failed + parts.unreachable;
    let label = format!(
        "{} of {} people emailed, {} not reached, {} not yet",
        grouped(parts.accepted),
        grouped(parts.people),
        grouped(lost),
        grouped(parts.not_notified + parts.sending)
    );
    json!({
        "label": label,
        "done": share(parts.accepted),
        "lost_from": share(parts.accepted),
        "lost": share(lost),
    })
}
