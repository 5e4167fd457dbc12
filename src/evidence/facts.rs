//! The incident itself: its times and its timeline. A file about a customer has what customers may read: the headline, the times, and
//! the entries of the timeline that are not internal.

use serde_json::{Value, json};

use super::bundle::Bundle;
use super::notices::Shown;
use super::scope::Scope;
use super::summary::{Entry, Summary};
use super::table::Table;
use crate::base::error::Result;
use crate::db::Conn;
use crate::incident::{self, Incident, timeline};

/// Returns the name of the incident in the file. The title is for the people who work on it, and may name a customer.
pub(super) fn title(scope: &Scope, incident: &Incident) -> String {
    match (scope.is_whole(), &incident.headline) {
        (true, _) => incident.title.clone(),
        (false, Some(headline)) => headline.clone(),
        (false, None) => format!("Incident #{}", incident.number),
    }
}

/// Writes `data/incident.json`, and the timeline as a table.
///
/// # Errors
/// An error of the database, or `Internal` if they cannot be written.
pub(super) fn write(
    conn: &mut Conn,
    scope: &Scope,
    bundle: &mut Bundle,
    summary: &mut Summary,
) -> Result<()> {
    let mut incidents = Vec::new();
    let mut entries = Table::new(
        "timeline",
        &[
            "incident",
            "at",
            "local_at",
            "kind",
            "text",
            "author",
            "internal",
            "automatic",
        ],
    )?;
    for id in &scope.incidents {
        let incident = incident::get(conn, id)?;
        incidents.push(facts(conn, scope, &incident)?);
        for entry in timeline::list(conn, id)? {
            if entry.internal && !scope.is_whole() {
                continue;
            }
            summary.timeline.push(Entry {
                at: entry.at,
                kind: entry.kind.as_str().to_owned(),
                text: entry.text.clone(),
                by: entry.author.clone(),
            });
            entries.add(vec![
                json!(id),
                json!(entry.at),
                json!(entry.local_at),
                json!(entry.kind),
                json!(entry.text),
                json!(entry.author),
                json!(entry.internal),
                json!(entry.automatic),
            ])?;
        }
    }
    bundle.add("data/incident.json", &serde_json::to_vec_pretty(&incidents)?)?;
    entries.finish(bundle)
}

fn facts(conn: &mut Conn, scope: &Scope, incident: &Incident) -> Result<Value> {
    let reopened: Vec<Value> = incident::reopenings(conn, &incident.id)?
        .iter()
        .map(|one| json!({"reopened_at": one.reopened_at, "resolved_before": one.resolved_before}))
        .collect();
    let mut facts = json!({
        "id": incident.id, "number": incident.number, "headline": incident.headline, "severity": incident.severity,
        "status": incident.status, "started_at": incident.started_at, "detected_at": incident.detected_at,
        "resolved_at": incident.resolved_at, "reopened": reopened, "drill": incident.drill,
    });
    if scope.is_whole() {
        facts["title"] = json!(incident.title);
        facts["summary"] = json!(incident.summary);
        facts["owner"] = json!(incident.owner);
    }
    Ok(facts)
}

/// Writes `data/notices.json`, and the corrections as a table.
///
/// # Errors
/// `Internal` if they cannot be written.
pub(super) fn write_notices(notices: &[Shown<'_>], bundle: &mut Bundle) -> Result<()> {
    bundle.add("data/notices.json", &serde_json::to_vec_pretty(notices)?)?;
    let mut corrections = Table::new(
        "corrections",
        &["correction", "corrects", "queued_at", "recipients", "message"],
    )?;
    for notice in notices {
        if let Some(row) = notice.correction() {
            corrections.add(row)?;
        }
    }
    corrections.finish(bundle)
}
