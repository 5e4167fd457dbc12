//! Opsgenie: its outgoing webhook. Only `action` says what happened; the body has no state.
//!
//! `Create` is sent again when an alert is routed to another team, so it only means that the alert exists. An
//! action that is also possible on a closed alert (a note, a tag) says nothing about the state and is not an
//! alert.

use serde_json::Value;

use super::batch::{Alert, Batch, Refusal};
use super::definition::Source;
use super::doc::{Doc, Labels};
use super::text::lower;
use super::times;
use crate::alert::order::EventTime;

/// The source `opsgenie`. Its senders can send the secret only in `Authorization` or `X-Candor-Token`.
pub(super) const SOURCE: Source = Source::new("opsgenie", |request, _| parse(&request.document()?));

/// Parses a body.
///
/// # Errors
/// A JSON pointer into the body, and the reason why the body is not one of Opsgenie.
pub fn parse(body: &Value) -> Result<Batch, Refusal> {
    let doc = Doc::new(body);
    let action = doc.need("action")?;
    let alert = doc.object("alert")?;
    // The caller identifies the alert by its alias. If the caller gave none, the alias is the ID.
    let fingerprint = alert
        .first(&["alias", "alertId", "id"])
        .ok_or_else(|| alert.wrong("alertId", "is missing"))?;
    let firing = match action.to_lowercase().as_str() {
        "create" | "acknowledge" | "unacknowledge" | "escalate" | "escalatenext" | "escalatetonext"
        | "assignownership" | "assign" | "takeownership" | "addteam" | "addrecipient" | "addresponder"
        | "snooze" | "snoozed" | "snoozeended" | "updatepriority" => true,
        "close" | "delete" => false,
        "test" => return Ok(Batch::ignored("a test of the integration")),
        _ => {
            let action = crate::base::text::one_line(&action, 100);
            return Ok(Batch::ignored(format!("{action} on alert {fingerprint}")));
        }
    };
    let created = alert.time("createdAt", times::any);
    let changed = alert.first_time(&["closedAt", "updatedAt"], times::any);
    let creates = action.eq_ignore_ascii_case("create");
    let mut labels = Labels::default();
    labels.take(alert.words("details"));
    labels.tags(alert.get("tags"));
    for name in ["entity", "source", "tinyId", "priority"] {
        labels.put(name, alert.text(name));
    }
    let teams = alert.get("teams").map(|teams| teams.items()).unwrap_or_default();
    let teams: Vec<String> = teams
        .iter()
        .filter_map(|team| super::doc::word(team.value).or_else(|| team.first(&["name", "id"])))
        .collect();
    labels.put("teams", (!teams.is_empty()).then(|| teams.join(",")));
    labels.put("integration", doc.text("integrationName"));
    // The documented priorities are P1 to P5, but a number alone was observed too.
    let priority = lower(alert.text("priority"));
    let severity = if priority.len() == 1 && priority.bytes().all(|b| b.is_ascii_digit()) {
        format!("p{priority}")
    } else {
        priority
    };
    Ok(Batch::of(vec![Alert {
        title: alert
            .text("message")
            .unwrap_or_else(|| format!("Alert {fingerprint}")),
        fingerprint,
        firing,
        severity,
        text: alert.text("description").unwrap_or_default(),
        started_at: created,
        ended_at: changed.filter(|_| !firing),
        event_at: changed.or(created.filter(|_| creates)).map(EventTime::change),
        keys: alert
            .first(&["alertId", "id"])
            .into_iter()
            .chain(alert.text("alias"))
            .collect(),
        labels: labels.0,
        raw: body.clone(),
        ..Alert::default()
    }]))
}
