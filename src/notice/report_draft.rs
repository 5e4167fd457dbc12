//! Prefills the report of an incident from the record: what was affected, what happened when, and what is left to do. It changes nothing.
//!
//! - Only internal sections contain names of people.
//! - What the record does not know is left empty, so that nobody publishes a text that Candor made up.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::audience::At;
use crate::base::error::Result;
use crate::base::id::IncidentId;
use crate::base::text::one_line;
use crate::base::time::Timestamp;
use crate::db::Conn;
use crate::incident::report::{Audience, ReportInput, Section, SectionKind};
use crate::incident::timeline::{self, Entry};
use crate::incident::{self, Incident, affected, metrics, next_step};

use super::overview::Overview;

/// The largest number of entries of the timeline and of affected resources that are read.
const MOST: i64 = 500;
/// The longest title, in characters.
const TITLE: usize = 290;

/// Returns a report that is prefilled from the record of an incident.
///
/// # Errors
/// `NotFound` if the incident does not exist.
pub fn prefilled(conn: &mut Conn, id: &IncidentId) -> Result<ReportInput> {
    let incident = incident::get(conn, id)?;
    let metrics = metrics::metrics(conn, id, None)?;
    let mut entries = timeline::newest(conn, id, None, MOST)?;
    entries.reverse();
    let steps = next_step::list(conn, Some(id), None, None, MOST)?;
    let section = |kind: SectionKind, heading: &str, text: String, audience: Audience| Section {
        kind: Some(kind),
        heading: heading.to_owned(),
        text,
        audience,
    };
    let actions: Vec<[String; 4]> = steps
        .into_iter()
        .map(|step| {
            let state = if step.done_at.is_some() { "done" } else { "open" };
            [
                step.text,
                step.owner,
                step.due_on.unwrap_or_else(|| "no date".to_owned()),
                state.to_owned(),
            ]
        })
        .collect();
    Ok(ReportInput {
        title: one_line(incident.headline.as_deref().unwrap_or(&incident.title), TITLE),
        sections: vec![
            section(
                SectionKind::Summary,
                "Summary",
                summary(&incident),
                Audience::Public,
            ),
            section(
                SectionKind::Impact,
                "Impact",
                impact(conn, &incident, metrics.impact)?,
                Audience::Customer,
            ),
            section(
                SectionKind::Timeline,
                "Timeline",
                milestones(&metrics.times, &entries),
                Audience::Public,
            ),
            section(
                SectionKind::Timeline,
                "Detailed timeline",
                detailed(&entries),
                Audience::Internal,
            ),
            section(
                SectionKind::Detection,
                "Detection",
                detection(&incident, &metrics),
                Audience::Internal,
            ),
            section(
                SectionKind::RootCauses,
                "Root causes",
                ["1. Why?", "2. Why?", "3. Why?", "4. Why?", "5. Why?"].join("\n"),
                Audience::Internal,
            ),
            section(
                SectionKind::WentWell,
                "What went well",
                String::new(),
                Audience::Internal,
            ),
            section(
                SectionKind::WentWrong,
                "What went wrong",
                String::new(),
                Audience::Internal,
            ),
            section(
                SectionKind::Lucky,
                "Where we got lucky",
                String::new(),
                Audience::Internal,
            ),
            section(
                SectionKind::ActionItems,
                "Action items",
                match actions.is_empty() {
                    true => String::new(),
                    false => table(&["Action", "Owner", "Due", "State"], actions),
                },
                Audience::Internal,
            ),
        ],
    })
}

fn cell(text: &str) -> String {
    one_line(text, 300).replace('\\', "\\\\").replace('|', "\\|")
}

