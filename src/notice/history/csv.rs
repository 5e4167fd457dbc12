//! A history as CSV with a first line of names.

use super::entry::HistoryEntry;
use crate::base::error::{Error, Result};
use crate::base::text::cell;
use crate::base::time::Timestamp;
use crate::incident::planned::incident_number;

/// The names of the columns.
const COLUMNS: [&str; 26] = [
    "incident_number",
    "incident_title",
    "incident",
    "notice",
    "phase",
    "drill",
    "reminder",
    "at",
    "queued_at",
    "people",
    "name",
    "channel",
    "address",
    "delivery",
    "state",
    "attempts",
    "reply",
    "bounced_at",
    "bounce",
    "answer",
    "answer_text",
    "answered_at",
    "corrected_at",
    "corrects",
    "reason",
    "relay",
];

/// Returns the lines of these rows, after the line of names if `with_names` is set. No cell is a formula.
///
/// # Errors
/// `Internal` if a line cannot be written.
pub fn lines(entries: &[HistoryEntry], with_names: bool) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if with_names {
        writer.write_record(COLUMNS).map_err(Error::internal)?;
    }
    for entry in entries {
        let cells = row(entry);
        writer
            .write_record(cells.iter().map(|text| cell(text).into_owned()))
            .map_err(Error::internal)?;
    }
    writer
        .into_inner()
        .map_err(|error| Error::internal(error.error().to_string()))
}

fn row(entry: &HistoryEntry) -> [String; 26] {
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let answer = entry.answer.as_ref();
    [
        incident_number(entry.incident.number)
            .map(|number| number.to_string())
            .unwrap_or_default(),
        entry.incident.title.clone(),
        entry.incident.id.to_string(),
        entry.notice.to_string(),
        entry.phase.to_string(),
        entry.drill.to_string(),
        entry.reminder.to_string(),
        entry.at.to_string(),
        entry.queued_at.to_string(),
        entry.people.join(" "),
        entry.name.clone(),
        entry.channel.clone(),
        entry.address.clone(),
        entry.delivery.map(|id| id.to_string()).unwrap_or_default(),
        entry.state.to_string(),
        entry.attempts.to_string(),
        entry.reply.clone().unwrap_or_default(),
        time(entry.bounced_at),
        entry.bounce.clone().unwrap_or_default(),
        answer.and_then(|one| one.answer.clone()).unwrap_or_default(),
        answer.map(|one| one.text.clone()).unwrap_or_default(),
        time(answer.map(|one| one.at)),
        time(entry.corrected.as_ref().map(|one| one.at)),
        entry
            .corrects
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        entry.reason.clone(),
        entry.relay.clone().unwrap_or_default(),
    ]
}