fn table<const N: usize>(head: &[&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut lines = vec![
        format!("| {} |", head.join(" | ")),
        format!("|{}", " --- |".repeat(N)),
    ];
    for row in rows {
        let cells: Vec<String> = row.iter().map(|text| cell(text)).collect();
        lines.push(format!("| {} |", cells.join(" | ")));
    }
    lines.join("\n")
}

fn at(time: Timestamp) -> String {
    time.for_people(None)
}

fn exact(time: Timestamp) -> String {
    time.short(&TimeZone::UTC)
}

/// Returns a duration with its two largest units.
fn duration(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

/// The summary is for the public, so it contains only what customers were told: the headline, and when it was.
fn summary(incident: &Incident) -> String {
    let what = match &incident.headline {
        Some(headline) => format!("{}. ", headline.trim_end_matches('.')),
        None => String::new(),
    };
    let began = at(incident.started_at);
    match incident.resolved_at {
        Some(end) => format!(
            "{what}It began on {began} and ended on {} ({}).",
            at(end),
            duration(end.seconds_since(incident.started_at).max(0))
        ),
        None => format!("{what}It began on {began} and has not ended yet."),
    }
}

fn impact(conn: &mut Conn, incident: &Incident, impaired: Option<i64>) -> Result<String> {
    let overview = Overview::read(conn, &incident.id, At::Now)?;
    let (counts, parts) = (&overview.audience.counts, overview.partition());
    let mut types: BTreeMap<String, usize> = BTreeMap::new();
    let rows = affected::list(conn, &incident.id, None, None, MOST)?;
    let complete = (rows.len() as i64) < MOST;
    for one in rows {
        *types.entry(one.resource.type_.to_string()).or_default() += 1;
    }
    let mut lines = vec![
        ["Accounts".to_owned(), counts.accounts.to_string()],
        ["People".to_owned(), counts.people.to_string()],
        ["Resources".to_owned(), counts.resources.to_string()],
    ];
    // With more resources, the numbers of the types would not add up.
    if complete {
        lines.extend(
            types
                .into_iter()
                .map(|(name, n)| [format!("Resources of the type {name}"), n.to_string()]),
        );
    }
    lines.push(["People who were emailed".to_owned(), parts.accepted.to_string()]);
    if let Some(seconds) = impaired {
        lines.push(["Duration of the impact".to_owned(), duration(seconds)]);
    }
    Ok(table(&["Affected", "Number"], lines))
}

/// The timeline for the public: the important times, and the entries that are not internal.
fn milestones(times: &metrics::Times<Timestamp>, entries: &[Entry]) -> String {
    let mut rows: Vec<(Timestamp, String)> = vec![
        (times.started_at, "Customers began to be affected.".to_owned()),
        (times.detected_at, "We detected the incident.".to_owned()),
    ];
    let some = [
        (times.notified_at, "We notified the first affected customers."),
        (times.mitigated_at, "Customers were no longer affected."),
        (times.resolved_at, "The incident was over."),
    ];
    rows.extend(
        some.into_iter()
            .filter_map(|(at, text)| Some((at?, text.to_owned()))),
    );
    let public = entries.iter().filter(|entry| !entry.internal);
    rows.extend(public.map(|entry| (entry.at, entry.text.clone())));
    rows.sort_by_key(|(at, _)| *at);
    table(
        &["Time", "What happened"],
        rows.into_iter().map(|(at, text)| [exact(at), text]),
    )
}

fn detailed(entries: &[Entry]) -> String {
    table(
        &["Time", "Kind", "What happened", "Who"],
        entries.iter().map(|entry| {
            [
                exact(entry.at),
                entry.kind.as_str().replace('_', " "),
                entry.text.clone(),
                entry.author.clone(),
            ]
        }),
    )
}

fn detection(incident: &Incident, metrics: &metrics::Metrics) -> String {
    let how = match incident.alerts {
        0 => "No alert reported it: somebody opened the incident.".to_owned(),
        1 => "1 alert reported it.".to_owned(),
        alerts => format!("{alerts} alerts reported it."),
    };
    let mut lines = vec![how];
    let figures = [
        ("from the start to the detection", metrics.time_to_detect),
        ("from the detection to the first notice", metrics.time_to_notify),
        ("from the detection to the mitigation", metrics.time_to_mitigate),
        ("from the detection to the end", metrics.time_to_resolve),
    ];
    for (what, seconds) in figures {
        if let Some(seconds) = seconds {
            lines.push(format!("- {} {what}", duration(seconds)));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_one_cell() {
        let row = [["a | b\nc".to_owned(), "d\\".to_owned()]];
        assert_eq!(
            table(&["One", "Two"], row),
            "| One | Two |\n| --- | --- |\n| a \\| b c | d\\\\ |"
        );
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (5, "5 s"),
            (300, "5 min"),
            (3_600, "1 h"),
            (5_400, "1 h 30 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
